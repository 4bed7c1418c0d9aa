//! What needs a person, as SQL that both engines read, with `$1`, `$2` … in the order of their first use, where the engine's own mark of
//! parameters is not asked for.

use jiff::Timestamp;
use onward_core::store::alerts::Deadlines;

use super::{Dialect, QUEUED_SINCE, not_closed, unprocessed};
use crate::stored::{micros, micros_of as span};

/// What has been so for longer is history: nobody is called because of it. Microseconds of 30 days.
const HISTORY: i64 = 30 * DAY;
const DAY: i64 = 24 * 3_600 * 1_000_000;
/// Refusals, and what a home has not opened, are looked for among copies that are not older: no index knows when such a copy last changed.
/// Microseconds of 90 days.
const LATEST: i64 = 3 * HISTORY;
/// Whoever is expected later than this after the message has an index of their own (`transfers_far_ahead`). Microseconds of 7 days.
pub(crate) const FAR_AHEAD: i64 = 7 * 24 * 3_600 * 1_000_000;

/// As the index `deliveries_unopened` has it: a copy that a system of the home's has answered stays unopened for ever, and is history.
const UNOPENED: &str = "d.kind = 'care-home' AND d.opened IS NULL AND d.ended IS NULL
         AND d.state IN ('queued', 'awaiting-collection', 'sent', 'received', 'failed', 'rejected')";

/// A home's copy, or notice, that nobody has opened or answered; that a system could not process it is nobody's answer. What a person took
/// care of in another way is no such copy.
fn unopened() -> String {
    format!(
        "{UNOPENED} AND {}
         AND (d.state IN ('queued', 'awaiting-collection', 'sent', 'received', 'failed') OR {})",
        not_closed("d."),
        unprocessed("d.")
    )
}
/// It tells that a version is not to be used any more.
const STOPS: &str = "d.notice_why IN ('superseded', 'withdrawn', 'null-and-void', 'recalled')";
/// A practice's or pharmacy's notice that lies in its inbox or has not left. What was sent has its receipt awaited, what its system has
/// is in its own lists, and what failed is told as that.
fn unopened_elsewhere() -> String {
    format!(
        "d.kind {ANOTHER} AND d.notice_of IS NOT NULL AND d.opened IS NULL AND d.ended IS NULL
         AND d.state IN ('queued', 'awaiting-collection') AND {STOPS}"
    )
}

/// A recipient of such a kind has declined the person.
fn declined(kind: &str) -> String {
    format!(
        "d.kind {kind} AND d.state = 'rejected' AND d.ended IS NULL AND d.notice_of IS NULL AND NOT coalesce({}, FALSE)",
        unprocessed("d.")
    )
}
const HOME: &str = "= 'care-home'";
const ANOTHER: &str = "NOT IN ('care-home', 'sender')";
/// The home has nothing of what is held: a hold about another recipient's copy is none of the arrival's.
const NOTHING_AT_HOME: &str = "NOT EXISTS (SELECT 1 FROM deliveries k WHERE k.transfer = h.transfer AND k.kind = 'care-home' \
     AND k.notice_of IS NULL AND k.ended IS NULL)";
/// A home's copy, or notice, that waits in its inbox.
fn waiting() -> String {
    format!("{UNOPENED} AND d.state = 'awaiting-collection'")
}
/// As the index `deliveries_unanswered` has it: a copy that left or arrived, of which something is still awaited.
const UNANSWERED: &str =
    "d.acknowledgement_awaited AND d.ended IS NULL AND d.state IN ('sent', 'awaiting-collection', 'received')";
/// Nothing has said that it arrived.
const UNRECEIVED: &str = "d.state = 'sent'";
/// Nobody has acknowledged it.
const UNACKNOWLEDGED: &str = "d.state IN ('awaiting-collection', 'received')";

/// The columns of an alert's concern.
pub(crate) const CONCERN: &str =
    "a.kind, a.step, a.transfer, a.sender, a.delivery, a.recipient, a.hold, a.subscription, a.work, a.since";

