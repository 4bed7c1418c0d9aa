//! Who got to know what about whom in a window: from entries about a person, from lists on which people stood, and from exports that
//! carried entries about them. People who were erased since count, too: what is left of their entries says who acted and when.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::people::Role;
use onward_core::state::RecipientKind;
use onward_core::store::{DeliveryRecord, Store, StoreError};
use onward_core::{DeliveryId, NhsNumber, OdsCode, Timestamp, TransferId, UserId};
use onward_gateway::explore::everything;
use onward_gateway::made::is_of_entries;
use onward_gateway::sightings::{Carried, Showed, all, shown_by};
use onward_transform::disclose::{Cell, Policy, matrix};
use uuid::Uuid;

use crate::cli::audit::event::Party;
use crate::cli::audit::{Told, entries_that_fit};
use crate::cli::exit::Failure;

/// Words of entries by which a person's data may have reached somebody. An attempt that failed may have arrived, and one that
/// was begun and never ended as well. What alerts tell names nobody, so that entries about them are none of these.
const EXPOSURES: [AuditWord; 9] = [
    AuditWord::Read,
    AuditWord::ReadTask,
    AuditWord::Query,
    AuditWord::Intend,
    AuditWord::Disclose,
    AuditWord::AttemptFailed,
    AuditWord::DeliveryFailed,
    AuditWord::SubjectAccess,
    AuditWord::Reveal,
];

/// By whom, or to whom.
pub(super) enum Whom {
    /// Whoever it was.
    Anybody,
    /// A machine client, by its identifier.
    Client(String),
    /// A person, by the account: names change, and two people may share one. Of erased people's entries only a name is left.
    Person(UserId, Option<String>),
    /// An organisation that saw or was sent something.
    Organisation(OdsCode),
}

/// About whom.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// By NHS number.
    Person(String),
    /// Erased since, by the store's pseudonym.
    Erased(String),
}

impl Whose {
    fn of(patient: Option<&NhsNumber>, pseudonym: Option<&str>) -> Option<Self> {
        match patient {
            Some(number) => Some(Self::Person(number.expose().to_owned())),
            None => pseudonym.map(|pseudonym| Self::Erased(pseudonym.to_owned())),
        }
    }

    /// The NHS number, unless the person was erased.
    pub(super) fn number(&self) -> Option<&str> {
        match self {
            Self::Person(number) => Some(number),
            Self::Erased(_) => None,
        }
    }
}

/// What of a person's data somebody got to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// A whole copy, as what it was made; `None`: that cannot be told any more.
    Copy(Option<RecipientKind>),
    /// Everything, for the person themselves or whoever asked in their name.
    Everything,
    /// That, or the entries of the log about the person: which, an erased entry does not tell any more.
    Export,
    /// A line on a home's list of arrivals.
    ListLine,
    /// A copy, a hold, or a line on a list, as operators see it.
    BoardLine,
    /// Who it is.
    Identity,
    /// How far a transfer or a copy has come.
    State,
    /// Entries of the audit log.
    Entries,
}

impl Extent {
    /// In words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Copy(Some(kind)) => format!("copy as made for {kind}"),
            Self::Copy(None) => "copy".to_owned(),
            Self::Everything => "subject access archive".to_owned(),
            Self::Export => "subject access archive, or entries of the audit log about the person".to_owned(),
            Self::ListLine => "line on a list of arrivals".to_owned(),
            Self::BoardLine => "as operators see it, without a name".to_owned(),
            Self::Identity => "whom it is about".to_owned(),
            Self::State => "state of a transfer or copy".to_owned(),
            Self::Entries => "entries of the audit log".to_owned(),
        }
    }

    /// The kinds of data that somebody saw at most; of a copy by these policies, and the identical document holds whatever came.
    pub(super) fn data(self, policies: &[Policy]) -> Vec<String> {
        let listed = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Self::Copy(kind) => {
                let is_of = |own: RecipientKind| kind.is_none_or(|kind| kind == own);
                let disclosed = |cell: &(RecipientKind, Cell)| is_of(cell.0) && cell.1 != Cell::No;
                let rows = matrix(policies).into_iter().filter(|row| row.cells.iter().any(disclosed));
                rows.map(|row| row.element).collect()
            }
            Self::Everything | Self::Export => {
                listed(&["everything that is held about the person: messages, copies, entries, decisions"])
            }
            Self::ListLine => listed(&[
                "name",
                "date of birth and age",
                "gender",
                "NHS number",
                "death, where there was one",
                "hospital and ward",
                "when the person is expected, and at which home",
                "allergies, alerts and decisions about treatment",
                "state of the copy",
            ]),
            Self::BoardLine => listed(&[
                "that there is a transfer, from whom and to whom",
                "state of the copy, and why it does not leave",
                "no identity",
            ]),
            Self::Identity => listed(&["name", "date of birth", "NHS number"]),
            Self::State => listed(&[
                "NHS number",
                "that there is a transfer, from whom and to whom",
                "state, and what was done with it",
            ]),
            Self::Entries => {
                listed(&["NHS number", "who sent, received or saw something about the person, and when", "reasons"])
            }
        }
    }
}

