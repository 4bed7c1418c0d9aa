//! Audit entries for an information-governance lead: only those of the own organisation, and the look is itself audited.

use std::cmp::Reverse;

use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditWord, FoundAudit};
use onward_core::client::Client;
use onward_core::store::StoreError;
use onward_core::{NhsNumber, Timestamp};
use uuid::Uuid;

use crate::Gateway;
use crate::made::halves;
use crate::sightings::sightings;

/// One page of entries.
#[derive(Debug, Clone)]
pub struct AuditPage {
    /// The entries, the newest first.
    pub entries: Vec<FoundAudit>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<(Timestamp, u64)>,
}

impl Gateway {
    /// Finds entries of the client's organisation, for a person also the lists and exports that showed them, of an export those that name
    /// it, all on one page, and commits who looked: one event for each person in the answer or asked about, one without a person when there
    /// is none (BALP Query). `asked` is the raw query.
    ///
    /// # Errors
    /// When the store cannot be read, or the look cannot be audited: then nothing may be shown.
    pub async fn search_audit(
        &self,
        client: &Client,
        mut query: AuditQuery,
        export: Option<Uuid>,
        asked: &str,
        request_id: Option<&str>,
    ) -> Result<AuditPage, StoreError> {
        query.organisation = Some(client.ods.clone());
        let asked_about = query.patient.clone();
        let mut count = query.limit as usize;
        query.limit = query.limit.saturating_add(1);
        let mut entries = match export {
            Some(id) => halves(self.store.as_ref(), &query, id).await?,
            None => self.store.search_audit(query.clone()).await?,
        };
        if export.is_some() {
            count = entries.len();
        } else if let Some(patient) = &asked_about {
            // Lists and exports that showed the person do not name them.
            let among_others = AuditQuery { patient: None, ..query };
            let among_others = sightings(self.store.as_ref(), patient, &among_others).await?;
            entries.extend(among_others.into_iter().map(|(entry, _)| entry));
            entries.sort_by_key(|entry| Reverse((entry.recorded, entry.index)));
        }
        let more = entries.len() > count;
        entries.truncate(count);
        let next = entries.last().filter(|_| more).map(|last| (last.recorded, last.index));
        let mut people: Vec<Option<&NhsNumber>> = Vec::new();
        for patient in asked_about.iter().chain(entries.iter().filter_map(|entry| entry.patient.as_ref())) {
            if !people.contains(&Some(patient)) {
                people.push(Some(patient));
            }
        }
        if people.is_empty() {
            people.push(None);
        }
        let rows = people.into_iter().map(|patient| {
            self.journal.row(&AuditEntry {
                patient: patient.cloned(),
                request_id: request_id.map(str::to_owned),
                query: Some(asked.to_owned()),
                ..AuditEntry::new(AuditWord::Query, self.clock.now(), Agent::client(client), "audit search")
            })
        });
        self.store.audit(rows.collect()).await?;
        Ok(AuditPage { entries, next })
    }
}
