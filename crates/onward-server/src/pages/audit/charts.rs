//! Disclosures counted: bars for the eye, each beside the table that says the same.

use std::collections::BTreeMap;

use jiff::civil::Date;
use onward_core::Timestamp;
use onward_transform::render::dates;

/// Bars of one chart at most; the rest is told as one line.
const BARS_MAX: usize = 31;
/// Width of the longest bar, in the units of the picture.
const WIDTH: u64 = 300;
/// Height of a bar with its name above it.
const LINE: usize = 44;
/// Characters of a name that the picture has room for.
const NAME_MAX: usize = 40;

/// A chart and its table.
pub(super) struct Chart {
    pub id: &'static str,
    pub title: &'static str,
    pub column: &'static str,
    pub bars: Vec<Bar>,
    pub height: usize,
}

/// One bar.
pub(super) struct Bar {
    pub name: String,
    /// The name as the picture has room for it; the table has all of it.
    pub short: String,
    pub count: u64,
    pub width: u64,
    /// Base line of the name, top of the bar, and the base line of its count.
    pub label: usize,
    pub top: usize,
    pub base: usize,
}

/// One disclosure: when, and to whom.
pub(super) struct Disclosed {
    pub at: Timestamp,
    pub to: String,
}

/// By day, by recipient, and in or out of hours.
pub(super) fn charts(disclosed: &[Disclosed]) -> Vec<Chart> {
    let mut days: BTreeMap<Date, u64> = BTreeMap::new();
    let mut recipients: BTreeMap<&str, u64> = BTreeMap::new();
    let mut hours = [0, 0];
    for each in disclosed {
        *days.entry(dates::civil(each.at)).or_default() += 1;
        *recipients.entry(each.to.as_str()).or_default() += 1;
        hours[usize::from(dates::is_out_of_hours(each.at))] += 1;
    }
    let days = days.into_iter().rev().map(|(day, count)| (dates::fhir(&day.to_string()), count)).collect();
    let mut recipients: Vec<(String, u64)> =
        recipients.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    recipients.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let [within, outside] = hours;
    let hours = vec![("Monday to Friday, 08:00 to 18:00".to_owned(), within), ("Out of hours".to_owned(), outside)];
    vec![
        Chart::new("by-day", "Disclosures by day", "Day", days),
        Chart::new("by-recipient", "Disclosures by recipient", "Recipient", recipients),
        Chart::new("by-hours", "Disclosures in and out of hours", "When", hours),
    ]
}

impl Chart {
    fn new(id: &'static str, title: &'static str, column: &'static str, mut counts: Vec<(String, u64)>) -> Self {
        if counts.len() > BARS_MAX {
            let rest: u64 = counts.drain(BARS_MAX - 1..).map(|(_, count)| count).sum();
            counts.push(("All others".to_owned(), rest));
        }
        let longest = counts.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
        let bars = counts.into_iter().enumerate().map(|(line, (name, count))| Bar {
            short: shortened(&name),
            name,
            count,
            width: count * WIDTH / longest,
            label: line * LINE + 17,
            top: line * LINE + 24,
            base: line * LINE + 37,
        });
        let bars: Vec<Bar> = bars.collect();
        Self { id, title, column, height: bars.len() * LINE + 4, bars }
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.to_owned();
    }
    name.chars().take(NAME_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_counts_what_its_table_says() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
        let disclosed = |moment: &str, to: &str| Disclosed { at: at(moment), to: to.to_owned() };
        let made = charts(&[
            disclosed("2026-11-26T10:00:00Z", "VMH01"),
            disclosed("2026-11-26T21:40:00Z", "VMH01"),
            disclosed("2026-11-25T10:00:00Z", "Y99001"),
        ]);
        let counts =
            |chart: &Chart| chart.bars.iter().map(|bar| (bar.name.clone(), bar.count, bar.width)).collect::<Vec<_>>();
        let of = |name: &str, count, width| (name.to_owned(), count, width);
        assert_eq!(counts(&made[0]), [of("26 November 2026", 2, 300), of("25 November 2026", 1, 150)]);
        assert_eq!(counts(&made[1]), [of("VMH01", 2, 300), of("Y99001", 1, 150)]);
        assert_eq!(counts(&made[2])[1], of("Out of hours", 1, 150));
        let many: Vec<Disclosed> = (0..40).map(|n| disclosed("2026-11-26T10:00:00Z", &format!("V{n:03}"))).collect();
        let bars = &charts(&many)[1].bars;
        assert_eq!((bars.len(), bars.last().map(|bar| bar.count)), (31, Some(10)));
        let long = &charts(&[disclosed("2026-11-26T10:00:00Z", &"é".repeat(300))])[1].bars[0];
        assert_eq!((long.name.chars().count(), long.short.chars().count()), (300, 40));
        assert!(charts(&[])[0].bars.is_empty());
    }
}
