//! The laws that hold for every input, one function each: `fuzz_targets` tries them with what a fuzzer makes up, and the tests of
//! `onward-validate` with the inputs in `seeds`.

use std::sync::LazyLock;

use onward_fhir::read::{self, Format, Limits};
use onward_fhir::{Builder, Lexical, Release, Tree, write};
use onward_validate::fhirpath::{Context, Expression, Limits as PathLimits, Session};
use onward_validate::{Level, Policy, Validator};

/// What is read as JSON is written as JSON that reads the same.
pub fn json(data: &[u8]) {
    let Some(tree) = tree(data, Format::Json) else { return };
    let first = write::json(tree.root(), Release::R4);
    if first.losses.is_empty() {
        let again = read::json(&first.text, &Limits::default()).expect("what was written can be read");
        assert_eq!(first.text, write::json(again.root(), Release::R4).text);
    }
}

/// What is read as XML is written as XML that reads the same, and, by way of JSON, too.
pub fn xml(data: &[u8]) {
    let Some(tree) = tree(data, Format::Xml) else { return };
    let first = write::xml(tree.root(), Release::R4);
    if first.losses.is_empty() {
        let again = read::xml(&first.text, &Limits::default()).expect("what was written can be read");
        assert_eq!(first.text, write::xml(again.root(), Release::R4).text);
    }
    let there = write::json(tree.root(), Release::R4);
    if !there.losses.is_empty() {
        return;
    }
    let in_json = read::json(&there.text, &Limits::default()).expect("what was written can be read");
    let back = write::xml(in_json.root(), Release::R4);
    if back.losses.is_empty() {
        let in_xml = read::xml(&back.text, &Limits::default()).expect("what was written can be read");
        assert_eq!(there.text, write::json(in_xml.root(), Release::R4).text);
    }
}

/// JSON, written as XML, read, written as JSON and read, is the same XML: nothing is lost on the way there and back.
pub fn json_xml(data: &[u8]) {
    let Some(tree) = tree(data, Format::Json) else { return };
    let there = write::xml(tree.root(), Release::R4);
    if !there.losses.is_empty() {
        return;
    }
    let in_xml = read::xml(&there.text, &Limits::default()).expect("what was written can be read");
    let back = write::json(in_xml.root(), Release::R4);
    // What cannot be carried is told: nothing is lost in silence.
    if !back.losses.is_empty() {
        return;
    }
    let in_json = read::json(&back.text, &Limits::default()).expect("what was written can be read");
    assert_eq!(there.text, write::xml(in_json.root(), Release::R4).text);
}

/// A judgement ends, tells a place for each finding, and is the same when asked again.
pub fn judge(data: &[u8]) {
    let Some(tree) = read::sniff(data).and_then(|format| tree(data, format)) else { return };
    let findings = Validator::core().judge_sent(&tree, &Policy::default(), Level::Refuse);
    for finding in &findings {
        assert!(!finding.expression.is_empty() && !finding.rule.is_empty(), "{finding:?}");
    }
    assert_eq!(findings, Validator::core().judge_sent(&tree, &Policy::default(), Level::Refuse));
    let _ = Validator::core().judge(&tree, &[]);
}

/// A narrative is XHTML or is refused; what is safe to show is told of any text.
pub fn narrative(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = read::narrative(text);
    let mut builder = Builder::resource("Basic");
    builder.node("text", |text_of| {
        text_of.leaf("status", "generated");
        text_of.open("div");
        text_of.set_value(text, Lexical::String);
        text_of.close();
    });
    let _ = Validator::core().judge(&builder.finish(), &[]);
}

/// An expression (the first line) is refused or ends on a resource (the rest, or a patient).
pub fn fhirpath(data: &[u8]) {
    static PATIENT: LazyLock<Tree<'static>> = LazyLock::new(|| read::json(SAMPLE, &Limits::default()).expect("FHIR"));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (expression, resource) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(expression) = Expression::compile(expression) else { return };
    let own = read::json(resource, &Limits::default()).ok();
    let tree = own.as_ref().unwrap_or(&PATIENT);
    let limits = PathLimits { steps: 200_000, ..PathLimits::default() };
    let name = tree.root().resource_type().unwrap_or_default();
    let context = Context::new(tree.root(), name, Release::R4).with_limits(limits);
    let _ = expression.evaluate_in(&context, &Session::new(400_000));
    let _ = expression.holds(&context);
    let _ = expression.check(name, Release::R4);
}

const SAMPLE: &str = r##"{"resourceType":"Patient","id":"a","contained":[{"resourceType":"Organization","id":"o","name":"x"}],
"identifier":[{"system":"urn:oid:1.2.3","value":"1"}],"name":[{"family":"x","given":["y",null],"_given":[null,{"id":"g"}]}],
"birthDate":"1980-02-03","managingOrganization":{"reference":"#o"},"multipleBirthInteger":2}"##;

fn tree(data: &[u8], format: Format) -> Option<Tree<'_>> {
    read::bytes(data, format, &Limits::default()).ok()
}
