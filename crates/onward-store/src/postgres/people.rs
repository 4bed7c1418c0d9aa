//! Accounts of people, their credentials and sessions, and what guards the sign-in. What changes an account locks its row, so
//! that nothing is decided on an account that another node is changing.

use async_trait::async_trait;
use deadpool_postgres::Client;
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use onward_core::audit::AuditRow;
use onward_core::people::{Ceremony, Credential, Invitation, Passkey, Password, Purpose, Session, Subject, User};
use onward_core::store::StoreError;
use onward_core::store::people::{
    CredentialChange, Credentials, Device, Enrolment, FailedAttempt, FailedAttempts, PeopleStore, Proof,
    ProviderLogout, SESSIONS_MAX, SignIn,
};
use onward_core::{SessionId, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::failure::Failure;
use super::keyed::Keyed;
use super::session::{self as sql, Params};
use super::work::Work;
use super::{PostgresStore, own};
use crate::columns::Columns;
use crate::rows::people::{self as rows, USER};
use crate::stored::{json, micros, stored_count};

/// Sessions that are older are forgotten. None is good for as long as this.
const SESSION_KEPT: SignedDuration = SignedDuration::from_hours(48);

#[async_trait]
impl PeopleStore for PostgresStore {
    async fn put_user(
        &self,
        user: User,
        invitation: Option<Invitation>,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let disabled_at = user.disabled.then(|| micros(self.clock.now()));
        self.writers.run((user, invitation, disabled_at, audit), |work, input| put_user(work, input).boxed()).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.read(id, |c, id| async move { user_where(c, "id = $1", &[&id.0]).await }.boxed()).await
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        self.read(email.to_owned(), |c, email| async move { user_where(c, "email = $1", &[email]).await }.boxed()).await
    }

    async fn user_by_subject(&self, subject: &Subject) -> Result<Option<User>, StoreError> {
        let look: super::Look<Subject, Option<User>> = |c, subject| {
            async move { user_where(c, "issuer = $1 AND subject = $2", &[&subject.issuer, &subject.subject]).await }
                .boxed()
        };
        self.read(subject.clone(), look).await
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.read((), |c, ()| users(c).boxed()).await
    }

    async fn look(
        &self,
        user: UserId,
        at: Timestamp,
        spell: SignedDuration,
        audit: Vec<AuditRow>,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.writers.run((user, at, spell, audit), |work, input| look(work, input).boxed()).await
    }

    async fn invited(&self, invitation: &[u8; 32], now: Timestamp) -> Result<Option<User>, StoreError> {
        self.read((*invitation, now), |c, (hash, now)| invited(c, hash, *now, "").boxed()).await
    }

    async fn enrol(&self, enrolment: Enrolment) -> Result<bool, StoreError> {
        self.writers.run(enrolment, |work, enrolment| enrol(work, enrolment).boxed()).await
    }

    async fn password(&self, user: UserId) -> Result<Option<Password>, StoreError> {
        self.read(user, |c, user| password(c, *user).boxed()).await
    }

    async fn passkey(&self, id: &[u8]) -> Result<Option<(Passkey, User)>, StoreError> {
        self.read(id.to_vec(), |c, id| passkey(c, id).boxed()).await
    }

    async fn sign_in(&self, sign_in: SignIn) -> Result<bool, StoreError> {
        self.writers.run(sign_in, |work, sign_in| self::sign_in(work, sign_in).boxed()).await
    }

    async fn session(
        &self,
        hash: &[u8; 32],
        seen_since: Timestamp,
        authenticated_since: Timestamp,
    ) -> Result<Option<(Session, User)>, StoreError> {
        self.read((*hash, seen_since, authenticated_since), |c, input| session(c, input).boxed()).await
    }

    async fn touch_session(&self, hash: &[u8; 32], at: Timestamp) -> Result<(), StoreError> {
        self.writers.run((*hash, at), |work, (hash, at)| touch(work, hash, *at).boxed()).await
    }

    async fn end_session(&self, hash: &[u8; 32], audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.writers.run((*hash, audit), |work, (hash, audit)| end_session(work, hash, audit).boxed()).await
    }

    async fn sessions_of(
        &self,
        user: UserId,
        seen_since: Timestamp,
        authenticated_since: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        self.read((user, seen_since, authenticated_since), |c, input| own::sessions(c, input).boxed()).await
    }

    async fn end_sessions_of(
        &self,
        user: UserId,
        session: Option<SessionId>,
        keep: &[u8; 32],
        audit: Vec<AuditRow>,
    ) -> Result<u64, StoreError> {
        let which = own::Which { user, session, keep: *keep };
        self.writers.run((which, audit), |work, (which, audit)| own::end_sessions(work, which, audit).boxed()).await
    }

    async fn credentials(&self, user: UserId) -> Result<Credentials, StoreError> {
        self.read(user, |c, user| own::credentials(c, *user).boxed()).await
    }

    async fn change_credentials(&self, change: CredentialChange) -> Result<bool, StoreError> {
        self.writers.run(change, |work, change| own::change(work, change).boxed()).await
    }

    async fn end_provider_sessions(&self, logout: ProviderLogout) -> Result<bool, StoreError> {
        self.writers.run(logout, |work, logout| end_provider_sessions(work, logout).boxed()).await
    }

    async fn knows_device(&self, user: UserId, device: &[u8; 32], now: Timestamp) -> Result<bool, StoreError> {
        self.read((user, *device, now), |c, input| knows_device(c, input).boxed()).await
    }

    async fn put_ceremony(&self, ceremony: Ceremony, now: Timestamp) -> Result<(), StoreError> {
        self.writers.run((ceremony, now), |work, (ceremony, now)| put_ceremony(work, ceremony, *now).boxed()).await
    }

    async fn take_ceremony(
        &self,
        hash: &[u8; 32],
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Option<Ceremony>, StoreError> {
        self.writers.run((*hash, purpose, now), |work, input| take_ceremony(work, input).boxed()).await
    }

    async fn note_failure(
        &self,
        failed: FailedAttempt,
        keep: SignedDuration,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError> {
        self.writers.run((failed, keep, audit), |work, input| note_failure(work, input).boxed()).await
    }

    async fn failures(
        &self,
        account: &[u8; 32],
        address: &[u8; 32],
        since: Timestamp,
    ) -> Result<FailedAttempts, StoreError> {
        self.read((*account, *address, since), |c, input| failures(c, input).boxed()).await
    }
}

async fn look<'j>(
    work: &mut Work<'j>,
    (user, at, spell, audit): &'j (UserId, Timestamp, SignedDuration, Vec<AuditRow>),
) -> Result<Option<Timestamp>, Failure> {
    let spell_began = micros(at.checked_sub(*spell).unwrap_or(Timestamp::MIN));
    let found = sql::first(
        work.client(),
        "UPDATE users SET looked_before = CASE WHEN looked < $1 THEN looked ELSE looked_before END,
             looked = greatest(looked, $2)
         WHERE id = $3 RETURNING looked_before",
        &[&spell_began, &micros(*at), &user.0],
    )
    .await?;
    work.audit(audit);
    match found {
        Some(row) => Ok(Columns::of("users", &row).moment_opt("looked_before")?),
        None => Ok(None),
    }
}

async fn put_user<'j>(
    work: &mut Work<'j>,
    (user, invitation, disabled_at, audit): &'j (User, Option<Invitation>, Option<i64>, Vec<AuditRow>),
) -> Result<bool, Failure> {
    let c = work.client();
    let (issuer, subject) = user.subject.as_ref().map(|s| (&s.issuer, &s.subject)).unzip();
    let taken = sql::first(
        c,
        "SELECT id FROM users WHERE id <> $1 AND (email = $2 OR (issuer = $3 AND subject = $4))",
        &[&user.id.0, &user.email, &issuer, &subject],
    )
    .await?;
    if taken.is_some() {
        return Ok(false);
    }
    let before = user_where(c, "id = $1 FOR UPDATE", &[&user.id.0]).await?;
    sql::execute(
        c,
        "INSERT INTO users (id, name, email, role, organisations, issuer, subject, disabled, disabled_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, role = excluded.role,
             organisations = excluded.organisations, issuer = excluded.issuer, subject = excluded.subject,
             disabled = excluded.disabled,
             disabled_at = CASE WHEN excluded.disabled THEN coalesce(users.disabled_at, excluded.disabled_at) END",
        &[
            &user.id.0,
            &user.name,
            &user.email,
            &user.role.as_str(),
            &json(&user.organisations),
            &issuer,
            &subject,
            &user.disabled,
            &disabled_at,
        ],
    )
    .await?;
    if !before.is_some_and(|before| rows::sessions_survive(&before, user)) {
        sql::execute(c, "DELETE FROM sessions WHERE account = $1", &[&user.id.0]).await?;
    }
    if user.disabled || invitation.is_some() {
        sql::execute(c, "DELETE FROM invitations WHERE account = $1", &[&user.id.0]).await?;
    }
    if let (Some(invitation), false) = (invitation, user.disabled) {
        sql::execute(
            c,
            "INSERT INTO invitations (account, hash, expires) VALUES ($1, $2, $3)",
            &[&user.id.0, &invitation.hash.as_slice(), &micros(invitation.expires)],
        )
        .await?;
    }
    work.audit(audit);
    Ok(true)
}

pub(super) async fn user_where(c: &Client, condition: &str, params: Params<'_>) -> Result<Option<User>, Failure> {
    let sql = format!("SELECT {USER} FROM users WHERE {condition}");
    sql::first(c, &sql, params).await?.as_ref().map(user).transpose()
}

async fn users(c: &Client) -> Result<Vec<User>, Failure> {
    let rows = sql::all(c, &format!("SELECT {USER} FROM users"), &[]).await?;
    let mut users = rows.iter().map(user).collect::<Result<Vec<_>, _>>()?;
    // Here, because databases differ in the order of texts.
    users.sort_by(|a, b| a.email.cmp(&b.email));
    Ok(users)
}

fn user(row: &Row) -> Result<User, Failure> {
    Ok(rows::user(&Columns::of("users", row))?)
}

async fn invited(c: &Client, hash: &[u8; 32], now: Timestamp, lock: &str) -> Result<Option<User>, Failure> {
    let condition =
        format!("NOT disabled AND id = (SELECT account FROM invitations WHERE hash = $1 AND expires >= $2) {lock}");
    user_where(c, &condition, &[&hash.as_slice(), &micros(now)]).await
}

/// The deletion decides: of any number of uses of one invitation, on any number of nodes, one finds it.
async fn enrol<'j>(work: &mut Work<'j>, enrolment: &'j Enrolment) -> Result<bool, Failure> {
    let c = work.client();
    let session = &enrolment.session;
    let id: Uuid = session.user.0;
    let invited = invited(c, &enrolment.invitation, session.last_seen, "FOR UPDATE").await?;
    if invited.is_none_or(|user| user.id != session.user) {
        return Ok(false);
    }
    // Another account's is refused (WebAuthn §7.1, step 26); one's own may be set up anew.
    let others = match &enrolment.credential {
        Credential::Password(_) => None,
        Credential::Passkey(passkey) => {
            sql::first(c, "SELECT account FROM passkeys WHERE id = $1 AND account <> $2", &[&passkey.id, &id]).await?
        }
        Credential::Subject(Subject { issuer, subject }) => {
            let others = "SELECT id FROM users WHERE issuer = $1 AND subject = $2 AND id <> $3";
            sql::first(c, others, &[issuer, subject, &id]).await?
        }
    };
    if others.is_some() {
        return Ok(false);
    }
    let used = "DELETE FROM invitations WHERE account = $1 AND hash = $2";
    if sql::execute(c, used, &[&id, &enrolment.invitation.as_slice()]).await? == 0 {
        return Ok(false);
    }
    for table in ["passwords", "passkeys", "sessions", "devices"] {
        sql::execute(c, &format!("DELETE FROM {table} WHERE account = $1"), &[&id]).await?;
    }
    let (issuer, subject) = match &enrolment.credential {
        Credential::Subject(Subject { issuer, subject }) => (Some(issuer), Some(subject)),
        Credential::Password(_) | Credential::Passkey(_) => (None, None),
    };
    sql::execute(c, "UPDATE users SET issuer = $1, subject = $2 WHERE id = $3", &[&issuer, &subject, &id]).await?;
    match &enrolment.credential {
        Credential::Subject(_) => {}
        Credential::Password(password) => {
            let gateway = c.gateway().await?;
            let secret = c.keys().seal(gateway, rows::of_totp(&id.to_string()), &password.totp_secret)?;
            sql::execute(
                c,
                "INSERT INTO passwords (account, hash, totp_secret, totp_step) VALUES ($1, $2, $3, $4)",
                &[&id, &password.hash, &secret, &stored_count(password.totp_step)],
            )
            .await?;
        }
        Credential::Passkey(passkey) => own::add_passkey(c, id, passkey).await?,
    }
    begin(c, session, &enrolment.device).await?;
    work.audit(&enrolment.audit);
    Ok(true)
}

