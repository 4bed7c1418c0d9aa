//! What is reported to commissioners.

use async_trait::async_trait;
use jiff::Timestamp;
use onward_core::store::StoreError;
use onward_core::store::reporting::{HeldThen, ReportStore, ReportedTransfer};

use super::SqliteStore;
use super::failure::Failure;
use crate::columns::Columns;
use crate::query::{HELD_NAMELESS, HELD_PEOPLE, REPORTED_COPIES, REPORTED_TRANSFERS};
use crate::rows;
use crate::stored::micros;

#[async_trait]
impl ReportStore for SqliteStore {
    async fn reported(&self, from: Timestamp, until: Timestamp) -> Result<Vec<ReportedTransfer>, StoreError> {
        self.readers
            .run(move |c| {
                let time = [micros(from), micros(until)];
                let transfers = c
                    .prepare_cached(REPORTED_TRANSFERS)?
                    .query_and_then(time, |row| Ok(rows::reported_transfer(&Columns::of("transfers", row))?))?
                    .collect::<Result<Vec<_>, Failure>>()?;
                let copies = c
                    .prepare_cached(REPORTED_COPIES)?
                    .query_and_then(time, |row| Ok(rows::reported_copy(&Columns::of("deliveries", row))?))?
                    .collect::<Result<Vec<_>, Failure>>()?;
                Ok(rows::reported(transfers, copies))
            })
            .await
    }

    async fn held_at(&self, at: Timestamp) -> Result<HeldThen, StoreError> {
        self.read(move |c| {
            let at = micros(at);
            let people = c
                .prepare_cached(HELD_PEOPLE)?
                .query_and_then([at; 6], |row| {
                    c.opened(|keys| rows::held_person(&Columns::of("data_keys", row), keys))
                })?
                .collect::<Result<Vec<_>, Failure>>()?;
            let nameless = c
                .prepare_cached(HELD_NAMELESS)?
                .query_row([at; 2], |row| Ok(Columns::of("data_keys", row).count::<u64>("n")))??;
            Ok(HeldThen { people, nameless })
        })
        .await
    }
}
