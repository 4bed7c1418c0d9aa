//! A sign-in that ends while somebody writes: what they wrote is not lost, is kept nowhere, and goes out under nobody else's name. And
//! every page that says no tells what to do, names who is signed in, and leads back.

use onward_core::DeliveryId;
use onward_core::people::Role;
use onward_tests::browser::{self, Browser, PASSWORD, Person};
use onward_tests::message::{self, fresh};
use onward_tests::world::World;

use crate::lifecycle::copy_of;

/// Who, method, path, form, status, words, way back.
type Row<'r> = (&'r Person, &'r str, String, &'r [(&'r str, &'r str)], u16, &'r str, &'r str);

const WORDS: &str = "When was the last dose? <b>\"0.5 mg\"</b> & at what time?";
const SHOWN: &str = "When was the last dose? &#60;b&#62;&#34;0.5 mg&#34;&#60;/b&#62; &#38; at what time?";

async fn nurse(world: &World, name: &str) -> Person {
    browser::person(world, &format!("{name}@rowan.example"), Role::CareHomeUser, &["VMH01"]).await
}

/// Nobody has used any session for so many minutes.
fn idle(world: &World, minutes: i64) {
    world.tamper(&format!("UPDATE sessions SET last_seen = last_seen - {}", minutes * 60 * 1_000_000));
}

async fn steps(world: &World, copy: DeliveryId) -> usize {
    world.gateway().store().steps(copy).await.expect("readable").len()
}

