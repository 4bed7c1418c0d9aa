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
    UNION ALL SELECT 'deliveries', state, json_extract(endpoint, '$.transport'), count(*), min(created) FROM deliveries
        GROUP BY state, json_extract(endpoint, '$.transport')";

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
