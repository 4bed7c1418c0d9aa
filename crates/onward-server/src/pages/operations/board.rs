//! The board itself, and pauses.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::SignedDuration;
use onward_core::cause::Cause;
use onward_core::store::{Approval, Bulk, Damaged, HeldTransfer, Pause, Queue, Stuck};
use onward_core::{OdsCode, Timestamp};
use onward_gateway::operate::{Board, BoardFilter, Pausing, Tally, Totals};
use onward_gateway::redirect::Redirect;
use onward_transform::render::dates;

use super::super::components::{Field, FormError};
use super::super::{OnlyGet, Shell, attendant, decided, page, see_other, sent, shell, store_failed, trouble};
use super::{DeedForm, Wrong, decider, done_words, errors, overtaken, reason, words};
use crate::app::App;
use crate::people::SignedIn;

/// Rows on one page at most.
const ROWS_MAX: u32 = 200;
/// A copy whose first attempt is so late says that nobody sends.
const STALLED: SignedDuration = SignedDuration::from_mins(10);

/// The queues alone, which a script asks for again and again.
#[derive(Template)]
#[template(path = "operations/totals.html")]
pub(super) struct TotalsView {
    queues: Vec<QueueRow>,
    announced: String,
    correct_at: String,
    stalled: bool,
}

struct QueueRow {
    href: String,
    name: &'static str,
    meaning: &'static str,
    count: u64,
    oldest: String,
    colour: &'static str,
    note: String,
}

struct TallyRow {
    href: String,
    name: String,
    code: String,
    count: u64,
    oldest: String,
}

struct HoldRow {
    href: String,
    id: String,
    why: &'static str,
    code: String,
    owner: String,
    due: String,
    overdue: bool,
    sender: String,
    received: String,
}

struct PauseRow {
    whom: String,
    recipient: String,
    since: String,
    by: String,
    reason: String,
    /// Why it can be resumed.
    why: Field,
}

struct BulkRow {
    href: String,
    what: String,
    tag: (&'static str, &'static str),
    told: String,
}

struct ApprovalRow {
    href: String,
    to: String,
    by: String,
    asked: String,
    expires: String,
    reason: String,
    own: bool,
    verdict: String,
}

struct Row {
    href: String,
    id: String,
    to: String,
    kind: &'static str,
    cause: &'static str,
    code: String,
    queue: &'static str,
    colour: &'static str,
    tries: u32,
    first_failed: String,
    next: String,
    queued: String,
}

/// The page.
#[derive(Template)]
#[template(path = "operations/board.html")]
pub(super) struct BoardPage {
    shell: Shell,
    done: String,
    errors: Vec<FormError>,
    totals: TotalsView,
    this: String,
    filter: String,
    filtered: bool,
    bulk: String,
    approvals: Vec<ApprovalRow>,
    pauses: Vec<PauseRow>,
    bulks: Vec<BulkRow>,
    holds: Vec<HoldRow>,
    damaged_holds: String,
    causes: Vec<TallyRow>,
    recipients: Vec<TallyRow>,
    rows: Vec<Row>,
    damaged_rows: String,
    cut: bool,
    nothing: String,
    forms: Vec<DeedForm>,
}

/// `GET /operations`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(filter) = filter_of(query.as_deref().unwrap_or_default()) else {
        return trouble(StatusCode::NOT_FOUND);
    };
    let done = done_told(query.as_deref().unwrap_or_default());
    show(&app, &who, &headers, &filter, done, None).await
}

/// `GET /operations/totals`: the queues alone, for the script that keeps them fresh. It names nobody and lists nothing, so that
/// it leaves no entry in the log every half minute.
pub(super) async fn totals(State(app): State<Arc<App>>, _: SignedIn, _: OnlyGet, headers: HeaderMap) -> Response {
    match app.gateway.totals().await {
        Ok(totals) => page(&headers, StatusCode::OK, &TotalsView::new(&totals, app.gateway.clock().now())),
        Err(error) => store_failed(&error),
    }
}

