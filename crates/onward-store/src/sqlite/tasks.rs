//! Lists of Tasks: transfers and copies in one order, so that a page can hold both.

use onward_core::store::{FoundTask, TaskQuery};
use onward_core::{DeliveryId, TransferId};
use rusqlite::params_from_iter;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{DIALECT, deliveries, transfers};
use crate::columns::Columns;
use crate::query;

pub(super) fn list(c: &Keyed<'_>, wanted: &TaskQuery) -> Result<Vec<FoundTask>, Failure> {
    let (arms, mut values) = query::tasks(wanted, c.keys(), &DIALECT);
    if arms.is_empty() {
        return Ok(Vec::new());
    }
    values.push(wanted.limit.into());
    let sql = format!("{} ORDER BY created, id LIMIT ?", arms.join(" UNION ALL "));
    let found = c
        .prepare_cached(&sql)?
        .query_and_then(params_from_iter(values), |row| {
            let columns = Columns::of("tasks", row);
            Ok((columns.flag("whole")?, columns.parsed::<uuid::Uuid>("id")?))
        })?
        .collect::<Result<Vec<_>, Failure>>()?;
    let read = |(whole, id)| match whole {
        true => Ok(FoundTask::Transfer(Box::new(
            transfers::transfer(c, TransferId(id))?.ok_or_else(|| Failure::corrupt("transfers", "id"))?,
        ))),
        false => Ok(FoundTask::Copy(Box::new(
            deliveries::by_id(c, DeliveryId(id))?.ok_or_else(|| Failure::corrupt("deliveries", "id"))?,
        ))),
    };
    found.into_iter().map(read).collect()
}

pub(super) fn count(c: &Keyed<'_>, wanted: &TaskQuery) -> Result<u64, Failure> {
    let (arms, values) = query::tasks(&TaskQuery { after: None, ..wanted.clone() }, c.keys(), &DIALECT);
    if arms.is_empty() {
        return Ok(0);
    }
    c.prepare_cached(&format!("SELECT count(*) AS tasks FROM ({})", arms.join(" UNION ALL ")))?
        .query_and_then(params_from_iter(values), |row| Ok(Columns::of("tasks", row).count("tasks")?))?
        .next()
        .ok_or_else(|| Failure::corrupt("tasks", "count"))?
}
