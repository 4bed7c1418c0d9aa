//! Reports that come by MESH: which copy they are about, what they say, and what cannot be collected.

use onward_core::cause::Cause;
use onward_core::state::DeliveryState;
use onward_core::store::{AttemptEnd, AttemptOutcome, Claim};
use onward_core::transport::{MeshMessage, SendError, Sent};
use onward_core::{Clock as _, SystemClock};
use onward_tests::message::{self, fresh};

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
