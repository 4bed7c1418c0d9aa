//! Closures of copies, beyond the moment of closing (`resending.rs`).

use onward_core::DeliveryId;
use rusqlite::params;

use super::deliveries;
use super::failure::Failure;
use super::keyed::Keyed;
use crate::columns::Columns;
use crate::query::closing::{CARRY, KEPT};
use crate::rows::resending::{closed, closure_row, of_closure};
use crate::stored::stored_count;

/// Carries a copy's closure along to its present version, if that was changed by what leaves it closed. A reason that cannot be read is left as
/// it is: that keeps nobody from the copy.
pub(super) fn carry(c: &Keyed<'_>, delivery: DeliveryId) -> Result<(), Failure> {
    let id = delivery.to_string();
    let found = c
        .prepare_cached(KEPT)?
        .query_and_then([&id], |row| -> Result<_, Failure> {
            let columns = Columns::of("closures", row);
            let closure = c.opened(|keys| closed(&columns, keys));
            Ok((columns.count("version")?, columns.get::<Option<String>>("words")?, closure))
        })?
        .next()
        .transpose()?;
    let Some((version, sealed, closure)) = found else { return Ok(()) };
    let reason = match closure {
        Ok(closure) => closure.reason,
        Err(Failure::Corrupt(_)) => None,
        Err(failure) => return Err(failure),
    };
    let words = match reason {
        Some(reason) => {
            let row = closure_row(&id, version + 1);
            Some(c.seal_text(deliveries::key(c, &id)?, of_closure(&row), &reason)?)
        }
        None => sealed,
    };
    c.prepare_cached(CARRY)?.execute(params![stored_count(version + 1), words, id, stored_count(version)])?;
    Ok(())
}