/// What is so at a moment and not raised yet. Its parameters are [`bounds`]; each arm names them itself, so that it enters an index where
/// history ends and leaves it where it is too early: every node asks every few seconds. What an older node clears again and again comes
/// last: it leaves the places to the others.
pub(crate) fn concerns(dialect: &Dialect) -> String {
    let bound = |n: u8| format!("CAST({}{n} AS BIGINT)", dialect.parameter);
    let [now, ahead, grace, pace, receipt, acknowledgement, tell_homes, queued] = [1, 2, 3, 4, 5, 6, 7, 8].map(bound);
    let of_copy = |kind: &str, step: &str, since: &str, from: &str, condition: &str| {
        format!(
            "SELECT {kind} AS kind, d.id AS subject, {step} AS step, d.transfer, d.sender, d.id AS delivery, d.recipient,
                 CAST(NULL AS UUID) AS hold, CAST(NULL AS TEXT) AS subscription, {since} AS since
             FROM {from} WHERE {condition}"
        )
    };
    let (once, copies) = ("CAST(1 AS BIGINT)", "deliveries d");
    let since_changed = |kind: &str, condition: &str| {
        of_copy(kind, once, "d.changed", copies, &format!("{condition} AND d.changed > {now} - {HISTORY}"))
    };
    // Thousands may wait for an answer, each of which was told once: the index alone says which, and their rows are not read.
    let kinds = RECIPIENTS.join(", ");
    let unanswered = |kind: &str, which: &str, allowed: &str| {
        since_changed(
            kind,
            &format!(
                "{UNANSWERED} AND {which} AND d.kind IN ({kinds}) AND d.changed <= {now} - {allowed}
                 AND NOT EXISTS (SELECT 1 FROM alerts a
                     WHERE a.kind = {kind} AND a.subject = d.id AND a.step = {once} AND a.cleared IS NULL)"
            ),
        )
    };
    // Who is expected at no known time may come now.
    let expected = format!("coalesce(t.expected, t.received) - {ahead}");
    let due = |began: &str| {
        let waited = format!("{began} + {grace}");
        format!("CASE WHEN {expected} > {waited} THEN {expected} ELSE {waited} END")
    };
    let climbs = |due: &str| format!("{due} > {now} - {HISTORY} AND {due} + (s.step - 1) * {pace} <= {now}");
    let join = dialect.ordered_join;
    let steps = "CROSS JOIN (SELECT CAST(1 AS BIGINT) AS step UNION ALL SELECT 2 UNION ALL SELECT 3) s";
    let with_steps = |of: &str| format!("{join} transfers t ON t.id = {of}.transfer {steps}");
    let stop = format!("d.created + {grace}");
    // Of a summary the arrival tells when; who has a notice may act on what it takes back already.
    let of_summary = due("d.created");
    let of_home = format!("CASE WHEN d.notice_of IS NULL THEN {of_summary} ELSE {stop} END");
    let of_hold = due("h.opened");
    // An older copy is told only where the person comes later still, and so more than `FAR_AHEAD` after its message.
    let older = format!("{now} - {HISTORY} - {FAR_AHEAD} - {grace}");
    // Practices and pharmacies are not open at all hours: they have the time of an acknowledgement, and nobody above them is called.
    let late = format!("d.created + {acknowledgement}");
    let latest = format!("d.created > {now} - {LATEST}");
    // The index of transports and states finds what was refused.
    let refused = format!("{} AND d.state = 'rejected' AND {latest}", dialect.any_transport);
    let (unopened, unprocessed, waiting) = (unopened(), unprocessed("d."), waiting());
    let open = not_closed("d.");
    let long_ago = format!("{now} - {queued}");
    let union = [
        since_changed("'delivery-failed'", &format!("d.state = 'failed' AND {open}")),
        since_changed("'not-processed'", &format!("{unprocessed} AND {open} AND {latest}")),
        since_changed("'declined'", &format!("{refused} AND {}", declined(HOME))),
        since_changed("'care-declined'", &format!("{refused} AND {}", declined(ANOTHER))),
        of_copy(
            "CASE WHEN d.notice_of IS NULL THEN 'unread-before-arrival' ELSE 'notice-unread' END",
            "s.step",
            &of_home,
            &format!("{copies} {}", with_steps("d")),
            &format!(
                "{unopened} AND d.created > {older} AND d.created <= {now} - {grace}
                 AND (d.notice_of IS NULL OR {STOPS}) AND {}",
                climbs(&of_home)
            ),
        ),
        of_copy(
            "'unread-before-arrival'",
            "s.step",
            &of_summary,
            &format!("transfers t {join} {copies} ON d.transfer = t.id {steps}"),
            &format!(
                "t.expected > t.received + {FAR_AHEAD} AND t.expected > {now} - {HISTORY} + {ahead}
                 AND t.expected <= {now} + {ahead}
                 AND {unopened} AND d.created <= {older} AND d.notice_of IS NULL AND {}",
                climbs(&of_summary)
            ),
        ),
        of_copy(
            "'notice-unread'",
            once,
            &late,
            copies,
            &format!(
                "{} AND d.created > {now} - {HISTORY} - {acknowledgement} AND d.created <= {now} - {acknowledgement}",
                unopened_elsewhere()
            ),
        ),
        unanswered("'receipt-missing'", UNRECEIVED, &receipt),
        unanswered("'acknowledgement-missing'", UNACKNOWLEDGED, &acknowledgement),
        since_changed("'arrived'", &format!("{tell_homes} = 1 AND {waiting}")),
        // Of each recipient the one that waits the longest: a letter for each of thousands would be read by nobody. A notice with a lane of its
        // own goes where the recipient may be no more (`end_copy`), and tells nothing of where it is.
        format!(
            "SELECT 'queued-too-long', q.id, {once}, q.transfer, q.sender, q.id, q.recipient, CAST(NULL AS UUID),
                 CAST(NULL AS TEXT), q.queued
             FROM (SELECT d.*, row_number() OVER (PARTITION BY d.recipient ORDER BY d.queued, d.id) AS place
                   FROM (SELECT d.id, d.transfer, d.sender, d.recipient, {QUEUED_SINCE} AS queued FROM deliveries d
                         WHERE {} AND d.state = 'queued' AND d.created <= {long_ago} AND d.lane <> CAST(d.id AS TEXT)) d
                   WHERE d.queued <= {long_ago}) q
             WHERE q.place = 1 AND NOT EXISTS (SELECT 1 FROM alerts a
                 WHERE a.kind = 'queued-too-long' AND a.recipient = q.recipient AND a.cleared IS NULL)",
            dialect.any_transport
        ),
        format!(
            "SELECT 'held-before-arrival', h.id, s.step, h.transfer, t.sender, CAST(NULL AS UUID), CAST(NULL AS TEXT), h.id,
                 CAST(NULL AS TEXT), {of_hold}
             FROM holds h {} WHERE h.closed IS NULL AND t.expected IS NOT NULL AND {NOTHING_AT_HOME} AND {}",
            with_steps("h"),
            climbs(&of_hold)
        ),
        format!(
            "SELECT 'hold-overdue', h.id, {once}, h.transfer, t.sender, CAST(NULL AS UUID), CAST(NULL AS TEXT), h.id,
                 CAST(NULL AS TEXT), h.due
             FROM holds h JOIN transfers t ON t.id = h.transfer
             WHERE h.closed IS NULL AND h.due < {now} AND h.due > {now} - {HISTORY}"
        ),
    ]
    .join(" UNION ALL ");
    format!(
        "SELECT c.* FROM ({union}) c WHERE c.since > {now} - {HISTORY} AND NOT EXISTS (SELECT 1 FROM alerts a
             WHERE a.kind = c.kind AND a.subject = c.subject AND a.step = c.step AND a.cleared IS NULL)
         ORDER BY c.kind IN ('care-declined', 'notice-unread'), c.since, c.subject, c.step LIMIT 200"
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
pub(crate) fn bounds(now: Timestamp, deadlines: &Deadlines) -> [i64; 8] {
    [
        micros(now),
        span(deadlines.unread_before_arrival),
        span(deadlines.grace),
        span(deadlines.step),
        span(deadlines.receipt),
        span(deadlines.acknowledgement),
        i64::from(deadlines.tell_homes),
        span(deadlines.queued),
    ]
}

/// The kinds of recipients, the sender apart, as SQL writes them.
const RECIPIENTS: [&str; 5] =
    ["'care-home'", "'covering-practice'", "'registered-practice'", "'pharmacy-referral'", "'pharmacy-nomination'"];

/// Arms of the figures: the copies for each kind of recipient that left or arrived and that nobody has opened or acknowledged, by the
/// indexes of the alerts. A home is asked to open, and its copies are looked for among those that are not older than
/// [`LATEST`]; whoever else is not asked to acknowledge never tells. `now` names the parameter.
pub(crate) fn unread(now: &str) -> String {
    let states = ["d.state = 'sent'", "d.state IN ('awaiting-collection', 'received')"];
    RECIPIENTS
        .iter()
        .flat_map(|kind| {
            let asked = match *kind {
                "'care-home'" => {
                    format!("{} AND d.notice_of IS NULL AND d.created > {now} - {}", UNOPENED, LATEST)
                }
                kind => format!("{} AND d.kind = {kind} AND d.opened IS NULL", UNANSWERED),
            };
            states.map(|state| {
                format!(
                    "
    UNION ALL SELECT 'unread', {kind}, NULL, count(*), min(d.created) FROM deliveries d
        WHERE {asked} AND {state} AND d.changed >= {now} - {}",
                    HISTORY
                )
            })
        })
        .collect()
}

/// In `cleared`, what no moment is: the alert is open, and stands until what it is about is over or a person ends it. So are those that no look
/// finds again: a program from before their kind clears at each of its looks whatever has nothing there, and deletes what was cleared long ago.
pub(crate) const STANDS: i64 = i64::MAX;

/// [`STANDS`] as SQL.
macro_rules! stands {
    () => {
        "9223372036854775807"
    };
}

/// Clears at `$1` what stands and is over: with the transfer that was to be replaced, when another takes its place.
pub(crate) const SETTLE_STANDING: &str = concat!(
    "UPDATE alerts SET cleared = $1 WHERE cleared = ",
    stands!(),
    " AND NOT EXISTS (SELECT 1 FROM transfers t WHERE alerts.kind = 'replacement-refused' AND t.id = alerts.transfer
         AND t.ended IS NULL AND t.replaced_by IS NULL AND t.not_sent IS NULL AND t.erased IS NULL)"
);

