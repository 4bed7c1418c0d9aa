//! The home's list of arrivals: a filter finds what newer ones hide, and what came since the last look is marked.

use std::collections::BTreeMap;

use onward_core::audit::Agent;
use onward_core::client;
use onward_core::people::{Role, User};
use onward_core::state::DeliveryState;
use onward_core::{DeliveryId, Timestamp, UserId};
use onward_gateway::acknowledge::{Answer, Moved};
use onward_gateway::arrivals::{Listed, Listing, News, NewsCount};
use onward_gateway::attend::{Attendant, Deed, Outcome};
use onward_gateway::collect::Form;
use onward_tests::browser;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, accepted};

use crate::arrival::{Bench, client};
use crate::lifecycle::{arrived, copy_of};

/// What is looked for is found behind as many newer ones as a page holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_what_five_hundred_newer_ones_hide() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let old = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let newer = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(home.browser.get(&format!("/transfers/{old}")).await.status, 200);
    assert_eq!(home.browser.post(&format!("/transfers/{old}/acknowledge"), &[]).await.status, 303);
    world.tamper(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 510)
         INSERT INTO deliveries (id, transfer, lane, sender, patient, kind, recipient, recipient_name, endpoint, state, version,
             attempts, body_bytes, acknowledgement_awaited, basis, created, changed, disclosure)
         SELECT printf('3f2b0c9e-0000-4000-8000-%012d', i), transfer, lane, sender, patient, kind, recipient, recipient_name,
             endpoint, 'received', 1, 0, body_bytes, acknowledgement_awaited, basis, created + i, changed, disclosure
         FROM deliveries, n WHERE id = '{newer}'"
    ));
    let all = home.browser.get("/inbox").await;
    assert!(all.text.contains("Only the 500 newest are shown."), "{}", all.text);
    assert!(!all.text.contains(&format!("/transfers/{old}\"")), "it is older than they");
    let found = home.browser.get("/inbox?status=acknowledged").await;
    assert!(found.text.contains(&format!("/transfers/{old}\"")), "{}", found.text);
    assert_eq!(found.text.matches("href=\"/transfers/").count(), 1);
}

/// Whoever looks again sees what came and what others did meanwhile, and not what they did themselves.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_since_the_last_look_is_marked() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let nurse = browser::person(&world, "nurse@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let night = browser::person(&world, "night@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let arrives = async || arrived(&world, accepted(&hospital, fresh(message::EDISCHARGE_ITK3)).await).await.id;
    let copies = [arrives().await, arrives().await, arrives().await, arrives().await];
    let acknowledge = async |person: &browser::Person, copy| {
        assert_eq!(person.browser.get(&format!("/transfers/{copy}")).await.status, 200);
        assert_eq!(person.browser.post(&format!("/transfers/{copy}/acknowledge"), &[]).await.status, 303);
    };
    let first = nurse.browser.get("/inbox").await;
    assert!(
        !first.text.contains("since you looked") && !first.text.contains("since you last looked"),
        "{}",
        first.text
    );
    let asks =
        first.text.split("data-news=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("it asks").to_owned();
    assert_eq!(nurse.browser.get(&asks).await.text, "", "nothing is new");
    // An hour passes.
    world.tamper(
        "UPDATE users SET looked = looked - 3600000000;
         UPDATE audit_log SET recorded = recorded - 3600000000;
         UPDATE audit_parties SET recorded = recorded - 3600000000",
    );
    acknowledge(&nurse, copies[0]).await;
    acknowledge(&night, copies[1]).await;
    // A colleague first, and then herself.
    acknowledge(&night, copies[3]).await;
    assert_eq!(nurse.browser.post(&format!("/transfers/{}/arrive", copies[3]), &[]).await.status, 303);
    let new = arrives().await;
    let news = nurse.browser.get(&asks).await;
    assert_eq!(news.text, "1 new arrival or notice and 2 changes");
    assert!(news.headers["cache-control"].to_str().expect("text").contains("no-store"));
    let again = nurse.browser.get("/inbox").await;
    assert!(again.text.contains(": 1 new arrival or notice and 2 changes, marked on the list."), "{}", again.text);
    let row = |page: &str, copy: onward_core::DeliveryId| {
        let mut rows = page.split("<tr").filter(|row| row.contains(&format!("/transfers/{copy}\"")));
        rows.next().expect("listed").to_owned()
    };
    assert!(row(&again.text, new).contains("New since you looked"));
    for copy in [copies[1], copies[3]] {
        assert!(row(&again.text, copy).contains("Changed since you looked"), "somebody else did it");
    }
    for copy in [copies[0], copies[2]] {
        assert!(!row(&again.text, copy).contains("since you looked"), "her own doing, or nobody's");
    }
    let still = nurse.browser.get("/inbox").await;
    assert!(row(&still.text, new).contains("New since you looked"), "while she works through the list");
    let other = night.browser.get("/inbox").await;
    assert!(!other.text.contains("since you looked"), "everybody looks for themselves");
}

