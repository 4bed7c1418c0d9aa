//! What the systems of practices read.

use onward_fhir::{Document, systems};

use super::*;

/// Today's GP systems get Send Document as its guide describes it.
#[test]
fn the_covering_practice_gets_send_document() {
    let town = Town::new();
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    let rendered =
        covering_practice(&r4, &policy("covering-practice"), &town.parties(), delivery(5)).expect("rendered");
    let tree = tree_of(text(&rendered));
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(message.release, Release::Stu3);
    assert_eq!(message.event, Some((systems::ITK_MESSAGE_EVENT, "ITK007C")));
    assert_eq!(message.header_id, rendered.correlation_id.as_deref());
    assert_eq!(message.sender_ods, Some("R9Z"));
    assert_eq!(message.sender_mailbox(), Some("ONWOT001"));
    assert!(message.destination_ods.is_empty(), "receiver and destination are absent");
    let handling = message.handling;
    assert_eq!(
        (handling.business_ack, handling.infrastructure_ack, handling.recipient_type),
        (Some(true), Some(true), Some("FA"))
    );
    assert!(
        handling.message_definition.is_some_and(|url| url.ends_with("ITK-GPConnectSendDocument-MessageDefinition-1"))
    );
    assert_eq!(handling.sender_reference, Some(town.parties().transfer.to_string().as_str()));
    assert_eq!(rendered.workflow.as_ref().map(|workflow| workflow.as_str()), Some("GPCONNECT_SEND_DOCUMENT"));

    let DocumentPart::Nested(element) = message.document else { panic!("a document") };
    let document = Document::read(element, Release::Stu3).expect("a document");
    assert_eq!(document.document_id, Some(rendered.document_id.as_str()));
    assert_eq!(document.type_code(), Some("149701000000109"));
    let titles: Vec<_> = document.sections.iter().filter_map(|section| section.title).collect();
    assert_eq!(
        titles,
        ["Request for temporary registration", "Discharge summary", "Attachment 1 of the hospital"],
        "the primary attachment first, and what the hospital attached is not lost"
    );
    let sent = r4.root().descendants().find(|each| each.is("Binary")).and_then(|each| each.text("data"));
    let leaflet = document.sections[2].entries[0];
    assert_eq!((leaflet.text("contentType"), leaflet.text("content")), (Some("application/pdf"), sent));
    for section in &document.sections[..2] {
        let [binary] = section.entries.as_slice() else { panic!("one attachment for each section") };
        let data = onward_fhir::message::decode_base64(binary.text("content").expect("STU3 content")).expect("base64");
        let html = String::from_utf8(data).expect("UTF-8");
        assert_eq!(binary.text("contentType"), Some("text/html"));
        assert!(html.starts_with("<!DOCTYPE html>") && html.contains("HOLROYD, Margaret Ellen (Mrs)"));
        let needed = match section.title {
            Some("Discharge summary") => {
                ["Risk of falls", "Attachment (PDF", "Hawthorn Ward: 01632 960117", "01632 960201"]
            }
            _ => [
                "UPRN 100099000017",
                "From 13 November 2026 to 11 December 2026",
                "Mrs Helen Carter",
                "14 Bramble Close",
            ],
        };
        for needed in needed {
            assert!(html.contains(needed), "{needed}");
        }
    }
    let patient = document.patient.expect("the Patient");
    assert_eq!(views::nhs_number(patient), Some("9990000018"));
    let temporary = patient.all("address").find(|address| address.text("use") == Some("temp")).expect("the home");
    assert_eq!(temporary.text("postalCode"), Some("NM7 4QD"));
}

#[test]
fn elsewhere_the_covering_practice_gets_a_task() {
    let mut town = Town::new();
    town.covering.endpoint = Endpoint::Inbox {};
    let r4 = document(&fixture("messages/edischarge-r4.json"));
    let rendered =
        covering_practice(&r4, &policy("covering-practice"), &town.parties(), delivery(5)).expect("rendered");
    let tree = tree_of(text(&rendered));
    let bundle = Bundle::new(tree.root()).expect("a Bundle");
    assert_eq!(bundle.bundle_type(), Some("collection"));
    let task = bundle.first("Task").expect("the Task first");
    assert_eq!(task.text_at("code.coding.code"), Some("184047000"));
    assert_eq!((task.text("status"), task.text("intent")), (Some("requested"), Some("order")));
    assert_eq!(task.text_at("for.identifier.value"), Some("9990000018"));
    assert_eq!(task.text_at("owner.identifier.value"), Some("Y99001"));
    assert_eq!(task.text_at("restriction.period.start"), Some("2026-11-13T15:30:00.000Z"));
    assert_eq!(task.text_at("restriction.period.end"), Some("2026-12-11"), "as the Encounter plans the stay");
    let patient = bundle.resolve(task.get("focus").expect("a focus")).expect("in the Bundle");
    let temporary = patient.all("address").find(|address| address.text("use") == Some("temp")).expect("the home");
    let key = temporary.extension(registration::ADDRESS_KEY).expect("an address key");
    assert_eq!(key.extension("type").and_then(|part| part.text_at("valueCodeableConcept.coding.code")), Some("UPRN"));
    assert_eq!(key.extension("value").and_then(|part| part.text("valueString")), Some("100099000017"));
    assert!(
        patient.all("address").any(|address| address.text("postalCode") == Some("NM4 2TX")),
        "and the usual address"
    );
    let document = bundle.of_type("Bundle").next().expect("the summary");
    assert_eq!(document.text_at("identifier.value"), Some(rendered.document_id.as_str()));
}

