//! What colleagues, and the home's own system, did with a summary while somebody had a page of it open: it is told where their own
//! change lands, and where it is refused.

use onward_core::state::DeliveryState;
use onward_core::store::{CheckOutcome, Step, StepKind, StoreError};
use onward_core::{DeliveryId, Timestamp};
use onward_fhir::itk::{self, Level, ResponseCode};
use onward_gateway::meanwhile::{Mark, Moved};
use onward_gateway::{checklist, leaving};
use onward_transform::render::dates;

use super::sent;
use crate::app::App;

/// The field of a form, and the part of an address, that tells what its page knew.
const SEEN: &str = "seen";

/// What the page knew whose form or address this is.
pub(super) fn since(form: &[u8]) -> Option<Mark> {
    sent(form, SEEN).parse().ok()
}

/// The same in the address to which a form leads.
pub(super) fn told_on(page: &str, since: Mark) -> String {
    format!("{page}?{SEEN}={since}")
}

/// What others than this account did with the copy since then: who, what and when, without the words that they wrote. Nothing is read
/// for a page that does not say what it knew.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn by_others(
    app: &App,
    copy: DeliveryId,
    steps: &[Step],
    user: &str,
    since: Option<Mark>,
) -> Result<Vec<String>, StoreError> {
    let Some(since) = since else { return Ok(Vec::new()) };
    let (moves, now) = (app.gateway.moved_since(copy, since).await?, app.gateway.clock().now());
    let others = since.beyond(copy, steps).filter(|step| step.user != user && step.kind != StepKind::Opened);
    let people = others.map(|step| (step.at, format!("{} {}", step.name, deed(step))));
    let systems = moves.iter().filter_map(|moved| Some((moved.at, moved_in_words(moved)?)));
    let mut told: Vec<(Timestamp, String)> = people.chain(systems).collect();
    told.sort_by_key(|(at, _)| *at);
    Ok(told.into_iter().map(|(at, words)| format!("{words}, {}", dates::near_moment(at, now))).collect())
}

/// Who told that the person has left the home, and what, without the words for the hospital.
pub(super) fn left(step: &Step, now: Timestamp) -> String {
    let what = step.text.as_deref().and_then(leaving::whither).map(|what| format!(": {what}")).unwrap_or_default();
    format!("{} {LEFT}, {}{what}", step.name, dates::near_moment(step.at, now))
}

/// What a system of the home did, as the same deed of a person is told; nothing of a move that no recipient makes.
fn moved_in_words(moved: &Moved) -> Option<String> {
    let deed = match moved.state {
        DeliveryState::Received => "took the summary in",
        DeliveryState::Accepted => ACKNOWLEDGED,
        DeliveryState::Rejected => match moved.code.as_deref().map(itk::response_code) {
            None | Some(Some(ResponseCode { level: Level::Business, .. })) => DECLINED,
            // A message that was not read refuses nobody.
            Some(Some(_)) => UNPROCESSED,
            Some(None) => NOT_TAKEN,
        },
        DeliveryState::InProgress => ARRIVED,
        DeliveryState::Completed => FINISHED,
        _ => return None,
    };
    Some(format!("The home’s own system ({}) {deed}", moved.by))
}

const ACKNOWLEDGED: &str = "acknowledged the summary";
const DECLINED: &str = "told the hospital that the home cannot take the person";
const UNPROCESSED: &str = "answered that it could not process the message";
const NOT_TAKEN: &str = "answered that it does not take the message";
const ARRIVED: &str = "recorded the arrival";
const FINISHED: &str = "finished the first 72 hours";
const LEFT: &str = "told that the person has left the home";

fn deed(step: &Step) -> String {
    let plain = match step.kind {
        StepKind::Opened => "opened the summary",
        StepKind::Acknowledged => ACKNOWLEDGED,
        StepKind::Declined => DECLINED,
        StepKind::Arrived => ARRIVED,
        StepKind::Queried => "asked the ward",
        StepKind::Finished => FINISHED,
        StepKind::Visited => "noted who else came",
        StepKind::Left => LEFT,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_about_the_person_refuses_the_person() {
        let told = |code: Option<&str>| {
            let (by, code) = ("M1".to_owned(), code.map(str::to_owned));
            moved_in_words(&Moved { by, at: Timestamp::UNIX_EPOCH, state: DeliveryState::Rejected, code })
        };
        let by = |deed: &str| Some(format!("The home’s own system (M1) {deed}"));
        for refused in [None, Some("30002"), Some("30022")] {
            assert_eq!(told(refused), by("told the hospital that the home cannot take the person"), "{refused:?}");
        }
        for unread in ["10001", "10010", "20001", "20015"] {
            assert_eq!(told(Some(unread)), by("answered that it could not process the message"), "{unread}");
        }
        for unknown in ["30099", "many"] {
            assert_eq!(told(Some(unknown)), by("answered that it does not take the message"), "{unknown}");
        }
    }
}
