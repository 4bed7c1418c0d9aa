//! OperationOutcome: what was found, for a machine and for the engineer who reads it.

use fhir_sdk::r4b::codes;
use fhir_sdk::r4b::resources::{OperationOutcome, OperationOutcomeIssue};

use super::parts;
use crate::issue::{Issue, IssueCode, Severity};
use crate::itk::ResponseCode;
use crate::systems;

/// An OperationOutcome, JSON. With no issues it says that all is well (FHIR demands one issue).
#[must_use]
pub fn operation_outcome(issues: &[Issue]) -> String {
    let fine = [Issue {
        severity: Severity::Information,
        code: IssueCode::Informational,
        expression: None,
        diagnostics: "No issues were found.".to_owned(),
        itk_code: None,
    }];
    let issues = if issues.is_empty() { &fine } else { issues };
    let outcome = OperationOutcome::builder()
        .issue(issues.iter().map(issue).map(Some).collect())
        .build()
        .expect("every mandatory element is set");
    serde_json::to_string(&outcome).expect("the model serialises")
}

fn issue(issue: &Issue) -> OperationOutcomeIssue {
    let severity: codes::IssueSeverity = issue.severity.as_str().parse().expect("our codes are FHIR's");
    let code: codes::IssueType = issue.code.as_str().parse().expect("our codes are FHIR's");
    let mut written =
        OperationOutcomeIssue::builder().severity(severity).code(code).build().expect("every mandatory element is set");
    written.diagnostics = Some(issue.diagnostics.clone());
    written.expression = issue.expression.iter().cloned().map(Some).collect();
    written.details = issue.itk_code.map(|number| {
        let display = ResponseCode::of(number).map(|known| known.display);
        parts::concept(vec![parts::coding(systems::ITK_RESPONSE_CODES, &number.to_string(), display)], None)
    });
    written
}
