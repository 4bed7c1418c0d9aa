//! Copies that took the place of earlier ones and were given another address: whoever has an earlier one elsewhere is told.

use std::sync::Arc;

use deadpool_postgres::Client;
use onward_core::store::{NewDelivery, Readdressed, ToldElsewhere};
use uuid::Uuid;

use super::failure::Failure;
use super::work::Work;
use super::{deliveries, session};
use crate::columns::Columns;
use crate::query::resending::{FORGET_READDRESSED, MARK_READDRESSED, READDRESSED, superseded};
use crate::rows::addresses::readdressed;
use crate::stored::{json, stored_count};

/// Keeps that a copy has another address now, where it took the place of others. The caller holds it.
pub(super) async fn mark(c: &Client, copy: Uuid) -> Result<(), Failure> {
    session::execute(c, MARK_READDRESSED, &[&copy]).await.map(drop)
}

pub(super) async fn marked(c: &Client, limit: u32) -> Result<Vec<Readdressed>, Failure> {
    let found = session::all(c, READDRESSED, &[&i64::from(limit)]).await?;
    found.iter().map(|row| Ok(readdressed(&Columns::of("readdressed", row))?)).collect()
}

pub(super) async fn tell<'j>(work: &mut Work<'j>, told: &'j ToldElsewhere) -> Result<bool, Failure> {
    if session::execute(work.client(), FORGET_READDRESSED, &[&stored_count(told.mark)]).await? == 0 {
        return Ok(false);
    }
    for notice in &told.notices {
        queue(work, notice, told).await?;
    }
    work.audit(&told.audit);
    Ok(true)
}

/// Nothing of the recipient's waits for such a notice; it waits only for what is being sent there. The copy that it is about is held, so that
/// it does not end otherwise meanwhile.
async fn queue<'j>(work: &mut Work<'j>, notice: &'j NewDelivery, told: &ToldElsewhere) -> Result<(), Failure> {
    let of = notice.notice.as_ref().ok_or(Failure::Overtaken)?.of;
    let sql = format!("{} FOR UPDATE OF d", superseded());
    let found = session::first(work.client(), &sql, &[&of.0]).await?.ok_or(Failure::Overtaken)?;
    let (is_there, lane) = {
        let columns = Columns::of("deliveries", &found);
        let is_there = columns.get::<String>("endpoint")? == json(&notice.endpoint);
        let waits = is_there && columns.flag("sending")?;
        (is_there, if waits { columns.get("lane")? } else { notice.id.to_string() })
    };
    let mut origin = deliveries::origin(work.client(), &found, told.at).await?;
    origin.behind = Some(lane);
    origin.patient = origin.patient.filter(|_| is_there);
    work.queue(&Arc::new(origin), notice);
    Ok(())
}
