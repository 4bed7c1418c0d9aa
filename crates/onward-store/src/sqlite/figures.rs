//! How things stand, for monitoring: one statement over indexes only.

use jiff::Timestamp;
use onward_core::store::{DeliveryFigure, Figures};
use rusqlite::Connection;

use super::columns::{Columns, micros};
use super::failure::Failure;

/// `?1` is now.
pub(super) const FIGURES: &str = "
    SELECT 'accepted' AS what, NULL AS state, NULL AS transport, count(*) AS n, NULL AS oldest FROM transfers
    UNION ALL SELECT 'refused', NULL, NULL, count(*), NULL FROM audit_log WHERE word = 'refuse'
    UNION ALL SELECT 'held', NULL, NULL, count(*), NULL FROM holds
    UNION ALL SELECT 'open', NULL, NULL, count(*), NULL FROM holds WHERE closed IS NULL
    UNION ALL SELECT 'overdue', NULL, NULL, count(*), NULL FROM holds WHERE closed IS NULL AND due < ?1
    UNION ALL SELECT 'deliveries', state, CASE WHEN json_valid(endpoint) THEN json_extract(endpoint, '$.transport') END,
        count(*), min(created) FROM deliveries
        GROUP BY CASE WHEN json_valid(endpoint) THEN json_extract(endpoint, '$.transport') END, state";

pub(super) fn read(c: &Connection, now: Timestamp) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    let mut statement = c.prepare_cached(FIGURES)?;
    let mut rows = statement.query([micros(now)])?;
    while let Some(row) = rows.next()? {
        let columns = Columns::of("figures", row);
        let count = columns.count("n")?;
        match columns.get::<String>("what")?.as_str() {
            "accepted" => figures.accepted = count,
            "refused" => figures.refused = count,
            "held" => figures.held = count,
            "open" => figures.holds_open = count,
            "overdue" => figures.holds_overdue = count,
            // A copy whose endpoint is damaged waits for a person, and the log names it.
            _ if columns.get::<Option<String>>("transport")?.is_none() => {}
            _ => figures.deliveries.push(DeliveryFigure {
                state: columns.parsed("state")?,
                transport: columns.parsed("transport")?,
                count,
                oldest: columns.moment("oldest")?,
            }),
        }
    }
    Ok(figures)
}
