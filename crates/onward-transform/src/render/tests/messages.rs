//! What machines read.

use base64::Engine;
use onward_fhir::{Document, systems};

use super::*;
use crate::disclose::{beyond, carried};

fn every(r4: &Tree<'_>, town: &Town, original: &Original<'_, '_>) -> Vec<(&'static str, Rendered)> {
    let parties = town.parties();
    let id = delivery(77);
    vec![
        ("care-home", care_home(r4, &policy("care-home"), &parties, id).expect("care-home")),
        ("covering-practice", covering_practice(r4, &policy("covering-practice"), &parties, id).expect("covering")),
        (
            "registered-practice",
            registered_practice(original, &policy("registered-practice"), &parties, id).expect("registered"),
        ),
        ("pharmacy-referral", pharmacy_referral(r4, &policy("pharmacy-referral"), &parties, id).expect("referral")),
        (
            "pharmacy-nomination",
            pharmacy_nomination(r4, &policy("pharmacy-nomination"), &parties, id).expect("nomination"),
        ),
    ]
}

fn text(rendered: &Rendered) -> &str {
    std::str::from_utf8(&rendered.body).expect("UTF-8")
}

/// Whatever came, the five renditions read back, are closed, and come out the same again.
#[test]
fn every_shape_of_message_gives_five_renditions() {
    for name in ["edischarge-itk3.xml", "edischarge-itk3.json", "edischarge-r4.json", "documentreference-r4.json"] {
        let source = fixture(&format!("messages/{name}"));
        let tree = tree_of(&source);
        let message = Message::read(tree.root()).expect("a message");
        let embedded =
            message.embedded_document().ok().map(|embedded| String::from_utf8(embedded.bytes).expect("UTF-8"));
        let inner = embedded.as_deref().map(tree_of);
        let element = match (&inner, message.document) {
            (Some(inner), _) => inner.root(),
            (None, DocumentPart::Nested(element)) => element,
            _ => panic!("{name} has a document"),
        };
        let release = onward_fhir::message::release_of(element);
        let is_xml = embedded.as_deref().unwrap_or(&source).trim_start().starts_with('<');
        let original = Original { element, release, is_xml };
        let r4 = match release {
            Release::Stu3 => convert::to_r4(element).tree.into_owned(),
            Release::R4 => copy(element),
        };
        let mut town = Town::new();
        for inbox in [false, true] {
            if inbox {
                town.covering.endpoint = Endpoint::Inbox {};
            }
            let first = every(&r4, &town, &original);
            for ((kind, rendered), (_, again)) in first.iter().zip(every(&r4, &town, &original)) {
                assert_eq!(rendered.body, again.body, "{name} {kind}");
                let usual = usual_workflows(kind.parse().expect("a kind"), town.parties().event);
                assert!(rendered.workflow.iter().all(|workflow| usual.contains(workflow)), "{name} {kind}: {usual:?}");
                assert!(inbox || rendered.workflow.is_some() != usual.is_empty(), "{name} {kind}: {usual:?}");
                assert_eq!(rendered.html, again.html, "{name} {kind}");
                let read = tree_of(text(rendered));
                closed(read.root()).unwrap_or_else(|error| panic!("{name} {kind}: {error}"));
                assert!(rendered.media_type.ends_with("xml") == text(rendered).starts_with('<'), "{name} {kind}");
                assert!(rendered.basis.contains("direct care"), "{name} {kind}");
                assert!(!rendered.document_id.is_empty() && !rendered.disclosed.is_empty(), "{name} {kind}");
                let sent = carried(&rendered.media_type, &rendered.body);
                let shown = rendered.html.as_deref().map(|html| carried("text/html", html)).unwrap_or_default();
                assert!(
                    sent.contains("envelope Patient.name") || sent.contains("Patient.name"),
                    "{name} {kind}: {sent:?}"
                );
                assert!(!sent.contains("unreadable FHIR"), "{name} {kind}");
                let all = sent.iter().chain(&shown).map(String::as_str);
                assert_eq!(beyond(&policy(kind), all), Vec::<&str>::new(), "{name} {kind}");
            }
        }
    }
}

