//! Inclusion and consistency proofs, made from the leaf hashes and verified without them (RFC 9162 sections 2.1.3 and
//! 2.1.4). Making a proof hashes every leaf of the tree once.

use crate::hash::{Hash, empty_root, node_hash};
use crate::tree::Tree;

/// Why no proof can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotProve {
    /// The entry lies outside the tree.
    #[error("entry {index} lies outside a tree of {size}")]
    IndexOutsideTree {
        /// The entry's index, from 0.
        index: u64,
        /// The number of leaves of the tree.
        size: u64,
    },
    /// The older tree is larger than the newer.
    #[error("the older tree of {old} is larger than the newer of {new}")]
    SizesReversed {
        /// The number of leaves of the older tree.
        old: u64,
        /// The number of leaves of the newer tree.
        new: u64,
    },
    /// Fewer leaf hashes were given than the tree has.
    #[error("{given} leaf hashes cannot make a tree of {size}")]
    TooFewLeaves {
        /// The number of leaf hashes given.
        given: u64,
        /// The number of leaves of the tree.
        size: u64,
    },
}

/// The proof does not lead from what is claimed to the root: one of them is not what the log signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to the root")]
pub struct ProofMismatch;

/// The Merkle tree hash of these leaf hashes (RFC 9162 section 2.1.1).
pub fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split_point(leaves.len()));
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// The hashes that lead from the entry at `index` to the root of the tree of the first `size` leaves, the deepest first
/// (RFC 9162 section 2.1.3.1).
///
/// # Errors
/// When the index lies outside the tree or leaves are missing.
pub fn inclusion_proof(leaves: &[Hash], index: u64, size: u64) -> Result<Vec<Hash>, CannotProve> {
    let mut subtree = first_leaves(leaves, size)?;
    if index >= size {
        return Err(CannotProve::IndexOutsideTree { index, size });
    }
    let mut position = usize::try_from(index).expect("the index is below a slice's length");
    let mut proof = Vec::new();
    while subtree.len() > 1 {
        let (left, right) = subtree.split_at(split_point(subtree.len()));
        if position < left.len() {
            proof.push(root_of(right));
            subtree = left;
        } else {
            position -= left.len();
            proof.push(root_of(left));
            subtree = right;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The hashes that show that the tree of the first `old` leaves is the beginning of the tree of the first `new`
/// (RFC 9162 section 2.1.4.1). It is empty when the sizes are equal or the older tree has no leaves.
///
/// # Errors
/// When the older tree is the larger or leaves are missing.
pub fn consistency_proof(leaves: &[Hash], old: u64, new: u64) -> Result<Vec<Hash>, CannotProve> {
    let mut subtree = first_leaves(leaves, new)?;
    if old > new {
        return Err(CannotProve::SizesReversed { old, new });
    }
    let mut shared = usize::try_from(old).expect("the older size is at most a slice's length");
    let mut proof = Vec::new();
    if shared == 0 {
        return Ok(proof);
    }
    // The verifier already holds the root of the older tree; once the walk turns right, the shared subtree is another.
    let mut shared_is_old_root = true;
    while shared < subtree.len() {
        let (left, right) = subtree.split_at(split_point(subtree.len()));
        if shared <= left.len() {
            proof.push(root_of(right));
            subtree = left;
        } else {
            shared -= left.len();
            shared_is_old_root = false;
            proof.push(root_of(left));
            subtree = right;
        }
    }
    if !shared_is_old_root {
        proof.push(root_of(subtree));
    }
    proof.reverse();
    Ok(proof)
}

/// The same proof from the right edge of the older tree and the leaves that came after it, so that a log need not keep or
/// read all its leaves to show that it grew.
pub fn consistency_from_edge(old: &Tree, newer: &[Hash]) -> Vec<Hash> {
    let size = usize::try_from(old.size()).expect("a log that is kept here is no longer than an address space");
    let mut proof = Vec::new();
    if size == 0 || newer.is_empty() {
        return proof;
    }
    // The complete subtrees of the older tree, with where they begin.
    let mut complete = Vec::new();
    let mut start = 0;
    for (root, bit) in old.edge().iter().zip((0..u64::BITS).rev().filter(|bit| old.size() >> bit & 1 == 1)) {
        complete.push((start, *root));
        start += 1_usize << bit;
    }
    // The root of the leaves from `from` to `to`, which lie on one side of the older tree's end, or end there.
    let root = |from: usize, to: usize| match from < size {
        true => {
            let mut parts = complete.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, root)| *root).rev();
            let last =
                parts.next().expect("a part of the older tree that a proof names is made of its complete subtrees");
            parts.fold(last, |right, left| node_hash(&left, &right))
        }
        false => root_of(&newer[from - size..to - size]),
    };
    let (mut from, mut to, mut shared_is_old_root) = (0, size + newer.len(), true);
    while size < to {
        let middle = from + split_point(to - from);
        if size <= middle {
            proof.push(root(middle, to));
            to = middle;
        } else {
            proof.push(root(from, middle));
            from = middle;
            shared_is_old_root = false;
        }
    }
    if !shared_is_old_root {
        proof.push(root(from, to));
    }
    proof.reverse();
    proof
}

/// Checks that the entry with this leaf hash stands at `index` in the tree of this size and root
/// (RFC 9162 section 2.1.3.2).
///
/// # Errors
/// When the proof does not lead from the leaf to the root, has a hash too many or too few, or the index lies outside.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), ProofMismatch> {
    if index >= size {
        return Err(ProofMismatch);
    }
    let (mut position, mut last) = (index, size - 1);
    let mut node = *leaf;
    for step in proof {
        if last == 0 {
            return Err(ProofMismatch);
        }
        if position & 1 == 1 || position == last {
            node = node_hash(step, &node);
            skip_missing_siblings(&mut position, &mut last);
        } else {
            node = node_hash(&node, step);
        }
        position >>= 1;
        last >>= 1;
    }
    if last == 0 && node == *root { Ok(()) } else { Err(ProofMismatch) }
}

