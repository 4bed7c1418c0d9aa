//! What the store does for people who sign in. As everywhere in the port: one method, one transaction, its audit within.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::StoreError;
use crate::audit::AuditRow;
use crate::people::{Ceremony, Credential, Invitation, Passkey, Password, Purpose, Session, Subject, User};
use crate::{SessionId, UserId};

/// The end of an invitation: the account's credentials are replaced by this one, its sessions end, a new one begins.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// SHA-256 of the invitation's token.
    pub invitation: [u8; 32],
    /// What the account is recognised by from now on.
    pub credential: Credential,
    /// The first session.
    pub session: Session,
    /// The device that it was done on.
    pub device: Device,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// A browser that an account has signed in from. Only the cookie's SHA-256 is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// SHA-256 of the cookie's value.
    pub hash: [u8; 32],
    /// Not after.
    pub expires: Timestamp,
}

/// What a sign-in uses up, so that it cannot be shown again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The step of a time-based code.
    Code {
        /// It must be later than that of the code used last.
        step: u64,
        /// The hash that the password was checked against: it must still be the account's.
        hash: String,
    },
    /// The signature counter of a passkey.
    Counter {
        /// Which passkey.
        id: Vec<u8>,
        /// Greater than the stored one, or 0 where the authenticator keeps none (WebAuthn §7.2, step 22).
        counter: u32,
    },
    /// Nothing of ours: the ceremony was used up before.
    Federated,
}

/// What an account is recognised by here, as its owner sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// A password with its codes.
    pub password: bool,
    /// The oldest first.
    pub passkeys: Vec<Passkey>,
}

/// A change that people make to what they are recognised by. All other sessions of the account end with it.
#[derive(Clone)]
pub struct CredentialChange {
    /// The account.
    pub user: UserId,
    /// What changes.
    pub change: Change,
    /// SHA-256 of the cookie of the session that goes on.
    pub keep: [u8; 32],
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// What changes.
#[derive(Clone)]
pub enum Change {
    /// One hash of the password in place of another; the codes stay.
    Password {
        /// Argon2id, PHC string, as it was read.
        old: String,
        /// The same of the new one.
        new: String,
    },
    /// One more passkey.
    AddPasskey(Passkey),
    /// One less. Something must be left to sign in with.
    RemovePasskey {
        /// Which.
        id: Vec<u8>,
    },
}

/// Most passkeys that an account has.
pub const PASSKEYS_MAX: u32 = 10;
/// Most sessions that an account has side by side: one more ends the one that began first (ASVS 7.1.2).
pub const SESSIONS_MAX: u32 = 10;

/// A sign-in about to be committed.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// The new session.
    pub session: Session,
    /// What was shown.
    pub proof: Proof,
    /// The session that the same browser had until now, by its hash.
    pub replaces: Option<[u8; 32]>,
    /// The browser.
    pub device: Device,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// A session or person that an identity provider has signed out.
#[derive(Debug, Clone)]
pub struct ProviderLogout {
    /// `iss`.
    pub issuer: String,
    /// `sub`; none where it is about one session.
    pub subject: Option<String>,
    /// `sid`; none where it is about all sessions of the person.
    pub provider_session: Option<String>,
    /// SHA-256 of what names the logout token: it serves once.
    pub token: [u8; 32],
    /// Until when the token could be shown again.
    pub token_until: Timestamp,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// A sign-in that failed. Account and address are hashes: attempts on accounts that do not exist are kept too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// SHA-256 of the address that was typed.
    pub account: [u8; 32],
    /// SHA-256 of the network address that it came from.
    pub address: [u8; 32],
    /// The password was right and the code was not.
    pub second_factor: bool,
    /// When.
    pub at: Timestamp,
}

/// Failed sign-ins since a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedAttempts {
    /// On this account from this address.
    pub pair: u64,
    /// From this address, whatever the account.
    pub address: u64,
    /// On this account, wherever from.
    pub account: u64,
    /// On this account with the right password and a wrong code.
    pub second_factor: u64,
}

