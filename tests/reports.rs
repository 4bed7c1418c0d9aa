//! Reports that come by MESH: which copy they are about, what they say, and what cannot be collected.

use std::time::Duration;

use onward_core::audit::Agent;
use onward_core::cause::Cause;
use onward_core::client::{NhsNumberPolicy, Role};
use onward_core::directory::Endpoint;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::alerts::{AlertKind, Concern};
use onward_core::store::{AttemptEnd, AttemptOutcome, Claim, DeliveryQuery, DeliveryRecord, Resend};
use onward_core::transport::{Mailbox as _, MeshMessage, Outbound, SendError, Sent, Transport as _};
use onward_core::{Clock as _, DeliveryId, SystemClock};
use onward_gateway::holds::Decider;
use onward_gateway::operate::Resent;
use onward_server::demo::mesh_stand_in::Listing;
use onward_tests::mesh::Mesh;
use onward_tests::message::{self, fresh};
use onward_tests::world::{GATEWAY_MAILBOX, PRACTICE_MAILBOX, World};

use crate::answers::bench::{Bench, HOSPITAL, PRACTICE, correlation, data, report};

#[tokio::test]
async fn a_report_finds_its_copy_even_when_the_reference_was_lost() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    let lost = std::iter::repeat_n(Ok(Sent::HandedOver { reference: None }), 16);
    bench.mesh.sends.lock().expect("whole").extend(lost);
    bench.gateway.dispatch_due().await.expect("sent");
    let copy = bench.practice_copy(transfer).await;
    bench.arrives(report(Some("M-unknown".to_owned()), Some(copy.id.to_string()))).await;
    let now = bench.practice_copy(transfer).await;
    assert_eq!((now.state, now.code.as_deref()), (DeliveryState::Failed, Some("14")));
    // It had arrived after all, and the practice says so.
    bench.answers(PRACTICE, &correlation(&copy), 30019).await;
    assert_eq!(bench.practice_copy(transfer).await.state, DeliveryState::Accepted);
}

/// GP auto-routing fails after MESH has taken the message: whoever is to act reads what is wrong, and no patient data.
#[tokio::test]
async fn a_report_says_what_is_wrong_and_what_to_do() {
    for (code, words) in [
        ("14", "nobody collected it"),
        ("EPL-150", "more than one mailbox"),
        ("EPL-151", "no mailbox that takes this workflow"),
        ("EPL-152", "NHS number in the copy for none"),
        ("EPL-153", "does not find the NHS number"),
        ("EPL-154", "name or date of birth"),
        ("EPL-199", "not delivered"),
    ] {
        let bench = Bench::new().await;
        let transfer = bench.accept().await;
        bench.gateway.dispatch_due().await.expect("sent");
        let copy = bench.practice_copy(transfer).await;
        let told = MeshMessage { status_code: Some(code.to_owned()), ..report(copy.reference.clone(), None) };
        bench.arrives(told).await;
        let now = bench.practice_copy(transfer).await;
        assert_eq!((now.state, now.code.as_deref()), (DeliveryState::Failed, Some(code)));
        let reason = now.reason.expect("a reason");
        assert!(
            reason.starts_with(&format!("MESH report {code}: not delivered")) && reason.contains(words),
            "{reason}"
        );
        assert_eq!(Cause::of(Some(&reason)), Cause::Mesh, "{reason}");
        assert!(!reason.contains("9990000018") && !reason.contains("Holroyd"));
    }
}

