//! `onward retention`: what is due by the schedule, and its removal: first a plan, then the run of that plan.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use onward_core::Timestamp;
use onward_core::audit::AuditWord;
use onward_core::store::retention::{
    BodyClass, Due, DueMonth, DuePerson, DueRows, Purged, RetentionPlan, RowClass, Schedule,
};
use onward_core::store::{Store, StoreError};
use onward_ledger::SigningKeys;
use serde_json::json;
use uuid::Uuid;

use super::account::Account;
use super::exit::{Exit, Failure, Outcome};
use super::open::{ConfigArgs, Desk, now};
use super::output::Output;
use super::terminal::{Style, Terminal, plain};
use super::validate::counted;
use crate::config::Retention;
use crate::serve::signing_key;

/// How long a plan may be carried out.
const FRESH: SignedDuration = SignedDuration::from_hours(24);
/// How long others have between two parts of a month, about as long as one takes; ten times as long for each try that comes to nothing.
const TURN: Duration = Duration::from_millis(20);
/// How often a part is tried in all.
const TRIES: u32 = 4;
/// People whose keys go in one transaction, named in one entry of the log.
const BATCH: usize = 100;

/// What is removed when its time is over.
#[derive(Debug, Subcommand)]
pub enum RetentionCommand {
    /// Lists what is due by [retention] and keeps that as a plan; nothing is removed
    #[command(after_help = "Example:\n  onward retention plan --config gateway.toml")]
    Plan(Which),
    /// Carries a plan out: months are removed, keys destroyed, and a certificate is signed
    #[command(after_help = "Example:
  onward retention run 5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10 --by Bea --yes --out certificate.txt

A plan is good for a day and while what it lists is still exactly what is due. Whatever is under a legal hold stays.
A run that stops midway is certified as well: the certificate says what was removed and why it stopped; make a new plan for the rest.
Nothing is removed unless this command runs. A job may run it: [retention] is the decision, so nobody else is asked.
  onward retention run \"$(onward retention plan --json | jq -r .plan)\" --by 'monthly job' --yes --out \"purged-$(date +%F).txt\"
Exit code 1: the plan is none, is old, was carried out, is not what is due now, or its run stopped at a person about whom
something came in meanwhile.")]
    Run(Run),
    /// Prints the signed certificate of a run
    #[command(after_help = "Example:
  onward retention certificate 5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10 > certificate.txt

It is a signed note (C2SP) by the audit log's key: counts, months and who decided, and nothing about a person.")]
    Certificate(Certificate),
}

