//! `POST /oauth2/token`, and the bearer token of every other request. Tokens are opaque, stored hashed and
//! looked up on each request, so that a disabled client is out at once.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use onward_core::Timestamp;
use onward_core::audit::{Agent, AuditEntry, AuditWord, under};
use onward_core::client::{Client, Token};
use onward_core::store::StoreError;

use super::Caller;
use super::assertion::{Assertion, AssertionError};
use super::key_source;
use super::limit::TooMany;
use super::outside::{self, Refused, Taken};
use super::refusals;
use super::scope::{self, Scopes};
use crate::app::App;
use crate::listener::Connection;

/// The only assertion type (RFC 7523 §2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What the clocks of two gateways may differ by.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(60);

/// Largest form: an assertion has a few kilobytes.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// Why no token was issued, as OAuth names it.
enum Denied {
    /// Status 400, with the error of RFC 6749 §5.2.
    Request(&'static str, String),
    NotTrusted(String),
    TooMany(TooMany),
    Store(StoreError),
}

impl Denied {
    fn malformed(text: &str) -> Self {
        Self::Request("invalid_request", text.to_owned())
    }
}

impl From<TooMany> for Denied {
    fn from(too_many: TooMany) -> Self {
        Self::TooMany(too_many)
    }
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<AssertionError> for Denied {
    fn from(error: AssertionError) -> Self {
        match error {
            AssertionError::Malformed(text) => Self::malformed(text),
            AssertionError::NotTrusted(text) => Self::NotTrusted(text.to_owned()),
        }
    }
}

/// Issues a token for a signed assertion.
pub async fn issue(
    State(app): State<Arc<App>>,
    Connection { peer, certificate }: Connection,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = match crate::api::body::read(body, FORM_BYTES_MAX).await {
        Ok(body) => body,
        Err(outcome) => return outcome.into_response(),
    };
    let request_id = crate::api::request_id(&headers);
    match grant(&app, &body, certificate.map(|certificate| certificate.0), request_id.clone()).await {
        Ok(answer) => {
            let headers = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
            (StatusCode::OK, headers, axum::Json(answer)).into_response()
        }
        Err(denied) => refuse(&app, denied, peer, request_id).await,
    }
}

async fn grant(
    app: &App,
    body: &[u8],
    certificate: Option<String>,
    request_id: Option<String>,
) -> Result<serde_json::Value, Denied> {
    let form = read_form(body)?;
    let now = app.gateway.clock().now();
    let assertion = Assertion::read(&form.client_assertion, &app.token_url, now)?;
    let store = app.gateway.store();
    let client = store
        .client(&assertion.client_id)
        .await?
        .ok_or_else(|| Denied::NotTrusted("the client is not registered".to_owned()))?;
    if client.disabled {
        return Err(Denied::NotTrusted("the client is disabled".to_owned()));
    }
    let keys = app.key_source.of(&client).await?;
    let key = assertion.verify(&keys)?;
    let key_thumbprint = match key_source::url_of(&client) {
        Some(_) => {
            let none = || Denied::NotTrusted("the client's key has no thumbprint".to_owned());
            Some(key_source::thumbprint(key).ok_or_else(none)?)
        }
        None => None,
    };
    // Not before the signature: others must not use up a client's share.
    drop(app.limits.take(&client.id, now)?);
    let granted = scope::of_role(client.role);
    let own = Scopes::of(client.role);
    if form.scope.split(' ').any(|asked| !asked.is_empty() && !own.include(asked)) {
        let text = "scope asks for more than the client may do";
        return Err(Denied::Request("invalid_scope", text.to_owned()));
    }
    if let Some(required) = &client.certificate_sha256
        && certificate.as_ref() != Some(required)
    {
        return Err(Denied::NotTrusted("the client must use its registered certificate".to_owned()));
    }
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|_| Denied::Store(StoreError::Unavailable("no randomness".to_owned())))?;
    let text = URL_SAFE_NO_PAD.encode(secret);
    let lifetime = SignedDuration::from_secs(app.token_seconds);
    let token = Token {
        hash: hash(&text),
        client_id: client.id.clone(),
        expires: now + lifetime,
        certificate_sha256: certificate,
        key_thumbprint,
    };
    let agent = Agent { under: vec![under::token(&token.hash)], ..Agent::client(&client) };
    let audit = AuditEntry { request_id, ..AuditEntry::new(AuditWord::SignIn, now, agent, "token issued") };
    let row = app.gateway.journal().row(&audit);
    // The jti must be kept for as long as the assertion could be shown again, leeway included.
    let jti_expires = assertion.expires + SignedDuration::from_secs(60);
    let jti = format!("{}\n{}", client.id, assertion.jti);
    match store.redeem_assertion(&jti, jti_expires, token, client, vec![row]).await {
        Ok(true) => {}
        Ok(false) => return Err(Denied::malformed("jti was used before")),
        Err(StoreError::Overtaken) => {
            return Err(Denied::NotTrusted("the client was changed meanwhile: sign in again".to_owned()));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(serde_json::json!({
        "access_token": text,
        "token_type": "Bearer",
        "expires_in": app.token_seconds,
        "scope": granted,
    }))
}

struct Form {
    client_assertion: String,
    scope: String,
}

fn read_form(body: &[u8]) -> Result<Form, Denied> {
    let malformed = Denied::malformed;
    let mut values = std::collections::BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        if values.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(malformed("a parameter is given twice"));
        }
    }
    match values.get("grant_type").map(String::as_str) {
        Some("client_credentials") => {}
        None => return Err(malformed("grant_type is missing")),
        Some(_) => {
            let text = "grant_type must be client_credentials";
            return Err(Denied::Request("unsupported_grant_type", text.to_owned()));
        }
    }
    if values.get("client_assertion_type").map(String::as_str) != Some(ASSERTION_TYPE) {
        return Err(malformed("client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
    }
    let client_assertion = values.remove("client_assertion").ok_or_else(|| malformed("client_assertion is missing"))?;
    let scope = values.remove("scope").unwrap_or_default();
    Ok(Form { client_assertion, scope })
}

async fn refuse(app: &App, denied: Denied, address: IpAddr, request_id: Option<String>) -> Response {
    let (status, error, description) = match denied {
        Denied::Request(error, text) => (StatusCode::BAD_REQUEST, error, text),
        Denied::NotTrusted(text) => (StatusCode::UNAUTHORIZED, "invalid_client", text),
        Denied::TooMany(TooMany { retry_after_seconds }) => {
            return crate::outcome::too_many(retry_after_seconds).into_response();
        }
        Denied::Store(error) => {
            tracing::error!(%error, "no token could be issued");
            return crate::outcome::unavailable().into_response();
        }
    };
    if let Err(error) = refusals::record(app, &description, None, address, request_id).await {
        tracing::error!(%error, "a refused sign-in could not be audited");
        return crate::outcome::unavailable().into_response();
    }
    let body = serde_json::json!({ "error": error, "error_description": description });
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

/// The caller of a request, by its one bearer token. A token that is refused is audited, or counted; a request without one touches
/// nothing and leaves nothing.
///
/// # Errors
/// The response to give instead: 400 for a malformed, 401 for a missing or void token, 429 when the client asks too
/// often, 503 without a store.
pub async fn caller(app: &App, headers: &HeaderMap, connection: &Connection) -> Result<Caller, Response> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let unauthorized = || crate::outcome::unauthorized().into_response();
    let Some(value) = values.next() else { return Err(unauthorized()) };
    if values.next().is_some() {
        return Err(crate::outcome::bad_request("Authorization is given twice").into_response());
    }
    let text = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(unauthorized)?;
    let request_id = crate::api::request_id(headers);
    let known = match outside::is_one(text) {
        true => of_another_issuer(app, text, connection, request_id.clone()).await,
        false => of_ours(app, text, connection).await,
    };
    let (client, scopes) = match known {
        Ok(known) => known,
        Err(Refused::Store(error)) => return Err(not_looked_up(&error)),
        Err(Refused::Untrusted(why)) => {
            let shown = under::token(&hash(text));
            return Err(match refusals::record(app, why, Some(shown), connection.peer, request_id).await {
                Ok(()) => unauthorized(),
                Err(error) => not_looked_up(&error),
            });
        }
    };
    let turn = app.limits.take(&client.id, app.gateway.clock().now());
    let turn =
        turn.map_err(|TooMany { retry_after_seconds }| crate::outcome::too_many(retry_after_seconds).into_response())?;
    Ok(Caller { client, request_id, scopes, _turn: turn })
}

type Known = (Client, Option<Scopes>);

async fn of_ours(app: &App, text: &str, connection: &Connection) -> Result<Known, Refused> {
    let hash = hash(text);
    let now = app.gateway.clock().now();
    let found = app.gateway.store().token(&hash, now).await.map_err(Refused::Store)?;
    let (token, client) = found.ok_or("the token is unknown, has expired, or is void")?;
    // No node issues one that lasts so long: this clock has been set back, and would make every token last as much longer.
    if token.expires > now + SignedDuration::from_secs(app.token_seconds) + CLOCKS_DIFFER {
        return Err("the token outlives what is issued, by this gateway's clock".into());
    }
    let certificate = connection.certificate.as_ref().map(|certificate| &certificate.0);
    if token.certificate_sha256.is_some() && token.certificate_sha256.as_ref() != certificate {
        return Err("the token is bound to another certificate".into());
    }
    if let Some(thumbprint) = &token.key_thumbprint
        && !app.key_source.publishes(&client, thumbprint).await
    {
        return Err("the client no longer publishes the key that the token was given for".into());
    }
    Ok((Client { under: Some(under::token(&hash)), ..client }, None))
}

/// Of another issuer's token the first use is our sign-in: it is audited once, on whichever node that is.
async fn of_another_issuer(
    app: &App,
    text: &str,
    connection: &Connection,
    request_id: Option<String>,
) -> Result<Known, Refused> {
    let certificate = connection.certificate.as_ref().map(|certificate| certificate.0.as_str());
    let Taken { client, scopes, issuer, jti, expires } = outside::caller(app, text, certificate).await?;
    let client = Client { under: Some(under::jti(&issuer, &jti)), ..client };
    let (now, hash) = (app.gateway.clock().now(), hash(text));
    if !app.first_uses.knows(&hash, now) {
        let detail = format!("an access token of {issuer} was used first");
        let entry =
            AuditEntry { request_id, ..AuditEntry::new(AuditWord::SignIn, now, Agent::client(&client), detail) };
        let row = app.gateway.journal().row(&entry);
        let kept = expires.checked_add(outside::LEEWAY).unwrap_or(Timestamp::MAX);
        // No client's identifier has a line break in it.
        let issuer = format!("issuer\n{issuer}");
        app.gateway.store().note_first_use(&issuer, &jti, kept, vec![row]).await.map_err(Refused::Store)?;
        app.first_uses.keep(hash, kept, now);
    }
    Ok((client, Some(scopes)))
}

fn not_looked_up(error: &StoreError) -> Response {
    tracing::error!(%error, "a token could not be looked up");
    crate::outcome::unavailable().into_response()
}

fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref());
    hash
}
