//! Whether everything adds up, by the rules of every engine and those that only PostgreSQL needs: it counts what it keeps, and its
//! partitions refer to nothing.

use deadpool_postgres::Client;
use onward_core::store::Checkup;

use super::failure::Failure;
use super::session;
use crate::checkup::{self, RULES, SIZES};
use crate::columns::Columns;

/// A rule reads whole tables: it may take what no statement of the gateway may.
const PATIENCE: &str = "SET LOCAL statement_timeout = '1h'";

/// Rules of PostgreSQL's own.
pub(super) const OWN: &[(&str, &str)] = &[
    (
        "the audit log ends where its next entry goes",
        "SELECT audit_next AS flaw FROM log_head WHERE audit_next <> (SELECT coalesce(max(position) + 1, 0) FROM audit_log)",
    ),
    (
        "there are as many transfers as were counted",
        "SELECT accepted AS flaw FROM log_head WHERE accepted <> (SELECT count(*) FROM transfers)",
    ),
    (
        "there are as many holds as were counted",
        "SELECT held AS flaw FROM log_head WHERE held <> (SELECT count(*) FROM holds)",
    ),
    (
        "no copy stands where the next one goes, or behind",
        "SELECT delivery_next AS flaw FROM log_head WHERE delivery_next <= (SELECT coalesce(max(sequence), 0) FROM deliveries)",
    ),
    (
        "the newest checkpoint is there",
        "SELECT size AS flaw FROM checkpoint_head WHERE size <> (SELECT coalesce(max(size), -1) FROM checkpoints)",
    ),
    (
        "every message belongs to a transfer",
        "SELECT b.transfer AS flaw FROM message_bodies b WHERE NOT EXISTS (SELECT 1 FROM transfers t WHERE t.id = b.transfer)",
    ),
    (
        "all content belongs to a copy of its month",
        "SELECT b.delivery AS flaw FROM rendition_bodies b
             WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.id = b.delivery AND d.month = b.month)",
    ),
    (
        checkup::MISSED_PARTS,
        "SELECT b.delivery AS flaw FROM rendition_bodies b JOIN deliveries d ON d.id = b.delivery
             CROSS JOIN LATERAL jsonb_array_elements_text(b.parts::jsonb) u(digest)
             LEFT JOIN rendition_parts p ON p.transfer = d.transfer AND p.month = b.month AND p.digest = decode(u.digest, 'hex')
             WHERE p.digest IS NULL",
    ),
    (
        checkup::SPARE_PARTS,
        "SELECT p.transfer AS flaw FROM rendition_parts p LEFT JOIN (
                 SELECT d.transfer, b.month, decode(u.digest, 'hex') AS digest
                 FROM rendition_bodies b JOIN deliveries d ON d.id = b.delivery
                     CROSS JOIN LATERAL jsonb_array_elements_text(b.parts::jsonb) u(digest)) c
             ON c.transfer = p.transfer AND c.month = p.month AND c.digest = p.digest WHERE c.digest IS NULL",
    ),
];

/// By all rules, in the caller's one snapshot.
pub(super) async fn run(c: &Client) -> Result<Checkup, Failure> {
    c.batch_execute(PATIENCE).await?;
    let mut checkup = Checkup::default();
    for row in session::all(c, &checkup::transfers(), &[]).await? {
        checkup::place(&mut checkup, &Columns::of("checkup", &row))?;
    }
    let mut sizes = [0; SIZES.len()];
    for (sql, size) in SIZES.iter().zip(&mut sizes) {
        for row in session::all(c, sql, &[]).await? {
            *size = Columns::of("checkup", &row).count("n")?;
        }
    }
    [checkup.accepted, checkup.copies, checkup.audit] = sizes;
    checkup::add_up(&mut checkup);
    for (rule, sql) in RULES.iter().chain(OWN) {
        for row in session::all(c, &checkup::counted(sql), &[]).await? {
            checkup::judge(&mut checkup, rule, &Columns::of("checkup", &row))?;
        }
    }
    Ok(checkup)
}
