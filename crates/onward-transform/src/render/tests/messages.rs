//! What machines read.

use base64::Engine as _;
use onward_fhir::systems;

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
