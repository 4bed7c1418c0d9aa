//! People who sign in: accounts, invitations, credentials, sessions, ceremonies and failed attempts.

use jiff::SignedDuration;
use onward_core::audit::AuditWord;
use onward_core::people::{
    Ceremony, Credential, Invitation, Passkey, Password, Purpose, Role, Session, Strength, Subject, User,
};
use onward_core::store::people::{
    Change, CredentialChange, Device, Enrolment, FailedAttempt, FailedAttempts, PASSKEYS_MAX, Proof, ProviderLogout,
    SESSIONS_MAX, SignIn,
};
use onward_core::{SessionId, Timestamp, UserId};

use super::{Shared, at, at_once, log, ods, row};

pub(super) fn user(email: &str) -> User {
    User {
        id: UserId::random(),
        name: "Ada Example".to_owned(),
        email: email.to_owned(),
        role: Role::CareHomeUser,
        organisations: vec![ods("VMH01"), ods("VMH02")],
        subject: None,
        disabled: false,
    }
}

fn invitation(n: u8) -> Invitation {
    Invitation { hash: [n; 32], expires: at(3600) }
}

fn session(n: u8, user: UserId, since: Timestamp) -> Session {
    Session {
        id: SessionId::random(),
        hash: [n; 32],
        user,
        strength: Strength::PasswordAndCode,
        authenticated: since,
        last_seen: since,
        provider_session: Some("sid".to_owned()),
    }
}

fn device(n: u8) -> Device {
    Device { hash: [n; 32], expires: at(100_000) }
}

fn secret(step: u64) -> Credential {
    Credential::Password(Password { hash: "$argon2id$".to_owned(), totp_secret: vec![1, 2, 3], totp_step: step })
}

/// A code beside that password.
fn code(step: u64) -> Proof {
    Proof::Code { step, hash: "$argon2id$".to_owned() }
}

fn passkey(id: u8, counter: u32) -> Credential {
    Credential::Passkey(Passkey { id: vec![id; 16], public_key: vec![9; 70], counter, added: at(5) })
}

fn enrolment(n: u8, session: Session, credential: Credential) -> Enrolment {
    Enrolment { invitation: [n; 32], credential, session, device: device(n), audit: vec![row(AuditWord::SignIn)] }
}

fn entry(session: Session, proof: Proof) -> SignIn {
    SignIn { session, proof, replaces: None, device: device(1), audit: vec![row(AuditWord::SignIn)] }
}

async fn put(store: &Shared, user: &User, invitation: Option<Invitation>) -> bool {
    store.put_user(user.clone(), invitation, vec![row(AuditWord::Configure)]).await.expect("committed")
}

/// An account with a first session whose hash is `n`.
async fn enrolled(store: &Shared, n: u8, email: &str, credential: Credential) -> User {
    let user = user(email);
    assert!(put(store, &user, Some(invitation(n))).await);
    let enrolment = enrolment(n, session(n, user.id, at(10)), credential);
    assert!(store.enrol(enrolment).await.expect("committed"));
    user
}

async fn open(store: &Shared, n: u8) -> bool {
    store.session(&[n; 32], at(0), at(0)).await.expect("readable").is_some()
}

pub(crate) async fn accounts_are_replaced_and_share_no_address(store: Shared) {
    let subject = Subject { issuer: "https://idp.example".to_owned(), subject: "1".to_owned() };
    let ada = User { subject: Some(subject.clone()), ..user("ada@home.example") };
    assert!(put(&store, &ada, None).await);
    assert_eq!(store.user(ada.id).await, Ok(Some(ada.clone())));
    assert_eq!(store.user_by_email("ada@home.example").await, Ok(Some(ada.clone())));
    assert_eq!(store.user_by_subject(&subject).await, Ok(Some(ada.clone())));
    assert_eq!(store.user_by_subject(&Subject { subject: "2".to_owned(), ..subject.clone() }).await, Ok(None));
    assert!(!put(&store, &user("ada@home.example"), None).await, "the address is taken");
    let same_subject = User { subject: Some(subject), ..user("eve@home.example") };
    assert!(!put(&store, &same_subject, None).await, "the subject is taken");
    let moved = User { email: "a@home.example".to_owned(), disabled: true, ..ada.clone() };
    assert!(put(&store, &moved, None).await);
    let bob = User { role: Role::Operator, ..user("bob@home.example") };
    assert!(put(&store, &bob, None).await);
    assert_eq!(store.users().await, Ok(vec![moved, bob]));
    assert_eq!(log(&store).await.len(), 3, "what was not done is not audited");
}

