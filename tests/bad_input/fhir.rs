//! Rows 91 to 109: readable FHIR that must not be carried on. Every refusal must give its own reason.

use onward_tests::message::{self, fresh};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Ground;

const JSON: &str = "Content-Type: application/fhir+json\r\n";
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// The R4 message under new identifiers, changed.
pub(super) fn edited(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bundle = serde_json::from_str(&fresh(message::EDISCHARGE_R4)).expect("JSON");
    change(&mut bundle);
    bundle.to_string().into_bytes()
}

/// The same with a further resource in its document.
fn added(resource: Value) -> Vec<u8> {
    edited(|bundle| {
        add(document(bundle), resource);
    })
}

/// The document of a message.
pub(super) fn document(bundle: &mut Value) -> &mut Value {
    &mut bundle["entry"][1]["resource"]
}

/// Adds a resource to a document; gives its fullUrl.
pub(super) fn add(document: &mut Value, mut resource: Value) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    resource["id"] = json!(id);
    let url = format!("urn:uuid:{id}");
    let entry = json!({ "fullUrl": url, "resource": resource });
    document["entry"].as_array_mut().expect("entries").push(entry);
    url
}

/// The first resource of a type in the document.
pub(super) fn first<'b>(bundle: &'b mut Value, kind: &str) -> &'b mut Value {
    let entries = document(bundle)["entry"].as_array_mut().expect("entries");
    let entry = entries.iter_mut().find(|entry| entry["resource"]["resourceType"] == kind);
    &mut entry.expect("the fixture has one")["resource"]
}

/// Right messages, so that what follows is measured on a gateway that has done its work before.
pub(super) async fn warm(ground: &mut Ground) {
    for _ in 0..3 {
        let heard = ground.message(JSON, fresh(message::EDISCHARGE_R4).as_bytes()).await;
        assert_eq!(heard.status(), 200, "{}", heard.text());
    }
}

pub(super) async fn rows(ground: &mut Ground) {
    references(ground).await;
    attachments(ground).await;
    narratives(ground).await;
    values(ground).await;
    repeats(ground).await;
}

impl Ground {
    async fn refused(&mut self, number: u16, name: &str, reason: &str, body: &[u8]) {
        let heard = self.message(JSON, body).await;
        self.reason(number, name, 422, reason, &heard).await;
    }
}

async fn references(ground: &mut Ground) {
    let organisation = |id: &str, other: &str| json!({ "resourceType": "Organization", "id": id, "active": true, "partOf": { "reference": format!("#{other}") } });
    let body = edited(|bundle| {
        first(bundle, "Encounter")["contained"] = json!([organisation("a", "b"), organisation("b", "a")]);
    });
    ground.refused(91, "contained resources in a ring", "ring", &body).await;

    let body = edited(|bundle| {
        let entries = document(bundle)["entry"].as_array_mut().expect("entries");
        entries[2]["fullUrl"] = entries[1]["fullUrl"].clone();
    });
    ground.refused(92, "a fullUrl twice", "same fullUrl", &body).await;

    let body = added(json!({ "resourceType": "Bundle", "type": "collection" }));
    ground.refused(93, "a Bundle in the document", "no further Bundle", &body).await;
    let body = edited(|bundle| {
        let nested = json!({ "fullUrl": "urn:uuid:7d3c6c5e-6f0f-4d83-9a2b-0f5a5d1f0c11",
            "resource": { "resourceType": "Bundle", "id": "7d3c6c5e-6f0f-4d83-9a2b-0f5a5d1f0c11", "type": "collection" } });
        bundle["entry"].as_array_mut().expect("entries").push(nested);
    });
    ground.refused(93, "a second Bundle in the message", "Only the document", &body).await;

    let text = fresh(message::EDISCHARGE_R4);
    let body =
        text.replacen("\"entry\": [", &format!("\"entry\": [{}", "{\"fullUrl\":\"urn:a:1\"},".repeat(100_000)), 1);
    let heard = ground.message(JSON, body.as_bytes()).await;
    ground.status(94, "100,000 entries", 413, &heard).await;

    // A listener of ours stands for any address: were a reference followed, it would hear it.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ours = format!("http://{}/", listener.local_addr().expect("an address"));
    for address in ["http://169.254.169.254/latest/meta-data", &ours, "file:///etc/passwd"] {
        let place = address.split(':').next().unwrap_or_default();
        let body = edited(|bundle| first(bundle, "Encounter")["serviceProvider"] = json!({ "reference": address }));
        ground.refused(95, &format!("Reference to {place}"), "absolute URL", &body).await;
        let body = added(json!({
            "resourceType": "DocumentReference", "status": "current",
            "content": [{ "attachment": { "contentType": "application/pdf", "url": address } }],
        }));
        ground.refused(95, &format!("Attachment.url to {place}"), "outside the message", &body).await;
    }
    // What is no reference and no attachment is carried on as it is: into copies, pages and PDF, and nobody looks what is there.
    let body = edited(|bundle| {
        let organisation = first(bundle, "Organization");
        organisation["telecom"] = json!([{ "system": "url", "value": ours }]);
        organisation["identifier"][0]["assigner"] = json!({ "display": ours });
    });
    let heard = ground.message(JSON, &body).await;
    ground.status(95, "an address of a web page is taken", 200, &heard).await;
    let task = ground.location(&heard);
    ground.copy_of(&task).await;
    let knocked = std::future::poll_fn(|cx| std::task::Poll::Ready(listener.poll_accept(cx).is_ready())).await;
    ground.row(95, "sockets opened because of content", "none", if knocked { "one" } else { "none" }).await;
}

