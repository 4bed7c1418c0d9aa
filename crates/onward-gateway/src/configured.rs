//! What the log says of configuration, from one read of the entries that tell of it: starts, and registrations of machine clients.

use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::store::{Store, StoreError, StoredAudit};

use crate::registered::Registered;
use crate::sightings::all;
use crate::starts::Starts;
use crate::verify::Misfit;

/// Starts and registrations, as far as the same entries tell them.
#[derive(Debug, Default)]
pub struct Configured {
    /// The starts that the log tells.
    pub starts: Starts,
    /// What it says of registrations.
    pub registered: Registered,
    /// How many entries the log had before these were read: none of them was missed.
    pub entries: u64,
}

impl Configured {
    /// Reads it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn of(store: &dyn Store) -> Result<Self, StoreError> {
        let size = store.audit_size().await?;
        let found = entries(store).await?;
        Ok(Self { starts: Starts::among(&found), registered: Registered::among(&found), entries: size })
    }

    /// Takes an entry of the log, where it is about either.
    pub(crate) fn see(&mut self, stored: &StoredAudit) {
        self.starts.see(stored);
        self.registered.see(stored);
    }

    /// The first entry that policies or registrations in the store do not fit.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn misfit(&self, store: &dyn Store) -> Result<Option<Misfit>, StoreError> {
        let of_policies = self.starts.misfit(store).await?;
        let of_clients = self.registered.misfit(store).await?;
        Ok(of_policies.into_iter().chain(of_clients).min_by_key(|misfit| misfit.index))
    }
}

/// The entries that tell of configuration, the newest first: few of a log, and found by an index of their own.
pub(crate) async fn entries(store: &dyn Store) -> Result<Vec<FoundAudit>, StoreError> {
    all(store, AuditQuery { words: vec![AuditWord::Configure], ..AuditQuery::default() }).await
}