/// The same resource with its JSON properties in another order, at every level.
fn reordered(element: Element<'_, '_>, descending: bool) -> Tree<'static> {
    fn walk(b: &mut Builder<'static>, element: Element<'_, '_>, descending: bool) {
        let mut children: Vec<_> = element.children().collect();
        // Stable: repeats of one name keep their order.
        children.sort_by(|a, b| if descending { b.name().cmp(a.name()) } else { a.name().cmp(b.name()) });
        for child in children {
            b.open_shell_owned(child.name().to_owned(), child);
            walk(b, child, descending);
            b.close();
        }
    }
    let mut b = Builder::resource("Bundle");
    walk(&mut b, element, descending);
    b.finish()
}

/// JSON's order of properties means nothing (RFC 8259 §4): whatever it is, the same copies come out.
#[test]
fn the_order_of_json_properties_changes_nothing() {
    for name in ["edischarge-r4.json", "edischarge-itk3.json"] {
        let source = fixture(&format!("messages/{name}"));
        let tree = tree_of(&source);
        // Labels and other metadata beside them, so that the mark of a reduced copy has to find its place.
        let (before, patient) = source.split_once("\"resourceType\": \"Patient\",").expect("a Patient");
        let labels = "\"meta\": {\"security\": [{\"system\": \"http://terminology.hl7.org/CodeSystem/v3-Confidentiality\", \
                      \"code\": \"N\"}], \"tag\": [{\"code\": \"t\"}],";
        let patient = patient.replacen("\"meta\": {", labels, 1);
        let labelled = format!("{before}\"resourceType\": \"Patient\",{patient}");
        let labelled = tree_of(&labelled);
        for tree in [&tree, &labelled] {
            let release = Message::read(tree.root()).expect("a message").release;
            for descending in [false, true] {
                let other = reordered(tree.root(), descending);
                let text = onward_fhir::write::json(other.root(), release).text;
                let again = tree_of(&text);
                assert_ne!(text, onward_fhir::write::json(tree.root(), release).text);
                let message = Message::read(again.root()).expect("a message");
                let DocumentPart::Nested(element) = message.document else { panic!("a document") };
                let original = Original { element, release, is_xml: false };
                let r4 = document(&text);
                let mut town = Town::new();
                for endpoint in [town.covering.endpoint.clone(), Endpoint::Inbox {}] {
                    town.covering.endpoint = endpoint;
                    for (kind, rendered) in every(&r4, &town, &original) {
                        closed(tree_of(self::text(&rendered)).root()).expect(kind);
                    }
                }
            }
        }
    }
}

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

#[test]
fn the_pharmacy_gets_the_minimum_set_and_no_more() {
    let town = Town::new();
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    let rendered =
        pharmacy_referral(&r4, &policy("pharmacy-referral"), &town.parties(), delivery(8)).expect("rendered");
    let tree = tree_of(text(&rendered));
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(message.header_id, rendered.correlation_id.as_deref());
    let request = message.bundle.resolve(message.header.get("focus").expect("a focus")).expect("there");
    assert!(request.is("ServiceRequest"));
    assert_eq!(request.text_at("requester.identifier.value"), Some("R9Z"), "the hospital's ODS code");
    assert!(text(&rendered).contains("01632 960117"), "the referrer's telephone");
    let person = message.bundle.resolve(request.get("subject").expect("a subject")).expect("there");
    let temporary = person.all("address").find(|address| address.text("use") == Some("temp")).expect("the home");
    assert_eq!(temporary.text("postalCode"), Some("NM7 4QD"), "where to deliver");
    let notes: Vec<_> = request.all("note").filter_map(|note| note.text("text")).collect();
    for needed in ["Rowan House Care Home", "01632 960201", "Beck Lane Surgery (Y99001) 01632 960301"] {
        assert!(notes.iter().any(|note| note.contains(needed)), "{needed} in {notes:?}");
    }
    let html = page(&rendered);
    for needed in [
        "999 000 0018",
        "N0048213",
        "14 Bramble Close",
        "Hillside Medical Practice",
        "Ramipril 2.5mg capsules",
        "One capsule in the morning",
        "Reduced from 5 mg",
        "Stopped for good",
        "Hypertension",
        "Allergy to penicillin",
        "R9Z",
    ] {
        assert!(html.contains(needed), "{needed}");
    }
    let both = format!("{html}{}", text(&rendered));
    for hidden in [
        "Widowed",
        "Clinical summary",
        "capacity to decide",
        "worries about falling",
        "Prosthesis",
        "Helen",
        "application/pdf",
    ] {
        assert!(!both.contains(hidden), "{hidden} is not in the minimum set");
    }
}

