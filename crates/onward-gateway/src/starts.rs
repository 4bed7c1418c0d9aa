//! Starts of gateways, as their entries tell them: what each put in force, and which policies it kept. The texts that are kept are held
//! against that: each was put in force by the start of its moment, which names it, and none that a start names is missing. A text that
//! somebody put straight into the database is in force nowhere: no start names it, and each tells of it.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::Timestamp;
use onward_core::audit::{Agent, AuditWord, FoundAudit};
use onward_core::state::RecipientKind;
use onward_core::store::evidence::PolicyInForce;
use onward_core::store::{Store, StoreError, StoredAudit};
use onward_transform::disclose::Policy;
use serde_json::Value;

use crate::sent::Dated;
use crate::verify::Misfit;
use crate::{configured, sha256_hex};

/// How the entry begins, before the node's name.
const BEGINS: &str = "start of node ";
/// What stands before the kept policies. A program from before they were named reads the entry as it always did.
const KEPT: &str = "; policies: ";
/// What stands before the parts and their digests.
const IN_FORCE: &str = "; in force: ";
/// Characters of a part's digest that are told: 64 bits, which tell changes apart and name nothing.
const TOLD: usize = 16;
/// How the part of a policy is named, before its kind.
pub const POLICY: &str = "policy ";

/// Parts and their digests: `section delivery`, `policy care-home`, `routes`, `rules`.
pub type Parts = BTreeMap<String, String>;

/// The digest of a part that is told of what it says.
#[must_use]
pub fn digest(says: &str) -> String {
    let mut digest = sha256_hex(says.as_bytes());
    digest.truncate(TOLD);
    digest
}

/// A policy as the entry of a start names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// For whom.
    pub kind: RecipientKind,
    /// The version that it calls itself, as one word.
    version: String,
    /// From when on, to the microsecond.
    pub since: Timestamp,
    /// SHA-256 of its text as it is kept, hexadecimal.
    sha256: String,
}

impl Named {
    /// Of a kept text. One that an earlier program took for a policy and this one does not keeps its place without a version.
    #[must_use]
    pub fn of(kept: &PolicyInForce) -> Self {
        Self {
            kind: kept.kind,
            version: parsed(kept).map_or_else(|| "unread".to_owned(), |policy| one_word(&policy.version)),
            since: kept.since,
            sha256: sha256_hex(kept.text.as_bytes()),
        }
    }

    fn told(&self) -> String {
        let Self { kind, version, since, sha256 } = self;
        format!("{kind} {version} {since} {sha256}")
    }

    fn read(told: &str) -> Option<Self> {
        let mut words = told.split(' ');
        let [kind, version, since, sha256] = [words.next()?, words.next()?, words.next()?, words.next()?];
        let named = Self {
            kind: kind.parse().ok()?,
            version: version.to_owned(),
            since: since.parse().ok()?,
            sha256: sha256.to_owned(),
        };
        words.next().is_none().then_some(named)
    }
}

/// The policy that a text is; `None` where it is none, or for others.
fn parsed(kept: &PolicyInForce) -> Option<Policy> {
    let policy = Policy::parse(&format!("{POLICY}{}", kept.kind), &kept.text).ok()?;
    (policy.recipient == kept.kind).then_some(policy)
}

/// A version without what separates.
fn one_word(version: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    version
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// One start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The place of its entry.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// Of which node.
    pub node: String,
    /// What it put in force.
    pub parts: Parts,
    /// The kept policies that it names; `None` in an entry of a program that named none.
    pub kept: Option<Vec<Named>>,
}

impl Start {
    /// What the entry of a start says: on which node, what changed, which policies are kept, and all that is in force.
    #[must_use]
    pub fn told(node: &str, changed: &str, kept: &[Named], parts: &Parts) -> String {
        let kept: Vec<String> = kept.iter().map(Named::told).collect();
        let parts: Vec<String> = parts.iter().map(|(part, digest)| format!("{part} {digest}")).collect();
        format!("{BEGINS}{node}: {changed}{KEPT}{}{IN_FORCE}{}", kept.join(", "), parts.join(", "))
    }

    /// The parts that an entry tells, of what it says after its word; `None` for one that is about no start.
    pub(crate) fn says(said: &str) -> Option<Parts> {
        let (_, parts) = said.strip_prefix(BEGINS)?.split_once(IN_FORCE)?;
        let part = |part: &str| part.rsplit_once(' ').map(|(name, digest)| (name.to_owned(), digest.to_owned()));
        parts.split(", ").map(part).collect()
    }

