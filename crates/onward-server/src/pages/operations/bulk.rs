//! Several failed copies are sent again together: a filter says which, a page in between says how many, and the decision is kept and
//! carried out behind the page, which tells how far it has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::store::{Bulk, BulkState, Resend, Stuck, Whereto};
use onward_core::{BulkId, Timestamp};
use onward_gateway::operate::{BULK_MAX, BoardFilter};
use onward_gateway::readdressing::other_way;
use onward_gateway::resending::{Started, seal_of};
use onward_transform::render::dates;

use super::super::components::{Choice, Fact, Field, FormError};
use super::super::{OnlyGet, Shell, page, see_other, sent, shell, store_failed, trouble};
use super::delivery::OnePage;
use super::{DeedForm, Wrong, board, decider, done_words, errors, overtaken, reason, words};
use crate::app::App;
use crate::people::SignedIn;

#[derive(Template)]
#[template(path = "operations/bulk.html")]
struct BulkPage {
    shell: Shell,
    errors: Vec<FormError>,
    count: usize,
    /// There may be more: so many go at once at most.
    cut: bool,
    oldest: String,
    causes: Vec<String>,
    recipients: Vec<String>,
    /// Where those go of which that has changed.
    addresses: Vec<String>,
    back: String,
    form: DeedForm,
}

/// `GET /operations/retry`: how many there are, before anything is done.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    show(&app, &who, &headers, query.as_deref().unwrap_or_default(), None).await
}

/// `POST /operations/retry`: keeps the decision, if it is about the copies that were shown.
pub(super) async fn post(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let query = sent(&body, "filter");
    let why = match reason(&body) {
        Ok(why) => why,
        Err(error) => {
            return show(&app, &who, &headers, &query, Some(Wrong::new("retry", "reason", error, &body))).await;
        }
    };
    let Some(filter) = narrow(&query) else { return trouble(StatusCode::BAD_REQUEST) };
    let (Ok(id), Ok(how)) = (sent(&body, "bulk").parse::<BulkId>(), sent(&body, "how").parse::<Resend>()) else {
        return trouble(StatusCode::BAD_REQUEST);
    };
    match app.gateway.start_bulk(id, how, &filter, &sent(&body, "copies"), &decider(&who, &why, true)).await {
        Ok(Started::Kept) => see_other(&format!("/operations/bulks/{id}?done=retried")),
        Ok(Started::Nothing) => see_other("/operations?done=nothing"),
        Ok(Started::Others) => {
            let wrong =
                Wrong::new("retry", "reason", "These are not the copies that you were shown: look again", &body);
            show(&app, &who, &headers, &query, Some(wrong)).await
        }
        Err(error) => store_failed(&error),
    }
}

/// The filter of an address, if it says which recipient or which cause.
fn narrow(query: &str) -> Option<BoardFilter> {
    board::filter_of(query).filter(|filter| filter.recipient.is_some() || filter.cause.is_some())
}

async fn show(app: &App, who: &SignedIn, headers: &HeaderMap, query: &str, wrong: Option<Wrong>) -> Response {
    let Some(filter) = narrow(query) else { return trouble(StatusCode::BAD_REQUEST) };
    let looked = async {
        let found = app.gateway.resendable(&filter).await?;
        let addresses = addresses(&found, &app.gateway.wheretos(found.iter().map(|stuck| &stuck.copy)).await?);
        Ok((shell(app, who).await?.0, found, addresses))
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    match looked.await {
        Ok((shell, found, addresses)) => {
            let now = app.gateway.clock().now();
            let shown = BulkPage::new(shell, &filter, &found, wrong.as_ref(), now);
            page(headers, status, &BulkPage { addresses, ..shown })
        }
        Err(error) => store_failed(&error),
    }
}

/// What has changed of where they go, in sentences with counts.
fn addresses(found: &[Stuck], wheretos: &[Whereto]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (stuck, to) in found.iter().zip(wheretos) {
        let told = match to {
            Whereto::OtherWay { from, to } => format!("Not sent: {}", other_way(&stuck.copy.recipient, from, to)),
            to => match to.new_address() {
                Some(new) => format!(
                    "{} goes to {}, and not to {}",
                    stuck.copy.recipient,
                    new.told(),
                    stuck.copy.endpoint.told()
                ),
                None => continue,
            },
        };
        *counts.entry(told).or_default() += 1;
    }
    counts.into_iter().map(|(told, count)| format!("{told} ({})", copies(count))).collect()
}

fn copies(count: usize) -> String {
    if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") }
}

impl BulkPage {
    fn new(shell: Shell, filter: &BoardFilter, found: &[Stuck], wrong: Option<&Wrong>, now: Timestamp) -> Self {
        let distinct = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
        // With what is to be done first: of some a retry is not the safe thing.
        let causes = found.iter().map(|stuck| {
            let (cause, advice) = words::cause(stuck.copy.cause());
            format!("{cause}. {advice}")
        });
        let recipients = found.iter().map(|stuck| format!("{} ({})", stuck.copy.recipient_name, stuck.copy.recipient));
        let mut form = DeedForm::new("retry", "", "/operations/retry".to_owned(), "Yes, send them again");
        // Made here, so that whoever presses twice has decided once.
        let copies: Vec<_> = found.iter().map(|stuck| stuck.copy.id).collect();
        form.hidden =
            vec![("filter", filter.told()), ("copies", seal_of(&copies)), ("bulk", BulkId::random().to_string())];
        form.kind = "warning";
        form.choice =
            Field { id: "retry-how".to_owned(), value: Resend::Retry.to_string(), ..Field::new("how", "How") };
        form.choices = vec![
            Choice::new(Resend::Retry.as_str(), "Retry: the same message once more"),
            Choice::new(Resend::Replay.as_str(), "As a repeat: each recipient is told that it is one"),
        ];
        let forms = [form.wrong(wrong)];
        let errors = errors(&forms);
        let [form] = forms;
        Self {
            shell,
            errors,
            count: found.len(),
            cut: found.len() >= BULK_MAX as usize,
            oldest: found.first().map(|stuck| words::span(stuck.copy.created, now)).unwrap_or_default(),
            causes: distinct(causes.collect()).into_iter().collect(),
            recipients: distinct(recipients.collect()).into_iter().collect(),
            addresses: Vec::new(),
            back: format!("/operations?{}", filter.told()),
            form,
        }
    }
}

/// `GET /operations/bulks/{id}`: how far it has come. Counts that name nobody and list nothing.
pub(super) async fn progress(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    show_progress(&app, &who, &headers, &id, done_words(query.as_deref()), None).await
}

/// `POST /operations/bulks/{id}/cancel`: what is not queued yet stays as it is.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let why = match reason(&body) {
        Ok(why) => why,
        Err(error) => {
            let wrong = Wrong::new("cancel", "reason", error, &body);
            return show_progress(&app, &who, &headers, &id, "", Some(wrong)).await;
        }
    };
    let Ok(bulk) = id.parse::<BulkId>() else { return trouble(StatusCode::NOT_FOUND) };
    match app.gateway.cancel_bulk(bulk, &decider(&who, &why, true)).await {
        Ok(true) => see_other(&format!("/operations/bulks/{bulk}?done=cancelled")),
        Ok(false) => overtaken::bulk(&app, bulk).await,
        Err(error) => store_failed(&error),
    }
}

