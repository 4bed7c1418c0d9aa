//! Rows of data keys, and of what destroys them or forbids it.

use onward_core::store::{ErasureRequest, KeyUsage, LegalHold, LegalHoldOrder, PendingErasure};

use crate::columns::{Columns, Corrupt};
use crate::sealing::{DataKeyRow, KeyId, Keychain, Place, Unread};

/// Of a row with `id`, `kek` and `wrapped`.
pub(crate) fn data_key(columns: &Columns<'_>) -> Result<DataKeyRow, Corrupt> {
    Ok(DataKeyRow { id: KeyId(columns.parsed("id")?), kek: columns.get("kek")?, wrapped: columns.get("wrapped")? })
}

/// Of a row with `kek` and `n`.
pub(crate) fn key_usage(columns: &Columns<'_>, current: &str) -> Result<KeyUsage, Corrupt> {
    let id: String = columns.get("kek")?;
    Ok(KeyUsage { current: id == current, id, data_keys: columns.count("n")? })
}

/// Where the reason of an erasure or of a legal hold is sealed: under the gateway's key, for it outlives the person's.
pub(crate) fn of_order<'r>(table: &'static str, id: &'r str) -> Place<'r> {
    Place::new(table, "reason", id)
}

fn reason(columns: &Columns<'_>, keys: &Keychain) -> Result<String, Unread> {
    let id = columns.get::<String>("id")?;
    keys.open_text(of_order(columns.table(), &id), &columns.get::<String>("reason")?)
}

/// Of a row with `id`, `patient`, `ground`, `reason`, `requested_by`, `requested` and `lapsed`, and without the keys.
pub(crate) fn pending_erasure(columns: &Columns<'_>, keys: &Keychain) -> Result<PendingErasure, Unread> {
    let request = ErasureRequest {
        id: columns.parsed("id")?,
        ground: columns.parsed("ground")?,
        reason: reason(columns, keys)?,
        by: columns.get("requested_by")?,
        at: columns.moment("requested")?,
    };
    let lapsed = columns.moment_opt("lapsed")?;
    Ok(PendingErasure { request, pseudonym: columns.get("patient")?, keys: Vec::new(), lapsed })
}

/// Of a row with `id`, `patient`, `reason`, `placed_by`, `placed` and `lifted`.
pub(crate) fn legal_hold(columns: &Columns<'_>, keys: &Keychain) -> Result<LegalHold, Unread> {
    let order = LegalHoldOrder {
        id: columns.parsed("id")?,
        reason: reason(columns, keys)?,
        by: columns.get("placed_by")?,
        at: columns.moment("placed")?,
    };
    Ok(LegalHold { order, pseudonym: columns.get("patient")?, lifted: columns.moment_opt("lifted")? })
}