pub(crate) async fn one_of_many_uses_of_an_invitation_wins(store: Shared) {
    let ada = user("ada@home.example");
    put(&store, &ada, Some(invitation(1))).await;
    assert_eq!(store.invited(&[1; 32], at(3600)).await, Ok(Some(ada.clone())));
    assert_eq!(store.invited(&[1; 32], at(3601)).await, Ok(None), "expired");
    assert_eq!(store.invited(&[2; 32], at(0)).await, Ok(None));
    let id = ada.id;
    let won = at_once(&store, 20, move |store, n| async move {
        let n = 100 + n.to_le_bytes()[0];
        let enrolment = Enrolment { invitation: [1; 32], ..enrolment(n, session(n, id, at(10)), secret(1)) };
        store.enrol(enrolment).await.expect("committed")
    })
    .await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(store.invited(&[1; 32], at(0)).await, Ok(None));
    assert_eq!(log(&store).await.len(), 2);
}

pub(crate) async fn an_invitation_replaces_what_was_lost(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", secret(7)).await;
    assert!(open(&store, 1).await);
    assert_eq!(store.password(ada.id).await.expect("readable").expect("there").totp_step, 7);
    // A newer invitation voids the older one; another person's session cannot ride on it.
    put(&store, &ada, Some(invitation(2))).await;
    put(&store, &ada, Some(invitation(3))).await;
    assert_eq!(store.invited(&[2; 32], at(0)).await, Ok(None));
    let bob = user("bob@home.example");
    put(&store, &bob, None).await;
    let of_bob = enrolment(3, session(3, bob.id, at(10)), secret(1));
    assert_eq!(store.enrol(of_bob).await, Ok(false));
    let late = enrolment(3, session(3, ada.id, at(3601)), secret(1));
    assert_eq!(store.enrol(late).await, Ok(false), "expired");
    assert!(open(&store, 1).await, "an invitation alone changes nothing");
    let again = enrolment(3, session(3, ada.id, at(20)), passkey(1, 0));
    assert_eq!(store.enrol(again).await, Ok(true));
    assert!(!open(&store, 1).await && open(&store, 3).await);
    assert_eq!(store.password(ada.id).await, Ok(None), "the lost password is void");
    assert_eq!(store.knows_device(ada.id, &[1; 32], at(0)).await, Ok(false), "and so is the lost device");
    // Disabling voids an open invitation.
    put(&store, &bob, Some(invitation(4))).await;
    put(&store, &User { disabled: true, ..bob.clone() }, None).await;
    put(&store, &bob, None).await;
    assert_eq!(store.invited(&[4; 32], at(0)).await, Ok(None));
}

pub(crate) async fn a_passkey_belongs_to_one_account(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", passkey(1, 5)).await;
    let (found, owner) = store.passkey(&[1; 16]).await.expect("readable").expect("there");
    assert_eq!((Credential::Passkey(found), owner), (passkey(1, 5), ada.clone()));
    assert_eq!(store.passkey(&[2; 16]).await, Ok(None));
    let bob = user("bob@home.example");
    put(&store, &bob, Some(invitation(2))).await;
    let stolen = enrolment(2, session(2, bob.id, at(10)), passkey(1, 0));
    assert_eq!(store.enrol(stolen).await, Ok(false));
    assert!(store.invited(&[2; 32], at(0)).await.expect("readable").is_some(), "nothing was used up");
    put(&store, &ada, Some(invitation(3))).await;
    let anew = enrolment(3, session(3, ada.id, at(10)), passkey(1, 0));
    assert_eq!(store.enrol(anew).await, Ok(true), "one's own may be set up anew");
}

