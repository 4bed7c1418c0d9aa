//! Clients and tokens, the directory, the log and its checkpoints.

use jiff::civil::date;
use onward_core::TransferId;
use onward_core::audit::{AuditQuery, AuditRow, AuditWord, StoredCheckpoint};
use onward_core::client::{Client, NhsNumberPolicy, Role, Token};
use onward_core::directory::{DirectoryEntry, Endpoint, Pharmacy};
use onward_core::state::{DeliveryState, RecipientKind, TransportKind};
use onward_core::store::StoreError;
use onward_core::store::{
    AttemptEnd, AttemptOutcome, Claim, DeliveryFigure, Figures, NewDelivery, NewHold, Transition,
};

use super::{Shared, accept_new, acceptance, at, at_once, delivery, hold, log, ods, patient, row};

pub(super) fn client(id: &str) -> Client {
    Client {
        id: id.to_owned(),
        ods: ods("RXH"),
        role: Role::Sender,
        jwks: "{\"keys\":[]}".to_owned(),
        certificate_sha256: Some("ab".repeat(32)),
        mesh_mailbox: Some("X26ABC1".to_owned()),
        nhs_number_policy: NhsNumberPolicy::Hold,
        disabled: false,
        under: None,
    }
}

fn token(hash: u8, client_id: &str) -> Token {
    Token {
        hash: [hash; 32],
        client_id: client_id.to_owned(),
        expires: at(600),
        certificate_sha256: None,
        key_thumbprint: None,
    }
}

async fn put(store: &Shared, client: Client) {
    store.put_client(client, vec![row(AuditWord::Configure)]).await.expect("committed");
}

async fn redeem(store: &Shared, jti: &str, token: Token) -> bool {
    let client = client(&token.client_id);
    store.redeem_assertion(jti, at(300), token, client, vec![row(AuditWord::SignIn)]).await.expect("committed")
}

pub(crate) async fn clients_are_replaced(store: Shared) {
    assert_eq!(store.client("ward").await, Ok(None));
    put(&store, client("ward")).await;
    put(&store, client("annex")).await;
    let mut changed = client("ward");
    changed.mesh_mailbox = None;
    changed.disabled = true;
    put(&store, changed.clone()).await;
    assert_eq!(store.client("ward").await, Ok(Some(changed.clone())));
    assert_eq!(store.clients().await, Ok(vec![client("annex"), changed]));
    assert_eq!(log(&store).await.len(), 3);
}

pub(crate) async fn a_token_dies_with_what_it_rests_on(store: Shared) {
    put(&store, client("ward")).await;
    assert!(redeem(&store, "1", token(1, "ward")).await);
    let found = store.token(&[1; 32], at(0)).await.expect("readable");
    assert_eq!(found, Some((token(1, "ward"), client("ward"))));
    assert_eq!(store.token(&[2; 32], at(0)).await, Ok(None));
    assert!(store.token(&[1; 32], at(600)).await.expect("readable").is_some(), "not after means at it is good");
    assert_eq!(store.token(&[1; 32], at(601)).await, Ok(None));

    let renamed_mailbox = Client { mesh_mailbox: None, ..client("ward") };
    put(&store, renamed_mailbox.clone()).await;
    assert!(store.token(&[1; 32], at(0)).await.expect("readable").is_some());
    let ends = [
        Client { disabled: true, ..client("ward") },
        Client { jwks: "{\"keys\":[{}]}".to_owned(), ..client("ward") },
        Client { certificate_sha256: None, ..client("ward") },
        Client { ods: ods("RYJ"), ..client("ward") },
        Client { role: Role::Operator, ..client("ward") },
    ];
    for (n, end) in (10..).zip(ends) {
        put(&store, client("ward")).await;
        assert!(redeem(&store, &n.to_string(), token(n, "ward")).await);
        assert!(store.token(&[n; 32], at(0)).await.expect("readable").is_some());
        put(&store, end).await;
        assert_eq!(store.token(&[n; 32], at(0)).await, Ok(None), "{n}");
        put(&store, client("ward")).await;
        assert_eq!(store.token(&[n; 32], at(0)).await, Ok(None), "{n}: void stays void");
    }
}

