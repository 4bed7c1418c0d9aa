//! What is audited: the words, and the row that the store commits in the transaction of the effect.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::client::Client;
use crate::people::User;
use crate::state::words;
use crate::store::Contents;
use crate::{DeliveryId, MeshMailboxId, NhsNumber, OdsCode, TransferId, UserId};

words!(
    /// What happened.
    AuditWord {
        /// A message was accepted.
        Accept = "accept",
        /// The same message came again and got its first answer.
        Duplicate = "duplicate",
        /// A message was refused with findings.
        Refuse = "refuse",
        /// A transfer waits for a person.
        Hold = "hold",
        /// A person decided about a held transfer or a failed copy.
        Release = "release",
        /// A copy, or a transfer, was taken back: replaced, withdrawn or recalled.
        Withdraw = "withdraw",
        /// PDS was asked about a person.
        DirectoryLookup = "directory-lookup",
        /// A copy is about to be sent: what, about whom, to whom. Whatever becomes of the attempt, or of the process, it is told
        /// before a byte leaves.
        Intend = "intend",
        /// A copy was sent to a recipient: disclosure.
        Disclose = "disclose",
        /// A recipient opened its copy: disclosure.
        Read = "read",
        /// An infrastructure or business response was sent to the sender; it carries nothing about a person.
        Respond = "respond",
        /// A Task was looked at; it names a person.
        ReadTask = "read-task",
        /// An attempt to send failed.
        AttemptFailed = "attempt-failed",
        /// A delivery waits for a person.
        DeliveryFailed = "delivery-failed",
        /// A recipient acknowledged or refused.
        Acknowledge = "acknowledge",
        /// Tasks or audit entries were searched, listed, exported or proven.
        Query = "query",
        /// Everything about one person was exported for them (subject access): disclosure.
        SubjectAccess = "subject-access",
        /// A file that was made of the log, or of what it says about many, was handed out: what its bytes carried.
        Export = "export",
        /// Whom a copy, a transfer or an entry is about was shown to somebody who runs the gateway or answers for its log:
        /// disclosure.
        Reveal = "reveal",
        /// A token was issued, or a person signed in.
        SignIn = "sign-in",
        /// A person signed out.
        SignOut = "sign-out",
        /// A sign-in, token or action was denied.
        Deny = "deny",
        /// Clients, directory or configuration changed.
        Configure = "configure",
        /// The erasure of a person was asked for or done.
        Erase = "erase",
        /// A validation or dry run was asked for.
        DryRun = "dry-run",
        /// Something needs a person, or somebody was told of it.
        Notify = "notify",
        /// A witness has seen another history of this log than the one that is here, or the database holds what neither a start nor a
        /// command put there; as a success, that it no longer does.
        Alarm = "alarm",
    }
);

impl AuditWord {
    /// Words of entries that tell of questions about a number and of orders for it. Anybody can ask about any number: where the log
    /// has nothing else, nothing is held about a person.
    pub const QUESTIONS: [Self; 5] = [Self::Query, Self::SubjectAccess, Self::Export, Self::Configure, Self::Erase];

    /// Whether entries of this word tell of more than [`AuditWord::QUESTIONS`] do.
    #[must_use]
    pub fn tells_of_data(self) -> bool {
        !Self::QUESTIONS.contains(&self)
    }
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Client identifier, a person's name, `onward` for the gateway itself, or `operator` for the command line.
    pub name: String,
    /// The organisation that the agent acts for.
    pub organisation: Option<OdsCode>,
    /// As what a registered client or person acted, at that time.
    pub role: Option<&'static str>,
    /// The account of a person.
    pub user: Option<UserId>,
    /// The operating system's account that a command ran under, in words.
    pub account: Option<String>,
    /// What it acts under: names of a token or session, and how its holder signed in ([`under`]).
    pub under: Vec<String>,
}

/// URIs of what an agent acts under. None of them lets anybody act.
pub mod under {
    use crate::SessionId;
    use crate::people::Strength;

