//! Witnesses' cosignatures, how far the log was forwarded, what was sent, and the policies that were in force.

use async_trait::async_trait;
use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use onward_core::DeliveryId;
use onward_core::audit::AuditRow;
use onward_core::store::evidence::{EvidenceStore, PolicyInForce, StoredCosignature};
use onward_core::store::{Contents, StoreError};
use tokio_postgres::types::ToSql;

use super::PostgresStore;
use super::dispatch::lease_now;
use super::failure::Failure;
use super::keyed::Keyed;
use super::session::{self, Params};
use super::work::Work;
use crate::columns::Columns;
use crate::query::{COSIGNATURES, LATEST_COSIGNATURES, POLICIES};
use crate::rows;
use crate::stored::{micros, signed, stored_count};

/// Who wants to forward.
struct Taker {
    sink: String,
    holder: i64,
    now: Timestamp,
    until: Timestamp,
    from: i64,
}

#[async_trait]
impl EvidenceStore for PostgresStore {
    async fn put_cosignature(&self, cosignature: StoredCosignature) -> Result<(), StoreError> {
        self.writers.run(cosignature, |work, cosignature| put_cosignature(work, cosignature).boxed()).await
    }

    async fn cosignatures(&self, first: u64, last: u64) -> Result<Vec<StoredCosignature>, StoreError> {
        let asked = [first, last].map(stored_count);
        self.read(asked, |c, [first, last]| async move { cosignatures(c, COSIGNATURES, &[first, last]).await }.boxed())
            .await
    }

    async fn latest_cosignatures(&self) -> Result<Vec<StoredCosignature>, StoreError> {
        self.read((), |c, ()| cosignatures(c, LATEST_COSIGNATURES, &[]).boxed()).await
    }

    async fn take_forwarding(
        &self,
        sink: &str,
        holder: u64,
        now: Timestamp,
        until: Timestamp,
        from: u64,
    ) -> Result<Option<u64>, StoreError> {
        let (sink, holder, from) = (sink.to_owned(), signed(holder), stored_count(from));
        let taker = Taker { sink, holder, now, until, from };
        self.writers.run(taker, |work, taker| take_forwarding(work, taker).boxed()).await
    }

    async fn forwarded(&self, sink: &str, holder: u64, next: u64) -> Result<bool, StoreError> {
        let input = (sink.to_owned(), signed(holder), stored_count(next));
        self.writers.run(input, |work, input| forwarded(work, input).boxed()).await
    }

    async fn forwarding(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.read((), |c, ()| forwarding(c).boxed()).await
    }

    async fn audit_size(&self) -> Result<u64, StoreError> {
        self.read((), |c, ()| audit_size(c).boxed()).await
    }

    async fn contents(&self, sha256s: &[[u8; 32]]) -> Result<Vec<Contents>, StoreError> {
        self.read(sha256s.to_vec(), |c, sha256s| contents(c, sha256s).boxed()).await
    }

    async fn disclosure(&self, delivery: DeliveryId) -> Result<Option<String>, StoreError> {
        self.read(delivery, |c, delivery| disclosure(c, *delivery).boxed()).await
    }

    async fn put_in_force(&self, policies: Vec<PolicyInForce>, audit: Vec<AuditRow>) -> Result<(), StoreError> {
        self.writers.run((policies, audit), |work, kept| put_in_force(work, kept).boxed()).await
    }

    async fn policies_in_force(&self) -> Result<Vec<PolicyInForce>, StoreError> {
        self.read((), |c, ()| policies_in_force(c).boxed()).await
    }
}

async fn put_in_force<'j>(
    work: &mut Work<'j>,
    (policies, audit): &'j (Vec<PolicyInForce>, Vec<AuditRow>),
) -> Result<(), Failure> {
    let sql = "INSERT INTO policies (kind, since, text) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    for policy in policies {
        let kept: [&(dyn ToSql + Sync); 3] = [&policy.kind.as_str(), &micros(policy.since), &policy.text];
        if session::execute(work.client(), sql, &kept).await? == 0 {
            return Err(Failure::Overtaken);
        }
    }
    work.audit(audit);
    Ok(())
}