pub(crate) async fn one_of_many_redemptions_wins(store: Shared) {
    put(&store, client("ward")).await;
    let outcomes = at_once(&store, 100, |store, n| async move {
        let hash = n.to_le_bytes()[0];
        redeem(&store, "the same", token(hash, "ward")).await.then_some(hash)
    })
    .await;
    let winners: Vec<u8> = outcomes.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    for hash in 0..100 {
        let good = store.token(&[hash; 32], at(0)).await.expect("readable").is_some();
        assert_eq!(good, winners.contains(&hash), "{hash}");
    }
    assert_eq!(log(&store).await.len(), 2);
}

pub(crate) async fn used_assertions_are_kept_until_they_expire(store: Shared) {
    put(&store, client("ward")).await;
    put(&store, client("annex")).await;
    assert!(redeem(&store, "1", token(1, "ward")).await);
    assert!(redeem(&store, "1", token(2, "annex")).await, "a jti is the issuer's own");
    assert!(redeem(&store, "2", token(3, "ward")).await);
    assert!(!redeem(&store, "1", token(4, "ward")).await, "others are not forgotten by the way");
    // Before the store's clock: expired when it was presented, and gone with the next redemption.
    let expired = Token { expires: at(-1), ..token(5, "ward") };
    assert_eq!(store.redeem_assertion("3", at(-1), expired, client("ward"), Vec::new()).await, Ok(true));
    assert!(redeem(&store, "4", token(6, "ward")).await);
    assert_eq!(store.token(&[5; 32], at(-2)).await, Ok(None), "purged");
    let bound = Token {
        certificate_sha256: Some("ab".to_owned()),
        key_thumbprint: Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".to_owned()),
        ..token(8, "ward")
    };
    assert!(redeem(&store, "6", bound.clone()).await);
    assert_eq!(store.token(&[8; 32], at(0)).await.expect("readable").map(|found| found.0), Some(bound));
    let nobody = store.redeem_assertion("5", at(300), token(7, "nobody"), client("nobody"), Vec::new()).await;
    assert_eq!(nobody, Err(StoreError::Overtaken), "a token belongs to a client");
}

pub(crate) async fn a_token_rests_on_the_client_that_was_checked(store: Shared) {
    put(&store, client("ward")).await;
    let before = client("ward");
    let other_keys = Client { jwks: "https://ward.example/keys".to_owned(), ..client("ward") };
    assert_ne!(before.jwks, other_keys.jwks);
    for changed in [other_keys, Client { disabled: true, ..client("ward") }] {
        put(&store, changed).await;
        let late = store.redeem_assertion("1", at(300), token(1, "ward"), before.clone(), Vec::new()).await;
        assert_eq!(late, Err(StoreError::Overtaken));
        assert_eq!(store.token(&[1; 32], at(0)).await, Ok(None));
    }
    put(&store, before).await;
    assert!(redeem(&store, "1", token(1, "ward")).await, "nothing was used up");
}

pub(crate) async fn a_foreign_token_is_used_first_once(store: Shared) {
    put(&store, client("ward")).await;
    let first = async |issuer: &str, jti: &str, expires| {
        store.note_first_use(issuer, jti, at(expires), vec![row(AuditWord::SignIn)]).await.expect("committed")
    };
    assert!(first("region", "1", 300).await && first("region", "2", 300).await);
    assert!(first("vendor", "1", -1).await, "a jti is the issuer's own");
    let entries = log(&store).await.len();
    assert!(!first("region", "1", 300).await);
    assert_eq!(log(&store).await.len(), entries, "the second use writes nothing");
    assert!(redeem(&store, "1", token(1, "ward")).await, "an assertion has its own");
    assert!(first("vendor", "1", 300).await, "what has expired is forgotten");
    assert!(!first("region", "2", 300).await);
}

