//! What has ended says so wherever a home may meet it, nothing is recorded with it, and what was told of the person outlasts it.

use onward_connect::http::Method;
use onward_core::people::Role;
use onward_core::state::{DeliveryState, EndReason, RecipientKind};
use onward_core::store::DeliveryRecord;
use onward_core::{Clock as _, DeliveryId, SystemClock};
use onward_gateway::checklist::ITEMS;
use onward_gateway::lifecycle::TakenBack;
use onward_server::listener::sha256_hex;
use onward_tests::browser::{self, Browser, Page};
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::World;
use serde_json::Value;

use crate::journeys::deceased_like;
use crate::lifecycle::{Version, arrived, copy_of, posted, put, record, task};

const CONTENT: [&str; 3] = ["ramipril", "Medicines", "Allergies"];

async fn home_of(world: &World) -> Browser {
    browser::person(world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await.browser
}

/// A discharge that the home has opened, and the home's copy of it.
async fn opened(world: &World, hospital: &Session, home: &Browser, version: &Version) -> DeliveryRecord {
    let copy = arrived(world, posted(hospital, version).await).await;
    let page = home.get(&format!("/transfers/{}", copy.id)).await;
    assert!(page.status == 200 && CONTENT.iter().all(|words| page.text.contains(words)), "{}", page.text);
    copy
}

/// Words that a list shows of what lies at this address.
fn row<'p>(list: &'p Page, copy: &DeliveryRecord) -> &'p str {
    let link = format!("href=\"/transfers/{}\">", copy.id);
    let rows = list.text.split("<tr class").find(|row| row.contains(&format!("app-person\" {link}")));
    rows.unwrap_or_else(|| panic!("no row of {}: {}", copy.id, list.text))
}

fn has_row(list: &Page, copy: &DeliveryRecord) -> bool {
    list.text.contains(&format!("app-person\" href=\"/transfers/{}\">", copy.id))
}

/// The notice that this copy ended.
pub(crate) async fn notice_of(world: &World, copy: &DeliveryRecord) -> Option<DeliveryRecord> {
    let transfer = record(world, copy.transfer).await;
    transfer.deliveries.into_iter().find(|other| other.notice.is_some_and(|notice| notice.of == copy.id))
}