/// Of which gateway.
#[derive(Debug, Args)]
pub struct Which {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Which plan, and who says so.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigArgs,
    /// The plan
    #[arg(value_name = "PLAN")]
    plan: Uuid,
    /// Who decides it, for the audit log and the certificate; both also name the account that the command runs under
    #[arg(long, value_name = "NAME", value_parser = crate::cli::input::whom)]
    by: String,
    /// Really do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

/// Of which run.
#[derive(Debug, Args)]
pub struct Certificate {
    #[command(flatten)]
    config: ConfigArgs,
    /// The plan that was carried out
    #[arg(value_name = "PLAN")]
    plan: Uuid,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
///
/// # Errors
/// When configuration, keys or store cannot be used.
pub(super) async fn run(command: &RetentionCommand, terminal: &mut Terminal) -> Outcome {
    match command {
        RetentionCommand::Plan(which) => plan(which, terminal).await,
        RetentionCommand::Run(command) => carry_out(command, terminal).await,
        RetentionCommand::Certificate(command) => certificate(command, terminal).await,
    }
}

/// What the configuration lets go at this moment.
fn schedule(retention: &Retention, at: Timestamp) -> Schedule {
    let before = |days: u32| {
        let kept = SignedDuration::from_hours(24 * i64::from(days));
        (days > 0).then(|| at.checked_sub(kept).unwrap_or(Timestamp::MIN))
    };
    let month = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        i64::from(date.year()) * 100 + i64::from(date.month())
    };
    Schedule {
        messages_before: before(retention.messages_days).map(month),
        renditions_before: before(retention.renditions_days).map(month),
        people_before: before(retention.people_days),
        rows_before: RowClass::ALL
            .iter()
            .filter_map(|class| Some((*class, before(days_of(retention, *class))?)))
            .collect(),
    }
}

fn days_of(retention: &Retention, class: RowClass) -> u32 {
    match class {
        RowClass::Alerts => retention.alerts_days,
        RowClass::Directory => retention.directory_days,
        RowClass::Accounts => retention.accounts_days,
        RowClass::Decisions => retention.decisions_days,
        RowClass::Subscriptions => retention.subscriptions_days,
    }
}

/// Texts of the plan are compared: what is due must be what was planned.
fn text(due: &Due) -> String {
    serde_json::to_string(due).expect("our own structure serializes")
}

async fn plan(which: &Which, terminal: &mut Terminal) -> Outcome {
    let (config, store) = which.config.existing_store().await?;
    let at = now();
    let schedule = schedule(&config.retention, at);
    if schedule == Schedule::default() {
        return Err(Failure::no(
            "nothing has an end by [retention]: set messages_days, renditions_days, people_days or another of its keys",
        ));
    }
    let due = store.retention_due(&schedule).await?;
    let plan = RetentionPlan { id: Uuid::new_v4(), made: at, due: text(&due), certificate: None };
    let desk = Desk::new(&config)?;
    let row = desk.row(AuditWord::Configure, format!("retention plan {}: {}", plan.id, sums(&due)));
    let id = plan.id;
    store.put_retention_plan(plan, vec![row]).await?;
    if which.json {
        terminal.json(&json!({
            "plan": id, "months": due.months, "people": due.people.len(), "people_kept": due.people_kept, "rows": due.rows,
        }));
        return Ok(Exit::Done);
    }
    let row = |month: &DueMonth| {
        [month.class.to_string(), month.month.to_string(), month.due.to_string(), month.kept.to_string()]
    };
    let rows = |rows: &DueRows| [rows.class.to_string(), String::new(), rows.due.to_string(), rows.kept.to_string()];
    let table: Vec<_> = due.months.iter().map(row).chain(due.rows.iter().map(rows)).collect();
    terminal.table(["class", "month", "due", "kept"], &table);
    terminal.say(format_args!(
        "{} whose keys are due, {} kept by a legal hold",
        counted(due.people.len(), "person"),
        due.people_kept
    ));
    match due.is_empty() {
        true => terminal.say("nothing is due"),
        false => terminal.say(format_args!("plan {id}, good for a day: onward retention run {id} --by NAME --yes")),
    }
    Ok(Exit::Done)
}

/// A plan or what became of it in one line, for the audit log.
fn sums(due: &Due) -> String {
    let sum = |class| -> u64 { due.months.iter().filter(|month| month.class == class).map(|month| month.due).sum() };
    let [messages, renditions] = [sum(BodyClass::Messages), sum(BodyClass::Renditions)];
    let rows: String = due.rows.iter().map(|rows| format!(", {} {}", rows.due, rows.class)).collect();
    format!("{messages} messages, {renditions} renditions, keys of {} people{rows}", due.people.len())
}

async fn carry_out(command: &Run, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.config.existing_store().await?;
    let plan = store.retention_plan(command.plan).await?;
    let plan = plan.ok_or_else(|| Failure::no("there is no such plan: onward retention plan"))?;
    if plan.certificate.is_some() {
        return Err(Failure::no(
            "this plan was carried out, or begun and stopped: onward retention certificate prints what became of it",
        ));
    }
    let at = now();
    if at.duration_since(plan.made) > FRESH {
        return Err(Failure::no("the plan is older than a day: make a new one and look at it again"));
    }
    // By the moment of the plan, so that nothing becomes due between looking and doing.
    let schedule = schedule(&config.retention, plan.made);
    let due = store.retention_due(&schedule).await?;
    if text(&due) != plan.due {
        return Err(Failure::no("what is due is not what was planned any more: make a new plan and look at it again"));
    }
    if !command.yes {
        terminal.say("this removes what the plan lists and cannot be undone: say --yes");
        return Ok(Exit::No);
    }
    let key = signing_key(&config.audit.signing_key_file, &config).context("the audit log's key")?;
    let desk = Desk::new(&config)?;
    let work = Work { store: store.as_ref(), desk: &desk, command, schedule: &schedule, due: &due };
    work.carried_out(&plan, &key, terminal).await
}

/// A plan that was found good.
struct Work<'w> {
    store: &'w dyn Store,
    desk: &'w Desk,
    command: &'w Run,
    schedule: &'w Schedule,
    due: &'w Due,
}

