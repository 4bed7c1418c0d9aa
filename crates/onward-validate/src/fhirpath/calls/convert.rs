//! Conversions (FHIRPath §5.5): `toX` is empty where `convertsToX` is false.

use std::borrow::Cow;

use crate::fhirpath::collection::{Items, one, truth};
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::evaluate::{Evaluation, Frame, Outcome, single};
use crate::fhirpath::functions::Function;
use crate::fhirpath::item::Item;
use crate::fhirpath::quantity::{Quantity, Unit};
use crate::fhirpath::syntax::Call;
use crate::fhirpath::temporal::Temporal;

impl<'t> Evaluation<'_, 't> {
    pub(super) fn convert(&self, call: &'t Call, input: &[Item<'t>], frame: Frame<'_, 't>) -> Outcome<Items<'t>> {
        let Some(item) = single(input, call.function.name())? else { return Ok(Items::new()) };
        let unit = self.text_argument(call, 0, frame)?;
        let (converted, is_question) = match call.function {
            Function::ToBoolean => (to_boolean(item), false),
            Function::ConvertsToBoolean => (to_boolean(item), true),
            Function::ToInteger => (to_integer(item), false),
            Function::ConvertsToInteger => (to_integer(item), true),
            Function::ToDecimal => (to_decimal(item), false),
            Function::ConvertsToDecimal => (to_decimal(item), true),
            Function::ToString => (item.to_text().map(Item::String), false),
            Function::ConvertsToString => (item.to_text().map(Item::String), true),
            Function::ToDate => (to_temporal(item, Temporal::date, Temporal::to_date), false),
            Function::ConvertsToDate => (to_temporal(item, Temporal::date, Temporal::to_date), true),
            Function::ToDateTime => (to_temporal(item, Temporal::date_time, Temporal::to_date_time), false),
            Function::ConvertsToDateTime => (to_temporal(item, Temporal::date_time, Temporal::to_date_time), true),
            Function::ToTime => (to_temporal(item, Temporal::time, Temporal::to_time), false),
            Function::ConvertsToTime => (to_temporal(item, Temporal::time, Temporal::to_time), true),
            Function::ConvertsToQuantity => (to_quantity(item, unit), true),
            _ => (to_quantity(item, unit), false),
        };
        Ok(if is_question { truth(Some(converted.is_some())) } else { converted.map(one).unwrap_or_default() })
    }
}

fn to_boolean<'t>(item: &Item<'t>) -> Option<Item<'t>> {
    let value = match item.value()?.as_ref() {
        Item::Boolean(value) => *value,
        Item::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => true,
            "false" | "f" | "no" | "n" | "0" | "0.0" => false,
            _ => return None,
        },
        number => match number.number()?.to_integer()? {
            1 => true,
            0 => false,
            _ => return None,
        },
    };
    Some(Item::Boolean(value))
}

fn to_integer<'t>(item: &Item<'t>) -> Option<Item<'t>> {
    let value = match item.value()?.as_ref() {
        Item::Integer(value) => *value,
        Item::Boolean(value) => i64::from(*value),
        // FHIRPath's integers have 32 bits.
        Item::String(text) => text.parse::<i32>().ok()?.into(),
        _ => return None,
    };
    Some(Item::Integer(value))
}

fn to_decimal<'t>(item: &Item<'t>) -> Option<Item<'t>> {
    let value = match item.value()?.as_ref() {
        Item::Boolean(value) => Decimal::from(i64::from(*value)),
        Item::String(text) if !text.contains(['e', 'E']) => Decimal::parse(text)?,
        number => number.number()?,
    };
    Some(Item::Decimal(value))
}

fn to_temporal<'t>(
    item: &Item<'t>,
    read: fn(&str) -> Option<Temporal>,
    change: fn(Temporal) -> Option<Temporal>,
) -> Option<Item<'t>> {
    let value = match item.value()?.as_ref() {
        Item::Temporal(temporal) => change(*temporal)?,
        Item::String(text) => read(text)?,
        _ => return None,
    };
    Some(Item::Temporal(value))
}

fn to_quantity<'t>(item: &Item<'t>, unit: Option<Cow<'t, str>>) -> Option<Item<'t>> {
    let quantity = match item.value()?.as_ref() {
        Item::Boolean(value) => Quantity::of_number(Decimal::from(i64::from(*value))),
        Item::String(text) => Quantity::parse(text)?,
        other => other.as_quantity()?,
    };
    // Asked for another unit, it would have to be converted.
    if unit.is_some_and(|unit| quantity.ucum() != Some(&*unit)) && !matches!(quantity.unit, Unit::Other { .. }) {
        return None;
    }
    Some(Item::Quantity(Box::new(quantity)))
}
