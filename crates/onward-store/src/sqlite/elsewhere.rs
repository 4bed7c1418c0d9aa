//! Copies that took the place of earlier ones and were given another address: whoever has an earlier one elsewhere is told.

use onward_core::store::{NewDelivery, Readdressed, ToldElsewhere};
use rusqlite::params;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{audit, deliveries};
use crate::columns::Columns;
use crate::query::resending::{FORGET_READDRESSED, MARK_READDRESSED, READDRESSED, superseded};
use crate::rows::Origin;
use crate::rows::addresses::readdressed;
use crate::stored::{json, stored_count};

/// Keeps that a copy has another address now, where it took the place of others.
pub(super) fn mark(c: &Keyed<'_>, copy: &str) -> Result<(), Failure> {
    c.prepare_cached(MARK_READDRESSED)?.execute([copy])?;
    Ok(())
}

pub(super) fn marked(c: &Keyed<'_>, limit: u32) -> Result<Vec<Readdressed>, Failure> {
    c.prepare_cached(READDRESSED)?
        .query_and_then([limit], |row| Ok(readdressed(&Columns::of("readdressed", row))?))?
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

/// Nothing of the recipient's waits for such a notice; it waits only for what is being sent there.
fn queue(c: &Keyed<'_>, notice: &NewDelivery, told: &ToldElsewhere) -> Result<(), Failure> {
    let of = notice.notice.as_ref().ok_or(Failure::Overtaken)?.of.to_string();
    let found = c
        .prepare_cached(&superseded())?
        .query_and_then(params![of], |row| {
            let columns = Columns::of("deliveries", row);
            let transfer = columns.parsed("transfer")?;
            let mut origin = c.opened(|keys| Origin::of(&columns, keys, transfer, told.at))?;
            let is_there = columns.get::<String>("endpoint")? == json(&notice.endpoint);
            let waits = is_there && columns.flag("sending")?;
            origin.behind = Some(if waits { columns.get("lane")? } else { notice.id.to_string() });
            origin.patient = origin.patient.filter(|_| is_there);
            Ok::<_, Failure>(origin)
        })?
        .next()
        .transpose()?;
    deliveries::insert(c, &found.ok_or(Failure::Overtaken)?, std::slice::from_ref(notice))
}