/// Checks that the tree of `new` leaves begins with the tree of `old` leaves, so that nothing signed at the older size
/// was changed or removed (RFC 9162 section 2.1.4.2).
///
/// # Errors
/// When the proof does not lead to both roots, has a hash too many or too few, or the older tree is the larger.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofMismatch> {
    if old > new {
        return Err(ProofMismatch);
    }
    if old == 0 || old == new {
        let old_fits = if old == 0 { *old_root == empty_root() } else { old_root == new_root };
        // Two empty trees must both have the empty root.
        let new_fits = new != 0 || *new_root == empty_root();
        return if proof.is_empty() && old_fits && new_fits { Ok(()) } else { Err(ProofMismatch) };
    }
    let (mut position, mut last) = (old - 1, new - 1);
    let complete = position.trailing_ones();
    position >>= complete;
    last >>= complete;
    // An older tree that is a complete subtree starts the walk itself; else the proof brings the start.
    let (start, steps) =
        if old.is_power_of_two() { (old_root, proof) } else { proof.split_first().ok_or(ProofMismatch)? };
    let (mut old_node, mut new_node) = (*start, *start);
    for step in steps {
        if last == 0 {
            return Err(ProofMismatch);
        }
        if position & 1 == 1 || position == last {
            old_node = node_hash(step, &old_node);
            new_node = node_hash(step, &new_node);
            skip_missing_siblings(&mut position, &mut last);
        } else {
            new_node = node_hash(&new_node, step);
        }
        position >>= 1;
        last >>= 1;
    }
    if last == 0 && old_node == *old_root && new_node == *new_root { Ok(()) } else { Err(ProofMismatch) }
}

