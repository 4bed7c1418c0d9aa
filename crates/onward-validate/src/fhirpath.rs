//! FHIRPath (normative release 1, hl7.org/fhirpath/N1) with FHIR's additions (R4 fhirpath.html), evaluated over the borrowed tree.
//!
//! An [`Expression`] is compiled once and evaluated as often as wanted. Nothing that an expression or a resource says makes it
//! hang, overflow the stack or panic: nesting is bounded when it is compiled, steps and items when it is evaluated, patterns
//! match in linear time. It reads no clock, opens no connection and writes nothing: `trace()` passes its input on and no more.
//!
//! What it refuses: it never answers in place of a service. `memberOf`, `conformsTo` and `subsumes` ask the [`Host`], and where that
//! cannot tell, the evaluation is [`EvaluationError::NotEvaluated`]; so are numbers beyond 38 digits, `now()` without a time,
//! patterns that need backtracking, and the functions that need the profile (`elementDefinition`, `slice`, `checkModifiers`). What an
//! element does not have is empty when evaluated; [`Expression::check`] tells beforehand which names a type cannot have.
//!
//! [`Expression::evaluate`] keeps to the specification. [`Expression::holds`] judges invariants as the HL7 validator does, since
//! published invariants rely on it (`dom-3` takes `as()` of a whole collection, `que-7` asks for `Boolean` of a `boolean`).

mod calls;
mod check;
mod collection;
mod constants;
mod decimal;
mod equality;
mod errata;
mod evaluate;
mod functions;
mod item;
mod lexer;
mod navigate;
mod operators;
mod parser;
mod presence;
mod quantity;
mod syntax;
mod temporal;
mod types;
mod ucum;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use onward_fhir::elements::{self, Table};
use onward_fhir::{Element, NodeId, Release};

pub use check::Misuse;
pub use decimal::Decimal;
pub use evaluate::Session;
pub use item::{Item, Node};
pub use quantity::{CalendarUnit, Quantity, Unit};
pub use temporal::{Precision, Temporal, TemporalKind};

/// A compiled expression. Immutable, and cheap to evaluate again.
#[derive(Debug)]
pub struct Expression {
    source: Box<str>,
    root: syntax::Node,
    constants: usize,
    /// Of an invariant: what the presence of children alone tells.
    presence: Option<presence::Presence>,
}

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {reason}")]
pub struct SyntaxError {
    /// Byte offset in the text.
    pub offset: usize,
    /// For people.
    pub reason: &'static str,
}

impl SyntaxError {
    const fn at(offset: usize, reason: &'static str) -> Self {
        Self { offset, reason }
    }
}

