//! `onward erase` and `onward legal-hold`: a person's data destroyed by their key, on two people's decision; and the order
//! that forbids it.

use clap::{Args, Subcommand};
use onward_core::Timestamp;
use onward_core::audit::{AuditEntry, AuditQuery, AuditWord};
use onward_core::store::{
    ErasureConfirmation, ErasureGround, ErasureOutcome, ErasureRequest, LegalHold, LegalHoldOrder, Lifted,
    PendingErasure, Store,
};
use onward_gateway::erasing;
use onward_gateway::explore::everything;
use serde_json::json;
use uuid::Uuid;

use super::account::{Account, not_a_second};
use super::audit::{Told, entries_that_fit};
use super::exit::{Exit, Failure, Outcome};
use super::input::{self, Typed};
use super::open::{ConfigArgs, Desk, minute, now, short};
use super::terminal::{Style, Terminal, plain};

/// What two people's decision rests on where no account tells them apart.
const ON_NAMES: &str =
    "nobody is signed in to this machine by an account of their own: that two people decided rests on the names given";

/// Erasing a person.
#[derive(Debug, Subcommand)]
pub enum Erase {
    /// Asks for the erasure of everything about a person; somebody else must confirm it
    #[command(after_help = "Example:
  echo 9990000018 | onward erase request --nhs-number - --ground wrong-person --reason 'filed by mistake, case 17' --by Ada

Health records that care needs are not erased on request (UK GDPR Article 17(3)(c) with 9(2)(h)): --ground says why these
may be. It is one of retention-ended, wrong-person, unlawful-processing, legal-obligation.")]
    Request(Request),
    /// Lists the requests that wait for somebody else
    #[command(after_help = "Example:\n  onward erase list --config gateway.toml")]
    List(Which),
    /// Takes a request back that waits for somebody else, or that has lapsed
    #[command(after_help = "Example:
  onward erase refuse 5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10 --reason 'the records are theirs after all' --by Bea

Exit code 1: there is no such request, or it was done.")]
    Refuse(Lift),
    /// Destroys the person's keys: nothing about them can be read any more, in backups neither; proofs go on holding
    #[command(after_help = "Example:
  onward erase confirm 5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10 --by Bea --yes

The name is what you say it is; the log also keeps the account that the command runs under. Where both accounts are known by their
sign-in to this machine, they must be two.
Exit code 1: refused, because the same person or account asked, it was asked for more than 14 days ago, a legal hold forbids it, or something about the person is under way.
A backup from before holds the wrapped key: let such backups expire, or rotate the key-encryption key and let the old one go.")]
    Confirm(Confirm),
}

/// Legal holds.
#[derive(Debug, Subcommand)]
pub enum LegalHoldCommand {
    /// Forbids to erase anything about a person
    #[command(after_help = "Example:
  echo 9990000018 | onward legal-hold add --nhs-number - --reason 'inquest, letter of 3 May' --by Ada")]
    Add(Add),
    /// Lists them, the person by pseudonym
    #[command(after_help = "Example:\n  onward legal-hold list --json")]
    List(Which),
    /// Ends one, on the word of somebody else than who placed it
    #[command(after_help = "Example:
  onward legal-hold lift 5d0f5c0e-8a43-4b1f-9a3c-0e0c1b7a2f10 --reason 'inquest closed' --by Bea

The name is what you say it is; the log also keeps the account that the command runs under. Where both accounts are known by their
sign-in to this machine, they must be two.
Exit code 1: there is no such hold, or the same person or account placed it.")]
    Lift(Lift),
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

/// Whom, why, and who asks.
#[derive(Debug, Args)]
pub struct Request {
    #[command(flatten)]
    which: Which,
    /// The person; `-` reads the number from standard input, so that it stands in no process list
    #[arg(long, value_name = "N")]
    nhs_number: Typed,
    /// Why these records may be erased
    #[arg(long, value_name = "GROUND", value_parser = ground)]
    ground: Option<ErasureGround>,
    /// Why, in words, such as a case number: it is evidence and outlives the person's data, so no name and no number of theirs
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: String,
    /// Who asks, by name
    #[arg(long, value_name = "NAME", value_parser = crate::cli::input::whom)]
    by: String,
}

/// Which request, and who confirms.
#[derive(Debug, Args)]
pub struct Confirm {
    #[command(flatten)]
    which: Which,
    /// The request
    #[arg(value_name = "ID")]
    id: Uuid,
    /// Who confirms, by name: not who asked
    #[arg(long, value_name = "NAME", value_parser = crate::cli::input::whom)]
    by: String,
    /// Do it; it cannot be undone
    #[arg(long)]
    yes: bool,
}

/// Whom, why, and who says so.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    which: Which,
    /// The person; `-` reads the number from standard input, so that it stands in no process list
    #[arg(long, value_name = "N")]
    nhs_number: Typed,
    /// Why, such as a case number: it is evidence and outlives the person's data, so no name and no number of theirs
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: String,
    /// Who places it, by name
    #[arg(long, value_name = "NAME", value_parser = crate::cli::input::whom)]
    by: String,
}

