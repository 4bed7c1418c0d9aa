//! The policy file: read by hand rather than by derive, so that whatever it does not know is answered with the
//! nearest name that it does.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::state::RecipientKind;
use onward_fhir::elements::{Table, TypeKind, table};
use onward_fhir::{Heading, Release};
use toml::{Table as Toml, Value};

use super::{Added, Elements, Extensions, Form, NarrativeRule, Policy, SectionKey, is_abstract, meaning};

/// Why a policy file is refused. Texts name the file and the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not TOML.
    #[error("{policy}: not TOML: {message}")]
    Syntax {
        /// The file.
        policy: String,
        /// What the TOML reader says.
        message: String,
    },
    /// A name that is none of those allowed there.
    #[error("{policy}: {place}: unknown {what} \"{name}\"{}", nearest_hint(.nearest.as_deref()))]
    Unknown {
        /// The file.
        policy: String,
        /// The table or key.
        place: String,
        /// `key`, `heading`, `resource type`, `element` …
        what: &'static str,
        /// The name as written.
        name: String,
        /// The nearest name that is allowed.
        nearest: Option<String>,
    },
    /// A key that must be there.
    #[error("{policy}: {key} is missing")]
    Missing {
        /// The file.
        policy: String,
        /// The key.
        key: String,
    },
    /// A value of the wrong type, or empty.
    #[error("{policy}: {place} must be {expected}")]
    Value {
        /// The file.
        policy: String,
        /// The key.
        place: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A type is named without an element that gives the others their meaning.
    #[error(
        "{policy}: elements.{resource_type} must name \"{element}\": FHIR requires it or makes it a modifier, so the rest would mislead without it"
    )]
    Meaning {
        /// The file.
        policy: String,
        /// The resource type.
        resource_type: String,
        /// The element.
        element: String,
    },
    /// Parts of the policy contradict each other.
    #[error("{policy}: {message}")]
    Contradiction {
        /// The file.
        policy: String,
        /// What contradicts.
        message: String,
    },
}

fn nearest_hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean \"{name}\"?"))
}

/// The nearest known name, when it is near enough to be meant.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let scored = known.into_iter().map(|each| (strsim::jaro_winkler(name, each), each));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.75).then(|| best.1.to_owned())
}

const KEYS: [&str; 10] = [
    "recipient",
    "version",
    "lawful_basis",
    "opt_out",
    "document",
    "attachments",
    "sections",
    "elements",
    "extensions",
    "added",
];

struct Reader<'a> {
    policy: &'a str,
    file: &'a Toml,
}

pub(super) fn parse(policy: &str, text: &str) -> Result<Policy, PolicyError> {
    let file: Toml = text.parse().map_err(|error: toml::de::Error| PolicyError::Syntax {
        policy: policy.to_owned(),
        message: error.message().to_owned(),
    })?;
    Reader { policy, file: &file }.read()
}

