//! How things stand, for monitoring: one statement over indexes only.

use jiff::Timestamp;
use onward_core::store::Figures;
use rusqlite::Connection;

use super::failure::Failure;
use crate::columns::Columns;
use crate::query;
use crate::rows::add_figure;
use crate::stored::micros;

/// `?1` is now.
const FIGURES: &str = "
    SELECT 'accepted' AS what, NULL AS state, NULL AS transport, count(*) AS n, NULL AS oldest FROM transfers
    UNION ALL SELECT 'refused', NULL, NULL, count(*), NULL FROM audit_log WHERE word = 'refuse'
    UNION ALL SELECT 'held', NULL, NULL, count(*), NULL FROM holds
    UNION ALL SELECT 'open', NULL, NULL, count(*), NULL FROM holds WHERE closed IS NULL
    UNION ALL SELECT 'overdue', NULL, NULL, count(*), NULL FROM holds WHERE closed IS NULL AND due < ?1
    UNION ALL SELECT 'deliveries', state, CASE WHEN json_valid(endpoint) THEN json_extract(endpoint, '$.transport') END,
        count(*), min(created) FROM deliveries WHERE state <> 'failed'
        GROUP BY CASE WHEN json_valid(endpoint) THEN json_extract(endpoint, '$.transport') END, state
    UNION ALL SELECT 'closed', NULL, NULL, count(*), NULL FROM closures c
        JOIN deliveries k ON k.id = c.delivery AND k.version = c.version AND k.closed = c.version";

/// One arm for each way that an endpoint is stored as: its index begins with that, and nobody reads what has not failed.
fn failed() -> String {
    let arm = |stored: &str| {
        [
            "
    UNION ALL SELECT 'deliveries', 'failed', '",
            stored,
            "', count(*), min(f.created) FROM deliveries f
        WHERE CASE WHEN json_valid(f.endpoint) THEN json_extract(f.endpoint, '$.transport') END = '",
            stored,
            "' AND f.state = 'failed' AND (f.closed IS NULL OR f.closed <> f.version)",
        ]
        .concat()
    };
    ["inbox", "https", "process-message", "mesh", "gp-routing"].map(arm).concat()
}

pub(super) fn sql() -> String {
    [FIGURES, &failed(), &query::alerts::unread("?1")].concat()
}

pub(super) fn read(c: &Connection, now: Timestamp) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    let mut statement = c.prepare_cached(&sql())?;
    let mut rows = statement.query([micros(now)])?;
    while let Some(row) = rows.next()? {
        add_figure(&mut figures, &Columns::of("figures", row))?;
    }
    Ok(figures)
}
