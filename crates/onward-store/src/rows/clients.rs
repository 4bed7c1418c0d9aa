//! Rows of machine clients and their tokens.

use onward_core::client::{Client, Token};

use crate::columns::{Columns, Corrupt};

/// The columns of [`client`].
pub(crate) const CLIENT: &str = "id, ods, role, jwks, certificate_sha256, mesh_mailbox, nhs_number_policy, disabled";

pub(crate) fn client(columns: &Columns<'_>) -> Result<Client, Corrupt> {
    Ok(Client {
        id: columns.get("id")?,
        ods: columns.parsed("ods")?,
        role: columns.parsed("role")?,
        jwks: columns.get("jwks")?,
        certificate_sha256: columns.get("certificate_sha256")?,
        mesh_mailbox: columns.get("mesh_mailbox")?,
        nhs_number_policy: columns.parsed("nhs_number_policy")?,
        disabled: columns.flag("disabled")?,
        under: None,
    })
}

/// Whether tokens live on after a client is replaced: they rest on the keys, certificate, organisation and role that it had
/// (trust.md §1, goal I3).
pub(crate) fn tokens_survive(before: &Client, after: &Client) -> bool {
    !after.disabled
        && before.jwks == after.jwks
        && before.certificate_sha256 == after.certificate_sha256
        && before.ods == after.ods
        && before.role == after.role
}

/// Of a row with `client_id`, `expires`, `certificate_sha256` and `key_thumbprint`.
pub(crate) fn token(columns: &Columns<'_>, hash: &[u8; 32]) -> Result<Token, Corrupt> {
    Ok(Token {
        hash: *hash,
        client_id: columns.get("client_id")?,
        expires: columns.moment("expires")?,
        certificate_sha256: columns.get("certificate_sha256")?,
        key_thumbprint: columns.get("key_thumbprint")?,
    })
}
