//! `[[identity.token_issuer]]`: who else issues access tokens to machine clients.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::values::web_address;

/// An authorization server whose access tokens are taken (RFC 9068).
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
