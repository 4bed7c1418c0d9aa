//! Functions that evaluate an argument for each item, with `$this` bound to it.

use std::cmp::Ordering;

use crate::fhirpath::EvaluationError;
use crate::fhirpath::collection::{Items, truth};
use crate::fhirpath::equality::Distinct;
use crate::fhirpath::evaluate::{Evaluation, Frame, Outcome, condition, single};
use crate::fhirpath::functions::Function;
use crate::fhirpath::item::Item;
use crate::fhirpath::syntax::{Call, Node as Syntax};

impl<'t> Evaluation<'_, 't> {
    pub(super) fn loops(
        &self,
        call: &'t Call,
        input: Items<'t>,
        bare: bool,
        frame: Frame<'_, 't>,
    ) -> Outcome<Items<'t>> {
        let name = call.function.name();
        let Some(argument) = call.arguments.first() else {
            return match call.function {
                Function::Exists => Ok(truth(Some(!input.is_empty()))),
                _ => self.sort(call, input, frame),
            };
        };
        match call.function {
            Function::Exists => {
                for (at, item) in input.iter().enumerate() {
                    if condition(&self.node(argument, frame.of(at, item))?, name)? == Some(true) {
                        return Ok(truth(Some(true)));
                    }
                }
                Ok(truth(Some(false)))
            }
            Function::All => {
                for (at, item) in input.iter().enumerate() {
                    if condition(&self.node(argument, frame.of(at, item))?, name)? != Some(true) {
                        return Ok(truth(Some(false)));
                    }
                }
                Ok(truth(Some(true)))
            }
            Function::Where => {
                let mut kept = Items::new();
                for (at, item) in input.iter().enumerate() {
                    if condition(&self.node(argument, frame.of(at, item))?, name)? == Some(true) {
                        self.push(&mut kept, item.clone())?;
                    }
                }
                Ok(kept)
            }
            Function::Select => {
                let mut made = Items::new();
                for (at, item) in input.iter().enumerate() {
                    for each in self.node(argument, frame.of(at, item))? {
                        self.push(&mut made, each)?;
                    }
                }
                Ok(made)
            }
            Function::Repeat => self.repeat(argument, input, frame),
            Function::Aggregate => {
                let mut total = match call.arguments.get(1) {
                    Some(start) => self.node(start, frame)?,
                    None => Items::new(),
                };
                for (at, item) in input.iter().enumerate() {
                    let frame = Frame { total: Some(&total), ..frame.of(at, item) };
                    total = self.node(argument, frame)?;
                }
                Ok(total)
            }
            Function::Sort => self.sort(call, input, frame),
            _ => {
                let input = single_item(&input, bare)?;
                self.iif(call, if bare { frame } else { Frame { this: input, ..frame } })
            }
        }
    }

    /// Only what is chosen is evaluated (§5.5.1).
    fn iif(&self, call: &'t Call, frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        let criterion = self.argument(call, 0, frame)?;
        let holds = match single(&criterion, "iif")? {
            None => false,
            Some(item) => match item.value().as_deref() {
                Some(Item::Boolean(value)) => *value,
                _ => return Err(EvaluationError::WrongType("iif")),
            },
        };
        self.argument(call, if holds { 1 } else { 2 }, frame)
    }

    /// Asks again of what it found, until nothing new is found (§5.2.3).
    fn repeat(&self, argument: &'t Syntax, input: Items<'t>, frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        let mut found = Distinct::default();
        let mut known_nodes = std::collections::HashSet::new();
        let mut nodes_and_values = Items::new();
        let mut open = input;
        while !open.is_empty() {
            let mut next = Items::new();
            for (at, item) in open.iter().enumerate() {
                for each in self.node(argument, frame.of(at, item))? {
                    let is_new = match &each {
                        // An element is new by where it stands, even when another holds the same.
                        Item::Node(node) => known_nodes.insert(node.element.id()),
                        value => found.add(self, value.clone())?,
                    };
                    if is_new {
                        self.push(&mut nodes_and_values, each.clone())?;
                        self.push(&mut next, each)?;
                    }
                }
            }
            open = next;
        }
        Ok(nodes_and_values)
    }

    /// By each key in turn; a sign before a key turns its order round. What has no key comes last, or first when turned round.
    fn sort(&self, call: &'t Call, input: Items<'t>, frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        let mut keyed = Vec::with_capacity(input.len());
        for (at, item) in input.iter().enumerate() {
            let mut keys = Vec::with_capacity(call.arguments.len().max(1));
            for argument in &call.arguments {
                let (argument, descending) = match argument {
                    Syntax::Sign { negative, operand } => (&**operand, *negative),
                    other => (other, false),
                };
                keys.push((single(&self.node(argument, frame.of(at, item))?, "sort")?.cloned(), descending));
            }
            if call.arguments.is_empty() {
                keys.push((Some(item.clone()), false));
            }
            keyed.push((keys, item.clone()));
        }
        let sorted = merge_sorted(keyed, &mut |(left, _), (right, _)| {
            self.spend(1)?;
            for ((left, descending), (right, _)) in left.iter().zip(right) {
                let order = match (left, right) {
                    (Some(left), Some(right)) => self
                        .compare(left, right)?
                        .ok_or_else(|| EvaluationError::not_evaluated("an order that cannot be told"))?,
                    (left, right) => left.is_none().cmp(&right.is_none()),
                };
                if order.is_ne() {
                    return Ok(if *descending { order.reverse() } else { order });
                }
            }
            Ok(Ordering::Equal)
        })?;
        Ok(sorted.into_iter().map(|(_, item)| item).collect())
    }
}

/// Sorts stably by a comparison that may fail. (The standard sort may panic where an order is not one.)
fn merge_sorted<T>(items: Vec<T>, compare: &mut impl FnMut(&T, &T) -> Outcome<Ordering>) -> Outcome<Vec<T>> {
    if items.len() < 2 {
        return Ok(items);
    }
    let mut left = items;
    let right = left.split_off(left.len() / 2);
    let left = merge_sorted(left, compare)?;
    let right = merge_sorted(right, compare)?;
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let from = if compare(one, other)?.is_gt() { &mut right } else { &mut left };
        merged.extend(from.next());
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}

fn single_item<'i, 't>(input: &'i Items<'t>, bare: bool) -> Outcome<&'i [Item<'t>]> {
    if !bare {
        single(input, "iif")?;
    }
    Ok(input)
}
