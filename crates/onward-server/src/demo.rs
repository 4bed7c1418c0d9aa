//! `onward demo`: a whole neighbourhood on one laptop. A gateway, a hospital that posts discharges, a care home, a
//! covering and a registered GP practice and a pharmacy talk to each other over their real protocols; what arrives
//! where is told as it happens.
//!
//! Everybody is fictitious. The demo refuses to reach anything but this machine, to run in a folder that is not its
//! own, and to call something delivered that its recipient has not got and acknowledged.

mod certificates;
pub mod mesh_stand_in;
mod messages;
mod narrator;
mod neighbourhood;
mod partners;
mod people;
mod rows;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use onward_core::TransferId;
use tokio::time::Instant;

pub(crate) use certificates::issue;
pub(crate) use messages::renewed;

use messages::{DISCHARGE, Posting, REFUSED, RESTRICTED};
use narrator::Narrator;
use neighbourhood::Neighbourhood;
use partners::hospital::Answer;
use rows::{Outcome, Row};
use world::World;

/// Everything must have arrived and been acknowledged within this time; it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the hospital looks at its Task while it waits.
const GLANCE: Duration = Duration::from_millis(250);

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct DemoOptions {
    /// Where the world is kept; a temporary folder otherwise.
    pub dir: Option<PathBuf>,
    /// End after the last acknowledgement.
    pub once: bool,
    /// Nothing on standard output but the outcome, as JSON.
    pub json: bool,
}

/// Runs the neighbourhood.
///
/// # Errors
/// When it cannot be started, when a message fares otherwise than it should, or when something has not arrived within
/// 60 seconds; the error says what.
pub async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let world = Arc::new(World::open(options.dir.as_deref())?);
    let mut neighbourhood = Neighbourhood::start(&world).await?;
    let mut narrator =
        Narrator::new(options.json, Arc::clone(&world), Arc::clone(neighbourhood.gateway.app.gateway.store()));
    narrator.introduce(&neighbourhood);
    let lived = live(&options, &mut neighbourhood, &mut narrator).await;
    let stopped = neighbourhood.stop().await;
    if let (Err(_), Err(error)) = (&lived, &stopped) {
        Narrator::warn(format!("while stopping: {error:#}"));
    }
    lived.and(stopped)?;
    narrator.farewell();
    Ok(())
}

async fn live(options: &DemoOptions, neighbourhood: &mut Neighbourhood, narrator: &mut Narrator) -> anyhow::Result<()> {
    let rows = tokio::select! {
        played = play(neighbourhood, narrator) => played?,
        interrupted = interrupted() => {
            interrupted?;
            anyhow::bail!("interrupted before everything had arrived");
        }
    };
    narrator.outcome(&rows)?;
    narrator.audited().await?;
    if options.once {
        return Ok(());
    }
    let link = people::link_for_home(&neighbourhood.gateway.app).await?;
    narrator.invite(neighbourhood, &link)?;
    tokio::select! {
        told = listen(neighbourhood, narrator) => told,
        interrupted = interrupted() => interrupted,
    }
}

/// Waits for Ctrl-C or SIGTERM, so that a temporary world is removed.
async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C"),
    }
}

/// The three messages, one after the other.
async fn play(neighbourhood: &mut Neighbourhood, narrator: &mut Narrator) -> anyhow::Result<Vec<Row>> {
    let deadline = Instant::now() + PATIENCE;
    let mut rows = discharge(neighbourhood, narrator, deadline).await?;
    rows.push(restricted(neighbourhood, narrator, deadline).await?);
    rows.push(refused(neighbourhood, narrator).await?);
    Ok(rows)
}