pub(super) fn pharmacy(code: &str, name: &str) -> DirectoryEntry {
    DirectoryEntry::Pharmacy(Pharmacy {
        ods: ods(code),
        name: name.to_owned(),
        telephone: String::new(),
        postcode: String::new(),
        endpoint: Endpoint::Inbox {},
        expires: date(2027, 1, 31),
        ods_end: None,
    })
}

fn home(code: &str, name: &str, other_ods: &[&str]) -> DirectoryEntry {
    let home = serde_json::json!({
        "kind": "care-home", "ods": code, "other_ods": other_ods, "name": name, "address": ["1 High Street"],
        "postcode": "LS1 1AA", "uprn": "1", "covering_practice": "A82608", "delivering_pharmacy": "FA123",
        "expires": "2027-01-31",
    });
    serde_json::from_value(home).expect("a home")
}

async fn import(store: &Shared, entries: Vec<DirectoryEntry>) -> u64 {
    store
        .import_directory(entries, "homes.csv", at(0), vec![row(AuditWord::Configure)].into())
        .await
        .expect("committed")
}

pub(crate) async fn the_directory_keeps_versions(store: Shared) {
    let old_home = home("VM1AB", "Old name", &["1-OLD".replace('-', "").as_str(), "VM1AC"]);
    assert_eq!(import(&store, vec![pharmacy("FA123", "Pharmacy"), old_home.clone()]).await, 1);
    assert_eq!(store.directory_entry(&ods("VM1AB")).await, Ok(Some(old_home.clone())));
    assert_eq!(store.directory_entry(&ods("VM1AC")).await, Ok(Some(old_home)));
    let new_home = home("VM1AB", "New name", &["VM1AD"]);
    assert_eq!(import(&store, vec![new_home.clone()]).await, 2);
    assert_eq!(store.directory_entry(&ods("VM1AB")).await, Ok(Some(new_home.clone())));
    assert_eq!(store.directory_entry(&ods("VM1AD")).await, Ok(Some(new_home.clone())));
    assert_eq!(store.directory_entry(&ods("VM1AC")).await, Ok(None), "codes of an older version are gone");
    assert_eq!(store.directory_entry(&ods("FA999")).await, Ok(None));
    // What an import does not name stays, and an empty one is a version too.
    assert_eq!(store.directory().await, Ok(vec![new_home.clone(), pharmacy("FA123", "Pharmacy")]));
    assert_eq!(import(&store, Vec::new()).await, 3);
    let twice = vec![pharmacy("FA123", "Twice"), pharmacy("FA123", "Twice")];
    assert!(store.import_directory(twice, "twice.csv", at(0), Vec::new().into()).await.is_err());
    assert_eq!(import(&store, vec![pharmacy("FA001", "Another")]).await, 4);
    let codes: Vec<_> = store.directory().await.expect("readable").iter().map(|e| e.ods().to_string()).collect();
    assert_eq!(codes, ["VM1AB", "FA001", "FA123"]);
}

pub(crate) async fn an_entry_is_amended_as_it_was_seen(store: Shared) {
    let (first, second) = (home("VM1AB", "First", &["VM1AC"]), home("VM1AB", "Second", &["VM1AD"]));
    import(&store, vec![first.clone(), home("VM2AB", "Another", &[])]).await;
    let amend = async |was: &DirectoryEntry, entry: &DirectoryEntry| {
        let audit = vec![row(AuditWord::Configure)];
        store.amend_directory(was.clone(), entry.clone(), "the home", at(1), audit).await.expect("committed")
    };
    let entries = async || store.audit_entries(0, 100).await.expect("readable").len();
    let before = entries().await;
    assert!(amend(&first, &second).await);
    assert_eq!(store.directory_entry(&ods("VM1AB")).await, Ok(Some(second.clone())));
    assert_eq!(store.directory_entry(&ods("VM1AC")).await, Ok(None), "its other codes are those of the new version");
    assert_eq!(entries().await, before + 1);
    // Somebody who looked before that would take it back unseen.
    assert!(!amend(&first, &home("VM1AB", "Third", &[])).await);
    assert!(!amend(&home("VM9ZZ", "Nobody", &[]), &home("VM9ZZ", "Nobody", &[])).await, "there is none");
    assert_eq!(store.directory_entry(&ods("VM1AB")).await, Ok(Some(second.clone())));
    assert_eq!(entries().await, before + 1, "what is not done is not audited as done");
    // Of many who change the same entry at once one does, and the others are told.
    let third = home("VM1AB", "Third", &[]);
    let amend = move |store: Shared, _| {
        let (second, third) = (second.clone(), third.clone());
        async move { store.amend_directory(second, third, "the home", at(2), Vec::new()).await.expect("committed") }
    };
    let done = at_once(&store, 8, amend).await;
    assert_eq!(done.iter().filter(|done| **done).count(), 1);
    assert_eq!(import(&store, Vec::new()).await, 4, "each was one version, and refused ones were none");
}

