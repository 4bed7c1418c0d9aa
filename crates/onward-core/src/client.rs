//! Machine clients and their tokens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::OdsCode;
use crate::state::words;

words!(
    /// What a client is to Onward (trust.md §8).
    Role {
        /// Hospital system that submits.
        Sender = "sender",
        /// Care-home system that collects.
        CareHome = "care-home",
        /// GP system.
        Practice = "practice",
        /// Pharmacy system.
        Pharmacy = "pharmacy",
        /// Information governance.
        InformationGovernance = "information-governance",
        /// Operations.
        Operator = "operator",
    }
);

words!(
    /// What to do with a message whose NHS number cannot be used.
    NhsNumberPolicy {
        /// Refuse it with findings.
        Refuse = "refuse",
        /// Accept it and hold it for a person.
        Hold = "hold",
    }
);

/// A registered machine client, bound to one organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// `iss` and `sub` of its assertions.
    pub id: String,
    /// The organisation that it acts for.
    pub ods: OdsCode,
    /// What it is.
    pub role: Role,
    /// Its public keys, a JWK Set as JSON; or `{"jwks_uri": URL}` (RFC 7591 §2), where they are fetched.
    pub jwks: String,
    /// SHA-256 (hexadecimal) of the client certificate that it must use, if any.
    pub certificate_sha256: Option<String>,
    /// The organisation's MESH mailbox, for responses and for messages that arrive by MESH.
    pub mesh_mailbox: Option<String>,
    /// What to do with an unusable NHS number.
    pub nhs_number_policy: NhsNumberPolicy,
    /// No tokens any more, and the issued ones are void.
    pub disabled: bool,
    /// The name of the token that it acts under at present ([`crate::audit::under`]); no part of the registration.
    #[serde(skip)]
    pub under: Option<String>,
}

/// An issued access token. Only its SHA-256 is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// To whom.
    pub client_id: String,
    /// Not after.
    pub expires: Timestamp,
    /// SHA-256 (hexadecimal) of the client certificate that it is bound to (RFC 8705).
    pub certificate_sha256: Option<String>,
    /// RFC 7638 thumbprint of the key that the client published when it signed in, and must still publish; none where its keys are
    /// registered here, since a change of these voids the token.
    pub key_thumbprint: Option<String>,
}
