//! Calls of functions, sent to the files that hold them.

mod collections;
mod convert;
mod fhir;
mod loops;
mod numbers;
mod regexes;
mod text;

use std::borrow::Cow;

use super::EvaluationError;
use super::collection::Items;
use super::evaluate::{Evaluation, Frame, Outcome, integer, single};
use super::functions::Function;
use super::item::{Item, Node};
use super::syntax::Call;

impl<'t> Evaluation<'_, 't> {
    /// A function of a collection. `bare`: nothing stands before it, so that it is asked of `$this`.
    pub(super) fn call(
        &self,
        call: &'t Call,
        input: Items<'t>,
        bare: bool,
        frame: Frame<'_, 't>,
    ) -> Outcome<Items<'t>> {
        use Function as F;
        match call.function {
            F::Exists | F::All | F::Where | F::Select | F::Repeat | F::Aggregate | F::Sort | F::Iif => {
                self.loops(call, input, bare, frame)
            }
            F::Empty
            | F::AllTrue
            | F::AnyTrue
            | F::AllFalse
            | F::AnyFalse
            | F::SubsetOf
            | F::SupersetOf
            | F::Count
            | F::Distinct
            | F::IsDistinct
            | F::Not
            | F::Single
            | F::First
            | F::Last
            | F::Tail
            | F::Skip
            | F::Take
            | F::Intersect
            | F::Exclude
            | F::Union
            | F::Combine
            | F::Children
            | F::Descendants
            | F::Trace => self.collections(call, input, frame),
            F::ToBoolean
            | F::ToInteger
            | F::ToDecimal
            | F::ToDate
            | F::ToDateTime
            | F::ToTime
            | F::ToString
            | F::ToQuantity
            | F::ConvertsToBoolean
            | F::ConvertsToInteger
            | F::ConvertsToDecimal
            | F::ConvertsToDate
            | F::ConvertsToDateTime
            | F::ConvertsToTime
            | F::ConvertsToString
            | F::ConvertsToQuantity => self.convert(call, &input, frame),
            F::IndexOf
            | F::LastIndexOf
            | F::Substring
            | F::StartsWith
            | F::EndsWith
            | F::Contains
            | F::Upper
            | F::Lower
            | F::Replace
            | F::Length
            | F::ToChars
            | F::Trim
            | F::Split
            | F::Join
            | F::Encode
            | F::Decode
            | F::Escape
            | F::Unescape => self.text_function(call, &input, frame),
            F::Matches | F::MatchesFull | F::ReplaceMatches => self.pattern_function(call, &input, frame),
            F::Abs
            | F::Ceiling
            | F::Exp
            | F::Floor
            | F::Ln
            | F::Log
            | F::Power
            | F::Round
            | F::Sqrt
            | F::Truncate
            | F::LowBoundary
            | F::HighBoundary
            | F::Precision
            | F::Comparable => self.number_function(call, &input, frame),
            F::Now
            | F::Today
            | F::TimeOfDay
            | F::Type
            | F::Extension
            | F::HasValue
            | F::GetValue
            | F::Resolve
            | F::MemberOf
            | F::ConformsTo
            | F::HtmlChecks
            | F::Subsumes
            | F::SubsumedBy
            | F::ElementDefinition
            | F::Slice
            | F::CheckModifiers => self.fhir_function(call, &input, frame),
        }
    }

    /// An argument, evaluated where the call stands.
    fn argument(&self, call: &'t Call, at: usize, frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        match call.arguments.get(at) {
            Some(argument) => self.node(argument, frame),
            None => Ok(Items::new()),
        }
    }

    fn text_argument(&self, call: &'t Call, at: usize, frame: Frame<'_, 't>) -> Outcome<Option<Cow<'t, str>>> {
        text_of(&self.argument(call, at, frame)?, call.function.name())
    }

    fn integer_argument(&self, call: &'t Call, at: usize, frame: Frame<'_, 't>) -> Outcome<Option<i64>> {
        integer(&self.argument(call, at, frame)?, call.function.name())
    }
}

/// The only item as text, if there is one: a string, or a primitive element as it is written.
fn text_of<'t>(items: &[Item<'t>], what: &'static str) -> Outcome<Option<Cow<'t, str>>> {
    let Some(item) = single(items, what)? else { return Ok(None) };
    match item {
        Item::String(text) => Ok(Some(text.clone())),
        Item::Node(node) if node.is_primitive() => Ok(item.to_text()),
        _ => Err(EvaluationError::WrongType(what)),
    }
}

/// True for a primitive element that has no value, only an extension.
fn is_valueless(item: &Item<'_>) -> bool {
    item.node().is_some_and(Node::is_primitive) && item.value().is_none()
}
