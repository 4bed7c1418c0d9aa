//! What an engine does with rows that are not what was written: each test damages some behind the store's back.

use onward_core::audit::{AuditRow, AuditWord};
use onward_core::directory::Endpoint;
use onward_core::state::DeliveryState;
use onward_core::store::alerts::{AlertKind, Contacted};
use onward_core::store::{
    Accepted, AttemptEnd, AttemptOutcome, Claim, DeliveryQuery, DeliveryRecord, Lease, Listed, NewHold, Parked,
    Parking, Resend, StoreError, StuckQuery, Telling, Transition,
};
use onward_core::{DeliveryId, TransferId};
use uuid::Uuid;

use super::alerting::{about, alert, concerns, notification};
use super::delivering::change;
use super::lifecycle::{next_version, with_its_row};
use super::placing::{ids_claimed, placed_by, rule as placed_rule};
use super::{Shared, accept_new, acceptance, at, hold, log, ods, row};

/// The database of a store, reached beside it. What is run is the same on every engine.
pub(crate) trait Damage {
    /// Runs a statement, as a failing disk or a curious operator would.
    fn damage(&self, sql: &str);
}

/// Which rules `fsck` finds broken.
async fn broken(store: &Shared) -> Vec<&'static str> {
    store.checkup().await.expect("readable").flaws.into_iter().map(|flaw| flaw.rule).collect()
}

pub(crate) async fn what_cannot_be_read_is_parked_with_its_audit_and_makes_no_attempt(
    store: Shared,
    database: &impl Damage,
) {
    let push = |n: u32| {
        let mut message = with_its_row(acceptance(n));
        message.deliveries[0].endpoint = Endpoint::Https { url: "https://practice.example/in".to_owned() };
        message
    };
    let mut ids: Vec<(TransferId, DeliveryId)> = Vec::new();
    for n in 0..4 {
        let message = push(n);
        ids.push((message.transfer.id, accept_new(&store, message).await));
    }
    let [workflow, endpoint, body, healthy] = [ids[0], ids[1], ids[2], ids[3]];
    database.damage(&format!("UPDATE deliveries SET workflow = '' WHERE id = '{}'", workflow.1));
    database.damage(&format!("UPDATE deliveries SET endpoint = 'secret-word' WHERE id = '{}'", endpoint.1));
    let other = format!("SELECT body FROM rendition_bodies WHERE delivery = '{}'", healthy.1);
    database.damage(&format!("UPDATE rendition_bodies SET body = ({other}) WHERE delivery = '{}'", body.1));
    let rule = |parked: &Parked| {
        let (transfer, delivery) = (parked.transfer, parked.delivery);
        vec![AuditRow { transfer, delivery, success: false, ..row(AuditWord::DeliveryFailed) }]
    };
    let before = log(&store).await.len();
    let claim = Claim { parking: Parking::new(rule), ..Claim::due(at(0), at(30), 10) };
    let leases = store.claim(claim).await.expect("claimable");
    assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [healthy.1]);
    let told: Vec<_> = log(&store).await.split_off(before).into_iter().map(|entry| entry.columns.delivery).collect();
    assert_eq!(told, [workflow, endpoint, body].map(|(_, copy)| Some(copy.to_string())));
    let size = store.audit_size().await.expect("readable");
    for who in ["RXH", "VM1AB"] {
        let changed = store.changed_tasks(&ods(who), before as u64, size).await.expect("readable");
        for (transfer, copy) in [workflow, endpoint, body] {
            assert!(changed.contains(&(transfer, Some(copy))), "{who} is called for it");
        }
    }
    for (copy, place) in [(workflow.1, "deliveries.workflow"), (body.1, "rendition_bodies.body")] {
        let copy = store.delivery(copy).await.expect("readable").expect("there");
        let reason = format!("unreadable in the store: {place}");
        assert_eq!((copy.state, copy.reason, copy.attempts), (DeliveryState::Failed, Some(reason), 0));
    }
    assert_eq!(broken(&store).await, [""; 0]);
}

