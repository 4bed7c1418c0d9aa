//! A whole judgement: the engine's, and the rules of transfer of care where they apply.

use std::collections::HashSet;
use std::sync::LazyLock;

use onward_fhir::{Release, Tree, message};

use super::{Session, Validator};
use crate::conformance::Conformance;
use crate::findings::Report;
use crate::{
    Findings, IssueCode, Level, Policy, Scope, Severity, TOO_LARGE, by_table, content, transfer_of_care,
    validate_message,
};

impl Validator {
    /// A validator that knows FHIR R4 itself and no package, made once for the process.
    #[must_use]
    pub fn core() -> &'static Self {
        static CORE: LazyLock<Validator> = LazyLock::new(|| Validator::new(Conformance::core()));
        &CORE
    }

    /// Judges a resource or Bundle: by FHIR and profiles, by the rules of the narrative, and a transfer-of-care message or document
    /// by its own rules, too, as if it had been sent. What is written in STU3 is judged by structure alone.
    #[must_use]
    pub fn judge(&self, tree: &Tree<'_>, profiles: &[&str]) -> Findings {
        let release = message::release_of(tree.root());
        let transfer = transfer_of_care(tree);
        if release == Release::Stu3 {
            let mut findings = transfer.unwrap_or_else(|| by_table(tree, release));
            findings.extend(self.not_judged(tree, profiles));
            return findings;
        }
        let mut session = Session::new(self, tree);
        session.root(tree.root(), profiles);
        let Some(mut findings) = transfer else {
            content(tree.root(), Scope::AnyFhir, &mut session.report);
            let mut findings = session.report.finish(tree.source());
            fold_attachments(&mut findings);
            return findings;
        };
        add(&mut findings, session.report.finish(tree.source()));
        findings
    }

    /// As [`Validator::judge`] a message of transfer of care, by this sender's policy: everything that there is to say.
    #[must_use]
    pub fn judge_message(&self, tree: &Tree<'_>, policy: &Policy) -> Findings {
        self.message(tree, policy, |_, _| {})
    }

    /// Judges a message that is sent: by the rules of transfer of care and, where it is written in R4, by FHIR and the
    /// profiles that it declares. What these forbid is as grave as `profiles` says: real senders are connected while their
    /// profiles are not perfect yet. Their advice is counted only, or the answer to every message would bury what matters.
    #[must_use]
    pub fn judge_sent(&self, tree: &Tree<'_>, policy: &Policy, profiles: Level) -> Findings {
        self.message(tree, policy, |own, report| {
            let before = own.len();
            own.retain(|finding| finding.severity >= Severity::Error);
            let advice = before - own.len();
            if profiles == Level::Warn {
                own.soften();
            }
            if advice > 0 {
                report.add(
                    Severity::Information,
                    "profile-advice",
                    IssueCode::Informational,
                    tree.root(),
                    None,
                    format!(
                        "FHIR and the declared profiles have {advice} more remarks that refuse nothing (advice, and what could \
                         not be evaluated). Bundle/$validate and `onward validate` list them."
                    ),
                );
            }
        })
    }

    fn message(&self, tree: &Tree<'_>, policy: &Policy, choose: impl FnOnce(&mut Findings, &mut Report)) -> Findings {
        let mut findings = validate_message(tree, policy);
        let too_large = TOO_LARGE.iter().any(|rule| findings.by_rule(rule).is_some());
        if too_large || message::release_of(tree.root()) == Release::Stu3 {
            return findings;
        }
        let mut session = Session::new(self, tree);
        session.root(tree.root(), &[]);
        let mut own = session.report.finish(tree.source());
        let mut more = Report::new(&policy.levels);
        choose(&mut own, &mut more);
        add(&mut findings, own);
        findings.extend(more.finish(tree.source()));
        findings
    }

    fn not_judged(&self, tree: &Tree<'_>, profiles: &[&str]) -> Findings {
        let mut session = Session::new(self, tree);
        for profile in profiles {
            session.find(super::Found {
                severity: Severity::Error,
                code: IssueCode::NotSupported,
                at: tree.root(),
                rule: "profile-release".to_owned(),
                same: profile,
                text: format!("The resource is written in STU3: it was not judged against {profile}, which is of R4."),
            });
        }
        session.report.finish(tree.source())
    }
}

/// Adds what the engine found. The two see the same structure: what the first said of a place is not said again.
fn add(findings: &mut Findings, mut own: Findings) {
    let places: HashSet<String> = findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Error)
        .map(|finding| finding.expression.clone())
        .collect();
    findings.retain(|finding| finding.rule != "not-evaluated");
    own.retain(|finding| !(is_structure(&finding.rule) && places.contains(&finding.expression)));
    findings.extend(own);
}

/// Rules that the element table tells, too.
fn is_structure(rule: &str) -> bool {
    rule.starts_with("primitive-")
        || rule.starts_with("json-")
        || rule.ends_with(" element-unknown")
        || rule.ends_with(" max")
        || rule.ends_with(" ele-1")
}

/// The rules of attachments and of data types see the same faults of an attachment: the first that is told stays.
fn fold_attachments(findings: &mut Findings) {
    let mut told: HashSet<(String, bool)> = HashSet::new();
    findings.retain(|finding| {
        let is_size = finding.rule == "attachment-size";
        if !is_size && !matches!(&*finding.rule, "attachment-base64" | "primitive-base64Binary") {
            return true;
        }
        let place = finding.expression.as_str();
        let holder = place.strip_suffix(".data").or_else(|| place.strip_suffix(".size")).unwrap_or(place);
        told.insert((holder.to_owned(), is_size))
    });
}
