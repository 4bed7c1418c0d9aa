//! Whether the element of the HL7 validator's first error is among the places of our findings. Its messages name elements in
//! many ways; where a message names none, nothing is judged.

use crate::{Finding, Findings, Severity};

/// Nothing when the message does not tell an element.
pub(super) fn is_told_by(message: &str, findings: &Findings) -> Option<bool> {
    let errors: Vec<&Finding> = findings.iter().filter(|each| each.severity >= Severity::Error).collect();
    let at = |fits: &dyn Fn(&str) -> bool| errors.iter().any(|each| fits(&plain(&each.expression)));
    if let Some(key) = between(message, "Constraint failed: ", ":") {
        return Some(errors.iter().any(|each| each.rule.ends_with(&format!(" {key}"))));
    }
    // Cardinalities are told at the element around the one that is missing or too many.
    let counted = between(message, "Slice '", ":").or_else(|| {
        let path = message.split(": ").next()?;
        (message.contains("minimum required") || message.contains("max allowed")).then_some(path)
    });
    if let Some(path) = counted {
        let path = path.split(':').next().unwrap_or(path);
        let name = path.rsplit('.').next().unwrap_or(path);
        let holder = path.rsplit_once('.').map_or("", |(holder, _)| holder);
        let inner = holder.split_once('.').map_or("", |(_, inner)| inner);
        return Some(errors.iter().any(|each| {
            let expression = plain(&each.expression);
            let place = expression.ends_with(inner) || expression.ends_with(&format!(".{name}")) || inner.is_empty();
            place && (each.diagnostics.contains(name) || expression.ends_with(&format!(".{name}")))
        }));
    }
    if let Some(name) = between(message, "The property ", " must be") {
        let holder = between(message, "(at ", ")").unwrap_or_default();
        return Some(at(&|place| place.ends_with(&format!("{holder}.{name}"))));
    }
    if let Some(name) = between(message, "Unrecognized property '", "'") {
        return Some(at(&|place| place.ends_with(&format!(".{name}"))));
    }
    let names: &[&str] = match message {
        m if m.starts_with("Invalid Resource id") || m.contains("Resource.id") => &[".id"],
        m if m.contains("longer than permitted") => &[".id"],
        m if m.to_lowercase().contains("base64") => &[".data", ".content", ".valueAttachment"],
        m if m.contains("Attachment Size") => &[".content", ".valueAttachment"],
        m if m.contains("valid date format") => &[".birthDate"],
        m if m.contains("mime type") || m.contains("attachment is too large") => &[".valueAttachment"],
        m if m.contains("not found in questionnaire") || m.contains("number of answers") => &[".item"],
        m if m.contains("should not have answers") => &[".answer", ".item"],
        m if m.contains("No response answer found") => &[".item", "QuestionnaireResponse"],
        m if m.contains("Only one response answer") => &[".item", ".answer"],
        m if m.starts_with("Answer value must be") => &[".answer", ".valueCoding", ".valueString"],
        m if m.starts_with("The quantity") => &[".valueQuantity"],
        m if m.contains("too many decimal places") => &[".valueDecimal", ".valueQuantity"],
        m if m.contains("than the allowed m") => &[".valueDate", ".valueDateTime", ".valueDecimal", ".valueInteger"],
        m if m.contains("not in the set of permitted values") => &[".valueCoding", ".valueInteger"],
        m if m.starts_with("The answer") => &[".valueString"],
        m if m.starts_with("UUIDs must be") => &[".valueUri"],
        m if m.contains("allows for the type") => &[".valueString", ".value"],
        m if m.contains("date/time value is less") => &[".birthDate", ".valueTime"],
        m if m.contains("specified minimum value") => &[".valueQuantity", ".value"],
        m if m.contains("applicable fixed value") => &[".telecom", ".telecom.system"],
        m if m.contains("ValueSet.compose.include.system") => &[".include.system"],
        m if m.contains("value for a filter") => &[".filter.value"],
        m if m.starts_with("CodeSystem Supplements") => &[".content", "CodeSystem"],
        m if m.contains("identifies a property") => &[".property"],
        m if m.starts_with("Unknown code") => &[".coding"],
        m if m.contains("Unable to resolve the profile reference") => &[".endpoint", ".managingOrganization"],
        m if m.contains("not found within the bundle") => &[".endpoint"],
        m if m.contains("must not be used as an extension") => &[".extension"],
        m if m.contains("could not be found so is not allowed") => &[".extension"],
        m if m.starts_with("Error generating Snapshot") || m.starts_with("The element at ") => {
            &[".differential", ".element"]
        }
        _ => return None,
    };
    Some(at(&|place| names.iter().any(|name| place.ends_with(name))))
}

fn between<'m>(message: &'m str, before: &str, after: &str) -> Option<&'m str> {
    let rest = &message[message.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

/// A path without indices.
fn plain(expression: &str) -> String {
    let mut depth = 0;
    expression
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '[');
            let keep = depth == 0;
            depth -= i32::from(*c == ']');
            keep
        })
        .collect()
}