/// What was done, and where somebody was paused or resumed, whom it was about.
fn done_told(query: &str) -> String {
    let words = done_words(Some(query));
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name));
    let code = |name: &str| value(name).and_then(|code| code.parse::<OdsCode>().ok());
    let whom = match value("whom=") {
        Some(EVERYBODY) => Some("Everybody".to_owned()),
        _ => code("whom=").map(|ods| match code("asked=") {
            Some(asked) => format!("{ods} (you wrote {asked}, another code of it)"),
            None => ods.to_string(),
        }),
    };
    match whom.filter(|_| !words.is_empty()) {
        Some(whom) => format!("{whom}: {}{}", words[..1].to_lowercase(), &words[1..]),
        None => words.to_owned(),
    }
}

/// Where a pause that was begun or ended is told: whom it is about, and by which other code that was asked for.
fn done_at(what: &str, asked: Option<&OdsCode>, recipient: Option<&OdsCode>) -> String {
    let other = asked.filter(|asked| recipient != Some(asked));
    let other = other.map(|asked| format!("&asked={asked}")).unwrap_or_default();
    format!("/operations?done={what}&whom={}{other}", whom(recipient))
}

fn whom(recipient: Option<&OdsCode>) -> &str {
    recipient.map_or(EVERYBODY, OdsCode::as_str)
}

/// Stands for all recipients.
const EVERYBODY: &str = "everybody";

/// `POST /operations/pause`: one recipient or everybody, as `whom` says.
pub(super) async fn pause(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let recipient = sent(&body, "recipient");
    let why = match reason(&body) {
        Ok(why) => why,
        Err(error) => return refused(&app, &who, &headers, Wrong::new("pause", "reason", error, &body)).await,
    };
    let read = match (sent(&body, "whom").as_str(), recipient.as_str()) {
        (EVERYBODY, "") => Ok(None),
        (EVERYBODY, _) => Err(("recipient", "Take the code out to pause everybody, or choose one recipient")),
        ("one", code) => match code.to_ascii_uppercase().parse::<OdsCode>() {
            Ok(ods) => Ok(Some(ods)),
            Err(_) => Err(("recipient", "Write the recipient’s ODS code, such as VMH01")),
        },
        _ => Err(("whom", "Say whom: one recipient by code, or everybody")),
    };
    let recipient = match read {
        Ok(recipient) => recipient,
        Err((field, error)) => {
            return refused(&app, &who, &headers, Wrong::new("pause", field, error, &body)).await;
        }
    };
    match app.gateway.pause(recipient.as_ref(), &decider(&who, &why, true)).await {
        Ok(Pausing::Done(paused)) => see_other(&done_at("paused", recipient.as_ref(), paused.as_ref())),
        Ok(Pausing::Already(paused)) => overtaken::paused(&app, paused.as_ref()).await,
        Ok(Pausing::Unknown) => {
            let error = "Nobody is known by this code: neither the directory nor any delivery has it";
            refused(&app, &who, &headers, Wrong::new("pause", "recipient", error, &body)).await
        }
        Err(error) => store_failed(&error),
    }
}

/// `POST /operations/resume`.
pub(super) async fn resume(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let why = match reason(&body) {
        Ok(why) => why,
        Err(error) => return refused(&app, &who, &headers, Wrong::new("resume", "reason", error, &body)).await,
    };
    let recipient = match sent(&body, "recipient").as_str() {
        "*" => None,
        code => match code.parse::<OdsCode>() {
            Ok(ods) => Some(ods),
            Err(_) => return trouble(StatusCode::BAD_REQUEST),
        },
    };
    match app.gateway.resume(recipient.as_ref(), &decider(&who, &why, true)).await {
        Ok(Pausing::Done(resumed)) => see_other(&done_at("resumed", recipient.as_ref(), resumed.as_ref())),
        Ok(Pausing::Already(resumed)) => overtaken::resumed(&app, resumed.as_ref()).await,
        Ok(Pausing::Unknown) => overtaken::resumed(&app, recipient.as_ref()).await,
        Err(error) => store_failed(&error),
    }
}

async fn refused(app: &App, who: &SignedIn, headers: &HeaderMap, wrong: Wrong) -> Response {
    show(app, who, headers, &BoardFilter::default(), String::new(), Some(wrong)).await
}

