//! `onward recall`: something went to somebody whom it was not for. Access ends at once, whoever may have it is told,
//! and what happened is written down with proofs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::state::EndReason;
use onward_core::store::{DeliveryRecord, FormerAddress, NewHold, Store, TransferRecord};
use onward_core::{DeliveryId, TransferId};
use onward_gateway::explore::everything;
use onward_gateway::lifecycle::{TakenBack, may_have_it};
use onward_gateway::made::Made;
use onward_gateway::readdressing::{told_before, went_before};
use onward_gateway::recall::{RecalledCopy, along};
use onward_gateway::sightings::lists_that_named;
use serde_json::{Value, json};

use super::audit::{self, entries_that_fit};
use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{self, ConfigArgs, Desk, minute};
use super::output;
use super::terminal::{Style, Terminal};
use crate::config::Config;

/// Takes a delivery, or all of a transfer's, away from whoever should not have it: from the commit on it cannot be read,
/// and whoever may have it gets a notice without patient data; so does whoever saw on a home's list of arrivals, or in a Task, whom it is
/// about, or answered for it unopened. Tells who opened it, or saw it so, and when. Without --yes it only shows what it would do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward recall 7e1f4c52-2d4b-4e39-8b0c-3a1d9f6e5b20 --by 'Ada Wells' --reason 'wrong home'
  onward recall 7e1f4c52-2d4b-4e39-8b0c-3a1d9f6e5b20 --by 'Ada Wells' --reason 'wrong home' --yes --out incident-12
  onward hold reroute HOLD --care-home VMH02 --by 'Ada Wells' --reason 'ward confirms the home' --yes

What the same recipients have of other versions is recalled with it. The transfer then waits in a hold, by which it is sent to the
right place; those who rightly have it keep their copies. With --out a folder is written: summary, and every audit entry about the deliveries,
the lists that showed them and the notices of them, with its inclusion proof, which
`onward audit check` and verify.py check without the gateway. It holds patient data. Run it again once a checkpoint covers the
newest entries, seconds later. Exit code 1: there is no such delivery or transfer.")]
pub struct Recall {
    #[command(flatten)]
    config: ConfigArgs,
    /// Why, for the audit log; no patient data
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: String,
    /// Who decides, by name
    #[arg(long, value_name = "NAME", value_parser = crate::cli::input::whom)]
    by: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Write the incident pack into this folder, which is not there yet
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// The delivery, or the transfer
    #[arg(value_name = "ID")]
    id: uuid::Uuid,
}

/// Runs it.
///
/// # Errors
/// When there is no such thing, or configuration, store or folder cannot be used.
pub(super) async fn run(command: &Recall, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.config.existing_store().await?;
    if let Some(out) = command.out.as_ref().filter(|out| out.exists()) {
        return Err(Failure::usage(format!("{} is there already", out.display())));
    }
    let (transfer, only) = find(store.as_ref(), command.id).await?;
    let app = open::build(&config, std::sync::Arc::clone(&store))?;
    let agent = open::operator(&app.gateway.settings().own_ods);
    let back = TakenBack { agent, by: Some(&command.by), reason: &command.reason, request_id: None };
    let recalled = app.gateway.recall(transfer.id, only, &back, command.yes).await?;
    let line = app.gateway.line_of(transfer.id).await?;
    let concerned: Vec<DeliveryRecord> = along(&line, transfer.id, only).into_iter().cloned().collect();
    let notices = notices(&line, &concerned);
    let lists = lists(store.as_ref(), &concerned).await?;
    let entries = entries(store.as_ref(), concerned.iter().chain(notices.iter().copied()), &lists).await?;
    let mut former = BTreeMap::new();
    for copy in &concerned {
        former.insert(copy.id, store.former_addresses(copy.id).await?);
    }
    let found = Found { notices, lists, entries, former };
    let desk = Desk::new(&config)?;
    let detail = format!("who had {} deliveries of a transfer that is recalled", concerned.len());
    store.audit(vec![desk.row_about(AuditWord::Query, detail, transfer.patient.clone())]).await?;
    let summary = summary(command, (&transfer, line.as_slice()), &concerned, &recalled, &found);
    if let Some(out) = &command.out {
        let proven = pack(out, store.as_ref(), (&config, &desk), &summary, &found.entries, terminal).await?;
        terminal.note(format!(
            "{} of {} entries are under a checkpoint and proven in {}",
            proven,
            found.entries.len(),
            out.display()
        ));
    }
    if command.json {
        terminal.json(&summary);
    } else {
        page(command, &line, &concerned, &recalled, &found, terminal);
    }
    Ok(Exit::Done)
}

