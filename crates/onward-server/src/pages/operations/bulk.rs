//! Several failed copies are retried together: a filter says which, and a page in between says how many.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::Timestamp;
use onward_core::store::Stuck;
use onward_gateway::operate::BoardFilter;

use super::super::components::FormError;
use super::super::{OnlyGet, Shell, page, see_other, sent, shell, store_failed, trouble};
use super::{DeedForm, Wrong, board, decider, errors, reason, words};
use crate::app::App;
use crate::people::SignedIn;

#[derive(Template)]
#[template(path = "operations/bulk.html")]
struct BulkPage {
    shell: Shell,
    errors: Vec<FormError>,
    count: usize,
    oldest: String,
    causes: Vec<String>,
    recipients: Vec<String>,
    back: String,
    form: DeedForm,
}

/// `GET /operations/retry`: how many there are, before anything is done.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    show(&app, &who, &headers, query.as_deref().unwrap_or_default(), None).await
}

/// `POST /operations/retry`: does it, if there are no more than were shown.
pub(super) async fn post(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let query = sent(&body, "filter");
    let why = match reason(&body) {
        Ok(why) => why,
        Err(error) => {
            return show(&app, &who, &headers, &query, Some(Wrong::new("retry", "reason", error, &body))).await;
        }
    };
    let (Some(filter), Ok(shown)) = (narrow(&query), sent(&body, "count").parse::<usize>()) else {
        return trouble(StatusCode::BAD_REQUEST);
    };
    let done = async {
        if app.gateway.resendable(&filter).await?.len() > shown {
            return Ok(None);
        }
        app.gateway.resend_all(&filter, &decider(&who, &why, true)).await.map(Some)
    };
    match done.await {
        Ok(Some(_)) => see_other("/operations?done=retried"),
        Ok(None) => {
            let wrong = Wrong::new("retry", "reason", "There are more now than were shown: look again", &body);
            show(&app, &who, &headers, &query, Some(wrong)).await
        }
        Err(error) => store_failed(&error),
    }
}

/// The filter of an address, if it says which recipient or which cause.
fn narrow(query: &str) -> Option<BoardFilter> {
    board::filter_of(query).filter(|filter| filter.recipient.is_some() || filter.cause.is_some())
}

async fn show(app: &App, who: &SignedIn, headers: &HeaderMap, query: &str, wrong: Option<Wrong>) -> Response {
    let Some(filter) = narrow(query) else { return trouble(StatusCode::BAD_REQUEST) };
    let looked = async { Ok((shell(app, who).await?.0, app.gateway.resendable(&filter).await?)) };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    match looked.await {
        Ok((shell, found)) => {
            let now = app.gateway.clock().now();
            page(headers, status, &BulkPage::new(shell, &filter, &found, wrong.as_ref(), now))
        }
        Err(error) => store_failed(&error),
    }
}

impl BulkPage {
    fn new(shell: Shell, filter: &BoardFilter, found: &[Stuck], wrong: Option<&Wrong>, now: Timestamp) -> Self {
        let distinct = |names: Vec<String>| names.into_iter().collect::<std::collections::BTreeSet<_>>();
        let causes = found
            .iter()
            .map(|stuck| words::cause(onward_core::cause::Cause::of(stuck.copy.reason.as_deref())).0.to_owned());
        let recipients = found.iter().map(|stuck| format!("{} ({})", stuck.copy.recipient_name, stuck.copy.recipient));
        let mut form = DeedForm::new("retry", "", "/operations/retry".to_owned(), "Yes, retry them").wrong(wrong);
        form.hidden = vec![("filter", filter.told()), ("count", found.len().to_string())];
        form.kind = "warning";
        let forms = [form];
        let errors = errors(&forms);
        let [form] = forms;
        Self {
            shell,
            errors,
            count: found.len(),
            oldest: found.first().map(|stuck| words::span(stuck.copy.created, now)).unwrap_or_default(),
            causes: distinct(causes.collect()).into_iter().collect(),
            recipients: distinct(recipients.collect()).into_iter().collect(),
            back: format!("/operations?{}", filter.told()),
            form,
        }
    }
}
