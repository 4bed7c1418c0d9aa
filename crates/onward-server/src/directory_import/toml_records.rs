//! `[[care_home]]`, `[[practice]]`, `[[pharmacy]]`.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::Problem;
use super::record::{Field, Kind, Record, WHOLE};
use crate::config::{line_of, nearest};

pub(super) fn read(text: &str, problems: &mut Vec<Problem>) -> Vec<Record> {
    let mut whole = |line, message: String| problems.push(Problem { line, entry: String::new(), message });
    // Once for the places, once for the values.
    let (places, values) = match (DeTable::parse(text), text.parse::<Table>()) {
        (Ok(places), Ok(values)) => (places, values),
        (Err(error), _) | (_, Err(error)) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            whole(line, format!("not TOML: {}", error.message().replace('\n', ", ")));
            return Vec::new();
        }
    };
    let mut records = Vec::new();
    for (name, place) in places.get_ref() {
        let line = line_of(text, name.span().start);
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.table() == name.get_ref().as_ref()) else {
            let hint = nearest(name.get_ref(), Kind::ALL.into_iter().map(Kind::table))
                .map_or_else(String::new, |nearest| format!("; did you mean [[{nearest}]]?"));
            whole(line, format!("unknown table [[{}]]{hint}", name.get_ref()));
            continue;
        };
        let (DeValue::Array(places), Some(Value::Array(values))) = (place.get_ref(), values.get(kind.table())) else {
            whole(line, format!("expected [[{}]] tables", kind.table()));
            continue;
        };
        for (index, (place, value)) in places.iter().zip(values).enumerate() {
            let line = line_of(text, place.span().start);
            let (DeValue::Table(places), Value::Table(values)) = (place.get_ref(), value) else {
                whole(line, format!("expected [[{}]] tables", kind.table()));
                continue;
            };
            let mut record =
                Record { kind, number: index + 1, line, fields: BTreeMap::new(), unreadable: BTreeMap::new() };
            fields(text, places, values, "", &kind.sample(), &mut record.fields);
            records.push(record);
        }
    }
    records.sort_by_key(|record| record.line);
    records
}

/// Collects fields as deep as the sample has tables.
fn fields(
    text: &str,
    places: &DeTable<'_>,
    values: &Table,
    prefix: &str,
    sample: &Table,
    found: &mut BTreeMap<String, Field>,
) {
    for (key, place) in places {
        let name: &str = key.get_ref();
        let value = values.get(name).expect("both readings of the same text have the same keys");
        let path = format!("{prefix}{name}");
        match (sample.get(name), place, value) {
            (Some(Value::Table(sample)), place, Value::Table(values)) if name != WHOLE => {
                if let DeValue::Table(places) = Spanned::get_ref(place) {
                    fields(text, places, values, &format!("{path}."), sample, found);
                }
            }
            _ => {
                let line = line_of(text, key.span().start);
                found.insert(path.clone(), Field { value: dates_as_text(value), name: path, line });
            }
        }
    }
}

/// `expires = 2027-03-31` is as good as `expires = "2027-03-31"`.
fn dates_as_text(value: &Value) -> Value {
    match value {
        Value::Datetime(date) => Value::String(date.to_string()),
        other => other.clone(),
    }
}
