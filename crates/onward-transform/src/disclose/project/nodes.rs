//! A set of nodes of one tree.

use onward_fhir::{NodeId, Tree};

/// A bit for each node: every element of a document is asked for several times, and a hash would be most of what that costs.
#[derive(Clone)]
pub(super) struct Nodes(Vec<u64>);

impl Nodes {
    /// None of the tree's.
    pub(super) fn none_of(tree: &Tree<'_>) -> Self {
        Self(vec![0; tree.len().div_ceil(64)])
    }

    /// Whether it was not there.
    pub(super) fn insert(&mut self, node: NodeId) -> bool {
        let (word, bit) = place(node);
        let was = self.0[word];
        self.0[word] |= bit;
        was & bit == 0
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        let (word, bit) = place(node);
        self.0[word] &= !bit;
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        let (word, bit) = place(node);
        self.0[word] & bit != 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

fn place(node: NodeId) -> (usize, u64) {
    (node.place() / 64, 1 << (node.place() % 64))
}