pub(crate) async fn a_code_and_a_counter_work_once(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", secret(7)).await;
    let tried =
        async |n: u8, step| store.sign_in(entry(session(n, ada.id, at(20)), code(step))).await.expect("committed");
    assert!(!tried(10, 7).await, "the code of the enrolment");
    assert!(tried(11, 8).await && !tried(12, 8).await && !tried(13, 6).await && tried(14, 9).await);
    let changed_meanwhile = Proof::Code { step: 10, hash: "$argon2id$before".to_owned() };
    assert_eq!(store.sign_in(entry(session(15, ada.id, at(20)), changed_meanwhile)).await, Ok(false));
    assert!(!open(&store, 15).await, "checked against a password that is the account's no more");
    assert!(!open(&store, 12).await && open(&store, 14).await);

    let bob = enrolled(&store, 2, "bob@home.example", passkey(2, 5)).await;
    let eve = enrolled(&store, 3, "eve@home.example", passkey(3, 0)).await;
    let counter = async |n: u8, user: &User, id: u8, counter| {
        let proof = Proof::Counter { id: vec![id; 16], counter };
        store.sign_in(entry(session(n, user.id, at(20)), proof)).await.expect("committed")
    };
    assert!(!counter(20, &bob, 2, 5).await && !counter(21, &bob, 2, 0).await && counter(22, &bob, 2, 6).await);
    assert!(counter(23, &eve, 3, 0).await && counter(24, &eve, 3, 0).await, "an authenticator without a counter");
    assert!(counter(25, &eve, 3, 1).await && !counter(26, &eve, 3, 0).await, "one that began to count");
    assert!(!counter(27, &eve, 2, 9).await, "another's passkey");
    let id = ada.id;
    let won = at_once(&store, 20, move |store, n| async move {
        let session = session(100 + n.to_le_bytes()[0], id, at(30));
        store.sign_in(entry(session, code(50))).await.expect("committed")
    })
    .await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
}

pub(crate) async fn a_session_dies_with_what_it_rests_on(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", secret(7)).await;
    let of = async |seen: i64, authenticated: i64| {
        let found = store.session(&[1; 32], at(seen), at(authenticated)).await.expect("readable");
        found.map(|(session, user)| (session.last_seen, user))
    };
    assert_eq!(of(10, 10).await, Some((at(10), ada.clone())));
    assert_eq!(of(11, 10).await, None, "idle");
    store.touch_session(&[1; 32], at(500)).await.expect("committed");
    store.touch_session(&[1; 32], at(400)).await.expect("committed");
    assert_eq!(of(500, 10).await, Some((at(500), ada.clone())), "being seen earlier makes it no older");
    assert_eq!(of(10, 11).await, None, "too old");

    put(&store, &User { name: "Ada Other".to_owned(), ..ada.clone() }, None).await;
    assert!(open(&store, 1).await, "a new name changes nothing");
    let ends = [
        User { disabled: true, ..ada.clone() },
        User { role: Role::Operator, ..ada.clone() },
        User { organisations: vec![ods("VMH01")], ..ada.clone() },
    ];
    for (n, end) in (10..).zip(ends) {
        put(&store, &ada, None).await;
        let proof = code(u64::from(n));
        assert!(store.sign_in(entry(session(n, ada.id, at(20)), proof)).await.expect("committed"));
        assert!(open(&store, n).await);
        put(&store, &end, None).await;
        assert!(!open(&store, n).await, "{n}");
        put(&store, &ada, None).await;
        assert!(!open(&store, n).await, "{n}: void stays void");
    }
    put(&store, &User { disabled: true, ..ada.clone() }, None).await;
    let disabled = entry(session(30, ada.id, at(20)), code(90));
    assert_eq!(store.sign_in(disabled).await, Ok(false));
    assert!(!open(&store, 30).await);
}

