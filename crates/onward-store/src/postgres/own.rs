//! What people see and change of their own account: its credentials and its sessions.

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::people::{Passkey, Session};
use onward_core::store::people::{Change, CredentialChange, Credentials, PASSKEYS_MAX};
use onward_core::{SessionId, UserId};
use uuid::Uuid;

use super::failure::Failure;
use super::people;
use super::session as sql;
use super::work::Work;
use crate::columns::Columns;
use crate::rows::people as rows;
use crate::stored::micros;

/// Which sessions end.
pub(super) struct Which {
    pub(super) user: UserId,
    /// None is all of them.
    pub(super) session: Option<SessionId>,
    /// The one that goes on.
    pub(super) keep: [u8; 32],
}

pub(super) async fn sessions(
    c: &Client,
    (user, seen_since, authenticated_since): &(UserId, Timestamp, Timestamp),
) -> Result<Vec<Session>, Failure> {
    let found = sql::all(
        c,
        "SELECT hash, id, account AS \"user\", strength, authenticated, last_seen, provider_session FROM sessions
         WHERE account = $1 AND last_seen >= $2 AND authenticated >= $3 ORDER BY authenticated DESC, hash",
        &[&user.0, &micros(*seen_since), &micros(*authenticated_since)],
    )
    .await?;
    found.iter().map(|row| Ok(rows::session_by_user(&Columns::of("sessions", row))?)).collect()
}

pub(super) async fn end_sessions<'j>(
    work: &mut Work<'j>,
    which: &Which,
    audit: &'j [AuditRow],
) -> Result<u64, Failure> {
    let ended = "DELETE FROM sessions WHERE account = $1 AND hash <> $2 AND ($3::uuid IS NULL OR id = $3)";
    let session = which.session.map(|session| session.0);
    let ended = sql::execute(work.client(), ended, &[&which.user.0, &which.keep.as_slice(), &session]).await?;
    if ended > 0 {
        work.audit(audit);
    }
    Ok(ended)
}

pub(super) async fn credentials(c: &Client, user: UserId) -> Result<Credentials, Failure> {
    let password = sql::first(c, "SELECT account FROM passwords WHERE account = $1", &[&user.0]).await?.is_some();
    let sql = "SELECT id, account AS \"user\", public_key, counter, added FROM passkeys WHERE account = $1
               ORDER BY added, id";
    let found = sql::all(c, sql, &[&user.0]).await?;
    let passkeys = found.iter().map(|row| Ok(rows::passkey_of(&Columns::of("passkeys", row))?));
    Ok(Credentials { password, passkeys: passkeys.collect::<Result<_, Failure>>()? })
}

pub(super) async fn add_passkey(c: &Client, user: Uuid, passkey: &Passkey) -> Result<(), Failure> {
    sql::execute(
        c,
        "INSERT INTO passkeys (id, account, public_key, counter, added) VALUES ($1, $2, $3, $4, $5)",
        &[&passkey.id, &user, &passkey.public_key, &i64::from(passkey.counter), &micros(passkey.added)],
    )
    .await?;
    Ok(())
}

/// With the account locked, its credentials are nobody else's to change meanwhile.
pub(super) async fn change<'j>(work: &mut Work<'j>, change: &'j CredentialChange) -> Result<bool, Failure> {
    let c = work.client();
    let id = change.user.0;
    if people::user_where(c, "id = $1 FOR UPDATE", &[&id]).await?.is_none_or(|user| user.disabled) {
        return Ok(false);
    }
    let changed = match &change.change {
        Change::Password { old, new } => {
            let sql = "UPDATE passwords SET hash = $1 WHERE account = $2 AND hash = $3";
            sql::execute(c, sql, &[new, &id, old]).await? > 0
        }
        Change::AddPasskey(passkey) => {
            let has = credentials(c, change.user).await?;
            let taken = sql::first(c, "SELECT account FROM passkeys WHERE id = $1", &[&passkey.id]).await?.is_some();
            let free = !taken && has.passkeys.len() < PASSKEYS_MAX as usize;
            if free {
                add_passkey(c, id, passkey).await?;
            }
            free
        }
        Change::RemovePasskey { id: passkey } => {
            let has = credentials(c, change.user).await?;
            let sql = "DELETE FROM passkeys WHERE id = $1 AND account = $2";
            (has.password || has.passkeys.len() > 1) && sql::execute(c, sql, &[passkey, &id]).await? > 0
        }
    };
    if changed {
        let others = "DELETE FROM sessions WHERE account = $1 AND hash <> $2";
        sql::execute(c, others, &[&id, &change.keep.as_slice()]).await?;
        work.audit(&change.audit);
    }
    Ok(changed)
}
