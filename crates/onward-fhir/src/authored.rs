//! The few resources that Onward writes itself: outcomes, tasks, audit events, response messages, care homes of the directory,
//! subscriptions, its capability statement. R4 ones are made with the generated model, so that a mistyped element does not compile; the
//! STU3 response is built as a tree.
//!
//! Every function takes a plain structure and gives JSON text (or a tree): the generated model stays inside this
//! crate, no function is generic over it, and nothing is ever decoded with it. Clinical content has no way in.

mod audit;
mod capability;
mod directory;
mod itk3;
mod outcome;
mod parts;
mod response;
mod subscription;
mod task;

pub use crate::issue::{Issue, IssueCode, Severity};
pub use audit::{
    AgentPart, AuditAgent, AuditContent, AuditData, AuditOutcome, AuditPattern, AuditPurpose, Network, Touched,
    audit_event, type_codes,
};
pub use capability::{CapabilityContent, capability_statement};
pub use directory::{HomeContent, healthcare_service, location};
pub use itk3::{ItkResponse, itk3_response};
pub use outcome::operation_outcome;
pub use response::{ResponseContent, SearchEntry, response_message, searchset};
pub use subscription::{SubscriptionContent, subscription};
pub use task::{Concept, Organisation, Parameter, ParameterValue, TaskContent, task};

/// A value that FHIR does not allow in its place. Names the element, never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorError {
    /// Not a code of the element's required value set.
    #[error("{0} is not a code of its value set")]
    Code(&'static str),
    /// Not a FHIR date, dateTime or instant.
    #[error("{0} is not a FHIR date or time")]
    Time(&'static str),
}

#[cfg(test)]
mod tests;
