//! The audit log recomputed from what is stored: the same walk for the command and for the page.

use onward_core::store::{Store, StoreError};
use onward_ledger::{Checkpoint, FirstMismatch, LogVerifier, StoredEntry, Verified};

use crate::journal::columns_fit;

/// Entries read at once.
const PAGE: u32 = 1_000;

/// The first entry that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Which.
    pub index: u64,
    /// How it does not fit; no patient data.
    pub why: String,
}

impl From<FirstMismatch> for Misfit {
    fn from(mismatch: FirstMismatch) -> Self {
        Self { index: mismatch.index, why: mismatch.to_string() }
    }
}

/// Walks the whole log against these checkpoints, whose signatures were checked before. `progress` hears how many entries fit
/// so far.
///
/// # Errors
/// When the store cannot be read. An entry that it cannot read back is a misfit.
pub async fn walk(
    store: &dyn Store,
    checkpoints: Vec<Checkpoint>,
    mut progress: impl FnMut(u64),
) -> Result<Result<Verified, Misfit>, StoreError> {
    let mut verifier = LogVerifier::new(checkpoints);
    let (mut next, mut limit) = (0, PAGE);
    loop {
        let page = match store.audit_entries(next, limit).await {
            Ok(page) => page,
            // Somewhere on this page: look at its entries one by one.
            Err(StoreError::Corrupt(_)) if limit > 1 => {
                limit = 1;
                continue;
            }
            Err(StoreError::Corrupt(what)) => {
                return Ok(Err(Misfit { index: next, why: format!("entry {next}: unreadable in the store: {what}") }));
            }
            Err(error) => return Err(error),
        };
        for entry in &page {
            let stored = StoredEntry { index: entry.index, entry: entry.event.as_slice(), leaf_hash: entry.leaf };
            if let Err(mismatch) = verifier.push(&stored) {
                return Ok(Err(mismatch.into()));
            }
            if !columns_fit(entry) {
                let index = entry.index;
                let why = format!("entry {index}: the columns that it is found by do not say what it says");
                return Ok(Err(Misfit { index, why }));
            }
        }
        next = page.last().map_or(next, |last| last.index + 1);
        progress(next);
        if page.len() < limit as usize {
            return Ok(verifier.finish().map_err(Misfit::from));
        }
    }
}
