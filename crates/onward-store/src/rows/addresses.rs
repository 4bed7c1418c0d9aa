//! Addresses that change: those of organisations, and those of copies that follow.

use onward_core::OdsCode;
use onward_core::directory::{DirectoryEntry, Endpoint};
use onward_core::state::RecipientKind;
use onward_core::store::{FormerAddress, MovedAlong, NewDelivery, Readdressed};

use super::directory_entry;
use crate::columns::{Columns, Corrupt};

/// An organisation that receives at another address from an import on.
pub(crate) struct Change {
    pub(crate) recipient: OdsCode,
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
}

impl Change {
    pub(crate) fn of(former: &DirectoryEntry, entry: &DirectoryEntry) -> Option<Self> {
        let (recipient, from, to) = (entry.ods().clone(), former.endpoint().clone(), entry.endpoint().clone());
        (from != to).then_some(Self { recipient, from, to })
    }

    /// Whether anything that was made for the former address can leave for the new one.
    pub(crate) fn goes_along(&self) -> bool {
        self.from.leads_on_to(&self.to, true)
    }

    /// Whether MESH finds the new address by the person: only what tells of them to their own practice can.
    pub(crate) fn by_person(&self) -> bool {
        !self.from.leads_on_to(&self.to, false)
    }

    /// With what became of copies that waited for the former address; nothing where there were none.
    pub(crate) fn came_to(self, copies: u64, sending: u64, stay: u64) -> Option<MovedAlong> {
        let Self { recipient, from, to } = self;
        (copies + sending + stay > 0).then_some(MovedAlong { recipient, from, to, copies, sending, stay })
    }
}

/// A copy that is to follow its recipient.
pub(crate) struct Follows {
    pub(crate) recipient: OdsCode,
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
}

/// Of a row of [`crate::query::resending::with_entries`]: nothing where the copy is at its recipient's present address, or that does not take
/// it. What cannot be read stays where it is.
pub(crate) fn follows(columns: &Columns<'_>) -> Option<Follows> {
    let (recipient, kind): (_, RecipientKind) = (columns.parsed("recipient").ok()?, columns.parsed("kind").ok()?);
    let (from, to) = (columns.json("endpoint").ok()?, directory_entry(columns).ok()?.endpoint().clone());
    let leads = Endpoint::leads_on_to(&from, &to, kind == RecipientKind::RegisteredPractice);
    (from != to && leads).then_some(Follows { recipient, from, to })
}

/// Of a row of [`crate::query::resending::ENTRIES`]: whether the organisation received there.
pub(crate) fn received_at(columns: &Columns<'_>, endpoint: &Endpoint) -> bool {
    directory_entry(columns).is_ok_and(|entry| entry.endpoint() == endpoint)
}

/// Whether a copy that is about to be queued goes to another address than that of its recipient's entry, which it was read from at a version of
/// the directory before this one.
pub(crate) fn is_overtaken(copy: &NewDelivery, version: u64, entry: Option<&DirectoryEntry>) -> bool {
    copy.directory.is_some_and(|read| read < version) && entry.is_some_and(|entry| *entry.endpoint() != copy.endpoint)
}

/// Of a row of [`crate::query::resending::READDRESSED`].
pub(crate) fn readdressed(columns: &Columns<'_>) -> Result<Readdressed, Corrupt> {
    Ok(Readdressed { mark: columns.count("mark")?, copy: columns.parsed("delivery")? })
}

/// Rows of [`former`], of the copy `$1`.
pub(crate) const FORMER: &str = "SELECT attempt, endpoint FROM former_addresses WHERE delivery = $1 ORDER BY attempt";

pub(crate) fn former(columns: &Columns<'_>) -> Result<FormerAddress, Corrupt> {
    Ok(FormerAddress { attempt: columns.count("attempt")?, endpoint: columns.json("endpoint")? })
}
