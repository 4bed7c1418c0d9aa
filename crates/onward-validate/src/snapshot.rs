//! A definition's whole shape: its snapshot, or the base's shape with the differential laid over it (R4 §5.1.0.9).
//!
//! Shapes share what they do not change, so a profile costs what it says and no more. What cannot be laid over the base is
//! a problem that the profile carries: whoever validates against it is told.

mod draft;
mod merge;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::conformance::{Conformance, Kind, Source};
use crate::definition::{ElementDefinition, StructureDefinition};
use draft::Draft;

/// One element of a shape. No children means those of its type.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) definition: Arc<ElementDefinition>,
    pub(crate) children: Vec<Arc<Shape>>,
    pub(crate) slices: Vec<Arc<Shape>>,
}

/// Something of a definition that cannot be made use of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Element of the definition.
    pub(crate) element: String,
    pub(crate) text: String,
    /// The definition is wrong, not only beyond what can be evaluated.
    pub(crate) is_wrong: bool,
}

/// A definition with its shape.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) definition: Arc<StructureDefinition>,
    pub(crate) root: Arc<Shape>,
    pub(crate) problems: Vec<Problem>,
}

/// Why there is no shape of a canonical URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// No package has it.
    Unknown,
    /// It builds on itself, or on something that is not there.
    Unusable(String),
}

/// A definition of a [`Conformance`], by where it lies: it is immutable and stays there. A document can name one definition by
/// any number of versions, and must not fill the memory with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SourceKey(usize);

impl SourceKey {
    pub(crate) fn of(source: &Source) -> Self {
        Self(std::ptr::from_ref(source) as usize)
    }
}

fn read(source: &Source) -> Result<StructureDefinition, Missing> {
    let tree = source.read().map_err(|error| Missing::Unusable(error.to_string()))?;
    StructureDefinition::read(tree.root()).map_err(Missing::Unusable)
}

/// Shapes of definitions, each made once.
pub(crate) struct Shapes {
    conformance: Arc<Conformance>,
    made: Mutex<HashMap<SourceKey, Result<Arc<Profile>, Missing>>>,
}

impl Shapes {
    pub(crate) fn new(conformance: Arc<Conformance>) -> Self {
        Self { conformance, made: Mutex::new(HashMap::new()) }
    }

    /// The shape of a definition.
    ///
    /// # Errors
    /// [`Missing`] says why there is none.
    pub(crate) fn get(&self, canonical: &str) -> Result<Arc<Profile>, Missing> {
        self.get_within(canonical, &mut Vec::new())
    }

    /// The definition that a canonical URL means. Definitions name each other by versions that packages have moved on from; what is
    /// pinned is the package.
    pub(crate) fn source(&self, canonical: &str) -> Option<&Source> {
        let exact = self.conformance.definition(canonical);
        exact.or_else(|| self.conformance.find_any_version(Kind::StructureDefinition, canonical))
    }

    /// The same, while the definitions in `making` are in the making: they must not need themselves.
    fn get_within(&self, canonical: &str, making: &mut Vec<SourceKey>) -> Result<Arc<Profile>, Missing> {
        let source = self.source(canonical).ok_or(Missing::Unknown)?;
        let key = SourceKey::of(source);
        if let Some(made) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return made.clone();
        }
        if making.contains(&key) || making.len() > MAKING_DEPTH_MAX {
            return Err(Missing::Unusable("it builds on itself".to_owned()));
        }
        let definition = match read(source) {
            Ok(definition) => Arc::new(definition),
            Err(missing) => return self.keep(key, Err(missing)),
        };
        making.push(key);
        let made = self.make(&definition, making);
        making.pop();
        // What failed inside a circle may succeed when asked for by itself.
        if making.is_empty() || made.is_ok() { self.keep(key, made) } else { made }
    }

    /// The shape of a definition that is itself under judgement, by its differential.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) fn of_definition(&self, definition: StructureDefinition) -> Result<Arc<Profile>, Missing> {
        self.make(&Arc::new(StructureDefinition { snapshot: Vec::new(), ..definition }), &mut Vec::new())
    }

    fn keep(&self, key: SourceKey, made: Result<Arc<Profile>, Missing>) -> Result<Arc<Profile>, Missing> {
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_insert(made).clone()
    }

    fn make(
        &self,
        definition: &Arc<StructureDefinition>,
        making: &mut Vec<SourceKey>,
    ) -> Result<Arc<Profile>, Missing> {
        if !definition.snapshot.is_empty() {
            let draft = Draft::of(&definition.snapshot);
            let root = draft.into_shape(&definition.type_name);
            return Ok(Arc::new(Profile { definition: Arc::clone(definition), root, problems: Vec::new() }));
        }
        let Some(base) = definition.base.as_deref() else {
            return Err(Missing::Unusable("it has neither snapshot nor baseDefinition".to_owned()));
        };
        let base = self.get_within(base, making).map_err(|missing| {
            Missing::Unusable(match missing {
                Missing::Unknown => format!("its base {base} is in no package"),
                Missing::Unusable(reason) => format!("its base {base}: {reason}"),
            })
        })?;
        let mut merge = merge::Merge { shapes: self, making, base: &base.root, definition, problems: Vec::new() };
        let root = merge.root(&Draft::of(&definition.differential));
        let mut problems = merge.problems;
        problems.splice(0..0, base.problems.iter().cloned());
        Ok(Arc::new(Profile { definition: Arc::clone(definition), root, problems }))
    }
}

/// Profiles on profiles, and data types' profiles within them.
const MAKING_DEPTH_MAX: usize = 32;

impl Shape {
    /// The element of this id or, without slices, of this path, anywhere below.
    pub(crate) fn find(self: &Arc<Self>, id: &str) -> Option<Arc<Self>> {
        if self.definition.id == id || (self.definition.path == id && self.definition.slice_name.is_none()) {
            return Some(Arc::clone(self));
        }
        let under = |each: &&Arc<Self>| {
            let path = each.definition.path.as_str();
            id.starts_with(path) || id.split(['.', ':']).next() == path.split('.').next()
        };
        self.children
            .iter()
            .filter(under)
            .find_map(|child| child.find(id))
            .or_else(|| if id.contains(':') { self.slices.iter().find_map(|slice| slice.find(id)) } else { None })
    }
}

/// True when `name` is the choice element `pattern` (`value[x]`) with a type: `valueQuantity`. Gives the type's part.
pub(crate) fn choice_suffix<'n>(pattern: &str, name: &'n str) -> Option<&'n str> {
    let suffix = name.strip_prefix(pattern.strip_suffix("[x]")?)?;
    suffix.starts_with(|c: char| c.is_ascii_uppercase()).then_some(suffix)
}

/// True when the part of a choice element's name names this type: `DateTime` and `dateTime`.
pub(crate) fn suffix_is_type(suffix: &str, code: &str) -> bool {
    let (mut left, mut right) = (suffix.chars(), code.chars());
    match (left.next(), right.next()) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(&b) && left.as_str() == right.as_str(),
        _ => false,
    }
}
