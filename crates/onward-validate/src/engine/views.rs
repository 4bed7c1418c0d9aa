//! The definitions that an element is looked at with; few, so they live beside the walk without allocation.

use crate::plan::PlanId;

/// One element of one plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) plan: PlanId,
    pub(super) node: u32,
}

impl View {
    pub(super) fn root(plan: PlanId) -> Self {
        Self { plan, node: 0 }
    }
}

const INLINE: usize = 4;

/// A set of views.
#[derive(Debug, Clone)]
pub(super) struct Views {
    inline: [View; INLINE],
    length: usize,
    spill: Vec<View>,
}

impl Views {
    pub(super) fn new() -> Self {
        Self { inline: [View { plan: PlanId(u32::MAX), node: 0 }; INLINE], length: 0, spill: Vec::new() }
    }

    pub(super) fn one(view: View) -> Self {
        let mut made = Self::new();
        made.add(view);
        made
    }

    /// Adds a view that is not there yet.
    pub(super) fn add(&mut self, view: View) {
        if self.iter().any(|known| known == view) {
            return;
        }
        if self.length < INLINE {
            self.inline[self.length] = view;
            self.length += 1;
        } else {
            self.spill.push(view);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = View> + '_ {
        self.inline[..self.length].iter().chain(&self.spill).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn contains_plan(&self, plan: PlanId) -> bool {
        self.iter().any(|view| view.plan == plan && view.node == 0)
    }
}
