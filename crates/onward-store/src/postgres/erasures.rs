//! Erasing a person by destroying their keys, and the legal holds that stop it.

use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use jiff::Timestamp;
use onward_core::NhsNumber;
use onward_core::audit::AuditRow;
use onward_core::store::{
    ErasureConfirmation, ErasureOutcome, ErasureRequest, LegalHold, LegalHoldOrder, Lifted, PendingErasure,
    are_one_person,
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::failure::Failure;
use super::keyed::Keyed;
use super::session;
use super::work::Work;
use crate::columns::Columns;
use crate::query::WORDS;
use crate::rows;
use crate::sealing::Keychain;
use crate::stored::micros;

const PENDING: &str =
    "SELECT id, patient, ground, reason, requested_by, requested, lapsed FROM erasures WHERE confirmed IS NULL";

/// How often the table of the keys is tried to be cleared, and how long apart: five seconds in all.
const TRIES: u32 = 20;
const APART: Duration = Duration::from_millis(250);

/// A request with whom it is about.
pub(super) struct Asked {
    pub(super) patient: NhsNumber,
    pub(super) request: ErasureRequest,
    pub(super) audit: Vec<AuditRow>,
}

/// A legal hold with whom it is about.
pub(super) struct Ordered {
    pub(super) patient: NhsNumber,
    pub(super) order: LegalHoldOrder,
    pub(super) audit: Vec<AuditRow>,
}

/// The end of a legal hold.
pub(super) struct Lifting {
    pub(super) id: Uuid,
    pub(super) by: String,
    pub(super) at: Timestamp,
    pub(super) audit: Vec<AuditRow>,
}

/// Keeps a request; `false`, with nothing written, when the store has no key of this person.
pub(super) async fn request<'j>(work: &mut Work<'j>, asked: &'j Asked) -> Result<bool, Failure> {
    let c = work.client();
    let index = c.keys().vault().index(&asked.patient);
    if keys(c, &index, "").await?.is_empty() {
        return Ok(false);
    }
    let request = &asked.request;
    let reason = reason(c, "erasures", request.id, &request.reason).await?;
    session::execute(
        c,
        "INSERT INTO erasures (id, patient, ground, reason, requested_by, requested) VALUES ($1, $2, $3, $4, $5, $6)",
        &[&request.id, &index, &request.ground.as_str(), &reason, &request.by, &micros(request.at)],
    )
    .await?;
    work.audit(&asked.audit);
    Ok(true)
}

/// A reason as it is kept: it outlives the person's key, so the gateway's seals it.
async fn reason(c: &Keyed, table: &'static str, id: Uuid, text: &str) -> Result<String, Failure> {
    let gateway = c.gateway().await?;
    Ok(c.keys().seal_text(gateway, rows::of_order(table, &id.to_string()), text)?)
}

pub(super) async fn pending(c: &Keyed) -> Result<Vec<PendingErasure>, Failure> {
    let mut found = Vec::new();
    for row in session::all(c, &format!("{PENDING} ORDER BY requested, id"), &[]).await? {
        found.push(waiting(c, &row, "").await?);
    }
    Ok(found)
}

async fn waiting(c: &Keyed, row: &Row, lock: &str) -> Result<PendingErasure, Failure> {
    let read = |row: &Row, keys: &Keychain| rows::pending_erasure(&Columns::of("erasures", row), keys);
    let pending = c.opened_one(Some(row), read).await?;
    let mut pending = pending.ok_or_else(|| Failure::corrupt("erasures", "id"))?;
    pending.keys = keys(c, &pending.pseudonym, lock).await?;
    Ok(pending)
}

/// The keys of a person that are not destroyed.
async fn keys(c: &Client, index: &str, lock: &str) -> Result<Vec<String>, Failure> {
    let sql =
        format!("SELECT id FROM data_keys WHERE patient = $1 AND wrapped IS NOT NULL ORDER BY created, id {lock}");
    let found = session::all(c, &sql, &[&index]).await?;
    found.iter().map(|row| Ok(Columns::of("data_keys", row).get("id")?)).collect()
}

