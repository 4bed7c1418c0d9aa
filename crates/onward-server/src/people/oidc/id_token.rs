//! ID tokens and logout tokens (OpenID Connect Core §3.1.3.7, Back-Channel Logout §2.6), by our own strict structure. The JWT
//! library verifies signatures and nothing else.

use std::collections::BTreeMap;

use jsonwebtoken::jwk::JwkSet;
use onward_core::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth::jws;
use crate::config::Issuer;

/// Clocks may differ by this much, seconds.
const LEEWAY_SECONDS: i64 = 10;
/// A logout token is not older than this, seconds (Back-Channel Logout §2.6 leaves it to us).
const LOGOUT_SECONDS_MAX: i64 = 120;
/// What a logout token says that it is.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Why a token is not taken; never with its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Untrusted(pub(super) &'static str);

/// The claims that both tokens share; the others are kept as they are.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: Option<String>,
    aud: Value,
    azp: Option<String>,
    exp: Option<i64>,
    iat: i64,
    nonce: Option<String>,
    auth_time: Option<i64>,
    sid: Option<String>,
    jti: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Whom an identity provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vouched {
    /// `sub`.
    pub(super) subject: String,
    /// `sid`.
    pub(super) session: Option<String>,
    /// `auth_time`, but never later than now: when the person was recognised there.
    pub(super) authenticated: Timestamp,
}

/// Whose sessions an identity provider has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// `sub`; none where it is about one session.
    pub(super) subject: Option<String>,
    /// `sid`; none where it is about all sessions of a person.
    pub(super) session: Option<String>,
    /// `jti`, which serves once.
    pub(super) jti: String,
    /// Until when it could be shown again.
    pub(super) until: Timestamp,
}

/// Reads an ID token that answers this nonce.
///
/// # Errors
/// Why it is not taken.
pub(super) fn id_token(
    token: &str,
    keys: &JwkSet,
    issuer: &Issuer,
    nonce: &str,
    now: Timestamp,
) -> Result<Vouched, Untrusted> {
    let claims = signed(token, keys, issuer, now)?;
    let seconds = now.as_second();
    if claims.exp.is_none_or(|exp| exp <= seconds - LEEWAY_SECONDS) {
        return Err(Untrusted("the ID token has expired"));
    }
    if claims.nonce.as_deref() != Some(nonce) {
        return Err(Untrusted("the ID token answers another request"));
    }
    let subject = claims.sub.filter(|sub| (1..=255).contains(&sub.len())).ok_or(Untrusted("sub is missing"))?;
    let oldest = seconds - i64::from(issuer.auth_age_max_seconds) - LEEWAY_SECONDS;
    let authenticated = claims
        .auth_time
        .filter(|at| (oldest..=seconds + LEEWAY_SECONDS).contains(at))
        .and_then(|at| Timestamp::from_second(at).ok())
        .ok_or(Untrusted("the person signed in there too long ago, or auth_time is missing"))?;
    if !assured(&claims.other, &issuer.required_claims) {
        return Err(Untrusted("the identity provider is not as sure of the person as is asked for"));
    }
    Ok(Vouched { subject, session: claims.sid, authenticated: authenticated.min(now) })
}

/// Reads a logout token.
///
/// # Errors
/// Why it is not taken.
pub(super) fn logout_token(token: &str, keys: &JwkSet, issuer: &Issuer, now: Timestamp) -> Result<Ended, Untrusted> {
    let claims = signed(token, keys, issuer, now)?;
    let seconds = now.as_second();
    if claims.nonce.is_some() {
        return Err(Untrusted("a logout token has no nonce"));
    }
    if claims.iat < seconds - LOGOUT_SECONDS_MAX || claims.exp.is_some_and(|exp| exp <= seconds - LEEWAY_SECONDS) {
        return Err(Untrusted("the logout token is too old"));
    }
    if !claims.other.get("events").is_some_and(|events| events.get(LOGOUT_EVENT).is_some_and(Value::is_object)) {
        return Err(Untrusted("the token is not about a logout"));
    }
    if claims.sub.is_none() && claims.sid.is_none() {
        return Err(Untrusted("the logout token names neither sub nor sid"));
    }
    let jti = claims.jti.filter(|jti| (1..=255).contains(&jti.len())).ok_or(Untrusted("jti is missing"))?;
    let until = Timestamp::from_second(claims.iat + LOGOUT_SECONDS_MAX + LEEWAY_SECONDS);
    let until = until.map_err(|_| Untrusted("iat is out of range"))?;
    Ok(Ended { subject: claims.sub, session: claims.sid, jti, until })
}

/// The claims of a token that this issuer has signed for us, lately.
fn signed(token: &str, keys: &JwkSet, issuer: &Issuer, now: Timestamp) -> Result<Claims, Untrusted> {
    let claims: Claims = jws::signed(token, keys)
        .map_err(Untrusted)?
        .claims()
        .ok_or(Untrusted("the claims are not of the kinds that they must be"))?;
    if claims.iss != issuer.issuer {
        return Err(Untrusted("another issuer's token"));
    }
    let audience = Value::from(issuer.client_id.as_str());
    let ours = match &claims.aud {
        Value::Array(all) => all.contains(&audience) && (all.len() == 1 || claims.azp.is_some()),
        one => *one == audience,
    };
    if !ours || claims.azp.as_ref().is_some_and(|party| *party != issuer.client_id) {
        return Err(Untrusted("the token is for another client"));
    }
    if claims.iat > now.as_second() + LEEWAY_SECONDS {
        return Err(Untrusted("the token is from the future"));
    }
    Ok(claims)
}

/// Whether every claim that is asked for is there with one of its accepted values.
fn assured(claims: &Map<String, Value>, required: &BTreeMap<String, Vec<String>>) -> bool {
    required.iter().all(|(name, accepted)| {
        let found = match claims.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return false,
        };
        accepted.contains(&found)
    })
}