/// A byte of a count, and one of the name of a key-encryption key; and what tells of a copy may fall over what is damaged.
pub(crate) async fn a_damaged_count_or_key_hinders_no_other_and_is_told_all_the_same(
    store: Shared,
    database: &impl Damage,
) {
    let mut copies = Vec::new();
    for n in 0..3 {
        copies.push(accept_new(&store, with_its_row(acceptance(n))).await);
    }
    let [count, key, healthy] = [copies[0], copies[1], copies[2]];
    database.damage(&format!("INSERT INTO attempts (delivery, attempt, started) VALUES ('{count}', 1, 0)"));
    let person = format!("SELECT patient FROM deliveries WHERE id = '{key}'");
    database.damage(&format!("UPDATE data_keys SET kek = 'firsu' WHERE patient = ({person})"));
    let less = |parked: &Parked| vec![AuditRow { delivery: parked.delivery, ..row(AuditWord::DeliveryFailed) }];
    let parking = Parking::new(|_| panic!("it falls over what is damaged")).or(less);
    let before = log(&store).await.len();
    let leases = store.claim(Claim { parking, ..Claim::due(at(0), at(30), 10) }).await.expect("claimable");
    assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [healthy]);
    let mut told: Vec<_> =
        log(&store).await.split_off(before).into_iter().filter_map(|entry| entry.columns.delivery).collect();
    let mut parked = [count, key].map(|copy| copy.to_string());
    told.sort();
    parked.sort();
    assert_eq!(told, parked, "none is left to a person without an entry");
    let copy = store.delivery(count).await.expect("readable").expect("there");
    let reason = Some("unreadable in the store: deliveries.attempts".to_owned());
    assert_eq!((copy.state, copy.reason, copy.attempts), (DeliveryState::Failed, reason, 1));
    let again = store.requeue(count, Resend::Replay.into(), "Ada Wells", "whole", at(0), Vec::new()).await;
    assert_eq!(again, Ok(true));
    let leases = store.claim(Claim::due(at(0), at(30), 10)).await.expect("claimable");
    assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [count], "it can be sent again");
    assert_eq!(store.delivery(key).await.map(drop), Err(StoreError::Corrupt("data_keys.kek".to_owned())));
    // Others of the same kind are accepted and claimed as before.
    let another = accept_new(&store, with_its_row(acceptance(4))).await;
    let leases = store.claim(Claim::due(at(1), at(31), 10)).await.expect("claimable");
    assert_eq!(leases.iter().map(|lease| lease.delivery.id).collect::<Vec<_>>(), [another]);
    assert_eq!(store.rewrap_keys(100, Vec::new()).await, Ok(1), "by the key that wrapped it, before that is retired");
    assert!(store.delivery(key).await.is_ok(), "it is whole again");
    assert_eq!(store.rewrap_keys(100, Vec::new()).await, Ok(0));
}

/// What is damaged while it is being sent: an attempt that was made has its end, and so has everybody else's.
pub(crate) async fn a_damaged_version_or_count_keeps_no_attempt_from_its_end(store: Shared, database: &impl Damage) {
    let mut copies = Vec::new();
    for n in 0..5 {
        copies.push(accept_new(&store, with_its_row(acceptance(n))).await);
    }
    let [most, repeated, negative, count, healthy] = [copies[0], copies[1], copies[2], copies[3], copies[4]];
    let leases = store.claim(Claim::due(at(0), at(30), 10)).await.expect("claimable");
    assert_eq!(leases.len(), 5);
    let set = |column: &str, value: i64, id: DeliveryId| {
        database.damage(&format!("UPDATE deliveries SET {column} = {value} WHERE id = '{id}'"));
    };
    set("version", i64::MAX, most);
    set("version", 0, repeated);
    set("version", -7, negative);
    set("attempts", -1, count);
    let end = |lease: &Lease| AttemptEnd {
        delivery: lease.delivery.id,
        token: lease.token,
        outcome: AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None },
        at: at(1),
        audit: vec![AuditRow { delivery: Some(lease.delivery.id), ..row(AuditWord::Disclose) }],
    };
    let before = log(&store).await.len();
    assert_eq!(store.complete(leases.iter().map(end).collect()).await, Ok(vec![true; 5]));
    assert_eq!(log(&store).await.len(), before + 5);
    for copy in [most, repeated, negative, healthy] {
        let copy = store.delivery(copy).await.expect("readable").expect("there");
        assert_eq!((copy.state, copy.version), (DeliveryState::Sent, 2));
    }
    set("attempts", 1, count);
    assert_eq!(store.delivery(count).await.expect("readable").expect("there").state, DeliveryState::Sent);
    assert_eq!(broken(&store).await, [""; 0]);
}

