//! The disclosure matrix from what was sent: element by recipient, out of the entries of the log and the lists that they name; and the
//! same of the files that were handed out to those who answer for the log.
//!
//! What a policy lets go is one thing; this is what left. Each list is held against the digest that its entry has.

mod exports;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::state::{RecipientKind, TransportKind};
use onward_core::store::{DeliveryRecord, Store, StoreError};
use onward_core::{DeliveryId, OdsCode, Timestamp};
use onward_transform::disclose::{Policy, beyond};
use serde_json::Value;

use crate::contents;
use crate::explore::told;
use crate::made::{BREACH_PACK, EVIDENCE};
use exports::Exports;

/// Entries read at once.
const PAGE: u32 = 1_000;
/// Entries of bytes that left, or may have left, for a recipient.
pub(crate) const WORDS: [AuditWord; 7] = [
    AuditWord::Intend,
    AuditWord::Disclose,
    AuditWord::AttemptFailed,
    AuditWord::DeliveryFailed,
    AuditWord::Read,
    AuditWord::SubjectAccess,
    AuditWord::Export,
];

/// What went, or may have gone, to one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// How many copies.
    pub copies: u64,
    /// In how many of them each element went.
    pub elements: BTreeMap<String, u64>,
    /// In how many of them each element went although the policy that made the copy lets it go to nobody of this kind.
    pub beyond: BTreeMap<String, u64>,
    /// Copies that no policy made whose text is known, or none at all: these are held against none.
    pub unjudged: u64,
}

/// For what a file was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Taken {
    /// Entries of the log.
    Log,
    /// Everything, or the entries, about one person.
    SubjectAccess,
    /// A breach pack.
    BreachPack,
    /// Entries with their proofs: one, or those about copies that were recalled.
    Evidence,
}

impl Taken {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Log, Self::SubjectAccess, Self::BreachPack, Self::Evidence];

    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log-export",
            Self::SubjectAccess => "subject-access",
            Self::BreachPack => "breach-pack",
            Self::Evidence => "evidence",
        }
    }
}

/// The matrix, and what it could not be made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// By kind and organisation.
    pub recipients: BTreeMap<(RecipientKind, OdsCode), Received>,
    /// Files that were handed out, by what for, the organisation for which somebody took them, and as what they acted.
    pub taken: BTreeMap<(Taken, String, String), Received>,
    /// Places of the entries of exports that began in this time, and whose end no entry tells, in this time or another: up to their last
    /// part they may have left.
    pub unended: Vec<u64>,
    /// Exports that began in this time and ended in another: where they ended, they are counted.
    pub ended_elsewhere: u64,
    /// Places of the ends of exports about one person whose beginning cannot be read: the person was erased while they left, or there
    /// never was one.
    pub begun_unread: Vec<u64>,
    /// Beginnings of exports from before these had identifiers: which ended is not told.
    pub unpaired: u64,
    /// Entries whose list was found and is what its digest says.
    pub linked: u64,
    /// Entries that name no list: written before lists were kept.
    pub unrecorded: u64,
    /// Entries about people who were erased: what they say cannot be read any more.
    pub erased: u64,
    /// Entries that do not fit, each with why.
    pub faults: Vec<String>,
}

/// A policy, and from when on it was in force.
#[derive(Debug, Clone)]
pub struct Dated {
    /// The policy.
    pub policy: Policy,
    /// From when on.
    pub since: Timestamp,
}

/// Which of these made a copy of this moment: of those whose version its ground names the one that was in force then. A version that was
/// changed without another name is told apart by its time. A copy from before the first of its name was kept is held against none: what a
/// later text lets go says nothing about it.
fn made_by(policies: &[Dated], kind: RecipientKind, basis: &str, at: Timestamp) -> Option<usize> {
    let named = |(_, dated): &(usize, &Dated)| dated.policy.recipient == kind && dated.policy.made(basis);
    let then = policies.iter().enumerate().filter(named).filter(|(_, dated)| dated.since <= at);
    then.max_by_key(|(_, dated)| dated.since).map(|(place, _)| place)
}

