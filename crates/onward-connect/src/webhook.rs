//! What is posted to others' systems is signed by Standard Webhooks: `webhook-id`, `webhook-timestamp`, and in
//! `webhook-signature` one signature for each key in force, so that a key is changed by having two for a while.
//!
//! A key file holds `whsec_` and base64 (HMAC-SHA256, scheme `v1`) or `whsk_` and base64 of an Ed25519 seed (scheme `v1a`), whose
//! public key (`whpk_`) the receiver is given.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use onward_core::Clock;
use onward_core::store::alerts::Channel;
use onward_core::transport::{Notifier, SendError, Telling};
use url::Url;
use zeroize::Zeroizing;

use crate::http::{HeaderMap, HeaderName, HeaderValue, HttpClient, HttpFault, Method, StatusCode, header};
use crate::secret::Secret;

/// The message, the same in every attempt: the receiver's key against repeats.
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// The moment of the attempt, seconds since 1970.
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// One signature for each key, separated by blanks.
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// Standard Webhooks: a symmetric secret has 24 to 64 bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A key file does not hold a key. Never says what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a signing key is whsec_ and base64 of 24 to 64 bytes (HMAC), or whsk_ and base64 of an Ed25519 seed of 32 bytes"
)]
pub struct NotASigningKey;

/// A key that signs.
enum SigningKey {
    Shared(Box<hmac::Key>),
    Pair(Ed25519KeyPair),
}

impl SigningKey {
    fn read(key: &Secret) -> Result<Self, NotASigningKey> {
        let text = key.expose();
        let decoded = |text: &str| BASE64.decode(text).map(Zeroizing::new).map_err(|_| NotASigningKey);
        if let Some(text) = text.strip_prefix("whsec_") {
            let secret = decoded(text)?;
            let fits = SECRET_BYTES.contains(&secret.len());
            return fits
                .then(|| Self::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &secret))))
                .ok_or(NotASigningKey);
        }
        let seed = decoded(text.strip_prefix("whsk_").ok_or(NotASigningKey)?)?;
        // Some tools write seed and public key behind one another.
        let seed = match seed.len() {
            32 | 64 => &seed[..32],
            _ => return Err(NotASigningKey),
        };
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self::Pair).map_err(|_| NotASigningKey)
    }

    fn sign(&self, signed: &[u8]) -> String {
        match self {
            Self::Shared(key) => format!("v1,{}", BASE64.encode(hmac::sign(key, signed))),
            Self::Pair(pair) => format!("v1a,{}", BASE64.encode(pair.sign(signed))),
        }
    }
}

/// What a receiver checks signatures of this key with: `whpk_` and base64; none for a shared secret, which it has already.
///
/// # Errors
/// See [`NotASigningKey`].
pub fn public_key(key: &Secret) -> Result<Option<String>, NotASigningKey> {
    Ok(match SigningKey::read(key)? {
        SigningKey::Shared(_) => None,
        SigningKey::Pair(pair) => Some(format!("whpk_{}", BASE64.encode(pair.public_key()))),
    })
}

/// A new Ed25519 key, as a key file holds it.
///
/// # Errors
/// When the machine gives no randomness.
pub fn new_key() -> Result<Secret, aws_lc_rs::error::Unspecified> {
    let mut seed = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(seed.as_mut())?;
    Ok(Secret::new(format!("whsk_{}", BASE64.encode(seed.as_ref()))))
}

/// The value of `webhook-signature`.
fn signatures(keys: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> Result<String, NotASigningKey> {
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    let each = keys.iter().map(|key| Ok(SigningKey::read(key)?.sign(&signed))).collect::<Result<Vec<_>, _>>()?;
    Ok(each.join(" "))
}

/// Adds the three headers, signed by the keys of these files; they are read now, so that a change needs no restart. Nothing goes
/// out unsigned where a signature is due.
pub(crate) async fn sign(
    headers: &mut HeaderMap,
    files: Vec<PathBuf>,
    id: &str,
    clock: &dyn Clock,
    body: &[u8],
) -> Result<(), SendError> {
    let unusable = || SendError::Transient {
        reason: "a file with a key that signs for the partner cannot be used".to_owned(),
        retry_after_seconds: None,
    };
    let read = move || files.iter().map(|file| Secret::from_file(file)).collect::<Result<Vec<_>, _>>();
    let keys = tokio::task::spawn_blocking(read).await.map_err(|_| unusable())?.map_err(|_| unusable())?;
    let timestamp = clock.now().as_second();
    let signature = signatures(&keys, id, timestamp, body).map_err(|_| unusable())?;
    headers.insert(WEBHOOK_ID, HeaderValue::from_str(id).expect("an identifier is visible ASCII"));
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
    headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signature).expect("base64 is visible ASCII"));
    Ok(())
}

/// Tells a system of alerts: a signed POST of JSON.
pub struct Webhook {
    http: HttpClient,
    key_files: Vec<PathBuf>,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// A webhook that signs with the keys of these files.
    #[must_use]
    pub fn new(http: HttpClient, key_files: Vec<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self { http, key_files, clock }
    }
}

#[async_trait]
impl Notifier for Webhook {
    fn channel(&self) -> Channel {
        Channel::Webhook
    }

