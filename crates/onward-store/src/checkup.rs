//! `fsck`: does everything add up? Each rule is one statement over the whole store, the same for every engine.

use onward_core::store::{Checkup, Flaw};

use crate::columns::{Columns, Corrupt};

/// Each transfer once: ended, else parked, else pending, else delivered.
pub(crate) const TRANSFERS: &str = "SELECT
    CASE
        WHEN ended IS NOT NULL OR not_sent IS NOT NULL THEN 'ended'
        WHEN id IN (SELECT transfer FROM holds WHERE closed IS NULL)
            OR id IN (SELECT transfer FROM deliveries WHERE state = 'failed' AND kind <> 'sender') THEN 'parked'
        WHEN id IN (SELECT transfer FROM deliveries WHERE state = 'queued' AND kind <> 'sender') THEN 'pending'
        WHEN id IN (SELECT transfer FROM deliveries WHERE kind <> 'sender' AND notice_of IS NULL) THEN 'delivered'
        ELSE 'lost'
    END AS place, count(*) AS n FROM transfers GROUP BY place";

/// Rule, and a statement that gives an identifier for every row that breaks it.
pub(crate) const RULES: &[(&str, &str)] = &[
    (
        "every transfer has a copy, an open hold, or an end with a reason",
        "SELECT id AS flaw FROM transfers WHERE ended IS NULL AND not_sent IS NULL
             AND id NOT IN (SELECT transfer FROM deliveries WHERE kind <> 'sender' AND notice_of IS NULL)
             AND id NOT IN (SELECT transfer FROM holds WHERE closed IS NULL)",
    ),
    (
        "every acceptance is in the audit log",
        "SELECT id AS flaw FROM transfers WHERE CAST(id AS TEXT) NOT IN
             (SELECT transfer FROM audit_log WHERE word = 'accept' AND transfer IS NOT NULL)",
    ),
    (
        "every copy that left is in the audit log",
        "SELECT id AS flaw FROM deliveries WHERE state NOT IN ('queued', 'failed', 'withdrawn') AND CAST(id AS TEXT) NOT IN
             (SELECT delivery FROM audit_log WHERE delivery IS NOT NULL
                  AND word IN ('disclose', 'read', 'respond', 'acknowledge', 'attempt-failed', 'delivery-failed'))",
    ),
    (
        "every opened copy has its reading in the audit log",
        "SELECT id AS flaw FROM deliveries WHERE opened IS NOT NULL AND CAST(id AS TEXT) NOT IN
             (SELECT delivery FROM audit_log WHERE word = 'read' AND delivery IS NOT NULL)",
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
        "a copy that waits or failed still has its content",
        "SELECT id AS flaw FROM deliveries WHERE state IN ('queued', 'failed', 'awaiting-collection')
             AND id NOT IN (SELECT delivery FROM rendition_bodies)",
    ),
    (
        "a transfer that waits for a person still has its message",
        "SELECT transfer AS flaw FROM holds WHERE closed IS NULL AND transfer NOT IN (SELECT transfer FROM message_bodies)",
    ),
    (
        "a copy belongs to its transfer's sender",
        "SELECT d.id AS flaw FROM deliveries d JOIN transfers t ON t.id = d.transfer WHERE d.sender <> t.sender",
    ),
    ("a copy that ended is not queued", "SELECT id AS flaw FROM deliveries WHERE ended IS NOT NULL AND state = 'queued'"),
    ("a withdrawn copy says why", "SELECT id AS flaw FROM deliveries WHERE state = 'withdrawn' AND ended IS NULL"),
    (
        "a notice tells of a copy that ended",
        "SELECT id AS flaw FROM deliveries WHERE notice_of IS NOT NULL
             AND notice_why <> 'left-home' AND notice_of NOT IN (SELECT id FROM deliveries WHERE ended IS NOT NULL)",
    ),
    (
        "versions that replace one another name each other",
        "SELECT t.id AS flaw FROM transfers t JOIN transfers p ON p.id = t.replaces
             WHERE p.replaced_by IS DISTINCT FROM t.id OR t.version <> p.version + 1",
    ),
    (
        "an ended transfer has no open hold and no copy that is still used",
        "SELECT t.id AS flaw FROM transfers t WHERE t.ended IS NOT NULL AND (
             t.id IN (SELECT transfer FROM holds WHERE closed IS NULL)
             OR t.id IN (SELECT transfer FROM deliveries
                 WHERE ended IS NULL AND kind <> 'sender' AND notice_of IS NULL))",
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

/// Copies and audit entries.
pub(crate) const SIZES: [&str; 2] = ["SELECT count(*) AS n FROM deliveries", "SELECT count(*) AS n FROM audit_log"];

/// A rule's statement as one row: how many break it, and one of them.
pub(crate) fn counted(rule: &str) -> String {
    format!("SELECT count(*) AS n, min(CAST(flaw AS TEXT)) AS example FROM ({rule}) f")
}

/// Adds what a row of [`TRANSFERS`] counts.
pub(crate) fn place(checkup: &mut Checkup, columns: &Columns<'_>) -> Result<(), Corrupt> {
    let count: u64 = columns.count("n")?;
    checkup.accepted += count;
    match columns.get::<String>("place")?.as_str() {
        "ended" => checkup.ended = count,
        "parked" => checkup.parked = count,
        "pending" => checkup.pending = count,
        "delivered" => checkup.delivered = count,
        _ => {}
    }
    Ok(())
}

/// Whether the places add up to what was accepted.
pub(crate) fn add_up(checkup: &mut Checkup) {
    let sum = checkup.delivered + checkup.pending + checkup.parked + checkup.ended;
    if sum != checkup.accepted {
        checkup.flaws.push(Flaw {
            rule: "accepted = delivered + pending + parked + ended",
            count: checkup.accepted - sum,
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
