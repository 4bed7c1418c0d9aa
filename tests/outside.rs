//! Access tokens of another issuer (RFC 9068): whose, for whom, for what and for how long, and everything that is wrong with one.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onward_connect::http::{HeaderMap, HeaderValue, Method};
use onward_core::client::Role;
use onward_core::{Clock as _, SystemClock};
use onward_server::keys;
use onward_server::listener::sha256_hex;
use onward_tests::message::{self, fresh};
use onward_tests::published::Published;
use onward_tests::signer::Signer;
use onward_tests::world::World;
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.region.example";

/// A gateway that takes the region's tokens, and the region's authorization server.
struct Region {
    world: World,
    published: Published,
    signer: Signer,
}

fn set_of(signer: &Signer) -> String {
    keys::jwks_json(signer.public_jwk()).expect("a key set")
}

fn signer() -> Signer {
    Signer::new("unused", &keys::generate_pem().expect("a key"), "unused")
}

impl Region {
    async fn start(scopes: &str) -> Self {
        let bound = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let keys_at = format!("https://{}/keys", bound.local_addr().expect("bound"));
        let sections = format!(
            r#"
[[identity.token_issuer]]
name = "region"
issuer = "{ISSUER}"
jwks_url = "{keys_at}"
audience = "https://onward.example/fhir/R4"
clients = {{ "0oa1" = "northmoor-epr", "0oa2" = "rowan-house", "0oa3" = "nobody", "0oa4" = "bound" }}
{scopes}
"#
        );
        let world = World::start_reaching_loopback_with(&sections).await;
        let published = Published::on(bound, world.tls());
        let signer = signer();
        published.set(&set_of(&signer));
        world.hospital().await;
        world.care_home().await;
        Self { world, published, signer }
    }

    fn header(&self) -> Value {
        json!({ "alg": "ES384", "typ": "at+jwt", "kid": self.signer.kid })
    }

    fn claims(scope: &str) -> Value {
        let now = SystemClock.now().as_second();
        json!({
            "iss": ISSUER, "sub": "0oa1", "client_id": "0oa1", "aud": "https://onward.example/fhir/R4", "scope": scope,
            "iat": now, "exp": now + 600, "jti": uuid::Uuid::new_v4().to_string(),
        })
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        self.signer.sign(&header.to_string(), &claims.to_string())
    }