/// Why an expression has no result. Carries nothing of the resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// Nobody here can tell: a finding of its own, never a pass.
    #[error("not evaluated: {0}")]
    NotEvaluated(Cow<'static, str>),
    /// Several items where the specification has one (§4.5).
    #[error("{0} takes one item, and there are more")]
    NotSingle(&'static str),
    /// An item of a type that the function or operator does not take.
    #[error("{0} does not take an item of this type")]
    WrongType(&'static str),
    /// A type that neither FHIR nor FHIRPath knows.
    #[error("there is no type of the name {0}")]
    UnknownType(Box<str>),
    /// A variable that the context does not have.
    #[error("there is no variable of the name {0}")]
    UnknownVariable(Box<str>),
    /// More work than [`Limits`] allow.
    #[error("the expression needs more than {0}")]
    TooMuch(&'static str),
}

impl EvaluationError {
    fn not_evaluated(reason: &'static str) -> Self {
        Self::NotEvaluated(Cow::Borrowed(reason))
    }
}

/// What one evaluation may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Parts evaluated, items looked at and bytes handled, each counted roughly.
    pub steps: u64,
    /// Items of one collection.
    pub items: usize,
    /// Bytes of one text that is made.
    pub text_bytes: usize,
}

impl Default for Limits {
    /// Far beyond what published invariants take on real messages, and soon used up by what has no end.
    fn default() -> Self {
        Self { steps: 20_000_000, items: 1_000_000, text_bytes: 4 << 20 }
    }
}

/// What an evaluation may ask of its surroundings. `None` where there is no answer.
pub trait Host {
    /// What a reference points to, in the tree of the element that refers. `None` when it is not there: `resolve()` is then empty.
    fn resolve(&self, reference: &str, from: Element<'_, '_>) -> Option<NodeId> {
        navigate::resolve_within(reference, from)
    }

    /// Whether a code, Coding or CodeableConcept is of a value set.
    fn member_of(&self, _value_set: &str, _item: &Item<'_>) -> Option<bool> {
        None
    }

    /// Whether an element conforms to a profile. `type_name` is its type in the element table.
    fn conforms_to(&self, _profile: &str, _element: Element<'_, '_>, _type_name: Option<&str>) -> Option<bool> {
        None
    }

    /// Whether the first code is the second or an ancestor of it.
    fn subsumes(&self, _ancestor: &Item<'_>, _descendant: &Item<'_>) -> Option<bool> {
        None
    }
}

/// A host that knows the tree and nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Host for Alone {}

/// What an expression is evaluated on.
#[derive(Clone)]
pub struct Context<'h, 't> {
    focus: Node<'t>,
    resource: Element<'t, 't>,
    root_resource: Element<'t, 't>,
    release: Release,
    now: Option<Temporal>,
    variables: Vec<(&'t str, Item<'t>)>,
    host: &'h dyn Host,
    limits: Limits,
}

impl<'h, 't> Context<'h, 't> {
    /// For an element and the element table's name of its type (`Patient`, `HumanName`, `Patient.contact`, `code`; also as a profile
    /// names it: `SimpleQuantity`, `http://hl7.org/fhirpath/System.String`). A resource tells its own type. `%resource` is the resource that the element is in, `%rootResource` the one around that if it is contained.
    #[must_use]
    pub fn new(element: Element<'t, 't>, type_name: &str, release: Release) -> Self {
        let type_name = element.resource_type().unwrap_or(type_name);
        Self::of(Node { element, type_def: types::definition(elements::table(release), type_name) }, release)
    }

    /// The same for an element whose type is known.
    #[must_use]
    pub fn of(focus: Node<'t>, release: Release) -> Self {
        let element = focus.element;
        let resource = element.resource();
        let mut root = resource;
        while root.name() == "contained" {
            match root.parent() {
                Some(parent) => root = parent.resource(),
                None => break,
            }
        }
        Self {
            focus,
            resource,
            root_resource: root,
            release,
            now: None,
            variables: Vec::new(),
            host: &Alone,
            limits: Limits::default(),
        }
    }

    /// With another `%resource` and `%rootResource`.
    #[must_use]
    pub fn with_resources(mut self, resource: Element<'t, 't>, root_resource: Element<'t, 't>) -> Self {
        (self.resource, self.root_resource) = (resource, root_resource);
        self
    }

    /// With somebody to ask.
    #[must_use]
    pub fn with_host<'n>(self, host: &'n dyn Host) -> Context<'n, 't> {
        let Self { focus, resource, root_resource, release, now, variables, host: _, limits } = self;
        Context { focus, resource, root_resource, release, now, variables, host, limits }
    }

    /// With the time that `now()`, `today()` and `timeOfDay()` tell.
    #[must_use]
    pub fn with_now(mut self, now: Temporal) -> Self {
        self.now = now.to_date_time();
        self
    }

    /// With a variable, named without `%`.
    #[must_use]
    pub fn with_variable(mut self, name: &'t str, value: Item<'t>) -> Self {
        self.variables.push((name, value));
        self
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn table(&self) -> &'static Table {
        elements::table(self.release)
    }
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`SyntaxError`] for what is not FHIRPath, calls a function that does not exist or with another number of arguments, is longer
    /// than 64 KiB, or is nested too deep.
    pub fn compile(source: &str) -> Result<Self, SyntaxError> {
        let (root, constants) = parser::parse(source)?;
        Ok(Self { source: source.into(), root, constants, presence: None })
    }

    /// Compiles an invariant as published, corrected where the publication is known to be wrong (such as `ref-1` of R4 and STU3, which
    /// condemns every Reference without a `reference`). [`Expression::source`] tells the corrected text.
    ///
    /// # Errors
    /// As [`Expression::compile`].
    pub fn compile_invariant(published: &str) -> Result<Self, SyntaxError> {
        let mut made = Self::compile(errata::corrected(published))?;
        made.presence = presence::Presence::of(&made.root);
        Ok(made)
    }

    /// Whether an invariant holds for an element, as [`Expression::holds`] would answer, where the presence of its children alone
    /// tells; nothing where it has to be evaluated.
    #[must_use]
    pub fn holds_by_presence(&self, element: Element<'_, '_>) -> Option<bool> {
        self.presence.as_ref()?.tells(element)
    }

    /// The text that it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it asks for that an element of this type (as for [`Context::new`]) does not have. Nothing is told of what is not known
    /// before evaluation, and of a type that the release does not know.
    #[must_use]
    pub fn check(&self, type_name: &str, release: Release) -> Vec<Misuse> {
        let table = elements::table(release);
        types::definition(table, type_name).map(|def| check::check(&self.root, def, table)).unwrap_or_default()
    }

    /// Its result as the specification has it.
    ///
    /// # Errors
    /// [`EvaluationError`] when there is none.
    pub fn evaluate<'t>(&'t self, context: &Context<'_, 't>) -> Result<Vec<Item<'t>>, EvaluationError> {
        self.evaluate_in(context, &Session::new(u64::MAX))
    }

    /// [`Expression::evaluate`] as one of many over the same tree and with the same host.
    ///
    /// # Errors
    /// [`EvaluationError`] when there is no result, and when the session has no steps left.
    pub fn evaluate_in<'t>(
        &'t self,
        context: &Context<'_, 't>,
        session: &Session<'t>,
    ) -> Result<Vec<Item<'t>>, EvaluationError> {
        evaluate::run(self, context, session, false).map(collection::Items::into_vec)
    }

    /// Whether an invariant holds, as the HL7 validator judges: an empty result does not, a boolean tells, anything else does.
    ///
    /// # Errors
    /// [`EvaluationError`] when nobody can tell: never to be taken for a pass.
    pub fn holds<'t>(&'t self, context: &Context<'_, 't>) -> Result<bool, EvaluationError> {
        self.holds_in(context, &Session::new(u64::MAX))
    }

    /// [`Expression::holds`] as one of many over the same tree and with the same host.
    ///
    /// # Errors
    /// [`EvaluationError`] when nobody can tell, and when the session has no steps left: never to be taken for a pass.
    pub fn holds_in<'t>(&'t self, context: &Context<'_, 't>, session: &Session<'t>) -> Result<bool, EvaluationError> {
        let items = evaluate::run(self, context, session, true)?;
        Ok(match items.as_slice() {
            items @ ([] | [_]) => evaluate::condition(items, "an invariant")?.unwrap_or(false),
            _ => true,
        })
    }
}
