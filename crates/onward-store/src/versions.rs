//! What ends together when versions of a document end, the same for every engine.

use std::collections::BTreeSet;

use onward_core::state::RecipientKind;
use onward_core::store::{Ending, NewDelivery};
use onward_core::{DeliveryId, OdsCode};

/// The copies of some versions that their recipients may still use.
#[derive(Default)]
pub(crate) struct InUse {
    live: BTreeSet<DeliveryId>,
    /// A later version took their place: they are read, marked.
    superseded: BTreeSet<DeliveryId>,
}

impl InUse {
    pub(crate) fn add(&mut self, copy: DeliveryId, live: bool) {
        if live {
            self.live.insert(copy)
        } else {
            self.superseded.insert(copy)
        };
    }

    /// Whether these ends are of every copy that is live, and of none that has ended for good.
    pub(crate) fn live_ones_end(&self, endings: &[Ending]) -> bool {
        let ends = ends(endings);
        self.live.is_subset(&ends) && ends.iter().all(|id| self.live.contains(id) || self.superseded.contains(id))
    }

    /// Whether these ends are of all, and of nothing else.
    pub(crate) fn all_end(&self, endings: &[Ending]) -> bool {
        ends(endings) == self.live.union(&self.superseded).copied().collect()
    }
}

fn ends(endings: &[Ending]) -> BTreeSet<DeliveryId> {
    endings.iter().map(|ending| ending.delivery).collect()
}

/// Who was told in one commit. Whoever got several versions is told once, of the first that comes here.
#[derive(Default)]
pub(crate) struct Told(BTreeSet<(RecipientKind, OdsCode)>);

impl Told {
    /// Whether the recipient of this notice has had none yet.
    pub(crate) fn is_first(&mut self, notice: &NewDelivery) -> bool {
        self.0.insert((notice.kind, notice.recipient.clone()))
    }
}
