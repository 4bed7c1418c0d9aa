//! A search that is posted (R4 HTTP, section 3.1.0.1.10): by a form no NHS number need stand in a URL.

use axum::body::Body;
use axum::http::HeaderMap;

use crate::outcome::{self, Outcome};

/// Largest form of a search.
const FORM_BYTES_MAX: usize = 8 * 1024;

/// The parameters of the address and of the form, as one query.
///
/// # Errors
/// The answer to what is no such form.
pub(super) async fn posted(headers: &HeaderMap, query: Option<&str>, body: Body) -> Result<String, Outcome> {
    if !super::body::is_form(headers) {
        return Err(outcome::unsupported_media_type("a search is posted as application/x-www-form-urlencoded"));
    }
    let body = super::body::read(body, FORM_BYTES_MAX).await?;
    let form = std::str::from_utf8(&body).map_err(|_| outcome::bad_request("the form is not UTF-8"))?;
    let given = [query.unwrap_or_default(), form];
    Ok(given.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&"))
}
