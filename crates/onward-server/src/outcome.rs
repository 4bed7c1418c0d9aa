//! Refusals and faults as OperationOutcomes: the one place that knows which status says what.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onward_core::scanning::NotScanned;
use onward_core::store::StoreError;
use onward_fhir::authored::{Issue, IssueCode, Severity, operation_outcome};
use onward_gateway::refusal::Refusal;
use onward_validate::Findings;

use crate::api::edge::FHIR_JSON;

/// A status with its OperationOutcome.
#[derive(Debug)]
pub struct Outcome {
    status: StatusCode,
    issues: Vec<Issue>,
    header: Option<(header::HeaderName, HeaderValue)>,
}

impl Outcome {
    fn new(status: StatusCode, code: IssueCode, diagnostics: impl Into<String>) -> Self {
        Self { status, issues: vec![issue(code, None, diagnostics.into(), None)], header: None }
    }

    fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        self.header = HeaderValue::from_str(value).ok().map(|value| (name, value));
        self
    }
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        let body = operation_outcome(&self.issues);
        let mut response = (self.status, [(header::CONTENT_TYPE, FHIR_JSON)], body).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

fn issue(code: IssueCode, expression: Option<String>, diagnostics: String, itk_code: Option<u32>) -> Issue {
    Issue { severity: Severity::Error, code, expression, diagnostics, itk_code }
}

/// 400.
#[must_use]
pub fn bad_request(text: &str) -> Outcome {
    Outcome::new(StatusCode::BAD_REQUEST, IssueCode::Invalid, text)
}

/// 401.
#[must_use]
pub fn unauthorized() -> Outcome {
    let text = "a valid access token is needed: POST /oauth2/token with a signed client assertion";
    Outcome::new(StatusCode::UNAUTHORIZED, IssueCode::Login, text).with(header::WWW_AUTHENTICATE, "Bearer")
}

/// 403.
#[must_use]
pub fn forbidden(text: &str) -> Outcome {
    Outcome::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, text)
}

/// 403: the token's scopes do not cover it (RFC 6750 §3.1).
#[must_use]
pub fn insufficient_scope() -> Outcome {
    let text = "the token's scopes do not cover this";
    let challenge = "Bearer error=\"insufficient_scope\"";
    Outcome::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, text).with(header::WWW_AUTHENTICATE, challenge)
}

/// 404, also for what belongs to somebody else.
#[must_use]
pub fn not_found() -> Outcome {
    Outcome::new(StatusCode::NOT_FOUND, IssueCode::NotFound, "there is nothing here for this client")
}

/// 410: the person was erased.
fn gone() -> Outcome {
    Outcome::new(StatusCode::GONE, IssueCode::Deleted, "what was here about a person was erased")
}

/// 405.
#[must_use]
pub fn method_not_allowed() -> Outcome {
    Outcome::new(StatusCode::METHOD_NOT_ALLOWED, IssueCode::NotSupported, "this method is not offered here")
}

/// 406.
#[must_use]
pub fn not_acceptable(text: &str) -> Outcome {
    Outcome::new(StatusCode::NOT_ACCEPTABLE, IssueCode::NotSupported, text)
}

/// 408.
#[must_use]
pub fn request_timeout() -> Outcome {
    Outcome::new(StatusCode::REQUEST_TIMEOUT, IssueCode::Timeout, "the body came too slowly: send it again")
}

/// 421.
#[must_use]
pub fn misdirected() -> Outcome {
    let text = "this server does not answer for the host that the request names";
    Outcome::new(StatusCode::MISDIRECTED_REQUEST, IssueCode::NotSupported, text)
}

/// 414.
#[must_use]
pub fn target_too_long() -> Outcome {
    Outcome::new(StatusCode::URI_TOO_LONG, IssueCode::TooLong, "the request target is too long")
}

/// 431.
#[must_use]
pub fn headers_too_large() -> Outcome {
    Outcome::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, IssueCode::TooLong, "the request headers are too large")
}

/// A status that something below our handlers gave, in our form.
#[must_use]
pub fn of_status(status: StatusCode) -> Outcome {
    let text = status.canonical_reason().unwrap_or("the request cannot be served");
    let code = if status.is_server_error() { IssueCode::Exception } else { IssueCode::Invalid };
    Outcome::new(status, code, text)
}

/// 413.
#[must_use]
pub fn too_large(bytes_max: usize) -> Outcome {
    let text = format!("a message may have {bytes_max} bytes (ITK3: 5 MB); send large attachments apart");
    let mut outcome = Outcome::new(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooLong, text);
    outcome.issues[0].itk_code = Some(20015);
    outcome
}

/// 415.
#[must_use]
pub fn unsupported_media_type(text: &str) -> Outcome {
    Outcome::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, IssueCode::NotSupported, text)
}

/// 415, with what would have been taken (RFC 9110 §15.5.16).
#[must_use]
pub fn unsupported_content_coding() -> Outcome {
    unsupported_media_type("send the body plain, or with Content-Encoding: gzip, once")
        .with(header::ACCEPT_ENCODING, "gzip")
}

/// 412.
#[must_use]
pub fn version_changed(kind: &str, current: u64) -> Outcome {
    let text = format!("the {kind} has version {current} now: read it again before changing it");
    Outcome::new(StatusCode::PRECONDITION_FAILED, IssueCode::Conflict, text)
}

