//! Pages for whoever comes second: who decided before, when and what, and the one safe thing to do now. None names a patient, and yet
//! each that tells of a copy or a transfer is a look at it, which is audited as such before it is shown.

use axum::http::StatusCode;
use axum::response::Response;
use onward_core::state::{DeliveryState, EndReason};
use onward_core::store::{BulkState, DeliveryRecord, Resend, StoreError};
use onward_core::{ApprovalId, BulkId, DeliveryId, HoldId, OdsCode, Timestamp, TransferId};
use onward_gateway::decided::{Decision, Verb};
use onward_gateway::redirect::Redirect;
use onward_transform::render::dates;

use super::super::trouble::decided_before;
use super::super::{attendant, not_yours, store_failed, trouble};
use super::{board, words};
use crate::app::App;
use crate::people::SignedIn;

/// The way back to the board.
fn board() -> Option<(String, &'static str)> {
    Some(("/operations".to_owned(), "Go back to the deliveries"))
}

fn told(decision: &Decision, now: Timestamp) -> String {
    let when = dates::near_moment(decision.at, now);
    let deed = match decision.verb {
        // Whoever's doing set it off, it is no decision about this copy.
        Verb::Ended(EndReason::Superseded) => return format!("A later version took its place, {when}"),
        Verb::Ended(EndReason::Void) => {
            return format!("It became null and void with the version that replaces it, {when}");
        }
        Verb::Ended(EndReason::Recalled) => "recalled it",
        Verb::Ended(EndReason::Withdrawn | EndReason::LeftHome) => "took it back",
        Verb::Released => "let it go on",
        Verb::Closed => "ended it without sending",
        Verb::Resent(Resend::Retry) => "had it sent again",
        Verb::Resent(Resend::Replay) => "had it sent again, labelled as a repeat",
        Verb::CopyClosed => "handed it over in another way, and closed it",
        Verb::Redirected => "granted that it goes to another party",
        Verb::RedirectRefused => "refused that it goes to another party",
        Verb::Resumed => "ended the pause",
        Verb::Stopped => "stopped it",
    };
    format!("{} {deed}, {when}", decision.by)
}

/// The pauses that keep something from this recipient, or from anybody.
async fn kept_by(app: &App, recipient: Option<&OdsCode>) -> Result<Vec<String>, StoreError> {
    let now = app.gateway.clock().now();
    let pauses = app.gateway.store().pauses().await?;
    let kept = pauses
        .iter()
        .filter(|pause| pause.recipient.is_none() || recipient.is_none_or(|to| pause.recipient.as_ref() == Some(to)));
    let line = |whom: &str, by: &str, since| {
        format!("Nothing leaves for {whom}: {by} paused that, {}", dates::near_moment(since, now))
    };
    Ok(kept.map(|pause| line(&whom(pause.recipient.as_ref()), &pause.by, pause.since)).collect())
}

const WAITS: &str = "It waits until the pause ends: look on the board why there is one, and do not send it by another way before you know.";

/// The page, unless the store failed or there is no such thing.
fn answer(looked: Result<Option<Response>, StoreError>, unknown: StatusCode) -> Response {
    match looked {
        Ok(Some(response)) => response,
        Ok(None) => trouble(unknown),
        Err(error) => store_failed(&error),
    }
}

/// What was to be done with a copy cannot be done any more.
pub(super) async fn copy(app: &App, who: &SignedIn, id: DeliveryId) -> Response {
    match app.gateway.look_at_delivery(&attendant(who), id).await {
        Ok(Some(copy)) => looked_at(app, &copy).await,
        Ok(None) => trouble(StatusCode::CONFLICT),
        Err(error) => store_failed(&error),
    }
}

/// The same of a copy the look at which is audited.
pub(super) async fn looked_at(app: &App, copy: &DeliveryRecord) -> Response {
    let looked = async {
        let (decision, now) = (app.gateway.decided_of_copy(copy.id).await?, app.gateway.clock().now());
        let stands = format!("It is now: {}, since {}", words::standing(copy), dates::near_moment(copy.changed, now));
        let paused = match copy.state {
            DeliveryState::Queued if copy.ended.is_none() => kept_by(app, Some(&copy.recipient)).await?,
            _ => Vec::new(),
        };
        let next = if paused.is_empty() { next_of(copy) } else { WAITS };
        let lines = decision.iter().map(|decision| told(decision, now)).chain([stands]).chain(paused).collect();
        let onward = Some((format!("/operations/deliveries/{}", copy.id), "See how this delivery stands"));
        Ok(Some(decided_before(StatusCode::CONFLICT, lines, next, onward)))
    };
    answer(looked.await, StatusCode::CONFLICT)
}

