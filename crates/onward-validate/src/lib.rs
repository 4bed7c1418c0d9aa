//! A message against the rules gives findings: what is wrong, where, what was expected, how to mend it.
//!
//! Two sets of rules, over the borrowed tree, before any conversion. [`Validator`] judges R4 by FHIR's definitions and by profiles
//! of packages: shapes (`snapshot`) are made of definitions, compiled to plans (`plan`), and walked with the resource (`engine`).
//! [`validate_message`] and [`validate_document`] judge either release by the ITK3 message and transfer-of-care guides, and by
//! clinical and technical safety.
//!
//! The crate fetches nothing, decides nothing (a policy says what is refused and what is held), and never puts patient data into
//! a finding. What it does not evaluate, it says in a finding: of STU3 all profiles, of R4 each rule that it cannot tell.

#[cfg(test)]
extern crate self as onward_validate;

mod attachments;
pub mod conformance;
mod definition;
mod document;
mod engine;
pub mod fhirpath;
mod findings;
mod header;
mod invariant;
mod message;
mod narrative;
mod nhs_number;
mod patient;
mod plan;
mod policy;
mod references;
mod response;
mod rulebook;
mod sections;
mod shown;
mod snapshot;
mod structure;
pub mod terminology;
mod values;

pub use engine::Validator;
pub use findings::{Finding, Findings};
pub use onward_fhir::issue::{IssueCode, Severity};
pub use policy::{NhsNumberPolicy, Policy};
pub use rulebook::{BUILT_IN as BUILT_IN_RULES, Level, Levels, RuleBook, RuleBookError};

use findings::Report;
use onward_fhir::{Document, Element, Release, Tree, message as fhir_message};

/// Rules whose errors say that a message is too much to look at: nothing further does.
pub const TOO_LARGE: [&str; 3] = ["message-too-large", "message-too-many-entries", "too-many-contained"];

/// ITK response: the message cannot be read.
const ITK_UNREADABLE: Option<u32> = Some(10009);
/// ITK response: the header is at fault.
const ITK_HEADER: Option<u32> = Some(20006);
/// ITK response: the payload is at fault.
const ITK_PAYLOAD: Option<u32> = Some(20009);

/// Judges a whole message, its document included, whether nested or carried as bytes.
#[must_use]
pub fn validate_message(tree: &Tree<'_>, policy: &Policy) -> Findings {
    let mut report = Report::new(&policy.levels);
    let root = tree.root();
    if message::fits(tree, policy, &mut report) {
        message::validate(root, policy, &mut report);
    }
    not_evaluated(root, &mut report);
    report.finish(root.tree().source())
}

/// Judges a document Bundle that stands alone. Its release is told by its content.
#[must_use]
pub fn validate_document(root: Element<'_, '_>, policy: &Policy) -> Findings {
    let mut report = Report::new(&policy.levels);
    let release = fhir_message::release_of(root);
    if message::entries_fit(root, policy, &mut report) {
        carried(root, release, policy, &mut report);
        document_and_content(root, release, policy, &mut report);
    }
    not_evaluated(root, &mut report);
    report.finish(root.tree().source())
}

/// Judges any single resource or Bundle as FHIR: see [`Validator::judge`], with the definitions of FHIR R4 alone.
#[must_use]
pub fn validate_resource(tree: &Tree<'_>) -> Findings {
    Validator::core().judge(tree, &[])
}

/// The rules of transfer of care, when this is one of its messages (by the event) or documents (by profile or type).
fn transfer_of_care(tree: &Tree<'_>) -> Option<Findings> {
    let policy = Policy::default();
    let root = tree.root();
    match root.is("Bundle").then(|| root.text("type")).flatten()? {
        "message" => {
            let message = fhir_message::Message::read(root).ok()?;
            header::is_ours(&message).then(|| validate_message(tree, &policy))
        }
        "document" => {
            let document = Document::read(root, fhir_message::release_of(root)).ok()?;
            document.kind().is_some().then(|| validate_document(root, &policy))
        }
        _ => None,
    }
}

/// STU3 by the element table: structure, values, references inside a Bundle, attachments, narrative.
fn by_table(tree: &Tree<'_>, release: Release) -> Findings {
    let root = tree.root();
    let mut report = Report::new(&rulebook::Levels::default());
    structure::validate(root, release, Scope::AnyFhir, &mut report);
    references::validate_any(root, &mut report);
    content(root, Scope::AnyFhir, &mut report);
    not_evaluated(root, &mut report);
    report.finish(tree.source())
}

/// The rules of a document, and of everything in it.
fn document_and_content(root: Element<'_, '_>, release: Release, policy: &Policy, report: &mut Report) {
    match Document::read(root, release) {
        Ok(document) => document::validate(&document, None, policy, report),
        Err(reason) => document::not_a_document(root, reason, report),
    }
    references::validate_document(root, report);
    content(root, Scope::Carried, report);
}

/// FHIR's structure, and for STU3 what the ITK3 profiles add to it.
fn carried(root: Element<'_, '_>, release: Release, policy: &Policy, report: &mut Report) {
    structure::validate(root, release, Scope::Carried, report);
    if release == Release::Stu3 {
        policy.rules.validate(root, report);
    }
}

/// What holds for every element, wherever it stands.
fn content(root: Element<'_, '_>, scope: Scope, report: &mut Report) {
    attachments::validate(root, scope, report);
    narrative::validate(root, scope, report);
    values::validate(root, scope, report);
}

/// What a judgement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Something that Onward is to carry on: what is not safe to carry is an error.
    Carried,
    /// Any FHIR resource: only what FHIR forbids is an error.
    AnyFhir,
}

impl Scope {
    /// Of what FHIR allows and Onward does not carry.
    fn unsafe_to_carry(self) -> Severity {
        match self {
            Self::Carried => Severity::Error,
            Self::AnyFhir => Severity::Warning,
        }
    }

    /// Of what FHIR forbids and is met in real messages, where it does no harm.
    fn harmless(self) -> Severity {
        match self {
            Self::Carried => Severity::Warning,
            Self::AnyFhir => Severity::Error,
        }
    }
}

fn not_evaluated(root: Element<'_, '_>, report: &mut Report) {
    report.add(
        Severity::Information,
        "not-evaluated",
        IssueCode::Informational,
        root,
        None,
        "Not evaluated: conformance to declared profiles and minimum cardinalities, codes against value sets and code \
         systems, FHIRPath invariants, order of XML elements. Where these matter, validate with a profile validator \
         too."
            .to_owned(),
    );
}

#[cfg(test)]
mod tests;