/// What this person has left in the log, in its order.
pub(crate) async fn words_of(world: &World, person: &str) -> Vec<String> {
    let entries = world.gateway().store().audit_entries(0, 10_000).await.expect("readable");
    let own = entries.into_iter().filter(|entry| entry.columns.agent.as_deref() == Some(person));
    own.map(|entry| entry.columns.word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_is_told_and_is_no_arrival() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = home_of(&world).await;
    let stranger = browser::person(&world, "other@elm.example", Role::CareHomeUser, &["VMH02"]).await.browser;
    let copy = opened(&world, &hospital, &home, &Version::first()).await;
    assert_eq!(put(&hospital, copy.transfer, "cancelled", Some("written for somebody else")).await.status, 200);
    let path = format!("/transfers/{}", copy.id);
    let before = words_of(&world, "Person home").await;
    for part in ["", "/print", "/pdf", "/files/1"] {
        let page = home.get(&format!("{path}{part}")).await;
        assert_eq!(page.status, 200, "{part}: {}", page.text);
        for words in ["Do not use this summary", "written for somebody else", "HOLROYD", "Ring the ward"] {
            assert!(page.text.contains(words), "{part}: {words}: {}", page.text);
        }
        for words in CONTENT {
            assert!(!page.text.contains(words), "{part}: {words}: {}", page.text);
        }
    }
    for part in ["/query", "/decline", "/leave", "/checklist"] {
        assert_eq!(home.get(&format!("{path}{part}")).await.location(), Some(path.as_str()), "{part}");
    }
    let after = words_of(&world, "Person home").await;
    assert_eq!(after[before.len()..], vec!["read-task"; 8], "its own home's looks, and no intrusion");
    assert_eq!(stranger.get(&path).await.status, 404);
    assert_eq!(
        words_of(&world, "Person other").await.last().map(String::as_str),
        Some("deny"),
        "another home's is one"
    );
    for (part, fields) in [
        ("acknowledge", &[][..]),
        ("arrive", &[]),
        ("decline", &[("words", "full")]),
        ("visit", &[("agency", "nurse")]),
    ] {
        let page = home.post(&format!("{path}/{part}"), fields).await;
        assert!(page.status == 409 && page.text.contains("This was not recorded"), "{part}: {}", page.text);
        assert!(page.text.contains(&format!("<a href=\"{path}\">")), "{part}: {}", page.text);
    }

    // The notice stands first, is nobody's arrival, and asks for one thing.
    let notice = notice_of(&world, &copy).await.expect("the home had opened it");
    let list = home.get("/inbox").await;
    let line = row(&list, &notice);
    for words in ["Notice: stop using an earlier summary of HOLROYD", "Notice of", "Not confirmed"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    for words in ["Not acknowledged", "Overdue", "Time not given", "penicillin", "Similar name"] {
        assert!(!line.contains(words), "{words}: {line}");
    }
    assert!(!has_row(&list, &copy));
    assert!(row(&home.get("/inbox?show=recent").await, &copy).contains("Cancelled"));
    let path = format!("/transfers/{}", notice.id);
    let page = home.get(&path).await;
    for words in ["<title>Notice – Onward", "Stop using an earlier document", "We have stopped using it", "HOLROYD"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    for words in ["accepting this Task", "Record arrival", "Acknowledge receipt", "/decline", "/checklist", "72 hours"]
    {
        assert!(!page.text.contains(words), "{words}: {}", page.text);
    }
    let print = home.get(&format!("{path}/print")).await;
    assert!(print.text.contains("<title>Notice to print – Onward"), "{}", print.text);
    assert_eq!(home.post(&format!("{path}/arrive"), &[]).await.status, 409, "a notice arrives nowhere");
    assert_eq!(home.post(&format!("{path}/acknowledge"), &[]).await.status, 303);
    let page = home.get(&path).await;
    assert!(page.text.contains("Confirmed by") && !page.text.contains("We have stopped using it"), "{}", page.text);
    assert!(!has_row(&home.get("/inbox").await, &notice), "what is confirmed needs nobody");
    assert!(task(&hospital, notice.id).await.to_string().contains("acknowledged by Person home"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recalled_copy_says_stop_and_not_whose_it_was() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = home_of(&world).await;
    let copy = opened(&world, &hospital, &home, &Version::first()).await;
    let agent = onward_core::audit::Agent::named("operator", None);
    let back = TakenBack { agent, by: Some("Ops"), reason: "wrong home", request_id: None };
    let recalled = world.gateway().recall(copy.transfer, Some(copy.id), &back, true).await.expect("committed");
    assert_eq!(recalled.len(), 1);
    let notice = notice_of(&world, &copy).await.expect("the home had opened it");
    let list = home.get("/inbox").await;
    assert!(row(&list, &notice).contains("Notice: stop using an earlier summary"), "{}", list.text);
    let stopped = home.get(&format!("/transfers/{}", copy.id)).await;
    assert!(stopped.text.contains("Do not read it any further"), "{}", stopped.text);
    let told = home.get(&format!("/transfers/{}", notice.id)).await;
    assert!(told.text.contains("It was sent to you by mistake"), "{}", told.text);
    for page in [list, stopped, told] {
        assert_eq!(page.status, 200);
        for words in ["HOLROYD", "Holroyd", "999 000 0018", "9990000018", "1944"] {
            assert!(!page.text.contains(words), "{words}: {}", page.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_of_the_person_outlasts_a_correction() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = home_of(&world).await;
    let ops = browser::person(&world, "ops@onward.example", Role::Operator, &["Y99900"]).await.browser;
    let first = Version::first();
    let old = opened(&world, &hospital, &home, &first).await;
    let path = format!("/transfers/{}", old.id);
    for deed in ["acknowledge", "arrive"] {
        assert_eq!(home.post(&format!("{path}/{deed}"), &[]).await.status, 303);
    }
    let done = |key| [("item", key), ("outcome", "done")];
    for item in &ITEMS[1..] {
        assert_eq!(home.post(&format!("{path}/checklist"), &done(item.key)).await.status, 303);
    }
    assert_eq!(home.post(&format!("{path}/visit"), &[("agency", "District nurse")]).await.status, 303);

    let new = arrived(&world, posted(&hospital, &first.next()).await).await;
    let recent = home.get("/inbox?show=recent").await;
    assert!(row(&recent, &old).contains("Replaced") && !row(&recent, &old).contains("Cancelled"), "{}", recent.text);
    assert!(row(&recent, &old).contains(&format!("href=\"/transfers/{}\"", new.id)), "{}", recent.text);
    let only = home.get("/inbox?show=recent&status=replaced").await;
    assert!(has_row(&only, &old) && !has_row(&only, &new), "{}", only.text);
    let entries = world.gateway().store().audit_entries(0, 10_000).await.expect("readable");
    let looked = entries.iter().rfind(|entry| entry.columns.word == "query").expect("the look is in the log");
    assert_eq!(looked.columns.shown, Some(vec![old.id.to_string()]), "what was not shown is not said to have been");
    let list = home.get("/inbox").await;
    assert!(!has_row(&list, &old), "{}", list.text);
    for words in ["Not acknowledged", "Replaces an earlier summary", "The person has arrived"] {
        assert!(row(&list, &new).contains(words), "{words}: {}", row(&list, &new));
    }
    // The old one says so, leads on, and takes nothing more.
    let page = home.get(&path).await;
    for words in ["Replaced", "Stop using this version", "Open the summary that replaces this one"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert!(page.text.contains(&format!("href=\"/transfers/{}\"", new.id)) && !page.text.contains("Cancelled"));
    let hours = home.get(&format!("{path}/checklist")).await;
    assert!(hours.text.contains("10 of 11") && hours.text.contains("has been replaced"), "{}", hours.text);
    assert!(!hours.text.contains("<form action=\"/transfers"), "{}", hours.text);
    let board = ops.get(&format!("/operations/deliveries/{}", old.id)).await;
    assert!(board.text.contains("Replaced by a later version") && !board.text.contains("Withdrawn"), "{}", board.text);
    let shown = task(&hospital, old.id).await;
    assert_eq!(
        (shown["businessStatus"]["text"].as_str(), shown["statusReason"]["text"].as_str()),
        (Some("superseded"), Some("version 2 replaces version 1: stop using version 1"))
    );

    // The new one has it all, and comes as far with one press.
    let path = format!("/transfers/{}", new.id);
    let page = home.get(&path).await;
    for words in
        ["Arrival recorded by", "(with an earlier version)", "First 72 hours (10 of 11)", "Acknowledge receipt"]
    {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert!(!page.text.contains("Record arrival") && !page.text.contains("Acknowledged by"), "{}", page.text);
    let hours = home.get(&format!("{path}/checklist")).await;
    for words in ["10 of 11", "(with an earlier version)", "District nurse", "acknowledge the new version"] {
        assert!(hours.text.contains(words), "{words}: {}", hours.text);
    }
    assert_eq!(home.post(&format!("{path}/checklist"), &done(ITEMS[0].key)).await.status, 303);
    assert_eq!(home.post(&format!("{path}/finish"), &[]).await.status, 409, "nobody has acknowledged this version");
    assert_eq!(home.post(&format!("{path}/acknowledge"), &[]).await.status, 303);
    let copy = world.gateway().store().delivery(new.id).await.expect("readable").expect("there");
    assert_eq!(copy.state, DeliveryState::InProgress, "that a correction came does not take the person away");
    assert!(row(&home.get("/inbox").await, &new).contains("Arrived (11 of 11)"));
    let shown = task(&hospital, new.id).await;
    let outputs = shown["output"].to_string();
    assert_eq!(shown["status"], "in-progress");
    assert!(
        outputs.contains("arrived by Person home") && outputs.contains("told with an earlier version"),
        "{outputs}"
    );
    let acknowledged = outputs.matches("acknowledged by").count();
    assert_eq!(acknowledged, 1, "that of the earlier version is none of this one: {outputs}");
    assert_eq!(home.post(&format!("{path}/finish"), &[]).await.status, 303);
    assert!(home.get(&path).await.text.contains("Completed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_tells_with_a_replaced_summary_what_nobody_would_hear() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = home_of(&world).await;
    let first = Version::first();
    let old = opened(&world, &hospital, &home, &first).await;
    let old_path = format!("/transfers/{}", old.id);
    assert_eq!(home.post(&format!("{old_path}/arrive"), &[]).await.status, 303);
    let second = first.next();
    let new = arrived(&world, posted(&hospital, &second).await).await;
    let path = format!("/transfers/{}", new.id);
    let today = SystemClock.now().strftime("%Y-%m-%d").to_string();
    let left = [("to", "hospital"), ("on", today.as_str())];
    let tick = [("item", "identity"), ("outcome", "done")];
    let steps = world.gateway().store().steps(old.id).await.expect("readable");
    for (part, fields) in [
        ("leave", &left[..]),
        ("checklist", &tick),
        ("visit", &[("agency", "nurse")]),
        ("query", &[("words", "why?")]),
        ("acknowledge", &[]),
        ("arrive", &[]),
        ("finish", &[]),
    ] {
        let page = home.post(&format!("{old_path}/{part}"), fields).await;
        assert!(page.status == 409 && page.text.contains("Nothing was kept of what you sent"), "{part}: {}", page.text);
        assert!(page.text.contains(&format!("<a href=\"{path}\">")), "{part} leads on: {}", page.text);
        assert!(page.text.contains("for Rowan House Care Home (VMH01)"), "for whom it is not: {}", page.text);
    }
    assert_eq!(world.gateway().store().steps(old.id).await.expect("readable"), steps, "nothing was kept");
    assert_eq!(home.get(&format!("{old_path}/leave")).await.location(), Some(old_path.as_str()));

    // With the latest version everybody hears of it, although nobody has acknowledged that one yet.
    assert!(home.get(&path).await.text.contains(&format!("href=\"{path}/leave?seen=")));
    assert_eq!(home.post(&format!("{path}/leave"), &left).await.status, 303);
    let transfer = record(&world, new.transfer).await;
    let told = transfer.deliveries.iter().filter(|copy| copy.notice.is_some_and(|it| it.why == EndReason::LeftHome));
    let mut told: Vec<_> = told.map(|copy| copy.recipient.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["FZZ01", "Y99001", "Y99002"]);
    let list = home.get("/inbox").await;
    let line = row(&list, &new);
    assert!(line.contains("Not acknowledged") && line.contains("Left on"), "still to be read: {line}");
    assert_eq!(home.post(&format!("{path}/acknowledge"), &[]).await.status, 303);
    assert!(!has_row(&home.get("/inbox").await, &new), "then nobody is there any more");

    // And a correction of a summary of somebody who has left is read, and then left.
    let third = arrived(&world, posted(&hospital, &second.next()).await).await;
    let line = home.get("/inbox").await;
    assert!(row(&line, &third).contains("Not acknowledged") && row(&line, &third).contains("Left on"));
    let path = format!("/transfers/{}", third.id);
    assert!(!home.get(&path).await.text.contains(&format!("{path}/leave")), "nobody leaves twice");
    assert_eq!(home.post(&format!("{path}/acknowledge"), &[]).await.status, 303);
    let copy = world.gateway().store().delivery(third.id).await.expect("readable").expect("there");
    assert_eq!(copy.state, DeliveryState::Accepted, "the person is not there");
    assert!(!has_row(&home.get("/inbox").await, &third));
    assert!(row(&home.get("/inbox?show=recent").await, &third).contains("Left on"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_finishes_before_the_person_has_arrived_and_who_left_is_gone() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = home_of(&world).await;
    let copy = opened(&world, &hospital, &home, &Version::first()).await;
    let path = format!("/transfers/{}", copy.id);
    assert_eq!(home.post(&format!("{path}/acknowledge"), &[]).await.status, 303);
    for item in ITEMS {
        let tick = [("item", item.key), ("outcome", "done")];
        assert_eq!(home.post(&format!("{path}/checklist"), &tick).await.status, 303);
    }
    let hours = home.get(&format!("{path}/checklist")).await;
    assert!(hours.text.contains("11 of 11") && hours.text.contains("Nobody has recorded yet"), "{}", hours.text);
    assert!(!hours.text.contains("/finish\""), "{}", hours.text);
    assert_eq!(home.post(&format!("{path}/finish"), &[]).await.status, 409);
    let state = async || {
        let copy = world.gateway().store().delivery(copy.id).await.expect("readable").expect("there");
        copy.state
    };
    assert_eq!(state().await, DeliveryState::Accepted);
    assert_eq!(home.post(&format!("{path}/arrive"), &[]).await.status, 303);
    assert!(row(&home.get("/inbox").await, &copy).contains("Arrived (11 of 11)"));
    assert!(home.get(&format!("{path}/checklist")).await.text.contains("/finish\""));
    let today = SystemClock.now().strftime("%Y-%m-%d").to_string();
    assert_eq!(home.post(&format!("{path}/leave"), &[("to", "died"), ("on", &today)]).await.status, 303);
    assert!(!has_row(&home.get("/inbox").await, &copy));
    let recent = home.get("/inbox?show=recent").await;
    assert!(row(&recent, &copy).contains("Died on") && !row(&recent, &copy).contains("Arrived"), "{}", recent.text);
    let page = home.get(&path).await;
    assert!(page.text.contains("Died on") && !page.text.contains("Arrived ("), "{}", page.text);
    assert_eq!(state().await, DeliveryState::InProgress);
    let outputs: Value = task(&hospital, copy.id).await["output"].clone();
    assert!(outputs.to_string().contains("left by Person home"), "{outputs}");
    let transfer = record(&world, copy.transfer).await;
    assert!(transfer.copies().any(|copy| copy.kind == RecipientKind::CareHome && copy.ended.is_none()));
}

/// The digests of the bytes that the entries of readings from this place of the log on name.
async fn read_since(world: &World, size: u64) -> Vec<String> {
    let new = world.gateway().store().audit_entries(size, 10_000).await.expect("readable");
    let events = new.iter().filter(|entry| entry.columns.word == "read").filter_map(|entry| entry.event());
    let digest = |event: Value| {
        let mut details = event["entity"].as_array()?.iter().filter_map(|entity| entity["detail"].as_array()).flatten();
        Some(details.find(|detail| detail["type"] == "sha256")?["valueString"].as_str()?.to_owned())
    };
    events.map(|event| digest(serde_json::from_slice(event).expect("JSON")).expect("a digest")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_while_it_is_opened_leaves_with_its_mark() {
    let world = World::start().await;
    let (hospital, system) = (world.hospital().await, world.care_home().await);
    let home = home_of(&world).await;
    let first = Version::first();
    let old = opened(&world, &hospital, &home, &first).await;
    let new = arrived(&world, posted(&hospital, &first.next()).await).await;
    // It is as it was before, and is replaced by the transaction that opens it.
    world.tamper(&format!(
        "CREATE TRIGGER meanwhile AFTER INSERT ON audit_log WHEN NEW.word = 'read' BEGIN
             UPDATE deliveries SET ended = 'superseded', ended_by = '{}' WHERE id = '{}'; END",
        new.id, old.id
    ));
    let store = world.gateway().store();
    let before = async || {
        world.tamper(&format!("UPDATE deliveries SET ended = NULL, ended_by = NULL WHERE id = '{}'", old.id));
        store.audit_size().await.expect("readable")
    };
    for part in ["", "/print", "/pdf"] {
        let size = before().await;
        let page = home.get(&format!("/transfers/{}{part}", old.id)).await;
        let marked = page.text.starts_with("%PDF-") || page.text.contains("Stop using this version");
        assert!(page.status == 200 && marked, "{part}: {}", page.text);
        let read = read_since(&world, size).await;
        assert!(read.len() == 2 && read[0] != read[1], "{part}: opened anew, as what it has become: {read:?}");
    }
    for accept in ["text/html", "application/pdf"] {
        let size = before().await;
        let headers = [("accept", accept)];
        let path = format!("fhir/R4/Bundle/{}", old.id);
        let reply = system.call(Method::GET, &path, &headers, Vec::new()).await.expect("an answer");
        assert_eq!(reply.headers["onward-superseded-by"], new.id.to_string().as_str(), "{accept}");
        let read = read_since(&world, size).await;
        assert!(read.len() == 2 && read[0] != read[1], "{accept}: {read:?}");
        assert_eq!(read[1], sha256_hex(&reply.body), "{accept}: the last entry names what left");
    }
}

/// Whoever has died is not awaited: the summary says so, and asks for nothing but to be acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn of_who_has_died_no_arrival_is_awaited_and_nothing_is_ticked() {
    const ASKS: [&str; 5] =
        ["Acknowledge receipt", "Record arrival", "First 72 hours", "Ask the ward", "cannot take this person"];
    let world = World::start().await;
    let hospital = world.hospital().await;
    let home = home_of(&world).await;
    let alive = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let died = deceased_like(&world, alive).await;
    let asked = async |copy: DeliveryId| -> Vec<&str> {
        let page = home.get(&format!("/transfers/{copy}")).await;
        assert_eq!((page.status, page.text.contains("This person has died")), (200, copy == died), "{}", page.text);
        ASKS.into_iter().filter(|words| page.text.contains(words)).collect()
    };
    assert_eq!(asked(alive).await, [ASKS[0], ASKS[1], ASKS[3], ASKS[4]]);
    assert_eq!(asked(died).await, [ASKS[0], ASKS[3]]);
    for copy in [alive, died] {
        assert_eq!(home.post(&format!("/transfers/{copy}/acknowledge"), &[]).await.status, 303);
    }
    assert_eq!(asked(alive).await, ASKS[1..4]);
    assert_eq!(asked(died).await, [ASKS[3]]);
    for copy in [alive, died] {
        let list = home.get(&format!("/transfers/{copy}/checklist")).await;
        let form = list.text.contains(&format!("action=\"/transfers/{copy}/checklist\""));
        let told = list.text.contains("This person has died: nothing is to be done here any more");
        assert_eq!((list.status, form, told), (200, copy == alive, copy == died), "{}", list.text);
    }
}
