//! Pages that say why nothing is shown or done, what to do about it, and where the way back is.

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use onward_core::DeliveryId;

use super::{Shell, first_page, page, shell};
use crate::app::App;
use crate::people::SignedIn;

/// Why nothing is shown or done; it names no patient. An answer carries it until the guard, which knows who asks and from
/// where, writes the page.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    title: &'static str,
    lines: Vec<&'static str>,
    /// What others did, and the words before it.
    told: Vec<String>,
    before: &'static str,
    /// The one safe thing to do, where there is one.
    next: &'static str,
    /// Where to go on, and what stands there, where that is not the way back.
    onward: Option<(String, &'static str)>,
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage {
    shell: Shell,
    trouble: Trouble,
    back: (String, &'static str),
}

impl Trouble {
    /// One line under a title.
    pub(crate) fn new(title: &'static str, line: &'static str) -> Self {
        Self { title, lines: vec![line], told: Vec::new(), before: "", next: "", onward: None }
    }

    fn of(status: StatusCode) -> Self {
        let (title, line) = match status {
            StatusCode::BAD_REQUEST => (
                "What was sent cannot be read",
                "Nothing was done. Go back, open the page again and fill in the form there.",
            ),
            StatusCode::NOT_FOUND => {
                ("Page not found", "There is no such page, or it is not addressed to your organisation.")
            }
            StatusCode::METHOD_NOT_ALLOWED => ("This cannot be done here", "Nothing was done. Go back and try again."),
            StatusCode::GONE => {
                ("This summary was erased", "What was here about a person was erased, and nobody can read it any more.")
            }
            StatusCode::FORBIDDEN => (
                "You cannot see this page",
                "Your account is not one that may do this. If it should be, ask whoever runs this service.",
            ),
            StatusCode::CONFLICT => (
                DECIDED,
                "Nothing was done now. Somebody may have done something else with it in the meantime. Go back to see how it stands.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => {
                ("Too much was sent", "Nothing was done. Go back, and write less or send less at once.")
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let line = "Onward cannot write down who looks at a record, so it shows none, and what you asked for was not done. Nothing that is kept is lost. Try again in a minute.";
                let mut trouble = Self::new("Nothing can be shown at the moment", line);
                trouble.lines.push("If a person is about to arrive, ring the ward that they come from. Summaries that you have printed still hold unless the ward says otherwise.");
                return trouble;
            }
            _ => (
                "Something went wrong",
                "Nothing was shown. Try again in a minute. If it happens again, tell whoever runs Onward for you.",
            ),
        };
        Self::new(title, line)
    }

    /// The answer that carries it.
    pub(crate) fn answer(self, status: StatusCode) -> Response {
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Nothing can be shown, for a reason that says nothing about anybody.
#[must_use]
pub(crate) fn trouble(status: StatusCode) -> Response {
    Trouble::of(status).answer(status)
}

/// What somebody wanted to do could not be done any more: this did others meanwhile.
pub(super) fn overtaken(told: Vec<String>) -> Response {
    let before = "While you had the page open:";
    Trouble { told, before, ..Trouble::of(StatusCode::CONFLICT) }.answer(StatusCode::CONFLICT)
}

/// What somebody wanted to decide is decided: who did it, when and what, and the one safe thing to do now.
pub(super) fn decided_before(
    status: StatusCode,
    told: Vec<String>,
    next: &'static str,
    onward: Option<(String, &'static str)>,
) -> Response {
    let line = "Nothing was done now.";
    let trouble = Trouble { told, before: "How it stands:", next, onward, ..Trouble::new(DECIDED, line) };
    trouble.answer(status)
}

const DECIDED: &str = "This cannot be done any more";

/// Others have archives drawn or read theirs: nothing was handed out, and the grant still holds.
pub(super) fn too_many_files() -> Response {
    let line = "Others are fetching files at the moment, and a file takes a while to make. Nothing was handed out.";
    let next = "Try again in a minute: what was granted can still be fetched.";
    let onward = Some(("/audit/exports".to_owned(), "Go back to the exports"));
    let mut response = Trouble { next, onward, ..Trouble::new("The file cannot be made now", line) }
        .answer(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
    response
}

/// What would leave was not shown with the form that grants it.
pub(super) fn unseen(request: String) -> Response {
    let line = "Whoever grants an export must have been shown what would leave, and with this form you were not. Nothing was decided.";
    let next = "Open the request, read what it holds, and decide there.";
    let onward = Some((request, "Open the request"));
    Trouble { next, onward, ..Trouble::new("Nothing was granted", line) }.answer(StatusCode::CONFLICT)
}

/// What somebody did with a summary that has ended came too late: nothing was kept of it. `copy` is what they go on with, `replaced`
/// whether that took the place of theirs.
pub(super) fn too_late(copy: DeliveryId, replaced: bool) -> Response {
    let (line, words) = match replaced {
        true => (
            "The summary has been replaced in the meantime. Nothing was kept of what you sent, and nobody was told. Do it on the summary that replaces it.",
            "Open the summary that replaces it",
        ),
        false => (
            "The summary is not to be used any more. Nothing was kept of what you sent, and nobody was told.",
            "See why",
        ),
    };
    let onward = Some((format!("/transfers/{copy}"), words));
    Trouble { onward, ..Trouble::new("This was not recorded", line) }.answer(StatusCode::CONFLICT)
}

/// That the person has left the home was told before, and otherwise: who told what, and when.
pub(super) fn left_before(told: Vec<String>) -> Response {
    let line =
        "That the person has left the home was told before. Nothing was kept of what you sent, and nobody was told.";
    let next = "What was told cannot be taken back here. If it is not right, ring the hospital, both practices and the pharmacy.";
    let trouble = Trouble { told, before: "How it stands:", next, ..Trouble::new("This was not recorded", line) };
    trouble.answer(StatusCode::CONFLICT)
}

/// The answer with its page, where it carries a reason, or says no without any words for a person.
pub(crate) async fn told(
    app: &App,
    response: Response,
    headers: &HeaderMap,
    path: &str,
    who: Option<&SignedIn>,
) -> Response {
    let (mut parts, body) = response.into_parts();
    let refused = parts.status.is_client_error() || parts.status.is_server_error();
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let wordless = refused && kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let trouble = match parts.extensions.remove::<Trouble>() {
        Some(trouble) => trouble,
        None if wordless => Trouble::of(parts.status),
        None => return Response::from_parts(parts, body),
    };
    let shell = match who {
        // The store may be what has failed: then by code.
        Some(who) => shell(app, who).await.map_or_else(|_| Shell::of(who, &who.codes()), |(shell, _)| shell),
        None => Shell::nobody(),
    };
    let template =
        TroublePage { shell, back: trouble.onward.clone().unwrap_or_else(|| back(path, parts.status, who)), trouble };
    let (made, body) = page(headers, parts.status, &template).into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(made.headers);
    Response::from_parts(parts, Body::new(body))
}

/// Where the person was, as far as the address tells: browsers are told to send no `Referer`.
fn back(path: &str, status: StatusCode, who: Option<&SignedIn>) -> (String, &'static str) {
    let start = match who {
        Some(who) => (first_page(who.role).to_owned(), "Go to your first page"),
        None => ("/".to_owned(), "Go to the start page"),
    };
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let seen = !matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN);
    match parts[..] {
        _ if status == StatusCode::FORBIDDEN => start,
        ["transfers", id, ..] if seen => (format!("/transfers/{id}"), "Go back to the summary"),
        ["operations", kind @ ("deliveries" | "holds" | "approvals"), id, ..] if seen => {
            (format!("/operations/{kind}/{id}"), "Go back to where you were")
        }
        ["operations", ..] => ("/operations".to_owned(), "Go back to the deliveries"),
        ["audit", "exports", ..] => ("/audit/exports".to_owned(), "Go back to the exports"),
        ["audit", ..] => ("/audit".to_owned(), "Go back to the audit log"),
        ["directory", ..] => ("/directory".to_owned(), "Go back to the directory"),
        ["account", ..] => ("/account".to_owned(), "Go back to your account"),
        _ => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_where_the_person_was() {
        let back = |path, status| back(path, status, None).0;
        let (gone, late) = (StatusCode::NOT_FOUND, StatusCode::CONFLICT);
        assert_eq!(back("/transfers/3f2b/decline", late), "/transfers/3f2b");
        assert_eq!(back("/transfers/3f2b", gone), "/", "not to what is not there");
        assert_eq!(back("/operations/holds/3f2b/release", late), "/operations/holds/3f2b");
        assert_eq!(back("/operations/holds/3f2b/release", gone), "/operations");
        assert_eq!(back("/audit/exports/3f2b/file", gone), "/audit/exports");
        assert_eq!(back("/audit/entry", StatusCode::FORBIDDEN), "/", "not to what one may not see");
    }
}