    /// Right but for these claims; `null` takes one out.
    fn with(&self, changes: &Value) -> String {
        let mut claims = Self::claims("system/Task.rs system/Bundle.c");
        for (name, value) in changes.as_object().into_iter().flatten() {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        self.token(&self.header(), &claims)
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: String) -> (u16, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).expect("a header"));
        headers.insert("content-type", HeaderValue::from_static("application/fhir+xml"));
        let url = self.world.base().join(path).expect("a URL");
        let answer = self.world.http().send(method, url, headers, body).await.expect("an answer");
        (answer.status().as_u16(), answer.headers().clone())
    }

    async fn list(&self, token: &str) -> u16 {
        self.call(Method::GET, "fhir/R4/Task", token, String::new()).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regions_token_does_what_its_client_and_scopes_may() {
    let region = Region::start("").await;
    let post = async |token: &str| {
        let body = fresh(message::EDISCHARGE_ITK3);
        region.call(Method::POST, "fhir/R4/$process-message", token, body).await
    };
    let whole = region.with(&json!({}));
    assert_eq!(post(&whole).await.0, 200);
    assert_eq!(region.list(&whole).await, 200, "a token is good until it expires");
    assert!(region.world.logged("northmoor-epr").await > 0, "the client is named as ours");

    // Its first use is a sign-in, and everything done with it names it.
    assert_eq!(region.world.logged("an access token of region was used first").await, 1);
    let used = region.with(&json!({ "jti": "a/b 1" }));
    for _ in 0..3 {
        assert_eq!(region.list(&used).await, 200);
    }
    assert_eq!(region.world.logged("an access token of region was used first").await, 2, "once for each token");
    assert_eq!(region.world.logged("https://onward.example/token-of/region/a%2Fb%201").await, 4, "sign-in and uses");

    let reading = region.with(&json!({ "scope": "system/Task.rs openid offline_access" }));
    assert_eq!(region.list(&reading).await, 200);
    let (status, headers) = post(&reading).await;
    assert_eq!(status, 403);
    assert_eq!(headers["www-authenticate"], "Bearer error=\"insufficient_scope\"");
    assert_eq!(region.world.logged("the token's scopes do not cover Submit").await, 1);
    for nothing in [json!({ "scope": "" }), json!({ "scope": null }), json!({ "scope": "system/*.cruds user/Task.rs" })]
    {
        assert_eq!(region.list(&region.with(&nothing)).await, 403, "{nothing}");
    }
    let list = region.with(&json!({ "scope": ["system/Task.s", "system/Bundle.c"] }));
    assert_eq!(region.list(&list).await, 200, "scopes may be a list");
    // Homes are two resources; a scope of one is none of the other.
    for (scope, statuses) in [("system/Location.rs", [200, 403]), ("system/HealthcareService.rs", [403, 200])] {
        let token = region.with(&json!({ "scope": scope }));
        for (path, status) in ["fhir/R4/Location", "fhir/R4/HealthcareService"].into_iter().zip(statuses) {
            assert_eq!(region.call(Method::GET, path, &token, String::new()).await.0, status, "{path} with {scope}");
        }
    }
    // What the role of the client has not, no scope gives.
    let home = region.with(&json!({ "client_id": "0oa2", "scope": "system/Bundle.c system/Task.rs" }));
    assert_eq!((region.list(&home).await, post(&home).await.0), (200, 403));

    // A client that is disabled here is out at once, whatever the region says.
    let store = region.world.gateway().store();
    let client = store.client("northmoor-epr").await.expect("readable").expect("there");
    let disabled = onward_core::client::Client { disabled: true, ..client };
    store.put_client(disabled, Vec::new()).await.expect("stored");
    assert_eq!(region.list(&whole).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_mean_what_the_configuration_says() {
    let region = Region::start("scopes = { \"transfer.follow\" = [\"system/Task.rs\"] }").await;
    assert_eq!(region.list(&region.with(&json!({ "scope": "transfer.follow" }))).await, 200);
    assert_eq!(region.list(&region.with(&json!({ "scope": "system/Task.rs" }))).await, 403, "not in the table");
    assert_eq!(region.list(&region.with(&json!({ "scope": "transfer.send" }))).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_issuer_must_not_say() {
    let region = Region::start("").await;
    let right = region.with(&json!({}));
    assert_eq!(region.list(&right).await, 200);
    let now = SystemClock.now().as_second();
    let mut wrong: Vec<(String, String)> = [
        json!({ "iss": "https://idp.region.example/" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": null }),
        json!({ "aud": "https://other.example" }),
        json!({ "aud": ["https://onward.example/fhir/R4", "https://other.example"] }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "aud": 1 }),
        json!({ "exp": now - 11 }),
        json!({ "exp": now + 3_700 }),
        json!({ "exp": now + 3_600 + 120, "iat": now - 7_200 }),
        json!({ "exp": (now + 600).to_string() }),
        json!({ "exp": 1.5e9 }),
        json!({ "exp": null }),
        json!({ "exp": i64::MAX }),
        json!({ "iat": now + 60 }),
        json!({ "iat": null }),
        json!({ "iat": i64::MIN }),
        json!({ "nbf": now + 60 }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": 7 }),
        json!({ "client_id": null }),
        json!({ "client_id": "0oa9" }),
        json!({ "client_id": ["0oa1"] }),
        json!({ "client_id": "northmoor-epr" }),
        json!({ "client_id": "0oa3" }),
        json!({ "scope": 7 }),
        json!({ "scope": [7] }),
        json!({ "cnf": { "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } }),
        json!({ "cnf": { "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" } }),
        json!({ "cnf": {} }),
    ]
    .into_iter()
    .map(|changes| (changes.to_string(), region.with(&changes)))
    .collect();
    for (name, value) in [
        ("typ", json!("JWT")),
        ("typ", Value::Null),
        ("alg", json!("none")),
        ("alg", json!("HS384")),
        ("alg", json!("RS384")),
        ("alg", json!("ES256")),
        ("kid", json!("other")),
        ("crit", json!(["exp"])),
    ] {
        let mut header = region.header();
        header[name] = value.clone();
        wrong.push((format!("{name} {value}"), region.token(&header, &Region::claims("system/Task.rs"))));
    }
    let claims = Region::claims("system/Task.rs").to_string();
    let twice = claims.replacen('{', "{\"client_id\":\"0oa2\",", 1);
    wrong.push(("a name twice".to_owned(), region.signer.sign(&region.header().to_string(), &twice)));
    let mut header = region.header();
    let forger = signer();
    wrong.push(("a foreign key".to_owned(), forger.sign(&header.to_string(), &claims)));
    header["jwk"] = serde_json::to_value(forger.public_jwk()).expect("JSON");
    header["kid"] = json!(forger.kid);
    wrong.push(("a key that comes along".to_owned(), forger.sign(&header.to_string(), &claims)));
    let unsigned = format!("{}.", right.rsplit_once('.').expect("three parts").0);
    wrong.push(("no signature".to_owned(), unsigned));
    for text in [".", "..", "a.b", "a.b.c", "a.b.c.d", &"a.".repeat(6_000)] {
        wrong.push((text.chars().take(9).collect(), text.to_owned()));
    }
    for (what, token) in wrong {
        assert_eq!(region.list(&token).await, 401, "{what}");
    }
    assert_eq!(region.list(&right).await, 200);
    assert!(region.published.fetched() < 10, "{} fetches", region.published.fetched());
    assert_eq!(region.world.logged("0oa").await, 0, "nothing of what was refused is kept");
    // Each kind is an entry, with a name of the token that opens nothing; what more of it comes in that minute is counted.
    for kind in ["the token has expired", "aud is not this gateway alone", "the token cannot be read"] {
        assert_eq!(region.world.logged(&format!("token refused: {kind}")).await, 1, "{kind}");
    }
    let refused = region.world.logged("token refused").await;
    assert!((10..50).contains(&refused), "{refused} entries of refused tokens");
    assert_eq!(region.world.logged("https://onward.example/token/").await, refused, "each names its token");
}

/// A token that is bound to a certificate, or whose client is, is good with that certificate only; here nobody shows one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_certificate_needs_it() {
    let region = Region::start("").await;
    let hash = digest(&SHA256, b"a certificate");
    region.world.signer("bound", "R9Z", Role::Sender, Some(sha256_hex(b"a certificate"))).await;
    let of_bound = region.with(&json!({ "client_id": "0oa4" }));
    assert_eq!(region.list(&of_bound).await, 401);
    let bound = json!({ "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode(hash.as_ref()) } });
    assert_eq!(region.list(&region.with(&bound)).await, 401);
}
