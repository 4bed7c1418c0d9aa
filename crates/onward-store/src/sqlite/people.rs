//! Accounts of people, their credentials and sessions, and what guards the sign-in.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onward_core::audit::AuditRow;
use onward_core::people::{Ceremony, Credential, Invitation, Passkey, Password, Purpose, Session, Subject, User};
use onward_core::store::StoreError;
use onward_core::store::people::{
    CredentialChange, Credentials, Device, Enrolment, FailedAttempt, FailedAttempts, PeopleStore, Proof,
    ProviderLogout, SESSIONS_MAX, SignIn,
};
use onward_core::{SessionId, UserId};
use rusqlite::{OptionalExtension as _, Row, params};

use super::failure::Failure;
use super::keyed::Keyed;
use super::{SqliteStore, audit, own};
use crate::columns::Columns;
use crate::rows::people::{self as rows, USER};
use crate::stored::{json, micros, stored_count};

/// Sessions that are older are forgotten. None is good for as long as this.
const SESSION_KEPT: SignedDuration = SignedDuration::from_hours(48);

#[async_trait]
impl PeopleStore for SqliteStore {
    async fn put_user(
        &self,
        user: User,
        invitation: Option<Invitation>,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        self.write(move |c| put_user(c, &user, invitation.as_ref(), now, &audit)).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.read(move |c| user_by_id(c, id)).await
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let email = email.to_owned();
        self.read(move |c| user_where(c, "email = ?", [email])).await
    }

    async fn user_by_subject(&self, subject: &Subject) -> Result<Option<User>, StoreError> {
        let Subject { issuer, subject } = subject.clone();
        self.read(move |c| user_where(c, "issuer = ? AND subject = ?", [issuer, subject])).await
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.read(|c| {
            let mut statement = c.prepare_cached(&format!("SELECT {USER} FROM users ORDER BY email"))?;
            statement.query_and_then([], user)?.collect()
        })
        .await
    }

    async fn look(
        &self,
        user: UserId,
        at: Timestamp,
        spell: SignedDuration,
        audit: Vec<AuditRow>,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.write(move |c| {
            let before = c
                .prepare_cached(
                    "UPDATE users SET looked_before = CASE WHEN looked < ?1 THEN looked ELSE looked_before END,
                         looked = max(coalesce(looked, ?2), ?2)
                     WHERE id = ?3 RETURNING looked_before",
                )?
                .query_and_then(
                    params![micros(at.checked_sub(spell).unwrap_or(Timestamp::MIN)), micros(at), user.to_string()],
                    |row| -> Result<_, Failure> { Ok(Columns::of("users", row).moment_opt("looked_before")?) },
                )?
                .next()
                .transpose()?;
            audit::append(c, &audit)?;
            Ok(before.flatten())
        })
        .await
    }

    async fn invited(&self, invitation: &[u8; 32], now: Timestamp) -> Result<Option<User>, StoreError> {
        let hash = *invitation;
        self.read(move |c| invited(c, &hash, now)).await
    }

    async fn enrol(&self, enrolment: Enrolment) -> Result<bool, StoreError> {
        self.write(move |c| enrol(c, &enrolment)).await
    }

    async fn password(&self, user: UserId) -> Result<Option<Password>, StoreError> {
        self.read(move |c| password(c, user)).await
    }

    async fn passkey(&self, id: &[u8]) -> Result<Option<(Passkey, User)>, StoreError> {
        let id = id.to_vec();
        self.read(move |c| passkey(c, &id)).await
    }

    async fn sign_in(&self, sign_in: SignIn) -> Result<bool, StoreError> {
        self.write(move |c| self::sign_in(c, &sign_in)).await
    }

    async fn session(
        &self,
        hash: &[u8; 32],
        seen_since: Timestamp,
        authenticated_since: Timestamp,
    ) -> Result<Option<(Session, User)>, StoreError> {
        let hash = *hash;
        self.read(move |c| session(c, &hash, seen_since, authenticated_since)).await
    }

    async fn touch_session(&self, hash: &[u8; 32], at: Timestamp) -> Result<(), StoreError> {
        let hash = *hash;
        self.write(move |c| {
            c.prepare_cached("UPDATE sessions SET last_seen = max(last_seen, ?) WHERE hash = ?")?
                .execute(params![micros(at), hash])?;
            Ok(())
        })
        .await
    }

