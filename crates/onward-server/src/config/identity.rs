//! `[identity]`: who runs this gateway, and who else vouches for people and machines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use onward_core::OdsCode;
use serde::Deserialize;
use url::Url;

use super::values::{filled, web_address};

/// `[identity]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// ODS code of the organisation that runs the gateway; [`Loaded::check`] asks for it.
    #[serde(deserialize_with = "filled")]
    pub ods: Option<OdsCode>,
    /// Its name.
    pub name: String,
    /// Life of an access token, seconds.
    pub token_lifetime_seconds: u32,
    /// The smallest RSA key that is taken from anybody, and that is used by ourselves, bits.
    pub rsa_bits_min: u32,
    /// Identity providers that people sign in through.
    pub issuer: Vec<Issuer>,
    /// Who else issues access tokens to machine clients.
    pub token_issuer: Vec<TokenIssuer>,
}

/// `[[identity.issuer]]`: an OpenID Connect provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its name in our addresses.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// `iss`, to the letter; its description is at `/.well-known/openid-configuration` below it.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// Private key that signs our assertions, PEM: RSA (RS512) or P-384 (ES384).
    pub key_file: PathBuf,
    /// `kid` of that key there.
    pub key_id: String,
    /// `scope`.
    #[serde(default = "openid")]
    pub scopes: Vec<String>,
    /// `acr_values`; empty: not sent.
    #[serde(default)]
    pub acr_values: String,
    /// How long ago the person may have signed in there, seconds.
    #[serde(default = "five_minutes")]
    pub auth_age_max_seconds: u32,
    /// Claims that the ID token must have, each with the values that are taken.
    #[serde(default)]
    pub required_claims: BTreeMap<String, Vec<String>>,
}

fn openid() -> Vec<String> {
    vec!["openid".to_owned()]
}

fn five_minutes() -> u32 {
    300
}

/// `[[identity.token_issuer]]`: an authorization server whose access tokens are taken (RFC 9068).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenIssuer {
    /// Its name in our logs.
    pub name: String,
    /// `iss`, to the letter.
    pub issuer: String,
    /// Where its public keys are (RFC 7517).
    #[serde(deserialize_with = "web_address")]
    pub jwks_url: Url,
    /// `aud` of the tokens that are for us.
    pub audience: String,
    /// `typ` of its access tokens. RFC 9068 §2.1 says `at+jwt`; some servers write `JWT`.
    #[serde(default = "at_jwt")]
    pub kind: String,
    /// The claim that names its client.
    #[serde(default = "client_id")]
    pub client_claim: String,
    /// The claim that has the scopes.
    #[serde(default = "scope")]
    pub scope_claim: String,
    /// Tokens that live for longer are not taken, minutes.
    #[serde(default = "an_hour")]
    pub life_minutes_max: u32,
    /// Which of its clients is which of ours.
    pub clients: BTreeMap<String, String>,
    /// Which of its scopes means which of ours. Without any, its scopes are taken that are ours to the letter.
    #[serde(default)]
    pub scopes: BTreeMap<String, Vec<String>>,
}

fn at_jwt() -> String {
    "at+jwt".to_owned()
}

fn client_id() -> String {
    "client_id".to_owned()
}

fn scope() -> String {
    "scope".to_owned()
}

fn an_hour() -> u32 {
    60
}