    const TOKEN: &str = "https://onward.example/token/";
    const FOREIGN: &str = "https://onward.example/token-of/";
    const SESSION: &str = "https://onward.example/session/";
    const SIGN_IN: &str = "https://onward.example/sign-in/";

    /// A token of ours: the first 32 bits of its SHA-256, which tell tokens apart and open nothing.
    #[must_use]
    pub fn token(sha256: &[u8; 32]) -> String {
        let [a, b, c, d, ..] = *sha256;
        format!("{TOKEN}{:08x}", u32::from_be_bytes([a, b, c, d]))
    }

    /// A token of another issuer, by its `jti`; a UUID as itself.
    #[must_use]
    pub fn jti(issuer: &str, jti: &str) -> String {
        if let Ok(uuid) = jti.parse::<uuid::Uuid>() {
            return uuid.urn().to_string();
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let escaped = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        format!("{FOREIGN}{issuer}/{}", jti.bytes().map(escaped).collect::<String>())
    }

    /// A session of a person.
    #[must_use]
    pub fn session(session: SessionId) -> String {
        format!("{SESSION}{session}")
    }

    /// How a person signed in.
    #[must_use]
    pub fn strength(strength: Strength) -> String {
        format!("{SIGN_IN}{strength}")
    }

    /// How a person signed in, by one of these names; none where it is another one.
    #[must_use]
    pub fn strength_of(name: &str) -> Option<Strength> {
        name.strip_prefix(SIGN_IN)?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_are_uris_that_tell_apart_and_open_nothing() {
            assert_eq!(token(&[0xab; 32]), "https://onward.example/token/abababab");
            assert_eq!(
                jti("region", "3F2B0C9E-0000-4000-8000-000000000000"),
                "urn:uuid:3f2b0c9e-0000-4000-8000-000000000000"
            );
            assert_eq!(jti("region", "a/b c\u{e9}~"), "https://onward.example/token-of/region/a%2Fb%20c%C3%A9~");
            for each in Strength::ALL {
                assert_eq!(strength_of(&strength(*each)), Some(*each));
            }
            assert_eq!(strength_of(&token(&[0; 32])), None);
        }
    }
}

impl Agent {
    /// The gateway's name among agents.
    pub const GATEWAY: &str = "onward";
    /// The command line's name among agents.
    pub const OPERATOR: &str = "operator";

    /// Somebody who is no registered client.
    #[must_use]
    pub fn named(name: &str, organisation: Option<OdsCode>) -> Self {
        Self { name: name.to_owned(), organisation, role: None, user: None, account: None, under: Vec::new() }
    }

    /// A registered client.
    #[must_use]
    pub fn client(client: &Client) -> Self {
        Self {
            role: Some(client.role.as_str()),
            under: client.under.iter().cloned().collect(),
            ..Self::named(&client.id, Some(client.ods.clone()))
        }
    }

    /// A person, acting for this one of their organisations.
    #[must_use]
    pub fn person(user: &User, organisation: Option<&OdsCode>) -> Self {
        Self {
            role: Some(user.role.as_str()),
            user: Some(user.id),
            ..Self::named(&user.name, organisation.or(user.organisations.first()).cloned())
        }
    }

    /// The gateway itself.
    #[must_use]
    pub fn gateway() -> Self {
        Self::named(Self::GATEWAY, None)
    }

    /// Whoever uses the command line of the organisation that runs the gateway, under this account of the operating system.
    #[must_use]
    pub fn operator(own_ods: &OdsCode, account: Option<String>) -> Self {
        Self { account, ..Self::named(Self::OPERATOR, Some(own_ods.clone())) }
    }

    /// A MESH mailbox, `unknown` where a message names none.
    #[must_use]
    pub fn mailbox(mailbox: Option<&MeshMailboxId>) -> Self {
        Self::named(&format!("mesh:{}", mailbox.map_or("unknown", MeshMailboxId::as_str)), None)
    }
}

/// Why something was disclosed (HL7 v3 ActReason).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The person is cared for.
    Treatment,
    /// The person asked for it.
    PatientRequest,
    /// The service is run, or answered for.
    HealthcareOperations,
}

