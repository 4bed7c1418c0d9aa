//! Access tokens of the NHS API platform: `client_credentials` with a signed assertion (`private_key_jwt`, RS512).
//!
//! It refuses to share an assertion between requests, and to keep a token longer than the platform says.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA512;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use onward_core::Clock;
use onward_core::directory::DirectoryError;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::unavailable;
use crate::http::{HeaderMap, HeaderValue, HttpClient, HttpFault, Method, StatusCode, header};
use crate::secret::Secret;

/// The platform allows five minutes; one less forgives a slow clock.
const ASSERTION_SECONDS: i64 = 240;
/// A token is not used in its last seconds, so that it does not expire on the way.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// The platform's tokens live ten minutes; whatever it says, one is not kept longer than this.
const LIFE_SECONDS_MAX: i64 = 3600;

/// Who we are to the platform.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// `https://api.service.nhs.uk/oauth2/token`; also the assertion's audience.
    pub token_url: Url,
    /// The application's API key: `iss` and `sub`.
    pub api_key: String,
    /// `kid` of the public key that is registered with the platform.
    pub key_id: String,
    /// The RSA private key, PEM (PKCS#8 or PKCS#1).
    pub private_key_pem: Secret,
}

/// The signing key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the private key for signing assertions is not an RSA key in PEM")]
pub struct SigningKeyError;

/// Asks for tokens and keeps the last one.
pub struct TokenClient {
    config: TokenConfig,
    key: KeyPair,
    http: HttpClient,
    clock: Arc<dyn Clock>,
    /// Held while asking, so that many look-ups ask once.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    bearer: HeaderValue,
    until: Timestamp,
}

impl TokenClient {
    /// A client for one application.
    ///
    /// # Errors
    /// When the private key cannot be used.
    pub fn new(config: TokenConfig, http: HttpClient, clock: Arc<dyn Clock>) -> Result<Self, SigningKeyError> {
        let der =
            PrivateKeyDer::from_pem_slice(config.private_key_pem.expose().as_bytes()).map_err(|_| SigningKeyError)?;
        let key = match &der {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(SigningKeyError),
        };
        Ok(Self { key: key.map_err(|_| SigningKeyError)?, config, http, clock, kept: Mutex::new(None) })
    }

    /// The `Authorization` header, from the token that is kept or a new one.
    pub(super) async fn bearer(&self) -> Result<HeaderValue, DirectoryError> {
        let mut kept = self.kept.lock().await;
        let now = self.clock.now();
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.until) {
            return Ok(kept.bearer.clone());
        }
        let fresh = self.ask(now).await?;
        let bearer = fresh.bearer.clone();
        *kept = Some(fresh);
        Ok(bearer)
    }

    /// Drops the token that is kept.
    pub(super) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn ask(&self, now: Timestamp) -> Result<Kept, DirectoryError> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: Seconds,
        }
        /// The platform writes the number as a text.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Seconds {
            Number(i64),
            Text(String),
        }
        let assertion = self.assertion(now)?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .append_pair("client_assertion", &assertion)
            .finish();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let failed = |fault: HttpFault| unavailable(&format!("no access token: {fault}"));
        let answer =
            self.http.send(Method::POST, self.config.token_url.clone(), headers, form).await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            return Err(unavailable(&format!("no access token: the platform answered {status}")));
        }
        let strange = || unavailable("no access token: the platform's answer was not understood");
        let body = answer.bytes().await.map_err(failed)?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| strange())?;
        let seconds = match answer.expires_in {
            Seconds::Number(seconds) => seconds,
            Seconds::Text(text) => text.parse().map_err(|_| strange())?,
        };
        let token = Secret::new(answer.access_token);
        let text = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut bearer = HeaderValue::from_str(&text).map_err(|_| strange())?;
        bearer.set_sensitive(true);
        let life = SignedDuration::from_secs(seconds.clamp(0, LIFE_SECONDS_MAX));
        Ok(Kept { bearer, until: now + (life - MARGIN) })
    }

    /// One assertion, for one request (standards.md §4, Auth).
    fn assertion(&self, now: Timestamp) -> Result<Zeroizing<String>, DirectoryError> {
        let head = serde_json::json!({ "alg": "RS512", "kid": self.config.key_id, "typ": "JWT" });
        let claims = serde_json::json!({
            "iss": self.config.api_key,
            "sub": self.config.api_key,
            "aud": self.config.token_url.as_str(),
            "jti": Uuid::new_v4(),
            "exp": now.as_second() + ASSERTION_SECONDS,
        });
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let signed = Zeroizing::new(format!(
            "{}.{}",
            encode(head.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        ));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA512, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| unavailable("no access token: the assertion cannot be signed"))?;
        Ok(Zeroizing::new(format!("{}.{}", *signed, encode(&signature))))
    }
}