pub(crate) async fn a_new_session_replaces_that_of_its_browser(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", secret(7)).await;
    let next = SignIn { replaces: Some([1; 32]), ..entry(session(2, ada.id, at(20)), code(8)) };
    assert_eq!(store.sign_in(next).await, Ok(true));
    assert!(!open(&store, 1).await && open(&store, 2).await);
    assert_eq!(store.knows_device(ada.id, &[1; 32], at(100_000)).await, Ok(true));
    assert_eq!(store.knows_device(ada.id, &[1; 32], at(100_001)).await, Ok(false));
    assert_eq!(store.knows_device(UserId::random(), &[1; 32], at(0)).await, Ok(false));
    let before = log(&store).await.len();
    assert_eq!(store.end_session(&[2; 32], vec![row(AuditWord::SignOut)]).await, Ok(true));
    assert_eq!(store.end_session(&[2; 32], vec![row(AuditWord::SignOut)]).await, Ok(false));
    assert!(!open(&store, 2).await);
    assert_eq!(log(&store).await.len(), before + 1);
}

fn subject(n: u32) -> Subject {
    Subject { issuer: "https://idp.example".to_owned(), subject: n.to_string() }
}

pub(crate) async fn a_subject_stands_for_one_account(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", Credential::Subject(subject(1))).await;
    let found = store.user_by_subject(&subject(1)).await.expect("readable").expect("there");
    assert_eq!(found, User { subject: Some(subject(1)), ..ada.clone() });
    let bob = user("bob@home.example");
    put(&store, &bob, Some(invitation(2))).await;
    let stolen = enrolment(2, session(2, bob.id, at(10)), Credential::Subject(subject(1)));
    assert_eq!(store.enrol(stolen).await, Ok(false));
    assert!(store.invited(&[2; 32], at(0)).await.expect("readable").is_some(), "nothing was used up");
    put(&store, &found, Some(invitation(3))).await;
    let anew = enrolment(3, session(3, ada.id, at(20)), secret(1));
    assert_eq!(store.enrol(anew).await, Ok(true));
    assert_eq!(store.user_by_subject(&subject(1)).await, Ok(None), "what the account had is void");
}

pub(crate) async fn a_providers_logout_ends_its_sessions_once(store: Shared) {
    enrolled(&store, 1, "ada@home.example", Credential::Subject(subject(1))).await;
    enrolled(&store, 2, "bob@home.example", Credential::Subject(subject(2))).await;
    let eve = enrolled(&store, 3, "eve@home.example", secret(1)).await;
    let logout = async |token: u8, of: Option<u32>, session: Option<&str>| {
        let logout = ProviderLogout {
            issuer: "https://idp.example".to_owned(),
            subject: of.map(|n| n.to_string()),
            provider_session: session.map(str::to_owned),
            token: [token; 32],
            token_until: at(300),
            audit: vec![row(AuditWord::SignOut)],
        };
        store.end_provider_sessions(logout).await.expect("committed")
    };
    let before = log(&store).await.len();
    assert!(logout(1, Some(1), Some("another")).await);
    assert!(open(&store, 1).await, "another session of hers");
    assert!(logout(2, Some(1), Some("sid")).await);
    assert!(!open(&store, 1).await && open(&store, 2).await);
    assert!(!logout(2, Some(2), None).await, "the token was used");
    assert!(open(&store, 2).await);
    assert!(logout(3, None, Some("sid")).await);
    assert!(!open(&store, 2).await && open(&store, 3).await, "an account that the provider does not vouch for");
    assert_eq!(log(&store).await.len(), before + 3);
    assert_eq!(store.user(eve.id).await.expect("readable").map(|user| user.disabled), Some(false));
}

pub(crate) async fn one_of_many_takers_gets_a_ceremony(store: Shared) {
    let begun = Ceremony {
        hash: [1; 32],
        purpose: Purpose::Assertion,
        user: Some(UserId::random()),
        data: "remembered".to_owned(),
        expires: at(300),
    };
    store.put_ceremony(begun.clone(), at(0)).await.expect("committed");
    assert_eq!(store.take_ceremony(&[1; 32], Purpose::Registration, at(0)).await, Ok(None), "for something else");
    assert_eq!(store.take_ceremony(&[1; 32], Purpose::Assertion, at(301)).await, Ok(None), "too late");
    let taken = at_once(&store, 20, |store, _| async move {
        store.take_ceremony(&[1; 32], Purpose::Assertion, at(300)).await.expect("committed")
    })
    .await;
    assert_eq!(taken.into_iter().flatten().collect::<Vec<_>>(), vec![begun]);
}

