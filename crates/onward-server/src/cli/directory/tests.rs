//! An address that changes under copies that are made, sent and recalled.

use std::path::Path;

use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{AttemptEnd, AttemptOutcome, Claim, Lease, StoreError};
use onward_gateway::accept::Submission;

use super::*;
use crate::cli::hold::tests::{DISCHARGE, accepted, changed, json, onward};

const DIRECTORY: &str = include_str!("../../../../../config/examples/directory.toml");
const RESTRICTED: &str = include_str!("../../../../../fixtures/messages/restricted-itk3.xml");
const OLD: &str = "https://dms.station-road-pharmacy.example/onward";
const NEW: &str = "https://new.station-road-pharmacy.example/onward";

/// Gives the pharmacy its new address.
async fn import(folder: &Path) {
    let file = folder.join("directory.toml");
    std::fs::write(&file, changed(DIRECTORY, OLD, NEW)).expect("writable");
    assert_eq!(onward(folder, &format!("directory import {}", file.display())).await.0, Ok(Exit::Done));
}

#[tokio::test]
async fn what_was_walked_before_an_import_is_walked_again_for_the_new_address() {
    let (folder, app, _) = accepted(RESTRICTED).await;
    let store = app.gateway.store();
    let client = store.client("northmoor-epr").await.expect("readable").expect("there");
    let (body, media_type) = (DISCHARGE.to_owned().into(), "application/fhir+xml".to_owned());
    let submission = Submission { client, body, media_type, request_id: None };
    let acceptance = app.gateway.acceptance_of(&submission).await.expect("prepared");
    import(folder.path()).await;
    assert_eq!(store.accept(acceptance).await, Err(StoreError::Overtaken));
    let receipt = app.gateway.accept(submission).await.expect("accepted");
    let transfer = store.transfer(receipt.transfer).await.expect("readable").expect("there");
    let of_pharmacy = transfer.copies().filter(|copy| copy.recipient.as_str() == "FZZ01");
    let addresses: Vec<_> = of_pharmacy.map(|copy| copy.endpoint.told()).collect();
    assert!(!addresses.is_empty() && addresses.iter().all(|address| address == NEW), "{addresses:?}");
}

#[tokio::test]
async fn every_address_that_may_have_a_copy_is_told_of_its_recall() {
    let (folder, app, _) = accepted(DISCHARGE).await;
    let store = app.gateway.store();
    let leased = async || {
        let leases = store.claim(Claim::due(open::now(), open::now(), 20)).await.expect("claimed");
        let is_referral = |lease: &Lease| lease.delivery.kind == RecipientKind::PharmacyReferral;
        leases.into_iter().find(is_referral).expect("leased")
    };
    let end = async |lease: &Lease, outcome| {
        let delivery = lease.delivery.id;
        let end = AttemptEnd { delivery, token: lease.token, outcome, at: open::now(), audit: Vec::new() };
        assert_eq!(store.complete(vec![end]).await.expect("committed"), [true]);
    };
    let lease = leased().await;
    let id = lease.delivery.id;
    end(&lease, AttemptOutcome::Failed { reason: "no answer".to_owned() }).await;
    import(folder.path()).await;
    let (outcome, _) = onward(folder.path(), &format!("dead replay --reason mended --yes {id}")).await;
    assert_eq!(outcome, Ok(Exit::Done));
    end(&leased().await, AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None }).await;

    let told = json(&onward(folder.path(), &format!("status --json {id}")).await.1);
    let went = json!({ "delivery": id, "first_attempt": 1, "last_attempt": 1, "address": OLD });
    let elsewhere = told["went_elsewhere"].as_array().expect("a list");
    assert_eq!(elsewhere.iter().filter(|each| each["delivery"] == json!(id)).collect::<Vec<_>>(), [&went]);
    let page = onward(folder.path(), &format!("status {id}")).await.1;
    assert!(page.contains(OLD), "{page}");
    let (outcome, out) = onward(folder.path(), &format!("recall {id} --json --by Ada --reason wrong-home --yes")).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let recalled = json(&out);
    assert_eq!(recalled["deliveries"][0]["address"], NEW);
    assert_eq!(recalled["deliveries"][0]["sent_before_to"][0]["address"], OLD);
    let notices = recalled["notices"].as_array().expect("a list");
    let mut addresses: Vec<_> = notices.iter().filter_map(|notice| notice["address"].as_str()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, [OLD, NEW]);
}