/// Whoever runs the gateway hears of it as of any other copy that failed.
pub(crate) async fn a_copy_that_is_damaged_is_a_persons_and_its_version_is_mended(
    store: Shared,
    database: &impl Damage,
) {
    let [recipient, version] =
        [accept_new(&store, with_its_row(acceptance(1))).await, accept_new(&store, with_its_row(acceptance(2))).await];
    database.damage(&format!("UPDATE deliveries SET recipient = '' WHERE id = '{recipient}'"));
    database.damage(&format!("UPDATE deliveries SET version = -7 WHERE id = '{version}'"));
    assert!(store.claim(Claim::due(at(0), at(30), 10)).await.expect("claimable").is_empty());
    let mut told: Vec<_> =
        concerns(&store, 1).await.into_iter().map(|concern| (concern.delivery, concern.recipient.is_some())).collect();
    let mut expected = vec![(Some(recipient), false), (Some(version), true)];
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    let copy = store.delivery(version).await.expect("readable").expect("there");
    assert_eq!((copy.state, copy.version), (DeliveryState::Failed, 2));
    assert_eq!(copy.reason.as_deref(), Some("unreadable in the store: deliveries.version"));
    assert_eq!(store.requeue(version, Resend::Replay.into(), "Ada Wells", "whole", at(2), Vec::new()).await, Ok(true));
    assert_eq!(store.claim(Claim::due(at(2), at(32), 10)).await.expect("claimable").len(), 1, "it can be sent again");
}

/// What an older node does at each of its looks, beside this one: it clears whatever it does not know, and drops what would tell of it.
pub(crate) async fn a_program_from_before_a_kind_ends_no_alert_that_stands(store: Shared, database: &impl Damage) {
    let (first, other) = (acceptance(1), acceptance(2));
    for message in [&first, &other] {
        accept_new(&store, message.clone()).await;
        let told = vec![notification(Contacted::Operations)];
        assert_eq!(store.raise_alert(alert(&about(message), 2, told)).await, Ok(true));
    }
    let older_looks = || {
        database.damage("UPDATE alerts SET cleared = 5 WHERE cleared IS NULL");
        database.damage(
            "UPDATE notifications SET state = 'dropped', next_attempt = NULL
             WHERE state = 'queued' AND alert IN (SELECT id FROM alerts WHERE cleared IS NOT NULL)",
        );
    };
    older_looks();
    assert_eq!(store.settle_alerts(at(6)).await, Ok(0));
    assert_eq!(store.alert_counts().await, Ok(vec![(AlertKind::ReplacementRefused, 2)]));
    assert_eq!(store.alerts().await.expect("readable").len(), 2);
    assert_eq!(store.raise_alert(alert(&about(&first), 7, Vec::new())).await, Ok(false), "nobody is told twice");
    assert_eq!(store.take_notifications(at(8), at(100)).await.expect("taken").len(), 2, "nor is nobody told");
    older_looks();
    assert_eq!(store.settle_alerts(at(9)).await, Ok(0));
    assert!(store.take_notifications(at(200), at(300)).await.expect("taken").is_empty(), "somebody has it in hand");
    // A person ends the one, and what follows the transfer the other.
    let (kind, subject) = (AlertKind::ReplacementRefused, first.transfer.id.0);
    assert_eq!(store.clear_alert(kind, subject, at(210)).await, Ok(true));
    assert_eq!(store.clear_alert(kind, subject, at(211)).await, Ok(false));
    accept_new(&store, next_version(3, &other, &[other.deliveries[0].id])).await;
    assert_eq!(store.settle_alerts(at(220)).await, Ok(1));
    assert_eq!(store.alert_counts().await, Ok(Vec::new()));
    assert_eq!(store.raise_alert(alert(&about(&first), 230, Vec::new())).await, Ok(true), "refused again, told again");
}

