//! Walks a compiled expression. Recursion follows the expression's nesting only, which its compiler bounds; work is counted.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use foldhash::HashMap;
use onward_fhir::NodeId;
use onward_fhir::elements::Table;

use super::collection::{Items, one};
use super::equality::Constant;
use super::item::{Item, Node};
use super::syntax::{Literal, Node as Syntax, Path, Step, TypeFunction};
use super::types::{self, TypeName};
use super::{Context, EvaluationError, Expression, navigate};

pub(super) type Outcome<T> = Result<T, EvaluationError>;

/// Evaluates a whole expression. `as_validator`: with the liberties of the HL7 validator.
pub(super) fn run<'t>(
    expression: &'t Expression,
    context: &Context<'_, 't>,
    session: &Session<'t>,
    as_validator: bool,
) -> Outcome<Items<'t>> {
    let budget = context.limits.steps.min(session.steps_left.get());
    let evaluation = Evaluation {
        context,
        table: context.table(),
        as_validator,
        steps_left: Cell::new(budget),
        constants: RefCell::new(vec![None; expression.constants]),
        expression,
        session,
    };
    let focus = [Item::Node(context.focus)];
    let found = evaluation.node(&expression.root, Frame { this: &focus, index: None, total: None });
    let spent = budget - evaluation.steps_left.get();
    session.spend(spent);
    found
}

/// Evaluations over one tree: they share what is the same for all elements of a resource, and a budget.
///
/// Without it, an invariant such as `ref-1`, which looks through all contained resources at every reference, makes the work
/// quadratic in what a sender may choose.
pub struct Session<'t> {
    steps_left: Cell<u64>,
    constants: RefCell<HashMap<Key, Rc<Constant<'t>>>>,
}

/// Expression, place in it, and the resource with the one around it.
type Key = (usize, usize, NodeId, NodeId);

impl Session<'_> {
    /// For evaluations that together may take so many steps.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        Self { steps_left: Cell::new(steps), constants: RefCell::default() }
    }

    /// The steps that are left of it.
    #[must_use]
    pub fn steps_left(&self) -> u64 {
        self.steps_left.get()
    }

    /// Takes steps that were made elsewhere.
    pub fn spend(&self, steps: u64) {
        self.steps_left.set(self.steps_left.get().saturating_sub(steps));
    }
}

/// One evaluation under way.
pub(super) struct Evaluation<'c, 't> {
    pub(super) context: &'c Context<'c, 't>,
    pub(super) table: &'static Table,
    pub(super) as_validator: bool,
    steps_left: Cell<u64>,
    constants: RefCell<Vec<Option<Rc<Constant<'t>>>>>,
    expression: &'t Expression,
    session: &'c Session<'t>,
}

/// What `$this`, `$index` and `$total` are.
#[derive(Clone, Copy)]
pub(super) struct Frame<'f, 't> {
    pub(super) this: &'f [Item<'t>],
    pub(super) index: Option<usize>,
    pub(super) total: Option<&'f [Item<'t>]>,
}

impl<'f, 't> Frame<'f, 't> {
    /// For one item of a collection.
    pub(super) fn of(self, index: usize, item: &'f Item<'t>) -> Self {
        Frame { this: std::slice::from_ref(item), index: Some(index), total: self.total }
    }
}