async fn password(c: &Keyed, user: UserId) -> Result<Option<Password>, Failure> {
    let sql = "SELECT hash, totp_secret, totp_step FROM passwords WHERE account = $1";
    let found = sql::first(c, sql, &[&user.0]).await?;
    c.opened_one(found.as_ref(), |row, keys| rows::password(&Columns::of("passwords", row), keys, user)).await
}

async fn passkey(c: &Client, id: &[u8]) -> Result<Option<(Passkey, User)>, Failure> {
    let sql = "SELECT account AS \"user\", public_key, counter, added FROM passkeys WHERE id = $1";
    let Some(row) = sql::first(c, sql, &[&id]).await? else { return Ok(None) };
    let (passkey, user) = rows::passkey(&Columns::of("passkeys", &row), id)?;
    let user = user_where(c, "id = $1", &[&user.0]).await?.ok_or_else(|| Failure::corrupt("passkeys", "account"))?;
    Ok(Some((passkey, user)))
}

/// The update decides: of any number of uses of one code, one finds an earlier step.
async fn sign_in<'j>(work: &mut Work<'j>, sign_in: &'j SignIn) -> Result<bool, Failure> {
    let c = work.client();
    let session = &sign_in.session;
    let id: Uuid = session.user.0;
    if user_where(c, "id = $1 FOR SHARE", &[&id]).await?.is_none_or(|user| user.disabled) {
        return Ok(false);
    }
    let used = match &sign_in.proof {
        Proof::Code { step, hash } => {
            let sql = "UPDATE passwords SET totp_step = $1 WHERE account = $2 AND totp_step < $1 AND hash = $3";
            sql::execute(c, sql, &[&stored_count(*step), &id, hash]).await?
        }
        Proof::Counter { id: passkey, counter } => {
            sql::execute(
                c,
                "UPDATE passkeys SET counter = $1
                 WHERE id = $2 AND account = $3 AND (counter < $1 OR (counter = 0 AND $1 = 0))",
                &[&i64::from(*counter), passkey, &id],
            )
            .await?
        }
        Proof::Federated => 1,
    };
    if used == 0 {
        return Ok(false);
    }
    if let Some(replaced) = &sign_in.replaces {
        sql::execute(c, "DELETE FROM sessions WHERE hash = $1", &[&replaced.as_slice()]).await?;
    }
    begin(c, session, &sign_in.device).await?;
    work.audit(&sign_in.audit);
    Ok(true)
}

