//! What people at a recipient do with a copy, and the list that they start from.

use std::fmt;

use jiff::Timestamp;

use super::DeliveryRecord;
use crate::state::{RecipientKind, words};
use crate::{DeliveryId, OdsCode};

words!(
    /// What a person did with a copy.
    StepKind {
        /// Opened it; kept once for each person.
        Opened = "opened",
        /// Acknowledged that it was received.
        Acknowledged = "acknowledged",
        /// Refused it, with a reason.
        Declined = "declined",
        /// Told that the person has arrived.
        Arrived = "arrived",
        /// Asked the ward something.
        Queried = "queried",
        /// Ticked one item of the first 72 hours.
        Checked = "checked",
        /// Finished the first 72 hours.
        Finished = "finished",
        /// Told that another agency came to the person.
        Visited = "visited",
        /// Told that the person has left the home.
        Left = "left",
    }
);

words!(
    /// What became of an item of the first 72 hours.
    CheckOutcome {
        /// Done.
        Done = "done",
        /// Does not apply, for a reason.
        NotApplicable = "not-applicable",
        /// Cannot be done, for a reason.
        Problem = "problem",
    }
);

impl StepKind {
    /// Whether it tells something about the person, which a later version of the document does not undo; the others are about the
    /// document alone.
    #[must_use]
    pub fn is_about_the_person(self) -> bool {
        matches!(self, Self::Arrived | Self::Checked | Self::Finished | Self::Visited | Self::Left)
    }
}

/// Something that a person at the recipient did with a copy; it stays. Its `Debug` leaves out what people wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Step {
    /// With which copy.
    pub delivery: DeliveryId,
    /// What.
    pub kind: StepKind,
    /// When.
    pub at: Timestamp,
    /// The person's account.
    pub user: String,
    /// The person's name at that time.
    pub name: String,
    /// Which item, for [`StepKind::Checked`].
    pub item: Option<String>,
    /// What became of the item.
    pub outcome: Option<CheckOutcome>,
    /// The reason or question, as written; it may be about the patient.
    pub text: Option<String>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("delivery", &self.delivery).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Which copies a list of arrivals shows.
#[derive(Debug, Clone)]
pub struct ArrivalQuery {
    /// To these organisations.
    pub recipients: Vec<OdsCode>,
    /// As what.
    pub kind: RecipientKind,
    /// True for those alone that still need somebody: neither completed, refused nor withdrawn, and, once acknowledged, neither
    /// about somebody who has gone nor a notice.
    pub open_only: bool,
    /// With `open_only`, those too that were refused since this moment with a code that is none of these: no refusal of the person, but
    /// a system that did not take or process it.
    pub unprocessed: (Timestamp, Vec<String>),
    /// Only those queued at or after this.
    pub since: Timestamp,
    /// Only those with which an entry of the audit log deals that stands at this place or after it. Places are given in the order of
    /// commits, whatever the clocks say.
    pub logged_from: Option<u64>,
    /// Cursor: only those that stand after this one (when it was queued, and which) in the order of the answer.
    pub after: Option<(Timestamp, DeliveryId)>,
    /// At most so many, the newest first.
    pub limit: u32,
}

/// One line of the list, as the store gives it: the card of a notice, and what was told with earlier copies, are added by whoever
/// lists it. Its `Debug` names the copy only.
#[derive(Clone)]
pub struct Arrival {
    /// The copy.
    pub copy: DeliveryRecord,
    /// When the person is expected.
    pub expected: Option<Timestamp>,
    /// What the list shows of the copy (see [`super::NewDelivery::card`]); none once the copy's content is gone, and none of a notice.
    pub card: Option<Vec<u8>>,
    /// Items of the first 72 hours that are done or do not apply.
    pub settled: u32,
    /// The person is there.
    pub arrived: bool,
    /// What the home told when the person left it; empty once that was erased.
    pub left: Option<String>,
    /// It took the place of an earlier copy. What was told of the person with that one, [`super::Store::steps`] has; the fields
    /// above know of this copy alone.
    pub continues: bool,
    /// Places of the first and of the last entry of the audit log that deals with the copy; none before it was placed or sent.
    pub logged: Option<(u64, u64)>,
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("copy", &self.copy.id).finish_non_exhaustive()
    }
}
