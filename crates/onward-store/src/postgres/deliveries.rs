//! Recipients' copies: reading, and their changes of state.

use std::sync::Arc;

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::state::DeliveryState;
use onward_core::store::{DeliveryQuery, DeliveryRecord, Listed, Step, StoredRendition, Transition};
use onward_core::{DeliveryId, TransferId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::numbered;
use super::dispatch::lease_now;
use super::failure::Failure;
use super::keyed::Keyed;
use super::session::{self, Params};
use super::work::Work;
use super::{closing, steps};
use crate::columns::Columns;
use crate::query::closing::STAYS;
use crate::query::{self, Value};
use crate::rows::{self, DELIVERY, Origin};
use crate::sealing::{KeyId, Keychain, Unread, key_of_text};
use crate::stored::{micros, stored_count};

/// Seals what people say of a copy into this column of it. About a person who was erased nothing is kept.
pub(super) async fn put_words(c: &Keyed, column: &'static str, id: DeliveryId, text: &str) -> Result<(), Failure> {
    let key = key(c, id).await?;
    let sealed = match c.keys().seal_text(key, rows::of_copy(column, &id.to_string()), text) {
        Err(Unread::Erased) => return Ok(()),
        sealed => sealed?,
    };
    let sql = format!("UPDATE deliveries SET {column} = $1 WHERE id = $2");
    session::execute(c, &sql, &[&sealed, &id.0]).await?;
    Ok(())
}

/// Writes the deliveries' present versions into their history.
pub(super) async fn keep_versions(c: &Client, ids: &[Uuid], at: Timestamp) -> Result<(), Failure> {
    session::execute(
        c,
        "INSERT INTO delivery_history (delivery, version, state, at, code, reason, words)
         SELECT id, version, state, $1, code, reason, words FROM deliveries WHERE id = ANY($2)",
        &[&micros(at), &ids],
    )
    .await?;
    Ok(())
}

/// Changes the state when the version is the expected one. A lease stays: whoever is sending may still
/// record its attempt and its disclosure, though no longer the state.
pub(super) async fn transition<'j>(work: &mut Work<'j>, change: &'j Transition) -> Result<bool, Failure> {
    let at = micros(change.at);
    let due = match change.state {
        DeliveryState::Queued => Some(lease_now(work.client(), work.shared().lease_clock, change.at).await?),
        _ => None,
    };
    let changed = session::first(
        work.client(),
        "UPDATE deliveries SET state = $1, version = version + 1, code = coalesce($2, code), reason = $3, words = NULL,
             changed = $4, next_attempt = $7
         WHERE id = $5 AND version = $6 RETURNING transfer, sender, patient, erased",
        &[
            &change.state.as_str(),
            &change.code,
            &change.reason.as_ref().filter(|_| !rows::is_worded(change.state)),
            &at,
            &change.delivery.0,
            &stored_count(change.expected_version),
            &due,
        ],
    )
    .await?;
    let Some(row) = changed else { return Ok(false) };
    let origin = Arc::new(origin(work.client(), &row, change.at).await?);
    if let Some(words) = change.reason.as_ref().filter(|_| rows::is_worded(change.state)) {
        put_words(work.client(), "words", change.delivery, words).await?;
    }
    keep_versions(work.client(), &[change.delivery.0], change.at).await?;
    for response in &change.responses {
        work.queue_once(&origin, response);
    }
    work.audit(&change.audit);
    Ok(true)
}

/// Of a row with `transfer`, `sender`, `patient` and `erased`.
pub(super) async fn origin(c: &Keyed, row: &Row, created: Timestamp) -> Result<Origin, Failure> {
    let read = |row: &Row, keys: &Keychain| {
        let columns = Columns::of("deliveries", row);
        Origin::of(&columns, keys, columns.parsed("transfer")?, created)
    };
    c.opened_one(Some(row), read).await?.ok_or_else(|| Failure::corrupt("deliveries", "id"))
}

