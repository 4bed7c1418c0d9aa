//! What stands in the database that neither a start nor a command put there. The first start that finds it tells it by an alarm, and the first
//! that does not find it any more by an entry that says so: the same, found after that, is another event, and told anew. What stands there
//! is the same for all nodes, so that one of them tells it for all.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditRow, AuditWord};
use onward_core::store::{Store, StoreError};
use onward_core::{OdsCode, Timestamp};

use crate::explore::told;
use crate::sightings::all;
use crate::{Gateway, registered, starts};

/// What stands before a statement that is not so any more.
const OVER: &str = "no longer so: ";

/// What is not as starts and commands left it, and the organisations that it concerns. An alarm is filed under each of them, and always under
/// the gateway's own: who plants a row also says whose it is.
pub type Strange = BTreeMap<String, BTreeSet<OdsCode>>;

/// A statement, and the organisation that it is filed under; none in an alarm of an earlier program.
type Filed = (String, Option<OdsCode>);

impl Gateway {
    /// The entries about what was found, in words that are the same at each look: of what the log does not tell yet, and of what it tells
    /// that is over. The process log hears all of it, each time. Where the alarms of the log cannot be read nothing counts as told, and nothing
    /// is taken back: one damaged entry keeps no gateway from starting, and `audit verify` names it.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn alarms(&self, at: Timestamp, found: &Strange) -> Result<Vec<AuditRow>, StoreError> {
        for what in found.keys() {
            tracing::error!(what, "ALARM: the database holds what neither a start nor a command put there");
        }
        let told = match in_force(self.store.as_ref()).await {
            Err(StoreError::Corrupt(what)) => {
                tracing::error!(what, "the alarms in the log cannot be read: what stands in the database is told anew");
                BTreeSet::new()
            }
            told => told?,
        };
        let entry = |success: bool, detail: String, concerns: Option<OdsCode>| {
            let entry = AuditEntry::new(AuditWord::Alarm, at, Agent::gateway(), detail);
            self.journal.row(&AuditEntry { success, concerns, ..entry })
        };
        let filed = found.iter().flat_map(|(what, whose)| {
            let all: BTreeSet<&OdsCode> = whose.iter().chain([&self.settings.own_ods]).collect();
            all.into_iter().map(|ods| (what.clone(), Some(ods.clone())))
        });
        let new = filed.filter(|filed| !told.contains(filed));
        let mut entries: Vec<AuditRow> = new.map(|(what, ods)| entry(false, what, ods)).collect();
        for (what, ods) in told.iter().filter(|(what, _)| !found.contains_key(what) && is_judged(what, found)) {
            tracing::warn!(what, "no longer so");
            entries.push(entry(true, format!("{OVER}{what}"), ods.clone()));
        }
        Ok(entries)
    }
}

/// What the log tells and has not taken back.
async fn in_force(store: &dyn Store) -> Result<BTreeSet<Filed>, StoreError> {
    let mut newest: BTreeMap<Filed, (u64, bool)> = BTreeMap::new();
    let alarms = AuditQuery { words: vec![AuditWord::Alarm], ..AuditQuery::default() };
    for entry in all(store, alarms).await? {
        let is_own = entry.agent.as_deref() == Some(Agent::GATEWAY);
        let Some(said) = told(&entry).filter(|_| is_own) else { continue };
        let (what, is_so) = match said.strip_prefix(OVER) {
            Some(what) => (what.to_owned(), false),
            None => (said, true),
        };
        let whose = entry.organisation.and_then(|ods| ods.parse().ok());
        let known = newest.entry((what, whose)).or_insert((entry.index, is_so));
        *known = (*known).max((entry.index, is_so));
    }
    Ok(newest.into_iter().filter(|(_, (_, is_so))| *is_so).map(|(filed, _)| filed).collect())
}

/// Whether who found this could tell that a statement is over: a witness's are not about the database, and of registrations that cannot be
/// read nobody knows.
fn is_judged(what: &str, found: &Strange) -> bool {
    starts::is_about_policies(what)
        || registered::is_about_clients(what) && !found.keys().any(|what| registered::is_unreadable(what))
}