impl<'t> Evaluation<'_, 't> {
    /// Counts work.
    pub(super) fn spend(&self, steps: usize) -> Outcome<()> {
        match self.steps_left.get().checked_sub(steps as u64) {
            Some(left) => {
                self.steps_left.set(left);
                Ok(())
            }
            None => Err(EvaluationError::TooMuch("the steps that are allowed")),
        }
    }

    /// Adds an item within the limits.
    pub(super) fn push(&self, items: &mut Items<'t>, item: Item<'t>) -> Outcome<()> {
        self.spend(1)?;
        if items.len() >= self.context.limits.items {
            return Err(EvaluationError::TooMuch("the items that are allowed"));
        }
        items.push(item);
        Ok(())
    }

    /// A text that was made, within the limits.
    pub(super) fn made(&self, text: String) -> Outcome<Item<'t>> {
        self.fits(text.len())?;
        Ok(Item::String(Cow::Owned(text)))
    }

    /// Whether a text of this many bytes may be made; counts it.
    pub(super) fn fits(&self, bytes: usize) -> Outcome<()> {
        self.spend(bytes / 32 + 1)?;
        if bytes > self.context.limits.text_bytes {
            return Err(EvaluationError::TooMuch("the length of text that is allowed"));
        }
        Ok(())
    }

    pub(super) fn node(&self, node: &'t Syntax, frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        self.spend(1)?;
        Ok(match node {
            Syntax::Empty => Items::new(),
            Syntax::Literal(literal) => one(value_of(literal)),
            Syntax::Variable(name) => one(self.variable(name)?),
            Syntax::This => self.copied(frame.this)?,
            Syntax::Index => {
                frame.index.and_then(|index| i64::try_from(index).ok()).map(Item::Integer).into_iter().collect()
            }
            Syntax::Total => self.copied(frame.total.unwrap_or_default())?,
            Syntax::Path(path) => self.path(path, frame)?,
            Syntax::Operators { first, rest } => self.operators(first, rest, frame)?,
            Syntax::Type { operand, function, name } => {
                let operand = self.node(operand, frame)?;
                self.type_function(*function, name, &operand)?
            }
            Syntax::Sign { negative, operand } => self.sign(*negative, self.node(operand, frame)?)?,
            Syntax::Constant { slot, of_resource, node } => {
                self.copied(&self.constant(*slot, *of_resource, node, frame)?.items)?
            }
        })
    }

    /// A part that is the same for every item, evaluated when it is first met.
    pub(super) fn constant(
        &self,
        slot: usize,
        of_resource: bool,
        node: &'t Syntax,
        frame: Frame<'_, 't>,
    ) -> Outcome<Rc<Constant<'t>>> {
        if let Some(known) = &self.constants.borrow()[slot] {
            return Ok(Rc::clone(known));
        }
        // Nobody can free an expression that the session has seen, so that its address stands for it.
        let resources = (self.context.resource.id(), self.context.root_resource.id());
        let key = (std::ptr::from_ref(self.expression) as usize, slot, resources.0, resources.1);
        let shared = of_resource.then(|| self.session.constants.borrow().get(&key).map(Rc::clone)).flatten();
        let made = match shared {
            Some(known) => known,
            None => {
                let made = Rc::new(Constant::new(self.node(node, frame)?));
                if of_resource {
                    self.session.constants.borrow_mut().insert(key, Rc::clone(&made));
                }
                made
            }
        };
        self.constants.borrow_mut()[slot] = Some(Rc::clone(&made));
        Ok(made)
    }

    pub(super) fn copied(&self, items: &[Item<'t>]) -> Outcome<Items<'t>> {
        self.spend(items.len())?;
        Ok(items.iter().cloned().collect())
    }

    fn path(&self, path: &'t Path, frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        let (mut items, mut bare) = match &path.head {
            Some(head) => (self.node(head, frame)?, false),
            None => (Items::new(), true),
        };
        for step in &path.steps {
            items = match step {
                Step::Child(name) if bare => self.first_name(name, frame.this)?,
                Step::Child(name) => self.children(name, &items)?,
                Step::Call(call) if bare => self.call(call, self.copied(frame.this)?, true, frame)?,
                Step::Call(call) => self.call(call, items, false, frame)?,
                Step::Type(function, name) if bare => self.type_function(*function, name, frame.this)?,
                Step::Type(function, name) => self.type_function(*function, name, &items)?,
                Step::Index(index) => {
                    let index = self.node(index, frame)?;
                    let at = match integer(&index, "an index")? {
                        Some(at) => usize::try_from(at).ok(),
                        None => None,
                    };
                    at.and_then(|at| items.get(at).cloned()).into_iter().collect()
                }
            };
            bare = false;
        }
        Ok(items)
    }

    /// The first name of an expression may be the type of what it is evaluated on: `Patient.name`.
    fn first_name(&self, name: &'t str, this: &[Item<'t>]) -> Outcome<Items<'t>> {
        if name.starts_with(|c: char| c.is_ascii_uppercase()) {
            let is_type = |item: &&Item<'t>| {
                item.node().and_then(|node| node.type_def).is_some_and(|def| types::inherits(def, name))
            };
            return Ok(this.iter().filter(is_type).cloned().collect());
        }
        self.children(name, this)
    }

    fn children(&self, name: &'t str, items: &[Item<'t>]) -> Outcome<Items<'t>> {
        let mut found = Items::new();
        for item in items {
            self.spend(1)?;
            match item {
                Item::Node(node) => {
                    let before = found.len();
                    navigate::children_named(node, name, self.table, |child| found.push(Item::Node(child)));
                    self.spend(found.len() - before)?;
                    if found.len() == before && name == "value" && node.is_primitive() {
                        found.extend(item.value().map(Cow::into_owned));
                    }
                }
                Item::Type { namespace, .. } if name == "namespace" => found.push(Item::from(*namespace)),
                Item::Type { name: type_name, .. } if name == "name" => found.push(Item::from(*type_name)),
                Item::Quantity(quantity) => match name {
                    "value" => found.push(Item::Decimal(quantity.value)),
                    "unit" | "code" => {
                        found.extend(quantity.ucum().map(|code| Item::String(Cow::Owned(code.to_owned()))));
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        if found.len() > self.context.limits.items {
            return Err(EvaluationError::TooMuch("the items that are allowed"));
        }
        Ok(found)
    }

    fn variable(&self, name: &'t str) -> Outcome<Item<'t>> {
        let given = || self.context.variables.iter().rev().find(|(each, _)| *each == name);
        Ok(match name {
            "context" => Item::Node(self.context.focus),
            "resource" => Item::Node(Node::resource(self.context.resource, self.table)),
            "rootResource" => Item::Node(Node::resource(self.context.root_resource, self.table)),
            "ucum" => Item::from("http://unitsofmeasure.org"),
            "sct" => Item::from("http://snomed.info/sct"),
            "loinc" => Item::from("http://loinc.org"),
            _ => {
                if let Some((_, value)) = given() {
                    value.clone()
                } else if let Some(id) = name.strip_prefix("vs-") {
                    self.made(format!("http://hl7.org/fhir/ValueSet/{id}"))?
                } else if let Some(id) = name.strip_prefix("cs-") {
                    self.made(format!("http://hl7.org/fhir/{id}"))?
                } else if let Some(id) = name.strip_prefix("ext-") {
                    self.made(format!("http://hl7.org/fhir/StructureDefinition/{id}"))?
                } else {
                    return Err(EvaluationError::UnknownVariable(name.into()));
                }
            }
        })
    }

    /// `is`, `as` and `ofType`.
    fn type_function(&self, function: TypeFunction, name: &TypeName, items: &[Item<'t>]) -> Outcome<Items<'t>> {
        self.spend(items.len())?;
        let known = name.is_known(self.table);
        if function == TypeFunction::Is {
            return Ok(match single(items, "is")? {
                None => Items::new(),
                Some(item) => one(Item::Boolean(known && self.is_of(item, name))),
            });
        }
        if !known {
            return Err(EvaluationError::UnknownType(name.name.clone()));
        }
        if function == TypeFunction::As && !self.as_validator {
            single(items, "as")?;
        }
        Ok(items.iter().filter(|item| is_exactly(item, name)).cloned().collect())
    }

    fn is_of(&self, item: &Item<'t>, name: &TypeName) -> bool {
        let Item::Node(Node { type_def, .. }) = item else { return is_exactly(item, name) };
        type_def.is_some_and(|def| {
            name.may_be_fhir() && types::inherits(def, &name.name)
                || self.as_validator && def.name().eq_ignore_ascii_case(&name.name)
        })
    }
}

/// The type itself; of resources and data types also what is derived from it, of primitives not: a `code` is not taken `as(string)`.
fn is_exactly(item: &Item<'_>, name: &TypeName) -> bool {
    match item {
        Item::Node(node) => {
            name.may_be_fhir()
                && node.type_def.is_some_and(|def| match node.is_primitive() {
                    true => def.name() == &*name.name,
                    false => types::inherits(def, &name.name),
                })
        }
        value => name.may_be_system() && value.type_name() == &*name.name,
    }
}

fn value_of(literal: &Literal) -> Item<'_> {
    match literal {
        Literal::Boolean(value) => Item::Boolean(*value),
        Literal::Integer(value) => Item::Integer(*value),
        Literal::Decimal(value) => Item::Decimal(*value),
        Literal::String(text) => Item::String(Cow::Borrowed(text)),
        Literal::Temporal(value) => Item::Temporal(*value),
        Literal::Quantity(value) => Item::Quantity(Box::new(value.clone())),
    }
}

/// The only item, if there is one.
pub(super) fn single<'i, 't>(items: &'i [Item<'t>], what: &'static str) -> Outcome<Option<&'i Item<'t>>> {
    match items {
        [] => Ok(None),
        [item] => Ok(Some(item)),
        _ => Err(EvaluationError::NotSingle(what)),
    }
}

/// A collection as a condition (§4.5): a boolean tells, any other single item is true.
pub(super) fn condition(items: &[Item<'_>], what: &'static str) -> Outcome<Option<bool>> {
    Ok(single(items, what)?.and_then(|item| match item.value().as_deref() {
        Some(Item::Boolean(value)) => Some(*value),
        None if item.node().is_some_and(Node::is_primitive) => None,
        _ => Some(true),
    }))
}

/// The only item as a whole number, if there is one.
pub(super) fn integer(items: &[Item<'_>], what: &'static str) -> Outcome<Option<i64>> {
    let Some(item) = single(items, what)? else { return Ok(None) };
    match item.value().as_deref() {
        Some(Item::Integer(value)) => Ok(Some(*value)),
        None if item.node().is_some_and(Node::is_primitive) => Ok(None),
        _ => Err(EvaluationError::WrongType(what)),
    }
}
