//! What needs a person, as SQL that both engines read, with `$1`, `$2` … in the order of their first use.

use jiff::{SignedDuration, Timestamp};
use onward_core::store::alerts::Deadlines;

use crate::stored::micros;

/// What has been so for longer is history: nobody is called because of it. Microseconds of 30 days.
pub(super) const HISTORY: i64 = 30 * 24 * 3_600 * 1_000_000;

/// A home's copy that nobody has opened or answered.
const UNREAD: &str = "d.kind = 'care-home' AND d.opened IS NULL AND d.ended IS NULL AND d.notice_of IS NULL \
     AND d.state IN ('queued', 'awaiting-collection', 'sent', 'received', 'failed')";
/// A home's copy, or notice, that waits in its inbox.
const WAITING: &str =
    "d.kind = 'care-home' AND d.opened IS NULL AND d.ended IS NULL AND d.state = 'awaiting-collection'";
/// Nothing has said that it arrived.
const UNRECEIVED: &str = "d.state = 'sent' AND d.acknowledgement_awaited AND d.ended IS NULL";
/// Nobody has acknowledged it.
const UNACKNOWLEDGED: &str =
    "d.state IN ('awaiting-collection', 'received') AND d.acknowledgement_awaited AND d.ended IS NULL";

/// The columns of an alert's concern.
pub(crate) const CONCERN: &str =
    "a.kind, a.step, a.transfer, a.sender, a.delivery, a.recipient, a.hold, a.subscription, a.since";

/// What is so at a moment and not raised yet. Its parameters are [`bounds`].
pub(crate) fn concerns() -> String {
    let of_copy = |kind: &str, step: &str, since: &str, from: &str, condition: &str| {
        format!(
            "SELECT {kind} AS kind, d.id AS subject, {step} AS step, d.transfer, d.sender, d.id AS delivery, d.recipient,
                 CAST(NULL AS UUID) AS hold, CAST(NULL AS TEXT) AS subscription, {since} AS since
             FROM b CROSS JOIN deliveries d {from} WHERE {condition}"
        )
    };
    let once = "CAST(1 AS BIGINT)";
    // Who is expected at no known time may come now.
    let expected = "coalesce(t.expected, t.received) - b.ahead";
    let waited = "d.created + b.grace";
    let due = format!("CASE WHEN {expected} > {waited} THEN {expected} ELSE {waited} END");
    let steps = "JOIN transfers t ON t.id = d.transfer
        CROSS JOIN (SELECT CAST(1 AS BIGINT) AS step UNION ALL SELECT 2 UNION ALL SELECT 3) s";
    let union = [
        of_copy("'delivery-failed'", once, "d.changed", "", "d.state = 'failed'"),
        of_copy(
            "'unread-before-arrival'",
            "s.step",
            &due,
            steps,
            &format!("{UNREAD} AND {due} + (s.step - 1) * b.pace <= b.now"),
        ),
        of_copy("'receipt-missing'", once, "d.changed", "", &format!("{UNRECEIVED} AND d.changed <= b.now - b.receipt")),
        of_copy(
            "'acknowledgement-missing'",
            once,
            "d.changed",
            "",
            &format!("{UNACKNOWLEDGED} AND d.changed <= b.now - b.acknowledgement"),
        ),
        of_copy("'arrived'", once, "d.changed", "", &format!("b.tell_homes = 1 AND {WAITING}")),
        "SELECT 'hold-overdue', h.id, CAST(1 AS BIGINT), h.transfer, t.sender, CAST(NULL AS UUID), CAST(NULL AS TEXT), h.id,
             CAST(NULL AS TEXT), h.due
         FROM b CROSS JOIN holds h JOIN transfers t ON t.id = h.transfer WHERE h.closed IS NULL AND h.due < b.now"
            .to_owned(),
    ]
    .join(" UNION ALL ");
    format!(
        "WITH b AS (SELECT CAST($1 AS BIGINT) AS now, CAST($2 AS BIGINT) AS ahead, CAST($3 AS BIGINT) AS grace,
             CAST($4 AS BIGINT) AS pace, CAST($5 AS BIGINT) AS receipt, CAST($6 AS BIGINT) AS acknowledgement,
             CAST($7 AS BIGINT) AS tell_homes)
         SELECT c.* FROM ({union}) c CROSS JOIN b
         WHERE c.since > b.now - {HISTORY} AND NOT EXISTS (SELECT 1 FROM alerts a
             WHERE a.kind = c.kind AND a.subject = c.subject AND a.step = c.step AND a.cleared IS NULL)
         ORDER BY c.since, c.subject, c.step LIMIT 200"
    )
}

