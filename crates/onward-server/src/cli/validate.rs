//! `onward validate`: findings about files, without a gateway.

mod terminology;

use std::path::PathBuf;
use std::sync::Arc;

use askama::Template as _;
use clap::Args;
use onward_fhir::authored::{Issue, operation_outcome};
use onward_validate::conformance::Conformance;
use onward_validate::{Findings, IssueCode, Severity, Validator};
use serde::Serialize;
use url::Url;

use self::terminology::Server;
use super::exit::{Exit, Failure, Outcome};
use super::input::{FhirVersion, Input, version_of};
use super::output::Output;
use super::terminal::{Style, Terminal};
use crate::excerpt::excerpt;
use crate::outcome::of_findings;
use crate::pages::findings::{Page, Report};

/// Judges resources, Bundles, documents and messages, in JSON or XML, FHIR R4 or STU3.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward validate discharge.xml
  onward validate --package hl7.fhir.r4.ukcore.tgz --profile https://fhir.hl7.org.uk/StructureDefinition/UKCore-Patient patient.json
  onward validate --json outbox/*.json | jq 'select(.valid | not) | .file'")]
pub struct Validate {
    /// Folder or .tgz of conformance resources to judge against
    #[arg(long, value_name = "PATH")]
    package: Vec<PathBuf>,
    /// Canonical URL of a profile to judge against
    #[arg(long, value_name = "URL")]
    profile: Vec<String>,
    /// FHIR terminology server (https), asked for codes that the packages cannot tell of; codes go there, nothing else
    #[arg(long, value_name = "URL")]
    terminology_server: Option<Url>,
    /// The FHIR release that every file must be written in
    #[arg(long, value_name = "VERSION")]
    fhir_version: Option<FhirVersion>,
    /// One line of JSON for each file
    #[arg(long)]
    json: bool,
    /// Writes the findings of all files as one page, too; a file that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Files; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// One file of `--json` (interface.md).
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    valid: bool,
    errors: usize,
    warnings: usize,
    outcome: serde_json::Value,
}

/// What one file came to.
enum Verdict {
    Found(Findings),
    Unreadable(Issue),
}

/// Runs it.
///
/// # Errors
/// When a file cannot be read, or is asked for what this version cannot judge.
pub(super) fn run(command: &Validate, terminal: &mut Terminal) -> Outcome {
    let service = command.terminology_server.as_ref().map(Server::new).transpose()?.map(Arc::new);
    let own = if command.package.is_empty() && service.is_none() {
        None
    } else {
        let conformance =
            Conformance::with_packages(&command.package).map_err(|error| Failure::usage(error.to_string()))?;
        for notice in conformance.notices() {
            terminal.note(format_args!("note: {notice}"));
        }
        let validator = Validator::new(conformance);
        Some(match &service {
            Some(service) => validator.with_terminology_service(Arc::clone(service)),
            None => validator,
        })
    };
    let validator = own.as_ref().unwrap_or_else(|| Validator::core());
    let profiles: Vec<&str> = command.profile.iter().map(String::as_str).collect();
    let (mut exit, mut unread, mut pages) = (Exit::Done, None, Vec::new());
    for path in &command.files {
        // One unreadable file must not hide the findings of the others.
        let input = match Input::read(path) {
            Ok(input) => input,
            Err(failure) => {
                terminal.error(&failure.error);
                unread = unread.max(Some(failure.exit));
                continue;
            }
        };
        let verdict = match judge(&input, command.fhir_version, validator, &profiles) {
            Ok(verdict) => verdict,
            Err(failure) => {
                terminal.error(&failure.error);
                unread = unread.max(Some(failure.exit));
                continue;
            }
        };
        if command.html.is_some() {
            pages.push(match &verdict {
                Verdict::Found(findings) => Page::new(&input.name, findings, &input.bytes),
                Verdict::Unreadable(issue) => Page::unreadable(&input.name, &issue.diagnostics),
            });
        }
        let valid = if command.json { line(&input, &verdict, terminal) } else { page(&input, &verdict, terminal) };
        if !valid {
            exit = Exit::No;
        }
    }
    if let Some(fault) = service.and_then(|service| service.fault()) {
        terminal.note(format_args!("note: the terminology server did not answer everything: {fault}"));
    }
    if let Some(path) = &command.html {
        let html = Report::new(pages).render().map_err(Failure::fault)?;
        Output { out: Some(path.clone()) }.write(html.as_bytes(), terminal)?;
    }
    Ok(unread.unwrap_or(exit))
}

fn judge(
    input: &Input,
    version: Option<FhirVersion>,
    validator: &Validator,
    profiles: &[&str],
) -> Result<Verdict, Failure> {
    let tree = match input.tree() {
        Ok(tree) => tree,
        Err(error) => {
            return Ok(Verdict::Unreadable(Issue {
                severity: Severity::Error,
                code: IssueCode::Structure,
                expression: None,
                diagnostics: error.to_string(),
                itk_code: Some(10009),
            }));
        }
    };
    let release = onward_fhir::message::release_of(tree.root());
    if let Some(wanted) = version.map(FhirVersion::release)
        && wanted != release
    {
        return Err(Failure::usage(format!(
            "{} is {} by its content, not {}",
            input.name,
            version_of(release),
            version_of(wanted)
        )));
    }
    Ok(Verdict::Found(validator.judge(&tree, profiles)))
}

fn line(input: &Input, verdict: &Verdict, terminal: &mut Terminal) -> bool {
    let (outcome, errors, warnings) = match verdict {
        Verdict::Found(findings) => (of_findings(findings), errors(findings), findings.count(Severity::Warning)),
        Verdict::Unreadable(issue) => (operation_outcome(std::slice::from_ref(issue)), 1, 0),
    };
    let outcome = serde_json::from_str(&outcome).expect("an OperationOutcome is JSON");
    terminal.json(&Line { file: &input.name, valid: errors == 0, errors, warnings, outcome });
    errors == 0
}

fn errors(findings: &Findings) -> usize {
    findings.count(Severity::Error) + findings.count(Severity::Fatal)
}

fn page(input: &Input, verdict: &Verdict, terminal: &mut Terminal) -> bool {
    let name = terminal.paint(Style::Bold, &input.name);
    match verdict {
        Verdict::Unreadable(issue) => {
            let word = terminal.paint(Style::Red, "cannot be read");
            terminal.say(format_args!("{name}: {word}"));
            terminal.paragraph(2, &issue.diagnostics);
            false
        }
        Verdict::Found(findings) => {
            let (errors, warnings) = (errors(findings), findings.count(Severity::Warning));
            let word =
                if errors == 0 { terminal.paint(Style::Green, "valid") } else { terminal.paint(Style::Red, "invalid") };
            terminal.say(format_args!(
                "{name}: {word}, {}, {}",
                counted(errors, "error"),
                counted(warnings, "warning")
            ));
            // Shown to whoever has the file anyway; in no log and no outcome.
            let source = String::from_utf8(input.bytes.clone()).ok();
            for finding in findings {
                let place = match (finding.line, finding.column) {
                    (Some(line), Some(column)) => format!("{line}:{column}"),
                    _ => String::new(),
                };
                show(terminal, finding.severity, &place, &finding.expression, &finding.rule, &finding.diagnostics);
                let of_place = |line, column| excerpt(source.as_deref()?, line, column);
                if let Some((line, mark)) = finding.line.zip(finding.column).and_then(|(l, c)| of_place(l, c)) {
                    let (line, mark) = (terminal.paint(Style::Dim, line), terminal.paint(Style::Red, mark));
                    terminal.say(format_args!("      | {line}\n      | {mark}"));
                }
            }
            errors == 0
        }
    }
}

/// One finding, as `validate` and `explain` show it.
pub(super) fn show(terminal: &mut Terminal, severity: Severity, place: &str, expression: &str, rule: &str, text: &str) {
    let style = match severity {
        Severity::Fatal | Severity::Error => Style::Red,
        Severity::Warning => Style::Yellow,
        Severity::Information => Style::Dim,
    };
    let word = terminal.paint(style, format_args!("{:<11}", severity.as_str()));
    let (place, expression) =
        (terminal.paint(Style::Bold, format_args!("{place:>9}")), terminal.paint(Style::Bold, expression));
    let rule = terminal.paint(Style::Dim, format_args!("[{rule}]"));
    terminal.say(format_args!("  {word} {place}  {expression} {rule}"));
    terminal.paragraph(6, text);
}

/// `1 error`, `2 errors`.
#[must_use]
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::terminal::capture;

    fn validate(folder: &Path, files: &[(&str, &str)], json: bool) -> (Result<Exit, Exit>, String, String) {
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("the folder is writable");
        }
        let command = Validate {
            package: Vec::new(),
            profile: Vec::new(),
            fhir_version: None,
            json,
            html: None,
            terminology_server: None,
            files: files.iter().map(|(name, _)| folder.join(name)).collect(),
        };
        let (mut terminal, out, err) = capture::terminal();
        let outcome = run(&command, &mut terminal).map_err(|failure| failure.exit);
        (outcome, out.text(), err.text())
    }

    const GOOD: &str = r#"{"resourceType":"Organization","name":"Northmoor"}"#;
    const BAD: &str = r#"{"resourceType":"Organization","nome":"Northmoor"}"#;

    #[test]
    fn each_file_is_one_line_of_json_with_its_outcome() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [("good.json", GOOD), ("bad.json", BAD), ("broken.json", "{\"resourceType\":")];
        let (outcome, out, _) = validate(folder.path(), &files, true);
        assert_eq!(outcome, Ok(Exit::No));
        let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let valid: Vec<_> = lines.iter().map(|line| line["valid"].as_bool()).collect();
        assert_eq!(valid, [Some(true), Some(false), Some(false)], "{out}");
        for line in &lines {
            let keys: Vec<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(keys, ["errors", "file", "outcome", "valid", "warnings"]);
            assert_eq!(line["outcome"]["resourceType"], "OperationOutcome");
            assert_eq!(line["valid"], line["errors"] == 0);
        }
        assert!(lines[2]["outcome"]["issue"][0]["diagnostics"].as_str().is_some_and(|text| text.contains("line 1")));
    }

    #[test]
    fn people_see_place_rule_and_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let (outcome, out, _) = validate(folder.path(), &[("bad.json", BAD)], false);
        assert_eq!(outcome, Ok(Exit::No));
        assert!(out.contains("bad.json: invalid, 1 error,"), "{out}");
        assert!(out.contains("1:") && out.contains("Organization.nome"), "{out}");
        let mark = out.lines().find(|line| line.contains("^^^")).expect("the place is underlined");
        let shown = out.lines().find(|line| line.contains("| {\"resourceType\"")).expect("the line is shown");
        let at = mark.chars().position(|c| c == '^').expect("marked");
        assert!(shown.chars().skip(at).collect::<String>().starts_with("\"Northmoor\""), "{out}");
        let (outcome, out, _) = validate(folder.path(), &[("good.json", GOOD)], false);
        assert_eq!(outcome, Ok(Exit::Done));
        assert!(out.contains("good.json: valid, 0 errors,"), "{out}");
    }

    #[test]
    fn a_missing_file_is_a_fault_and_the_others_are_judged() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("good.json"), GOOD).expect("writable");
        let command = Validate {
            package: Vec::new(),
            profile: Vec::new(),
            fhir_version: None,
            json: true,
            html: None,
            terminology_server: None,
            files: vec![folder.path().join("absent.json"), folder.path().join("good.json")],
        };
        let (mut terminal, out, err) = capture::terminal();
        assert_eq!(run(&command, &mut terminal).expect("ran"), Exit::Fault);
        assert!(err.text().contains("absent.json"));
        assert_eq!(out.text().lines().count(), 1);
    }

    #[test]
    fn what_this_version_cannot_judge_is_refused_not_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("good.json");
        std::fs::write(&file, GOOD).expect("writable");
        let plain = || Validate {
            package: Vec::new(),
            profile: Vec::new(),
            fhir_version: None,
            json: false,
            html: None,
            terminology_server: None,
            files: vec![file.clone()],
        };
        let absent = Validate { package: vec![folder.path().join("absent.tgz")], ..plain() };
        let (mut terminal, ..) = capture::terminal();
        assert_eq!(run(&absent, &mut terminal).expect_err("refused").exit, Exit::Usage);
        // The files behind one of another release are judged all the same.
        let broken = folder.path().join("broken.json");
        std::fs::write(&broken, "{").expect("writable");
        let files = vec![file.clone(), broken];
        let other = Validate { fhir_version: Some(FhirVersion::Stu3), files, ..plain() };
        let (mut terminal, out, err) = capture::terminal();
        assert_eq!(run(&other, &mut terminal).expect("ran"), Exit::Usage);
        assert!(
            err.text().contains("not STU3") && out.text().contains("broken.json: cannot be read"),
            "{}",
            err.text()
        );
        let (mut terminal, ..) = capture::terminal();
        let right = Validate { fhir_version: Some(FhirVersion::R4), ..plain() };
        assert_eq!(run(&right, &mut terminal).expect("ran"), Exit::Done);
    }

    const PROFILE: &str = r#"{"resourceType":"StructureDefinition","url":"https://example.org/P","name":"P","status":"draft",
        "kind":"resource","abstract":false,"type":"Organization","derivation":"constraint",
        "baseDefinition":"http://hl7.org/fhir/StructureDefinition/Organization",
        "differential":{"element":[{"id":"Organization.telecom","path":"Organization.telecom","min":1}]}}"#;

    #[test]
    fn a_profile_of_a_package_is_judged_against() {
        let folder = tempfile::tempdir().expect("a folder");
        let package = folder.path().join("package");
        std::fs::create_dir(&package).expect("writable");
        std::fs::write(package.join("p.json"), PROFILE).expect("writable");
        let file = folder.path().join("good.json");
        std::fs::write(&file, GOOD).expect("writable");
        let command = |profile: &str| Validate {
            package: vec![package.clone()],
            profile: vec![profile.to_owned()],
            fhir_version: None,
            json: false,
            html: None,
            terminology_server: None,
            files: vec![file.clone()],
        };
        let (mut terminal, out, _) = capture::terminal();
        assert_eq!(run(&command("https://example.org/P"), &mut terminal).expect("ran"), Exit::No);
        assert!(out.text().contains("Organization.telecom"), "{}", out.text());
        let (mut terminal, out, _) = capture::terminal();
        assert_eq!(run(&command("https://example.org/Q"), &mut terminal).expect("ran"), Exit::No);
        assert!(out.text().contains("profile-unresolved"), "{}", out.text());
    }

    #[test]
    fn the_page_of_all_files_is_the_owners_and_overwrites_nothing() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("a folder");
        let files: Vec<PathBuf> = [("good.json", GOOD), ("bad.json", BAD), ("broken.json", "{")]
            .into_iter()
            .map(|(name, text)| {
                let path = folder.path().join(name);
                std::fs::write(&path, text).expect("writable");
                path
            })
            .collect();
        let page = folder.path().join("findings.html");
        let command = Validate {
            package: Vec::new(),
            profile: Vec::new(),
            terminology_server: None,
            fhir_version: None,
            json: false,
            html: Some(page.clone()),
            files,
        };
        let (mut terminal, ..) = capture::terminal();
        assert_eq!(run(&command, &mut terminal).expect("ran"), Exit::No);
        let html = std::fs::read_to_string(&page).expect("a page");
        assert!(html.contains("good.json: valid") && html.contains("bad.json: invalid"), "{html}");
        assert!(html.contains("broken.json: invalid") && html.contains("Organization.nome"), "{html}");
        let mode = std::fs::metadata(&page).expect("a page").permissions().mode();
        assert_eq!(mode & 0o077, 0, "it shows what was sent");
        let (mut terminal, ..) = capture::terminal();
        assert!(run(&command, &mut terminal).is_err(), "a file that is there stays");
    }

    const CODED: &str = r#"{"resourceType":"Condition","subject":{"reference":"Patient/1"},
        "code":{"coding":[{"system":"http://snomed.info/sct","code":"22298006"}]},
        "bodySite":[{"coding":[{"system":"http://snomed.info/sct","code":"22298006"}]}]}"#;

    /// A server that knows no code, or fails; counts its questions.
    async fn terminology_server(status: u16) -> (Url, Arc<std::sync::atomic::AtomicU32>) {
        use std::sync::atomic::{AtomicU32, Ordering};

        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let answer = move |body: String| async move {
            counter.fetch_add(1, Ordering::SeqCst);
            assert!(body.contains("22298006") && !body.contains("Patient"), "{body}");
            let status = axum::http::StatusCode::from_u16(status).expect("a status");
            (status, r#"{"resourceType":"Parameters","parameter":[{"name":"result","valueBoolean":false}]}"#)
        };
        let routes = axum::Router::new().route("/r4/CodeSystem/$validate-code", axum::routing::post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (Url::parse(&format!("http://{address}/r4")).expect("a URL"), asked)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_terminology_server_is_asked_once_for_each_code() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("coded.json");
        std::fs::write(&file, CODED).expect("writable");
        for (status, exit, questions) in [(200, Exit::No, 1), (404, Exit::Done, 1)] {
            let (server, asked) = terminology_server(status).await;
            let command = Validate {
                package: Vec::new(),
                profile: Vec::new(),
                terminology_server: Some(server),
                fhir_version: None,
                json: false,
                html: None,
                files: vec![file.clone()],
            };
            let (mut terminal, out, _) = capture::terminal();
            assert_eq!(run(&command, &mut terminal).expect("ran"), exit, "{status}: {}", out.text());
            assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), questions, "{status}");
        }
        // Nobody listens: the file is judged by what is here, and the command says so.
        let command = Validate {
            package: Vec::new(),
            profile: Vec::new(),
            terminology_server: Some(Url::parse("http://127.0.0.1:1/r4").expect("a URL")),
            fhir_version: None,
            json: false,
            html: None,
            files: vec![file],
        };
        let (mut terminal, _, err) = capture::terminal();
        assert_eq!(run(&command, &mut terminal).expect("ran"), Exit::Done);
        assert!(err.text().contains("did not answer everything"), "{}", err.text());
    }
}
