//! A bar chart as SVG: one bar a row of its table, each with its number, readable without colour.

use std::fmt::Write as _;

use super::figures::Table;
use crate::cli::sar::page::escape;

const WIDTH: u64 = 760;
const LABEL: u64 = 240;
const BAR: u64 = 400;
const LINE: u64 = 26;

/// The chart. What is suppressed has no bar and says so.
pub(super) fn svg(table: &Table) -> String {
    let most = table.bars.iter().filter_map(|(_, value)| *value).max().unwrap_or(0).max(1);
    let height = LINE * (table.bars.len() as u64 + 1) + 10;
    let title = escape(table.title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"14\"><title>{title} ({})</title>",
        escape(table.unit)
    );
    for (at, (label, value)) in table.bars.iter().enumerate() {
        let y = LINE * at as u64 + 10;
        let text = y + 16;
        let _ = write!(svg, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", LABEL - 8, escape(label));
        let (length, number) = match value {
            Some(value) => (BAR * value / most, value.to_string()),
            None => (0, "* (suppressed)".to_owned()),
        };
        let _ = write!(svg, "<rect x=\"{LABEL}\" y=\"{y}\" width=\"{length}\" height=\"20\" fill=\"#005eb8\"/>");
        let _ = write!(svg, "<text x=\"{}\" y=\"{text}\">{number}</text>", LABEL + length + 6);
    }
    svg.push_str("</svg>");
    svg
}
