//! Finds the parts of an expression that are the same for every item that a function looks at, such as
//! `%resource.descendants().reference` in `contained.where('#' + id in %resource.descendants().reference)`: evaluated
//! for each contained resource anew, they make invariants quadratic. Those that depend on nothing but the resource are marked
//! wherever they stand: a session shares them between its elements.

use super::functions::Function;
use super::syntax::{Node, Path, Step};

/// Wraps these parts and numbers them; tells how many there are.
pub(super) fn mark(root: &mut Node) -> usize {
    let mut marker = Marker { slots: 0 };
    marker.visit(root, false);
    marker.slots
}

struct Marker {
    slots: usize,
}

impl Marker {
    /// `repeated`: within an argument that is evaluated for each item.
    fn visit(&mut self, node: &mut Node, repeated: bool) {
        if is_worth_it(node) && is_constant(node, false) {
            let of_resource = is_of_resource(node);
            if repeated || of_resource {
                let inner = std::mem::replace(node, Node::Empty);
                *node = Node::Constant { slot: self.slots, of_resource, node: Box::new(inner) };
                self.slots += 1;
                return;
            }
        }
        match node {
            Node::Path(path) => self.path(path, repeated),
            Node::Operators { first, rest } => {
                self.visit(first, repeated);
                rest.iter_mut().for_each(|(_, operand)| self.visit(operand, repeated));
            }
            Node::Type { operand, .. } | Node::Sign { operand, .. } => self.visit(operand, repeated),
            _ => {}
        }
    }

    fn path(&mut self, path: &mut Path, repeated: bool) {
        if let Some(head) = &mut path.head {
            self.visit(head, repeated);
        }
        for step in &mut path.steps {
            match step {
                Step::Call(call) => {
                    let repeated = repeated || call.function.binds_this() && call.function != Function::Iif;
                    call.arguments.iter_mut().for_each(|argument| self.visit(argument, repeated));
                }
                Step::Index(index) => self.visit(index, repeated),
                Step::Child(_) | Step::Type(..) => {}
            }
        }
    }
}

fn is_worth_it(node: &Node) -> bool {
    matches!(node, Node::Path(_) | Node::Operators { .. })
}

/// True when nothing in it depends on where it stands. `bound`: `$this` and `$index` are its own.
fn is_constant(node: &Node, bound: bool) -> bool {
    match node {
        Node::Empty | Node::Literal(_) | Node::Variable(_) | Node::Constant { .. } => true,
        Node::This | Node::Index => bound,
        Node::Total => false,
        Node::Path(path) => is_constant_path(path, bound),
        Node::Operators { first, rest } => {
            is_constant(first, bound) && rest.iter().all(|(_, operand)| is_constant(operand, bound))
        }
        Node::Type { operand, .. } | Node::Sign { operand, .. } => is_constant(operand, bound),
    }
}

fn is_constant_path(path: &Path, bound: bool) -> bool {
    let head_fits = match &path.head {
        Some(head) => is_constant(head, bound),
        None => bound,
    };
    head_fits
        && path.steps.iter().all(|step| match step {
            Step::Child(_) | Step::Type(..) => true,
            Step::Index(index) => is_constant(index, bound),
            Step::Call(call) => {
                // `iif` keeps the `$index` around it.
                let bound = bound || call.function.binds_this() && call.function != Function::Iif;
                call.arguments.iter().all(|argument| is_constant(argument, bound))
            }
        })
}

/// True when each variable in it is the resource, the one around it, or a fixed text; and there is one.
fn is_of_resource(node: &Node) -> bool {
    let mut names = Vec::new();
    variables(node, &mut names);
    !names.is_empty()
        && names.iter().all(|name| matches!(*name, "resource" | "rootResource" | "ucum" | "sct" | "loinc"))
}

fn variables<'n>(node: &'n Node, names: &mut Vec<&'n str>) {
    match node {
        Node::Variable(name) => names.push(name),
        Node::Path(path) => {
            if let Some(head) = &path.head {
                variables(head, names);
            }
            for step in &path.steps {
                match step {
                    Step::Call(call) => {
                        call.arguments.iter().for_each(|argument| variables(argument, names));
                        // What else the context holds.
                        if matches!(call.function, Function::Now | Function::Today | Function::TimeOfDay) {
                            names.push("now");
                        }
                    }
                    Step::Index(index) => variables(index, names),
                    Step::Child(_) | Step::Type(..) => {}
                }
            }
        }
        Node::Operators { first, rest } => {
            variables(first, names);
            rest.iter().for_each(|(_, operand)| variables(operand, names));
        }
        Node::Type { operand, .. } | Node::Sign { operand, .. } => variables(operand, names),
        Node::Constant { node, .. } => variables(node, names),
        Node::Empty | Node::Literal(_) | Node::This | Node::Index | Node::Total => {}
    }
}
