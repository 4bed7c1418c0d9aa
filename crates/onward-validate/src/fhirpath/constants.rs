//! Finds the parts of an expression that are the same for every item that a function looks at, such as
//! `%resource.descendants().reference` in `contained.where('#' + id in %resource.descendants().reference)`: evaluated
//! for each contained resource anew, they make invariants quadratic.

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
        if repeated && is_worth_it(node) && is_constant(node, false) {
            let inner = std::mem::replace(node, Node::Empty);
            *node = Node::Constant { slot: self.slots, node: Box::new(inner) };
            self.slots += 1;
            return;
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
