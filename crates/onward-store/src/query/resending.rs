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

/// Which copies of a recipient wait for it at an address: `d` by the text of its endpoint. A notice stays with the address that has what it is
/// about, and a response to a sender is for no entry's address.
pub(crate) const WAITS_FOR_IT: &str = "d.state = 'queued' AND d.kind <> 'sender' AND d.notice_of IS NULL";

/// Keeps that to the address `$1` went what attempts there were of the copy `$2`.
pub(crate) const FORMERLY: &str = "INSERT INTO former_addresses (delivery, attempt, endpoint)
     SELECT id, attempts, $1 FROM deliveries WHERE id = $2 AND attempts > 0 ON CONFLICT DO NOTHING";

/// Marks the copy `$1`, which goes elsewhere than was known, where it took the place of others.
pub(crate) const MARK_READDRESSED: &str =
    "INSERT INTO readdressed (delivery) SELECT DISTINCT ended_by FROM deliveries WHERE ended_by = $1";

/// Marks the copy `$1`, which follows its recipient; what is just taking its place among versions may not be seen yet.
pub(crate) const MARK_FOLLOWED: &str = "INSERT INTO readdressed (delivery) VALUES ($1)";

/// Marks the copy `$1` where one whose place it takes had taken another's and is not known to have arrived.
pub(crate) const MARK_LINE: &str = "INSERT INTO readdressed (delivery) SELECT DISTINCT d.ended_by FROM deliveries d
     JOIN deliveries o ON o.ended_by = d.id WHERE d.ended_by = $1 AND o.ended = 'superseded'
         AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.delivery = d.id AND a.outcome = 'sent')";

/// Such copies after the mark `$1`, `$2` at most.
pub(crate) const READDRESSED: &str = "SELECT mark, delivery FROM readdressed WHERE mark > $1 ORDER BY mark LIMIT $2";

/// Forgets the mark `$1`.
pub(crate) const FORGET_READDRESSED: &str = "DELETE FROM readdressed WHERE mark = $1";

/// What a notice needs, at the moment `$1`, of the superseded copy `$2` that it is about.
pub(crate) const SUPERSEDED: &str = "SELECT transfer, sender, patient, erased, erased IS NOT NULL AS gone, endpoint,
         coalesce(lease_until > $1, FALSE) AS sending
     FROM deliveries d WHERE id = $2 AND ended = 'superseded'";

/// Whether a notice to the address `$1` says that another took the place of the copy `$2`. It is of the same transfer.
pub(crate) const TOLD_ELSEWHERE: &str = "SELECT EXISTS (SELECT 1 FROM deliveries n WHERE n.endpoint = $1
         AND n.transfer = (SELECT transfer FROM deliveries WHERE id = $2) AND n.notice_of = $2 AND n.notice_why = 'superseded') AS told";

/// Whether the copy `$1` came to where it goes now.
pub(crate) const ARRIVED: &str =
    "SELECT EXISTS (SELECT 1 FROM attempts a WHERE a.delivery = $1 AND a.outcome = 'sent' AND a.attempt >
     coalesce((SELECT max(f.attempt) FROM former_addresses f WHERE f.delivery = $1), 0)) AS arrived";

/// Gives the address `$1` to the copy `$2`, whose lease has ended.
pub(crate) const READDRESS: &str =
    "UPDATE deliveries SET endpoint = $1, lease_token = NULL, lease_until = NULL WHERE id = $2";

/// Copies that wait, by a condition on `d.id`, each with the present entry of its recipient, which may be at another address.
pub(crate) fn with_entries(condition: &str) -> String {
    format!(
        "SELECT d.id, d.recipient, d.kind, d.endpoint, e.entry FROM deliveries d JOIN directory_entries e ON e.ods = d.recipient
             AND e.version = (SELECT max(version) FROM directory_entries WHERE ods = d.recipient)
         WHERE d.id {condition} AND {WAITS_FOR_IT}"
    )
}

/// Every entry that the organisation `$1` has had, the present one first.
pub(crate) const ENTRIES: &str = "SELECT entry FROM directory_entries WHERE ods = $1 ORDER BY version DESC";

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
