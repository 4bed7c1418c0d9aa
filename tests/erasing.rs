//! Erasure by two leads of one organisation who both know whom, and legal holds, which forbid it.

use onward_core::audit::{AuditQuery, AuditWord};
use onward_core::client::Role as ClientRole;
use onward_core::people::Role;
use onward_core::state::RecipientKind;
use onward_server::cli::Exit;
use onward_tests::balp;
use onward_tests::browser::{self, Page, Person};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, accepted};
use serde_json::Value;

use crate::proof::onward;

const NUMBER: &str = "9990000018";
const RIGHTS: &str = "/audit/rights";

async fn lead(world: &World, name: &str, ods: &str) -> Person {
    browser::person(world, &format!("{name}@ig.example"), Role::InformationGovernance, &[ods]).await
}

async fn send(person: &Person, path: &str, fields: &[(&str, &str)]) -> Page {
    let ods = person.user.organisations[0].to_string();
    let fields = [fields, &[("organisation", ods.as_str())]].concat();
    person.browser.post(&format!("{RIGHTS}/{path}"), &fields).await
}

/// The identifier in the address of the first form to this place.
fn first(page: &Page, place: &str) -> String {
    let form = page.text.split(&format!("action=\"{RIGHTS}/{place}/")).nth(1);
    form.and_then(|rest| rest.split(['"', '/']).next()).unwrap_or_else(|| panic!("a form: {}", page.text)).to_owned()
}

