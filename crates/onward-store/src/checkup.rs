//! `fsck`: does everything add up? Each rule is one statement over the whole store, the same for every engine.

use onward_core::store::{Checkup, Flaw};

use crate::columns::{Columns, Corrupt};
use crate::query::{not_closed, unprocessed};

/// Each transfer once: ended, else parked, else pending, else ended by a person who took care of a copy that did not arrive, else delivered. Joins and no subqueries in the CASE, so that no engine looks
/// anything up for each row.
pub(crate) fn transfers() -> String {
    let (unprocessed, open) = (unprocessed(""), not_closed(""));
    format!(
        "SELECT
            CASE
                WHEN t.ended IS NOT NULL OR t.not_sent IS NOT NULL THEN 'ended'
                WHEN h.transfer IS NOT NULL OR d.failed > 0 THEN 'parked'
                WHEN d.queued > 0 THEN 'pending'
                WHEN d.closed > 0 THEN 'ended'
                WHEN d.own > 0 THEN 'delivered'
                ELSE 'lost'
            END AS place, count(*) AS n
         FROM transfers t
         LEFT JOIN (SELECT DISTINCT transfer FROM holds WHERE closed IS NULL) h ON h.transfer = t.id
         LEFT JOIN (SELECT transfer, count(CASE WHEN (state = 'failed' OR {unprocessed}) AND {open} THEN 1 END) AS failed,
                 count(CASE WHEN closed = version AND notice_of IS NULL THEN 1 END) AS closed,
                 count(CASE WHEN state = 'queued' THEN 1 END) AS queued, count(CASE WHEN notice_of IS NULL THEN 1 END) AS own
             FROM deliveries WHERE kind <> 'sender' GROUP BY transfer) d ON d.transfer = t.id
         GROUP BY place"
    )
}

/// Rule, and a statement that gives an identifier for every row that breaks it. What is compared are sets (EXCEPT) or what an engine
/// joins as such (NOT EXISTS on plain columns): PostgreSQL looks through a list behind NOT IN for each row once it is long.
pub(crate) const RULES: &[(&str, &str)] = &[
    (
        "every transfer has a copy, an open hold, or an end with a reason",
        "SELECT id AS flaw FROM transfers WHERE ended IS NULL AND not_sent IS NULL
         EXCEPT SELECT transfer FROM deliveries WHERE kind <> 'sender' AND notice_of IS NULL
         EXCEPT SELECT transfer FROM holds WHERE closed IS NULL",
    ),
    (
        "every acceptance is in the audit log",
        "SELECT CAST(id AS TEXT) AS flaw FROM transfers
         EXCEPT SELECT transfer FROM audit_log WHERE word = 'accept' AND transfer IS NOT NULL",
    ),
    (
        "every acceptance of the audit log has its transfer",
        "SELECT transfer AS flaw FROM audit_log WHERE word = 'accept' AND transfer IS NOT NULL
         EXCEPT SELECT CAST(id AS TEXT) FROM transfers",
    ),
    (
        "every copy that left is in the audit log",
        "SELECT CAST(id AS TEXT) AS flaw FROM deliveries WHERE state NOT IN ('queued', 'failed', 'withdrawn')
         EXCEPT SELECT delivery FROM audit_log WHERE delivery IS NOT NULL
             AND word IN ('disclose', 'read', 'respond', 'acknowledge', 'attempt-failed', 'delivery-failed')",
    ),
    (
        "every opened copy has its reading in the audit log",
        "SELECT CAST(id AS TEXT) AS flaw FROM deliveries WHERE opened IS NOT NULL
         EXCEPT SELECT delivery FROM audit_log WHERE word = 'read' AND delivery IS NOT NULL",
    ),
    (
        "every copy that left by the audit log is there",
        "SELECT delivery AS flaw FROM audit_log WHERE word IN ('intend', 'disclose', 'read', 'respond') AND delivery IS NOT NULL
         EXCEPT SELECT CAST(id AS TEXT) FROM deliveries",
    ),
    (
        "a queued copy has the moment of its next attempt, and no other has",
        "SELECT id AS flaw FROM deliveries WHERE (state = 'queued') <> (next_attempt IS NOT NULL)",
    ),
    (
        "a lease has a token and an end",
        "SELECT id AS flaw FROM deliveries WHERE (lease_token IS NULL) <> (lease_until IS NULL)",
    ),
    (
        "a copy has as many attempts as are written down",
        "SELECT d.id AS flaw FROM deliveries d LEFT JOIN (SELECT delivery, count(*) AS n FROM attempts GROUP BY delivery) a
             ON a.delivery = d.id WHERE d.attempts <> coalesce(a.n, 0)",
    ),
    (
        "a copy's history ends with its present version and state",
        "SELECT d.id AS flaw FROM deliveries d LEFT JOIN delivery_history h ON h.delivery = d.id AND h.version = d.version
             WHERE h.state IS NULL OR h.state <> d.state",
    ),
    (
        "a copy has one row of history for every version",
        "SELECT d.id AS flaw FROM deliveries d JOIN (SELECT delivery, count(*) AS n FROM delivery_history GROUP BY delivery) h
             ON h.delivery = d.id WHERE h.n <> d.version",
    ),
    (
        "a copy that waits or failed, and that nobody closed, still has its content",
        "SELECT d.id AS flaw FROM deliveries d WHERE d.state IN ('queued', 'failed', 'awaiting-collection')
             AND (d.closed IS NULL OR d.closed <> d.version)
             AND NOT EXISTS (SELECT 1 FROM rendition_bodies b WHERE b.delivery = d.id)",
    ),
    (
        "a closed copy tells who closed it, and did not arrive",
        "SELECT d.id AS flaw FROM deliveries d LEFT JOIN closures c ON c.delivery = d.id AND c.version = d.version
             WHERE d.closed = d.version AND (c.delivery IS NULL OR d.state NOT IN ('failed', 'rejected'))",
    ),
    (
        "a transfer that waits for a person still has its message",
        "SELECT h.transfer AS flaw FROM holds h WHERE h.closed IS NULL
             AND NOT EXISTS (SELECT 1 FROM message_bodies b WHERE b.transfer = h.transfer)",
    ),
    (
        "a copy belongs to its transfer's sender",
        "SELECT d.id AS flaw FROM deliveries d JOIN transfers t ON t.id = d.transfer WHERE d.sender <> t.sender",
    ),
    ("a copy that ended is not queued", "SELECT id AS flaw FROM deliveries WHERE ended IS NOT NULL AND state = 'queued'"),
    ("a withdrawn copy says why", "SELECT id AS flaw FROM deliveries WHERE state = 'withdrawn' AND ended IS NULL"),
    (
        "a notice tells of a copy that ended",
        "SELECT n.id AS flaw FROM deliveries n WHERE n.notice_of IS NOT NULL AND n.notice_why <> 'left-home'
             AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.id = n.notice_of AND d.ended IS NOT NULL)",
    ),
    (
        "versions that replace one another name each other",
        "SELECT t.id AS flaw FROM transfers t JOIN transfers p ON p.id = t.replaces
             WHERE p.replaced_by IS DISTINCT FROM t.id OR t.version <> p.version + 1",
    ),
    (
        "an ended transfer has no open hold and no copy that is still used",
        "SELECT t.id AS flaw FROM holds h JOIN transfers t ON t.id = h.transfer WHERE h.closed IS NULL AND t.ended IS NOT NULL
         UNION SELECT t.id FROM transfers t JOIN deliveries d ON d.transfer = t.id
             WHERE t.ended IS NOT NULL AND d.ended IS NULL AND d.kind <> 'sender' AND d.notice_of IS NULL",
    ),
    (
        "the audit log counts from 0 without gaps",
        "SELECT max(position) AS flaw FROM audit_log HAVING count(*) > 0 AND max(position) <> count(*) - 1",
    ),
    (
        "no checkpoint is larger than the audit log",
        "SELECT size AS flaw FROM checkpoints WHERE size > (SELECT count(*) FROM audit_log)",
    ),
];

