//! The store's data keys: its first two, which key-encryption keys it depends on, and wrapping them anew.

use std::sync::Arc;

use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::KeyUsage;
use rusqlite::{Connection, params};

use super::failure::Failure;
use super::keyed::{Keyed, row};
use super::{OpenError, audit};
use crate::columns::Columns;
use crate::rows;
use crate::sealing::{DataKeyRow, KeyEncryption, Kind, Vault};
use crate::stored::micros;

/// Gives a new store its first keys.
pub(super) fn begin(c: &Connection, encryption: &dyn KeyEncryption, now: Timestamp) -> Result<(), Failure> {
    let mut insert = c.prepare("INSERT INTO data_keys (id, kind, kek, wrapped, created) VALUES (?, ?, ?, ?, ?)")?;
    for (kind, row) in [Kind::Index, Kind::Gateway].into_iter().zip(Vault::beginning(encryption)?) {
        insert.execute(params![row.id.to_string(), kind.as_str(), row.kek, row.wrapped, micros(now)])?;
    }
    Ok(())
}

/// Opens the keys. Every key-encryption key that the store depends on must be there and be the right one, or nothing is
/// opened (faults 33 and 34).
pub(super) fn open(c: &Connection, encryption: Arc<dyn KeyEncryption>) -> Result<Vault, OpenError> {
    let vault = vault(c, encryption)?;
    let mut one_of_each = c
        .prepare("SELECT id, kek, wrapped, min(rowid) FROM data_keys WHERE wrapped IS NOT NULL GROUP BY kek")
        .map_err(Failure::from)?;
    for found in one_of_each.query_and_then([], row).map_err(Failure::from)? {
        match found {
            Ok(found) => vault.stands_by(&found)?,
            // Whatever needs it is told as damaged, and the rest is there.
            Err(Failure::Corrupt(place)) => tracing::error!(place, "a data key of the store is damaged"),
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(vault)
}

/// The vault of the two first keys.
pub(super) fn vault(c: &Connection, encryption: Arc<dyn KeyEncryption>) -> Result<Vault, Failure> {
    let sole = |kind: Kind| -> Result<DataKeyRow, Failure> {
        c.prepare("SELECT id, kek, wrapped FROM data_keys WHERE kind = ?")?
            .query_and_then([kind.as_str()], row)?
            .next()
            .ok_or_else(|| Failure::corrupt("data_keys", "kind"))?
    };
    Vault::open(encryption, &sole(Kind::Index)?, &sole(Kind::Gateway)?).map_err(Failure::Key)
}

pub(super) fn usage(c: &Keyed<'_>) -> Result<Vec<KeyUsage>, Failure> {
    let current = c.keys().vault().current()?;
    let mut used: Vec<KeyUsage> = c
        .prepare_cached("SELECT kek, count(*) AS n FROM data_keys WHERE wrapped IS NOT NULL GROUP BY kek ORDER BY kek")?
        .query_and_then([], |row| Ok::<_, Failure>(rows::key_usage(&Columns::of("data_keys", row), &current)?))?
        .collect::<Result<_, _>>()?;
    if !used.iter().any(|key| key.current) {
        used.push(KeyUsage { id: current, current: true, data_keys: 0 });
    }
    Ok(used)
}

/// A batch. Whoever reads meanwhile sees a row under the old key or under the new one.
pub(super) fn rewrap(c: &Keyed<'_>, limit: u32, audit: &[AuditRow]) -> Result<u64, Failure> {
    let current = c.keys().vault().current()?;
    let old = c
        .prepare_cached(
            "SELECT id, kek, wrapped FROM data_keys WHERE wrapped IS NOT NULL AND (kek < ?1 OR kek > ?1) LIMIT ?2",
        )?
        .query_and_then(params![current, limit], row)?
        .collect::<Result<Vec<_>, Failure>>()?;
    let mut done = 0;
    let mut update = c.prepare_cached("UPDATE data_keys SET kek = ?, wrapped = ? WHERE id = ?")?;
    for row in &old {
        let Some(new) = c.keys().vault().rewrapped(row)? else { continue };
        update.execute(params![new.kek, new.wrapped, new.id.to_string()])?;
        done += 1;
    }
    if done == 0 {
        audit::append(c, audit)?;
    }
    Ok(done)
}
