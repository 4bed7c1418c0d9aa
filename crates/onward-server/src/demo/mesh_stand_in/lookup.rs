//! Which mailboxes take a workflow, for an organisation or at all. Neither question needs a token.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Exchange, second_version};

/// A mailbox that takes a workflow for an organisation.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The organisation.
    pub ods: String,
    /// The workflow.
    pub workflow: String,
    /// The mailbox.
    pub mailbox: String,
}

/// By organisation and workflow.
pub(super) async fn endpoint(
    State(exchange): State<Arc<Exchange>>,
    Path((ods, workflow)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let fits = |listing: &&Listing| listing.ods.eq_ignore_ascii_case(&ods) && listing.workflow == workflow;
    answer(exchange.listings.iter().filter(fits), &headers)
}

/// By workflow alone.
pub(super) async fn workflow(
    State(exchange): State<Arc<Exchange>>,
    Path(workflow): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(exchange.listings.iter().filter(|listing| listing.workflow == workflow), &headers)
}

fn answer<'l>(found: impl Iterator<Item = &'l Listing>, headers: &HeaderMap) -> Response {
    let name = |listing: &Listing| format!("Mailbox of {}", listing.ods);
    let body = if second_version(headers) {
        let results: Vec<Value> =
            found.map(|listing| json!({ "mailbox_id": listing.mailbox, "mailbox_name": name(listing) })).collect();
        json!({ "results": results })
    } else {
        let results: Vec<Value> = found
            .map(|listing| json!({ "endpoint_type": "MESH", "description": name(listing), "address": listing.mailbox }))
            .collect();
        json!({ "query_id": uuid::Uuid::new_v4().simple().to_string(), "results": results })
    };
    axum::Json(body).into_response()
}
