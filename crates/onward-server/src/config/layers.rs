//! Defaults, file and environment become one table; whatever is unknown or does not fit is named with its place.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::{Config, ConfigError, DEFAULTS, Setting};

/// Environment variables of Onward begin with this; sections and keys follow, joined by two underscores.
const ENVIRONMENT_PREFIX: &str = "ONWARD__";
/// Below this similarity (Jaro-Winkler) a name is not a misspelling of another.
const SIMILARITY_MIN: f64 = 0.7;

/// A value that replaces a default.
struct Override {
    path: Vec<String>,
    value: Value,
    source: String,
}

/// Merges the layers. `file` is its name for messages and its text.
pub(super) fn merge(
    file: Option<(&str, &str)>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Config, Vec<Setting>), ConfigError> {
    let defaults: Table = DEFAULTS.parse().expect("the compiled-in defaults are TOML");
    let mut problems = Vec::new();
    let mut overrides = Vec::new();
    if let Some((name, text)) = file {
        read_file(name, text, &defaults, &mut overrides, &mut problems);
    }
    read_environment(environment, &defaults, &mut overrides, &mut problems);

    let mut table = defaults.clone();
    let mut sources = BTreeMap::new();
    for Override { path, value, source } in overrides {
        // Each value is tried alone upon the defaults, so that every wrong one is found and blamed on its own source.
        let mut trial = defaults.clone();
        set(&mut trial, &path, value.clone());
        match Config::deserialize(trial) {
            Ok(_) => {
                set(&mut table, &path, value);
                sources.insert(path, source);
            }
            Err(error) => {
                let (section, key) = section_and_key(&path);
                problems.push(format!("{source}: [{section}] {key}: {}", with_suggestion(error.message())));
            }
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let mut settings = Vec::new();
    leaves(&table, &mut Vec::new(), &mut |path, value| {
        settings.push(Setting {
            key: path.join("."),
            value: value.to_string(),
            source: sources.get(path).cloned().unwrap_or_else(|| "default".to_owned()),
        });
    });
    match Config::deserialize(table) {
        Ok(config) => Ok((config, settings)),
        Err(error) => Err(ConfigError { problems: vec![error.message().to_owned()] }),
    }
}

fn read_file(name: &str, text: &str, defaults: &Table, overrides: &mut Vec<Override>, problems: &mut Vec<String>) {
    // Once for the places of keys, once for the values.
    let (places, values) = match (DeTable::parse(text), text.parse::<Table>()) {
        (Ok(places), Ok(values)) => (places, values),
        (Err(error), _) | (_, Err(error)) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            problems.push(format!("{name} line {line}: not TOML: {}", error.message().replace('\n', ", ")));
            return;
        }
    };
    let mut file = File { name, text, root: defaults, overrides, problems };
    file.walk(places.get_ref(), &values, defaults, &mut Vec::new());
}

struct File<'a> {
    name: &'a str,
    text: &'a str,
    root: &'a Table,
    overrides: &'a mut Vec<Override>,
    problems: &'a mut Vec<String>,
}

impl File<'_> {
    fn walk(&mut self, places: &DeTable<'_>, values: &Table, defaults: &Table, path: &mut Vec<String>) {
        for (key, place) in places {
            let name = key.get_ref().as_ref();
            let source = format!("{} line {}", self.name, line_of(self.text, key.span().start));
            let Some(default) = defaults.get(name) else {
                self.problems.push(format!("{source}: {}", unknown(self.root, defaults, path, name, place.get_ref())));
                continue;
            };
            let value = values.get(name).expect("both readings of the same text have the same keys");
            path.push(name.to_owned());
            match (default, place.get_ref(), value) {
                (Value::Table(default), DeValue::Table(place), Value::Table(value)) => {
                    self.walk(place, value, default, path);
                }
                (default, _, value) if default.same_type(value) => {
                    self.overrides.push(Override { path: path.clone(), value: value.clone(), source });
                }
                (default, _, value) => {
                    let (section, key) = section_and_key(path);
                    let (expected, found) = (default.type_str(), value.type_str());
                    self.problems.push(format!("{source}: [{section}] {key}: expected {expected}, found {found}"));
                }
            }
            path.pop();
        }
    }
}