async fn find(store: &dyn Store, id: uuid::Uuid) -> Result<(TransferRecord, Option<DeliveryId>), Failure> {
    if let Some(transfer) = store.transfer(TransferId(id)).await? {
        return Ok((transfer, None));
    }
    if let Some(delivery) = store.delivery(DeliveryId(id)).await?
        && let Some(transfer) = store.transfer(delivery.transfer).await?
    {
        return Ok((transfer, Some(delivery.id)));
    }
    Err(Failure::no(format!("there is neither a transfer nor a delivery {id}")))
}

/// What the log tells of the copies that are recalled.
struct Found<'l> {
    /// The notices of them.
    notices: Vec<&'l DeliveryRecord>,
    /// The lists on which their recipients' people saw whom they are about.
    lists: BTreeMap<DeliveryId, Vec<FoundAudit>>,
    /// Every entry about the copies and their notices, and those lists; the oldest first.
    entries: Vec<FoundAudit>,
    /// Where the copies were sent before they were given other addresses.
    former: BTreeMap<DeliveryId, Vec<FormerAddress>>,
}

/// The notices of these copies, of any end: they were told so.
fn notices<'l>(line: &'l [TransferRecord], copies: &[DeliveryRecord]) -> Vec<&'l DeliveryRecord> {
    let tells =
        |notice: &&DeliveryRecord| notice.notice.is_some_and(|told| copies.iter().any(|copy| copy.id == told.of));
    line.iter().flat_map(|version| &version.deliveries).filter(tells).collect()
}

async fn lists(store: &dyn Store, copies: &[DeliveryRecord]) -> Result<BTreeMap<DeliveryId, Vec<FoundAudit>>, Failure> {
    let mut lists = BTreeMap::new();
    for copy in copies {
        lists.insert(copy.id, lists_that_named(store, copy).await?);
    }
    Ok(lists)
}

async fn entries(
    store: &dyn Store,
    copies: impl Iterator<Item = &DeliveryRecord>,
    lists: &BTreeMap<DeliveryId, Vec<FoundAudit>>,
) -> Result<Vec<FoundAudit>, Failure> {
    let mut found: Vec<FoundAudit> = lists.values().flatten().cloned().collect();
    for copy in copies {
        let about = AuditQuery { entity: Some(copy.id.to_string()), ..everything(None) };
        found.extend(entries_that_fit(store, about).await?);
    }
    found.sort_by_key(|entry| entry.index);
    found.dedup_by_key(|entry| entry.index);
    Ok(found)
}

impl Found<'_> {
    /// Who opened a copy, and when.
    fn readings(&self, copy: &DeliveryRecord) -> Vec<Value> {
        let id = format!("Bundle/{}", copy.id);
        let read =
            |entry: &&FoundAudit| entry.word == AuditWord::Read && String::from_utf8_lossy(event(entry)).contains(&id);
        self.entries.iter().filter(read).map(looked).collect()
    }

    /// Who saw on a list whom it is about, and when.
    fn listings(&self, copy: &DeliveryRecord) -> Vec<Value> {
        self.lists.get(&copy.id).into_iter().flatten().rev().map(looked).collect()
    }

    /// Where a copy was sent before it was given another address.
    fn former(&self, copy: &DeliveryRecord) -> &[FormerAddress] {
        self.former.get(&copy.id).map_or(&[], Vec::as_slice)
    }

    /// Whether its recipient may have it, or know whom it is about. What ended does not tell any more how it stood before; the log does.
    fn may_have_it(&self, copy: &DeliveryRecord, recalled: &[RecalledCopy]) -> bool {
        if let Some(now) = recalled.iter().find(|now| now.copy.id == copy.id) {
            return now.told;
        }
        let answered = |entry: &FoundAudit| entry.delivery == Some(copy.id) && entry.word == AuditWord::Acknowledge;
        let is_told = self.notices.iter().any(|notice| notice.notice.is_some_and(|told| told.of == copy.id));
        may_have_it(copy) || is_told || !self.listings(copy).is_empty() || self.entries.iter().any(answered)
    }
}

