//! Others vouch for the audit log: every new checkpoint goes to the configured witnesses, whose cosignatures are kept, and
//! from time to time to the places of the operator's choice.
//!
//! A witness that has seen more, or something else, than the log now holds is the one sign of a log that was cut back or
//! replaced: that is an alarm, in the process log, in `/metrics` and as an entry of the log itself.

mod places;
pub mod witness;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onward_connect::http::{HttpClient, HttpFault};
use onward_connect::witness::{WitnessAnswer, add_checkpoint};
use onward_core::audit::{Agent, AuditEntry, AuditWord, StoredCheckpoint};
use onward_core::store::evidence::StoredCosignature;
use onward_core::store::{Store, StoreError};
use onward_core::{Clock, Timestamp};
use onward_gateway::Gateway;
use onward_ledger::{Hash, Submission, Tree, VerifyingKeys, WitnessKey, consistency_from_edge, with_cosignatures};
use tokio::sync::watch;
use url::Url;

use crate::config::Config;
use places::Places;

/// Entries read at once.
const PAGE: u32 = 1_000;
/// A witness that others submit to as well may say a few times that it has seen more by now.
const TRIES: u32 = 4;

/// Who vouches, and how that stands.
pub struct Witnessing {
    http: HttpClient,
    witnesses: Vec<Named>,
    places: Places,
    standing: Mutex<BTreeMap<String, Standing>>,
}

/// One witness.
struct Named {
    url: Url,
    key: WitnessKey,
}

