//! Sign-in through an identity provider, by a stand-in of one that is strict with us.

mod peer;

use onward_core::people::Role;
use onward_server::keys;
use onward_tests::browser::{self, Browser, Page};
use onward_tests::identity_provider::{CLIENT, IdentityProvider};
use onward_tests::world::World;
use serde_json::{Value, json};

const ADA: &str = "ada@rowan.example";

/// Away to the provider's, and back as this subject.
async fn go(browser: &Browser, provider: &IdentityProvider, query: &str, subject: &str, changes: &Value) -> Page {
    let away = browser.get(&format!("/sign-in/with/cis2{query}")).await;
    assert_eq!(away.status, 303, "{}", away.text);
    let back = provider.authorize(away.location().expect("a location"), subject, changes);
    browser.get(&back).await
}

/// A person whose account the provider vouches for, and the browser that set it up.
async fn federated(world: &World, provider: &IdentityProvider, email: &str, subject: &str) -> Browser {
    let (_, path) = browser::invited(world, email, Role::CareHomeUser, &["VMH01"]).await;
    let token = path.trim_start_matches("/invitation/");
    let browser = Browser::new(world);
    let page = go(&browser, provider, &format!("?invitation={token}"), subject, &json!({})).await;
    assert_eq!((page.status, page.location()), (303, Some("/")), "{}", page.text);
    assert_eq!(browser.get(&path).await.status, 404, "the invitation is used up");
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_provider_vouches_for_an_account() {
    let (world, provider) = IdentityProvider::with_world().await;
    let first = federated(&world, &provider, ADA, "subject-1").await;
    assert!(first.get("/").await.text.contains("Signed in as Person ada"));
    let browser = Browser::new(&world);
    let page = go(&browser, &provider, "?next=/%3Fa=1", "subject-1", &json!({})).await;
    assert_eq!((page.status, page.location()), (303, Some("/?a=1")));
    assert_eq!(browser.get("/").await.status, 200);

    // An e-mail address says nothing: it is issuer and subject that stand for an account.
    let stranger = Browser::new(&world);
    let page = go(&stranger, &provider, "", "subject-2", &json!({ "email": ADA, "email_verified": true })).await;
    assert_eq!((page.status, stranger.cookie("__Host-sid")), (403, None));
    // One subject stands for one account.
    let (_, path) = browser::invited(&world, "bob@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let token = path.trim_start_matches("/invitation/");
    let page = go(&stranger, &provider, &format!("?invitation={token}"), "subject-1", &json!({})).await;
    assert_eq!((page.status, stranger.cookie("__Host-sid")), (403, None));
    assert_eq!(stranger.get("/sign-in/with/other").await.status, 404);
    assert!(stranger.get("/sign-in").await.text.contains("/sign-in/with/cis2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_identity_provider_must_not_say() {
    let (world, provider) = IdentityProvider::with_world().await;
    federated(&world, &provider, ADA, "subject-1").await;
    let now = onward_core::Clock::now(&onward_core::SystemClock).as_second();
    let wrong = [
        json!({ "iss": "https://other.example" }),
        json!({ "aud": "another-client" }),
        json!({ "aud": [CLIENT, "another-client"] }),
        json!({ "aud": null }),
        json!({ "azp": "another-client" }),
        json!({ "exp": now - 60 }),
        json!({ "exp": null }),
        json!({ "iat": now + 600 }),
        json!({ "iat": null }),
        json!({ "nonce": "another" }),
        json!({ "nonce": null }),
        json!({ "auth_time": null }),
        json!({ "auth_time": now - 3600 }),
        json!({ "sub": null }),
        json!({ "sub": 1 }),
        json!({ "id_assurance_level": "2" }),
        json!({ "id_assurance_level": null }),
    ];
    for changes in wrong {
        let browser = Browser::new(&world);
        let page = go(&browser, &provider, "", "subject-1", &changes).await;
        assert_eq!((page.status, browser.cookie("__Host-sid")), (403, None), "{changes}");
    }
    for changes in
        [json!({ "aud": [CLIENT] }), json!({ "aud": [CLIENT, "x"], "azp": CLIENT }), json!({ "id_assurance_level": 3 })]
    {
        let page = go(&Browser::new(&world), &provider, "", "subject-1", &changes).await;
        assert_eq!(page.status, 303, "{changes}");
    }
}

/// A session that the provider still had is no new sign-in: what is grave counts from the moment that the provider tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_as_fresh_as_the_sign_in_at_the_provider() {
    const AGAIN: &str = "To change anything here, sign in once more";
    let (world, provider) = IdentityProvider::with_world().await;
    federated(&world, &provider, ADA, "subject-1").await;
    let now = || onward_core::Clock::now(&onward_core::SystemClock).as_second();
    for (there, here, stale) in [(200, 0, false), (200, 150, true), (20, 150, false), (0, 350, true)] {
        let browser = Browser::new(&world);
        let page = go(&browser, &provider, "", "subject-1", &json!({ "auth_time": now() - there })).await;
        assert_eq!(page.status, 303, "{}", page.text);
        // As if so much time had passed here.
        world.tamper(&format!("UPDATE sessions SET authenticated = authenticated - {here}000000"));
        let page = browser.get("/account").await;
        assert_eq!((page.status, page.text.contains(AGAIN)), (200, stale), "{there} s there and {here} s here");
    }
}

/// Whoever begins sign-ins without end writes no more than an address's share.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_begins_so_many_sign_ins_and_no_more() {
    let (world, _provider) = IdentityProvider::with_world().await;
    let bob = browser::person(&world, "bob@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let stranger = Browser::new(&world);
    let mut refused = 0;
    // The minute in which they are counted may end once on a slow machine, but not as often as they are asked for.
    for _ in 0..200 {
        let away = stranger.get("/sign-in/with/cis2").await;
        let challenge = stranger.send("POST", "/sign-in/passkey/challenge", &[], String::new()).await;
        for (page, begun) in [(away, 303), (challenge, 200)] {
            assert!(page.status == begun || page.status == 429, "{}: {}", page.status, page.text);
            if page.status == 429 {
                assert_eq!(page.headers.get("retry-after").and_then(|value| value.to_str().ok()), Some("60"));
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "nothing was refused");
    assert_eq!(bob.sign_in(&Browser::new(&world)).await.status, 303, "a password needs nothing to be begun");
}

/// Nobody comes back for another, or twice.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_is_who_went_away() {
    let (world, provider) = IdentityProvider::with_world().await;
    federated(&world, &provider, ADA, "subject-1").await;
    let (browser, other) = (Browser::new(&world), Browser::new(&world));
    let away = browser.get("/sign-in/with/cis2").await;
    let back = provider.authorize(away.location().expect("a location"), "subject-1", &json!({}));
    let page = other.get(&back).await;
    assert_eq!((page.status, other.cookie("__Host-sid")), (401, None), "a link that an attacker made");
    assert_eq!(browser.get(&back).await.status, 401, "and which has used the state up");

    let away = browser.get("/sign-in/with/cis2").await;
    let back = provider.authorize(away.location().expect("a location"), "subject-1", &json!({}));
    let mixed = format!("{back}&iss=https%3A%2F%2Fother.example");
    assert_eq!(browser.get(&mixed).await.status, 403, "RFC 9207: another provider's answer");
    let away = browser.get("/sign-in/with/cis2").await;
    let back = provider.authorize(away.location().expect("a location"), "subject-1", &json!({}));
    assert_eq!(browser.get(&back).await.status, 303);
    assert_eq!(browser.get(&back).await.status, 401, "once");
    for bad in ["/sign-in/return", "/sign-in/return?state=x&code=y"] {
        assert_eq!(Browser::new(&world).get(bad).await.status, 401);
    }
    let away = browser.get("/sign-in/with/cis2").await;
    let state =
        away.location().and_then(|to| to.split("state=").nth(1)?.split('&').next()).expect("a state").to_owned();
    let denied = format!("/sign-in/return?state={state}&error=access_denied");
    assert_eq!(browser.get(&denied).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_at_the_provider_ends_sessions_here() {
    let (world, provider) = IdentityProvider::with_world().await;
    let ada = federated(&world, &provider, ADA, "subject-1").await;
    let bob = federated(&world, &provider, "bob@rowan.example", "subject-2").await;
    let tell = async |token: &str| {
        let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
        // From the provider's server: no browser, no cookies.
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "cross-site")];
        Browser::new(&world).send("POST", "/sign-in/logout/cis2", &headers, form).await.status
    };
    let now = onward_core::Clock::now(&onward_core::SystemClock).as_second();
    let other = Signer::forged(&provider);
    for wrong in [
        provider.logout_token(&json!({ "events": {} })),
        provider.logout_token(&json!({ "nonce": "n" })),
        provider.logout_token(&json!({ "sid": null })),
        provider.logout_token(&json!({ "jti": null })),
        provider.logout_token(&json!({ "iat": now - 600 })),
        provider.logout_token(&json!({ "aud": "another" })),
        other,
        String::new(),
    ] {
        assert_eq!(tell(&wrong).await, 400);
    }
    assert_eq!(ada.get("/").await.status, 200);
    let token = provider.logout_token(&json!({ "sub": "subject-1" }));
    assert_eq!(tell(&token).await, 200);
    assert_eq!(ada.get("/").await.status, 303, "out at once");
    assert_eq!(bob.get("/").await.status, 200, "another person with a session of the same name");
    assert_eq!(tell(&token).await, 400, "once");
    assert_eq!(tell(&provider.logout_token(&json!({ "sub": "subject-2", "sid": null }))).await, 200);
    assert_eq!(bob.get("/").await.status, 303);
}

/// A token that somebody else has signed.
struct Signer;

impl Signer {
    fn forged(provider: &IdentityProvider) -> String {
        let right = provider.logout_token(&json!({}));
        let mut parts = right.split('.');
        let (header, claims) = (parts.next().expect("a header"), parts.next().expect("claims"));
        let signer = onward_tests::signer::Signer::new("x", &keys::generate_pem().expect("a key"), "");
        let foreign = signer.sign("{}", "{}");
        format!("{header}.{claims}.{}", foreign.rsplit('.').next().expect("a signature"))
    }
}