async fn attachments(ground: &mut Ground) {
    let body = edited(|bundle| first(bundle, "Binary")["data"] = json!("%%% no base64"));
    ground.refused(96, "bad base64", "base64", &body).await;
    // "MZ", then zeros.
    let body = edited(|bundle| first(bundle, "Binary")["data"] = json!("TVqQAAMAAAAEAAAA"));
    ground.refused(97, "a program that is called PDF", "not what contentType", &body).await;
    let titled = |title: &str| {
        json!({
            "resourceType": "DocumentReference", "status": "current",
            "content": [{ "attachment": { "contentType": "application/pdf", "data": "JVBERi0x", "title": title } }],
        })
    };
    ground.refused(109, "line ends in a title", "title holds", &added(titled("letter\r\nBcc: a@example.org"))).await;
    ground.refused(109, "../ in a title", "title holds", &added(titled("../../etc/passwd"))).await;
}

async fn narratives(ground: &mut Ground) {
    for (number, name, html) in [
        (98, "script", "<p>a</p><script>alert(1)</script>"),
        (98, "onerror", "<img src=\"#a\" alt=\"\" onerror=\"alert(1)\"/>"),
        (98, "javascript:", "<a href=\"java&#x73;cript:alert(1)\">a</a>"),
        (99, "a remote image", "<img src=\"https://elsewhere.example/a.png\" alt=\"\"/>"),
        (100, "SVG animate", "<svg xmlns=\"http://www.w3.org/2000/svg\"><animate onbegin=\"alert(1)\"/></svg>"),
    ] {
        let body = edited(|bundle| {
            let section = &mut first(bundle, "Composition")["section"][0]["text"]["div"];
            *section = json!(format!("<div xmlns=\"{XHTML}\"><p>a</p>{html}</div>"));
        });
        ground.refused(number, name, "arrative", &body).await;
    }
}

async fn values(ground: &mut Ground) {
    let body = edited(|bundle| {
        let identifiers = first(bundle, "Patient")["identifier"].as_array_mut().expect("identifiers");
        let number = identifiers.iter_mut().find(|id| id["system"] == "https://fhir.nhs.uk/Id/nhs-number");
        let value = &mut number.expect("an NHS number")["value"];
        let text = value.as_str().expect("text");
        let other = if text.ends_with('9') { '8' } else { '9' };
        *value = json!(format!("{}{other}", &text[..9]));
    });
    ground.refused(101, "an NHS number whose check digit is wrong", "check digit", &body).await;

    let body = edited(|bundle| {
        let mut second = first(bundle, "Patient").clone();
        second.as_object_mut().expect("an object").remove("identifier");
        add(document(bundle), second);
    });
    ground.refused(102, "two Patients", "two Patients may mean", &body).await;

    let body = edited(|bundle| {
        first(bundle, "Condition")["subject"]["identifier"] =
            json!({ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9990000026" });
    });
    ground.refused(103, "a Condition with another NHS number", "another person or thing", &body).await;
    let body = edited(|bundle| {
        let relative = first(bundle, "RelatedPerson")["id"].as_str().expect("an id").to_owned();
        first(bundle, "Composition")["subject"] = json!({ "reference": format!("urn:uuid:{relative}") });
    });
    ground.refused(103, "a document about a relative", "Patient of this document", &body).await;

    let body = edited(|bundle| {
        first(bundle, "Condition")["modifierExtension"] =
            json!([{ "url": "https://elsewhere.example/negated", "valueBoolean": true }]);
    });
    ground.refused(104, "an unknown modifierExtension", "modifierExtension", &body).await;

    for year in ["0001-01-01", "9999-12-31"] {
        let body = edited(|bundle| first(bundle, "Patient")["birthDate"] = json!(year));
        ground.refused(107, &format!("birthDate {year}"), "year is not", &body).await;
    }

    // interface.md: an accepted message gets 200. What a document says is in none of the CSV files that Onward writes.
    let body = edited(|bundle| {
        first(bundle, "Condition")["code"]["coding"][0]["display"] = json!("=cmd|' /C calc'!A1");
    });
    let heard = ground.message(JSON, &body).await;
    ground.status(108, "=cmd in a display is taken", 200, &heard).await;
}

async fn repeats(ground: &mut Ground) {
    let body = fresh(message::EDISCHARGE_R4);
    let changed = body.replacen("Fall at home", "Fall in the garden", 1);
    assert_ne!(body, changed);
    let first = ground.message(JSON, body.as_bytes()).await;
    assert_eq!(first.status(), 200);
    let again = ground.message(JSON, body.as_bytes()).await;
    let marked = again.text().contains("onward-duplicate: true");
    ground
        .row(
            106,
            "the same message again",
            "200, marked",
            format!("{}, {}", again.status(), if marked { "marked" } else { "not marked" }),
        )
        .await;
    let heard = ground.message(JSON, changed.as_bytes()).await;
    ground.status(105, "the same identifier with other content", 409, &heard).await;
}
