//! Functions of numbers (FHIRPath §5.7), and what the precision of numbers and dates leaves open.

use super::is_valueless;
use crate::fhirpath::EvaluationError;
use crate::fhirpath::collection::{Items, one, truth};
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::evaluate::{Evaluation, Frame, Outcome, single};
use crate::fhirpath::functions::Function;
use crate::fhirpath::item::Item;
use crate::fhirpath::operators::too_large;
use crate::fhirpath::quantity::Quantity;
use crate::fhirpath::syntax::Call;
use crate::fhirpath::temporal::TemporalKind;

/// Places of a boundary when none are asked for, and the most that may be.
const BOUNDARY_PLACES: i64 = 8;
const BOUNDARY_PLACES_MAX: i64 = 31;

impl<'t> Evaluation<'_, 't> {
    pub(super) fn number_function(
        &self,
        call: &'t Call,
        input: &[Item<'t>],
        frame: Frame<'_, 't>,
    ) -> Outcome<Items<'t>> {
        let name = call.function.name();
        let Some(item) = single(input, name)?.filter(|item| !is_valueless(item)) else { return Ok(Items::new()) };
        match call.function {
            Function::Comparable => {
                let other = self.argument(call, 0, frame)?;
                let Some(other) = single(&other, name)? else { return Ok(Items::new()) };
                let both = item.as_quantity().zip(other.as_quantity());
                let (left, right) = both.ok_or(EvaluationError::WrongType(name))?;
                return Ok(truth(Some(left.is_comparable(&right))));
            }
            Function::Precision => {
                let digits = match item.value().as_deref() {
                    Some(Item::Temporal(temporal)) => temporal.digits(),
                    Some(Item::Integer(_)) => 0,
                    Some(Item::Decimal(value)) => value.scale(),
                    _ => return Err(EvaluationError::WrongType(name)),
                };
                return Ok(one(Item::Integer(digits.into())));
            }
            Function::LowBoundary | Function::HighBoundary => {
                let places = self.integer_argument(call, 0, frame)?;
                return Ok(boundary(item, places, call.function == Function::HighBoundary)?.into_iter().collect());
            }
            Function::Abs => return absolute(item).map(one),
            _ => {}
        }
        let number = item.number().ok_or(EvaluationError::WrongType(name))?;
        let is_integer = matches!(item.value().as_deref(), Some(Item::Integer(_)));
        let whole = |value: i128| i64::try_from(value).map(|value| one(Item::Integer(value))).map_err(|_| too_large());
        match call.function {
            Function::Ceiling => whole(-number.negated().floor()),
            Function::Floor => whole(number.floor()),
            Function::Truncate => whole(number.truncate()),
            Function::Round => {
                let places = self.integer_argument(call, 0, frame)?.unwrap_or(0);
                let places = u8::try_from(places).map_err(|_| EvaluationError::WrongType(name))?;
                Ok(one(Item::Decimal(number.round(places))))
            }
            Function::Exp => near(number.to_f64().exp()),
            Function::Sqrt => near(number.to_f64().sqrt()),
            Function::Ln => near(number.to_f64().ln()),
            _ => {
                let argument = self.argument(call, 0, frame)?;
                let Some(argument) = single(&argument, name)? else { return Ok(Items::new()) };
                let argument_number = argument.number().ok_or(EvaluationError::WrongType(name))?;
                if call.function == Function::Log {
                    // Whole results come out whole: log2 and log10 are exact where the general logarithm is not.
                    let value = number.to_f64();
                    return match argument_number.to_integer() {
                        Some(2) => near(value.log2()),
                        Some(10) => near(value.log10()),
                        _ => near(value.log(argument_number.to_f64())),
                    };
                }
                power(number, argument_number, is_integer)
            }
        }
    }
}

/// The decimal of a double; nothing where it is none (root of a negative number).
fn near<'t>(value: f64) -> Outcome<Items<'t>> {
    if !value.is_finite() {
        return Ok(Items::new());
    }
    Decimal::from_f64(value).map(|value| one(Item::Decimal(value))).ok_or_else(too_large)
}

/// Exact for whole exponents that are not too large.
fn power<'t>(base: Decimal, exponent: Decimal, is_integer: bool) -> Outcome<Items<'t>> {
    const EXACT_MAX: i64 = 127;
    match exponent.to_integer().filter(|exponent| (0..=EXACT_MAX).contains(exponent)) {
        Some(exponent) => {
            let mut made = Decimal::from(1);
            for _ in 0..exponent {
                made = made.checked_mul(base).ok_or_else(too_large)?;
            }
            Ok(one(match made.to_integer().filter(|_| is_integer) {
                Some(whole) => Item::Integer(whole),
                None => Item::Decimal(made),
            }))
        }
        None => near(base.to_f64().powf(exponent.to_f64())),
    }
}

fn absolute<'t>(item: &Item<'t>) -> Outcome<Item<'t>> {
    Ok(match item.value().as_deref() {
        Some(Item::Integer(value)) => Item::Integer(value.checked_abs().ok_or_else(too_large)?),
        Some(Item::Decimal(value)) => Item::Decimal(value.abs()),
        Some(Item::Quantity(quantity)) => {
            Item::Quantity(Box::new(Quantity { value: quantity.value.abs(), unit: quantity.unit.clone() }))
        }
        _ => return Err(EvaluationError::WrongType("abs")),
    })
}

/// The least or greatest value that rounds to what is written; nothing for a precision that there is not.
fn boundary<'t>(item: &Item<'t>, places: Option<i64>, high: bool) -> Outcome<Option<Item<'t>>> {
    Ok(match item.value().as_deref() {
        Some(Item::Integer(value)) => number_boundary(Decimal::from(*value), places, high).map(Item::Decimal),
        Some(Item::Decimal(value)) => number_boundary(*value, places, high).map(Item::Decimal),
        Some(Item::Quantity(quantity)) => number_boundary(quantity.value, places, high)
            .map(|value| Item::Quantity(Box::new(Quantity { value, unit: quantity.unit.clone() }))),
        Some(Item::Temporal(temporal)) => {
            let digits = places.unwrap_or(match temporal.kind() {
                TemporalKind::Date => 8,
                TemporalKind::DateTime => 17,
                TemporalKind::Time => 9,
            });
            u8::try_from(digits).ok().and_then(|digits| temporal.boundary(digits, high)).map(Item::Temporal)
        }
        _ => return Err(EvaluationError::WrongType("a boundary")),
    })
}

/// Low boundaries of positive numbers are cut, high ones rounded; negative numbers mirror them (as the HL7 implementation).
fn number_boundary(value: Decimal, places: Option<i64>, high: bool) -> Option<Decimal> {
    let places = places.unwrap_or(BOUNDARY_PLACES);
    let places = u8::try_from(places).ok().filter(|places| i64::from(*places) <= BOUNDARY_PLACES_MAX)?;
    let half = value.half_of_last_place()?;
    if value.is_negative() {
        let mirrored = if high {
            value.abs().checked_sub(half)?.cut(places)?
        } else {
            value.abs().checked_add(half)?.fixed(places)?
        };
        return Some(mirrored.negated());
    }
    if high { value.checked_add(half)?.fixed(places) } else { value.checked_sub(half)?.cut(places) }
}
