//! Pages for whoever comes second: who decided before, when and what, and the one safe thing to do now. None names a patient.

use axum::http::StatusCode;
use axum::response::Response;
use onward_core::state::DeliveryState;
use onward_core::store::{BulkState, DeliveryRecord, Resend, StoreError};
use onward_core::{ApprovalId, BulkId, DeliveryId, HoldId, OdsCode, Timestamp, TransferId};
use onward_gateway::decided::{Decision, Verb};
use onward_gateway::redirect::Redirect;
use onward_transform::render::dates;

use super::super::trouble::decided_before;
use super::super::{not_yours, store_failed, trouble};
use super::words;
use crate::app::App;
use crate::people::SignedIn;

/// The way back to the board.
fn board() -> Option<(String, &'static str)> {
    Some(("/operations".to_owned(), "Go back to the deliveries"))
}

fn told(decision: &Decision, now: Timestamp) -> String {
    let deed = match decision.verb {
        Verb::Released => "let it go on",
        Verb::Closed => "ended it without sending",
        Verb::Resent(Resend::Retry) => "had it sent again",
        Verb::Resent(Resend::Replay) => "had it sent again, labelled as a repeat",
        Verb::Redirected => "granted that it goes to another party",
        Verb::RedirectRefused => "refused that it goes to another party",
        Verb::TakenBack => "took it back",
        Verb::Resumed => "ended the pause",
        Verb::Stopped => "stopped it",
    };
    format!("{} {deed}, {}", decision.by, dates::near_moment(decision.at, now))
}

/// The page, unless the store failed or there is no such thing.
fn answer(looked: Result<Option<Response>, StoreError>, unknown: StatusCode) -> Response {
    match looked {
        Ok(Some(response)) => response,
        Ok(None) => trouble(unknown),
        Err(error) => store_failed(&error),
    }
}

/// What was to be done with a copy cannot be done any more.
pub(super) async fn copy(app: &App, id: DeliveryId) -> Response {
    let looked = async {
        let Some(copy) = app.gateway.store().delivery(id).await? else { return Ok(None) };
        let (decision, now) = (app.gateway.decided_of_copy(id).await?, app.gateway.clock().now());
        let stands = format!("It is now: {}, since {}", words::standing(&copy), dates::near_moment(copy.changed, now));
        let lines = decision.iter().map(|decision| told(decision, now)).chain([stands]).collect();
        let onward = Some((format!("/operations/deliveries/{id}"), "See how this delivery stands"));
        Ok(Some(decided_before(StatusCode::CONFLICT, lines, next_of(&copy), onward)))
    };
    answer(looked.await, StatusCode::CONFLICT)
}

fn next_of(copy: &DeliveryRecord) -> &'static str {
    match copy.state {
        _ if copy.ended.is_some() => {
            "Do nothing more: this copy is not to be used, and whoever may have it has been told."
        }
        DeliveryState::Queued => "Do nothing more: it is sent by itself. Look again in a few minutes.",
        DeliveryState::Failed => "It has failed again. Open it, read the cause, and decide anew.",
        _ => "Do not send it again before you have asked the recipient whether it came.",
    }
}

/// A hold is closed, or there is none.
pub(super) async fn hold(app: &App, id: &str, status: StatusCode) -> Response {
    let looked = async {
        let Ok(id) = id.parse::<HoldId>() else { return Ok(None) };
        let Some(transfer) = app.gateway.store().closed_hold(id).await? else { return Ok(None) };
        Ok(Some(held(app, transfer, status).await?))
    };
    answer(looked.await, StatusCode::NOT_FOUND)
}

/// A transfer is held no more.
async fn held(app: &App, transfer: TransferId, status: StatusCode) -> Result<Response, StoreError> {
    let (decision, now) = (app.gateway.decided_of_held(transfer).await?, app.gateway.clock().now());
    let (line, next) = match &decision {
        Some(decision) if decision.verb == Verb::Closed => {
            (told(decision, now), "Do nothing more: the hospital sees the reason, and sends anew what is still needed.")
        }
        Some(decision) => (told(decision, now), "Do nothing more: its copies are sent by themselves."),
        None => ("It is not held any more".to_owned(), "Look on the board whether its copies have left."),
    };
    Ok(decided_before(status, vec![line], next, board()))
}

/// A redirect was granted of a transfer that is held no more: nothing came of it.
pub(super) async fn redirect(app: &App, id: ApprovalId) -> Response {
    let looked = async {
        let asked = app.gateway.store().approval(id).await?;
        let Some(redirect) = asked.as_ref().and_then(Redirect::of) else { return Ok(None) };
        Ok(Some(held(app, redirect.transfer, StatusCode::CONFLICT).await?))
    };
    answer(looked.await, StatusCode::CONFLICT)
}

/// A request is not this person's to decide.
pub(super) async fn approval(app: &App, who: &SignedIn, id: ApprovalId) -> Response {
    let looked = async {
        let Some(asked) = app.gateway.store().approval(id).await? else { return Ok(None) };
        let onward = Some((format!("/operations/approvals/{id}"), "Open the request"));
        Ok(Some(not_yours(&asked, &who.user.to_string(), app.gateway.clock().now(), onward)))
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
        let lines = decision.iter().map(|decision| told(decision, now)).chain([stands]).collect();
        let next = "Do nothing more: what waited is sent in the order in which it came.";
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
        let next = "Do nothing more: open it to see which copies were queued again, and which stayed as they were.";
        let onward = Some((format!("/operations/bulks/{id}"), "See how far it came"));
        Ok(Some(decided_before(StatusCode::CONFLICT, vec![line], next, onward)))
    };
    answer(looked.await, StatusCode::CONFLICT)
}

fn whom(recipient: Option<&OdsCode>) -> String {
    recipient.map_or_else(|| "everybody".to_owned(), ToString::to_string)
}
