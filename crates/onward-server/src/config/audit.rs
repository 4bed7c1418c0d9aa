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
    /// Syslog receiver that entries are forwarded to.
    #[serde(deserialize_with = "filled")]
    pub syslog_address: Option<HostPort>,
    /// Authorities of the receiver's certificate, beside `egress.extra_ca_file`, PEM.
    #[serde(deserialize_with = "filled")]
    pub syslog_ca_file: Option<PathBuf>,
    /// Our certificate chain to the receiver, PEM.
    #[serde(deserialize_with = "filled")]
    pub syslog_certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(deserialize_with = "filled")]
    pub syslog_key_file: Option<PathBuf>,
    /// How much of an entry is forwarded.
    pub syslog_content: SyslogContent,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::str::FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        match parts {
            Some((host, port)) if !host.is_empty() && port != 0 => {
                Ok(Self { host: host.trim_start_matches('[').trim_end_matches(']').to_owned(), port })
            }
            _ => Err("expected HOST:PORT, such as siem.example.nhs.uk:6514".to_owned()),
        }
    }
}

/// How much of an entry is forwarded by syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogContent {
    /// What happened, by whom, to which transfer or copy; nothing that names a patient.
    Minimal,
    /// The whole AuditEvent, which names the patient by NHS number.
    Event,
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
