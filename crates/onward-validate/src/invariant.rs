//! FHIRPath invariants, compiled once per text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::{HashSet, HashSetExt};
use onward_fhir::Element;

use crate::definition::Constraint;
use crate::fhirpath::{Expression, SyntaxError};

/// One constraint of one element.
#[derive(Clone)]
pub(crate) struct Invariant {
    pub(crate) key: Box<str>,
    pub(crate) is_error: bool,
    pub(crate) human: Box<str>,
    pub(crate) compiled: Arc<Compiled>,
}

/// An expression; the same text is the same expression.
pub(crate) struct Compiled {
    pub(crate) text: String,
    pub(crate) expression: Result<Expression, SyntaxError>,
    /// The few that stand on every element, which are judged without evaluation.
    pub(crate) known: Option<Known>,
}

/// An invariant of FHIR that is judged in code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// ele-1
    Element,
    /// ext-1
    Extension,
    /// ref-1: what the engine says of every reference to a contained resource. As written it fails where there is no
    /// `reference` at all, which R4 allows (§2.3.0).
    Reference,
    /// dom-6
    Narrative,
    /// bdl-7
    Entries,
    /// bdl-8
    FullUrl,
}

impl Known {
    /// Whether it holds; nothing where the expression itself has to be asked.
    pub(crate) fn holds(self, element: Element<'_, '_>) -> Option<bool> {
        match self {
            Self::Element => Some(element.value().is_some() || element.children().any(|child| child.name() != "id")),
            Self::Extension => Some(element.get("extension").is_some() != element.choice("value").is_some()),
            Self::Reference => Some(true),
            Self::Narrative => Some(element.all("text").any(|text| text.get("div").is_some())),
            Self::Entries => entries_are_distinct(element),
            Self::FullUrl => element.text("fullUrl").map(|url| !url.contains("/_history/")),
        }
    }
}

/// By `fullUrl` and version. Not asked for where each entry is a version of a resource, nor where an entry has several.
fn entries_are_distinct(bundle: Element<'_, '_>) -> Option<bool> {
    bundle.text("type").filter(|kind| *kind != "history")?;
    let mut seen: HashSet<Cow<'_, str>> = HashSet::new();
    for entry in bundle.all("entry") {
        let mut urls = entry.all("fullUrl");
        let Some(url) = urls.next() else { continue };
        let url = url.value().filter(|_| urls.next().is_none())?;
        let version = entry.text_at("resource.meta.versionId");
        let name = version.map_or(Cow::Borrowed(url), |version| Cow::Owned(format!("{url}{version}")));
        if !seen.insert(name) {
            return Some(false);
        }
    }
    Some(true)
}

fn known(text: &str) -> Option<Known> {
    match text {
        "hasValue() or (children().count() > id.count())" => Some(Known::Element),
        "extension.exists() != value.exists()" => Some(Known::Extension),
        "reference.startsWith('#').not() or (reference.substring(1).trace('url') in %rootResource.contained.id.trace('ids'))" => {
            Some(Known::Reference)
        }
        "text.`div`.exists()" => Some(Known::Narrative),
        "(type = 'history') or entry.where(fullUrl.exists()).select(fullUrl&resource.meta.versionId).isDistinct()" => {
            Some(Known::Entries)
        }
        "fullUrl.exists() implies fullUrl.contains('/_history/').not()" => Some(Known::FullUrl),
        _ => None,
    }
}

/// All expressions of a validator.
#[derive(Default)]
pub(crate) struct Invariants {
    compiled: Mutex<HashMap<String, Arc<Compiled>>>,
}

impl Invariants {
    /// Nothing, for a constraint that has no expression: it is for people.
    pub(crate) fn compiled(&self, constraint: &Constraint) -> Option<Invariant> {
        let text = constraint.expression.as_deref()?;
        Some(Invariant {
            key: constraint.key.as_str().into(),
            is_error: constraint.is_error && !constraint.best_practice,
            human: constraint.human.as_str().into(),
            compiled: self.expression(text),
        })
    }

