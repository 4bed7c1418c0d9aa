//! A QuestionnaireResponse against its Questionnaire (R4 QuestionnaireResponse §11.3.4), when that is in a package, was
//! given, or is contained.

mod answers;

use std::sync::Arc;

use onward_fhir::Element;

use super::{Found, Session};
use crate::conformance::{Conformance, Kind};
use crate::{IssueCode, Severity};

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn questionnaire_response(&mut self, response: Element<'t, 's>) {
        let Some(canonical) = response.text("questionnaire") else {
            self.not_compared(response, "it names none");
            return;
        };
        if let Some(id) = canonical.strip_prefix('#') {
            match response.all("contained").find(|each| each.text("id") == Some(id) && each.is("Questionnaire")) {
                Some(questionnaire) => self.answered(response, questionnaire),
                None => {
                    self.answer_error(response, "questionnaire", "The contained Questionnaire is not there.".to_owned())
                }
            }
            return;
        }
        let conformance: Arc<Conformance> = Arc::clone(&self.validator.conformance);
        let Some(source) = conformance.find(Kind::Questionnaire, canonical) else {
            self.not_compared(response, "it is in no package");
            return;
        };
        if let Ok(tree) = source.read() {
            self.answered(response, tree.root());
        }
    }

    fn not_compared(&mut self, response: Element<'t, 's>, reason: &str) {
        self.find(Found {
            severity: Severity::Information,
            code: IssueCode::Informational,
            at: response,
            rule: "questionnaire-unknown".to_owned(),
            same: "questionnaire-unknown",
            text: format!("The answers were not compared with their Questionnaire: {reason}."),
        });
    }

    pub(super) fn answer_error(&mut self, at: Element<'t, 's>, rule: &str, text: String) {
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Structure,
            at,
            rule: rule.to_owned(),
            same: rule,
            text,
        });
    }

    fn answered(&mut self, response: Element<'t, 's>, questionnaire: Element<'_, '_>) {
        let complete = matches!(response.text("status"), Some("completed" | "amended"));
        self.items(response, questionnaire, response, complete);
    }

    /// The items below a response, item or answer against those that the questionnaire has there.
    fn items(&mut self, holder: Element<'t, 's>, wanted: Element<'_, '_>, response: Element<'t, 's>, complete: bool) {
        let mut last = 0;
        for item in holder.all("item") {
            let Some(link) = item.text("linkId") else { continue };
            let Some((place, question)) =
                wanted.all("item").enumerate().find(|(_, question)| question.text("linkId") == Some(link))
            else {
                self.answer_error(
                    item,
                    "questionnaire-link",
                    "The Questionnaire has no item of this linkId here.".to_owned(),
                );
                continue;
            };
            if place < last {
                self.answer_error(
                    item,
                    "questionnaire-order",
                    "Items stand in another order than in the Questionnaire.".to_owned(),
                );
            }
            last = place;
            self.item(item, question, response, complete);
        }
        for question in wanted.all("item") {
            let link = question.text("linkId").unwrap_or_default();
            let met: Vec<Element<'t, 's>> =
                holder.all("item").filter(|item| item.text("linkId") == Some(link)).collect();
            let (kind, repeats) = (question.text("type"), question.text("repeats") == Some("true"));
            if kind == Some("display") && !met.is_empty() {
                self.answer_error(met[0], "questionnaire-display", "Items of type display have no answers.".to_owned());
            }
            let once = kind != Some("group") || !repeats;
            if met.len() > 1 && once {
                self.answer_error(
                    met[1],
                    "questionnaire-repeats",
                    format!("The item {} may stand once.", shown_link(link)),
                );
            }
            // Whether a condition enables it is not evaluated: what may be left out is not asked for.
            let asked = question.text("required") == Some("true") && question.get("enableWhen").is_none();
            let answered = met.iter().any(|item| item.get("answer").is_some() || kind == Some("group"));
            if asked && complete && !answered {
                self.answer_missing(holder, link);
            }
        }
    }

    fn answer_missing(&mut self, holder: Element<'t, 's>, link: &str) {
        let rule = "questionnaire-required";
        self.find(Found {
            severity: Severity::Error,
            code: IssueCode::Required,
            at: holder,
            rule: rule.to_owned(),
            same: &format!("{rule} {link}"),
            text: format!("The required item {} has no answer.", shown_link(link)),
        });
    }

    fn item(&mut self, item: Element<'t, 's>, question: Element<'_, '_>, response: Element<'t, 's>, complete: bool) {
        let answers: Vec<Element<'t, 's>> = item.all("answer").collect();
        if question.text("type") == Some("group") {
            if let Some(first) = answers.first() {
                self.answer_error(*first, "questionnaire-group", "Items of type group have no answers.".to_owned());
            }
            self.items(item, question, response, complete);
            return;
        }
        if item.get("item").is_some() {
            let text = "Items below a question stand in its answer, not in the item.".to_owned();
            self.answer_error(item, "questionnaire-nesting", text);
        }
        let repeats = question.text("repeats") == Some("true");
        if answers.len() > 1 && !repeats {
            self.answer_error(answers[1], "questionnaire-repeats", "This question may have one answer.".to_owned());
        }
        self.occurs(item, question, answers.len());
        for answer in &answers {
            if let Some(value) = answer.choice("value") {
                self.answer(value, question, response);
            }
            self.items(*answer, question, response, complete);
        }
    }

    fn occurs(&mut self, item: Element<'t, 's>, question: Element<'_, '_>, count: usize) {
        let limit = |name: &str| {
            let url = format!("http://hl7.org/fhir/StructureDefinition/questionnaire-{name}");
            question.extension(&url)?.text("valueInteger")?.parse::<usize>().ok()
        };
        if let Some(min) = limit("minOccurs").filter(|min| count < *min) {
            self.answer_error(
                item,
                "questionnaire-occurs",
                format!("This question needs {min} answers; it has {count}."),
            );
        }
        if let Some(max) = limit("maxOccurs").filter(|max| count > *max) {
            self.answer_error(
                item,
                "questionnaire-occurs",
                format!("This question may have {max} answers; it has {count}."),
            );
        }
    }
}

/// A linkId is of the questionnaire, not of the person; still only what looks like one is shown.
fn shown_link(link: &str) -> &str {
    let plain = link.len() <= 40 && link.bytes().all(|b| b.is_ascii_alphanumeric() || b"./-_".contains(&b));
    if plain { link } else { "(its linkId)" }
}