    async fn end_session(&self, hash: &[u8; 32], audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        let hash = *hash;
        self.write(move |c| {
            if c.prepare_cached("DELETE FROM sessions WHERE hash = ?")?.execute([hash])? == 0 {
                return Ok(false);
            }
            audit::append(c, &audit)?;
            Ok(true)
        })
        .await
    }

    async fn sessions_of(
        &self,
        user: UserId,
        seen_since: Timestamp,
        authenticated_since: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        self.read(move |c| own::sessions(c, user, seen_since, authenticated_since)).await
    }

    async fn end_sessions_of(
        &self,
        user: UserId,
        session: Option<SessionId>,
        keep: &[u8; 32],
        audit: Vec<AuditRow>,
    ) -> Result<u64, StoreError> {
        let keep = *keep;
        self.write(move |c| own::end_sessions(c, user, session, keep, &audit)).await
    }

    async fn credentials(&self, user: UserId) -> Result<Credentials, StoreError> {
        self.read(move |c| own::credentials(c, user)).await
    }

    async fn change_credentials(&self, change: CredentialChange) -> Result<bool, StoreError> {
        self.write(move |c| own::change(c, &change)).await
    }

    async fn end_provider_sessions(&self, logout: ProviderLogout) -> Result<bool, StoreError> {
        self.write(move |c| end_provider_sessions(c, &logout)).await
    }

    async fn knows_device(&self, user: UserId, device: &[u8; 32], now: Timestamp) -> Result<bool, StoreError> {
        let device = *device;
        self.read(move |c| {
            let mut statement =
                c.prepare_cached("SELECT 1 FROM devices WHERE hash = ? AND user = ? AND expires >= ?")?;
            Ok(statement.exists(params![device, user.to_string(), micros(now)])?)
        })
        .await
    }

