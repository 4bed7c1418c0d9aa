//! The walk over a stored log: every entry against its stored leaf hash, every prefix against the checkpoints, and the
//! name of the first entry that does not fit.

use std::fmt;

use crate::checkpoint::Checkpoint;
use crate::hash::{Hash, leaf_hash};
use crate::tree::Tree;

/// What a verified log still cannot show, in the words for an operator.
pub const WITHOUT_A_WITNESS: &str = "Entries after the last checkpoint, and a log cut back together with its checkpoints, \
     cannot be told from a shorter log: only a checkpoint kept by somebody else (a witness) shows such a cut.";

/// One row of the log as stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredEntry<B> {
    /// The entry's index as stored, from 0.
    pub index: u64,
    /// The entry's bytes.
    pub entry: B,
    /// The leaf hash that was stored beside the entry.
    pub leaf_hash: Hash,
}

/// What the walk found to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The number of entries walked.
    pub size: u64,
    /// The root of the tree of all entries walked.
    pub root: Hash,
    /// The number of entries under the largest checkpoint. The others agree with their own leaf hashes only.
    pub covered: u64,
}

/// The first entry that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {index}: {mismatch}")]
pub struct FirstMismatch {
    /// The index of the first entry that is, or may be, wrong. Every entry before it has the leaf hash stored beside it,
    /// and is what was signed as far as the last checkpoint before this index reaches.
    pub index: u64,
    /// How it does not fit.
    pub mismatch: Mismatch,
}

/// How an entry does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The entry's bytes no longer have the stored leaf hash: the entry or the hash was altered.
    #[error("its bytes do not have the stored leaf hash")]
    Altered,
    /// Another entry stands in its place: it was removed or the order was changed.
    #[error("entry {found} stands in its place")]
    OutOfPlace {
        /// The index of the entry found instead.
        found: u64,
    },
    /// The log ends before an entry that a checkpoint covers.
    #[error("the log ends here, but a checkpoint covers {covered} entries")]
    CutOff {
        /// The number of entries that the checkpoint covers.
        covered: u64,
    },
    /// Entries and leaf hashes agree with each other, but not with a checkpoint: both were rewritten, somewhere from
    /// this index on and before the checkpoint's size. More checkpoints narrow the place down.
    #[error("it, or one before entry {covered}, was rewritten together with its leaf hash")]
    Rewritten {
        /// The number of entries that the checkpoint covers.
        covered: u64,
    },
}

/// The walk, one row at a time, so that a log larger than memory can be read in pages.
#[derive(Debug, Clone)]
pub struct LogVerifier {
    /// The smallest last, so that the next one is taken from the end.
    waiting: Vec<Checkpoint>,
    tree: Tree,
    agreed: u64,
    covered: u64,
}

impl LogVerifier {
    /// Starts a walk that must agree with all these checkpoints, in any order. Their signatures were checked by
    /// [`crate::VerifyingKey::open`]; those kept by a witness belong among them. Several of them narrow down where a
    /// rewritten log first differs.
    pub fn new(checkpoints: impl IntoIterator<Item = Checkpoint>) -> Self {
        let mut walk = Self { waiting: Vec::new(), tree: Tree::new(), agreed: 0, covered: 0 };
        walk.add(checkpoints);
        walk
    }

    /// More checkpoints come while the walk goes on, the largest of `covered` entries: until the log has as many, it does not end well.
    #[must_use]
    pub fn with_more_until(mut self, covered: u64) -> Self {
        self.covered = self.covered.max(covered);
        self
    }

    /// Takes further checkpoints, in any order. One of fewer entries than were walked comes too late: the walk does not end well.
    pub fn add(&mut self, checkpoints: impl IntoIterator<Item = Checkpoint>) {
        self.waiting.extend(checkpoints);
        self.waiting.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.size));
        self.covered = self.waiting.first().map_or(self.covered, |largest| self.covered.max(largest.size));
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// When this entry does not fit, or with it the log no longer agrees with a checkpoint. The walk ends there.
    pub fn push<B: AsRef<[u8]>>(&mut self, stored: &StoredEntry<B>) -> Result<(), FirstMismatch> {
        self.next(stored.index, stored.leaf_hash, Some(stored.entry.as_ref()))
    }

    /// Takes the next row of which only the leaf hash is left: the entry was erased. It is what was signed when a later
    /// checkpoint agrees.
    ///
    /// # Errors
    /// As [`LogVerifier::push`].
    pub fn push_erased(&mut self, index: u64, leaf: Hash) -> Result<(), FirstMismatch> {
        self.next(index, leaf, None)
    }

    fn next(&mut self, found: u64, leaf: Hash, entry: Option<&[u8]>) -> Result<(), FirstMismatch> {
        // A checkpoint of the empty log is due before the first entry.
        self.compare_with_checkpoints()?;
        let index = self.tree.size();
        if found != index {
            return Err(FirstMismatch { index, mismatch: Mismatch::OutOfPlace { found } });
        }
        if entry.is_some_and(|entry| leaf_hash(entry) != leaf) {
            return Err(FirstMismatch { index, mismatch: Mismatch::Altered });
        }
        self.tree.push(leaf);
        self.compare_with_checkpoints()
    }

    /// Ends the walk: the log has no more rows.
    ///
    /// # Errors
    /// When a checkpoint covers entries that were not there, or is of the empty log and wrong.
    pub fn finish(mut self) -> Result<Verified, FirstMismatch> {
        self.compare_with_checkpoints()?;
        let size = self.tree.size();
        if self.waiting.is_empty() && self.covered <= size {
            Ok(Verified { size, root: self.tree.root(), covered: self.covered })
        } else {
            Err(FirstMismatch { index: size, mismatch: Mismatch::CutOff { covered: self.covered } })
        }
    }

    fn compare_with_checkpoints(&mut self) -> Result<(), FirstMismatch> {
        let size = self.tree.size();
        while self.waiting.last().is_some_and(|next| next.size == size) {
            let due = self.waiting.pop().expect("the loop's condition saw a checkpoint");
            if due.root != self.tree.root() {
                return Err(FirstMismatch { index: self.agreed, mismatch: Mismatch::Rewritten { covered: size } });
            }
            self.agreed = size;
        }
        Ok(())
    }
}

