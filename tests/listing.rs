//! The home's list of arrivals: a filter finds what newer ones hide, and what came since the last look is marked.

use onward_core::people::Role;
use onward_tests::browser;
use onward_tests::message::{self, fresh};
use onward_tests::world::World;

use crate::lifecycle::copy_of;

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
    let mut copies = Vec::new();
    for _ in 0..4 {
        copies.push(copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await);
    }
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
    world.tamper("UPDATE users SET looked = looked - 3600000000; UPDATE deliveries SET created = created - 7200000000");
    acknowledge(&nurse, copies[0]).await;
    acknowledge(&night, copies[1]).await;
    // A colleague first, and then herself.
    acknowledge(&night, copies[3]).await;
    assert_eq!(nurse.browser.post(&format!("/transfers/{}/arrive", copies[3]), &[]).await.status, 303);
    let new = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let news = nurse.browser.get(&asks).await;
    assert!(news.text.starts_with("1 new arrival or notice and 2 changes since "), "{}", news.text);
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