/// Which, why, and who says so.
#[derive(Debug, Args)]
pub struct Lift {
    #[command(flatten)]
    which: Which,
    /// The hold, or the request
    #[arg(value_name = "ID")]
    id: Uuid,
    /// Why, such as a case number: it is evidence and outlives the person's data, so no name and no number of theirs
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: String,
    /// Who lifts or refuses it, by name
    #[arg(long, value_name = "NAME", value_parser = crate::cli::input::whom)]
    by: String,
}

fn ground(text: &str) -> Result<ErasureGround, String> {
    let grounds: Vec<&str> = ErasureGround::ALL.iter().map(|ground| ground.as_str()).collect();
    text.parse().map_err(|_| format!("expected one of {}", grounds.join(", ")))
}

/// Runs `onward erase`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn erase(command: &Erase, terminal: &mut Terminal) -> Outcome {
    match command {
        Erase::Request(command) => request(command, terminal).await,
        Erase::List(which) => list(which, terminal).await,
        Erase::Refuse(command) => refuse(command, terminal).await,
        Erase::Confirm(command) => confirm(command, terminal).await,
    }
}

/// Runs `onward legal-hold`.
///
/// # Errors
/// When configuration or store cannot be used.
pub(super) async fn legal_hold(command: &LegalHoldCommand, terminal: &mut Terminal) -> Outcome {
    match command {
        LegalHoldCommand::Add(command) => add(command, terminal).await,
        LegalHoldCommand::List(which) => holds(which, terminal).await,
        LegalHoldCommand::Lift(command) => lift(command, terminal).await,
    }
}

async fn request(command: &Request, terminal: &mut Terminal) -> Outcome {
    let patient = input::nhs_number(command.nhs_number.text())?;
    let Some(ground) = command.ground else {
        return Err(Failure::no(
            "the right to erasure does not reach health records that care under professional secrecy needs (UK GDPR Article \
             17(3)(c) with 9(2)(h)): name with --ground why these may be erased",
        ));
    };
    let (config, store) = command.which.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let request = ErasureRequest {
        id: Uuid::new_v4(),
        ground,
        reason: command.reason.clone(),
        by: command.by.clone(),
        at: now(),
    };
    let detail = erasing::request_told(&request);
    let row = desk.row_about(AuditWord::Erase, detail, Some(patient.clone()));
    if !store.request_erasure(&patient, request.clone(), vec![row]).await? {
        return Err(Failure::no("there is nothing about this person"));
    }
    if command.which.json {
        terminal.json(&json!({ "request": request.id }));
    } else {
        let (id, by, until) = (request.id, plain(&request.by), minute(request.lapses()));
        terminal.say(format_args!("request {id} waits until {until} for somebody else than {by}:"));
        terminal.say(format_args!("  onward erase confirm {} --by NAME --yes", request.id));
    }
    Ok(Exit::Done)
}

