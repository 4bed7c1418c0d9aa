//! What people at a recipient do with a copy, and the list that they start from.

use onward_core::DeliveryId;
use onward_core::audit::AuditRow;
use onward_core::store::{Arrival, ArrivalQuery, Step, StepKind, Transition};
use rusqlite::types::Value;
use rusqlite::{params, params_from_iter};

use super::columns::{Columns, micros};
use super::failure::Failure;
use super::keyed::Keyed;
use super::{audit, deliveries};
use crate::sealing::Place;

/// The list; the recipients' placeholders and the further conditions go in between.
const ARRIVALS: &str = "t.expected AS expected, b.card AS card,
         (SELECT count(*) FROM recipient_steps s
          WHERE s.delivery = d.id AND s.kind = 'checked' AND s.outcome <> 'problem'
              AND NOT EXISTS (SELECT 1 FROM recipient_steps later
                  WHERE later.delivery = s.delivery AND later.kind = 'checked' AND later.item = s.item
                      AND later.step > s.step)) AS settled
     FROM deliveries d JOIN transfers t ON t.id = d.transfer LEFT JOIN rendition_bodies b ON b.delivery = d.id";
/// What needs nobody any more.
const CLOSED: &str = "('completed', 'rejected', 'withdrawn')";

pub(super) fn take(
    c: &Keyed<'_>,
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

fn insert(c: &Keyed<'_>, step: &Step) -> Result<(), Failure> {
    let (delivery, at) = (step.delivery.to_string(), micros(step.at));
    let row = row(&delivery, at, &step.user);
    let text = match &step.text {
        Some(text) => Some(c.seal_text(deliveries::key(c, &delivery)?, place(&row), text)?),
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

/// What names a step before it has a number.
pub(super) fn row(delivery: &str, at: i64, user: &str) -> String {
    format!("{delivery} {at} {user}")
}

pub(super) fn place(row: &str) -> Place<'_> {
    Place::new("recipient_steps", "text", row)
}

/// Keeps that a person opened a copy, once for each account.
pub(super) fn opened(c: &Keyed<'_>, step: &Step) -> Result<(), Failure> {
    let known = c
        .prepare_cached("SELECT 1 FROM recipient_steps WHERE delivery = ? AND kind = ? AND user = ?")?
        .exists(params![step.delivery.to_string(), StepKind::Opened.as_str(), step.user])?;
    if known { Ok(()) } else { insert(c, step) }
}

pub(super) fn of(c: &Keyed<'_>, delivery: DeliveryId) -> Result<Vec<Step>, Failure> {
    c.prepare_cached(
        "SELECT kind, at, user, name, item, outcome, text FROM recipient_steps WHERE delivery = ? ORDER BY step",
    )?
    .query_and_then([delivery.to_string()], |row| {
        let columns = Columns::of("recipient_steps", row);
        let user: String = columns.get("user")?;
        let name = self::row(&delivery.to_string(), columns.get("at")?, &user);
        let text = match columns.get::<Option<String>>("text")?.map(|text| c.open_text(place(&name), &text)) {
            Some(Err(Failure::Erased)) => None,
            other => other.transpose()?,
        };
        Ok(Step {
            delivery,
            kind: columns.parsed("kind")?,
            at: columns.moment("at")?,
            user,
            name: columns.get("name")?,
            item: columns.get("item")?,
            outcome: columns.parsed_opt("outcome")?,
            text,
        })
    })?
    .collect()
}

pub(super) fn arrivals(c: &Keyed<'_>, query: &ArrivalQuery) -> Result<Vec<Arrival>, Failure> {
    if query.recipients.is_empty() {
        return Ok(Vec::new());
    }
    let recipients = vec!["?"; query.recipients.len()].join(", ");
    let open = if query.open_only { format!(" AND d.state NOT IN {CLOSED}") } else { String::new() };
    let columns = deliveries::DELIVERY.split(", ").map(|name| format!("d.{name}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT {columns}, {ARRIVALS} WHERE d.recipient IN ({recipients}) AND d.kind = ? AND d.created >= ?{open}
         ORDER BY d.created DESC, d.id LIMIT ?"
    );
    let recipients = query.recipients.iter().map(|ods| Value::from(ods.to_string()));
    let values =
        recipients.chain([Value::from(query.kind.as_str().to_owned()), micros(query.since).into(), query.limit.into()]);
    c.prepare_cached(&sql)?
        .query_and_then(params_from_iter(values), |row| {
            let columns = Columns::of("arrivals", row);
            let copy = deliveries::record(c, row)?;
            let card = columns.get::<Option<Vec<u8>>>("card")?.filter(|_| !copy.erased);
            let id = copy.id.to_string();
            Ok(Arrival {
                copy,
                expected: columns.moment_opt("expected")?,
                card: card.map(|card| c.open(deliveries::place("card", &id), &card)).transpose()?,
                settled: columns.count("settled")?,
            })
        })?
        .collect()
}

pub(super) fn card(c: &Keyed<'_>, delivery: DeliveryId) -> Result<Option<Vec<u8>>, Failure> {
    let found = c
        .prepare_cached("SELECT card FROM rendition_bodies WHERE delivery = ?")?
        .query_and_then([delivery.to_string()], |row| {
            Columns::of("rendition_bodies", row).get::<Option<Vec<u8>>>("card")
        })?
        .next()
        .transpose()?;
    let id = delivery.to_string();
    found.flatten().map(|card| c.open(deliveries::place("card", &id), &card)).transpose()
}