/// The ground of a disclosure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// Why.
    pub purpose: Purpose,
    /// The lawful basis, and the policy that applied it.
    pub text: String,
}

impl Basis {
    /// Care, on the ground that a disclosure policy names.
    #[must_use]
    pub fn care(text: &str) -> Self {
        Self { purpose: Purpose::Treatment, text: text.to_owned() }
    }

    /// Whoever takes part in a transfer sees how it stands: the hospital that sent it, and the recipients of its copies.
    #[must_use]
    pub fn following() -> Self {
        Self::care(
            "direct care: UK GDPR Articles 6(1)(e) and 9(2)(h); those who take part in a transfer of care follow it",
        )
    }

    /// PDS is asked about the person, so that nothing goes to a wrong place.
    #[must_use]
    pub fn tracing() -> Self {
        Self::care(
            "direct care: UK GDPR Articles 6(1)(e) and 9(2)(h); the person is traced, so that copies go to the right places",
        )
    }

    /// The person asked for what is held about them.
    #[must_use]
    pub fn subject_access() -> Self {
        Self { purpose: Purpose::PatientRequest, text: "subject access: UK GDPR Article 15".to_owned() }
    }

    /// Somebody who runs the gateway has to know whom something is about.
    #[must_use]
    pub fn operation() -> Self {
        let text = "management of health care: UK GDPR Articles 6(1)(e) and 9(2)(h)".to_owned();
        Self { purpose: Purpose::HealthcareOperations, text }
    }

    /// Somebody answers for what was done with personal data.
    #[must_use]
    pub fn accountability() -> Self {
        let text = "accountability: UK GDPR Articles 5(2), 6(1)(e) and 9(2)(h)".to_owned();
        Self { purpose: Purpose::HealthcareOperations, text }
    }
}

/// One thing that happened, before it is written as a FHIR AuditEvent.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// What happened.
    pub word: AuditWord,
    /// When.
    pub recorded: Timestamp,
    /// False when it was denied or failed.
    pub success: bool,
    /// Who.
    pub agent: Agent,
    /// To which transfer.
    pub transfer: Option<TransferId>,
    /// To which recipient's copy.
    pub delivery: Option<DeliveryId>,
    /// The organisation that received something, where something was disclosed.
    pub recipient: Option<OdsCode>,
    /// Whose entry an alarm is, which is the gateway's own doing: the organisation that it concerns.
    pub concerns: Option<OdsCode>,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// On which ground, where something was disclosed.
    pub basis: Option<Basis>,
    /// SHA-256, hexadecimal, of the bytes disclosed.
    pub content_sha256: Option<String>,
    /// What those bytes carry, where they left, or may have left, for a recipient.
    pub contents: Option<Arc<Contents>>,
    /// `X-Request-ID`, where there was a request.
    pub request_id: Option<String>,
    /// What was asked for, as it came (BALP: the raw query), for [`AuditWord::Query`].
    pub query: Option<String>,
    /// Reason, codes; never patient data.
    pub detail: String,
}

impl AuditEntry {
    /// A success of this agent that touched nothing yet; the other fields are for the caller to set.
    #[must_use]
    pub fn new(word: AuditWord, recorded: Timestamp, agent: Agent, detail: impl Into<String>) -> Self {
        Self {
            word,
            recorded,
            success: true,
            agent,
            transfer: None,
            delivery: None,
            recipient: None,
            concerns: None,
            patient: None,
            basis: None,
            content_sha256: None,
            contents: None,
            request_id: None,
            query: None,
            detail: detail.into(),
        }
    }
}

