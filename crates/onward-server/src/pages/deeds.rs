//! What people of a home do with a summary: each form posts, and leads back to the summary.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::DeliveryId;
use onward_core::store::StoreError;
use onward_gateway::attend::{Deed, Outcome, WORDS_MAX, takes_deeds};
use onward_gateway::leaving;
use onward_gateway::meanwhile::Mark;
use onward_transform::render::Card;

use super::components::{Field, FormError};
use super::trouble::{left_before, overtaken, too_late, trouble};
use super::{OnlyGet, Shell, attendant, meanwhile, page, see_other, sent, shell, store_failed};
use crate::app::App;
use crate::people::SignedIn;

/// A page that asks for words before something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Query,
    Decline,
}

#[derive(Template)]
#[template(path = "words.html")]
struct WordsPage {
    shell: Shell,
    title: &'static str,
    card: Option<Card>,
    lines: &'static [&'static str],
    telephones: Vec<String>,
    errors: Vec<FormError>,
    field: Field,
    button: &'static str,
    kind: &'static str,
    back: String,
    this: String,
    /// What it knew when it was first shown.
    seen: String,
}

impl Asking {
    fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Decline => "decline",
        }
    }

    fn deed(self, words: String) -> Deed {
        match self {
            Self::Query => Deed::Query { question: words },
            Self::Decline => Deed::Decline { reason: words },
        }
    }

    fn page(self, shell: Shell, id: DeliveryId, card: Option<Card>, error: &str, value: String) -> WordsPage {
        let (title, lines, label, hint, button, kind): (_, &'static [&'static str], _, _, _, _) = match self {
            Self::Query => (
                "Ask the ward",
                &["The question goes to the hospital's system with your name. Nobody may read it tonight."],
                "Your question",
                "The hospital knows whom it is about",
                "Send the question",
                "",
            ),
            Self::Decline => (
                "Tell the hospital that you cannot take this person",
                &["The hospital is told at once, with your name and the reason. This cannot be taken back here."],
                "Why not",
                "For example: no bed with nursing is free",
                "Decline",
                "warning",
            ),
        };
        let field = Field { error: error.to_owned(), value, hint: hint.to_owned(), ..Field::new("words", label) };
        let errors = (!error.is_empty()).then(|| FormError { field: field.id.clone(), text: error.to_owned() });
        let back = format!("/transfers/{id}");
        WordsPage {
            shell,
            title,
            lines,
            telephones: card.as_ref().map(|card| card.telephones.clone()).unwrap_or_default(),
            card,
            errors: errors.into_iter().collect(),
            field,
            button,
            kind,
            this: format!("{back}/{}", self.name()),
            back,
            seen: String::new(),
        }
    }
}

/// `POST /transfers/{id}/acknowledge`.
pub(super) async fn acknowledge(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    form: Bytes,
) -> Response {
    simple(&app, &who, &id, Deed::Acknowledge, "", &form).await
}

/// `POST /transfers/{id}/arrive`.
pub(super) async fn arrive(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    form: Bytes,
) -> Response {
    simple(&app, &who, &id, Deed::Arrive, "", &form).await
}

/// `GET /transfers/{id}/query`.
pub(super) async fn query_form(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    query: RawQuery,
    headers: HeaderMap,
) -> Response {
    form(&app, &who, &id, query, &headers, Asking::Query).await
}

/// `POST /transfers/{id}/query`.
pub(super) async fn query(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    worded(&app, &who, &id, &headers, Asking::Query, &form).await
}

/// `GET /transfers/{id}/decline`.
pub(super) async fn decline_form(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    query: RawQuery,
    headers: HeaderMap,
) -> Response {
    form(&app, &who, &id, query, &headers, Asking::Decline).await
}

/// `POST /transfers/{id}/decline`.
pub(super) async fn decline(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    worded(&app, &who, &id, &headers, Asking::Decline, &form).await
}

/// Does what needs no words, and leads to the copy's page of this name; its record has none.
pub(super) async fn simple(app: &App, who: &SignedIn, id: &str, deed: Deed, page: &str, form: &[u8]) -> Response {
    let Ok(id) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    match app.gateway.attend(&attendant(who), id, deed).await {
        Ok(outcome) => answer(app, who, id, outcome, page, form).await,
        Err(error) => store_failed(&error),
    }
}

/// Where an outcome leads, when it needs no words: to the copy's page of this name; its record has none. Whether it was done or refused,
/// what colleagues did since the form was shown is told.
pub(super) async fn answer(
    app: &App,
    who: &SignedIn,
    id: DeliveryId,
    outcome: Outcome,
    page: &str,
    form: &[u8],
) -> Response {
    let since = meanwhile::since(form);
    match outcome {
        Outcome::Done => match by_others(app, who, id, since).await {
            Ok(told) => match since.filter(|_| !told.is_empty()) {
                Some(since) => see_other(&meanwhile::told_on(&format!("/transfers/{id}{page}"), since)),
                None => see_other(&format!("/transfers/{id}{page}")),
            },
            // It is done all the same.
            Err(_) => see_other(&format!("/transfers/{id}{page}")),
        },
        Outcome::Ended { by } => too_late(by.unwrap_or(id), by.is_some()),
        Outcome::NotFound => trouble(StatusCode::NOT_FOUND),
        Outcome::LeftBefore => match who_told(app, who, id).await {
            Ok(told) => left_before(told),
            Err(error) => store_failed(&error),
        },
        Outcome::NotAllowed(_) | Outcome::WordsMissing | Outcome::ItemsOpen => {
            let told = async {
                let told = by_others(app, who, id, since).await?;
                if !told.is_empty() {
                    app.gateway.look_at(&attendant(who), id, "what others did meanwhile").await?;
                }
                Ok::<_, StoreError>(told)
            };
            match told.await {
                Ok(told) => overtaken(told),
                Err(error) => store_failed(&error),
            }
        }
    }
}

