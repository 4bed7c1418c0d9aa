//! What ends together when versions of a document end, the same for every engine.

use std::collections::BTreeSet;

use onward_core::state::RecipientKind;
use onward_core::store::{Ending, NewDelivery, Predecessor};
use onward_core::{DeliveryId, OdsCode, TransferId};

use crate::columns::{Columns, Corrupt};
use crate::stored::{json, micros};

/// Whether the transfer `t` came before what it replaces and waits for that in its open hold.
pub(crate) const WAITS: &str = "t.awaits IS NOT NULL AND t.replaces IS NULL
    AND EXISTS (SELECT 1 FROM holds o WHERE o.transfer = t.id AND o.closed IS NULL)
    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.transfer = t.id AND d.kind <> 'sender' AND d.notice_of IS NULL)";

/// The transfers of a sender (`?`) that came before what they replace, which has this name (`?`) and date (`?`), and do not wait for it,
/// what is still in force first.
pub(crate) fn successors() -> String {
    format!(
        "SELECT t.id FROM transfers t WHERE t.sender = ? AND t.awaits = ? AND t.replaces IS NULL
             AND (t.dated IS NULL OR t.dated >= coalesce(?, t.dated)) AND NOT ({WAITS})
         ORDER BY (t.ended IS NOT NULL OR t.not_sent IS NOT NULL), t.received, t.id"
    )
}

/// The transfers that wait for their document though it has come.
pub(crate) fn waiting_in_vain() -> String {
    format!(
        "SELECT h.id AS hold, t.id FROM transfers t JOIN holds h ON h.transfer = t.id
         WHERE {WAITS} AND h.closed IS NULL AND EXISTS (
             SELECT 1 FROM transfers p WHERE p.sender = t.sender AND p.id <> t.id
                 AND (p.document_id = t.awaits OR p.document_set_id = t.awaits)
                 AND (p.replaced_by IS NULL OR p.replaced_by = t.id)
                 AND (p.dated IS NULL OR t.dated IS NULL OR p.dated <= t.dated))
         ORDER BY t.received, t.id"
    )
}

/// Whether this may be joined with a transfer of this date that replaces it, as its predecessor.
pub(crate) fn may_precede(found: &Predecessor, transfer: TransferId, dated: Option<i64>) -> bool {
    found.replaced_by.is_none_or(|by| by == transfer)
        && !matches!((found.dated, dated), (Some(before), Some(now)) if micros(before) > now)
}

/// The copies of some versions that their recipients may still use.
#[derive(Default)]
pub(crate) struct InUse {
    live: BTreeSet<DeliveryId>,
    /// A later version took their place: they are read, marked.
    superseded: BTreeSet<DeliveryId>,
}

impl InUse {
    pub(crate) fn add(&mut self, copy: DeliveryId, live: bool) {
        if live {
            self.live.insert(copy)
        } else {
            self.superseded.insert(copy)
        };
    }

    /// Whether these ends are of every copy that is live, and of none that has ended for good.
    pub(crate) fn live_ones_end(&self, endings: &[Ending]) -> bool {
        let ends = ends(endings);
        self.live.is_subset(&ends) && ends.iter().all(|id| self.live.contains(id) || self.superseded.contains(id))
    }

    /// Whether these ends are of all, and of nothing else.
    pub(crate) fn all_end(&self, endings: &[Ending]) -> bool {
        ends(endings) == self.live.union(&self.superseded).copied().collect()
    }
}

fn ends(endings: &[Ending]) -> BTreeSet<DeliveryId> {
    endings.iter().map(|ending| ending.delivery).collect()
}

/// Who was told in one commit. Whoever got several versions is told once at each address, of the first that comes here.
#[derive(Default)]
pub(crate) struct Told(BTreeSet<(RecipientKind, OdsCode, String)>);

impl Told {
    /// Whether the recipient of this notice has had none yet there.
    pub(crate) fn is_first(&mut self, notice: &NewDelivery) -> bool {
        self.0.insert((notice.kind, notice.recipient.clone(), json(&notice.endpoint)))
    }
}

/// Whether there was an attempt to send the copy `d` to the address that it has: a late one, or one before it was away and came back.
pub(crate) const ATTEMPTED: &str =
    "(d.attempts > coalesce((SELECT max(f.attempt) FROM former_addresses f WHERE f.delivery = d.id), 0)
    OR EXISTS (SELECT 1 FROM former_addresses f WHERE f.delivery = d.id AND f.endpoint = d.endpoint))";

/// Whether somebody has leased the copy `d`.
pub(crate) const IS_SENDING: &str = "d.lease_token IS NOT NULL";

/// Where the copy `d` went, for [`has_gone_elsewhere`], with [`ATTEMPTED`] as `attempted`.
pub(crate) const WENT: &str = "d.endpoint, (SELECT count(*) FROM former_addresses f WHERE f.delivery = d.id) AS former";

/// Whether a copy has gone elsewhere since its end was prepared: whoever has it there would not be told. Of a row with [`WENT`].
pub(crate) fn has_gone_elsewhere(ending: &Ending, columns: &Columns<'_>) -> Result<bool, Corrupt> {
    let Some(went) = &ending.went else { return Ok(false) };
    let now = (columns.get::<String>("endpoint")?, columns.flag("attempted")?, columns.count("former")?);
    Ok(now != (json(&went.endpoint), went.attempted, went.former))
}

/// A row when `$1` is its document's newest version and, where `$2` says that it is to wait in a hold, neither ended nor in one.
pub(crate) const NEWEST: &str = "SELECT 1 AS newest FROM transfers t WHERE t.id = $1 AND t.replaced_by IS NULL
     AND (NOT $2 OR t.ended IS NULL AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.transfer = t.id AND h.closed IS NULL))";
