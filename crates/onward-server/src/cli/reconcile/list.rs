//! The hospital's list, as it comes out of whatever system: CSV with a heading, one discharge a row. Nothing of a cell is repeated in
//! an error but the names of columns.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use onward_core::NhsNumber;
use onward_gateway::reconcile::Discharge;

/// Rows of one list at most.
const ROWS_MAX: usize = 1_000_000;
/// A cell of one's own reference is kept up to this, characters.
const REFERENCE_MAX: usize = 60;
/// Names of the column with the NHS number, without blanks, underscores and case.
const NUMBER: [&str; 4] = ["nhsnumber", "nhsno", "nhs", "nhsnum"];
/// The same of the time of discharge.
const DISCHARGED: [&str; 6] =
    ["discharged", "dischargedate", "dischargedatetime", "dischargetime", "dateofdischarge", "dischargedon"];
/// The same of the hospital's own name for it.
const REFERENCE: [&str; 7] = ["reference", "id", "spell", "spellid", "encounter", "encounterid", "localid"];

/// A row that could be read, or why not.
pub(super) struct Row {
    /// Its line in the file.
    pub(super) line: u64,
    /// The hospital's own name for it.
    pub(super) reference: String,
    /// The discharge.
    pub(super) discharge: Result<Discharge, &'static str>,
}

/// Reads a list. The error says what was expected, found, and how to mend it.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let text = text(bytes)?;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(text))
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|_| "the first line is no heading of a CSV file".to_owned())?.clone();
    let column = |names: &[&str]| header.iter().position(|cell| names.contains(&plain(cell).as_str()));
    let (number, discharged) = match (column(&NUMBER), column(&DISCHARGED)) {
        (Some(number), Some(discharged)) => (number, discharged),
        (number, discharged) => {
            let missing = [(number, "nhs_number"), (discharged, "discharged")];
            let missing: Vec<_> = missing.iter().filter(|(found, _)| found.is_none()).map(|(_, name)| *name).collect();
            return Err(format!(
                "the heading has no column {}; it has {} column(s). Expected: nhs_number, discharged and, if you like, reference",
                missing.join(" and no column "),
                header.len()
            ));
        }
    };
    let reference = column(&REFERENCE);
    let mut rows = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(1, csv::Position::line);
            format!("line {line} is not CSV")
        })?;
        if rows.len() == ROWS_MAX {
            return Err(format!("more than {ROWS_MAX} rows: compare a shorter time"));
        }
        if record.iter().all(str::is_empty) {
            continue;
        }
        // The reader's own count is one behind where lines end in CR LF.
        let begins = record.position().map_or(counted, |at| usize::try_from(at.byte()).unwrap_or(counted));
        let begins = begins + usize::from(text.as_bytes().get(begins) == Some(&b'\n'));
        line += text.as_bytes()[counted..begins].iter().filter(|byte| **byte == b'\n').count();
        counted = begins;
        let cell = |column: usize| record.get(column).unwrap_or_default();
        rows.push(Row {
            line: u64::try_from(line).unwrap_or(u64::MAX),
            reference: reference.map(cell).unwrap_or_default().chars().take(REFERENCE_MAX).collect(),
            discharge: discharge(cell(number), cell(discharged)),
        });
    }
    Ok(rows)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    let mend = "save it as \"CSV UTF-8\"";
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) || bytes.contains(&0) {
        return Err(format!("the file is UTF-16, or no text at all: {mend}"));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(format!("the file is a workbook: {mend}"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8: {mend}")
    })
}

/// Whatever separates the columns of the heading.
fn delimiter(text: &str) -> u8 {
    let heading = text.lines().next().unwrap_or_default();
    let count = |delimiter: u8| heading.bytes().filter(|byte| *byte == delimiter).count();
    [b',', b';', b'\t'].into_iter().max_by_key(|delimiter| (count(*delimiter), *delimiter == b',')).unwrap_or(b',')
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase()
}

fn discharge(number: &str, discharged: &str) -> Result<Discharge, &'static str> {
    let number: String = number.chars().filter(|c| !matches!(c, ' ' | '-' | '\u{a0}')).collect();
    let patient: NhsNumber = number.parse().map_err(|_| "the NHS number is none")?;
    let (from, until) = when(discharged)
        .ok_or("the time of discharge is none: expected 2026-11-18, 18/11/2026, or either with 14:30")?;
    Ok(Discharge { patient, from, until })
}

