use super::*;
use crate::elements::table;
use crate::tree::{Lexical, Release};
use crate::write;

fn read_json(text: &str) -> Result<Tree<'_>, ReadError> {
    json(text, &Limits::default())
}

fn read_xml(text: &str) -> Result<Tree<'_>, ReadError> {
    xml(text, &Limits::default())
}

#[track_caller]
fn refused_json(text: &str, kind: ReadErrorKind) -> ReadError {
    let error = read_json(text).expect_err("must be refused");
    assert_eq!(error.kind, kind, "{error}");
    error
}

#[track_caller]
fn refused_xml(text: &str, kind: ReadErrorKind) -> ReadError {
    let error = read_xml(text).expect_err("must be refused");
    assert_eq!(error.kind, kind, "{error}");
    error
}

/// A Patient with this inside.
fn patient(inside: &str) -> String {
    format!("{{\"resourceType\":\"Patient\",{inside}}}")
}

fn patient_xml(inside: &str) -> String {
    format!("<Patient xmlns=\"http://hl7.org/fhir\">{inside}</Patient>")
}

#[test]
fn bad_input_065_depth_128() {
    let deep = |levels: usize| {
        let body = "\"extension\":[{".repeat(levels) + "\"url\":\"u\"" + &"}]".repeat(levels);
        patient(&body)
    };
    refused_json(&deep(128), ReadErrorKind::TooDeep);
    assert!(read_json(&deep(60)).is_ok());
    refused_json(&patient(&("\"a\":{".repeat(100_000) + &"}".repeat(100_000))), ReadErrorKind::TooDeep);
    refused_json(&patient(&format!("\"name\":{}1{}", "[".repeat(128), "]".repeat(128))), ReadErrorKind::NotFhir);
    let bold = Limits { depth: usize::MAX, ..Limits::default() };
    assert_eq!(json(&deep(100_000), &bold).expect_err("bounded all the same").kind, ReadErrorKind::TooDeep);
}

