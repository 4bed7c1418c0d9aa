//! Rules of FHIR's structure by the element table of the release: known types and elements, repetition, choices,
//! the form of primitives, plausible dates.

use foldhash::{HashMap, HashMapExt};
use onward_fhir::elements::{self, ElementDef, Table, TypeDef};
use onward_fhir::{Element, Lexical, Release};

use crate::findings::Report;
use crate::{ITK_PAYLOAD, IssueCode, Scope, Severity, shown};

pub(crate) fn validate(root: Element<'_, '_>, release: Release, scope: Scope, report: &mut Report) {
    let walk = Walk { table: elements::table(release), release, scope };
    walk.resource(root, report);
}

struct Walk {
    table: &'static Table,
    release: Release,
    scope: Scope,
}

impl Walk {
    fn resource(&self, element: Element<'_, '_>, report: &mut Report) {
        let name = element.resource_type().unwrap_or_default();
        match self.table.type_def(name).filter(|_| self.table.is_resource(name)) {
            Some(definition) => self.children(element, definition, report),
            None => report.error(
                "resource-type-unknown",
                IssueCode::Structure,
                element,
                ITK_PAYLOAD,
                format!("{} is no resource type of FHIR {}.", shown::name(name), self.release_name()),
            ),
        }
    }

    fn release_name(&self) -> &'static str {
        match self.release {
            Release::Stu3 => "STU3",
            Release::R4 => "R4",
        }
    }

    fn children(&self, element: Element<'_, '_>, definition: &TypeDef, report: &mut Report) {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let mut choices: HashMap<&str, &str> = HashMap::new();
        for child in element.children() {
            let Some(found) = definition.child(child.name()) else {
                self.unknown(child, definition, report);
                continue;
            };
            let times = seen.entry(found.name).or_default();
            *times += 1;
            if *times == 2 && !found.array {
                report.error(
                    "element-repeated",
                    IssueCode::Structure,
                    child,
                    ITK_PAYLOAD,
                    format!("{} may stand once in {}; it stands there again.", found.name, definition.name()),
                );
            }
            if let Some(stem) = found.choice
                && *choices.entry(stem).or_insert(found.name) != found.name
            {
                report.error(
                    "choice-repeated",
                    IssueCode::Structure,
                    child,
                    ITK_PAYLOAD,
                    format!("{stem}[x] of {} may have one type; it stands there with two.", definition.name()),
                );
            }
            self.child(child, found, report);
        }
    }

    fn unknown(&self, child: Element<'_, '_>, definition: &TypeDef, report: &mut Report) {
        if child.name() == "fhir_comments" {
            report.warning(
                "json-comments",
                IssueCode::Structure,
                child,
                "fhir_comments belongs to DSTU2; later releases have no comments in JSON. Leave it out.",
            );
            return;
        }
        report.error(
            "element-unknown",
            IssueCode::Structure,
            child,
            ITK_PAYLOAD,
            format!(
                "{} has no element {} in FHIR {}. Check its spelling and place, or that the message is of the release that it \
                 looks like.",
                definition.name(),
                shown::name(child.name()),
                self.release_name()
            ),
        );
    }

    fn child(&self, child: Element<'_, '_>, found: &ElementDef, report: &mut Report) {
        if found.type_name == "Resource" {
            self.resource(child, report);
            return;
        }
        if found.xhtml {
            return;
        }
        if found.primitive.is_some() {
            primitive(child, found, self.scope, report);
        } else if child.value().is_some() || !child.has_children() {
            report.error(
                "element-empty",
                IssueCode::Structure,
                child,
                ITK_PAYLOAD,
                format!("{} is a {} and needs child elements (ele-1); it has none.", found.name, found.type_name),
            );
            return;
        }
        if let Some(definition) = self.table.type_of(found).filter(|_| child.has_children()) {
            self.children(child, definition, report);
        }
    }
}