/// A session and its device; what has long expired goes by the way, unless another node is at it.
async fn begin(c: &Client, session: &Session, device: &Device) -> Result<(), Failure> {
    let now = session.last_seen;
    let oldest = now.checked_sub(SESSION_KEPT).unwrap_or(Timestamp::MIN);
    sql::execute(
        c,
        "DELETE FROM sessions WHERE hash IN
             (SELECT hash FROM sessions WHERE authenticated < $1 LIMIT 1000 FOR UPDATE SKIP LOCKED)",
        &[&micros(oldest)],
    )
    .await?;
    sql::execute(
        c,
        "DELETE FROM devices WHERE (hash, account) IN
             (SELECT hash, account FROM devices WHERE expires < $1 LIMIT 1000 FOR UPDATE SKIP LOCKED)",
        &[&micros(now)],
    )
    .await?;
    sql::execute(
        c,
        "INSERT INTO sessions (hash, id, account, strength, authenticated, last_seen, provider_session)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[
            &session.hash.as_slice(),
            &session.id.0,
            &session.user.0,
            &session.strength.as_str(),
            &micros(session.authenticated),
            &micros(session.last_seen),
            &session.provider_session,
        ],
    )
    .await?;
    sql::execute(
        c,
        "DELETE FROM sessions WHERE account = $1 AND hash <> $2 AND hash NOT IN
             (SELECT hash FROM sessions WHERE account = $1 AND hash <> $2 ORDER BY authenticated DESC, hash LIMIT $3)",
        &[&session.user.0, &session.hash.as_slice(), &i64::from(SESSIONS_MAX - 1)],
    )
    .await?;
    sql::execute(
        c,
        "INSERT INTO devices (hash, account, expires) VALUES ($1, $2, $3)
         ON CONFLICT (hash, account) DO UPDATE SET expires = excluded.expires",
        &[&device.hash.as_slice(), &session.user.0, &micros(device.expires)],
    )
    .await?;
    Ok(())
}

