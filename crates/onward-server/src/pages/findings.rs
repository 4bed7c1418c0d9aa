//! What the validator found, as a page that needs nothing beside itself: of `onward validate --html`, and of `$validate` to who asks for
//! `text/html`.

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_validate::{Findings, Severity};

use crate::excerpt::excerpt;

/// What was found in one text. It shows the sender's own bytes to whoever has them already.
pub struct Page {
    name: String,
    verdict: &'static str,
    summary: String,
    findings: Vec<Shown>,
}

struct Shown {
    severity: &'static str,
    colour: &'static str,
    place: Option<String>,
    expression: String,
    text: String,
    rule: String,
    excerpt: Option<Excerpt>,
}

struct Excerpt {
    before: String,
    marked: String,
    after: String,
}

impl Page {
    /// Of findings in a text that goes by a name.
    #[must_use]
    pub fn new(name: &str, findings: &Findings, source: &[u8]) -> Self {
        let source = std::str::from_utf8(source).ok();
        let errors = findings.count(Severity::Error) + findings.count(Severity::Fatal);
        Self {
            name: name.to_owned(),
            verdict: if errors == 0 { "valid" } else { "invalid" },
            summary: summary(errors, findings.count(Severity::Warning), findings.count(Severity::Information)),
            findings: findings.iter().map(|finding| shown(finding, source)).collect(),
        }
    }

    /// Of a text that is none of FHIR.
    #[must_use]
    pub fn unreadable(name: &str, reason: &str) -> Self {
        let finding = Shown {
            severity: Severity::Fatal.as_str(),
            colour: "red",
            place: None,
            expression: "the whole text".to_owned(),
            text: reason.to_owned(),
            rule: "readable".to_owned(),
            excerpt: None,
        };
        Self { name: name.to_owned(), verdict: "invalid", summary: summary(1, 0, 0), findings: vec![finding] }
    }
}

/// Several texts in one page that needs nothing beside itself, to be kept or sent on.
#[derive(Template)]
#[template(path = "findings/report.html")]
pub struct Report {
    pages: Vec<Page>,
    css: &'static str,
}

impl Report {
    /// As the answer to a request.
    #[must_use]
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        super::page(headers, StatusCode::OK, self)
    }

    /// Of these texts.
    #[must_use]
    pub fn new(pages: Vec<Page>) -> Self {
        // The part of our style sheet that is about findings: a report of its own has no other.
        let css = include_str!("../../assets/app.css");
        Self {
            pages,
            css: css
                .split_once("/* Findings of the validator")
                .map_or("", |(_, own)| own.split_once("*/").map_or("", |(_, rules)| rules)),
        }
    }
}

fn summary(errors: usize, warnings: usize, remarks: usize) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}, {}, {}. What has an error is refused; warnings and remarks refuse nothing.",
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(remarks, "remark")
    )
}

fn shown(finding: &onward_validate::Finding, source: Option<&str>) -> Shown {
    let place = finding.line.zip(finding.column);
    let excerpt = place.zip(source).and_then(|((line, column), source)| {
        let (text, mark) = excerpt(source, line, column)?;
        let from = mark.chars().take_while(|c| *c == ' ').count();
        let length = mark.chars().count() - from;
        let part = |skip: usize, take: usize| text.chars().skip(skip).take(take).collect();
        Some(Excerpt { before: part(0, from), marked: part(from, length), after: part(from + length, usize::MAX) })
    });
    Shown {
        severity: finding.severity.as_str(),
        colour: match finding.severity {
            Severity::Fatal | Severity::Error => "red",
            Severity::Warning => "yellow",
            Severity::Information => "grey",
        },
        place: place.map(|(line, column)| format!("line {line}, column {column}")),
        expression: finding.expression.clone(),
        text: finding.diagnostics.clone(),
        rule: finding.rule.to_string(),
        excerpt,
    }
}

#[cfg(test)]
mod tests {
    use onward_fhir::read::{self, Limits};
    use onward_validate::Validator;

    use super::*;

    const HOSTILE: &str = r#"{"resourceType":"Organization","nome":"</mark><script>alert(1)</script>\u202e"}"#;

    fn page(source: &str) -> Page {
        let tree = read::json(source, &Limits::default()).expect("JSON");
        Page::new("bad <b>.json", &Validator::core().judge(&tree, &[]), source.as_bytes())
    }

    #[test]
    fn it_shows_place_cause_and_what_was_sent_and_runs_nothing() {
        let html = Report::new(vec![page(HOSTILE), Page::unreadable("broken.json", "line 1: <eof>")]).render();
        let html = html.expect("a report");
        assert!(html.contains("bad &#60;b&#62;.json: invalid") && html.contains("broken.json: invalid"), "{html}");
        assert!(html.contains("Organization.nome") && html.contains("line 1, column"), "{html}");
        assert!(html.contains("<mark>&#34;&#60;/mark&#62;&#60;script"), "{html}");
        assert!(!html.contains("<script") && !html.contains("<eof>"), "{html}");
        assert!(html.contains(".app-excerpt mark"), "it carries its own style");
        assert!(
            !html.contains("href=") && !html.contains("src=") && !html.contains("url("),
            "it needs nothing beside itself: {html}"
        );
    }

    #[test]
    fn a_valid_text_says_so() {
        let html = Report::new(vec![page(r#"{"resourceType":"Organization","name":"Northmoor"}"#)]).render();
        assert!(html.expect("a report").contains("bad &#60;b&#62;.json: valid"));
    }
}
