//! What colleagues did with a summary while somebody had a page of it open: it is told where their own change lands, and where it is
//! refused.

use onward_core::Timestamp;
use onward_core::store::{CheckOutcome, Step, StepKind};
use onward_gateway::checklist;
use onward_transform::render::dates;

use super::sent;

/// The field of a form, and the part of an address, that tells when its page was shown.
const SEEN: &str = "seen";

/// When a page is shown, as its forms send it along (microseconds since 1970).
pub(super) fn seen(now: Timestamp) -> String {
    now.as_microsecond().to_string()
}

/// When the page was shown whose form or address this is.
pub(super) fn since(form: &[u8]) -> Option<Timestamp> {
    Timestamp::from_microsecond(sent(form, SEEN).parse().ok()?).ok()
}

/// The same in the address to which a form leads.
pub(super) fn told_on(page: &str, since: Timestamp) -> String {
    format!("{page}?{SEEN}={}", seen(since))
}

/// What others than this account did since then: who, what and when, without the words that they wrote.
pub(super) fn by_others(steps: &[Step], user: &str, since: Option<Timestamp>, now: Timestamp) -> Vec<String> {
    let Some(since) = since else { return Vec::new() };
    let others = steps.iter().filter(|step| step.at > since && step.user != user && step.kind != StepKind::Opened);
    others.map(|step| format!("{} {}, {}", step.name, deed(step), dates::near_moment(step.at, now))).collect()
}

fn deed(step: &Step) -> String {
    let plain = match step.kind {
        StepKind::Opened => "opened the summary",
        StepKind::Acknowledged => "acknowledged the summary",
        StepKind::Declined => "told the hospital that the home cannot take the person",
        StepKind::Arrived => "recorded the arrival",
        StepKind::Queried => "asked the ward",
        StepKind::Finished => "finished the first 72 hours",
        StepKind::Visited => "noted who else came",
        StepKind::Left => "told that the person has left the home",
        StepKind::Checked => {
            let item = step.item.as_deref().and_then(checklist::item).map_or("an item", |item| item.title);
            let outcome = match step.outcome {
                Some(CheckOutcome::Done) | None => "done",
                Some(CheckOutcome::NotApplicable) => "does not apply",
                Some(CheckOutcome::Problem) => "a problem",
            };
            return format!("recorded “{item}”: {outcome}");
        }
    };
    plain.to_owned()
}