async fn session(
    c: &Client,
    (hash, seen_since, authenticated_since): &([u8; 32], Timestamp, Timestamp),
) -> Result<Option<(Session, User)>, Failure> {
    let found = sql::first(
        c,
        "SELECT id, account AS \"user\", strength, authenticated, last_seen, provider_session FROM sessions
         WHERE hash = $1 AND last_seen >= $2 AND authenticated >= $3",
        &[&hash.as_slice(), &micros(*seen_since), &micros(*authenticated_since)],
    )
    .await?;
    let Some(row) = found else { return Ok(None) };
    let session = rows::session(&Columns::of("sessions", &row), hash)?;
    let user = user_where(c, "id = $1", &[&session.user.0]).await?;
    let user = user.ok_or_else(|| Failure::corrupt("sessions", "account"))?;
    Ok((!user.disabled).then_some((session, user)))
}

async fn touch(work: &mut Work<'_>, hash: &[u8; 32], at: Timestamp) -> Result<(), Failure> {
    let sql = "UPDATE sessions SET last_seen = greatest(last_seen, $1) WHERE hash = $2";
    sql::execute(work.client(), sql, &[&micros(at), &hash.as_slice()]).await?;
    Ok(())
}

async fn end_session<'j>(work: &mut Work<'j>, hash: &[u8; 32], audit: &'j [AuditRow]) -> Result<bool, Failure> {
    if sql::execute(work.client(), "DELETE FROM sessions WHERE hash = $1", &[&hash.as_slice()]).await? == 0 {
        return Ok(false);
    }
    work.audit(audit);
    Ok(true)
}

