//! One entry as its file tells it: fields with their lines, tried one by one so that every wrong one is found.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::directory::{CareHome, DirectoryEntry, Pharmacy, Practice};
use serde::Deserialize as _;
use toml::{Table, Value};

use super::Problem;
use crate::config::{nearest, with_suggestion};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    CareHome,
    Practice,
    Pharmacy,
}

/// Valid entries with every field: what a file's fields are known by and tried upon.
const CARE_HOME: &str = r#"
ods = "AAA"
other_ods = []
name = "n"
locality = ""
address = ["a"]
postcode = "AA1 1AA"
uprn = "1"
provider = ""
lead_manager = ""
acute_trusts = []
assesses_at_weekends = false
accepts_discharges_at_weekends = false
closed_to_admissions = false
beds_updated = "2000-01-01T00:00:00Z"
cqc_location = "1-100000000"
cqc_rating = ""
cqc_rated = "2000-01-01"
covering_practice = "AAA"
delivering_pharmacy = "AAA"
endpoint = { transport = "inbox" }
expires = "2000-01-01"
contact = { name = "", telephone = "", email = "", hours = "" }
geriatric_on_call = { name = "", telephone = "", email = "", hours = "" }
coordinator = { name = "", telephone = "", email = "", hours = "" }
beds_total = { with_nursing = 0, without_nursing = 0 }
beds_available = { with_nursing = 0, without_nursing = 0 }
[beds_by_type]
general = { maximum = 0, occupied = 0, vacant = 0, closed = false }
dementia = { maximum = 0, occupied = 0, vacant = 0, closed = false }
nursing = { maximum = 0, occupied = 0, vacant = 0, closed = false }
learning_disability = { maximum = 0, occupied = 0, vacant = 0, closed = false }
mental_health = { maximum = 0, occupied = 0, vacant = 0, closed = false }
short_stay = { maximum = 0, occupied = 0, vacant = 0, closed = false }
[capabilities]
non_weight_bearing = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
cognitive_difficulties = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
tracheostomy = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
elderly_mentally_infirm = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
spinal_rehabilitation = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
specialist_rehabilitation = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
palliative_care = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
intermediate_care = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
intermediate_care_with_medical_responsibility = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
short_term_placement = { offered = false, beds = { with_nursing = 0, without_nursing = 0 } }
"#;
const PRACTICE_OR_PHARMACY: &str = r#"
ods = "AAA"
name = "n"
telephone = ""
postcode = ""
endpoint = { transport = "inbox" }
expires = "2000-01-01"
"#;

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::CareHome, Self::Practice, Self::Pharmacy];

    /// The table of the TOML file.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::CareHome => "care_home",
            Self::Practice => "practice",
            Self::Pharmacy => "pharmacy",
        }
    }

    /// As [`DirectoryEntry::kind`], and as the CSV column `kind` has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::CareHome => "care-home",
            Self::Practice => "practice",
            Self::Pharmacy => "pharmacy",
        }
    }

    pub(super) fn sample(self) -> Table {
        let text = if self == Self::CareHome { CARE_HOME } else { PRACTICE_OR_PHARMACY };
        text.parse().expect("the sample is TOML")
    }

    fn deserialize(self, table: Table) -> Result<DirectoryEntry, toml::de::Error> {
        Ok(match self {
            Self::CareHome => DirectoryEntry::CareHome(CareHome::deserialize(table)?),
            Self::Practice => DirectoryEntry::Practice(Practice::deserialize(table)?),
            Self::Pharmacy => DirectoryEntry::Pharmacy(Pharmacy::deserialize(table)?),
        })
    }
}

/// One field of a file.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) value: Value,
    /// What the file calls it.
    pub(super) name: String,
    pub(super) line: usize,
}

/// One entry of a file. Fields are keyed by their path within the entry (`beds_total.with_nursing`).
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) kind: Kind,
    /// Position among the tables of its kind, or among the rows, from 1.
    pub(super) number: usize,
    pub(super) line: usize,
    pub(super) fields: BTreeMap<String, Field>,
    /// Fields that are given but cannot be read, with what the file calls them; told already.
    pub(super) unreadable: BTreeMap<String, String>,
}

/// An entry as far as it can be read.
pub(super) struct Reading {
    /// With stand-ins for the fields that cannot be read, so that the others are checked all the same. `None` when even
    /// those make no entry.
    pub(super) entry: Option<DirectoryEntry>,
    /// Fields that have a stand-in.
    pub(super) stand_ins: BTreeSet<String>,
    /// What is wrong with fields one by one.
    pub(super) problems: Vec<Problem>,
}

impl Reading {
    /// Whether this field is the file's own word.
    pub(super) fn is_own(&self, path: &str) -> bool {
        let within = |stand_in: &String| {
            stand_in == path || stand_in.starts_with(&format!("{path}.")) || path.starts_with(&format!("{stand_in}."))
        };
        !self.stand_ins.iter().any(within)
    }
}

impl Record {
    /// How problems name the entry.
    pub(super) fn label(&self) -> String {
        let ods = self.fields.get("ods").and_then(|field| field.value.as_str()).filter(|ods| is_printable(ods));
        let kind = self.kind.word().replace('-', " ");
        ods.map_or_else(|| format!("{kind} {}", self.number), |ods| format!("{kind} {ods}"))
    }