fn next_of(copy: &DeliveryRecord) -> &'static str {
    match copy.state {
        _ if copy.ended.is_some() => {
            "Do not send it: this copy is not to be used. Whoever may have it is being told; open it to see whether that arrives."
        }
        _ if copy.closed => {
            "Do nothing more: the recipient has it in another way. Open it to read how, before you send it again."
        }
        DeliveryState::Queued => "Do nothing more: it is sent by itself. Look again in a few minutes.",
        _ if copy.is_unprocessed() => {
            "It was refused again. Open it, read the code, and ask the recipient before you decide anew."
        }
        DeliveryState::Failed => "It has failed again. Open it, read the cause, and decide anew.",
        _ => "Do not send it again before you have asked the recipient whether it came.",
    }
}

/// A hold is closed, or there is none.
pub(super) async fn hold(app: &App, who: &SignedIn, id: &str, status: StatusCode) -> Response {
    let looked = async {
        let Ok(id) = id.parse::<HoldId>() else { return Ok(None) };
        let Some(transfer) = app.gateway.store().closed_hold(id).await? else { return Ok(None) };
        Ok(Some(held(app, who, transfer, status, Vec::new()).await?))
    };
    answer(looked.await, StatusCode::NOT_FOUND)
}

/// A hold is not there any more. Its transfer may wait again, or have ended otherwise: what to do follows from how it stands now.
async fn held(
    app: &App,
    who: &SignedIn,
    transfer: TransferId,
    status: StatusCode,
    mut lines: Vec<String>,
) -> Result<Response, StoreError> {
    app.gateway.look_at_hold(&attendant(who), transfer).await?;
    let (decision, now) = (app.gateway.decided_of_held(transfer).await?, app.gateway.clock().now());
    let record = app.gateway.store().transfer(transfer).await?;
    lines.extend(decision.iter().map(|decision| told(decision, now)));
    if let Some(hold) = record.as_ref().and_then(|record| record.hold.as_ref()) {
        let (why, _) = words::hold(hold.reason);
        lines.push(format!("It is held again: {why}"));
        let next = "Open the hold that waits now, and decide there.";
        let onward = Some((format!("/operations/holds/{}", hold.id), "Open the hold that waits now"));
        return Ok(decided_before(status, lines, next, onward));
    }
    if let Some((why, _)) = record.as_ref().and_then(|record| record.ended.as_ref()) {
        if !decision.is_some_and(|decision| decision.verb == Verb::Ended(*why)) {
            lines.push("The whole transfer has ended".to_owned());
        }
        let next =
            "Do not send it: nothing of it is to be used. The board shows whether those who had it are being told.";
        return Ok(decided_before(status, lines, next, board()));
    }
    let next = match decision.map(|decision| decision.verb) {
        Some(Verb::Closed) => "Do nothing more: the hospital sees the reason, and sends anew what is still needed.",
        Some(Verb::Released) => {
            let mut paused = Vec::new();
            for copy in
                record.iter().flat_map(|record| record.copies()).filter(|copy| copy.state == DeliveryState::Queued)
            {
                paused.extend(kept_by(app, Some(&copy.recipient)).await?);
            }
            paused.sort();
            paused.dedup();
            let waits = !paused.is_empty();
            lines.extend(paused);
            if waits { WAITS } else { "Send nothing by another way: look on the board whether its copies have left." }
        }
        _ => {
            lines.push("It is not held any more".to_owned());
            "Look on the board whether its copies have left."
        }
    };
    Ok(decided_before(status, lines, next, board()))
}

