//! The token endpoint: what is taken, and what is refused as the NHS API platform refuses it. The corpus of hostile
//! assertions (trust.md §6, rows 42 to 64) is in `bad_input`.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use onward_connect::http::{HeaderMap, HeaderValue, HttpClient, Method};
use onward_core::client::Role;
use onward_core::{Clock, SystemClock};
use onward_server::keys;
use onward_tests::process::Process;
use onward_tests::signer::{Signer, form};
use onward_tests::world::World;
use serde_json::{Value, json};
use url::Url;

struct Desk {
    world: World,
    http: HttpClient,
    signer: Signer,
}

impl Desk {
    async fn open() -> Self {
        let world = World::start().await;
        let signer = world.signer("northmoor-epr", "R9Z", Role::Sender, None).await;
        let http = world.http();
        Self { world, http, signer }
    }

    async fn ask(&self, form: String) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        let url = Url::parse(&self.signer.audience).expect("a URL");
        let answer = self.http.send(Method::POST, url, headers, form).await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON"))
    }

    async fn redeem(&self, assertion: &str) -> (u16, Value) {
        self.ask(form(assertion)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_assertion_gives_one_short_token_once() {
    let desk = Desk::open().await;
    let assertion = desk.signer.right();
    let (status, answer) = desk.redeem(&assertion).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["expires_in"].as_i64().is_some_and(|seconds| (1..=600).contains(&seconds)));
    assert!(answer["access_token"].as_str().is_some_and(|token| token.len() >= 43), "256 bits");
    let (status, answer) = desk.redeem(&assertion).await;
    assert_eq!(status, 400, "row 58: a replay is refused: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_identical_assertions_at_once_give_one_token() {
    let desk = Desk::open().await;
    let assertion = desk.signer.right();
    let mut asked = tokio::task::JoinSet::new();
    let desk = std::sync::Arc::new(desk);
    for _ in 0..100 {
        let (desk, assertion) = (std::sync::Arc::clone(&desk), assertion.clone());
        asked.spawn(async move { desk.redeem(&assertion).await.0 });
    }
    let statuses = asked.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert!(statuses.iter().all(|status| matches!(status, 200 | 400)));
}

/// The negative cases of the NHS API platform's identity service for `client_credentials` (NHSDigital/identity-service-api,
/// `test_client_credentials`), under its statuses, and what it does not try. The errors are those of RFC 6749 §5.2; where
/// the NHS says `invalid_request` or `public_key error` with status 401, the RFC's word is `invalid_client`.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_nhs_refuses_is_refused_with_its_status() {
    let desk = Desk::open().await;
    let signer = &desk.signer;
    let mut other_key = Signer::new(&signer.client, &keys::generate_pem().expect("a key"), &signer.audience);
    other_key.kid.clone_from(&signer.kid);
    let disabled = desk.world.signer("disabled", "R9Z", Role::Sender, None).await;
    let store = desk.world.gateway().store();
    let mut client = store.client("disabled").await.expect("readable").expect("there");
    client.disabled = true;
    store.put_client(client, Vec::new()).await.expect("stored");
    let now = SystemClock.now().as_second();
    let used = signer.right();
    assert_eq!(desk.redeem(&used).await.0, 200);

    let right = || form(&signer.right());
    let header = |name: &str, value: Value| form(&signer.with_header(name, value));
    let claims = |changes: Value| form(&signer.with_claims(&changes));
    let without = |name: &str| form(&signer.without(name));
    let without_parameter = |name: &str| {
        let right = right();
        let kept: Vec<&str> = right.split('&').filter(|each| !each.starts_with(&format!("{name}="))).collect();
        kept.join("&")
    };
    let (request, client) = ((400, "invalid_request"), (401, "invalid_client"));
    let rows: Vec<(&str, (u16, &str), String)> = vec![
        ("grant_type invalid", (400, "unsupported_grant_type"), right().replace("client_credentials", "invalid")),
        ("grant_type password", (400, "unsupported_grant_type"), right().replace("client_credentials", "password")),
        ("grant_type missing", request, without_parameter("grant_type")),
        ("client_assertion_type invalid", request, right().replace("jwt-bearer", "saml2-bearer")),
        ("client_assertion_type missing", request, without_parameter("client_assertion_type")),
        ("client_assertion missing", request, without_parameter("client_assertion")),
        ("client_assertion empty", request, form("")),
        ("client_assertion malformed", request, form("invalid")),
        ("client_assertion of two parts", request, form("e30.e30")),
        ("client_assertion of four parts", request, form("e30.e30.e30.e30")),
        ("client_assertion without content", request, form("e30.e30.e30")),
        ("a secret instead", request, right().replace("client_assertion=", "client_secret=")),
        ("a parameter twice", request, format!("{}&grant_type=client_credentials", right())),
        ("kid missing", request, without("kid")),
        ("kid invalid", client, header("kid", json!("invalid"))),
        ("kid a number", request, header("kid", json!(1))),
        ("typ missing", request, without("typ")),
        ("typ invalid", request, header("typ", json!("invalid"))),
        ("alg missing", request, without("alg")),
        ("alg invalid", request, header("alg", json!("invalid"))),
        ("alg HS256", request, header("alg", json!("HS256"))),
        ("iss and sub of nobody", client, claims(json!({ "iss": "nobody", "sub": "nobody" }))),
        ("sub is not iss", request, claims(json!({ "sub": "invalid" }))),
        ("sub missing", request, without("sub")),
        ("iss is not sub", request, claims(json!({ "iss": "invalid" }))),
        ("iss missing", request, without("iss")),
        ("jti a number", request, claims(json!({ "jti": 1_234_567_890 }))),
        ("jti missing", request, without("jti")),
        ("jti used before", request, form(&used)),
        ("aud invalid", client, claims(json!({ "aud": "invalid" }))),
        ("aud with more behind it", client, claims(json!({ "aud": format!("{}INVALID", signer.audience) }))),
        ("aud missing", client, without("aud")),
        ("exp a text", request, claims(json!({ "exp": (now + 300).to_string() }))),
        ("exp a fraction", request, claims(json!({ "exp": now as f64 + 100.5 }))),
        ("exp passed", request, claims(json!({ "exp": now - 20 }))),
        ("exp more than 5 minutes ahead", request, claims(json!({ "exp": now + 360 }))),
        ("exp missing", request, without("exp")),
        ("signed with another key", client, form(&other_key.right())),
        ("a signature cut off", client, right()[..right().len() - 8].to_owned()),
        ("no signature", client, form(&format!("{}.", used.rsplit_once('.').expect("three parts").0))),
        ("a disabled client", client, form(&disabled.right())),
        ("a wider scope", (400, "invalid_scope"), format!("{}&scope=system%2FPatient.rs", right())),
    ];
    let wrong: Vec<String> = wrong_answers(&desk, rows).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(desk.redeem(&signer.with_header("typ", "jwt")).await.0, 200, "RFC 7515 §4.1.9: without regard to case");
    assert_eq!(desk.redeem(&signer.right()).await.0, 200, "the right one still works");
}

/// Sends each row; gives those that got another answer.
async fn wrong_answers(desk: &Desk, rows: Vec<(&str, (u16, &str), String)>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, (status, error), form) in rows {
        let (got, answer) = desk.ask(form).await;
        let verdict = got == status && answer["error"] == error && answer["error_description"].is_string();
        println!("{name}: {got} {}", answer["error"]);
        if !verdict || answer.get("access_token").is_some() {
            wrong.push(format!("{name}: expected {status} {error}, got {got} {answer}"));
        }
    }
    wrong
}

