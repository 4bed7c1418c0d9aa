//! Hospital, gateway and practice exchange by MESH: the NHS's own sandbox is the network between them, and the NHS's
//! own client is the hospital's and the practice's.

use std::collections::BTreeMap;
use std::time::Duration;

use onward_connect::http::Method;
use onward_core::client::{NhsNumberPolicy, Role};
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{DeliveryQuery, DeliveryRecord};
use onward_core::transport::Mailbox as _;
use onward_core::{DeliveryId, TransferId, people};
use onward_fhir::itk::ResponseCode;
use onward_fhir::message::{DocumentPart, Response, ResponseOutcome};
use onward_fhir::read::{self, Limits};
use onward_fhir::{Document, Message, Release};
use onward_tests::balp;
use onward_tests::browser;
use onward_tests::leaks::Session;
use onward_tests::mesh_sandbox::{Collected, Packing, Sandbox};
use onward_tests::message::{self, fresh};
use onward_tests::world::{GATEWAY_MAILBOX, PRACTICE_MAILBOX, World};
use serde_json::{Value, json};

use crate::leaving;

const HOSPITAL_MAILBOX: &str = "X26ABC1";
/// eDischarge and its acknowledgements.
const DISCHARGE: &str = "TOC_FHIR_IP_DISCH";
const DISCHARGE_ACK: &str = "TOC_FHIR_IP_DISCH_ACK";
/// Acknowledgements of Send Document.
const SEND_DOCUMENT_ACK: &str = "GPCONNECT_SEND_DOCUMENT_ACK";
/// An ITK3 response with words in braces to replace.
const RESPONSE: &str = include_str!("mesh/response.xml");
/// The person of the eDischarge fixture.
const NHS_NUMBER: &str = "9990000018";

/// The three of them.
struct Exchange {
    sandbox: Sandbox,
    world: World,
    /// The hospital, signed in over HTTPS too.
    hospital: Session,
}

impl Exchange {
    async fn start() -> Option<Self> {
        let sandbox = Sandbox::start().await?;
        let world = World::start_with_mesh(&sandbox).await;
        let hospital = world
            .client_with("northmoor-epr", "R9Z", Role::Sender, NhsNumberPolicy::Refuse, Some(HOSPITAL_MAILBOX))
            .await;
        Some(Self { sandbox, world, hospital })
    }

    async fn hospital_sends(&self, body: &str) -> String {
        self.sandbox.send([HOSPITAL_MAILBOX, GATEWAY_MAILBOX], DISCHARGE, Packing::Plain, body).await
    }

    async fn responds(&self, from: &str, original: &str, code: u32) {
        let body = response(original, code);
        self.sandbox.send([from, GATEWAY_MAILBOX], SEND_DOCUMENT_ACK, Packing::Plain, &body).await;
    }

    /// Every copy and response of every transfer.
    async fn copies(&self) -> Vec<DeliveryRecord> {
        let query = DeliveryQuery { include_responses: true, limit: 200, ..DeliveryQuery::default() };
        self.world.gateway().store().deliveries(query).await.expect("readable").rows
    }

    async fn copy(&self, id: DeliveryId) -> DeliveryRecord {
        self.world.gateway().store().delivery(id).await.expect("readable").expect("there")
    }

    async fn copies_to_practice(&self) -> Vec<DeliveryRecord> {
        let copies = self.copies().await.into_iter();
        copies.filter(|copy| copy.kind == RecipientKind::CoveringPractice).collect()
    }

    /// Waits until the gateway has dealt with its whole mailbox and sent all that this made it send: a message leaves
    /// the mailbox only after what it caused is committed, so nothing more can come of it afterwards.
    async fn quiet(&self) {
        let own = self.sandbox.mailbox(GATEWAY_MAILBOX);
        eventually("the gateway's mailbox is empty and nothing is queued", async || {
            let waiting = own.list().await.expect("listed");
            let queued = self.copies().await.iter().any(|copy| copy.state == DeliveryState::Queued);
            (waiting.is_empty() && !queued).then_some(())
        })
        .await;
        // Whatever MESH made the gateway write has the shape of BALP.
        balp::judge(self.world.gateway().store().as_ref(), 0).await;
    }

    /// How the sandbox says that a message fares.
    async fn mesh_status(&self, sender: &str, message: &str) -> String {
        let tracking = self.sandbox.mailbox(sender).tracking(message).await.expect("an answer").expect("known");
        tracking.status.unwrap_or_default().to_lowercase()
    }

