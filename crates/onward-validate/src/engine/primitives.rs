//! The value spaces of primitive types (R4 §2.24.0.1), and how they stand in JSON.

use onward_fhir::{Element, Lexical};

use super::{Found, Session};
use crate::structure;
use crate::{IssueCode, Severity};

/// R4 §2.24.0.1: a string is at most 1 MB.
const STRING_BYTES_MAX: usize = 1024 * 1024;

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn primitive(&mut self, element: Element<'t, 's>, type_name: &str) {
        let is_resource_id =
            element.name() == "id" && element.parent().is_some_and(|parent| parent.resource_type().is_some());
        if is_resource_id && element.get("extension").is_some() {
            self.value_error(element, "id-extension", "The id of a resource has no extensions.".to_owned());
        }
        let Some(value) = element.value() else {
            return;
        };
        if element.name() == "id" && !is_resource_id {
            self.unique_element_id(element, value);
        }
        if let Some(fault) = lexical_fault(element.lexical(), type_name) {
            self.value_error(element, "json-lexical", format!("{} is a {type_name}: {fault}.", element.name()));
            return;
        }
        let type_name = if is_resource_id { "id" } else { type_name };
        match fault(value, type_name) {
            Some(structure::IMPLAUSIBLE) => self.find(Found {
                severity: Severity::Warning,
                code: IssueCode::Value,
                at: element,
                rule: "date-implausible".to_owned(),
                same: "date-implausible",
                text: format!("{} is a {type_name}: {}.", element.name(), structure::IMPLAUSIBLE),
            }),
            Some(fault) => {
                let rule = format!("primitive-{type_name}");
                self.value_error(element, &rule, format!("{} is a {type_name}: {fault}.", element.name()));
            }
            None => {}
        }
    }

    /// Element ids are for references within the resource (R4 §2.27.0): two of one name lead nowhere for certain.
    fn unique_element_id(&mut self, element: Element<'t, 's>, value: &'t str) {
        let first = *self.element_ids.entry((element.resource().id(), value)).or_insert(element.id());
        if first != element.id() {
            self.find(Found {
                severity: Severity::Warning,
                code: IssueCode::Value,
                at: element,
                rule: "element-id-duplicate".to_owned(),
                same: "element-id-duplicate",
                text:
                    "Another element of this resource has the same id; the id of an element is unique in its resource."
                        .to_owned(),
            });
        }
    }

    pub(super) fn value_error(&mut self, element: Element<'t, 's>, rule: &str, text: String) {
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Value,
            at: element,
            rule: rule.to_owned(),
            same: rule,
            text,
        });
    }
}

/// JSON strings where FHIR has numbers and booleans, and the other way round.
fn lexical_fault(lexical: Lexical, type_name: &str) -> Option<&'static str> {
    match (type_name, lexical) {
        (_, Lexical::Untold)
        | ("boolean", Lexical::Boolean)
        | ("integer" | "positiveInt" | "unsignedInt" | "decimal", Lexical::Number) => None,
        ("boolean", _) => Some("in JSON it stands as true or false without quotes"),
        ("integer" | "positiveInt" | "unsignedInt" | "decimal", _) => Some("in JSON it stands as a bare number"),
        (_, Lexical::String) => None,
        _ => Some("in JSON it stands as a string"),
    }
}

fn fault(value: &str, type_name: &str) -> Option<&'static str> {
    if value.is_empty() {
        return Some("it is empty; leave it out");
    }
    match type_name {
        "string" | "markdown" => (value.len() > STRING_BYTES_MAX).then_some("it is longer than 1 MB (1048576 bytes)"),
        "code" => (!is_code(value)).then_some("expected a code without white space around it or doubled"),
        "base64Binary" => (!is_base64(value)).then_some("it is not valid base64"),
        "uri" | "url" | "canonical" => uri_fault(value),
        "oid" => (!value.strip_prefix("urn:oid:").is_some_and(is_oid)).then_some("expected urn:oid: and an OID"),
        "uuid" => (!value.strip_prefix("urn:uuid:").is_some_and(is_uuid))
            .then_some("expected urn:uuid: and a lower-case UUID"),
        other => structure::value_fault(value, other),
    }
}

fn is_code(value: &str) -> bool {
    !value.starts_with(char::is_whitespace)
        && !value.ends_with(char::is_whitespace)
        && !value.as_bytes().windows(2).any(|pair| pair.iter().all(u8::is_ascii_whitespace))
}

fn uri_fault(value: &str) -> Option<&'static str> {
    if value.bytes().any(|byte| byte.is_ascii_whitespace() || byte == 0x0b)
        || (!value.is_ascii() && value.chars().any(char::is_whitespace))
    {
        return Some("expected a URI without white space");
    }
    if let Some(oid) = value.strip_prefix("urn:oid:") {
        return (!is_oid(oid)).then_some("urn:oid: is not followed by an OID");
    }
    if let Some(uuid) = value.strip_prefix("urn:uuid:") {
        let bare = uuid.split(['#', '|']).next().unwrap_or_default();
        return (!is_uuid(bare)).then_some("urn:uuid: is not followed by a lower-case UUID");
    }
    None
}

fn is_oid(value: &str) -> bool {
    let mut arcs = value.split('.');
    let first = arcs.next().is_some_and(|arc| matches!(arc, "0" | "1" | "2"));
    let mut count = 0;
    let rest = arcs.all(|arc| {
        count += 1;
        !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'))
    });
    first && rest && count > 0
}

pub(super) fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || matches!(b, b'a'..=b'f'),
        })
}

/// White space between the groups is allowed (R4 regex).
pub(super) fn is_base64(value: &str) -> bool {
    let (mut digits, mut padding) = (0_usize, 0_usize);
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            b'=' => padding += 1,
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => return false,
        }
    }
    padding <= 2 && (digits + padding).is_multiple_of(4)
}

/// Bytes that base64 stands for.
pub(super) fn decoded_length(value: &str) -> usize {
    value.bytes().filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).count() * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_forms() {
        for good in ["AAAA", "AA==", "AAA=", "AAAA\nBBBB", ""] {
            assert!(is_base64(good), "{good}");
        }
        for bad in ["AAA", "A=AA", "====", "AA.A", "AA==AA=="] {
            assert!(!is_base64(bad), "{bad}");
        }
        assert_eq!(decoded_length("AAA="), 2);
        assert!(uri_fault("urn:uuid:C757873D-ec9a-4326-a141-556f43239520").is_some());
        assert_eq!(uri_fault("urn:uuid:c757873d-ec9a-4326-a141-556f43239520"), None);
        assert!(uri_fault("urn:oid:1.02").is_some());
        assert_eq!(uri_fault("urn:oid:1.2.840"), None);
        assert!(!is_code(" a") && !is_code("a  b") && is_code("a b"));
    }
}