/// Queues for `$1` what was to be told of something that stands, and was dropped before anybody took it: a program that takes it for over did that.
pub(crate) const TOLD_ALL_THE_SAME: &str = concat!(
    "UPDATE notifications SET state = 'queued', next_attempt = $1 WHERE state = 'dropped' AND attempts = 0
         AND alert IN (SELECT id FROM alerts WHERE cleared = ",
    stands!(),
    ")"
);

/// [`CLEAR`] of what stands.
pub(crate) const CLEAR_STANDING: &str =
    concat!("UPDATE alerts SET cleared = $1 WHERE kind = $2 AND subject = $3 AND cleared = ", stands!());

/// Clears at `$1` the alerts of what is over: a look-up for each that is open, however many are. That somebody declined is over when
/// it is history: nothing is left to do about that copy. What the mailbox is like, no row tells: who reads it clears that. Nor what falls on a
/// node: that clears it when it stands, and who still falls a day later tells it again. A copy whose identifier cannot be read was told by its
/// transfer, and is over when no copy of that stands failed. What stands is cleared by [`SETTLE_STANDING`]; a program from before that raises the
/// same otherwise, and for it this says when it is over.
pub(crate) fn settle() -> String {
    let (unopened, unprocessed, waiting) = (unopened(), unprocessed("d."), waiting());
    let open = not_closed("d.");
    let (declined, care_declined) = (declined(HOME), declined(ANOTHER));
    let elsewhere = unopened_elsewhere();
    // `coalesce` keeps that one look-up to the queue of its recipient, where few copies are: by the moment it would walk everybody's.
    format!(
        "UPDATE alerts SET cleared = $1 WHERE cleared IS NULL AND kind NOT IN ('organisation-closed', 'mailbox-changed')
             AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.id = alerts.hold AND h.closed IS NULL
                 AND (alerts.kind <> 'held-before-arrival' AND h.due < $1 OR alerts.kind = 'held-before-arrival' AND {NOTHING_AT_HOME}))
             AND NOT EXISTS (SELECT 1 FROM deliveries w WHERE alerts.kind = 'queued-too-long'
                 AND w.recipient = alerts.recipient AND w.state = 'queued' AND coalesce(w.created, 0) <= alerts.raised
                 AND w.lane <> CAST(w.id AS TEXT))
             AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.id = alerts.delivery AND (
                 (alerts.kind = 'delivery-failed' AND d.state = 'failed' AND {open})
                 OR (alerts.kind = 'not-processed' AND {unprocessed} AND {open})
                 OR (alerts.kind = 'declined' AND {declined} AND d.changed > $1 - {HISTORY})
                 OR (alerts.kind = 'care-declined' AND {care_declined} AND d.changed > $1 - {HISTORY})
                 OR (alerts.kind = 'unread-before-arrival' AND {unopened} AND d.notice_of IS NULL)
                 OR (alerts.kind = 'notice-unread' AND ({unopened} AND {STOPS} OR {elsewhere}))
                 OR (alerts.kind = 'receipt-missing' AND {UNANSWERED} AND {UNRECEIVED})
                 OR (alerts.kind = 'acknowledgement-missing' AND {UNANSWERED} AND {UNACKNOWLEDGED})
                 OR (alerts.kind = 'arrived' AND {waiting})))
             AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE alerts.kind = 'delivery-failed' AND alerts.delivery IS NULL
                 AND d.transfer = alerts.transfer AND d.state = 'failed' AND {open})
             AND NOT EXISTS (SELECT 1 FROM subscriptions s WHERE s.id = alerts.subscription AND s.status = 'error')
             AND NOT EXISTS (SELECT 1 FROM transfers t WHERE alerts.kind = 'replacement-refused' AND t.id = alerts.transfer
                 AND t.ended IS NULL AND t.replaced_by IS NULL AND t.not_sent IS NULL AND t.erased IS NULL)
             AND NOT (alerts.kind = 'background-fallen' AND alerts.raised > $1 - {DAY})
             AND NOT (alerts.kind = 'mailbox-unreadable' AND alerts.raised > $1 - {HISTORY})"
    )
}

