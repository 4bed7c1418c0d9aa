//! One answer against its question.

use std::cmp::Ordering;

use onward_fhir::Element;

use super::super::Session;
use super::super::primitives::{decoded_length, is_base64};
use super::super::values::compare;
use crate::definition::Value;
use crate::terminology::Membership;

const EXTENSION: &str = "http://hl7.org/fhir/StructureDefinition/";
const SDC: &str = "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-";

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn answer(&mut self, value: Element<'t, 's>, question: Element<'_, '_>, response: Element<'t, 's>) {
        let kind = question.text("type").unwrap_or_default();
        if !type_fits(value.name(), kind) {
            self.answer_error(
                value,
                "questionnaire-type",
                format!("The answer to a question of type {kind} must be {}.", expected(kind)),
            );
            return;
        }
        self.options(value, question, kind);
        self.coded_answer(value, question, response);
        self.text_answer(value, question);
        self.answer_bounds(value, question);
        if value.name() == "valueAttachment" {
            self.attachment_answer(value, question);
        }
    }

    fn options(&mut self, value: Element<'t, 's>, question: Element<'_, '_>, kind: &str) {
        let mut options = question.all("answerOption").filter_map(|option| option.choice("value")).peekable();
        if options.peek().is_none() || (kind == "open-choice" && value.name() == "valueString") {
            return;
        }
        let same = |option: Element<'_, '_>| {
            option.name() == value.name()
                && match value.name() {
                    "valueCoding" => {
                        option.text("system") == value.text("system") && option.text("code") == value.text("code")
                    }
                    "valueReference" => option.text("reference") == value.text("reference"),
                    _ => option.value() == value.value(),
                }
        };
        if !options.any(same) {
            self.answer_error(
                value,
                "questionnaire-option",
                "The answer is none of the question's answerOptions.".to_owned(),
            );
        }
    }

    fn coded_answer(&mut self, value: Element<'t, 's>, question: Element<'_, '_>, response: Element<'t, 's>) {
        let Some(value_set) = question.text("answerValueSet").filter(|_| value.name() == "valueCoding") else { return };
        let _ = response;
        if value_set.starts_with('#') {
            return;
        }
        if self.coded_member(value, value_set) == Some(Membership::No) {
            self.answer_error(value, "questionnaire-option", format!("The answer is not a code of {value_set}."));
        }
    }

    fn text_answer(&mut self, value: Element<'t, 's>, question: Element<'_, '_>) {
        let Some(text) = value.value() else { return };
        let length = text.chars().count();
        let number = |text: Option<&str>| text.and_then(|number| number.parse::<usize>().ok());
        if let Some(max) = number(question.text("maxLength")).filter(|max| length > *max) {
            self.answer_error(value, "questionnaire-length", format!("The answer may be {max} characters long."));
        }
        let min = question.extension(&format!("{EXTENSION}minLength")).and_then(|each| each.text("valueInteger"));
        if let Some(min) = number(min).filter(|min| length < *min) {
            self.answer_error(value, "questionnaire-length", format!("The answer must be {min} characters long."));
        }
        if let Some(pattern) =
            question.extension(&format!("{EXTENSION}regex")).and_then(|each| each.text("valueString"))
        {
            // Linear time whatever the pattern; a size that a form cannot need is refused by the compiler.
            if regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().is_ok_and(|regex| !regex.is_match(text)) {
                self.answer_error(
                    value,
                    "questionnaire-regex",
                    "The answer does not have the form that the question asks for.".to_owned(),
                );
            }
        }
    }

    fn answer_bounds(&mut self, value: Element<'t, 's>, question: Element<'_, '_>) {
        let decimal = match value.name() {
            "valueQuantity" => value.text("value"),
            "valueDecimal" => value.value(),
            _ => None,
        };
        let places =
            question.extension(&format!("{EXTENSION}maxDecimalPlaces")).and_then(|each| each.text("valueInteger"));
        if let (Some(decimal), Some(places)) = (decimal, places.and_then(|places| places.parse::<usize>().ok())) {
            let has = decimal.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            if has > places {
                self.answer_error(
                    value,
                    "questionnaire-decimals",
                    format!("The answer may have {places} decimal places; it has {has}."),
                );
            }
        }
        let sides = [("min", Ordering::Less, "at least"), ("max", Ordering::Greater, "at most")];
        for (side, wrong, words) in sides {
            let urls = [format!("{EXTENSION}{side}Value"), format!("{SDC}{side}Quantity")];
            for url in urls {
                let Some(bound) = question.extension(&url).and_then(|each| each.choice("value")) else { continue };
                let bound = Value::read(bound, "value");
                match compare(value, &bound) {
                    Some(found) if found == wrong => {
                        self.answer_error(
                            value,
                            &format!("questionnaire-{side}"),
                            format!("The answer must be {words} {}.", bound.shown()),
                        );
                    }
                    Some(_) => {}
                    None => self.answer_error(
                        value,
                        &format!("questionnaire-{side}"),
                        format!(
                            "The answer cannot be compared with the bound {}: they have no common unit.",
                            bound.shown()
                        ),
                    ),
                }
            }
        }
    }

    fn attachment_answer(&mut self, value: Element<'t, 's>, question: Element<'_, '_>) {
        let allowed: Vec<&str> = question
            .all("extension")
            .filter(|each| each.text("url") == Some("http://hl7.org/fhir/StructureDefinition/mimeType"))
            .filter_map(|each| each.text("valueCode"))
            .collect();
        let media_type = value.text("contentType").unwrap_or_default();
        if !allowed.is_empty() && !allowed.contains(&media_type) {
            let text = format!("The attachment must be of a media type of {}.", allowed.join(", "));
            self.answer_error(value, "questionnaire-media-type", text);
        }
        let max = question.extension(&format!("{EXTENSION}maxSize")).and_then(|each| each.text("valueDecimal"));
        let data = value.text("data").filter(|data| is_base64(data)).map(decoded_length);
        let size = data.or_else(|| value.text("size").and_then(|size| size.parse().ok()));
        if let (Some(max), Some(size)) = (max.and_then(|max| max.parse::<f64>().ok()), size) {
            #[expect(clippy::cast_precision_loss, reason = "sizes of what fits into memory are below 2^53")]
            let over = size as f64 > max;
            if over {
                self.answer_error(
                    value,
                    "questionnaire-size",
                    format!("The attachment may have {max} bytes; it has {size}."),
                );
            }
        }
    }
}

/// The element that holds answers to questions of a type (R4 QuestionnaireResponse §11.3.4, "data type").
fn type_fits(name: &str, kind: &str) -> bool {
    match kind {
        "boolean" => name == "valueBoolean",
        "decimal" => name == "valueDecimal",
        "integer" => name == "valueInteger",
        "date" => name == "valueDate",
        "dateTime" => name == "valueDateTime",
        "time" => name == "valueTime",
        "string" | "text" => name == "valueString",
        "url" => name == "valueUri",
        "choice" => matches!(
            name,
            "valueCoding" | "valueInteger" | "valueDate" | "valueTime" | "valueString" | "valueReference"
        ),
        "open-choice" => {
            matches!(
                name,
                "valueCoding" | "valueString" | "valueInteger" | "valueDate" | "valueTime" | "valueReference"
            )
        }
        "attachment" => name == "valueAttachment",
        "reference" => name == "valueReference",
        "quantity" => name == "valueQuantity",
        _ => true,
    }
}

fn expected(kind: &str) -> &str {
    match kind {
        "text" => "a string",
        "url" => "a uri",
        "choice" => "a Coding",
        "open-choice" => "a Coding or a string",
        other => other,
    }
}
