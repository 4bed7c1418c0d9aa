//! Recipients' copies: reading, and their changes of state.

use std::sync::Arc;

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::{DeliveryQuery, DeliveryRecord, Resend, Step, StoredRendition, Transition};
use onward_core::{DeliveryId, TransferId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::numbered;
use super::failure::Failure;
use super::session::{self, Params};
use super::steps;
use super::work::Work;
use crate::columns::Columns;
use crate::query::{self, REPLAYABLE, Value};
use crate::rows::{self, DELIVERY, Origin};
use crate::stored::{micros, stored_count};

/// Writes the deliveries' present versions into their history.
pub(super) async fn keep_versions(c: &Client, ids: &[Uuid], at: Timestamp) -> Result<(), Failure> {
    session::execute(
        c,
        "INSERT INTO delivery_history (delivery, version, state, at, code, reason)
         SELECT id, version, state, $1, code, reason FROM deliveries WHERE id = ANY($2)",
        &[&micros(at), &ids],
    )
    .await?;
    Ok(())
}

/// Changes the state when the version is the expected one. A lease stays: whoever is sending may still
/// record its attempt and its disclosure, though no longer the state.
pub(super) async fn transition<'j>(work: &mut Work<'j>, change: &'j Transition) -> Result<bool, Failure> {
    let at = micros(change.at);
    let changed = session::first(
        work.client(),
        "UPDATE deliveries SET state = $1, version = version + 1, code = coalesce($2, code), reason = $3,
             changed = $4, next_attempt = CASE WHEN $1::text = 'queued' THEN $4::bigint END
         WHERE id = $5 AND version = $6 RETURNING transfer, sender, patient",
        &[
            &change.state.as_str(),
            &change.code,
            &change.reason,
            &at,
            &change.delivery.0,
            &stored_count(change.expected_version),
        ],
    )
    .await?;
    let Some(row) = changed else { return Ok(false) };
    let origin = Arc::new(origin(&row, change.at)?);
    keep_versions(work.client(), &[change.delivery.0], change.at).await?;
    for response in &change.responses {
        work.queue_once(&origin, response);
    }
    work.audit(&change.audit);
    Ok(true)
}

fn origin(row: &Row, created: Timestamp) -> Result<Origin, Failure> {
    let columns = Columns::of("deliveries", row);
    Ok(Origin::of(&columns, columns.parsed("transfer")?, created)?)
}

/// A reading that is to be recorded.
pub(super) struct Opening {
    pub(super) delivery: DeliveryId,
    pub(super) at: Timestamp,
    /// The person who reads, when it is one.
    pub(super) reader: Option<Step>,
    pub(super) audit: Vec<AuditRow>,
}

/// A copy that is to be sent again.
pub(super) struct Again {
    pub(super) delivery: DeliveryId,
    pub(super) how: Resend,
    /// Why; a replay is one from then on.
    pub(super) why: String,
    pub(super) at: Timestamp,
    pub(super) audit: Vec<AuditRow>,
}

/// Reads the bytes and records the reading; they leave after the commit only.
pub(super) async fn open_rendition<'j>(
    work: &mut Work<'j>,
    opening: &'j Opening,
) -> Result<Option<StoredRendition>, Failure> {
    // Taken back between the caller's look and now: no bytes. What a later version replaced stays readable. The row is held, so
    // that nobody takes it back between here and the commit.
    let open = "SELECT id FROM deliveries WHERE id = $1 AND (ended IS NULL OR ended = 'superseded') FOR UPDATE";
    if session::first(work.client(), open, &[&opening.delivery.0]).await?.is_none() {
        return Ok(None);
    }
    let Some(rendition) = rendition(work.client(), opening.delivery).await? else { return Ok(None) };
    // Reading collects what waits in the inbox, also before the dispatcher has come by; other transports still send.
    const COLLECTS: &str = "(state = 'awaiting-collection' OR state = 'queued' AND transport = 'inbox')";
    let first = session::execute(
        work.client(),
        &format!(
            "UPDATE deliveries SET opened = coalesce(opened, $1), version = version + 1, changed = $1,
                 next_attempt = CASE WHEN {COLLECTS} THEN NULL ELSE next_attempt END,
                 state = CASE WHEN {COLLECTS} THEN 'received' ELSE state END
             WHERE id = $2 AND (opened IS NULL OR {COLLECTS})"
        ),
        &[&micros(opening.at), &opening.delivery.0],
    )
    .await?;
    if first == 1 {
        keep_versions(work.client(), &[opening.delivery.0], opening.at).await?;
    }
    if let Some(reader) = &opening.reader {
        steps::opened(work.client(), reader).await?;
    }
    work.audit(&opening.audit);
    Ok(Some(rendition))
}

