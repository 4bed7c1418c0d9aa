//! What is reported to commissioners.

use async_trait::async_trait;
use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use onward_core::store::StoreError;
use onward_core::store::reporting::{HeldThen, ReportStore, ReportedTransfer};

use super::failure::Failure;
use super::keyed::Keyed;
use super::{PostgresStore, deliveries};
use crate::columns::Columns;
use crate::query::{HELD_NAMELESS, HELD_PEOPLE, REPORTED_COPIES, REPORTED_TRANSFERS, Value};
use crate::rows;
use crate::stored::micros;

#[async_trait]
impl ReportStore for PostgresStore {
    async fn reported(&self, from: Timestamp, until: Timestamp) -> Result<Vec<ReportedTransfer>, StoreError> {
        self.read((from, until), |c, (from, until)| reported(c, *from, *until).boxed()).await
    }

    async fn held_at(&self, at: Timestamp) -> Result<HeldThen, StoreError> {
        self.read(at, |c, at| held(c, *at).boxed()).await
    }
}

async fn held(c: &Keyed, at: Timestamp) -> Result<HeldThen, Failure> {
    let at = || Value::from(micros(at));
    let found = deliveries::search(c, HELD_PEOPLE, &[at(), at(), at(), at(), at(), at()]).await?;
    let people = c.opened(&found, |row, keys| rows::held_person(&Columns::of("data_keys", row), keys)).await?;
    let counted = deliveries::search(c, HELD_NAMELESS, &[at(), at()]).await?;
    let counted = counted.first().ok_or_else(|| Failure::corrupt("data_keys", "count"))?;
    Ok(HeldThen { people, nameless: Columns::of("data_keys", counted).count("n")? })
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