fn primitive(element: Element<'_, '_>, found: &ElementDef, scope: Scope, report: &mut Report) {
    let Some(value) = element.value() else {
        if !element.has_children() {
            report.error(
                "element-empty",
                IssueCode::Structure,
                element,
                ITK_PAYLOAD,
                format!("{} has neither value nor extension (ele-1). Leave it out or fill it.", found.name),
            );
        }
        return;
    };
    if let Some(fault) = lexical_fault(element.lexical(), found).or_else(|| value_fault(value, found.type_name)) {
        let rule = match (fault, found.type_name) {
            (IMPLAUSIBLE, _) => "date-implausible",
            (_, "date" | "dateTime" | "instant" | "time") => "date-form",
            (_, "id") => "id-form",
            _ => "primitive-form",
        };
        let severity = if fault == IMPLAUSIBLE { scope.unsafe_to_carry() } else { Severity::Error };
        let text = format!("{} is a {}: {fault}.", found.name, found.type_name);
        report.add(severity, rule, IssueCode::Value, element, ITK_PAYLOAD, text);
    }
}

/// JSON strings where FHIR has numbers and booleans, and the other way round.
fn lexical_fault(lexical: Lexical, found: &ElementDef) -> Option<&'static str> {
    use onward_fhir::elements::JsonKind;
    match (lexical, found.primitive?) {
        (Lexical::Untold, _)
        | (Lexical::String, JsonKind::String)
        | (Lexical::Number, JsonKind::Number)
        | (Lexical::Boolean, JsonKind::Boolean) => None,
        (_, JsonKind::String) => Some("in JSON it stands as a string"),
        (_, JsonKind::Number) => Some("in JSON it stands as a bare number"),
        (_, JsonKind::Boolean) => Some("in JSON it stands as true or false without quotes"),
    }
}

pub(crate) const IMPLAUSIBLE: &str =
    "its year is not that of any event of care; leave the element out where the date is unknown";
const FORM_DATE: &str = "expected YYYY, YYYY-MM, YYYY-MM-DD or a date and time with seconds and offset";

pub(crate) fn value_fault(value: &str, type_name: &str) -> Option<&'static str> {
    let bytes = value.as_bytes();
    let unless = |fits: bool, fault| (!fits).then_some(fault);
    match type_name {
        "boolean" => unless(matches!(value, "true" | "false"), "expected true or false"),
        "integer" => unless(value.parse::<i32>().is_ok() && !value.starts_with('+'), "expected a whole number"),
        "unsignedInt" => unless(
            value.parse::<i32>().is_ok_and(|n| n >= 0) && !value.starts_with('+'),
            "expected a whole number from 0",
        ),
        "positiveInt" => unless(
            value.parse::<i32>().is_ok_and(|n| n > 0) && !value.starts_with('+'),
            "expected a whole number from 1",
        ),
        "decimal" => unless(
            is_decimal(value) && outlives_doubles(value),
            "expected a decimal number that no reader rounds to nothing",
        ),
        "date" => date_fault(value, false, false),
        "dateTime" => date_fault(value, true, false),
        "instant" => date_fault(value, true, true),
        "time" => unless(is_time(value), "expected HH:MM:SS"),
        "id" => unless(
            (1..=64).contains(&bytes.len())
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')),
            "expected 1 to 64 letters, digits, hyphens and dots",
        ),
        "code" => unless(
            !value.is_empty() && value.trim() == value && !value.contains("  "),
            "expected a code without spaces before, after or doubled",
        ),
        "uri" | "url" | "canonical" | "oid" | "uuid" => {
            unless(!value.is_empty() && !value.chars().any(char::is_whitespace), "expected a URI without spaces")
        }
        _ => unless(!value.trim().is_empty(), "expected a text that is not empty"),
    }
}

fn is_decimal(value: &str) -> bool {
    let unsigned = value.strip_prefix('-').unwrap_or(value);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, part)| (whole, Some(part)));
    let whole_fits = digits(whole) && (whole == "0" || !whole.starts_with('0'));
    whole_fits && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}

/// Most systems read decimals into doubles: what becomes 0 or infinite there is another amount (trust.md §6, row 69).
fn outlives_doubles(value: &str) -> bool {
    let mantissa = value.split(['e', 'E']).next().unwrap_or_default();
    let is_something = mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    value.parse::<f64>().is_ok_and(|read| read.is_finite() && (read != 0.0) == is_something)
}

