//! The audit log recomputed from what is stored: the same walk for the command and for the page.

mod signed;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use onward_core::Timestamp;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::store::{AuditHeader, Store, StoreError, StoredAudit};
use onward_ledger::{FirstMismatch, StoredEntry, Verified};

use crate::configured::Configured;
use crate::journal::columns_fit;
use crate::sightings::VERIFYING;
use crate::{contents, erasing, sent};

pub use signed::{Signed, Unsigned};

/// How a verification's entry begins.
pub(crate) const VERIFIED: &str = "audit log verified: ";

/// What it says of a log that does not fit, before the place.
pub(crate) const BROKEN: &str = "broken at entry ";
/// What it says where a witness that was asked knows another log.
pub const ANOTHER_LOG: &str = "a witness has seen another log";

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

/// The entry of a verification that came to this, which [`crate::Gateway::last_verification`] finds. `signed`: a checkpoint could be
/// checked. What is not whole is told without a person's data.
#[must_use]
pub fn entry(agent: Agent, at: Timestamp, outcome: Result<&Verified, &str>, signed: bool) -> AuditEntry {
    let detail = match outcome {
        Ok(verified) if !signed => {
            format!("{VERIFIED}whole in itself, {} entries, but no checkpoint was checked", verified.size)
        }
        Ok(verified) => format!("{VERIFIED}whole, {} entries, {} under a checkpoint", verified.size, verified.covered),
        Err(what) => format!("{VERIFIED}{what}"),
    };
    AuditEntry {
        success: outcome.is_ok(),
        query: Some(VERIFYING.to_owned()),
        ..AuditEntry::new(AuditWord::Query, at, agent, detail)
    }
}

/// Said of a verification that leaves no entry, after what is wrong.
pub const NOT_KEPT_IN_A_CUT: &str =
    "; this verification is not kept as an entry, because it would stand where entries are missing and hide that";

/// Whether a log of `held` entries was cut back behind a checkpoint of `known` ones. Nothing must be added to such a log: a new entry
/// would take the place of a missing one.
#[must_use]
pub fn is_cut_back(known: u64, held: u64) -> bool {
    held < known
}

impl Misfit {
    /// What an entry says of it.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{BROKEN}{}", self.index)
    }
}

/// Walks the whole log against these checkpoints. `progress` hears how many entries fit
/// so far. Beside what was walked it gives how many entries were erased.
///
/// # Errors
/// When the store cannot be read. An entry that it cannot read back is a misfit.
pub async fn walk(
    store: &dyn Store,
    checkpoints: Signed<'_>,
    mut progress: impl FnMut(u64),
) -> Result<Result<(Verified, u64), Misfit>, StoreError> {
    let (mut verifier, mut ahead) = checkpoints.begin();
    let (mut next, mut limit) = (0, PAGE);
    let mut erased = Erased::default();
    let mut lists = HashSet::new();
    let mut configured = Configured::default();
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
        if let Err(misfit) = ahead.give(store, &mut verifier, next + page.len() as u64).await? {
            return Ok(Err(misfit));
        }
        for entry in &page {
            let pushed = match entry.entry.as_deref() {
                Some(bytes) => verifier.push(&StoredEntry { index: entry.index, entry: bytes, leaf_hash: entry.leaf }),
                None => verifier.push_erased(entry.index, entry.leaf),
            };
            if let Err(mismatch) = pushed {
                return Ok(Err(mismatch.into()));
            }
            erased.see(entry);
            configured.see(entry);
            if !columns_fit(entry) {
                let index = entry.index;
                let why = format!("entry {index}: the columns that it is found by do not say what it says");
                return Ok(Err(Misfit { index, why }));
            }
        }
        if let Some(misfit) = unlisted(store, &page, &mut lists).await? {
            return Ok(Err(misfit));
        }
        next = page.last().map_or(next, |last| last.index + 1);
        progress(next);
        if page.len() < limit as usize {
            let whole = verifier.finish().map_err(Misfit::from);
            if let (Ok(_), Some(misfit)) = (&whole, ahead.misfit()) {
                return Ok(Err(misfit));
            }
            if let (Ok(_), Some(index)) = (&whole, store.misfiled_audit().await?) {
                let why = format!("entry {index}: it is filed under other organisations than those it belongs to");
                return Ok(Err(Misfit { index, why }));
            }
            let whole = whole.and_then(|verified| erased.explained().map(|count| (verified, count)));
            if whole.is_err() {
                return Ok(whole);
            }
            return Ok(configured.misfit(store).await?.map_or(whole, Err));
        }
    }
}