/// The insertion decides: of any number of uses of one token, on any number of nodes, one finds none.
async fn end_provider_sessions<'j>(work: &mut Work<'j>, logout: &'j ProviderLogout) -> Result<bool, Failure> {
    let used = "INSERT INTO ceremonies (hash, purpose, data, expires) VALUES ($1, $2, '', $3) ON CONFLICT DO NOTHING";
    let values: Params<'_> = &[&logout.token.as_slice(), &Purpose::Logout.as_str(), &micros(logout.token_until)];
    if sql::execute(work.client(), used, values).await? == 0 {
        return Ok(false);
    }
    let ended = "DELETE FROM sessions WHERE ($1::text IS NULL OR provider_session = $1)
                 AND account IN (SELECT id FROM users WHERE issuer = $2 AND ($3::text IS NULL OR subject = $3))";
    sql::execute(work.client(), ended, &[&logout.provider_session, &logout.issuer, &logout.subject]).await?;
    work.audit(&logout.audit);
    Ok(true)
}

async fn knows_device(c: &Client, (user, device, now): &(UserId, [u8; 32], Timestamp)) -> Result<bool, Failure> {
    let sql = "SELECT account FROM devices WHERE hash = $1 AND account = $2 AND expires >= $3";
    Ok(sql::first(c, sql, &[&device.as_slice(), &user.0, &micros(*now)]).await?.is_some())
}

