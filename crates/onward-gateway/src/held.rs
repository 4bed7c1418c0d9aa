//! What the log and the store hold about one person, and whether whoever asks for it is that person.

use std::collections::BTreeSet;

use jiff::civil::Date;
use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::state::RecipientKind;
use onward_core::store::{Store, StoreError, SubjectTransfer, TaskQuery};
use onward_core::{NhsNumber, OdsCode, TransferId};
use onward_fhir::{Bundle, Element, read};
use serde::{Deserialize, Serialize};

use crate::explore::everything;
use crate::prepare::read_tree;
use crate::sightings::{Sighting, all, sightings};

/// What the log and the store hold about one person.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The entries about the person, the oldest first.
    pub entries: Vec<FoundAudit>,
    /// The entries about lists on which the person stood and exports that carried something about them, the oldest first.
    pub among_others: Vec<(FoundAudit, Sighting)>,
    /// The messages and copies.
    pub transfers: Vec<SubjectTransfer>,
    /// Those of the messages that another organisation sent: the bytes that it sent are its own, and here are copies alone. Nothing
    /// where everything is asked for, not what one organisation holds.
    pub of_others: BTreeSet<TransferId>,
}

/// How much of what there was is no longer kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// Messages, of those that are not another's.
    pub messages: usize,
    /// Copies that were sent to recipients.
    pub copies: usize,
    /// Notices that a copy ended.
    pub notices: usize,
}

/// Which identifiers of whoever asks for a person's data were held against what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identified {
    /// The NHS number, and the date of birth of the newest document.
    NumberAndBirth,
    /// The NHS number, and of the date of birth the year or the month: the newest document says no more.
    NumberAndPartOfBirth,
    /// The NHS number; no document that is kept says a date of birth.
    NothingToCompare,
    /// The NHS number: nobody gave a second one.
    NumberAlone,
}

/// What the log says where a request is refused because another date of birth is held.
pub const ANOTHER_PERSON: &str = "refused: the date of birth is not the one that is held";

impl Held {
    /// The date of birth of the newest document that says one, as it says it: a day, a month or a year.
    #[must_use]
    pub fn born(&self) -> Option<String> {
        self.transfers.iter().rev().find_map(|each| {
            let original = each.original.iter().map(|own| &own.body);
            let mut bodies = original.chain(each.renditions.iter().map(|copy| &copy.body));
            bodies.find_map(|body| {
                let tree = read_tree(body, read::sniff(body)?).ok()?;
                subject(tree.root())?.text("birthDate").map(str::to_owned)
            })
        })
    }

    /// Holds a date of birth against what is held; `None`: it is another one.
    #[must_use]
    pub fn identified(&self, born: Option<Date>) -> Option<Identified> {
        match (born, self.born()) {
            (None, _) => Some(Identified::NumberAlone),
            (Some(_), None) => Some(Identified::NothingToCompare),
            // FHIR's dates may end before the day.
            (Some(born), Some(held)) => match held.len() {
                4 | 7 => born.to_string().starts_with(&held).then_some(Identified::NumberAndPartOfBirth),
                _ => (born.to_string() == held).then_some(Identified::NumberAndBirth),
            },
        }
    }

    /// How much of it is no longer kept: that there was one is told, its content is gone.
    #[must_use]
    pub fn gone(&self) -> Gone {
        let mut gone = Gone::default();
        for each in &self.transfers {
            gone.messages += usize::from(each.original.is_none() && !self.of_others.contains(&each.transfer.id));
            let kept: BTreeSet<_> = each.renditions.iter().map(|rendition| rendition.delivery).collect();
            let sent = each.transfer.deliveries.iter().filter(|copy| copy.kind != RecipientKind::Sender);
            for copy in sent.filter(|copy| !kept.contains(&copy.id)) {
                *(if copy.notice.is_some() { &mut gone.notices } else { &mut gone.copies }) += 1;
            }
        }
        gone
    }

