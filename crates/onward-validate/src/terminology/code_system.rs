//! A CodeSystem, ready for questions.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use onward_fhir::Element;

use super::Membership;
use crate::conformance::Source;

/// How much of a code system is here (CodeSystem.content, R4 §4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// All of it: a code that is not among the concepts does not exist.
    Complete,
    /// Part of it, or nothing: a code that is not among the concepts may exist.
    Partial,
}

/// A code system and its concepts.
#[derive(Debug)]
pub struct CodeSystem {
    url: Box<str>,
    version: Option<Box<str>>,
    content: Content,
    case_sensitive: Option<bool>,
    pub(super) concepts: Vec<Concept>,
    by_code: HashMap<Box<str>, usize>,
    /// By lower case, unless case matters.
    by_lower_case: HashMap<Box<str>, usize>,
}

/// One concept.
#[derive(Debug)]
pub struct Concept {
    /// Its code.
    pub code: Box<str>,
    /// Its display.
    pub display: Option<Arc<str>>,
    /// Other displays that it may go by (designations).
    pub designations: Vec<Box<str>>,
    /// Places of the concepts right above it.
    pub(super) parents: Vec<usize>,
    /// Its properties: code and value as text.
    pub(super) properties: Vec<(Box<str>, Box<str>)>,
}

/// What carries hierarchy beside nesting (http://hl7.org/fhir/concept-properties).
const TO_PARENT: [&str; 3] = ["parent", "subsumedBy", "partOf"];
const TO_CHILD: &str = "child";

impl CodeSystem {
    pub(super) fn compile(source: &Source) -> Self {
        let mut made = Self {
            url: source.url().into(),
            version: source.version().map(Into::into),
            content: Content::Partial,
            case_sensitive: None,
            concepts: Vec::new(),
            by_code: HashMap::new(),
            by_lower_case: HashMap::new(),
        };
        let Ok(tree) = source.read() else { return made };
        let root = tree.root();
        if root.text("content") == Some("complete") {
            made.content = Content::Complete;
        }
        made.case_sensitive = root.text("caseSensitive").map(|text| text == "true");
        made.collect(root);
        made.link();
        made
    }

    /// Takes in the concepts at all levels. By a stack of its own: a package may nest as deep as the reader allows.
    fn collect(&mut self, root: Element<'_, '_>) {
        let mut waiting: Vec<(Element<'_, '_>, Option<usize>)> = root.all("concept").map(|each| (each, None)).collect();
        waiting.reverse();
        while let Some((element, parent)) = waiting.pop() {
            let at = self.concepts.len();
            let code: Box<str> = element.text("code").unwrap_or_default().into();
            if self.case_sensitive != Some(true) {
                self.by_lower_case.entry(code.to_lowercase().into()).or_insert(at);
            }
            self.by_code.entry(code.clone()).or_insert(at);
            let mut below: Vec<_> = element.all("concept").map(|each| (each, Some(at))).collect();
            below.reverse();
            waiting.append(&mut below);
            self.concepts.push(Concept {
                code,
                display: element.text("display").map(Into::into),
                designations: element
                    .all("designation")
                    .filter_map(|each| each.text("value"))
                    .map(Into::into)
                    .collect(),
                parents: parent.into_iter().collect(),
                properties: element.all("property").filter_map(property).collect(),
            });
        }
    }

    /// Adds the hierarchy that properties tell.
    fn link(&mut self) {
        let mut links = Vec::new();
        for (at, concept) in self.concepts.iter().enumerate() {
            for (name, value) in &concept.properties {
                let Some(other) = self.by_code.get(value).copied() else { continue };
                if TO_PARENT.contains(&&**name) {
                    links.push((at, other));
                } else if &**name == TO_CHILD {
                    links.push((other, at));
                }
            }
        }
        for (child, parent) in links {
            if !self.concepts[child].parents.contains(&parent) {
                self.concepts[child].parents.push(parent);
            }
        }
    }

    /// Its canonical URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its version, when it tells one.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// How much of it is here.
    #[must_use]
    pub fn content(&self) -> Content {
        self.content
    }

    /// Whether case tells codes apart, when it tells.
    #[must_use]
    pub fn case_sensitive(&self) -> Option<bool> {
        self.case_sensitive
    }

    /// All concepts, those below another behind it.
    #[must_use]
    pub fn concepts(&self) -> &[Concept] {
        &self.concepts
    }

    /// The concept of this code; in another case only where case does not matter.
    #[must_use]
    pub fn concept(&self, code: &str) -> Option<&Concept> {
        self.place(code).map(|at| &self.concepts[at])
    }

    pub(super) fn place(&self, code: &str) -> Option<usize> {
        let exact = self.by_code.get(code).copied();
        exact.or_else(|| {
            (self.case_sensitive == Some(false)).then(|| self.by_lower_case.get(&*code.to_lowercase()).copied())?
        })
    }

    /// Whether a code exists in it.
    #[must_use]
    pub fn lookup(&self, code: &str, version: Option<&str>) -> Membership {
        match self.concept(code) {
            Some(concept) => Membership::Yes { display: concept.display.clone() },
            None => self.without(code, version),
        }
    }

    /// What is to be said of a code that was not found here.
    pub(super) fn without(&self, code: &str, version: Option<&str>) -> Membership {
        let url = &self.url;
        if self.content != Content::Complete {
            return Membership::unknown(format!("of the code system {url} only a part is here"));
        }
        if self.case_sensitive.is_none() && self.by_lower_case.contains_key(&*code.to_lowercase()) {
            return Membership::unknown(format!(
                "the code system {url} has the code in another case, and does not tell whether case matters"
            ));
        }
        match (version, self.version()) {
            (Some(asked), Some(ours)) if asked != ours => Membership::unknown(format!(
                "another version of the code system {url} is meant than {ours}, which is here"
            )),
            _ => Membership::No,
        }
    }
}

impl Concept {
    /// True for a concept that is not to be used any more (http://hl7.org/fhir/concept-properties).
    pub(super) fn is_inactive(&self) -> bool {
        self.properties.iter().any(|(name, value)| match (&**name, &**value) {
            ("inactive", "true") => true,
            ("status", status) => matches!(status, "retired" | "inactive"),
            _ => false,
        })
    }
}

fn property(element: Element<'_, '_>) -> Option<(Box<str>, Box<str>)> {
    let value = element.choice("value")?;
    // Of a Coding, its code.
    let text = value.value().or_else(|| value.text("code"))?;
    Some((element.text("code")?.into(), text.into()))
}