/// The first entry of a page whose list of what was sent is not there or is another one. `seen` are those that fitted before.
async fn unlisted(
    store: &dyn Store,
    page: &[StoredAudit],
    seen: &mut HashSet<[u8; 32]>,
) -> Result<Option<Misfit>, StoreError> {
    let discloses = |entry: &&StoredAudit| sent::WORDS.iter().any(|word| entry.columns.word == word.as_str());
    let named = |entry: &StoredAudit| {
        let event = serde_json::from_slice(entry.event()?).ok()?;
        Some((contents::named_by(&event)?, entry.index))
    };
    let mut named: Vec<_> = page.iter().filter(discloses).filter_map(named).collect();
    named.retain(|(digest, _)| !seen.contains(digest));
    let digests: BTreeSet<[u8; 32]> = named.iter().map(|(digest, _)| *digest).collect();
    let stored = store.contents(&digests.into_iter().collect::<Vec<_>>()).await?;
    seen.extend(stored.iter().filter(|list| contents::fits(list)).map(|list| list.sha256));
    let first = named.iter().find(|(digest, _)| !seen.contains(digest));
    Ok(first.map(|(_, index)| Misfit {
        index: *index,
        why: format!("entry {index}: the list of what was sent is not in the store as the entry names it"),
    }))
}

/// Entries whose content cannot be read any more, and the erasures that the log has for them: whoever destroyed a key in the
/// store would else hide what the entries said.
#[derive(Default)]
struct Erased {
    count: u64,
    /// The first entry under each destroyed key.
    first: BTreeMap<String, u64>,
    explained: BTreeSet<String>,
}

impl Erased {
    fn see(&mut self, entry: &StoredAudit) {
        match entry.event() {
            Some(event) if entry.columns.word == AuditWord::Erase.as_str() => {
                self.explained.extend(erased_keys(event));
            }
            Some(_) => {}
            None => {
                self.count += 1;
                let header = entry.entry.as_deref().map(serde_json::from_slice::<AuditHeader>);
                if let Some(Ok(header)) = header {
                    self.first.entry(header.key).or_insert(entry.index);
                }
            }
        }
    }

    fn explained(self) -> Result<u64, Misfit> {
        let unexplained = self.first.iter().filter(|(key, _)| !self.explained.contains(*key)).map(|(_, first)| *first);
        match unexplained.min() {
            None => Ok(self.count),
            Some(index) => {
                let why =
                    format!("entry {index}: its key was destroyed, and the log has no erasure that names the key");
                Err(Misfit { index, why })
            }
        }
    }
}

/// The keys that an erasure's entry names. Of the entries with this word only those of what was done end with keys and nothing else; what
/// somebody wrote into a request, or as a name, explains nothing.
fn erased_keys(event: &[u8]) -> Vec<String> {
    let event: serde_json::Value = serde_json::from_slice(event).unwrap_or_default();
    let said = event["outcomeDesc"].as_str().filter(|_| event["outcome"] == "0").unwrap_or_default();
    let done = said.strip_prefix("erase: ").and_then(erasing::done_in);
    let keys = done.and_then(|text| text.rsplit_once("; keys: "));
    let keys: Vec<&str> = keys.into_iter().flat_map(|(_, keys)| keys.split_whitespace()).collect();
    let all_are = keys.iter().all(|key| key.parse::<uuid::Uuid>().is_ok());
    keys.into_iter().filter(|_| all_are).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use onward_core::store::{ErasureGround, ErasureRequest, PendingErasure};

    use super::*;

    fn keys_in(outcome: &str, told: &str) -> Vec<String> {
        erased_keys(
            serde_json::json!({"outcome": outcome, "outcomeDesc": format!("erase: {told}")}).to_string().as_bytes(),
        )
    }

    #[test]
    fn only_a_done_erasure_explains_a_missing_key() {
        let [one, two] = ["0b7c4d1e-5a52-4b0a-8f6e-1d2c3b4a5968", "1b7c4d1e-5a52-4b0a-8f6e-1d2c3b4a5968"];
        let words = &format!("as asked: everything about 1 people; keys: {one} ");
        let request = ErasureRequest {
            id: uuid::Uuid::new_v4(),
            ground: ErasureGround::LegalObligation,
            reason: words.clone(),
            by: words.clone(),
            at: onward_core::Timestamp::UNIX_EPOCH,
        };
        for told in [
            erasing::request_told(&request),
            erasing::not_confirmed(request.id, words, words),
            erasing::refused(request.id, words, words),
            format!("of person p, requested by a; keys: {one}"),
            format!("retention plan {} by {words}: decisions that were over before today", request.id),
        ] {
            assert!(keys_in("0", &told).is_empty(), "{told}");
        }
        let pending =
            PendingErasure { request, pseudonym: "p".to_owned(), keys: vec![one.into(), two.into()], lapsed: None };
        let done = erasing::erased(&pending, None, words);
        assert_eq!(keys_in("0", &done), [one, two]);
        let retained =
            format!("retention plan {} by {words}: everything about 1 people; keys: {two}", uuid::Uuid::new_v4());
        assert_eq!(keys_in("0", &retained), [two]);
        assert!(keys_in("4", &done).is_empty(), "what failed destroyed nothing");
    }
}