/// What a practice reads in its browser is all of it: the request and the summary that it speaks of.
#[test]
fn the_page_of_the_covering_practice_has_request_and_summary() {
    let r4 = document(&fixture("messages/edischarge-r4.json"));
    for endpoint in [Town::new().covering.endpoint, Endpoint::Inbox {}] {
        let mut town = Town::new();
        town.covering.endpoint = endpoint;
        let html =
            page(&covering_practice(&r4, &policy("covering-practice"), &town.parties(), delivery(5)).expect("made"));
        for needed in
            ["UPRN 100099000017", "30019", "Ramipril 2.5mg capsules", "Allergy to penicillin", "Risk of falls"]
        {
            assert!(html.contains(needed), "{needed}");
        }
        assert_eq!(html.matches("class=\"banner\"").count(), 1);
    }
}

/// The label of a copy is never lower than what the sender put on any part of it.
#[test]
fn send_document_keeps_the_senders_confidentiality() {
    let source = fixture("messages/edischarge-r4.json");
    let town = Town::new();
    let confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
    let label = |code: &str| format!("\"security\": [{{\"system\": \"{confidentiality}\", \"code\": \"{code}\"}}]");
    for (composition, patient, expected) in [
        (None, None, "N"),
        (Some("N"), None, "N"),
        (Some("R"), None, "R"),
        (Some("V"), Some("R"), "V"),
        (Some("N"), Some("V"), "V"),
        (None, Some("R"), "R"),
        (Some("L"), None, "L"),
    ] {
        let (before, after) = source.split_once("\"resourceType\": \"Patient\",").expect("a Patient");
        let after = match patient {
            Some(code) => after.replacen("\"meta\": {", &format!("\"meta\": {{{},", label(code)), 1),
            None => after.to_owned(),
        };
        let text = format!("{before}\"resourceType\": \"Patient\",{after}");
        let own = composition.map(|code| format!("\"confidentiality\": \"{code}\",")).unwrap_or_default();
        let text =
            text.replacen("\"resourceType\": \"Composition\",", &format!("\"resourceType\": \"Composition\",{own}"), 1);
        let r4 = document(&text);
        let rendered =
            covering_practice(&r4, &policy("covering-practice"), &town.parties(), delivery(5)).expect("made");
        let tree = tree_of(self::text(&rendered));
        let sent = tree.root().descendants().find(|each| each.is("Composition")).expect("a Composition");
        assert_eq!(sent.text("confidentiality"), Some(expected), "{composition:?} {patient:?}");
    }
}

/// The registered practice's document is the sender's, byte for byte.
#[test]
fn the_registered_practice_gets_the_identical_document() {
    let town = Town::new();
    let source = fixture("messages/edischarge-itk3.xml");
    let tree = tree_of(&source);
    let message = Message::read(tree.root()).expect("a message");
    let DocumentPart::Nested(element) = message.document else { panic!("a document") };
    let original = Original { element, release: Release::Stu3, is_xml: true };
    let rendered =
        registered_practice(&original, &policy("registered-practice"), &town.parties(), delivery(6)).expect("rendered");
    let inner = source[element.span()].trim();
    let bundle =
        inner[inner.find("<Bundle").expect("a Bundle")..inner.rfind("</Bundle>").expect("its end") + 9].to_owned();
    assert!(bundle.len() > 10_000 && text(&rendered).contains(&bundle), "the sender's own bytes");

    let copy_tree = tree_of(text(&rendered));
    let copy = Message::read(copy_tree.root()).expect("a message");
    assert_eq!(copy.handling.recipient_type, Some("FI"), "a copy must not create work");
    assert_eq!((copy.handling.business_ack, copy.handling.infrastructure_ack), (Some(true), Some(true)));
    assert_eq!(copy.event, Some((systems::ITK_MESSAGE_EVENT, "ITK003D")));
    assert_eq!(copy.destination_ods, ["Y99002"]);
    assert_eq!(copy.header_id, rendered.correlation_id.as_deref());
    assert_ne!(copy.message_id, message.message_id, "a message of our own");
    assert_eq!(rendered.workflow.as_ref().map(|workflow| workflow.as_str()), Some("TOC_FHIR_IP_DISCH"));
    let of_sender = Document::read(element, Release::Stu3).expect("a document");
    assert_eq!(Some(rendered.document_id.as_str()), of_sender.document_id);
    assert!(rendered.withheld.is_empty());
}