/// One copy, and which lists its entries name.
struct Copy {
    kind: RecipientKind,
    recipient: OdsCode,
    basis: String,
    created: Timestamp,
    inbox: bool,
    lists: BTreeSet<usize>,
}

/// What was read so far.
struct Gathering<'a> {
    store: &'a dyn Store,
    sent: Sent,
    copies: HashMap<DeliveryId, Option<Copy>>,
    /// The names of each list that fits, by its place.
    lists: Vec<Vec<String>>,
    /// Places by digest; of one that does not fit, why.
    known: HashMap<[u8; 32], Result<usize, &'static str>>,
    exports: Exports,
}

/// The matrix of what was sent from `from` (included) until `until` (excluded), each copy held against the one of `policies` that made
/// it. `progress` hears how many entries were read.
///
/// # Errors
/// When the store cannot be read.
pub async fn sent(
    store: &dyn Store,
    policies: &[Dated],
    (from, until): (Option<Timestamp>, Option<Timestamp>),
    mut progress: impl FnMut(u64),
) -> Result<Sent, StoreError> {
    let mut gathering = Gathering {
        store,
        sent: Sent::default(),
        copies: HashMap::new(),
        lists: Vec::new(),
        known: HashMap::new(),
        exports: Exports::default(),
    };
    let mut wanted = AuditQuery { from, until, words: WORDS.to_vec(), limit: PAGE, ..AuditQuery::default() };
    let mut read = 0;
    loop {
        let page = store.search_audit(wanted.clone()).await?;
        let events: Vec<Option<Value>> = page.iter().map(event_of).collect();
        gathering.load_lists(&events).await?;
        for (entry, event) in page.iter().zip(&events) {
            gathering.take(entry, event.as_ref()).await?;
        }
        read += page.len() as u64;
        progress(read);
        match page.last() {
            Some(last) if page.len() == PAGE as usize => wanted.after = Some((last.recorded, last.index)),
            _ => break,
        }
    }
    std::mem::take(&mut gathering.exports).pair(store, (from, until), &mut gathering.sent).await?;
    Ok(gathering.finish(policies))
}

fn event_of(entry: &FoundAudit) -> Option<Value> {
    serde_json::from_slice(entry.event.as_deref()?).ok()
}

