//! The MESH mailboxes of the directory, found by MESH's endpoint lookup (ODS code and workflow), and held against it once a day
//! ([`crate::rounds`]). Where MESH lists another mailbox, or none, operations is told. Nothing is routed anew and nothing is held: MESH lists
//! what suppliers have registered, and the directory may be right. It refuses to choose between mailboxes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use onward_core::directory::{DirectoryEntry, Endpoint};
use onward_core::state::RecipientKind;
use onward_core::store::alerts::{AlertKind, about_organisation};
use onward_core::store::{Store, StoreError};
use onward_core::transport::{Mailboxes, SendError};
use onward_core::{MeshMailboxId, OdsCode, Timestamp, WorkflowId};
use onward_fhir::itk;
use onward_transform::render::{self, dates};
use tokio::sync::watch;

use crate::Gateway;
use crate::identify::expired;
use crate::rounds::{self, Daily, Known, Looked, Question, Standing};
use crate::routes::Routes;

/// A round tells operations of so many entries of which it was not told before, or of one in [`TOLD_OF`] of those that it asks about where that is more: practices move
/// one by one, and where MESH lists none as the directory has it, it is more likely that it was asked wrongly.
const TOLD_MIN: usize = 3;
/// See [`TOLD_MIN`].
const TOLD_OF: usize = 20;

/// See [`Question::LEASE`].
const LEASE: &str = "mesh-mailboxes";

/// How the daily look at MESH stands.
///
/// # Errors
/// When the store cannot be read.
pub async fn daily(store: &dyn Store) -> Result<Daily, StoreError> {
    rounds::daily(store, LEASE).await
}

/// MESH, and whom it is not asked about.
#[derive(Clone)]
pub struct Watched {
    /// It.
    pub mesh: Arc<dyn Mailboxes>,
    /// Codes of entries whose mailbox is right by a person's decision, whatever MESH lists.
    pub except: BTreeSet<OdsCode>,
    /// How long after its start a process makes no round: [`rounds::REST`].
    pub rest: SignedDuration,
}

/// In which mailboxes an organisation takes each workflow.
type Taking = BTreeMap<WorkflowId, BTreeSet<MeshMailboxId>>;

/// The MESH workflows by which goes what these routes send to an entry, notices included: the one that its endpoint names, else those that
/// are usual for the documents that are sent to such an organisation. None where it does not receive by a MESH mailbox, or nothing is usual.
#[must_use]
pub fn workflows(routes: &Routes, entry: &DirectoryEntry) -> BTreeSet<WorkflowId> {
    let Endpoint::Mesh { workflow, .. } = entry.endpoint() else { return BTreeSet::new() };
    if let Some(named) = workflow {
        return [named.clone()].into();
    }
    let kinds: &[RecipientKind] = match entry {
        DirectoryEntry::CareHome(_) => &[RecipientKind::CareHome],
        DirectoryEntry::Practice(_) => &[RecipientKind::CoveringPractice, RecipientKind::RegisteredPractice],
        DirectoryEntry::Pharmacy(_) => &[RecipientKind::PharmacyReferral, RecipientKind::PharmacyNomination],
    };
    let documents = itk::EVENTS.iter().chain([&itk::R4_DOCUMENT]).filter(|event| event.transfer_of_care);
    let sent = documents.flat_map(|event| kinds.iter().map(|kind| (event.code, *kind)));
    sent.filter(|(event, kind)| routes.delivers(event, *kind))
        .flat_map(|(event, kind)| render::usual_workflows(kind, event))
        .collect()
}

/// The one mailbox that takes all that the routes send to an entry by MESH; or why there is none. The entry's own mailbox does not count. A
/// busy MESH is asked again as it wishes, with `pace` between questions.
///
/// # Errors
/// When MESH cannot be asked.
pub async fn find(
    mesh: &dyn Mailboxes,
    routes: &Routes,
    entry: &DirectoryEntry,
    pace: Duration,
) -> Result<Result<MeshMailboxId, String>, SendError> {
    let workflows = workflows(routes, entry);
    if workflows.is_empty() {
        let kind = entry.kind();
        return Ok(Err(format!(
            "names no mailbox, and no workflow by which MESH could find it: what a {kind} gets has no usual one"
        )));
    }
    let taking = taking(mesh, entry.ods(), workflows, pace).await?;
    let mut of_all = taking.values().flatten().collect::<BTreeSet<_>>();
    of_all.retain(|mailbox| taking.values().all(|takes| takes.contains(*mailbox)));
    let mut of_all = of_all.into_iter();
    Ok(match (of_all.next(), of_all.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => {
            Err(format!("names no mailbox, and MESH lists none that takes all it gets ({}): name it", told(&taking)))
        }
        _ => Err(format!("names no mailbox, and MESH lists several ({}): name it", told(&taking))),
    })
}

