//! `onward status`: where a transfer and its copies are.

use clap::Args;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{
    ClosedCopy, DeliveryFigure, DeliveryRecord, FormerAddress, NewHold, Schema, Store, TransferRecord,
};
use onward_core::{DeliveryId, OdsCode, Timestamp, TransferId};
use onward_gateway::lifecycle::not_taken;
use onward_gateway::readdressing::went_before;
use onward_gateway::rounds::Daily;
use onward_gateway::{mailboxes, organisations};
use serde::Serialize;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::open::{ConfigArgs, Desk, minute, now};
use super::operations::{self, Told};
use super::pause;
use super::terminal::{Style, Terminal};
use crate::app::{heeds_mesh, heeds_ods};
use crate::config::Config;

/// A mailbox that was not read for so long is told of: looks are five minutes apart, and the turn of a node that dies passes on in seven.
const MAILBOX_OVERDUE_SECONDS: u64 = 900;

/// Shows a transfer with its deliveries: states, attempts, acknowledgement codes. Without an identifier: how the gateway
/// stands, and what is paused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward status
  onward status 0b3c1c1e-5f0e-4a43-9a0e-2f3d6f3f5a11 --config demo/gateway.toml")]
pub struct Status {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Identifier of the transfer or of one of its deliveries (the ids of their Tasks)
    #[arg(value_name = "ID")]
    id: Option<uuid::Uuid>,
}

/// `--json`. Neither patient nor content.
#[derive(Serialize)]
struct Shown {
    transfer: String,
    sender: String,
    client: String,
    message: String,
    event: String,
    received: String,
    status: &'static str,
    hold: Option<NewHold>,
    not_sent: Option<String>,
    version: u32,
    replaces: Option<String>,
    replaced_by: Option<String>,
    ended: Option<String>,
    deliveries: Vec<Delivery>,
    not_taken: Vec<NotTaken>,
    closed: Vec<Closed>,
    went_elsewhere: Vec<WentElsewhere>,
}

/// To where attempts of a copy went before it was given the address that it has.
#[derive(Serialize)]
struct WentElsewhere {
    delivery: String,
    first_attempt: u32,
    last_attempt: u32,
    address: String,
}

impl WentElsewhere {
    fn of(copy: &DeliveryRecord, former: &[FormerAddress]) -> Vec<Self> {
        let each = went_before(former).into_iter();
        let each = each.map(|(first_attempt, last_attempt, address)| Self {
            delivery: copy.id.to_string(),
            first_attempt,
            last_attempt,
            address,
        });
        each.collect()
    }
}

/// That a person took care of a copy in another way.
#[derive(Serialize)]
struct Closed {
    delivery: String,
    by: String,
    at: Timestamp,
    reason: Option<String>,
    /// False once the copy changed after that: sent again, say.
    holds: bool,
}

impl Closed {
    fn of(closed: ClosedCopy, copy: &DeliveryRecord) -> Self {
        let ClosedCopy { delivery, version, at, by, reason } = closed;
        Self { delivery: delivery.to_string(), by, at, reason, holds: copy.closed && copy.version == version }
    }
}

/// A copy whose recipient has not taken the later version: there this one may still be in use.
#[derive(Serialize)]
struct NotTaken {
    delivery: String,
    /// Its copy of the later version.
    by: String,
    /// How that stands.
    state: &'static str,
}

impl NotTaken {
    fn of((earlier, later): &(DeliveryId, DeliveryRecord)) -> Self {
        Self { delivery: earlier.to_string(), by: later.id.to_string(), state: later.state.as_str() }
    }
}

/// One copy.
#[derive(Serialize)]
pub(super) struct Delivery {
    delivery: String,
    transfer: String,
    recipient: &'static str,
    ods: String,
    name: String,
    transport: &'static str,
    address: String,
    state: &'static str,
    /// How it ended before its time.
    ended: Option<&'static str>,
    /// It did not arrive, and a person took care of it in another way.
    closed: bool,
    /// The delivery of whose end it tells.
    notice_of: Option<String>,
    attempts: u32,
    next_attempt: Option<String>,
    code: Option<String>,
    reason: Option<String>,
    bytes: u64,
    created: String,
    changed: String,
}

