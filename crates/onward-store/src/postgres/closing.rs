//! Closures of copies, beyond the moment of closing (`resending.rs`).

use onward_core::DeliveryId;

use super::deliveries;
use super::failure::Failure;
use super::keyed::Keyed;
use super::session;
use crate::columns::Columns;
use crate::query::closing::{CARRY, KEPT};
use crate::rows::resending::{closed, closure_row, of_closure};
use crate::stored::stored_count;

/// Carries a copy's closure along to its present version, if that was changed by what leaves it closed. A reason that cannot be read is left as
/// it is: that keeps nobody from the copy.
pub(super) async fn carry(c: &Keyed, delivery: DeliveryId) -> Result<(), Failure> {
    let Some(found) = session::first(c, KEPT, &[&delivery.0]).await? else { return Ok(()) };
    let version: u64 = Columns::of("closures", &found).count("version")?;
    let sealed: Option<String> = Columns::of("closures", &found).get("words")?;
    let closure = c.opened_one(Some(&found), |row, keys| closed(&Columns::of("closures", row), keys)).await;
    let reason = match closure {
        Ok(closure) => closure.and_then(|closure| closure.reason),
        Err(Failure::Corrupt(_)) => None,
        Err(failure) => return Err(failure),
    };
    let words = match reason {
        Some(reason) => {
            let row = closure_row(&delivery.to_string(), version + 1);
            let key = deliveries::key(c, delivery).await?;
            Some(c.keys().seal_text(key, of_closure(&row), &reason)?)
        }
        None => sealed,
    };
    let (next, version) = (stored_count(version + 1), stored_count(version));
    session::execute(c, CARRY, &[&next, &words, &delivery.0, &version]).await?;
    Ok(())
}
