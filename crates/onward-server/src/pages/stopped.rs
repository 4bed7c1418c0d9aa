//! What stands in place of a summary that was taken back: that it is not to be used, why, and whom to ring.

use askama::Template;
use onward_core::Timestamp;
use onward_core::state::EndReason;
use onward_core::store::DeliveryRecord;
use onward_transform::render::{Card, dates};

use super::Shell;

/// The page. It shows nothing of the summary but of whom it was, where the home may know that.
#[derive(Template)]
#[template(path = "stopped.html")]
pub(super) struct StoppedPage {
    shell: Shell,
    card: Option<Card>,
    sent: String,
    why: String,
    steps: &'static [&'static str],
}

impl StoppedPage {
    /// In place of this copy; `card` is of whom it was.
    pub(super) fn new(shell: Shell, copy: &DeliveryRecord, card: Option<Card>, now: Timestamp) -> Self {
        let recalled = copy.ended.is_some_and(|ended| ended.why == EndReason::Recalled);
        let steps: &'static [_] = match recalled {
            true => &["Do not read it any further, and do not pass it on.", "Destroy prints and downloads of it."],
            false => &[
                "Do not act on it any more. If you have acted on it already, ring the ward now.",
                "Destroy prints and downloads of it, and mark it in the person’s record as not to be used.",
                "If the person is about to arrive, or is with you, ask the ward what is to be used in its place.",
            ],
        };
        Self {
            shell,
            sent: dates::near_moment(copy.created, now),
            why: copy.reason.clone().unwrap_or_default(),
            card,
            steps,
        }
    }
}