    /// How many different expressions there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn expression(&self, text: &str) -> Arc<Compiled> {
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(text) {
            return Arc::clone(known);
        }
        let made = Arc::new(Compiled {
            text: text.to_owned(),
            expression: Expression::compile_invariant(text),
            known: known(text),
        });
        all.insert(text.to_owned(), Arc::clone(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use onward_fhir::Release;
    use onward_fhir::read::{self, Limits};

    use super::*;
    use crate::fhirpath::Context;

    /// Judged in code as the expression itself judges, on everything that either takes another way with. ref-1 is left out: it
    /// is wrong as published.
    #[test]
    fn what_is_known_is_what_the_expression_says() {
        let resource = |text: &str| format!(r#"{{"resourceType":{text}}}"#);
        let bundles = [
            r#""Bundle","type":"collection""#,
            r#""Bundle","type":"history","entry":[{"fullUrl":"urn:a"},{"fullUrl":"urn:a"}]"#,
            r#""Bundle","type":"collection","entry":[{"fullUrl":"urn:a"},{"fullUrl":"urn:a"}]"#,
            r#""Bundle","type":"collection","entry":[{"fullUrl":"urn:a"},{"fullUrl":"urn:b"},{"search":{"mode":"match"}}]"#,
            r#""Bundle","entry":[{"fullUrl":"urn:a"},{"fullUrl":"urn:a"}]"#,
            r#""Bundle","type":"collection","entry":[{"fullUrl":"a"},{"fullUrl":"a","resource":{"resourceType":"Basic","meta":{"versionId":"1"}}}]"#,
            r#""Bundle","type":"collection","entry":[{"fullUrl":"a1"},{"fullUrl":"a","resource":{"resourceType":"Basic","meta":{"versionId":"1"}}}]"#,
            r#""Bundle","type":"collection","entry":[{"_fullUrl":{"id":"x"}},{"_fullUrl":{"id":"y"}}]"#,
        ];
        let others = [
            r#""Basic""#,
            r#""Basic","id":"a""#,
            r#""Basic","text":{"status":"empty"}"#,
            r#""Basic","text":{"div":"<div/>"}"#,
            r#""Basic","fullUrl":"http://a/Patient/1/_history/2""#,
            r#""Basic","fullUrl":"http://a/Patient/1""#,
            r#""Basic","_fullUrl":{"id":"x"}"#,
            r#""Basic","extension":[{"url":"a"}]"#,
            r#""Basic","extension":[{"url":"a"}],"valueString":"b""#,
            r#""Basic","valueString":"b""#,
        ];
        let mut answers = 0;
        for text in [
            "hasValue() or (children().count() > id.count())",
            "extension.exists() != value.exists()",
            "text.`div`.exists()",
            "(type = 'history') or entry.where(fullUrl.exists()).select(fullUrl&resource.meta.versionId).isDistinct()",
            "fullUrl.exists() implies fullUrl.contains('/_history/').not()",
        ] {
            let known = known(text).expect("a known one");
            let expression = Expression::compile(text).expect("an expression");
            for source in bundles.iter().chain(&others).map(|each| resource(each)) {
                let tree = read::json(&source, &Limits::default()).expect("JSON");
                // An extension's value is a choice; to the others the type is all one.
                let type_name = if known == Known::Extension { "Extension" } else { "Basic" };
                let type_def = onward_fhir::elements::table(Release::R4).type_def(type_name);
                let focus = crate::fhirpath::Node { element: tree.root(), type_def };
                let Some(holds) = known.holds(tree.root()) else { continue };
                answers += 1;
                assert_eq!(expression.holds(&Context::of(focus, Release::R4)), Ok(holds), "{text} of {source}");
            }
        }
        assert!(answers > 60, "{answers}");
    }
}
