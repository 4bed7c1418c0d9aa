//! Lists of Tasks: transfers and copies in one order, so that a page can hold both.

use onward_core::store::{FoundTask, TaskQuery};
use onward_core::{DeliveryId, TransferId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{DIALECT, deliveries, transfers};
use crate::columns::Columns;
use crate::query;

pub(super) async fn list(c: &Keyed, wanted: &TaskQuery) -> Result<Vec<FoundTask>, Failure> {
    let (arms, mut values) = query::tasks(wanted, c.keys(), &DIALECT);
    if arms.is_empty() {
        return Ok(Vec::new());
    }
    values.push(wanted.limit.into());
    let sql = format!("{} ORDER BY created, id LIMIT ?", arms.join(" UNION ALL "));
    let places = deliveries::search(c, &sql, &values).await?;
    let mut found = Vec::with_capacity(places.len());
    for row in &places {
        let (whole, id) = place(row)?;
        found.push(match whole {
            true => FoundTask::Transfer(Box::new(
                transfers::transfer(c, TransferId(id)).await?.ok_or_else(|| Failure::corrupt("transfers", "id"))?,
            )),
            false => FoundTask::Copy(Box::new(
                deliveries::by_id(c, DeliveryId(id)).await?.ok_or_else(|| Failure::corrupt("deliveries", "id"))?,
            )),
        });
    }
    Ok(found)
}

/// Whether it is a transfer, and its identifier.
fn place(row: &Row) -> Result<(bool, Uuid), Failure> {
    let columns = Columns::of("tasks", row);
    Ok((columns.flag("whole")?, columns.parsed("id")?))
}

pub(super) async fn count(c: &Keyed, wanted: &TaskQuery) -> Result<u64, Failure> {
    let (arms, values) = query::tasks(&TaskQuery { after: None, ..wanted.clone() }, c.keys(), &DIALECT);
    if arms.is_empty() {
        return Ok(0);
    }
    let sql = format!("SELECT count(*) AS tasks FROM ({}) AS found", arms.join(" UNION ALL "));
    let counted = deliveries::search(c, &sql, &values).await?;
    let row = counted.first().ok_or_else(|| Failure::corrupt("tasks", "count"))?;
    Ok(Columns::of("tasks", row).count("tasks")?)
}
