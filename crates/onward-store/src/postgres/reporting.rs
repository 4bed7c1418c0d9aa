//! What is reported to commissioners.

use async_trait::async_trait;
use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use onward_core::store::StoreError;
use onward_core::store::reporting::{ReportStore, ReportedTransfer};

use super::failure::Failure;
use super::{PostgresStore, deliveries};
use crate::columns::Columns;
use crate::query::{REPORTED_COPIES, REPORTED_TRANSFERS, Value};
use crate::rows;
use crate::stored::micros;

#[async_trait]
impl ReportStore for PostgresStore {
    async fn reported(&self, from: Timestamp, until: Timestamp) -> Result<Vec<ReportedTransfer>, StoreError> {
        self.read((from, until), |c, (from, until)| reported(c, *from, *until).boxed()).await
    }
}

async fn reported(c: &Client, from: Timestamp, until: Timestamp) -> Result<Vec<ReportedTransfer>, Failure> {
    let time = [Value::from(micros(from)), Value::from(micros(until))];
    let transfers = deliveries::search(c, REPORTED_TRANSFERS, &time).await?;
    let copies = deliveries::search(c, REPORTED_COPIES, &time).await?;
    Ok(rows::reported(
        transfers
            .iter()
            .map(|row| rows::reported_transfer(&Columns::of("transfers", row)))
            .collect::<Result<_, _>>()?,
        copies.iter().map(|row| rows::reported_copy(&Columns::of("deliveries", row))).collect::<Result<_, _>>()?,
    ))
}
