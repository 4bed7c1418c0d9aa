//! `GET /transfers/{id}`: the summary as it was sent to the home, how it stands, and what can be done; the same for printing;
//! and the files that came with it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use onward_core::state::DeliveryState;
use onward_core::store::{Step, StepKind, StoreError, StoredRendition};
use onward_core::{DeliveryId, Timestamp};
use onward_gateway::attend::{Attended, Opening};
use onward_gateway::checklist;
use onward_transform::render::{Card, Fragment, dates};

use super::components::Fact;
use super::{OnlyGet, Shell, attendant, page, shell, store_failed, trouble};
use crate::api::edge::NOTHING_RUNS;
use crate::app::App;
use crate::people::SignedIn;

/// What the state allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Actions {
    acknowledge: bool,
    arrive: bool,
    checklist: bool,
    query: bool,
    decline: bool,
    leave: bool,
}

impl Actions {
    fn of(state: DeliveryState, steps: &[Step]) -> Self {
        use DeliveryState as S;
        Self {
            acknowledge: matches!(state, S::Received),
            arrive: matches!(state, S::Received | S::Accepted),
            checklist: matches!(state, S::Accepted | S::InProgress | S::Completed),
            query: matches!(state, S::Received | S::Accepted | S::InProgress | S::Completed),
            decline: matches!(state, S::Received),
            leave: matches!(state, S::InProgress | S::Completed)
                && steps.iter().all(|step| step.kind != StepKind::Left),
        }
    }
}

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage<'a> {
    shell: Shell,
    heading: String,
    banner: &'a str,
    stops: String,
    rest: String,
    deceased: bool,
    standing: Vec<Fact>,
    actions: Actions,
    path: String,
    arrive_kind: &'static str,
    checklist_words: String,
    checklist_path: String,
    checklist_kind: &'static str,
}

#[derive(Template)]
#[template(path = "print.html")]
struct PrintPage<'a> {
    shell: Shell,
    heading: String,
    banner: &'a str,
    stops: String,
    rest: String,
    deceased: bool,
    standing: Vec<Fact>,
    path: String,
    printed: String,
}

/// `GET /transfers/{id}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let opened = open(&app, &signed_in, &id, Opening::Page).await;
    show(opened, |opened| {
        let Opened { shell, attended, card, .. } = opened;
        let actions = Actions::of(attended.copy.state, &attended.steps);
        let settled = settled_count(&attended.steps);
        let path = format!("/transfers/{}", attended.copy.id);
        let (banner, stops, rest) = opened.content(&path)?;
        let template = RecordPage {
            shell: shell.clone(),
            heading: format!("Discharge summary for {}", attended.copy.recipient_name),
            banner,
            stops,
            rest,
            deceased: card.as_ref().is_some_and(|card| !card.died.is_empty()),
            standing: standing(attended, card.as_ref(), opened.now),
            actions,
            arrive_kind: if actions.acknowledge { "secondary" } else { "" },
            checklist_words: format!("First 72 hours ({settled} of {})", checklist::ITEMS.len()),
            checklist_path: format!("{path}/checklist"),
            checklist_kind: if attended.copy.state == DeliveryState::InProgress { "" } else { "secondary" },
            path,
        };
        Some(page(&headers, StatusCode::OK, &template))
    })
}

/// `GET /transfers/{id}/print`.
pub(super) async fn print(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let opened = open(&app, &signed_in, &id, Opening::Print).await;
    show(opened, |opened| {
        let Opened { shell, attended, card, now, .. } = opened;
        let path = format!("/transfers/{}", attended.copy.id);
        let (banner, stops, rest) = opened.content(&path)?;
        let template = PrintPage {
            shell: shell.clone(),
            heading: format!("Discharge summary for {}", attended.copy.recipient_name),
            banner,
            stops,
            rest,
            deceased: card.as_ref().is_some_and(|card| !card.died.is_empty()),
            standing: standing(attended, card.as_ref(), *now),
            printed: format!(
                "Printed {} by {}. Paper does not change: look whether there is a newer version before you rely on it.",
                dates::moment(*now),
                signed_in.name
            ),
            path,
        };
        Some(page(&headers, StatusCode::OK, &template))
    })
}

/// `GET /transfers/{id}/pdf`: the summary as a tagged document to carry.
pub(super) async fn pdf(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
) -> Response {
    let opened = match open(&app, &signed_in, &id, Opening::Pdf).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return trouble(StatusCode::NOT_FOUND),
        Err(error) => return store_failed(&error),
    };
    let Some(html) = opened.rendition.html else { return trouble(StatusCode::NOT_FOUND) };
    let made = dates::moment(opened.now);
    let foot = format!("Made {made} for {}. Look whether there is a newer version.", signed_in.name);
    crate::api::bundle::pdf(html, foot).await
}

