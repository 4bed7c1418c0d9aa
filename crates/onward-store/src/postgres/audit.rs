//! The audit log, its checkpoints, and the proof that something can be committed at all.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Client;
use onward_core::Timestamp;
use onward_core::audit::{AuditQuery, AuditRow, AuditWord, FoundAudit, StoredCheckpoint};
use onward_core::store::{NewDelivery, StoredAudit};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::failure::Failure;
use super::keyed::{Keyed, Whose};
use super::session;
use super::work::Work;
use super::{DIALECT, deliveries};
use crate::columns::Columns;
use crate::query;
use crate::rows::{self, AUDIT};
use crate::sealing::{KeyId, Sealed, sealed_entry};
use crate::stored::{micros, stored_count};

/// Gives the sender of transfers `$1` (texts) the entries from before they were taken in (that PDS was asked).
pub(super) const BEFORE: &str = "INSERT INTO audit_parties (organisation, recorded, position)
     SELECT t.sender, a.recorded, a.position FROM audit_log a JOIN transfers t ON t.id = a.transfer::uuid
         WHERE a.transfer = ANY($1)
     ON CONFLICT DO NOTHING";

/// Whose entries are: of the organisation of who acts, of who sent the transfer, and of who receives the copy.
#[derive(Default)]
pub(super) struct Parties {
    senders: BTreeMap<Uuid, String>,
    recipients: BTreeMap<Uuid, String>,
}

impl Parties {
    /// Looked up before the places are taken, for whoever has those keeps everybody waiting. Of copies that are queued in this transaction and not
    /// there yet `queued` tells.
    pub(super) async fn of(
        c: &Client,
        rows: &[&AuditRow],
        queued: impl Iterator<Item = &NewDelivery>,
    ) -> Result<Self, Failure> {
        let queued = queued.map(|copy| (copy.id.0, copy.recipient.as_str().to_owned()));
        let mut parties = Self { recipients: queued.collect(), ..Self::default() };
        parties.look_up(c, rows).await?;
        Ok(parties)
    }

    /// Looks up what is not known. With the places taken that is what somebody else took in meanwhile, or nothing.
    async fn look_up(&mut self, c: &Client, rows: &[&AuditRow]) -> Result<(), Failure> {
        let transfers = rows.iter().filter_map(|row| row.transfer).map(|id| id.0);
        let sql = "SELECT id, sender AS party FROM transfers WHERE id = ANY($1)";
        look_up(c, sql, transfers, &mut self.senders).await?;
        let copies = rows.iter().filter_map(|row| row.delivery).map(|id| id.0);
        let sql = "SELECT id, recipient AS party FROM deliveries WHERE id = ANY($1)";
        look_up(c, sql, copies, &mut self.recipients).await
    }

    fn of_row(&self, row: &AuditRow) -> BTreeSet<String> {
        let own = row.organisation.as_ref().map(|ods| ods.as_str().to_owned());
        let sender = row.transfer.and_then(|id| self.senders.get(&id.0)).cloned();
        let recipient = row.delivery.and_then(|id| self.recipients.get(&id.0)).cloned();
        [own, sender, recipient].into_iter().flatten().collect()
    }
}

