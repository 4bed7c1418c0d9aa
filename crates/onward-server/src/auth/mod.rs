//! Who is calling: client assertions become opaque tokens, tokens become callers.

pub mod assertion;
pub mod key_source;
pub(crate) mod limit;
pub(crate) mod refusals;
pub mod table;
pub mod token;
pub(crate) mod unique;

use onward_core::OdsCode;
use onward_core::audit::Agent;
use onward_core::client::{Client, Role};

/// An authenticated machine client.
#[derive(Debug)]
pub struct Caller {
    /// The registered client.
    pub client: Client,
    /// `X-Request-ID` of this request.
    pub request_id: Option<String>,
    /// Its place among the client's requests at once.
    _turn: limit::Turn,
}

impl Caller {
    /// What the client is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.client.role
    }

    /// The organisation that it acts for.
    #[must_use]
    pub fn ods(&self) -> &OdsCode {
        &self.client.ods
    }

    /// The client as audit names it.
    #[must_use]
    pub fn agent(&self) -> Agent {
        Agent::client(&self.client)
    }
}