/// What a run has removed so far.
#[derive(Default)]
struct Done {
    /// A line of the certificate each.
    lines: Vec<String>,
    people: usize,
    keys: usize,
}

impl Done {
    fn is_nothing(&self) -> bool {
        self.lines.is_empty() && self.people == 0
    }
}

impl Work<'_> {
    /// Removes and certifies. A run that stops midway has removed something, too, and nothing brings it back: its certificate says what,
    /// and why it stopped.
    async fn carried_out(&self, plan: &RetentionPlan, key: &SigningKeys, terminal: &mut Terminal) -> Outcome {
        let (at, by) = (now(), plain(&self.command.by));
        let mut done = Done::default();
        let stopped = self.purge(&mut done, terminal).await.err();
        let stopped = match stopped {
            Some(failure) if done.is_nothing() => return Err(failure),
            other => other,
        };
        let why = stopped.as_ref().map(|failure| plain(&format!("{:#}", failure.error)));
        let mut lines = vec![
            "onward retention certificate".to_owned(),
            format!("log {}", key.verifying_keys().name()),
            format!("plan {} of {}", plan.id, plan.made),
            format!("carried out by {by} at {at}"),
            format!("account {}", Account::own().map_or_else(|| "unknown".to_owned(), ToString::to_string)),
        ];
        lines.append(&mut done.lines);
        let (people, keys) = (done.people, done.keys);
        lines.push(format!(
            "people {people}: {keys} keys destroyed, {} people kept under legal hold",
            self.due.people_kept
        ));
        lines.extend(why.as_ref().map(|why| format!("stopped because {why}")));
        let note = key.sign_statement(&(lines.join("\n") + "\n")).map_err(Failure::fault)?;
        let became = match &why {
            None => format!("carried out by {}: {}", self.command.by, sums(self.due)),
            Some(why) => format!("begun by {} and stopped because {why}", self.command.by),
        };
        let row = self.desk.row(AuditWord::Configure, format!("retention plan {} {became}", plan.id));
        let kept = self.store.finish_retention_plan(plan.id, &note, vec![row]).await;
        let Some(stopped) = stopped else {
            // What was removed is removed: the certificate is handed out, whatever the store can keep.
            self.command.output.write(note.as_bytes(), terminal)?;
            match kept {
                Ok(true) => {}
                Ok(false) => terminal.note(
                    "warning: keep the certificate that was printed, because another run of this plan ended first",
                ),
                Err(error) => {
                    let told = "everything was removed; keep the certificate that was printed, because the store could not keep it";
                    return Err(Failure { error: Failure::from(error).error.context(told), exit: Exit::Fault });
                }
            }
            let word = terminal.paint(Style::Green, "done");
            terminal.note(format_args!("{word}: {}", sums(self.due)));
            return Ok(Exit::Done);
        };
        self.command.output.write(note.as_bytes(), terminal)?;
        let certificate = match kept {
            Ok(true) => "the run stopped midway, and its certificate says what was removed".to_owned(),
            Ok(false) => "the run stopped midway; keep the certificate that was printed, because another run of this plan ended first"
                .to_owned(),
            Err(error) => format!(
                "the run stopped midway; keep the certificate that was printed, because the store could not keep it ({error})"
            ),
        };
        Err(Failure { error: stopped.error.context(certificate), ..stopped })
    }

    async fn purge(&self, done: &mut Done, terminal: &mut Terminal) -> Result<(), Failure> {
        let (store, desk, command) = (self.store, self.desk, self.command);
        for month in self.due.months.iter().filter(|month| month.due > 0) {
            purge_month(store, desk, command, month, &mut done.lines).await?;
            terminal.progress(format_args!("{} of {}", month.class, month.month));
        }
        let rows = self.schedule.rows_before.iter().zip(&self.due.rows);
        for ((class, before), _) in rows.filter(|(_, rows)| rows.due > 0) {
            let detail =
                format!("retention plan {} by {}: {class} that were over before {before}", command.plan, command.by);
            let purged = store.purge_rows(*class, *before, vec![desk.row(AuditWord::Erase, detail)]).await?;
            done.lines.push(format!("{class}: {} removed, {} kept, rows removed", purged.removed, purged.kept));
        }
        let before = self.schedule.people_before.unwrap_or(Timestamp::MIN);
        for people in self.due.people.chunks(BATCH) {
            purge_people(store, desk, command, people, before).await?;
            done.people += people.len();
            done.keys += people.iter().map(|person| person.keys.len()).sum::<usize>();
            terminal.progress(format_args!("keys of {} people", people.len()));
        }
        Ok(())
    }
}