/// Subscriptions that were given up, as [`concerns`]; `$1` is a moment after which it must have been.
pub(crate) const GIVEN_UP: &str =
    "SELECT 'subscription-failed' AS kind, CAST(1 AS BIGINT) AS step, CAST(NULL AS TEXT) AS transfer, c.ods AS sender,
         CAST(NULL AS TEXT) AS delivery, CAST(NULL AS TEXT) AS recipient, CAST(NULL AS TEXT) AS hold, s.id AS subscription,
         s.changed AS since
     FROM subscriptions s JOIN clients c ON c.id = s.client
     WHERE s.status = 'error' AND s.changed > $1 AND NOT EXISTS (SELECT 1 FROM alerts a
         WHERE a.kind = 'subscription-failed' AND a.subscription = s.id AND a.cleared IS NULL)
     ORDER BY s.changed, s.id LIMIT 200";

/// The parameter of [`GIVEN_UP`]; microseconds.
pub(crate) fn history(now: Timestamp) -> i64 {
    micros(now) - HISTORY
}

/// The parameters of [`concerns`]; microseconds.
pub(crate) fn bounds(now: Timestamp, deadlines: &Deadlines) -> [i64; 7] {
    let span = |duration: SignedDuration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4);
    [
        micros(now),
        span(deadlines.unread_before_arrival),
        span(deadlines.grace),
        span(deadlines.step),
        span(deadlines.receipt),
        span(deadlines.acknowledgement),
        i64::from(deadlines.tell_homes),
    ]
}

/// Clears at `$1` the alerts of what is over: a look-up for each that is open, however many are.
pub(crate) fn settle() -> String {
    format!(
        "UPDATE alerts SET cleared = $1 WHERE cleared IS NULL
             AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.id = alerts.hold AND h.closed IS NULL AND h.due < $1)
             AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.id = alerts.delivery AND (
                 (alerts.kind = 'delivery-failed' AND d.state = 'failed')
                 OR (alerts.kind = 'unread-before-arrival' AND {UNREAD})
                 OR (alerts.kind = 'receipt-missing' AND {UNRECEIVED})
                 OR (alerts.kind = 'acknowledgement-missing' AND {UNACKNOWLEDGED})
                 OR (alerts.kind = 'arrived' AND {WAITING})))
             AND NOT EXISTS (SELECT 1 FROM subscriptions s WHERE s.id = alerts.subscription AND s.status = 'error')"
    )
}

/// Drops what would tell of something that is over.
pub(crate) const DROP: &str = "UPDATE notifications SET state = 'dropped', next_attempt = NULL
     WHERE state = 'queued' AND alert IN (SELECT id FROM alerts WHERE cleared IS NOT NULL)";

/// Open alerts with who was told, a row each.
pub(crate) fn open() -> String {
    format!(
        "SELECT a.id, {CONCERN}, a.raised, n.contacted, n.channel, n.state
         FROM alerts a LEFT JOIN notifications n ON n.alert = a.id
         WHERE a.cleared IS NULL ORDER BY a.since, a.subject, a.step, a.id, n.contacted, n.channel, n.id"
    )
}

/// Every alert of a transfer (`$1`), those that are over included, with who was told, a row each.
pub(crate) fn of_transfer() -> String {
    format!(
        "SELECT a.id, {CONCERN}, a.raised, n.contacted, n.channel, n.state
         FROM alerts a LEFT JOIN notifications n ON n.alert = a.id
         WHERE a.transfer = $1 ORDER BY a.raised, a.id, n.contacted, n.channel, n.id"
    )
}

/// Open alerts by kind.
pub(crate) const COUNTS: &str =
    "SELECT kind, count(*) AS n FROM alerts WHERE cleared IS NULL GROUP BY kind ORDER BY kind";
