//! Rows about what people have sent again.

use jiff::{SignedDuration, Timestamp};
use onward_core::store::{Bulk, ClosedCopy, Replay, Resend, Whereto};
use onward_core::{BulkId, DeliveryId};

use super::unless_erased;
use crate::columns::Columns;
use crate::sealing::{Keychain, Place, Unread};

/// For so long a decision about many copies that has ended is kept.
pub(crate) const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);

/// A copy that is to be sent again.
pub(crate) struct Requeue<'a> {
    pub(crate) delivery: DeliveryId,
    pub(crate) how: Resend,
    pub(crate) to: &'a Whereto,
    /// Who decided it, by name.
    pub(crate) by: &'a str,
    pub(crate) why: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) bulk: Option<BulkId>,
}

/// The columns of [`closed`].
pub(crate) const CLOSED: &str = "delivery, version, at, name, words";

/// The columns of [`replay`].
pub(crate) const REPLAY: &str = "id, delivery, at, name, words, attempts_before, bulk";

/// The columns of [`bulk`], of `bulks b`.
pub(crate) const BULK: &str = "b.id AS id, b.how AS how, b.filter AS filter, b.words AS words, b.name AS name, b.agent AS agent, \
    b.at AS at, b.state AS state, b.ended AS ended, \
    (SELECT count(*) FROM bulk_copies c WHERE c.bulk = b.id) AS total, \
    (SELECT count(*) FROM bulk_copies c WHERE c.bulk = b.id AND c.outcome = 'resent') AS resent, \
    (SELECT count(*) FROM bulk_copies c WHERE c.bulk = b.id AND c.outcome = 'passed-over') AS passed_over";

/// In `outcome`, of a copy that was queued again, and of one that could not be.
pub(crate) const OUTCOMES: [&str; 2] = ["resent", "passed-over"];

/// Where the reason of a replay is sealed.
pub(crate) fn of_replay(id: &str) -> Place<'_> {
    Place::new("replays", "words", id)
}

/// By what a closure is found: its copy and the version of that.
pub(crate) fn closure_row(delivery: &str, version: u64) -> String {
    [delivery, &version.to_string()].join("/")
}

/// Where the reason of a closure is sealed, of [`closure_row`].
pub(crate) fn of_closure(row: &str) -> Place<'_> {
    Place::new("closures", "words", row)
}

/// Where the reason of a decision about many copies is sealed.
pub(crate) fn of_bulk(id: &str) -> Place<'_> {
    Place::new("bulks", "words", id)
}

pub(crate) fn replay(columns: &Columns<'_>, keys: &Keychain) -> Result<Replay, Unread> {
    let id = columns.get::<String>("id")?;
    let sealed = columns.get::<Option<String>>("words")?;
    Ok(Replay {
        delivery: columns.parsed("delivery")?,
        at: columns.moment("at")?,
        by: columns.get("name")?,
        reason: match sealed {
            Some(sealed) => unless_erased(keys.open_text(of_replay(&id), &sealed))?,
            None => None,
        },
        attempts_before: columns.count("attempts_before")?,
        bulk: columns.parsed_opt("bulk")?,
        id: columns.parsed("id")?,
    })
}

pub(crate) fn closed(columns: &Columns<'_>, keys: &Keychain) -> Result<ClosedCopy, Unread> {
    let version = columns.count("version")?;
    let row = closure_row(&columns.get::<String>("delivery")?, version);
    let sealed = columns.get::<Option<String>>("words")?;
    Ok(ClosedCopy {
        delivery: columns.parsed("delivery")?,
        version,
        at: columns.moment("at")?,
        by: columns.get("name")?,
        reason: match sealed {
            Some(sealed) => unless_erased(keys.open_text(of_closure(&row), &sealed))?,
            None => None,
        },
    })
}

pub(crate) fn bulk(columns: &Columns<'_>, keys: &Keychain) -> Result<Bulk, Unread> {
    let id = columns.get::<String>("id")?;
    Ok(Bulk {
        how: columns.parsed("how")?,
        filter: columns.get("filter")?,
        reason: keys.open_text(of_bulk(&id), &columns.get::<String>("words")?)?,
        by: columns.get("name")?,
        agent: columns.get("agent")?,
        at: columns.moment("at")?,
        state: columns.parsed("state")?,
        ended: columns.moment_opt("ended")?,
        total: columns.count("total")?,
        resent: columns.count("resent")?,
        passed_over: columns.count("passed_over")?,
        id: columns.parsed("id")?,
    })
}
