//! How single values are read. The errors say what was expected and never repeat the value.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Deserialize as _, Deserializer, Error as _};
use url::Url;

/// Which store, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// The embedded store in this file.
    Sqlite(PathBuf),
    /// A PostgreSQL database; the URL carries no password.
    Postgres(Url),
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected sqlite:PATH or postgres://USER@HOST/DATABASE";
        if let Some(path) = text.strip_prefix("sqlite:") {
            if path.is_empty() {
                return Err(EXPECTED.to_owned());
            }
            return Ok(Self::Sqlite(path.into()));
        }
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") || url.host().is_none() {
            return Err(EXPECTED.to_owned());
        }
        let password_in_query = url.query_pairs().any(|(key, _)| key.eq_ignore_ascii_case("password"));
        if url.password().is_some() || password_in_query {
            return Err("the store's address must not carry a password: put it into store.password_file".to_owned());
        }
        Ok(Self::Postgres(url))
    }
}

/// An `http(s):` URL without credentials.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("expected an absolute URL: {error}"))?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Err("expected an https URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must not carry credentials".to_owned());
    }
    Ok(url)
}

/// An address that is asked as it stands.
pub(super) fn web_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    url(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A base URL: paths are appended to it.
pub(super) fn base_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let url = url(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(D::Error::custom("expected a URL without query and fragment"));
    }
    Ok(url)
}

/// A path that must be given.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    filled(deserializer)?.ok_or_else(|| D::Error::custom("expected the path of a file"))
}

/// A text that is read by its own rules.
pub(super) fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// As [`parsed`]; an empty text is "not set".
pub(super) fn filled<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(D::Error::custom)
}
