//! The tree's right edge: enough to append leaves and to know the root, in memory that grows with the logarithm of the
//! log's size.

use crate::hash::{Hash, empty_root, node_hash};

/// An append-only Merkle tree that keeps only the roots of its complete subtrees, the largest first. A tree of `n`
/// leaves has one such root for each bit set in `n`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    edge: Vec<Hash>,
}

/// A stored edge that cannot belong to a tree of the stated size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves has {expected} subtree roots at its edge, not {found}")]
pub struct EdgeMismatch {
    /// The stated number of leaves.
    pub size: u64,
    /// The number of subtree roots that such a tree has.
    pub expected: usize,
    /// The number of subtree roots given.
    pub found: usize,
}

impl Tree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up a tree where [`Tree::size`] and [`Tree::edge`] left it, so that a restart need not read the whole log.
    /// The count alone is checked here: compare [`Tree::root`] with a verified checkpoint before trusting the result.
    ///
    /// # Errors
    /// When the number of subtree roots does not follow from the size.
    pub fn from_edge(size: u64, edge: Vec<Hash>) -> Result<Self, EdgeMismatch> {
        let expected = size.count_ones() as usize;
        if edge.len() == expected {
            Ok(Self { size, edge })
        } else {
            Err(EdgeMismatch { size, expected, found: edge.len() })
        }
    }

    /// Appends the hash of one more entry and returns that entry's index.
    pub fn push(&mut self, leaf: Hash) -> u64 {
        let index = self.size;
        let mut node = leaf;
        // Each trailing one of the old size is a complete subtree that the new leaf completes to one twice as large.
        for _ in 0..index.trailing_ones() {
            let left = self.edge.pop().expect("the edge holds one root for each bit set in the size");
            node = node_hash(&left, &node);
        }
        self.edge.push(node);
        self.size = index.checked_add(1).expect("a log never reaches 2^64 entries");
        index
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, the largest first; what [`Tree::from_edge`] takes.
    pub fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// The Merkle tree hash of all leaves so far (RFC 9162 section 2.1.1).
    pub fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev();
        match subtrees.next() {
            None => empty_root(),
            Some(smallest) => subtrees.fold(*smallest, |right, left| node_hash(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn roots_of_the_certificate_transparency_test_set() {
        let mut tree = Tree::new();
        assert_eq!(tree.root(), vectors::roots()[0]);
        for (leaf, root) in vectors::leaf_hashes().into_iter().zip(&vectors::roots()[1..]) {
            tree.push(leaf);
            assert_eq!(&tree.root(), root, "tree of {}", tree.size());
        }
        assert_eq!(tree.size(), 8);
    }

    #[test]
    fn the_edge_stays_logarithmic_and_can_be_taken_up_again() {
        let mut tree = Tree::new();
        for number in 0..5_000_u64 {
            assert_eq!(tree.push(crate::leaf_hash(&number.to_be_bytes())), number);
            assert!(tree.edge().len() <= 13, "{} roots at size {}", tree.edge().len(), tree.size());
            if number % 97 == 0 {
                let again = Tree::from_edge(tree.size(), tree.edge().to_vec()).unwrap();
                assert_eq!(again, tree);
            }
        }
    }

    #[test]
    fn an_edge_of_the_wrong_length_is_refused() {
        let root = crate::leaf_hash(b"a");
        assert_eq!(Tree::from_edge(3, vec![root]), Err(EdgeMismatch { size: 3, expected: 2, found: 1 }));
        assert!(Tree::from_edge(0, vec![root]).is_err());
        assert!(Tree::from_edge(u64::MAX, vec![root; 63]).is_err());
    }
}