/// RS512 is what the NHS API platform asks of its clients, RS384 what SMART does.
#[tokio::test(flavor = "multi_thread")]
async fn clients_with_rsa_keys_sign_in() {
    let desk = Desk::open().await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA512).expect("a key").serialize_pem();
    let encoding = EncodingKey::from_rsa_pem(key.as_bytes()).expect("a key");
    let mut jwk = Jwk::from_encoding_key(&encoding, Algorithm::RS512).expect("a JWK");
    jwk.common.key_id = Some("rsa-1".to_owned());
    let store = desk.world.gateway().store();
    let mut client = store.client("northmoor-epr").await.expect("readable").expect("there");
    client.jwks = keys::checked_jwks(&keys::jwks_json(jwk).expect("a key set")).expect("a right one");
    store.put_client(client, Vec::new()).await.expect("stored");
    for algorithm in [Algorithm::RS512, Algorithm::RS384] {
        let mut header = jsonwebtoken::Header::new(algorithm);
        header.kid = Some("rsa-1".to_owned());
        let assertion = jsonwebtoken::encode(&header, &desk.signer.claims(), &encoding).expect("signed");
        let (status, answer) = desk.redeem(&assertion).await;
        assert_eq!(status, 200, "{algorithm:?}: {answer}");
    }
}

/// trust.md §1, I2: what is used is used, whatever becomes of the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_used_assertion_stays_used_after_a_kill() {
    let mut desk = Desk::open().await;
    let assertion = desk.signer.right();
    let process = Process::take_over(&mut desk.world).await;
    assert_eq!(desk.redeem(&assertion).await.0, 200);
    process.kill().await;
    let _process = Process::take_over(&mut desk.world).await;
    // Connections to the process that was killed are not used again.
    desk.http = desk.world.http();
    let (status, answer) = desk.redeem(&assertion).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")));
    assert_eq!(desk.redeem(&desk.signer.right()).await.0, 200);
}

/// A client that publishes its keys: found there, over TLS, and asked for once whatever is tried in its name.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_from_the_registered_url() {
    let world = World::start_reaching_loopback().await;
    let published = world.publish().await;
    let key = keys::generate_pem().expect("a key");
    published.set(&keys::jwks_json(keys::public_jwk(&key).expect("a JWK")).expect("a key set"));
    world.signer("northmoor-epr", "R9Z", Role::Sender, None).await;
    let store = world.gateway().store();
    let mut client = store.client("northmoor-epr").await.expect("readable").expect("there");
    client.jwks = onward_server::auth::key_source::at(published.url());
    store.put_client(client, Vec::new()).await.expect("stored");
    let signer = Signer::new("northmoor-epr", &key, world.base().join("oauth2/token").expect("a URL").as_str());
    let http = world.http();
    let desk = Desk { world, http, signer };
    assert_eq!(desk.redeem(&desk.signer.right()).await.0, 200);
    for at in 0..50 {
        let (status, answer) = desk.redeem(&desk.signer.with_header("kid", format!("random-{at}"))).await;
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")));
    }
    assert_eq!(desk.redeem(&desk.signer.right()).await.0, 200);
    // Once a minute: the flood may have crossed into another one on a slow machine, not into many.
    assert!(published.fetched() < 10, "{} fetches", published.fetched());
}
