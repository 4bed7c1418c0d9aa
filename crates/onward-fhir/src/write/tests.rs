use proptest::prelude::*;

use super::*;
use crate::elements::{JsonKind, TypeKind, table};
use crate::read::{self, Format, Limits};
use crate::tree::{Builder, Lexical, Tree};

fn read_json(text: &str) -> Tree<'_> {
    read::json(text, &Limits::default()).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn read_xml(text: &str) -> Tree<'_> {
    read::xml(text, &Limits::default()).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn types_decide_what_the_source_does_not_tell() {
    let mut b = Builder::resource("Observation");
    b.leaf("status", "final");
    b.node("category", |b| b.node("coding", |b| b.leaf("userSelected", "true")));
    b.node("valueQuantity", |b| b.leaf("value", "0.010"));
    let tree = b.finish();
    let written = json(tree.root(), Release::R4);
    let expected = r#"{"resourceType":"Observation","status":"final","category":[{"coding":[{"userSelected":true}]}],"valueQuantity":{"value":0.010}}"#;
    assert_eq!((written.text.as_str(), written.losses.len()), (expected, 0));
    let written = xml(tree.root(), Release::R4);
    assert_eq!(
        written.text,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Observation xmlns=\"http://hl7.org/fhir\"><status value=\"final\"/>\
         <category><coding><userSelected value=\"true\"/></coding></category>\
         <valueQuantity><value value=\"0.010\"/></valueQuantity></Observation>"
    );
}

#[test]
fn the_release_decides() {
    let mut b = Builder::resource("Encounter");
    b.node("reason", |b| b.leaf("text", "a"));
    let tree = b.finish();
    assert!(json(tree.root(), Release::Stu3).text.contains("\"reason\":[{"));
    assert!(json(tree.root(), Release::R4).text.contains("\"reason\":{"));
}

#[test]
fn xml_order_is_fhirs_and_stable() {
    let tree = read_json(
        r#"{"resourceType":"Patient","gender":"male","name":[{"given":["b","a"],"family":"c"}],"unknown":"u","id":"i","extension":[{"valueString":"v","id":"e","url":"u"}]}"#,
    );
    let text = xml(tree.root(), Release::R4).text;
    let body = text.split_once("fhir\">").expect("a root").1;
    assert_eq!(
        body,
        "<id value=\"i\"/><extension id=\"e\" url=\"u\"><valueString value=\"v\"/></extension>\
         <name><family value=\"c\"/><given value=\"b\"/><given value=\"a\"/></name><unknown value=\"u\"/>\
         <gender value=\"male\"/></Patient>"
    );
}

#[test]
fn resources_within_resources() {
    let text = r#"{"resourceType":"Bundle","type":"message","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Bundle","type":"document","entry":[{"resource":{"resourceType":"Composition","contained":[{"resourceType":"Location","id":"l"}],"section":[{"section":[{"title":"t"}]}]}}]}},{"resource":{"resourceType":"Parameters","parameter":[{"name":"a","part":[{"name":"b","valueDecimal":1.50},{"name":"c","resource":{"resourceType":"Foo","x":"y"}}]}]}},{"response":{"status":"400","outcome":{"resourceType":"OperationOutcome","issue":[{"severity":"error"}]}}}]}"#;
    let tree = read_json(text);
    let by_xml = xml(tree.root(), Release::R4);
    assert_eq!(by_xml.losses, []);
    assert!(by_xml.text.contains("<contained><Location><id value=\"l\"/></Location></contained>"));
    assert_eq!(json(read_xml(&by_xml.text).root(), Release::R4).text, text);
}

#[test]
fn pretty_is_the_same_document() {
    let text = r#"{"resourceType":"Patient","name":[{"given":["a",null],"_given":[null,{"id":"i"}]}],"active":true}"#;
    let pretty = json_pretty(read_json(text).root(), Release::R4).text;
    assert_eq!(value(&pretty), value(text));
    assert!(pretty.starts_with("{\n  \"resourceType\": \"Patient\",\n  \"name\": [\n    {\n"), "{pretty}");
    assert!(pretty.ends_with("}\n"));
}