/// An account of the home.
async fn colleague(bench: &Bench, email: &str) -> Attendant {
    let user = User {
        id: UserId::random(),
        name: "Pat Moore".to_owned(),
        email: email.to_owned(),
        role: Role::CareHomeUser,
        organisations: vec!["VMH01".parse().expect("a code")],
        subject: None,
        disabled: false,
    };
    let put = bench.gateway.store().put_user(user.clone(), None, Vec::new()).await;
    assert_eq!(put, Ok(true));
    Attendant {
        user: user.id.to_string(),
        name: user.name.clone(),
        organisations: user.organisations.clone(),
        agent: Agent::person(&user, None),
        request_id: None,
    }
}

/// The order of commits tells what is new, whatever a node's clock says.
#[tokio::test]
async fn nothing_new_is_lost_by_a_clock_that_stands_still_or_goes_back() {
    let bench = Bench::at("2026-11-13T09:00:00Z").await;
    let (nurse, night) =
        (colleague(&bench, "nurse@rowan.example").await, colleague(&bench, "night@rowan.example").await);
    let arrives = async || {
        let transfer = bench.accept().await;
        while bench.gateway.dispatch_due().await.expect("sent") > 0 {}
        bench.care_home_copy(transfer).await
    };
    let acknowledge = async |who: &Attendant, copy| {
        assert_eq!(bench.gateway.attend(who, copy, Deed::Acknowledge).await, Ok(Outcome::Done));
    };
    let look = async || -> Listed {
        let whole = Listing {
            open_only: true,
            since: Timestamp::MIN,
            whole: true,
            limit: 500,
            asked: "inbox?show=open".to_owned(),
        };
        bench.gateway.arrivals(&nurse, whole, |_| true).await.expect("audited")
    };
    let [by_night, by_nurse, by_system, untouched] =
        [arrives().await, arrives().await, arrives().await, arrives().await];
    let first = look().await;
    assert_eq!((first.arrivals.len(), first.looked, first.news.len()), (4, None, 0));
    let count = async |log| bench.gateway.count_news(&nurse, log).await.expect("readable");
    assert_eq!(count(first.log).await, NewsCount::default());

    // The clock stands still.
    let same_moment = arrives().await;
    acknowledge(&nurse, by_nurse).await;
    assert_eq!(count(first.log).await, NewsCount { new: 1, changed: 0 });
    // It goes back, or another node's is late: what is committed now bears an earlier time than the look.
    bench.later(-3_600);
    let earlier = arrives().await;
    acknowledge(&night, by_night).await;
    let system = client("rowan-house", "VMH01", client::Role::CareHome);
    bench.gateway.open(&system, by_system, Form::Document, None).await.expect("audited").expect("read");
    assert_eq!(count(first.log).await, NewsCount { new: 2, changed: 1 }, "an opening changes nothing on the list");
    let version = bench.gateway.store().delivery(by_system).await.expect("readable").expect("there").version;
    let answer = Answer { state: DeliveryState::Accepted, code: None, reason: None };
    assert_eq!(bench.gateway.move_task(&system, by_system, version, answer, None).await, Ok(Moved::Done));
    assert_eq!(count(first.log).await, NewsCount { new: 2, changed: 2 });

    // The nurse looks again, once the clock has come so far: with what she knew at her first look.
    bench.later(2 * 3_600);
    let second = look().await;
    assert_eq!(second.looked, Some("2026-11-13T09:00:00Z".parse().expect("a moment")));
    let news: BTreeMap<DeliveryId, News> =
        [(same_moment, News::New), (earlier, News::New), (by_night, News::Changed), (by_system, News::Changed)].into();
    assert_eq!(second.news, news, "neither what she did herself nor {untouched}");
    assert_eq!(count(second.log).await, NewsCount::default());
    assert_eq!(look().await.news, news, "while she works through the list");
    bench.later(3_600);
    let third = look().await;
    assert_eq!((third.looked, third.news.len()), (Some("2026-11-13T10:00:00Z".parse().expect("a moment")), 0));
}