fn is_time(value: &str) -> bool {
    let (whole, fraction) = value.split_once('.').map_or((value, None), |(whole, part)| (whole, Some(part)));
    let bytes = whole.as_bytes();
    let number = |range: std::ops::Range<usize>| whole.get(range).and_then(|text| text.parse::<u8>().ok());
    let fraction_fits = fraction.is_none_or(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    bytes.len() == 8
        && bytes[2] == b':'
        && bytes[5] == b':'
        && bytes.iter().enumerate().all(|(at, b)| matches!(at, 2 | 5) || b.is_ascii_digit())
        && number(0..2).is_some_and(|hours| hours < 24)
        && number(3..5).is_some_and(|minutes| minutes < 60)
        // 60 for leap seconds.
        && number(6..8).is_some_and(|seconds| seconds <= 60)
        && fraction_fits
}

fn date_fault(value: &str, with_time: bool, must_have_time: bool) -> Option<&'static str> {
    let (date, time) = match value.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (value, None),
    };
    let mut parts = date.split('-');
    let digits = |text: &str, length: usize| {
        (text.len() == length && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u16>().ok()).flatten()
    };
    let Some(year) = parts.next().and_then(|part| digits(part, 4)) else { return Some(FORM_DATE) };
    let month = parts.next().map(|part| digits(part, 2).filter(|month| (1..=12).contains(month)));
    let day = parts.next().map(|part| digits(part, 2));
    let fits = parts.next().is_none()
        && month != Some(None)
        && match (month, day) {
            (_, None) => true,
            (Some(Some(month)), Some(Some(day))) => day >= 1 && day <= days(year, month),
            _ => false,
        };
    let time_fits = match time {
        None => !must_have_time,
        Some(time) => with_time && day.is_some() && is_time_with_offset(time),
    };
    if !fits || !time_fits {
        return Some(FORM_DATE);
    }
    // trust.md §6, 107: 0001 and 9999 are placeholders, not dates.
    (!(1850..=2200).contains(&year)).then_some(IMPLAUSIBLE)
}

fn days(year: u16, month: u16) -> u16 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

fn is_time_with_offset(time: &str) -> bool {
    if let Some(time) = time.strip_suffix('Z') {
        return is_time(time);
    }
    let Some(at) = time.rfind(['+', '-']) else { return false };
    let offset = &time[at + 1..];
    let bytes = offset.as_bytes();
    bytes.len() == 5
        && bytes[2] == b':'
        && bytes.iter().enumerate().all(|(at, b)| at == 2 || b.is_ascii_digit())
        && offset[..2].parse::<u8>().is_ok_and(|hours| hours <= 14)
        && offset[3..].parse::<u8>().is_ok_and(|minutes| minutes < 60)
        && is_time(&time[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for good in ["2026", "2026-02", "2024-02-29", "2026-11-01T10:00:00Z", "2026-11-01T10:00:00.123+01:00"] {
            assert_eq!(date_fault(good, true, false), None, "{good}");
        }
        for bad in [
            "",
            "26",
            "2026-13",
            "2026-00",
            "2026-1",
            "2026-02-29",
            "2026-02-30T10:00:00Z",
            "2026-11-01T10:00Z",
            "2026-11-01T10:00:00",
            "2026-11T10:00:00Z",
            "2026-11-01T24:00:00Z",
            "2026-11-01 10:00:00Z",
            "2026-11-01-01",
            "2026-11-01T10:00:00+15:00",
            "２026",
            "+026",
        ] {
            assert_eq!(date_fault(bad, true, false), Some(FORM_DATE), "{bad}");
        }
        for odd in ["0001", "9999-12-31", "0001-01-01T00:00:00Z", "1066"] {
            assert_eq!(date_fault(odd, true, false), Some(IMPLAUSIBLE), "{odd}");
        }
        assert_eq!(date_fault("2026-11-01", true, true), Some(FORM_DATE), "an instant has a time");
        assert_eq!(date_fault("2026-11-01T10:00:00Z", false, false), Some(FORM_DATE), "a date has none");
    }

    #[test]
    fn decimals() {
        for good in ["0", "-1", "0.010", "1e10", "1.5E-3", "100"] {
            assert!(is_decimal(good), "{good}");
        }
        for bad in ["", "-", "01", ".5", "1.", "1e", "NaN", "+1", "1,5", "--1", "0x10"] {
            assert!(!is_decimal(bad), "{bad}");
        }
        for lost in ["1e-400", "-0.5e-400", "1e400", "10e999999999999"] {
            assert!(!outlives_doubles(lost), "{lost}");
        }
        for kept in ["0", "-0.0", "0e-400", "1.10", "1e-300", "0.010"] {
            assert!(outlives_doubles(kept), "{kept}");
        }
    }
}
