//! What a partner's FHIR server answers to `$process-message` (R4 MessageHeader, section 2.4.4): a response message, or an
//! OperationOutcome. Of what it says only the codes are kept, in our own words.

use onward_core::transport::{Answered, SendError, Sent};
use onward_fhir::message::{Response, ResponseOutcome, outcome_code};
use onward_fhir::read;
use onward_fhir::{Element, Message, itk::ResponseCode};

use crate::prepare::read_tree;

/// ITK3 "Duplicate message": our resend found the first copy there, which is what was wanted.
const DUPLICATE: u32 = 20007;
/// The issue type (R4 IssueType) that says it without ITK3's code.
const DUPLICATE_ISSUE: &str = "duplicate";
/// RFC 9110 §15.5.10. By the Idempotency-Key draft the first request under the key is still being processed.
const CONFLICT: u16 = 409;
/// Issue types (R4 IssueType) of what passes by itself.
const PASSING: [&str; 6] = ["transient", "lock-error", "timeout", "incomplete", "throttled", "no-store"];

/// What became of the message whose header has this identifier, by the answer to this attempt.
pub(super) fn understood(header_id: Option<&str>, attempt: u32, answered: &Answered) -> Result<Sent, SendError> {
    let tree = read::sniff(&answered.body).and_then(|format| read_tree(&answered.body, format).ok());
    let Some(tree) = tree else { return by_status(answered) };
    let root = tree.root();
    if root.is("OperationOutcome") {
        return by_outcome(root, attempt, answered);
    }
    match Message::read(root).ok().as_ref().and_then(Response::read) {
        Some(response) => by_response(header_id, &response),
        None => by_status(answered),
    }
}

/// Nothing that can be read: the status alone. A message that was taken is acknowledged later, or a person hears that it was not.
fn by_status(answered: &Answered) -> Result<Sent, SendError> {
    if answered.taken() {
        return Ok(Sent::HandedOver { reference: None });
    }
    if answered.status == CONFLICT {
        return Err(for_now(answered));
    }
    Err(refused(&format!("the partner answered {}", answered.status), None))
}

/// What passes by itself.
fn for_now(answered: &Answered) -> SendError {
    let reason = format!("the partner answered {} for now", answered.status);
    SendError::Transient { reason, retry_after_seconds: answered.retry_after_seconds }
}

fn by_outcome(outcome: Element<'_, '_>, attempt: u32, answered: &Answered) -> Result<Sent, SendError> {
    let code = outcome_code(outcome);
    let grave = |issue: &Element<'_, '_>| matches!(issue.text("severity"), Some("fatal" | "error"));
    let mut issues = outcome.all("issue").filter(grave).peekable();
    if code == Some(DUPLICATE) || answered.taken() && issues.peek().is_none() {
        return Ok(Sent::Received { reference: None });
    }
    if code.and_then(ResponseCode::of).is_none() {
        let types: Vec<_> = issues.filter_map(|issue| issue.text("code")).collect();
        let is_duplicate = types.contains(&DUPLICATE_ISSUE);
        // Of a first attempt it tells that somebody else's message is there under our identifier, or one of before a restore.
        if is_duplicate && attempt > 1 {
            return Ok(Sent::Received { reference: None });
        }
        if !is_duplicate && (answered.status == CONFLICT || types.iter().any(|of| PASSING.contains(of))) {
            return Err(for_now(answered));
        }
    }
    Err(refused(&format!("the partner answered {}", answered.status), code))
}

fn by_response(header_id: Option<&str>, response: &Response<'_>) -> Result<Sent, SendError> {
    if response.original_header_id.is_none() || response.original_header_id != header_id {
        let reason = "the partner's response is about another message".to_owned();
        return Err(SendError::Unknown { reason });
    }
    if response.positive || response.code == Some(DUPLICATE) {
        return Ok(Sent::Received { reference: None });
    }
    if response.outcome == Some(ResponseOutcome::TransientError) {
        let code = response.code.map(|code| format!(", code {code}")).unwrap_or_default();
        let reason = format!("the partner cannot process the message now{code}");
        return Err(SendError::Transient { reason, retry_after_seconds: None });
    }
    Err(refused("the partner does not process the message", response.code))
}

