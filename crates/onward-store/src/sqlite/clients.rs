//! Machine clients, their tokens, and the assertions already used.

use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::client::{Client, Token};
use rusqlite::{Row, params};

use super::audit;
use super::failure::Failure;
use super::keyed::Keyed;
use crate::columns::Columns;
use crate::rows::{self, CLIENT};
use crate::stored::micros;

/// Adds or replaces, with the end of the tokens that do not survive it.
pub(super) fn put(c: &Keyed<'_>, client: &Client, audit: &[AuditRow]) -> Result<(), Failure> {
    let still_good = by_id(c, &client.id)?.is_some_and(|before| rows::tokens_survive(&before, client));
    if !still_good {
        c.prepare_cached("DELETE FROM tokens WHERE client_id = ?")?.execute([&client.id])?;
    }
    c.prepare_cached(
        "INSERT INTO clients (id, ods, role, jwks, certificate_sha256, mesh_mailbox, nhs_number_policy, disabled)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET ods = excluded.ods, role = excluded.role, jwks = excluded.jwks,
             certificate_sha256 = excluded.certificate_sha256, mesh_mailbox = excluded.mesh_mailbox,
             nhs_number_policy = excluded.nhs_number_policy, disabled = excluded.disabled",
    )?
    .execute(params![
        client.id,
        client.ods.as_str(),
        client.role.as_str(),
        client.jwks,
        client.certificate_sha256,
        client.mesh_mailbox,
        client.nhs_number_policy.as_str(),
        client.disabled,
    ])?;
    audit::append(c, audit)
}

pub(super) fn by_id(c: &Keyed<'_>, id: &str) -> Result<Option<Client>, Failure> {
    c.prepare_cached(&format!("SELECT {CLIENT} FROM clients WHERE id = ?"))?
        .query_and_then([id], client)?
        .next()
        .transpose()
}

pub(super) fn all(c: &Keyed<'_>) -> Result<Vec<Client>, Failure> {
    c.prepare_cached(&format!("SELECT {CLIENT} FROM clients ORDER BY id"))?.query_and_then([], client)?.collect()
}

fn client(row: &Row<'_>) -> Result<Client, Failure> {
    Ok(rows::client(&Columns::of("clients", row))?)
}

/// Expired assertions and tokens go by the way.
pub(super) fn redeem_assertion(
    c: &Keyed<'_>,
    jti: &str,
    jti_expires: Timestamp,
    token: &Token,
    client: &Client,
    now: Timestamp,
    audit: &[AuditRow],
) -> Result<bool, Failure> {
    if !by_id(c, &client.id)?.is_some_and(|now| rows::tokens_survive(client, &now)) {
        return Err(Failure::Overtaken);
    }
    c.prepare_cached("DELETE FROM assertions WHERE expires < ?")?.execute([micros(now)])?;
    c.prepare_cached("DELETE FROM tokens WHERE expires < ?")?.execute([micros(now)])?;
    if !is_unseen(c, &token.client_id, jti, jti_expires)? {
        return Ok(false);
    }
    c.prepare_cached(
        "INSERT INTO tokens (hash, client_id, expires, certificate_sha256, key_thumbprint) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(params![
        token.hash,
        token.client_id,
        micros(token.expires),
        token.certificate_sha256,
        token.key_thumbprint,
    ])?;
    audit::append(c, audit)?;
    Ok(true)
}

/// The insert decides: of any number that take note of one `jti`, one finds no row (goal I2).
fn is_unseen(c: &Keyed<'_>, issuer: &str, jti: &str, expires: Timestamp) -> Result<bool, Failure> {
    let unseen = c
        .prepare_cached("INSERT INTO assertions (client_id, jti, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![issuer, jti, micros(expires)])?;
    Ok(unseen == 1)
}

/// Expired ones go when an assertion is redeemed.
pub(super) fn note_first_use(
    c: &Keyed<'_>,
    issuer: &str,
    jti: &str,
    expires: Timestamp,
    audit: &[AuditRow],
) -> Result<bool, Failure> {
    let first = is_unseen(c, issuer, jti, expires)?;
    if first {
        audit::append(c, audit)?;
    }
    Ok(first)
}

pub(super) fn token(c: &Keyed<'_>, hash: &[u8; 32], now: Timestamp) -> Result<Option<(Token, Client)>, Failure> {
    let found = c
        .prepare_cached(
            "SELECT client_id, expires, certificate_sha256, key_thumbprint FROM tokens WHERE hash = ? AND expires >= ?",
        )?
        .query_and_then(params![hash, micros(now)], |row| -> Result<Token, Failure> {
            Ok(rows::token(&Columns::of("tokens", row), hash)?)
        })?
        .next()
        .transpose()?;
    let Some(token) = found else { return Ok(None) };
    let client = by_id(c, &token.client_id)?.ok_or_else(|| Failure::corrupt("tokens", "client_id"))?;
    Ok((!client.disabled).then_some((token, client)))
}
