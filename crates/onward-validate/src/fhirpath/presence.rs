//! What an invariant says of an element by the presence of its children alone, told once when it is compiled. `low.exists() or
//! high.exists()` holds wherever there is a `low`, and `contained.contained.empty()` wherever nothing is contained: most invariants of
//! most elements are decided so, without an evaluation.

use onward_fhir::Element;

use super::functions::Function;
use super::syntax::{Call, Literal, Node, Operator, Path, Step};

/// More names than any invariant of FHIR looks at makes a table too large.
const NAMES_MAX: usize = 8;

/// Whether an invariant holds, for each set of children that an element may have.
#[derive(Debug)]
pub(super) struct Presence {
    names: Vec<Box<str>>,
    /// By the set, bit by bit in the order of the names. `None` where more than presence counts.
    holds: Vec<Option<bool>>,
}

impl Presence {
    /// Nothing when presence never tells.
    pub(super) fn of(root: &Node) -> Option<Self> {
        let mut names = Vec::new();
        collect(root, &mut names);
        names.sort_unstable();
        names.dedup();
        if names.is_empty() || names.len() > NAMES_MAX {
            return None;
        }
        let outcome = |set: usize| Sets { names: &names, set }.outcome(root).condition();
        let holds: Vec<Option<bool>> = (0..1 << names.len()).map(outcome).collect();
        holds
            .iter()
            .any(Option::is_some)
            .then(|| Self { names: names.iter().map(|name| Box::from(*name)).collect(), holds })
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Whether it holds for this element; nothing when it has to be evaluated.
    pub(super) fn tells(&self, element: Element<'_, '_>) -> Option<bool> {
        // A primitive's own value goes by the name `value`.
        if element.value().is_some() {
            return None;
        }
        let (mut has, mut may_have) = (0_usize, 0_usize);
        for child in element.children() {
            let child = child.name();
            for (at, name) in self.names.iter().enumerate() {
                match child.strip_prefix(&**name) {
                    Some("") => has |= 1 << at,
                    // `valueQuantity` is a `value` where that is a choice.
                    Some(_) => may_have |= 1 << at,
                    None => {}
                }
            }
        }
        let holds = self.holds[has]?;
        may_have &= !has;
        // All its subsets but the empty one.
        let mut more = may_have;
        while more != 0 {
            if self.holds[has | more] != Some(holds) {
                return None;
            }
            more = (more - 1) & may_have;
        }
        Some(holds)
    }
}

/// The names of the children that it asks the element itself for.
fn collect<'n>(node: &'n Node, names: &mut Vec<&'n str>) {
    match node {
        Node::Path(path) => {
            if let Some(head) = &path.head {
                collect(head, names);
            } else if let Some(name) = own_child(path) {
                names.push(name);
            }
        }
        Node::Operators { first, rest } => {
            collect(first, names);
            rest.iter().for_each(|(_, operand)| collect(operand, names));
        }
        Node::Constant { node, .. } => collect(node, names),
        Node::Empty
        | Node::Literal(_)
        | Node::Variable(_)
        | Node::This
        | Node::Index
        | Node::Total
        | Node::Type { .. }
        | Node::Sign { .. } => {}
    }
}

/// A capital begins a type, not a child.
fn own_child(path: &Path) -> Option<&str> {
    match path.steps.first() {
        Some(Step::Child(name)) if name.starts_with(|first: char| first.is_ascii_lowercase()) => Some(name),
        _ => None,
    }
}

/// What is known of a collection without looking at a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Empty,
    /// One item or more.
    Something,
    Truth(bool),
    /// Also where the evaluation may fail.
    Unknown,
}

impl Outcome {
    /// As an invariant's result: an empty one does not hold.
    fn condition(self) -> Option<bool> {
        match self {
            Self::Empty => Some(false),
            Self::Truth(holds) => Some(holds),
            Self::Something | Self::Unknown => None,
        }
    }

    /// As an operand of logic, whose third value is the empty collection; nothing where it is not known.
    fn operand(self) -> Option<Option<bool>> {
        match self {
            Self::Empty => Some(None),
            Self::Truth(truth) => Some(Some(truth)),
            Self::Something | Self::Unknown => None,
        }
    }

