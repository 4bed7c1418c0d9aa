//! Erasing a person by destroying their keys, and the legal holds that stop it.

use std::path::Path;

use jiff::Timestamp;
use onward_core::NhsNumber;
use onward_core::audit::AuditRow;
use onward_core::store::{
    ErasureConfirmation, ErasureOutcome, ErasureRequest, LegalHold, LegalHoldOrder, Lifted, PendingErasure,
    are_one_person,
};
use rusqlite::{Row, params};
use uuid::Uuid;

use super::audit;
use super::failure::{self, Failure};
use super::keyed::Keyed;
use super::open::{self, OpenError, Purpose};
use crate::columns::Columns;
use crate::query::WORDS;
use crate::rows;
use crate::stored::micros;

const PENDING: &str =
    "SELECT id, patient, ground, reason, requested_by, requested, lapsed FROM erasures WHERE confirmed IS NULL";

/// Keeps a request; `false`, with nothing written, when the store has no key of this person.
pub(super) fn request(
    c: &Keyed<'_>,
    patient: &NhsNumber,
    request: &ErasureRequest,
    rows: &[AuditRow],
) -> Result<bool, Failure> {
    let index = c.keys().vault().index(patient);
    if keys(c, &index)?.is_empty() {
        return Ok(false);
    }
    c.prepare_cached(
        "INSERT INTO erasures (id, patient, ground, reason, requested_by, requested) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        request.id.to_string(),
        index,
        request.ground.as_str(),
        reason(c, "erasures", request.id, &request.reason)?,
        request.by,
        micros(request.at)
    ])?;
    audit::append(c, rows)?;
    Ok(true)
}

/// A reason as it is kept: it outlives the person's key, so the gateway's seals it.
fn reason(c: &Keyed<'_>, table: &'static str, id: Uuid, text: &str) -> Result<String, Failure> {
    c.seal_text(c.keys().vault().gateway(), rows::of_order(table, &id.to_string()), text)
}

pub(super) fn pending(c: &Keyed<'_>) -> Result<Vec<PendingErasure>, Failure> {
    c.prepare_cached(&format!("{PENDING} ORDER BY requested, id"))?.query_and_then([], |row| waiting(c, row))?.collect()
}

fn waiting(c: &Keyed<'_>, row: &Row<'_>) -> Result<PendingErasure, Failure> {
    let mut pending = c.opened(|keys| rows::pending_erasure(&Columns::of("erasures", row), keys))?;
    pending.keys = keys(c, &pending.pseudonym)?;
    Ok(pending)
}

/// The keys of a person that are not destroyed.
fn keys(c: &Keyed<'_>, index: &str) -> Result<Vec<String>, Failure> {
    c.prepare_cached("SELECT id FROM data_keys WHERE patient = ? AND wrapped IS NOT NULL ORDER BY created, id")?
        .query_and_then([index], |row| Ok(Columns::of("data_keys", row).get("id")?))?
        .collect()
}

/// Keeps that a request lapsed.
pub(super) fn lapse(c: &Keyed<'_>, id: Uuid, at: Timestamp, rows: &[AuditRow]) -> Result<bool, Failure> {
    let asked_before = micros(at.saturating_sub(ErasureRequest::OPEN).expect("a duration of hours has no calendar"));
    let told = c
        .prepare_cached(
            "UPDATE erasures SET lapsed = ? WHERE id = ? AND confirmed IS NULL AND lapsed IS NULL AND requested <= ?",
        )?
        .execute(params![micros(at), id.to_string(), asked_before])?;
    if told == 1 {
        audit::append(c, rows)?;
    }
    Ok(told == 1)
}

/// Takes a request back.
pub(super) fn refuse(c: &Keyed<'_>, id: Uuid, rows: &[AuditRow]) -> Result<bool, Failure> {
    let gone = c
        .prepare_cached("DELETE FROM erasures WHERE id = ? AND confirmed IS NULL")?
        .execute(params![id.to_string()])?;
    if gone == 1 {
        audit::append(c, rows)?;
    }
    Ok(gone == 1)
}

/// Destroys the keys. The row of the audit is sealed under the gateway's key, so that it outlives them.
pub(super) fn confirm(c: &Keyed<'_>, confirmation: &ErasureConfirmation) -> Result<ErasureOutcome, Failure> {
    let id = confirmation.id.to_string();
    let found = c
        .prepare_cached(&format!("{PENDING} AND id = ?"))?
        .query_and_then([&id], |row| waiting(c, row))?
        .next()
        .transpose()?;
    let Some(pending) = found else { return Ok(ErasureOutcome::NoSuchRequest) };
    if confirmation.at >= pending.request.lapses() {
        return Ok(ErasureOutcome::Lapsed);
    }
    if are_one_person(&pending.request.by, &confirmation.by) {
        return Ok(ErasureOutcome::SamePerson);
    }
    let index = &pending.pseudonym;
    if let Some(own) = &confirmation.only_from {
        let others = "SELECT 1 FROM transfers WHERE patient = ? AND sender <> ?";
        if c.prepare_cached(others)?.exists(params![index, own.as_str()])? {
            return Ok(ErasureOutcome::OthersToo);
        }
    }
    if is_on_hold(c, index)? {
        return Ok(ErasureOutcome::OnLegalHold);
    }
    let queued = count(c, "SELECT count(*) FROM deliveries WHERE patient = ? AND state = 'queued'", index)?;
    let held =
        "SELECT count(*) FROM holds h JOIN transfers t ON t.id = h.transfer WHERE t.patient = ? AND h.closed IS NULL";
    let holds = count(c, held, index)?;
    if queued + holds > 0 {
        return Ok(ErasureOutcome::UnderWay { queued, holds });
    }
    if pending.keys != confirmation.keys {
        return Ok(ErasureOutcome::KeysChanged);
    }
    let mut entries = 0;
    for key in &pending.keys {
        let sealed = "SELECT count(*) FROM audit_log WHERE patient = ?1 AND hex(substr(event, 2, 16)) = ?2";
        entries += c
            .prepare_cached(sealed)?
            .query_and_then(params![index, key.replace('-', "").to_uppercase()], |row| number(row.get(0)?))?
            .next()
            .transpose()?
            .unwrap_or(0);
    }
    let transfers = destroy(c, index, confirmation.at)?;
    c.prepare_cached("UPDATE erasures SET confirmed_by = ?, confirmed = ? WHERE id = ?")?.execute(params![
        confirmation.by,
        micros(confirmation.at),
        id
    ])?;
    audit::append(c, &confirmation.audit)?;
    Ok(ErasureOutcome::Erased { transfers: transfers as u64, entries, remains: None })
}

