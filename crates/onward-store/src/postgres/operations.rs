//! What has not left, and what two people decide together.

use async_trait::async_trait;
use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use onward_core::audit::AuditRow;
use onward_core::store::{
    Approval, ApprovalKind, Backlog, Listed, OperationsStore, StoreError, Stuck, StuckQuery, Verdict,
};
use onward_core::{ApprovalId, OdsCode, TransferId};

use super::failure::Failure;
use super::keyed::Keyed;
use super::session::{self, Params};
use super::work::Work;
use super::{PostgresStore, deliveries, transfers};
use crate::columns::Columns;
use crate::query;
use crate::rows::alerts::readable;
use crate::rows::operations::{self as rows, APPROVAL, of_approval, transfer_of};
use crate::sealing::KeyId;
use crate::stored::micros;

/// For so long an approval that expired is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);

#[async_trait]
impl OperationsStore for PostgresStore {
    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.read((), |c, ()| backlog(c).boxed()).await
    }

    async fn stuck(&self, query: StuckQuery) -> Result<Listed<Stuck>, StoreError> {
        self.read(query, |c, query| stuck(c, query).boxed()).await
    }

    async fn ask_approval(&self, approval: Approval, audit: Vec<AuditRow>) -> Result<(), StoreError> {
        self.writers.run((approval, audit), |work, input| ask(work, input).boxed()).await
    }

    async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
        self.read(id, |c, id| async move { Ok(list(c, "id = $1", &[&id.0]).await?.into_iter().next()) }.boxed()).await
    }

    async fn approvals(
        &self,
        kind: ApprovalKind,
        organisation: Option<&OdsCode>,
        now: Timestamp,
    ) -> Result<Vec<Approval>, StoreError> {
        let asked = (kind, organisation.map(ToString::to_string), now);
        self.read(asked, |c, (kind, organisation, now)| open(c, *kind, organisation.as_deref(), *now).boxed()).await
    }

    async fn decide_approval(
        &self,
        id: ApprovalId,
        verdict: Verdict,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        self.writers.run((id, verdict, audit), |work, input| decide(work, input).boxed()).await
    }
}

async fn backlog(c: &Client) -> Result<Vec<Backlog>, Failure> {
    let found = session::all(c, &query::backlog(), &[]).await?;
    Ok(found.iter().filter_map(|row| readable(rows::backlog(&Columns::of("deliveries", row)))).collect())
}

async fn stuck(c: &Keyed, wanted: &StuckQuery) -> Result<Listed<Stuck>, Failure> {
    let (sql, values) = query::stuck(wanted);
    let found = deliveries::search(c, &sql, &values).await?;
    c.listed(&found, ("deliveries", "id"), rows::stuck).await
}

async fn ask<'j>(work: &mut Work<'j>, (approval, audit): &'j (Approval, Vec<AuditRow>)) -> Result<(), Failure> {
    let key = key(work.client(), &approval.subject).await?;
    let words = work.client().keys().seal_text(key, of_approval(&approval.id.to_string()), &approval.reason)?;
    let forgotten = approval.asked.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
    session::execute(work.client(), "DELETE FROM approvals WHERE expires < $1", &[&micros(forgotten)]).await?;
    session::execute(
        work.client(),
        "INSERT INTO approvals (id, kind, subject, organisation, asked_by, asked_name, reason, words, asked, expires)
         VALUES ($1, $2, $3, $4, $5, $6, '', $7, $8, $9)",
        &[
            &approval.id.0,
            &approval.kind.as_str(),
            &approval.subject,
            &approval.organisation.as_str(),
            &approval.asked_by,
            &approval.asked_name,
            &words,
            &micros(approval.asked),
            &micros(approval.expires),
        ],
    )
    .await?;
    work.audit(audit);
    Ok(())
}

/// The key of the person whom an approval is about, else the gateway's; at hand.
pub(super) async fn key(c: &Keyed, subject: &str) -> Result<KeyId, Failure> {
    match transfer_of(subject) {
        Some(transfer) => transfers::key(c, transfer).await,
        None => c.gateway().await,
    }
}

async fn open(
    c: &Keyed,
    kind: ApprovalKind,
    organisation: Option<&str>,
    now: Timestamp,
) -> Result<Vec<Approval>, Failure> {
    let condition = "kind = $1 AND ($2::text IS NULL OR organisation = $2) AND expires > $3 ORDER BY asked DESC, id";
    list(c, condition, &[&kind.as_str(), &organisation, &micros(now)]).await
}

async fn list(c: &Keyed, condition: &str, params: Params<'_>) -> Result<Vec<Approval>, Failure> {
    let found = session::all(c, &format!("SELECT {APPROVAL} FROM approvals WHERE {condition}"), params).await?;
    c.opened(&found, |row, keys| rows::approval(&Columns::of("approvals", row), keys)).await
}

/// What two people were to decide about a transfer: what an approval is about names it.
pub(super) async fn about(c: &Keyed, transfer: TransferId) -> Result<Vec<Approval>, Failure> {
    list(c, "subject LIKE $1 ORDER BY asked, id", &[&format!("%{transfer}%")]).await
}

async fn decide<'j>(
    work: &mut Work<'j>,
    (id, verdict, audit): &'j (ApprovalId, Verdict, Vec<AuditRow>),
) -> Result<bool, Failure> {
    let decided = session::execute(
        work.client(),
        "UPDATE approvals SET verdict_by = $2, verdict_name = $3, verdict_at = $4, granted = $5
         WHERE id = $1 AND verdict_at IS NULL AND expires > $4 AND asked_by <> $2",
        &[&id.0, &verdict.by, &verdict.name, &micros(verdict.at), &verdict.granted],
    )
    .await?;
    if decided == 1 {
        work.audit(audit);
    }
    Ok(decided == 1)
}