async fn taking(
    mesh: &dyn Mailboxes,
    ods: &OdsCode,
    workflows: BTreeSet<WorkflowId>,
    pace: Duration,
) -> Result<Taking, SendError> {
    let mut taking = Taking::new();
    for workflow in workflows {
        if !taking.is_empty() {
            tokio::time::sleep(pace).await;
        }
        let found = rounds::patiently(|| mesh.taking(ods, &workflow)).await?.into_iter().collect();
        taking.insert(workflow, found);
    }
    Ok(taking)
}

fn told(taking: &Taking) -> String {
    let words = taking.iter().map(|(workflow, mailboxes)| {
        let names: Vec<&str> = mailboxes.iter().map(MeshMailboxId::as_str).collect();
        format!(
            "{workflow} {}",
            if names.is_empty() { "nowhere".to_owned() } else { format!("in {}", names.join(", ")) }
        )
    });
    words.collect::<Vec<_>>().join("; ")
}

/// See [`crate::rounds`].
struct AgainstMesh<'g> {
    gateway: &'g Gateway,
    watched: &'g Watched,
    pace: Duration,
}

impl AgainstMesh<'_> {
    /// Whether something is sent to the entry's mailbox that MESH can be asked about.
    fn asks_about(&self, entry: &DirectoryEntry) -> bool {
        let now = self.gateway.clock.now();
        !self.watched.except.contains(entry.ods())
            && !expired(entry.expires(), now)
            && entry.ended(dates::civil(now)).is_none()
            && !workflows(&self.gateway.routes, entry).is_empty()
    }
}

impl Question for AgainstMesh<'_> {
    const LEASE: &'static str = LEASE;
    const SERVICE: &'static str = "MESH";
    type Answer = Taking;

    fn known(&self) -> &Mutex<Known> {
        &self.gateway.lookups
    }

    fn rest(&self) -> SignedDuration {
        self.watched.rest
    }

    async fn lift(&self) -> Result<(), StoreError> {
        self.gateway.lift_mailboxes(|entry| self.asks_about(entry)).await
    }

    fn begin(&mut self, entries: &[DirectoryEntry], _: Timestamp) -> usize {
        TOLD_MIN.max(entries.iter().filter(|entry| self.asks_about(entry)).count() / TOLD_OF)
    }

    async fn is_about(&self, entry: &DirectoryEntry) -> Result<bool, StoreError> {
        Ok(self.asks_about(entry))
    }

    async fn ask(&self, entry: &DirectoryEntry) -> Result<Taking, SendError> {
        taking(self.watched.mesh.as_ref(), entry.ods(), workflows(&self.gateway.routes, entry), self.pace).await
    }

    async fn hold_against(&self, entry: DirectoryEntry, taking: Taking, left: &mut usize) -> Result<(), StoreError> {
        self.gateway.hold_against_mesh(&entry, &taking, left).await
    }
}

impl Gateway {
    /// How the mailboxes of the directory stand to MESH; `None` where they are not held against it.
    ///
    /// # Panics
    /// Never: nobody panics while holding the lock.
    #[must_use]
    pub fn mailboxes_standing(&self) -> Option<Standing> {
        self.mailboxes.as_ref()?;
        Some(rounds::standing(&self.lookups))
    }

    /// One look: a round, `pace` between questions, where the last whole one ended a day ago and no other node makes one. What was told of
    /// entries that MESH is not asked about any more is over at every look.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    ///
    /// # Panics
    /// Never: nobody panics while holding the lock.
    pub async fn look_at_mailboxes(&self, pace: Duration, stop: &watch::Receiver<bool>) -> Result<Looked, StoreError> {
        let Some(watched) = &self.mailboxes else {
            self.lift_mailboxes(|_| false).await?;
            return Ok(Looked::NotNow);
        };
        self.look_by(&mut AgainstMesh { gateway: self, watched, pace }, pace, stop).await
    }