async fn show_progress(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    id: &str,
    done: &'static str,
    wrong: Option<Wrong>,
) -> Response {
    let Ok(id) = id.parse::<BulkId>() else { return trouble(StatusCode::NOT_FOUND) };
    let looked = async {
        match app.gateway.store().bulk(id).await? {
            Some(bulk) => Ok::<_, onward_core::store::StoreError>(Some((shell(app, who).await?.0, bulk))),
            None => Ok(None),
        }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    match looked.await {
        Ok(Some((shell, bulk))) => {
            page(headers, status, &one(shell, &bulk, done, wrong.as_ref(), app.gateway.clock().now()))
        }
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

fn one(shell: Shell, bulk: &Bulk, done: &'static str, wrong: Option<&Wrong>, now: Timestamp) -> OnePage {
    let mut forms = Vec::new();
    if bulk.state == BulkState::Running {
        let path = format!("/operations/bulks/{}/cancel", bulk.id);
        let form = DeedForm::new("cancel", "Stop it", path, "Stop it");
        forms.push(form.saying("What is queued again already stays so. The others stay as they are.").wrong(wrong));
    }
    let (advice_title, advice) = match bulk.state {
        BulkState::Running => {
            ("It goes on by itself", "You can leave this page. Open it again to see how far it has come.")
        }
        BulkState::Finished => {
            ("All were looked at", "Those that were queued again are on the board until they have left.")
        }
        BulkState::Cancelled => ("A person has stopped it", "Those that were not queued again stay on the board."),
    };
    let asked = format!("{}, {}", bulk.by, dates::near_moment(bulk.at, now));
    let ended = bulk.ended.map(|at| Fact { key: "Ended", lines: vec![dates::near_moment(at, now)] });
    let filter = board::filter_of(&bulk.filter).map(|filter| board::in_words(&filter)).unwrap_or_default();
    let facts = [
        Fact { key: "How far", lines: vec![told(bulk)] },
        Fact { key: "How", lines: vec![how(bulk.how).to_owned()] },
        Fact { key: "Which", lines: vec![filter] },
        Fact { key: "Asked for by", lines: vec![asked] },
        Fact { key: "Why", lines: vec![bulk.reason.clone()] },
    ];
    OnePage {
        shell,
        title: format!("{} copies sent again together", bulk.total),
        back: ("/operations".to_owned(), "Deliveries"),
        done,
        errors: errors(&forms),
        tag: tag(bulk.state),
        facts: facts.into_iter().chain(ended).collect(),
        links: Vec::new(),
        advice_title,
        advice,
        person: Vec::new(),
        forms,
    }
}

/// How far it has come, in a sentence.
pub(super) fn told(bulk: &Bulk) -> String {
    let left = bulk.total.saturating_sub(bulk.resent + bulk.passed_over);
    let passed = match bulk.passed_over {
        0 => String::new(),
        count => format!(
            ", {count} passed over because they left, ended or were sent again meanwhile, or their recipients receive in another way now"
        ),
    };
    format!("{} of {} queued again{passed}, {left} to go", bulk.resent, bulk.total)
}

pub(super) fn how(how: Resend) -> &'static str {
    match how {
        Resend::Retry => "Retry",
        Resend::Replay => "As a repeat",
    }
}

pub(super) fn tag(state: BulkState) -> (&'static str, &'static str) {
    match state {
        BulkState::Running => ("Running", "blue"),
        BulkState::Finished => ("Finished", "green"),
        BulkState::Cancelled => ("Stopped", "grey"),
    }
}