async fn look_up(
    c: &Client,
    sql: &str,
    ids: impl Iterator<Item = Uuid>,
    known: &mut BTreeMap<Uuid, String>,
) -> Result<(), Failure> {
    let unknown: BTreeSet<Uuid> = ids.filter(|id| !known.contains_key(id)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown: Vec<Uuid> = unknown.into_iter().collect();
    for row in session::planned(c, sql, &[(&unknown, Type::UUID_ARRAY)]).await? {
        let columns = Columns::of("audit_parties", &row);
        known.insert(columns.parsed("id")?, columns.get("party")?);
    }
    Ok(())
}

/// Seals the rows. What concerns no person is sealed as well: nobody need judge which queries and reasons are harmless.
pub(super) async fn seal(c: &Keyed, rows: &[&AuditRow]) -> Result<Vec<Sealed>, Failure> {
    let people: Vec<Whose<'_>> = rows.iter().filter_map(|row| row.patient.as_ref().map(Whose::Person)).collect();
    let at = rows.first().map_or(Timestamp::UNIX_EPOCH, |row| row.recorded);
    let mut of_people = c.keys_of(&people, at).await?.into_iter();
    let gateway = c.gateway().await?;
    let key = |row: &AuditRow| row.patient.as_ref().and_then(|_| of_people.next()).unwrap_or(gateway);
    let keys: Vec<KeyId> = rows.iter().copied().map(key).collect();
    rows.iter().zip(keys).map(|(row, key)| Ok(sealed_entry(c.keys(), key, row)?)).collect()
}

/// Writes rows at the places that the caller has taken, and whose entries they are; of a transfer that is taken in, also those from before.
pub(super) async fn insert(
    c: &Keyed,
    positions: impl Iterator<Item = i64>,
    rows: &[&AuditRow],
    sealed: &[Sealed],
    mut parties: Parties,
) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let positions: Vec<i64> = positions.take(rows.len()).collect();
    session::execute(
        c,
        "INSERT INTO audit_log
             (position, id, recorded, word, transfer, delivery, agent, organisation, patient, leaf, entry, event, shown)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::text[], $9::text[], $10::bytea[], $11::bytea[], $12::bytea[], $13::bigint[])",
        &[
            &positions,
            &rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
            &rows.iter().map(|row| micros(row.recorded)).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.word.as_str()).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.transfer.map(|id| id.to_string())).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.delivery.map(|id| id.to_string())).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.agent.as_str()).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.organisation.as_ref().map(|ods| ods.as_str())).collect::<Vec<_>>(),
            &rows.iter().map(|row| c.keys().index(row.patient.as_ref())).collect::<Vec<_>>(),
            &sealed.iter().map(|sealed| sealed.leaf.as_slice()).collect::<Vec<_>>(),
            &sealed.iter().map(|sealed| sealed.entry.as_slice()).collect::<Vec<_>>(),
            &sealed.iter().map(|sealed| sealed.content.as_slice()).collect::<Vec<_>>(),
            &rows.iter().map(|row| stored_count(row.shown.len() as u64)).collect::<Vec<_>>(),
        ],
    )
    .await?;
    let shown = positions.iter().zip(rows).flat_map(|(at, row)| row.shown.iter().map(move |id| (id.as_str(), *at)));
    let (subjects, places): (Vec<&str>, Vec<i64>) = shown.unzip();
    if !subjects.is_empty() {
        let sql = "INSERT INTO audit_shown (subject, position) SELECT * FROM unnest($1::text[], $2::bigint[])
             ON CONFLICT DO NOTHING";
        session::execute(c, sql, &[&subjects, &places]).await?;
    }
    parties.look_up(c, rows).await?;
    let (mut organisations, mut recorded, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (at, row) in positions.iter().zip(rows) {
        for party in parties.of_row(row) {
            organisations.push(party);
            recorded.push(micros(row.recorded));
            places.push(*at);
        }
    }
    let sql = "INSERT INTO audit_parties (organisation, recorded, position)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING";
    session::execute(c, sql, &[&organisations, &recorded, &places]).await?;
    let taken_in = rows.iter().filter(|row| row.word == AuditWord::Accept);
    let taken_in: Vec<String> = taken_in.filter_map(|row| Some(row.transfer?.to_string())).collect();
    if !taken_in.is_empty() {
        session::planned(c, BEFORE, &[(&taken_in, Type::TEXT_ARRAY)]).await?;
    }
    Ok(())
}

/// Keeps what was sent, each list once. In one order, so that two transactions that keep the same lists do not wait for each other.
pub(super) async fn keep_contents(c: &Keyed, rows: &[&AuditRow]) -> Result<(), Failure> {
    let lists: BTreeMap<&[u8], &str> = rows
        .iter()
        .filter_map(|row| row.contents.as_deref())
        .map(|contents| (contents.sha256.as_slice(), contents.names.as_str()))
        .collect();
    if lists.is_empty() {
        return Ok(());
    }
    let (sha256s, names): (Vec<&[u8]>, Vec<&str>) = lists.into_iter().unzip();
    let sql =
        "INSERT INTO contents (sha256, names) SELECT * FROM unnest($1::bytea[], $2::text[]) ON CONFLICT DO NOTHING";
    session::execute(c, sql, &[&sha256s, &names]).await?;
    Ok(())
}

