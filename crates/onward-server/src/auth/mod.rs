//! Who is calling: client assertions become opaque tokens, tokens become callers.

pub mod assertion;
pub(crate) mod first_uses;
pub(crate) mod jws;
pub mod key_source;
pub(crate) mod limit;
pub(crate) mod outside;
pub(crate) mod refusals;
pub(crate) mod scope;
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
    /// What an outside issuer's token lets it do; none with a token of ours, which lets it do what its role may.
    scopes: Option<scope::Scopes>,
    /// Its place among the client's requests at once.
    _turn: limit::Turn,
}

impl Caller {
    /// What the client is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.client.role
    }

    /// Whether its token covers this function, which its role must have besides.
    #[must_use]
    pub fn token_covers(&self, action: table::Action) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.cover(action))
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
