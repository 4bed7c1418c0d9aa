//! FHIRPath invariants, compiled once per text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::definition::Constraint;

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

    pub(crate) fn expression(&self, text: &str) -> Arc<Compiled> {
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(text) {
            return Arc::clone(known);
        }
        let made = Arc::new(Compiled { text: text.to_owned() });
        all.insert(text.to_owned(), Arc::clone(&made));
        made
    }
}