pub(crate) async fn failed_attempts_are_counted_and_forgotten(store: Shared) {
    let fail = async |account: u8, address: u8, second_factor, seconds| {
        let failed = FailedAttempt { account: [account; 32], address: [address; 32], second_factor, at: at(seconds) };
        let audit = vec![row(AuditWord::Deny)];
        store.note_failure(failed, SignedDuration::from_secs(1000), audit).await.expect("committed");
    };
    let counted = async |seconds| store.failures(&[1; 32], &[9; 32], at(seconds)).await.expect("readable");
    assert_eq!(counted(0).await, FailedAttempts::default());
    fail(1, 9, false, 10).await;
    fail(1, 8, true, 20).await;
    fail(2, 9, false, 30).await;
    assert_eq!(counted(0).await, FailedAttempts { pair: 1, address: 2, account: 2, second_factor: 1 });
    assert_eq!(counted(15).await, FailedAttempts { pair: 0, address: 1, account: 1, second_factor: 1 });
    fail(3, 7, false, 1021).await;
    assert_eq!(counted(0).await, FailedAttempts { pair: 0, address: 1, account: 0, second_factor: 0 });
    assert_eq!(log(&store).await.len(), 4);
}

/// A change by whoever holds the session whose hash is `keep`.
async fn changed(store: &Shared, user: UserId, keep: u8, change: Change) -> bool {
    let audit = vec![row(AuditWord::Configure)];
    let change = CredentialChange { user, change, keep: [keep; 32], audit };
    store.change_credentials(change).await.expect("committed")
}

fn only_passkey(id: u8) -> Passkey {
    match passkey(id, 0) {
        Credential::Passkey(passkey) => passkey,
        Credential::Password(_) | Credential::Subject(_) => unreachable!("it is a passkey"),
    }
}

pub(crate) async fn people_change_what_they_are_recognised_by(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", secret(7)).await;
    let bob = enrolled(&store, 2, "bob@home.example", passkey(2, 0)).await;
    let beside = entry(session(3, ada.id, at(20)), code(8));
    assert_eq!(store.sign_in(beside).await, Ok(true));
    let before = log(&store).await.len();
    let password = |old: &str| Change::Password { old: old.to_owned(), new: "$argon2id$new".to_owned() };
    assert!(!changed(&store, ada.id, 3, password("$argon2id$other")).await, "it is not the password any more");
    assert!(!changed(&store, bob.id, 2, password("$argon2id$")).await, "there is none");
    assert!(!changed(&store, ada.id, 3, Change::RemovePasskey { id: vec![2; 16] }).await, "another's");
    assert!(!changed(&store, ada.id, 3, Change::AddPasskey(only_passkey(2))).await, "another's");
    assert!(!changed(&store, bob.id, 2, Change::RemovePasskey { id: vec![2; 16] }).await, "nothing would be left");
    assert!(open(&store, 1).await && open(&store, 3).await, "what fails ends nothing");
    assert_eq!(log(&store).await.len(), before, "and is not audited as done");

    assert!(changed(&store, ada.id, 3, password("$argon2id$")).await);
    assert!(!open(&store, 1).await && open(&store, 3).await && open(&store, 2).await, "only one's other sessions end");
    let stored = store.password(ada.id).await.expect("readable").expect("there");
    assert_eq!((stored.hash.as_str(), stored.totp_step, stored.totp_secret), ("$argon2id$new", 8, vec![1, 2, 3]));
    assert_eq!(log(&store).await.len(), before + 1);

    assert!(changed(&store, bob.id, 2, Change::AddPasskey(only_passkey(9))).await);
    let has = store.credentials(bob.id).await.expect("readable");
    assert_eq!((has.password, has.passkeys.len()), (false, 2));
    assert!(changed(&store, bob.id, 2, Change::RemovePasskey { id: vec![2; 16] }).await, "another is left");
    assert_eq!(store.credentials(bob.id).await.expect("readable").passkeys, vec![only_passkey(9)]);
    for n in 0..PASSKEYS_MAX {
        let id = 100 + n.to_le_bytes()[0];
        assert_eq!(changed(&store, ada.id, 3, Change::AddPasskey(only_passkey(id))).await, n < PASSKEYS_MAX, "{n}");
    }
    assert!(!changed(&store, ada.id, 3, Change::AddPasskey(only_passkey(200))).await, "one too many");
    put(&store, &User { disabled: true, ..ada.clone() }, None).await;
    assert!(!changed(&store, ada.id, 3, password("$argon2id$new")).await, "disabled");
}

