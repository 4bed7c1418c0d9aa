//! A search that is posted (R4 HTTP, section 3.1.0.1.10): by a form no NHS number need stand in a URL.

use axum::body::Body;
use axum::http::HeaderMap;

use crate::app::App;
use crate::outcome::{self, Outcome};

/// Largest form of a search.
const FORM_BYTES_MAX: usize = 8 * 1024;

/// The parameters of the address, which the operator may let name nobody (`server.patients_in_addresses`): addresses stand in the logs of
/// whatever lies between.
///
/// # Errors
/// 400 for one that names a person all the same.
pub(super) fn addressed(app: &App, query: Option<String>) -> Result<String, Outcome> {
    let query = query.unwrap_or_default();
    let mut names = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    let names_somebody = names.any(|name| name.split([':', '.']).next() == Some("patient"));
    if names_somebody && !app.patients_in_addresses {
        let text = "patient names a person, and this gateway takes no person in an address: send the search to _search, by POST";
        return Err(outcome::bad_request(text));
    }
    Ok(query)
}

/// The parameters of the address and of the form, as one query.
///
/// # Errors
/// The answer to what is no such form.
pub(super) async fn posted(
    app: &App,
    headers: &HeaderMap,
    query: Option<String>,
    body: Body,
) -> Result<String, Outcome> {
    let query = addressed(app, query)?;
    if !super::body::is_form(headers) {
        return Err(outcome::unsupported_media_type("a search is posted as application/x-www-form-urlencoded"));
    }
    let body = super::body::read(body, FORM_BYTES_MAX).await?;
    let form = std::str::from_utf8(&body).map_err(|_| outcome::bad_request("the form is not UTF-8"))?;
    let given = [query.as_str(), form];
    Ok(given.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&"))
}
