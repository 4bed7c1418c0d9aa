//! A whole judgement: the engine's, and the rules of transfer of care where they apply.

use std::collections::HashSet;
use std::sync::LazyLock;

use onward_fhir::{Release, Tree, message};

use super::{Session, Validator};
use crate::conformance::Conformance;
use crate::{Findings, IssueCode, Scope, Severity, by_table, content, transfer_of_care};

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
        let mut own = session.report.finish(tree.source());
        // The two see the same structure: what the first said of a place is not said again.
        let places: HashSet<String> = findings
            .iter()
            .filter(|finding| finding.severity >= Severity::Error)
            .map(|finding| finding.expression.clone())
            .collect();
        findings.retain(|finding| finding.rule != "not-evaluated");
        own.retain(|finding| !(is_structure(&finding.rule) && places.contains(&finding.expression)));
        findings.extend(own);
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
