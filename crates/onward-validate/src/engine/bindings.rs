//! Codes against the value sets that definitions bind them to (R4 §4.1.5).

use onward_fhir::Element;

use super::{Found, Session};
use crate::plan::{BindingPlan, Node, Plan, ValueSetLink};
use crate::terminology::{Asked, Membership, ValueSet};
use crate::{IssueCode, Severity, shown};

impl<'t, 's> Session<'_, 't, 's> {
    pub(super) fn binding(
        &mut self,
        element: Element<'t, 's>,
        plan: &Plan,
        node: &Node,
        binding: &BindingPlan,
        type_name: Option<&str>,
    ) {
        let needs_code = type_name == Some("CodeableConcept") && binding.is_required;
        if let Some(value_set) = &binding.value_set {
            let severity = if binding.is_required { Severity::Error } else { Severity::Warning };
            self.bound(element, plan, node, value_set, severity, needs_code);
        }
        if let Some(value_set) = &binding.max_value_set {
            self.bound(element, plan, node, value_set, Severity::Error, needs_code);
        }
    }

    fn bound(
        &mut self,
        element: Element<'t, 's>,
        plan: &Plan,
        node: &Node,
        value_set: &ValueSetLink,
        severity: Severity,
        needs_code: bool,
    ) {
        let url: &str = value_set;
        let terms = self.validator.conformance.terminology();
        let compiled = value_set.value_set.get_or_init(|| terms.value_set(value_set));
        let (severity, text) = match self.coded_member_of(element, compiled.as_deref(), value_set) {
            Some(Membership::Yes { .. }) => return,
            Some(Membership::Unknown { reason }) => (
                Severity::Information,
                format!("Whether the code of {} is of {url} was not evaluated: {reason}.", node.id),
            ),
            Some(Membership::No) => {
                (severity, format!("{} must be a code of {url}; {} is not.", node.id, found(element)))
            }
            // Text alone is no code: what is required is missing, what is extensible may be so (R4 §4.1.5.1).
            None if severity == Severity::Error && needs_code => {
                (severity, format!("{} needs a code of {url}; it has none.", node.id))
            }
            None => return,
        };
        let strength = if severity == Severity::Error { "required" } else { "extensible" };
        self.find(Found {
            severity,
            code: IssueCode::CodeInvalid,
            at: element,
            rule: format!("{}#{} binding-{strength}", plan.url(), node.id),
            same: &format!("binding {url}"),
            text,
        });
    }

    /// A code that its own code system does not have is wrong wherever it stands (R4 §4.1.2.1), as is a display that is none of
    /// its displays.
    pub(super) fn coding(&mut self, element: Element<'t, 's>) {
        let (Some(system), Some(code)) = (element.text("system"), element.text("code")) else { return };
        let terms = self.validator.conformance.terminology();
        let version = element.text("version");
        let asked = Asked { value_set: None, system: Some(system), code, version };
        match self.validator.told(terms.lookup(system, code, version), &asked) {
            Membership::No => {
                let text = format!("The code system {system} has no code {}.", shown::code(code));
                self.find(Found {
                    severity: Severity::Error,
                    code: IssueCode::CodeInvalid,
                    at: element,
                    rule: "code-unknown".to_owned(),
                    same: "code-unknown",
                    text,
                });
            }
            Membership::Yes { display: Some(known) } => {
                let Some(display) = element.get("display") else { return };
                let fits = |text: &str| display.value().is_none_or(|value| same_words(value, text));
                let designated = || {
                    let system = terms.code_system(system);
                    system
                        .as_ref()
                        .and_then(|system| system.concept(code))
                        .is_some_and(|concept| concept.designations.iter().any(|each| fits(each)))
                };
                if !fits(&known) && !designated() {
                    self.find(Found {
                        severity: Severity::Warning,
                        code: IssueCode::Value,
                        at: display,
                        rule: "code-display".to_owned(),
                        same: "code-display",
                        text: format!("The display is not that of the code, which is \"{known}\" in {system}."),
                    });
                }
            }
            _ => {}
        }
    }

    /// Whether what codes an element is of a value set: the best of its codings; nothing when it has no code.
    pub(super) fn coded_member(&mut self, element: Element<'t, 's>, value_set: &str) -> Option<Membership> {
        let compiled = self.validator.conformance.terminology().value_set(value_set);
        self.coded_member_of(element, compiled.as_deref(), value_set)
    }

    fn coded_member_of(&self, element: Element<'t, 's>, value_set: Option<&ValueSet>, url: &str) -> Option<Membership> {
        let member = |system: Option<&str>, code: &str, version: Option<&str>| {
            let here = match value_set {
                Some(found) => found.member(system, code, version),
                None => Membership::Unknown { reason: format!("the value set {url} is not here").into() },
            };
            self.validator.told(here, &Asked { value_set: Some(url), system, code, version })
        };
        if let Some(code) = element.value() {
            return Some(member(None, code, None));
        }
        let of_coding = |coding: Element<'_, '_>| {
            let code = coding.text("code")?;
            Some(member(Some(coding.text("system").unwrap_or_default()), code, coding.text("version")))
        };
        if element.get("coding").is_none() {
            return of_coding(element);
        }
        // A member is the best that can be found; what is unknown may be one.
        let rank = |membership: &Membership| match membership {
            Membership::Yes { .. } => 2,
            Membership::Unknown { .. } => 1,
            Membership::No => 0,
        };
        element.all("coding").filter_map(of_coding).max_by_key(rank)
    }
}

/// The codes of an element as far as they may be shown.
fn found(element: Element<'_, '_>) -> String {
    if let Some(code) = element.value() {
        return shown::code(code);
    }
    let coding = |each: Element<'_, '_>| {
        let system = each.text("system").filter(|system| system.starts_with("http") || system.starts_with("urn:"));
        format!("{}|{}", system.unwrap_or("(no system)"), each.text("code").map_or("(none)".to_owned(), shown::code))
    };
    let codings: Vec<String> = match element.get("coding") {
        Some(_) => element.all("coding").take(3).map(coding).collect(),
        None => vec![coding(element)],
    };
    codings.join(", ")
}

/// Displays are compared without regard to case and white space.
fn same_words(left: &str, right: &str) -> bool {
    left == right || left.split_whitespace().map(str::to_lowercase).eq(right.split_whitespace().map(str::to_lowercase))
}