async fn policies_in_force(c: &Client) -> Result<Vec<PolicyInForce>, Failure> {
    let found = session::all(c, POLICIES, &[]).await?;
    found.iter().map(|row| Ok(rows::policy_in_force(&Columns::of("policies", row))?)).collect()
}

async fn put_cosignature<'j>(work: &mut Work<'j>, cosignature: &'j StoredCosignature) -> Result<(), Failure> {
    let StoredCosignature { size, witness, line, at } = cosignature;
    session::execute(
        work.client(),
        "INSERT INTO cosignatures (size, witness, line, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (size, witness) DO UPDATE SET line = $3, at = $4",
        &[&stored_count(*size), witness, line, &micros(*at)],
    )
    .await?;
    Ok(())
}

async fn disclosure(c: &Keyed, delivery: DeliveryId) -> Result<Option<String>, Failure> {
    let found = session::first(c, "SELECT disclosure FROM deliveries WHERE id = $1", &[&delivery.0]).await?;
    c.opened_one(found.as_ref(), |row, keys| rows::disclosure(&Columns::of("deliveries", row), keys, delivery)).await
}

async fn contents(c: &Client, sha256s: &[[u8; 32]]) -> Result<Vec<Contents>, Failure> {
    let sha256s: Vec<&[u8]> = sha256s.iter().map(<[u8; 32]>::as_slice).collect();
    let found = session::all(c, "SELECT sha256, names FROM contents WHERE sha256 = ANY($1)", &[&sha256s]).await?;
    found.iter().map(|row| Ok(rows::contents(&Columns::of("contents", row))?)).collect()
}

async fn cosignatures(c: &Client, sql: &str, asked: Params<'_>) -> Result<Vec<StoredCosignature>, Failure> {
    let found = session::all(c, sql, asked).await?;
    found.iter().map(|row| Ok(rows::cosignature(&Columns::of("cosignatures", row))?)).collect()
}

async fn take_forwarding<'j>(work: &mut Work<'j>, taker: &'j Taker) -> Result<Option<u64>, Failure> {
    let Taker { sink, holder, now, until, from } = taker;
    // By the database's clock, as copies are leased.
    let lease_now = lease_now(work.client(), work.shared().lease_clock, *now).await?;
    let until = lease_now + micros(*until) - micros(*now);
    let row = session::first(
        work.client(),
        "INSERT INTO forwarding (sink, position, holder, held_until) VALUES ($1, $2, $3, $4)
         ON CONFLICT (sink) DO UPDATE SET holder = $3, held_until = $4
             WHERE forwarding.holder = $3 OR forwarding.held_until <= $5
         RETURNING sink, position",
        &[sink, from, holder, &until, &lease_now],
    )
    .await?;
    row.map(|row| Ok(Columns::of("forwarding", &row).count("position")?)).transpose()
}

async fn forwarded<'j>(work: &mut Work<'j>, input: &'j (String, i64, i64)) -> Result<bool, Failure> {
    let (sink, holder, next) = input;
    let sql = "UPDATE forwarding SET position = $1 WHERE sink = $2 AND holder = $3";
    Ok(session::execute(work.client(), sql, &[next, sink, holder]).await? == 1)
}

async fn forwarding(c: &Client) -> Result<Vec<(String, u64)>, Failure> {
    let found = session::all(c, "SELECT sink, position FROM forwarding ORDER BY sink", &[]).await?;
    found.iter().map(|row| Ok(rows::forwarding(&Columns::of("forwarding", row))?)).collect()
}

async fn audit_size(c: &Client) -> Result<u64, Failure> {
    let sql = "SELECT coalesce(max(position) + 1, 0) AS size FROM audit_log";
    let row = session::first(c, sql, &[]).await?.ok_or_else(|| Failure::corrupt("audit_log", "position"))?;
    Ok(Columns::of("audit_log", &row).count("size")?)
}