    /// Of an entry of the gateway's own; `None` for one that is about no start.
    fn read(index: u64, at: Timestamp, event: &[u8]) -> Option<Self> {
        let said = said(event)?;
        let said = said.strip_prefix(AuditWord::Configure.as_str())?.strip_prefix(": ")?;
        let (node, rest) = said.strip_prefix(BEGINS)?.split_once(": ")?;
        let (changed, _) = rest.split_once(IN_FORCE)?;
        let kept = match changed.split_once(KEPT) {
            None => None,
            Some((_, "")) => Some(Vec::new()),
            Some((_, kept)) => Some(kept.split(", ").map(Named::read).collect::<Option<_>>()?),
        };
        Some(Self { index, at, node: node.to_owned(), parts: Self::says(said)?, kept })
    }

    /// Whether it put this text in force. A program that named none told 64 bits of what its policies say.
    fn put_in_force(&self, kept: &PolicyInForce) -> bool {
        let then = self.at.as_microsecond() == kept.since.as_microsecond();
        then && match &self.kept {
            Some(named) => {
                let sha256 = sha256_hex(kept.text.as_bytes());
                named.iter().any(|own| own.kind == kept.kind && own.since == kept.since && own.sha256 == sha256)
            }
            None => Policy::says(&kept.text)
                .is_some_and(|says| self.parts.get(&format!("{POLICY}{}", kept.kind)) == Some(&digest(&says))),
        }
    }
}

/// For whom a policy is kept, and since when.
type Row = (RecipientKind, Timestamp);

/// How begins what is said of a kept policy.
const OF_POLICY: &str = "the policy for ";

/// What the alarm says of a kept policy that no start knows. It is nothing about a person.
#[must_use]
pub fn planted(kept: &PolicyInForce) -> String {
    let PolicyInForce { kind, since, text } = kept;
    let sha256 = sha256_hex(text.as_bytes());
    format!(
        "{OF_POLICY}{kind} that is kept since {since} ({sha256}) was put in force by no start: it counts for nothing"
    )
}

/// Whether an alarm is about a kept policy.
pub(crate) fn is_about_policies(what: &str) -> bool {
    what.starts_with(OF_POLICY)
}

/// What an event says, its word in front.
fn said(event: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(event).ok()?;
    event["outcomeDesc"].as_str().map(str::to_owned)
}

/// What the kept policies came to.
#[derive(Debug, Default)]
struct Judged {
    /// Those that the start of their moment put in force.
    dated: Vec<Dated>,
    /// The same that an earlier program took for policies and this one does not, each in words. They are what the log says.
    unread: Vec<String>,
    /// What is not as the log says; without a row where the store cannot read one.
    misfits: Vec<(Option<Row>, Misfit)>,
}

/// The starts that the log tells.
#[derive(Debug, Default)]
pub struct Starts {
    /// In no order.
    pub all: Vec<Start>,
}

