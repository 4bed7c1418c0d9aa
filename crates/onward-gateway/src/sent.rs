//! The disclosure matrix from what was sent: element by recipient, out of the entries of the log and the lists that they name.
//!
//! What a policy lets go is one thing; this is what left. Each list is held against the digest that its entry has.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::state::{RecipientKind, TransportKind};
use onward_core::store::{DeliveryRecord, Store, StoreError};
use onward_core::{DeliveryId, OdsCode, Timestamp};
use onward_transform::disclose::{Policy, beyond};

use crate::contents;

/// Entries read at once.
const PAGE: u32 = 1_000;
/// Entries of bytes that left, or may have left, for a recipient.
pub(crate) const WORDS: [AuditWord; 5] =
    [AuditWord::Intend, AuditWord::Disclose, AuditWord::AttemptFailed, AuditWord::DeliveryFailed, AuditWord::Read];

/// What went, or may have gone, to one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// How many copies.
    pub copies: u64,
    /// In how many of them each element went.
    pub elements: BTreeMap<String, u64>,
    /// In how many of them each element went although the policy that the copy names, which is still in force, lets it go to nobody
    /// of this kind.
    pub beyond: BTreeMap<String, u64>,
    /// Copies that another policy than the one in force made, or none: these are not held against one.
    pub unjudged: u64,
}

/// The matrix, and what it could not be made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// By kind and organisation.
    pub recipients: BTreeMap<(RecipientKind, OdsCode), Received>,
    /// Entries whose list was found and is what its digest says.
    pub linked: u64,
    /// Entries that name no list: written before lists were kept.
    pub unrecorded: u64,
    /// Entries about people who were erased: what they say cannot be read any more.
    pub erased: u64,
    /// Entries that do not fit, each with why.
    pub faults: Vec<String>,
}

/// One copy, and which lists its entries name.
struct Copy {
    kind: RecipientKind,
    recipient: OdsCode,
    basis: String,
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
}

/// The matrix of what was sent from `from` (included) until `until` (excluded). `progress` hears how many entries were read.
///
/// # Errors
/// When the store cannot be read.
pub async fn sent(
    store: &dyn Store,
    policies: &BTreeMap<RecipientKind, Policy>,
    (from, until): (Option<Timestamp>, Option<Timestamp>),
    mut progress: impl FnMut(u64),
) -> Result<Sent, StoreError> {
    let mut gathering =
        Gathering { store, sent: Sent::default(), copies: HashMap::new(), lists: Vec::new(), known: HashMap::new() };
    let mut wanted = AuditQuery { from, until, words: WORDS.to_vec(), limit: PAGE, ..AuditQuery::default() };
    let mut read = 0;
    loop {
        let page = store.search_audit(wanted.clone()).await?;
        gathering.load_lists(&page).await?;
        for entry in &page {
            gathering.take(entry).await?;
        }
        read += page.len() as u64;
        progress(read);
        match page.last() {
            Some(last) if page.len() == PAGE as usize => wanted.after = Some((last.recorded, last.index)),
            _ => return Ok(gathering.finish(policies)),
        }
    }
}

fn event_of(entry: &FoundAudit) -> Option<serde_json::Value> {
    serde_json::from_slice(entry.event.as_deref()?).ok()
}

impl Gathering<'_> {
    /// Reads the lists that these entries name, and judges each once.
    async fn load_lists(&mut self, page: &[FoundAudit]) -> Result<(), StoreError> {
        let named = page.iter().filter_map(event_of).filter_map(|event| contents::named_by(&event));
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

    async fn take(&mut self, entry: &FoundAudit) -> Result<(), StoreError> {
        let Some(event) = event_of(entry) else {
            self.sent.erased += 1;
            return Ok(());
        };
        let Some(id) = entry.delivery else {
            self.sent.unrecorded += 1;
            return Ok(());
        };
        let copy = match self.copies.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.store.delivery(id).await?.map(Copy::of)),
        };
        let Some(digest) = contents::named_by(&event) else {
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
            (Ok(_), None) => self.sent.faults.push(format!("entry {}: its copy is not in the store", entry.index)),
            (Err(why), _) => self.sent.faults.push(format!("entry {}: {why}", entry.index)),
        }
        Ok(())
    }

    /// Counts. Copies that carried the same lists to the same recipient under the same ground are counted together.
    fn finish(self, policies: &BTreeMap<RecipientKind, Policy>) -> Sent {
        let Self { mut sent, copies, lists, .. } = self;
        let mut alike: HashMap<(RecipientKind, OdsCode, String, BTreeSet<usize>), u64> = HashMap::new();
        for copy in copies.into_values().flatten().filter(|copy| !copy.lists.is_empty()) {
            *alike.entry((copy.kind, copy.recipient, copy.basis, copy.lists)).or_default() += 1;
        }
        for ((kind, recipient, basis, places), count) in alike {
            let names: BTreeSet<&str> = places.iter().flat_map(|place| &lists[*place]).map(String::as_str).collect();
            let received = sent.recipients.entry((kind, recipient)).or_default();
            received.copies += count;
            match policies.get(&kind).filter(|policy| policy.made(&basis)) {
                Some(policy) => {
                    for name in beyond(policy, names.iter().copied()) {
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
            lists: BTreeSet::new(),
        }
    }
}