async fn list(which: &Which, terminal: &mut Terminal) -> Outcome {
    let (_, store) = which.config.existing_store().await?;
    let pending = store.pending_erasures().await?;
    if which.json {
        let rows = pending.iter().map(|each| {
            let PendingErasure { request, pseudonym, .. } = each;
            json!({ "request": request.id, "person": pseudonym, "ground": request.ground.as_str(),
                "reason": request.reason, "by": request.by, "at": request.at.to_string(),
                "lapses": request.lapses().to_string(), "lapsed": now() >= request.lapses() })
        });
        terminal.json(&rows.collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = pending
        .iter()
        .map(|each| {
            let request = &each.request;
            let person = short(&each.pseudonym);
            let until = minute(request.lapses());
            let until = if now() >= request.lapses() { format!("lapsed {until}") } else { until };
            [request.id.to_string(), person, request.ground.to_string(), request.by.clone(), minute(request.at), until]
        })
        .collect();
    terminal.table(["request", "person", "ground", "by", "at", "until"], &rows);
    Ok(Exit::Done)
}

async fn confirm(command: &Confirm, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.which.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let pending = store.pending_erasures().await?;
    let Some(pending) = pending.into_iter().find(|pending| pending.request.id == command.id) else {
        return Err(Failure::no("there is no such request, or it was done"));
    };
    if !command.yes {
        let ErasureRequest { ground, reason, by, at, .. } = &pending.request;
        terminal.say(format_args!("asked for by {}, {}, {ground}: {}", plain(by), minute(*at), plain(reason)));
        let person = short(&pending.pseudonym);
        terminal.say(format_args!("about person {person}, under {} keys", pending.keys.len()));
        terminal.say("this destroys the person's keys and cannot be undone: say --yes");
        return Ok(Exit::No);
    }
    let asked = account_that_asked(store.as_ref(), &pending.request).await?;
    // Whom it is about stands in the entry of the request; here nobody has to know.
    let denied = |why: &str| {
        let detail = format!("{}; person {}", erasing::not_confirmed(command.id, &command.by, why), pending.pseudonym);
        let entry = AuditEntry { success: false, ..desk.entry(AuditWord::Erase, detail) };
        store.audit(vec![desk.row_of(&entry)])
    };
    if let Some(why) = not_a_second(asked.as_deref(), Account::own()) {
        denied("the same account asked for it").await?;
        return Err(Failure::no(why));
    }
    if !Account::own().is_some_and(|own| own.signed_in) {
        terminal.note(ON_NAMES);
    }
    let confirmation = ErasureConfirmation {
        id: command.id,
        by: command.by.clone(),
        keys: pending.keys.clone(),
        only_from: None,
        at: now(),
        audit: vec![desk.row(AuditWord::Erase, erasing::erased(&pending, asked.as_deref(), &command.by))],
    };
    match store.confirm_erasure(confirmation).await? {
        ErasureOutcome::Erased { transfers, entries, remains } => {
            if command.which.json {
                terminal.json(&json!({
                    "erased": true, "transfers": transfers, "entries": entries, "remains": remains,
                }));
            } else {
                let word = terminal.paint(Style::Green, "erased");
                terminal.say(format_args!(
                    "{word}: {transfers} transfers and {entries} audit entries cannot be read any more"
                ));
            }
            if let Some(remains) = remains {
                terminal.note(remains);
            }
            Ok(Exit::Done)
        }
        refused => {
            if let Some(told) = erasing::refusal(&refused) {
                denied(told).await?;
            }
            Err(Failure::no(why(&refused)))
        }
    }
}

async fn refuse(command: &Lift, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.which.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let row = desk.row(AuditWord::Erase, erasing::refused(command.id, &command.by, &command.reason));
    let refused = store.refuse_erasure(command.id, vec![row]).await?;
    if command.which.json {
        terminal.json(&json!({ "refused": refused }));
    } else {
        terminal.say(if refused { "refused: nothing was erased" } else { "there is no such request, or it was done" });
    }
    Ok(Exit::answer(refused))
}

/// The account that a request was made under, as the log has it.
async fn account_that_asked(store: &dyn Store, request: &ErasureRequest) -> Result<Option<String>, Failure> {
    let begins = format!("{}: {}", AuditWord::Erase, erasing::requested(request.id));
    account_behind(store, AuditWord::Erase, request.at, &begins).await
}

/// The account of the first entry of this word, at or after this moment, that begins so.
async fn account_behind(
    store: &dyn Store,
    word: AuditWord,
    from: Timestamp,
    begins: &str,
) -> Result<Option<String>, Failure> {
    let query = AuditQuery { from: Some(from), words: vec![word], ..everything(None) };
    let entries = entries_that_fit(store, query).await?;
    let mut told = entries.iter().filter_map(|entry| Told::read(entry.event.as_deref()?));
    Ok(told.find(|told| told.detail.starts_with(begins)).and_then(|told| told.actor.account))
}

fn why(outcome: &ErasureOutcome) -> String {
    match outcome {
        ErasureOutcome::Lapsed => "it was asked for more than 14 days ago and has lapsed: ask anew".to_owned(),
        ErasureOutcome::SamePerson => "whoever asked cannot confirm: somebody else must".to_owned(),
        ErasureOutcome::OnLegalHold => "a legal hold forbids it: onward legal-hold list".to_owned(),
        ErasureOutcome::UnderWay { queued, holds } => format!(
            "something about this person is under way: {queued} copies or responses to be sent, {holds} holds open; settle these \
             first (onward hold, onward dead)"
        ),
        ErasureOutcome::OthersToo => "other organisations sent something about this person".to_owned(),
        ErasureOutcome::KeysChanged => "something about this person came in meanwhile: confirm again".to_owned(),
        ErasureOutcome::NoSuchRequest | ErasureOutcome::Erased { .. } => {
            "there is no such request, or it was done".to_owned()
        }
    }
}

async fn add(command: &Add, terminal: &mut Terminal) -> Outcome {
    let patient = input::nhs_number(command.nhs_number.text())?;
    let (config, store) = command.which.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let order =
        LegalHoldOrder { id: Uuid::new_v4(), reason: command.reason.clone(), by: command.by.clone(), at: now() };
    let detail = erasing::order_told(&order);
    let row = desk.row_about(AuditWord::Configure, detail, Some(patient.clone()));
    let id = order.id;
    store.place_legal_hold(&patient, order, vec![row]).await?;
    if command.which.json {
        terminal.json(&json!({ "hold": id }));
    } else {
        terminal.say(format_args!("legal hold {id}: nothing about this person is erased until it is lifted"));
    }
    Ok(Exit::Done)
}

async fn holds(which: &Which, terminal: &mut Terminal) -> Outcome {
    let (_, store) = which.config.existing_store().await?;
    let holds = store.legal_holds().await?;
    if which.json {
        let rows = holds.iter().map(|hold| {
            json!({ "hold": hold.order.id, "person": hold.pseudonym, "reason": hold.order.reason, "by": hold.order.by,
                "placed": hold.order.at.to_string(), "lifted": hold.lifted.map(|at| at.to_string()) })
        });
        terminal.json(&rows.collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = holds
        .iter()
        .map(|hold| {
            let person = short(&hold.pseudonym);
            let lifted = hold.lifted.map(minute).unwrap_or_default();
            [hold.order.id.to_string(), person, hold.order.by.clone(), minute(hold.order.at), lifted]
        })
        .collect();
    terminal.table(["hold", "person", "by", "placed", "lifted"], &rows);
    Ok(Exit::Done)
}

async fn lift(command: &Lift, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.which.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let found = store.legal_holds().await?.into_iter().find(|hold| hold.order.id == command.id);
    let Some(LegalHold { order, lifted: None, .. }) = found else {
        return Err(Failure::no("there is no such hold, or it was lifted"));
    };
    let begins = format!("{}: {}", AuditWord::Configure, erasing::placed(order.id));
    let account = account_behind(store.as_ref(), AuditWord::Configure, order.at, &begins).await?;
    let same_account = not_a_second(account.as_deref(), Account::own());
    let lifted = match same_account {
        Some(_) => Lifted::SamePerson,
        None => {
            let detail = erasing::lift_told(command.id, &command.by, &command.reason);
            let row = desk.row(AuditWord::Configure, detail);
            store.lift_legal_hold(command.id, &command.by, now(), vec![row]).await?
        }
    };
    match lifted {
        Lifted::Yes if command.which.json => terminal.json(&json!({ "lifted": true })),
        Lifted::Yes => terminal.say("lifted"),
        Lifted::NoSuchHold => return Err(Failure::no("there is no such hold, or it was lifted")),
        Lifted::SamePerson => {
            let detail = erasing::not_lifted(command.id, &command.by);
            let entry = AuditEntry { success: false, ..desk.entry(AuditWord::Configure, detail) };
            store.audit(vec![desk.row_of(&entry)]).await?;
            let why = "whoever placed it does not lift it: somebody else must";
            return Err(Failure::no(same_account.unwrap_or_else(|| why.to_owned())));
        }
    }
    if !Account::own().is_some_and(|own| own.signed_in) {
        terminal.note(ON_NAMES);
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
