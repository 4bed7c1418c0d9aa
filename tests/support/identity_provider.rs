//! An identity provider (OpenID Connect) on loopback. It asks of us what a strict one asks, and tells whatever lies a test wants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use onward_core::{Clock as _, SystemClock};
use onward_server::keys;
use onward_server::listener;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

use crate::signer::Signer;
use crate::world::World;

/// Our identifier there.
pub const CLIENT: &str = "onward-client";

/// The provider; it ends with this value.
pub struct IdentityProvider {
    /// `iss`.
    pub issuer: String,
    desk: Arc<Desk>,
    _stop: watch::Sender<bool>,
}

struct Desk {
    issuer: String,
    signer: Signer,
    client_key: String,
    codes: Mutex<HashMap<String, Code>>,
}

struct Code {
    challenge: String,
    redirect_uri: String,
    claims: Value,
}

impl IdentityProvider {
    /// A world that knows this provider as `cis2`, and the provider.
    ///
    /// # Panics
    /// When they cannot be started.
    pub async fn with_world() -> (World, Self) {
        let bound = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("https://{}", bound.local_addr().expect("bound"));
        let client_key = keys::generate_pem().expect("a key");
        let world = World::start_with_issuer(&issuer, CLIENT, &client_key).await;
        let signer = Signer::new("issuer", &keys::generate_pem().expect("a key"), "");
        let desk = Arc::new(Desk { issuer: issuer.clone(), signer, client_key, codes: Mutex::default() });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(keys_of))
            .route("/token", post(redeem))
            .with_state(Arc::clone(&desk));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(listener::serve(
            bound,
            Some(Arc::new(world.tls())),
            router,
            listener::Patience::default(),
            stopped,
        ));
        (world, Self { issuer, desk, _stop: stop })
    }

    /// What the person's browser does at the provider's: signs in as this subject, and goes where that leads. The ID token
    /// has these claims in place of the right ones; a null takes one away.
    ///
    /// # Panics
    /// When the request is not one that a strict provider takes.
    #[must_use]
    pub fn authorize(&self, location: &str, subject: &str, changes: &Value) -> String {
        let url = Url::parse(location).expect("a URL");
        assert!(location.starts_with(&format!("{}/authorize?", self.issuer)), "{location}");
        let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
        for (name, value) in
            [("response_type", "code"), ("client_id", CLIENT), ("code_challenge_method", "S256"), ("max_age", "300")]
        {
            assert_eq!(asked.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
        let now = SystemClock.now().as_second();
        let mut claims = json!({
            "iss": self.issuer, "sub": subject, "aud": CLIENT, "exp": now + 300, "iat": now, "auth_time": now - 20,
            "nonce": asked["nonce"], "sid": "session-1", "id_assurance_level": "3",
        });
        change(&mut claims, changes);
        let code = uuid::Uuid::new_v4().to_string();
        let redirect_uri = asked["redirect_uri"].clone();
        let issued = Code { challenge: asked["code_challenge"].clone(), redirect_uri: redirect_uri.clone(), claims };
        self.desk.codes.lock().expect("whole").insert(code.clone(), issued);
        let back = Url::parse_with_params(&redirect_uri, [("code", code.as_str()), ("state", &asked["state"])]);
        let back = back.expect("a URL");
        format!("{}?{}", back.path(), back.query().unwrap_or_default())
    }

    /// A logout token with these claims in place of the right ones.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn logout_token(&self, changes: &Value) -> String {
        let now = SystemClock.now().as_second();
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT, "iat": now, "jti": uuid::Uuid::new_v4().to_string(), "sid": "session-1",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        change(&mut claims, changes);
        self.desk.sign(&claims)
    }
}

fn change(claims: &mut Value, changes: &Value) {
    let claims = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().into_iter().flatten() {
        match value {
            Value::Null => claims.remove(name),
            value => claims.insert(name.clone(), value.clone()),
        };
    }
}

impl Desk {
    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES384", "kid": self.signer.kid });
        self.signer.sign(&header.to_string(), &claims.to_string())
    }
}

async fn describe(State(desk): State<Arc<Desk>>) -> Json<Value> {
    let at = |path: &str| format!("{}/{path}", desk.issuer);
    Json(json!({
        "issuer": desk.issuer, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "jwks_uri": at("keys"),
    }))
}

async fn keys_of(State(desk): State<Arc<Desk>>) -> String {
    keys::jwks_json(desk.signer.public_jwk()).expect("a key set")
}

async fn redeem(State(desk): State<Arc<Desk>>, Form(form): Form<HashMap<String, String>>) -> (StatusCode, Json<Value>) {
    let refused = |why: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant", "why": why })));
    let text = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let key = DecodingKey::from_jwk(&keys::public_jwk(&desk.client_key).expect("a JWK")).expect("a key");
    let mut validation = Validation::new(Algorithm::ES384);
    validation.set_audience(&[format!("{}/token", desk.issuer)]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let assertion = jsonwebtoken::decode::<Value>(text("client_assertion"), &key, &validation);
    let Ok(assertion) = assertion else { return refused("client_assertion") };
    if assertion.claims["iss"] != CLIENT || assertion.claims["sub"] != CLIENT || !assertion.claims["jti"].is_string() {
        return refused("the claims of client_assertion");
    }
    // A code is redeemed once (RFC 6749 §4.1.2).
    let Some(code) = desk.codes.lock().expect("whole").remove(text("code")) else { return refused("code") };
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, text("code_verifier").as_bytes()));
    if text("grant_type") != "authorization_code"
        || challenge != code.challenge
        || text("redirect_uri") != code.redirect_uri
    {
        return refused("code_verifier or redirect_uri");
    }
    let tokens = json!({ "access_token": "unused", "token_type": "Bearer", "id_token": desk.sign(&code.claims) });
    (StatusCode::OK, Json(tokens))
}