impl Reader<'_> {
    fn read(&self) -> Result<Policy, PolicyError> {
        self.known_keys("the file", self.file, KEYS)?;
        let recipient = self.word("recipient", RecipientKind::ALL.iter().map(|kind| (kind.as_str(), *kind)))?;
        let form = self.word("document", [("identical", Form::Identical), ("reduced", Form::Reduced)])?;
        let read = Policy {
            recipient,
            form,
            version: self.said("version")?,
            lawful_basis: self.said("lawful_basis")?,
            opt_out: self.said("opt_out")?,
            attachments: self.flag("attachments")?,
            sections: self.sections(form)?,
            types: self.elements(form)?,
            extensions: self.extensions(form)?,
            added: self.added(recipient, form)?,
        };
        if form == Form::Reduced && !read.types.contains_key("Composition") {
            return Err(self.missing("elements.Composition"));
        }
        if form == Form::Identical && !read.attachments {
            return Err(self.contradiction("an identical document goes with its attachments: attachments must be true"));
        }
        Ok(read)
    }

    fn sections(&self, form: Form) -> Result<BTreeMap<SectionKey, NarrativeRule>, PolicyError> {
        let mut sections = BTreeMap::new();
        for (name, rule) in self.table("sections", form)? {
            let place = format!("sections.{name}");
            let key = match name.as_str() {
                "*" => SectionKey::Rest,
                name => SectionKey::Heading(Heading::of_record_standard(name).ok_or_else(|| {
                    let known = Heading::ALL.iter().map(|heading| heading.record_standard());
                    self.unknown("sections", "heading", name, known)
                })?),
            };
            let word = rule.as_str().ok_or_else(|| self.value(&place, "a narrative rule in quotes"))?;
            let rule = NarrativeRule::ALL.into_iter().find(|rule| rule.as_str() == word).ok_or_else(|| {
                self.unknown(&place, "narrative rule", word, NarrativeRule::ALL.map(NarrativeRule::as_str))
            })?;
            sections.insert(key, rule);
        }
        Ok(sections)
    }

    fn elements(&self, form: Form) -> Result<BTreeMap<String, Elements>, PolicyError> {
        let r4 = table(Release::R4);
        let mut types = BTreeMap::new();
        for (resource_type, names) in self.table("elements", form)? {
            let place = format!("elements.{resource_type}");
            self.check_type(r4, resource_type)?;
            let list = names.as_array().ok_or_else(|| self.value(&place, "a list of element names"))?;
            let mut elements = Elements::default();
            for name in list {
                match name.as_str().ok_or_else(|| self.value(&place, "a list of element names"))? {
                    "*" => elements.all = true,
                    name => elements.paths.extend(self.element(r4, resource_type, name)?),
                }
            }
            self.check_meaning(r4, resource_type, &elements)?;
            types.insert(resource_type.clone(), elements);
        }
        Ok(types)
    }

    fn check_type(&self, r4: &Table, name: &str) -> Result<(), PolicyError> {
        match name {
            "Binary" => Err(self.contradiction("elements.Binary: attachments are ruled by the key \"attachments\"")),
            "Bundle" => Err(self.contradiction("elements.Bundle: a document is projected, never a Bundle inside it")),
            name if r4.is_resource(name) || is_abstract(name) => Ok(()),
            name => {
                let known = r4.types().filter(|each| each.kind() == TypeKind::Resource).map(|each| each.name());
                Err(self.unknown("elements", "resource type", name, known))
            }
        }
    }

    /// The element names that `path` stands for: one, or each type of a choice (`deceased[x]`).
    fn element(&self, r4: &Table, resource_type: &str, path: &str) -> Result<Vec<String>, PolicyError> {
        let place = format!("elements.{resource_type}");
        let mut holder = resource_type.to_owned();
        let (before, last) = path.rsplit_once('.').map_or(("", path), |(before, last)| (before, last));
        for step in before.split('.').filter(|step| !step.is_empty()) {
            let def = r4.type_def(&holder).and_then(|each| each.child(step));
            holder = def
                .map(|def| def.type_name.to_owned())
                .ok_or_else(|| self.unknown_element(r4, &place, &holder, step))?;
            // `use` and its like are modifiers inside data types: a HumanName or Address goes whole or not at all.
            let splits = holder == "Meta" || r4.type_def(&holder).is_some_and(|each| each.kind() == TypeKind::Backbone);
            if !splits {
                let message = format!("{place}: \"{path}\": a {holder} goes whole or not at all; name {before}");
                return Err(self.contradiction(&message));
            }
        }
        let def = r4.type_def(&holder).ok_or_else(|| self.unknown_element(r4, &place, &holder, last))?;
        let full = |name: &str| if before.is_empty() { name.to_owned() } else { format!("{before}.{name}") };
        if let Some(stem) = last.strip_suffix("[x]") {
            let names: Vec<String> = def.choice(stem).map(|each| full(each.name)).collect();
            if !names.is_empty() {
                return Ok(names);
            }
        } else if def.child(last).is_some() {
            if matches!(last, "extension" | "modifierExtension" | "contained") {
                return Err(self.contradiction(&format!(
                    "{place}: \"{path}\": extensions are ruled by the key \"extensions\", contained resources by their type"
                )));
            }
            return Ok(vec![full(last)]);
        }
        Err(self.unknown_element(r4, &place, &holder, last))
    }

    fn check_meaning(&self, r4: &Table, resource_type: &str, elements: &Elements) -> Result<(), PolicyError> {
        if elements.all {
            return Ok(());
        }
        let Some(needed) = meaning::inseparable(resource_type) else {
            return Err(self.contradiction(&format!(
                "elements.{resource_type}: which elements of this type belong together is not known here; name all (\"*\") or leave it out"
            )));
        };
        for element in needed {
            let names = self.element(r4, resource_type, element)?;
            if !names.iter().all(|name| elements.paths.contains(name)) {
                return Err(PolicyError::Meaning {
                    policy: self.policy.to_owned(),
                    resource_type: resource_type.to_owned(),
                    element: (*element).to_owned(),
                });
            }
        }
        Ok(())
    }

    fn extensions(&self, form: Form) -> Result<Extensions, PolicyError> {
        let Some(value) = self.file.get("extensions") else {
            return match form {
                Form::Identical => Ok(Extensions::All),
                Form::Reduced => Err(self.missing("extensions")),
            };
        };
        if form == Form::Identical {
            return Err(self.contradiction("an identical document is not ruled by extensions"));
        }
        let expected = "a list of extension URLs, or [\"*\"]";
        let list = value.as_array().ok_or_else(|| self.value("extensions", expected))?;
        let urls: Option<BTreeSet<String>> = list.iter().map(|url| url.as_str().map(str::to_owned)).collect();
        let urls = urls.ok_or_else(|| self.value("extensions", expected))?;
        if urls.contains("*") {
            return Ok(Extensions::All);
        }
        match urls.iter().find(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            Some(_) => Err(self.value("extensions", expected)),
            None => Ok(Extensions::Urls(urls)),
        }
    }

    /// What is told beside the document; without the key, nothing.
    fn added(&self, recipient: RecipientKind, form: Form) -> Result<BTreeSet<Added>, PolicyError> {
        let mut added = BTreeSet::new();
        if let Some(value) = self.file.get("added") {
            if form == Form::Identical {
                return Err(self.contradiction("nothing is added to an identical document"));
            }
            let expected = "a list of words";
            for word in value.as_array().ok_or_else(|| self.value("added", expected))? {
                let word = word.as_str().ok_or_else(|| self.value("added", expected))?;
                let known = Added::ALL.into_iter().find(|each| each.as_str() == word);
                added.insert(known.ok_or_else(|| self.unknown("added", "word", word, Added::ALL.map(Added::as_str)))?);
            }
        }
        let needs_home = matches!(recipient, RecipientKind::CoveringPractice | RecipientKind::PharmacyReferral);
        if form == Form::Reduced && needs_home && !added.contains(&Added::CareHome) {
            return Err(self.contradiction("added must name \"care-home\": the request is for the stay there"));
        }
        Ok(added)
    }

    /// `[sections]` or `[elements]`: must be there for a reduced document, must not for an identical one.
    fn table(&self, key: &str, form: Form) -> Result<&Toml, PolicyError> {
        static EMPTY: std::sync::LazyLock<Toml> = std::sync::LazyLock::new(Toml::new);
        match (self.file.get(key), form) {
            (Some(_), Form::Identical) => {
                Err(self.contradiction(&format!("an identical document is not ruled by [{key}]")))
            }
            (None, Form::Identical) => Ok(&EMPTY),
            (Some(value), Form::Reduced) => value.as_table().ok_or_else(|| self.value(key, "a table")),
            (None, Form::Reduced) => Err(self.missing(key)),
        }
    }

    fn word<'w, T>(&self, key: &str, words: impl IntoIterator<Item = (&'w str, T)>) -> Result<T, PolicyError> {
        let said = self.said(key)?;
        let mut known = Vec::new();
        for (word, meaning) in words {
            if word == said {
                return Ok(meaning);
            }
            known.push(word);
        }
        Err(self.unknown(key, "word", &said, known))
    }

    fn said(&self, key: &str) -> Result<String, PolicyError> {
        match self.file.get(key) {
            None => Err(self.missing(key)),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
            // A version may be a bare date or number.
            Some(value @ (Value::Datetime(_) | Value::Integer(_))) if key == "version" => Ok(value.to_string()),
            Some(_) => Err(self.value(key, "a text that is not empty")),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, PolicyError> {
        let value = self.file.get(key).ok_or_else(|| self.missing(key))?;
        value.as_bool().ok_or_else(|| self.value(key, "true or false"))
    }

    fn known_keys<const N: usize>(&self, place: &str, table: &Toml, known: [&str; N]) -> Result<(), PolicyError> {
        match table.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(self.unknown(place, "key", key, known)),
            None => Ok(()),
        }
    }

    fn unknown_element(&self, r4: &Table, place: &str, holder: &str, name: &str) -> PolicyError {
        let elements = || r4.type_def(holder).into_iter().flat_map(|def| def.elements());
        let choices: Vec<String> = elements().filter_map(|each| each.choice).map(|stem| format!("{stem}[x]")).collect();
        let known = elements().map(|each| each.name).chain(choices.iter().map(String::as_str));
        self.unknown(place, "element", name, known)
    }

    fn unknown<'n>(
        &self,
        place: &str,
        what: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> PolicyError {
        PolicyError::Unknown {
            policy: self.policy.to_owned(),
            place: place.to_owned(),
            what,
            name: name.to_owned(),
            nearest: nearest(name, known),
        }
    }

    fn missing(&self, key: &str) -> PolicyError {
        PolicyError::Missing { policy: self.policy.to_owned(), key: key.to_owned() }
    }

    fn value(&self, place: &str, expected: &'static str) -> PolicyError {
        PolicyError::Value { policy: self.policy.to_owned(), place: place.to_owned(), expected }
    }

    fn contradiction(&self, message: &str) -> PolicyError {
        PolicyError::Contradiction { policy: self.policy.to_owned(), message: message.to_owned() }
    }
}
