//! An explanation for people.

use onward_gateway::explain::Explanation;
use onward_validate::Severity;
use serde_json::Value;

use crate::cli::terminal::{Style, Terminal};
use crate::cli::validate;
use crate::rules::{by_rule, together};

/// Prints it.
pub(super) fn show(explanation: &Explanation, name: &str, verbose: bool, terminal: &mut Terminal) {
    let (word, style) = match explanation.outcome {
        "deliver" => ("would be delivered", Style::Green),
        "hold" => ("would be held for a person", Style::Yellow),
        _ => ("would be refused", Style::Red),
    };
    let (name, word) = (terminal.paint(Style::Bold, name), terminal.paint(style, word));
    terminal.say(format_args!("{name}: {word}"));
    if let Some(reason) = &explanation.reason {
        terminal.paragraph(2, reason);
    }
    heading("Findings", explanation.findings.is_empty().then_some("none"), terminal);
    for finding in &explanation.findings {
        let severity = match text(finding, "severity") {
            "fatal" | "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Information,
        };
        let place = match (finding["line"].as_u64(), finding["column"].as_u64()) {
            (Some(line), Some(column)) => format!("{line}:{column}"),
            _ => String::new(),
        };
        let (expression, rule) = (text(finding, "expression"), text(finding, "rule"));
        validate::show(terminal, severity, &place, expression, rule, text(finding, "diagnostics"));
    }
    conversion(explanation, verbose, terminal);
    heading("Route", explanation.route.as_deref().or(Some("none: the message goes no further")), terminal);
    for refused in &explanation.routes_refused {
        terminal.paragraph(2, &format!("not \"{}\": {}", text(refused, "route"), text(refused, "reason")));
    }
    if !explanation.evidence.is_empty() {
        heading("How the parties were found", None, terminal);
        for evidence in &explanation.evidence {
            terminal.paragraph(2, evidence);
        }
    }
    for recipient in &explanation.recipients {
        show_recipient(recipient, verbose, terminal);
    }
    heading("Audit entries that would be written", None, terminal);
    for entry in &explanation.audit {
        terminal.paragraph(2, entry);
    }
}

fn heading(text: &str, rest: Option<&str>, terminal: &mut Terminal) {
    terminal.say("");
    let painted = terminal.paint(Style::Bold, text);
    match rest {
        Some(rest) => {
            let rest = terminal.paint(Style::Dim, rest);
            terminal.say(format_args!("{painted}: {rest}"));
        }
        None => terminal.say(painted),
    }
}

fn conversion(explanation: &Explanation, verbose: bool, terminal: &mut Terminal) {
    let of = |kind: &str| explanation.conversion.iter().filter(|note| text(note, "kind") == kind).collect::<Vec<_>>();
    if explanation.conversion.is_empty() {
        return;
    }
    let (lost, kept, mapped) = (of("lost"), of("kept"), of("mapped"));
    let summary =
        format!("{} kinds of change mapped, {} kept beside R4, {} lost", mapped.len(), kept.len(), lost.len());
    heading("From STU3 to R4", Some(&summary), terminal);
    let shown = if verbose { [lost, kept, mapped].concat() } else { lost };
    for note in shown {
        let line = format!("{} {}: {}", text(note, "kind"), text(note, "path"), text(note, "explanation"));
        terminal.paragraph(2, &line);
    }
}

fn show_recipient(recipient: &Value, verbose: bool, terminal: &mut Terminal) {
    let whom = format!("{}: {} ({})", text(recipient, "recipient"), text(recipient, "name"), text(recipient, "ods"));
    let way = format!("{} bytes by {}", recipient["bytes"], text(recipient, "transport"));
    heading(&whom, Some(&way), terminal);
    terminal.paragraph(2, text(recipient, "basis"));
    for (key, word, style) in [("disclosed", "discloses", Style::Green), ("withheld", "withholds", Style::Yellow)] {
        let rows = recipient[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let painted = terminal.paint(style, word);
        terminal.say(format_args!("  {painted} {}", validate::counted(rows.len(), "element")));
        if verbose {
            for row in rows {
                terminal.hanging("    ", &format!("{}  [{}]", text(row, "path"), text(row, "rule")));
            }
            continue;
        }
        // What is kept back is told rule by rule; what goes is plenty, so rules of one kind share a line.
        let groups = if key == "withheld" { by_rule(rows) } else { together(rows) };
        for (group, count) in groups {
            terminal.hanging(&format!("{count:>7}  "), &group);
        }
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::terminal::capture;

    fn explanation() -> Explanation {
        Explanation {
            client: "northmoor-epr".to_owned(),
            outcome: "deliver",
            reason: None,
            findings: vec![json!({"severity": "warning", "rule": "r-1", "expression": "Bundle.entry[0]",
                "line": 3, "column": 7, "diagnostics": "expected a, found b"})],
            conversion: vec![json!({"path": "Bundle.x", "kind": "mapped", "explanation": "moved", "count": 1})],
            route: Some("care home".to_owned()),
            routes_refused: vec![json!({"route": "first", "reason": "another event"})],
            evidence: vec!["home from Encounter".to_owned()],
            recipients: vec![
                json!({"recipient": "care-home", "name": "Rowan House", "ods": "VMH01", "transport": "inbox",
                "bytes": 12, "basis": "direct care",
                "disclosed": [{"path": "Patient.name", "rule": "elements.Patient: name"},
                    {"path": "Patient.gender", "rule": "elements.Patient: gender"},
                    {"path": "Composition.section[0]", "rule": "sections.diagnoses: with-section"},
                    {"path": "Patient.extension[0]", "rule": "extensions: https://example.org/Extension-X"}],
                "withheld": [{"path": "Patient.photo", "rule": "not named"}, {"path": "Patient.link", "rule": "not named"}]}),
            ],
            audit: vec!["accept: event ITK003D".to_owned()],
        }
    }

    #[test]
    fn people_see_counts_by_rule_and_everything_on_demand() {
        let (mut terminal, out, _) = capture::terminal();
        show(&explanation(), "d.xml", false, &mut terminal);
        let text = out.text();
        for part in [
            "d.xml: would be delivered",
            "3:7",
            "not \"first\": another event",
            "home from Encounter",
            "care-home: Rowan House (VMH01): 12 bytes by inbox",
            "discloses 4 elements",
            "2  Patient: gender, name",
            "1  sections: diagnoses",
            "1  extensions: Extension-X",
            "withholds 2 elements",
            "2  not named",
            "accept: event ITK003D",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(!text.contains("Patient.photo"));
        let (mut terminal, out, _) = capture::terminal();
        show(&explanation(), "d.xml", true, &mut terminal);
        assert!(out.text().contains("Patient.photo [not named]") && out.text().contains("mapped Bundle.x: moved"));
    }

    #[test]
    fn a_refusal_says_so_and_names_no_route() {
        let refused = Explanation {
            outcome: "refuse",
            reason: Some("the message is not valid (ITK response 20009)".to_owned()),
            route: None,
            recipients: Vec::new(),
            ..explanation()
        };
        let (mut terminal, out, _) = capture::terminal();
        show(&refused, "d.xml", false, &mut terminal);
        assert!(out.text().contains("would be refused") && out.text().contains("goes no further"));
    }
}