    /// A problem of one field; of the entry when it does not have that field.
    pub(super) fn problem(&self, path: &str, message: impl std::fmt::Display) -> Problem {
        let field = self.fields.get(path);
        let unreadable = || self.unreadable.get(path).map_or(path, String::as_str);
        let name = field.map_or_else(unreadable, |field| &field.name);
        Problem {
            line: field.map_or(self.line, |field| field.line),
            entry: self.label(),
            message: format!("{name}: {message}"),
        }
    }

    /// Whether the file gives this field, or a part of it.
    pub(super) fn gives(&self, key: &str) -> bool {
        let part = |path: &String| path == key || path.starts_with(&format!("{key}."));
        self.fields.keys().chain(self.unreadable.keys()).any(part)
    }

    /// Whether it receives by MESH and names no mailbox.
    pub(super) fn lacks_mailbox(&self) -> bool {
        let endpoint = self.fields.get(WHOLE).and_then(|field| field.value.as_table());
        endpoint.is_some_and(|endpoint| {
            endpoint.get("transport").and_then(Value::as_str) == Some("mesh") && !endpoint.contains_key("mailbox")
        })
    }

    /// The entry, and all that is wrong with its fields one by one. One that lacks its mailbox has [`NO_MAILBOX`].
    pub(super) fn read(&self) -> Reading {
        let sample = self.kind.sample();
        let mut problems = Vec::new();
        let mut table = Table::new();
        let mut stand_ins: BTreeSet<String> = self.unreadable.keys().cloned().collect();
        for (path, field) in &self.fields {
            if !knows(&sample, path) {
                problems.push(self.problem(path, unknown(&sample, path)));
                continue;
            }
            if !is_clean(&field.value) {
                problems.push(self.problem(path, "must not contain control characters"));
                stand_ins.insert(path.clone());
                continue;
            }
            let mut value = field.value.clone();
            if path == WHOLE
                && self.lacks_mailbox()
                && let Value::Table(endpoint) = &mut value
            {
                endpoint.insert("mailbox".to_owned(), Value::String(NO_MAILBOX.to_owned()));
            }
            let mut trial = sample.clone();
            insert(&mut trial, path, value.clone());
            match self.kind.deserialize(trial) {
                Ok(_) => insert(&mut table, path, value),
                Err(error) => {
                    problems.push(self.problem(path, with_suggestion(error.message())));
                    stand_ins.insert(path.clone());
                }
            }
        }
        for key in sample.keys().filter(|key| self.kind.requires(key) && !self.gives(key)) {
            problems.push(self.problem(key, "is missing"));
            stand_ins.insert(key.clone());
        }
        for path in &stand_ins {
            if let Some(value) = stand_in(&sample, path) {
                insert(&mut table, path, value);
            }
        }
        let entry = match self.kind.deserialize(table) {
            Ok(entry) => Some(entry),
            Err(error) => {
                let message = with_suggestion(error.message());
                problems.push(Problem { line: self.line, entry: self.label(), message });
                None
            }
        };
        Reading { entry, stand_ins, problems }
    }
}

/// What stands for a field that cannot be read: the sample's value.
fn stand_in(sample: &Table, path: &str) -> Option<Value> {
    path.split('.').try_fold(Value::Table(sample.clone()), |value, part| value.get(part).cloned())
}

impl Kind {
    fn requires(self, key: &str) -> bool {
        let mut without = self.sample();
        without.remove(key);
        self.deserialize(without).is_err()
    }
}

/// Endpoints have other fields for every transport: they are read whole.
pub(super) const WHOLE: &str = "endpoint";
/// Stands for the mailbox of an entry that names none, until one is found.
const NO_MAILBOX: &str = "NONE";

fn knows(sample: &Table, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (sample.get(first), rest) {
        (Some(Value::Table(inner)), Some(rest)) if first != WHOLE => knows(inner, rest),
        (Some(_), None) => true,
        _ => false,
    }
}

fn unknown(sample: &Table, path: &str) -> String {
    let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
    let siblings =
        parents.split('.').filter(|part| !part.is_empty()).try_fold(sample, |table, part| match table.get(part) {
            Some(Value::Table(inner)) => Some(inner),
            _ => None,
        });
    match siblings.and_then(|table| nearest(name, table.keys().map(String::as_str))) {
        Some(nearest) => format!("unknown field; did you mean `{nearest}`?"),
        None => "unknown field".to_owned(),
    }
}

fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Names and addresses reach pages, headers and documents: line breaks and control characters have no place in them.
fn is_clean(value: &Value) -> bool {
    match value {
        Value::String(text) => is_printable(text),
        Value::Array(items) => items.iter().all(is_clean),
        Value::Table(inner) => inner.values().all(is_clean),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(table: &Table, prefix: &str, found: &mut Vec<String>) {
        for (key, value) in table {
            match value {
                Value::Table(inner) if key != WHOLE => paths(inner, &format!("{prefix}{key}."), found),
                _ => found.push(format!("{prefix}{key}")),
            }
        }
    }

    /// Fields that the core gains must be readable from files too.
    #[test]
    fn the_samples_have_every_field_of_the_core() {
        for kind in Kind::ALL {
            let sample = kind.sample();
            let entry = kind.deserialize(sample.clone()).expect("the sample is an entry");
            let mut written = Table::try_from(&entry).expect("an entry is a table");
            assert_eq!(written.remove("kind").as_ref().and_then(Value::as_str), Some(kind.word()));
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            paths(&sample, "", &mut ours);
            paths(&written, "", &mut theirs);
            assert_eq!(ours, theirs, "{kind:?}");
        }
    }
}
