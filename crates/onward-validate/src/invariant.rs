//! FHIRPath invariants, compiled once per text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// bdl-8
    FullUrl,
}

fn known(text: &str) -> Option<Known> {
    match text {
        "hasValue() or (children().count() > id.count())" => Some(Known::Element),
        "extension.exists() != value.exists()" => Some(Known::Extension),
        "reference.startsWith('#').not() or (reference.substring(1).trace('url') in %rootResource.contained.id.trace('ids'))" => {
            Some(Known::Reference)
        }
        "text.`div`.exists()" => Some(Known::Narrative),
        "fullUrl.contains('/_history/').not()" | "fullUrl.exists() implies fullUrl.contains('/_history/').not()" => {
            Some(Known::FullUrl)
        }
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
