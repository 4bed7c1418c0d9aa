//! What is counted, as tables.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use onward_core::Timestamp;
use onward_core::state::RecipientKind;
use onward_core::store::reporting::{ReportedCopy, ReportedTransfer};

use super::suppress::suppress;
use crate::cli::sar::page;
use crate::spreadsheet;

/// Times are told where at least so many copies count.
const COPIES_MIN: usize = 5;

/// A table, and the chart's bars.
pub(super) struct Table {
    /// Of its files.
    pub(super) name: &'static str,
    /// For people.
    pub(super) title: &'static str,
    /// What the bars measure.
    pub(super) unit: &'static str,
    pub(super) headings: Vec<&'static str>,
    /// Cells as printed.
    pub(super) rows: Vec<Vec<String>>,
    /// The bar of each row, `None` where it is suppressed.
    pub(super) bars: Vec<(String, Option<u64>)>,
}

impl Table {
    pub(super) fn csv(&self) -> Vec<u8> {
        let headings = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        spreadsheet::lines(std::iter::once(headings).chain(self.rows.iter().cloned()))
    }

    pub(super) fn html(&self) -> String {
        let cells = |cells: &mut dyn Iterator<Item = &str>, tag: &str| -> String {
            cells.map(|cell| format!("<{tag}>{}</{tag}>", page::escape(cell))).collect()
        };
        let head = cells(&mut self.headings.iter().copied(), "th");
        let rows = self.rows.iter().map(|row| format!("<tr>{}</tr>", cells(&mut row.iter().map(String::as_str), "td")));
        format!("<table><tr>{head}</tr>{}</table>", rows.collect::<String>())
    }
}

/// Everything counted.
pub(super) struct Figures {
    hospitals: BTreeMap<String, u64>,
    homes: BTreeMap<String, u64>,
    pathways: BTreeMap<String, u64>,
    days: BTreeMap<String, u64>,
    holds: BTreeMap<String, u64>,
    /// Seconds from message to door, by door.
    doors: BTreeMap<RecipientKind, Vec<i64>>,
    /// By whether the home had read its copy when the person arrived.
    at_arrival: BTreeMap<String, u64>,
}

impl Figures {
    /// Counts, as things stand at `now`: who has not arrived yet is not counted as read or unread.
    pub(super) fn of(transfers: &[ReportedTransfer], now: Timestamp) -> Self {
        let london = TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC);
        let mut figures = Self {
            hospitals: BTreeMap::new(),
            homes: BTreeMap::new(),
            pathways: BTreeMap::new(),
            days: BTreeMap::new(),
            holds: BTreeMap::new(),
            doors: BTreeMap::new(),
            at_arrival: AT_ARRIVAL.map(|word| (word.to_owned(), 0)).into(),
        };
        let count = |map: &mut BTreeMap<String, u64>, key: String| *map.entry(key).or_default() += 1;
        for transfer in transfers {
            count(&mut figures.hospitals, transfer.sender.to_string());
            let home = transfer.care_home.as_ref().map_or_else(|| "not known".to_owned(), ToString::to_string);
            count(&mut figures.homes, home);
            count(&mut figures.pathways, transfer.event.clone());
            count(&mut figures.days, transfer.received.to_zoned(london.clone()).date().to_string());
            if let Some(reason) = transfer.held {
                count(&mut figures.holds, reason.to_string());
            }
            for copy in &transfer.copies {
                if let Some(delivered) = copy.delivered {
                    let seconds = delivered.duration_since(transfer.received).as_secs().max(0);
                    figures.doors.entry(copy.kind).or_default().push(seconds);
                }
                if let Some(word) = at_arrival(copy, now) {
                    count(&mut figures.at_arrival, word.to_owned());
                }
            }
        }
        figures
    }

    /// As tables, numbers suppressed.
    pub(super) fn tables(&self) -> Vec<Table> {
        vec![
            counted("transfers-by-hospital", "Transfers by hospital", "hospital", &self.hospitals),
            counted("transfers-by-care-home", "Transfers by care home", "care home", &self.homes),
            counted("transfers-by-pathway", "Transfers by pathway", "pathway", &self.pathways),
            counted("transfers-by-day", "Transfers by day", "day", &self.days),
            self.times(),
            counted("unread-at-arrival", "Had the home read it when the person arrived?", "when", &self.at_arrival),
            counted("holds-by-reason", "Transfers that waited for a person, by reason", "reason", &self.holds),
        ]
    }

    fn times(&self) -> Table {
        let mut rows = Vec::new();
        let mut bars = Vec::new();
        for (door, seconds) in &self.doors {
            let mut sorted = seconds.clone();
            sorted.sort_unstable();
            let enough = sorted.len() >= COPIES_MIN;
            // Nearest rank: the smallest value with at least this share at or below it.
            let rank = |percent: usize| {
                let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
                enough.then(|| u64::try_from(sorted[at]).unwrap_or(0))
            };
            let [median, most] = [rank(50), rank(95)];
            let shown = |value: Option<u64>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
            let copies = enough.then_some(sorted.len() as u64);
            rows.push(vec![door.to_string(), shown(copies), shown(median), shown(most)]);
            bars.push((door.to_string(), median));
        }
        Table {
            name: "time-to-door",
            title: "Time from message to each door",
            unit: "seconds, median",
            headings: vec!["door", "copies", "median seconds", "95 of 100 within seconds"],
            rows,
            bars,
        }
    }
}

/// What a home had done with its copy when the person arrived; and, of those whose arrival nobody recorded, when they were expected.
const AT_ARRIVAL: [&str; 4] = [
    "read before the arrival",
    "unread at the arrival",
    "no arrival recorded: read before it was expected",
    "no arrival recorded: unread when it was expected",
];

/// Which of [`AT_ARRIVAL`]; nothing where neither moment has come.
fn at_arrival(copy: &ReportedCopy, now: Timestamp) -> Option<&'static str> {
    let [read, unread, read_before_expected, unread_when_expected] = AT_ARRIVAL;
    let (at, words) = match (copy.arrived, copy.expected) {
        (Some(arrived), _) => (arrived, [read, unread]),
        (None, expected) => (expected?, [read_before_expected, unread_when_expected]),
    };
    let counts = copy.kind == RecipientKind::CareHome && at <= now;
    counts.then(|| words[usize::from(copy.read.is_none_or(|read| read > at))])
}

fn counted(name: &'static str, title: &'static str, by: &'static str, counts: &BTreeMap<String, u64>) -> Table {
    let shown = suppress(&counts.values().copied().collect::<Vec<_>>());
    let text = |count: &Option<u64>| count.map_or_else(|| "*".to_owned(), |count| count.to_string());
    let keys = || match &shown.counts {
        Some(_) => counts.keys().cloned().collect(),
        None => vec!["all, too few to tell apart".to_owned()],
    };
    let of_keys = shown.counts.clone().unwrap_or_else(|| vec![shown.total]);
    let mut rows: Vec<Vec<String>> =
        keys().into_iter().zip(&of_keys).map(|(key, count)| vec![key, text(count)]).collect();
    rows.push(vec!["total".to_owned(), text(&shown.total)]);
    let bars = keys().into_iter().zip(of_keys).collect();
    Table { name, title, unit: "transfers", headings: vec![by, "transfers"], rows, bars }
}
