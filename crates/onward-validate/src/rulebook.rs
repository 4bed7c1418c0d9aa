//! The rule file: what the ITK3 profiles demand of each resource, and how grave each rule is, for everybody and for one
//! sender. `config/rules.toml` is the built-in one and tells the form.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use onward_fhir::{Element, Release};
use serde::Deserialize;

use crate::findings::Report;
use crate::{IssueCode, Severity, shown};

/// `config/rules.toml`, used where the configuration names no file.
pub const BUILT_IN: &str = include_str!("../../../config/rules.toml");

/// How grave a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The message is refused: error.
    Refuse,
    /// It is told and the message carried on: warning.
    Warn,
}

impl Level {
    fn severity(self) -> Severity {
        match self {
            Self::Refuse => Severity::Error,
            Self::Warn => Severity::Warning,
        }
    }
}

/// A rule file that was read and found consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleBook {
    rules: Vec<ProfileRule>,
    levels: HashMap<String, Level>,
    senders: HashMap<String, HashMap<String, Level>>,
}

/// One `[[rule]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileRule {
    id: String,
    clause: String,
    resource: String,
    of_type: Option<String>,
    #[serde(default)]
    unless: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    forbidden: Vec<String>,
    #[serde(default)]
    once: Vec<String>,
    #[serde(default)]
    fixed: BTreeMap<String, Vec<String>>,
    level: Level,
    itk_code: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    levels: HashMap<String, Level>,
    #[serde(default, rename = "rule")]
    rules: Vec<ProfileRule>,
    #[serde(default)]
    senders: HashMap<String, HashMap<String, Level>>,
}

/// Why a rule file is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleBookError(String);

impl RuleBook {
    /// The rules that Onward comes with.
    #[must_use]
    pub fn built_in() -> Arc<Self> {
        static BOOK: LazyLock<Arc<RuleBook>> =
            LazyLock::new(|| Arc::new(RuleBook::read(BUILT_IN).expect("a test reads the built-in rules")));
        Arc::clone(&BOOK)
    }

    /// Reads a rule file.
    ///
    /// # Errors
    /// When it is no TOML of that form, names a rule twice, gives a level to a rule that has none to give, or has a
    /// path that can match nothing.
    pub fn parse(text: &str) -> Result<Self, RuleBookError> {
        let book = Self::read(text)?;
        let known = Self::built_in();
        // A level for a rule that nobody may change, or for a slip of the pen, would promise what does not happen.
        let adjustable = |id: &str| known.levels.contains_key(id) || book.rules.iter().any(|rule| rule.id == id);
        let named = book.levels.keys().chain(book.senders.values().flat_map(HashMap::keys));
        match named.into_iter().find(|id| !adjustable(id)) {
            Some(id) => Err(RuleBookError(format!("{id} is no rule whose level can be set"))),
            None => Ok(book),
        }
    }

    fn read(text: &str) -> Result<Self, RuleBookError> {
        let file: File = toml::from_str(text).map_err(|error| RuleBookError(error.to_string()))?;
        let table = onward_fhir::elements::table(Release::Stu3);
        let mut seen = std::collections::HashSet::new();
        for rule in &file.rules {
            if !seen.insert(rule.id.as_str()) || file.levels.contains_key(&rule.id) {
                return Err(RuleBookError(format!("the rule {} stands there twice", rule.id)));
            }
            let paths = rule.required.iter().chain(&rule.forbidden).chain(&rule.once);
            for path in paths.chain(rule.fixed.keys()).chain(rule.unless.keys()) {
                let mut type_name = rule.resource.as_str();
                for step in path.split('.') {
                    type_name = table.child(type_name, step).map(|found| found.type_name).ok_or_else(|| {
                        RuleBookError(format!("{}: STU3 has no element {}.{path}", rule.id, rule.resource))
                    })?;
                }
            }
        }
        Ok(Self { rules: file.rules, levels: file.levels, senders: file.senders })
    }

