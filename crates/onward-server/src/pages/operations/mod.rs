//! `/operations`: what has not left and why, what waits for a person, and the one safe thing to do. No list names a person;
//! whom something is about is shown for a reason, and that is a disclosure.

mod approval;
mod board;
mod bulk;
mod decide;
mod delivery;
mod hold;
mod overtaken;
mod replay;
mod words;

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};
use onward_gateway::holds::Decider;
use onward_gateway::operate::Revealed;
use onward_transform::render::dates;

use super::components::{Choice, Field, FormError};
use super::sent;
use crate::api::{Access, Route};
use crate::app::App;
use crate::auth::table::Action;
use crate::people::SignedIn;
use crate::reasons::{REASON_MAX, names_a_number};

pub(super) fn table() -> Vec<(Route, MethodRouter<Arc<App>>)> {
    let route = |method, path, handler| (Route { method, path, access: Access::Page(Action::Operate) }, handler);
    vec![
        route("GET", "/operations", get(board::get)),
        route("GET", "/operations/totals", get(board::totals)),
        route("POST", "/operations/pause", post(board::pause)),
        route("POST", "/operations/resume", post(board::resume)),
        route("GET", "/operations/retry", get(bulk::get)),
        route("POST", "/operations/retry", post(bulk::post)),
        route("GET", "/operations/bulks/{id}", get(bulk::progress)),
        route("POST", "/operations/bulks/{id}/cancel", post(bulk::cancel)),
        route("GET", "/operations/replays/{id}", get(replay::get)),
        route("GET", "/operations/deliveries/{id}", get(delivery::get)),
        route("GET", "/operations/deliveries/{id}/replay", get(replay::preview)),
        route("POST", "/operations/deliveries/{id}/resend", post(delivery::resend)),
        route("POST", "/operations/deliveries/{id}/close", post(delivery::close)),
        route("POST", "/operations/deliveries/{id}/redirect", post(delivery::redirect)),
        route("POST", "/operations/deliveries/{id}/reveal", post(delivery::reveal)),
        route("GET", "/operations/holds/{id}", get(hold::get)),
        route("POST", "/operations/holds/{id}/release", post(hold::release)),
        route("POST", "/operations/holds/{id}/close", post(hold::close)),
        route("POST", "/operations/holds/{id}/redirect", post(hold::redirect)),
        route("POST", "/operations/holds/{id}/reveal", post(hold::reveal)),
        route("GET", "/operations/approvals/{id}", get(approval::get)),
        route("POST", "/operations/approvals/{id}", post(decide::post)),
        route("POST", "/operations/approvals/{id}/reveal", post(approval::reveal)),
    ]
}

/// Something that can be done, as a form that asks why.
struct DeedForm {
    /// Says which form of the page it is.
    key: &'static str,
    title: String,
    lines: Vec<String>,
    action: String,
    /// Fields that are sent along.
    hidden: Vec<(&'static str, String)>,
    /// Questions with several answers.
    choices: Vec<Choice>,
    choice: Field,
    /// The choices are boxes to tick, and not one of several.
    many: bool,
    /// Codes of organisations.
    codes: Vec<Field>,
    reason: Field,
    button: &'static str,
    kind: &'static str,
    open: bool,
}

impl DeedForm {
    fn new(key: &'static str, title: &str, action: String, button: &'static str) -> Self {
        let hint = "For the audit log. Leave out whom it is about.";
        Self {
            key,
            title: title.to_owned(),
            lines: Vec::new(),
            action,
            hidden: Vec::new(),
            choices: Vec::new(),
            choice: Field::default(),
            many: false,
            codes: Vec::new(),
            reason: Field { id: format!("{key}-reason"), hint: hint.to_owned(), ..Field::new("reason", "Why") },
            button,
            kind: "secondary",
            open: false,
        }
    }