/// Keeps that a request lapsed.
pub(super) async fn lapse<'j>(
    work: &mut Work<'j>,
    (id, at, audit): &'j (Uuid, Timestamp, Vec<AuditRow>),
) -> Result<bool, Failure> {
    let asked_before = micros(at.saturating_sub(ErasureRequest::OPEN).expect("a duration of hours has no calendar"));
    let sql =
        "UPDATE erasures SET lapsed = $1 WHERE id = $2 AND confirmed IS NULL AND lapsed IS NULL AND requested <= $3";
    let told = session::execute(work.client(), sql, &[&micros(*at), id, &asked_before]).await?;
    if told == 1 {
        work.audit(audit);
    }
    Ok(told == 1)
}

/// Takes a request back.
pub(super) async fn refuse<'j>(work: &mut Work<'j>, (id, audit): &'j (Uuid, Vec<AuditRow>)) -> Result<bool, Failure> {
    let sql = "DELETE FROM erasures WHERE id = $1 AND confirmed IS NULL";
    let gone = session::execute(work.client(), sql, &[id]).await?;
    if gone == 1 {
        work.audit(audit);
    }
    Ok(gone == 1)
}

/// Destroys the keys. The row of the audit is sealed under the gateway's key, so that it outlives them.
pub(super) async fn confirm<'j>(
    work: &mut Work<'j>,
    confirmation: &'j ErasureConfirmation,
) -> Result<ErasureOutcome, Failure> {
    work.needs_every_copy()?;
    let c = work.client();
    let found = session::first(c, &format!("{PENDING} AND id = $1 FOR UPDATE"), &[&confirmation.id]).await?;
    let Some(row) = found else { return Ok(ErasureOutcome::NoSuchRequest) };
    // With the keys locked, nobody can seal anything more under them: what they have sealed is committed and seen below.
    let pending = waiting(c, &row, "FOR UPDATE").await?;
    if confirmation.at >= pending.request.lapses() {
        return Ok(ErasureOutcome::Lapsed);
    }
    if are_one_person(&pending.request.by, &confirmation.by) {
        return Ok(ErasureOutcome::SamePerson);
    }
    let index = &pending.pseudonym;
    if let Some(own) = &confirmation.only_from {
        let others = "SELECT 1 AS n FROM transfers WHERE patient = $1 AND sender <> $2 LIMIT 1";
        if session::first(c, others, &[&index, &own.as_str()]).await?.is_some() {
            return Ok(ErasureOutcome::OthersToo);
        }
    }
    let on_hold = "SELECT count(*) AS n FROM legal_holds WHERE patient = $1 AND lifted IS NULL";
    if count(c, on_hold, index).await? > 0 {
        return Ok(ErasureOutcome::OnLegalHold);
    }
    let queued = "SELECT count(*) AS n FROM deliveries WHERE patient = $1 AND state = 'queued'";
    let held = "SELECT count(*) AS n FROM holds h JOIN transfers t ON t.id = h.transfer WHERE t.patient = $1 AND h.closed IS NULL";
    let (queued, holds) = (count(c, queued, index).await?, count(c, held, index).await?);
    if queued + holds > 0 {
        return Ok(ErasureOutcome::UnderWay { queued, holds });
    }
    if pending.keys != confirmation.keys {
        return Ok(ErasureOutcome::KeysChanged);
    }
    // A sealed value names its key: version, then the identifier.
    let entries = "SELECT count(*) AS n FROM audit_log a WHERE a.patient = $1 AND EXISTS (SELECT 1 FROM data_keys k
         WHERE k.patient = $1 AND k.wrapped IS NOT NULL
             AND replace(k.id::text, '-', '') = encode(substring(a.event FROM 2 FOR 16), 'hex'))";
    let entries = count(c, entries, index).await?;
    let transfers = destroy(c, index, confirmation.at).await?;
    let done = "UPDATE erasures SET confirmed_by = $1, confirmed = $2 WHERE id = $3";
    session::execute(c, done, &[&confirmation.by, &micros(confirmation.at), &confirmation.id]).await?;
    work.audit(&confirmation.audit);
    Ok(ErasureOutcome::Erased { transfers, entries, remains: None })
}

