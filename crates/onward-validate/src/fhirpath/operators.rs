//! Operators between terms (FHIRPath §6): logic with a third value, equality, order, membership, arithmetic.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::EvaluationError;
use super::collection::{Items, one, truth};
use super::decimal::Decimal;
use super::evaluate::{Evaluation, Frame, Outcome, condition, single};
use super::item::{Item, Node};
use super::quantity::{CalendarUnit, Quantity};
use super::syntax::{Node as Syntax, Operator};
use super::temporal::{Temporal, TemporalKind};

impl<'t> Evaluation<'_, 't> {
    pub(super) fn operators(
        &self,
        first: &'t Syntax,
        rest: &'t [(Operator, Syntax)],
        frame: Frame<'_, 't>,
    ) -> Outcome<Items<'t>> {
        let mut left = self.node(first, frame)?;
        for (operator, operand) in rest {
            left = self.operator(*operator, left, operand, frame)?;
        }
        Ok(left)
    }

    fn operator(
        &self,
        operator: Operator,
        left: Items<'t>,
        operand: &'t Syntax,
        frame: Frame<'_, 't>,
    ) -> Outcome<Items<'t>> {
        match operator {
            Operator::And | Operator::Or | Operator::Xor | Operator::Implies => {
                return self.logic(operator, &left, operand, frame).map(truth);
            }
            Operator::In => {
                // The right side is often the same for every item: then it is looked up, not searched.
                if let (Syntax::Constant { slot, of_resource, node }, [item]) = (operand, left.as_slice()) {
                    let constant = self.constant(*slot, *of_resource, node, frame)?;
                    let found = !constant.items.is_empty() && self.is_among_constant(item, &constant)?;
                    return Ok(truth(Some(found)));
                }
            }
            _ => {}
        }
        let right = self.node(operand, frame)?;
        Ok(match operator {
            Operator::Equal => truth(self.collections_equal(&left, &right)?),
            Operator::NotEqual => truth(self.collections_equal(&left, &right)?.map(|equal| !equal)),
            Operator::Equivalent => truth(Some(self.collections_equivalent(&left, &right)?)),
            Operator::NotEquivalent => truth(Some(!self.collections_equivalent(&left, &right)?)),
            Operator::Less => truth(self.order(&left, &right)?.map(Ordering::is_lt)),
            Operator::LessOrEqual => truth(self.order(&left, &right)?.map(Ordering::is_le)),
            Operator::Greater => truth(self.order(&left, &right)?.map(Ordering::is_gt)),
            Operator::GreaterOrEqual => truth(self.order(&left, &right)?.map(Ordering::is_ge)),
            Operator::In => truth(self.membership(&left, &right)?),
            Operator::Contains => truth(self.membership(&right, &left)?),
            Operator::Union => self.union(left, right)?,
            Operator::Concatenate => {
                let (left, right) = (text_or_blank(&left)?, text_or_blank(&right)?);
                self.fits(left.len() + right.len())?;
                one(self.made(format!("{left}{right}"))?)
            }
            _ => match (single(&left, "arithmetic")?, single(&right, "arithmetic")?) {
                (Some(left), Some(right)) => self.arithmetic(operator, left, right)?.into_iter().collect(),
                _ => Items::new(),
            },
        })
    }

    /// The second operand is not evaluated where the first decides (§6.5).
    fn logic(
        &self,
        operator: Operator,
        left: &[Item<'t>],
        operand: &'t Syntax,
        frame: Frame<'_, 't>,
    ) -> Outcome<Option<bool>> {
        let left = condition(left, "a logical operator")?;
        match (operator, left) {
            (Operator::And, Some(false)) => return Ok(Some(false)),
            (Operator::Or, Some(true)) | (Operator::Implies, Some(false)) => return Ok(Some(true)),
            _ => {}
        }
        let right = condition(&self.node(operand, frame)?, "a logical operator")?;
        Ok(match operator {
            Operator::And => match (left, right) {
                (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Operator::Or => match (left, right) {
                (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Operator::Xor => left.zip(right).map(|(left, right)| left != right),
            _ => match (left, right) {
                (_, Some(true)) => Some(true),
                (Some(true), right) => right,
                _ => None,
            },
        })
    }

    /// `items in among`. The HL7 validator takes several items for a question about all of them.
    fn membership(&self, items: &[Item<'t>], among: &[Item<'t>]) -> Outcome<Option<bool>> {
        if items.is_empty() {
            return Ok(None);
        }
        if !self.as_validator {
            single(items, "`in` or `contains`")?;
        }
        for item in items {
            if !self.is_among(item, among)? {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    pub(super) fn union(&self, left: Items<'t>, right: Items<'t>) -> Outcome<Items<'t>> {
        let mut both = left;
        self.spend(right.len())?;
        both.extend(right);
        self.distinct(both)
    }

    /// Order of two items; `None` when one is missing or it cannot be told.
    fn order(&self, left: &[Item<'t>], right: &[Item<'t>]) -> Outcome<Option<Ordering>> {
        match (single(left, "a comparison")?, single(right, "a comparison")?) {
            (Some(left), Some(right)) => self.compare(left, right),
            _ => Ok(None),
        }
    }

    pub(super) fn compare(&self, left: &Item<'t>, right: &Item<'t>) -> Outcome<Option<Ordering>> {
        if is_valueless(left)? || is_valueless(right)? {
            return Ok(None);
        }
        let wrong = || EvaluationError::WrongType("a comparison");
        let (left_value, right_value) = (left.value().ok_or_else(wrong)?, right.value().ok_or_else(wrong)?);
        match (left_value.as_ref(), right_value.as_ref()) {
            (Item::String(left), Item::String(right)) => {
                self.spend(left.len().min(right.len()) / 64)?;
                Ok(Some(left.cmp(right)))
            }
            (Item::Temporal(left), Item::Temporal(right)) => {
                if (left.kind() == TemporalKind::Time) == (right.kind() == TemporalKind::Time) {
                    Ok(left.compare(right))
                } else {
                    Err(wrong())
                }
            }
            (Item::Quantity(_), _) | (_, Item::Quantity(_)) => {
                let (left, right) = (left.as_quantity().ok_or_else(wrong)?, right.as_quantity().ok_or_else(wrong)?);
                Ok(left.compare(&right))
            }
            (left, right) => Ok(Some(left.number().ok_or_else(wrong)?.cmp(&right.number().ok_or_else(wrong)?))),
        }
    }

    pub(super) fn sign(&self, negative: bool, items: Items<'t>) -> Outcome<Items<'t>> {
        let Some(item) = single(&items, "a sign")? else { return Ok(Items::new()) };
        Ok(one(match item.value().as_deref() {
            Some(Item::Integer(value)) if negative => Item::Integer(value.checked_neg().ok_or_else(too_large)?),
            Some(Item::Decimal(value)) if negative => Item::Decimal(value.negated()),
            Some(Item::Quantity(quantity)) if negative => {
                let mut quantity = quantity.clone();
                quantity.value = quantity.value.negated();
                Item::Quantity(quantity)
            }
            Some(number @ (Item::Integer(_) | Item::Decimal(_) | Item::Quantity(_))) => number.clone(),
            _ => return Err(EvaluationError::WrongType("a sign")),
        }))
    }

    fn arithmetic(&self, operator: Operator, left: &Item<'t>, right: &Item<'t>) -> Outcome<Option<Item<'t>>> {
        let (Some(left_value), Some(right_value)) = (left.value(), right.value()) else {
            return if is_valueless(left)? || is_valueless(right)? { Ok(None) } else { Err(wrong_operand()) };
        };
        match (left_value.as_ref(), right_value.as_ref()) {
            (Item::Integer(left), Item::Integer(right)) => integers(operator, *left, *right),
            (Item::String(left), Item::String(right)) if operator == Operator::Add => {
                self.fits(left.len() + right.len())?;
                Ok(Some(self.made(format!("{left}{right}"))?))
            }
            (Item::Temporal(temporal), Item::Quantity(quantity)) => match operator {
                Operator::Add => moved(*temporal, quantity, 1).map(|moved| moved.map(Item::Temporal)),
                Operator::Subtract => moved(*temporal, quantity, -1).map(|moved| moved.map(Item::Temporal)),
                _ => Err(wrong_operand()),
            },
            (Item::Quantity(left), Item::Quantity(right)) => quantities(operator, left, right),
            (Item::Quantity(_), _) | (_, Item::Quantity(_)) => {
                let both = left.as_quantity().zip(right.as_quantity());
                let (left, right) = both.ok_or_else(wrong_operand)?;
                quantities(operator, &left, &right)
            }
            (left, right) => {
                let (left, right) =
                    (left.number().ok_or_else(wrong_operand)?, right.number().ok_or_else(wrong_operand)?);
                decimals(operator, left, right)
            }
        }
    }
}

/// True for a primitive without a value. One that is not of its type, or longer than we calculate with, is neither less nor more.
fn is_valueless(item: &Item<'_>) -> Outcome<bool> {
    match item.node().filter(|node| node.is_primitive()) {
        Some(node) if node.element.value().is_none() => Ok(true),
        Some(_) if item.value().is_none() => Err(EvaluationError::not_evaluated("a value that cannot be read")),
        _ => Ok(false),
    }
}

fn wrong_operand() -> EvaluationError {
    EvaluationError::WrongType("arithmetic")
}

pub(super) fn too_large() -> EvaluationError {
    EvaluationError::not_evaluated("a number is beyond what is calculated with")
}

fn text_or_blank<'t>(items: &[Item<'t>]) -> Outcome<Cow<'t, str>> {
    match single(items, "`&`")? {
        None => Ok(Cow::Borrowed("")),
        Some(item) => match item.to_text() {
            Some(text) => Ok(text),
            None if item.node().is_some_and(Node::is_primitive) => Ok(Cow::Borrowed("")),
            None => Err(EvaluationError::WrongType("`&`")),
        },
    }
}

fn integers<'t>(operator: Operator, left: i64, right: i64) -> Outcome<Option<Item<'t>>> {
    let made = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Div | Operator::Mod if right == 0 => return Ok(None),
        Operator::Div => left.checked_div(right),
        Operator::Mod => left.checked_rem(right),
        _ => return decimals(operator, left.into(), right.into()),
    };
    made.map(|value| Some(Item::Integer(value))).ok_or_else(too_large)
}

fn decimals<'t>(operator: Operator, left: Decimal, right: Decimal) -> Outcome<Option<Item<'t>>> {
    if right.is_zero() && matches!(operator, Operator::Divide | Operator::Div | Operator::Mod) {
        return Ok(None);
    }
    let made = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide => left.checked_div(right),
        Operator::Div => {
            let whole = left.checked_div_rem(right).and_then(|(whole, _)| i64::try_from(whole).ok());
            return whole.map(|whole| Some(Item::Integer(whole))).ok_or_else(too_large);
        }
        Operator::Mod => left.checked_div_rem(right).map(|(_, rest)| rest),
        _ => return Err(wrong_operand()),
    };
    made.map(|value| Some(Item::Decimal(value))).ok_or_else(too_large)
}

fn quantities<'t>(operator: Operator, left: &Quantity<'t>, right: &Quantity<'t>) -> Outcome<Option<Item<'t>>> {
    let made = match operator {
        Operator::Multiply | Operator::Divide => {
            if operator == Operator::Divide && right.value.is_zero() {
                return Ok(None);
            }
            left.combine(right, operator == Operator::Divide)
        }
        Operator::Add | Operator::Subtract if left.unit == right.unit => {
            let value = match operator {
                Operator::Add => left.value.checked_add(right.value),
                _ => left.value.checked_sub(right.value),
            };
            value.map(|value| Quantity { value, unit: left.unit.clone() })
        }
        Operator::Add | Operator::Subtract => {
            return Err(EvaluationError::not_evaluated("sums of quantities of different units"));
        }
        _ => return Err(wrong_operand()),
    };
    made.map(|quantity| Some(Item::Quantity(Box::new(quantity)))).ok_or_else(too_large)
}

/// A date or time moved by a duration (§6.6.7); fractions of a unit are cut off. An average (`1 'mo'`) moves no calendar.
fn moved(temporal: Temporal, by: &Quantity<'_>, sign: i64) -> Outcome<Option<Temporal>> {
    let unit = by.calendar_unit().ok_or(EvaluationError::WrongType("a date's arithmetic"))?;
    let count = i64::try_from(by.value.truncate()).map_err(|_| too_large())?.checked_mul(sign).ok_or_else(too_large)?;
    match unit {
        CalendarUnit::Year | CalendarUnit::Month if temporal.kind() == TemporalKind::Time => {
            Err(EvaluationError::WrongType("a time's arithmetic"))
        }
        CalendarUnit::Year => Ok(count.checked_mul(12).and_then(|months| temporal.add_months(months))),
        CalendarUnit::Month => Ok(temporal.add_months(count)),
        _ => {
            let length = unit.nanoseconds().ok_or_else(too_large)?;
            Ok(length.checked_mul(i128::from(count)).and_then(|nanoseconds| temporal.add_nanoseconds(nanoseconds)))
        }
    }
}