/// One discharge, five deliveries.
async fn discharge(
    neighbourhood: &mut Neighbourhood,
    narrator: &mut Narrator,
    deadline: Instant,
) -> anyhow::Result<Vec<Row>> {
    let posting = Posting::fresh(DISCHARGE)?;
    narrator.posting("1. The hospital posts a discharge to a care home", &posting);
    let transfer = match neighbourhood.hospital.submit(&posting).await? {
        Answer::Accepted(transfer) => transfer,
        Answer::Refused { status, issues } => {
            narrator.findings(status, &issues);
            anyhow::bail!("the discharge was refused with {status}: {}", narrator::summary(&issues));
        }
    };
    followed(neighbourhood, narrator, transfer, &posting, &[20013, 30001], deadline).await
}

/// Waits until every copy of a transfer is acknowledged and the hospital has its ITK3 responses with these codes.
async fn followed(
    neighbourhood: &mut Neighbourhood,
    narrator: &mut Narrator,
    transfer: TransferId,
    posting: &Posting,
    codes: &[u32],
    deadline: Instant,
) -> anyhow::Result<Vec<Row>> {
    narrator.accepted(transfer).await?;
    let mut glances = tokio::time::interval(GLANCE);
    loop {
        tokio::select! {
            Some(event) = neighbourhood.events.recv() => narrator.hear(event).await?,
            _ = glances.tick() => {
                if narrator.missing(transfer, &posting.header_id, codes).await?.is_empty()
                    && neighbourhood.hospital.status(transfer).await? == "completed"
                {
                    break;
                }
            }
            () = tokio::time::sleep_until(deadline) => {
                let mut missing = narrator.missing(transfer, &posting.header_id, codes).await?;
                if missing.is_empty() {
                    missing.push("the hospital's Task is not completed".to_owned());
                }
                anyhow::bail!("after {} seconds still missing: {}", PATIENCE.as_secs(), missing.join("; "));
            }
        }
    }
    narrator.completed(transfer);
    narrator.rows(transfer, &posting.message_id).await
}

/// One about a restricted person.
async fn restricted(
    neighbourhood: &mut Neighbourhood,
    narrator: &mut Narrator,
    deadline: Instant,
) -> anyhow::Result<Row> {
    let posting = Posting::fresh(RESTRICTED)?;
    narrator.posting("2. The hospital posts a discharge of a person whose record PDS restricts", &posting);
    let transfer = match neighbourhood.hospital.submit(&posting).await? {
        Answer::Accepted(transfer) => transfer,
        Answer::Refused { status, issues } => {
            narrator.findings(status, &issues);
            anyhow::bail!("the message was refused with {status}, not held: {}", narrator::summary(&issues));
        }
    };
    let hold = narrator.held(transfer).await?;
    // Only what the hospital is owed: that the message is safely there.
    while !narrator.has_response(&posting.header_id, 20013) {
        tokio::select! {
            Some(event) = neighbourhood.events.recv() => narrator.hear(event).await?,
            () = tokio::time::sleep_until(deadline) => {
                anyhow::bail!("after {} seconds still missing: the response 20013 to the held message", PATIENCE.as_secs());
            }
        }
    }
    Ok(undelivered(posting, Outcome::Held, hold.reason.to_string()))
}

/// One with mistakes.
async fn refused(neighbourhood: &Neighbourhood, narrator: &Narrator) -> anyhow::Result<Row> {
    let posting = Posting::fresh(REFUSED)?;
    narrator.posting("3. The hospital posts a message with mistakes", &posting);
    match neighbourhood.hospital.submit(&posting).await? {
        Answer::Accepted(transfer) => anyhow::bail!("the message with mistakes was accepted as transfer {transfer}"),
        Answer::Refused { status, issues } => {
            narrator.findings(status, &issues);
            Ok(undelivered(posting, Outcome::Refused, narrator::summary(&issues)))
        }
    }
}

fn undelivered(posting: Posting, state: Outcome, reason: String) -> Row {
    let (recipient, ods, transport) = (None, None, None);
    Row { message: posting.message_id, recipient, ods, transport, state, bytes: 0, reason: Some(reason) }
}

/// Tells what else happens.
async fn listen(neighbourhood: &mut Neighbourhood, narrator: &mut Narrator) -> anyhow::Result<()> {
    while let Some(event) = neighbourhood.events.recv().await {
        narrator.hear(event).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
