//! `/account`: people change what they are recognised by, and see where they are signed in.

use onward_core::people::{Role, Strength};
use onward_tests::authenticator::Authenticator;
use onward_tests::browser::{self, Browser, PASSWORD, Page, Person};
use onward_tests::world::World;
use serde_json::{Value, json};

const ADA: &str = "ada@rowan.example";
const NEW: &str = "seven quiet marble stairs";

async fn change_password(person: &Person, current: &str, new: &str, again: &str) -> Page {
    let fields = [("current", current), ("password", new), ("again", again)];
    person.browser.post("/account/password", &fields).await
}

async fn ask(browser: &Browser, path: &str, body: &Value) -> (u16, Value) {
    let page = browser.send("POST", path, &[("content-type", "application/json")], body.to_string()).await;
    (page.status, serde_json::from_str(&page.text).unwrap_or_default())
}

/// A session that began so long ago that nothing grave may be done with it.
fn age_sessions(world: &World) {
    world.tamper("UPDATE sessions SET authenticated = authenticated - 600000000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_by_who_knows_it() {
    let world = World::start().await;
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let elsewhere = Browser::new(&world);
    assert_eq!(ada.sign_in(&elsewhere).await.status, 303);
    assert!(ada.browser.get("/").await.text.contains("href=\"/account\""));
    let page = ada.browser.get("/account").await;
    assert!(page.text.contains("action=\"/account/password\"") && page.text.contains(ADA));
    assert!(!page.text.contains("You have one, with codes"), "{}", page.text);

    for (current, new, again, told) in [
        (PASSWORD, "short", "short", "12 to 128 characters"),
        (PASSWORD, "manchesterunited", "manchesterunited", "easy to guess"),
        (PASSWORD, NEW, "another one altogether", "not the same"),
        ("kettle lamp orbit ten", NEW, NEW, "present password is not right"),
        ("", NEW, NEW, "present password is not right"),
    ] {
        let page = change_password(&ada, current, new, again).await;
        assert_eq!(page.status, 422, "{told}");
        assert!(page.text.contains(told) && page.text.contains("There is a problem"), "{told}: {}", page.text);
        assert!(!page.text.contains(NEW) && !page.text.contains("another one"), "a password is never shown");
    }
    assert_eq!(elsewhere.get("/").await.status, 200, "nothing has changed");
    assert_eq!(world.logged("sign-in refused: present password, to change it").await, 2);

    let done = change_password(&ada, PASSWORD, NEW, NEW).await;
    assert_eq!((done.status, done.location()), (303, Some("/account?done=password")));
    assert!(ada.browser.get("/account?done=password").await.text.contains("Your password is changed"));
    assert_eq!(elsewhere.get("/").await.status, 303, "signed out elsewhere");
    // As if time had passed: a code works once.
    world.tamper("UPDATE passwords SET totp_step = 0");
    let with = async |password: &str| {
        let code = ada.code(1);
        let fields = [("email", ADA), ("password", password), ("code", code.as_str())];
        Browser::new(&world).post("/sign-in", &fields).await.status
    };
    assert_eq!(with(PASSWORD).await, 401, "the old one is void");
    assert_eq!(with(NEW).await, 303, "the codes are the same ones");
    assert_eq!(world.logged("password changed, other sessions ended").await, 1);
    assert_eq!(world.logged("marble").await, 0);
}

/// Whoever finds a browser open cannot change what its owner is recognised by, nor guess the password through the form.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_was_left_open_changes_nothing() {
    let world = World::start().await;
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    for n in 0..5 {
        let page = change_password(&ada, &format!("guess number {n}"), NEW, NEW).await;
        assert!(page.text.contains("present password is not right"), "{n}");
    }
    let page = change_password(&ada, PASSWORD, NEW, NEW).await;
    assert!(page.status == 422 && page.text.contains("too many attempts"), "not even the right one: {}", page.text);

    age_sessions(&world);
    let page = ada.browser.get("/account").await;
    assert!(page.text.contains("sign in again") && !page.text.contains("<form method=\"post\" action=\"/account"));
    for path in ["/account/password", "/account/passkey/remove", "/account/sessions"] {
        let page = ada.browser.post(path, &[("session", "all")]).await;
        assert_eq!((page.status, page.location()), (303, Some("/sign-in?next=%2Faccount&again=1")), "{path}");
    }
    for path in ["/account/passkey/challenge", "/account/passkey"] {
        let (status, said) = ask(&ada.browser, path, &json!({})).await;
        assert_eq!(status, 403, "{path}");
        assert!(said["problem"].as_str().is_some_and(|problem| problem.contains("more than five minutes")), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_passkey_is_set_up_and_the_first_removed() {
    let world = World::start().await;
    let origin = world.base().origin().ascii_serialization();
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let bob = browser::person(&world, "bob@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let challenge = async |browser: &Browser| ask(browser, "/account/passkey/challenge", &json!({})).await.1;
    let mut phone = Authenticator::new(&origin);
    let stolen = phone.create(&challenge(&ada.browser).await);
    assert_eq!(ask(&bob.browser, "/account/passkey", &stolen).await.0, 401, "made for another account");
    assert_eq!(ask(&ada.browser, "/account/passkey", &stolen).await.0, 401, "and used up");

    let first = phone.create(&challenge(&ada.browser).await);
    let added = ask(&ada.browser, "/account/passkey", &first).await;
    assert_eq!(added, (200, json!({ "next": "/account?done=passkey" })));
    let options = challenge(&ada.browser).await;
    assert_eq!(options["excludeCredentials"][0]["id"], first["id"], "a device that has one makes no other");
    assert_eq!(ask(&ada.browser, "/account/passkey", &phone.create(&options)).await.0, 409, "the same one again");
    let mut key = Authenticator::new(&origin);
    let second = key.create(&challenge(&ada.browser).await);
    assert_eq!(ask(&ada.browser, "/account/passkey", &second).await.0, 200);

    let sign_in = async |authenticator: &mut Authenticator| {
        let browser = Browser::new(&world);
        let (_, options) = ask(&browser, "/sign-in/passkey/challenge", &json!({})).await;
        (ask(&browser, "/sign-in/passkey", &authenticator.get(&options)).await.0, browser)
    };
    assert_eq!(sign_in(&mut phone).await.0, 200);
    let (status, with_key) = sign_in(&mut key).await;
    assert_eq!(status, 200);
    let id = first["id"].as_str().expect("an id");
    assert_eq!(bob.browser.post("/account/passkey/remove", &[("passkey", id)]).await.status, 422, "another's");
    let removed = ada.browser.post("/account/passkey/remove", &[("passkey", id)]).await;
    assert_eq!((removed.status, removed.location()), (303, Some("/account?done=removed")));
    assert_eq!(with_key.get("/").await.status, 303, "signed out elsewhere");
    assert_eq!(sign_in(&mut phone).await.0, 401);
    assert_eq!(sign_in(&mut key).await.0, 200);
    assert_eq!(ada.browser.post("/account/passkey/remove", &[("passkey", id)]).await.status, 422, "it is gone");
    for (text, times) in [("passkey added, other sessions ended", 2), ("passkey removed, other sessions ended", 1)] {
        assert_eq!(world.logged(text).await, times, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_where_they_are_signed_in_and_end_it() {
    let world = World::start().await;
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let bob = browser::person(&world, "bob@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let elsewhere = Browser::new(&world);
    assert_eq!(ada.sign_in(&elsewhere).await.status, 303);
    let page = ada.browser.get("/account").await;
    assert_eq!(page.text.matches("by password and code").count(), 2, "{}", page.text);
    assert_eq!(page.text.matches("<strong>Here</strong>").count(), 1);
    let store = world.gateway().store();
    let sessions = async |who: &Person| {
        let epoch = onward_core::Timestamp::UNIX_EPOCH;
        store.sessions_of(who.user.id, epoch, epoch).await.expect("readable")
    };
    let names = sessions(&ada).await;
    assert!(names.iter().all(|session| session.strength == Strength::PasswordAndCode));
    let of_elsewhere = names[0].id.to_string();
    let of_bob = sessions(&bob).await[0].id.to_string();
    let end = async |session: &str| ada.browser.post("/account/sessions", &[("session", session)]).await.status;
    assert_eq!(end(&of_bob).await, 303, "said the same as if there were none");
    assert_eq!(bob.browser.get("/").await.status, 200, "another's session goes on");
    assert_eq!(end("rubbish").await, 400);
    assert_eq!(end(&of_elsewhere).await, 303);
    assert_eq!(elsewhere.get("/").await.status, 303);
    assert_eq!(ada.browser.get("/").await.status, 200);
    let own = sessions(&ada).await[0].id.to_string();
    assert_eq!(end(&own).await, 303);
    assert_eq!(end("all").await, 303);
    assert_eq!(ada.browser.get("/").await.status, 200, "the one that asks goes on");
    assert_eq!(world.logged(&format!("session {of_elsewhere} ended from session {own}")).await, 1);
    assert_eq!(world.logged("all other sessions ended").await, 0, "there was no other");
}