/// Where the page's own form leads.
fn action(text: &str) -> String {
    text.split("<form action=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_when_the_sign_in_ended_comes_back_and_is_sent_by_its_writer_alone() {
    let world = World::start().await;
    let (ada, bea) = (nurse(&world, "ada").await, nurse(&world, "bea").await);
    let copy = copy_of(&world, &world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    let path = format!("/transfers/{copy}/query");
    assert_eq!(ada.browser.get(&format!("/transfers/{copy}")).await.status, 200);
    let before = steps(&world, copy).await;
    idle(&world, 16);
    let lost = ada.browser.post(&path, &[("words", WORDS), ("mark", "\"><i>")]).await;
    assert_eq!(lost.status, 401, "{}", lost.text);
    for words in ["You were signed out, and nothing was sent", "target=\"_blank\"", "Send it now", SHOWN] {
        assert!(lost.text.contains(words), "{words}: {}", lost.text);
    }
    assert!(!lost.text.contains("<b>") && !lost.text.contains("<i>"), "inert: {}", lost.text);
    assert!(!lost.text.contains("Person ada"), "nobody is signed in");
    // It is kept nowhere.
    assert_eq!((lost.headers.get("set-cookie"), lost.location()), (None, None));
    assert_eq!(steps(&world, copy).await, before);
    let again = action(&lost.text);
    assert_eq!(again, format!("{path}?by={}", ada.user.id));

    // On the same computer somebody else signs in: nothing of it goes out under her name.
    let cookie = ada.browser.cookie("__Host-sid");
    assert_eq!(bea.sign_in(&ada.browser).await.status, 303);
    let anothers = ada.browser.post(&again, &[("words", WORDS)]).await;
    assert_eq!(anothers.status, 409, "{}", anothers.text);
    assert!(anothers.text.contains("Somebody else wrote this") && anothers.text.contains("Person bea"));
    assert_eq!(steps(&world, copy).await, before);

    // Whoever wrote it signs in, and sends it from there.
    ada.browser.set_cookie("__Host-sid", cookie.as_deref());
    assert_eq!(ada.sign_in(&ada.browser).await.status, 303);
    let sent = ada.browser.post(&again, &[("words", WORDS)]).await;
    assert_eq!(sent.location(), Some(format!("/transfers/{copy}").as_str()), "{}", sent.text);
    assert!(ada.browser.get(&format!("/transfers/{copy}")).await.text.contains(SHOWN));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_is_known_to_have_written_is_given_back_to_copy_and_passwords_never() {
    let world = World::start().await;
    let ada = nurse(&world, "ada").await;
    let stranger = Browser::new(&world);
    let path = "/transfers/3f2b0c9e-0000-4000-8000-000000000000/query";
    let page = stranger.post(path, &[("words", WORDS)]).await;
    assert!(page.status == 401 && page.text.contains(SHOWN), "{}", page.text);
    assert!(!page.text.contains("<form action"), "who sends it is not known: {}", page.text);
    let elsewhere = [("sec-fetch-site", "cross-site"), ("content-type", "application/x-www-form-urlencoded")];
    let foreign = stranger.send("POST", path, &elsewhere, "words=planted".to_owned()).await;
    assert!(foreign.status == 403 && !foreign.text.contains("planted"), "another site's words are not shown here");
    let long = stranger.post(path, &[("words", &"x".repeat(70_000))]).await;
    assert!(long.status == 400 && long.text.contains("Something was missing"), "{}", long.status);
    idle(&world, 16);
    let fields = [("current", PASSWORD), ("password", "seven quiet marble stairs")];
    let account = ada.browser.post("/account/password", &fields).await;
    assert_eq!((account.status, account.location()), (303, Some("/sign-in")));
    assert!(!account.text.contains(PASSWORD) && !account.text.contains("marble"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_when_the_sign_in_ends_and_can_put_it_off() {
    let world = World::start().await;
    let ada = nurse(&world, "ada").await;
    let left = |text: &str| -> i64 {
        let told = text.split("data-session-seconds=\"").nth(1).and_then(|rest| rest.split('"').next());
        told.expect("told").parse().expect("a number")
    };
    let page = ada.browser.get("/").await;
    assert!((840..=900).contains(&left(&page.text)), "{}", left(&page.text));
    assert!(page.text.contains("if you open or send no page before") && page.text.contains("action=\"/session\""));
    // A script's look is no use of the session, and tells what is left.
    idle(&world, 13);
    let script = [("sec-fetch-dest", "empty")];
    let look = ada.browser.send("GET", "/session", &script, String::new()).await;
    assert!((60..=120).contains(&left(&look.text)), "{}", left(&look.text));
    let stays = ada.browser.send("POST", "/session", &script, String::new()).await;
    assert_eq!((stays.status, stays.location()), (303, Some("/session")));
    let look = ada.browser.send("GET", "/session", &script, String::new()).await;
    assert!(left(&look.text) > 840, "one press put it off");
    // Twelve hours after the sign-in nothing puts it off, and the page says so.
    world
        .tamper(&format!("UPDATE sessions SET authenticated = authenticated - {}", (12 * 60 - 5) * 60 * 1_000_000_i64));
    let page = ada.browser.get("/session").await;
    assert!(left(&page.text) <= 300 && page.text.contains("whatever you do"), "{}", page.text);
    assert!(!page.text.contains("action=\"/session\""), "there is nothing to press");
    idle(&world, 16);
    let over = ada.browser.send("POST", "/session", &script, String::new()).await;
    assert_eq!((over.status, over.location()), (303, Some("/sign-in")), "what is over stays over");
    assert!(!Browser::new(&world).get("/sign-in").await.text.contains("data-session-seconds"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_no_names_who_asks_and_leads_back() {
    let world = World::start().await;
    let ada = nurse(&world, "ada").await;
    let operator = browser::person(&world, "ops@onward.example", Role::Operator, &["Y99900"]).await;
    let copy = copy_of(&world, &world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    let (record, unknown) = (format!("/transfers/{copy}"), "/transfers/3f2b0c9e-0000-4000-8000-000000000000");
    let delivery = format!("/operations/deliveries/{copy}");
    let header = |person: &Person| match person.user.role {
        Role::Operator => "Person ops, operator, for ",
        _ => "Person ada, care home, for ",
    };
    assert_eq!(ada.browser.post(&format!("{record}/acknowledge"), &[]).await.status, 303);
    let rows: [Row<'_>; 7] = [
        (&ada, "POST", format!("{record}/decline"), &[("words", "full")], 409, "cannot be done any more", &record),
        (
            &ada,
            "POST",
            format!("{record}/checklist"),
            &[("item", "identity"), ("outcome", "?")],
            400,
            "cannot be read",
            &record,
        ),
        (&ada, "GET", unknown.to_owned(), &[], 404, "Page not found", "/inbox"),
        (&ada, "GET", "/nowhere".to_owned(), &[], 404, "Page not found", "/inbox"),
        (&ada, "GET", "/operations".to_owned(), &[], 403, "You cannot see this page", "/inbox"),
        (&ada, "HEAD", "/inbox".to_owned(), &[], 405, "", "/inbox"),
        (
            &operator,
            "POST",
            format!("{delivery}/resend"),
            &[("how", "retry"), ("reason", "x")],
            409,
            "Nothing was done now",
            &delivery,
        ),
    ];
    for (person, method, path, fields, status, words, back) in rows {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let page = person.browser.send(method, &path, &kind, form).await;
        assert_eq!(page.status, status, "{path}: {}", page.text);
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8", "{path}");
        if method != "HEAD" {
            for words in [words, header(person), "Log out", &format!("<p><a href=\"{back}\">")] {
                assert!(page.text.contains(words), "{path}: {words}: {}", page.text);
            }
        }
    }
    crate::audit::refuse_audit(&world, true);
    let page = ada.browser.get(&record).await;
    crate::audit::refuse_audit(&world, false);
    assert_eq!((page.status, &page.headers["retry-after"]), (503, &"30".parse().expect("a value")));
    assert!(page.text.contains(header(&ada)) && page.text.contains("ring the ward") && !page.text.contains("HOLROYD"));
    let stranger = Browser::new(&world).get("/nowhere").await;
    assert!(
        stranger.status == 404 && stranger.text.contains("<p><a href=\"/\">") && !stranger.text.contains("Log out")
    );
}