/// How one witness stands to the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Entries of the largest checkpoint that it has cosigned.
    pub entries: u64,
    /// When.
    pub at: Option<Timestamp>,
    /// Why it did not cosign the newest checkpoint.
    pub fault: Option<String>,
    /// It has seen another history.
    pub mismatch: bool,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Cosigned; the number of entries.
    Cosigned(u64),
    /// The witness has seen another history.
    Mismatch {
        /// The number of entries that it has seen.
        seen: u64,
        /// How it differs.
        how: String,
    },
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoVerdict {
    /// Not reached.
    #[error(transparent)]
    Http(#[from] HttpFault),
    /// Our own store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It answers, but not with a cosignature of its own.
    #[error("{0}")]
    Answer(String),
}

impl Witnessing {
    /// As configured.
    pub fn new(config: &Config, http: HttpClient) -> Self {
        let named = |witness: &crate::config::Witness| Named { url: witness.url.clone(), key: witness.key.clone() };
        let witnesses: Vec<_> = config.audit.witness.iter().map(named).collect();
        let standing = witnesses.iter().map(|own| (own.key.name().to_owned(), Standing::default())).collect();
        Self { places: Places::new(config, http.clone()), http, witnesses, standing: Mutex::new(standing) }
    }

    /// How each witness stands, by name.
    ///
    /// # Panics
    /// Never: nobody panics while holding the lock.
    pub fn standing(&self) -> BTreeMap<String, Standing> {
        self.standing.lock().expect("nobody panics while holding it").clone()
    }

    /// Entries of the newest checkpoint that was taken by each place, by its kind.
    pub fn shipped(&self) -> Vec<(&'static str, u64)> {
        self.places.shipped()
    }

    /// Submits and ships until `stop` turns true.
    pub async fn until(
        self: Arc<Self>,
        gateway: Arc<Gateway>,
        log: VerifyingKeys,
        every: Duration,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut trees = vec![Tree::new(); self.witnesses.len()];
        // What is here may have been put back since: the witness is asked once even where all is cosigned.
        let mut first = true;
        if let Err(error) = self.remember(gateway.store().as_ref(), &mut trees).await {
            tracing::error!(%error, "what witnesses have cosigned cannot be read; they are asked anew");
        }
        loop {
            let ending = *stop.borrow();
            for (witness, tree) in self.witnesses.iter().zip(&mut trees) {
                self.round(&gateway, &log, witness, tree, first).await;
            }
            first = false;
            self.places.round(gateway.as_ref(), ending).await;
            if ending {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Takes up what the witnesses had cosigned before this process started.
    async fn remember(&self, store: &dyn Store, trees: &mut [Tree]) -> Result<(), StoreError> {
        for kept in store.latest_cosignatures().await? {
            let found = self.witnesses.iter().zip(trees.iter_mut()).find(|(own, _)| own.key.name() == kept.witness);
            let Some((_, tree)) = found else { continue };
            for leaf in leaves(store, 0, kept.size).await? {
                tree.push(leaf);
            }
            self.note(&kept.witness, |standing| (standing.entries, standing.at) = (kept.size, Some(kept.at)));
        }
        Ok(())
    }

    /// Submits the newest checkpoint to one witness unless that has cosigned it, and raises the alarm where it must be.
    async fn round(&self, gateway: &Gateway, log: &VerifyingKeys, witness: &Named, tree: &mut Tree, ask: bool) {
        let store = gateway.store().as_ref();
        let name = witness.key.name();
        let before = self.standing().remove(name).unwrap_or_default();
        let newest = match store.latest_checkpoint().await {
            Ok(Some(newest)) => newest,
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "no checkpoint can be read"),
        };
        if !ask && before.at.is_some() && newest.size == before.entries && before.fault.is_none() && !before.mismatch {
            return;
        }
        let verdict = self.submit(store, gateway.clock().as_ref(), log, witness, tree).await;
        match verdict {
            Ok(Verdict::Cosigned(entries)) => {
                if before.mismatch || before.fault.is_some() {
                    tracing::info!(witness = name, entries, "a witness cosigns again");
                }
                let at = Some(gateway.clock().now());
                self.note(name, |standing| *standing = Standing { entries, at, fault: None, mismatch: false });
            }
            Ok(Verdict::Mismatch { how, .. }) => {
                let first = !before.mismatch;
                self.note(name, |standing| (standing.mismatch, standing.fault) = (true, Some(how.clone())));
                if first {
                    self.raise(gateway, name, &how).await;
                }
            }
            Err(error) => {
                let told = error.to_string();
                if before.fault.as_ref() != Some(&told) {
                    tracing::error!(witness = name, fault = told, "a witness does not cosign");
                }
                self.note(name, |standing| standing.fault = Some(told));
            }
        }
    }

    /// The newest checkpoint to one witness. `tree` is the log as far as that witness has seen it, and grows with it.
    async fn submit(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        log: &VerifyingKeys,
        witness: &Named,
        tree: &mut Tree,
    ) -> Result<Verdict, NoVerdict> {
        let mut asked_size = None;
        for _ in 0..TRIES {
            // Read after every answer: another gateway on this store may have signed and submitted meanwhile.
            let Some(newest) = store.latest_checkpoint().await? else {
                return Err(NoVerdict::Answer("there is no checkpoint yet".to_owned()));
            };
            if let Some(seen) = asked_size.take() {
                if seen > newest.size {
                    let ours = newest.size;
                    let how = format!(
                        "it has seen {seen} entries, but the newest checkpoint here has {ours}: the log was cut back"
                    );
                    return Ok(Verdict::Mismatch { seen, how });
                }
                if seen == tree.size() {
                    return Ok(Verdict::Mismatch { seen, how: format!("it has seen another root for {seen} entries") });
                }
                *tree = Tree::new();
                for leaf in leaves(store, 0, seen).await? {
                    tree.push(leaf);
                }
            }
            if tree.size() > newest.size {
                *tree = Tree::new();
            }
            let newer = leaves(store, tree.size(), newest.size).await?;
            let proof = consistency_from_edge(tree, &newer);
            let submission = Submission { old: tree.size(), proof, note: newest.note.clone() };
            match add_checkpoint(&self.http, &witness.url, submission.to_text()).await? {
                WitnessAnswer::Cosigned(lines) => {
                    let kept = checked(log, &witness.key, &newest, &lines, clock.now())?;
                    store.put_cosignature(kept).await?;
                    for leaf in newer {
                        tree.push(leaf);
                    }
                    return Ok(Verdict::Cosigned(newest.size));
                }
                WitnessAnswer::Seen(size) => asked_size = Some(size),
                WitnessAnswer::Inconsistent => {
                    let (old, new) = (submission.old, newest.size);
                    let how = format!(
                        "the {new} entries here do not begin with the {old} that it has seen: the log was rewritten"
                    );
                    return Ok(Verdict::Mismatch { seen: old, how });
                }
                WitnessAnswer::Refused(status) => {
                    return Err(NoVerdict::Answer(format!(
                        "it answers with status {status}: does it know this log's key?"
                    )));
                }
            }
        }
        Err(NoVerdict::Answer("it saw further checkpoints faster than one could be submitted".to_owned()))
    }

    /// Asks every witness about the newest checkpoint, once.
    pub(crate) async fn ask(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        log: &VerifyingKeys,
    ) -> Vec<(String, Result<Verdict, NoVerdict>)> {
        let mut told = Vec::new();
        for witness in &self.witnesses {
            let verdict = self.submit(store, clock, log, witness, &mut Tree::new()).await;
            told.push((witness.key.name().to_owned(), verdict));
        }
        told
    }

    async fn raise(&self, gateway: &Gateway, name: &str, how: &str) {
        tracing::error!(witness = name, how, "ALARM: a witness has seen another history of the audit log");
        let detail = format!("witness {name}: {how}");
        let entry = AuditEntry {
            success: false,
            concerns: Some(gateway.settings().own_ods.clone()),
            ..AuditEntry::new(AuditWord::Alarm, gateway.clock().now(), Agent::gateway(), detail)
        };
        if let Err(error) = gateway.store().audit(vec![gateway.journal().row(&entry)]).await {
            tracing::error!(%error, "the alarm could not be written into the log");
        }
    }

    fn note(&self, name: &str, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.standing.lock().expect("nobody panics while holding it");
        change(standing.entry(name.to_owned()).or_default());
    }
}

/// A witness's answer as it is kept, once it is its own, about this checkpoint.
fn checked(
    log: &VerifyingKeys,
    witness: &WitnessKey,
    newest: &StoredCheckpoint,
    lines: &str,
    at: Timestamp,
) -> Result<StoredCosignature, NoVerdict> {
    let wrong = |error: String| NoVerdict::Answer(format!("its answer is no cosignature of its key: {error}"));
    let own = lines.split_inclusive('\n').find(|line| {
        let whole = with_cosignatures(&newest.note, [*line]);
        matches!(witness.open(&whole), Ok(Some(_)))
    });
    let line = own.ok_or_else(|| wrong("no line fits".to_owned()))?;
    let whole = with_cosignatures(&newest.note, [line]);
    log.open(&whole).map_err(|error| wrong(error.to_string()))?;
    Ok(StoredCosignature { size: newest.size, witness: witness.name().to_owned(), line: line.to_owned(), at })
}

/// The leaf hashes of the entries from `from` up to `to`; fewer where the log is shorter.
async fn leaves(store: &dyn Store, from: u64, to: u64) -> Result<Vec<Hash>, StoreError> {
    let mut found = Vec::new();
    loop {
        let next = from + found.len() as u64;
        if next >= to {
            return Ok(found);
        }
        let page = store.audit_entries(next, PAGE).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page.iter().take_while(|entry| entry.index < to).map(|entry| entry.leaf));
    }
}

/// The newest checkpoint with what witnesses have said about it.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn newest_note(store: &dyn Store) -> Result<Option<(u64, String)>, StoreError> {
    let Some(newest) = store.latest_checkpoint().await? else { return Ok(None) };
    let cosignatures = store.latest_cosignatures().await?;
    let lines = cosignatures.iter().filter(|kept| kept.size == newest.size).map(|kept| kept.line.as_str());
    Ok(Some((newest.size, with_cosignatures(&newest.note, lines))))
}
