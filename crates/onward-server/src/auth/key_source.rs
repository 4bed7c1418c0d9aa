//! A client's keys: registered with us, or fetched from the URL that is registered with us.
//!
//! It refuses to go anywhere else: the URL comes from an operator, its host must be on the egress list, redirects are not
//! followed, and whatever is asked of us, one client's URL is asked once a minute. It refuses what is older than that, too: a key that
//! is published no more, and every token that was given for it, is good for a minute at most while the URL answers, and for two while it
//! does not. And it gives nobody an RSA key that is smaller than the configuration asks for, whenever that was registered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use jsonwebtoken::jwk::{Jwk, JwkSet, ThumbprintHash};
use onward_connect::http::{HeaderMap, HttpClient, Method};
use onward_core::client::Client;
use onward_core::{Clock, Timestamp};
use serde_json::Value;
use url::Url;

use super::assertion::AssertionError;
use crate::keys;

/// Largest key set that is read, bytes.
pub const KEY_SET_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for a key set.
pub const FETCH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);
/// Time from one fetch to the next, successful or not: a new key is taken, and a removed one refused, after this.
const BETWEEN_FETCHES: SignedDuration = SignedDuration::from_secs(60);
/// How long a key set is used while no newer one can be fetched (trust.md §7, fault 32): one failing fetch is bridged, so that a server
/// that starts anew shuts nobody out, and the second one is not, so that nobody keeps a withdrawn key good by holding the URL down.
const KEPT_MAX: SignedDuration = SignedDuration::from_secs(120);

/// What stands in place of a client's key set when it is fetched (`jwks_uri` of RFC 7591 §2).
#[must_use]
pub fn at(url: &Url) -> String {
    serde_json::json!({ "jwks_uri": url.as_str() }).to_string()
}

/// The URL of a client's key set, when it is fetched.
#[must_use]
pub fn url_of(client: &Client) -> Option<Url> {
    let registered: Value = serde_json::from_str(&client.jwks).ok()?;
    registered["jwks_uri"].as_str()?.parse().ok()
}

/// RFC 7638 thumbprint of a key, SHA-256; none of a key that has none.
#[must_use]
pub fn thumbprint(key: &Jwk) -> Option<String> {
    key.thumbprint(ThumbprintHash::SHA256).ok()
}

/// Key sets by client, fetched ones kept for a while.
pub struct KeySource {
    http: HttpClient,
    clock: Arc<dyn Clock>,
    rsa_bits_min: u32,
    kept: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Kept>>>>,
}

/// What is known of one client's URL.
#[derive(Default)]
struct Kept {
    url: Option<Url>,
    asked: Option<Timestamp>,
    got: Option<(Timestamp, Arc<JwkSet>)>,
}

impl KeySource {
    /// Fetches with this client, which bounds size, time and hosts.
    #[must_use]
    pub fn new(http: HttpClient, clock: Arc<dyn Clock>, rsa_bits_min: u32) -> Self {
        Self { http, clock, rsa_bits_min, kept: Mutex::default() }
    }

    /// The keys of a client.
    ///
    /// # Errors
    /// [`AssertionError::NotTrusted`] when there are none to be had.
    pub async fn of(&self, client: &Client) -> Result<Arc<JwkSet>, AssertionError> {
        let unusable = AssertionError::NotTrusted("the client has no usable key");
        let Some(url) = url_of(client) else {
            let mut keys: JwkSet = serde_json::from_str(&client.jwks).map_err(|_| unusable)?;
            keys.keys.retain(|key| keys::is_strong(key, self.rsa_bits_min));
            return Ok(Arc::new(keys));
        };
        self.fetched(&client.id, url).await
    }

    /// Whether the client still publishes the key of this thumbprint.
    pub async fn publishes(&self, client: &Client, thumbprint: &str) -> bool {
        let known = self.of(client).await;
        known.is_ok_and(|keys| keys.keys.iter().any(|key| self::thumbprint(key).as_deref() == Some(thumbprint)))
    }

    /// The keys at this URL, of whoever has this name.
    ///
    /// # Errors
    /// As [`KeySource::of`].
    pub async fn fetched(&self, name: &str, url: Url) -> Result<Arc<JwkSet>, AssertionError> {
        let kept = Arc::clone(self.kept.lock().expect("no holder of it panics").entry(name.to_owned()).or_default());
        // Whoever comes while one fetches waits for what that one gets.
        let mut kept = kept.lock().await;
        if kept.url.as_ref() != Some(&url) {
            *kept = Kept { url: Some(url.clone()), ..Kept::default() };
        }
        let now = self.clock.now();
        if kept.asked.is_none_or(|asked| now.duration_since(asked) >= BETWEEN_FETCHES) {
            kept.asked = Some(now);
            match self.fetch(url).await {
                Ok(mut keys) => {
                    let published = keys.keys.len();
                    keys.keys.retain(|key| keys::is_strong(key, self.rsa_bits_min));
                    let small = published - keys.keys.len();
                    if small > 0 {
                        tracing::warn!(
                            owner = name,
                            small,
                            "RSA keys are smaller than identity.rsa_bits_min and not used"
                        );
                    }
                    kept.got = Some((now, Arc::new(keys)));
                }
                Err(reason) => tracing::warn!(owner = name, reason, "a key set cannot be fetched"),
            }
        }
        match &kept.got {
            Some((got, keys)) if now.duration_since(*got) < KEPT_MAX => Ok(Arc::clone(keys)),
            _ => Err(AssertionError::NotTrusted("the key set cannot be fetched")),
        }
    }

    async fn fetch(&self, url: Url) -> Result<JwkSet, String> {
        let answer = self.http.send(Method::GET, url, HeaderMap::new(), "").await.map_err(|fault| fault.to_string())?;
        if answer.status() != 200 {
            return Err(format!("status {}", answer.status().as_u16()));
        }
        let body = answer.bytes_up_to(KEY_SET_BYTES_MAX).await.map_err(|fault| fault.to_string())?;
        let text = std::str::from_utf8(&body).map_err(|_| "not UTF-8".to_owned())?;
        let checked = keys::checked_jwks(text).map_err(|error| format!("{error:#}"))?;
        serde_json::from_str(&checked).map_err(|_| "not a JWK Set".to_owned())
    }
}

#[cfg(test)]
mod tests;