pub(crate) async fn what_cannot_be_placed_is_left_to_a_claim(store: Shared, database: &impl Damage) {
    let mut copies = Vec::new();
    for n in 0..5 {
        copies.push(accept_new(&store, acceptance(n)).await);
    }
    let [count, untold, unreadable, most, healthy] = [copies[0], copies[1], copies[2], copies[3], copies[4]];
    database.damage(&format!("UPDATE deliveries SET version = {} WHERE id = '{most}'", i64::MAX));
    database.damage(&format!("INSERT INTO attempts (delivery, attempt, started) VALUES ('{count}', 1, 0)"));
    database.damage(&format!("UPDATE deliveries SET version = -1 WHERE id = '{unreadable}'"));
    let before = log(&store).await.len();
    let told = Telling::new(move |copy: &DeliveryRecord| {
        assert_ne!(copy.id, untold, "it falls over this one");
        placed_rule(copy)
    });
    assert_eq!(placed_by(&store, 0, 10, told).await, [most, healthy]);
    assert_eq!(log(&store).await.len(), before + 2);
    assert_eq!(store.delivery(most).await.expect("readable").expect("there").version, 2, "as its history says");
    assert_eq!(store.delivery(untold).await.expect("readable").expect("there").attempts, 0);
    assert_eq!(ids_claimed(&store, 1).await, [untold], "the others are a person's");
    assert_eq!(store.delivery(count).await.expect("readable").expect("there").state, DeliveryState::Failed);
}

/// What a list holds, and what it could not read.
fn listed<T>(list: Listed<T>, id: impl Fn(&T) -> Uuid) -> (Vec<Uuid>, Vec<String>) {
    let damaged = list.damaged.iter().map(ToString::to_string).collect();
    (list.rows.iter().map(id).collect(), damaged)
}

pub(crate) async fn a_list_goes_on_without_what_cannot_be_read_and_says_so(store: Shared, database: &impl Damage) {
    let mut copies = Vec::new();
    for n in 0..4 {
        let mut message = with_its_row(acceptance(n));
        message.transfer.received = at(i64::from(n));
        let copy = accept_new(&store, message).await;
        let failed = Transition { reason: Some("410".to_owned()), ..change(copy, 1, DeliveryState::Failed) };
        assert_eq!(store.transition(failed).await, Ok(true));
        copies.push(copy.0);
    }
    let mut holds = Vec::new();
    for n in 4..7 {
        let mut message = with_its_row(acceptance(n));
        message.hold = Some(NewHold { due: at(i64::from(n)), ..hold() });
        holds.extend(message.hold.as_ref().map(|hold| hold.id.0));
        message.deliveries.clear();
        assert_eq!(store.accept(message).await, Ok(Accepted::New));
    }
    // A value of the row itself, and the key under which values of it lie.
    let key = |whose: &str, id: Uuid| {
        let transfer =
            format!("SELECT t.patient FROM transfers t JOIN {whose} x ON x.transfer = t.id WHERE x.id = '{id}'");
        let another = "SELECT wrapped FROM data_keys WHERE kind = 'gateway'";
        format!("UPDATE data_keys SET wrapped = ({another}) WHERE patient = ({transfer})")
    };
    database.damage(&format!("UPDATE deliveries SET endpoint = 'secret-word' WHERE id = '{}'", copies[0]));
    database.damage(&key("deliveries", copies[2]));
    database.damage(&format!("UPDATE holds SET due = 9223372036854775807 WHERE id = '{}'", holds[0]));
    database.damage(&key("holds", holds[1]));

    let damaged = |id: Uuid, place: &str| format!("{id} ({place})");
    let bad = vec![damaged(copies[0], "deliveries.endpoint"), damaged(copies[2], "data_keys.wrapped")];
    let good = vec![copies[1], copies[3]];
    let dead = DeliveryQuery { dead: true, limit: 10, ..DeliveryQuery::default() };
    let found = store.deliveries(dead).await.expect("readable");
    assert_eq!(listed(found, |copy| copy.id.0), (good.clone(), bad.clone()));
    let stuck = store.stuck(StuckQuery { limit: 10, ..StuckQuery::default() }).await.expect("readable");
    assert_eq!(listed(stuck, |stuck| stuck.copy.id.0), (good, bad));
    let (held, mut unread) = listed(store.holds().await.expect("readable"), |held| held.hold.id.0);
    assert_eq!(held, [holds[2]]);
    let mut expected = vec![damaged(holds[0], "holds.due"), damaged(holds[1], "data_keys.wrapped")];
    expected.sort();
    unread.sort();
    assert_eq!(unread, expected);
    // Of the counts, the group whose recipient nobody can read is left out.
    database.damage(&format!("UPDATE deliveries SET recipient = '' WHERE id = '{}'", copies[3]));
    let counted = store.backlog().await.expect("readable");
    assert_eq!(counted.iter().map(|group| group.count).collect::<Vec<_>>(), [3]);
}
