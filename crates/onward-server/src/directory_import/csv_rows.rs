//! One row per entry. Every column is one field of an entry; [`csv_columns`] is the list.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use toml::{Table, Value};

use super::Problem;
use super::record::{Field, Kind, Record, WHOLE};
use crate::config::nearest;

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// Text, a code or a date.
    Text,
    /// Texts separated by semicolons.
    List,
    /// `yes` or `no`.
    YesNo,
    /// A whole number.
    Number,
}

/// One column of a directory CSV.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// As in the header row.
    pub name: String,
    /// What its cells hold.
    pub cell: Cell,
    /// The field of the entry (`beds_total.with_nursing`).
    pub field: String,
}

/// The first column: `care-home`, `practice` or `pharmacy`.
const KIND: &str = "kind";
/// The parts of the endpoint.
const ENDPOINT: [&str; 4] = ["transport", "url", "mailbox", "workflow"];

/// All columns; their order in a file is free. A column is the field's path with underscores; beds of a capability
/// leave out the word `capabilities`, and `capability` alone is `offered`.
#[must_use]
pub fn csv_columns() -> Vec<Column> {
    let mut columns = vec![Column { name: KIND.to_owned(), cell: Cell::Text, field: KIND.to_owned() }];
    for kind in [Kind::CareHome, Kind::Practice] {
        collect(&kind.sample(), "", &mut columns);
    }
    columns.extend(ENDPOINT.map(|part| Column {
        name: part.to_owned(),
        cell: Cell::Text,
        field: format!("{WHOLE}.{part}"),
    }));
    columns
}

fn collect(sample: &Table, prefix: &str, columns: &mut Vec<Column>) {
    for (key, value) in sample.iter().filter(|(key, _)| *key != WHOLE) {
        let field = format!("{prefix}{key}");
        let cell = match value {
            Value::Table(inner) => {
                collect(inner, &format!("{field}."), columns);
                continue;
            }
            Value::Array(_) => Cell::List,
            Value::Boolean(_) => Cell::YesNo,
            Value::Integer(_) => Cell::Number,
            _ => Cell::Text,
        };
        let name = field.trim_start_matches("capabilities.").trim_end_matches(".offered").replace('.', "_");
        if columns.iter().all(|column| column.name != name) {
            columns.push(Column { name, cell, field });
        }
    }
}

pub(super) fn read(text: &str, problems: &mut Vec<Problem>) -> Vec<Record> {
    let columns = csv_columns();
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let Some(header) = header(&mut reader, &columns, problems) else { return Vec::new() };
    let mut records = Vec::new();
    for (index, row) in reader.records().enumerate() {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                let line = error.position().map_or(1, |position| position.line());
                problems.push(file_problem(line, "not CSV in UTF-8"));
                return records;
            }
        };
        let line = row.position().map_or(1, |position| first_line(text, position));
        if row.iter().all(str::is_empty) {
            continue;
        }
        if row.len() != header.len() {
            problems.push(file_problem(line, &format!("{} cells under {} columns", row.len(), header.len())));
            continue;
        }
        records.extend(record(index + 1, line, &header, &row, problems));
    }
    records
}

/// The reader places a row before the blank lines that it skips.
fn first_line(text: &str, position: &csv::Position) -> u64 {
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let blank = text.bytes().skip(start).take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + blank.filter(|byte| *byte == b'\n').count() as u64
}

fn file_problem(line: u64, message: &str) -> Problem {
    Problem { line: usize::try_from(line).unwrap_or(usize::MAX), entry: String::new(), message: message.to_owned() }
}

fn header<'c>(
    reader: &mut csv::Reader<&[u8]>,
    columns: &'c [Column],
    problems: &mut Vec<Problem>,
) -> Option<Vec<&'c Column>> {
    let before = problems.len();
    let Ok(names) = reader.headers().cloned() else {
        problems.push(file_problem(1, "not CSV in UTF-8"));
        return None;
    };
    let mut seen = BTreeSet::new();
    let mut header = Vec::new();
    for name in &names {
        if !seen.insert(name) {
            problems.push(file_problem(1, &format!("column `{name}` comes twice")));
        }
        match columns.iter().find(|column| column.name == name) {
            Some(column) => header.push(column),
            None => {
                let hint = nearest(name, columns.iter().map(|column| column.name.as_str()))
                    .map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
                problems.push(file_problem(1, &format!("unknown column `{name}`{hint}")));
            }
        }
    }
    for needed in [KIND, "ods"].into_iter().filter(|needed| !seen.contains(needed)) {
        problems.push(file_problem(1, &format!("column `{needed}` is missing")));
    }
    (problems.len() == before).then_some(header)
}

fn record(
    number: usize,
    line: u64,
    header: &[&Column],
    row: &csv::StringRecord,
    problems: &mut Vec<Problem>,
) -> Option<Record> {
    let cells = || header.iter().zip(row).filter(|(_, text)| !text.is_empty());
    let word = cells().find(|(column, _)| column.name == KIND).map_or("", |(_, text)| text);
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.word() == word) else {
        problems.push(file_problem(line, "kind: expected care-home, practice or pharmacy"));
        return None;
    };
    let line_number = usize::try_from(line).unwrap_or(usize::MAX);
    let mut record = Record { kind, number, line: line_number, fields: BTreeMap::new(), unreadable: BTreeMap::new() };
    let mut endpoint = Table::new();
    let mut wrong = Vec::new();
    for (column, text) in cells().filter(|(column, _)| column.name != KIND) {
        if let Some(part) = column.field.strip_prefix(WHOLE).and_then(|rest| rest.strip_prefix('.')) {
            endpoint.insert(part.to_owned(), Value::String(text.to_owned()));
            continue;
        }
        match value(column.cell, text) {
            Ok(value) => {
                let field = Field { value, name: column.name.clone(), line: line_number };
                record.fields.insert(column.field.clone(), field);
            }
            Err(expected) => {
                wrong.push((column.name.as_str(), expected));
                record.unreadable.insert(column.field.clone(), column.name.clone());
            }
        }
    }
    if !endpoint.is_empty() {
        let field = Field { value: Value::Table(endpoint), name: ENDPOINT.join(", "), line: line_number };
        record.fields.insert(WHOLE.to_owned(), field);
    }
    problems.extend(wrong.iter().map(|(name, expected)| record.problem(name, expected)));
    Some(record)
}

fn value(cell: Cell, text: &str) -> Result<Value, &'static str> {
    match cell {
        Cell::Text => Ok(Value::String(text.to_owned())),
        Cell::List => {
            let items = text.split(';').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        Cell::YesNo => match text.to_ascii_lowercase().as_str() {
            "yes" => Ok(Value::Boolean(true)),
            "no" => Ok(Value::Boolean(false)),
            _ => Err("expected yes or no"),
        },
        Cell::Number => text.parse().map(Value::Integer).map_err(|_| "expected a whole number"),
    }
}