pub(crate) async fn people_see_and_end_their_own_sessions(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", secret(7)).await;
    let bob = enrolled(&store, 2, "bob@home.example", secret(7)).await;
    for (n, step) in [(3, 8), (4, 9)] {
        let more = entry(session(n, ada.id, at(10 + i64::from(n))), code(step));
        assert_eq!(store.sign_in(more).await, Ok(true));
    }
    let seen = async |seen: i64, authenticated: i64| {
        let found = store.sessions_of(ada.id, at(seen), at(authenticated)).await.expect("readable");
        found.iter().map(|session| session.hash[0]).collect::<Vec<_>>()
    };
    assert_eq!(seen(0, 0).await, [4, 3, 1]);
    assert_eq!(seen(14, 0).await, [4], "idle for too long");
    assert_eq!(seen(0, 13).await, [4, 3], "too old");
    let before = log(&store).await.len();
    let of_bob = store.sessions_of(bob.id, at(0), at(0)).await.expect("readable")[0].id;
    let name = store.sessions_of(ada.id, at(0), at(0)).await.expect("readable")[1].id;
    let end = async |session, keep: u8| {
        let audit = vec![row(AuditWord::SignOut)];
        store.end_sessions_of(ada.id, session, &[keep; 32], audit).await.expect("committed")
    };
    assert_eq!(end(Some(of_bob), 4).await, 0, "another's");
    assert_eq!(end(Some(name), 3).await, 0, "the one that one sits in goes by signing out");
    assert_eq!(log(&store).await.len(), before, "nothing was done");
    assert_eq!(end(Some(name), 4).await, 1);
    assert_eq!(seen(0, 0).await, [4, 1]);
    assert_eq!(end(None, 4).await, 1);
    assert_eq!(seen(0, 0).await, [4]);
    assert!(open(&store, 2).await);
    assert_eq!(log(&store).await.len(), before + 2);
}

pub(crate) async fn sessions_side_by_side_are_limited(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", secret(7)).await;
    for n in 1..=SESSIONS_MAX {
        let hash = 10 + n.to_le_bytes()[0];
        let more = entry(session(hash, ada.id, at(10 + i64::from(n))), code(u64::from(n) + 7));
        assert_eq!(store.sign_in(more).await, Ok(true));
    }
    let open_ones = store.sessions_of(ada.id, at(0), at(0)).await.expect("readable");
    assert_eq!(open_ones.len(), SESSIONS_MAX as usize);
    assert!(!open(&store, 1).await && open(&store, 11).await, "that which began first has ended");
}

pub(crate) async fn looks_that_follow_one_another_are_one(store: Shared) {
    let ada = enrolled(&store, 1, "ada@home.example", secret(7)).await;
    let bob = enrolled(&store, 2, "bob@home.example", secret(7)).await;
    let before = log(&store).await.len();
    let look = async |user, second| {
        let spell = SignedDuration::from_secs(900);
        store.look(user, at(second), spell, vec![row(AuditWord::Query)]).await.expect("committed")
    };
    assert_eq!(look(ada.id, 100).await, None, "the first ever");
    assert_eq!(look(ada.id, 900).await, None, "still the same");
    assert_eq!(look(ada.id, 3000).await, Some(at(900)));
    assert_eq!(look(ada.id, 3800).await, Some(at(900)), "she is still at it");
    assert_eq!(look(ada.id, 4701).await, Some(at(3800)));
    assert_eq!(look(bob.id, 5000).await, None, "somebody else's looks");
    assert_eq!(log(&store).await.len(), before + 6);
    let taken = row(AuditWord::Query);
    store.audit(vec![taken.clone()]).await.expect("committed");
    assert!(store.look(ada.id, at(9000), SignedDuration::from_secs(900), vec![taken]).await.is_err());
    assert_eq!(look(ada.id, 9001).await, Some(at(4701)), "what was not audited was no look");
}
