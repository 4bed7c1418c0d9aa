//! The token endpoint against trust.md §6 rows 42 to 64, as far as one node and one request show them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use onward_connect::http::{HeaderMap, HeaderValue, HttpClient, Method};
use onward_core::client::Role;
use onward_core::{Clock, SystemClock};
use onward_server::keys;
use onward_tests::world::World;
use serde_json::{Value, json};
use url::Url;

struct Desk {
    world: World,
    http: HttpClient,
    key: String,
    kid: String,
}

impl Desk {
    async fn open() -> Self {
        let world = World::start().await;
        let key = keys::generate_pem().expect("a key");
        let jwk = keys::public_jwk(&key).expect("a JWK");
        let kid = jwk.common.key_id.clone().expect("a kid");
        let mut client = {
            world.client("northmoor-epr", "R9Z", Role::Sender).await;
            world.gateway().store().client("northmoor-epr").await.expect("readable").expect("there")
        };
        client.jwks = keys::jwks_json(jwk).expect("a key set");
        world.gateway().store().put_client(client, Vec::new()).await.expect("stored");
        let http = world.http();
        Self { world, http, key, kid }
    }

    fn audience(&self) -> String {
        self.world.base().join("oauth2/token").expect("a URL").to_string()
    }

    fn header(&self) -> Value {
        json!({ "alg": "ES384", "typ": "JWT", "kid": self.kid })
    }

    fn claims(&self) -> Value {
        let now = SystemClock.now().as_second();
        json!({
            "iss": "northmoor-epr", "sub": "northmoor-epr", "aud": self.audience(),
            "exp": now + 200, "jti": uuid::Uuid::new_v4().to_string(),
        })
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_ec_pem(self.key.as_bytes()).expect("a key");
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::ES384).expect("signed");
        format!("{signed}.{signature}")
    }

    async fn ask(&self, form: String) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        let url = Url::parse(&self.audience()).expect("a URL");
        let answer = self.http.send(Method::POST, url, headers, form).await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON"))
    }

    async fn redeem(&self, assertion: &str) -> (u16, Value) {
        self.ask(form(assertion)).await
    }
}