/// With the code as it is published: the partner's own words may be about the patient.
fn refused(what: &str, code: Option<u32>) -> SendError {
    let said = match code.map(|code| (code, ResponseCode::of(code))) {
        Some((code, Some(known))) => format!(": {code} {}", known.display),
        Some((code, None)) => format!(": code {code}"),
        None => String::new(),
    };
    SendError::Permanent { reason: format!("{what}{said}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OURS: &str = "3f2b0c9e-0000-4000-8000-000000000000";

    fn answered(status: u16, body: impl ToString) -> Result<Sent, SendError> {
        attempted(1, status, body)
    }

    fn attempted(attempt: u32, status: u16, body: impl ToString) -> Result<Sent, SendError> {
        let body = body.to_string().into_bytes().into();
        understood(Some(OURS), attempt, &Answered { status, retry_after_seconds: Some(9), body })
    }

    fn coded(code: Option<&str>) -> Value {
        let mut issue = json!({ "severity": "error", "code": "processing", "diagnostics": "NHS 9990000018" });
        if let Some(code) = code {
            let system = "https://fhir.nhs.uk/STU3/CodeSystem/ITK-ResponseCodes-1";
            issue["details"] = json!({ "coding": [{ "system": system, "code": code }] });
        }
        json!({ "resourceType": "OperationOutcome", "issue": [issue] })
    }

    fn response(to: &str, code: &str, itk: Option<&str>) -> Value {
        let mut entries = vec![json!({ "resource": {
            "resourceType": "MessageHeader", "eventCoding": { "system": "urn:x", "code": "x" },
            "source": { "endpoint": "https://practice.example" }, "response": { "identifier": to, "code": code },
        } })];
        entries.extend(itk.map(|itk| json!({ "resource": coded(Some(itk)) })));
        json!({ "resourceType": "Bundle", "type": "message", "entry": entries })
    }

    fn received() -> Result<Sent, SendError> {
        Ok(Sent::Received { reference: None })
    }

    fn permanent(sent: Result<Sent, SendError>) -> String {
        match sent {
            Err(SendError::Permanent { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_response_message_says_what_became_of_ours() {
        assert_eq!(answered(200, response(OURS, "ok", None)), received());
        assert_eq!(answered(200, response(OURS, "ok", Some("20013"))), received());
        assert_eq!(answered(200, response(OURS, "fatal-error", Some("20007"))), received(), "it has it already");
        assert!(matches!(answered(200, response("another", "ok", None)), Err(SendError::Unknown { .. })));
        let transient = answered(200, response(OURS, "transient-error", None));
        assert!(matches!(transient, Err(SendError::Transient { .. })), "{transient:?}");
        assert!(permanent(answered(200, response(OURS, "fatal-error", Some("20015")))).contains("20015"));
        // An official example says ok beside a refusal: the code decides.
        assert!(permanent(answered(200, response(OURS, "ok", Some("20015")))).contains("20015"));
        assert!(permanent(answered(200, response(OURS, "nonsense", None))).contains("does not process"));
    }

    #[test]
    fn an_outcome_is_read_by_its_codes_and_its_words_are_not_kept() {
        let information = json!({ "resourceType": "OperationOutcome", "issue": [{ "severity": "information", "code": "informational" }] });
        assert_eq!(answered(200, &information), received());
        assert_eq!(answered(409, coded(Some("20007"))), received());
        for (status, body) in
            [(200, coded(None)), (422, coded(None)), (400, coded(Some("20009"))), (409, coded(Some("20008")))]
        {
            let reason = permanent(answered(status, &body));
            assert!(reason.contains(&status.to_string()) && !reason.contains("9990000018"), "{reason}");
        }
        let mut passing = coded(None);
        passing["issue"][0]["code"] = json!("lock-error");
        assert!(matches!(answered(409, &passing), Err(SendError::Transient { .. })));
    }

    /// Our own time-out, and the attempt after it: the partner is at work on the first, or has it.
    #[test]
    fn a_conflict_is_our_own_first_attempt() {
        let at_work = |sent: Result<Sent, SendError>| {
            matches!(sent, Err(SendError::Transient { retry_after_seconds: Some(9), .. }))
        };
        for body in [String::new(), "<html/>".to_owned(), coded(None).to_string()] {
            assert!(at_work(attempted(2, 409, &body)), "{body}");
        }
        let mut duplicate = coded(None);
        duplicate["issue"][0]["code"] = json!("duplicate");
        for status in [400, 409, 422] {
            assert_eq!(attempted(2, status, &duplicate), received(), "{status}");
            permanent(attempted(1, status, &duplicate));
        }
        duplicate["issue"][0]["details"] = coded(Some("20008"))["issue"][0]["details"].clone();
        assert!(permanent(attempted(2, 409, &duplicate)).contains("20008"), "a code of ITK3 says more");
    }

    #[test]
    fn what_cannot_be_read_is_judged_by_its_status() {
        let bomb = "[".repeat(200_000);
        for body in ["", "OK", "{", "<html/>", "{\"resourceType\":\"Patient\"}", bomb.as_str()] {
            assert_eq!(answered(200, body), Ok(Sent::HandedOver { reference: None }), "taken, and nothing is known");
            assert!(permanent(answered(422, body)).ends_with("422"));
        }
    }
}
