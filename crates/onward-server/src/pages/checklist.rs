//! `/transfers/{id}/checklist`: the first 72 hours in the home. What is recorded is only ever added to.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::state::DeliveryState;
use onward_core::store::{CheckOutcome, Step, StepKind};
use onward_core::{DeliveryId, Timestamp};
use onward_gateway::attend::{Attended, Deed, Outcome, has_arrived, takes_deeds};
use onward_gateway::checklist::{self, ITEMS};
use onward_gateway::meanwhile::Mark;
use onward_transform::render::Card;

use super::components::{Choice, Field, FormError};
use super::record::told;
use super::{OnlyGet, Shell, attendant, deeds, meanwhile, page, see_other, sent, shell, store_failed, trouble};
use crate::app::App;
use crate::people::SignedIn;

/// What becomes of an item.
struct Ticked {
    item: String,
    outcome: String,
    reason: String,
}

#[derive(Template)]
#[template(path = "checklist.html")]
struct ChecklistPage {
    shell: Shell,
    card: Option<Card>,
    path: String,
    errors: Vec<FormError>,
    settled: u32,
    /// Something can be recorded: its summary has not been replaced, and the person is alive.
    open: bool,
    /// What must come before the end; empty where nothing must.
    first: &'static str,
    items: Vec<ItemView>,
    visits: Vec<String>,
    visit: Field,
    outcomes: Vec<Choice>,
    finish: bool,
    finished: bool,
    finished_words: String,
    /// What others did while somebody had this page open.
    meanwhile: Vec<String>,
    /// What it knew.
    seen: String,
}

struct ItemView {
    key: &'static str,
    title: &'static str,
    state: &'static str,
    colour: &'static str,
    history: Vec<String>,
    done_first: bool,
    is_wrong: bool,
    other_words: &'static str,
    outcome: Field,
    reason: Field,
}

impl ItemView {
    fn new(item: checklist::Item, attended: &Attended, wrong: Option<&Ticked>, now: Timestamp) -> Self {
        let words = |outcome| match outcome {
            Some(CheckOutcome::Done) => ("Done", "green"),
            Some(CheckOutcome::NotApplicable) => ("Does not apply", "grey"),
            Some(CheckOutcome::Problem) => ("Problem", "red"),
            None => ("Open", "yellow"),
        };
        let told = |step: &Step| format!("{}: {}", words(step.outcome).0, told(step, attended.copy.id, now));
        let said: Vec<&Step> = attended
            .steps
            .iter()
            .filter(|step| step.kind == StepKind::Checked && step.item.as_deref() == Some(item.key))
            .collect();
        let (state, colour) = words(said.last().and_then(|step| step.outcome));
        let wrong = wrong.filter(|wrong| wrong.item == item.key);
        let unsaid = wrong.is_some_and(|wrong| wrong.outcome.is_empty());
        let why_missing = wrong.is_some_and(|wrong| !unsaid || wrong.reason.is_empty());
        let told_if = |wrong: bool, error: &str| if wrong { error.to_owned() } else { String::new() };
        let field = |part: &str, label: &str| Field { id: format!("{}-{part}", item.key), ..Field::new(part, label) };
        Self {
            key: item.key,
            title: item.title,
            state,
            colour,
            history: said.iter().map(|step| told(step)).collect(),
            done_first: said.last().is_none_or(|step| step.outcome != Some(CheckOutcome::Done)),
            is_wrong: wrong.is_some(),
            other_words: if said.is_empty() { "Does not apply, or there is a problem" } else { "Record it again" },
            outcome: Field {
                // Nothing is chosen beforehand: whoever writes of a problem in haste would record that the item does not apply.
                error: told_if(unsaid, "Say whether it does not apply, or there is a problem"),
                value: wrong.map(|wrong| wrong.outcome.clone()).unwrap_or_default(),
                ..field("outcome", "What became of it")
            },
            reason: Field {
                error: told_if(why_missing, "Say why it does not apply, or what the problem is"),
                value: wrong.map(|wrong| wrong.reason.clone()).unwrap_or_default(),
                ..field("reason", "Why")
            },
        }
    }
}

