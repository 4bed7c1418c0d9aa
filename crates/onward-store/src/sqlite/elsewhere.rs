//! Copies that took the place of earlier ones, of which somebody may have one where they do not go: they are told.

use onward_core::DeliveryId;
use onward_core::store::{Ending, NoticeElsewhere, Readdressed, ToldElsewhere};
use rusqlite::params;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{audit, deliveries};
use crate::columns::Columns;
use crate::query::resending::{
    ARRIVED, FORGET_READDRESSED, MARK_FOLLOWED, MARK_LINE, MARK_READDRESSED, READDRESSED, SUPERSEDED, TOLD_ELSEWHERE,
};
use crate::rows::Origin;
use crate::rows::addresses::readdressed;
use crate::stored::{json, micros, stored_count};

/// Whoever has a version whose place another took that may never have left is to be told by the one after it.
pub(super) fn mark_line(c: &Keyed<'_>, endings: &[Ending]) -> Result<(), Failure> {
    for by in endings.iter().filter_map(|ending| ending.by) {
        c.prepare_cached(MARK_LINE)?.execute([by.to_string()])?;
    }
    Ok(())
}

/// Copies that wait already take the place of one that came late, which may have gone elsewhere.
pub(super) fn mark_heirs(c: &Keyed<'_>, endings: &[Ending]) -> Result<(), Failure> {
    endings.iter().filter_map(|ending| ending.by).try_for_each(|by| mark(c, &by.to_string()))
}

/// Keeps that a copy has followed its recipient.
pub(super) fn mark_followed(c: &Keyed<'_>, copy: &str) -> Result<(), Failure> {
    c.prepare_cached(MARK_FOLLOWED)?.execute([copy])?;
    Ok(())
}

/// Keeps that a copy has another address now, where it took the place of others.
pub(super) fn mark(c: &Keyed<'_>, copy: &str) -> Result<(), Failure> {
    c.prepare_cached(MARK_READDRESSED)?.execute([copy])?;
    Ok(())
}

pub(super) fn has_arrived(c: &Keyed<'_>, copy: DeliveryId) -> Result<bool, Failure> {
    Ok(c.prepare_cached(ARRIVED)?.query_row([copy.to_string()], |row| row.get(0))?)
}

pub(super) fn marked(c: &Keyed<'_>, after: u64, limit: u32) -> Result<Vec<Readdressed>, Failure> {
    c.prepare_cached(READDRESSED)?
        .query_and_then(params![stored_count(after), limit], |row| Ok(readdressed(&Columns::of("readdressed", row))?))?
        .collect()
}

pub(super) fn tell(c: &Keyed<'_>, told: &ToldElsewhere) -> Result<bool, Failure> {
    if c.prepare_cached(FORGET_READDRESSED)?.execute([stored_count(told.mark)])? == 0 {
        return Ok(false);
    }
    for notice in &told.notices {
        queue(c, notice, told)?;
    }
    audit::append(c, &told.audit)?;
    Ok(true)
}

/// In a lane of its own: nothing of the recipient's waits for such a notice.
fn queue(
    c: &Keyed<'_>,
    NoticeElsewhere { notice, named }: &NoticeElsewhere,
    told: &ToldElsewhere,
) -> Result<(), Failure> {
    let of = notice.notice.as_ref().ok_or(Failure::Overtaken)?.of.to_string();
    // By whoever looked at another mark of the same line meanwhile.
    let address = json(&notice.endpoint);
    if c.prepare_cached(TOLD_ELSEWHERE)?.query_row(params![address, of], |row| row.get(0))? {
        return Err(Failure::Overtaken);
    }
    let found = c
        .prepare_cached(SUPERSEDED)?
        .query_and_then(params![micros(told.at), of], |row| {
            let columns = Columns::of("deliveries", row);
            let is_being_sent = columns.flag("sending")? && columns.get::<String>("endpoint")? == address;
            if is_being_sent || *named && columns.flag("gone")? {
                return Err(Failure::Overtaken);
            }
            let transfer = columns.parsed("transfer")?;
            let mut origin = c.opened(|keys| Origin::of(&columns, keys, transfer, told.at))?;
            origin.behind = Some(notice.id.to_string());
            origin.patient = origin.patient.filter(|_| *named);
            Ok::<_, Failure>(origin)
        })?
        .next()
        .transpose()?;
    deliveries::insert(c, &found.ok_or(Failure::Overtaken)?, std::slice::from_ref(notice))
}