    async fn tell(&self, telling: &Telling) -> Result<(), SendError> {
        let permanent = |reason: String| SendError::Permanent { reason };
        let url =
            Url::parse(&telling.address).map_err(|_| permanent("the webhook's address is not a URL".to_owned()))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (id, body) = (telling.id.to_string(), telling.event.clone());
        sign(&mut headers, self.key_files.clone(), &id, self.clock.as_ref(), body.as_bytes()).await?;
        let answer = self.http.send(Method::POST, url, headers, body).await.map_err(HttpFault::of_repeatable)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // Standard Webhooks: gone means that nothing more is wanted.
            StatusCode::GONE => Err(permanent("the receiver answered 410".to_owned())),
            status => Err(SendError::Transient {
                reason: format!("the receiver answered {}", status.as_u16()),
                retry_after_seconds: answer.retry_after_seconds(self.clock.now()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use onward_core::SystemClock;

    use super::*;
    use crate::loopback::{Partner, Reply, loopback_config};

    fn key(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn the_published_example_is_signed_as_published() {
        // Standard Webhooks, reference libraries, "test_sign_function".
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = signatures(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn two_keys_give_two_signatures_that_both_verify() {
        let seed = [7; 32];
        let private = key(&format!("whsk_{}", BASE64.encode(seed)));
        let secret = key(&format!("whsec_{}", BASE64.encode([3; 32])));
        let both = signatures(&[private, secret], "id", 5, b"body").expect("signed");
        let (asymmetric, symmetric) = both.split_once(' ').expect("two");
        let public = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a pair");
        let signature = BASE64.decode(asymmetric.strip_prefix("v1a,").expect("its scheme")).expect("base64");
        UnparsedPublicKey::new(&ED25519, public.public_key()).verify(b"id.5.body", &signature).expect("verifies");
        assert!(UnparsedPublicKey::new(&ED25519, public.public_key()).verify(b"id.6.body", &signature).is_err());
        let tag = BASE64.decode(symmetric.strip_prefix("v1,").expect("its scheme")).expect("base64");
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &[3; 32]), b"id.5.body", &tag).expect("verifies");
    }

    #[test]
    fn what_is_no_key_signs_nothing() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "whsk_c2hvcnQ=", "secret", "whsec_%%%"] {
            assert_eq!(public_key(&key(text)), Err(NotASigningKey), "{text}");
        }
    }

    #[test]
    fn a_new_key_has_the_public_key_that_a_receiver_checks_with() {
        let key = new_key().expect("randomness");
        let public = public_key(&key).expect("a key").expect("a pair");
        let public = BASE64.decode(public.strip_prefix("whpk_").expect("its prefix")).expect("base64");
        let signature = signatures(&[key], "id", 5, b"body").expect("signed");
        let signature = BASE64.decode(signature.strip_prefix("v1a,").expect("its scheme")).expect("base64");
        UnparsedPublicKey::new(&ED25519, public).verify(b"id.5.body", &signature).expect("verifies");
        let shared = key_of_published();
        assert_eq!(public_key(&shared), Ok(None), "a shared secret is nobody else's");
    }

    fn key_of_published() -> Secret {
        key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    }

    #[tokio::test]
    async fn an_alert_is_posted_signed_and_never_unsigned() {
        let replies = ["204 No Content", "500 Broken", "302 Found", "410 Gone"];
        let headers = ["location: /x", "retry-after: 120"];
        let receiver = Partner::start(replies.map(|status| Reply::new(status, &headers, b"")).to_vec()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        std::fs::write(&file, key_of_published().expose()).expect("written");
        let http = HttpClient::new(&loopback_config()).expect("a client");
        let webhook = Webhook::new(http, vec![file.clone()], Arc::new(SystemClock));
        let telling = Telling {
            id: uuid::Uuid::from_u128(7),
            address: receiver.url("/alerts").to_string(),
            subject: String::new(),
            text: String::new(),
            event: r#"{"type":"onward.alerts"}"#.to_owned(),
        };
        assert_eq!(webhook.tell(&telling).await, Ok(()));
        for (status, lasting) in [("500", false), ("302", false), ("410", true)] {
            match webhook.tell(&telling).await {
                Err(SendError::Permanent { reason }) if lasting => assert!(reason.contains(status), "{reason}"),
                Err(SendError::Transient { reason, retry_after_seconds }) if !lasting => {
                    assert!(reason.contains(status) && retry_after_seconds == Some(120), "{reason}");
                }
                other => panic!("{status}: {other:?}"),
            }
        }
        std::fs::write(&file, "no key").expect("written");
        assert!(matches!(webhook.tell(&telling).await, Err(SendError::Transient { .. })));
        let seen = receiver.seen();
        assert_eq!(seen.len(), 4, "nothing follows a redirect or goes unsigned");
        let stamp = seen[0].header("webhook-timestamp").expect("stamped").parse().expect("seconds");
        let expected = signatures(&[key_of_published()], &telling.id.to_string(), stamp, telling.event.as_bytes());
        assert_eq!(seen[0].header("webhook-signature"), expected.ok().as_deref());
        assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"), "a repeat is seen to be one");
    }
}