/// One person's data, seen or sent once.
pub(super) struct Exposure {
    pub(super) recorded: Timestamp,
    pub(super) entry: u64,
    pub(super) what: AuditWord,
    pub(super) whose: Whose,
    /// Who got to know it.
    pub(super) who: String,
    pub(super) role: Option<String>,
    pub(super) organisation: Option<String>,
    pub(super) object: Option<String>,
    /// `None`: the entry was erased.
    pub(super) succeeded: Option<bool>,
    pub(super) basis: Option<String>,
    /// When the copy was made, where it is one that is known; else when the entry was.
    pub(super) made: Timestamp,
    pub(super) extent: Extent,
}

/// What was seen or sent about people in the window, the oldest first.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn exposures(
    store: &dyn Store,
    from: Timestamp,
    to: Timestamp,
    whom: &Whom,
) -> Result<Vec<Exposure>, Failure> {
    let query = AuditQuery { from: Some(from), until: Some(to), words: EXPOSURES.to_vec(), ..everything(None) };
    let mut search = Search { store, whom, copies: BTreeMap::new(), subjects: BTreeMap::new(), found: Vec::new() };
    let entries = entries_that_fit(store, query).await?;
    for entry in &entries {
        match entry.event.as_deref().map(Told::read) {
            Some(Some(told)) => search.readable(entry, &told).await?,
            // `audit verify` names what is no event of ours.
            Some(None) => {}
            None => search.erased(entry).await?,
        }
    }
    Ok(search.found)
}

struct Search<'s> {
    store: &'s dyn Store,
    whom: &'s Whom,
    copies: BTreeMap<DeliveryId, Option<DeliveryRecord>>,
    /// Of copies and transfers that stood on lists.
    subjects: BTreeMap<Uuid, Option<Whose>>,
    found: Vec<Exposure>,
}

