//! The checkpoints that a walk is held against. There are years of them: the store's own are read a page at a time, once for their
//! signatures before the walk, and again where the walk comes to them.

use onward_core::audit::StoredCheckpoint;
use onward_core::store::{Store, StoreError};
use onward_ledger::{Checkpoint, LogVerifier, NoteError, VerifyingKeys, with_cosignatures};

use super::Misfit;

/// Checkpoints read at once.
const PAGE: u32 = 1_000;

/// A stored checkpoint without a good signature, or whose cosignatures are not what they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsigned {
    /// The entries that it is stored as covering.
    pub size: u64,
    /// The most entries that it and those before it say that they cover: somebody may have cut the log back since.
    pub furthest: u64,
    /// What is wrong with it.
    pub error: NoteError,
}

/// Checkpoints with good signatures. Without any, a walk finds only what does not fit in itself.
#[derive(Debug, Clone, Default)]
pub struct Signed<'k> {
    /// Those that somebody else kept, and those that are stored in another one's place.
    kept: Vec<Checkpoint>,
    stored: Option<Stored<'k>>,
}

/// The store's own, as many as there are up to one of them.
#[derive(Debug, Clone, Copy)]
struct Stored<'k> {
    keys: &'k VerifyingKeys,
    until: u64,
    count: usize,
    /// The most entries that one of them covers.
    furthest: u64,
}

impl<'k> Signed<'k> {
    /// Checks the signatures of all checkpoints that are stored now; `each` hears every note with its cosignatures. What is stored later
    /// is not among them, so that the log covers them when it is walked after this.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn stored(
        store: &dyn Store,
        keys: &'k VerifyingKeys,
        mut each: impl FnMut(&str) -> Result<(), NoteError>,
    ) -> Result<Result<Self, Unsigned>, StoreError> {
        let Some(until) = store.latest_checkpoint().await?.map(|latest| latest.size) else {
            return Ok(Ok(Self::default()));
        };
        let mut stored = Stored { keys, until, count: 0, furthest: 0 };
        let (mut after, mut kept) = (None, Vec::new());
        while let Some(page) = stored.next(store, &mut after).await? {
            let sizes = page.first().zip(page.last()).map(|(first, last)| (first.size, last.size));
            let cosignatures = match sizes {
                Some((first, last)) => store.cosignatures(first, last).await?,
                None => Vec::new(),
            };
            for one in &page {
                // By size, as they come.
                let begin = cosignatures.partition_point(|kept| kept.size < one.size);
                let own = cosignatures[begin..].iter().take_while(|kept| kept.size == one.size);
                let note = with_cosignatures(&one.note, own.map(|kept| kept.line.as_str()));
                match keys.open(&note).and_then(|checkpoint| each(&note).map(|()| checkpoint)) {
                    Ok(checkpoint) if checkpoint.size == one.size => {
                        stored.furthest = one.size;
                        stored.count += 1;
                    }
                    Ok(elsewhere) => kept.push(elsewhere),
                    Err(error) => {
                        let before = kept.iter().map(|elsewhere: &Checkpoint| elsewhere.size).chain([stored.furthest]);
                        let furthest = before.fold(one.size, u64::max);
                        return Ok(Err(Unsigned { size: one.size, furthest, error }));
                    }
                }
            }
        }
        Ok(Ok(Self { kept, stored: Some(stored) }))
    }

    /// One more, that somebody else kept and whose signature was checked.
    pub fn keep(&mut self, checkpoint: Checkpoint) {
        self.kept.push(checkpoint);
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kept.len() + self.stored.map_or(0, |stored| stored.count)
    }

    /// The most entries that one of them covers.
    #[must_use]
    pub fn furthest(&self) -> u64 {
        let stored = self.stored.iter().map(|stored| stored.furthest);
        self.kept.iter().map(|kept| kept.size).chain(stored).max().unwrap_or(0)
    }

    /// A walk that must agree with them all, and what reads the stored ones for it.
    pub(super) fn begin(self) -> (LogVerifier, Ahead<'k>) {
        let verifier = LogVerifier::new(self.kept).with_more_until(self.stored.map_or(0, |stored| stored.furthest));
        (verifier, Ahead { stored: self.stored, after: None, read: 0 })
    }
}

impl Stored<'_> {
    /// The page after a size, which becomes that of its last; none when these were all.
    async fn next(
        self,
        store: &dyn Store,
        after: &mut Option<u64>,
    ) -> Result<Option<Vec<StoredCheckpoint>>, StoreError> {
        if *after >= Some(self.until) {
            return Ok(None);
        }
        let mut page = store.checkpoints(*after, PAGE).await?;
        page.retain(|one| one.size <= self.until);
        let Some(last) = page.last() else { return Ok(None) };
        *after = Some(last.size);
        Ok(Some(page))
    }
}

/// The stored checkpoints, read as far as a walk has come.
pub(super) struct Ahead<'k> {
    stored: Option<Stored<'k>>,
    after: Option<u64>,
    read: usize,
}

impl Ahead<'_> {
    /// Gives the walk all checkpoints of up to so many entries. The signatures are checked again: nobody knows what has become of them.
    pub(super) async fn give(
        &mut self,
        store: &dyn Store,
        verifier: &mut LogVerifier,
        until: u64,
    ) -> Result<Result<(), Misfit>, StoreError> {
        let Some(stored) = self.stored else { return Ok(Ok(())) };
        while self.after.is_none_or(|last| last < until) {
            let Some(page) = stored.next(store, &mut self.after).await? else { break };
            let mut opened = Vec::with_capacity(page.len());
            for one in &page {
                match stored.keys.open(&one.note) {
                    Ok(checkpoint) if checkpoint.size == one.size => opened.push(checkpoint),
                    // It is among those that were kept.
                    Ok(_) => {}
                    Err(error) => {
                        return Ok(Err(Unsigned { size: one.size, furthest: one.size, error }.into()));
                    }
                }
            }
            self.read += opened.len();
            verifier.add(opened);
        }
        Ok(Ok(()))
    }

    /// Whether the walk has had every one whose signature was checked before it.
    pub(super) fn misfit(&self) -> Option<Misfit> {
        (self.read != self.stored.map_or(0, |stored| stored.count)).then(|| Misfit {
            index: 0,
            why: "the stored checkpoints were changed while the log was compared with them".to_owned(),
        })
    }
}

impl From<Unsigned> for Misfit {
    fn from(Unsigned { size, error, .. }: Unsigned) -> Self {
        Self { index: size.saturating_sub(1), why: format!("the stored checkpoint of {size} entries: {error}") }
    }
}
