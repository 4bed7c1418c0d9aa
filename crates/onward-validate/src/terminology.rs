//! Whether a code belongs to a value set, as far as the definitions that are here can tell.
//!
//! An answer is yes, no, or unknown with a reason. Unknown it stays wherever a code system is not here or not whole (SNOMED CT,
//! LOINC, dm+d), a filter cannot be computed, or a value set cannot be resolved: nothing is guessed. Who validates may bring a
//! [`TerminologyService`], which is asked then.

mod code_system;
mod computed;
mod filter;
mod service;
mod value_set;

use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;

pub use code_system::{CodeSystem, Concept, Content};
pub use service::{Asked, TerminologyService};
pub use value_set::ValueSet;

use crate::conformance::{Conformance, Kind};

/// Whether a code is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// It is.
    Yes {
        /// Its display, when the definitions tell one.
        display: Option<Arc<str>>,
    },
    /// It is not.
    No,
    /// What is here does not tell. Names definitions only, never the code.
    Unknown {
        /// Why.
        reason: Arc<str>,
    },
}

impl Membership {
    fn unknown(reason: impl Into<Arc<str>>) -> Self {
        Self::Unknown { reason: reason.into() }
    }

    /// True for [`Membership::Yes`].
    #[must_use]
    pub fn is_yes(&self) -> bool {
        matches!(self, Self::Yes { .. })
    }

    /// Member of this or of the other.
    fn or(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Yes { .. } => self,
            Self::No => other(),
            Self::Unknown { .. } => match other() {
                yes @ Self::Yes { .. } => yes,
                _ => self,
            },
        }
    }

    /// Member of this and of the other.
    fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No => self,
            Self::Yes { .. } => match other() {
                Self::Yes { .. } => self,
                rest => rest,
            },
            Self::Unknown { .. } => match other() {
                Self::No => Self::No,
                _ => self,
            },
        }
    }

    /// Member of this and not of the other.
    fn but_not(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No => self,
            _ => match other() {
                Self::Yes { .. } => Self::No,
                Self::No => self,
                unknown => unknown,
            },
        }
    }
}

/// Value sets that were compiled. One compiled twice by two threads at once is the same, so nobody waits.
#[derive(Debug, Default)]
pub(crate) struct Cache(RwLock<HashMap<Box<str>, Arc<ValueSet>>>);

impl Cache {
    fn get(&self, canonical: &str) -> Option<Arc<ValueSet>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(canonical).cloned()
    }

    fn put(&self, canonical: &str, made: ValueSet) -> Arc<ValueSet> {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.entry(canonical.into()).or_insert_with(|| Arc::new(made)))
    }
}

/// Questions about codes, to the definitions of one [`Conformance`].
#[derive(Debug, Clone, Copy)]
pub struct Terminology<'c> {
    conformance: &'c Conformance,
}

impl<'c> Terminology<'c> {
    pub(crate) fn new(conformance: &'c Conformance) -> Self {
        Self { conformance }
    }

    /// Whether a code belongs to the value set of this canonical URL. `system` is absent for an element of type `code`; `version`
    /// is `Coding.version`.
    #[must_use]
    pub fn member(self, value_set: &str, system: Option<&str>, code: &str, version: Option<&str>) -> Membership {
        match self.value_set(value_set) {
            Some(found) => found.member(system, code, version),
            None => Membership::unknown(format!("the value set {value_set} is not here")),
        }
    }

    /// The value set of this canonical URL, compiled once; nothing when it is not here.
    #[must_use]
    pub fn value_set(self, canonical: &str) -> Option<Arc<ValueSet>> {
        self.compiled(canonical, &mut Vec::new())
    }

    /// Whether a code belongs to a code system, and its display there.
    #[must_use]
    pub fn lookup(self, system: &str, code: &str, version: Option<&str>) -> Membership {
        if let Some(rule) = computed::rule(system) {
            return rule.judge(code);
        }
        match self.code_system(system) {
            Some(found) => found.lookup(code, version),
            None => not_here(system),
        }
    }

    /// The code system of this URL (with or without `|version`), when it is here; it may not be whole.
    #[must_use]
    pub fn code_system(self, system: &str) -> Option<Arc<CodeSystem>> {
        let source = self.conformance.find(Kind::CodeSystem, system)?;
        Some(Arc::clone(source.code_system.get_or_init(|| Arc::new(CodeSystem::compile(source)))))
    }

    /// As [`Self::value_set`]; `path` holds the value sets that are being compiled and import this one.
    fn compiled(self, canonical: &str, path: &mut Vec<String>) -> Option<Arc<ValueSet>> {
        if let Some(held) = self.conformance.value_sets().get(canonical) {
            return Some(held);
        }
        let source = self.conformance.find(Kind::ValueSet, canonical)?;
        let outermost = path.is_empty();
        path.push(source.url().to_owned());
        let made = ValueSet::compile(source, self, path);
        path.pop();
        // A set that was made within a circle of imports knows less than the same set made on its own.
        if outermost || !made.met_a_circle() {
            return Some(self.conformance.value_sets().put(canonical, made));
        }
        Some(Arc::new(made))
    }
}

fn not_here(system: &str) -> Membership {
    Membership::unknown(format!("the code system {system} is not here"))
}

#[cfg(test)]
mod tests;