/// Who, when, and by which entry.
fn looked(entry: &FoundAudit) -> Value {
    let event: Value = serde_json::from_slice(event(entry)).unwrap_or_default();
    json!({ "who": event["agent"][0]["name"], "when": entry.recorded, "entry": entry.index })
}

/// The AuditEvent; nothing when it was erased.
fn event(entry: &FoundAudit) -> &[u8] {
    entry.event.as_deref().unwrap_or_default()
}

fn summary(
    command: &Recall,
    (transfer, line): (&TransferRecord, &[TransferRecord]),
    copies: &[DeliveryRecord],
    recalled: &[RecalledCopy],
    found: &Found<'_>,
) -> Value {
    let before = |(first, last, address): (u32, u32, String)| json!({ "first_attempt": first, "last_attempt": last, "address": address });
    let delivery = |copy: &DeliveryRecord| {
        let now = recalled.iter().find(|recalled| recalled.copy.id == copy.id);
        json!({
            "delivery": copy.id, "version": version_of(line, copy),
            "recipient": copy.kind.as_str(), "ods": copy.recipient, "name": copy.recipient_name,
            "transport": copy.endpoint.kind().as_str(), "address": copy.endpoint.told(),
            "sent_before_to": went_before(found.former(copy)).into_iter().map(before).collect::<Vec<_>>(),
            "attempts": copy.attempts, "queued": copy.created,
            "state": now.map_or(copy.state, |now| now.copy.state).as_str(),
            "may_have_it": found.may_have_it(copy, recalled),
            "recalled": is_recalled(copy),
            "opened": copy.opened, "readings": found.readings(copy), "listed": found.listings(copy),
        })
    };
    let notice = |notice: &&DeliveryRecord| {
        json!({
            "delivery": notice.id, "of": notice.notice.map(|told| told.of), "ods": notice.recipient,
            "address": notice.endpoint.told(), "state": notice.state.as_str(), "opened": notice.opened, "readings": found.readings(notice),
        })
    };
    json!({
        "state": state(copies), "by": command.by, "reason": command.reason,
        "transfer": transfer.id, "sender": transfer.sender, "message": transfer.message_id, "received": transfer.received,
        "hold": hold_of(line).map(|hold| hold.id),
        "deliveries": copies.iter().map(delivery).collect::<Vec<_>>(),
        "notices": found.notices.iter().map(notice).collect::<Vec<_>>(),
        "audit_entries": found.entries.iter().map(|entry| entry.index).collect::<Vec<_>>(),
    })
}

fn is_recalled(copy: &DeliveryRecord) -> bool {
    copy.ended.is_some_and(|ended| ended.why == EndReason::Recalled)
}

/// How far the recall of these copies has come, whoever did it and when.
fn state(copies: &[DeliveryRecord]) -> &'static str {
    match copies.iter().filter(|copy| is_recalled(copy)).count() {
        0 => "preview",
        count if count == copies.len() => "recalled",
        _ => "partly-recalled",
    }
}

/// The place of a copy's transfer among the versions of its document.
fn version_of(line: &[TransferRecord], copy: &DeliveryRecord) -> Option<u32> {
    line.iter().find(|version| version.id == copy.transfer).map(|version| version.version)
}

