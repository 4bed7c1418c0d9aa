//! `onward hold` and `onward dead`: what waits for a person, and the person's decision. Every decision is audited
//! with its reason, under the agent `operator`.

mod close;
mod decide;

use clap::{Args, Subcommand};
use onward_core::DeliveryId;
use onward_core::cause::NOT_PROCESSED;
use onward_core::state::DeliveryState;
use onward_core::store::{Damaged, DeliveryQuery, DeliveryRecord, Listed, Resend, Store, Whereto};
use onward_gateway::holds::Decider;
use onward_gateway::operate::{Resent, copies_of};
use onward_gateway::readdressing::{self, other_way};
use onward_gateway::shown::Shown;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{self, ConfigArgs, Desk, minute};
use super::status;
use super::terminal::{Style, Terminal};
use super::validate::counted;

/// Copies read at once.
const PAGE: u32 = 200;
/// What the lists are of: one, several.
const HOLDS: (&str, &str) = ("hold", "holds");
const COPIES: (&str, &str) = ("copy", "copies");

/// Transfers that wait for a person.
#[derive(Debug, Subcommand)]
pub enum Hold {
    /// Lists open holds, the most urgent first
    #[command(after_help = "Example:
  onward hold list --json | jq -r .hold

What next: `onward status TRANSFER` tells why it is held. Mend that, then `onward hold release`; name who is meant with
`onward hold reroute`; or end it with `onward hold close`.")]
    List(List),
    /// Looks at a held message again with what was mended since, and queues its copies if nothing holds it any more;
    /// without --yes it only shows what it would do
    #[command(after_help = "Examples:
  onward hold release ID --held-for care-home-unknown --reason 'home added to the directory' --by 'Ada Wells' --yes
  onward hold release ID --held-for restricted-patient --recipients-agreed-with-ward care-home --reason 'ward confirms the home' \\
    --by 'Ada Wells' --yes

Mend what the hold names (directory entry, PDS record) first. Three reasons are a person's to send despite: the discharge
destination is no care home although a known one is named (not-a-care-home-discharge), the document replaces one that
has not come or is about another person (replacement), and the person has died (deceased). A hold may take over another reason
at any time: say by --held-for which one you saw, as `onward hold list` prints it, and nothing is decided about another one. Without it
--yes looks again, but sends nothing despite a reason. A restricted person's transfer goes to the kinds agreed with the ward and to
nobody who would be found by looking the person up; that of one who objects to sharing to the kinds agreed with the ward, and
never to an organisation that the objection names. If something else holds it then, the hold takes over that reason, its
owner and its time. Exit code 1: it is still held, refused now, not confirmed by --held-for, not a
person's to decide, or there is no such hold.")]
    Release(decide::Release),
    /// Names the party that could not be resolved, and lets the message go on; without --yes it only shows what it would do
    #[command(after_help = "Examples:
  onward hold reroute ID --held-for care-home-unknown --care-home VMH01 --reason 'ward confirms the home' --by 'Ada Wells' --yes
  onward hold reroute ID --registered-practice Y99002 --reason 'practice confirms' --by 'Ada Wells' --yes

The party must be in the directory. A person names what the message and PDS leave open (care-home-missing, -unknown and
-conflict, not-a-care-home-discharge, registered-practice-conflict and -unknown), never who the patient is.")]
    Reroute(decide::Reroute),
    /// Ends a held transfer without sending it: its Task fails with the reason, and the hospital gets the negative ITK3
    /// response when it asked for one; without --yes it only shows what it would do
    #[command(after_help = "Example:
  onward hold close ID --reason 'sent again by the ward with the right number' --by 'Ada Wells' --yes")]
    Close(decide::Decision),
}

/// Deliveries that failed for good, and those that their recipients' systems did not process.
#[derive(Debug, Subcommand)]
pub enum Dead {
    /// Lists deliveries that failed, or were not processed
    #[command(after_help = "Example:
  onward dead list

What next: mend what the reason names (the recipient's entry or endpoint, our certificate, its system), then send each again
with `onward dead replay ID`, or many at once on /operations: it goes to the address of the directory as it is then. What was handed over in another way meanwhile:
`onward dead close ID`. What went to the wrong place: `onward recall`.")]
    List(List),
    /// Sends a delivery that failed, or was not processed, again under its own identifier; without --yes it only shows what it would do
    #[command(after_help = "Example:
  onward dead replay 7e1f4c52-2d4b-4e39-8b0c-3a1d9f6e5b20 --reason 'mailbox mended' --yes

It goes to the recipient's address of the directory as it is now. Exit code 1: the recipient receives in another way by now (by MESH and
no longer by HTTPS, say), or it cannot be sent again.")]
    Replay(Replay),
    /// Closes a delivery that failed, or was not processed, because a person handed it over in another way: read out, by NHSmail, a new
    /// referral; without --yes it only shows what it would do
    #[command(after_help = "Example:
  onward dead close 7e1f4c52-2d4b-4e39-8b0c-3a1d9f6e5b20 --reason 'read out to the duty GP, 03:10' --by 'Ada Wells' --yes

It leaves `onward dead list` and the alerts about it are over. The hospital sees in its Task that the copy did not arrive electronically and
that a person took care; who, when and why stay with the delivery (`onward status`). If it must be sent all the same: `onward dead replay`.
Exit code 1: there is no such delivery, it does not wait for a decision (any more), or an upgrade is not finished (`onward migrate`).")]
    Close(close::Close),
}