    async fn put_ceremony(&self, ceremony: Ceremony, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |c| put_ceremony(c, &ceremony, now)).await
    }

    async fn take_ceremony(
        &self,
        hash: &[u8; 32],
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Option<Ceremony>, StoreError> {
        let hash = *hash;
        self.write(move |c| take_ceremony(c, hash, purpose, now)).await
    }

    async fn note_failure(
        &self,
        failed: FailedAttempt,
        keep: SignedDuration,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError> {
        self.write(move |c| note_failure(c, &failed, keep, &audit)).await
    }

    async fn failures(
        &self,
        account: &[u8; 32],
        address: &[u8; 32],
        since: Timestamp,
    ) -> Result<FailedAttempts, StoreError> {
        let (account, address) = (*account, *address);
        self.read(move |c| failures(c, &account, &address, since)).await
    }
}

fn put_user(
    c: &Keyed<'_>,
    user: &User,
    invitation: Option<&Invitation>,
    now: Timestamp,
    rows: &[AuditRow],
) -> Result<bool, Failure> {
    let id = user.id.to_string();
    let (issuer, subject) = user.subject.as_ref().map(|s| (&s.issuer, &s.subject)).unzip();
    let taken = c
        .prepare_cached("SELECT 1 FROM users WHERE id <> ?1 AND (email = ?2 OR (issuer = ?3 AND subject = ?4))")?
        .exists(params![id, user.email, issuer, subject])?;
    if taken {
        return Ok(false);
    }
    let before = user_by_id(c, user.id)?;
    c.prepare_cached(
        "INSERT INTO users (id, name, email, role, organisations, issuer, subject, disabled, disabled_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, role = excluded.role,
             organisations = excluded.organisations, issuer = excluded.issuer, subject = excluded.subject,
             disabled = excluded.disabled,
             disabled_at = CASE WHEN excluded.disabled THEN coalesce(users.disabled_at, excluded.disabled_at) END",
    )?
    .execute(params![
        id,
        user.name,
        user.email,
        user.role.as_str(),
        json(&user.organisations),
        issuer,
        subject,
        user.disabled,
        user.disabled.then(|| micros(now)),
    ])?;
    let still_good = before.is_some_and(|before| rows::sessions_survive(&before, user));
    if !still_good {
        c.prepare_cached("DELETE FROM sessions WHERE user = ?")?.execute([&id])?;
    }
    if user.disabled || invitation.is_some() {
        c.prepare_cached("DELETE FROM invitations WHERE user = ?")?.execute([&id])?;
    }
    if let (Some(invitation), false) = (invitation, user.disabled) {
        c.prepare_cached("INSERT INTO invitations (user, hash, expires) VALUES (?, ?, ?)")?.execute(params![
            id,
            invitation.hash,
            micros(invitation.expires)
        ])?;
    }
    audit::append(c, rows)?;
    Ok(true)
}

pub(super) fn user_by_id(c: &Keyed<'_>, id: UserId) -> Result<Option<User>, Failure> {
    user_where(c, "id = ?", [id.to_string()])
}

fn user_where<const N: usize>(c: &Keyed<'_>, condition: &str, values: [String; N]) -> Result<Option<User>, Failure> {
    c.prepare_cached(&format!("SELECT {USER} FROM users WHERE {condition}"))?
        .query_and_then(rusqlite::params_from_iter(values), user)?
        .next()
        .transpose()
}

fn user(row: &Row<'_>) -> Result<User, Failure> {
    Ok(rows::user(&Columns::of("users", row))?)
}

fn invited(c: &Keyed<'_>, hash: &[u8; 32], now: Timestamp) -> Result<Option<User>, Failure> {
    c.prepare_cached(&format!(
        "SELECT {USER} FROM users WHERE NOT disabled
         AND id = (SELECT user FROM invitations WHERE hash = ? AND expires >= ?)"
    ))?
    .query_and_then(params![hash, micros(now)], user)?
    .next()
    .transpose()
}

/// The deletion decides: of any number of uses of one invitation, one finds it.
fn enrol(c: &Keyed<'_>, enrolment: &Enrolment) -> Result<bool, Failure> {
    let session = &enrolment.session;
    let now = session.last_seen;
    let invited = invited(c, &enrolment.invitation, now)?;
    if invited.is_none_or(|user| user.id != session.user) {
        return Ok(false);
    }
    let id = session.user.to_string();
    let (issuer, subject) = match &enrolment.credential {
        Credential::Subject(Subject { issuer, subject }) => (Some(issuer), Some(subject)),
        Credential::Password(_) | Credential::Passkey(_) => (None, None),
    };
    let passkey = match &enrolment.credential {
        Credential::Passkey(passkey) => Some(&passkey.id),
        Credential::Password(_) | Credential::Subject(_) => None,
    };
    // Another account's is refused (WebAuthn §7.1, step 26); one's own may be set up anew.
    let others = c
        .prepare_cached(
            "SELECT 1 FROM passkeys WHERE id = ?1 AND user <> ?2
             UNION ALL SELECT 1 FROM users WHERE issuer = ?3 AND subject = ?4 AND id <> ?2",
        )?
        .exists(params![passkey, id, issuer, subject])?;
    if others {
        return Ok(false);
    }
    c.prepare_cached("UPDATE users SET issuer = ?, subject = ? WHERE id = ?")?.execute(params![issuer, subject, id])?;
    for table in ["invitations", "passwords", "passkeys", "sessions", "devices"] {
        c.prepare_cached(&format!("DELETE FROM {table} WHERE user = ?"))?.execute([&id])?;
    }
    match &enrolment.credential {
        Credential::Password(password) => {
            c.prepare_cached("INSERT INTO passwords (user, hash, totp_secret, totp_step) VALUES (?, ?, ?, ?)")?
                .execute(params![
                    id,
                    password.hash,
                    c.seal(c.keys().vault().gateway(), rows::of_totp(&id), &password.totp_secret)?,
                    stored_count(password.totp_step)
                ])?;
        }
        Credential::Passkey(passkey) => own::add_passkey(c, &id, passkey)?,
        Credential::Subject(_) => {}
    }
    begin(c, session, &enrolment.device)?;
    audit::append(c, &enrolment.audit)?;
    Ok(true)
}

fn password(c: &Keyed<'_>, user: UserId) -> Result<Option<Password>, Failure> {
    c.prepare_cached("SELECT hash, totp_secret, totp_step FROM passwords WHERE user = ?")?
        .query_and_then([user.to_string()], |row| {
            c.opened(|keys| rows::password(&Columns::of("passwords", row), keys, user))
        })?
        .next()
        .transpose()
}

fn passkey(c: &Keyed<'_>, id: &[u8]) -> Result<Option<(Passkey, User)>, Failure> {
    let found = c
        .prepare_cached("SELECT user, public_key, counter, added FROM passkeys WHERE id = ?")?
        .query_and_then([id], |row| -> Result<_, Failure> { Ok(rows::passkey(&Columns::of("passkeys", row), id)?) })?
        .next()
        .transpose()?;
    let Some((passkey, user)) = found else { return Ok(None) };
    let user = user_by_id(c, user)?.ok_or_else(|| Failure::corrupt("passkeys", "user"))?;
    Ok(Some((passkey, user)))
}

/// The update decides: of any number of uses of one code, one finds an earlier step.
fn sign_in(c: &Keyed<'_>, sign_in: &SignIn) -> Result<bool, Failure> {
    let session = &sign_in.session;
    let id = session.user.to_string();
    if user_by_id(c, session.user)?.is_none_or(|user| user.disabled) {
        return Ok(false);
    }
    let used = match &sign_in.proof {
        Proof::Code { step, hash } => c
            .prepare_cached("UPDATE passwords SET totp_step = ?1 WHERE user = ?2 AND totp_step < ?1 AND hash = ?3")?
            .execute(params![stored_count(*step), id, hash])?,
        Proof::Counter { id: passkey, counter } => c
            .prepare_cached(
                "UPDATE passkeys SET counter = ?1
                 WHERE id = ?2 AND user = ?3 AND (counter < ?1 OR (counter = 0 AND ?1 = 0))",
            )?
            .execute(params![counter, passkey, id])?,
        Proof::Federated => 1,
    };
    if used == 0 {
        return Ok(false);
    }
    if let Some(replaced) = &sign_in.replaces {
        c.prepare_cached("DELETE FROM sessions WHERE hash = ?")?.execute([replaced])?;
    }
    begin(c, session, &sign_in.device)?;
    audit::append(c, &sign_in.audit)?;
    Ok(true)
}

/// A session and its device; what has long expired goes by the way.
fn begin(c: &Keyed<'_>, session: &Session, device: &Device) -> Result<(), Failure> {
    let now = session.last_seen;
    let oldest = now.checked_sub(SESSION_KEPT).unwrap_or(Timestamp::MIN);
    c.prepare_cached("DELETE FROM sessions WHERE authenticated < ?")?.execute([micros(oldest)])?;
    c.prepare_cached("DELETE FROM devices WHERE expires < ?")?.execute([micros(now)])?;
    c.prepare_cached(
        "INSERT INTO sessions (hash, id, user, strength, authenticated, last_seen, provider_session)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        session.hash,
        session.id.to_string(),
        session.user.to_string(),
        session.strength.as_str(),
        micros(session.authenticated),
        micros(session.last_seen),
        session.provider_session,
    ])?;
    c.prepare_cached(
        "DELETE FROM sessions WHERE user = ?1 AND hash <> ?2 AND hash NOT IN
             (SELECT hash FROM sessions WHERE user = ?1 AND hash <> ?2 ORDER BY authenticated DESC, hash LIMIT ?3)",
    )?
    .execute(params![session.user.to_string(), session.hash, SESSIONS_MAX - 1])?;
    c.prepare_cached(
        "INSERT INTO devices (hash, user, expires) VALUES (?, ?, ?)
         ON CONFLICT (hash, user) DO UPDATE SET expires = excluded.expires",
    )?
    .execute(params![device.hash, session.user.to_string(), micros(device.expires)])?;
    Ok(())
}

