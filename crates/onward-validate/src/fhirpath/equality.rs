//! `=` and `~` (FHIRPath §6.1), and finding equal items without comparing each with each.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::hash::{DefaultHasher, Hash, Hasher};

use foldhash::{HashMap, HashMapExt};

use super::collection::Items;
use super::evaluate::{Evaluation, Outcome};
use super::item::{Item, Node};
use super::quantity::are_equivalent;
use super::temporal::{Temporal, TemporalKind};
use super::{EvaluationError, Precision};

/// Elements within each other that are compared. The readers let in fewer.
const DEPTH_MAX: usize = 128;
/// Collections up to this size are searched item by item.
const SMALL: usize = 8;

/// A collection that many items are looked up in.
pub(super) struct Constant<'t> {
    pub(super) items: Items<'t>,
    keys: OnceCell<HashMap<u64, Vec<usize>>>,
}

impl<'t> Constant<'t> {
    pub(super) fn new(items: Items<'t>) -> Self {
        Self { items, keys: OnceCell::new() }
    }
}

impl<'t> Evaluation<'_, 't> {
    /// `left = right` of whole collections: in order, empty where one of them is.
    pub(super) fn collections_equal(&self, left: &[Item<'t>], right: &[Item<'t>]) -> Outcome<Option<bool>> {
        if left.is_empty() || right.is_empty() {
            return Ok(None);
        }
        if left.len() != right.len() {
            return Ok(Some(false));
        }
        let mut certain = true;
        for (left, right) in left.iter().zip(right) {
            match self.equal(left, right, 0)? {
                Some(true) => {}
                Some(false) => return Ok(Some(false)),
                None => certain = false,
            }
        }
        Ok(certain.then_some(true))
    }

    /// `left ~ right` of whole collections: in any order.
    pub(super) fn collections_equivalent(&self, left: &[Item<'t>], right: &[Item<'t>]) -> Outcome<bool> {
        if left.len() != right.len() {
            return Ok(false);
        }
        let mut free: Vec<&Item<'t>> = right.iter().collect();
        for item in left {
            let mut found = None;
            for (at, candidate) in free.iter().enumerate() {
                if self.equivalent(item, candidate, 0)? {
                    found = Some(at);
                    break;
                }
            }
            match found {
                Some(at) => free.swap_remove(at),
                None => return Ok(false),
            };
        }
        Ok(true)
    }

    /// Whether an item equals one of a collection for certain.
    pub(super) fn is_among(&self, item: &Item<'t>, items: &[Item<'t>]) -> Outcome<bool> {
        for other in items {
            if self.equal(item, other, 0)? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same for a collection that is asked often.
    pub(super) fn is_among_constant(&self, item: &Item<'t>, constant: &Constant<'t>) -> Outcome<bool> {
        if constant.items.len() <= SMALL {
            return self.is_among(item, &constant.items);
        }
        if constant.keys.get().is_none() {
            self.spend(constant.items.len())?;
        }
        let keys = constant.keys.get_or_init(|| {
            let mut keys: HashMap<u64, Vec<usize>> = HashMap::with_capacity(constant.items.len());
            for (at, each) in constant.items.iter().enumerate() {
                keys.entry(key(each)).or_default().push(at);
            }
            keys
        });
        for at in keys.get(&key(item)).into_iter().flatten() {
            if self.equal(item, &constant.items[*at], 0)? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The items without those that equal an earlier one.
    pub(super) fn distinct(&self, items: Items<'t>) -> Outcome<Items<'t>> {
        if items.len() < 2 {
            return Ok(items);
        }
        let mut kept = Distinct::default();
        for item in items {
            kept.add(self, item)?;
        }
        Ok(kept.items)
    }

    /// `None` where the precision of dates, or the average length of a month, leaves it open.
    pub(super) fn equal(&self, left: &Item<'t>, right: &Item<'t>, depth: usize) -> Outcome<Option<bool>> {
        self.spend(1)?;
        if let (Item::Node(left), Item::Node(right)) = (left, right)
            && left.element == right.element
        {
            return Ok(Some(true));
        }
        Ok(match (left.value(), right.value()) {
            (Some(left_value), Some(right_value)) => self.values_equal(&left_value, &right_value, left, right)?,
            _ => match (left, right) {
                (Item::Node(left), Item::Node(right)) => Some(self.nodes_equal(left, right, depth)?),
                _ => Some(false),
            },
        })
    }

    fn values_equal(
        &self,
        left_value: &Item<'t>,
        right_value: &Item<'t>,
        left: &Item<'t>,
        right: &Item<'t>,
    ) -> Outcome<Option<bool>> {
        Ok(match (left_value, right_value) {
            (Item::Boolean(left), Item::Boolean(right)) => Some(left == right),
            (Item::String(left), Item::String(right)) => {
                self.spend(left.len().min(right.len()) / 64)?;
                Some(left == right)
            }
            (Item::Temporal(left), Item::Temporal(right)) => temporals_equal(left, right),
            (Item::Type { name: left, .. }, Item::Type { name: right, .. }) => Some(left == right),
            (Item::Quantity(left), Item::Quantity(right)) => left.equals(right),
            (Item::Quantity(_), _) | (_, Item::Quantity(_)) => match (left.as_quantity(), right.as_quantity()) {
                (Some(left), Some(right)) => left.equals(&right),
                _ => Some(false),
            },
            _ => match (left_value.number(), right_value.number()) {
                (Some(left), Some(right)) => Some(left == right),
                // An element that the release does not know has no type to differ by.
                _ if is_untyped(left) || is_untyped(right) => Some(left.to_text() == right.to_text()),
                _ => Some(false),
            },
        })
    }

    fn nodes_equal(&self, left: &Node<'t>, right: &Node<'t>, depth: usize) -> Outcome<bool> {
        if depth == DEPTH_MAX {
            return Err(EvaluationError::TooMuch("the depth of elements that is compared"));
        }
        if left.element.value() != right.element.value()
            || left.element.resource_type() != right.element.resource_type()
        {
            return Ok(false);
        }
        let (mut lefts, mut rights) = (left.element.children(), right.element.children());
        loop {
            match (lefts.next(), rights.next()) {
                (None, None) => return Ok(true),
                (Some(one), Some(other)) if one.name() == other.name() => {
                    let (one, other) = (left.child(one, self.table), right.child(other, self.table));
                    let same = if one.is_primitive() || other.is_primitive() {
                        self.equal(&Item::Node(one), &Item::Node(other), depth + 1)? == Some(true)
                    } else {
                        self.spend(1)?;
                        self.nodes_equal(&one, &other, depth + 1)?
                    };
                    if !same {
                        return Ok(false);
                    }
                }
                _ => return Ok(false),
            }
        }
    }

    pub(super) fn equivalent(&self, left: &Item<'t>, right: &Item<'t>, depth: usize) -> Outcome<bool> {
        self.spend(1)?;
        if let (Item::Node(left), Item::Node(right)) = (left, right)
            && left.element == right.element
        {
            return Ok(true);
        }
        let (Some(left_value), Some(right_value)) = (left.value(), right.value()) else {
            return match (left, right) {
                (Item::Node(left), Item::Node(right)) => self.nodes_equivalent(left, right, depth),
                _ => Ok(false),
            };
        };
        Ok(match (left_value.as_ref(), right_value.as_ref()) {
            (Item::String(left), Item::String(right)) => {
                self.spend((left.len() + right.len()) / 16)?;
                normalised(left) == normalised(right)
            }
            (Item::Temporal(left), Item::Temporal(right)) => temporals_equal(left, right) == Some(true),
            (Item::Quantity(_), _) | (_, Item::Quantity(_)) => match (left.as_quantity(), right.as_quantity()) {
                (Some(left), Some(right)) => left.is_equivalent(&right),
                _ => false,
            },
            (left_value, right_value) => match (left_value.number(), right_value.number()) {
                (Some(left), Some(right)) => are_equivalent(left, right),
                _ => self.values_equal(left_value, right_value, left, right)? == Some(true),
            },
        })
    }

    /// Children in any order, each with its name.
    fn nodes_equivalent(&self, left: &Node<'t>, right: &Node<'t>, depth: usize) -> Outcome<bool> {
        if depth == DEPTH_MAX {
            return Err(EvaluationError::TooMuch("the depth of elements that is compared"));
        }
        let mut free: Vec<_> = right.element.children().collect();
        if left.element.children().count() != free.len()
            || left.element.resource_type() != right.element.resource_type()
        {
            return Ok(false);
        }
        for child in left.element.children() {
            let item = Item::Node(left.child(child, self.table));
            let mut found = None;
            for (at, candidate) in free.iter().enumerate() {
                self.spend(1)?;
                if candidate.name() == child.name() {
                    let candidate = Item::Node(right.child(*candidate, self.table));
                    if self.equivalent(&item, &candidate, depth + 1)? {
                        found = Some(at);
                        break;
                    }
                }
            }
            match found {
                Some(at) => free.remove(at),
                None => return Ok(false),
            };
        }
        Ok(true)
    }
}

/// Items, each once.
#[derive(Default)]
pub(super) struct Distinct<'t> {
    pub(super) items: Items<'t>,
    keys: HashMap<u64, Vec<usize>>,
}

impl<'t> Distinct<'t> {
    /// Takes in an item that equals none so far; tells whether it did.
    pub(super) fn add(&mut self, evaluation: &Evaluation<'_, 't>, item: Item<'t>) -> Outcome<bool> {
        if self.items.len() < SMALL {
            if evaluation.is_among(&item, &self.items)? {
                return Ok(false);
            }
        } else {
            if self.keys.is_empty() {
                for (at, each) in self.items.iter().enumerate() {
                    self.keys.entry(key(each)).or_default().push(at);
                }
            }
            let same_key = self.keys.entry(key(&item)).or_default();
            for at in same_key.iter() {
                if evaluation.equal(&item, &self.items[*at], 0)? == Some(true) {
                    return Ok(false);
                }
            }
            same_key.push(self.items.len());
        }
        evaluation.push(&mut self.items, item)?;
        Ok(true)
    }
}

fn temporals_equal(left: &Temporal, right: &Temporal) -> Option<bool> {
    if (left.kind() == TemporalKind::Time) != (right.kind() == TemporalKind::Time) {
        return Some(false);
    }
    left.compare(right).map(std::cmp::Ordering::is_eq)
}

fn is_untyped(item: &Item<'_>) -> bool {
    item.node().is_some_and(|node| node.type_def.is_none())
}

/// Case and the width of white space do not matter (§6.1.2).
fn normalised(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The same for items that are equal; mostly different for others.
fn key(item: &Item<'_>) -> u64 {
    let mut state = DefaultHasher::new();
    match item.value().as_deref() {
        Some(Item::Boolean(value)) => value.hash(&mut state),
        Some(Item::Integer(value)) => super::Decimal::from(*value).hash(&mut state),
        Some(Item::Decimal(value)) => value.hash(&mut state),
        Some(Item::String(text)) => text.hash(&mut state),
        Some(Item::Temporal(temporal)) => temporal_key(temporal, &mut state),
        // Equal quantities may be of different units.
        Some(Item::Quantity(_)) => 'q'.hash(&mut state),
        Some(Item::Type { name, .. }) => name.hash(&mut state),
        Some(Item::Node(_)) | None => {
            if let Item::Node(node) = item {
                node_key(node, &mut state);
            }
        }
    }
    state.finish()
}

fn temporal_key(temporal: &Temporal, state: &mut DefaultHasher) {
    temporal.precision.hash(state);
    // With an offset the same moment can be written in many ways.
    if temporal.offset.is_none() || temporal.precision < Precision::Minute {
        (temporal.year, temporal.month, temporal.day, temporal.hour, temporal.minute).hash(state);
    }
    (temporal.second, temporal.nanosecond).hash(state);
}

/// By the names of the first elements below, and by those texts that mean the same only when written the same.
fn node_key(node: &Node<'_>, state: &mut DefaultHasher) {
    const LOOKED_AT: usize = 16;
    node.element.resource_type().hash(state);
    for element in node.element.descendants().skip(1).take(LOOKED_AT) {
        element.name().hash(state);
        let text = element.value().map_or(Cow::Borrowed(""), Cow::Borrowed);
        if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+')) {
            text.hash(state);
        }
    }
}