#[test]
fn the_nomination_is_a_request_and_names_nothing_clinical() {
    let town = Town::new();
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    let rendered =
        pharmacy_nomination(&r4, &policy("pharmacy-nomination"), &town.parties(), delivery(9)).expect("rendered");
    let tree = tree_of(text(&rendered));
    let bundle = Bundle::new(tree.root()).expect("a Bundle");
    let task = bundle.first("Task").expect("a Task");
    assert_eq!((task.text("intent"), task.text_at("owner.identifier.value")), (Some("proposal"), Some("FZZ01")));
    assert!(task.all("note").any(|note| note.text("text").is_some_and(|text| text.contains("01632 960201"))), "where");
    let both = format!("{}{}", page(&rendered), text(&rendered));
    for hidden in ["Ramipril", "penicillin", "Bramble", "01632 960401", "fracture", "Composition"] {
        assert!(!both.contains(hidden), "{hidden}");
    }
    let mut parties = town.parties();
    parties.nominated_pharmacy = Some(&town.pharmacy.ods);
    let needless = pharmacy_nomination(&r4, &policy("pharmacy-nomination"), &parties, delivery(9));
    assert!(matches!(needless, Err(RenderError::NotNeeded(_))));
}

/// What the directory and PDS know goes to nobody whose policy does not name it, on no page and in no message.
#[test]
fn nothing_is_added_that_the_policy_does_not_name() {
    let r4 = document(&fixture("messages/edischarge-r4.json"));
    let town = Town::new();
    let mut parties = town.parties();
    parties.registered_practice = Some(&town.covering);
    let directory = [
        ("care-home", "01632 960201"),
        ("contacts", "01632 960120"),
        ("covering-practice", "01632 960301"),
        ("delivering-pharmacy", "01632 960501"),
        ("registered-practice", "Y99001"),
    ];
    // The document itself names some of it; what is asked here is what the directory adds.
    let r4 = changed(&r4, &|_, value| {
        let named = directory.iter().any(|(_, fact)| value.contains(fact));
        if named { "REDACTED".to_owned() } else { value.to_owned() }
    });
    type Make = fn(&Tree<'_>, &Policy, &Parties<'_>, DeliveryId) -> Result<Rendered, RenderError>;
    let makers: [(&str, &[&str], Make); 4] = [
        ("care-home", &["contacts", "covering-practice", "delivering-pharmacy"], care_home),
        ("covering-practice", &["care-home", "registered-practice"], covering_practice),
        ("pharmacy-referral", &["care-home", "covering-practice", "registered-practice"], pharmacy_referral),
        ("pharmacy-nomination", &["care-home"], pharmacy_nomination),
    ];
    for (name, shipped, make) in makers {
        let file = std::fs::read_to_string(format!("{FIXTURES}../config/disclosure/{name}.toml")).expect("a policy");
        let line = file.lines().find(|line| line.starts_with("added = ")).expect("the key");
        let of = |added: &[&str]| Policy::parse(name, &file.replace(line, &format!("added = {added:?}")));
        let made = |policy: &Policy| {
            let rendered = make(&r4, policy, &parties, delivery(9)).expect(name);
            let told: Vec<String> = rendered.disclosed.iter().map(|each| each.rule.clone()).collect();
            (format!("{}{}", page(&rendered), text(&rendered)), told)
        };
        let needs_home = shipped.contains(&"care-home") && name != "pharmacy-nomination";
        assert_eq!(of(&[]).is_err(), needs_home, "{name}: a request for the stay needs the home");
        let least: &[&str] = if needs_home { &["care-home"] } else { &[] };
        let (text, _) = made(&of(least).expect("valid"));
        // The recipient is named in its own copy.
        let of_recipient = |word: &str| name == "covering-practice" && matches!(word, "registered-practice");
        for (word, fact) in directory.iter().filter(|(word, _)| !least.contains(word) && !of_recipient(word)) {
            assert!(!text.contains(fact), "{name}: {word}");
        }
        let (text, told) = made(&policy(name));
        for (word, fact) in directory {
            let goes = shipped.contains(&word);
            assert_eq!(told.contains(&format!("added: {word}")), goes, "{name}: {word}");
            assert!(!goes || text.contains(fact) || of_recipient(word), "{name}: {word}");
        }
        assert!(!text.contains("FZZ02"), "{name}: the pharmacy that PDS has goes to nobody");
    }
}