fn session(
    c: &Keyed<'_>,
    hash: &[u8; 32],
    seen_since: Timestamp,
    authenticated_since: Timestamp,
) -> Result<Option<(Session, User)>, Failure> {
    let found = c
        .prepare_cached(
            "SELECT id, user, strength, authenticated, last_seen, provider_session FROM sessions
             WHERE hash = ? AND last_seen >= ? AND authenticated >= ?",
        )?
        .query_and_then(params![hash, micros(seen_since), micros(authenticated_since)], |row| -> Result<_, Failure> {
            Ok(rows::session(&Columns::of("sessions", row), hash)?)
        })?
        .next()
        .transpose()?;
    let Some(session) = found else { return Ok(None) };
    let user = user_by_id(c, session.user)?.ok_or_else(|| Failure::corrupt("sessions", "user"))?;
    Ok((!user.disabled).then_some((session, user)))
}

/// The insertion decides: of any number of uses of one token, one finds none.
fn end_provider_sessions(c: &Keyed<'_>, logout: &ProviderLogout) -> Result<bool, Failure> {
    let unused = c
        .prepare_cached(
            "INSERT INTO ceremonies (hash, purpose, data, expires) VALUES (?, ?, '', ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![logout.token, Purpose::Logout.as_str(), micros(logout.token_until)])?;
    if unused == 0 {
        return Ok(false);
    }
    c.prepare_cached(
        "DELETE FROM sessions WHERE (?1 IS NULL OR provider_session = ?1)
         AND user IN (SELECT id FROM users WHERE issuer = ?2 AND (?3 IS NULL OR subject = ?3))",
    )?
    .execute(params![logout.provider_session, logout.issuer, logout.subject])?;
    audit::append(c, &logout.audit)?;
    Ok(true)
}

fn put_ceremony(c: &Keyed<'_>, ceremony: &Ceremony, now: Timestamp) -> Result<(), Failure> {
    c.prepare_cached("DELETE FROM ceremonies WHERE expires < ?")?.execute([micros(now)])?;
    c.prepare_cached("INSERT INTO ceremonies (hash, purpose, user, data, expires) VALUES (?, ?, ?, ?, ?)")?.execute(
        params![
            ceremony.hash,
            ceremony.purpose.as_str(),
            ceremony.user.map(|user| user.to_string()),
            ceremony.data,
            micros(ceremony.expires),
        ],
    )?;
    Ok(())
}

fn take_ceremony(c: &Keyed<'_>, hash: [u8; 32], purpose: Purpose, now: Timestamp) -> Result<Option<Ceremony>, Failure> {
    c.prepare_cached(
        "DELETE FROM ceremonies WHERE hash = ? AND purpose = ? AND expires >= ? RETURNING user, data, expires",
    )?
    .query_and_then(params![hash, purpose.as_str(), micros(now)], |row| {
        Ok(rows::ceremony(&Columns::of("ceremonies", row), hash, purpose)?)
    })?
    .next()
    .transpose()
}

fn note_failure(c: &Keyed<'_>, failed: &FailedAttempt, keep: SignedDuration, rows: &[AuditRow]) -> Result<(), Failure> {
    let oldest = failed.at.checked_sub(keep).unwrap_or(Timestamp::MIN);
    c.prepare_cached("DELETE FROM sign_in_failures WHERE at < ?")?.execute([micros(oldest)])?;
    c.prepare_cached("INSERT INTO sign_in_failures (account, address, second_factor, at) VALUES (?, ?, ?, ?)")?
        .execute(params![failed.account, failed.address, failed.second_factor, micros(failed.at)])?;
    audit::append(c, rows)
}

fn failures(
    c: &Keyed<'_>,
    account: &[u8; 32],
    address: &[u8; 32],
    since: Timestamp,
) -> Result<FailedAttempts, Failure> {
    let of_account = c
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE address = ?2) AS pair, count(*) AS account,
                    count(*) FILTER (WHERE second_factor) AS second_factor
             FROM sign_in_failures WHERE account = ?1 AND at >= ?3",
        )?
        .query_row(params![account, address, micros(since)], |row| {
            Ok((row.get::<_, u32>("pair")?, row.get::<_, u32>("account")?, row.get::<_, u32>("second_factor")?))
        })
        .optional()?
        .unwrap_or_default();
    let of_address: u32 = c
        .prepare_cached("SELECT count(*) FROM sign_in_failures WHERE address = ? AND at >= ?")?
        .query_row(params![address, micros(since)], |row| row.get(0))?;
    Ok(FailedAttempts {
        pair: of_account.0.into(),
        address: of_address.into(),
        account: of_account.1.into(),
        second_factor: of_account.2.into(),
    })
}
