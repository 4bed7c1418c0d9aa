//! People who sign in: accounts, what they prove themselves with, sessions. Those who are cared for are not here.

use std::fmt;

use crate::state::words;
use crate::{OdsCode, SessionId, UserId};
use jiff::Timestamp;

words!(
    /// What a person is to Onward (trust.md §8).
    Role {
        /// Receives for a care home: its arrivals, its copies.
        CareHomeUser = "care-home-user",
        /// Follows a hospital's own submissions and searches for homes.
        WardCoordinator = "ward-coordinator",
        /// Answers for the audit log of an organisation.
        InformationGovernance = "information-governance",
        /// Keeps the gateway running.
        Operator = "operator",
    }
);

words!(
    /// How a person was recognised at sign-in.
    Strength {
        /// A passkey, with the person verified by the device.
        Passkey = "passkey",
        /// A password and a time-based code.
        PasswordAndCode = "password-and-code",
        /// An identity provider vouched for the person.
        Federated = "federated",
    }
);

/// A person's account. Its `Debug` names the account only.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The account.
    pub id: UserId,
    /// The person's name, as others see it.
    pub name: String,
    /// Lower-case address; two accounts never share one.
    pub email: String,
    /// What the person is.
    pub role: Role,
    /// The organisations that the person acts for; the first is named where one has to be. Never empty.
    pub organisations: Vec<OdsCode>,
    /// Who the person is to an identity provider, once or where one vouches.
    pub subject: Option<Subject>,
    /// Signs in no more; open sessions are void.
    pub disabled: bool,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("role", &self.role).finish_non_exhaustive()
    }
}

/// A person as an identity provider knows them (OpenID Connect Core §5.7: only issuer and subject together are stable).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
}

/// The right to set up an account's first credential, or to replace lost ones. Only the token's SHA-256 is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// SHA-256 of the token in the link.
    pub hash: [u8; 32],
    /// Not after.
    pub expires: Timestamp,
}

/// A password with its second factor. Its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// Argon2id, PHC string.
    pub hash: String,
    /// Key of the time-based codes (RFC 6238).
    pub totp_secret: Vec<u8>,
    /// The step of the code used last: a code works once (RFC 6238 §5.2).
    pub totp_step: u64,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// A passkey's public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// Credential identifier, chosen by the authenticator.
    pub id: Vec<u8>,
    /// `COSE_Key` as the authenticator gave it (RFC 9052 §7).
    pub public_key: Vec<u8>,
    /// Signature counter; 0 where the authenticator keeps none.
    pub counter: u32,
    /// When it was set up.
    pub added: Timestamp,
}

/// What an account is recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A password with its codes.
    Password(Password),
    /// A passkey.
    Passkey(Passkey),
    /// The word of an identity provider.
    Subject(Subject),
}

/// A signed-in person's session. The cookie's value is stored as its SHA-256 only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its name in audit entries; no secret.
    pub id: SessionId,
    /// SHA-256 of the cookie's value.
    pub hash: [u8; 32],
    /// Whose.
    pub user: UserId,
    /// How the person was recognised.
    pub strength: Strength,
    /// When; where an identity provider did it, when it says that it did.
    pub authenticated: Timestamp,
    /// When it was used last, to within a minute.
    pub last_seen: Timestamp,
    /// `sid` of the identity provider's session, for its logout.
    pub provider_session: Option<String>,
}

words!(
    /// What a pending ceremony is for.
    Purpose {
        /// Setting up a password with its codes.
        Enrolment = "enrolment",
        /// Making a passkey.
        Registration = "registration",
        /// Signing in with a passkey.
        Assertion = "assertion",
        /// Coming back from an identity provider.
        Federation = "federation",
        /// A logout token, kept because it serves once.
        Logout = "logout",
    }
);

/// Something begun that the next request must finish: once, and in time. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Ceremony {
    /// SHA-256 of its handle: the challenge, the state, the form's own token.
    pub hash: [u8; 32],
    /// What for.
    pub purpose: Purpose,
    /// By whom, where that is known.
    pub user: Option<UserId>,
    /// What the server remembers meanwhile.
    pub data: String,
    /// Not after.
    pub expires: Timestamp,
}

impl fmt::Debug for Ceremony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ceremony").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}