/// Relatives are told by name and telephone; where they live stays behind, wherever the sender wrote it.
#[test]
fn a_relatives_address_does_not_go_to_the_home() {
    let source = fixture("messages/edischarge-r4.json");
    let address = "\"contact\": [ { \"address\": {\"line\": [\"CANARY STREET\"]},";
    let at = source.find("\"contact\": [").expect("a contact");
    let brace = at + source[at..].find('{').expect("its begin") + 1;
    let text = format!("{}{address}{}", &source[..at], &source[brace..]);
    let rendered =
        care_home(&document(&text), &policy("care-home"), &Town::new().parties(), delivery(1)).expect("rendered");
    let all = format!("{}{}", page(&rendered), self::text(&rendered));
    assert!(all.contains("Mrs Helen Carter") && all.contains("01632 960402"));
    assert!(!all.contains("CANARY STREET"));
}

#[test]
fn what_cannot_be_rendered_safely_is_refused() {
    let town = Town::new();
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    let wrong = care_home(&r4, &policy("pharmacy-referral"), &town.parties(), delivery(1));
    assert!(matches!(wrong, Err(RenderError::Policy { .. })));
    let wrong = care_home(&r4, &policy("registered-practice"), &town.parties(), delivery(1));
    assert!(matches!(wrong, Err(RenderError::Policy { .. })));
    for number in ["9990000019", "", "abc"] {
        let bad = changed(&r4, &|element, value| {
            let is_number =
                element.parent().is_some_and(|parent| parent.text("system").is_some_and(systems::is_nhs_number));
            if element.name() == "value" && is_number { number.to_owned() } else { value.to_owned() }
        });
        let refused = care_home(&bad, &policy("care-home"), &town.parties(), delivery(1));
        assert!(matches!(refused, Err(RenderError::NoPatient)), "{number:?}");
    }
    let mut parties = town.parties();
    parties.registered_practice = None;
    let original = Original { element: r4.root(), release: Release::R4, is_xml: false };
    let refused = registered_practice(&original, &policy("registered-practice"), &parties, delivery(1));
    assert!(matches!(refused, Err(RenderError::NotNeeded(_))));
    let large = changed(&r4, &|element, value| {
        if element.name() == "div" { format!("<div>{}</div>", "x".repeat(400_000)) } else { value.to_owned() }
    });
    let refused = covering_practice(&large, &policy("covering-practice"), &town.parties(), delivery(1));
    assert!(matches!(refused, Err(RenderError::TooLarge(_))));
}

/// The projection alone decides what of the patient travels: every canary that a policy does not name is in no
/// rendition, base64 included.
#[test]
fn no_rendition_carries_what_its_policy_withholds() {
    let town = Town::new();
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    let marked = changed(&r4, &|element, value| {
        let resource = element.resource();
        // Names of the relative, whom no pharmacy policy names.
        if resource.is("RelatedPerson") && element.name() == "family" {
            "CANARYRELATIVE".to_owned()
        } else {
            value.to_owned()
        }
    });
    assert!(onward_fhir::write::json(marked.root(), Release::R4).text.contains("CANARYRELATIVE"));
    for (name, rendered) in [
        ("pharmacy-referral", pharmacy_referral(&marked, &policy("pharmacy-referral"), &town.parties(), delivery(2))),
        (
            "pharmacy-nomination",
            pharmacy_nomination(&marked, &policy("pharmacy-nomination"), &town.parties(), delivery(2)),
        ),
    ] {
        let rendered = rendered.expect(name);
        let mut all = format!("{}{}", page(&rendered), text(&rendered));
        let engine = base64::engine::general_purpose::STANDARD;
        let encoded: Vec<String> = tree_of(text(&rendered))
            .root()
            .descendants()
            .filter(|each| each.name() == "data")
            .filter_map(|each| String::from_utf8(engine.decode(each.value()?).ok()?).ok())
            .collect();
        all.extend(encoded);
        assert!(!all.contains("CANARYRELATIVE"), "{name}");
    }
}

