//! The pharmacy's system: an HTTPS endpoint that takes what Onward pushes, and a pharmacist who accepts its Tasks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use onward_core::DeliveryId;
use tokio::sync::watch;
use url::Url;

use super::{Arrival, Event, Post, accept, task_id, tasks};
use crate::demo::people::PHARMACY;
use crate::session::Session;

/// While something waits for its Task: the gateway commits the push a moment after we have answered it.
const EVERY: Duration = Duration::from_millis(150);
/// Referrals are small; ITK3's own limit is generous.
const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;

/// The counter: what was pushed, and what still waits to be accepted.
pub(in crate::demo) struct Counter {
    post: Post,
    seen: Mutex<BTreeSet<DeliveryId>>,
    waiting: Mutex<BTreeSet<DeliveryId>>,
}

impl Counter {
    /// An empty counter.
    #[must_use]
    pub(in crate::demo) fn new(post: Post) -> Arc<Self> {
        Arc::new(Self { post, seen: Mutex::default(), waiting: Mutex::default() })
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<DeliveryId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `POST /onward`.
pub(in crate::demo) fn router(counter: Arc<Counter>) -> Router {
    Router::new().route("/onward", post(take)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(counter)
}

async fn take(State(counter): State<Arc<Counter>>, headers: HeaderMap, body: Bytes) -> Response {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Ok(delivery) = said("onward-delivery").parse::<DeliveryId>() else {
        return (StatusCode::BAD_REQUEST, "Onward-Delivery must be a UUID\n").into_response();
    };
    if !said("content-type").starts_with("application/fhir+json") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let bundle: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    if bundle.is_none_or(|bundle| !bundle["resourceType"].is_string()) {
        return (StatusCode::UNPROCESSABLE_ENTITY, "not a FHIR resource\n").into_response();
    }
    let place = format!("arrived/pharmacy-{delivery}.json");
    if counter.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&delivery) {
        return (StatusCode::CONFLICT, [("onward-duplicate", "true")]).into_response();
    }
    // Durable first: a push that cannot be kept is not answered as taken.
    let kept = match counter.post.world.keep(&place, &body) {
        Ok(kept) => kept,
        Err(error) => {
            counter.post.tell(Event::Trouble { who: "the pharmacy", what: format!("{error:#}") });
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    counter.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(delivery);
    let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    counter.post.tell(Event::Arrived(Arrival { delivery, bytes, kept: vec![kept] }));
    counter.waiting().insert(delivery);
    let mut response = StatusCode::CREATED.into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/referrals/{delivery}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Accepts what was pushed until `stop`.
///
/// # Errors
/// When its key cannot be read.
pub(in crate::demo) async fn live(
    counter: Arc<Counter>,
    gateway: Url,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let session = counter.post.session(&gateway, &PHARMACY)?;
    let mut rounds = counter.post.rounds(EVERY, stop);
    // A run that was broken off may have left Tasks behind; after that only a push is a reason to look.
    let mut first = true;
    while rounds.next().await {
        let looked =
            if first || !counter.waiting().is_empty() { accept_received(&counter, &session).await } else { Ok(()) };
        first &= looked.is_err();
        rounds.end(looked);
    }
    Ok(())
}

async fn accept_received(counter: &Counter, session: &Session) -> anyhow::Result<()> {
    for task in tasks(session, "FZZ01", "received").await? {
        let id = task_id(&task)?;
        if accept(session, id).await? {
            counter.waiting().remove(&id);
            counter.post.tell(Event::Acknowledged { delivery: id, how: "Task accepted".to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