impl Starts {
    /// Reads them, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn of(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self::among(&configured::entries(store).await?))
    }

    /// Those that these entries tell, in their order.
    pub(crate) fn among(entries: &[FoundAudit]) -> Self {
        let is_own =
            |entry: &&FoundAudit| entry.agent.as_deref() == Some(Agent::GATEWAY) && entry.organisation.is_none();
        let own = entries.iter().filter(is_own);
        let read = own.filter_map(|entry| Start::read(entry.index, entry.recorded, entry.event.as_deref()?));
        Self { all: read.collect() }
    }

    /// Takes an entry of the log, where it is about a start.
    pub(crate) fn see(&mut self, stored: &StoredAudit) {
        let columns = &stored.columns;
        let own = columns.agent.as_deref() == Some(Agent::GATEWAY) && columns.organisation.is_none();
        if own && columns.word == AuditWord::Configure.as_str() {
            self.all.extend(stored.event().and_then(|event| Start::read(stored.index, columns.recorded, event)));
        }
    }

    /// Whether one of them names this policy.
    #[must_use]
    pub fn name(&self, policy: &Named) -> bool {
        self.named().any(|(_, named)| named == policy)
    }

    /// Whether one of them put this kept text in force. One that none did was put into the database by somebody else, also where a program
    /// before this one has named it: that named whatever it found.
    #[must_use]
    pub fn know(&self, kept: &PolicyInForce) -> bool {
        self.all.iter().any(|start| start.put_in_force(kept))
    }

    /// The first microsecond at or after `at` since which neither these texts are kept nor any that a start names: what comes into force
    /// then takes nothing's place.
    #[must_use]
    pub fn free_from(&self, at: Timestamp, kept: &[PolicyInForce]) -> Timestamp {
        let kept = kept.iter().map(|kept| kept.since.as_microsecond());
        let taken: BTreeSet<i64> = kept.chain(self.named().map(|(_, named)| named.since.as_microsecond())).collect();
        let mut free = at.as_microsecond();
        while taken.contains(&free) {
            free += 1;
        }
        Timestamp::from_microsecond(free).unwrap_or(at)
    }

    fn named(&self) -> impl Iterator<Item = (u64, &Named)> {
        self.all.iter().flat_map(|start| start.kept.iter().flatten().map(move |named| (start.index, named)))
    }

    /// The policies among these that the start of their moment put in force, and everything else: a text that none did, another than it
    /// was, and one that a start names and that is not there.
    fn judge(&self, kept: Vec<PolicyInForce>) -> Judged {
        let mut judged = Judged::default();
        let first = self.all.iter().map(|start| start.index).min().unwrap_or(0);
        let mut missing: BTreeMap<Row, BTreeSet<(u64, &str)>> = BTreeMap::new();
        for (index, named) in self.named() {
            missing.entry((named.kind, named.since)).or_default().insert((index, named.sha256.as_str()));
        }
        for kept in kept {
            let PolicyInForce { kind, since, .. } = kept;
            let named = missing.remove(&(kind, since)).unwrap_or_default();
            let what = format!("the policy for {kind} that is kept since {since}");
            if self.all.iter().any(|start| start.put_in_force(&kept)) {
                match parsed(&kept) {
                    Some(policy) => judged.dated.push(Dated { policy, since }),
                    None => {
                        let why = "and this program does not read it";
                        judged.unread.push(format!("the policy for {kind} is kept since {since}, {why}"));
                    }
                }
                continue;
            }
            let sha256 = sha256_hex(kept.text.as_bytes());
            let another = named.iter().find(|(_, own)| *own != sha256);
            let (index, why) = match (another, named.first()) {
                (Some((index, _)), _) => (*index, format!("{what} is not the one that entry {index} names")),
                (None, Some((index, _))) => (*index, format!("{what} is put in force by no start of its moment")),
                (None, None) => {
                    let why = "is none that a start put in force then: it was planted or changed in the store";
                    (first, format!("{what} {why}"))
                }
            };
            judged.misfits.push((Some((kind, since)), Misfit { index, why }));
        }
        judged.misfits.extend(missing.into_iter().filter_map(|((kind, since), named)| {
            let (index, _) = *named.first()?;
            let why = format!("the policy for {kind} since {since}, which entry {index} names, is not kept any more");
            Some((Some((kind, since)), Misfit { index, why }))
        }));
        judged.misfits.sort_by(|(_, one), (_, other)| (one.index, &one.why).cmp(&(other.index, &other.why)));
        judged
    }

    /// The first entry that the kept policies do not fit.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn misfit(&self, store: &dyn Store) -> Result<Option<Misfit>, StoreError> {
        let first = self.kept(store).await?.misfits.into_iter().next();
        Ok(first.map(|(_, Misfit { index, why })| Misfit { index, why: format!("entry {index}: {why}") }))
    }

    /// Holds the kept policies against these starts. A gateway may have started since these were read: what does not fit is looked at once
    /// more, and only what does not fit then either is told.
    async fn kept(&self, store: &dyn Store) -> Result<Judged, StoreError> {
        let before = self.read_and_judge(store).await?;
        if before.misfits.is_empty() {
            return Ok(before);
        }
        let mut now = Self::of(store).await?.read_and_judge(store).await?;
        now.misfits.retain(|(row, _)| before.misfits.iter().any(|(known, _)| known == row));
        Ok(now)
    }

    async fn read_and_judge(&self, store: &dyn Store) -> Result<Judged, StoreError> {
        match store.policies_in_force().await {
            Ok(kept) => Ok(self.judge(kept)),
            Err(StoreError::Corrupt(what)) => {
                let index = self.all.iter().map(|start| start.index).min().unwrap_or(0);
                let misfit = Misfit { index, why: format!("a kept policy is unreadable in the store: {what}") };
                Ok(Judged { misfits: vec![(None, misfit)], ..Judged::default() })
            }
            Err(error) => Err(error),
        }
    }
}

/// The policies that were in force, with from when on, as far as the log tells it, and what is wrong with the others.
///
/// # Errors
/// When the store cannot be read.
pub async fn policies_in_force(store: &dyn Store) -> Result<(Vec<Dated>, Vec<String>), StoreError> {
    let Judged { dated, unread, misfits } = Starts::of(store).await?.kept(store).await?;
    let faults: BTreeSet<String> = misfits.into_iter().map(|(_, misfit)| misfit.why).chain(unread).collect();
    Ok((dated, faults.into_iter().collect()))
}

#[cfg(test)]
mod tests;
