//! A profile compiled for the walk: per element its children by name, what it demands, and how its slices are told
//! apart. Immutable, and made once.

mod compile;
mod discriminate;
mod link;

use std::sync::Arc;

use crate::definition::{SlicingRules, StructureDefinition, Value};
use crate::invariant::{Compiled, Invariant};
use crate::snapshot::Problem;

pub(crate) use compile::compile;
pub(crate) use link::{NameKey, Names, ProfileLink, TypeName, ValueSetLink};

/// The place of a plan in its validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PlanId(pub(crate) u32);

/// One profile.
pub(crate) struct Plan {
    pub(crate) definition: Arc<StructureDefinition>,
    /// The type that it defines or constrains.
    pub(crate) type_name: Arc<TypeName>,
    /// Node 0 is the root.
    pub(crate) nodes: Vec<Node>,
    pub(crate) problems: Vec<Problem>,
    /// Of an extension: what must hold where it stands.
    pub(crate) context_invariants: Vec<Arc<Compiled>>,
}

impl Plan {
    pub(crate) fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    pub(crate) fn root(&self) -> &Node {
        &self.nodes[0]
    }

    /// The element of this id.
    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.nodes.iter().zip(0..).find(|(node, _)| *node.id == *id).map(|(_, at)| at)
    }

    pub(crate) fn url(&self) -> &str {
        &self.definition.url
    }
}

/// One element of a profile.
pub(crate) struct Node {
    /// Id in the definition: `Patient.identifier:nhsNumber.system`.
    pub(crate) id: Box<str>,
    /// The element's name: `identifier`, `value[x]`.
    pub(crate) name: Box<str>,
    pub(crate) min: u32,
    /// `u32::MAX` for no limit.
    pub(crate) max: u32,
    /// Whether FHIR's own definition lets it repeat, so that JSON has an array; `None` where the definition is silent.
    pub(crate) repeats: Option<bool>,
    pub(crate) types: Vec<TypePlan>,
    /// Whether a type has profiles that its element must conform to.
    pub(crate) imposes: bool,
    /// What it demands of a value: most demand nothing.
    pub(crate) values: Option<Box<ValuesPlan>>,
    /// Whether it demands nothing of a value but to be of its type.
    pub(crate) is_plain: bool,
    pub(crate) is_modifier: bool,
    /// `ele-1`, which nearly every element has: apart from the others, so that most have no other.
    pub(crate) element_rule: Option<Invariant>,
    pub(crate) invariants: Vec<Invariant>,
    /// In the order of the definition; empty means those of the type.
    pub(crate) children: Vec<u32>,
    /// Indices into `children` of those that may be missed: mandatory themselves, or with a slice that is.
    pub(crate) mandatory: Vec<u32>,
    /// The numbers of every name that a child may have, in order.
    pub(crate) keys: Box<[NameKey]>,
    /// These names.
    pub(crate) names: Box<[ChildName]>,
    pub(crate) slicing: Option<SlicingPlan>,
    /// The element of FHIR's own definition whose children it has (`Bundle.link`). A profile's rules on that element
    /// are not meant for this one.
    pub(crate) content: Option<Box<str>>,
}

impl Node {
    pub(crate) fn child(&self, key: NameKey) -> Option<&ChildName> {
        self.keys.binary_search(&key).ok().map(|at| &self.names[at])
    }

    /// The same by the name itself.
    pub(crate) fn child_of_name(&self, name: &str) -> Option<&ChildName> {
        self.names.iter().find(|known| *known.name == *name)
    }
}

/// A name under which a child stands in a document.
pub(crate) struct ChildName {
    pub(crate) name: Box<str>,
    /// Index into [`Node::children`].
    pub(crate) child: u32,
    /// The child itself.
    pub(crate) at: u32,
    /// The type that the name of a choice tells, or the only one that there is.
    pub(crate) type_name: Option<Arc<TypeName>>,
    /// Whether the child may have that type.
    pub(crate) fits: bool,
}

/// What a value must be.
#[derive(Default)]
pub(crate) struct ValuesPlan {
    pub(crate) fixed: Option<Arc<Value>>,
    pub(crate) pattern: Option<Arc<Value>>,
    pub(crate) min_value: Option<Arc<Value>>,
    pub(crate) max_value: Option<Arc<Value>>,
    pub(crate) max_length: Option<u32>,
    pub(crate) binding: Option<BindingPlan>,
}

/// An allowed type.
pub(crate) struct TypePlan {
    pub(crate) code: Arc<TypeName>,
    pub(crate) profiles: Vec<ProfileLink>,
    pub(crate) target_profiles: Vec<ProfileLink>,
    pub(crate) aggregation: Vec<Box<str>>,
    pub(crate) versioning: Option<Box<str>>,
}

/// The value sets that codes must come from: required and extensible bindings only.
pub(crate) struct BindingPlan {
    pub(crate) is_required: bool,
    pub(crate) value_set: Option<ValueSetLink>,
    /// `elementdefinition-maxValueSet`.
    pub(crate) max_value_set: Option<ValueSetLink>,
}

/// How an element is sliced.
pub(crate) struct SlicingPlan {
    pub(crate) rules: SlicingRules,
    pub(crate) ordered: bool,
    pub(crate) slices: Vec<SlicePlan>,
}

/// One slice.
pub(crate) struct SlicePlan {
    pub(crate) name: Box<str>,
    pub(crate) node: u32,
    /// All must hold. Empty when nothing tells the slice apart: it cannot be evaluated.
    pub(crate) matchers: Vec<Matcher>,
}

/// One discriminator of one slice.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) steps: Vec<Step>,
    pub(crate) test: Test,
    /// The discriminator's path, for people.
    pub(crate) path: Box<str>,
}

/// A step of a discriminator's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A child by name; of a choice any type.
    Child { name: Box<str>, choice: bool },
    /// Only what is of this type.
    OfType(Box<str>),
    /// What a reference points to.
    Resolve,
    /// The extension of this URL.
    Extension(Box<str>),
}

/// What the element at the end of the path must be.
#[derive(Debug)]
pub(crate) enum Test {
    Equals(Arc<Value>),
    Within(Arc<Value>),
    InValueSet(Box<str>),
    /// One of the elements that the steps reach satisfies the test.
    Has(Vec<Step>, Box<Test>),
    All(Vec<Test>),
    Exists(bool),
    Type(Vec<Box<str>>),
    Profile(Vec<Box<str>>),
}
