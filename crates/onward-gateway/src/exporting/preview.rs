//! What an export that waits for its second person would let out, counted: whoever grants it must know that before.

use std::collections::HashSet;

use onward_core::store::StoreError;
use onward_core::{NhsNumber, OdsCode};

use super::Export;
use crate::Gateway;
use crate::held::{Held, held_about};
use crate::sightings::Carried;

/// Entries that are counted at most.
pub const PREVIEW_MAX: u64 = 10_000;

/// What would leave if it were fetched now.
#[derive(Debug, Clone)]
pub struct WouldLeave {
    /// About whom.
    pub patient: Option<NhsNumber>,
    carried: Carried,
}

/// Entries that would leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many were counted.
    pub entries: u64,
    /// There are more.
    pub more: bool,
    /// About how many people they are.
    pub people: usize,
    /// Of how many the content was erased.
    pub erased: u64,
}

impl Gateway {
    /// What would leave if this were fetched now; `None` when the person whom it is about was erased since. The look is audited by
    /// [`Gateway::look_at_export`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn would_leave(&self, organisation: &OdsCode, export: &Export) -> Result<Option<WouldLeave>, StoreError> {
        let patient = self.person_of(export).await?;
        if export.about.is_some() && patient.is_none() {
            return Ok(None);
        }
        let carried = Carried {
            organisation: Some(organisation.clone()),
            from: export.from,
            until: export.until,
            before: self.store.audit_size().await?,
        };
        Ok(Some(WouldLeave { patient, carried }))
    }

    /// Counts the entries of it, [`PREVIEW_MAX`] or a page more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count_leaving(&self, leaving: &WouldLeave) -> Result<Counted, StoreError> {
        let (mut counted, mut people) = (Counted::default(), HashSet::new());
        let mut after = None;
        loop {
            let (page, next) = leaving.carried.page(self.store.as_ref(), leaving.patient.as_ref(), after).await?;
            counted.entries += page.len() as u64;
            counted.erased += page.iter().filter(|entry| entry.event.is_none()).count() as u64;
            people.extend(page.into_iter().filter_map(|entry| entry.pseudonym));
            counted.people = people.len();
            after = next;
            counted.more = after.is_some() && counted.entries >= PREVIEW_MAX;
            if after.is_none() || counted.more {
                return Ok(counted);
            }
        }
    }

    /// What subject access would hand out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn record_leaving(&self, leaving: &WouldLeave) -> Result<Held, StoreError> {
        match &leaving.patient {
            Some(patient) => held_about(self.store.as_ref(), patient, leaving.carried.organisation.as_ref()).await,
            None => Ok(Held::default()),
        }
    }
}