impl Search<'_> {
    async fn readable(&mut self, entry: &FoundAudit, told: &Told) -> Result<(), StoreError> {
        let got = told.got(entry.word);
        if !self.is_wanted(got) {
            return Ok(());
        }
        match Whose::of(entry.patient.as_ref(), None) {
            Some(whose) => {
                let extent = self.extent(entry, told).await?;
                let copy = match (extent, entry.delivery) {
                    (Extent::Copy(_), Some(id)) => self.copy(id).await?,
                    _ => None,
                };
                let made = copy.map_or(entry.recorded, |copy| copy.created);
                let exposure = exposure(entry, told, got, whose, told.subject.clone(), extent);
                self.found.push(Exposure { made, ..exposure });
            }
            None => match shown_by(entry) {
                Showed::Nothing => {}
                Showed::OnList { subjects, nameless } => {
                    let extent = if nameless { Extent::BoardLine } else { Extent::ListLine };
                    for id in subjects {
                        if let Some(whose) = self.subject(id).await? {
                            let object = Some(format!("Task/{id}"));
                            self.found.push(exposure(entry, told, got, whose, object, extent));
                        }
                    }
                }
                Showed::Entries(carried) => {
                    for whose in self.carried(&carried).await? {
                        let object = Some("audit log".to_owned());
                        self.found.push(exposure(entry, told, got, whose, object, Extent::Entries));
                    }
                }
            },
        }
        Ok(())
    }

    fn is_wanted(&self, got: &Party) -> bool {
        match self.whom {
            Whom::Anybody => true,
            Whom::Client(id) => got.user.is_none() && got.name == *id,
            Whom::Person(user, _) => got.user == Some(*user),
            Whom::Organisation(ods) => got.organisation.as_deref() == Some(ods.as_str()),
        }
    }

    /// What was erased says who acted and about which copy, and no more.
    async fn erased(&mut self, entry: &FoundAudit) -> Result<(), StoreError> {
        let Some(whose) = Whose::of(None, entry.pseudonym.as_deref()) else { return Ok(()) };
        let copy = match entry.delivery {
            Some(id) => self.copy(id).await?,
            None => None,
        };
        let was_sent = matches!(
            entry.word,
            AuditWord::Intend | AuditWord::Disclose | AuditWord::AttemptFailed | AuditWord::DeliveryFailed
        );
        let (name, organisation) = match &copy {
            Some(copy) if was_sent => (Some(copy.recipient_name.clone()), Some(copy.recipient.to_string())),
            _ => (entry.agent.clone(), entry.organisation.clone()),
        };
        let wanted = match self.whom {
            Whom::Anybody => true,
            Whom::Client(id) => name.as_ref() == Some(id),
            Whom::Person(_, own) => own.is_some() && name == *own,
            Whom::Organisation(ods) => organisation.as_deref() == Some(ods.as_str()),
        };
        if !wanted {
            return Ok(());
        }
        let extent = match entry.word {
            AuditWord::ReadTask => Extent::State,
            AuditWord::Query => Extent::Entries,
            AuditWord::Reveal => Extent::Identity,
            AuditWord::SubjectAccess => Extent::Export,
            _ => Extent::Copy(copy.map(|copy| copy.kind)),
        };
        self.found.push(Exposure {
            recorded: entry.recorded,
            entry: entry.index,
            what: entry.word,
            whose,
            who: name.unwrap_or_default(),
            role: None,
            organisation,
            object: entry.delivery.map(|id| format!("Task/{id}")),
            succeeded: None,
            basis: None,
            made: entry.recorded,
            extent,
        });
        Ok(())
    }

    async fn extent(&mut self, entry: &FoundAudit, told: &Told) -> Result<Extent, StoreError> {
        Ok(match entry.word {
            AuditWord::ReadTask if is_operator(told.got(entry.word)) => Extent::BoardLine,
            AuditWord::ReadTask => Extent::State,
            // What is searched but Tasks is the log.
            AuditWord::Query if told.detail == "query: Task search" => Extent::State,
            AuditWord::Query => Extent::Entries,
            AuditWord::Reveal => Extent::Identity,
            AuditWord::SubjectAccess if is_of_entries(after_word(&told.detail)) => Extent::Entries,
            AuditWord::SubjectAccess => Extent::Everything,
            _ => Extent::Copy(match entry.delivery {
                Some(id) => self.copy(id).await?.map(|copy| copy.kind),
                None => None,
            }),
        })
    }

    async fn copy(&mut self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        if let Some(known) = self.copies.get(&id) {
            return Ok(known.clone());
        }
        let copy = self.store.delivery(id).await?;
        self.copies.insert(id, copy.clone());
        Ok(copy)
    }

    /// Whom something on a list is about; `None`: nobody can tell, and nobody ever could.
    async fn subject(&mut self, id: Uuid) -> Result<Option<Whose>, StoreError> {
        if let Some(known) = self.subjects.get(&id) {
            return Ok(known.clone());
        }
        let patient = match self.copy(DeliveryId(id)).await? {
            Some(copy) => copy.patient,
            None => self.store.transfer(TransferId(id)).await?.and_then(|transfer| transfer.patient),
        };
        let whose = match patient {
            Some(patient) => Whose::of(Some(&patient), None),
            // Entries about it are about the same person, erased or not.
            None => {
                let about = AuditQuery { entity: Some(id.to_string()), ..everything(None) };
                let entries = all(self.store, about).await?;
                entries.iter().find_map(|entry| Whose::of(entry.patient.as_ref(), entry.pseudonym.as_deref()))
            }
        };
        self.subjects.insert(id, whose.clone());
        Ok(whose)
    }

    async fn carried(&self, carried: &Carried) -> Result<BTreeSet<Whose>, StoreError> {
        let (mut people, mut after) = (BTreeSet::new(), None);
        loop {
            let (page, next) = carried.page(self.store, None, after).await?;
            people
                .extend(page.iter().filter_map(|entry| Whose::of(entry.patient.as_ref(), entry.pseudonym.as_deref())));
            if next.is_none() {
                return Ok(people);
            }
            after = next;
        }
    }
}

/// What an event says, without its word.
fn after_word(detail: &str) -> &str {
    detail.split_once(": ").map_or(detail, |(_, said)| said)
}

/// To operators a look at a copy or a hold names nobody, on pages and on the command line.
fn is_operator(party: &Party) -> bool {
    party.role.as_deref() == Some(Role::Operator.as_str()) || party.role.is_none() && party.name == "operator"
}

fn exposure(
    entry: &FoundAudit,
    told: &Told,
    got: &Party,
    whose: Whose,
    object: Option<String>,
    extent: Extent,
) -> Exposure {
    Exposure {
        recorded: entry.recorded,
        entry: entry.index,
        what: entry.word,
        whose,
        who: got.name.clone(),
        role: got.role.clone(),
        organisation: got.organisation.clone(),
        object,
        succeeded: Some(told.success),
        basis: told.basis.clone(),
        made: entry.recorded,
        extent,
    }
}
