//! `[audit]`: the log's key, who witnesses it, and where it goes.

use std::path::PathBuf;

use onward_ledger::WitnessKey;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use url::Url;

use super::values::{self, base_url, filled};

/// `[audit]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Ed25519 key that signs checkpoints.
    #[serde(deserialize_with = "values::path")]
    pub signing_key_file: PathBuf,
    /// Longest time between two checkpoints while entries arrive.
    pub checkpoint_seconds: u32,
    /// Who cosigns checkpoints.
    pub witness: Vec<Witness>,
    /// Where checkpoints are written to, a file each.
    #[serde(deserialize_with = "filled")]
    pub checkpoint_folder: Option<PathBuf>,
    /// Where checkpoints are posted to.
    #[serde(deserialize_with = "filled")]
    pub checkpoint_url: Option<Url>,
    /// Shortest time between two checkpoints that are written or posted.
    pub ship_seconds: u32,
}

/// `[[audit.witness]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Its submission prefix: `add-checkpoint` is appended.
    #[serde(deserialize_with = "base_url")]
    pub url: Url,
    /// Its public key, with its name.
    #[serde(deserialize_with = "witness_key")]
    pub key: WitnessKey,
}

fn witness_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WitnessKey, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong =
        |error| D::Error::custom(format!("expected name+id+base64, as `onward audit witness` prints it: {error}"));
    WitnessKey::from_text(text.trim()).map_err(wrong)
}