    fn saying(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    fn code(mut self, name: &str, label: &str) -> Self {
        self.codes.push(Field { id: format!("{}-{name}", self.key), ..Field::new(name, label) });
        self
    }

    /// The same with what was wrong in it.
    fn wrong(mut self, wrong: Option<&Wrong>) -> Self {
        let Some(wrong) = wrong.filter(|wrong| wrong.form == self.key) else { return self };
        self.open = true;
        for field in self.codes.iter_mut().chain([&mut self.reason, &mut self.choice]) {
            if let Some((_, value)) = wrong.sent.iter().find(|(name, _)| *name == field.name) {
                field.value.clone_from(value);
            }
            if field.name == wrong.field {
                field.error.clone_from(&wrong.error);
            }
        }
        self
    }

    fn error(&self) -> Option<FormError> {
        let fields = self.codes.iter().chain([&self.reason, &self.choice]);
        let wrong = fields.into_iter().find(|field| !field.error.is_empty())?;
        Some(FormError { field: wrong.id.clone(), text: wrong.error.clone() })
    }
}

/// Asks why somebody must know whom the page at this address is about.
fn reveal_form(path: &str) -> DeedForm {
    DeedForm::new("reveal", "Show whom it is about", format!("{path}/reveal"), "Show the person")
        .saying("This is a disclosure. It is written down with your name and the reason.")
}

/// What was wrong with a form.
struct Wrong {
    form: &'static str,
    field: &'static str,
    error: String,
    sent: Vec<(String, String)>,
}

impl Wrong {
    fn new(form: &'static str, field: &'static str, error: impl Into<String>, body: &[u8]) -> Self {
        let sent = url::form_urlencoded::parse(body).into_owned().collect();
        Self { form, field, error: error.into(), sent }
    }
}

fn errors(forms: &[DeedForm]) -> Vec<FormError> {
    forms.iter().filter_map(DeedForm::error).collect()
}

/// The reason of a form, or what is wrong with it.
pub(super) fn reason(body: &[u8]) -> Result<String, &'static str> {
    let reason = sent(body, "reason");
    if reason.is_empty() {
        return Err("Say why");
    }
    if reason.chars().count() > REASON_MAX {
        return Err("Write at most 500 characters");
    }
    if names_a_number(&reason) {
        return Err("Leave the NHS number out: the reason is kept for good");
    }
    Ok(reason)
}

fn decider<'d>(who: &'d SignedIn, reason: &'d str, act: bool) -> Decider<'d> {
    Decider { agent: who.agent(), by: &who.name, reason, act, request_id: who.request_id.as_deref() }
}

/// Whom something is about, as lines.
fn told(revealed: &Revealed) -> Vec<String> {
    let number =
        revealed.patient.as_ref().map(|number| format!("Traced under NHS number {}", grouped(number.expose())));
    let sent = revealed.number_as_sent.as_deref();
    let differs = sent.filter(|sent| revealed.patient.as_ref().is_none_or(|patient| patient.expose() != *sent));
    let lines = [
        Some(revealed.name.clone().unwrap_or_else(|| "Name not held".to_owned())),
        revealed.born.as_deref().map(|born| format!("Born {}", dates::fhir(born))),
        number,
        differs.map(|sent| format!("The hospital sent the number {}", grouped(sent))),
    ];
    lines.into_iter().flatten().collect()
}

/// A number in groups of 3, 3 and 4.
pub(super) fn grouped(number: &str) -> String {
    match (number.get(..3), number.get(3..6), number.get(6..)) {
        (Some(first), Some(second), Some(rest)) if number.len() == 10 => format!("{first} {second} {rest}"),
        _ => number.to_owned(),
    }
}

/// Words of an outcome that stands in the address after a form was sent.
fn done_words(query: Option<&str>) -> &'static str {
    let word = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("done=")));
    match word {
        Some("retry") => "It is queued again: the same message under the same identifier.",
        Some("replay") => "It is queued again and labelled as a repeat.",
        Some("asked") => "Your request is kept. Another operator decides.",
        Some("refused") => "The request is refused. Nothing was changed.",
        Some("redirected") => "The copy goes to the other party.",
        Some("released") => "The copies are queued.",
        Some("handed-over") => "It is closed: it was handed over in another way.",
        Some("closed") => "The transfer is ended. Nothing is sent.",
        Some("paused") => "It is paused. Messages are still taken in and wait.",
        Some("resumed") => "It is resumed. What waits is sent in the order in which it came.",
        Some("retried") => "It is kept. The copies are queued again one after the other.",
        Some("cancelled") => "It is stopped.",
        Some("nothing") => "No failed copy fits any more. Nothing was done.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::reason;
    use crate::reasons::REASON_MAX;

    #[test]
    fn a_reason_says_why_and_not_whom() {
        assert_eq!(reason(b"reason=+"), Err("Say why"));
        assert!(reason(format!("reason={}", "x".repeat(REASON_MAX + 1)).as_bytes()).is_err());
        assert_eq!(reason(b"reason=+mailbox+mended+"), Ok("mailbox mended".to_owned()));
    }
}
