//! Copies that failed and that a person took care of in another way: nobody's work any more, and never delivered.

use onward_core::audit::{AuditRow, AuditWord};
use onward_core::state::{DeliveryState, TransportKind};
use onward_core::store::alerts::AlertKind;
use onward_core::store::retention::BodyClass;
use onward_core::store::{
    AttemptOutcome, BulkStep, CloseCopy, ClosedCopy, DeliveryQuery, DeliveryRecord, NewBulk, Resend, StuckQuery,
    Whereto,
};
use onward_core::{BulkId, DeliveryId};

use super::alerting::{alert, concerns, ends, failed};
use super::delivering::change;
use super::lifecycle::with_its_row;
use super::{Shared, accept_new, acceptance, at, log, row};

async fn read(store: &Shared, id: DeliveryId) -> DeliveryRecord {
    store.delivery(id).await.expect("readable").expect("there")
}

async fn close(store: &Shared, id: DeliveryId, second: i64) -> bool {
    close_as_seen(store, id, read(store, id).await.version, second).await
}

async fn close_as_seen(store: &Shared, delivery: DeliveryId, expected_version: u64, second: i64) -> bool {
    let (by, reason) = ("Ada Wells".to_owned(), "read out to the duty GP".to_owned());
    let audit = vec![row(AuditWord::Release)];
    let close = CloseCopy { delivery, expected_version, by, reason, at: at(second), audit };
    store.close_copy(close).await.expect("committed")
}

/// What a person must decide about: by the list, by the board.
async fn waits(store: &Shared) -> (usize, usize) {
    let dead = DeliveryQuery { dead: true, include_responses: true, limit: 10, ..DeliveryQuery::default() };
    let stuck = StuckQuery { limit: 10, ..StuckQuery::default() };
    let listed = store.deliveries(dead).await.expect("readable").len();
    (listed, store.stuck(stuck).await.expect("readable").len())
}

/// Failed and closed copies, as they are counted.
async fn counted(store: &Shared) -> (u64, u64) {
    let figures = store.figures(at(0)).await.expect("readable");
    let failed = |figure: &&onward_core::store::DeliveryFigure| {
        figure.state == DeliveryState::Failed && figure.transport == TransportKind::Inbox
    };
    (figures.deliveries.iter().find(failed).map_or(0, |figure| figure.count), figures.closed)
}

pub(crate) async fn what_a_person_took_care_of_is_nobodys_work_any_more(store: Shared) {
    let id = accept_new(&store, with_its_row(acceptance(1))).await;
    assert!(!close(&store, id, 0).await, "it waits for its turn");
    ends(&store, 5, failed()).await;
    for concern in concerns(&store, 6).await {
        assert_eq!(store.raise_alert(alert(&concern, 6, Vec::new())).await, Ok(true));
    }
    assert_eq!(store.alert_counts().await, Ok(vec![(AlertKind::DeliveryFailed, 1)]));
    assert_eq!((waits(&store).await, counted(&store).await), ((1, 1), (1, 0)));
    let (before, entries) = (read(&store, id).await, log(&store).await.len());
    assert!(close(&store, id, 10).await);
    assert!(!close(&store, id, 11).await, "once");
    assert_eq!(log(&store).await.len(), entries + 1, "with its audit, once");
    let copy = read(&store, id).await;
    assert_eq!((copy.state, copy.reason.clone()), (DeliveryState::Failed, before.reason), "it did not arrive");
    assert_eq!((copy.closed, copy.version, copy.changed), (true, before.version + 1, at(10)));
    let closed = ClosedCopy {
        delivery: id,
        version: copy.version,
        at: at(10),
        by: "Ada Wells".to_owned(),
        reason: Some("read out to the duty GP".to_owned()),
    };
    assert_eq!(store.closed_copies(id).await, Ok(vec![closed.clone()]));
    assert_eq!((waits(&store).await, counted(&store).await), ((0, 0), (0, 1)));
    assert!(store.backlog().await.expect("readable").is_empty());
    assert_eq!(store.alert_counts().await, Ok(Vec::new()), "what was told of it is over");
    assert!(concerns(&store, 12).await.is_empty());
    let checkup = store.checkup().await.expect("readable");
    assert_eq!((checkup.accepted, checkup.parked, checkup.ended, checkup.delivered), (1, 0, 1, 0));
    assert_eq!(checkup.flaws, Vec::new());

    // Many at once leave it alone, and so does who does not say that it is a repeat.
    let bulk = NewBulk {
        id: BulkId::random(),
        how: Resend::Replay,
        filter: String::new(),
        reason: "mended".to_owned(),
        by: "Ben Cole".to_owned(),
        agent: String::new(),
        at: at(20),
        copies: vec![id],
    };
    let many = bulk.id;
    assert_eq!(store.start_bulk(bulk, Vec::new()).await, Ok(true));
    let step = store.resend_of_bulk(many, id, Whereto::Stored, at(21), Vec::new()).await;
    assert_eq!(step, Ok(BulkStep::PassedOver));
    let again = async |how: Resend| store.requeue(id, how.into(), "Ben Cole", "asked", at(22), Vec::new()).await;
    assert_eq!(again(Resend::Retry).await, Ok(false));
    assert_eq!(again(Resend::Replay).await, Ok(true));
    assert!(!read(&store, id).await.closed, "the closure is history");
    ends(&store, 22, failed()).await;
    assert_eq!((waits(&store).await, counted(&store).await), ((1, 1), (1, 0)), "it failed once more");
    assert_eq!(concerns(&store, 23).await.len(), 1);
    assert!(!close_as_seen(&store, id, before.version, 29).await, "not a failure that nobody has seen");
    assert!(close(&store, id, 30).await);
    let all = store.closed_copies(id).await.expect("readable");
    assert_eq!(all.iter().map(|closed| closed.at).collect::<Vec<_>>(), [at(10), at(30)]);
    assert_eq!((all[0].clone(), counted(&store).await), (closed, (0, 1)));
    assert_eq!(store.checkup().await.expect("readable").flaws, Vec::new());
    // Nobody has to send it: its content goes with its month.
    let months = store.oldest_bodies().await.expect("readable");
    let month = months.iter().find(|(class, _)| *class == BodyClass::Renditions).expect("there").1;
    let purged = store.purge_month(BodyClass::Renditions, month, 0, Vec::new()).await.expect("committed");
    assert_eq!((purged.removed, purged.kept), (1, 0));
    assert_eq!(store.checkup().await.expect("readable").flaws, Vec::new());
    assert_eq!(again(Resend::Replay).await, Ok(false), "nothing is left to send");
}

