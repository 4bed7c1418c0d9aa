//! `/directory`: a home keeps its own entry; a hospital searches for homes. No patient stands in it.

mod entry;
mod own;
pub mod search;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use onward_core::Timestamp;
use onward_core::directory::{Beds, CareHome};
use onward_gateway::directory::FRESH;
use onward_transform::render::dates;

use super::OnlyGet;
use crate::api::{Access, Route};
use crate::app::App;
use crate::auth::table::{Action, person_may};
use crate::people::SignedIn;

pub(super) fn table() -> Vec<(Route, MethodRouter<Arc<App>>)> {
    use Action::{KeepEntry, SearchDirectory};
    let route = |method, path, action, handler| (Route { method, path, access: Access::Page(action) }, handler);
    vec![
        route("GET", "/directory", SearchDirectory, get(show)),
        route("POST", "/directory/confirm", KeepEntry, post(own::confirm)),
        route("POST", "/directory/entry", KeepEntry, post(own::entry)),
    ]
}

/// `GET /directory`: the own entry of a home, or the search of a hospital.
async fn show(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    match person_may(who.role, Action::KeepEntry) {
        true => own::show(&app, &who, &headers, &query, None).await,
        false => search::show(&app, &who, &headers, &query).await,
    }
}

/// How old the number of free beds is, and whether that is too old to go by.
fn age(home: &CareHome, now: Timestamp) -> (String, bool) {
    match home.beds_updated {
        None => ("Never confirmed".to_owned(), true),
        Some(at) if now.duration_since(at) > FRESH => {
            (format!("Over 24 hours old: confirmed {}", dates::near_moment(at, now)), true)
        }
        Some(at) => (format!("Confirmed {}", dates::near_moment(at, now)), false),
    }
}

fn beds(beds: Beds) -> String {
    format!("{} with nursing, {} without", beds.with_nursing, beds.without_nursing)
}
