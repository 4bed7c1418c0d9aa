//! `GET /transfers/{id}`: the summary as it was sent to the home, how it stands, and what can be done; the same for printing;
//! and the files that came with it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use onward_core::state::{DeliveryState, EndReason};
use onward_core::store::{DeliveryRecord, Step, StepKind, StoreError, StoredRendition};
use onward_core::{DeliveryId, Timestamp};
use onward_gateway::attend::{Attended, Content, Opening, Sight, has_arrived, takes_deeds};
use onward_gateway::collect::{Made, Unmade};
use onward_gateway::{checklist, leaving};
use onward_transform::render::{Card, Fragment, dates};

use super::components::Fact;
use super::stopped::StoppedPage;
use super::{OnlyGet, Shell, attendant, deeds, meanwhile, page, shell, store_failed, trouble};
use crate::api::edge::NOTHING_RUNS;
use crate::app::App;
use crate::people::SignedIn;

/// What the state allows; nothing of a copy that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Actions {
    acknowledge: bool,
    arrive: bool,
    checklist: bool,
    query: bool,
    decline: bool,
    leave: bool,
}

impl Actions {
    /// Of a person who has died nobody records an arrival, goes through the first hours or is to find another place.
    fn of(copy: &DeliveryRecord, steps: &[Step], deceased: bool) -> Self {
        use DeliveryState as S;
        if !takes_deeds(copy) {
            return Self::default();
        }
        let state = copy.state;
        // As was told with an earlier version.
        let (arrived, left) = (has_arrived(steps), leaving::told_before(steps).is_some());
        Self {
            acknowledge: matches!(state, S::Received),
            arrive: matches!(state, S::Received | S::Accepted) && !arrived && !deceased,
            checklist: !deceased
                && (matches!(state, S::Accepted | S::InProgress | S::Completed) || state == S::Received && arrived),
            query: matches!(state, S::Received | S::Accepted | S::InProgress | S::Completed),
            decline: matches!(state, S::Received) && !arrived && !deceased,
            leave: !left
                && (matches!(state, S::InProgress | S::Completed)
                    || arrived && matches!(state, S::Received | S::Accepted)),
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
    /// What others did while somebody had a page of it open.
    meanwhile: Vec<String>,
    /// What it knew.
    seen: String,
    actions: Actions,
    heir: String,
    path: String,
    arrive_kind: &'static str,
    checklist_words: String,
    checklist_path: String,
    checklist_kind: &'static str,
}

/// A notice asks for one thing: to be confirmed.
#[derive(Template)]
#[template(path = "notice.html")]
struct NoticePage {
    shell: Shell,
    heading: String,
    card: Option<Card>,
    standing: Vec<Fact>,
    rest: String,
    path: String,
    confirm: bool,
}

#[derive(Template)]
#[template(path = "print.html")]
struct PrintPage<'a> {
    shell: Shell,
    is_notice: bool,
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
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let since = meanwhile::since(query.unwrap_or_default().as_bytes());
    let opened = open(&app, &signed_in, &id, Opening::Page).await;
    let meanwhile = match &opened {
        Ok(Seen::Opened(opened)) => {
            let Attended { copy, steps, .. } = &opened.attended;
            meanwhile::by_others(&app, copy.id, steps, &signed_in.user.to_string(), since).await
        }
        _ => Ok(Vec::new()),
    };
    let meanwhile = match meanwhile {
        Ok(told) => told,
        Err(error) => return store_failed(&error),
    };
    show(&headers, opened, |opened| {
        let Opened { shell, attended, card, .. } = opened;
        if attended.copy.notice.is_some() {
            return Some(page(&headers, StatusCode::OK, &opened.notice()?));
        }
        let deceased = card.as_ref().is_some_and(|card| !card.died.is_empty());
        let actions = Actions::of(&attended.copy, &attended.steps, deceased);
        let settled = checklist::settled(&attended.steps);
        let path = format!("/transfers/{}", attended.copy.id);
        let (banner, stops, rest) = opened.content(&path)?;
        let template = RecordPage {
            shell: shell.clone(),
            heading: heading(&attended.copy),
            banner,
            stops,
            rest,
            deceased,
            standing: standing(attended, card.as_ref(), opened.now),
            meanwhile,
            seen: attended.mark.to_string(),
            actions,
            heir: heir(&attended.copy),
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
    show(&headers, opened, |opened| {
        let Opened { shell, attended, card, now, .. } = opened;
        let path = format!("/transfers/{}", attended.copy.id);
        let (banner, stops, rest) = opened.content(&path)?;
        let template = PrintPage {
            shell: shell.clone(),
            is_notice: attended.copy.notice.is_some(),
            heading: heading(&attended.copy),
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
    headers: HeaderMap,
) -> Response {
    let opened = match open(&app, &signed_in, &id, Opening::Pdf).await {
        Ok(Seen::Opened(opened)) => opened,
        other => return show(&headers, other, |_| None),
    };
    match opened.pdf {
        Some(Ok(pdf)) => crate::api::bundle::released(pdf),
        Some(Err(_)) => trouble(StatusCode::INTERNAL_SERVER_ERROR),
        None => trouble(StatusCode::NOT_FOUND),
    }
}

/// `GET /transfers/{id}/files/{number}`: a file that came with the summary, to be saved.
pub(super) async fn file(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    _: OnlyGet,
    Path((id, number)): Path<(String, usize)>,
    headers: HeaderMap,
) -> Response {
    let opened = open(&app, &signed_in, &id, Opening::File(number)).await;
    show(&headers, opened, |opened| {
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

/// What came of asking for a copy.
enum Seen {
    Opened(Box<Opened>),
    Stopped(Box<StoppedPage>),
    Nothing,
}

struct Opened {
    shell: Shell,
    attended: Attended,
    rendition: StoredRendition,
    pdf: Option<Result<Made, Unmade>>,
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
        Some((fragment.banner, fragment.stops, with_own_heading(rest, &self.attended.copy)))
    }

    fn notice(&self) -> Option<NoticePage> {
        let copy = &self.attended.copy;
        let path = format!("/transfers/{}", copy.id);
        let (_, stops, rest) = self.content(&path)?;
        Some(NoticePage {
            shell: self.shell.clone(),
            heading: heading(copy),
            card: self.card.clone(),
            standing: standing(&self.attended, None, self.now),
            rest: stops + &rest,
            confirm: copy.ended.is_none() && copy.state == DeliveryState::Received,
            path,
        })
    }
}

async fn open(app: &App, signed_in: &SignedIn, id: &str, opening: Opening) -> Result<Seen, StoreError> {
    let Ok(id) = id.parse::<DeliveryId>() else { return Ok(Seen::Nothing) };
    let (shell, _) = shell(app, signed_in).await?;
    let now = app.gateway.clock().now();
    let Content { attended, rendition, pdf } = match app.gateway.open_for(&attendant(signed_in), id, opening).await? {
        Sight::Content(content) => *content,
        Sight::Ended(copy) => {
            let card = card_of(app, id, copy.ended.map(|ended| ended.why)).await?;
            return Ok(Seen::Stopped(Box::new(StoppedPage::new(shell, &copy, card, now))));
        }
        Sight::Nothing => return Ok(Seen::Nothing),
    };
    let about = attended.copy.notice.map_or((id, None), |notice| (notice.of, Some(notice.why)));
    let card = card_of(app, about.0, about.1).await?;
    Ok(Seen::Opened(Box::new(Opened { shell, attended, rendition, pdf, card, now })))
}

/// Whom a copy is about; nobody where it should never have been the home's.
async fn card_of(app: &App, id: DeliveryId, why: Option<EndReason>) -> Result<Option<Card>, StoreError> {
    if why == Some(EndReason::Recalled) { Ok(None) } else { deeds::card(app, id).await }
}

/// Where the summary is that took the place of this copy's; empty where none did.
pub(super) fn heir(copy: &DeliveryRecord) -> String {
    copy.ended.and_then(|ended| ended.by).map(|by| format!("/transfers/{by}")).unwrap_or_default()
}

fn heading(copy: &DeliveryRecord) -> String {
    let what = if copy.notice.is_some() { "Notice" } else { "Discharge summary" };
    format!("{what} for {}", copy.recipient_name)
}

/// A notice brings its own heading, which stands beneath that of the page.
fn with_own_heading(rest: String, copy: &DeliveryRecord) -> String {
    match copy.notice {
        Some(_) => rest.replacen("<h1>", "<h2>", 1).replacen("</h1>", "</h2>", 1),
        None => rest,
    }
}

fn show(
    headers: &HeaderMap,
    opened: Result<Seen, StoreError>,
    shown: impl FnOnce(&Opened) -> Option<Response>,
) -> Response {
    match opened {
        Ok(Seen::Opened(opened)) => shown(&opened).unwrap_or_else(|| trouble(StatusCode::NOT_FOUND)),
        Ok(Seen::Stopped(stopped)) => page(headers, StatusCode::OK, &*stopped),
        Ok(Seen::Nothing) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

/// How it stands with the copy: which version, who opened and acknowledged it, what was asked.
fn standing(attended: &Attended, card: Option<&Card>, now: Timestamp) -> Vec<Fact> {
    let copy = &attended.copy;
    let settled = checklist::settled(&attended.steps);
    let (status, _) = super::inbox::status(copy, settled, leaving::told_before(&attended.steps));
    let sent = format!("Sent to you {}", dates::near_moment(copy.created, now));
    let version = match card.is_some_and(|card| card.replaces) {
        true => format!("{sent}. It replaces an earlier summary: stop using the earlier one."),
        false => format!("{sent}."),
    };
    let is_notice = copy.notice.is_some();
    let mut facts = vec![
        Fact { key: "Status", lines: vec![status] },
        Fact { key: if is_notice { "Sent" } else { "Version" }, lines: vec![version] },
    ];
    let of_kind = |kind: StepKind| -> Vec<String> {
        attended.steps.iter().filter(|step| step.kind == kind).map(|step| told(step, copy.id, now)).collect()
    };
    for (kind, key) in [
        (StepKind::Opened, "Opened by"),
        (StepKind::Acknowledged, if is_notice { "Confirmed by" } else { "Acknowledged by" }),
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

/// A step in words, on the page of this copy.
pub(super) fn told(step: &Step, shown_on: DeliveryId, now: Timestamp) -> String {
    let with = if step.delivery == shown_on { "" } else { " (with an earlier version)" };
    let said = step.text.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    format!("{}, {}{with}{said}", step.name, dates::near_moment(step.at, now))
}

impl Actions {
    fn any(self) -> bool {
        self.acknowledge || self.arrive || self.checklist || self.query || self.decline || self.leave
    }
}
