//! What an accepted message must at least cost, part by part, in CPU time of this process: preparing it, and the raw store doing
//! the same transaction with the same group commit. The messages are of the same kinds, as often, as those that are posted. All cores
//! are busy meanwhile, as they are under load: what cores share makes the same work dearer then, here by half and more.

mod company;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::join_all;
use onward_core::client::Client;
use onward_core::store::{Acceptance, Accepted, Store};
use onward_core::{DeliveryId, TransferId};
use onward_gateway::accept::Submission;
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use self::company::Company;
use super::messages::{MEDIA_TYPE, Messages};
use super::report::{Measured, Parts};
use super::world::{CLIENT, World, now};
use crate::app::App;

/// Transactions that wait side by side: about as many as share a commit, and each kind of message as often as it is posted.
const GROUP: usize = 60;

/// Measures the parts of messages of one size.
pub(super) async fn of(
    world: &World,
    messages: &Messages,
    answer: Measured,
    proxied: Option<Measured>,
    time: Duration,
) -> anyhow::Result<Parts> {
    let app = world.app().await?;
    let client = app.gateway.store().client(CLIENT).await?.context("the client is registered")?;
    let bodies: Vec<Bytes> = messages.some().map(Bytes::from).collect();
    let prepare = prepare(&app, &client, &bodies, time).await?;
    let mut templates = Vec::new();
    for body in &bodies {
        let (client, body) = (client.clone(), body.clone());
        let submission = Submission { client, body, media_type: MEDIA_TYPE.to_owned(), request_id: None };
        let template = app.gateway.acceptance_of(&submission).await;
        templates.push(template.map_err(|_| anyhow::anyhow!("a message of the benchmark was not taken"))?);
    }
    let company = Company::of(&bodies);
    let (store, transactions, elapsed) = store(app.gateway.store().as_ref(), &templates, &company, time).await?;
    company.leave();
    Ok(Parts { kilobytes: messages.kilobytes(), answer, proxied, prepare, store, transactions, elapsed })
}

/// CPU time of this process.
fn cpu() -> Duration {
    cpu_of(ClockId::ProcessCPUTime)
}

fn cpu_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Reading, judging, converting, routing and rendering one message: the dry run, which stops there; on every core at once.
async fn prepare(app: &App, client: &Client, messages: &[Bytes], time: Duration) -> anyhow::Result<Duration> {
    let (before, started) = (cpu(), Instant::now());
    let walks = (0..company::cores()).map(|_| {
        let (gateway, client, messages) = (Arc::clone(&app.gateway), client.clone(), messages.to_vec());
        tokio::spawn(async move {
            let mut count = 0;
            while count == 0 || started.elapsed() < time {
                for message in &messages {
                    let explained = gateway.explain(&client, message, MEDIA_TYPE).await?;
                    anyhow::ensure!(
                        explained.outcome == "deliver",
                        "a message of the benchmark is not delivered: {}",
                        explained.outcome
                    );
                    count += 1;
                }
            }
            Ok(count)
        })
    });
    let mut count: u32 = 0;
    for walk in join_all(walks).await {
        count += walk??;
    }
    Ok((cpu() - before) / count)
}

async fn store(
    store: &dyn Store,
    templates: &[Acceptance],
    company: &Company,
    time: Duration,
) -> anyhow::Result<(Duration, u32, Duration)> {
    let (mut spent, mut elapsed, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    while count == 0 || elapsed < time {
        let group: Vec<_> = templates.iter().cycle().take(GROUP).map(again).collect();
        let own = || cpu().saturating_sub(company.spent());
        let (before, started) = (own(), Instant::now());
        let done = join_all(group.into_iter().map(|acceptance| store.accept(acceptance))).await;
        spent += own().saturating_sub(before);
        elapsed += started.elapsed();
        count += u32::try_from(GROUP).unwrap_or(u32::MAX);
        for accepted in done {
            anyhow::ensure!(accepted? == Accepted::New, "the raw store took a message for a repeat");
        }
    }
    Ok((spent / count, count, elapsed))
}

/// What the gateway commits for one message when it takes it in, as if for another one: under other identifiers. That PDS is asked is an entry
/// of its own before.
fn again(template: &Acceptance) -> Acceptance {
    let (id, mut again) = (TransferId::random(), template.clone());
    let (fresh, in_order) = (|| Uuid::new_v4().to_string(), || Uuid::now_v7().to_string());
    again.transfer.id = id;
    again.transfer.received = now();
    again.transfer.message_id = fresh();
    again.transfer.document_id = Some(fresh());
    again.transfer.document_set_id = Some(fresh());
    again.transfer.reply.header_id = fresh();
    again.deliveries.iter_mut().for_each(|copy| copy.id = DeliveryId::random());
    let others = [&mut again.audit_if_repeat, &mut again.audit_if_conflict];
    for row in again.audit.iter_mut().chain(others) {
        row.id = in_order();
        row.transfer = row.transfer.map(|_| id);
    }
    again
}
