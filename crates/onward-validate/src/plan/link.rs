//! Names within plans, and what they stand for: looked up once for each place, not once for each element of a document.

use std::ops::Deref;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use foldhash::HashMap;

use super::PlanId;
use crate::definition::Kind;
use crate::snapshot::Missing;
use crate::terminology::ValueSet;

/// A type as definitions name it; the same name is the same `TypeName`.
#[derive(Debug)]
pub(crate) struct TypeName {
    code: Box<str>,
    /// FHIR's own definition of it, when there is one.
    pub(crate) definition: OnceLock<Option<(PlanId, Kind)>>,
}

impl Deref for TypeName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.code
    }
}

/// The canonical URL of a profile, and its plan.
#[derive(Debug)]
pub(crate) struct ProfileLink {
    url: Box<str>,
    pub(crate) plan: OnceLock<Result<PlanId, Missing>>,
}

impl Deref for ProfileLink {
    type Target = str;

    fn deref(&self) -> &str {
        &self.url
    }
}

/// The canonical URL of a value set, and the value set, when it is here.
#[derive(Debug)]
pub(crate) struct ValueSetLink {
    url: Box<str>,
    pub(crate) value_set: OnceLock<Option<Arc<ValueSet>>>,
}

impl Deref for ValueSetLink {
    type Target = str;

    fn deref(&self) -> &str {
        &self.url
    }
}

impl From<&str> for ProfileLink {
    fn from(url: &str) -> Self {
        Self { url: url.into(), plan: OnceLock::new() }
    }
}

impl From<&str> for ValueSetLink {
    fn from(url: &str) -> Self {
        Self { url: url.into(), value_set: OnceLock::new() }
    }
}

/// The name of a child element as a number: the same name is the same number in all plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameKey(pub(crate) u32);

/// The names of all plans of a validator. Only definitions add to them, never a document.
#[derive(Debug)]
pub(crate) struct Names {
    types: RwLock<HashMap<Box<str>, Arc<TypeName>>>,
    elements: RwLock<HashMap<Box<str>, NameKey>>,
    /// What an element without a type is.
    pub(crate) backbone: Arc<TypeName>,
}

impl Default for Names {
    fn default() -> Self {
        let backbone = Arc::new(TypeName { code: "BackboneElement".into(), definition: OnceLock::new() });
        Self {
            types: RwLock::new(HashMap::from_iter([(Box::from("BackboneElement"), Arc::clone(&backbone))])),
            elements: RwLock::default(),
            backbone,
        }
    }
}

impl Names {
    pub(super) fn of_type(&self, code: &str) -> Arc<TypeName> {
        if let Some(known) = self.types.read().unwrap_or_else(PoisonError::into_inner).get(code) {
            return Arc::clone(known);
        }
        let mut types = self.types.write().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(TypeName { code: code.into(), definition: OnceLock::new() });
        Arc::clone(types.entry(code.into()).or_insert_with(made))
    }

    pub(super) fn of_element(&self, name: &str) -> NameKey {
        if let Some(known) = self.element(name) {
            return known;
        }
        let mut elements = self.elements.write().unwrap_or_else(PoisonError::into_inner);
        let next = NameKey(u32::try_from(elements.len()).expect("fewer names than bytes of memory"));
        *elements.entry(name.into()).or_insert(next)
    }

    /// The number of a name that some plan has.
    pub(crate) fn element(&self, name: &str) -> Option<NameKey> {
        self.elements.read().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }
}