pub(crate) async fn what_a_system_did_not_process_is_closed_and_what_was_declined_is_not(store: Shared) {
    let id = accept_new(&store, with_its_row(acceptance(1))).await;
    let sent = AttemptOutcome::Sent { state: DeliveryState::AwaitingCollection, reference: None };
    ends(&store, 1, sent).await;
    let refused = |version, code: &str| onward_core::store::Transition {
        code: Some(code.to_owned()),
        ..change(id, version, DeliveryState::Rejected)
    };
    let version = read(&store, id).await.version;
    assert_eq!(store.transition(refused(version, "30003")).await, Ok(true));
    assert!(!close(&store, id, 60).await, "a person declined: that is decided");
    assert_eq!(store.transition(refused(version + 1, "10001")).await, Ok(true));
    assert_eq!(waits(&store).await.0, 1);
    assert!(close(&store, id, 61).await);
    let copy = read(&store, id).await;
    assert!(copy.closed && copy.is_unprocessed() && !copy.is_dead());
    assert_eq!(waits(&store).await.0, 0);
    assert_eq!(store.checkup().await.expect("readable").delivered, 0);
    // A late answer is what counts.
    assert_eq!(store.transition(change(id, copy.version, DeliveryState::Accepted)).await, Ok(true));
    assert!(!read(&store, id).await.closed);
}

pub(crate) async fn who_opens_a_closed_copy_leaves_it_closed(store: Shared) {
    let id = accept_new(&store, with_its_row(acceptance(1))).await;
    ends(&store, 5, failed()).await;
    assert!(close(&store, id, 10).await);
    let (before, closure) = (read(&store, id).await, store.closed_copies(id).await.expect("readable").remove(0));
    let reading = || AuditRow { delivery: Some(id), ..row(AuditWord::Read) };
    for second in [20, 21] {
        let opened = store.open_rendition(id, at(second), None, vec![reading()]).await;
        assert!(opened.expect("committed").is_some());
        let copy = read(&store, id).await;
        assert_eq!((copy.opened, copy.version, copy.changed), (Some(at(20)), before.version + 1, at(20)));
        assert!(copy.closed, "it asks nobody for anything");
        assert_eq!(store.closed_copies(id).await, Ok(vec![ClosedCopy { version: copy.version, ..closure.clone() }]));
        assert_eq!((waits(&store).await, counted(&store).await), ((0, 0), (0, 1)));
        assert!(concerns(&store, 22).await.is_empty());
        assert_eq!(store.checkup().await.expect("readable").flaws, Vec::new());
    }
    assert!(!close(&store, id, 30).await, "once");
    assert_eq!(store.requeue(id, Resend::Retry.into(), "Ben Cole", "asked", at(31), Vec::new()).await, Ok(false));
    assert_eq!(store.requeue(id, Resend::Replay.into(), "Ben Cole", "asked", at(31), Vec::new()).await, Ok(true));
    assert!(!read(&store, id).await.closed, "who has it sent again asks for it");
    ends(&store, 31, failed()).await;
    assert!(store.open_rendition(id, at(40), None, vec![reading()]).await.expect("committed").is_some());
    assert_eq!((waits(&store).await, counted(&store).await), ((1, 1), (1, 0)), "a closure that is over stays over");
    assert_eq!(store.closed_copies(id).await.expect("readable").len(), 1);
    assert_eq!(store.checkup().await.expect("readable").flaws, Vec::new());
}