pub(crate) async fn a_code_that_two_homes_claim_names_neither(store: Shared) {
    let first = home("VM1AB", "First", &["VMX", "VM2AB"]);
    let second = home("VM2AB", "Second", &["VMX"]);
    import(&store, vec![first, second.clone()]).await;
    assert_eq!(store.directory_entry(&ods("VMX")).await, Ok(None));
    assert_eq!(store.directory_entry(&ods("VM2AB")).await, Ok(Some(second)), "an own code goes before a claimed one");
}

pub(crate) async fn checkpoints_only_grow(store: Shared) {
    assert_eq!(store.latest_checkpoint().await, Ok(None));
    let checkpoint = |size: u64| StoredCheckpoint { size, note: format!("note {size}\n") };
    for (size, stored) in [(0, true), (5, true), (5, false), (3, false), (9, true)] {
        assert_eq!(store.put_checkpoint(checkpoint(size)).await, Ok(stored), "{size}");
    }
    let other = StoredCheckpoint { note: "a split view\n".to_owned(), ..checkpoint(9) };
    assert_eq!(store.put_checkpoint(other).await, Ok(false));
    assert_eq!(store.latest_checkpoint().await, Ok(Some(checkpoint(9))));
    for (after, limit, found) in [
        (None, 9, vec![checkpoint(0), checkpoint(5), checkpoint(9)]),
        (None, 2, vec![checkpoint(0), checkpoint(5)]),
        (Some(0), 1, vec![checkpoint(5)]),
        (Some(5), 2, vec![checkpoint(9)]),
        (Some(9), 2, vec![]),
        (Some(u64::MAX), 2, vec![]),
    ] {
        assert_eq!(store.checkpoints(after, limit).await, Ok(found), "{limit} after {after:?}");
    }
    for (asked, found) in [
        (vec![], vec![]),
        (vec![4, u64::MAX], vec![]),
        (vec![5], vec![checkpoint(5)]),
        (vec![9, 3, 0, 9], vec![checkpoint(0), checkpoint(9)]),
    ] {
        assert_eq!(store.checkpoints_of(asked).await, Ok(found));
    }
}

