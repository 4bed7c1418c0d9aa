//! The two cookies of a browser: the session, and the device that an account has signed in from.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onward_core::store::StoreError;

use super::sha256;

/// The session.
pub(super) const SESSION: &str = "__Host-sid";
/// The browser, known to an account that has signed in from it.
pub(super) const DEVICE: &str = "__Host-device";

/// 256 random bits as text. Its `Debug` would show it: it has none.
pub(super) struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub(super) fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| StoreError::Unavailable("no randomness".to_owned()))?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }
}

/// The SHA-256 of a cookie's value, where the browser sent exactly one of that name.
pub(super) fn hash_of(headers: &HeaderMap, name: &str) -> Option<[u8; 32]> {
    value(headers, name).map(|value| sha256(value.as_bytes()))
}

/// A cookie's value. Two of one name are none: which of them others would go by is unknown.
fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = pairs
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(own, _)| *own == name)
        .map(|(_, value)| value);
    found.next().filter(|_| found.next().is_none())
}

/// Sets a cookie: for as long as the browser runs, or for so many seconds.
pub(super) fn set(name: &str, value: &str, seconds: Option<i64>) -> HeaderValue {
    let age = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    HeaderValue::from_str(&format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}"))
        .expect("names are ours and values are base64url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(value(&headers, SESSION), None);
        headers.append("cookie", HeaderValue::from_static("a=1; __Host-sid=x; __Host-sidx=y"));
        assert_eq!(value(&headers, SESSION), Some("x"));
        headers.append("cookie", HeaderValue::from_static("__Host-sid=z"));
        assert_eq!(value(&headers, SESSION), None, "an attacker's beside the right one");
    }
}