/// The hold of the newest version: by it the right party gets what it should have.
fn hold_of(line: &[TransferRecord]) -> Option<&NewHold> {
    line.first().and_then(|newest| newest.hold.as_ref())
}

/// Writes the incident pack; how many entries are proven in it. That it is handed out is committed before the first byte.
async fn pack(
    out: &Path,
    store: &dyn Store,
    (config, desk): (&Config, &Desk),
    summary: &Value,
    entries: &[FoundAudit],
    terminal: &mut Terminal,
) -> Result<usize, Failure> {
    let wanted: BTreeSet<u64> = entries.iter().map(|entry| entry.index).collect();
    let proofs = audit::evidence::proofs(store, config, &wanted, terminal).await?;
    let mut files = vec![(
        "summary.json".to_owned(),
        serde_json::to_string_pretty(summary).expect("a JSON value is JSON").into_bytes(),
    )];
    let mut lines = Vec::new();
    for entry in entries {
        if let Some(event) = &entry.event {
            lines.extend_from_slice(event);
            lines.push(b'\n');
        }
    }
    files.push(("audit.ndjson".to_owned(), lines));
    for proof in &proofs {
        files.push((format!("entry-{}.tlog-proof", proof.index), proof.to_text().into_bytes()));
    }
    let mut made = Made::default();
    files.iter().for_each(|(_, bytes)| made.bytes(bytes));
    made.file(&files[0].0, &files[0].1);
    let events = entries.iter().map(|entry| entry.event.as_deref());
    let what = "the folder of a recall, all of its files one after the other";
    store.audit(vec![audit::evidence::handed_out(desk, what, made, events)]).await?;
    std::fs::create_dir(out).with_context(|| format!("making {}", out.display()))?;
    for (name, bytes) in files {
        use std::io::Write as _;
        let mut file = output::new_file(&out.join(name))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
    }
    Ok(proofs.len())
}

fn page(
    command: &Recall,
    line: &[TransferRecord],
    copies: &[DeliveryRecord],
    recalled: &[RecalledCopy],
    found: &Found<'_>,
    terminal: &mut Terminal,
) {
    let row = |copy: &DeliveryRecord| {
        let told = if found.may_have_it(copy, recalled) { "yes" } else { "no" };
        let who = |looks: Vec<Value>| {
            let each = looks.iter().map(|look| {
                format!("{} {}", look["who"].as_str().unwrap_or("?"), look["when"].as_str().unwrap_or("?"))
            });
            each.collect::<Vec<_>>().join(", ")
        };
        let (opened, listed) = (who(found.readings(copy)), who(found.listings(copy)));
        let state = match copy.ended {
            Some(ended) => ended.why.to_string(),
            None => copy.state.to_string(),
        };
        let (recipient, ods) = (copy.kind.to_string(), copy.recipient.to_string());
        [copy.id.to_string(), recipient, ods, state, told.to_owned(), opened, listed]
    };
    let rows: Vec<_> = copies.iter().map(row).collect();
    terminal.table(["delivery", "recipient", "ODS", "state", "may have it", "opened by", "on a list seen by"], &rows);
    for copy in copies {
        for told in told_before(found.former(copy)) {
            terminal.paragraph(0, &format!("{}: {told}, and is told of a recall too", copy.id));
        }
    }
    match (command.yes, recalled.is_empty()) {
        (false, true) => terminal.say("nothing is left to recall"),
        (false, false) => terminal.say("a preview: nothing was changed; --yes recalls it"),
        (true, true) => terminal.say("nothing was left to recall"),
        (true, false) => {
            let word = terminal.paint(Style::Green, "recalled");
            terminal.say(format_args!("{word}: {} deliveries cannot be read any more", recalled.len()));
        }
    }
    if let Some(hold) = hold_of(line) {
        let line = format!(
            "it waits in hold {} until {}: `onward hold reroute` sends it to the right place",
            hold.id,
            minute(hold.due)
        );
        terminal.paragraph(0, &line);
    }
}

#[cfg(test)]
pub(super) mod tests;