/// The data key of a copy, at hand: that of its disclosure.
pub(super) async fn key(c: &Keyed, delivery: DeliveryId) -> Result<KeyId, Failure> {
    let corrupt = || Failure::corrupt("deliveries", "disclosure");
    let found = session::first(c, "SELECT disclosure FROM deliveries WHERE id = $1", &[&delivery.0]).await?;
    let disclosure: String = Columns::of("deliveries", &found.ok_or_else(corrupt)?).get("disclosure")?;
    let key = key_of_text(&disclosure).ok_or_else(corrupt)?;
    c.load(&[key]).await?;
    Ok(key)
}

/// A reading that is to be recorded.
pub(super) struct Opening {
    pub(super) delivery: DeliveryId,
    pub(super) at: Timestamp,
    /// The person who reads, when it is one.
    pub(super) reader: Option<Step>,
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
            "UPDATE deliveries SET opened = coalesce(opened, $1), version = version + 1, changed = $1, {STAYS},
                 next_attempt = CASE WHEN {COLLECTS} THEN NULL ELSE next_attempt END,
                 state = CASE WHEN {COLLECTS} THEN 'received' ELSE state END
             WHERE id = $2 AND (opened IS NULL OR {COLLECTS})"
        ),
        &[&micros(opening.at), &opening.delivery.0],
    )
    .await?;
    if first == 1 {
        keep_versions(work.client(), &[opening.delivery.0], opening.at).await?;
        closing::carry(work.client(), opening.delivery).await?;
    }
    if let Some(reader) = &opening.reader {
        steps::opened(work.client(), reader).await?;
    }
    work.audit(&opening.audit);
    Ok(Some(rendition))
}

pub(super) async fn rendition(c: &Keyed, id: DeliveryId) -> Result<Option<StoredRendition>, Failure> {
    let found = session::first(
        c,
        "SELECT r.media_type, r.body, r.html FROM deliveries d
         JOIN rendition_bodies r ON r.delivery = d.id AND r.month = d.month WHERE d.id = $1",
        &[&id.0],
    )
    .await?;
    c.opened_one(found.as_ref(), |row, keys| rows::rendition(&Columns::of("rendition_bodies", row), keys, id)).await
}

pub(super) async fn by_id(c: &Keyed, id: DeliveryId) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "id = $1", &[&id.0]).await
}

pub(super) async fn by_correlation(c: &Keyed, correlation_id: &str) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "correlation_id = $1 ORDER BY sequence DESC LIMIT 1", &[&correlation_id]).await
}

pub(super) async fn by_reference(c: &Keyed, reference: &str) -> Result<Option<DeliveryRecord>, Failure> {
    one(c, "reference = $1 ORDER BY sequence DESC LIMIT 1", &[&reference]).await
}

async fn one(c: &Keyed, condition: &str, params: Params<'_>) -> Result<Option<DeliveryRecord>, Failure> {
    let sql = format!("SELECT {DELIVERY} FROM deliveries WHERE {condition}");
    c.opened_one(session::first(c, &sql, params).await?.as_ref(), record).await
}

pub(super) async fn of_transfer(c: &Keyed, id: TransferId) -> Result<Vec<DeliveryRecord>, Failure> {
    let sql = format!("SELECT {DELIVERY} FROM deliveries WHERE transfer = $1 ORDER BY created, id");
    c.opened(&session::all(c, &sql, &[&id.0]).await?, record).await
}

pub(super) async fn list(c: &Keyed, wanted: &DeliveryQuery) -> Result<Listed<DeliveryRecord>, Failure> {
    let (sql, values) = query::deliveries(wanted, c.keys());
    c.listed(&search(c, &sql, &values).await?, ("deliveries", "id"), rows::delivery).await
}

/// Runs a search of [`query`].
pub(super) async fn search(c: &Client, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
    let params: Vec<&(dyn ToSql + Sync)> = values.iter().map(Value::parameter).collect();
    session::all(c, &numbered(sql), &params).await
}

/// A row of [`DELIVERY`]'s columns.
pub(super) fn record(row: &Row, keys: &Keychain) -> Result<DeliveryRecord, Unread> {
    rows::delivery(&Columns::of("deliveries", row), keys)
}
