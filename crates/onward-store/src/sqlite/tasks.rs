//! Lists of Tasks: transfers and copies in one order, so that a page can hold both.

use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{Changed, FoundTask, TaskQuery};
use onward_core::{DeliveryId, TransferId};
use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::columns::{Columns, micros};
use super::failure::Failure;
use super::keyed::Keyed;
use super::{deliveries, transfers};

/// [`onward_core::store::TransferRecord::task_status`] as SQL; the contract compares them.
const TRANSFER_STATUS: &str = "CASE
    WHEN EXISTS (SELECT 1 FROM holds h WHERE h.transfer = t.id AND h.closed IS NULL) THEN 'on-hold'
    WHEN t.not_sent IS NOT NULL OR EXISTS (SELECT 1 FROM deliveries c WHERE c.transfer = t.id AND c.kind <> 'sender'
        AND c.state IN ('failed', 'rejected')) THEN 'failed'
    WHEN NOT EXISTS (SELECT 1 FROM deliveries c WHERE c.transfer = t.id AND c.kind <> 'sender') THEN 'in-progress'
    WHEN NOT EXISTS (SELECT 1 FROM deliveries c WHERE c.transfer = t.id AND c.kind <> 'sender'
        AND c.state <> 'withdrawn') THEN 'cancelled'
    WHEN NOT EXISTS (SELECT 1 FROM deliveries c WHERE c.transfer = t.id AND c.kind <> 'sender'
        AND c.state NOT IN ('accepted', 'in-progress', 'completed')) THEN 'completed'
    ELSE 'in-progress' END";

/// Latest change of a transfer or of one of its copies.
const TRANSFER_CHANGED: &str =
    "max(t.changed, coalesce((SELECT max(c.changed) FROM deliveries c WHERE c.transfer = t.id), t.changed))";

pub(super) fn list(c: &Keyed<'_>, query: &TaskQuery) -> Result<Vec<FoundTask>, Failure> {
    let (arms, mut values) = arms(query, c.index(query.patient.as_ref()));
    if arms.is_empty() {
        return Ok(Vec::new());
    }
    values.push(query.limit.into());
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

pub(super) fn count(c: &Keyed<'_>, query: &TaskQuery) -> Result<u64, Failure> {
    let query = TaskQuery { after: None, ..query.clone() };
    let (arms, values) = arms(&query, c.index(query.patient.as_ref()));
    if arms.is_empty() {
        return Ok(0);
    }
    c.prepare_cached(&format!("SELECT count(*) AS tasks FROM ({})", arms.join(" UNION ALL ")))?
        .query_and_then(params_from_iter(values), |row| Columns::of("tasks", row).count("tasks"))?
        .next()
        .ok_or_else(|| Failure::corrupt("tasks", "count"))?
}

/// The parts of the list as SQL with their parameters; only fixed texts become SQL. `patient` is the index of the query's
/// person.
pub(super) fn arms(query: &TaskQuery, patient: Option<String>) -> (Vec<String>, Vec<Value>) {
    let (mut arms, mut values) = (Vec::new(), Vec::new());
    if query.transfers && query.recipient.is_none() && query.transfer.is_none() && query.kinds.is_empty() {
        let mut arm = Arm::new("SELECT 1 AS whole, t.id AS id, t.received AS created FROM transfers t");
        arm.shared(query, patient.clone(), ["t.sender", "t.patient", "t.received", "t.id"], TRANSFER_CHANGED);
        arm.one_of(TRANSFER_STATUS, query.statuses.iter().map(String::as_str));
        arm.end(&mut arms, &mut values);
    }
    let asked_for = |state: &&DeliveryState| query.statuses.iter().any(|status| status == state.task_status());
    let wanted: Vec<&str> = DeliveryState::ALL.iter().filter(asked_for).map(|state| state.as_str()).collect();
    // A status that no copy can have finds none.
    if query.copies && (query.statuses.is_empty() || !wanted.is_empty()) {
        let mut arm = Arm::new("SELECT 0 AS whole, d.id AS id, d.created AS created FROM deliveries d");
        arm.shared(query, patient, ["d.sender", "d.patient", "d.created", "d.id"], "d.changed");
        arm.equal("d.recipient", query.recipient.as_ref().map(ToString::to_string));
        arm.equal("d.transfer", query.transfer.map(|id| id.to_string()));
        let responses = RecipientKind::Sender.as_str().to_owned();
        arm.condition("d.kind <> ?".to_owned(), [responses.into()]);
        arm.one_of("d.kind", query.kinds.iter().map(|kind| kind.as_str()));
        arm.one_of("d.state", wanted.into_iter());
        arm.end(&mut arms, &mut values);
    }
    (arms, values)
}

struct Arm {
    select: &'static str,
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Arm {
    fn new(select: &'static str) -> Self {
        Self { select, conditions: vec!["1".to_owned()], values: Vec::new() }
    }

    fn shared(&mut self, query: &TaskQuery, index: Option<String>, columns: [&str; 4], changed: &str) {
        let [sender, patient, created, id] = columns;
        self.equal(sender, query.sender.as_ref().map(ToString::to_string));
        self.equal(patient, index);
        if let Some((at, after)) = query.after {
            self.condition(format!("({created}, {id}) > (?, ?)"), [micros(at).into(), after.to_string().into()]);
        }
        for when in &query.changed {
            match *when {
                Changed::Within { from, until } => {
                    if let Some(from) = from {
                        self.condition(format!("{changed} >= ?"), [micros(from).into()]);
                    }
                    if let Some(until) = until {
                        self.condition(format!("{changed} < ?"), [micros(until).into()]);
                    }
                }
                Changed::Outside { from, until } => self.condition(
                    format!("({changed} < ? OR {changed} >= ?)"),
                    [micros(from).into(), micros(until).into()],
                ),
            }
        }
    }

    fn equal(&mut self, column: &str, value: Option<String>) {
        if let Some(value) = value {
            self.condition(format!("{column} = ?"), [value.into()]);
        }
    }

    fn one_of<'v>(&mut self, column: &str, values: impl Iterator<Item = &'v str>) {
        let values: Vec<Value> = values.map(|value| value.to_owned().into()).collect();
        if !values.is_empty() {
            self.condition(format!("{column} IN ({})", vec!["?"; values.len()].join(", ")), values);
        }
    }

    fn condition(&mut self, condition: String, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition);
        self.values.extend(values);
    }

    fn end(self, arms: &mut Vec<String>, values: &mut Vec<Value>) {
        arms.push(format!("{} WHERE {}", self.select, self.conditions.join(" AND ")));
        values.extend(self.values);
    }
}
