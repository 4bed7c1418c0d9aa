//! The second person's word on a request, and what came of it.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::ApprovalId;
use onward_gateway::holds::{Planned, Released};
use onward_gateway::redirect::Redirected;

use super::super::{Shell, attendant, page, see_other, sent, shell, store_failed, trouble};
use super::{overtaken, words};
use crate::app::App;
use crate::people::SignedIn;

/// What a decision came to, or would come to.
#[derive(Template)]
#[template(path = "operations/outcome.html")]
pub(super) struct OutcomePage {
    pub shell: Shell,
    pub title: &'static str,
    pub lines: Vec<String>,
    pub copies: Vec<[String; 3]>,
    pub back: String,
    pub form: Option<super::DeedForm>,
}

/// `POST /operations/approvals/{id}`.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(id) = id.parse::<ApprovalId>() else { return trouble(StatusCode::NOT_FOUND) };
    let granted = match sent(&body, "verdict").as_str() {
        "grant" => true,
        "refuse" => false,
        _ => return trouble(StatusCode::BAD_REQUEST),
    };
    match app.gateway.decide_redirect(&attendant(&who), id, granted).await {
        Ok(Redirected::Refused) => see_other("/operations?done=refused"),
        Ok(Redirected::Granted(Released::Queued(_))) => see_other("/operations?done=redirected"),
        Ok(Redirected::Granted(Released::NotFound)) => overtaken::redirect(&app, &who, id).await,
        Ok(Redirected::Granted(released)) => match shell(&app, &who).await {
            Ok((shell, _)) => outcome(&headers, shell, &released, "/operations".to_owned()),
            Err(error) => store_failed(&error),
        },
        Ok(Redirected::NotYours) => overtaken::approval(&app, &who, id).await,
        Err(error) => store_failed(&error),
    }
}

/// A page that says why a decision did not lead to copies.
pub(super) fn outcome(headers: &HeaderMap, shell: Shell, released: &Released, back: String) -> Response {
    let lines = match released {
        Released::StillHeld(cause) => {
            let (why, what) = words::hold(cause.reason);
            vec![format!("It is still held: {why}."), cause.detail.clone(), what.to_owned()]
        }
        Released::NotDecidable(why) => vec![in_page_words(&why.to_string())],
        Released::Refused(why) => vec![format!("The message would be refused now: {why}")],
        _ => vec!["It is not held any more.".to_owned()],
    };
    let title = "Nothing was sent";
    let template = OutcomePage { shell, title, lines, copies: Vec::new(), back, form: None };
    page(headers, StatusCode::CONFLICT, &template)
}

/// The gateway names options of the command line; a page names its fields.
fn in_page_words(text: &str) -> String {
    text.replace("by --care-home", "by the code of the care home")
        .replace("by --registered-practice", "by the code of the GP practice")
}

/// Copies as rows: as what, to whom, by which way.
pub(super) fn rows(copies: &[Planned]) -> Vec<[String; 3]> {
    let row = |copy: &Planned| {
        let to = format!("{} ({})", copy.name, copy.recipient);
        [words::kind(copy.kind).to_owned(), to, copy.transport.to_string()]
    };
    copies.iter().map(row).collect()
}
