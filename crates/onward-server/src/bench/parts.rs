//! What an accepted message must at least cost, part by part, in CPU time of this process: preparing it, and the raw store doing
//! the same transaction with the same group commit.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::join_all;
use onward_core::audit::{AuditQuery, AuditRow, AuditWord};
use onward_core::client::Client;
use onward_core::store::{Acceptance, Accepted, NewDelivery, NewTransfer, Store, TransferRecord};
use onward_core::{DeliveryId, TransferId};
use onward_gateway::accept::Submission;
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use super::messages::{MEDIA_TYPE, Messages};
use super::report::{Measured, Parts};
use super::world::{CLIENT, World, now};
use crate::app::App;

/// Transactions that wait side by side: as many as share a commit.
const GROUP: usize = 64;
/// What was disclosed and withheld of a copy is a text about so long.
const DISCLOSURE: usize = 3_000;

/// Measures the parts of messages of one size.
pub(super) async fn of(world: &World, messages: &Messages, answer: Measured, time: Duration) -> anyhow::Result<Parts> {
    let app = world.app().await?;
    let client = app.gateway.store().client(CLIENT).await?.context("the client is registered")?;
    let prepare = prepare(&app, &client, messages, time).await?;
    let template = Template::of(&app, client, messages.plain()).await?;
    let (store, transactions, elapsed) = store(app.gateway.store().as_ref(), &template, time).await?;
    Ok(Parts { kilobytes: messages.kilobytes(), answer, prepare, store, transactions, elapsed })
}

/// CPU time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Reading, judging, converting, routing and rendering one message: the dry run, which stops there.
async fn prepare(app: &App, client: &Client, messages: &Messages, time: Duration) -> anyhow::Result<Duration> {
    let (started, mut spent, mut count) = (Instant::now(), Duration::ZERO, 0);
    while count == 0 || started.elapsed() < time {
        let message = Bytes::from(messages.plain());
        let before = cpu();
        let explained = app.gateway.explain(client, &message, MEDIA_TYPE).await?;
        spent += cpu() - before;
        count += 1;
        anyhow::ensure!(
            explained.outcome == "deliver",
            "a message of the benchmark is not delivered: {}",
            explained.outcome
        );
    }
    Ok(spent / count)
}

async fn store(store: &dyn Store, template: &Template, time: Duration) -> anyhow::Result<(Duration, u32, Duration)> {
    let (mut spent, mut elapsed, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    while count == 0 || elapsed < time {
        let group: Vec<_> = (0..GROUP).map(|_| template.acceptance()).collect();
        let (before, started) = (cpu(), Instant::now());
        let done = join_all(group.into_iter().map(|acceptance| store.accept(acceptance))).await;
        spent += cpu() - before;
        elapsed += started.elapsed();
        count += u32::try_from(GROUP).unwrap_or(u32::MAX);
        for accepted in done {
            anyhow::ensure!(accepted? == Accepted::New, "the raw store took a message for a repeat");
        }
    }
    Ok((spent / count, count, elapsed))
}

/// What the gateway commits for one message, to be committed again under other identifiers.
struct Template {
    record: TransferRecord,
    body: Vec<u8>,
    copies: Vec<NewDelivery>,
    audit: Vec<AuditRow>,
}

impl Template {
    async fn of(app: &App, client: Client, message: String) -> anyhow::Result<Self> {
        let submission = Submission {
            client,
            body: message.into_bytes().into(),
            media_type: MEDIA_TYPE.to_owned(),
            request_id: None,
        };
        let accepted = app.gateway.accept(submission).await.map_err(|_| anyhow::anyhow!("a message was not taken"))?;
        let store = app.gateway.store();
        let record = store.transfer(accepted.transfer).await?.context("it was accepted")?;
        let body = store.original(record.id).await?.context("it is kept")?.body;
        let mut copies = Vec::new();
        for copy in record.copies() {
            let content = store.rendition(copy.id).await?.context("it is kept")?;
            copies.push(NewDelivery {
                id: copy.id,
                kind: copy.kind,
                recipient: copy.recipient.clone(),
                recipient_name: copy.recipient_name.clone(),
                endpoint: copy.endpoint.clone(),
                media_type: content.media_type,
                body: content.body,
                html: content.html,
                card: store.card(copy.id).await?,
                correlation_id: None,
                workflow: None,
                basis: copy.basis.clone(),
                disclosure: "x".repeat(DISCLOSURE),
                acknowledgement_awaited: copy.acknowledgement_awaited,
                notice: None,
            });
        }
        let query = AuditQuery {
            entity: Some(record.id.to_string()),
            limit: 100,
            ..AuditQuery::default()
        };
        let entries = store.search_audit(query).await?;
        let audit = entries.into_iter().filter_map(|entry| Some(row(entry.word, entry.event?))).collect();
        Ok(Self { record, body, copies, audit })
    }

    fn acceptance(&self) -> Acceptance {
        let (id, record) = (TransferId::random(), &self.record);
        let again = |row: &AuditRow| AuditRow { id: Uuid::new_v4().to_string(), ..row.clone() };
        let mut reply = record.reply.clone();
        reply.header_id = Uuid::new_v4().to_string();
        Acceptance {
            transfer: NewTransfer {
                id,
                sender: record.sender.clone(),
                client_id: record.client_id.clone(),
                message_id: Uuid::new_v4().to_string(),
                document_id: Some(Uuid::new_v4().to_string()),
                document_set_id: Some(Uuid::new_v4().to_string()),
                dated: None,
                version: 1,
                replaces: None,
                awaits: None,
                event: record.event.clone(),
                received: now(),
                expected: record.expected,
                patient: record.patient.clone(),
                care_home: record.care_home.clone(),
                reply,
                media_type: MEDIA_TYPE.to_owned(),
                body: self.body.clone(),
                body_sha256: [0; 32],
                response: vec![b'x'; DISCLOSURE],
            },
            deliveries: self
                .copies
                .iter()
                .map(|copy| NewDelivery { id: DeliveryId::random(), ..copy.clone() })
                .collect(),
            hold: None,
            endings: Vec::new(),
            audit: self.audit.iter().map(|row| AuditRow { transfer: Some(id), ..again(row) }).collect(),
            audit_if_repeat: row(AuditWord::Duplicate, b"{}".to_vec()),
            audit_if_conflict: row(AuditWord::Refuse, b"{}".to_vec()),
        }
    }
}

fn row(word: AuditWord, event: Vec<u8>) -> AuditRow {
    AuditRow {
        id: Uuid::new_v4().to_string(),
        recorded: now(),
        word,
        transfer: None,
        delivery: None,
        agent: CLIENT.to_owned(),
        organisation: None,
        patient: None,
        success: true,
        shown: Vec::new(),
        event,
    }
}
