//! Copies about which PDS is asked again, as SQL that both engines read, with `$1`, `$2` … in the order of their first use.

use crate::rows::DELIVERY;

/// [`onward_core::store::DeliveryRecord::asks_for_retrace`], as the index `deliveries_retraceable` has it; the contract compares them.
const ASKS: &str = "kind = 'registered-practice' AND notice_of IS NULL AND ended IS NULL
        AND (closed IS NULL OR closed <> version)
        AND (state = 'failed' AND code IN ('EPL-150', 'EPL-151', 'EPL-152', 'EPL-153', 'EPL-154')
            OR state = 'rejected' AND code IN ('30002', '30003'))";
/// Nothing stands in the way of it for the transfer `t`.
const MAY: &str =
    "t.retraced IS NULL AND t.replaced_by IS NULL AND t.ended IS NULL AND t.patient IS NOT NULL AND t.erased IS NULL
        AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.transfer = t.id AND h.closed IS NULL)";

/// Copies changed since `$1`, at most `$2`.
pub(crate) fn waiting() -> String {
    format!(
        "SELECT {DELIVERY} FROM deliveries WHERE {ASKS} AND changed >= $1
             AND EXISTS (SELECT 1 FROM transfers t WHERE t.id = deliveries.transfer AND {MAY})
         ORDER BY changed, id LIMIT $2"
    )
}

/// Notes at `$1` that it was done because of the copy `$2` of version `$3`, where it may be; gives the transfer.
pub(crate) fn note() -> String {
    format!(
        "UPDATE transfers AS t SET retraced = $1, changed = $1
         WHERE t.id = (SELECT d.transfer FROM deliveries d WHERE d.id = $2 AND d.version = $3 AND {ASKS}) AND {MAY}
         RETURNING id"
    )
}

/// Gives at `$1` the reason `$2`, where it is none that is sealed, to the copy `$3`; and its state.
pub(crate) const STAYS: &str = "UPDATE deliveries SET changed = $1, version = version + 1, words = NULL,
         reason = CASE WHEN state = 'failed' THEN CAST($2 AS TEXT) END
     WHERE id = $3 RETURNING state";