/// What the entries say of requests, orders and second words, without their word.
async fn denials(world: &World) -> Vec<String> {
    let entries = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let events = entries.iter().filter_map(|entry| serde_json::from_slice::<Value>(entry.event()?).ok());
    let told = events.filter(|event| event["type"]["code"] == "110100");
    told.filter_map(|event| Some(event["outcomeDesc"].as_str()?.split_once(": ")?.1.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_by_two_leads_who_know_whom_and_a_hold_forbids_it() {
    let world = World::start().await;
    let transfer = accepted(&world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    let store = world.gateway().store();
    let record = store.transfer(transfer).await.expect("readable").expect("there");
    let copy = record.deliveries.iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let (ada, ben) = (lead(&world, "ada", "R9Z").await, lead(&world, "ben", "R9Z").await);
    let (eve, kay, lou) =
        (lead(&world, "eve", "R9Y").await, lead(&world, "kay", "VMH01").await, lead(&world, "lou", "VMH01").await);
    let wish = [("patient", "999 000 0018"), ("ground", "wrong-person"), ("reason", "case 17")];
    let said = |page: &Page, status: u16, words: &str| {
        assert!(page.status == status && page.text.contains(words), "{status} {words}: {} {}", page.status, page.text);
    };

    said(
        &send(&ada, "erasures", &[("patient", NUMBER), ("reason", "case 17")]).await,
        422,
        "are not erased on request",
    );
    said(&send(&ada, "erasures", &[("patient", NUMBER), ("reason", NUMBER)]).await, 422, "Leave the NHS number out");
    said(&send(&eve, "erasures", &wish).await, 422, "Your organisation holds nothing about this person");
    said(&send(&kay, "erasures", &wish).await, 422, "Your organisation cannot decide this alone");
    assert_eq!(send(&ada, "erasures", &wish).await.location(), Some("/audit/rights?done=asked"));
    said(&ada.browser.get(RIGHTS).await, 200, "Another lead of your organisation must confirm it");
    for other in [&eve, &kay] {
        let page = other.browser.get(RIGHTS).await;
        assert!(page.status == 200 && !page.text.contains("case 17"), "another organisation's request: {}", page.text);
    }
    // Two requests are taken back, one by each of the two, before the one that is done.
    for lead in [&ben, &ada] {
        let request = format!("erasures/{}", first(&ben.browser.get(RIGHTS).await, "erasures"));
        let refuse = format!("{request}/refuse");
        assert_eq!(send(&eve, &refuse, &[("reason", "no")]).await.status, 404, "another organisation's request");
        said(&send(lead, &refuse, &[("reason", "")]).await, 422, "Say why");
        let done = send(lead, &refuse, &[("reason", "not theirs")]).await;
        assert_eq!(done.location(), Some("/audit/rights?done=refused"));
        assert_eq!(send(lead, &refuse, &[("reason", "not theirs")]).await.status, 404, "once");
        assert_eq!(send(&ben, &request, &[("patient", NUMBER)]).await.status, 404, "what was refused is not done");
        assert_eq!(send(&ada, "erasures", &wish).await.location(), Some("/audit/rights?done=asked"));
    }
    let page = ben.browser.get(RIGHTS).await;
    assert!(page.text.contains("asked for by Person ada") && !page.text.contains(NUMBER), "{}", page.text);
    let request = format!("erasures/{}", first(&page, "erasures"));
    said(&send(&ada, &request, &[("patient", NUMBER)]).await, 422, "another lead must confirm");
    assert_eq!(send(&eve, &request, &[("patient", NUMBER)]).await.status, 404);
    said(&send(&ben, &request, &[("patient", "9990000026")]).await, 422, "not the number of the person");
    said(&send(&ben, &request, &[("patient", "")]).await, 422, "Write an NHS number");

    // The home has the person's copy, so that its lead may forbid to erase it; nobody else lifts that.
    let keep = [("patient", NUMBER), ("reason", "inquest")];
    said(&send(&eve, "holds", &keep).await, 422, "Your organisation holds nothing about this person");
    assert_eq!(send(&kay, "holds", &keep).await.location(), Some("/audit/rights?done=kept"));
    said(&send(&ben, &request, &[("patient", NUMBER)]).await, 422, "or a legal hold forbids it");
    let hold = format!("holds/{}", first(&lou.browser.get(RIGHTS).await, "holds"));
    assert_eq!(send(&ben, &hold, &[("reason", "not ours")]).await.status, 404);
    said(&send(&lou, &hold, &[("reason", "")]).await, 422, "Say why");
    said(&send(&kay, &hold, &[("reason", "inquest over")]).await, 422, "You placed it");
    assert_eq!(home.browser.get(&format!("/transfers/{copy}")).await.status, 200, "nothing was erased so far");
    assert_eq!(send(&lou, &hold, &[("reason", "inquest over")]).await.location(), Some("/audit/rights?done=lifted"));

    // Each second word that did not count is an entry, and none of them tells an organisation of another one.
    let told = denials(&world).await;
    for words in [
        "not confirmed by Person ada: the same person asked for it",
        "not confirmed by Person ben: another person was named",
        "not confirmed by Person ben: not for one organisation alone to decide, or on legal hold",
        "not lifted by Person kay: the same person placed it",
        "refused by Person ben: not theirs",
        "refused by Person ada: not theirs",
    ] {
        assert_eq!(told.iter().filter(|detail| detail.ends_with(words)).count(), 1, "{words}: {told:#?}");
    }

    let erased = loop {
        let page = send(&ben, &request, &[("patient", NUMBER)]).await;
        if !page.text.contains("is under way") {
            break page;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(erased.location(), Some("/audit/rights?done=erased"), "{}", erased.text);
    let gone = home.browser.get(&format!("/transfers/{copy}")).await;
    assert!(gone.status >= 400 && !gone.text.contains("HOLROYD"), "{}", gone.text);
    said(&ada.browser.get(RIGHTS).await, 200, "There are none.");
    assert_eq!(send(&ben, &request, &[("patient", NUMBER)]).await.status, 404, "once");

    let late = accepted(&world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(send(&ada, "erasures", &wish).await.location(), Some("/audit/rights?done=asked"));
    world.tamper("UPDATE erasures SET requested = requested - 14 * 86400000000 WHERE confirmed IS NULL");
    let page = ben.browser.get(RIGHTS).await;
    assert!(page.text.contains("It lapsed") && !page.text.contains("Destroy everything"), "{}", page.text);
    let request = format!("erasures/{}", first(&page, "erasures"));
    said(&send(&ben, &request, &[("patient", NUMBER)]).await, 422, "It was not confirmed in time");
    let told = denials(&world).await;
    assert!(told.iter().any(|detail| detail.ends_with("by Person ben: the request has lapsed")), "{told:#?}");
    // That it lapsed is an entry about the person, once, which their organisation's leads find.
    for _ in 0..2 {
        world.gateway().alert_once().await.expect("looked");
    }
    let about = AuditQuery {
        patient: Some(NUMBER.parse().expect("a number")),
        organisation: Some("R9Z".parse().expect("a code")),
        words: vec![AuditWord::Erase],
        limit: 100,
        ..AuditQuery::default()
    };
    let found = store.search_audit(about).await.expect("readable");
    let events = found.iter().filter_map(|entry| serde_json::from_slice::<Value>(entry.event.as_deref()?).ok());
    let lapses =
        events.filter(|event| event["outcomeDesc"].as_str().is_some_and(|said| said.contains(" has lapsed: ")));
    let lapses: Vec<_> = lapses.collect();
    assert_eq!(lapses.len(), 1, "{lapses:#?}");
    assert_eq!(balp::problems(&lapses[0]), Vec::<String>::new());
    assert!(store.transfer(late).await.expect("readable").expect("there").patient.is_some(), "nothing was erased");
    assert_eq!(onward(&world, &["verify"]).await, Exit::Done, "the log explains whose keys were destroyed");

    world.tamper("UPDATE sessions SET authenticated = authenticated - 600000000");
    let stale = ada.browser.get(RIGHTS).await;
    assert_eq!((stale.status, stale.location()), (303, Some("/sign-in?next=%2Faudit%2Frights&again=1")));
    let lost = send(&ada, "erasures", &wish).await;
    said(&lost, 401, "Sign in again: nothing was sent");
    assert!(lost.text.contains("case 17") && lost.text.contains("Person ada"), "{}", lost.text);
}

/// What another hospital sent between the first word and the second is not destroyed with it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_erases_what_another_hospital_sent_meanwhile() {
    let world = World::start().await;
    let (hospital, other) = (world.hospital().await, world.client("southmoor-epr", "R9Y", ClientRole::Sender).await);
    accepted(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let (ada, ben) = (lead(&world, "ada", "R9Z").await, lead(&world, "ben", "R9Z").await);
    let wish = [("patient", NUMBER), ("ground", "wrong-person"), ("reason", "case 17")];
    assert_eq!(send(&ada, "erasures", &wish).await.location(), Some("/audit/rights?done=asked"));
    let transfer = accepted(&other, fresh(message::EDISCHARGE_ITK3).replace("\"R9Z\"", "\"R9Y\"")).await;
    let request = format!("erasures/{}", first(&ben.browser.get(RIGHTS).await, "erasures"));
    let refused = send(&ben, &request, &[("patient", NUMBER)]).await;
    assert!(refused.status == 422 && refused.text.contains("cannot decide this alone"), "{}", refused.text);
    assert!(
        !refused.text.contains("Others") && !refused.text.contains("R9Y"),
        "nor is told who else: {}",
        refused.text
    );
    let record = world.gateway().store().transfer(transfer).await.expect("readable").expect("there");
    assert!(record.patient.is_some(), "it is readable");
}
