//! Copies that took the place of earlier ones, of which somebody may have one where they do not go: they are told.

use std::sync::Arc;

use deadpool_postgres::Client;
use onward_core::DeliveryId;
use onward_core::store::{Ending, NoticeElsewhere, Readdressed, ToldElsewhere};
use uuid::Uuid;

use super::failure::Failure;
use super::work::Work;
use super::{deliveries, session};
use crate::columns::Columns;
use crate::query::resending::{
    ARRIVED, FORGET_READDRESSED, MARK_FOLLOWED, MARK_LINE, MARK_READDRESSED, READDRESSED, SUPERSEDED, TOLD_ELSEWHERE,
};
use crate::rows::addresses::readdressed;
use crate::stored::{json, micros, stored_count};

/// Whoever has a version whose place another took that may never have left is to be told by the one after it.
pub(super) async fn mark_line(c: &Client, endings: &[Ending]) -> Result<(), Failure> {
    for by in endings.iter().filter_map(|ending| ending.by) {
        session::execute(c, MARK_LINE, &[&by.0]).await?;
    }
    Ok(())
}

/// Copies that wait already take the place of one that came late, which may have gone elsewhere.
pub(super) async fn mark_heirs(c: &Client, endings: &[Ending]) -> Result<(), Failure> {
    for by in endings.iter().filter_map(|ending| ending.by) {
        mark(c, by.0).await?;
    }
    Ok(())
}

/// Keeps that a copy has followed its recipient.
pub(super) async fn mark_followed(c: &Client, copy: Uuid) -> Result<(), Failure> {
    session::execute(c, MARK_FOLLOWED, &[&copy]).await.map(drop)
}

/// Keeps that a copy has another address now, where it took the place of others.
pub(super) async fn mark(c: &Client, copy: Uuid) -> Result<(), Failure> {
    session::execute(c, MARK_READDRESSED, &[&copy]).await.map(drop)
}

pub(super) async fn has_arrived(c: &Client, copy: DeliveryId) -> Result<bool, Failure> {
    let found =
        session::first(c, ARRIVED, &[&copy.0]).await?.ok_or_else(|| Failure::corrupt("attempts", "delivery"))?;
    Ok(Columns::of("attempts", &found).flag("arrived")?)
}

pub(super) async fn marked(c: &Client, after: u64, limit: u32) -> Result<Vec<Readdressed>, Failure> {
    let found = session::all(c, READDRESSED, &[&stored_count(after), &i64::from(limit)]).await?;
    found.iter().map(|row| Ok(readdressed(&Columns::of("readdressed", row))?)).collect()
}

pub(super) async fn tell<'j>(work: &mut Work<'j>, told: &'j ToldElsewhere) -> Result<bool, Failure> {
    if session::execute(work.client(), FORGET_READDRESSED, &[&stored_count(told.mark)]).await? == 0 {
        return Ok(false);
    }
    if !told.notices.is_empty() {
        // Some may be of the same line, and no other notice of this transaction is there yet.
        work.needs_every_copy()?;
    }
    for notice in &told.notices {
        queue(work, notice, told).await?;
    }
    work.audit(&told.audit);
    Ok(true)
}

/// In a lane of its own: nothing of the recipient's waits for such a notice. The copy that it is about is held, so that
/// it does not end otherwise meanwhile.
async fn queue<'j>(
    work: &mut Work<'j>,
    NoticeElsewhere { notice, named }: &'j NoticeElsewhere,
    told: &ToldElsewhere,
) -> Result<(), Failure> {
    let of = notice.notice.as_ref().ok_or(Failure::Overtaken)?.of;
    let sql = format!("{SUPERSEDED} FOR UPDATE OF d");
    let found = session::first(work.client(), &sql, &[&micros(told.at), &of.0]).await?.ok_or(Failure::Overtaken)?;
    let address = json(&notice.endpoint);
    // By whoever looked at another mark of the same line meanwhile, and had this copy before.
    let before = session::first(work.client(), TOLD_ELSEWHERE, &[&address, &of.0]).await?;
    let before = before.ok_or_else(|| Failure::corrupt("deliveries", "notice_of"))?;
    {
        let columns = Columns::of("deliveries", &found);
        let is_being_sent = columns.flag("sending")? && columns.get::<String>("endpoint")? == address;
        let were_told = Columns::of("deliveries", &before).flag("told")?;
        if were_told || is_being_sent || *named && columns.flag("gone")? {
            return Err(Failure::Overtaken);
        }
    }
    let mut origin = deliveries::origin(work.client(), &found, told.at).await?;
    origin.behind = Some(notice.id.to_string());
    origin.patient = origin.patient.filter(|_| *named);
    work.queue(&Arc::new(origin), notice);
    Ok(())
}
