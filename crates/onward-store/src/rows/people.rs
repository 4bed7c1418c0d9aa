//! Rows about people who sign in.

use onward_core::UserId;
use onward_core::people::{Ceremony, Passkey, Password, Purpose, Session, Subject, User};

use crate::columns::{Columns, Corrupt};
use crate::sealing::{Keychain, Place, Unread};

/// The columns of [`user`].
pub(crate) const USER: &str = "id, name, email, role, organisations, issuer, subject, disabled";

pub(crate) fn user(columns: &Columns<'_>) -> Result<User, Corrupt> {
    let issuer: Option<String> = columns.get("issuer")?;
    let subject: Option<String> = columns.get("subject")?;
    Ok(User {
        id: columns.parsed("id")?,
        name: columns.get("name")?,
        email: columns.get("email")?,
        role: columns.parsed("role")?,
        organisations: columns.json("organisations")?,
        subject: issuer.zip(subject).map(|(issuer, subject)| Subject { issuer, subject }),
        disabled: columns.flag("disabled")?,
    })
}

/// Whether sessions live on after an account is replaced: they rest on role, organisations and subject.
pub(crate) fn sessions_survive(before: &User, after: &User) -> bool {
    !after.disabled
        && (before.role, &before.organisations, &before.subject) == (after.role, &after.organisations, &after.subject)
}

/// Of a row with `hash`, `totp_secret` and `totp_step`.
pub(crate) fn password(columns: &Columns<'_>, keys: &Keychain, user: UserId) -> Result<Password, Unread> {
    Ok(Password {
        hash: columns.get("hash")?,
        totp_secret: keys.open(of_totp(&user.to_string()), &columns.get::<Vec<u8>>("totp_secret")?)?,
        totp_step: columns.count("totp_step")?,
    })
}

/// Where the secret of an account's codes is sealed.
pub(crate) fn of_totp(user: &str) -> Place<'_> {
    Place::new("passwords", "totp_secret", user)
}

/// Of a row with `user`, `public_key`, `counter` and `added`: the passkey and whose it is.
pub(crate) fn passkey(columns: &Columns<'_>, id: &[u8]) -> Result<(Passkey, UserId), Corrupt> {
    let passkey = Passkey {
        id: id.to_owned(),
        public_key: columns.get("public_key")?,
        counter: columns.count("counter")?,
        added: columns.moment("added")?,
    };
    Ok((passkey, columns.parsed("user")?))
}

/// Of a row with `id`, `user`, `strength`, `authenticated`, `last_seen` and `provider_session`.
pub(crate) fn session(columns: &Columns<'_>, hash: &[u8; 32]) -> Result<Session, Corrupt> {
    Ok(Session {
        id: columns.parsed("id")?,
        hash: *hash,
        user: columns.parsed("user")?,
        strength: columns.parsed("strength")?,
        authenticated: columns.moment("authenticated")?,
        last_seen: columns.moment("last_seen")?,
        provider_session: columns.get("provider_session")?,
    })
}

/// Of a row with `hash`, `id`, `user`, `strength`, `authenticated`, `last_seen` and `provider_session`.
pub(crate) fn session_by_user(columns: &Columns<'_>) -> Result<Session, Corrupt> {
    session(columns, &columns.get("hash")?)
}

/// Of a row with `id`, `user`, `public_key`, `counter` and `added`.
pub(crate) fn passkey_of(columns: &Columns<'_>) -> Result<Passkey, Corrupt> {
    let id: Vec<u8> = columns.get("id")?;
    Ok(passkey(columns, &id)?.0)
}

/// Of a row with `user`, `data` and `expires`.
pub(crate) fn ceremony(columns: &Columns<'_>, hash: [u8; 32], purpose: Purpose) -> Result<Ceremony, Corrupt> {
    Ok(Ceremony {
        hash,
        purpose,
        user: columns.parsed_opt("user")?,
        data: columns.get("data")?,
        expires: columns.moment("expires")?,
    })
}