/// `GET /transfers/{id}/files/{number}`: a file that came with the summary, to be saved.
pub(super) async fn file(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    _: OnlyGet,
    Path((id, number)): Path<(String, usize)>,
) -> Response {
    let opened = open(&app, &signed_in, &id, Opening::File(number)).await;
    show(opened, |opened| {
        let file = opened.fragment()?.file(number)?;
        let mut response = file.bytes.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&file.media_type).ok()?);
        let disposition = format!("attachment; filename=\"{}\"", file.name);
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).ok()?);
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(NOTHING_RUNS));
        Some(response)
    })
}

struct Opened {
    shell: Shell,
    attended: Attended,
    rendition: StoredRendition,
    card: Option<Card>,
    now: Timestamp,
}

impl Opened {
    fn fragment(&self) -> Option<Fragment<'_>> {
        Fragment::of(std::str::from_utf8(self.rendition.html.as_deref()?).ok()?)
    }

    /// The banner, what stops the reader, and the rest with its files linked.
    fn content(&self, path: &str) -> Option<(&str, String, String)> {
        let fragment = self.fragment()?;
        let rest = fragment.linked(|number| format!("{path}/files/{number}"));
        Some((fragment.banner, fragment.stops, rest))
    }
}

async fn open(app: &App, signed_in: &SignedIn, id: &str, opening: Opening) -> Result<Option<Opened>, StoreError> {
    let Ok(id) = id.parse::<DeliveryId>() else { return Ok(None) };
    let (shell, _) = shell(app, signed_in).await?;
    let Some((attended, rendition)) = app.gateway.open_for(&attendant(signed_in), id, opening).await? else {
        return Ok(None);
    };
    let card = app.gateway.store().card(id).await?.as_deref().and_then(Card::from_json);
    Ok(Some(Opened { shell, attended, rendition, card, now: app.gateway.clock().now() }))
}

fn show(opened: Result<Option<Opened>, StoreError>, shown: impl FnOnce(&Opened) -> Option<Response>) -> Response {
    match opened {
        Ok(Some(opened)) => shown(&opened).unwrap_or_else(|| trouble(StatusCode::NOT_FOUND)),
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

pub(super) fn settled_count(steps: &[Step]) -> usize {
    use onward_core::store::CheckOutcome::Problem;
    checklist::latest(steps).values().filter(|step| step.outcome != Some(Problem)).count()
}

/// How it stands with the copy: which version, who opened and acknowledged it, what was asked.
fn standing(attended: &Attended, card: Option<&Card>, now: Timestamp) -> Vec<Fact> {
    let copy = &attended.copy;
    let (status, _) =
        super::inbox::status(copy.state, u32::try_from(settled_count(&attended.steps)).unwrap_or(u32::MAX));
    let sent = format!("Sent to you {}", dates::near_moment(copy.created, now));
    let version = match card.is_some_and(|card| card.replaces) {
        true => format!("{sent}. It replaces an earlier summary: stop using the earlier one."),
        false => format!("{sent}."),
    };
    let mut facts = vec![Fact { key: "Status", lines: vec![status] }, Fact { key: "Version", lines: vec![version] }];
    let of_kind = |kind: StepKind| -> Vec<String> {
        attended.steps.iter().filter(|step| step.kind == kind).map(|step| told(step, now)).collect()
    };
    for (kind, key) in [
        (StepKind::Opened, "Opened by"),
        (StepKind::Acknowledged, "Acknowledged by"),
        (StepKind::Declined, "Declined by"),
        (StepKind::Arrived, "Arrival recorded by"),
        (StepKind::Queried, "Asked the ward"),
        (StepKind::Visited, "Who else came"),
        (StepKind::Finished, "Finished by"),
        (StepKind::Left, "Left the home"),
    ] {
        let lines = of_kind(kind);
        if !lines.is_empty() {
            facts.push(Fact { key, lines });
        }
    }
    facts
}

/// A step in words.
pub(super) fn told(step: &Step, now: Timestamp) -> String {
    let said = step.text.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    format!("{}, {}{said}", step.name, dates::near_moment(step.at, now))
}

impl Actions {
    fn any(self) -> bool {
        self.acknowledge || self.arrive || self.checklist || self.query || self.decline || self.leave
    }
}
