//! `/`: who is signed in, for whom.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::{SignedIn, page};

#[derive(Template)]
#[template(path = "people/start.html")]
struct Start<'a> {
    name: &'a str,
    role: &'static str,
    organisations: String,
}

pub(super) async fn get(signed_in: SignedIn) -> Response {
    let organisations: Vec<&str> = signed_in.organisations.iter().map(onward_core::OdsCode::as_str).collect();
    let start = Start { name: &signed_in.name, role: signed_in.role.as_str(), organisations: organisations.join(", ") };
    page::of(StatusCode::OK, &start)
}