/// Rows that belong to no other effect.
pub(super) async fn append<'j>(work: &mut Work<'j>, rows: &'j [AuditRow]) -> Result<(), Failure> {
    work.audit(rows);
    Ok(())
}

pub(super) async fn entries(c: &Keyed, from: u64, limit: u32) -> Result<Vec<StoredAudit>, Failure> {
    let sql = format!("SELECT {AUDIT} FROM audit_log WHERE position >= $1 ORDER BY position LIMIT $2");
    let entries = session::all(c, &sql, &[&stored_count(from), &i64::from(limit)]).await?;
    c.opened(&entries, |row, keys| rows::audit(&Columns::of("audit_log", row), keys)).await
}

pub(super) async fn leaves(c: &Client, from: u64, limit: u32) -> Result<Vec<[u8; 32]>, Failure> {
    let sql = "SELECT leaf FROM audit_log WHERE position >= $1 ORDER BY position LIMIT $2";
    let found = session::all(c, sql, &[&stored_count(from), &i64::from(limit)]).await?;
    found.iter().map(|row| Ok(Columns::of("audit_log", row).get("leaf")?)).collect()
}

pub(super) async fn misfiled(c: &Client) -> Result<Option<u64>, Failure> {
    let found = session::first(c, &query::misfiled_audit(&DIALECT), &[]).await?;
    Ok(found.map(|row| Columns::of("audit_log", &row).count("position")).transpose()?)
}

pub(super) async fn search(c: &Keyed, wanted: &AuditQuery) -> Result<Vec<FoundAudit>, Failure> {
    let (sql, values) = query::audit(wanted, c.keys(), &DIALECT);
    let found = deliveries::search(c, &sql, &values).await?;
    c.opened(&found, |row, keys| rows::found_audit(&Columns::of("audit_log", row), keys)).await
}

/// Of several who sign, the first to move the head wins (trust.md §7, fault 13).
pub(super) async fn put_checkpoint<'j>(work: &mut Work<'j>, checkpoint: &'j StoredCheckpoint) -> Result<bool, Failure> {
    let c = work.client();
    let size = stored_count(checkpoint.size);
    let sql = "UPDATE checkpoint_head SET size = $1 WHERE id = 1 AND size < $1";
    if session::execute(c, sql, &[&size]).await? == 0 {
        return Ok(false);
    }
    session::execute(c, "INSERT INTO checkpoints (size, note) VALUES ($1, $2)", &[&size, &checkpoint.note]).await?;
    Ok(true)
}

pub(super) async fn checkpoints(c: &Client, after: Option<u64>, limit: u32) -> Result<Vec<StoredCheckpoint>, Failure> {
    let after = after.map_or(i64::MIN, stored_count);
    session::all(c, query::CHECKPOINTS, &[&after, &i64::from(limit)]).await?.iter().map(checkpoint).collect()
}

pub(super) async fn checkpoints_of(c: &Client, sizes: &[u64]) -> Result<Vec<StoredCheckpoint>, Failure> {
    let sizes: Vec<i64> = sizes.iter().copied().map(stored_count).collect();
    let sql = "SELECT size, note FROM checkpoints WHERE size = ANY($1) ORDER BY size";
    session::all(c, sql, &[&sizes]).await?.iter().map(checkpoint).collect()
}

fn checkpoint(row: &Row) -> Result<StoredCheckpoint, Failure> {
    Ok(rows::checkpoint(&Columns::of("checkpoints", row))?)
}

pub(super) async fn latest_checkpoint(c: &Client) -> Result<Option<StoredCheckpoint>, Failure> {
    let sql = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1";
    session::first(c, sql, &[]).await?.as_ref().map(checkpoint).transpose()
}

pub(super) async fn commit_readiness<'j>(work: &mut Work<'j>, now: &'j i64) -> Result<(), Failure> {
    let sql = "INSERT INTO readiness (id, checked) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET checked = $1";
    session::execute(work.client(), sql, &[now]).await?;
    Ok(())
}

pub(super) async fn read_readiness(c: &Client) -> Result<(), Failure> {
    let row = session::first(c, "SELECT checked FROM readiness WHERE id = 1", &[]).await?;
    row.map(drop).ok_or_else(|| Failure::corrupt("readiness", "checked"))
}