/// Clears at `$1` what is open of the kind `$2` about the subject `$3`.
pub(crate) const CLEAR: &str = "UPDATE alerts SET cleared = $1 WHERE kind = $2 AND subject = $3 AND cleared IS NULL";

/// Clears at `$1` what was told of a copy (`$2`) that a person has queued again: if that is so once more, it is told once more, however soon.
pub(crate) const RESENT: &str = "UPDATE alerts SET cleared = $1 WHERE subject = $2 AND cleared IS NULL
     AND kind IN ('delivery-failed', 'not-processed', 'receipt-missing')";

/// Clears at `$1` what was told of a copy (`$2`) that a person has closed.
pub(crate) const CLOSED: &str = "UPDATE alerts SET cleared = $1 WHERE subject = $2 AND cleared IS NULL
     AND kind IN ('delivery-failed', 'not-processed', 'unread-before-arrival', 'notice-unread')";

/// Drops what would tell of something that is over.
pub(crate) const DROP: &str = concat!(
    "UPDATE notifications SET state = 'dropped', next_attempt = NULL
         WHERE state = 'queued' AND alert IN (SELECT id FROM alerts WHERE cleared < ",
    stands!(),
    ")"
);

/// The alerts that are open, by the two indexes of those.
const OPEN: &str = concat!(
    "(SELECT id, kind, subject, step, transfer, sender, delivery, recipient, hold, subscription, work, since, raised
          FROM alerts WHERE cleared IS NULL
      UNION ALL SELECT id, kind, subject, step, transfer, sender, delivery, recipient, hold, subscription, work, since, raised
          FROM alerts WHERE cleared = ",
    stands!(),
    ") a"
);

/// Whether the kind `$1` is open about the subject `$2` at the step `$3`. Of what stands no index of programs before lets only one be.
pub(crate) fn is_open() -> String {
    format!("SELECT 1 AS found FROM {OPEN} WHERE a.kind = $1 AND a.subject = $2 AND a.step = $3")
}

/// Open alerts with who was told, a row each.
pub(crate) fn open() -> String {
    format!(
        "SELECT a.id, {CONCERN}, a.raised, n.contacted, n.channel, n.state
         FROM {OPEN} LEFT JOIN notifications n ON n.alert = a.id
         ORDER BY a.since, a.subject, a.step, a.id, n.contacted, n.channel, n.id"
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
pub(crate) fn counts() -> String {
    format!("SELECT a.kind, count(*) AS n FROM {OPEN} GROUP BY a.kind ORDER BY a.kind")
}

#[cfg(test)]
mod tests {
    use onward_core::state::RecipientKind;

    use super::RECIPIENTS;

    #[test]
    fn all_recipients_but_the_sender_are_looked_at() {
        let all = RecipientKind::ALL.iter().filter(|kind| **kind != RecipientKind::Sender);
        assert_eq!(all.map(|kind| format!("'{kind}'")).collect::<Vec<_>>(), RECIPIENTS);
    }
}
