//! Client assertions of every shape, signed with a registered key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use onward_core::{Clock, SystemClock};
use onward_server::keys;
use serde_json::{Value, json};

/// A client's key, and where it signs in.
#[derive(Debug, Clone)]
pub struct Signer {
    /// Its identifier.
    pub client: String,
    /// `kid` of its key.
    pub kid: String,
    /// Our token URL.
    pub audience: String,
    key_pem: String,
}

impl Signer {
    /// An ES384 signer.
    ///
    /// # Panics
    /// When the key is none.
    #[must_use]
    pub fn new(client: &str, key_pem: &str, audience: &str) -> Self {
        let jwk = keys::public_jwk(key_pem).expect("a JWK");
        let kid = jwk.common.key_id.expect("a kid");
        Self { client: client.to_owned(), kid, audience: audience.to_owned(), key_pem: key_pem.to_owned() }
    }

    /// The public half of its key.
    ///
    /// # Panics
    /// When the key is none.
    #[must_use]
    pub fn public_jwk(&self) -> jsonwebtoken::jwk::Jwk {
        keys::public_jwk(&self.key_pem).expect("a JWK")
    }

    /// A right header.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({ "alg": "ES384", "typ": "JWT", "kid": self.kid })
    }

    /// Right claims.
    #[must_use]
    pub fn claims(&self) -> Value {
        let now = SystemClock.now().as_second();
        json!({
            "iss": self.client, "sub": self.client, "aud": self.audience,
            "exp": now + 200, "jti": uuid::Uuid::new_v4().to_string(),
        })
    }

    /// Signs these two texts, whatever they are.
    ///
    /// # Panics
    /// When the key cannot sign.
    #[must_use]
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_ec_pem(self.key_pem.as_bytes()).expect("a key");
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::ES384).expect("signed");
        format!("{signed}.{signature}")
    }

    /// A right assertion.
    #[must_use]
    pub fn right(&self) -> String {
        self.sign(&self.header().to_string(), &self.claims().to_string())
    }

    /// One with another header value.
    #[must_use]
    pub fn with_header(&self, name: &str, value: impl Into<Value>) -> String {
        let mut header = self.header();
        header[name] = value.into();
        self.sign(&header.to_string(), &self.claims().to_string())
    }

    /// One with other claims.
    #[must_use]
    pub fn with_claims(&self, changes: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// One without this header or claim.
    #[must_use]
    pub fn without(&self, name: &str) -> String {
        let (mut header, mut claims) = (self.header(), self.claims());
        for part in [&mut header, &mut claims] {
            part.as_object_mut().into_iter().for_each(|members| {
                members.remove(name);
            });
        }
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// One whose claims say something twice; `member` is JSON like `"sub":"other"`.
    #[must_use]
    pub fn with_claim_again(&self, member: &str) -> String {
        let claims = self.claims().to_string().replacen('{', &format!("{{{member},"), 1);
        self.sign(&self.header().to_string(), &claims)
    }
}

/// The form that redeems an assertion.
#[must_use]
pub fn form(assertion: &str) -> String {
    format!(
        "grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion={assertion}"
    )
}