/// A redirect was granted of a transfer that was held no more: the grant is kept, and nothing came of it.
pub(super) async fn redirect(app: &App, who: &SignedIn, id: ApprovalId) -> Response {
    let looked = async {
        let asked = app.gateway.store().approval(id).await?;
        let Some(redirect) = asked.as_ref().and_then(Redirect::of) else { return Ok(None) };
        let kept = "Your grant is kept, and nothing was sent by it: the transfer was not held any more".to_owned();
        Ok(Some(held(app, who, redirect.transfer, StatusCode::CONFLICT, vec![kept]).await?))
    };
    answer(looked.await, StatusCode::CONFLICT)
}

/// A request is not this person's to decide.
pub(super) async fn approval(app: &App, who: &SignedIn, id: ApprovalId) -> Response {
    let looked = async {
        // Requests of other kinds are decided, and told, elsewhere.
        let Some(wish) = app.gateway.look_at_wish(&attendant(who), id).await? else { return Ok(None) };
        let onward = Some((format!("/operations/approvals/{id}"), "Open the request"));
        Ok(Some(not_yours(&wish.approval, &who.user.to_string(), app.gateway.clock().now(), onward)))
    };
    answer(looked.await, StatusCode::CONFLICT)
}

/// A recipient, or everybody, is paused already.
pub(super) async fn paused(app: &App, recipient: Option<&OdsCode>) -> Response {
    let looked = async {
        let pauses = app.gateway.store().pauses().await?;
        let now = app.gateway.clock().now();
        let line = match pauses.iter().find(|pause| pause.recipient.as_ref() == recipient) {
            Some(pause) => {
                format!("{} paused {}, {}", pause.by, whom(recipient), dates::near_moment(pause.since, now))
            }
            None => format!("{} was paused and is resumed by now", whom(recipient)),
        };
        let next = "Look on the board whether that is the pause that you wanted. Only resume it if its reason is gone.";
        Ok(Some(decided_before(StatusCode::CONFLICT, vec![line], next, board())))
    };
    answer(looked.await, StatusCode::CONFLICT)
}

/// Nothing is paused that could be resumed.
pub(super) async fn resumed(app: &App, recipient: Option<&OdsCode>) -> Response {
    let looked = async {
        let (decision, now) = (app.gateway.resumed_by(recipient).await?, app.gateway.clock().now());
        let stands = format!("There is no pause of {}", whom(recipient));
        let paused = kept_by(app, recipient).await?;
        let next = match paused.is_empty() {
            true => "Do nothing more: what waited is sent in the order in which it came.",
            false => "What the other pauses keep waits on: look on the board why they are there.",
        };
        let lines = decision.iter().map(|decision| told(decision, now)).chain([stands]).chain(paused).collect();
        Ok(Some(decided_before(StatusCode::CONFLICT, lines, next, board())))
    };
    answer(looked.await, StatusCode::CONFLICT)
}

/// The sending again of many copies does not run any more.
pub(super) async fn bulk(app: &App, id: BulkId) -> Response {
    let looked = async {
        let Some(bulk) = app.gateway.store().bulk(id).await? else { return Ok(None) };
        let (decision, now) = (app.gateway.stopped_by(id).await?, app.gateway.clock().now());
        let ended = bulk.ended.map(|at| dates::near_moment(at, now)).unwrap_or_default();
        let line = match (&decision, bulk.state) {
            (Some(decision), _) => told(decision, now),
            (None, BulkState::Finished) => format!("It came to its end, {ended}"),
            (None, _) => format!("It was stopped, {ended}"),
        };
        // By a cause it may have gone to anybody: then each pause may keep something of it.
        let to = board::filter_of(&bulk.filter).and_then(|filter| filter.recipient);
        let paused = if bulk.resent > 0 { kept_by(app, to.as_ref()).await? } else { Vec::new() };
        let next = match paused.is_empty() {
            true => "Do nothing more: open it to see which copies were queued again, and which stayed as they were.",
            false => WAITS,
        };
        let onward = Some((format!("/operations/bulks/{id}"), "See how far it came"));
        Ok(Some(decided_before(StatusCode::CONFLICT, [vec![line], paused].concat(), next, onward)))
    };
    answer(looked.await, StatusCode::CONFLICT)
}

fn whom(recipient: Option<&OdsCode>) -> String {
    recipient.map_or_else(|| "everybody".to_owned(), ToString::to_string)
}