/// Two rules about what was taken out of copies; each engine has its own words for lists.
pub(crate) const MISSED_PARTS: &str = "a copy has the parts that it is put together with";
pub(crate) const SPARE_PARTS: &str = "every part belongs to a copy of its month";

/// Acceptances as the audit log tells them, copies, and audit entries.
pub(crate) const SIZES: [&str; 3] = [
    "SELECT count(DISTINCT transfer) AS n FROM audit_log WHERE word = 'accept' AND transfer IS NOT NULL",
    "SELECT count(*) AS n FROM deliveries",
    "SELECT count(*) AS n FROM audit_log",
];

/// A rule's statement as one row: how many break it, and one of them.
pub(crate) fn counted(rule: &str) -> String {
    format!("SELECT count(*) AS n, min(CAST(flaw AS TEXT)) AS example FROM ({rule}) f")
}

/// Adds what a row of [`transfers`] counts.
pub(crate) fn place(checkup: &mut Checkup, columns: &Columns<'_>) -> Result<(), Corrupt> {
    let count: u64 = columns.count("n")?;
    match columns.get::<String>("place")?.as_str() {
        "ended" => checkup.ended = count,
        "parked" => checkup.parked = count,
        "pending" => checkup.pending = count,
        "delivered" => checkup.delivered = count,
        _ => {}
    }
    Ok(())
}

/// Whether the places of the transfers add up to what the audit log says was accepted: rows that are gone are in no place.
pub(crate) fn add_up(checkup: &mut Checkup) {
    let sum = checkup.delivered + checkup.pending + checkup.parked + checkup.ended;
    if sum != checkup.accepted {
        checkup.flaws.push(Flaw {
            rule: "accepted = delivered + pending + parked + ended",
            count: checkup.accepted.abs_diff(sum),
            example: format!("{} accepted, {sum} accounted for", checkup.accepted),
        });
    }
}

/// Adds what a row of [`counted`] says.
pub(crate) fn judge(checkup: &mut Checkup, rule: &'static str, columns: &Columns<'_>) -> Result<(), Corrupt> {
    let count = columns.count("n")?;
    if count > 0 {
        let example = columns.get::<Option<String>>("example")?.unwrap_or_default();
        checkup.flaws.push(Flaw { rule, count, example });
    }
    Ok(())
}