/// The places and the beginnings of the reasons.
fn losses(written: &Written) -> Vec<String> {
    let short = |loss: &Loss| format!("{}: {}", loss.path, loss.reason.split([',', ':']).next().unwrap_or_default());
    written.losses.iter().map(short).collect()
}

#[test]
fn what_json_cannot_carry_is_listed() {
    let text = "<Patient xmlns=\"http://hl7.org/fhir\"><gender value=\"a\"/><name/><active value=\"yes\"/><contact><name/></contact>\
        <gender value=\"b\"/><multipleBirthInteger value=\"01\"/></Patient>";
    let written = json(read_xml(text).root(), Release::R4);
    assert_eq!(
        losses(&written),
        [
            "Patient.gender[1]: repeats",
            "Patient.name: is empty",
            "Patient.active: is not the number or boolean that its type demands",
            "Patient.contact: is empty",
            "Patient.gender[1]: stood apart from the others of its name",
            "Patient.multipleBirthInteger: is not the number or boolean that its type demands",
        ]
    );
    assert_eq!(
        written.text,
        r#"{"resourceType":"Patient","gender":["a","b"],"active":"yes","multipleBirthInteger":"01"}"#
    );
    for number in ["1e400", "1e-400", "+1", ".5", "1.", "NaN", "1 ", ""] {
        let mut b = Builder::resource("Patient");
        b.leaf("multipleBirthInteger", number);
        let written = json(b.finish().root(), Release::R4);
        assert_eq!(written.losses.len(), 1, "{number}");
        read_json(&written.text);
    }
}

