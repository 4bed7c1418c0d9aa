//! `[alerts]`, `[smtp]` and what a host that is pushed to asks for: who is told what, and how that is signed;
//! and where subscriptions may have their owners called.

use std::path::{Path, PathBuf};

use onward_core::OdsCode;
use serde::{Deserialize, Serialize};
use url::Url;

use super::values::{filled, web_address};

/// `[alerts]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alerts {
    /// A home must have opened its copy so long before the arrival.
    pub unread_hours_before_arrival: u32,
    /// Nobody is called before a copy has waited this long.
    pub grace_minutes: u32,
    /// Time between two steps.
    pub step_minutes: u32,
    /// Something must have said within this that a copy arrived.
    pub receipt_hours: u32,
    /// A copy that arrived must be acknowledged within this, and a practice's or pharmacy's notice to stop using a version opened.
    pub acknowledgement_hours: u32,
    /// A copy may wait to be sent for so long.
    pub queued_hours: u32,
    /// Our own MESH mailbox must have been read within this, and no message may stay there uncollected for as long.
    pub mailbox_minutes: u32,
    /// Homes are told of each copy that waits for them.
    pub tell_homes: bool,
    /// E-mail address of whoever runs the gateway.
    pub operations_email: String,
    /// The wards, by hospital.
    pub wards: Vec<Ward>,
    /// The system that is told of every alert.
    #[serde(deserialize_with = "filled")]
    pub webhook_url: Option<Url>,
    /// The keys that sign what it is told.
    pub webhook_key_files: Vec<PathBuf>,
}

/// The ward, or the team, of one hospital.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ward {
    /// The hospital.
    pub sender: OdsCode,
    /// Its e-mail address.
    pub email: String,
}

/// `[smtp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// Host of the mail server; empty: nobody is told by e-mail.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// From whom.
    pub from: String,
    /// User, where the server asks for one.
    pub user: String,
    /// File with the password.
    #[serde(deserialize_with = "filled")]
    pub password_file: Option<PathBuf>,
    /// Our certificate, where the server wants one, PEM.
    #[serde(deserialize_with = "filled")]
    pub certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(deserialize_with = "filled")]
    pub key_file: Option<PathBuf>,
}

/// One host that copies are pushed to, with what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushHost {
    /// Name, as in the endpoint's URL.
    pub host: String,
    /// File with the bearer token.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Files with the keys that sign what is pushed.
    #[serde(default)]
    pub signing_key_files: Vec<PathBuf>,
}

/// Where the subscriptions of one organisation may have it called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookHost {
    /// The organisation, as its clients are registered.
    pub ods: OdsCode,
    /// What the address begins with; ends with a slash.
    #[serde(deserialize_with = "web_address")]
    pub url: Url,
}

impl Alerts {
    pub(super) fn resolve(&mut self, folder: &Path) {
        self.webhook_key_files.iter_mut().for_each(|path| *path = folder.join(&*path));
    }
}

impl PushHost {
    pub(super) fn resolve(&mut self, folder: &Path) {
        self.bearer_token_file
            .iter_mut()
            .chain(&mut self.signing_key_files)
            .for_each(|path| *path = folder.join(&*path));
    }
}