    /// All audit entries, as text.
    async fn audit(&self) -> String {
        let entries = self.world.gateway().store().audit_entries(0, 1000).await.expect("readable");
        entries.iter().map(|entry| String::from_utf8_lossy(entry.event().expect("kept"))).collect::<Vec<_>>().join("\n")
    }
}

/// The one place that waits for time: at most 20 s, well past poll and dispatch.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(seen) = look().await {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within 20 s");
}

/// The practice's answer to the message with this header.
fn response(original: &str, code: u32) -> String {
    let code = ResponseCode::of(code).expect("an ITK3 code");
    let words = [
        ("{original}", original.to_owned()),
        ("{outcome}", code.response_code().to_owned()),
        ("{severity}", code.severity().to_owned()),
        ("{issue}", code.issue_code.to_owned()),
        ("{code}", code.code.to_string()),
        ("{display}", code.display.to_owned()),
    ];
    words.into_iter().fold(fresh(RESPONSE), |text, (word, value)| text.replace(word, &value))
}

fn header_id(xml: &str) -> String {
    let tree = read::xml(xml, &Limits::default()).expect("readable");
    Message::read(tree.root()).expect("a message").header_id.expect("an identifier").to_owned()
}

/// What a response that the gateway sent says: the identifier that it answers, and its code. What all of them
/// have in common is checked on the way.
fn told(response: &Collected) -> (String, u32) {
    assert_eq!((response.sender.as_str(), response.message_type.as_str()), (GATEWAY_MAILBOX, "DATA"));
    assert_eq!(response.workflow, DISCHARGE_ACK);
    assert!(!response.body.contains("99900000"), "no patient data in a response");
    let tree = read::xml(&response.body, &Limits::default()).expect("readable");
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(message.release, Release::Stu3);
    assert_eq!(message.event.map(|(_, code)| code), Some("ITK008M"));
    assert_eq!(message.sender_mailbox(), Some(GATEWAY_MAILBOX));
    let handling = message.handling;
    assert_eq!((handling.business_ack, handling.infrastructure_ack), (Some(false), Some(false)), "no endless answers");
    let answer = Response::read(&message).expect("a response");
    let code = answer.code.expect("a code");
    let positive = ResponseCode::of(code).expect("an ITK3 code").positive;
    assert_eq!(answer.positive, positive);
    assert_eq!(answer.outcome, Some(if positive { ResponseOutcome::Ok } else { ResponseOutcome::FatalError }));
    (answer.original_header_id.expect("an identifier").to_owned(), code)
}

