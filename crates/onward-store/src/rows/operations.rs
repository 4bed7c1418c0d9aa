//! Rows about what has not left, and about what two people decide together.

use onward_core::TransferId;
use onward_core::store::{Approval, Backlog, Stuck, Verdict};

use super::{delivery, worded};
use crate::columns::{Columns, Corrupt};
use crate::sealing::{Keychain, Place, Unread};

/// Of a row of [`crate::query::backlog`].
pub(crate) fn backlog(columns: &Columns<'_>) -> Result<Backlog, Corrupt> {
    Ok(Backlog {
        queue: columns.parsed("queue")?,
        recipient: columns.parsed("recipient")?,
        recipient_name: columns.get("recipient_name")?,
        reason: columns.get("reason")?,
        count: columns.count("n")?,
        oldest: columns.moment("oldest")?,
    })
}

/// Of a row of [`crate::query::stuck`].
pub(crate) fn stuck(columns: &Columns<'_>, keys: &Keychain) -> Result<Stuck, Unread> {
    Ok(Stuck {
        copy: delivery(columns, keys)?,
        queue: columns.parsed("queue")?,
        first_failed: columns.moment_opt("first_failed")?,
    })
}

/// The columns of [`approval`].
pub(crate) const APPROVAL: &str = "id, kind, subject, organisation, asked_by, asked_name, reason, asked, expires, verdict_by, \
     verdict_name, verdict_at, coalesce(granted, FALSE) AS granted, words";

/// Where the reason of an approval is sealed.
pub(crate) fn of_approval(id: &str) -> Place<'_> {
    Place::new("approvals", "words", id)
}

/// The transfer whose person an approval is about: a redirect's, or that of which an export is; none where it concerns nobody in
/// particular. Their key seals the reason.
pub(crate) fn transfer_of(subject: &str) -> Option<TransferId> {
    let subject: serde_json::Value = serde_json::from_str(subject).ok()?;
    ["transfer", "about"].iter().find_map(|name| subject[name].as_str()?.parse().ok())
}

pub(crate) fn approval(columns: &Columns<'_>, keys: &Keychain) -> Result<Approval, Unread> {
    let id = columns.get::<String>("id")?;
    let verdict = match columns.moment_opt("verdict_at")? {
        None => None,
        Some(at) => Some(Verdict {
            by: columns.get("verdict_by")?,
            name: columns.get("verdict_name")?,
            at,
            granted: columns.flag("granted")?,
        }),
    };
    Ok(Approval {
        id: columns.parsed("id")?,
        kind: columns.parsed("kind")?,
        subject: columns.get("subject")?,
        organisation: columns.parsed("organisation")?,
        asked_by: columns.get("asked_by")?,
        asked_name: columns.get("asked_name")?,
        reason: worded(columns, keys, of_approval(&id), "reason")?.unwrap_or_default(),
        asked: columns.moment("asked")?,
        expires: columns.moment("expires")?,
        verdict,
    })
}