/// What to list.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    config: ConfigArgs,
    /// One line of JSON for each
    #[arg(long)]
    json: bool,
}

/// Which delivery.
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    config: ConfigArgs,
    /// Why, for the audit log; no patient data
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// The delivery
    #[arg(value_name = "ID")]
    id: DeliveryId,
}

/// Runs `onward hold`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn hold(command: &Hold, terminal: &mut Terminal) -> Outcome {
    match command {
        Hold::List(list) => held(list, terminal).await,
        Hold::Release(release) => decide::release(release, terminal).await,
        Hold::Reroute(reroute) => decide::reroute(reroute, terminal).await,
        Hold::Close(close) => decide::close(close, terminal).await,
    }
}

/// Runs `onward dead`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn dead(command: &Dead, terminal: &mut Terminal) -> Outcome {
    match command {
        Dead::List(list) => failed(list, terminal).await,
        Dead::Replay(replay) => self::replay(replay, terminal).await,
        Dead::Close(close) => close::run(close, terminal).await,
    }
}

async fn held(list: &List, terminal: &mut Terminal) -> Outcome {
    let (config, store) = list.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let held = store.holds().await?;
    let transfers = held.iter().map(|held| held.transfer).collect();
    // First the entry about the look, then what it shows.
    store.audit(desk.rows_listed("hold list", &Shown { transfers, ..Shown::default() })).await?;
    if list.json {
        for held in held.iter() {
            terminal.json(&json!({
                "hold": held.hold.id, "reason": held.hold.reason, "detail": held.hold.detail,
                "owner": held.hold.owner, "due": held.hold.due, "overdue": held.hold.due < open::now(),
                "transfer": held.transfer, "sender": held.sender, "received": held.received,
            }));
        }
        unreadable(list, &held.damaged, HOLDS, terminal);
        return Ok(Exit::Done);
    }
    if held.is_empty() {
        terminal.say(nothing(&held.damaged, "no transfer is held", "nothing that can be read is held"));
        unreadable(list, &held.damaged, HOLDS, terminal);
        return Ok(Exit::Done);
    }
    let row = |held: &onward_core::store::HeldTransfer| {
        let overdue = if held.hold.due < open::now() { " overdue" } else { "" };
        [
            held.hold.id.to_string(),
            held.hold.reason.to_string(),
            held.hold.owner.clone(),
            format!("{}{overdue}", minute(held.hold.due)),
            held.transfer.to_string(),
            held.sender.to_string(),
        ]
    };
    let rows: Vec<_> = held.iter().map(row).collect();
    terminal.table(["hold", "reason", "owner", "due", "transfer", "sender"], &rows);
    terminal.say("`onward status TRANSFER` tells what was seen");
    unreadable(list, &held.damaged, HOLDS, terminal);
    Ok(Exit::Done)
}