async fn show(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    filter: &BoardFilter,
    done: String,
    wrong: Option<Wrong>,
) -> Response {
    let looked = async {
        let board = app.gateway.board(&attendant(who), filter, ROWS_MAX).await?;
        Ok((shell(app, who).await?.0, board))
    };
    let now = app.gateway.clock().now();
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    match looked.await {
        Ok((shell, board)) => {
            let me = who.user.to_string();
            page(headers, status, &BoardPage::new(shell, &board, filter, &me, done, wrong.as_ref(), now))
        }
        Err(error) => store_failed(&error),
    }
}

/// The filter of an address; `None` when a part of it is none.
pub(super) fn filter_of(query: &str) -> Option<BoardFilter> {
    let mut filter = BoardFilter::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if value.is_empty() {
            continue;
        }
        match &*name {
            "queue" => filter.queue = Some(value.parse().ok()?),
            "recipient" => filter.recipient = Some(value.to_ascii_uppercase().parse().ok()?),
            "cause" => filter.cause = Some(value.parse().ok()?),
            _ => {}
        }
    }
    Some(filter)
}

fn address(filter: &BoardFilter) -> String {
    match filter.told().as_str() {
        "" => "/operations".to_owned(),
        query => format!("/operations?{query}"),
    }
}

impl TotalsView {
    fn new(totals: &Totals, now: Timestamp) -> Self {
        let old = |tally: Option<&Tally>| tally.map_or_else(String::new, |tally| words::span(tally.oldest, now));
        let mut queues: Vec<QueueRow> = Queue::ALL
            .iter()
            .map(|queue| {
                let tally = totals.queues.get(queue);
                let (name, meaning) = words::queue(*queue);
                QueueRow {
                    href: format!("/operations?queue={queue}#rows"),
                    name,
                    meaning,
                    count: tally.map_or(0, |tally| tally.count),
                    oldest: old(tally),
                    colour: words::colour(*queue),
                    note: String::new(),
                }
            })
            .collect();
        let overdue = totals.held_overdue;
        queues.push(QueueRow {
            href: "/operations#holds".to_owned(),
            name: "Held",
            meaning: "Not routed: a person must decide first.",
            count: totals.held.map_or(0, |tally| tally.count),
            oldest: old(totals.held.as_ref()),
            colour: "blue",
            note: if overdue > 0 { format!("{overdue} overdue") } else { String::new() },
        });
        let told: Vec<String> = queues.iter().map(|queue| format!("{} {}", queue.name, queue.count)).collect();
        let stalled =
            totals.queues.get(&Queue::Waiting).is_some_and(|tally| now.duration_since(tally.oldest) > STALLED);
        Self { announced: told.join(", "), queues, correct_at: dates::time_of_day(now), stalled }
    }
}

