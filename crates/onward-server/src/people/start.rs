//! `/`: who is signed in, for whom.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::{SignedIn, page};
use crate::auth::table::{Action, person_may};
use crate::pages::{Shell, role_in_words};

#[derive(Template)]
#[template(path = "people/start.html")]
struct Start<'a> {
    shell: Shell,
    name: &'a str,
    role: &'static str,
    organisations: String,
    arrivals: bool,
    operations: bool,
    audit: bool,
    directory: &'static str,
}

pub(super) async fn get(signed_in: SignedIn) -> Response {
    let (role, organisations) = (role_in_words(signed_in.role), signed_in.codes());
    let start = Start {
        shell: Shell { home: "/", ..Shell::of(&signed_in, &organisations) },
        name: &signed_in.name,
        role,
        organisations,
        arrivals: person_may(signed_in.role, Action::ListArrivals),
        operations: person_may(signed_in.role, Action::Operate),
        audit: person_may(signed_in.role, Action::SearchAudit),
        directory: match signed_in.role {
            role if person_may(role, Action::KeepEntry) => "Your entry in the directory",
            role if person_may(role, Action::SearchDirectory) => "Care homes",
            _ => "",
        },
    };
    page::of(StatusCode::OK, &start)
}
