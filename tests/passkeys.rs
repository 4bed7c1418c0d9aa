//! Passkeys (trust.md §6, rows 111 and 112), by a software authenticator. The verifier has the standard's own vectors.

use onward_core::people::Role;
use onward_tests::authenticator::Authenticator;
use onward_tests::browser::{self, Browser};
use onward_tests::world::World;
use serde_json::{Value, json};

const ADA: &str = "ada@rowan.example";

/// Browsers give passkeys to names, never to addresses.
fn origin(world: &World) -> String {
    world.base().origin().ascii_serialization()
}

async fn ask(browser: &Browser, path: &str, body: &Value) -> (u16, Value) {
    let page = browser.send("POST", path, &[("content-type", "application/json")], body.to_string()).await;
    (page.status, serde_json::from_str(&page.text).unwrap_or_default())
}

async fn options(browser: &Browser, path: &str) -> Value {
    let (status, options) = ask(browser, path, &json!({})).await;
    assert_eq!(status, 200);
    options
}

/// A person whose account is set up with a passkey.
async fn registered(world: &World, email: &str, mut authenticator: Authenticator) -> (Browser, Authenticator) {
    let (_, path) = browser::invited(world, email, Role::CareHomeUser, &["VMH01"]).await;
    let browser = Browser::new(world);
    let options = options(&browser, &format!("{path}/passkey/challenge")).await;
    assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(options["attestation"], "none");
    let answer = authenticator.create(&options);
    let (status, said) = ask(&browser, &format!("{path}/passkey"), &answer).await;
    assert_eq!((status, &said["next"]), (200, &json!("/")), "{said}");
    let again = ask(&browser, &format!("{path}/passkey"), &answer).await;
    assert_eq!(again.0, 404, "the invitation is used up");
    (browser, authenticator)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_set_up_and_signs_in() {
    let world = World::start().await;
    let (browser, mut authenticator) = registered(&world, ADA, Authenticator::new(&origin(&world))).await;
    let start = browser.get("/").await;
    assert!(start.text.contains("Signed in as Person ada"), "{}", start.text);
    let other = Browser::new(&world);
    for _ in 0..2 {
        let options = options(&other, "/sign-in/passkey/challenge").await;
        assert_eq!((&options["userVerification"], options.get("allowCredentials")), (&json!("required"), None));
        let answer = ask(&other, "/sign-in/passkey", &authenticator.get(&options)).await;
        assert_eq!(answer, (200, json!({ "next": "/" })));
        assert_eq!(other.get("/").await.status, 200);
    }
    let entries = world.gateway().store().audit_entries(0, 1000).await.expect("readable");
    let log: Vec<String> =
        entries.iter().map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned()).collect();
    assert_eq!(log.iter().filter(|event| event.contains("\"sign-in: passkey, session ")).count(), 3);
    let script = other.get("/sign-in/passkey.js").await;
    assert_eq!(script.status, 200);
    assert!(script.headers["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/javascript")));
    for path in ["/sign-in?again=1", &browser::invited(&world, "b@rowan.example", Role::Operator, &["Y99900"]).await.1]
    {
        let page = other.get(path).await;
        assert!(page.text.contains("<script src=\"/sign-in/passkey.js\" defer></script>"), "{path}");
        assert!(!page.text.contains("onclick") && !page.text.contains("style="), "{path}");
    }
}

