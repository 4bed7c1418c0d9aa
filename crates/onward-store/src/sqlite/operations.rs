//! What has not left, and what two people decide together.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onward_core::audit::AuditRow;
use onward_core::store::{
    Approval, ApprovalKind, Backlog, Listed, OperationsStore, StoreError, Stuck, StuckQuery, Verdict,
};
use onward_core::{ApprovalId, OdsCode, TransferId};
use rusqlite::{params, params_from_iter};

use super::failure::Failure;
use super::keyed::Keyed;
use super::{SqliteStore, audit, transfers};
use crate::columns::Columns;
use crate::query;
use crate::rows::alerts::readable;
use crate::rows::operations::{self as rows, APPROVAL, of_approval, transfer_of};
use crate::sealing::KeyId;
use crate::stored::micros;

/// For so long an approval that expired is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);

#[async_trait]
impl OperationsStore for SqliteStore {
    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.read(|c| {
            let mut statement = c.prepare_cached(&query::backlog())?;
            let mut found = statement.query([])?;
            let mut backlog = Vec::new();
            while let Some(row) = found.next()? {
                backlog.extend(readable(rows::backlog(&Columns::of("deliveries", row))));
            }
            Ok(backlog)
        })
        .await
    }

    async fn stuck(&self, query: StuckQuery) -> Result<Listed<Stuck>, StoreError> {
        self.read(move |c| {
            let (sql, values) = query::stuck(&query);
            c.listed(&sql, params_from_iter(values), ("deliveries", "id"), rows::stuck)
        })
        .await
    }

    async fn ask_approval(&self, approval: Approval, audit: Vec<AuditRow>) -> Result<(), StoreError> {
        self.write(move |c| ask(c, &approval, &audit)).await
    }

    async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
        self.read(move |c| Ok(list(c, "id = ?1", params![id.to_string()])?.into_iter().next())).await
    }

    async fn approvals(
        &self,
        kind: ApprovalKind,
        organisation: Option<&OdsCode>,
        now: Timestamp,
    ) -> Result<Vec<Approval>, StoreError> {
        let organisation = organisation.map(ToString::to_string);
        self.read(move |c| {
            let condition = "kind = ?1 AND (?2 IS NULL OR organisation = ?2) AND expires > ?3 ORDER BY asked DESC, id";
            list(c, condition, params![kind.as_str(), organisation, micros(now)])
        })
        .await
    }

    async fn decide_approval(
        &self,
        id: ApprovalId,
        verdict: Verdict,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        self.write(move |c| decide(c, id, &verdict, &audit)).await
    }
}

fn ask(c: &Keyed<'_>, approval: &Approval, rows: &[AuditRow]) -> Result<(), Failure> {
    let id = approval.id.to_string();
    let key = key(c, &approval.subject)?;
    let forgotten = approval.asked.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
    c.prepare_cached("DELETE FROM approvals WHERE expires < ?")?.execute([micros(forgotten)])?;
    c.prepare_cached(
        "INSERT INTO approvals (id, kind, subject, organisation, asked_by, asked_name, reason, words, asked, expires)
         VALUES (?, ?, ?, ?, ?, ?, '', ?, ?, ?)",
    )?
    .execute(params![
        id,
        approval.kind.as_str(),
        approval.subject,
        approval.organisation.as_str(),
        approval.asked_by,
        approval.asked_name,
        c.seal_text(key, of_approval(&id), &approval.reason)?,
        micros(approval.asked),
        micros(approval.expires),
    ])?;
    audit::append(c, rows)
}

/// The key of the person whom an approval is about, else the gateway's.
pub(super) fn key(c: &Keyed<'_>, subject: &str) -> Result<KeyId, Failure> {
    match transfer_of(subject) {
        Some(transfer) => transfers::key(c, &transfer.to_string()),
        None => Ok(c.keys().vault().gateway()),
    }
}

fn list(c: &Keyed<'_>, condition: &str, values: impl rusqlite::Params) -> Result<Vec<Approval>, Failure> {
    c.prepare_cached(&format!("SELECT {APPROVAL} FROM approvals WHERE {condition}"))?
        .query_and_then(values, |row| c.opened(|keys| rows::approval(&Columns::of("approvals", row), keys)))?
        .collect()
}

/// What two people were to decide about a transfer: what an approval is about names it.
pub(super) fn about(c: &Keyed<'_>, transfer: TransferId) -> Result<Vec<Approval>, Failure> {
    list(c, "subject LIKE ?1 ORDER BY asked, id", params![format!("%{transfer}%")])
}

fn decide(c: &Keyed<'_>, id: ApprovalId, verdict: &Verdict, rows: &[AuditRow]) -> Result<bool, Failure> {
    let decided = c
        .prepare_cached(
            "UPDATE approvals SET verdict_by = ?2, verdict_name = ?3, verdict_at = ?4, granted = ?5
             WHERE id = ?1 AND verdict_at IS NULL AND expires > ?4 AND asked_by <> ?2",
        )?
        .execute(params![id.to_string(), verdict.by, verdict.name, micros(verdict.at), verdict.granted])?;
    if decided == 1 {
        audit::append(c, rows)?;
    }
    Ok(decided == 1)
}