pub(crate) async fn the_log_is_read_in_parts(store: Shared) {
    let rows: Vec<_> = (0..5).map(|_| row(AuditWord::Query)).collect();
    store.audit(rows.clone()).await.expect("committed");
    let entries = store.audit_entries(2, 2).await.expect("readable");
    assert_eq!(entries.iter().map(|e| e.index).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(entries[0].content.event(), Some(rows[2].event.as_slice()));
    let header = entries[0].entry.as_deref().expect("kept");
    assert_eq!(entries[0].leaf, onward_ledger::leaf_hash(header));
    let leaves = store.audit_leaves(1, 3).await.expect("readable");
    assert_eq!(leaves.len(), 3);
    assert_eq!(leaves[1..], entries.iter().map(|entry| entry.leaf).collect::<Vec<_>>());
    let columns = &entries[0].columns;
    assert_eq!((columns.id.as_str(), columns.recorded, columns.word.as_str()), (rows[2].id.as_str(), at(0), "query"));
    assert_eq!((columns.agent.as_deref(), &columns.patient), (Some("ward-system"), &None));
    assert!(store.audit_entries(5, 10).await.expect("readable").is_empty());
    assert!(store.audit_entries(u64::MAX, 10).await.expect("readable").is_empty());
    // Rows of one call stand or fall together.
    let taken = vec![row(AuditWord::Query), rows[0].clone()];
    assert!(store.audit(taken).await.is_err());
    assert_eq!(log(&store).await.len(), 5);
}

fn everything() -> AuditQuery {
    AuditQuery { limit: 100, ..AuditQuery::default() }
}

async fn found(store: &Shared, query: AuditQuery) -> Vec<u64> {
    store.search_audit(query).await.expect("readable").iter().map(|entry| entry.index).collect()
}

/// Accepts a message (entry 0), then: 1 an agent of a stranger, 2 the recipient about its copy, 3 nobody's.
async fn four_entries(store: &Shared) -> (AuditRow, AuditRow) {
    let mut message = acceptance(1);
    message.audit[0].transfer = Some(message.transfer.id);
    message.audit[0].patient = message.transfer.patient.clone();
    let accepted = message.audit[0].clone();
    let copy = accept_new(store, message).await;
    let stranger = AuditRow { organisation: Some(ods("RYJ")), recorded: at(10), ..row(AuditWord::Query) };
    let read = AuditRow {
        organisation: Some(ods("VM1AB")),
        agent: "home-system".to_owned(),
        delivery: Some(copy),
        patient: Some(patient(1)),
        recorded: at(5),
        ..row(AuditWord::Read)
    };
    let configured = AuditRow { recorded: at(20), ..row(AuditWord::Configure) };
    store.audit(vec![stranger, read.clone(), configured]).await.expect("committed");
    (accepted, read)
}

pub(crate) async fn an_organisation_finds_its_own_entries(store: Shared) {
    let (_, read) = four_entries(&store).await;
    assert_eq!(store.misfiled_audit().await.expect("readable"), None);
    let of = |code: &str| AuditQuery { organisation: Some(ods(code)), ..everything() };
    assert_eq!(found(&store, of("RXH")).await, [0], "what it sent");
    assert_eq!(found(&store, of("VM1AB")).await, [2], "what its agents did with what was addressed to it");
    assert_eq!(found(&store, of("RYJ")).await, [1], "what its agents did");
    assert!(found(&store, of("RZZ")).await.is_empty());
    assert_eq!(found(&store, everything()).await, [3, 1, 2, 0], "the newest first, by the time of recording");
    let foreign = AuditQuery { patient: Some(patient(1)), ..of("RYJ") };
    assert!(found(&store, foreign).await.is_empty(), "a person does not open another organisation's entries");
    let foreign = AuditQuery { entity: read.delivery.map(|id| id.to_string()), ..of("RYJ") };
    assert!(found(&store, foreign).await.is_empty(), "nor does a copy");
}

/// That PDS is asked is audited before the message is taken in, and is the sender's when it is; of one that never is, it is nobody's.
pub(crate) async fn what_was_asked_before_is_the_senders_too(store: Shared) {
    let mut message = acceptance(1);
    message.audit[0].transfer = Some(message.transfer.id);
    let asked =
        |transfer| AuditRow { transfer: Some(transfer), patient: Some(patient(1)), ..row(AuditWord::DirectoryLookup) };
    store.audit(vec![asked(message.transfer.id), asked(TransferId::random())]).await.expect("committed");
    let own = AuditQuery { organisation: Some(ods("RXH")), ..everything() };
    assert!(found(&store, own.clone()).await.is_empty(), "nothing was taken in");
    assert_eq!(store.misfiled_audit().await.expect("readable"), None);
    accept_new(&store, message).await;
    let mut entries = found(&store, own).await;
    entries.sort_unstable();
    assert_eq!(entries, [0, 2]);
    assert_eq!(store.misfiled_audit().await.expect("readable"), None);
}

pub(crate) async fn entries_are_found_by_what_they_say(store: Shared) {
    let (accepted, read) = four_entries(&store).await;
    for (query, expected) in [
        (AuditQuery { patient: Some(patient(1)), ..everything() }, vec![2, 0]),
        (AuditQuery { patient: Some(patient(2)), ..everything() }, vec![]),
        (AuditQuery { agent: Some("home-system".to_owned()), ..everything() }, vec![2]),
        (AuditQuery { agent: Some("RYJ".to_owned()), ..everything() }, vec![1]),
        (AuditQuery { entity: accepted.transfer.map(|id| id.to_string()), ..everything() }, vec![0]),
        (AuditQuery { entity: read.delivery.map(|id| id.to_string()), ..everything() }, vec![2]),
        (AuditQuery { from: Some(at(5)), until: Some(at(20)), ..everything() }, vec![1, 2]),
        (AuditQuery { words: vec![AuditWord::Read, AuditWord::Configure], ..everything() }, vec![3, 2]),
        (AuditQuery { words: vec![AuditWord::Read], patient: Some(patient(1)), ..everything() }, vec![2]),
    ] {
        assert_eq!(found(&store, query.clone()).await, expected, "{query:?}");
    }
    let entries = store.search_audit(AuditQuery { patient: Some(patient(1)), ..everything() }).await.expect("readable");
    assert_eq!((entries[0].event.as_ref(), entries[0].word), (Some(&read.event), AuditWord::Read));
    assert_eq!((&entries[0].patient, entries[0].recorded), (&read.patient, at(5)));
}

pub(crate) async fn found_entries_are_paged_from_the_newest(store: Shared) {
    let rows: Vec<_> = (0..7)
        .map(|n| AuditRow { organisation: Some(ods("RXH")), recorded: at(n / 2), ..row(AuditWord::Query) })
        .collect();
    store.audit(rows).await.expect("committed");
    for organisation in [None, Some(ods("RXH"))] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let query = AuditQuery { organisation: organisation.clone(), after, limit: 3, ..everything() };
            let page = store.search_audit(query).await.expect("readable");
            let Some(last) = page.last() else { break };
            after = Some((last.recorded, last.index));
            seen.extend(page.iter().map(|entry| entry.index));
        }
        assert_eq!(seen, [6, 5, 4, 3, 2, 1, 0]);
    }
}