/// 428.
#[must_use]
pub fn precondition_required(kind: &str) -> Outcome {
    let text = format!("If-Match with the version of the {kind} (its ETag) is needed");
    Outcome::new(StatusCode::PRECONDITION_REQUIRED, IssueCode::Required, text)
}

/// 422 for a step that the Task's state does not allow.
#[must_use]
pub fn transition_not_allowed(from: &str) -> Outcome {
    unprocessable("Task.status", &format!("the Task is {from}: this step is not possible from there"))
}

/// 422 at one place.
#[must_use]
pub fn unprocessable(expression: &str, text: &str) -> Outcome {
    let mut outcome = Outcome::new(StatusCode::UNPROCESSABLE_ENTITY, IssueCode::BusinessRule, text);
    outcome.issues[0].expression = Some(expression.to_owned());
    outcome
}

/// 500. What happened is in the log.
#[must_use]
pub fn fault() -> Outcome {
    let text = "a fault of ours; the log has it under this request's X-Request-ID";
    Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, IssueCode::Exception, text)
}

/// 429, with when to ask again.
#[must_use]
pub fn too_many(seconds: i64) -> Outcome {
    let text = format!("this client has asked too often or too much at once: try again in {seconds} s");
    Outcome::new(StatusCode::TOO_MANY_REQUESTS, IssueCode::Throttled, text)
        .with(header::RETRY_AFTER, &seconds.to_string())
}

/// 503: nothing can be made durable, so nothing is taken and nothing is shown.
#[must_use]
pub fn unavailable() -> Outcome {
    let text = "nothing can be stored at the moment, so nothing was taken or released: try again";
    Outcome::new(StatusCode::SERVICE_UNAVAILABLE, IssueCode::Transient, text).with(header::RETRY_AFTER, "5")
}

/// 503: nobody looked through the attachments, so nothing is taken.
#[must_use]
pub fn not_scanned(error: &NotScanned) -> Outcome {
    tracing::error!(%error, "a message is not taken");
    let text = "attachments cannot be scanned for malware at the moment, so nothing was taken: try again";
    Outcome::new(StatusCode::SERVICE_UNAVAILABLE, IssueCode::Transient, text).with(header::RETRY_AFTER, "30")
}

/// A store that failed, logged here.
#[must_use]
pub fn store(error: &StoreError) -> Outcome {
    if *error == StoreError::Erased {
        return gone();
    }
    tracing::error!(%error, "the store failed");
    match error {
        StoreError::Unavailable(_) | StoreError::Overtaken => unavailable(),
        StoreError::Corrupt(_) | StoreError::Erased => fault(),
    }
}

/// A message that did not become a transfer.
#[must_use]
pub fn refusal(refusal: &Refusal) -> Outcome {
    let itk_code = Some(refusal.itk_code());
    let (status, code, text) = match refusal {
        Refusal::Unreadable { well_formed, message, line, column } => {
            let status = if *well_formed { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
            let place = if *line > 0 { format!("line {line} column {column}: ") } else { String::new() };
            (status, IssueCode::Structure, format!("{place}{message}"))
        }
        Refusal::ForeignCharset => (StatusCode::UNSUPPORTED_MEDIA_TYPE, IssueCode::NotSupported, refusal.to_string()),
        Refusal::TooLarge(text) => (StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooCostly, text.clone()),
        Refusal::NotValid(findings) => {
            return Outcome { status: StatusCode::UNPROCESSABLE_ENTITY, issues: findings.issues(), header: None };
        }
        Refusal::NotADischarge(_) => (StatusCode::UNPROCESSABLE_ENTITY, IssueCode::NotSupported, refusal.to_string()),
        Refusal::WrongSender => (
            StatusCode::FORBIDDEN,
            IssueCode::Forbidden,
            "MessageHeader.sender must be the organisation that the client is registered for".to_owned(),
        ),
        Refusal::MessageIdReused => (
            StatusCode::CONFLICT,
            IssueCode::Duplicate,
            "this message identifier was used before for other content: a new message needs a new identifier"
                .to_owned(),
        ),
        Refusal::DocumentRepeated => (
            StatusCode::CONFLICT,
            IssueCode::Duplicate,
            "this document came before in another message: a changed document needs a new Bundle identifier".to_owned(),
        ),
        Refusal::NotReplaceable(_) => (StatusCode::UNPROCESSABLE_ENTITY, IssueCode::Processing, refusal.to_string()),
        Refusal::Malware { .. } => (StatusCode::UNPROCESSABLE_ENTITY, IssueCode::Security, refusal.to_string()),
        Refusal::InError => (
            StatusCode::UNPROCESSABLE_ENTITY,
            IssueCode::Processing,
            "Composition.status is entered-in-error: a document is taken back by PUT Task/{transfer} with status cancelled"
                .to_owned(),
        ),
    };
    Outcome { status, issues: vec![issue(code, None, text, itk_code)], header: None }
}

/// Findings as one OperationOutcome, JSON.
#[must_use]
pub fn of_findings(findings: &Findings) -> String {
    let mut issues = findings.issues();
    if issues.is_empty() {
        issues.push(Issue {
            severity: Severity::Information,
            code: IssueCode::Informational,
            expression: None,
            diagnostics: "no finding".to_owned(),
            itk_code: None,
        });
    }
    operation_outcome(&issues)
}