impl Gathering<'_> {
    /// Reads the lists that these entries name, and judges each once.
    async fn load_lists(&mut self, events: &[Option<Value>]) -> Result<(), StoreError> {
        let named = events.iter().flatten().filter_map(contents::named_by);
        let new: BTreeSet<[u8; 32]> = named.filter(|digest| !self.known.contains_key(digest)).collect();
        let new: Vec<[u8; 32]> = new.into_iter().collect();
        for list in self.store.contents(&new).await? {
            let verdict = if contents::fits(&list) {
                self.lists.push(list.names.lines().map(str::to_owned).collect());
                Ok(self.lists.len() - 1)
            } else {
                Err("the list of what was sent is not what its digest says")
            };
            self.known.insert(list.sha256, verdict);
        }
        for digest in new {
            self.known.entry(digest).or_insert(Err("the list of what was sent is not in the store"));
        }
        Ok(())
    }

    async fn take(&mut self, entry: &FoundAudit, event: Option<&Value>) -> Result<(), StoreError> {
        let Some(event) = event else {
            self.sent.erased += 1;
            return Ok(());
        };
        if matches!(entry.word, AuditWord::SubjectAccess | AuditWord::Export) {
            self.take_file(entry, event);
            return Ok(());
        }
        let Some(id) = entry.delivery else {
            self.sent.unrecorded += 1;
            return Ok(());
        };
        let copy = match self.copies.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(match self.store.delivery(id).await {
                // Such as one that was parked for it: its entry says so, and the others are counted.
                Err(StoreError::Corrupt(place)) => {
                    tracing::error!(delivery = %id, place, "a copy is unreadable, and what went of it is not counted");
                    None
                }
                found => found?.map(Copy::of),
            }),
        };
        let Some(digest) = contents::named_by(event) else {
            // What was placed in an inbox has not left.
            let placed = entry.word == AuditWord::Disclose && copy.as_ref().is_some_and(|copy| copy.inbox);
            self.sent.unrecorded += u64::from(!placed);
            return Ok(());
        };
        let place = self.known.get(&digest).copied().unwrap_or(Err("the list of what was sent is not in the store"));
        match (place, copy) {
            (Ok(place), Some(copy)) => {
                copy.lists.insert(place);
                self.sent.linked += 1;
            }
            (Ok(_), None) => {
                self.sent.faults.push(format!("entry {}: its copy is not in the store, or cannot be read", entry.index))
            }
            (Err(why), _) => self.sent.faults.push(format!("entry {}: {why}", entry.index)),
        }
        Ok(())
    }

    /// A file that was handed out: to whom, is told by the entry itself.
    fn take_file(&mut self, entry: &FoundAudit, event: &Value) {
        let said = told(entry).unwrap_or_default();
        let digest = contents::named_by(event);
        if self.exports.take(entry, &said, digest.is_some()) && digest.is_none() {
            return;
        }
        let Some(digest) = digest else {
            self.sent.unrecorded += 1;
            return;
        };
        let taken = match entry.word {
            AuditWord::SubjectAccess => Taken::SubjectAccess,
            _ if said.starts_with(BREACH_PACK) => Taken::BreachPack,
            _ if said.starts_with(EVIDENCE) => Taken::Evidence,
            _ if entry.patient.is_some() => Taken::SubjectAccess,
            _ => Taken::Log,
        };
        let got = &event["agent"][1];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let organisation = text(&got["who"]["identifier"]["value"]).unwrap_or_default();
        let role = text(&got["role"][0]["coding"][0]["code"]).or_else(|| text(&got["name"])).unwrap_or_default();
        match self.known.get(&digest).copied().unwrap_or(Err("the list of what was sent is not in the store")) {
            Ok(place) => {
                self.sent.linked += 1;
                let received = self.sent.taken.entry((taken, organisation, role)).or_default();
                received.copies += 1;
                for name in &self.lists[place] {
                    *received.elements.entry(name.clone()).or_default() += 1;
                }
            }
            Err(why) => self.sent.faults.push(format!("entry {}: {why}", entry.index)),
        }
    }

    /// Counts. Copies that carried the same lists to the same recipient by the same policy are counted together.
    fn finish(self, policies: &[Dated]) -> Sent {
        let Self { mut sent, copies, lists, .. } = self;
        let mut alike: HashMap<(RecipientKind, OdsCode, Option<usize>, BTreeSet<usize>), u64> = HashMap::new();
        for copy in copies.into_values().flatten().filter(|copy| !copy.lists.is_empty()) {
            let made = made_by(policies, copy.kind, &copy.basis, copy.created);
            *alike.entry((copy.kind, copy.recipient, made, copy.lists)).or_default() += 1;
        }
        for ((kind, recipient, made, places), count) in alike {
            let names: BTreeSet<&str> = places.iter().flat_map(|place| &lists[*place]).map(String::as_str).collect();
            let received = sent.recipients.entry((kind, recipient)).or_default();
            received.copies += count;
            match made {
                Some(place) => {
                    for name in beyond(&policies[place].policy, names.iter().copied()) {
                        *received.beyond.entry(name.to_owned()).or_default() += count;
                    }
                }
                None => received.unjudged += count,
            }
            for name in names {
                *received.elements.entry(name.to_owned()).or_default() += count;
            }
        }
        sent
    }
}

impl Copy {
    fn of(record: DeliveryRecord) -> Self {
        Self {
            kind: record.kind,
            inbox: record.endpoint.kind() == TransportKind::Inbox,
            recipient: record.recipient,
            basis: record.basis,
            created: record.created,
            lists: BTreeSet::new(),
        }
    }
}
