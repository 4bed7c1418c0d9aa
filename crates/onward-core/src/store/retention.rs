//! How long what is stored is kept: what is due, and its removal.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::audit::AuditRow;
use crate::state::words;

words!(
    /// What is kept by months.
    BodyClass {
        /// The senders' bytes.
        Messages = "messages",
        /// The copies' bytes, pages and cards.
        Renditions = "renditions",
    }
);

words!(
    /// What is kept as rows, without content.
    RowClass {
        /// Alerts that are over, with who was told.
        Alerts = "alerts",
        /// Entries of the directory that a later version took the place of.
        Directory = "directory",
        /// Accounts of people that are disabled, with what they were recognised by.
        Accounts = "accounts",
        /// Reasons of erasures that were done, of legal holds that were lifted, and what two people decided.
        Decisions = "decisions",
        /// Subscriptions that are off or given up, with their addresses.
        Subscriptions = "subscriptions",
    }
);

/// What may go. Whatever is under a legal hold, or still needed by a person or a delivery, stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Senders' bytes of months before this one (year * 100 + month, UTC).
    pub messages_before: Option<i64>,
    /// Copies' bytes of months before this one.
    pub renditions_before: Option<i64>,
    /// Everything about people about whom nothing was recorded since.
    pub people_before: Option<Timestamp>,
    /// Rows of these classes that were over before these moments.
    pub rows_before: Vec<(RowClass, Timestamp)>,
}

/// A month's bytes of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueMonth {
    /// Of which class.
    pub class: BodyClass,
    /// Year * 100 + month.
    pub month: i64,
    /// How many go.
    pub due: u64,
    /// How many stay: a legal hold, or somebody still needs them.
    pub kept: u64,
}

/// Rows of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueRows {
    /// Of which class.
    pub class: RowClass,
    /// How many go.
    pub due: u64,
    /// How many stay because of a legal hold.
    pub kept: u64,
}

/// A person whose keys go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuePerson {
    /// The keyed hash under which the store finds them.
    pub pseudonym: String,
    /// Their data keys, by name.
    pub keys: Vec<String>,
}

/// What is due.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Months, in order.
    pub months: Vec<DueMonth>,
    /// People, in order of their pseudonyms.
    pub people: Vec<DuePerson>,
    /// People whose time is over and whom a legal hold keeps.
    pub people_kept: u64,
    /// Rows without content; plans of a previous program have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<DueRows>,
}

impl Due {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.months.iter().all(|month| month.due == 0)
            && self.people.is_empty()
            && self.rows.iter().all(|rows| rows.due == 0)
    }
}

/// A plan that is kept until it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPlan {
    /// Its identifier.
    pub id: uuid::Uuid,
    /// When it was made.
    pub made: Timestamp,
    /// What is due, as JSON.
    pub due: String,
    /// The signed certificate of its run.
    pub certificate: Option<String>,
}

/// What became of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// Removed.
    pub removed: u64,
    /// Left; 0 while there is more.
    pub kept: u64,
    /// The month went as a whole, with its file.
    pub dropped: bool,
    /// There may be more behind this place: whoever wants it gone asks again, after it.
    pub more: Option<u64>,
}

/// The part of the store's port that forgets.
#[async_trait]
pub trait RetentionStore: Send + Sync + 'static {
    /// What may go by this schedule.
    async fn retention_due(&self, schedule: &Schedule) -> Result<Due, StoreError>;
    /// Keeps a plan.
    async fn put_retention_plan(&self, plan: RetentionPlan, audit: Vec<AuditRow>) -> Result<(), StoreError>;
    /// A plan.
    async fn retention_plan(&self, id: uuid::Uuid) -> Result<Option<RetentionPlan>, StoreError>;
    /// Removes a month's bytes but for those that must stay: all of them where a month can be dropped, and otherwise a part of them after a place (0 at
    /// first), so that nobody waits long to write.
    async fn purge_month(
        &self,
        class: BodyClass,
        month: i64,
        after: u64,
        audit: Vec<AuditRow>,
    ) -> Result<Purged, StoreError>;
    /// Removes the rows of a class that were over before this moment, but for those that must stay.
    async fn purge_rows(&self, class: RowClass, before: Timestamp, audit: Vec<AuditRow>) -> Result<Purged, StoreError>;
    /// Destroys the keys of people who are still due, all or none: [`StoreError::Overtaken`] when one of them is not, or has other keys.
    async fn purge_people(
        &self,
        people: Vec<DuePerson>,
        before: Timestamp,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError>;
    /// Keeps the certificate of a plan that was carried out; `false` when it has one.
    async fn finish_retention_plan(
        &self,
        id: uuid::Uuid,
        certificate: &str,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError>;
    /// The oldest month of each class of which anything is left.
    async fn oldest_bodies(&self) -> Result<Vec<(BodyClass, i64)>, StoreError>;
}
