//! Functions of whole collections: existence, subsetting, combining, and what is below (FHIRPath §5.1–5.4, §5.8).

use crate::fhirpath::EvaluationError;
use crate::fhirpath::collection::{Items, one, truth};
use crate::fhirpath::equality::{Constant, Distinct};
use crate::fhirpath::evaluate::{Evaluation, Frame, Outcome, condition, single};
use crate::fhirpath::functions::Function;
use crate::fhirpath::item::Item;
use crate::fhirpath::navigate;
use crate::fhirpath::syntax::Call;

impl<'t> Evaluation<'_, 't> {
    pub(super) fn collections(&self, call: &'t Call, input: Items<'t>, frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        let name = call.function.name();
        Ok(match call.function {
            Function::Empty => truth(Some(input.is_empty())),
            Function::Not => truth(condition(&input, name)?.map(|value| !value)),
            Function::AllTrue => truth(Some(booleans(&input, name)?.all(|value| value))),
            Function::AnyTrue => truth(Some(booleans(&input, name)?.any(|value| value))),
            Function::AllFalse => truth(Some(booleans(&input, name)?.all(|value| !value))),
            Function::AnyFalse => truth(Some(booleans(&input, name)?.any(|value| !value))),
            Function::Count => one(Item::Integer(i64::try_from(input.len()).unwrap_or(i64::MAX))),
            Function::Distinct => self.distinct(input)?,
            Function::IsDistinct => truth(Some(self.is_distinct(input)?)),
            Function::Single => single(&input, name)?.cloned().into_iter().collect(),
            Function::First => input.into_iter().take(1).collect(),
            Function::Last => input.into_iter().next_back().into_iter().collect(),
            Function::Tail => input.into_iter().skip(1).collect(),
            Function::Skip | Function::Take => {
                let count = self.integer_argument(call, 0, frame)?.ok_or(EvaluationError::WrongType(name))?;
                let count = usize::try_from(count).unwrap_or(0);
                if call.function == Function::Skip {
                    input.into_iter().skip(count).collect()
                } else {
                    input.into_iter().take(count).collect()
                }
            }
            Function::Children => {
                let mut found = Items::new();
                for node in input.iter().filter_map(Item::node) {
                    for child in node.element.children() {
                        self.push(&mut found, Item::Node(node.child(child, self.table)))?;
                    }
                }
                found
            }
            Function::Descendants => {
                let mut found = Items::new();
                for node in input.iter().filter_map(Item::node) {
                    navigate::descendants(node, self.table, |below| self.push(&mut found, Item::Node(below)))?;
                }
                found
            }
            // What passes is patient data: it is passed on and shown to nobody.
            Function::Trace => input,
            _ => self.with_another(call.function, input, self.argument(call, 0, frame)?)?,
        })
    }

    fn with_another(&self, function: Function, input: Items<'t>, other: Items<'t>) -> Outcome<Items<'t>> {
        Ok(match function {
            Function::SubsetOf => truth(Some(self.is_subset(&input, other)?)),
            Function::SupersetOf => truth(Some(self.is_subset(&other, input)?)),
            Function::Intersect => {
                let other = Constant::new(other);
                let mut kept = Distinct::default();
                for item in input {
                    if self.is_among_constant(&item, &other)? {
                        kept.add(self, item)?;
                    }
                }
                kept.items
            }
            Function::Exclude => {
                let other = Constant::new(other);
                let mut kept = Items::new();
                for item in input {
                    if !self.is_among_constant(&item, &other)? {
                        self.push(&mut kept, item)?;
                    }
                }
                kept
            }
            Function::Union => self.union(input, other)?,
            _ => {
                let mut both = input;
                for item in other {
                    self.push(&mut both, item)?;
                }
                both
            }
        })
    }

    fn is_subset(&self, items: &[Item<'t>], of: Items<'t>) -> Outcome<bool> {
        let of = Constant::new(of);
        for item in items {
            if !self.is_among_constant(item, &of)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_distinct(&self, items: Items<'t>) -> Outcome<bool> {
        let mut seen = Distinct::default();
        for item in items {
            if !seen.add(self, item)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The booleans of a collection that holds nothing else.
fn booleans<'i>(items: &'i [Item<'_>], what: &'static str) -> Outcome<impl Iterator<Item = bool> + use<'i>> {
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        match item.value().as_deref() {
            Some(Item::Boolean(value)) => values.push(*value),
            _ => return Err(EvaluationError::WrongType(what)),
        }
    }
    Ok(values.into_iter())
}