/// Runs it.
///
/// # Errors
/// When there is no such transfer or delivery, or the store cannot be read.
pub(super) async fn run(command: &Status, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.config.existing_store().await?;
    let Some(id) = command.id else {
        let told = operations::told(&config).await;
        return overview(&config, store.as_ref(), told, command.json, terminal).await;
    };
    let found = match store.transfer(TransferId(id)).await? {
        Some(transfer) => Some(transfer),
        None => match store.delivery(DeliveryId(id)).await? {
            Some(delivery) => store.transfer(delivery.transfer).await?,
            None => None,
        },
    };
    let Some(transfer) = found else {
        return Err(Failure::no(format!("there is neither a transfer nor a delivery {id}")));
    };
    // It shows nobody's name; the entry names the person all the same, as that of an operator's page does.
    let row = Desk::new(&config)?.row_seen("status", transfer.id, None, transfer.patient.clone());
    store.audit(vec![row]).await?;
    let not_taken: Vec<_> = not_taken(store.as_ref(), &transfer).await?.iter().map(NotTaken::of).collect();
    let mut closed = Vec::new();
    for copy in &transfer.deliveries {
        closed.extend(store.closed_copies(copy.id).await?.into_iter().map(|closed| Closed::of(closed, copy)));
    }
    let mut went_elsewhere = Vec::new();
    for copy in transfer.deliveries.iter().filter(|copy| copy.attempts > 0) {
        went_elsewhere.extend(WentElsewhere::of(copy, &store.former_addresses(copy.id).await?));
    }
    if command.json {
        terminal.json(&shown(&transfer, not_taken, closed, went_elsewhere));
    } else {
        page(&transfer, &not_taken, &closed, &went_elsewhere, terminal);
    }
    Ok(Exit::Done)
}

/// How the gateway stands.
async fn overview(
    config: &Config,
    store: &dyn Store,
    told: Option<Told>,
    as_json: bool,
    terminal: &mut Terminal,
) -> Outcome {
    let figures = store.figures(now()).await?;
    let pauses = store.pauses().await?;
    let schema = store.schema().await?;
    let (ods, closed) = organisations::told(store, now()).await?;
    let ods = Look { what: "the organisations of the directory", service: "ODS", daily: ods, is_on: heeds_ods(config) };
    let mesh = mailboxes::daily(store).await?;
    let mesh = Look { what: "the mailboxes of the directory", service: "MESH", daily: mesh, is_on: heeds_mesh(config) };
    if as_json {
        let deliveries: Vec<_> = figures
            .deliveries
            .iter()
            .map(|figure| {
                json!({
                    "state": figure.state, "transport": figure.transport, "count": figure.count, "oldest": figure.oldest,
                })
            })
            .collect();
        terminal.json(&json!({
            "accepted": figures.accepted, "refused": figures.refused, "holds_open": figures.holds_open,
            "holds_overdue": figures.holds_overdue, "deliveries": deliveries, "closed": figures.closed, "paused": pauses,
            "ods_looked": ods.daily.looked, "ods_next": ods.next(), "organisations_closed": closed,
            "mesh_looked": mesh.daily.looked, "mesh_next": mesh.next(),
            "not_answering": told.as_ref().map(|told| &told.silent),
            "mesh_inbox_look_age_seconds": told.as_ref().and_then(|told| told.mailbox_age),
            "mesh_inbox_staying_messages": told.as_ref().and_then(|told| told.mailbox_staying),
            "schema": {
                "stored": schema.stored, "known": schema.known, "oldest_program": schema.oldest_program,
                "finished": schema.is_finished(),
            },
        }));
        return Ok(Exit::Done);
    }
    terminal.say(format_args!(
        "{} accepted, {} refused, {} held now, {} of them overdue",
        figures.accepted, figures.refused, figures.holds_open, figures.holds_overdue
    ));
    let row = |figure: &DeliveryFigure| {
        let (state, transport) = (figure.state.to_string(), figure.transport.to_string());
        [state, transport, figure.count.to_string(), minute(figure.oldest)]
    };
    let rows: Vec<_> = figures.deliveries.iter().map(row).collect();
    terminal.table(["state", "by", "deliveries", "oldest"], &rows);
    if figures.closed > 0 {
        let closed = figures.closed;
        terminal.say(format_args!("besides, {closed} that did not arrive were handed over in another way, and closed"));
    }
    if !pauses.is_empty() {
        pause::show(&pauses, terminal);
    }
    for told in [&ods, &mesh].into_iter().filter_map(|look| look.told(now())) {
        terminal.say(told);
    }
    if !closed.is_empty() {
        let codes: Vec<&str> = closed.iter().map(OdsCode::as_str).collect();
        terminal.say(format_args!("closed, says ODS, and sent nothing new: {}", codes.join(", ")));
    }
    for told in newer(&schema).into_iter().chain(operations::unfinished(&schema)) {
        terminal.paragraph(0, &told);
    }
    match told {
        Some(told) => say(&told, terminal),
        None => terminal.say("no gateway answers on this machine"),
    }
    Ok(Exit::Done)
}

