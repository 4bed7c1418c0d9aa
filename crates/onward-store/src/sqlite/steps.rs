//! What people at a recipient do with a copy, and the list that they start from.

use onward_core::audit::AuditRow;
use onward_core::store::{Arrival, ArrivalQuery, NewDelivery, Step, StepKind, Transition};
use onward_core::{DeliveryId, TransferId};
use rusqlite::{params, params_from_iter};

use super::failure::Failure;
use super::keyed::Keyed;
use super::{DIALECT, audit, deliveries, transfers};
use crate::columns::Columns;
use crate::stored::micros;
use crate::{query, rows};

pub(super) fn take(
    c: &Keyed<'_>,
    step: &Step,
    transition: Option<&Transition>,
    notices: &[NewDelivery],
    rows: &[AuditRow],
) -> Result<bool, Failure> {
    if let Some(transition) = transition
        && !deliveries::transition(c, transition)?
    {
        return Ok(false);
    }
    insert(c, step)?;
    if !notices.is_empty() {
        let transfer = c
            .prepare_cached("SELECT transfer FROM deliveries WHERE id = ?")?
            .query_and_then([step.delivery.to_string()], |row| -> Result<TransferId, Failure> {
                Ok(Columns::of("deliveries", row).parsed("transfer")?)
            })?
            .next()
            .ok_or_else(|| Failure::corrupt("deliveries", "transfer"))??;
        let origin = transfers::origin(c, transfer, step.at)?;
        for notice in notices {
            deliveries::insert(c, &origin, std::slice::from_ref(notice))?;
        }
    }
    audit::append(c, rows)?;
    Ok(true)
}

fn insert(c: &Keyed<'_>, step: &Step) -> Result<(), Failure> {
    let (delivery, at) = (step.delivery.to_string(), micros(step.at));
    let row = rows::step_row(&delivery, at, &step.user);
    let text = match &step.text {
        Some(text) => Some(c.seal_text(deliveries::key(c, &delivery)?, rows::of_step(&row), text)?),
        None => None,
    };
    c.prepare_cached(
        "INSERT INTO recipient_steps (delivery, kind, at, user, name, item, outcome, text)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        delivery,
        step.kind.as_str(),
        at,
        step.user,
        step.name,
        step.item,
        step.outcome.map(|outcome| outcome.as_str()),
        text,
    ])?;
    Ok(())
}

/// Keeps that a person opened a copy, once for each account.
pub(super) fn opened(c: &Keyed<'_>, step: &Step) -> Result<(), Failure> {
    let known = c
        .prepare_cached("SELECT 1 FROM recipient_steps WHERE delivery = ? AND kind = ? AND user = ?")?
        .exists(params![step.delivery.to_string(), StepKind::Opened.as_str(), step.user])?;
    if known { Ok(()) } else { insert(c, step) }
}

pub(super) fn of(c: &Keyed<'_>, delivery: DeliveryId) -> Result<Vec<Step>, Failure> {
    let (sql, values) = query::steps(delivery, &DIALECT);
    c.prepare_cached(&sql)?
        .query_and_then(params_from_iter(values), |row| {
            c.opened(|keys| rows::step(&Columns::of("recipient_steps", row), keys))
        })?
        .collect()
}

pub(super) fn arrivals(c: &Keyed<'_>, wanted: &ArrivalQuery) -> Result<Vec<Arrival>, Failure> {
    let Some((sql, values)) = query::arrivals(wanted, &DIALECT) else { return Ok(Vec::new()) };
    c.prepare_cached(&sql)?
        .query_and_then(params_from_iter(values), |row| {
            c.opened(|keys| rows::arrival(&Columns::of("arrivals", row), keys))
        })?
        .collect()
}

pub(super) fn card(c: &Keyed<'_>, delivery: DeliveryId) -> Result<Option<Vec<u8>>, Failure> {
    let found = c
        .prepare_cached("SELECT card FROM rendition_bodies WHERE delivery = ?")?
        .query_and_then([delivery.to_string()], |row| {
            c.opened(|keys| rows::card(&Columns::of("rendition_bodies", row), keys, delivery))
        })?
        .next()
        .transpose()?;
    Ok(found.flatten())
}