async fn by_others(app: &App, who: &SignedIn, id: DeliveryId, since: Option<Mark>) -> Result<Vec<String>, StoreError> {
    if since.is_none() {
        return Ok(Vec::new());
    }
    let steps = app.gateway.store().steps(id).await?;
    meanwhile::by_others(app, id, &steps, &who.user.to_string(), since).await
}

/// Who told that the person has left the home; the look is audited.
async fn who_told(app: &App, who: &SignedIn, id: DeliveryId) -> Result<Vec<String>, StoreError> {
    let looked = app.gateway.look_at(&attendant(who), id, "who told that the person has left").await?;
    let now = app.gateway.clock().now();
    let left = looked.as_ref().and_then(|attended| leaving::left(&attended.steps));
    Ok(left.map(|step| meanwhile::left(step, now)).into_iter().collect())
}

async fn form(app: &App, who: &SignedIn, id: &str, query: RawQuery, headers: &HeaderMap, asking: Asking) -> Response {
    let form = |shell, id, card, seen| WordsPage { seen, ..asking.page(shell, id, card, "", String::new()) };
    empty(app, who, id, query, headers, asking.name(), form).await
}

/// A form about a copy that nobody has filled in yet, made with what the page knew whose link led to it: it tells nothing of what was
/// done since. Without that, with what is known now. The look at it is audited under this name, or nothing is shown.
pub(super) async fn empty<T: Template>(
    app: &App,
    who: &SignedIn,
    id: &str,
    RawQuery(query): RawQuery,
    headers: &HeaderMap,
    name: &str,
    form: impl FnOnce(Shell, DeliveryId, Option<Card>, String) -> T,
) -> Response {
    let Ok(id) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    let since = meanwhile::since(query.unwrap_or_default().as_bytes());
    let form = |shell, id, card, own| form(shell, id, card, since.map_or(own, |since| since.to_string()));
    about(app, who, id, headers, name, StatusCode::OK, form).await
}

async fn about<T: Template>(
    app: &App,
    who: &SignedIn,
    id: DeliveryId,
    headers: &HeaderMap,
    name: &str,
    status: StatusCode,
    form: impl FnOnce(Shell, DeliveryId, Option<Card>, String) -> T,
) -> Response {
    let looked = async {
        let looked = app.gateway.look_at(&attendant(who), id, name).await?;
        match looked {
            None => Ok(None),
            Some(attended) if !takes_deeds(&attended.copy) => Ok(Some(None)),
            Some(attended) => {
                let (shell, _) = shell(app, who).await?;
                Ok::<_, StoreError>(Some(Some((shell, card(app, id).await?, attended.mark))))
            }
        }
    };
    match looked.await {
        // Nothing can be done with it any more: its page says why, and leads on.
        Ok(Some(None)) => see_other(&format!("/transfers/{id}")),
        Ok(Some(Some((shell, card, mark)))) => page(headers, status, &form(shell, id, card, mark.to_string())),
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

/// The same form with what is wrong. It says again whom it is about, for what it does cannot be taken back; the look is audited. It goes
/// on with what its first page knew: what was done since has not been told yet.
pub(super) async fn again<T: Template>(
    app: &App,
    who: &SignedIn,
    id: DeliveryId,
    headers: &HeaderMap,
    name: &str,
    form: impl FnOnce(Shell, DeliveryId, Option<Card>, String) -> T,
) -> Response {
    about(app, who, id, headers, name, StatusCode::UNPROCESSABLE_ENTITY, form).await
}

async fn worded(app: &App, who: &SignedIn, id: &str, headers: &HeaderMap, asking: Asking, body: &[u8]) -> Response {
    let words = sent(body, "words");
    let Ok(id) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    let error = match words.trim() {
        "" => "Write what it is about",
        words if words.chars().count() > WORDS_MAX => "Write at most 2,000 characters",
        _ => "",
    };
    if !error.is_empty() {
        let seen = sent(body, "seen");
        let form = |shell, id, card, _| WordsPage { seen, ..asking.page(shell, id, card, error, words) };
        return again(app, who, id, headers, asking.name(), form).await;
    }
    match app.gateway.attend(&attendant(who), id, asking.deed(words)).await {
        Ok(outcome) => answer(app, who, id, outcome, "", body).await,
        Err(error) => store_failed(&error),
    }
}

/// What lists show of the copy, for a banner.
pub(super) async fn card(app: &App, id: DeliveryId) -> Result<Option<Card>, StoreError> {
    Ok(app.gateway.store().card(id).await?.as_deref().and_then(Card::from_json))
}