/// Destroys the keys of a person and marks what cannot be read any more; gives the number of transfers.
pub(super) async fn destroy(c: &Client, index: &str, at: Timestamp) -> Result<u64, Failure> {
    let at = micros(at);
    let keys =
        "UPDATE data_keys SET wrapped = NULL, number = NULL, destroyed = $1 WHERE patient = $2 AND wrapped IS NOT NULL";
    session::execute(c, keys, &[&at, &index]).await?;
    let transfers = "UPDATE transfers SET erased = $1, changed = $1 WHERE patient = $2 AND erased IS NULL";
    let transfers = session::execute(c, transfers, &[&at, &index]).await?;
    for words in WORDS {
        session::execute(c, words, &[&index]).await?;
    }
    let copies = "UPDATE deliveries SET erased = $1 WHERE patient = $2 AND erased IS NULL";
    session::execute(c, copies, &[&at, &index]).await?;
    Ok(transfers)
}

/// Writes the table of the keys anew, because rows that were changed stay in its file until then; false when it may keep them even so,
/// because somebody still reads the database as it was before (a long report, a backup, a session that is just starting). What the
/// write-ahead log and its archives keep goes in the server's own time.
pub(super) async fn clear_table(pool: &Pool) -> Result<bool, Failure> {
    let client = pool.get().await?;
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(APART).await;
        }
        // The order matters: VACUUM FULL copies rows that somebody may still see, and does not say so. VACUUM counts them, as far as
        // the server counts at all; when there are none, VACUUM FULL has only living rows to copy.
        client.batch_execute("VACUUM data_keys").await?;
        // Statistics before version 15 come late, and none come where they are off: 1 is "unknown".
        let counted = session::first(
            &client,
            "SELECT CASE WHEN current_setting('track_counts')::boolean AND current_setting('server_version_num')::integer >= 150000
                 THEN pg_stat_get_dead_tuples('data_keys'::regclass) ELSE 1 END AS n",
            &[],
        )
        .await?;
        let counted = counted.ok_or_else(|| Failure::corrupt("data_keys", "statistics"))?;
        if Columns::of("data_keys", &counted).count::<u64>("n")? == 0 {
            client.batch_execute("VACUUM FULL data_keys").await?;
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn place_hold<'j>(work: &mut Work<'j>, ordered: &'j Ordered) -> Result<(), Failure> {
    let order = &ordered.order;
    let c = work.client();
    let index = c.keys().vault().index(&ordered.patient);
    let reason = reason(c, "legal_holds", order.id, &order.reason).await?;
    session::execute(
        c,
        "INSERT INTO legal_holds (id, patient, reason, placed_by, placed) VALUES ($1, $2, $3, $4, $5)",
        &[&order.id, &index, &reason, &order.by, &micros(order.at)],
    )
    .await?;
    work.audit(&ordered.audit);
    Ok(())
}

pub(super) async fn lift_hold<'j>(work: &mut Work<'j>, lifting: &'j Lifting) -> Result<Lifted, Failure> {
    let c = work.client();
    let standing = "SELECT placed_by FROM legal_holds WHERE id = $1 AND lifted IS NULL FOR UPDATE";
    let Some(row) = session::first(c, standing, &[&lifting.id]).await? else { return Ok(Lifted::NoSuchHold) };
    let placed_by: String = Columns::of("legal_holds", &row).get("placed_by")?;
    if are_one_person(&placed_by, &lifting.by) {
        return Ok(Lifted::SamePerson);
    }
    let sql = "UPDATE legal_holds SET lifted = $1, lifted_by = $2 WHERE id = $3";
    session::execute(c, sql, &[&micros(lifting.at), &lifting.by, &lifting.id]).await?;
    work.audit(&lifting.audit);
    Ok(Lifted::Yes)
}

pub(super) async fn legal_holds(c: &Keyed) -> Result<Vec<LegalHold>, Failure> {
    let sql = "SELECT id, patient, reason, placed_by, placed, lifted FROM legal_holds ORDER BY placed, id";
    let found = session::all(c, sql, &[]).await?;
    c.opened(&found, |row, keys| rows::legal_hold(&Columns::of("legal_holds", row), keys)).await
}

async fn count(c: &Client, sql: &str, index: &str) -> Result<u64, Failure> {
    let row = session::first(c, sql, &[&index]).await?.ok_or_else(|| Failure::corrupt("erasures", "count"))?;
    Ok(Columns::of("erasures", &row).count("n")?)
}
