//! A signed-in client of a gateway: what `onward send`, `onward status --to` and the demo's partners use.

use anyhow::Context as _;
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use onward_connect::http::{Answer, HeaderMap, HeaderValue, HttpClient, Method, StatusCode, header};
use onward_core::{Clock, SystemClock};
use url::Url;

use crate::keys;

/// One client's way to one gateway.
pub struct Session {
    http: HttpClient,
    base: Url,
    client_id: String,
    key_pem: zeroize::Zeroizing<String>,
    token: tokio::sync::Mutex<Option<(String, i64)>>,
}

/// An answer, read whole.
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Session {
    /// A client with its ES384 key in PKCS #8 PEM.
    #[must_use]
    pub fn new(http: HttpClient, base: Url, client_id: &str, key_pem: String) -> Self {
        Self {
            http,
            base,
            client_id: client_id.to_owned(),
            key_pem: key_pem.into(),
            token: tokio::sync::Mutex::new(None),
        }
    }

    /// Who signs in.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The assertion that this client would sign in with at the moment.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn assertion(&self) -> anyhow::Result<String> {
        let jwk = keys::public_jwk(&self.key_pem)?;
        let mut header = Header::new(Algorithm::ES384);
        header.kid = jwk.common.key_id;
        let now = SystemClock.now().as_second();
        let claims = serde_json::json!({
            "iss": self.client_id, "sub": self.client_id, "aud": self.url("oauth2/token")?.as_str(),
            "exp": now + 240, "iat": now, "jti": uuid::Uuid::new_v4().to_string(),
        });
        Ok(jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(self.key_pem.as_bytes())?)?)
    }

    /// The access token of this client; the same for as long as it lasts.
    ///
    /// # Errors
    /// When signing in is refused or gets no answer.
    pub async fn token(&self) -> anyhow::Result<String> {
        let mut kept = self.token.lock().await;
        let now = SystemClock.now().as_second();
        if let Some((token, until)) = kept.as_ref()
            && *until > now
        {
            return Ok(token.clone());
        }
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .append_pair("client_assertion", &self.assertion()?)
            .finish();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let answer = self.http.send(Method::POST, self.url("oauth2/token")?, headers, form).await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        let json: serde_json::Value = serde_json::from_slice(&body).context("the token answer is not JSON")?;
        anyhow::ensure!(
            status.is_success(),
            "sign-in refused ({status}): {}",
            json["error_description"].as_str().unwrap_or("no reason given")
        );
        let token = json["access_token"].as_str().context("the token answer has no access_token")?.to_owned();
        let life = json["expires_in"].as_i64().unwrap_or(60);
        *kept = Some((token.clone(), now + life - 15));
        Ok(token)
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        let base = self.base.as_str().trim_end_matches('/');
        Ok(Url::parse(&format!("{base}/{path}"))?)
    }

    /// One signed-in request; `path` is relative to the base URL and may carry a query.
    ///
    /// # Errors
    /// When signing in fails or there is no answer; any status is an answer.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Reply> {
        let mut map = HeaderMap::new();
        map.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", self.token().await?))?);
        map.insert("x-request-id", HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())?);
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value)?);
        }
        let answer: Answer = self.http.send(method, self.url(path)?, map, body).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Reply { status, headers, body: answer.bytes_up_to(64 * 1024 * 1024).await? })
    }

    /// `GET` of FHIR JSON.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.call(Method::GET, path, &[("accept", "application/fhir+json")], Bytes::new()).await
    }
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("the answer ({}) is not JSON", self.status))
    }
}