/// A node at the right edge without a sibling is its own parent: climb to the level where it is a right child.
fn skip_missing_siblings(position: &mut u64, last: &mut u64) {
    while *position & 1 == 0 && *position != 0 {
        *position >>= 1;
        *last >>= 1;
    }
}

/// The largest power of two below the number of leaves, which is at least 2.
fn split_point(leaves: usize) -> usize {
    1 << (leaves - 1).ilog2()
}

fn first_leaves(leaves: &[Hash], size: u64) -> Result<&[Hash], CannotProve> {
    usize::try_from(size)
        .ok()
        .and_then(|size| leaves.get(..size))
        .ok_or(CannotProve::TooFewLeaves { given: leaves.len() as u64, size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vectors;
    use crate::{Tree, leaf_hash};

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(&(number as u64).to_be_bytes())).collect()
    }

    #[test]
    fn inclusion_proofs_of_the_certificate_transparency_test_set() {
        let leaves = vectors::leaf_hashes();
        for (index, size, proof) in vectors::inclusion_proofs() {
            assert_eq!(inclusion_proof(&leaves, index, size).unwrap(), proof, "entry {index} of {size}");
            let root = vectors::roots()[size as usize];
            verify_inclusion(&leaves[index as usize], index, size, &proof, &root).unwrap();
        }
    }

    #[test]
    fn consistency_proofs_of_the_certificate_transparency_test_set() {
        let leaves = vectors::leaf_hashes();
        for (old, new, proof) in vectors::consistency_proofs() {
            assert_eq!(consistency_proof(&leaves, old, new).unwrap(), proof, "{old} to {new}");
            let roots = vectors::roots();
            verify_consistency(old, &roots[old as usize], new, &roots[new as usize], &proof).unwrap();
        }
    }

    #[test]
    fn every_proof_of_every_tree_up_to_seventy_verifies() {
        let leaves = leaves(70);
        for size in 0..=70_u64 {
            let root = root_of(&leaves[..size as usize]);
            for index in 0..size {
                let proof = inclusion_proof(&leaves, index, size).unwrap();
                verify_inclusion(&leaves[index as usize], index, size, &proof, &root).unwrap();
            }
            for old in 0..=size {
                let proof = consistency_proof(&leaves, old, size).unwrap();
                verify_consistency(old, &root_of(&leaves[..old as usize]), size, &root, &proof).unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_proved_is_refused() {
        let leaves = leaves(4);
        assert_eq!(inclusion_proof(&leaves, 4, 4), Err(CannotProve::IndexOutsideTree { index: 4, size: 4 }));
        assert_eq!(inclusion_proof(&leaves, 0, 0), Err(CannotProve::IndexOutsideTree { index: 0, size: 0 }));
        assert_eq!(inclusion_proof(&leaves, 0, 5), Err(CannotProve::TooFewLeaves { given: 4, size: 5 }));
        assert_eq!(consistency_proof(&leaves, 3, 2), Err(CannotProve::SizesReversed { old: 3, new: 2 }));
        assert!(consistency_proof(&leaves, 1, u64::MAX).is_err());
    }

    #[test]
    fn claims_at_the_limits_of_the_numbers_are_refused_without_panic() {
        let hash = leaf_hash(b"x");
        for proof in [vec![], vec![hash], vec![hash; 64], vec![hash; 65], vec![hash; 1_000]] {
            assert!(verify_inclusion(&hash, u64::MAX, u64::MAX, &proof, &hash).is_err());
            assert!(verify_inclusion(&hash, u64::MAX - 1, u64::MAX, &proof, &hash).is_err());
            assert!(verify_inclusion(&hash, 0, 0, &proof, &hash).is_err());
            assert!(verify_consistency(u64::MAX - 1, &hash, u64::MAX, &hash, &proof).is_err());
            assert!(verify_consistency(1 << 63, &hash, u64::MAX, &hash, &proof).is_err());
            assert!(verify_consistency(2, &hash, 1, &hash, &proof).is_err());
            assert!(verify_consistency(0, &hash, 1, &hash, &proof).is_err());
        }
        assert!(verify_consistency(0, &empty_root(), 0, &hash, &[]).is_err());
    }

    proptest! {
        #[test]
        fn the_edge_and_the_whole_tree_agree(count in 0_usize..600) {
            let leaves = leaves(count);
            let mut tree = Tree::new();
            for leaf in &leaves { tree.push(*leaf); }
            prop_assert_eq!(tree.root(), root_of(&leaves));
        }

        #[test]
        fn a_changed_inclusion_claim_fails(
            size in 1_u64..200, pick in any::<prop::sample::Index>(), change in 0_u8..6, bit in 0_usize..256,
            place in any::<prop::sample::Index>(),
        ) {
            let leaves = leaves(size as usize);
            let index = pick.index(size as usize) as u64;
            let root = root_of(&leaves);
            let proof = inclusion_proof(&leaves, index, size).unwrap();
            let (mut leaf, mut changed, mut at, mut end) = (leaves[index as usize], proof, root, index);
            match change {
                0 => flip(&mut leaf, bit),
                1 => flip(&mut at, bit),
                2 if !changed.is_empty() => { let step = place.index(changed.len()); flip(&mut changed[step], bit); }
                3 if !changed.is_empty() => { changed.remove(place.index(changed.len())); }
                4 if size > 1 => { end = (index + 1 + place.index(size as usize - 1) as u64) % size; }
                _ => changed.insert(place.index(changed.len() + 1), leaf_hash(b"one too many")),
            }
            prop_assert_eq!(verify_inclusion(&leaf, end, size, &changed, &at), Err(ProofMismatch));
        }

        #[test]
        fn a_changed_consistency_claim_fails(
            new in 2_u64..200, pick in any::<prop::sample::Index>(), change in 0_u8..5, bit in 0_usize..256,
            place in any::<prop::sample::Index>(),
        ) {
            let leaves = leaves(new as usize);
            let old = 1 + pick.index(new as usize - 1) as u64;
            let mut old_root = root_of(&leaves[..old as usize]);
            let mut new_root = root_of(&leaves);
            let mut proof = consistency_proof(&leaves, old, new).unwrap();
            match change {
                0 => flip(&mut old_root, bit),
                1 => flip(&mut new_root, bit),
                2 => { let step = place.index(proof.len()); flip(&mut proof[step], bit); }
                3 => { proof.remove(place.index(proof.len())); }
                _ => proof.insert(place.index(proof.len() + 1), leaf_hash(b"one too many")),
            }
            prop_assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Err(ProofMismatch));
        }

        #[test]
        fn the_edge_of_the_older_tree_is_enough_to_show_growth(old in 0_u64..140, more in 0_u64..140) {
            let all = leaves((old + more) as usize);
            let mut tree = Tree::new();
            all[..old as usize].iter().for_each(|leaf| { tree.push(*leaf); });
            let proof = consistency_from_edge(&tree, &all[old as usize..]);
            prop_assert_eq!(proof, consistency_proof(&all, old, old + more).unwrap());
        }

        #[test]
        fn a_rewritten_history_has_no_consistency_proof(
            new in 2_u64..120, pick in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(),
        ) {
            let honest = leaves(new as usize);
            let old = 1 + pick.index(new as usize - 1) as u64;
            let mut rewritten = honest.clone();
            rewritten[place.index(old as usize)] = leaf_hash(b"rewritten");
            let proof = consistency_proof(&rewritten, old, new).unwrap();
            let old_root = root_of(&honest[..old as usize]);
            prop_assert_eq!(
                verify_consistency(old, &old_root, new, &root_of(&rewritten), &proof), Err(ProofMismatch)
            );
        }
    }

    fn flip(hash: &mut Hash, bit: usize) {
        hash[bit / 8] ^= 1 << (bit % 8);
    }
}
