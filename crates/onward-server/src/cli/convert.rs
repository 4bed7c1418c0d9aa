//! `onward convert`: JSON and XML without loss, and STU3 to R4.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use onward_fhir::read::Format;
use onward_fhir::write::{self, Written};
use onward_fhir::{Element, Release, Tree};
use onward_transform::convert::{Note, NoteKind, to_r4};

use super::exit::{Exit, Failure, Outcome};
use super::input::{FhirVersion, Input};
use super::terminal::Terminal;

/// What to convert to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Target {
    /// FHIR JSON, same release
    Json,
    /// FHIR XML, same release
    Xml,
    /// FHIR R4, same format
    R4,
}

/// Converts between JSON and XML without loss, or from STU3 to R4. Losses are listed on standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "What means nothing in FHIR is told as a note and is no loss: hints where a schema lies (xsi:schemaLocation), and
elements of XML in another order than FHIR's, which is the order that XML is written in. Comments are not carried.

Examples:
  onward convert --to json --pretty discharge.xml
  onward convert --to r4 discharge-stu3.xml > discharge-r4.xml
  cat patient.json | onward convert --to xml -"
)]
pub struct Convert {
    /// Into what
    #[arg(long, value_name = "TARGET")]
    to: Target,
    /// Indent the JSON
    #[arg(long)]
    pretty: bool,
    /// Exit 0 although something was lost
    #[arg(long)]
    allow_loss: bool,
    /// The release that the file is written in, where its content does not tell
    #[arg(long, value_name = "VERSION")]
    fhir_version: Option<FhirVersion>,
    /// Also list what changed its form on the way to R4 and what was kept as an extension
    #[arg(long, short)]
    verbose: bool,
    /// File; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs it.
///
/// # Errors
/// When the file cannot be read or written in the format asked for.
pub(super) fn run(command: &Convert, terminal: &mut Terminal) -> Outcome {
    let input = Input::read(&command.file)?;
    let tree = input.tree().map_err(|error| Failure::no(format!("{}: {error}", input.name)))?;
    let root = tree.root();
    let told = command.fhir_version.map(FhirVersion::release);
    let release = told.unwrap_or_else(|| onward_fhir::message::release_of(root));
    let format = match command.to {
        Target::Json => Format::Json,
        Target::Xml => Format::Xml,
        Target::R4 => input.format,
    };
    if command.pretty && format == Format::Xml {
        return Err(Failure::usage("--pretty indents JSON only: blanks are content in the narrative of XML"));
    }
    if input.format == Format::Xml {
        without_meaning(&tree, release, terminal);
    }
    let mut losses = 0;
    let written = match (command.to, release) {
        (Target::R4, Release::Stu3) => {
            let conversion = to_r4(root);
            losses += notes(&conversion.notes, command.verbose, terminal);
            write(conversion.tree.root(), Release::R4, format, command.pretty)
        }
        (Target::R4, Release::R4) => {
            terminal.note("nothing to convert: by its content this is R4 (--fhir-version 3.0 says otherwise)");
            write(root, Release::R4, format, command.pretty)
        }
        _ => write(root, release, format, command.pretty),
    };
    for loss in &written.losses {
        terminal.note(format_args!("lost: {}: {}", loss.path, loss.reason));
    }
    losses += written.losses.len();
    terminal.write(written.text.as_bytes());
    if !written.text.ends_with('\n') {
        terminal.write(b"\n");
    }
    if losses > 0 {
        terminal.note(format_args!("{losses} {}", if losses == 1 { "loss" } else { "losses" }));
    }
    Ok(Exit::answer(losses == 0 || command.allow_loss))
}

/// Notes beyond this number of one kind are counted.
const NOTES_MAX: usize = 20;

/// Tells what of the XML is not carried over although nothing is lost of what it says. No loss, for otherwise every
/// response of the official ITK3 examples would be one: R4 §2.6.1 gives neither of these a meaning.
fn without_meaning(tree: &Tree<'_>, release: Release, terminal: &mut Terminal) {
    let hints: Vec<String> = tree.schema_hints().map(Element::path).collect();
    let displaced = write::out_of_order(tree.root(), release);
    for (paths, what) in [
        (hints, "a hint where a schema lies (xsi:schemaLocation) is not carried over"),
        (displaced, "stands in another order than FHIR's, which is the order of XML that is written"),
    ] {
        for path in paths.iter().take(NOTES_MAX) {
            terminal.note(format_args!("note: {path}: {what}"));
        }
        if paths.len() > NOTES_MAX {
            terminal.note(format_args!("note: {} more like this", paths.len() - NOTES_MAX));
        }
    }
}

fn write(root: Element<'_, '_>, release: Release, format: Format, pretty: bool) -> Written {
    match (format, pretty) {
        (Format::Xml, _) => write::xml(root, release),
        (Format::Json, true) => write::json_pretty(root, release),
        (Format::Json, false) => write::json(root, release),
    }
}

/// Tells what the way to R4 did; gives the number of losses.
fn notes(notes: &[Note], verbose: bool, terminal: &mut Terminal) -> usize {
    let mut counts = [0; 3];
    for note in notes {
        let (word, at) = match note.kind {
            NoteKind::Mapped => ("mapped", 0),
            NoteKind::Kept => ("kept", 1),
            NoteKind::Lost => ("lost", 2),
        };
        counts[at] += note.count;
        if verbose || note.kind == NoteKind::Lost {
            let times = if note.count > 1 { format!(" ({} times)", note.count) } else { String::new() };
            terminal.note(format_args!("{word}: {}{times}: {}", note.path, note.explanation));
        }
    }
    let [mapped, kept, lost] = counts;
    if !verbose && mapped + kept > 0 {
        terminal.note(format_args!(
            "{mapped} elements changed their form, {kept} are kept beside R4's own elements (--verbose lists them)"
        ));
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::capture;

    fn convert(name: &str, text: &str, change: impl FnOnce(&mut Convert)) -> (Result<Exit, Exit>, String, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("writable");
        let mut command =
            Convert { to: Target::Json, pretty: false, allow_loss: false, fhir_version: None, verbose: false, file };
        change(&mut command);
        let (mut terminal, out, err) = capture::terminal();
        let outcome = run(&command, &mut terminal).map_err(|failure| failure.exit);
        (outcome, out.text(), err.text())
    }

    const XML: &str = concat!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
        "<Observation xmlns=\"http://hl7.org/fhir\"><id value=\"o\"/><status value=\"final\"/>",
        "<code><text value=\"weight\"/></code><valueQuantity><value value=\"0.010\"/></valueQuantity></Observation>"
    );

    #[test]
    fn there_and_back_nothing_changes() {
        let (outcome, json, err) = convert("o.xml", XML, |_| {});
        assert_eq!((outcome, err.as_str()), (Ok(Exit::Done), ""));
        assert!(json.contains("0.010"), "{json}");
        let (outcome, xml, _) = convert("o.json", &json, |command| command.to = Target::Xml);
        assert_eq!(outcome, Ok(Exit::Done));
        assert_eq!(xml.replace('\n', ""), XML);
    }

    #[test]
    fn the_content_tells_the_format_not_the_name() {
        let (outcome, json, _) = convert("misnamed.json", XML, |_| {});
        assert_eq!(outcome, Ok(Exit::Done));
        assert!(json.starts_with('{'));
    }

    #[test]
    fn pretty_is_for_json() {
        let (outcome, json, _) = convert("o.xml", XML, |command| command.pretty = true);
        assert_eq!(outcome, Ok(Exit::Done));
        assert!(json.lines().count() > 5, "{json}");
        let pretty_xml = |command: &mut Convert| (command.to, command.pretty) = (Target::Xml, true);
        assert_eq!(convert("o.xml", XML, pretty_xml).0, Err(Exit::Usage));
    }

    #[test]
    fn a_stopped_medicine_comes_out_stopped_and_in_the_format_it_had() {
        let stu3 = r#"{"resourceType":"MedicationStatement","status":"stopped","taken":"unk","subject":{"reference":"Patient/p"},"medicationReference":{"reference":"Medication/m"}}"#;
        let (outcome, out, err) = convert("m.json", stu3, |command| command.to = Target::R4);
        assert_eq!(outcome, Ok(Exit::Done), "{err}");
        assert!(out.contains(r#""status":"stopped""#) && !out.contains(r#""taken":"unk""#), "{out}");
        assert!(out.starts_with('{'));
    }

    #[test]
    fn what_is_r4_already_stays_as_it_is() {
        let r4 = r#"{"resourceType":"Organization","name":"Northmoor"}"#;
        let (outcome, out, err) = convert("o.json", r4, |command| command.to = Target::R4);
        assert_eq!((outcome, out.trim_end()), (Ok(Exit::Done), r4));
        assert!(err.contains("nothing to convert"));
    }

    #[test]
    fn losses_are_listed_and_say_no_unless_allowed() {
        let apart = "<Patient xmlns=\"http://hl7.org/fhir\"><name><family value=\"A\"/></name><active value=\"true\"/>\
                     <name><family value=\"B\"/></name></Patient>";
        let (outcome, out, err) = convert("p.xml", apart, |_| {});
        assert_eq!(outcome, Ok(Exit::No));
        assert!(out.contains("\"B\""), "what can be written is written: {out}");
        assert!(err.starts_with("note: Patient.active: stands in another order"), "{err}");
        assert!(err.contains("\nlost: Patient.name") && err.ends_with("1 loss\n"), "{err}");
        let (outcome, _, err) = convert("p.xml", apart, |command| command.allow_loss = true);
        assert_eq!(outcome, Ok(Exit::Done));
        assert!(err.contains("lost: "));
    }

    #[test]
    fn what_means_nothing_is_a_note_and_no_loss() {
        let hinted = XML.replace(
            "xmlns=\"http://hl7.org/fhir\"",
            "xmlns=\"http://hl7.org/fhir\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xsi:schemaLocation=\"http://hl7.org/fhir fhir-all.xsd\"",
        );
        let displaced =
            XML.replacen("<status value=\"final\"/>", "", 1).replacen("</code>", "</code><status value=\"final\"/>", 1);
        for target in [Target::Json, Target::Xml, Target::R4] {
            let (outcome, _, err) = convert("o.xml", &hinted, |command| command.to = target);
            assert_eq!(outcome, Ok(Exit::Done), "{err}");
            assert!(err.contains("note: Observation: a hint where a schema lies"), "{err}");
            let (outcome, _, err) = convert("o.xml", &displaced, |command| command.to = target);
            assert_eq!(outcome, Ok(Exit::Done), "{err}");
            assert!(err.contains("note: Observation.status: stands in another order"), "{err}");
            let (_, _, err) = convert("o.xml", XML, |command| command.to = target);
            assert!(!err.contains("note: "), "{err}");
        }
        let (_, json, err) = convert("o.xml", &displaced, |_| {});
        assert!(!err.is_empty());
        let (_, _, err) = convert("o.json", &json, |command| command.to = Target::Xml);
        assert!(err.is_empty(), "JSON has no order that could be lost: {err}");
    }

    #[test]
    fn every_loss_of_a_conversion_counts() {
        let mut note =
            Note { path: "A.b".to_owned(), kind: NoteKind::Lost, explanation: "no place".to_owned(), count: 2 };
        let (mut terminal, _, err) = capture::terminal();
        assert_eq!(notes(std::slice::from_ref(&note), false, &mut terminal), 2);
        assert_eq!(err.text(), "lost: A.b (2 times): no place\n");
        note.kind = NoteKind::Kept;
        assert_eq!(notes(&[note], false, &mut terminal), 0);
    }

    #[test]
    fn what_is_no_fhir_is_a_no() {
        assert_eq!(convert("broken.json", "{\"resourceType\":\"Patient\",", |_| {}).0, Err(Exit::No));
    }
}