    fn of(truth: Option<bool>) -> Self {
        truth.map_or(Self::Empty, Self::Truth)
    }
}

struct Sets<'n> {
    names: &'n [&'n str],
    set: usize,
}

impl Sets<'_> {
    fn outcome(&self, node: &Node) -> Outcome {
        match node {
            Node::Empty => Outcome::Empty,
            Node::Literal(Literal::Boolean(truth)) => Outcome::Truth(*truth),
            Node::Literal(_) => Outcome::Something,
            Node::Path(path) => self.path(path),
            Node::Operators { first, rest } => rest
                .iter()
                .fold(self.outcome(first), |left, (operator, operand)| self.operator(*operator, left, operand)),
            Node::Constant { node, .. } => self.outcome(node),
            Node::Variable(_) | Node::This | Node::Index | Node::Total | Node::Type { .. } | Node::Sign { .. } => {
                Outcome::Unknown
            }
        }
    }

    fn path(&self, path: &Path) -> Outcome {
        let (start, steps) = match &path.head {
            Some(head) => (self.outcome(head), path.steps.as_slice()),
            None => match own_child(path).and_then(|name| self.names.iter().position(|known| *known == name)) {
                Some(at) if self.set & (1 << at) != 0 => (Outcome::Something, &path.steps[1..]),
                Some(_) => (Outcome::Empty, &path.steps[1..]),
                None => return Outcome::Unknown,
            },
        };
        steps.iter().fold(start, |so_far, step| match (step, so_far) {
            (Step::Child(_), Outcome::Empty) => Outcome::Empty,
            (Step::Call(call), _) => called(call, so_far),
            _ => Outcome::Unknown,
        })
    }

    fn operator(&self, operator: Operator, left: Outcome, operand: &Node) -> Outcome {
        let Some(truth) = left.operand() else { return Outcome::Unknown };
        match (operator, truth) {
            (Operator::And, Some(false)) => return Outcome::Truth(false),
            (Operator::Or, Some(true)) | (Operator::Implies, Some(false)) => return Outcome::Truth(true),
            _ => {}
        }
        let right = self.outcome(operand);
        let Some(other) = right.operand() else { return Outcome::Unknown };
        Outcome::of(match operator {
            Operator::And => match (truth, other) {
                (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Operator::Or => match (truth, other) {
                (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Operator::Implies => match (truth, other) {
                (_, Some(true)) => Some(true),
                (Some(true), other) => other,
                _ => None,
            },
            Operator::Xor => truth.zip(other).map(|(left, right)| left != right),
            Operator::Equal => truth.zip(other).map(|(left, right)| left == right),
            Operator::NotEqual => truth.zip(other).map(|(left, right)| left != right),
            Operator::Union if (left, right) == (Outcome::Empty, Outcome::Empty) => None,
            _ => return Outcome::Unknown,
        })
    }
}

/// A function of what is known. Of nothing, no argument is evaluated for each item, and nobody is asked.
fn called(call: &Call, input: Outcome) -> Outcome {
    use Function as F;
    match (call.function, input) {
        (F::Trace, _) => input,
        (F::Exists, Outcome::Empty) => Outcome::Truth(false),
        (F::Exists, Outcome::Something | Outcome::Truth(_)) if call.arguments.is_empty() => Outcome::Truth(true),
        (F::Empty | F::All, Outcome::Empty) => Outcome::Truth(true),
        (F::Empty, Outcome::Something | Outcome::Truth(_)) => Outcome::Truth(false),
        (F::HasValue, Outcome::Empty) => Outcome::Truth(false),
        (F::Not, Outcome::Truth(truth)) => Outcome::Truth(!truth),
        (
            F::Not | F::Where | F::Select | F::First | F::Last | F::Tail | F::Distinct | F::Children | F::Descendants,
            Outcome::Empty,
        ) => Outcome::Empty,
        (F::Count, Outcome::Empty | Outcome::Something | Outcome::Truth(_)) => Outcome::Something,
        _ => Outcome::Unknown,
    }
}
