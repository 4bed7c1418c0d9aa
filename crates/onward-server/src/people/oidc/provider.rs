//! One identity provider: where it is, its keys, and the exchange of a code for an ID token.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, EncodingKey};
use onward_connect::http::{HeaderMap, HeaderValue, HttpClient, Method, header};
use onward_core::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::json;
use url::Url;

use crate::app::App;
use crate::config::Issuer;
use crate::people::cookie::Token;
use crate::people::sha256;

/// How long a provider's own description is kept.
const DESCRIPTION_KEPT: SignedDuration = SignedDuration::from_mins(10);
/// Longest life of our assertions, seconds.
const ASSERTION_SECONDS: i64 = 120;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A configured identity provider.
pub(in crate::people) struct Provider {
    pub(in crate::people) issuer: Issuer,
    key: EncodingKey,
    algorithm: Algorithm,
    http: HttpClient,
    described: tokio::sync::Mutex<Option<(Timestamp, Description)>>,
}

/// What a provider says of itself (OpenID Connect Discovery §3), as far as we use it.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Description {
    issuer: String,
    #[serde(deserialize_with = "url")]
    pub(super) authorization_endpoint: Url,
    #[serde(deserialize_with = "url")]
    token_endpoint: Url,
    #[serde(deserialize_with = "url")]
    jwks_uri: Url,
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// What a sign-in remembers until the person comes back.
pub(super) struct Request<'a> {
    pub(super) redirect_uri: &'a str,
    pub(super) state: &'a str,
    pub(super) nonce: &'a str,
    pub(super) verifier: &'a str,
}

impl Provider {
    /// # Errors
    /// When the key cannot be read or used.
    pub(in crate::people) fn new(issuer: Issuer, http: HttpClient) -> anyhow::Result<Self> {
        let (key, algorithm) =
            signing_key(&issuer.key_file).with_context(|| format!("identity.issuer {}", issuer.name))?;
        Ok(Self { issuer, key, algorithm, http, described: tokio::sync::Mutex::default() })
    }

    /// Where the person is sent to.
    ///
    /// # Errors
    /// When the provider cannot be reached.
    pub(super) async fn sign_in_url(&self, request: &Request<'_>, now: Timestamp, again: bool) -> anyhow::Result<Url> {
        let mut url = self.description(now).await?.authorization_endpoint;
        let challenge = URL_SAFE_NO_PAD.encode(sha256(request.verifier.as_bytes()));
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.issuer.client_id)
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("scope", &self.issuer.scopes.join(" "))
            .append_pair("state", request.state)
            .append_pair("nonce", request.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("max_age", &self.issuer.auth_age_max_seconds.to_string());
        if !self.issuer.acr_values.is_empty() {
            query.append_pair("acr_values", &self.issuer.acr_values);
        }
        if again {
            query.append_pair("prompt", "login");
        }
        drop(query);
        Ok(url)
    }

    /// The ID token for a code.
    ///
    /// # Errors
    /// When the provider cannot be reached, or gives none.
    pub(super) async fn redeem(
        &self,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
        now: Timestamp,
    ) -> anyhow::Result<String> {
        #[derive(serde::Deserialize)]
        struct Tokens {
            id_token: String,
        }
        let endpoint = self.description(now).await?.token_endpoint;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", verifier)
            .append_pair("client_id", &self.issuer.client_id)
            .append_pair("client_assertion_type", ASSERTION_TYPE)
            .append_pair("client_assertion", &self.assertion(&endpoint, now)?)
            .finish();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.http.send(Method::POST, endpoint, headers, form).await?;
        anyhow::ensure!(answer.status() == 200, "the token endpoint answered {}", answer.status().as_u16());
        let tokens: Tokens =
            serde_json::from_slice(&answer.bytes().await?).map_err(|_| anyhow::anyhow!("there is no ID token"))?;
        Ok(tokens.id_token)
    }

    /// Its public keys; a new one is taken within a minute.
    ///
    /// # Errors
    /// When they cannot be had.
    pub(super) async fn keys(&self, app: &App, now: Timestamp) -> anyhow::Result<Arc<JwkSet>> {
        let url = self.description(now).await?.jwks_uri;
        Ok(app.key_source.fetched(&format!("issuer:{}", self.issuer.name), url).await?)
    }

    async fn description(&self, now: Timestamp) -> anyhow::Result<Description> {
        // Whoever comes while one asks waits for what that one gets.
        let mut described = self.described.lock().await;
        if let Some((_, description)) = described.as_ref().filter(|(at, _)| now.duration_since(*at) < DESCRIPTION_KEPT)
        {
            return Ok(description.clone());
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.issuer.trim_end_matches('/'));
        let answer = self.http.send(Method::GET, Url::parse(&url)?, HeaderMap::new(), "").await?;
        anyhow::ensure!(answer.status() == 200, "its description answers {}", answer.status().as_u16());
        let description: Description = serde_json::from_slice(&answer.bytes().await?)
            .map_err(|_| anyhow::anyhow!("its description lacks an endpoint"))?;
        anyhow::ensure!(description.issuer == self.issuer.issuer, "its description is of another issuer");
        *described = Some((now, description.clone()));
        Ok(description)
    }

    /// Who we are (RFC 7523 §2.2).
    fn assertion(&self, endpoint: &Url, now: Timestamp) -> anyhow::Result<String> {
        let mut header = jsonwebtoken::Header::new(self.algorithm);
        header.kid = Some(self.issuer.key_id.clone());
        let claims = json!({
            "iss": self.issuer.client_id, "sub": self.issuer.client_id, "aud": endpoint.as_str(),
            "jti": Token::random()?.text(), "iat": now.as_second(), "exp": now.as_second() + ASSERTION_SECONDS,
        });
        jsonwebtoken::encode(&header, &claims, &self.key).context("our assertion cannot be signed")
    }
}

/// The private key and what it signs with: RS512 as NHS CIS2 asks, ES384 otherwise.
fn signing_key(path: &Path) -> anyhow::Result<(EncodingKey, Algorithm)> {
    let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if let Ok(key) = EncodingKey::from_rsa_pem(&pem) {
        return Ok((key, Algorithm::RS512));
    }
    let key = EncodingKey::from_ec_pem(&pem).context("the key is neither an RSA nor an EC private key in PEM")?;
    Ok((key, Algorithm::ES384))
}
