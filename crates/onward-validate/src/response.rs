//! Rules of ITK3 response messages (event ITK008M).

use onward_fhir::Element;
use onward_fhir::itk::{self, ResponseCode};
use onward_fhir::message::{Message, Response, ResponseOutcome};

use crate::findings::Report;
use crate::{ITK_HEADER, ITK_PAYLOAD, IssueCode};

pub(crate) fn validate(message: &Message<'_, '_>, report: &mut Report) {
    let header = message.header;
    let Some(response) = Response::read(message) else {
        report.error(
            "response-missing",
            IssueCode::Required,
            header,
            ITK_HEADER,
            "The event is ITK008M but MessageHeader.response is missing. Add identifier (MessageHeader.id of the message \
             that is answered), code and details.",
        );
        return;
    };
    let at = header.get("response").unwrap_or(header);
    if response.original_header_id.is_none() {
        report.error(
            "response-identifier",
            IssueCode::Required,
            at,
            ITK_HEADER,
            "response.identifier is missing: without the MessageHeader.id of the answered message the response belongs to \
             nothing.",
        );
    }
    if response.outcome.is_none() {
        report.error(
            "response-code",
            IssueCode::CodeInvalid,
            at,
            ITK_HEADER,
            "response.code must be ok, transient-error or fatal-error.",
        );
    }
    let outcome = at
        .get("details")
        .and_then(|details| message.bundle.resolve(details))
        .filter(|resource| resource.is("OperationOutcome"));
    let Some(outcome) = outcome else {
        report.error(
            "response-details",
            IssueCode::Required,
            at,
            ITK_HEADER,
            "response.details must point to an OperationOutcome in the message.",
        );
        return;
    };
    details(&response, outcome, report);
}

fn details(response: &Response<'_>, outcome: Element<'_, '_>, report: &mut Report) {
    if outcome.all("issue").count() != 1 {
        report.error(
            "response-one-issue",
            IssueCode::Structure,
            outcome,
            ITK_PAYLOAD,
            "An ITK3 response carries one issue with one response code. Send one message per code.",
        );
    }
    let Some(known) = response.code.and_then(ResponseCode::of) else {
        report.error(
            "response-code-unknown",
            IssueCode::CodeInvalid,
            outcome,
            ITK_PAYLOAD,
            "issue.details.coding must carry a code of https://fhir.nhs.uk/STU3/CodeSystem/ITK-ResponseCodes-1, such as \
             20013 or 30001.",
        );
        return;
    };
    let says_ok = response.outcome == Some(ResponseOutcome::Ok);
    if response.outcome.is_some() && says_ok != known.positive {
        report.warning(
            "response-code-contradiction",
            IssueCode::Invariant,
            outcome,
            format!(
                "{} {} goes with response.code {}. The ITK code is believed.",
                known.code,
                known.display,
                known.response_code()
            ),
        );
    }
    let level = match known.level {
        itk::Level::Infrastructure => "infrastructure",
        itk::Level::Business => "business",
    };
    report.add(
        crate::Severity::Information,
        "response-read",
        IssueCode::Informational,
        outcome,
        None,
        format!("A {} {level} response.", if known.positive { "positive" } else { "negative" }),
    );
}