/// Accounts, credentials and sessions.
#[async_trait]
pub trait PeopleStore: Send + Sync + 'static {
    /// Adds or replaces an account, with an invitation when given (it replaces an open one). `false`, and nothing done, when
    /// its e-mail address or subject is another account's. Sessions rest on role and organisations: a change of these ends
    /// them, as disabling does, which also voids the invitation.
    async fn put_user(
        &self,
        user: User,
        invitation: Option<Invitation>,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// One account, disabled or not.
    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError>;
    /// The account with this (lower-case) e-mail address, disabled or not.
    async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError>;
    /// The account that an identity provider's subject stands for, disabled or not.
    async fn user_by_subject(&self, subject: &Subject) -> Result<Option<User>, StoreError>;
    /// All accounts by e-mail address.
    async fn users(&self) -> Result<Vec<User>, StoreError>;

    /// Commits that this account looks at its list at `at`, with the audit, and gives when it last looked before: looks that follow one
    /// another within `spell` are one, so that what is new stays marked while somebody works through it. `None`: never.
    async fn look(
        &self,
        user: UserId,
        at: Timestamp,
        spell: SignedDuration,
        audit: Vec<AuditRow>,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Whose invitation this is, unless it is used up, expired at `now`, or the account is disabled.
    async fn invited(&self, invitation: &[u8; 32], now: Timestamp) -> Result<Option<User>, StoreError>;
    /// Uses an invitation up; `false` when it was, has expired at the session's beginning, the account is disabled, or the
    /// passkey's identifier or the subject is another account's.
    async fn enrol(&self, enrolment: Enrolment) -> Result<bool, StoreError>;

    /// The account's password.
    async fn password(&self, user: UserId) -> Result<Option<Password>, StoreError>;
    /// The passkey with this identifier and its account, disabled or not.
    async fn passkey(&self, id: &[u8]) -> Result<Option<(Passkey, User)>, StoreError>;

    /// What the account is recognised by here.
    async fn credentials(&self, user: UserId) -> Result<Credentials, StoreError>;
    /// Changes it; `false`, and nothing done, when the account is disabled, the password or passkey is not there any more, the new
    /// passkey is somebody's already or one too many, or nothing would be left.
    async fn change_credentials(&self, change: CredentialChange) -> Result<bool, StoreError>;

    /// Begins a session; `false` when the proof was used before, or the account is disabled.
    async fn sign_in(&self, sign_in: SignIn) -> Result<bool, StoreError>;
    /// The session with this hash and its account, unless it was last seen before `seen_since`, authenticated before
    /// `authenticated_since`, or the account is disabled.
    async fn session(
        &self,
        hash: &[u8; 32],
        seen_since: Timestamp,
        authenticated_since: Timestamp,
    ) -> Result<Option<(Session, User)>, StoreError>;
    /// Notes that a session is in use.
    async fn touch_session(&self, hash: &[u8; 32], at: Timestamp) -> Result<(), StoreError>;
    /// Ends a session; `false` when there is none.
    async fn end_session(&self, hash: &[u8; 32], audit: Vec<AuditRow>) -> Result<bool, StoreError>;
    /// The account's sessions that are not over, by the same limits as [`PeopleStore::session`]; the newest first.
    async fn sessions_of(
        &self,
        user: UserId,
        seen_since: Timestamp,
        authenticated_since: Timestamp,
    ) -> Result<Vec<Session>, StoreError>;
    /// Ends the account's session of this name, or all of them, but never that with the hash `keep`; gives how many.
    async fn end_sessions_of(
        &self,
        user: UserId,
        session: Option<SessionId>,
        keep: &[u8; 32],
        audit: Vec<AuditRow>,
    ) -> Result<u64, StoreError>;
    /// Ends the sessions that an identity provider has ended; `false`, and nothing done, when its token was used before.
    async fn end_provider_sessions(&self, logout: ProviderLogout) -> Result<bool, StoreError>;
    /// Whether this account has signed in from the browser with this hash.
    async fn knows_device(&self, user: UserId, device: &[u8; 32], now: Timestamp) -> Result<bool, StoreError>;

    /// Remembers something begun.
    async fn put_ceremony(&self, ceremony: Ceremony, now: Timestamp) -> Result<(), StoreError>;
    /// Takes it: of any number of takers one gets it, and none when it has expired at `now` or is for something else.
    async fn take_ceremony(
        &self,
        hash: &[u8; 32],
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Option<Ceremony>, StoreError>;

    /// Notes a failed sign-in with its audit. Those older than `keep` are forgotten.
    async fn note_failure(
        &self,
        failed: FailedAttempt,
        keep: SignedDuration,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError>;
    /// How many sign-ins failed since then.
    async fn failures(
        &self,
        account: &[u8; 32],
        address: &[u8; 32],
        since: Timestamp,
    ) -> Result<FailedAttempts, StoreError>;
}