/// An audit entry to be stored: the AuditEvent's bytes, and the columns it is found by. The store seals the event and makes
/// the entry of the log. Its `Debug` leaves the event out, which names the person.
#[derive(Clone)]
pub struct AuditRow {
    /// The AuditEvent's id, a UUID.
    pub id: String,
    /// When.
    pub recorded: Timestamp,
    /// What happened.
    pub word: AuditWord,
    /// To which transfer.
    pub transfer: Option<TransferId>,
    /// To which recipient's copy.
    pub delivery: Option<DeliveryId>,
    /// The agent's name.
    pub agent: String,
    /// The organisation of the agent; of an alarm the one that it concerns.
    pub organisation: Option<OdsCode>,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// False when it was denied or failed.
    pub success: bool,
    /// What a list showed of people whom this entry does not name: identifiers of copies and transfers, or [`ENTRIES`]; or
    /// [`VERIFICATION`]; or the export that it is an entry of ([`export_subject`]).
    pub shown: Vec<String>,
    /// What the bytes carried that the event tells of; the event names it by its digest.
    pub contents: Option<Arc<Contents>>,
    /// FHIR R4 AuditEvent, JSON.
    pub event: Vec<u8>,
}

/// Stands in [`AuditRow::shown`] where entries of the log left as a file.
pub const ENTRIES: &str = "*";

/// Stands in [`AuditRow::shown`] where the log was verified.
pub const VERIFICATION: &str = "verification";

/// Stands in [`AuditRow::shown`] of both entries of an export that is read while it leaves. It is no list: who was seen follows from
/// [`ENTRIES`] beside it, or from the entry, where it is about one person.
#[must_use]
pub fn export_subject(export: Uuid) -> String {
    format!("export/{export}")
}

/// Entries that name nobody and showed many, or what the log came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lists {
    /// Lists on which a copy or a transfer of this person stood.
    Of(NhsNumber),
    /// Lists on which this copy stood.
    With(DeliveryId),
    /// Exports of entries.
    Exports,
    /// The entries of this export; those of an earlier program are not among them.
    Export(Uuid),
    /// Verifications of the log.
    Verifications,
    /// Queries that a binary wrote before lists could be found by what they showed: their own words must be read.
    Unkept,
}

/// Which entries to find. The newest come first.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Whose entries: those of this organisation's agents, about what it sent, and about what was addressed to it. None
    /// means everybody's.
    pub organisation: Option<OdsCode>,
    /// About whom.
    pub patient: Option<NhsNumber>,
    /// By an agent of this name or of this organisation.
    pub agent: Option<String>,
    /// About this transfer or copy, by its identifier.
    pub entity: Option<String>,
    /// Recorded at or after this.
    pub from: Option<Timestamp>,
    /// Recorded before this.
    pub until: Option<Timestamp>,
    /// One of these words; empty means all.
    pub words: Vec<AuditWord>,
    /// Only lists and exports.
    pub lists: Option<Lists>,
    /// Cursor: only entries that stand after this one in the order of the answer.
    pub after: Option<(Timestamp, u64)>,
    /// At most so many.
    pub limit: u32,
}

/// An entry that was found. Its `Debug` names the place only.
#[derive(Clone, PartialEq, Eq)]
pub struct FoundAudit {
    /// Its place in the log, from 0.
    pub index: u64,
    /// When.
    pub recorded: Timestamp,
    /// What happened.
    pub word: AuditWord,
    /// The agent's name; none in entries of a binary before there was such a column.
    pub agent: Option<String>,
    /// The agent's organisation.
    pub organisation: Option<String>,
    /// To which recipient's copy.
    pub delivery: Option<DeliveryId>,
    /// About whom; none when the person was erased.
    pub patient: Option<NhsNumber>,
    /// The keyed hash under which the store finds the person, also one who was erased.
    pub pseudonym: Option<String>,
    /// AuditEvent JSON; none when the person was erased.
    pub event: Option<Vec<u8>>,
}

impl std::fmt::Debug for AuditRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditRow").field("id", &self.id).field("word", &self.word).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for FoundAudit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoundAudit").field("index", &self.index).field("word", &self.word).finish_non_exhaustive()
    }
}

/// A signed statement of the log's size and root (C2SP tlog-checkpoint).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Number of entries covered.
    pub size: u64,
    /// The checkpoint note, signature included.
    pub note: String,
}
