//! PDS was asked again: what follows for the copy because of which it was.

use async_trait::async_trait;
use jiff::Timestamp;
use onward_core::TransferId;
use onward_core::state::DeliveryState;
use onward_core::store::{DeliveryRecord, Retrace, RetraceStore, Retraced, StoreError};
use rusqlite::params;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{SqliteStore, audit, deliveries, lifecycle, transfers};
use crate::columns::Columns;
use crate::query::retracing as query;
use crate::rows;
use crate::stored::{micros, stored_count};

#[async_trait]
impl RetraceStore for SqliteStore {
    async fn to_retrace(&self, since: Timestamp, limit: u32) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.read(move |c| {
            c.prepare_cached(&query::waiting())?
                .query_and_then(params![micros(since), limit], |row| deliveries::record(c, row))?
                .collect()
        })
        .await
    }

    async fn retrace(&self, retrace: Retrace) -> Result<bool, StoreError> {
        self.write(move |c| note(c, &retrace)).await
    }
}

fn note(c: &Keyed<'_>, retrace: &Retrace) -> Result<bool, Failure> {
    let (id, at) = (retrace.delivery.to_string(), retrace.at);
    let noted = c
        .prepare_cached(&query::note())?
        .query_and_then(params![micros(at), id, stored_count(retrace.expected_version)], |row| {
            Ok::<TransferId, Failure>(Columns::of("transfers", row).parsed("id")?)
        })?
        .next()
        .transpose()?;
    let Some(transfer) = noted else { return Ok(false) };
    match &retrace.outcome {
        Retraced::Stays { reason } => {
            let state = c
                .prepare_cached(query::STAYS)?
                .query_and_then(params![micros(at), reason, id], |row| {
                    Ok::<DeliveryState, Failure>(Columns::of("deliveries", row).parsed("state")?)
                })?
                .next()
                .ok_or_else(|| Failure::corrupt("deliveries", "id"))??;
            if rows::is_worded(state) {
                deliveries::put_words(c, "words", retrace.delivery, reason)?;
            }
            deliveries::keep_version(c, retrace.delivery, at)?;
        }
        Retraced::Sent { endings, copy } => {
            lifecycle::end_copies(c, endings, at)?;
            let origin = transfers::origin(c, transfer, at)?;
            deliveries::insert(c, &origin, std::slice::from_ref(copy))?;
        }
    }
    audit::append(c, &retrace.audit)?;
    Ok(true)
}
