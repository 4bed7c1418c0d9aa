//! What a definition demands of a value: fixed, pattern, bounds, length, binding.

use std::cmp::Ordering;

use onward_fhir::Element;

use super::views::Views;
use super::{Found, Session};
use crate::definition::Value;
use crate::plan::{Node, Plan, ValuesPlan};
use crate::{IssueCode, Severity};

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn values(&mut self, element: Element<'t, 's>, views: &Views, type_name: Option<&str>) {
        for view in views.iter() {
            let plan = self.plan(view.plan);
            let node = plan.node(view.node);
            let Some(values) = node.values.as_deref() else { continue };
            if let Some(fixed) = &values.fixed
                && !fixed.equals(element)
            {
                self.differs(element, plan, node, "fixed", "must be exactly", fixed);
            }
            if let Some(pattern) = &values.pattern
                && !pattern.is_within(element)
            {
                self.differs(element, plan, node, "pattern", "must hold at least", pattern);
            }
            self.bounds(element, plan, node, values);
            if let Some(max) = values.max_length
                && element.value().is_some_and(|value| value.chars().count() > max as usize)
            {
                self.breach(
                    element,
                    plan,
                    node,
                    "max-length",
                    format!("{} may be at most {max} characters long.", node.id),
                );
            }
            if let Some(binding) = &values.binding {
                self.binding(element, plan, node, binding, type_name);
            }
        }
    }

    fn differs(&mut self, element: Element<'t, 's>, plan: &Plan, node: &Node, what: &str, must: &str, value: &Value) {
        let text = format!("{} {must} {} by {}.", node.id, value.shown(), plan.url());
        self.breach(element, plan, node, what, text);
    }

    pub(super) fn breach(&mut self, element: Element<'t, 's>, plan: &Plan, node: &Node, what: &str, text: String) {
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Value,
            at: element,
            rule: format!("{}#{} {what}", plan.url(), node.id),
            same: what,
            text,
        });
    }

    fn bounds(&mut self, element: Element<'t, 's>, plan: &Plan, node: &Node, values: &ValuesPlan) {
        let bounds =
            [(&values.min_value, Ordering::Less, "min-value"), (&values.max_value, Ordering::Greater, "max-value")];
        for (bound, wrong, what) in bounds {
            let Some(bound) = bound else { continue };
            match compare(element, bound) {
                Some(found) if found == wrong => {
                    let side = if wrong == Ordering::Less { "at least" } else { "at most" };
                    let text = format!("{} must be {side} {}.", node.id, bound.shown());
                    self.breach(element, plan, node, what, text);
                }
                Some(_) => {}
                None => self.find(Found {
                    severity: Severity::Information,
                    code: IssueCode::Informational,
                    at: element,
                    rule: format!("{}#{} {what}", plan.url(), node.id),
                    same: &format!("{what} unknown"),
                    text: format!(
                        "{} was not compared with its bound {}: the two have no common measure.",
                        node.id,
                        bound.shown()
                    ),
                }),
            }
        }
    }
}

/// The order of an element and a bound, where they can be compared.
pub(super) fn compare(element: Element<'_, '_>, bound: &Value) -> Option<Ordering> {
    match &*bound.type_name {
        "Integer" | "Decimal" | "UnsignedInt" | "PositiveInt" => {
            number(element.value()?)?.partial_cmp(&number(bound.text.as_deref()?)?)
        }
        "Date" | "DateTime" | "Instant" => moments(element.value()?, bound.text.as_deref()?),
        "Time" => Some(element.value()?.cmp(bound.text.as_deref()?)),
        _ => quantities(element, bound),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Dates of different precision are compared as far as both go.
fn moments(left: &str, right: &str) -> Option<Ordering> {
    let common = |text: &str| text.split('T').next().unwrap_or_default().len();
    if let (Some(a), Some(b)) = (seconds(left), seconds(right)) {
        return a.partial_cmp(&b);
    }
    let length = common(left).min(common(right));
    Some(left.get(..length)?.cmp(right.get(..length)?))
}

/// Seconds since 0000-03-01 of a date and time with offset.
fn seconds(text: &str) -> Option<f64> {
    let (date, time) = text.split_once('T')?;
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (clock, offset) = match time.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => {
            let at = time.rfind(['+', '-'])?;
            let (hours, minutes) = time[at + 1..].split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            (&time[..at], if time[at..].starts_with('-') { -minutes } else { minutes })
        }
    };
    let mut parts = clock.split(':');
    let (hours, minutes) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
    let rest: f64 = parts.next()?.parse().ok()?;
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day;
    #[expect(clippy::cast_precision_loss, reason = "seconds of four-digit years are far below 2^53")]
    let whole = (days * 86_400 + hours * 3_600 + (minutes - offset) * 60) as f64;
    Some(whole + rest)
}

fn quantities(element: Element<'_, '_>, bound: &Value) -> Option<Ordering> {
    let of_bound = |name: &str| {
        bound.children.iter().find(|(known, _)| **known == *name).and_then(|(_, value)| value.text.as_deref())
    };
    let same = |name: &str| of_bound(name) == element.text(name);
    let (left, right) = (number(element.text("value")?)?, number(of_bound("value")?)?);
    // Without a coded unit nobody can tell that two units are one.
    if same("system") && same("code") && of_bound("code").is_some() {
        return left.partial_cmp(&right);
    }
    None
}