fn read_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    defaults: &Table,
    overrides: &mut Vec<Override>,
    problems: &mut Vec<String>,
) {
    let mut known = Vec::new();
    leaves(defaults, &mut Vec::new(), &mut |path, value| {
        let variable = format!("{ENVIRONMENT_PREFIX}{}", path.join("__").replace('-', "_").to_ascii_uppercase());
        known.push((variable, path.to_vec(), value.clone()));
    });
    let mut given: Vec<(String, OsString)> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .collect();
    given.sort();
    for (name, value) in given {
        let Some((_, path, default)) = known.iter().find(|(variable, ..)| *variable == name) else {
            let nearest = nearest(&name, known.iter().map(|(variable, ..)| variable.as_str()));
            let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
            problems.push(format!("unknown environment variable `{name}`{hint}"));
            continue;
        };
        let value = value.into_string().ok().and_then(|text| match default {
            Value::String(_) => Some(Value::String(text)),
            _ => format!("value = {text}").parse::<Table>().ok()?.remove("value"),
        });
        match value {
            Some(value) if default.same_type(&value) => {
                overrides.push(Override { path: path.clone(), value, source: name });
            }
            _ => problems.push(format!("{name}: expected {}", default.type_str())),
        }
    }
}

/// What to say about a key that the defaults do not have.
fn unknown(root: &Table, siblings: &Table, path: &[String], name: &str, value: &DeValue<'_>) -> String {
    let is_section = value.is_table();
    let here = nearest(name, siblings.iter().filter(|(_, v)| v.is_table() == is_section).map(|(key, _)| key.as_str()));
    let section = path.join(".");
    if is_section {
        let full = |name: &str| if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        let hint = here.map_or_else(String::new, |nearest| format!("; did you mean [{}]?", full(nearest)));
        return format!("unknown section [{}]{hint}", full(name));
    }
    let place = if section.is_empty() { "outside every section".to_owned() } else { format!("in [{section}]") };
    let elsewhere = || {
        let mut found = None;
        leaves(root, &mut Vec::new(), &mut |path, _| {
            if path.last().is_some_and(|key| key == name) && found.is_none() {
                found = Some(format!("; did you mean `{name}` in [{}]?", section_and_key(path).0));
            }
        });
        found
    };
    let hint = here
        .map(|nearest| format!("; did you mean `{nearest}`?"))
        .or_else(elsewhere)
        .unwrap_or_else(|| known_keys(siblings));
    format!("unknown key `{name}` {place}{hint}")
}

fn known_keys(table: &Table) -> String {
    let keys: Vec<&str> = table.iter().filter(|(_, value)| !value.is_table()).map(|(key, _)| key.as_str()).collect();
    if keys.is_empty() { String::new() } else { format!("; known keys: {}", keys.join(", ")) }
}

/// Adds the nearest name to serde's "unknown field `x`, expected `a` or `b`" (keys of inline tables).
pub(crate) fn with_suggestion(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match names.split_first() {
        Some((unknown, expected)) if message.starts_with("unknown ") => {
            match nearest(unknown, expected.iter().copied()) {
                Some(nearest) => format!("{message}; did you mean `{nearest}`?"),
                None => message.to_owned(),
            }
        }
        _ => message.to_owned(),
    }
}

/// The known name that a misspelt one most likely means.
pub(crate) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// The line, from 1, of a byte offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn section_and_key(path: &[String]) -> (String, &str) {
    path.split_last().map_or_else(Default::default, |(key, section)| (section.join("."), key.as_str()))
}

fn set(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [section, rest @ ..] => {
            if let Some(Value::Table(inner)) = table.get_mut(section) {
                set(inner, rest, value);
            }
        }
    }
}

fn leaves(table: &Table, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], &Value)) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Table(inner) => leaves(inner, path, visit),
            leaf => visit(path, leaf),
        }
        path.pop();
    }
}
