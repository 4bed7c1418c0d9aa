//! What people at a recipient do with a copy, and the list that they start from.

use deadpool_postgres::Client;
use onward_core::DeliveryId;
use onward_core::audit::AuditRow;
use onward_core::store::{Arrival, ArrivalQuery, NewDelivery, Step, StepKind, Transition};
use tokio_postgres::Row;

use super::failure::Failure;
use super::keyed::Keyed;
use super::work::Work;
use super::{DIALECT, deliveries, lifecycle, session, transfers};
use crate::columns::Columns;
use crate::sealing::Keychain;
use crate::stored::micros;
use crate::{query, rows};

/// A step with what follows from it.
pub(super) struct Taken {
    pub(super) step: Step,
    pub(super) transition: Option<Transition>,
    pub(super) notices: Vec<NewDelivery>,
    pub(super) audit: Vec<AuditRow>,
}

pub(super) async fn take<'j>(work: &mut Work<'j>, taken: &'j Taken) -> Result<bool, Failure> {
    // Notices change the transfer, which is locked before its copies.
    let transfer = if taken.notices.is_empty() {
        None
    } else {
        let sql = "SELECT transfer FROM deliveries WHERE id = $1";
        let found = session::first(work.client(), sql, &[&taken.step.delivery.0]).await?;
        let row = found.ok_or_else(|| Failure::corrupt("deliveries", "transfer"))?;
        let transfer = Columns::of("deliveries", &row).parsed("transfer")?;
        lifecycle::lock(work.client(), transfer).await?;
        Some(transfer)
    };
    if let Some(transition) = &taken.transition
        && !deliveries::transition(work, transition).await?
    {
        return Ok(false);
    }
    lock(work.client(), taken.step.delivery).await?;
    insert(work.client(), &taken.step).await?;
    if let Some(transfer) = transfer {
        let origin = transfers::origin(work.client(), transfer, taken.step.at).await?;
        for notice in &taken.notices {
            work.queue(&origin, notice);
        }
    }
    work.audit(&taken.audit);
    Ok(true)
}

/// Holds the copy's row, so that its steps are counted by one at a time.
async fn lock(c: &Client, delivery: DeliveryId) -> Result<(), Failure> {
    session::first(c, "SELECT id FROM deliveries WHERE id = $1 FOR UPDATE", &[&delivery.0]).await?;
    Ok(())
}

async fn insert(c: &Keyed, step: &Step) -> Result<(), Failure> {
    let row = rows::step_row(&step.delivery.to_string(), micros(step.at), &step.user);
    let text = match &step.text {
        Some(text) => {
            let key = deliveries::key(c, step.delivery).await?;
            Some(c.keys().seal_text(key, rows::of_step(&row), text)?)
        }
        None => None,
    };
    session::execute(
        c,
        "INSERT INTO recipient_steps (delivery, step, kind, at, account, name, item, outcome, text)
         VALUES ($1, (SELECT coalesce(max(step) + 1, 0) FROM recipient_steps WHERE delivery = $1), $2, $3, $4, $5, $6, $7, $8)",
        &[
            &step.delivery.0,
            &step.kind.as_str(),
            &micros(step.at),
            &step.user,
            &step.name,
            &step.item,
            &step.outcome.map(|outcome| outcome.as_str()),
            &text,
        ],
    )
    .await?;
    Ok(())
}

/// Keeps that a person opened a copy, once for each account.
pub(super) async fn opened(c: &Keyed, step: &Step) -> Result<(), Failure> {
    lock(c, step.delivery).await?;
    let sql = "SELECT step FROM recipient_steps WHERE delivery = $1 AND kind = $2 AND account = $3";
    let known = session::first(c, sql, &[&step.delivery.0, &StepKind::Opened.as_str(), &step.user]).await?;
    if known.is_some() { Ok(()) } else { insert(c, step).await }
}

pub(super) async fn of(c: &Keyed, delivery: DeliveryId) -> Result<Vec<Step>, Failure> {
    let (sql, values) = query::steps(delivery, &DIALECT);
    let steps = deliveries::search(c, &sql, &values).await?;
    c.opened(&steps, |row, keys| rows::step(&Columns::of("recipient_steps", row), keys)).await
}

pub(super) async fn arrivals(c: &Keyed, wanted: &ArrivalQuery) -> Result<Vec<Arrival>, Failure> {
    let Some((sql, values)) = query::arrivals(wanted, &DIALECT) else { return Ok(Vec::new()) };
    let found = deliveries::search(c, &sql, &values).await?;
    c.opened(&found, |row, keys| rows::arrival(&Columns::of("arrivals", row), keys)).await
}

pub(super) async fn card(c: &Keyed, delivery: DeliveryId) -> Result<Option<Vec<u8>>, Failure> {
    let found = session::first(
        c,
        "SELECT b.card FROM deliveries d JOIN rendition_bodies b ON b.delivery = d.id AND b.month = d.month WHERE d.id = $1",
        &[&delivery.0],
    )
    .await?;
    let read = |row: &Row, keys: &Keychain| rows::card(&Columns::of("rendition_bodies", row), keys, delivery);
    Ok(c.opened_one(found.as_ref(), read).await?.flatten())
}
