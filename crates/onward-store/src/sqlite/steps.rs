//! What people at a recipient do with a copy, and the list that they start from.

use onward_core::DeliveryId;
use onward_core::audit::AuditRow;
use onward_core::store::{Arrival, ArrivalQuery, Step, StepKind, Transition};
use rusqlite::{Connection, params, params_from_iter};

use super::failure::Failure;
use super::{DIALECT, audit, deliveries};
use crate::columns::Columns;
use crate::stored::micros;
use crate::{query, rows};

pub(super) fn take(
    c: &Connection,
    step: &Step,
    transition: Option<&Transition>,
    rows: &[AuditRow],
) -> Result<bool, Failure> {
    if let Some(transition) = transition
        && !deliveries::transition(c, transition)?
    {
        return Ok(false);
    }
    insert(c, step)?;
    audit::append(c, rows)?;
    Ok(true)
}

fn insert(c: &Connection, step: &Step) -> Result<(), Failure> {
    c.prepare_cached(
        "INSERT INTO recipient_steps (delivery, kind, at, user, name, item, outcome, text)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        step.delivery.to_string(),
        step.kind.as_str(),
        micros(step.at),
        step.user,
        step.name,
        step.item,
        step.outcome.map(|outcome| outcome.as_str()),
        step.text,
    ])?;
    Ok(())
}

/// Keeps that a person opened a copy, once for each account.
pub(super) fn opened(c: &Connection, step: &Step) -> Result<(), Failure> {
    let known = c
        .prepare_cached("SELECT 1 FROM recipient_steps WHERE delivery = ? AND kind = ? AND user = ?")?
        .exists(params![step.delivery.to_string(), StepKind::Opened.as_str(), step.user])?;
    if known { Ok(()) } else { insert(c, step) }
}

pub(super) fn of(c: &Connection, delivery: DeliveryId) -> Result<Vec<Step>, Failure> {
    c.prepare_cached(
        "SELECT kind, at, user, name, item, outcome, text FROM recipient_steps WHERE delivery = ? ORDER BY step",
    )?
    .query_and_then([delivery.to_string()], |row| Ok(rows::step(&Columns::of("recipient_steps", row), delivery)?))?
    .collect()
}

pub(super) fn arrivals(c: &Connection, wanted: &ArrivalQuery) -> Result<Vec<Arrival>, Failure> {
    let Some((sql, values)) = query::arrivals(wanted, &DIALECT) else { return Ok(Vec::new()) };
    c.prepare_cached(&sql)?
        .query_and_then(params_from_iter(values), |row| Ok(rows::arrival(&Columns::of("arrivals", row))?))?
        .collect()
}

pub(super) fn card(c: &Connection, delivery: DeliveryId) -> Result<Option<Vec<u8>>, Failure> {
    let found = c
        .prepare_cached("SELECT card FROM rendition_bodies WHERE delivery = ?")?
        .query_and_then([delivery.to_string()], |row| -> Result<_, Failure> {
            Ok(Columns::of("rendition_bodies", row).get::<Option<Vec<u8>>>("card")?)
        })?
        .next()
        .transpose()?;
    Ok(found.flatten())
}