/// What is sent beyond a policy is read in the bytes, wherever a mistake puts it.
#[test]
fn a_mistake_of_the_transform_is_read_in_the_bytes() {
    let town = Town::new();
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    let policy = policy("pharmacy-referral");
    let rendered = pharmacy_referral(&r4, &policy, &town.parties(), delivery(3)).expect("a referral");
    let whole: serde_json::Value = serde_json::from_slice(&rendered.body).expect("JSON");
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let hidden = encode(
        r#"{"resourceType":"Bundle","type":"document","entry":[{"resource":{"resourceType":"Condition","note":[{"text":"CANARY"}]}}]}"#,
    );
    let planted = [
        (
            serde_json::json!({"resourceType": "Patient", "maritalStatus": {"text": "CANARY"}}),
            "envelope Patient.maritalStatus",
        ),
        (
            serde_json::json!({"resourceType": "Patient", "contact": [{"name": {"text": "CANARY"}}]}),
            "envelope Patient.contact.name",
        ),
        (serde_json::json!({"resourceType": "Condition", "note": [{"text": "CANARY"}]}), "envelope Condition.note"),
        (
            serde_json::json!({"resourceType": "Binary", "contentType": "application/pdf", "data": encode("CANARY")}),
            "attachments",
        ),
        (
            serde_json::json!({"resourceType": "Binary", "contentType": "application/fhir+json", "data": hidden}),
            "Condition.note",
        ),
        (
            serde_json::json!({"resourceType": "Patient", "extension": [{"url": "https://x.example/y", "valueAttachment": {"data": encode("CANARY")}}]}),
            "attachments",
        ),
        (
            serde_json::json!({"resourceType": "Bundle", "type": "document", "entry": [{"resource": {"resourceType": "Composition", "section": [{
                "code": {"coding": [{"system": systems::SNOMED_CT, "code": Heading::Safeguarding.snomed()}]},
                "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">CANARY</div>"}}]}}]}),
            "section safeguarding",
        ),
        // What a sender could write a number into is not told by its name.
        (serde_json::json!({"resourceType": "Patient", "CANARY": "x"}), "envelope Patient element of no known name"),
    ];
    for (resource, expected) in planted {
        let mut body = whole.clone();
        body["entry"].as_array_mut().expect("entries").push(serde_json::json!({ "resource": resource }));
        let names = carried(&rendered.media_type, body.to_string().as_bytes());
        let seen = beyond(&policy, names.iter().map(String::as_str));
        assert!(seen.contains(&expected), "{expected}: {seen:?}");
        assert!(names.iter().all(|name| !name.contains("CANARY")), "{expected}: names only");
    }
    let numbered =
        serde_json::json!({"resourceType": "Patient", "extension": [{"url": "https://fhir.nhs.uk/9990000018"}]});
    let names = carried("application/fhir+json", numbered.to_string().as_bytes());
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["envelope extension of another publisher"]);
    assert_eq!(carried("application/fhir+json", b"{").into_iter().collect::<Vec<_>>(), ["unreadable FHIR"]);
    // The page too: a section that a policy keeps back, but not what the hospital's own words look like.
    let page = page(&rendered);
    let with =
        |block: &str| page.replace("<h2>Where this comes from</h2>", &format!("{block}<h2>Where this comes from</h2>"));
    let seen = |page: &str| {
        let names = carried("text/html", page.as_bytes());
        beyond(&policy, names.iter().map(String::as_str)).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(seen(&with("<h3>Safeguarding</h3><ul><li>CANARY</li></ul>")), ["page section safeguarding"]);
    assert_eq!(seen(&with("<h3>Family and other contacts</h3><ul></ul>")), ["page contacts of the person"]);
    let words = "<div class=\"words\"><div><h3>Safeguarding</h3></div><ul><li>x</li></ul></div>";
    assert_eq!(seen(&with(words)), Vec::<String>::new());
    assert_eq!(seen(&page), Vec::<String>::new());
}