    /// Clears the alerts about organisations of which no entry is asked about.
    async fn lift_mailboxes(&self, is_asked: impl Fn(&DirectoryEntry) -> bool + Send) -> Result<(), StoreError> {
        let alerts = self.store.alerts().await?.into_iter().map(|alert| alert.concern);
        let told: Vec<OdsCode> = alerts
            .filter(|concern| concern.kind == AlertKind::MailboxChanged)
            .filter_map(|concern| concern.recipient)
            .collect();
        for code in told {
            if !self.store.directory_entry(&code).await?.is_some_and(|entry| is_asked(&entry)) {
                let about = about_organisation(&code);
                self.store.clear_alert(AlertKind::MailboxChanged, about, self.clock.now()).await?;
            }
        }
        Ok(())
    }

    /// Tells operations where MESH does not list the entry's mailbox for all that is sent there, unless `left`, how many more a round may
    /// tell, is used up. What was changed meanwhile is looked at in the next round.
    async fn hold_against_mesh(
        &self,
        entry: &DirectoryEntry,
        taking: &Taking,
        left: &mut usize,
    ) -> Result<(), StoreError> {
        let Endpoint::Mesh { mailbox, .. } = entry.endpoint() else { return Ok(()) };
        let (code, now) = (entry.ods(), self.clock.now());
        if taking.values().all(|takes| takes.contains(mailbox)) {
            self.store.clear_alert(AlertKind::MailboxChanged, about_organisation(code), now).await?;
            return Ok(());
        }
        if self.store.directory_entry(code).await?.is_none_or(|current| current.endpoint() != entry.endpoint()) {
            return Ok(());
        }
        tracing::warn!(organisation = %code, %mailbox, "MESH lists otherwise: {}", told(taking));
        if *left == 0 {
            tracing::error!(organisation = %code, "operations is told of no more in this round, but in those that follow: is MESH asked rightly?");
            return Ok(());
        }
        *left -= usize::from(self.raise_own(AlertKind::MailboxChanged, Some(code.clone()), now).await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use onward_core::state::HoldReason;

    use super::*;
    use crate::routes::{Decision, Route};

    fn route(events: &[&str], decision: Decision) -> Route {
        Route {
            name: "a route".to_owned(),
            events: events.iter().map(ToString::to_string).collect(),
            destinations: BTreeSet::new(),
            decision,
        }
    }

    fn routes(events: &[&str], kinds: &[RecipientKind]) -> Routes {
        let rest = route(&[], Decision::Hold(HoldReason::NotACareHomeDischarge));
        Routes::new(vec![route(events, Decision::Deliver(kinds.to_vec())), rest])
    }

    fn practice(workflow: Option<&str>) -> DirectoryEntry {
        let workflow = workflow.map(|name| name.parse().expect("a workflow"));
        DirectoryEntry::Practice(onward_core::directory::Practice {
            ods: "Y99001".parse().expect("a code"),
            name: "Beck Lane Surgery".to_owned(),
            telephone: String::new(),
            postcode: String::new(),
            endpoint: Endpoint::Mesh { mailbox: "Y99001OT1".parse().expect("a mailbox"), workflow },
            expires: jiff::civil::date(2099, 12, 31),
            ods_end: None,
        })
    }

    fn names(routes: &Routes, entry: &DirectoryEntry) -> Vec<String> {
        workflows(routes, entry).iter().map(ToString::to_string).collect()
    }

    const BOTH: [RecipientKind; 2] = [RecipientKind::CoveringPractice, RecipientKind::RegisteredPractice];

    #[test]
    fn the_workflows_are_those_of_what_the_routes_send() {
        let all = routes(&["ITK003D", "ITK004D", "document"], &BOTH);
        let usual = ["GPCONNECT_SEND_DOCUMENT", "TOC_FHIR_IP_DISCH", "TOC_FHIR_MH_DISCH"];
        assert_eq!(names(&all, &practice(None)), usual);
        assert_eq!(names(&all, &practice(Some("LOCAL"))), ["LOCAL"], "the endpoint's own goes before");
        let covering = routes(&["ITK003D"], &BOTH[..1]);
        assert_eq!(names(&covering, &practice(None)), ["GPCONNECT_SEND_DOCUMENT"]);
        assert_eq!(names(&routes(&["ITK003D"], &[RecipientKind::CareHome]), &practice(None)), [""; 0]);
        let DirectoryEntry::Practice(practice) = practice(None) else { unreachable!("a practice") };
        let elsewhere = |endpoint| DirectoryEntry::Practice(practice.clone()).with_endpoint(endpoint);
        for endpoint in [Endpoint::Inbox {}, Endpoint::GpRouting { workflow: None }] {
            assert_eq!(names(&all, &elsewhere(endpoint)), [""; 0]);
        }
    }
}
