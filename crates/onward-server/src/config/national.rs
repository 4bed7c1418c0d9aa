//! `[mesh]`, `[pds]` and `[ods]`: the NHS's national services.

use std::path::PathBuf;

use onward_connect::mesh::GpRoutingDate;
use onward_core::{MeshMailboxId, OdsCode};
use serde::Deserialize;
use url::Url;

use super::values::{base_url, filled};

/// `[mesh]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mesh {
    /// Send and collect by MESH.
    pub enabled: bool,
    /// Address of the MESH API, without `/messageexchange`.
    #[serde(deserialize_with = "base_url")]
    pub base_url: Url,
    /// Our own mailbox.
    #[serde(deserialize_with = "filled")]
    pub mailbox: Option<MeshMailboxId>,
    /// File with the mailbox password.
    #[serde(deserialize_with = "filled")]
    pub password_file: Option<PathBuf>,
    /// File with the environment's shared key.
    #[serde(deserialize_with = "filled")]
    pub shared_key_file: Option<PathBuf>,
    /// Client certificate chain, PEM.
    #[serde(deserialize_with = "filled")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(deserialize_with = "filled")]
    pub key_file: Option<PathBuf>,
    /// Further authorities, PEM.
    #[serde(deserialize_with = "filled")]
    pub ca_file: Option<PathBuf>,
    /// Send bodies compressed.
    pub compress: bool,
    /// Longest part of a message in one request, bytes before compression.
    pub chunk_bytes: u32,
    /// Practices without a directory entry are found by MESH.
    pub gp_routing: bool,
    /// How a date of birth stands in that address.
    pub gp_routing_date: GpRoutingDate,
    /// The mailboxes of the directory are held against MESH every day.
    pub look_daily: bool,
    /// Codes that it is not asked about.
    pub look_except: Vec<OdsCode>,
    /// Time between two looks into our mailbox, seconds.
    pub poll_seconds: u32,
    /// Longest download of one message, or of one of its chunks, from our mailbox, seconds.
    pub request_seconds: u32,
    /// Plain `http:` to a loopback address.
    pub allow_plain_loopback: bool,
}

/// `[pds]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pds {
    /// Which directory of people.
    pub mode: PdsMode,
    /// Address of the FHIR API.
    #[serde(deserialize_with = "base_url")]
    pub base_url: Url,
    /// Token endpoint; also the `aud` of our assertions.
    #[serde(deserialize_with = "base_url")]
    pub token_url: Url,
    /// API key.
    pub client_id: String,
    /// File with the private key that signs our assertions, PEM.
    #[serde(deserialize_with = "filled")]
    pub key_file: Option<PathBuf>,
    /// `kid` of that key.
    pub key_id: String,
    /// Requests that a node makes in a second at most.
    pub requests_per_second: u32,
    /// People of the stand-in, TOML.
    #[serde(deserialize_with = "filled")]
    pub stand_in_file: Option<PathBuf>,
    /// Plain `http:` to a loopback address.
    pub allow_plain_loopback: bool,
}

/// Where people are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PdsMode {
    /// The service itself.
    Pds,
    /// A local file.
    StandIn,
}

/// `[ods]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ods {
    /// Address of the ORD API, version included.
    #[serde(deserialize_with = "base_url")]
    pub base_url: Url,
    /// The directory is held against it every day, where its host is listed.
    pub daily: bool,
    /// Codes that it is not asked about.
    pub except: Vec<OdsCode>,
    /// Plain `http:` to a loopback address.
    pub allow_plain_loopback: bool,
}
