//! The token endpoint: what is taken, and what is refused as the NHS API platform refuses it. The corpus of hostile
//! assertions (trust.md §6, rows 42 to 64) is in `bad_input`.

use std::collections::HashSet;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use onward_connect::http::{HeaderMap, HeaderValue, HttpClient, Method};
use onward_core::client::Role;
use onward_core::{Clock, SystemClock};
use onward_server::keys;
use onward_tests::process::Process;
use onward_tests::signer::{Signer, form};
use onward_tests::world::World;
use rcgen::RsaKeySize;
use serde_json::{Value, json};
use url::Url;

/// `kid` of the RSA key.
const RSA_KEY: &str = "rsa-1";

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

    /// The status of a list that is asked for with this token.
    async fn list(&self, token: &str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        let url = self.world.base().join("fhir/R4/Task").expect("a URL");
        self.http.send(Method::GET, url, headers, String::new()).await.expect("an answer").status().as_u16()
    }

    /// The right form with another value of this parameter, or without it.
    fn with_parameter(&self, name: &str, value: Option<&str>) -> String {
        let right = form(&self.signer.right());
        let others = right.split('&').filter(|each| !each.starts_with(&format!("{name}="))).map(str::to_owned);
        others.chain(value.map(|value| format!("{name}={value}"))).collect::<Vec<_>>().join("&")
    }

    /// An RSA key, registered beside the client's own.
    async fn with_rsa_key(&self) -> EncodingKey {
        self.with_rsa_key_of(RsaKeySize::_2048).await
    }

    async fn with_rsa_key_of(&self, size: RsaKeySize) -> EncodingKey {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA512, size).expect("a key").serialize_pem();
        let encoding = EncodingKey::from_rsa_pem(key.as_bytes()).expect("a key");
        let mut rsa = Jwk::from_encoding_key(&encoding, Algorithm::RS512).expect("a JWK");
        rsa.common.key_id = Some(RSA_KEY.to_owned());
        let both = json!({ "keys": [self.signer.public_jwk(), rsa] }).to_string();
        let store = self.world.gateway().store();
        let mut client = store.client(&self.signer.client).await.expect("readable").expect("there");
        client.jwks = keys::checked_jwks(&both).expect("right ones");
        store.put_client(client, Vec::new()).await.expect("stored");
        encoding
    }

    /// An assertion of the client's, signed with that RSA key, or with a text where the algorithm takes one.
    fn assertion_by(&self, algorithm: Algorithm, rsa: &EncodingKey) -> String {
        let mut header = jsonwebtoken::Header::new(algorithm);
        header.kid = Some(RSA_KEY.to_owned());
        let shared = EncodingKey::from_secret(self.signer.client.as_bytes());
        let symmetric = matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
        jsonwebtoken::encode(&header, &self.signer.claims(), if symmetric { &shared } else { rsa }).expect("signed")
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

/// Fault 22: a clock that is set back by an hour would let each token, a stolen one too, last an hour longer.
#[tokio::test(flavor = "multi_thread")]
async fn fault_022_a_token_that_a_late_clock_would_keep_alive_is_refused() {
    let desk = Desk::open().await;
    let token = desk.redeem(&desk.signer.right()).await.1["access_token"].as_str().expect("a token").to_owned();
    // What the clocks of two nodes may differ by, and an hour: as this gateway would see it, were it so late.
    for (later, status) in [(0, 200), (50, 200), (3_550, 401)] {
        desk.world.tamper(&format!("UPDATE tokens SET expires = expires + {later} * 1000000"));
        assert_eq!(desk.list(&token).await, status, "{later} seconds more");
    }
    assert_eq!(desk.redeem(&desk.signer.right()).await.0, 200, "who signs in anew is served");
}

/// `identity.rsa_bits_min`: keys that were registered before it was raised sign in no more.
#[tokio::test(flavor = "multi_thread")]
async fn rsa_keys_sign_in_from_as_many_bits_as_are_asked_for() {
    let mut desk = Desk::open().await;
    let small = desk.with_rsa_key_of(RsaKeySize::_2048).await;
    let (status, answer) = desk.redeem(&desk.assertion_by(Algorithm::RS512, &small)).await;
    assert_eq!(status, 200, "the NHS takes it, and so do we: {answer}");
    let text = std::fs::read_to_string(&desk.world.config_file).expect("readable");
    let text = text.replacen("[identity]\n", "[identity]\nrsa_bits_min = 3072\n", 1);
    std::fs::write(&desk.world.config_file, text).expect("written");
    desk.world.restart().await;
    let (status, answer) = desk.redeem(&desk.assertion_by(Algorithm::RS512, &small)).await;
    assert_eq!((status, answer["error"].as_str()), (401, Some("invalid_client")), "{answer}");
    let (status, answer) = desk.redeem(&desk.signer.right()).await;
    assert_eq!(status, 200, "P-384 is as before: {answer}");
    let large = desk.with_rsa_key_of(RsaKeySize::_3072).await;
    let (status, answer) = desk.redeem(&desk.assertion_by(Algorithm::RS512, &large)).await;
    assert_eq!(status, 200, "{answer}");
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

/// The 33 negative cases of the NHS API platform's identity service for `client_credentials` with an assertion
/// (NHSDigital/identity-service-api, `e2e/tests/oauth/test_client_credentials.py`, `@pytest.mark.errors`; its cases of registration go by
/// the key set's address, which is in `keys_are_fetched_from_the_registered_url`), under its statuses. The errors are those of RFC 6749
/// §5.2: where the NHS says `invalid_request` with status 401, the RFC's word is `invalid_client`. One of them, RS384, we take.
#[tokio::test(flavor = "multi_thread")]
async fn the_33_negative_cases_of_the_nhs_are_refused_with_its_statuses() {
    let desk = Desk::open().await;
    let signer = &desk.signer;
    let rsa = desk.with_rsa_key().await;
    let now = SystemClock.now().as_second();
    let used = signer.right();
    assert_eq!(desk.redeem(&used).await.0, 200);

    let header = |name: &str, value: Value| form(&signer.with_header(name, value));
    let claims = |changes: Value| form(&signer.with_claims(&changes));
    let without = |name: &str| form(&signer.without(name));
    let by = |algorithm: Algorithm| form(&desk.assertion_by(algorithm, &rsa));
    let (request, client) = ((400, "invalid_request"), (401, "invalid_client"));
    let rows: Vec<(&str, (u16, &str), String)> = vec![
        ("alg RS256", request, by(Algorithm::RS256)),
        // SMART App Launch 2.2.0, client-confidential-asymmetric, “Registering a client”, which SMART Backend Services rests on: a client
        // may sign with RS384 or ES384, a server takes at least one of them. We take both; the NHS takes RS512 alone.
        ("alg RS384", (200, ""), by(Algorithm::RS384)),
        ("alg PS256", request, by(Algorithm::PS256)),
        ("alg PS384", request, by(Algorithm::PS384)),
        ("alg PS512", request, by(Algorithm::PS512)),
        ("alg HS256", request, by(Algorithm::HS256)),
        ("alg HS384", request, by(Algorithm::HS384)),
        ("alg HS512", request, by(Algorithm::HS512)),
        ("kid missing", request, without("kid")),
        ("kid invalid", client, header("kid", json!("invalid"))),
        ("typ invalid", request, header("typ", json!("invalid"))),
        ("typ null", request, header("typ", json!(null))),
        ("alg not the signature's", request, header("alg", json!("HS512"))),
        ("iss and sub of nobody", client, claims(json!({ "iss": "invalid", "sub": "invalid" }))),
        ("sub is not iss", request, claims(json!({ "sub": "invalid" }))),
        ("sub missing", request, without("sub")),
        ("iss is not sub", request, claims(json!({ "iss": "invalid" }))),
        ("iss missing", request, without("iss")),
        ("jti a number", request, claims(json!({ "jti": 1_234_567_890 }))),
        ("jti missing", request, without("jti")),
        ("aud invalid", client, claims(json!({ "aud": "invalid" }))),
        ("aud missing", client, without("aud")),
        ("exp a text", request, claims(json!({ "exp": (now + 300).to_string() }))),
        ("exp passed", request, claims(json!({ "exp": now - 20 }))),
        ("exp more than 5 minutes ahead", request, claims(json!({ "exp": now + 360 }))),
        ("exp missing", request, without("exp")),
        ("jti used before", request, form(&used)),
        ("client_assertion_type invalid", request, desk.with_parameter("client_assertion_type", Some("invalid"))),
        ("client_assertion_type missing", request, desk.with_parameter("client_assertion_type", None)),
        ("client_assertion invalid", request, form("invalid")),
        ("client_assertion missing", request, desk.with_parameter("client_assertion", None)),
        ("grant_type invalid", (400, "unsupported_grant_type"), desk.with_parameter("grant_type", Some("invalid"))),
        ("grant_type missing", request, desk.with_parameter("grant_type", None)),
    ];
    let names: HashSet<&str> = rows.iter().map(|row| row.0).collect();
    assert_eq!((rows.len(), names.len()), (33, 33), "each case of the NHS once");
    let wrong = wrong_answers(&desk, rows).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(desk.redeem(&signer.right()).await.0, 200, "the right one still works");
}

/// What the NHS's cases do not try.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_nhs_does_not_try_is_refused_too() {
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

    let right = || form(&signer.right());
    let header = |name: &str, value: Value| form(&signer.with_header(name, value));
    let claims = |changes: Value| form(&signer.with_claims(&changes));
    let unsigned = signer.right();
    let unsigned = unsigned.rsplit_once('.').expect("three parts").0;
    let (request, client) = ((400, "invalid_request"), (401, "invalid_client"));
    let rows: Vec<(&str, (u16, &str), String)> = vec![
        ("grant_type password", (400, "unsupported_grant_type"), desk.with_parameter("grant_type", Some("password"))),
        ("client_assertion empty", request, form("")),
        ("client_assertion of two parts", request, form("e30.e30")),
        ("client_assertion of four parts", request, form("e30.e30.e30.e30")),
        ("client_assertion without content", request, form("e30.e30.e30")),
        ("a secret instead", request, right().replace("client_assertion=", "client_secret=")),
        ("a parameter twice", request, format!("{}&grant_type=client_credentials", right())),
        ("kid a number", request, header("kid", json!(1))),
        ("kid null", request, header("kid", json!(null))),
        ("crit null", request, header("crit", json!(null))),
        ("jwk null", request, header("jwk", json!(null))),
        ("a header parameter of one's own that is null", request, header("x", json!(null))),
        ("typ missing", request, form(&signer.without("typ"))),
        ("alg missing", request, form(&signer.without("alg"))),
        ("alg invalid", request, header("alg", json!("invalid"))),
        ("aud with more behind it", client, claims(json!({ "aud": format!("{}INVALID", signer.audience) }))),
        ("exp a fraction", request, claims(json!({ "exp": now as f64 + 100.5 }))),
        ("signed with another key", client, form(&other_key.right())),
        ("a signature cut off", client, right()[..right().len() - 8].to_owned()),
        ("no signature", client, form(&format!("{unsigned}."))),
        ("a disabled client", client, form(&disabled.right())),
        ("a wider scope", (400, "invalid_scope"), format!("{}&scope=system%2FPatient.rs", right())),
    ];
    let wrong = wrong_answers(&desk, rows).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(desk.redeem(&signer.with_header("typ", "jwt")).await.0, 200, "RFC 7515 §4.1.9: without regard to case");
    assert_eq!(desk.redeem(&signer.right()).await.0, 200, "the right one still works");
}

/// Sends each row; gives those that got another answer.
async fn wrong_answers(desk: &Desk, rows: Vec<(&str, (u16, &str), String)>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, (status, error), form) in rows {
        let (got, answer) = desk.ask(form).await;
        let taken = status == 200;
        let told = taken || answer["error"] == error && answer["error_description"].is_string();
        println!("{name}: {got} {}", answer["error"]);
        if got != status || !told || answer.get("access_token").is_some() != taken {
            wrong.push(format!("{name}: expected {status} {error}, got {got} {answer}"));
        }
    }
    wrong
}

/// RS512 is what the NHS API platform asks of its clients, RS384 what SMART does.
#[tokio::test(flavor = "multi_thread")]
async fn clients_with_rsa_keys_sign_in() {
    let desk = Desk::open().await;
    let key = desk.with_rsa_key().await;
    for algorithm in [Algorithm::RS512, Algorithm::RS384] {
        let (status, answer) = desk.redeem(&desk.assertion_by(algorithm, &key)).await;
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
    // A token rests on the very key that it was given for, and ends with it.
    let token = desk.redeem(&desk.signer.right()).await.1["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(desk.list(&token).await, 200);
    desk.world.tamper("UPDATE tokens SET key_thumbprint = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs'");
    assert_eq!(desk.list(&token).await, 401, "another key is published");
    // Once a minute: the flood may have crossed into another one on a slow machine, not into many.
    assert!(published.fetched() < 10, "{} fetches", published.fetched());
}