fn told(month: &DueMonth, purged: &Purged) -> String {
    let how = if purged.dropped { "the month's partition dropped" } else { "rows removed" };
    format!("{} {}: {} removed, {} kept, {how}", month.class, month.month, purged.removed, purged.kept)
}

/// Removes a month, and adds what became of it. Where it goes in parts, whoever receives messages meanwhile has a turn between any two, and an entry of
/// its own says in the end how many went, also where that is midway.
async fn purge_month(
    store: &dyn Store,
    desk: &Desk,
    command: &Run,
    month: &DueMonth,
    lines: &mut Vec<String>,
) -> Result<(), Failure> {
    let (class, of) = (month.class, month.month);
    let entry = |became: &str| {
        desk.row(AuditWord::Erase, format!("retention plan {} by {}: {became}", command.plan, command.by))
    };
    let begins = entry(&format!("{class} of {of} go, {} of them, and {} stay", month.due, month.kept));
    let mut part = store.purge_month(class, of, 0, vec![begins]).await?;
    let (mut removed, in_parts) = (part.removed, part.more.is_some());
    let stopped = loop {
        let Some(after) = part.more else { break None };
        part = match next_part(store, month, after).await {
            Ok(part) => part,
            Err(error) => break Some(error),
        };
        removed += part.removed;
    };
    let became = match &stopped {
        None => told(month, &Purged { removed, ..part }),
        Some(_) => format!("{class} {of}: {removed} removed, and it stopped there"),
    };
    lines.push(became.clone());
    let told = match in_parts {
        true => store.audit(vec![entry(&became)]).await,
        false => Ok(()),
    };
    match stopped {
        Some(error) => Err(error.into()),
        None => Ok(told?),
    }
}

/// The next part of a month, after as long as it takes others to have a turn. It is tried again a few times while they keep the store busy.
async fn next_part(store: &dyn Store, month: &DueMonth, after: u64) -> Result<Purged, StoreError> {
    let mut tries = 0;
    loop {
        tokio::time::sleep(TURN * 10_u32.pow(tries)).await;
        tries += 1;
        match store.purge_month(month.class, month.month, after, Vec::new()).await {
            Err(StoreError::Unavailable(_)) if tries < TRIES => {}
            part => return part,
        }
    }
}

/// The keys are named, so that `audit verify` knows an end of retention from a theft of keys.
async fn purge_people(
    store: &dyn Store,
    desk: &Desk,
    command: &Run,
    people: &[DuePerson],
    before: Timestamp,
) -> Result<(), Failure> {
    let keys: Vec<&str> = people.iter().flat_map(|person| &person.keys).map(String::as_str).collect();
    let detail = format!(
        "retention plan {} by {}: everything about {} people; keys: {}",
        command.plan,
        command.by,
        people.len(),
        keys.join(" ")
    );
    let row = desk.row(AuditWord::Erase, detail);
    match store.purge_people(people.to_vec(), before, now(), vec![row]).await {
        Err(StoreError::Overtaken) => {
            Err(Failure::no("something about a person of the plan came in meanwhile: make a new plan for the rest"))
        }
        other => Ok(other?),
    }
}

async fn certificate(command: &Certificate, terminal: &mut Terminal) -> Outcome {
    let (_, store) = command.config.existing_store().await?;
    let plan = store.retention_plan(command.plan).await?;
    let Some(note) = plan.and_then(|plan| plan.certificate) else {
        return Err(Failure::no("there is no certificate: the plan is none or was not carried out"));
    };
    command.output.write(note.as_bytes(), terminal)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