#[test]
fn a_child_named_resource_type_never_becomes_a_type() {
    let patient = |content: &str| format!("<Patient xmlns=\"http://hl7.org/fhir\">{content}</Patient>");
    let told = "would be read as the type of a resource in JSON";
    for (content, place, expected) in [
        ("<active><resourceType value=\"X\"/></active>", "active.resourceType", r#""#),
        ("<active value=\"true\"><resourceType value=\"X\"/></active>", "active.resourceType", r#","active":true"#),
        ("<foo><resourceType value=\"X\"/><bar value=\"b\"/></foo>", "foo.resourceType", r#","foo":{"bar":"b"}"#),
        (
            "<foo value=\"a\"/><foo><resourceType><bar value=\"b\"/></resourceType></foo>",
            "foo[1].resourceType",
            r#","foo":["a"]"#,
        ),
        ("<resourceType><bar value=\"b\"/></resourceType>", "resourceType", ""),
    ] {
        let text = patient(content);
        let written = json(read_xml(&text).root(), Release::R4);
        assert_eq!(written.text, format!(r#"{{"resourceType":"Patient"{expected}}}"#), "{content}");
        let found = losses(&written);
        let lost =
            found.contains(&format!("Patient.{place}: {told}")) || found.iter().any(|it| it.contains("is empty"));
        assert!(lost, "{found:?}");
        read_json(&written.text);
    }
    // Where FHIR has one it stays: STU3's payee and R4's scenario.
    for content in [
        "<payee><resourceType><code value=\"c\"/></resourceType></payee>",
        "<instance><resourceType value=\"Patient\"/></instance>",
    ] {
        let text = patient(content);
        let written = json(read_xml(&text).root(), Release::R4);
        assert_eq!(losses(&written), [""; 0], "{content}");
        let back = xml(read_json(&written.text).root(), Release::R4);
        assert!(back.text.ends_with(&text), "{}", back.text);
    }
    let text = patient("<instance><Basic/></instance>");
    let written = json(read_xml(&text).root(), Release::R4);
    assert_eq!(losses(&written), ["Patient.instance: is a resource where JSON takes its type for an ordinary element"]);
}

#[test]
fn narrative_too_deep_for_our_own_reader_is_not_written() {
    let nested = |depth: usize| {
        let (open, close) = ("<b>".repeat(depth), "</b>".repeat(depth));
        let div = format!("<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\">{open}x{close}</div>");
        format!(r#"{{"resourceType":"Patient","text":{{"status":"generated","div":"{div}"}}}}"#)
    };
    let (deep, deeper) = (nested(63), nested(64));
    let written = xml(read_json(&deep).root(), Release::R4);
    assert_eq!(losses(&written), [""; 0]);
    read_xml(&written.text);
    let written = xml(read_json(&deeper).root(), Release::R4);
    assert_eq!(losses(&written), ["Patient.text.div: is not well-formed XHTML"]);
    read_xml(&written.text);
}

#[test]
fn what_xml_cannot_carry_is_listed() {
    let text = r#"{"resourceType":"Patient","active":"true","foo":["a"],"_bar":{"id":"i"},"Baz":"z","name":[{"id":"i","_id":{"extension":[{"url":"u"}]}}],"text":{"div":"<div>a</div>","_div":{"id":"x"}},"contact":[{"text":1}]}"#;
    let written = xml(read_json(text).root(), Release::R4);
    let mut found = losses(&written);
    found.sort();
    assert_eq!(
        found,
        [
            "Patient.Baz: has a name that no FHIR element can have in XML",
            "Patient.active: stood as another JSON type than its own",
            "Patient.bar: is a primitive without value of no known type",
            "Patient.contact.text: stood as another JSON type than its own",
            "Patient.foo: is an array of one of no known type",
            "Patient.name.id: has content that an XML attribute cannot hold",
            "Patient.text.div: did not declare XHTML as its default namespace",
            "Patient.text.div: has id or extension beside its XHTML",
        ]
    );
    read_xml(&written.text);
    let mut b = Builder::resource("Patient");
    b.leaf("id", "a\u{1}\u{ffff}b");
    b.leaf("a b", "c");
    let written = xml(b.finish().root(), Release::R4);
    assert_eq!(written.losses.len(), 2);
    assert_eq!(read_xml(&written.text).root().text("id"), Some("a\u{fffd}\u{fffd}b"));
}

#[test]
fn narrative_that_is_not_xhtml_is_listed_and_left_out() {
    for bad in [
        "",
        "text",
        "<p>a</p>",
        "<div>a",
        "<div>a</div><div/>",
        "<div>&nbsp;</div>",
        "<div><br></div>",
        "<div/>a",
        "<div xmlns=\"http://hl7.org/fhir\">a</div>",
        "<!DOCTYPE a><div/>",
        "<div a=b/>",
        "</div><div>",
        "<div \u{1}/>",
        "<div></div></text><active value=\"false\"/><text>",
        "<x:div/>",
    ] {
        let mut b = Builder::resource("Patient");
        b.node("text", |b| {
            b.leaf("status", "generated");
            b.leaf("div", bad);
        });
        let written = xml(b.finish().root(), Release::R4);
        assert_eq!(written.losses.len(), 1, "{bad}");
        assert!(written.text.ends_with("<text><status value=\"generated\"/></text></Patient>"), "{}", written.text);
    }
    for (good, kept) in [
        ("<div xmlns=\"http://www.w3.org/1999/xhtml\" title=\"a>b\">a\n<br/></div>", true),
        (" <div title='>' xmlns='http://www.w3.org/1999/xhtml'/>\n", true),
        ("<div title=\"a>b\"/>", false),
        ("<h:div xmlns:h=\"http://www.w3.org/1999/xhtml\"><h:b/></h:div>", false),
    ] {
        let mut b = Builder::resource("Patient");
        b.node("text", |b| b.leaf("div", good));
        let written = xml(b.finish().root(), Release::R4);
        assert_eq!(written.losses.is_empty(), kept, "{good}");
        let tree = read_xml(&written.text);
        let read = tree.root().text_at("text.div").expect("there");
        assert_eq!(read == good.trim(), kept, "{read}");
    }
}

#[test]
fn losses_are_bounded() {
    let text = format!("<Patient xmlns=\"http://hl7.org/fhir\">{}</Patient>", "<name/>".repeat(20_000));
    let written = json(read_xml(&text).root(), Release::R4);
    assert_eq!(written.losses.len(), LOSSES_MAX + 1);
    assert_eq!(written.losses[LOSSES_MAX].reason, "19000 more losses below");
}

/// A small generator, so that one number makes one tree.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 20] = [
            "a", "\"", "\\", "\n", "\r", "\t", "<", ">", "&", "'", "é", "😀", " ", "]]>", "&#10;", "\u{2028}",
            "\u{7f}", "abcdefgh", "\u{feff}", "/",
        ];
        let length = self.roll(12);
        (0..length).map(|_| PIECES[self.roll(PIECES.len())]).collect()
    }
}

fn fill(b: &mut Builder<'static>, release: Release, type_def: &TypeDef, dice: &mut Dice, depth: usize) {
    let mut before = b.len();
    let mut last_choice = None;
    for element in type_def.elements() {
        let wanted = if type_def.elements().len() > 12 { 8 } else { 3 };
        if dice.roll(wanted) != 0 || (element.choice.is_some() && element.choice == last_choice) {
            continue;
        }
        if b.len() > 400 {
            break;
        }
        last_choice = element.choice;
        for _ in 0..if element.array { 1 + dice.roll(3) } else { 1 } {
            item(b, release, element, dice, depth);
        }
    }
    if dice.roll(6) == 0 && type_def.kind() != TypeKind::Primitive {
        b.leaf("unknownThing", dice.text());
        before = before.min(b.len() - 1);
    }
    if b.len() == before {
        b.leaf("id", "only");
    }
}

fn item(b: &mut Builder<'static>, release: Release, element: &ElementDef, dice: &mut Dice, depth: usize) {
    let known = table(release);
    b.open(element.name);
    if element.xhtml {
        let text = dice.text().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        b.set_value(format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{text}<br/></div>"), Lexical::Untold);
    } else if let Some(kind) = element.primitive {
        let is_attribute = element.name == "id" || element.name == "url";
        let bare = is_attribute || dice.roll(4) != 0 || depth > 5;
        if bare || dice.roll(2) == 0 {
            let value = match kind {
                JsonKind::Boolean => ["true", "false"][dice.roll(2)].to_owned(),
                JsonKind::Number => ["0", "-1.50", "0.010", "1e3", "12345678901234567890.10"][dice.roll(5)].to_owned(),
                JsonKind::String => dice.text(),
            };
            b.set_value(value, Lexical::Untold);
        }
        if !bare {
            b.leaf("id", dice.text());
            b.node("extension", |b| b.leaf("url", dice.text()));
        }
    } else if element.type_name == "Resource" {
        let resource = ["Patient", "Bundle", "Parameters", "Binary", "Foo"][dice.roll(5)];
        b.set_resource_type(resource);
        match known.type_def(resource) {
            Some(type_def) if depth < 6 => fill(b, release, type_def, dice, depth + 1),
            _ => b.leaf("id", dice.text()),
        }
    } else {
        match known.type_def(element.type_name) {
            Some(type_def) if depth < 6 => fill(b, release, type_def, dice, depth + 1),
            _ => b.leaf("id", dice.text()),
        }
    }
    b.close();
}

/// JSON of any shape that FHIR's JSON can have, without the table's names.
fn any_object() -> impl Strategy<Value = serde_json::Value> {
    let text = "[ -~\\n\\t\u{e9}\u{1f600}]{0,12}";
    let primitive = prop_oneof![
        text.prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i32>().prop_map(serde_json::Value::from),
    ];
    let names = "x[A-Za-z0-9_-]{0,6}";
    let leaf = prop::collection::btree_map(names, primitive.clone(), 1..4)
        .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()));
    leaf.prop_recursive(4, 40, 4, move |inner| {
        let property = prop_oneof![
            primitive.clone(),
            prop::collection::vec(primitive.clone(), 1..4).prop_map(serde_json::Value::from),
            inner.clone(),
            prop::collection::vec(inner, 1..4).prop_map(serde_json::Value::from),
        ];
        prop::collection::btree_map(names, property, 1..5)
            .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
    })
}

const SAMPLE_JSON: &str = r#"{"resourceType":"Bundle","_type":{"id":"t"},"type":"message","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","contained":[{"resourceType":"Group","id":"g"}],"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">a<br/>&amp;</div>"},"name":[{"given":["a",null,"\u00e9\n"],"_given":[null,{"extension":[{"url":"u","valueDecimal":1.50e2}]},null]}],"multipleBirthInteger":2,"active":false}}]}"#;

const SAMPLE_XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><!--c--><f:Bundle xmlns:f=\"http://hl7.org/fhir\" xmlns=\"http://www.w3.org/1999/xhtml\">\
    <f:type id=\"t\" value=\"message\"/><f:entry><f:fullUrl value=\"urn:uuid:1&#10;&amp;\"/><f:resource><f:Patient>\
    <f:text><f:status value=\"generated\"/><div title='a'>a<br/>&lt;<b>x</b><!--d--></div></f:text><f:contained><f:Group/></f:contained>\
    <f:name><f:given value=\"a\"/><f:given id=\"x\"><f:extension url=\"u\"><f:valueDecimal value=\"1.50\"/></f:extension></f:given></f:name>\
    </f:Patient></f:resource></f:entry></f:Bundle>";

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn typed_trees_survive_json_and_xml(seed in 1..u64::MAX, stu3 in any::<bool>()) {
        let release = if stu3 { Release::Stu3 } else { Release::R4 };
        let known = table(release);
        let mut resources: Vec<_> = known.types().filter(|each| known.is_resource(each.name())).collect();
        resources.sort_by_key(|each| each.name());
        let mut dice = Dice(seed);
        let type_def = resources[dice.roll(resources.len())];
        let mut b = Builder::resource(type_def.name());
        fill(&mut b, release, type_def, &mut dice, 0);
        let tree = b.finish();

        let first = json(tree.root(), release);
        prop_assert_eq!(&first.losses, &vec![]);
        let from_json = read_json(&first.text);
        let again = json(from_json.root(), release);
        prop_assert_eq!(&again, &first);
        let by_xml = xml(from_json.root(), release);
        prop_assert_eq!(&by_xml.losses, &vec![]);
        let from_xml = read_xml(&by_xml.text);
        // XML has an extension's url before its extensions: the order of JSON's properties may differ.
        let third = json(from_xml.root(), release);
        prop_assert_eq!(&third.losses, &vec![]);
        prop_assert_eq!(value(&third.text), value(&first.text));
        prop_assert_eq!(third.text.len(), first.text.len());
        prop_assert_eq!(&xml(tree.root(), release), &by_xml);
        prop_assert_eq!(value(&json_pretty(tree.root(), release).text), value(&first.text));
        prop_assert_eq!(tree.len(), from_xml.len());
    }

    #[test]
    fn unknown_shapes_survive_json(object in any_object()) {
        let mut object = object;
        object["resourceType"] = "Foo".into();
        let text = object.to_string();
        let tree = read_json(&text);
        let written = json(tree.root(), Release::R4);
        prop_assert_eq!(&written.losses, &vec![]);
        prop_assert_eq!(value(&written.text), object.clone());
        let by_xml = xml(tree.root(), Release::R4);
        let back = read_xml(&by_xml.text);
        if by_xml.losses.is_empty() {
            prop_assert_eq!(value(&json(back.root(), Release::R4).text), object);
        }
    }

    #[test]
    fn readers_survive_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Json, Format::Xml] {
            let _ = read::bytes(&bytes, format, &Limits::default());
        }
    }

    #[test]
    fn readers_survive_mutations(
        is_xml in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_usize, any::<u8>()), 1..4),
    ) {
        let (sample, format) = if is_xml { (SAMPLE_XML, Format::Xml) } else { (SAMPLE_JSON, Format::Json) };
        let mut bytes = sample.as_bytes().to_vec();
        for (at, other, kind, byte) in edits {
            let (at, other) = (at.index(bytes.len()), other.index(bytes.len()));
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] = bytes[other],
                2 => { bytes.drain(at.min(other)..(at.min(other) + 8).min(bytes.len())); }
                _ => {
                    let piece: Vec<u8> = bytes[at.min(other)..(at.max(other)).min(at.min(other) + 40)].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        if let Ok(tree) = read::bytes(&bytes, format, &Limits::default()) {
            for release in [Release::R4, Release::Stu3] {
                let by_json = json(tree.root(), release);
                read_json(&by_json.text);
                let by_xml = xml(tree.root(), release);
                let back = read_xml(&by_xml.text);
                if by_xml.losses.is_empty() && by_json.losses.is_empty() {
                    prop_assert_eq!(value(&json(back.root(), release).text), value(&by_json.text));
                }
            }
        }
    }
}