pub(crate) async fn readiness_commits(store: Shared) {
    assert_eq!(store.ready().await, Ok(()));
    assert_eq!(store.ready().await, Ok(()));
}

pub(crate) async fn figures_tell_how_things_stand(store: Shared) {
    assert_eq!(store.figures(at(0)).await, Ok(Figures::default()));
    for n in 0..3 {
        let mut message = acceptance(n);
        message.transfer.received = at(i64::from(n));
        accept_new(&store, message).await;
    }
    let mut by_mesh = acceptance(3);
    by_mesh.deliveries[0].endpoint = Endpoint::Mesh { mailbox: "X26ABC3".parse().expect("a mailbox"), workflow: None };
    let id = by_mesh.deliveries[0].id;
    by_mesh.deliveries = [
        Endpoint::GpRouting { workflow: None },
        Endpoint::Https { url: "https://one.example".to_owned() },
        Endpoint::ProcessMessage { url: "https://one.example/fhir".to_owned() },
    ]
    .map(|endpoint| NewDelivery { endpoint, ..delivery(RecipientKind::CareHome, "VMH01") })
    .into_iter()
    .chain(by_mesh.deliveries)
    .collect();
    let [found, .., message] = [0, 1, 2].map(|n| by_mesh.deliveries[n].id);
    accept_new(&store, by_mesh).await;
    for (n, due) in [(4, 60), (5, 600)] {
        let mut held = acceptance(n);
        held.hold = Some(NewHold { due: at(due), ..hold() });
        held.deliveries.clear();
        store.accept(held).await.expect("committed");
    }
    store.audit(vec![row(AuditWord::Refuse), row(AuditWord::Query)]).await.expect("committed");
    let figures = store.figures(at(61)).await.expect("readable");
    assert_eq!((figures.accepted, figures.refused, figures.held), (6, 1, 2));
    assert_eq!((figures.holds_open, figures.holds_overdue), (2, 1));
    let queued = |transport, count, oldest| DeliveryFigure { state: DeliveryState::Queued, transport, count, oldest };
    let sorted = |mut of: Vec<DeliveryFigure>| {
        of.sort_by_key(|figure| (figure.state.as_str(), figure.transport.as_str()));
        of
    };
    let expected = [
        queued(TransportKind::Https, 2, at(0)),
        queued(TransportKind::Inbox, 3, at(0)),
        queued(TransportKind::Mesh, 2, at(0)),
    ];
    assert_eq!(sorted(figures.deliveries.clone()), expected, "however an endpoint is stored");
    for id in [found, message, id] {
        let failed = Transition {
            delivery: id,
            expected_version: 1,
            state: DeliveryState::Failed,
            code: Some("14".to_owned()),
            reason: None,
            at: at(62),
            responses: Vec::new(),
            audit: Vec::new(),
        };
        assert_eq!(store.transition(failed).await, Ok(true));
    }
    let failed = |figure: &DeliveryFigure| (figure.state == DeliveryState::Failed).then_some(figure.count);
    let now = sorted(store.figures(at(63)).await.expect("readable").deliveries);
    assert_eq!(now.iter().filter_map(failed).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(figures.unread, [], "nothing has left");
}

pub(crate) async fn what_nobody_has_read_is_told_by_kind_of_recipient(store: Shared) {
    // A practice that never answers, and a home's copy that came later.
    let mut ids = Vec::new();
    for (n, kind, acknowledgement_awaited) in [
        (1, RecipientKind::CoveringPractice, true),
        (2, RecipientKind::CareHome, false),
        (3, RecipientKind::CareHome, true),
        (4, RecipientKind::PharmacyReferral, false),
    ] {
        let mut message = acceptance(n);
        message.transfer.received = at(i64::from(n));
        message.deliveries = vec![NewDelivery { acknowledgement_awaited, ..delivery(kind, "VM1AB") }];
        ids.push(accept_new(&store, message).await);
    }
    let leases = store.claim(Claim::due(at(10), at(40), 10)).await.expect("claimable");
    assert_eq!(leases.len(), ids.len());
    for lease in leases {
        // By a push that was answered: it has arrived, and nobody has looked at it.
        let state = if lease.delivery.id == ids[0] { DeliveryState::Sent } else { DeliveryState::Received };
        let outcome = AttemptOutcome::Sent { state, reference: None };
        let end =
            AttemptEnd { delivery: lease.delivery.id, token: lease.token, outcome, at: at(11), audit: Vec::new() };
        assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    }
    let unread = async |now: i64| {
        let mut unread = store.figures(at(now)).await.expect("readable").unread;
        unread.sort_by_key(|(kind, _)| kind.as_str());
        unread
    };
    let (home, practice) = (RecipientKind::CareHome, RecipientKind::CoveringPractice);
    assert_eq!(unread(20).await, [(home, at(2)), (practice, at(1))], "nobody asked the pharmacy to answer");
    store.open_rendition(ids[1], at(21), None, Vec::new()).await.expect("committed").expect("there");
    assert_eq!(unread(22).await, [(home, at(3)), (practice, at(1))]);
    store.open_rendition(ids[2], at(23), None, Vec::new()).await.expect("committed").expect("there");
    assert_eq!(unread(24).await, [(practice, at(1))], "a silent practice hides no home");
    assert_eq!(unread(40 * 86_400).await, [], "what has been so for a month is history");
}

pub(crate) async fn the_schema_is_told(store: Shared) {
    let schema = store.schema().await.expect("readable");
    assert!(schema.stored == schema.known && !schema.is_newer() && schema.lets_serve(), "{schema:?}");
    assert!(schema.oldest_program.is_some_and(|oldest| oldest <= schema.known), "{schema:?}");
}