pub(super) async fn rendition(c: &Client, id: DeliveryId) -> Result<Option<StoredRendition>, Failure> {
    let found = session::first(
        c,
        "SELECT r.media_type, r.body, r.html FROM deliveries d
         JOIN rendition_bodies r ON r.delivery = d.id AND r.month = d.month WHERE d.id = $1",
        &[&id.0],
    )
    .await?;
    found.map(|row| Ok(rows::rendition(&Columns::of("rendition_bodies", &row), id)?)).transpose()
}

pub(super) async fn requeue<'j>(work: &mut Work<'j>, again: &'j Again) -> Result<bool, Failure> {
    let queued = session::execute(
        work.client(),
        &format!(
            "UPDATE deliveries SET state = 'queued', version = version + 1, next_attempt = $1, changed = $1,
                 replay = CASE WHEN $4 THEN $3 ELSE replay END
             WHERE id = $2 AND CASE WHEN $4 THEN {REPLAYABLE} ELSE state = 'failed' OR state = 'queued' AND next_attempt > $1 END"
        ),
        &[&micros(again.at), &again.delivery.0, &again.why, &(again.how == Resend::Replay)],
    )
    .await?;
    if queued == 0 {
        return Ok(false);
    }
    keep_versions(work.client(), &[again.delivery.0], again.at).await?;
    work.audit(&again.audit);
    Ok(true)
}

pub(super) async fn by_id(c: &Client, id: DeliveryId) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "id = $1", &[&id.0]).await
}

pub(super) async fn by_correlation(c: &Client, correlation_id: &str) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "correlation_id = $1 ORDER BY sequence DESC LIMIT 1", &[&correlation_id]).await
}

pub(super) async fn by_reference(c: &Client, reference: &str) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "reference = $1 ORDER BY sequence DESC LIMIT 1", &[&reference]).await
}

async fn one(c: &Client, condition: &str, params: Params<'_>) -> Result<Option<DeliveryRecord>, Failure> {
    let sql = format!("SELECT {DELIVERY} FROM deliveries WHERE {condition}");
    session::first(c, &sql, params).await?.as_ref().map(record).transpose()
}

pub(super) async fn of_transfer(c: &Client, id: TransferId) -> Result<Vec<DeliveryRecord>, Failure> {
    let sql = format!("SELECT {DELIVERY} FROM deliveries WHERE transfer = $1 ORDER BY created, id");
    session::all(c, &sql, &[&id.0]).await?.iter().map(record).collect()
}

pub(super) async fn list(c: &Client, wanted: &DeliveryQuery) -> Result<Vec<DeliveryRecord>, Failure> {
    let (conditions, mut values) = query::deliveries(wanted);
    values.push(wanted.limit.into());
    let sql = format!("SELECT {DELIVERY} FROM deliveries WHERE {conditions} ORDER BY created, id LIMIT ?");
    search(c, &sql, &values).await?.iter().map(record).collect()
}

/// Runs a search of [`query`].
pub(super) async fn search(c: &Client, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
    let params: Vec<&(dyn ToSql + Sync)> = values.iter().map(Value::parameter).collect();
    session::all(c, &numbered(sql), &params).await
}

/// A row of [`DELIVERY`]'s columns.
pub(super) fn record(row: &Row) -> Result<DeliveryRecord, Failure> {
    Ok(rows::delivery(&Columns::of("deliveries", row))?)
}