/// The same for several, sorted.
fn all_told(responses: &[Collected]) -> Vec<(String, u32)> {
    let mut told: Vec<_> = responses.iter().map(told).collect();
    told.sort();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discharge_by_mesh_becomes_five_copies_and_is_acknowledged_to_the_hospital() {
    let Some(exchange) = Exchange::start().await else { return };
    let body = fresh(message::EDISCHARGE_ITK3);
    let sent = exchange.hospital_sends(&body).await;
    exchange.quiet().await;
    assert_eq!(exchange.mesh_status(HOSPITAL_MAILBOX, &sent).await, "acknowledged");

    let copies = exchange.copies().await;
    let transfers: std::collections::BTreeSet<TransferId> = copies.iter().map(|copy| copy.transfer).collect();
    assert_eq!(transfers.len(), 1);
    let mut kinds: Vec<_> = copies.iter().map(|copy| copy.kind).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            RecipientKind::CareHome,
            RecipientKind::CoveringPractice,
            RecipientKind::RegisteredPractice,
            RecipientKind::PharmacyReferral,
            RecipientKind::PharmacyNomination,
            RecipientKind::Sender,
        ]
    );
    let transfer = *transfers.first().expect("one");
    let store = exchange.world.gateway().store();
    let original = store.original(transfer).await.expect("readable").expect("kept");
    assert!(original.body == body.as_bytes(), "the hospital's bytes are kept as they were");
    let record = store.transfer(transfer).await.expect("readable").expect("there");
    assert!(record.hold.is_none());

    let responses = exchange.sandbox.collect(HOSPITAL_MAILBOX).await;
    assert_eq!(all_told(&responses), [(header_id(&body), 20013)]);
    let response = copies.iter().find(|copy| copy.kind == RecipientKind::Sender).expect("there");
    assert_eq!(response.state, DeliveryState::Completed);
    assert_eq!(responses[0].local_id, response.id.to_string());
    assert_eq!(response.reference.as_deref(), Some(responses[0].id.as_str()));
    assert!(responses[0].body.contains("NORTHMOOR-4C738762"), "the sender's reference is given back");

    // The hospital follows the same transfer over HTTPS.
    let task = exchange.hospital.get(&format!("fhir/R4/Task/{transfer}")).await.expect("an answer");
    assert_eq!(task.status, 200);
    assert_eq!(task.json().expect("JSON")["output"].as_array().map(Vec::len), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_in_is_answered_with_its_code_and_leaves_the_mailbox() {
    let Some(exchange) = Exchange::start().await else { return };
    // It lacks a handling flag besides other faults: the header is told of before the payload.
    let without_flag = fresh(message::REFUSED_ITK3);
    let invalid = fresh(message::EDISCHARGE_ITK3).replace(NHS_NUMBER, "9990000019");
    let unasked = fresh(&invalid).replace("<valueBoolean value=\"true\"/>", "<valueBoolean value=\"false\"/>");
    let foreign = fresh(message::EDISCHARGE_ITK3).replace("<value value=\"R9Z\"/>", "<value value=\"R9Y\"/>");
    assert!(!invalid.contains(NHS_NUMBER) && !foreign.contains("\"R9Z\""));
    assert!(!unasked.contains("<valueBoolean value=\"true\"/>"));
    let good = fresh(message::EDISCHARGE_ITK3);
    let mut sent = Vec::new();
    for body in [&without_flag, &invalid, &foreign, "<Bundle xmlns=\"http://hl7.org/fhir\"><cut"] {
        sent.push((HOSPITAL_MAILBOX, exchange.hospital_sends(body).await));
    }
    // A good message from a mailbox that belongs to no registered sender.
    let stranger = [PRACTICE_MAILBOX, GATEWAY_MAILBOX];
    sent.push((PRACTICE_MAILBOX, exchange.sandbox.send(stranger, DISCHARGE, Packing::Plain, &good).await));
    exchange.quiet().await;
    for (mailbox, id) in &sent {
        assert_eq!(exchange.mesh_status(mailbox, id).await, "acknowledged", "a refusal does not stay in the mailbox");
    }

    // Whoever wants no answer hears from MESH that nobody has it, and operations before that.
    let unasked = exchange.hospital_sends(&unasked).await;
    eventually("it is in the log", async || {
        exchange.audit().await.contains("its sender is not told so: it asks for no acknowledgement").then_some(())
    })
    .await;
    assert_eq!(exchange.sandbox.mailbox(GATEWAY_MAILBOX).list().await.expect("listed"), [unasked]);

    let responses = exchange.sandbox.collect(HOSPITAL_MAILBOX).await;
    let mut expected = vec![
        (header_id(&without_flag), 10002),
        (header_id(&invalid), 20009),
        (header_id(&foreign), 20012),
        ("UNREADABLE-IN-ORIGINAL-MESSAGE".to_owned(), 10009),
    ];
    expected.sort();
    assert_eq!(all_told(&responses), expected, "and none for the one that asked for no acknowledgement");
    let responses = exchange.sandbox.collect(PRACTICE_MAILBOX).await;
    assert_eq!(all_told(&responses), [(header_id(&good), 20003)]);

    assert!(exchange.copies().await.is_empty(), "nothing is stored");
    assert!(exchange.world.gateway().store().holds().await.expect("readable").is_empty());
    let audit = exchange.audit().await;
    for word in ["not-valid", "wrong-sender", "unreadable", "belongs to no registered sender"] {
        assert!(audit.contains(word), "{word} is in the audit");
    }
    // Whose message was refused is told by number, as in every AuditEvent; nothing else of it is.
    for content in ["Holroyd", "1944-03-08", "Rowan House"] {
        assert!(!audit.contains(content), "no content of a message that was not taken in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_practice_gets_send_document_and_its_answers_move_its_copy_only() {
    let Some(exchange) = Exchange::start().await else { return };
    for _ in 0..2 {
        exchange.hospital_sends(&fresh(message::EDISCHARGE_ITK3)).await;
    }
    exchange.quiet().await;
    let copies = exchange.copies_to_practice().await;
    let [first, second] = copies.as_slice() else { panic!("two transfers, not {}", copies.len()) };
    let arrived = exchange.sandbox.collect(PRACTICE_MAILBOX).await;
    assert_eq!(arrived.len(), 2, "one message for each transfer");
    let arrived: BTreeMap<&str, &Collected> = arrived.iter().map(|each| (each.local_id.as_str(), each)).collect();
    for copy in [first, second] {
        assert_eq!(copy.state, DeliveryState::Sent);
        let message = arrived[copy.id.to_string().as_str()];
        assert_eq!(copy.reference.as_deref(), Some(message.id.as_str()));
        assert_send_document(message, copy);
    }
    let (of_first, of_second) =
        (first.correlation_id.as_deref().expect("one"), second.correlation_id.as_deref().expect("one"));

    // Another organisation cannot answer for the practice, even with the right identifier.
    exchange.responds(HOSPITAL_MAILBOX, of_first, 30019).await;
    exchange.responds(PRACTICE_MAILBOX, "11d21a34-4d2f-5d52-9c7e-0c2a3c6ed0ff", 30019).await;
    exchange.quiet().await;
    for copy in [first, second] {
        assert_eq!(exchange.copy(copy.id).await.state, DeliveryState::Sent);
    }

    exchange.responds(PRACTICE_MAILBOX, of_first, 20013).await;
    exchange.quiet().await;
    let copy = exchange.copy(first.id).await;
    assert_eq!((copy.state, copy.code.as_deref()), (DeliveryState::Received, Some("20013")));
    assert_eq!(exchange.copy(second.id).await.state, DeliveryState::Sent, "the other transfer's copy stays");

    exchange.responds(PRACTICE_MAILBOX, of_first, 30019).await;
    exchange.responds(PRACTICE_MAILBOX, of_second, 30021).await;
    exchange.quiet().await;
    let copy = exchange.copy(first.id).await;
    assert_eq!((copy.state, copy.code.as_deref()), (DeliveryState::Accepted, Some("30019")));
    let copy = exchange.copy(second.id).await;
    assert_eq!((copy.state, copy.code.as_deref()), (DeliveryState::Rejected, Some("30021")));
    let task = exchange.hospital.get(&format!("fhir/R4/Task/{}", second.id)).await.expect("an answer");
    let task = task.json().expect("JSON");
    assert_eq!(task["status"], "rejected");
    let reason = task["statusReason"]["text"].as_str().expect("a reason");
    assert!(reason.contains("30021") && reason.contains("patient already registered"), "{reason}");
    assert_eq!(task["businessStatus"]["coding"][0]["code"], "30021");

    // Every negative is final, and a late infrastructure response takes nothing back.
    exchange.responds(PRACTICE_MAILBOX, of_second, 30019).await;
    exchange.responds(PRACTICE_MAILBOX, of_first, 20013).await;
    // Nor is an answer answered that cannot be read.
    let way = [PRACTICE_MAILBOX, GATEWAY_MAILBOX];
    exchange.sandbox.send(way, SEND_DOCUMENT_ACK, Packing::Plain, "<Bundle xmlns=\"http://hl7.org/fhir\"><cut").await;
    exchange.quiet().await;
    assert!(exchange.audit().await.contains("from a mailbox that belongs to no registered sender"), "yet it is noted");
    assert_eq!(exchange.copy(first.id).await.state, DeliveryState::Accepted);
    assert_eq!(exchange.copy(second.id).await.state, DeliveryState::Rejected);
    // The practice's answers are its own: the hospital's business response is the care home's.
    let codes: Vec<u32> = exchange.sandbox.collect(HOSPITAL_MAILBOX).await.iter().map(|each| told(each).1).collect();
    assert_eq!(codes, [20013, 20013]);
    assert!(exchange.sandbox.collect(PRACTICE_MAILBOX).await.is_empty(), "a response is never answered");
}

/// The notice that somebody has left the home goes the way of the copy: as a document that the practice can file.
#[tokio::test(flavor = "multi_thread")]
async fn a_practice_hears_by_mesh_that_somebody_leaves() {
    let Some(exchange) = Exchange::start().await else { return };
    exchange.hospital_sends(&fresh(message::EDISCHARGE_ITK3)).await;
    exchange.quiet().await;
    assert_eq!(exchange.sandbox.collect(PRACTICE_MAILBOX).await.len(), 1, "the copy itself");
    let copies = exchange.copies().await;
    let of_home = copies.iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy");
    let home = browser::person(&exchange.world, "home@rowan.example", people::Role::CareHomeUser, &["VMH01"]).await;
    leaving::leave(&home, of_home, "own-home").await;
    exchange.quiet().await;
    let arrived = exchange.sandbox.collect(PRACTICE_MAILBOX).await;
    let [arrived] = arrived.as_slice() else { panic!("one notice, not {}", arrived.len()) };
    let copies = exchange.copies_to_practice().await;
    let notice = copies.iter().find(|copy| copy.notice.is_some()).expect("a notice");
    assert_eq!((notice.state, notice.reference.as_deref()), (DeliveryState::Sent, Some(arrived.id.as_str())));
    assert_eq!(
        (arrived.local_id.as_str(), arrived.workflow.as_str()),
        (notice.id.to_string().as_str(), "GPCONNECT_SEND_DOCUMENT")
    );
    assert!(!arrived.subject.contains(NHS_NUMBER) && !arrived.subject.contains("Holroyd"), "headers name nobody");
    let tree = read::xml(&arrived.body, &Limits::default()).expect("readable");
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(message.header_id, notice.correlation_id.as_deref());
    let DocumentPart::Nested(document) = message.document else { panic!("a document Bundle") };
    let document = Document::read(document, Release::Stu3).expect("a document");
    let [section] = document.sections.as_slice() else { panic!("{} sections", document.sections.len()) };
    let content = section.entries[0].text("content").expect("STU3 content");
    let page = onward_fhir::message::decode_base64(content).expect("base64");
    let page = String::from_utf8(page).expect("UTF-8");
    for words in ["The person has left the care home", "To their own home", "End the temporary registration"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(page.replace(['\u{a0}', ' '], "").contains(NHS_NUMBER), "the page says about whom it is");
    assert!(!page.contains("daughter"), "the home's own words are for the hospital");
}

/// GP Connect Send Document (its guide: ITK007C, for action, one attachment a section).
fn assert_send_document(arrived: &Collected, copy: &DeliveryRecord) {
    assert_eq!((arrived.sender.as_str(), arrived.message_type.as_str()), (GATEWAY_MAILBOX, "DATA"));
    assert_eq!(arrived.workflow, "GPCONNECT_SEND_DOCUMENT");
    assert!(!arrived.subject.contains(NHS_NUMBER) && !arrived.subject.contains("Holroyd"), "headers name nobody");
    let tree = read::xml(&arrived.body, &Limits::default()).expect("readable");
    let message = Message::read(tree.root()).expect("a message");
    assert_eq!(message.event.map(|(_, code)| code), Some("ITK007C"));
    assert_eq!(message.header_id, copy.correlation_id.as_deref());
    assert_eq!(message.sender_mailbox(), Some(GATEWAY_MAILBOX), "answers come back to us");
    let handling = message.handling;
    assert_eq!(
        (handling.recipient_type, handling.infrastructure_ack, handling.business_ack),
        (Some("FA"), Some(true), Some(true))
    );
    let DocumentPart::Nested(document) = message.document else { panic!("a document Bundle") };
    let document = Document::read(document, Release::Stu3).expect("a document");
    let titles: Vec<_> = document.sections.iter().take(2).filter_map(|section| section.title).collect();
    assert_eq!(titles, ["Request for temporary registration", "Discharge summary"]);
    for (at, section) in document.sections.iter().enumerate() {
        let [binary] = section.entries.as_slice() else { panic!("one attachment for each section") };
        let content = binary.text("content").expect("STU3 content");
        if at < titles.len() {
            assert_eq!(binary.text("contentType"), Some("text/html"));
            let html = onward_fhir::message::decode_base64(content).expect("base64");
            let html = String::from_utf8(html).expect("UTF-8");
            assert!(html.starts_with("<!DOCTYPE html>") && html.contains("</html>"));
            assert!(html.replace(['\u{a0}', ' '], "").contains(NHS_NUMBER), "the page says about whom it is");
        } else {
            assert!(message::EDISCHARGE_ITK3.contains(content), "the hospital's own attachments follow unchanged");
        }
    }
    let patient = document.patient.expect("a Patient");
    let temporary = patient.all("address").find(|address| address.text("use") == Some("temp")).expect("for the stay");
    assert_eq!(temporary.text("postalCode"), Some("NM1 1AA"), "the home's address");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_homes_acceptance_reaches_the_hospital_once_by_mesh() {
    let Some(exchange) = Exchange::start().await else { return };
    let home = exchange.world.care_home().await;
    let body = fresh(message::EDISCHARGE_ITK3);
    exchange.hospital_sends(&body).await;
    exchange.quiet().await;
    assert_eq!(all_told(&exchange.sandbox.collect(HOSPITAL_MAILBOX).await), [(header_id(&body), 20013)]);

    let copies = exchange.copies().await;
    let copy = copies.iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("there");
    let path = format!("fhir/R4/Task/{}", copy.id);
    for status in ["accepted", "in-progress", "completed"] {
        let task = home.get(&path).await.expect("an answer");
        let tag = task.headers["etag"].to_str().expect("text").to_owned();
        let mut task: Value = task.json().expect("JSON");
        task["status"] = json!(status);
        let headers = [("content-type", "application/fhir+json"), ("if-match", tag.as_str())];
        let done = home.call(Method::PUT, &path, &headers, task.to_string()).await.expect("an answer");
        assert_eq!(done.status, 200, "{status}: {}", String::from_utf8_lossy(&done.body));
        exchange.quiet().await;
    }
    let responses = exchange.sandbox.collect(HOSPITAL_MAILBOX).await;
    assert_eq!(all_told(&responses), [(header_id(&body), 30001)], "acceptance and completion are one answer");
    let sent = exchange.copies().await.into_iter().filter(|copy| copy.kind == RecipientKind::Sender);
    assert!(sent.into_iter().all(|copy| copy.state == DeliveryState::Completed && copy.attempts == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_again_changes_nothing() {
    let Some(exchange) = Exchange::start().await else { return };
    let body = fresh(message::EDISCHARGE_ITK3);
    let first = exchange.hospital_sends(&body).await;
    exchange.quiet().await;
    // The resend is packed in another way: what counts is the message, not how it came.
    let (packing, way) = (Packing::GzipChunks { bytes: 16 * 1024 }, [HOSPITAL_MAILBOX, GATEWAY_MAILBOX]);
    assert!(body.len() > 2 * 16 * 1024, "several chunks");
    let second = exchange.sandbox.send(way, DISCHARGE, packing, &body).await;
    exchange.quiet().await;
    assert_ne!(first, second);
    for id in [&first, &second] {
        assert_eq!(exchange.mesh_status(HOSPITAL_MAILBOX, id).await, "acknowledged");
    }
    let copies = exchange.copies().await;
    assert_eq!(copies.len(), 6, "five copies and one response");
    assert!(copies.iter().all(|copy| copy.transfer == copies[0].transfer));
    let answers = exchange.sandbox.collect(HOSPITAL_MAILBOX).await;
    let first = (header_id(&body), 20013);
    assert_eq!(all_told(&answers), [first.clone(), first], "each is answered, and the same");
    assert_eq!(answers[0].local_id, answers[1].local_id, "under one identifier");
    assert_eq!(exchange.sandbox.collect(PRACTICE_MAILBOX).await.len(), 1, "the practice is not asked twice");

    // The same identifier on other content is a fault, and is told.
    let changed = body.replace("Fall at home", "Fall in the garden");
    assert!(changed != body && header_id(&changed) == header_id(&body));
    exchange.hospital_sends(&changed).await;
    exchange.quiet().await;
    assert_eq!(all_told(&exchange.sandbox.collect(HOSPITAL_MAILBOX).await), [(header_id(&body), 20007)]);
    assert_eq!(exchange.copies().await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_non_delivery_fails_the_copy_that_it_names() {
    let Some(exchange) = Exchange::start().await else { return };
    exchange.hospital_sends(&fresh(message::EDISCHARGE_ITK3)).await;
    exchange.quiet().await;
    let copies = exchange.copies_to_practice().await;
    let [copy] = copies.as_slice() else { panic!("one copy, not {}", copies.len()) };
    let reference = copy.reference.as_deref().expect("MESH gave one");
    exchange.sandbox.report(GATEWAY_MAILBOX, "GPCONNECT_SEND_DOCUMENT", "NOTOURS", "not-ours").await;
    exchange.quiet().await;
    assert_eq!(exchange.copy(copy.id).await.state, DeliveryState::Sent, "another's report");
    exchange.sandbox.report(GATEWAY_MAILBOX, "GPCONNECT_SEND_DOCUMENT", reference, &copy.id.to_string()).await;
    exchange.quiet().await;
    let copy = exchange.copy(copy.id).await;
    assert_eq!(copy.state, DeliveryState::Failed);
    assert!(copy.reason.as_deref().is_some_and(|reason| reason.contains("14")), "{:?}", copy.reason);
}