async fn failed(list: &List, terminal: &mut Terminal) -> Outcome {
    let (config, store) = list.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let failed = all_failed(store.as_ref(), PAGE).await?;
    let copies = failed.iter().map(|copy| copy.id).chain(copies_of(&failed.damaged)).collect();
    store.audit(desk.rows_listed("dead list", &Shown { copies, ..Shown::default() })).await?;
    if list.json {
        for record in failed.iter() {
            terminal.json(&status::delivery(record));
        }
        unreadable(list, &failed.damaged, COPIES, terminal);
        return Ok(Exit::Done);
    }
    if failed.is_empty() {
        let none = "no delivery has failed, and none was left unprocessed";
        terminal.say(nothing(
            &failed.damaged,
            none,
            "no delivery that can be read has failed, or was left unprocessed",
        ));
        unreadable(list, &failed.damaged, COPIES, terminal);
        return Ok(Exit::Done);
    }
    let row = |record: &DeliveryRecord| {
        [
            record.id.to_string(),
            record.kind.to_string(),
            record.recipient.to_string(),
            record.endpoint.kind().to_string(),
            record.attempts.to_string(),
            minute(record.changed),
            record.code.clone().unwrap_or_default(),
            record.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = failed.iter().map(row).collect();
    terminal.table(["delivery", "recipient", "ODS", "by", "attempts", "failed", "code", "reason"], &rows);
    unreadable(list, &failed.damaged, COPIES, terminal);
    Ok(Exit::Done)
}

/// The words for an empty list: what cannot be read may be there all the same.
fn nothing(damaged: &[Damaged], none: &'static str, none_readable: &'static str) -> &'static str {
    if damaged.is_empty() { none } else { none_readable }
}

/// What belongs to the list and cannot be read, as its last line; beside lines of JSON, each of which is one that can.
fn unreadable(list: &List, damaged: &[Damaged], what: (&str, &str), terminal: &mut Terminal) {
    match Damaged::told(damaged, what) {
        Some(told) if list.json => terminal.note(told),
        Some(told) => terminal.say(told),
        None => {}
    }
}

async fn all_failed(store: &dyn Store, page_rows: u32) -> Result<Listed<DeliveryRecord>, Failure> {
    let mut failed = Listed::default();
    let (mut after, mut limit) = (None, page_rows);
    loop {
        let query = DeliveryQuery { dead: true, include_responses: true, after, limit, ..DeliveryQuery::default() };
        let page = store.deliveries(query).await?;
        let is_last = page.len() + page.damaged.len() < limit as usize;
        match page.last() {
            Some(last) => (after, limit) = (Some((last.created, last.id)), page_rows),
            // Of a page of which nothing can be read nobody can tell where the next one begins: it is asked for with more behind it.
            None => limit = limit.saturating_mul(2),
        }
        failed.rows.extend(page.rows.into_iter().map(without_their_words));
        failed.damaged.extend(page.damaged);
        if is_last {
            // What stands behind the last of a page that can be read is on the next one too.
            failed.damaged.sort();
            failed.damaged.dedup();
            return Ok(failed);
        }
    }
}

/// It may be sent again: what a recipient declined is decided.
fn has_failed(copy: &DeliveryRecord) -> bool {
    copy.state == DeliveryState::Failed || copy.is_unprocessed()
}

/// What a recipient's system wrote when it refused may name the person.
fn without_their_words(copy: DeliveryRecord) -> DeliveryRecord {
    match copy.is_unprocessed() {
        true => DeliveryRecord { reason: Some(NOT_PROCESSED.to_owned()), ..copy },
        false => copy,
    }
}

/// How often it was tried, and what came of it.
fn tried(copy: &DeliveryRecord) -> String {
    let attempts = counted(usize::try_from(copy.attempts).unwrap_or(usize::MAX), "attempt");
    format!("failed after {attempts}: {}", copy.reason.as_deref().unwrap_or("no reason given"))
}

async fn replay(replay: &Replay, terminal: &mut Terminal) -> Outcome {
    let (config, store) = replay.config.existing_store().await?;
    let Some(record) = store.delivery(replay.id).await? else {
        return Err(Failure::no(format!("there is no delivery {}", replay.id)));
    };
    if !has_failed(&record) {
        let why = "only one that failed, or was not processed, is sent again";
        return Err(Failure::no(format!("the delivery is {}: {why}", record.state)));
    }
    let record = without_their_words(record);
    if !replay.yes {
        let (transfer, patient) = (record.transfer, record.patient.clone());
        let row = Desk::new(&config)?.row_seen("dead replay, a preview", transfer, Some(record.id), patient);
        store.audit(vec![row]).await?;
    }
    let app = open::build(&config, store)?;
    let to = app.gateway.whereto(&record).await?;
    if let Whereto::OtherWay { from, to } = &to {
        return Err(Failure::no(other_way(&record.recipient, from, to)));
    }
    let younger = app.gateway.store().left_since(record.id).await?;
    let done = replay.yes && {
        let agent = open::operator(&app.gateway.settings().own_ods);
        let by = agent.name.clone();
        let decider = Decider { agent, by: &by, reason: &replay.reason, act: true, request_id: None };
        match app.gateway.resend(replay.id, Resend::Replay, &decider).await? {
            Resent::Queued => true,
            Resent::Not => false,
            Resent::OtherWay { recipient, from, to } => return Err(Failure::no(other_way(&recipient, &from, &to))),
        }
    };
    let address = to.new_address().unwrap_or(&record.endpoint).told();
    let was = to.new_address().map(|_| record.endpoint.told());
    let state = match (replay.yes, done) {
        (false, _) => "preview",
        (true, true) => "queued",
        (true, false) => "changed-meanwhile",
    };
    if replay.json {
        terminal.json(&json!({
            "state": state, "delivery": status::delivery(&record), "address": address, "address_before": was,
            "younger_left": younger,
        }));
    } else {
        let whom =
            format!("{} {} ({}) by {}", record.kind, record.recipient_name, record.recipient, record.endpoint.kind());
        let bold = terminal.paint(Style::Bold, record.id);
        terminal.say(format_args!("{bold}  {}", super::terminal::plain(&whom)));
        terminal.paragraph(2, &tried(&record));
        terminal.paragraph(
            2,
            &match &was {
                Some(was) => format!("goes to {address}: the directory has changed; it was to go to {was}"),
                None => format!("goes to {address}, as before"),
            },
        );
        if let Some(younger) = readdressing::younger(younger) {
            terminal.paragraph(2, &younger);
        }
        terminal.say(match state {
            "preview" => "a preview: nothing was queued; --yes sends it again under the same identifier",
            "queued" => "queued again",
            _ => "not queued: its state changed meanwhile",
        });
    }
    Ok(Exit::answer(!replay.yes || done))
}

#[cfg(test)]
pub(super) mod tests;