    /// Whether nothing is held but what the log keeps of questions about the number and of orders for it.
    #[must_use]
    pub fn is_only_questions(&self) -> bool {
        let mut readable = self.entries.iter().filter(|entry| entry.event.is_some());
        self.transfers.is_empty() && !readable.any(|entry| entry.word.tells_of_data())
    }
}

/// Whom a document is about: the subject of its Composition. A resource without one is about the only Patient that it holds.
fn subject<'t, 's>(root: Element<'t, 's>) -> Option<Element<'t, 's>> {
    let Some(composition) = root.descendants().find(|element| element.is("Composition")) else {
        let mut patients = root.descendants().filter(|element| element.is("Patient"));
        return patients.next().filter(|_| patients.next().is_none());
    };
    let above = std::iter::successors(composition.parent(), |element| element.parent());
    let bundle = above.filter(|element| element.is("Bundle")).find_map(Bundle::new)?;
    bundle.resolve(composition.get("subject")?).filter(|resource| resource.is("Patient"))
}

/// Whether nothing is held about a person but that somebody asked about the number ([`Held::is_only_questions`]).
///
/// # Errors
/// When the store cannot be read.
pub async fn is_only_asked_about(store: &dyn Store, patient: &NhsNumber) -> Result<bool, StoreError> {
    let about =
        TaskQuery { patient: Some(patient.clone()), transfers: true, copies: true, limit: 1, ..TaskQuery::default() };
    if !store.tasks(about).await?.is_empty() {
        return Ok(false);
    }
    let words = AuditWord::ALL.iter().copied().filter(|word| word.tells_of_data()).collect();
    let told = all(store, AuditQuery { patient: Some(patient.clone()), words, ..everything(None) }).await?;
    Ok(told.iter().all(|entry| entry.event.is_none()))
}

/// Everything about a person; of one organisation, what concerns it.
///
/// # Errors
/// When the store cannot be read.
pub async fn held_about(
    store: &dyn Store,
    patient: &NhsNumber,
    organisation: Option<&OdsCode>,
) -> Result<Held, StoreError> {
    let within = everything(organisation.cloned());
    let mut entries = all(store, AuditQuery { patient: Some(patient.clone()), ..within.clone() }).await?;
    entries.reverse();
    let mut among_others = sightings(store, patient, &within).await?;
    among_others.reverse();
    let mut transfers = store.subject_record(patient).await?;
    let of_others = organisation.map(|organisation| confine(&mut transfers, organisation)).unwrap_or_default();
    Ok(Held { entries, among_others, transfers, of_others })
}

/// What the organisation itself holds: what it sent with all copies, and copies addressed to it. Gives the messages that others sent.
fn confine(transfers: &mut Vec<SubjectTransfer>, organisation: &OdsCode) -> BTreeSet<TransferId> {
    for each in transfers.iter_mut().filter(|each| each.transfer.sender != *organisation) {
        each.original = None;
        each.transfer.deliveries.retain(|copy| copy.recipient == *organisation && copy.is_readable());
        let own: BTreeSet<_> = each.transfer.deliveries.iter().map(|copy| copy.id).collect();
        each.renditions.retain(|rendition| own.contains(&rendition.delivery));
        each.changes.retain(|change| own.contains(&change.delivery));
        each.steps.retain(|step| own.contains(&step.delivery));
        each.alerts.retain(|alert| alert.concern.delivery.is_some_and(|id| own.contains(&id)));
        // These are the sender's, and those of whoever runs the gateway.
        each.holds.clear();
        each.approvals.retain(|approval| approval.organisation == *organisation);
    }
    transfers.retain(|each| each.transfer.sender == *organisation || !each.transfer.deliveries.is_empty());
    let of_others = transfers.iter().filter(|each| each.transfer.sender != *organisation);
    of_others.map(|each| each.transfer.id).collect()
}
