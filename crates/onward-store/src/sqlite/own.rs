//! What people see and change of their own account: its credentials and its sessions.

use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::people::{Passkey, Session};
use onward_core::store::people::{Change, CredentialChange, Credentials, PASSKEYS_MAX};
use onward_core::{SessionId, UserId};
use rusqlite::params;

use super::failure::Failure;
use super::keyed::Keyed;
use super::{audit, people};
use crate::columns::Columns;
use crate::rows::people as rows;
use crate::stored::micros;

pub(super) fn sessions(
    c: &Keyed<'_>,
    user: UserId,
    seen_since: Timestamp,
    authenticated_since: Timestamp,
) -> Result<Vec<Session>, Failure> {
    c.prepare_cached(
        "SELECT hash, id, user, strength, authenticated, last_seen, provider_session FROM sessions
         WHERE user = ? AND last_seen >= ? AND authenticated >= ? ORDER BY authenticated DESC, hash",
    )?
    .query_and_then(params![user.to_string(), micros(seen_since), micros(authenticated_since)], |row| {
        Ok(rows::session_by_user(&Columns::of("sessions", row))?)
    })?
    .collect()
}

pub(super) fn end_sessions(
    c: &Keyed<'_>,
    user: UserId,
    session: Option<SessionId>,
    keep: [u8; 32],
    audit: &[AuditRow],
) -> Result<u64, Failure> {
    let ended = c
        .prepare_cached("DELETE FROM sessions WHERE user = ?1 AND hash <> ?2 AND (?3 IS NULL OR id = ?3)")?
        .execute(params![user.to_string(), keep, session.map(|session| session.to_string())])?;
    if ended > 0 {
        audit::append(c, audit)?;
    }
    Ok(ended as u64)
}

pub(super) fn credentials(c: &Keyed<'_>, user: UserId) -> Result<Credentials, Failure> {
    let id = user.to_string();
    let password = c.prepare_cached("SELECT 1 FROM passwords WHERE user = ?")?.exists([&id])?;
    let passkeys = c
        .prepare_cached("SELECT id, user, public_key, counter, added FROM passkeys WHERE user = ? ORDER BY added, id")?
        .query_and_then([&id], |row| Ok(rows::passkey_of(&Columns::of("passkeys", row))?))?
        .collect::<Result<_, Failure>>()?;
    Ok(Credentials { password, passkeys })
}

pub(super) fn add_passkey(c: &Keyed<'_>, user: &str, passkey: &Passkey) -> Result<(), Failure> {
    c.prepare_cached("INSERT INTO passkeys (id, user, public_key, counter, added) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![passkey.id, user, passkey.public_key, passkey.counter, micros(passkey.added)])?;
    Ok(())
}

pub(super) fn change(c: &Keyed<'_>, change: &CredentialChange) -> Result<bool, Failure> {
    if people::user_by_id(c, change.user)?.is_none_or(|user| user.disabled) {
        return Ok(false);
    }
    let id = change.user.to_string();
    let changed = match &change.change {
        Change::Password { old, new } => {
            c.prepare_cached("UPDATE passwords SET hash = ? WHERE user = ? AND hash = ?")?
                .execute(params![new, id, old])?
                > 0
        }
        Change::AddPasskey(passkey) => {
            let has = credentials(c, change.user)?;
            let taken = c.prepare_cached("SELECT 1 FROM passkeys WHERE id = ?")?.exists([&passkey.id])?;
            let free = !taken && has.passkeys.len() < PASSKEYS_MAX as usize;
            if free {
                add_passkey(c, &id, passkey)?;
            }
            free
        }
        Change::RemovePasskey { id: passkey } => {
            let has = credentials(c, change.user)?;
            (has.password || has.passkeys.len() > 1)
                && c.prepare_cached("DELETE FROM passkeys WHERE id = ? AND user = ?")?.execute(params![passkey, id])?
                    > 0
        }
    };
    if changed {
        c.prepare_cached("DELETE FROM sessions WHERE user = ? AND hash <> ?")?.execute(params![id, change.keep])?;
        audit::append(c, &change.audit)?;
    }
    Ok(changed)
}