/// That the store is a newer program's, where it is.
fn newer(schema: &Schema) -> Option<String> {
    let oldest = schema.oldest_program.unwrap_or(schema.stored);
    schema.is_newer().then(|| {
        format!(
            "the store's schema is version {}, this program knows versions up to {}: a newer program brought it forward, on which programs \
             can serve that know version {oldest} at least",
            schema.stored, schema.known
        )
    })
}

/// A daily look at a national service.
struct Look {
    /// What is held against it.
    what: &'static str,
    service: &'static str,
    daily: Daily,
    /// This configuration has it made.
    is_on: bool,
}

impl Look {
    /// From when the next is due; none where none is made, or the first is due.
    fn next(&self) -> Option<Timestamp> {
        self.daily.next.filter(|_| self.is_on)
    }

    fn told(&self, now: Timestamp) -> Option<String> {
        let Self { what, service, daily, is_on } = self;
        let Some(looked) = daily.looked else {
            return is_on.then(|| format!("{what} have not been held against {service} yet: the first time is due"));
        };
        let next = match self.next() {
            Some(next) if next > now => format!("the next time is from {}", minute(next)),
            Some(next) => {
                format!("the next time is due since {}: where it does not end the log says why", minute(next))
            }
            None => "nobody asks it now".to_owned(),
        };
        Some(format!("{what} were last held against {service} on {}; {next}", minute(looked)))
    }
}

fn say(told: &Told, terminal: &mut Terminal) {
    for (transport, count) in told.silent.iter().filter(|(_, count)| **count > 0) {
        terminal.say(format_args!(
            "{count} endpoint(s) by {transport} do not answer: one copy tries each again from time to time"
        ));
    }
    if let Some(age) = told.mailbox_age.filter(|age| *age >= MAILBOX_OVERDUE_SECONDS) {
        let minutes = age / 60;
        terminal.say(format_args!("our MESH mailbox could not be read for {minutes} minutes: the log says why"));
    }
    if let Some(count) = told.mailbox_staying.filter(|count| *count > 0) {
        terminal.say(format_args!(
            "{count} message(s) in our MESH mailbox stay there, not collected or refused unheard: MESH deletes them after five days; the log says why"
        ));
    }
}

fn shown(
    transfer: &TransferRecord,
    not_taken: Vec<NotTaken>,
    closed: Vec<Closed>,
    went_elsewhere: Vec<WentElsewhere>,
) -> Shown {
    Shown {
        transfer: transfer.id.to_string(),
        sender: transfer.sender.to_string(),
        client: transfer.client_id.clone(),
        message: transfer.message_id.clone(),
        event: transfer.event.clone(),
        received: transfer.received.to_string(),
        hold: transfer.hold.clone(),
        not_sent: transfer.not_sent.clone(),
        version: transfer.version,
        replaces: transfer.replaces.map(|id| id.to_string()),
        replaced_by: transfer.replaced_by.map(|id| id.to_string()),
        ended: ended(transfer),
        status: transfer.task_status(),
        deliveries: transfer.deliveries.iter().map(delivery).collect(),
        not_taken,
        closed,
        went_elsewhere,
    }
}

/// One copy as JSON shows it.
pub(super) fn delivery(record: &DeliveryRecord) -> Delivery {
    Delivery {
        delivery: record.id.to_string(),
        transfer: record.transfer.to_string(),
        recipient: record.kind.as_str(),
        ods: record.recipient.to_string(),
        name: record.recipient_name.clone(),
        transport: record.endpoint.kind().as_str(),
        address: record.endpoint.told(),
        state: record.state.as_str(),
        ended: record.ended.map(|ended| ended.why.as_str()),
        closed: record.closed,
        notice_of: record.notice.map(|notice| notice.of.to_string()),
        attempts: record.attempts,
        next_attempt: record.next_attempt.map(|at| at.to_string()),
        code: record.code.clone(),
        reason: record.reason.clone(),
        bytes: record.body_bytes,
        created: record.created.to_string(),
        changed: record.changed.to_string(),
    }
}

