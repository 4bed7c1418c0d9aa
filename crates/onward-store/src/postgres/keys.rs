//! The store's data keys: its first two, which key-encryption keys it depends on, and wrapping them anew.

use std::sync::Arc;

use deadpool_postgres::{Client, Pool};
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::KeyUsage;

use super::OpenError;
use super::failure::Failure;
use super::keyed::Keyed;
use super::session::{self, Session};
use super::work::Work;
use crate::columns::Columns;
use crate::rows;
use crate::sealing::{DataKeyRow, KeyEncryption, Kind, Vault};
use crate::stored::micros;

/// Gives a new store its first keys.
pub(super) async fn begin(c: &Client, encryption: &dyn KeyEncryption, now: Timestamp) -> Result<(), Failure> {
    for (kind, row) in [Kind::Index, Kind::Gateway].into_iter().zip(Vault::beginning(encryption)?) {
        session::execute(
            c,
            "INSERT INTO data_keys (id, kind, kek, wrapped, created) VALUES ($1, $2, $3, $4, $5)",
            &[&row.id.0, &kind.as_str(), &row.kek, &row.wrapped, &micros(now)],
        )
        .await?;
    }
    Ok(())
}

/// Opens the keys. Every key-encryption key that the store depends on must be there and be the right one, or nothing is
/// opened (faults 33 and 34).
pub(super) async fn open(pool: &Pool, encryption: Arc<dyn KeyEncryption>) -> Result<Vault, OpenError> {
    let session = Session::begin(pool, session::READ).await?;
    let c = session.client();
    let vault = vault(c, encryption).await?;
    let one_of_each =
        "SELECT DISTINCT ON (kek) id, kek, wrapped FROM data_keys WHERE wrapped IS NOT NULL ORDER BY kek, created";
    for row in session::all(c, one_of_each, &[]).await? {
        vault.stands_by(&rows::data_key(&Columns::of("data_keys", &row)).map_err(Failure::from)?)?;
    }
    session.commit().await?;
    Ok(vault)
}

/// The vault of the two first keys.
pub(super) async fn vault(c: &Client, encryption: Arc<dyn KeyEncryption>) -> Result<Vault, Failure> {
    let (index, gateway) = (sole(c, Kind::Index).await?, sole(c, Kind::Gateway).await?);
    Vault::open(encryption, &index, &gateway).map_err(Failure::Key)
}

async fn sole(c: &Client, kind: Kind) -> Result<DataKeyRow, Failure> {
    let found = session::first(c, "SELECT id, kek, wrapped FROM data_keys WHERE kind = $1", &[&kind.as_str()]).await?;
    let row = found.ok_or_else(|| Failure::corrupt("data_keys", "kind"))?;
    Ok(rows::data_key(&Columns::of("data_keys", &row))?)
}

pub(super) async fn usage(c: &Keyed) -> Result<Vec<KeyUsage>, Failure> {
    let current = c.keys().vault().current()?;
    let sql = "SELECT kek, count(*) AS n FROM data_keys WHERE wrapped IS NOT NULL GROUP BY kek";
    let mut used: Vec<KeyUsage> = Vec::new();
    for row in session::all(c, sql, &[]).await? {
        used.push(rows::key_usage(&Columns::of("data_keys", &row), &current)?);
    }
    if !used.iter().any(|key| key.current) {
        used.push(KeyUsage { id: current, current: true, data_keys: 0 });
    }
    // Here, because databases differ in the order of texts.
    used.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(used)
}

/// A batch. Whoever reads meanwhile sees a row under the old key or under the new one.
pub(super) async fn rewrap<'j>(work: &mut Work<'j>, (limit, audit): &'j (u32, Vec<AuditRow>)) -> Result<u64, Failure> {
    let c = work.client();
    let current = c.keys().vault().current()?;
    let found = session::all(
        c,
        "SELECT id, kek, wrapped FROM data_keys WHERE wrapped IS NOT NULL AND kek <> $1 ORDER BY id LIMIT $2 FOR UPDATE",
        &[&current, &i64::from(*limit)],
    )
    .await?;
    let (mut ids, mut keks, mut wrapped) = (Vec::new(), Vec::new(), Vec::new());
    for row in &found {
        let old = rows::data_key(&Columns::of("data_keys", row))?;
        let Some(new) = c.keys().vault().rewrapped(&old)? else { continue };
        ids.push(new.id.0);
        keks.push(new.kek);
        wrapped.push(new.wrapped);
    }
    session::execute(
        c,
        "UPDATE data_keys SET kek = u.kek, wrapped = u.wrapped
         FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS u(key, kek, wrapped) WHERE id = u.key",
        &[&ids, &keks, &wrapped],
    )
    .await?;
    if ids.is_empty() {
        work.audit(audit);
    }
    Ok(ids.len() as u64)
}