/// Rows 111 and 112, and what else an authenticator or a thief may get wrong.
#[tokio::test(flavor = "multi_thread")]
async fn rows_111_and_112_replayed_and_foreign_answers() {
    let world = World::start().await;
    let origin = origin(&world);
    let (_, mut ada) = registered(&world, ADA, Authenticator::new(&origin)).await;
    let (_, mut bob) = registered(&world, "bob@rowan.example", Authenticator::new(&origin)).await;
    let browser = Browser::new(&world);
    let challenge = async || options(&browser, "/sign-in/passkey/challenge").await;
    let sign_in = async |answer: &Value| ask(&browser, "/sign-in/passkey", answer).await.0;

    let answer = ada.get(&challenge().await);
    assert_eq!(sign_in(&answer).await, 200);
    assert_eq!(sign_in(&answer).await, 401, "row 111: the same answer again");
    browser.set_cookie("__Host-sid", None);

    ada.origin = "https://onward.evil.example".to_owned();
    let options = challenge().await;
    assert_eq!(sign_in(&ada.get(&options)).await, 401, "row 112");
    ada.origin.clone_from(&origin);
    assert_eq!(sign_in(&ada.get(&options)).await, 401, "row 111: what failed has used the challenge up");
    ada.verifies = false;
    assert_eq!(sign_in(&ada.get(&challenge().await)).await, 401, "a touch alone is not enough");
    ada.verifies = true;

    let mut invented = challenge().await;
    invented["challenge"] = json!("A".repeat(43));
    assert_eq!(sign_in(&ada.get(&invented)).await, 401, "a challenge that is not ours");
    let mut elsewhere = challenge().await;
    elsewhere["rpId"] = json!("evil.example");
    assert_eq!(sign_in(&ada.get(&elsewhere)).await, 401, "made for another site");
    let mut stolen = bob.get(&challenge().await);
    stolen["id"] = ada.get(&challenge().await)["id"].clone();
    assert_eq!(sign_in(&stolen).await, 401, "another's signature");
    let mut swapped = bob.get(&challenge().await);
    swapped["response"]["userHandle"] = ada.get(&challenge().await)["response"]["userHandle"].clone();
    assert_eq!(sign_in(&swapped).await, 401, "another's account");
    let unknown = Authenticator::new(&origin).get(&challenge().await);
    assert_eq!(sign_in(&unknown).await, 401, "a passkey that nobody has");
    for rubbish in [json!({}), json!({ "id": 1 }), json!("x")] {
        assert_eq!(sign_in(&rubbish).await, 400);
    }
    assert_eq!(browser.cookie("__Host-sid"), None);
    let entries = world.gateway().store().audit_entries(0, 1000).await.expect("readable");
    let log: Vec<String> =
        entries.iter().map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned()).collect();
    assert_eq!(log.iter().filter(|event| event.contains("\"deny: sign-in refused: ")).count(), 9, "one of each");
    assert_eq!(sign_in(&bob.get(&challenge().await)).await, 200, "the right one still works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_authenticator_is_found_by_its_counter() {
    let world = World::start().await;
    let mut counting = Authenticator::new(&origin(&world));
    counting.counter = 10;
    let (browser, mut counting) = registered(&world, ADA, counting).await;
    let sign_in = async |authenticator: &mut Authenticator| {
        let options = options(&browser, "/sign-in/passkey/challenge").await;
        ask(&browser, "/sign-in/passkey", &authenticator.get(&options)).await.0
    };
    assert_eq!(sign_in(&mut counting).await, 200);
    counting.counter -= 1;
    assert_eq!(sign_in(&mut counting).await, 401, "a number that was used before");
    assert_eq!(sign_in(&mut counting).await, 200, "the next one");
}

/// Nobody who holds no invitation sets anything up, and a challenge serves the account that it was made for.
#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_set_up_by_whoever_is_invited() {
    let world = World::start().await;
    let browser = Browser::new(&world);
    let unknown = format!("/invitation/{}/passkey/challenge", "A".repeat(43));
    assert_eq!(ask(&browser, &unknown, &json!({})).await.0, 404);
    let (_, ada) = browser::invited(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let (_, bob) = browser::invited(&world, "bob@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let mut authenticator = Authenticator::new(&origin(&world));
    let of_ada = options(&browser, &format!("{ada}/passkey/challenge")).await;
    let answer = authenticator.create(&of_ada);
    assert_eq!(ask(&browser, &format!("{bob}/passkey"), &answer).await.0, 401, "made for another account");
    assert_eq!(ask(&browser, &format!("{ada}/passkey"), &answer).await.0, 401, "and used up");
    let signs_in = options(&browser, "/sign-in/passkey/challenge").await;
    let mut mixed = of_ada.clone();
    mixed["challenge"] = signs_in["challenge"].clone();
    let mixed = authenticator.create(&mixed);
    assert_eq!(ask(&browser, &format!("{ada}/passkey"), &mixed).await.0, 401, "a challenge of a sign-in");
    authenticator.verifies = false;
    let answer = authenticator.create(&options(&browser, &format!("{ada}/passkey/challenge")).await);
    assert_eq!(ask(&browser, &format!("{ada}/passkey"), &answer).await.0, 401, "a touch alone is not enough");
    authenticator.verifies = true;
    let answer = authenticator.create(&options(&browser, &format!("{ada}/passkey/challenge")).await);
    assert_eq!(ask(&browser, &format!("{ada}/passkey"), &answer).await.0, 200);
}
