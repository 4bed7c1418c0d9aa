//! What the systems of pharmacies read.

use super::*;

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