impl BoardPage {
    fn new(
        shell: Shell,
        board: &Board,
        filter: &BoardFilter,
        me: &str,
        done: String,
        wrong: Option<&Wrong>,
        now: Timestamp,
    ) -> Self {
        let with = |changed: BoardFilter| address(&changed) + "#rows";
        let cause = |(cause, tally): (&Cause, &Tally)| TallyRow {
            href: with(BoardFilter { cause: Some(*cause), ..filter.clone() }),
            name: words::cause(*cause).0.to_owned(),
            code: cause.to_string(),
            count: tally.count,
            oldest: words::span(tally.oldest, now),
        };
        let recipient = |((ods, name), tally): (&(OdsCode, String), &Tally)| TallyRow {
            href: with(BoardFilter { recipient: Some(ods.clone()), ..filter.clone() }),
            name: name.clone(),
            code: ods.to_string(),
            count: tally.count,
            oldest: words::span(tally.oldest, now),
        };
        let forms = vec![pause_form(filter).wrong(wrong)];
        let pauses: Vec<PauseRow> = board.pauses.iter().map(|pause| PauseRow::new(pause, wrong, now)).collect();
        let mut errors = errors(&forms);
        if let Some(wrong) = wrong.filter(|wrong| wrong.form == "resume") {
            let field = pauses.iter().find(|pause| !pause.why.error.is_empty()).map(|pause| pause.why.id.clone());
            errors.push(FormError { field: field.unwrap_or_else(|| "rows".to_owned()), text: wrong.error.clone() });
        }
        Self {
            shell,
            done,
            errors,
            totals: TotalsView::new(&board.totals, now),
            this: address(filter),
            filter: in_words(filter),
            filtered: *filter != BoardFilter::default(),
            bulk: bulk_address(board, filter),
            approvals: board.approvals.iter().filter_map(|approval| ApprovalRow::new(approval, me, now)).collect(),
            pauses,
            bulks: board.bulks.iter().map(|bulk| BulkRow::new(bulk, now)).collect(),
            holds: board.holds.iter().map(|held| HoldRow::new(held, now)).collect(),
            damaged_holds: Damaged::told(&board.damaged_holds, ("hold", "holds")).unwrap_or_default(),
            causes: board.causes.iter().map(cause).collect(),
            recipients: board.recipients.iter().map(recipient).collect(),
            rows: board.rows.iter().map(|stuck| Row::new(stuck, now)).collect(),
            damaged_rows: Damaged::told(&board.damaged_rows, ("copy", "copies")).unwrap_or_default(),
            cut: board.rows.len() + board.damaged_rows.len() >= ROWS_MAX as usize,
            nothing: match board.last_disclosed {
                Some(at) => format!("Nothing waits. The last delivery left {}.", dates::near_moment(at, now)),
                None if board.totals.queues.is_empty() => "Nothing waits. Nothing has been delivered yet.".to_owned(),
                None => "Nothing that waits fits this filter.".to_owned(),
            },
            forms,
        }
    }
}

/// Several can be sent again together when a filter says which, and there are some.
fn bulk_address(board: &Board, filter: &BoardFilter) -> String {
    let narrow = filter.recipient.is_some() || filter.cause.is_some();
    let dead = board.rows.iter().any(|row| row.queue == Queue::Dead);
    let filter = BoardFilter { queue: None, ..filter.clone() };
    if narrow && dead { format!("/operations/retry?{}", filter.told()) } else { String::new() }
}

fn pause_form(filter: &BoardFilter) -> DeedForm {
    use super::super::components::{Choice, Field};
    let mut form = DeedForm::new("pause", "Pause a recipient, or everybody", "/operations/pause".to_owned(), "Pause")
        .saying("Messages are still taken in and wait. Nothing is discarded.")
        .code("recipient", "ODS code of the recipient");
    form.codes[0].value = filter.recipient.as_ref().map(ToString::to_string).unwrap_or_default();
    form.codes[0].hint = "Leave it empty for everybody".to_owned();
    form.choice = Field { id: "pause-whom".to_owned(), ..Field::new("whom", "Whom") };
    form.choice.value = "one".to_owned();
    form.choices = vec![Choice::new("one", "One recipient"), Choice::new("everybody", "Everybody")];
    form.kind = "warning";
    form
}

pub(super) fn in_words(filter: &BoardFilter) -> String {
    let queue = filter.queue.map(|queue| format!("in the queue “{}”", words::queue(queue).0.to_lowercase()));
    let recipient = filter.recipient.as_ref().map(|ods| format!("to {ods}"));
    let cause = filter.cause.map(|cause| format!("because “{}”", words::cause(cause).0));
    let parts: Vec<String> = queue.into_iter().chain(recipient).chain(cause).collect();
    match parts.is_empty() {
        true => "Everything that has not left, the oldest first.".to_owned(),
        false => format!("Only what waits {}, the oldest first.", parts.join(" ")),
    }
}

impl ApprovalRow {
    fn new(approval: &Approval, me: &str, now: Timestamp) -> Option<Self> {
        let redirect = Redirect::of(approval)?;
        let verdict = approval.verdict.as_ref().map(|verdict| decided(verdict, now));
        Some(Self {
            href: format!("/operations/approvals/{}", approval.id),
            to: redirect.to(),
            by: approval.asked_name.clone(),
            asked: dates::near_moment(approval.asked, now),
            expires: dates::near_moment(approval.expires, now),
            reason: approval.reason.clone(),
            own: approval.asked_by == me,
            verdict: verdict.unwrap_or_default(),
        })
    }
}