fn page(
    transfer: &TransferRecord,
    not_taken: &[NotTaken],
    closed: &[Closed],
    went_elsewhere: &[WentElsewhere],
    terminal: &mut Terminal,
) {
    let id = terminal.paint(Style::Bold, transfer.id);
    terminal.say(format_args!("transfer {id}"));
    let about = format!("event {} from {}, received {}", transfer.event, transfer.sender, minute(transfer.received));
    terminal.paragraph(2, &about);
    let other = |what: &str, id: Option<TransferId>| id.map(|id| format!("{what} {id}"));
    let versions = [other("replaces", transfer.replaces), other("replaced by", transfer.replaced_by)];
    if transfer.version > 1 || transfer.replaced_by.is_some() {
        let versions: Vec<_> = versions.into_iter().flatten().collect();
        terminal.paragraph(2, &format!("version {} of its document, {}", transfer.version, versions.join(", ")));
    }
    if let Some(ended) = ended(transfer) {
        let word = terminal.paint(Style::Red, "ended");
        terminal.say(format_args!("  {word}"));
        terminal.paragraph(2, &ended);
    }
    if let Some(reason) = &transfer.not_sent {
        let word = terminal.paint(Style::Red, "closed");
        terminal.say(format_args!("  {word}"));
        terminal.paragraph(2, reason);
    }
    if let Some(hold) = &transfer.hold {
        let word = terminal.paint(Style::Yellow, format_args!("held: {}", hold.reason));
        terminal.say(format_args!("  {word}"));
        terminal.paragraph(
            2,
            &format!("hold {}, {} decides by {}: {}", hold.id, hold.owner, minute(hold.due), hold.detail),
        );
    }
    terminal.say("");
    let rows: Vec<_> = transfer.deliveries.iter().map(row).collect();
    if rows.is_empty() {
        terminal.say("no deliveries yet");
    } else {
        terminal.table(
            ["delivery", "recipient", "ODS", "by", "state", "attempts", "next attempt", "code", "reason"],
            &rows,
        );
    }
    for NotTaken { delivery, by, state } in not_taken {
        terminal.paragraph(
            0,
            &format!("{delivery}: the later version ({by}) is {state}, so this one may still be in use there"),
        );
    }
    for WentElsewhere { delivery, first_attempt: first, last_attempt: last, address } in went_elsewhere {
        let attempts = if first == last { format!("attempt {first}") } else { format!("attempts {first} to {last}") };
        terminal.paragraph(0, &format!("{delivery}: {attempts} went to {address}"));
    }
    for Closed { delivery, by, at, reason, holds } in closed {
        let (before, why) = (if *holds { "" } else { " before" }, reason.as_deref().unwrap_or("erased"));
        terminal
            .paragraph(0, &format!("{delivery}: handed over{before} in another way by {by}, {}: {why}", minute(*at)));
    }
}

fn ended(transfer: &TransferRecord) -> Option<String> {
    transfer.ended.as_ref().map(|(why, reason)| format!("{why}: {reason}"))
}

fn row(record: &DeliveryRecord) -> [String; 9] {
    let kind = match (record.kind, record.notice) {
        (RecipientKind::Sender, _) => "response to the sender".to_owned(),
        (kind, Some(_)) => format!("notice to {kind}"),
        (kind, None) => kind.to_string(),
    };
    let state = match record.ended {
        Some(ended) => ended.why.to_string(),
        None if record.closed => format!("{}, closed", record.state),
        None => record.state.to_string(),
    };
    let next = record.next_attempt.filter(|_| record.state == DeliveryState::Queued).map(minute);
    [
        record.id.to_string(),
        kind,
        record.recipient.to_string(),
        record.endpoint.kind().to_string(),
        state,
        record.attempts.to_string(),
        next.unwrap_or_default(),
        record.code.clone().unwrap_or_default(),
        record.reason.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_schema_is_told_with_what_it_lets_serve() {
        let schema = |stored, oldest_program| Schema { stored, known: 25, oldest_program, waits_for: 25 };
        assert_eq!(newer(&schema(25, Some(25))), None);
        assert_eq!(newer(&schema(24, None)), None);
        let told = newer(&schema(27, Some(24))).expect("told");
        for number in ["version 27,", "up to 25:", "version 24 at least"] {
            assert!(told.contains(number), "{told}");
        }
    }

    #[test]
    fn a_daily_look_tells_when_it_was_last_whole_and_when_it_is_next() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
        let (looked, next) = (at("2026-11-12T09:00:00Z"), at("2026-11-13T09:00:00Z"));
        let look = |daily, is_on| Look { what: "the mailboxes", service: "MESH", daily, is_on };
        let (never, once) = (Daily::default(), Daily { looked: Some(looked), next: Some(next) });
        let now = at("2026-11-13T08:59:59Z");
        assert_eq!(look(never, false).told(now), None);
        let told = |daily, is_on, now| look(daily, is_on).told(now).expect("told");
        assert!(told(never, true, now).ends_with("not been held against MESH yet: the first time is due"));
        let last = format!("the mailboxes were last held against MESH on {}; ", minute(looked));
        assert_eq!(told(once, true, now), format!("{last}the next time is from {}", minute(next)));
        let due = format!("{last}the next time is due since {}: where it does not end the log says why", minute(next));
        assert_eq!(told(once, true, next), due);
        assert_eq!(told(once, false, now), format!("{last}nobody asks it now"));
        assert_eq!((look(once, true).next(), look(once, false).next()), (Some(next), None));
    }
}