/// Walks a whole log; see [`LogVerifier`].
///
/// # Errors
/// The first entry that does not fit.
pub fn verify_log<B: AsRef<[u8]>>(
    entries: impl IntoIterator<Item = StoredEntry<B>>,
    checkpoints: impl IntoIterator<Item = Checkpoint>,
) -> Result<Verified, FirstMismatch> {
    let mut walk = LogVerifier::new(checkpoints);
    for stored in entries {
        walk.push(&stored)?;
    }
    walk.finish()
}

impl fmt::Display for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, covered, .. } = self;
        write!(formatter, "{size} entries fit, {covered} of them under a signed checkpoint. {WITHOUT_A_WITNESS}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node_hash;

    type Row = StoredEntry<Vec<u8>>;

    fn log(count: u64) -> Vec<Row> {
        (0..count)
            .map(|index| {
                let entry = format!("entry {index}").into_bytes();
                StoredEntry { index, leaf_hash: leaf_hash(&entry), entry }
            })
            .collect()
    }

    fn checkpoint(log: &[Row]) -> Checkpoint {
        let mut tree = Tree::new();
        for row in log {
            tree.push(row.leaf_hash);
        }
        Checkpoint::of_tree("onward.example/audit", &tree).unwrap()
    }

    fn renumber(log: &mut [Row]) {
        for (index, row) in log.iter_mut().enumerate() {
            row.index = index as u64;
        }
    }

    #[test]
    fn a_whole_log_fits_and_says_what_it_cannot_show() {
        let rows = log(300);
        let verified = verify_log(rows.clone(), [checkpoint(&rows[..0]), checkpoint(&rows[..256])]).unwrap();
        assert_eq!(verified, Verified { size: 300, root: checkpoint(&rows).root, covered: 256 });
        let said = verified.to_string();
        assert!(said.starts_with("300 entries fit, 256 of them under a signed checkpoint."));
        assert!(said.contains("witness"));
        assert_eq!(verify_log(log(0), []).unwrap().size, 0);
    }

    #[test]
    fn a_cut_after_the_last_checkpoint_is_not_seen_and_a_witness_shows_it() {
        let rows = log(20);
        let signed = checkpoint(&rows[..10]);
        let witnessed = checkpoint(&rows[..15]);
        let cut = &rows[..12];
        assert_eq!(verify_log(cut.to_vec(), [signed.clone()]).unwrap().size, 12);
        assert_eq!(
            verify_log(cut.to_vec(), [signed, witnessed]),
            Err(FirstMismatch { index: 12, mismatch: Mismatch::CutOff { covered: 15 } })
        );
    }

    #[test]
    fn several_checkpoints_narrow_down_where_a_rewritten_log_differs() {
        let rows = log(100);
        let checkpoints: Vec<_> = (0..=10).map(|tens| checkpoint(&rows[..tens * 10])).collect();
        let mut rewritten = rows.clone();
        rewritten[47].entry = b"another".to_vec();
        rewritten[47].leaf_hash = leaf_hash(b"another");
        let found = verify_log(rewritten.clone(), checkpoints).unwrap_err();
        assert_eq!(found, FirstMismatch { index: 40, mismatch: Mismatch::Rewritten { covered: 50 } });
        let found = verify_log(rewritten, [checkpoint(&rows)]).unwrap_err();
        assert_eq!(found, FirstMismatch { index: 0, mismatch: Mismatch::Rewritten { covered: 100 } });
        assert_eq!(
            found.to_string(),
            "entry 0: it, or one before entry 100, was rewritten together with its leaf hash"
        );
    }

    #[test]
    fn checkpoints_that_come_in_parts_find_what_they_find_at_once() {
        let rows = log(100);
        let checkpoints: Vec<_> = (0..=10).map(|tens| checkpoint(&rows[..tens * 10])).collect();
        let mut rewritten = rows.clone();
        rewritten[47].entry = b"another".to_vec();
        rewritten[47].leaf_hash = leaf_hash(b"another");
        for held in [&rows[..], &rewritten[..], &rows[..95], &rows[..90]] {
            let in_parts = || {
                let (mut walk, mut more) = (LogVerifier::new([]).with_more_until(100), checkpoints.iter());
                for row in held {
                    if row.index % 10 == 0 {
                        walk.add(more.next().cloned());
                    }
                    walk.push(row)?;
                }
                walk.add(more.cloned());
                walk.finish()
            };
            assert_eq!(in_parts(), verify_log(held.to_vec(), checkpoints.clone()), "{} of them", held.len());
        }
        let mut late = LogVerifier::new([]);
        rows.iter().try_for_each(|row| late.push(row)).expect("fits");
        late.add([checkpoints[3].clone()]);
        assert!(late.finish().is_err(), "it agrees with nothing any more");
        let cut = LogVerifier::new([]).with_more_until(7).finish();
        assert_eq!(cut, Err(FirstMismatch { index: 0, mismatch: Mismatch::CutOff { covered: 7 } }));
    }

    #[test]
    fn an_erased_row_stands_by_its_leaf_and_a_false_leaf_is_found() {
        let rows = log(20);
        for (change, whole) in [(0, true), (1, false)] {
            let mut walk = LogVerifier::new([checkpoint(&rows[..10]), checkpoint(&rows)]);
            let mut leaf = rows[13].leaf_hash;
            leaf[0] ^= change;
            let found = rows.iter().try_for_each(|row| match row.index {
                13 => walk.push_erased(13, leaf),
                _ => walk.push(row),
            });
            let found = found.and_then(|()| walk.finish());
            assert_eq!(found.is_ok(), whole, "{found:?}");
            let rewritten = FirstMismatch { index: 10, mismatch: Mismatch::Rewritten { covered: 20 } };
            assert!(whole || found == Err(rewritten));
        }
    }

    #[test]
    fn two_signed_histories_of_one_size_never_both_fit() {
        let rows = log(8);
        let mut split = checkpoint(&rows);
        split.root = node_hash(&split.root, &split.root);
        for checkpoints in [[checkpoint(&rows), split.clone()], [split.clone(), checkpoint(&rows)]] {
            assert!(verify_log(rows.clone(), checkpoints).is_err());
        }
        split.size = 0;
        let found = verify_log(rows, [split]).unwrap_err();
        assert_eq!(found, FirstMismatch { index: 0, mismatch: Mismatch::Rewritten { covered: 0 } });
    }

    proptest! {
        #[test]
        fn the_altered_removed_or_moved_entry_is_named(
            count in 2_usize..80, place in any::<prop::sample::Index>(), change in 0_u8..5, bit in 0_usize..8,
        ) {
            let rows = log(count as u64);
            let signed = checkpoint(&rows);
            let place = place.index(count - 1);
            let mut hostile = rows.clone();
            match change {
                0 => hostile[place].entry[bit % 6] ^= 1 << bit,
                1 => hostile[place].leaf_hash[bit] ^= 1 << bit,
                2 => { hostile.remove(place); }
                3 => hostile.swap(place, place + 1),
                _ => { let again = hostile[place].clone(); hostile.insert(place, again); }
            }
            // A doubled row is first seen where the second copy stands.
            let named = if change == 4 { place + 1 } else { place };
            prop_assert_eq!(verify_log(hostile, [signed]).unwrap_err().index, named as u64);
        }

        #[test]
        fn a_consistent_rewrite_is_never_missed(
            count in 2_usize..80, place in any::<prop::sample::Index>(), change in 0_u8..4, earlier in 0_usize..80,
        ) {
            let rows = log(count as u64);
            let place = place.index(count - 1);
            let earlier = earlier.min(count);
            let mut hostile = rows.clone();
            match change {
                0 => { hostile[place].entry.push(b'!'); hostile[place].leaf_hash = leaf_hash(&hostile[place].entry); }
                1 => { hostile.remove(place); }
                2 => hostile.swap(place, place + 1),
                _ => hostile.insert(place, StoredEntry { index: 0, entry: vec![], leaf_hash: leaf_hash(b"") }),
            }
            renumber(&mut hostile);
            let found = verify_log(hostile, [checkpoint(&rows), checkpoint(&rows[..earlier])]).unwrap_err();
            let cut_off = matches!(found.mismatch, Mismatch::CutOff { .. });
            prop_assert!(found.index <= place as u64 || cut_off);
            prop_assert!(place >= earlier || found.index < earlier as u64);
        }
    }
}