/// A moment, or a day in England.
fn when(text: &str) -> Option<(Timestamp, Timestamp)> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some((at, at));
    }
    let (day, time) = match text.split_once([' ', 'T']) {
        Some((day, time)) => (day, Some(time.trim())),
        None => (text, None),
    };
    let day = day_of(day)?;
    let london = TimeZone::get("Europe/London").ok()?;
    let moment = |at: DateTime| at.to_zoned(london.clone()).ok().map(|at| at.timestamp());
    match time {
        Some(time) => {
            let at = moment(day.to_datetime(time_of(time)?))?;
            Some((at, at))
        }
        None => {
            let from = moment(day.to_datetime(Time::midnight()))?;
            let next = moment(day.tomorrow().ok()?.to_datetime(Time::midnight()))?;
            Some((from, next - SignedDuration::from_secs(1)))
        }
    }
}

/// `2026-11-18`, or `18/11/2026` as England writes it.
fn day_of(text: &str) -> Option<Date> {
    if let Some((day, rest)) = text.split_once('/') {
        let (month, year) = rest.split_once('/')?;
        return Date::new(year.parse().ok().filter(|_| year.len() == 4)?, month.parse().ok()?, day.parse().ok()?).ok();
    }
    text.parse().ok()
}

fn time_of(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let (hour, minute) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let second = parts.next().map_or(Some(0), |text| text.parse().ok())?;
    parts.next().is_none().then(|| Time::new(hour, minute, second, 0).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line, reference, and the discharge's earliest and latest moment.
    type Told = (u64, String, Result<(String, String), &'static str>);

    fn rows(text: &str) -> Vec<Told> {
        let rows = read(text.as_bytes()).expect("a list");
        let told = |row: Row| {
            let discharge = row.discharge.map(|discharge| (discharge.from.to_string(), discharge.until.to_string()));
            (row.line, row.reference, discharge)
        };
        rows.into_iter().map(told).collect()
    }

    #[test]
    fn a_list_is_read_as_systems_write_it() {
        let day = Ok(("2026-07-18T23:00:00Z".to_owned(), "2026-07-19T22:59:59Z".to_owned()));
        let at = |text: &str| Ok((text.to_owned(), text.to_owned()));
        assert_eq!(
            rows(
                "\u{feff}NHS Number,Discharge date,Spell ID\r\n999 000 0018,2026-07-19,S1\r\n\"9990000018\",19/07/2026,\"a,b\"\r\n"
            ),
            [(2, "S1".to_owned(), day.clone()), (3, "a,b".to_owned(), day)]
        );
        for (cell, moment) in [
            ("2026-11-18T14:30:00Z", "2026-11-18T14:30:00Z"),
            ("2026-11-18 14:30", "2026-11-18T14:30:00Z"),
            ("18/11/2026 14:30:05", "2026-11-18T14:30:05Z"),
            ("2026-07-18T14:30", "2026-07-18T13:30:00Z"),
        ] {
            let text = format!("discharged;nhs_number\n{cell};999-000-0018\n\n;;\n");
            assert_eq!(rows(&text), [(2, String::new(), at(moment))], "{cell}");
        }
    }

    #[test]
    fn what_is_no_discharge_is_told_by_line_and_without_its_cells() {
        let hostile = "=cmd|' /C calc'!A0";
        let text = format!(
            "nhs_number\tdischarged\n{hostile}\t2026-11-18\n9990000019\t2026-11-18\n9990000018\t{hostile}\n9990000018\n9990000018\t31/02/2026\n9990000018\t2026-11-18 25:00\n"
        );
        let found = rows(&text);
        assert_eq!(found.iter().map(|row| row.0).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
        for (line, _, problem) in found {
            let problem = problem.expect_err("no discharge");
            assert!(!problem.contains("cmd") && !problem.contains("999"), "{line}: {problem}");
        }
    }

    #[test]
    fn a_file_that_is_no_list_says_how_to_mend_it() {
        for (bytes, told) in [
            (b"" as &[u8], "no column nhs_number and no column discharged"),
            (b"name,discharged\n", "no column nhs_number;"),
            (b"nhs_number\n9990000018\n", "no column discharged;"),
            (b"\xff\xfen\0h\0s\0", "UTF-16"),
            (b"PK\x03\x04\x14\0", "UTF-16, or no text"),
            (b"PK\x03\x04", "workbook"),
            (b"nhs_number,discharged\n1,2\n3,\xe9\n", "line 3 is not UTF-8"),
        ] {
            let error = read(bytes).map(|rows| rows.len()).expect_err("no list");
            assert!(error.contains(told), "{told}: {error}");
        }
    }

    #[test]
    fn a_hundred_thousand_rows_are_read() {
        let mut text = "nhs_number,discharged,reference\n".to_owned();
        (0..100_000).for_each(|n| text.push_str(&format!("9990000018,2026-11-18,S{n}\n")));
        let rows = read(text.as_bytes()).expect("a list");
        assert_eq!((rows.len(), rows[99_999].line), (100_000, 100_001));
    }
}