/// Destroys the keys of a person and marks what cannot be read any more; gives the number of transfers.
pub(super) fn destroy(c: &Keyed<'_>, index: &str, at: Timestamp) -> Result<usize, Failure> {
    let at = micros(at);
    // Every byte of the row changes before it goes, whatever a page of the file keeps.
    c.prepare_cached(
        "UPDATE data_keys SET wrapped = randomblob(length(wrapped)), number = randomblob(length(number)) WHERE patient = ?
         AND wrapped IS NOT NULL",
    )?
    .execute([index])?;
    c.prepare_cached(
        "UPDATE data_keys SET wrapped = NULL, number = NULL, destroyed = ?1 WHERE patient = ?2 AND wrapped IS NOT NULL",
    )?
    .execute(params![at, index])?;
    let transfers = c
        .prepare_cached("UPDATE transfers SET erased = ?1, changed = ?1 WHERE patient = ?2 AND erased IS NULL")?
        .execute(params![at, index])?;
    for words in WORDS {
        c.prepare_cached(&words.replace("$1", "?1"))?.execute([index])?;
    }
    c.prepare_cached("UPDATE deliveries SET erased = ?1 WHERE patient = ?2 AND erased IS NULL")?
        .execute(params![at, index])?;
    Ok(transfers)
}

/// Carries the log over into the database and cuts it, so that no old page with a destroyed key is left in it. `false` when
/// a reader was busy all the while. A disk that fails meanwhile ends the process: whoever waits for the log syncs it again.
pub(super) fn cut_log(database: &Path) -> Result<bool, OpenError> {
    let connection = match open::connect(database, Purpose::Write) {
        Err(OpenError::Disk(error)) => failure::abort(&error),
        connection => connection?,
    };
    let busy: rusqlite::Result<i64> = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    let busy = busy.inspect_err(failure::abort_if_the_disk_failed)?;
    Ok(busy == 0)
}

pub(super) fn place_hold(
    c: &Keyed<'_>,
    patient: &NhsNumber,
    order: &LegalHoldOrder,
    rows: &[AuditRow],
) -> Result<(), Failure> {
    c.prepare_cached("INSERT INTO legal_holds (id, patient, reason, placed_by, placed) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![
            order.id.to_string(),
            c.keys().vault().index(patient),
            reason(c, "legal_holds", order.id, &order.reason)?,
            order.by,
            micros(order.at)
        ])?;
    audit::append(c, rows)
}

pub(super) fn lift_hold(
    c: &Keyed<'_>,
    id: Uuid,
    by: &str,
    at: Timestamp,
    rows: &[AuditRow],
) -> Result<Lifted, Failure> {
    let placed_by = c
        .prepare_cached("SELECT placed_by FROM legal_holds WHERE id = ? AND lifted IS NULL")?
        .query_and_then([id.to_string()], |row| {
            Ok::<String, Failure>(Columns::of("legal_holds", row).get("placed_by")?)
        })?
        .next()
        .transpose()?;
    let Some(placed_by) = placed_by else { return Ok(Lifted::NoSuchHold) };
    if are_one_person(&placed_by, by) {
        return Ok(Lifted::SamePerson);
    }
    c.prepare_cached("UPDATE legal_holds SET lifted = ?, lifted_by = ? WHERE id = ?")?.execute(params![
        micros(at),
        by,
        id.to_string()
    ])?;
    audit::append(c, rows)?;
    Ok(Lifted::Yes)
}

pub(super) fn legal_holds(c: &Keyed<'_>) -> Result<Vec<LegalHold>, Failure> {
    c.prepare_cached("SELECT id, patient, reason, placed_by, placed, lifted FROM legal_holds ORDER BY placed, id")?
        .query_and_then([], |row| c.opened(|keys| rows::legal_hold(&Columns::of("legal_holds", row), keys)))?
        .collect()
}

fn is_on_hold(c: &Keyed<'_>, index: &str) -> Result<bool, Failure> {
    Ok(c.prepare_cached("SELECT 1 FROM legal_holds WHERE patient = ? AND lifted IS NULL")?.exists([index])?)
}

fn count(c: &Keyed<'_>, sql: &str, index: &str) -> Result<u64, Failure> {
    c.prepare_cached(sql)?
        .query_and_then([index], |row| number(row.get(0)?))?
        .next()
        .transpose()
        .map(Option::unwrap_or_default)
}

fn number(count: i64) -> Result<u64, Failure> {
    u64::try_from(count).map_err(|_| Failure::corrupt("erasures", "count"))
}
