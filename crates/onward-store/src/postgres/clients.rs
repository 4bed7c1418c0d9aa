//! Machine clients, their tokens, and the assertions already used.

use deadpool_postgres::Client as Connection;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::client::{Client, Token};
use tokio_postgres::Row;

use super::LeaseClock;
use super::dispatch::database_now;
use super::failure::Failure;
use super::keyed::Keyed;
use super::session;
use super::work::Work;
use crate::columns::Columns;
use crate::rows::{self, CLIENT};
use crate::stored::micros;

/// Adds or replaces, with the end of the tokens that do not survive it.
pub(super) async fn put<'j>(work: &mut Work<'j>, (client, audit): &'j (Client, Vec<AuditRow>)) -> Result<(), Failure> {
    let c = work.client();
    let before = find(c, &client.id, "FOR UPDATE").await?;
    if !before.is_some_and(|before| rows::tokens_survive(&before, client)) {
        session::execute(c, "DELETE FROM tokens WHERE client_id = $1", &[&client.id]).await?;
    }
    session::execute(
        c,
        "INSERT INTO clients (id, ods, role, jwks, certificate_sha256, mesh_mailbox, nhs_number_policy, disabled)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET ods = excluded.ods, role = excluded.role, jwks = excluded.jwks,
             certificate_sha256 = excluded.certificate_sha256, mesh_mailbox = excluded.mesh_mailbox,
             nhs_number_policy = excluded.nhs_number_policy, disabled = excluded.disabled",
        &[
            &client.id,
            &client.ods.as_str(),
            &client.role.as_str(),
            &client.jwks,
            &client.certificate_sha256,
            &client.mesh_mailbox,
            &client.nhs_number_policy.as_str(),
            &client.disabled,
        ],
    )
    .await?;
    work.audit(audit);
    Ok(())
}

pub(super) async fn by_id(c: &Connection, id: &str) -> Result<Option<Client>, Failure> {
    find(c, id, "").await
}

async fn find(c: &Connection, id: &str, lock: &str) -> Result<Option<Client>, Failure> {
    let sql = format!("SELECT {CLIENT} FROM clients WHERE id = $1 {lock}");
    session::first(c, &sql, &[&id]).await?.as_ref().map(client).transpose()
}

pub(super) async fn all(c: &Connection) -> Result<Vec<Client>, Failure> {
    let rows = session::all(c, &format!("SELECT {CLIENT} FROM clients"), &[]).await?;
    let mut clients = rows.iter().map(client).collect::<Result<Vec<_>, _>>()?;
    // Here, because databases differ in the order of texts.
    clients.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(clients)
}

fn client(row: &Row) -> Result<Client, Failure> {
    Ok(rows::client(&Columns::of("clients", row))?)
}

/// An assertion that is to become a token.
pub(super) struct Redemption {
    pub(super) jti: String,
    pub(super) jti_expires: Timestamp,
    pub(super) token: Token,
    /// The client as it was when the assertion was checked.
    pub(super) client: Client,
    pub(super) audit: Vec<AuditRow>,
    /// Now by this node's clock.
    #[cfg(test)]
    pub(super) now: Timestamp,
}

/// The insert decides: of any number that take note of one `jti`, on any number of nodes, one finds no row (goal I2).
async fn is_unseen(c: &Keyed, issuer: &str, jti: &str, expires: Timestamp) -> Result<bool, Failure> {
    let sql = "INSERT INTO assertions (client_id, jti, expires) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(session::execute(c, sql, &[&issuer, &jti, &micros(expires)]).await? == 1)
}

/// The use of another issuer's token.
pub(super) struct FirstUse {
    pub(super) issuer: String,
    pub(super) jti: String,
    pub(super) expires: Timestamp,
    pub(super) audit: Vec<AuditRow>,
}

/// Expired ones go when an assertion is redeemed.
pub(super) async fn note_first_use<'j>(work: &mut Work<'j>, used: &'j FirstUse) -> Result<bool, Failure> {
    let first = is_unseen(work.client(), &used.issuer, &used.jti, used.expires).await?;
    if first {
        work.audit(&used.audit);
    }
    Ok(first)
}

/// What has expired goes by the way: by the database's clock, or a node that is ahead would forget what others still believe.
pub(super) async fn redeem<'j>(work: &mut Work<'j>, redemption: &'j Redemption) -> Result<bool, Failure> {
    let c = work.client();
    let now = match work.shared().lease_clock {
        LeaseClock::Database => database_now(c).await?,
        #[cfg(test)]
        LeaseClock::Caller => micros(redemption.now),
    };
    // Rows that another node is purging are left to it.
    session::execute(
        c,
        "DELETE FROM assertions WHERE (client_id, jti) IN
             (SELECT client_id, jti FROM assertions WHERE expires < $1 LIMIT 1000 FOR UPDATE SKIP LOCKED)",
        &[&now],
    )
    .await?;
    session::execute(
        c,
        "DELETE FROM tokens WHERE hash IN (SELECT hash FROM tokens WHERE expires < $1 LIMIT 1000 FOR UPDATE SKIP LOCKED)",
        &[&now],
    )
    .await?;
    // Whoever changes the client waits for this lock, and then voids the token; whoever was before it is seen here.
    let client = find(c, &redemption.client.id, "FOR SHARE").await?;
    if !client.is_some_and(|now| rows::tokens_survive(&redemption.client, &now)) {
        return Err(Failure::Overtaken);
    }
    let token = &redemption.token;
    if !is_unseen(c, &token.client_id, &redemption.jti, redemption.jti_expires).await? {
        return Ok(false);
    }
    session::execute(
        c,
        "INSERT INTO tokens (hash, client_id, expires, certificate_sha256, key_thumbprint) VALUES ($1, $2, $3, $4, $5)",
        &[
            &token.hash.as_slice(),
            &token.client_id,
            &micros(token.expires),
            &token.certificate_sha256,
            &token.key_thumbprint,
        ],
    )
    .await?;
    work.audit(&redemption.audit);
    Ok(true)
}

/// One statement: the token and its client as they are at the same moment.
pub(super) async fn token(c: &Connection, hash: &[u8; 32], now: Timestamp) -> Result<Option<(Token, Client)>, Failure> {
    let found = session::first(
        c,
        "SELECT t.client_id, t.expires, t.certificate_sha256 AS bound_to, t.key_thumbprint, c.id, c.ods, c.role, c.jwks, c.certificate_sha256,
             c.mesh_mailbox, c.nhs_number_policy, c.disabled
         FROM tokens t JOIN clients c ON c.id = t.client_id WHERE t.hash = $1 AND t.expires >= $2 AND NOT c.disabled",
        &[&hash.as_slice(), &micros(now)],
    )
    .await?;
    let Some(row) = found else { return Ok(None) };
    let columns = Columns::of("tokens", &row);
    let token = Token { certificate_sha256: columns.get("bound_to")?, ..rows::token(&columns, hash)? };
    Ok(Some((token, client(&row)?)))
}