impl PauseRow {
    fn new(pause: &Pause, wrong: Option<&Wrong>, now: Timestamp) -> Self {
        let recipient = pause.recipient.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
        let sent =
            |wrong: &&Wrong, name: &str, value: &str| wrong.sent.iter().any(|(key, sent)| key == name && sent == value);
        let wrong = wrong.filter(|wrong| wrong.form == "resume" && sent(wrong, "recipient", &recipient));
        let id = format!("resume-{}", recipient.replace('*', EVERYBODY));
        Self {
            whom: pause.recipient.as_ref().map_or_else(|| "Everybody".to_owned(), ToString::to_string),
            why: Field {
                name: "reason".to_owned(),
                error: wrong.map(|wrong| wrong.error.clone()).unwrap_or_default(),
                ..Field::new(&id, "Why can it be resumed?")
            },
            recipient,
            since: dates::near_moment(pause.since, now),
            by: pause.by.clone(),
            reason: pause.reason.clone(),
        }
    }
}

impl BulkRow {
    fn new(bulk: &Bulk, now: Timestamp) -> Self {
        let how = super::bulk::how(bulk.how);
        Self {
            href: format!("/operations/bulks/{}", bulk.id),
            what: format!("{how}, {} copies, by {}, {}", bulk.total, bulk.by, dates::near_moment(bulk.at, now)),
            tag: super::bulk::tag(bulk.state),
            told: super::bulk::told(bulk),
        }
    }
}

impl HoldRow {
    fn new(held: &HeldTransfer, now: Timestamp) -> Self {
        let hold = &held.hold;
        let overdue = hold.due < now;
        Self {
            href: format!("/operations/holds/{}", hold.id),
            id: words::short(hold.id),
            why: words::hold(hold.reason).0,
            code: hold.reason.to_string(),
            owner: hold.owner.clone(),
            due: match overdue {
                true => format!("{} ago", words::span(hold.due, now)),
                false => format!("in {}", words::span(now, hold.due)),
            },
            overdue,
            sender: held.sender.to_string(),
            received: dates::near_moment(held.received, now),
        }
    }
}

impl Row {
    fn new(stuck: &Stuck, now: Timestamp) -> Self {
        let copy = &stuck.copy;
        let cause = copy.cause();
        Self {
            href: format!("/operations/deliveries/{}", copy.id),
            id: words::short(copy.id),
            to: format!("{} ({})", copy.recipient_name, copy.recipient),
            kind: words::kind(copy.kind),
            cause: words::cause(cause).0,
            code: copy.code.clone().unwrap_or_else(|| cause.to_string()),
            queue: words::queue(stuck.queue).0,
            colour: words::colour(stuck.queue),
            tries: copy.attempts,
            first_failed: stuck.first_failed.map_or_else(|| "–".to_owned(), |at| dates::near_moment(at, now)),
            next: match (stuck.queue, copy.next_attempt) {
                (Queue::Dead, _) => "None: a person decides".to_owned(),
                (Queue::Paused, _) => "When it is resumed".to_owned(),
                (_, Some(at)) if at <= now => "Now".to_owned(),
                (_, Some(at)) => dates::near_moment(at, now),
                (_, None) => "–".to_owned(),
            },
            queued: dates::near_moment(copy.created, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nobody_sends_is_told_before_anybody_retries() {
        let now = Timestamp::from_second(1_000_000).expect("a moment");
        let told = |queue, minutes| {
            let oldest = now - SignedDuration::from_mins(minutes);
            let queues = [(queue, Tally { count: 1, oldest })].into();
            let html = TotalsView::new(&Totals { queues, ..Totals::default() }, now).render().expect("renders");
            html.contains("Nobody is sending")
        };
        assert!(!told(Queue::Waiting, 10) && told(Queue::Waiting, 11), "the first attempt comes within minutes");
        assert!(!told(Queue::Paused, 600) && !told(Queue::Dead, 600), "these wait for a person");
    }
}
