//! The `NHSMESH` authorization token (`mesh-api.yaml`, MESH Authorization header). Good for one request.

use aws_lc_rs::hmac;
use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::MeshConfig;
use crate::http::HeaderValue;

/// A token with a nonce of its own.
pub(super) fn fresh(config: &MeshConfig, now: Timestamp) -> HeaderValue {
    let text = token(config, &Uuid::new_v4().to_string(), now);
    let mut value = HeaderValue::from_str(&text).expect("mailbox, UUID, digits and hexadecimal are visible ASCII");
    value.set_sensitive(true);
    value
}

fn token(config: &MeshConfig, nonce: &str, now: Timestamp) -> Zeroizing<String> {
    // The specification wants the mailbox in upper case in the token; a nonce is never used twice, so its count is 0.
    let mailbox = config.mailbox.as_str().to_ascii_uppercase();
    let time = now.strftime("%Y%m%d%H%M");
    let message = Zeroizing::new(format!("{mailbox}:{nonce}:0:{}:{time}", config.password.expose()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, config.shared_key.expose().as_bytes());
    let hash = hex::encode(hmac::sign(&key, message.as_bytes()));
    Zeroizing::new(format!("NHSMESH {mailbox}:{nonce}:0:{time}:{hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn config() -> MeshConfig {
        MeshConfig::new(
            "https://mesh.example/".parse().expect("a URL"),
            "X26ABC1".parse().expect("a mailbox"),
            Secret::new("password".to_owned()),
            Secret::new("TestKey".to_owned()),
        )
    }

    #[test]
    fn the_published_vector() {
        let now = "2026-01-31T12:05:59Z".parse().expect("a time");
        assert_eq!(
            *token(&config(), "75d4c5d0-7e6c-4f04-9f3b-6a0a7a1a2b3c", now),
            "NHSMESH X26ABC1:75d4c5d0-7e6c-4f04-9f3b-6a0a7a1a2b3c:0:202601311205:\
             9cdb2c38224a9bc6c5fa9b3c3fadecdc38b9673726fe992467ab6471e294588a"
        );
    }

    #[test]
    fn every_token_is_another_and_prints_redacted() {
        let now = Timestamp::UNIX_EPOCH;
        let (one, two) = (fresh(&config(), now), fresh(&config(), now));
        assert_ne!(one, two);
        assert_eq!(format!("{one:?}"), "Sensitive");
        let config = format!("{:?}", config());
        assert!(!config.contains("password\"") && !config.contains("TestKey"), "{config}");
    }
}