/// JSON and R4 originals keep their content, whatever the syntax of the envelope; MESH carries XML only.
#[test]
fn originals_in_other_syntax_keep_their_content() {
    for (name, release, by_mesh, media_type) in [
        ("edischarge-itk3.json", Release::Stu3, true, "application/fhir+xml"),
        ("edischarge-r4.json", Release::R4, true, "application/fhir+xml"),
        ("edischarge-r4.json", Release::R4, false, "application/fhir+json"),
    ] {
        let mut town = Town::new();
        if !by_mesh {
            town.registered.endpoint = Endpoint::Inbox {};
        }
        let source = fixture(&format!("messages/{name}"));
        let tree = tree_of(&source);
        let message = Message::read(tree.root()).expect("a message");
        let DocumentPart::Nested(element) = message.document else { panic!("a document") };
        let original = Original { element, release, is_xml: false };
        let rendered =
            registered_practice(&original, &policy("registered-practice"), &town.parties(), delivery(6)).expect(name);
        assert_eq!(rendered.media_type, media_type);
        assert_eq!(text(&rendered).starts_with("<?xml"), by_mesh, "{name}");
        let copy_tree = tree_of(text(&rendered));
        let copy = Message::read(copy_tree.root()).expect("a message");
        let DocumentPart::Nested(inside) = copy.document else { panic!("a document") };
        assert_eq!(content(inside), content(element), "{name}");
        assert_eq!(copy.handling.recipient_type, Some("FI"));
        assert_eq!((copy.handling.business_ack, copy.handling.infrastructure_ack), (Some(true), Some(true)));
        assert_eq!(copy.header_id, rendered.correlation_id.as_deref());
        if !by_mesh {
            assert!(
                text(&rendered).contains(source[element.span()].trim_start_matches(|c| c != '{')),
                "the sender's own bytes"
            );
        }
    }
}

/// The STU3 document that an R4 message wraps goes out as ITK3, byte for byte.
#[test]
fn a_wrapped_stu3_document_goes_as_itk3() {
    let town = Town::new();
    let source = fixture("messages/documentreference-r4.json");
    let tree = tree_of(&source);
    let message = Message::read(tree.root()).expect("a message");
    let wrapped = String::from_utf8(message.embedded_document().expect("a document").bytes).expect("UTF-8");
    let inner = tree_of(&wrapped);
    let original = Original { element: inner.root(), release: Release::Stu3, is_xml: true };
    let mut parties = town.parties();
    parties.event = "document";
    let rendered =
        registered_practice(&original, &policy("registered-practice"), &parties, delivery(6)).expect("rendered");
    assert_eq!(rendered.media_type, "application/fhir+xml");
    let document = &wrapped[wrapped.find("<Bundle").expect("a Bundle")..].trim_end();
    assert!(document.len() > 10_000 && text(&rendered).contains(document), "the sender's own bytes");
    let copy_tree = tree_of(text(&rendered));
    let copy = Message::read(copy_tree.root()).expect("a message");
    assert_eq!((copy.release, copy.handling.recipient_type), (Release::Stu3, Some("FI")));
    assert_eq!(copy.event, Some((systems::ITK_MESSAGE_EVENT, "ITK003D")));
}

/// Paths and values, in an order that does not depend on the writer.
fn content(element: Element<'_, '_>) -> Vec<String> {
    let mut out: Vec<String> = element
        .descendants()
        .skip(1)
        .map(|each| {
            let mut at = String::new();
            let mut up = Some(each);
            while let Some(step) = up.filter(|step| step.id() != element.id()) {
                at = format!("{}/{at}", step.name());
                up = step.parent();
            }
            format!("{at}={:?}", each.value().map(|value| value.replace(" xmlns=\"http://www.w3.org/1999/xhtml\"", "")))
        })
        .collect();
    out.sort();
    out
}

/// A document whose prefixes are declared outside it cannot be cut out; it is written from the tree instead.
#[test]
fn a_document_that_cannot_be_cut_out_is_written_anew() {
    let town = Town::new();
    let mut source = fixture("messages/edischarge-itk3.xml").replacen(
        "<Bundle xmlns=\"http://hl7.org/fhir\"",
        "<Bundle xmlns=\"http://hl7.org/fhir\" xmlns:h=\"http://www.w3.org/1999/xhtml\"",
        1,
    );
    while let Some(start) = source.find("<div xmlns") {
        let end = start + source[start..].find("</div>").expect("its end") + 6;
        source.replace_range(start..end, "<h:div><h:p>in words</h:p></h:div>");
    }
    let tree = tree_of(&source);
    let message = Message::read(tree.root()).expect("a message");
    let DocumentPart::Nested(element) = message.document else { panic!("a document") };
    let original = Original { element, release: Release::Stu3, is_xml: true };
    let rendered =
        registered_practice(&original, &policy("registered-practice"), &town.parties(), delivery(6)).expect("rendered");
    let copy_tree = tree_of(text(&rendered));
    let copy = Message::read(copy_tree.root()).expect("a message");
    let DocumentPart::Nested(inside) = copy.document else { panic!("a document") };
    assert_eq!(content(inside), content(element));
    assert!(!text(&rendered).contains("h:div") && text(&rendered).contains("in words"));
}
