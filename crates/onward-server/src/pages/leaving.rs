//! `/transfers/{id}/leave`: the person leaves the home, and everybody who cares for them on account of the stay is told.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::civil::Date;
use onward_core::DeliveryId;
use onward_core::state::Departure;
use onward_gateway::attend::{Deed, Outcome, WORDS_MAX};
use onward_transform::render::{Card, dates};

use super::components::{Choice, Field, FormError};
use super::{OnlyGet, Shell, attendant, deeds, sent, store_failed, trouble};
use crate::app::App;
use crate::people::SignedIn;

#[derive(Template)]
#[template(path = "leave.html")]
struct LeavePage {
    shell: Shell,
    card: Option<Card>,
    path: String,
    errors: Vec<FormError>,
    to: Field,
    destinations: Vec<Choice>,
    on: Field,
    words: Field,
    /// What it knew when it was first shown.
    seen: String,
}

impl LeavePage {
    /// With what was sent and what is wrong with it: the field, and what to do.
    fn new(shell: Shell, id: DeliveryId, card: Option<Card>, today: Date, form: &[u8], wrong: Option<Wrong>) -> Self {
        let field = |name: &str, label: &str, hint: &str| Field {
            value: sent(form, name),
            hint: hint.to_owned(),
            error: wrong.filter(|wrong| wrong.0 == name).map(|wrong| wrong.1.to_owned()).unwrap_or_default(),
            ..Field::new(name, label)
        };
        let mut on = field("on", "On which day", "");
        if form.is_empty() {
            on.value = today.to_string();
        }
        let words = "For the hospital alone. Practices and pharmacy are told where the person went and when";
        Self {
            shell,
            card,
            path: format!("/transfers/{id}"),
            errors: wrong
                .map(|(field, text)| FormError { field: field.to_owned(), text: text.to_owned() })
                .into_iter()
                .collect(),
            to: field("to", "Where did the person go?", ""),
            destinations: vec![
                Choice::new(Departure::OwnHome.as_str(), "To their own home"),
                Choice::new(Departure::AnotherHome.as_str(), "To another care home"),
                Choice::new(Departure::Hospital.as_str(), "To hospital"),
                Choice::new(Departure::Elsewhere.as_str(), "Elsewhere"),
                Choice::new(Departure::Died.as_str(), "The person has died"),
            ],
            on,
            words: field("words", "Anything the hospital should know (optional)", words),
            seen: sent(form, "seen"),
        }
    }
}

/// What the look is called in the log.
const LEAVING: &str = "leaving the home";

/// A field, and what to do about it.
type Wrong = (&'static str, &'static str);

/// `GET /transfers/{id}/leave`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    query: RawQuery,
    headers: HeaderMap,
) -> Response {
    let today = dates::civil(app.gateway.clock().now());
    let form = |shell, id, card, seen| LeavePage { seen, ..LeavePage::new(shell, id, card, today, b"", None) };
    deeds::empty(&app, &who, &id, query, &headers, LEAVING, form).await
}

/// `POST /transfers/{id}/leave`.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    let Ok(id) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    let wrong = match read(&form) {
        Ok(deed) => match app.gateway.attend(&attendant(&who), id, deed).await {
            Ok(Outcome::WordsMissing) => ("on", "The day is today or before, and not long before the summary came"),
            Ok(outcome) => return deeds::answer(&app, &who, id, outcome, "", &form).await,
            Err(error) => return store_failed(&error),
        },
        Err(wrong) => wrong,
    };
    let today = dates::civil(app.gateway.clock().now());
    let filled = |shell, id, card, _| LeavePage::new(shell, id, card, today, &form, Some(wrong));
    deeds::again(&app, &who, id, &headers, LEAVING, filled).await
}

fn read(form: &[u8]) -> Result<Deed, Wrong> {
    let to = sent(form, "to").parse::<Departure>().map_err(|_| ("to", "Say where the person went"))?;
    let on = sent(form, "on").parse::<Date>().map_err(|_| ("on", "Say on which day"))?;
    let words = sent(form, "words");
    match words.chars().count() > WORDS_MAX {
        true => Err(("words", "Write at most 2,000 characters")),
        false => Ok(Deed::Leave { to, on, words }),
    }
}
