//! What is reported to commissioners: what came when, how long it took to each door, and what waited. Nothing in it tells who
//! anybody is.

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::state::{HoldReason, RecipientKind};
use crate::{NhsNumber, OdsCode};

/// One transfer, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedTransfer {
    /// When it came.
    pub received: Timestamp,
    /// The hospital.
    pub sender: OdsCode,
    /// The home, where it is known.
    pub care_home: Option<OdsCode>,
    /// The event code: the pathway.
    pub event: String,
    /// Why it waited for a person, the first time.
    pub held: Option<HoldReason>,
    /// Its copies, without responses to the sender and notices.
    pub copies: Vec<ReportedCopy>,
}

/// One recipient's copy, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedCopy {
    /// As what.
    pub kind: RecipientKind,
    /// When it was at the recipient's door: in its inbox or mailbox, or taken by its system.
    pub delivered: Option<Timestamp>,
    /// When it was first opened or acknowledged.
    pub read: Option<Timestamp>,
    /// When the person arrived, as the home recorded it.
    pub arrived: Option<Timestamp>,
    /// When the person was expected, as the message says.
    pub expected: Option<Timestamp>,
}

/// One person, as far as the store held anything about them at a moment. Its `Debug` does not name them.
#[derive(Clone, PartialEq, Eq)]
pub struct HeldPerson {
    /// The keyed hash under which the store finds them.
    pub pseudonym: String,
    /// Who; none when the person was erased since, or had been before.
    pub number: Option<NhsNumber>,
    /// A key of theirs was there at that moment, so that whoever had the store and the key-encryption key could read it.
    pub readable: bool,
    /// Messages that had come.
    pub messages: u64,
    /// Copies of them for recipients.
    pub copies: u64,
    /// Entries of the audit log.
    pub entries: u64,
    /// Those of them that tell of questions about the number alone ([`crate::audit::AuditWord::QUESTIONS`]).
    pub questions: u64,
}

impl HeldPerson {
    /// Nothing was held but that somebody asked about the number: there may be nobody of that number.
    #[must_use]
    pub fn was_only_asked_about(&self) -> bool {
        self.messages == 0 && self.copies == 0 && self.entries == self.questions
    }
}

impl std::fmt::Debug for HeldPerson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldPerson").field("readable", &self.readable).finish_non_exhaustive()
    }
}

/// Whom the store held something about at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldThen {
    /// Each person, by pseudonym.
    pub people: Vec<HeldPerson>,
    /// Messages whose person nobody has found out, with a key of their own.
    pub nameless: u64,
}

/// What can be counted.
#[async_trait]
pub trait ReportStore: Send + Sync + 'static {
    /// Every transfer that came in this time, the oldest first.
    async fn reported(&self, from: Timestamp, until: Timestamp) -> Result<Vec<ReportedTransfer>, StoreError>;
    /// Everybody about whom the store held something at this moment, whatever was removed since counted as far as it has left a trace.
    async fn held_at(&self, at: Timestamp) -> Result<HeldThen, StoreError>;
}