async fn put_ceremony(work: &mut Work<'_>, ceremony: &Ceremony, now: Timestamp) -> Result<(), Failure> {
    sql::execute(
        work.client(),
        "DELETE FROM ceremonies WHERE hash IN
             (SELECT hash FROM ceremonies WHERE expires < $1 LIMIT 1000 FOR UPDATE SKIP LOCKED)",
        &[&micros(now)],
    )
    .await?;
    sql::execute(
        work.client(),
        "INSERT INTO ceremonies (hash, purpose, account, data, expires) VALUES ($1, $2, $3, $4, $5)",
        &[
            &ceremony.hash.as_slice(),
            &ceremony.purpose.as_str(),
            &ceremony.user.map(|user| user.0),
            &ceremony.data,
            &micros(ceremony.expires),
        ],
    )
    .await?;
    Ok(())
}

async fn take_ceremony(
    work: &mut Work<'_>,
    (hash, purpose, now): &([u8; 32], Purpose, Timestamp),
) -> Result<Option<Ceremony>, Failure> {
    let taken = sql::first(
        work.client(),
        "DELETE FROM ceremonies WHERE hash = $1 AND purpose = $2 AND expires >= $3
         RETURNING account AS \"user\", data, expires",
        &[&hash.as_slice(), &purpose.as_str(), &micros(*now)],
    )
    .await?;
    taken.map(|row| Ok(rows::ceremony(&Columns::of("ceremonies", &row), *hash, *purpose)?)).transpose()
}

async fn note_failure<'j>(
    work: &mut Work<'j>,
    (failed, keep, audit): &'j (FailedAttempt, SignedDuration, Vec<AuditRow>),
) -> Result<(), Failure> {
    let oldest = failed.at.checked_sub(*keep).unwrap_or(Timestamp::MIN);
    sql::execute(
        work.client(),
        "DELETE FROM sign_in_failures WHERE id IN
             (SELECT id FROM sign_in_failures WHERE at < $1 LIMIT 1000 FOR UPDATE SKIP LOCKED)",
        &[&micros(oldest)],
    )
    .await?;
    sql::execute(
        work.client(),
        "INSERT INTO sign_in_failures (id, account, address, second_factor, at) VALUES ($1, $2, $3, $4, $5)",
        &[
            &Uuid::new_v4(),
            &failed.account.as_slice(),
            &failed.address.as_slice(),
            &failed.second_factor,
            &micros(failed.at),
        ],
    )
    .await?;
    work.audit(audit);
    Ok(())
}

async fn failures(
    c: &Client,
    (account, address, since): &([u8; 32], [u8; 32], Timestamp),
) -> Result<FailedAttempts, Failure> {
    let counted = sql::first(
        c,
        "SELECT count(*) FILTER (WHERE account = $1 AND address = $2) AS pair,
             count(*) FILTER (WHERE address = $2) AS address, count(*) FILTER (WHERE account = $1) AS account,
             count(*) FILTER (WHERE account = $1 AND second_factor) AS second_factor
         FROM sign_in_failures WHERE (account = $1 OR address = $2) AND at >= $3",
        &[&account.as_slice(), &address.as_slice(), &micros(*since)],
    )
    .await?;
    let row = counted.ok_or_else(|| Failure::corrupt("sign_in_failures", "account"))?;
    let columns = Columns::of("sign_in_failures", &row);
    Ok(FailedAttempts {
        pair: columns.count("pair")?,
        address: columns.count("address")?,
        account: columns.count("account")?,
        second_factor: columns.count("second_factor")?,
    })
}