fn form(assertion: &str) -> String {
    format!(
        "grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion={assertion}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_assertion_gives_one_short_token_once() {
    let desk = Desk::open().await;
    let assertion = desk.sign(&desk.header().to_string(), &desk.claims().to_string());
    let (status, answer) = desk.redeem(&assertion).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["expires_in"].as_i64().is_some_and(|seconds| (1..=600).contains(&seconds)));
    assert!(answer["access_token"].as_str().is_some_and(|token| token.len() >= 43), "256 bits");
    let (status, answer) = desk.redeem(&assertion).await;
    assert_eq!(status, 400, "row 58: a replay is refused: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_may_narrow_and_never_widen() {
    let desk = Desk::open().await;
    for (scope, expected) in [("system%2FTask.rs", 200), ("system%2FTask.rs+system%2FPatient.rs", 400)] {
        let assertion = desk.sign(&desk.header().to_string(), &desk.claims().to_string());
        let (status, answer) = desk.ask(format!("{}&scope={scope}", form(&assertion))).await;
        assert_eq!(status, expected, "row 64: {scope}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_identical_assertions_at_once_give_one_token() {
    let desk = Desk::open().await;
    let assertion = desk.sign(&desk.header().to_string(), &desk.claims().to_string());
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

/// One change to a right assertion, and the status that it must get.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_assertions_get_their_status() {
    let desk = Desk::open().await;
    let now = SystemClock.now().as_second();
    let header = |name: &str, value: Value| {
        let mut header = desk.header();
        header[name] = value;
        (header.to_string(), desk.claims().to_string())
    };
    let claim = |name: &str, value: Value| {
        let mut claims = desk.claims();
        claims[name] = value;
        (desk.header().to_string(), claims.to_string())
    };
    let without = |part: &str, name: &str| {
        let (mut header, mut claims) = (desk.header(), desk.claims());
        let object = if part == "header" { &mut header } else { &mut claims };
        object.as_object_mut().expect("an object").remove(name);
        (header.to_string(), claims.to_string())
    };
    let twice = |name: &str, value: &str| {
        let claims = desk.claims().to_string();
        (desk.header().to_string(), claims.replacen('{', &format!("{{\"{name}\":{value},"), 1))
    };
    let rows: Vec<(&str, (String, String), u16)> = vec![
        ("042 alg none", header("alg", "none".into()), 400),
        ("043 alg HS384", header("alg", "HS384".into()), 400),
        ("044 alg RS256", header("alg", "RS256".into()), 400),
        ("044 alg ES256", header("alg", "ES256".into()), 400),
        ("044 alg PS512", header("alg", "PS512".into()), 400),
        ("044 alg EdDSA", header("alg", "EdDSA".into()), 400),
        ("044 alg missing", without("header", "alg"), 400),
        ("045 no kid", without("header", "kid"), 400),
        ("046 unknown kid", header("kid", "another".into()), 401),
        ("047 hostile kid", header("kid", "../../etc/passwd' OR 1=1 --".into()), 401),
        ("048 foreign jku", header("jku", "https://elsewhere.example/jwks".into()), 401),
        ("049 crit", header("crit", json!(["exp"])), 400),
        ("050 iss is not sub", claim("iss", "somebody-else".into()), 400),
        ("051 aud a number", claim("aud", 1.into()), 401),
        ("052 aud an array", claim("aud", json!([desk.audience()])), 401),
        ("051 aud another server", claim("aud", "https://elsewhere.example/oauth2/token".into()), 401),
        ("053 exp a text", claim("exp", (now + 100).to_string().into()), 400),
        ("054 exp a fraction", claim("exp", json!(now as f64 + 100.5)), 400),
        ("055 exp too far", claim("exp", (now + 360).into()), 400),
        ("055 exp ten years", claim("exp", (now + 315_360_000).into()), 400),
        ("055 exp passed", claim("exp", (now - 60).into()), 400),
        ("055 exp missing", without("claims", "exp"), 400),
        ("056 iat ahead", claim("iat", (now + 100).into()), 400),
        ("056 nbf ahead", claim("nbf", (now + 100).into()), 400),
        ("057 jti missing", without("claims", "jti"), 400),
        ("057 jti a number", claim("jti", 5.into()), 400),
        ("057 jti empty", claim("jti", "".into()), 400),
        ("057 jti endless", claim("jti", "x".repeat(5_000).into()), 400),
        ("057 sub twice", twice("sub", "\"other\""), 400),
        ("060 typ at+jwt", header("typ", "at+jwt".into()), 400),
        ("060 typ missing", without("header", "typ"), 400),
        (
            "unknown client",
            {
                let mut claims = desk.claims();
                claims["iss"] = "nobody".into();
                claims["sub"] = "nobody".into();
                (desk.header().to_string(), claims.to_string())
            },
            401,
        ),
    ];
    for (name, (header, claims), expected) in rows {
        let (status, answer) = desk.redeem(&desk.sign(&header, &claims)).await;
        assert_eq!(status, expected, "{name}: {answer}");
        assert!(answer["error"].is_string(), "{name}");
        assert!(answer.get("access_token").is_none(), "{name}");
    }
    let right = desk.sign(&desk.header().to_string(), &desk.claims().to_string());
    let forged = format!("{}{}", &right[..right.len() - 8], "AAAAAAAA");
    assert_eq!(desk.redeem(&forged).await.0, 401, "a forged signature");
    for broken in ["", "a", "a.b", "a.b.c", "....", "e30.e30.e30"] {
        assert_eq!(desk.redeem(broken).await.0, 400, "{broken:?}");
    }
    assert_eq!(desk.redeem(&right).await.0, 200, "the right one still works");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_forms_get_400() {
    let desk = Desk::open().await;
    let assertion = desk.sign(&desk.header().to_string(), &desk.claims().to_string());
    let right = form(&assertion);
    let rows = [
        ("", "nothing"),
        (&right.replace("client_credentials", "password"), "another grant"),
        (&right.replace("jwt-bearer", "saml2-bearer"), "another assertion type"),
        (&format!("{right}&grant_type=client_credentials"), "a parameter twice"),
        (&right.replace("client_assertion=", "client_secret="), "a secret"),
    ];
    for (form, name) in rows {
        let (status, answer) = desk.ask((*form).to_owned()).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")), "{name}");
    }
}
