//! Access tokens that somebody else has issued (JWT Profile for OAuth 2.0 Access Tokens, RFC 9068): a region's or a vendor's
//! authorization server, by configuration. Whose client is which of ours, and which of its scopes mean which of ours, stands there too;
//! role, organisation, certificate and whether the client is disabled stay ours and are looked up on each request.

use std::sync::Arc;

use jiff::SignedDuration;
use jsonwebtoken::jwk::JwkSet;
use onward_core::Timestamp;
use onward_core::client::Client;
use onward_core::store::StoreError;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::jws;
use super::scope::Scopes;
use crate::app::App;
use crate::config::TokenIssuer;

/// Clocks may differ by this much, seconds.
const LEEWAY_SECONDS: i64 = 10;
/// The same, as a duration.
pub(crate) const LEEWAY: SignedDuration = SignedDuration::from_secs(LEEWAY_SECONDS);
/// Longest token that is read, bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Why a token is not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is none that is good here; the text never has its values.
    Untrusted(&'static str),
    /// It cannot be looked up whose it is.
    Store(StoreError),
}

impl From<&'static str> for Refused {
    fn from(why: &'static str) -> Self {
        Self::Untrusted(why)
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Value,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    jti: String,
    cnf: Option<Confirmation>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// What the token is bound to (RFC 8705 §3.1). Anything else it could be bound to is not understood, and the token not taken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    certificate: String,
}

/// Whether a bearer token is of this form: ours are opaque and have no dot.
pub(crate) fn is_one(token: &str) -> bool {
    token.contains('.')
}

/// A token that is good here.
pub(crate) struct Taken {
    /// Whose it is.
    pub(crate) client: Client,
    /// What it lets them do.
    pub(crate) scopes: Scopes,
    /// Our name of its issuer.
    pub(crate) issuer: String,
    /// Its identifier, as its issuer has it.
    pub(crate) jti: String,
    /// When it expires.
    pub(crate) expires: Timestamp,
}

/// Whose token it is, and what it lets them do.
///
/// # Errors
/// [`Refused`].
pub(crate) async fn caller(app: &App, token: &str, certificate: Option<&str>) -> Result<Taken, Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err("the token is too long".into());
    }
    let claimed = jws::claimed_issuer(token).ok_or("the token cannot be read")?;
    let issuer = app.token_issuers.iter().find(|issuer| issuer.issuer == claimed).ok_or("another issuer's token")?;
    let keys: Arc<JwkSet> = app
        .key_source
        .fetched(&format!("token issuer:{}", issuer.name), issuer.jwks_url.clone())
        .await
        .map_err(|_| "the issuer's keys cannot be fetched")?;
    let judged = judged(token, &keys, issuer, app.gateway.clock().now(), certificate)?;
    let client = app.gateway.store().client(judged.client).await.map_err(Refused::Store)?;
    let client = client.filter(|client| !client.disabled).ok_or("its client is disabled or not registered here")?;
    if client.certificate_sha256.is_some() && client.certificate_sha256.as_deref() != certificate {
        return Err("the client must use its registered certificate".into());
    }
    let Judged { scopes, jti, expires, .. } = judged;
    Ok(Taken { client, scopes, issuer: issuer.name.clone(), jti, expires })
}

/// What a token says that is right.
struct Judged<'a> {
    /// Our client that it names.
    client: &'a str,
    scopes: Scopes,
    jti: String,
    expires: Timestamp,
}

fn judged<'a>(
    token: &str,
    keys: &JwkSet,
    issuer: &'a TokenIssuer,
    now: Timestamp,
    certificate: Option<&str>,
) -> Result<Judged<'a>, &'static str> {
    let signed = jws::signed(token, keys)?;
    if signed.kind.as_deref() != Some(issuer.kind.to_ascii_lowercase().as_str()) {
        return Err("typ is not that of an access token");
    }
    let claims: Claims = signed.claims().ok_or("the claims are not of the kinds that they must be")?;
    if claims.iss != issuer.issuer {
        return Err("another issuer's token");
    }
    // For one audience only: what is meant for others, too, others could show us.
    let audience = match &claims.aud {
        Value::Array(all) if all.len() == 1 => &all[0],
        one => one,
    };
    if audience.as_str() != Some(issuer.audience.as_str()) {
        return Err("aud is not this gateway alone");
    }
    let seconds = now.as_second();
    if claims.exp <= seconds - LEEWAY_SECONDS {
        return Err("the token has expired");
    }
    if [Some(claims.iat), claims.nbf].into_iter().flatten().any(|at| at > seconds + LEEWAY_SECONDS) {
        return Err("the token is from the future");
    }
    if claims.exp.saturating_sub(claims.iat) > i64::from(issuer.life_minutes_max) * 60 {
        return Err("the token lives for longer than is taken");
    }
    if claims.jti.is_empty() || claims.jti.len() > 255 {
        return Err("jti must have 1 to 255 bytes");
    }
    if let Some(Confirmation { certificate: bound }) = &claims.cnf
        && certificate.and_then(thumbprint).as_ref() != Some(bound)
    {
        return Err("the token is bound to another certificate");
    }
    let named = claims.other.get(&issuer.client_claim).and_then(Value::as_str).ok_or("it names no client")?;
    let client = issuer.clients.get(named).ok_or("its client is none of ours")?;
    let expires = Timestamp::from_second(claims.exp).map_err(|_| "exp is no moment")?;
    Ok(Judged { client, scopes: scopes(claims.other.get(&issuer.scope_claim), issuer)?, jti: claims.jti, expires })
}

/// A certificate's hash as RFC 8705 writes it.
fn thumbprint(certificate_sha256: &str) -> Option<String> {
    use base64::Engine as _;
    let bytes = hex::decode(certificate_sha256).ok()?;
    Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// Their scopes as ours; those that mean nothing here add nothing.
fn scopes(claim: Option<&Value>, issuer: &TokenIssuer) -> Result<Scopes, &'static str> {
    let theirs: Vec<&str> = match claim {
        Some(Value::String(text)) => text.split(' ').collect(),
        Some(Value::Array(all)) => {
            all.iter().map(|one| one.as_str().ok_or("a scope is a text")).collect::<Result<_, _>>()?
        }
        None => Vec::new(),
        Some(_) => return Err("scopes are a text or a list of texts"),
    };
    let mut granted = Scopes::default();
    for scope in theirs {
        match issuer.scopes.get(scope) {
            Some(ours) => ours.iter().for_each(|scope| {
                granted.add(scope);
            }),
            None if issuer.scopes.is_empty() => {
                granted.add(scope);
            }
            None => {}
        }
    }
    Ok(granted)
}