#[test]
fn bad_input_066_duplicate_key() {
    refused_json(&patient(r#""active":true,"active":false"#), ReadErrorKind::DuplicateKey);
    refused_json(&patient(r#""gender":"male","_gender":{"id":"a"},"gender":"male""#), ReadErrorKind::DuplicateKey);
    refused_json(&patient(r#""_gender":{"id":"a"},"_gender":{"id":"a"}"#), ReadErrorKind::DuplicateKey);
    refused_json(&patient(r#""resourceType":"Patient""#), ReadErrorKind::DuplicateKey);
    let error =
        refused_json("{\"resourceType\":\"Patient\",\n \"id\":\"a\", \"id\":\"b\"}", ReadErrorKind::DuplicateKey);
    assert_eq!((error.line, error.column), (2, 12));
}

#[test]
fn bad_input_067_escaped_duplicate() {
    refused_json(&patient(r#""active":true,"\u0061ctive":false"#), ReadErrorKind::DuplicateKey);
    refused_json(&patient(r#""resource\u0054ype":"Group""#), ReadErrorKind::DuplicateKey);
    refused_json(&patient(r#""_gender":{"id":"a"},"\u005fgender":{"id":"b"}"#), ReadErrorKind::DuplicateKey);
}

#[test]
fn bad_input_068_number_too_large() {
    refused_json(&patient(r#""x":1e400"#), ReadErrorKind::NumberTooLarge);
    refused_json(&patient(r#""x":-12E+999"#), ReadErrorKind::NumberTooLarge);
    refused_json(&patient(&format!("\"x\":{}", "9".repeat(400))), ReadErrorKind::NumberTooLarge);
}

#[test]
fn bad_input_069_number_too_small() {
    refused_json(&patient(r#""x":1e-400"#), ReadErrorKind::NumberTooSmall);
    assert!(read_json(&patient(r#""x":0e-400"#)).is_ok());
}

#[test]
fn bad_input_070_decimals_stay_as_written() {
    for number in ["1.10", "0.010", "1.0e3", "-0.0", "100000000000000000000.5", "0", "1E-7"] {
        let text = format!("{{\"resourceType\":\"Observation\",\"valueQuantity\":{{\"value\":{number}}}}}");
        let tree = read_json(&text).expect("well-formed");
        assert_eq!(tree.root().text_at("valueQuantity.value"), Some(number));
        let written = write::json(tree.root(), Release::R4);
        assert_eq!((written.text, written.losses), (text.clone(), vec![]));
        let by_xml = write::xml(tree.root(), Release::R4);
        let back = read_xml(&by_xml.text).expect("well-formed");
        assert_eq!(write::json(back.root(), Release::R4).text, text);
    }
    for wrong in ["01", "1.", ".5", "+1", "1e", "-", "0x1", "NaN", "Infinity", "1_000"] {
        refused_json(&patient(&format!("\"x\":{wrong}")), ReadErrorKind::Syntax);
    }
}

#[test]
fn bad_input_071_escaped_control_characters() {
    for escape in ["\\u0000", "\\u0001", "\\b", "\\f", "\\u001f"] {
        refused_json(&patient(&format!("\"x\":\"a{escape}\"")), ReadErrorKind::ForbiddenCharacter);
    }
    assert!(read_json(&patient(r#""x":"\t\r\n\u0009\u007f""#)).is_ok());
}

#[test]
fn bad_input_072_raw_control() {
    for control in ['\0', '\u{1}', '\t', '\n', '\u{1f}'] {
        refused_json(&patient(&format!("\"x\":\"abcdefgh{control}\"")), ReadErrorKind::Syntax);
        refused_json(&patient(&format!("\"x\":\"\\n{control}\"")), ReadErrorKind::Syntax);
        refused_json(&patient(&format!("\"a{control}\":1")), ReadErrorKind::Syntax);
    }
}

#[test]
fn bad_input_073_lone_surrogate() {
    for escape in ["\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud800x", "\\ud800\\n", "\\ud83d\\u0041"] {
        refused_json(&patient(&format!("\"x\":\"{escape}\"")), ReadErrorKind::Syntax);
    }
    let text = patient(r#""x":"\ud83d\ude00é""#);
    assert_eq!(read_json(&text).expect("a pair").root().text("x"), Some("😀é"));
    for escape in ["\\u12", "\\u12g4", "\\u+123", "\\x41", "\\"] {
        refused_json(&patient(&format!("\"x\":\"{escape}\"")), ReadErrorKind::Syntax);
    }
}

#[test]
fn bad_input_074_overlong_utf8() {
    for bad in [&b"\xc0\xaf"[..], b"\xe0\x80\xaf", b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        let mut body = b"{\"resourceType\":\"Patient\",\n\"x\":\"".to_vec();
        body.extend_from_slice(bad);
        body.extend_from_slice(b"\"}");
        for format in [Format::Json, Format::Xml] {
            let error = bytes(&body, format, &Limits::default()).expect_err("not UTF-8");
            assert_eq!((error.kind, error.line, error.column), (ReadErrorKind::Encoding, 2, 6));
        }
    }
}

#[test]
fn bad_input_075_byte_order_mark() {
    let body = format!("\u{feff}{}", patient("\"id\":\"a\""));
    refused_json(&body, ReadErrorKind::Encoding);
    refused_xml(&format!("\u{feff}{}", patient_xml("<id value=\"a\"/>")), ReadErrorKind::Encoding);
    let utf16: Vec<u8> = patient("\"id\":\"a\"").encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(bytes(&utf16, Format::Json, &Limits::default()).is_err());
}

#[test]
fn bad_input_076_trailing_document() {
    let one = patient("\"id\":\"a\"");
    refused_json(&format!("{one}{one}"), ReadErrorKind::Syntax);
    refused_json(&format!("{one},"), ReadErrorKind::Syntax);
    refused_json(&format!("{one}\0"), ReadErrorKind::Syntax);
    assert!(read_json(&format!(" \r\n\t{one}\n")).is_ok());
}

#[test]
fn bad_input_077_array_of_two_million() {
    let text = patient(&format!("\"x\":[0{}]", ",0".repeat(2_000_000)));
    refused_json(&text, ReadErrorKind::TooManyNodes);
    let limits = Limits { text_bytes: 1_000, ..Limits::default() };
    assert_eq!(json(&text, &limits).expect_err("too long").kind, ReadErrorKind::TooLarge);
    assert_eq!(bytes(text.as_bytes(), Format::Xml, &limits).expect_err("too long").kind, ReadErrorKind::TooLarge);
    let many = (0..600).map(|n| format!("\"x{n}\":0")).collect::<Vec<_>>().join(",");
    refused_json(&patient(&many), ReadErrorKind::TooManyProperties);
}

#[test]
fn bad_input_079_external_entity() {
    let doctype = "<!DOCTYPE Patient [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>";
    refused_xml(&format!("{doctype}{}", patient_xml("<id value=\"&x;\"/>")), ReadErrorKind::Doctype);
    refused_xml(&patient_xml("<id value=\"&x;\"/>"), ReadErrorKind::Doctype);
    refused_xml(&patient_xml("<id value=\"a\"/>&x;"), ReadErrorKind::Doctype);
    refused_xml(&patient_xml(&div("&x;")), ReadErrorKind::Doctype);
}

#[test]
fn bad_input_080_billion_laughs() {
    let doctype = "<!DOCTYPE lolz [<!ENTITY a \"lol\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    refused_xml(
        &format!("<?xml version=\"1.0\"?>{doctype}{}", patient_xml("<id value=\"&b;\"/>")),
        ReadErrorKind::Doctype,
    );
}

#[test]
fn bad_input_081_parameter_entity() {
    let doctype = "<!DOCTYPE p [<!ENTITY % x SYSTEM \"http://169.254.169.254/\"> %x;]>";
    refused_xml(&format!("{doctype}{}", patient_xml("")), ReadErrorKind::Doctype);
}

#[test]
fn bad_input_082_depth_200_000() {
    let deep = |name: &str, levels: usize| format!("<{name}>").repeat(levels) + &format!("</{name}>").repeat(levels);
    refused_xml(&patient_xml(&deep("extension", 200_000)), ReadErrorKind::TooDeep);
    refused_xml(&patient_xml(&div(&deep("b", 200_000))), ReadErrorKind::TooDeep);
    refused_xml(&patient_xml(&"<extension>".repeat(200_000)), ReadErrorKind::TooDeep);
    assert!(read_xml(&patient_xml(&div(&deep("b", 60)))).is_ok());
}

#[test]
fn bad_input_083_attributes_80_000() {
    let attributes: String = (0..80_000).map(|n| format!(" a{n}=\"1\"")).collect();
    refused_xml(&patient_xml(&format!("<id{attributes}/>")), ReadErrorKind::TooManyProperties);
    refused_xml(&patient_xml(&div(&format!("<b{attributes}/>"))), ReadErrorKind::TooManyProperties);
    refused_xml(&patient_xml("<id value=\"a\" value=\"b\"/>"), ReadErrorKind::DuplicateKey);
}

#[test]
fn bad_input_084_namespaces_300() {
    let declarations: String = (0..300).map(|n| format!(" xmlns:n{n}=\"http://hl7.org/fhir\"")).collect();
    refused_xml(&patient_xml(&format!("<id value=\"a\"{declarations}/>")), ReadErrorKind::TooManyProperties);
}

#[test]
fn bad_input_085_unclosed_at_the_end() {
    let whole = format!("<?xml version=\"1.0\"?>{}", patient_xml("<name id=\"a\"><family value=\"b\"/></name>"));
    for length in 0..whole.len() {
        assert!(read_xml(&whole[..length]).is_err(), "{}", &whole[..length]);
    }
    let whole = patient(r#""name":[{"family":"b","_given":[null,{"id":"a"}],"given":["c\u00e9",null],"x":1.5e3}]"#);
    for length in 0..whole.len() {
        assert!(read_json(&whole[..length]).is_err(), "{}", &whole[..length]);
    }
    assert!(read_json(&whole).is_ok());
}

#[test]
fn bad_input_086_two_roots() {
    refused_xml(&patient_xml("").repeat(2), ReadErrorKind::Syntax);
    refused_xml(
        "<Patient xmlns=\"http://hl7.org/fhir\"/><Patient xmlns=\"http://hl7.org/fhir\"/>",
        ReadErrorKind::Syntax,
    );
    refused_xml("", ReadErrorKind::Syntax);
    refused_xml("<!-- nothing -->", ReadErrorKind::Syntax);
}

#[test]
fn bad_input_087_text_outside_the_root() {
    refused_xml(&format!("text{}", patient_xml("")), ReadErrorKind::Syntax);
    refused_xml(&format!("{}text", patient_xml("")), ReadErrorKind::Syntax);
    refused_xml(&format!("{}<![CDATA[ ]]>", patient_xml("")), ReadErrorKind::Syntax);
    refused_xml(&patient_xml("text"), ReadErrorKind::NotFhir);
    refused_xml(&patient_xml("<![CDATA[ ]]>"), ReadErrorKind::NotFhir);
    refused_xml(&format!(" <?xml version=\"1.0\"?>{}", patient_xml("")), ReadErrorKind::Syntax);
    assert!(read_xml(&format!("<!-- a -->\n{}\n<!-- b -->\n", patient_xml("<!-- c -->"))).is_ok());
}

#[test]
fn bad_input_088_nul_reference() {
    for reference in
        ["&#0;", "&#x0;", "&#1;", "&#xD800;", "&#xFFFE;", "&#x110000;", "&#;", "&#x;", "&#+9;", "&#99999999999;"]
    {
        refused_xml(&patient_xml(&format!("<id value=\"{reference}\"/>")), ReadErrorKind::Syntax);
        refused_xml(&patient_xml(&div(reference)), ReadErrorKind::Syntax);
    }
    refused_xml(&patient_xml("<id value=\"a & b\"/>"), ReadErrorKind::Syntax);
    refused_xml(&patient_xml("<id value=\"\u{1}\"/>"), ReadErrorKind::ForbiddenCharacter);
    refused_xml(&patient_xml("<id value=\"\u{fffe}\"/>"), ReadErrorKind::ForbiddenCharacter);
    assert!(read_xml(&patient_xml("<id value=\"\u{ff1a}\u{feff}\"/>")).is_ok());
}

#[test]
fn bad_input_089_xinclude() {
    let include = "<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"file:///etc/passwd\"/>";
    refused_xml(&patient_xml(include), ReadErrorKind::ForeignNamespace);
    refused_xml("<ClinicalDocument xmlns=\"urn:hl7-org:v3\"/>", ReadErrorKind::ForeignNamespace);
    refused_xml("<Patient/>", ReadErrorKind::ForeignNamespace);
    refused_xml("<f:Patient/>", ReadErrorKind::Syntax);
}

#[test]
fn bad_input_090_other_encodings() {
    for label in ["utf-7", "UTF-16", "iso-8859-1", ""] {
        let text = format!("<?xml version=\"1.0\" encoding=\"{label}\"?>{}", patient_xml(""));
        refused_xml(&text, ReadErrorKind::Charset);
    }
    for label in ["utf-8", "UTF-8", "Utf-8"] {
        assert!(read_xml(&format!("<?xml version='1.0' encoding='{label}'?>{}", patient_xml(""))).is_ok());
    }
    refused_xml(&format!("<?xml version=\"1.1\"?>{}", patient_xml("")), ReadErrorKind::Charset);
    refused_xml(&format!("<?xml-stylesheet href=\"a\"?>{}", patient_xml("")), ReadErrorKind::Doctype);
}

fn div(inside: &str) -> String {
    format!("<text><status value=\"generated\"/><div xmlns=\"http://www.w3.org/1999/xhtml\">{inside}</div></text>")
}

#[test]
fn json_that_is_no_resource_is_refused() {
    for text in ["", " ", "[]", "null", "\"a\"", "{}", "{\"id\":\"a\"}", "{\"resourceType\":1}"] {
        assert!(read_json(text).is_err(), "{text}");
    }
    for inside in [
        r#""name":[]"#,
        r#""name":{}"#,
        r#""name":[{}]"#,
        r#""name":null"#,
        r#""name":[null]"#,
        r#""name":[{"family":"a"},null]"#,
        r#""name":[{"family":"a"},"b"]"#,
        r#""name":[["a"]]"#,
        r#""given":["a",null]"#,
        r#""given":["a"],"_given":[null,null]"#,
        r#""given":"a","_given":[{"id":"b"}]"#,
        r#""_given":[{"id":"b"}],"given":"a""#,
        r#""name":{"family":"a"},"_name":{"id":"b"}"#,
        r#""_name":{"id":"b"},"name":{"family":"a"}"#,
        r#""_gender":"a""#,
        r#""_gender":null"#,
        r#""_gender":{}"#,
        r#""_":{"id":"a"}"#,
        r#""":1"#,
        r#""a b":1"#,
        r#""a<b":1"#,
        r#""1a":1"#,
        r#""é":1"#,
        r#""contained":[{"resourceType":"not a type"}]"#,
    ] {
        let error = read_json(&patient(inside)).expect_err(inside);
        assert_eq!(error.kind, ReadErrorKind::NotFhir, "{inside}");
    }
    for inside in
        [r#""a":1,"#, r#""a" 1"#, r#""a":tru"#, r#""a":[1,]"#, r#""a":[1 2]"#, r#""a":'b'"#, "a:1", r#""a":[nul]"#]
    {
        refused_json(&patient(inside), ReadErrorKind::Syntax);
    }
}

#[test]
fn a_companion_is_no_resource() {
    for text in [
        r#"{"resourceType":"Patient","_active":{"resourceType":"X"}}"#,
        r#"{"resourceType":"Patient","active":true,"_active":{"resourceType":"X"}}"#,
        r#"{"resourceType":"Patient","name":[{"_given":[{"id":"a","resourceType":{"id":"b"}}]}]}"#,
    ] {
        let error = json(text, &Limits::default()).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ReadErrorKind::NotFhir, "a _companion with a resourceType"));
    }
}

#[test]
fn companions_merge_whichever_comes_first() {
    let after = patient(
        r#""name":[{"given":["a",null,"b"],"_given":[null,{"id":"i"},{"id":"j"}]}],"gender":"male","_gender":{"id":"k"}"#,
    );
    let before = patient(
        r#""_gender":{"id":"k"},"name":[{"_given":[null,{"id":"i"},{"id":"j"}],"given":["a",null,"b"]}],"gender":"male""#,
    );
    for text in [&after, &before] {
        let tree = read_json(text).expect("well-formed");
        let givens: Vec<_> = tree
            .root()
            .get("name")
            .expect("there")
            .all("given")
            .map(|given| (given.value(), given.text("id")))
            .collect();
        assert_eq!(givens, [(Some("a"), None), (None, Some("i")), (Some("b"), Some("j"))]);
        let gender = tree.root().get("gender").expect("there");
        assert_eq!((gender.value(), gender.text("id")), (Some("male"), Some("k")));
        assert_eq!(tree.root().all("gender").count(), 1);
        let written = write::json(tree.root(), Release::R4);
        assert!(written.losses.is_empty());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&written.text).expect("JSON"),
            serde_json::from_str::<serde_json::Value>(text).expect("JSON")
        );
    }
}

#[test]
fn resource_type_may_stand_anywhere_and_is_plain_in_a_scenario() {
    let text = r#"{"id":"a","entry":[{"resource":{"id":"b","resourceType":"Patient"}}],"resourceType":"Bundle"}"#;
    let tree = read_json(text).expect("well-formed");
    assert!(tree.root().is("Bundle") && tree.root().name() == "Bundle");
    assert!(tree.root().at("entry.resource").expect("there").is("Patient"));
    let text = r#"{"resourceType":"ExampleScenario","instance":[{"resourceId":"a","resourceType":"Patient"}]}"#;
    let tree = read_json(text).expect("well-formed");
    assert_eq!(tree.root().at("instance").and_then(|instance| instance.resource_type()), None);
    let written = write::xml(tree.root(), Release::R4);
    assert!(written.losses.is_empty());
    assert_eq!(write::json(read_xml(&written.text).expect("XML").root(), Release::R4).text, text);
}

#[test]
fn resource_type_is_an_ordinary_element_of_a_payee() {
    let text = r#"{"resourceType":"Claim","payee":{"resourceType":{"code":"a"},"party":{"reference":"b"}}}"#;
    let tree = read_json(text).expect("well-formed");
    assert_eq!(tree.root().text_at("payee.resourceType.code"), Some("a"));
    let by_xml = write::xml(tree.root(), Release::Stu3);
    assert!(by_xml.losses.is_empty());
    assert_eq!(write::json(read_xml(&by_xml.text).expect("XML").root(), Release::Stu3).text, text);
    for both in [r#""resourceType":{"id":"a"},"resourceType":"B""#, r#""resourceType":"B","resourceType":{"id":"a"}"#] {
        refused_json(&patient(&format!("\"payee\":{{{both}}}")), ReadErrorKind::DuplicateKey);
    }
    refused_json("{\"resourceType\":{\"id\":\"a\"}}", ReadErrorKind::NotFhir);
}

#[test]
fn strings_are_borrowed_and_spans_point_at_values() {
    let text = patient(r#""gender":"male","active":true,"name":[{"family":"é\n"}]"#);
    let tree = read_json(&text).expect("well-formed");
    let gender = tree.root().get("gender").expect("there");
    assert!(matches!(gender.shared_value(), Some(std::borrow::Cow::Borrowed(_))));
    assert_eq!(&text[gender.span()], "\"male\"");
    assert_eq!(tree.root().get("active").map(|active| active.lexical()), Some(Lexical::Boolean));
    assert_eq!(&text[tree.root().at("name").expect("there").span()], "{\"family\":\"é\\n\"}");
    let text = patient_xml("\n <name id=\"a\"><family value=\"b\"/></name>");
    let tree = read_xml(&text).expect("well-formed");
    assert_eq!(&text[tree.root().at("name.family").expect("there").span()], "<family value=\"b\"/>");
    assert_eq!(&text[tree.root().at("name.id").expect("there").span()], "id=\"a\"");
    assert_eq!(tree.root().get("name").and_then(|name| name.line_column()), Some((2, 2)));
}

#[test]
fn xml_prefixes_go_by_namespace() {
    let text = "<f:Patient xmlns:f=\"http://hl7.org/fhir\" xmlns=\"http://www.w3.org/1999/xhtml\" \
        xmlns:s=\"http://www.w3.org/2001/XMLSchema-instance\" s:schemaLocation=\"a b\">\
        <f:text><f:status value=\"generated\"/><div title='\"'>a<b/></div></f:text>\
        <f:contained><f:Group><f:id value=\"g\"/></f:Group></f:contained></f:Patient>";
    let tree = read_xml(text).expect("well-formed");
    assert_eq!(
        tree.root().text_at("text.div"),
        Some("<div xmlns=\"http://www.w3.org/1999/xhtml\" title='\"'>a<b/></div>")
    );
    assert!(tree.root().get("contained").expect("there").is("Group"));
    let text = "<Patient xmlns=\"http://hl7.org/fhir\" xmlns:h=\"http://www.w3.org/1999/xhtml\"><text>\
        <h:div><h:p class=\"a\">b</h:p ><h:br/></h:div></text></Patient>";
    assert_eq!(
        read_xml(text).expect("well-formed").root().text_at("text.div"),
        Some("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p class=\"a\">b</p ><br/></div>")
    );
    let mixed = text.replace("<h:br/>", "<b/>");
    refused_xml(&mixed, ReadErrorKind::ForeignNamespace);
}

#[test]
fn narrative_stays_as_written() {
    let inside = "a &amp; b&#160;<!-- c --><i\n x = 'y'/>\r\n<br  /><![CDATA[<]]>";
    let text = patient_xml(&div(inside));
    let tree = read_xml(&text).expect("well-formed");
    let expected = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{inside}</div>");
    assert_eq!(tree.root().text_at("text.div"), Some(expected.as_str()));
    for wrong in [
        "<b></i>",
        "<b",
        "<b x=1/>",
        "<b x='1'y='2'/>",
        "<b x='<'/>",
        "&nbsp;",
        "]]>",
        "<b x='1' x='2'/>",
        "<p:b/>",
        "<?a?>",
    ] {
        assert!(read_xml(&patient_xml(&div(wrong))).is_err(), "{wrong}");
    }
}

#[test]
fn xml_shapes_that_fhir_does_not_have_are_refused() {
    for inside in [
        "<id value=\"a\" foo=\"b\"/>",
        "<id xml:lang=\"en\" value=\"a\"/>",
        "<name url=\"a\"/>",
        "<name><id value=\"a\"/></name>",
        "<extension><url value=\"a\"/></extension>",
        "<Group/>",
        "<contained><Group/><Group/></contained>",
        "<contained><Group/><id value=\"a\"/></contained>",
        "<contained id=\"a\"><Group/></contained>",
        "<contained><id/><Group/></contained>",
        "<contained><Group id=\"a\"/></contained>",
    ] {
        let error = read_xml(&patient_xml(inside)).expect_err(inside);
        assert_eq!(error.kind, ReadErrorKind::NotFhir, "{inside}");
    }
    refused_xml("<patient xmlns=\"http://hl7.org/fhir\"/>", ReadErrorKind::NotFhir);
    refused_xml("<Patient xmlns=\"http://hl7.org/fhir\" id=\"a\"/>", ReadErrorKind::NotFhir);
    refused_xml("<Patient xmlns=\"http://hl7.org/fhir\" xmlns:a=\"\"/>", ReadErrorKind::Syntax);
    refused_xml(&patient_xml("<div>a</div>"), ReadErrorKind::NotFhir);
}

#[test]
fn attribute_white_space_is_normalised_unless_referenced() {
    let text = patient_xml("<id value=\"a\n\tb\r\nc&#10;&#xD;&#9;d\"/>");
    let tree = read_xml(&text).expect("well-formed");
    assert_eq!(tree.root().text("id"), Some("a  b c\n\r\td"));
    let written = write::xml(tree.root(), Release::R4);
    assert_eq!(read_xml(&written.text).expect("well-formed").root().text("id"), Some("a  b c\n\r\td"));
}

#[test]
fn errors_do_not_quote_content() {
    let secret = "9990000000";
    for text in [
        format!("<Patient xmlns=\"http://hl7.org/fhir\"><a{secret}></b></Patient>"),
        patient_xml(&format!("<a {secret}=\"{secret}\"/>")),
        patient_xml(secret),
        patient_xml(&format!("<id value=\"&{secret};\"/>")),
        patient_xml(&format!("<p:a xmlns:p=\"{secret}\"/>")),
        format!("<?xml version=\"1.0\" encoding=\"{secret}\"?><a/>"),
    ] {
        let error = read_xml(&text).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
    for inside in
        [format!("\"{secret}\":1"), format!("\"a\":\"{secret}"), format!("\"a\":{secret}x"), format!("\"{secret}\" 1")]
    {
        let error = read_json(&patient(&inside)).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

#[test]
fn formats_are_told() {
    assert_eq!(sniff(b" \n{"), Some(Format::Json));
    assert_eq!(sniff(b"<?xml"), Some(Format::Xml));
    assert_eq!(sniff(b"MSH|"), None);
    assert_eq!(sniff(b""), None);
    assert_eq!(format_of_media_type("application/fhir+json; fhirVersion=4.0"), Some(Format::Json));
    assert_eq!(format_of_media_type("Application/FHIR+XML;charset=utf-8"), Some(Format::Xml));
    assert_eq!(format_of_media_type("application/json+fhir"), Some(Format::Json));
    assert_eq!(format_of_media_type("text/plain"), None);
    assert!(table(Release::R4).is_resource("Patient"));
}