#[tokio::test]
async fn a_report_that_comes_before_our_send_is_committed_waits_for_it() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    let now = SystemClock.now();
    let store = bench.gateway.store();
    let leases = store.claim(Claim::due(now, now + jiff::SignedDuration::from_secs(600), 16)).await.expect("claimed");
    let copy = bench.practice_copy(transfer).await;
    let reported = report(Some("M-early".to_owned()), Some(copy.id.to_string()));
    bench.mesh.waiting.lock().expect("whole").push(reported);
    assert_eq!(bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled"), 0);
    assert_eq!(bench.mesh.waiting.lock().expect("whole").len(), 1, "MESH keeps it");
    assert_eq!(bench.practice_copy(transfer).await.state, DeliveryState::Queued);
    let lease = leases.iter().find(|lease| lease.delivery.id == copy.id).expect("leased");
    let outcome = AttemptOutcome::Sent { state: DeliveryState::Sent, reference: Some("M-early".to_owned()) };
    let end = AttemptEnd { delivery: copy.id, token: lease.token, outcome, at: now, audit: Vec::new() };
    assert_eq!(store.complete(vec![end]).await, Ok(vec![true]));
    assert_eq!(bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled"), 1);
    assert!(bench.mesh.waiting.lock().expect("whole").is_empty());
    assert_eq!(bench.practice_copy(transfer).await.state, DeliveryState::Failed);
}

/// What MESH cannot give us whole is neither acknowledged nor fetched again and again, and somebody can see that it is there.
#[tokio::test]
async fn what_cannot_be_collected_stays_and_is_told() {
    let bench = Bench::new().await;
    assert_eq!(bench.gateway.mailbox_standing(), None, "nobody has looked");
    let broken = data(HOSPITAL, "TOC_FHIR_IP_DISCH", String::new());
    bench.mesh.broken.lock().expect("whole").insert(broken.id.clone());
    let whole = data(HOSPITAL, "TOC_FHIR_IP_DISCH", fresh(message::EDISCHARGE_ITK3));
    bench.mesh.waiting.lock().expect("whole").extend([broken.clone(), whole]);
    for (look, collected) in [1, 0, 0].into_iter().enumerate() {
        assert_eq!(bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled"), collected, "look {look}");
        let standing = bench.gateway.mailbox_standing().expect("looked");
        assert_eq!(standing.staying, 1, "look {look}");
    }
    assert_eq!(*bench.mesh.fetched.lock().expect("whole"), 2, "each once: the broken one not at every look");
    let left: Vec<_> = bench.mesh.waiting.lock().expect("whole").iter().map(|left| left.id.clone()).collect();
    assert_eq!(left.as_slice(), std::slice::from_ref(&broken.id));
    assert!(bench.audited(&format!("it stays in the mailbox: not gzip (MESH message {})", broken.id)).await);
    bench.mesh.waiting.lock().expect("whole").clear();
    bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled");
    assert_eq!(bench.gateway.mailbox_standing().map(|standing| standing.staying), Some(0), "MESH has deleted it");
    // Another gateway was faster.
    let taken = data(HOSPITAL, "TOC_FHIR_IP_DISCH", String::new());
    bench.mesh.taken.lock().expect("whole").insert(taken.id.clone());
    bench.mesh.waiting.lock().expect("whole").push(taken.clone());
    bench.gateway.poll_mailbox(bench.mesh.as_ref()).await.expect("polled");
    assert_eq!(bench.gateway.mailbox_standing().map(|standing| standing.staying), Some(0));
    assert!(!bench.audited(&taken.id).await);
    // A message at which our own code fails stays as well, and holds up nobody else's.
    let fatal = data(HOSPITAL, "TOC_FHIR_IP_DISCH", String::new());
    bench.mesh.fatal.lock().expect("whole").insert(fatal.id.clone());
    let whole = data(HOSPITAL, "TOC_FHIR_IP_DISCH", fresh(message::EDISCHARGE_ITK3));
    bench.mesh.waiting.lock().expect("whole").extend([fatal.clone(), whole]);
    for collected in [1, 0] {
        assert_eq!(bench.gateway.poll_mailbox(bench.mesh.as_ref()).await, Ok(collected));
        assert_eq!(bench.gateway.mailbox_standing().map(|standing| standing.staying), Some(1));
    }
    let told = format!("a fault of this gateway broke its collection off (MESH message {})", fatal.id);
    assert!(bench.audited(&told).await);
}

#[tokio::test]
async fn a_report_that_changes_nothing_is_in_the_log() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    let unknown = Err(SendError::Unknown { reason: "no whole answer".to_owned() });
    bench.mesh.sends.lock().expect("whole").extend(std::iter::repeat_n(unknown, 16));
    bench.gateway.dispatch_due().await.expect("tried");
    bench.mesh.sends.lock().expect("whole").clear();
    let copy = bench.practice_copy(transfer).await;
    assert_eq!((copy.state, copy.attempts), (DeliveryState::Queued, 1), "of unknown outcome");
    bench.arrives(report(None, Some(copy.id.to_string()))).await;
    assert_eq!(bench.practice_copy(transfer).await.version, copy.version);
    assert!(bench.audited("came when the copy was already queued").await);
    bench.answers(PRACTICE, &correlation(&copy), 30019).await;
    bench.arrives(report(None, Some(copy.id.to_string()))).await;
    assert!(bench.audited("came when the copy was already accepted").await);
}

/// A discharge that is refused.
fn refused() -> String {
    fresh(message::EDISCHARGE_ITK3).replace("9990000018", "9990000019")
}

/// Its mailbox has no workflow for acknowledgements: the hospital would go on as if the discharge had arrived.
#[tokio::test]
async fn a_refusal_that_cannot_be_told_leaves_the_message_in_the_mailbox() {
    let bench = Bench::new().await;
    let no_workflow = SendError::Permanent { reason: "MESH answered the message with 417, code EPL-151".to_owned() };
    bench.mesh.sends.lock().expect("whole").push_back(Err(no_workflow));
    let message = data(HOSPITAL, "TOC_FHIR_IP_DISCH", refused());
    let why = "it is refused (20009), and its sender is not told so: MESH answered the message with 417, code EPL-151";
    bench.stays(message, why).await;
    bench.arrives(data(HOSPITAL, "TOC_FHIR_IP_DISCH", refused())).await;
    assert_eq!(bench.gateway.mailbox_standing().map(|standing| standing.staying), Some(0), "that one was told");
}

/// Nobody collects the refusal: the report about it is the last that anybody hears of the discharge.
#[tokio::test]
async fn a_report_about_a_refusal_stays_and_leads_to_the_message() {
    let bench = Bench::new().await;
    let message = data(HOSPITAL, "TOC_FHIR_IP_DISCH", refused());
    bench.arrives(message.clone()).await;
    let answer = bench.mesh.sent.lock().expect("whole").pop().expect("a refusal").delivery;
    assert!(bench.audited(&format!("as {answer} (MESH message {})", message.id)).await);
    let uncollected = MeshMessage {
        workflow: "TOC_FHIR_IP_DISCH_ACK".to_owned(),
        ..report(Some("M-1".to_owned()), Some(answer.to_string()))
    };
    bench
        .stays(
            uncollected,
            "nobody collected it from the recipient's mailbox within five days: ring the recipient, then send it again",
        )
        .await;
    assert!(bench.audited(&format!("somebody whose message was refused has not had our answer {answer}")).await);
}

#[tokio::test]
async fn a_response_that_nobody_collects_is_a_persons_task_and_can_be_sent_again() {
    let bench = Bench::new().await;
    let transfer = bench.accept().await;
    while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
    let response = bench.response(transfer).await;
    assert_eq!(response.state, DeliveryState::Completed);
    let ack = "TOC_FHIR_IP_DISCH_ACK".to_owned();
    bench.arrives(MeshMessage { workflow: ack.clone(), ..report(response.reference.clone(), None) }).await;
    let now = bench.response(transfer).await;
    assert_eq!((now.state, now.code.as_deref()), (DeliveryState::Failed, Some("14")));
    let deadlines = bench.gateway.settings().alerts.deadlines;
    let concerns = bench.gateway.store().concerns(SystemClock.now(), deadlines).await.expect("readable");
    let is_told =
        |concern: &Concern| concern.kind == AlertKind::DeliveryFailed && concern.delivery == Some(response.id);
    assert!(concerns.iter().any(is_told), "{concerns:?}");
    let why =
        Decider { agent: Agent::gateway(), by: "Ada Wells", reason: "they look now", act: true, request_id: None };
    assert_eq!(bench.gateway.resend(response.id, Resend::Retry, &why).await, Ok(Resent::Queued));
    while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
    assert_eq!(bench.response(transfer).await.state, DeliveryState::Completed);
    // A report about the earlier one that comes late is none about a refusal.
    bench
        .arrives(MeshMessage { workflow: ack, ..report(Some("M-earlier".to_owned()), Some(response.id.to_string())) })
        .await;
    assert_eq!(bench.response(transfer).await.state, DeliveryState::Completed);
}

#[tokio::test]
async fn a_message_that_comes_again_is_answered_again_and_a_loop_is_no_storm() {
    let bench = Bench::new().await;
    let body = fresh(message::EDISCHARGE_ITK3);
    let comes = async || bench.arrives(data(HOSPITAL, "TOC_FHIR_IP_DISCH", body.clone())).await;
    comes().await;
    // Before the first answer has left, it is the answer to both.
    comes().await;
    assert_eq!(bench.hospital_hears().await.into_iter().collect::<Vec<_>>(), [20013]);
    let mut answers = 0;
    for _ in 0..20 {
        comes().await;
        let heard = bench.hospital_hears().await;
        assert!(heard.iter().all(|code| *code == 20013), "the first answer: {heard:?}");
        answers += heard.len();
    }
    assert_eq!(answers, 4, "and a person reads in the log that it comes again and again");
    assert!(bench.audited("the sender sent its message again").await);
    let copies = bench.gateway.store().deliveries(DeliveryQuery { limit: 200, ..DeliveryQuery::default() }).await;
    assert_eq!(copies.expect("readable").len(), 5, "nobody gets a second copy");
}

/// The gateway, and MESH as its specification has it.
struct Exchange {
    mesh: Mesh,
    world: World,
}

/// Copies go to the practice, and our answers to the hospital, in parts of 16 kB, as the world's gateway is set.
const PART: usize = 16_384;
const HOSPITAL_MAILBOX: &str = "X26ABC1";

impl Exchange {
    async fn start() -> Self {
        let listing = |workflow: &str| Listing {
            ods: "Y99001".to_owned(),
            workflow: workflow.to_owned(),
            mailbox: PRACTICE_MAILBOX.to_owned(),
        };
        let mesh = Mesh::start(vec![listing("GPCONNECT_SEND_DOCUMENT"), listing("TOC_FHIR_IP_DISCH")]).await;
        let world = World::start_with_mesh_at(&mesh.url()).await;
        world.client_with("northmoor-epr", "R9Z", Role::Sender, NhsNumberPolicy::Refuse, Some(HOSPITAL_MAILBOX)).await;
        Self { mesh, world }
    }

    /// The hospital sends a discharge by MESH, in parts of so many bytes; gives its MESH identifier.
    async fn sends(&self, body: &str, part: usize) -> String {
        let outbound = Outbound {
            delivery: DeliveryId::random(),
            attempt: 1,
            recipient: "Y99900".parse().expect("a code"),
            kind: RecipientKind::CareHome,
            endpoint: Endpoint::Mesh { mailbox: GATEWAY_MAILBOX.parse().expect("a mailbox"), workflow: None },
            media_type: "application/fhir+xml".to_owned(),
            body: body.as_bytes().to_vec().into(),
            workflow: Some("TOC_FHIR_IP_DISCH".parse().expect("a workflow")),
            replay: false,
            addressee: None,
        };
        match self.mesh.mailbox(HOSPITAL_MAILBOX, part).send(&outbound).await {
            Ok(Sent::HandedOver { reference: Some(id) }) => id,
            other => panic!("it is taken: {other:?}"),
        }
    }

    /// The practice's copy, when it is in this state.
    async fn copy(&self, state: DeliveryState) -> DeliveryRecord {
        loop {
            let query = DeliveryQuery { limit: 200, ..DeliveryQuery::default() };
            let copies = self.world.gateway().store().deliveries(query).await.expect("readable").rows;
            let found = copies.into_iter().find(|copy| copy.kind == RecipientKind::CoveringPractice);
            if let Some(copy) = found.filter(|copy| copy.state == state) {
                return copy;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_a_part_comes_and_leaves_in_parts_and_arrives_whole() {
    let exchange = Exchange::start().await;
    let body = fresh(message::EDISCHARGE_ITK3);
    let id = exchange.sends(&body, 5_000).await;
    assert_eq!(exchange.mesh.parts_of(&id), Some(body.len().div_ceil(5_000)), "it came in parts");
    let copy = exchange.copy(DeliveryState::Sent).await;
    let store = exchange.world.gateway().store();
    let original = store.original(copy.transfer).await.expect("readable").expect("kept");
    assert!(original.body == body.as_bytes(), "it was put together as it was");
    let reference = copy.reference.as_deref().expect("MESH gave one");
    let rendition = store.rendition(copy.id).await.expect("readable").expect("kept");
    let parts = rendition.body.len().div_ceil(PART);
    assert!(parts > 1, "the copy is larger than a part");
    assert_eq!(exchange.mesh.parts_of(reference), Some(parts));
    let practice = exchange.mesh.mailbox(PRACTICE_MAILBOX, PART);
    assert_eq!(practice.list().await, Ok(vec![reference.to_owned()]));
    let arrived = practice.fetch(reference).await.expect("fetched");
    assert!(arrived.body == rendition.body, "the practice has what was made for it");
    assert_eq!(arrived.local_id, Some(copy.id.to_string()));
    practice.acknowledge(reference).await.expect("acknowledged");
    assert_eq!(practice.list().await, Ok(vec![]));
    // What MESH lists of the practice.
    let found = async |workflow: &str| {
        let ods = "Y99001".parse().expect("a code");
        let found = practice.lookup(&ods, &workflow.parse().expect("a workflow")).await.expect("an answer");
        found.into_iter().map(|found| found.mailbox_id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("TOC_FHIR_IP_DISCH").await, [PRACTICE_MAILBOX]);
    assert!(found("TOC_FHIR_OP_ATTEN").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_mesh_makes_fails_the_copy_that_it_names_and_leaves_our_mailbox() {
    let exchange = Exchange::start().await;
    exchange.sends(&fresh(message::EDISCHARGE_ITK3), 1_000_000).await;
    let sent = exchange.copy(DeliveryState::Sent).await;
    exchange.mesh.undelivered(sent.reference.as_deref().expect("MESH gave one"));
    let failed = exchange.copy(DeliveryState::Failed).await;
    assert_eq!((failed.id, failed.code.as_deref()), (sent.id, Some("14")));
    let own = exchange.mesh.mailbox(GATEWAY_MAILBOX, PART);
    while own.list().await != Ok(vec![]) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