    /// The levels that differ from those of the code, for the messages of one organisation.
    #[must_use]
    pub fn levels_for(&self, sender_ods: &str) -> Levels {
        let built_in = Self::built_in();
        let mut changed: HashMap<String, Level> = self
            .levels
            .iter()
            .filter(|(id, level)| built_in.levels.get(*id) != Some(level))
            .map(|(id, level)| (id.clone(), *level))
            .collect();
        if let Some(own) = self.senders.get(sender_ods) {
            changed.extend(own.iter().map(|(id, level)| (id.clone(), *level)));
        }
        Levels(changed)
    }

    /// Holds every resource of an STU3 tree against the rules of its type.
    pub(crate) fn validate(&self, root: Element<'_, '_>, report: &mut Report) {
        for element in root.descendants() {
            let Some(resource_type) = element.resource_type() else { continue };
            for rule in self.rules.iter().filter(|rule| rule.resource == resource_type) {
                rule.validate(element, report);
            }
        }
    }
}

/// Levels that a rule file changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels(HashMap<String, Level>);

impl Levels {
    /// The severity that a rule has with these levels. Only refusal and warning can be exchanged.
    pub(crate) fn apply(&self, rule: &str, severity: Severity) -> Severity {
        match self.0.get(rule) {
            Some(level) if matches!(severity, Severity::Error | Severity::Warning) => level.severity(),
            _ => severity,
        }
    }
}

impl ProfileRule {
    fn validate(&self, resource: Element<'_, '_>, report: &mut Report) {
        if self.of_type.as_deref().is_some_and(|wanted| resource.text("type") != Some(wanted)) {
            return;
        }
        let excepted = self.unless.iter().any(|(path, codes)| {
            let mut found = false;
            each(resource, path, &mut |element| found |= is_one_of(element, codes));
            found
        });
        if excepted {
            return;
        }
        for path in &self.required {
            let (above, leaf) = path.rsplit_once('.').unwrap_or(("", path));
            each(resource, above, &mut |parent| {
                if parent.get(leaf).is_none() {
                    self.tell(
                        parent,
                        IssueCode::Required,
                        &format!("demands {path}, which is missing. Add it"),
                        report,
                    );
                }
            });
        }
        for path in &self.forbidden {
            each(resource, path, &mut |found| {
                self.tell(found, IssueCode::Structure, &format!("does not allow {path}. Leave it out"), report);
            });
        }
        for path in &self.once {
            let (above, leaf) = path.rsplit_once('.').unwrap_or(("", path));
            each(resource, above, &mut |parent| {
                if let Some(again) = parent.all(leaf).nth(1) {
                    self.tell(again, IssueCode::Structure, &format!("allows {path} once. Send one"), report);
                }
            });
        }
        for (path, codes) in &self.fixed {
            each(resource, path, &mut |found| {
                if !is_one_of(found, codes) {
                    let text = format!(
                        "demands {} in {path}; found {}. Correct it",
                        codes.join(" or "),
                        found.value().map_or_else(|| "no value".to_owned(), shown::code)
                    );
                    self.tell(found, IssueCode::Value, &text, report);
                }
            });
        }
    }

    fn tell(&self, at: Element<'_, '_>, code: IssueCode, what: &str, report: &mut Report) {
        let text = format!("{} {what}.", self.clause);
        report.add(self.level.severity(), self.id.clone(), code, at, Some(self.itk_code), text);
    }
}

fn is_one_of(element: Element<'_, '_>, codes: &[String]) -> bool {
    element.value().is_some_and(|value| codes.iter().any(|code| code == value))
}

/// Calls `visit` for every element along a dotted path; for the element itself when the path is empty.
fn each<'t, 's>(element: Element<'t, 's>, path: &str, visit: &mut dyn FnMut(Element<'t, 's>)) {
    if path.is_empty() {
        return visit(element);
    }
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    for child in element.all(head) {
        each(child, rest, visit);
    }
}
