//! Witnesses' cosignatures, how far the log was forwarded, what was sent, and the policies that were in force.

use async_trait::async_trait;
use jiff::Timestamp;
use onward_core::DeliveryId;
use onward_core::audit::AuditRow;
use onward_core::store::evidence::{EvidenceStore, PolicyInForce, StoredCosignature};
use onward_core::store::{Contents, StoreError};
use rusqlite::{Connection, OptionalExtension as _, ToSql, params};

use super::failure::Failure;
use super::{SqliteStore, audit};
use crate::columns::Columns;
use crate::query::{COSIGNATURES, LATEST_COSIGNATURES, POLICIES};
use crate::rows;
use crate::stored::{micros, signed, stored_count};

#[async_trait]
impl EvidenceStore for SqliteStore {
    async fn put_cosignature(&self, cosignature: StoredCosignature) -> Result<(), StoreError> {
        self.write(move |c| put_cosignature(c, &cosignature)).await
    }

    async fn cosignatures(&self, first: u64, last: u64) -> Result<Vec<StoredCosignature>, StoreError> {
        self.read(move |c| cosignatures(c, COSIGNATURES, params![stored_count(first), stored_count(last)])).await
    }

    async fn latest_cosignatures(&self) -> Result<Vec<StoredCosignature>, StoreError> {
        self.read(|c| cosignatures(c, LATEST_COSIGNATURES, params![])).await
    }

    async fn take_forwarding(
        &self,
        sink: &str,
        holder: u64,
        now: Timestamp,
        until: Timestamp,
        from: u64,
    ) -> Result<Option<u64>, StoreError> {
        let sink = sink.to_owned();
        self.write(move |c| take_forwarding(c, &sink, holder, (now, until), from)).await
    }

    async fn forwarded(&self, sink: &str, holder: u64, next: u64) -> Result<bool, StoreError> {
        let sink = sink.to_owned();
        self.write(move |c| {
            let changed = c
                .prepare_cached("UPDATE forwarding SET position = ? WHERE sink = ? AND holder = ?")?
                .execute(params![stored_count(next), sink, signed(holder)])?;
            Ok(changed == 1)
        })
        .await
    }

    async fn forwarding(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.read(|c| {
            c.prepare_cached("SELECT sink, position FROM forwarding ORDER BY sink")?
                .query_and_then([], |row| Ok(rows::forwarding(&Columns::of("forwarding", row))?))?
                .collect()
        })
        .await
    }

    async fn audit_size(&self) -> Result<u64, StoreError> {
        self.read(|c| {
            let sql = "SELECT coalesce(max(position) + 1, 0) FROM audit_log";
            let size: i64 = c.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            u64::try_from(size).map_err(|_| Failure::corrupt("audit_log", "position"))
        })
        .await
    }

    async fn contents(&self, sha256s: &[[u8; 32]]) -> Result<Vec<Contents>, StoreError> {
        let sha256s = sha256s.to_vec();
        self.read(move |c| {
            let mut one = c.prepare_cached("SELECT sha256, names FROM contents WHERE sha256 = ?")?;
            let mut found = Vec::new();
            for sha256 in &sha256s {
                let rows = one.query_and_then([sha256], |row| -> Result<Contents, Failure> {
                    Ok(rows::contents(&Columns::of("contents", row))?)
                })?;
                found.extend(rows.collect::<Result<Vec<_>, _>>()?);
            }
            Ok(found)
        })
        .await
    }

    async fn disclosure(&self, delivery: DeliveryId) -> Result<Option<String>, StoreError> {
        self.read(move |c| {
            let sql = "SELECT coalesce(s.disclosure, d.disclosure) AS disclosure
                 FROM deliveries d LEFT JOIN disclosures s ON s.sequence = d.sequence WHERE d.id = ?";
            c.prepare_cached(sql)?
                .query_and_then([delivery.to_string()], |row| {
                    c.opened(|keys| rows::disclosure(&Columns::of("deliveries", row), keys, delivery))
                })?
                .next()
                .transpose()
        })
        .await
    }

    async fn put_in_force(&self, policies: Vec<PolicyInForce>, audit: Vec<AuditRow>) -> Result<(), StoreError> {
        self.write(move |c| {
            let sql = "INSERT INTO policies (kind, since, text) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
            let mut keep = c.prepare_cached(sql)?;
            for policy in &policies {
                if keep.execute(params![policy.kind.as_str(), micros(policy.since), policy.text])? == 0 {
                    return Err(Failure::Overtaken);
                }
            }
            audit::append(c, &audit)
        })
        .await
    }

    async fn policies_in_force(&self) -> Result<Vec<PolicyInForce>, StoreError> {
        self.read(|c| {
            c.prepare_cached(POLICIES)?
                .query_and_then([], |row| Ok(rows::policy_in_force(&Columns::of("policies", row))?))?
                .collect()
        })
        .await
    }
}

fn put_cosignature(c: &Connection, cosignature: &StoredCosignature) -> Result<(), Failure> {
    let StoredCosignature { size, witness, line, at } = cosignature;
    c.prepare_cached(
        "INSERT INTO cosignatures (size, witness, line, at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (size, witness) DO UPDATE SET line = ?3, at = ?4",
    )?
    .execute(params![stored_count(*size), witness, line, micros(*at)])?;
    Ok(())
}

fn cosignatures(c: &Connection, sql: &str, asked: &[&dyn ToSql]) -> Result<Vec<StoredCosignature>, Failure> {
    c.prepare_cached(sql)?
        .query_and_then(asked, |row| Ok(rows::cosignature(&Columns::of("cosignatures", row))?))?
        .collect()
}

fn take_forwarding(
    c: &Connection,
    sink: &str,
    holder: u64,
    (now, until): (Timestamp, Timestamp),
    from: u64,
) -> Result<Option<u64>, Failure> {
    let taken = c
        .prepare_cached(
            "INSERT INTO forwarding (sink, position, holder, held_until) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (sink) DO UPDATE SET holder = ?3, held_until = ?4
                 WHERE forwarding.holder = ?3 OR forwarding.held_until <= ?5
             RETURNING sink, position",
        )?
        .query_row(params![sink, stored_count(from), signed(holder), micros(until), micros(now)], |row| {
            row.get::<_, i64>("position")
        })
        .optional()?;
    Ok(taken.map(|position| u64::try_from(position).unwrap_or(0)))
}
