//! Names against types, before anything is evaluated: an invariant with a misspelt name holds or fails for ever, and says nothing.

use onward_fhir::elements::{Table, TypeDef, TypeKind};

use super::functions::Function;
use super::syntax::{Call, Node, Operator, Path, Step, TypeFunction};
use super::types::{self, TypeName};

/// What an expression asks for that it cannot get on its type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// No type that can stand there has this element, or is of this name.
    UnknownName {
        /// The name.
        name: Box<str>,
        /// The first type that was looked at.
        of: &'static str,
    },
    /// A choice named as in documents (`valueQuantity` for `value`). It is found all the same; some of FHIR's own do it.
    ChoiceAsWritten {
        /// The name.
        name: Box<str>,
        /// The first type that was looked at.
        of: &'static str,
    },
    /// A place in a collection that has no order: `children().skip(1)`.
    Unordered {
        /// The function that asks for it; `[]` for an index.
        function: &'static str,
    },
}

/// All misuses that can be told for certain on a type of the element table.
pub(super) fn check(root: &Node, type_def: &'static TypeDef, table: &'static Table) -> Vec<Misuse> {
    let mut checker = Checker { table, found: Vec::new() };
    let this = Types { known: Some(vec![type_def]), ordered: true };
    checker.node(root, &this);
    checker.found
}

/// What an expression may give: FHIR types, or something that is not known before it is evaluated.
#[derive(Clone)]
struct Types {
    known: Option<Vec<&'static TypeDef>>,
    ordered: bool,
}

impl Types {
    const OPEN: Self = Self { known: None, ordered: true };

    fn of(known: Vec<&'static TypeDef>, ordered: bool) -> Self {
        Self { known: Some(known), ordered }
    }

    fn or(self, other: Self) -> Self {
        let ordered = self.ordered && other.ordered;
        let known = self.known.zip(other.known).map(|(mut known, more)| {
            for each in more {
                if !known.iter().any(|known| known.name() == each.name()) {
                    known.push(each);
                }
            }
            known
        });
        Self { known, ordered }
    }
}

struct Checker {
    table: &'static Table,
    found: Vec<Misuse>,
}

impl Checker {
    fn node(&mut self, node: &Node, this: &Types) -> Types {
        match node {
            Node::This => this.clone(),
            Node::Path(path) => self.path(path, this),
            Node::Operators { first, rest } => {
                let mut types = self.node(first, this);
                for (operator, operand) in rest {
                    let other = self.node(operand, this);
                    types = if *operator == Operator::Union { types.or(other) } else { Types::OPEN };
                }
                types
            }
            Node::Type { operand, function, name } => {
                let operand = self.node(operand, this);
                self.narrowed(*function, name, operand)
            }
            Node::Sign { operand, .. } => {
                self.node(operand, this);
                Types::OPEN
            }
            Node::Constant { node, .. } => self.node(node, this),
            Node::Empty | Node::Literal(_) | Node::Variable(_) | Node::Index | Node::Total => Types::OPEN,
        }
    }

    fn path(&mut self, path: &Path, this: &Types) -> Types {
        let (mut types, mut bare) = match &path.head {
            Some(head) => (self.node(head, this), false),
            None => (this.clone(), true),
        };
        for step in &path.steps {
            types = match step {
                Step::Child(name) if bare && name.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    self.type_at_start(name, types)
                }
                Step::Child(name) => self.child(name, types),
                Step::Call(call) => self.call(call, types, this),
                Step::Type(function, name) => self.narrowed(*function, name, types),
                Step::Index(index) => {
                    self.node(index, this);
                    self.in_order("[]", &types);
                    types
                }
            };
            bare = false;
        }
        types
    }

    fn type_at_start(&mut self, name: &str, types: Types) -> Types {
        if let Some(known) = &types.known
            && !known.iter().any(|def| types::inherits(def, name) || is_open(def))
        {
            self.unknown(name, known);
            return Types::OPEN;
        }
        types
    }

    fn child(&mut self, name: &str, types: Types) -> Types {
        let Some(known) = &types.known else { return Types::OPEN };
        let (mut made, mut as_written) = (Vec::new(), false);
        for def in known {
            if is_open(def) {
                return Types { known: None, ordered: types.ordered };
            }
            // A primitive's own value is a `System` value.
            if def.kind() == TypeKind::Primitive && name == "value" {
                return Types::OPEN;
            }
            if let Some(element) = def.child(name) {
                as_written |= element.choice.is_some();
                made.extend(self.table.type_def(element.type_name));
            }
            made.extend(def.choice(name).filter_map(|element| self.table.type_def(element.type_name)));
        }
        if made.is_empty() {
            self.unknown(name, known);
            return Types::OPEN;
        }
        if as_written {
            self.found.push(Misuse::ChoiceAsWritten { name: name.into(), of: first_name(known) });
        }
        Types::of(made, types.ordered)
    }

    fn unknown(&mut self, name: &str, known: &[&'static TypeDef]) {
        // Of nothing nothing can be asked: that was said where it became nothing.
        if !known.is_empty() {
            self.found.push(Misuse::UnknownName { name: name.into(), of: first_name(known) });
        }
    }

    fn in_order(&mut self, function: &'static str, types: &Types) {
        if !types.ordered {
            self.found.push(Misuse::Unordered { function });
        }
    }

    fn narrowed(&mut self, function: TypeFunction, name: &TypeName, types: Types) -> Types {
        if function == TypeFunction::Is {
            return Types::OPEN;
        }
        match self.table.type_def(&name.name).filter(|_| name.may_be_fhir()) {
            Some(def) => Types::of(vec![def], types.ordered),
            None => Types::OPEN,
        }
    }

    fn call(&mut self, call: &Call, input: Types, this: &Types) -> Types {
        let name = call.function.name();
        let binds_this = call.function.binds_this() || call.function == Function::Trace;
        let item = if binds_this { &input } else { this };
        let arguments: Vec<Types> = call.arguments.iter().map(|argument| self.node(argument, item)).collect();
        match call.function {
            Function::Where | Function::Distinct | Function::Trace | Function::Intersect | Function::Exclude => input,
            Function::First | Function::Last | Function::Tail | Function::Skip | Function::Take => {
                self.in_order(name, &input);
                input
            }
            Function::Single => input,
            Function::Sort => Types { ordered: true, ..input },
            Function::Select => arguments.into_iter().next().unwrap_or(Types::OPEN),
            Function::Union | Function::Combine => {
                arguments.into_iter().next().map_or(Types::OPEN, |other| input.or(other))
            }
            Function::Iif => {
                let mut branches = arguments.into_iter().skip(1);
                let first = branches.next().unwrap_or(Types::OPEN);
                branches.fold(first, Types::or)
            }
            Function::Children | Function::Descendants => Types { known: None, ordered: false },
            Function::Extension => match self.table.type_def("Extension") {
                Some(def) => Types::of(vec![def], true),
                None => Types::OPEN,
            },
            _ => Types::OPEN,
        }
    }
}

fn first_name(known: &[&'static TypeDef]) -> &'static str {
    known.first().map_or("", |def| def.name())
}

/// What stands there may be anything: a resource of any type.
fn is_open(def: &TypeDef) -> bool {
    matches!(def.name(), "Resource" | "DomainResource" | "Element" | "BackboneElement")
}
