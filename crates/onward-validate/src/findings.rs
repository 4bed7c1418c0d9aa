//! What a validation found.

use std::borrow::Cow;
use std::collections::HashMap;

use onward_fhir::Element;
use onward_fhir::issue::{Issue, IssueCode, Severity};
use onward_fhir::tree::line_column;

use crate::rulebook::Levels;
use crate::{ITK_HEADER, ITK_PAYLOAD};

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave: an error refuses the message.
    pub severity: Severity,
    /// FHIR issue type.
    pub code: IssueCode,
    /// Stable name of the rule: `toc-mandatory-heading`; of a profile its URL, element and constraint.
    pub rule: Cow<'static, str>,
    /// FHIRPath of the place.
    pub expression: String,
    /// Line in the sender's text, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// What was expected, what was found, how to mend it. Never patient data.
    pub diagnostics: String,
    /// ITK response code of a refusal for it.
    pub itk_code: Option<u32>,
}

/// All that was found, in the order of the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Each finding.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }

    /// True when the message does not pass.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.worst() >= Some(Severity::Error)
    }

    /// The gravest severity.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.0.iter().map(|finding| finding.severity).max()
    }

    /// The first finding of a rule.
    #[must_use]
    pub fn by_rule(&self, rule: &str) -> Option<&Finding> {
        self.0.iter().find(|finding| finding.rule == rule)
    }

    /// The ITK response code that refuses the message: of the first error that has one.
    #[must_use]
    pub fn itk_code(&self) -> Option<u32> {
        self.0.iter().filter(|finding| finding.severity >= Severity::Error).find_map(|finding| finding.itk_code)
    }

    /// Makes warnings of errors.
    pub(crate) fn soften(&mut self) {
        for finding in self.0.iter_mut().filter(|finding| finding.severity == Severity::Error) {
            finding.severity = Severity::Warning;
        }
    }

    /// Takes in what was found beyond validation.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Takes in what another validation found.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Keeps those that a judgement of them as a whole wants.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Finding) -> bool) {
        self.0.retain(keep);
    }

    /// The issues of an OperationOutcome, the gravest first.
    #[must_use]
    pub fn issues(&self) -> Vec<Issue> {
        let mut issues: Vec<Issue> = self.0.iter().map(Issue::from).collect();
        issues.sort_by_key(|issue| std::cmp::Reverse(issue.severity));
        issues
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<&Finding> for Issue {
    fn from(finding: &Finding) -> Self {
        let place = match (finding.line, finding.column) {
            (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
            _ => String::new(),
        };
        Self {
            severity: finding.severity,
            code: finding.code,
            expression: Some(finding.expression.clone()),
            diagnostics: format!("{}{place} [{}]", finding.diagnostics, finding.rule),
            itk_code: finding.itk_code.filter(|_| finding.severity >= Severity::Error),
        }
    }
}

fn refusal_code(rule: &str) -> Option<u32> {
    if rule.contains("header") || rule.starts_with("message") { ITK_HEADER } else { ITK_PAYLOAD }
}

/// Findings of one rule beyond these are counted, not listed: a hostile text must not buy a long answer.
const PER_RULE_MAX: usize = 20;

/// Findings in the making.
pub(crate) struct Report {
    findings: Vec<(Finding, Option<usize>)>,
    seen: HashMap<(Cow<'static, str>, Severity), usize>,
    levels: Levels,
    embedded: Option<Embedded>,
}

/// Where the document lies whose inside is being looked at.
struct Embedded {
    expression: String,
    offset: Option<usize>,
}

impl Report {
    /// An empty one; `levels` change the severity of what is added.
    pub(crate) fn new(levels: &Levels) -> Self {
        Self { findings: Vec::new(), seen: HashMap::new(), levels: levels.clone(), embedded: None }
    }

    pub(crate) fn error(
        &mut self,
        rule: &'static str,
        code: IssueCode,
        at: Element<'_, '_>,
        itk_code: Option<u32>,
        diagnostics: impl Into<String>,
    ) {
        self.add(Severity::Error, rule, code, at, itk_code, diagnostics.into());
    }

    pub(crate) fn warning(
        &mut self,
        rule: &'static str,
        code: IssueCode,
        at: Element<'_, '_>,
        diagnostics: impl Into<String>,
    ) {
        self.add(Severity::Warning, rule, code, at, None, diagnostics.into());
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        rule: impl Into<Cow<'static, str>>,
        code: IssueCode,
        at: Element<'_, '_>,
        itk_code: Option<u32>,
        diagnostics: String,
    ) {
        let rule = rule.into();
        let judged = self.levels.apply(&rule, severity);
        // A warning that a sender's levels make a refusal needs the response code that goes with one.
        let itk_code = if judged > severity { itk_code.or(refusal_code(&rule)) } else { itk_code };
        let severity = judged;
        let seen = self.seen.entry((rule.clone(), severity)).or_default();
        *seen += 1;
        if *seen > PER_RULE_MAX {
            return;
        }
        let span = at.span();
        let offset = (!span.is_empty()).then_some(span.start);
        let (expression, offset, diagnostics) = match &self.embedded {
            None => (at.path(), offset, diagnostics),
            Some(outer) => {
                let place = at.line_column().map(|(line, column)| format!(", line {line}, column {column}"));
                let inside = format!("In the embedded document at {}{}: ", at.path(), place.unwrap_or_default());
                (outer.expression.clone(), outer.offset, inside + &diagnostics)
            }
        };
        let finding = Finding { severity, code, rule, expression, line: None, column: None, diagnostics, itk_code };
        self.findings.push((finding, offset));
    }

    /// What follows is found inside the document that `holder` carries as bytes.
    pub(crate) fn enter(&mut self, holder: Element<'_, '_>) {
        let span = holder.span();
        let offset = (!span.is_empty()).then_some(span.start);
        self.embedded = Some(Embedded { expression: holder.path(), offset });
    }

    /// Back to the message.
    pub(crate) fn leave(&mut self) {
        self.embedded = None;
    }

    /// Places offsets in lines with one pass over the text, and says how many findings were left out.
    pub(crate) fn finish(mut self, source: &str) -> Findings {
        let mut order: Vec<usize> = (0..self.findings.len()).collect();
        order.sort_by_key(|at| self.findings[*at].1);
        let (mut from, mut line, mut column) = (0, 1, 1);
        for at in order {
            let (finding, offset) = &mut self.findings[at];
            // A tree that was built from another keeps the spans of a text that it does not have.
            let Some(offset) = offset.filter(|offset| *offset <= source.len()) else { continue };
            let (lines, columns) = line_column(&source[from..], offset - from);
            column = if lines > 1 { columns } else { column + columns - 1 };
            line += lines - 1;
            from = offset;
            (finding.line, finding.column) = (Some(line), Some(column));
        }
        let mut findings: Vec<Finding> = self.findings.into_iter().map(|(finding, _)| finding).collect();
        for finding in &mut findings {
            let more =
                self.seen.remove(&(finding.rule.clone(), finding.severity)).unwrap_or(0).saturating_sub(PER_RULE_MAX);
            if more > 0 {
                finding.diagnostics.push_str(&format!(" The same was found in {more} more places than are listed."));
            }
        }
        Findings(findings)
    }
}
