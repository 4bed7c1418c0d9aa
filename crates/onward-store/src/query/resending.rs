//! Copies that people decide about: sent again, gone along with a changed address, or closed.

use super::{Dialect, not_closed, unprocessed};

/// Closes at the first parameter the copy of the second, if it is dead and of the version of the third; gives its version from then on.
pub(crate) fn close(dialect: &Dialect) -> String {
    let mark = dialect.parameter;
    format!(
        "UPDATE deliveries SET version = version + 1, closed = version + 1, changed = {mark}1
         WHERE id = {mark}2 AND version = {mark}3 AND (state = 'failed' OR {}) AND {} RETURNING version",
        unprocessed(""),
        not_closed("")
    )
}

/// [`onward_core::store::ResendStore::left_since`]: the copy is `$1`. Led by the person's few copies, or by the transfer's.
pub(crate) fn left_since() -> String {
    let younger =
        "d.lane = own.lane AND d.recipient = own.recipient AND d.kind = own.kind AND d.sequence > own.sequence
         AND d.notice_of IS NULL AND d.state NOT IN ('queued', 'failed')
         AND (d.state <> 'withdrawn' OR d.attempts > 0 OR d.opened IS NOT NULL)";
    format!(
        "SELECT count(*) AS n FROM (
             SELECT d.id FROM deliveries own JOIN deliveries d ON d.patient = own.patient AND {younger} WHERE own.id = $1
             UNION ALL SELECT d.id FROM deliveries own JOIN deliveries d ON d.transfer = own.transfer AND {younger}
                 WHERE own.id = $1 AND own.patient IS NULL
         ) younger"
    )
}

/// The address that is stored with the copy `$1`, and whose it is.
pub(crate) const ADDRESS: &str = "SELECT recipient, endpoint FROM deliveries WHERE id = $1";

/// To `$1` go the queued copies of the recipient `$2` that are stored with the address `$3` and that nobody has leased at `$4`. A notice
/// stays with the address that has what it is about. Where MESH finds the new address by the person (`$5`), only what tells of the person to
/// their own practice goes.
pub(crate) const MOVE_ALONG: &str = "UPDATE deliveries SET endpoint = $1
     WHERE recipient = $2 AND state = 'queued' AND kind <> 'sender' AND notice_of IS NULL AND endpoint = $3
         AND (lease_until IS NULL OR lease_until <= $4) AND (NOT $5 OR kind = 'registered-practice')";

/// Queues a copy again: parameter 1 is the moment, 2 the copy, 3 what a replay is labelled with, 4 whether it is one, 5 whether it is one
/// of many, 6 the moment by the clock by which copies become due, 7 its address, if that is another than before. What an answer said of it is
/// its history's. A response is completed by its hand-over, and so can be repeated then.
pub(crate) fn requeue(dialect: &Dialect) -> String {
    let mark = dialect.parameter;
    // What failed, and what was not processed. What a person took care of since goes once more only if a person says so of it alone, and
    // labelled as a repeat.
    let failed = format!("(state = 'failed' OR {})", unprocessed(""));
    let dead = format!("({failed} AND {})", not_closed(""));
    // Nothing is queued without its content.
    let body = dialect.body_of_delivery.replace("d.", "deliveries.");
    format!(
        "UPDATE deliveries SET state = 'queued', version = version + 1, next_attempt = {mark}6, changed = {mark}1,
             endpoint = coalesce({mark}7, endpoint), code = CASE WHEN state = 'rejected' THEN NULL ELSE code END,
             words = CASE WHEN state = 'rejected' THEN NULL ELSE words END,
             replay = CASE WHEN {mark}4 THEN {mark}3 ELSE replay END
         WHERE id = {mark}2 AND erased IS NULL AND EXISTS (SELECT 1 FROM rendition_bodies b WHERE {body})
             AND CASE WHEN {mark}5 THEN {dead}
                 WHEN {mark}4 THEN {failed} OR state = 'sent' OR kind = 'sender' AND state = 'completed'
                 ELSE {dead} OR state = 'queued' AND next_attempt > {mark}6 END"
    )
}