impl ChecklistPage {
    fn new(shell: Shell, attended: &Attended, card: Option<Card>, wrong: Option<&Ticked>, now: Timestamp) -> Self {
        let steps = &attended.steps;
        let view = |item| ItemView::new(item, attended, wrong, now);
        let items: Vec<ItemView> = ITEMS.into_iter().map(view).collect();
        let errors = items
            .iter()
            .flat_map(|item| [&item.outcome, &item.reason])
            .filter(|field| !field.error.is_empty())
            .map(|field| FormError { field: field.id.clone(), text: field.error.clone() });
        let copy = &attended.copy;
        let deceased = card.as_ref().is_some_and(|card| !card.died.is_empty());
        let open = takes_deeds(copy) && !deceased;
        let visits = steps.iter().filter(|step| step.kind == StepKind::Visited);
        let visits = visits.map(|step| told(step, copy.id, now)).collect();
        let mut visit = Field {
            hint: "For example: district nurse, for the dressing".to_owned(),
            ..Field::new("agency", "Who came, and what for")
        };
        if let Some(wrong) = wrong.filter(|wrong| wrong.item == VISIT) {
            (visit.value, visit.error) = (wrong.reason.clone(), "Say who came".to_owned());
        }
        let visit_error = Some(&visit).filter(|visit| !visit.error.is_empty());
        let visit_error = visit_error.map(|visit| FormError { field: visit.id.clone(), text: visit.error.clone() });
        let finished = steps.iter().rev().find(|step| step.kind == StepKind::Finished);
        Self {
            shell,
            card,
            path: format!("/transfers/{}", attended.copy.id),
            errors: errors.chain(visit_error).collect(),
            visits,
            visit,
            settled: checklist::settled(steps),
            open,
            first: match copy.state {
                _ if !takes_deeds(copy) => "This summary has been replaced: nothing more can be recorded with it.",
                _ if deceased => {
                    "This person has died: nothing is to be done here any more. What was recorded stays in sight."
                }
                DeliveryState::InProgress | DeliveryState::Completed => "",
                DeliveryState::Received if has_arrived(steps) => {
                    "The summary has been corrected. Read and acknowledge the new version before you finish."
                }
                _ => {
                    "Nobody has recorded yet that the person has arrived. Do that on the summary: before it, nobody can finish."
                }
            },
            outcomes: vec![
                Choice::new("not-applicable", "It does not apply"),
                Choice::new("problem", "There is a problem"),
            ],
            finish: open && copy.state == DeliveryState::InProgress && checklist::is_settled(steps),
            finished: finished.is_some(),
            finished_words: finished
                .map(|step| format!("Finished by {}", told(step, copy.id, now)))
                .unwrap_or_default(),
            meanwhile: Vec::new(),
            seen: attended.mark.to_string(),
            items,
        }
    }
}

/// `GET /transfers/{id}/checklist`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let since = meanwhile::since(query.unwrap_or_default().as_bytes());
    shown(&app, &who, &id, &headers, since, None).await
}

/// `POST /transfers/{id}/checklist`.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    let ticked = Ticked { item: sent(&form, "item"), outcome: sent(&form, "outcome"), reason: sent(&form, "reason") };
    let Ok(delivery) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    if ticked.outcome.is_empty() && checklist::item(&ticked.item).is_some() {
        return shown(&app, &who, &id, &headers, meanwhile::since(&form), Some(&ticked)).await;
    }
    let Ok(outcome) = ticked.outcome.parse::<CheckOutcome>() else {
        return trouble(StatusCode::BAD_REQUEST);
    };
    let deed = Deed::Check { item: ticked.item.clone(), outcome, reason: ticked.reason.clone() };
    match app.gateway.attend(&attendant(&who), delivery, deed).await {
        Ok(Outcome::WordsMissing) if checklist::item(&ticked.item).is_some() => {
            shown(&app, &who, &id, &headers, meanwhile::since(&form), Some(&ticked)).await
        }
        Ok(outcome) => deeds::answer(&app, &who, delivery, outcome, "/checklist", &form).await,
        Err(error) => store_failed(&error),
    }
}

/// Stands for an item where somebody else who came is noted.
const VISIT: &str = "visit";

/// `POST /transfers/{id}/visit`.
pub(super) async fn visit(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    let Ok(delivery) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    let agency = sent(&form, "agency");
    let said = Ticked { item: VISIT.to_owned(), outcome: String::new(), reason: agency.clone() };
    match app.gateway.attend(&attendant(&who), delivery, Deed::Visit { agency }).await {
        Ok(Outcome::WordsMissing) => shown(&app, &who, &id, &headers, meanwhile::since(&form), Some(&said)).await,
        Ok(outcome) => deeds::answer(&app, &who, delivery, outcome, "/checklist", &form).await,
        Err(error) => store_failed(&error),
    }
}

/// `POST /transfers/{id}/finish`.
pub(super) async fn finish(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    form: Bytes,
) -> Response {
    deeds::simple(&app, &who, &id, Deed::Finish, "/checklist", &form).await
}

async fn shown(
    app: &App,
    who: &SignedIn,
    id: &str,
    headers: &HeaderMap,
    since: Option<Mark>,
    wrong: Option<&Ticked>,
) -> Response {
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let Ok(id) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    let looked = async {
        let (shell, _) = shell(app, who).await?;
        let now = app.gateway.clock().now();
        let looked = app.gateway.look_at(&attendant(who), id, "the first 72 hours").await?;
        let Some(attended) = looked else { return Ok(None) };
        // What was recorded about a replaced summary stays in sight; of one that was taken back, its own page tells.
        if !attended.copy.is_readable() || attended.copy.notice.is_some() {
            return Ok(Some(None));
        }
        let card = deeds::card(app, id).await?;
        let meanwhile = meanwhile::by_others(app, id, &attended.steps, &who.user.to_string(), since).await?;
        let shown = ChecklistPage::new(shell, &attended, card, wrong, now);
        Ok(Some(Some(ChecklistPage { meanwhile, ..shown })))
    };
    match looked.await {
        Ok(Some(Some(template))) => page(headers, status, &template),
        Ok(Some(None)) => see_other(&format!("/transfers/{id}")),
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}
