//! How things stand, for monitoring: one statement over counters and indexes.

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::store::Figures;

use super::failure::Failure;
use super::session;
use crate::columns::Columns;
use crate::query;
use crate::rows::add_figure;
use crate::stored::micros;

/// `$1` is now.
const FIGURES: &str = "
    SELECT 'accepted' AS what, NULL AS state, NULL AS transport, accepted AS n, NULL::bigint AS oldest FROM log_head
    UNION ALL SELECT 'refused', NULL, NULL, refused, NULL FROM log_head
    UNION ALL SELECT 'held', NULL, NULL, held, NULL FROM log_head
    UNION ALL SELECT 'open', NULL, NULL, count(*), NULL FROM holds WHERE closed IS NULL
    UNION ALL SELECT 'overdue', NULL, NULL, count(*), NULL FROM holds WHERE closed IS NULL AND due < $1
    UNION ALL SELECT 'deliveries', state, transport, count(*), min(created) FROM deliveries
        WHERE state <> 'failed' GROUP BY transport, state
    UNION ALL SELECT 'deliveries', 'failed', transport, count(*), min(created) FROM deliveries
        WHERE state = 'failed' AND (closed IS NULL OR closed <> version) GROUP BY transport
    UNION ALL SELECT 'closed', NULL, NULL, count(*), NULL FROM closures c
        JOIN deliveries k ON k.id = c.delivery AND k.version = c.version AND k.closed = c.version";

pub(super) async fn read(c: &Client, now: Timestamp) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    for row in session::all(c, &format!("{FIGURES}{}", query::alerts::unread("$1")), &[&micros(now)]).await? {
        add_figure(&mut figures, &Columns::of("figures", &row))?;
    }
    figures.deliveries.sort_by_key(|figure| (figure.transport.as_str(), figure.state.as_str()));
    Ok(figures)
}
