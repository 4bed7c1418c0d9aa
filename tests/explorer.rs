//! The explorer of the audit log: one's own organisation, for a reason, nobody named until revealed, and files by two people.

use onward_core::people::Role;
use onward_core::state::RecipientKind;
use onward_core::store::{Approval, ApprovalKind, DeliveryRecord};
use onward_core::{ApprovalId, Clock as _, SystemClock};
use onward_gateway::held::ANOTHER_PERSON;
use onward_tests::browser::{self, Page, Person};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

/// Whatever tells who the person of the fixtures is.
const CANARIES: [&str; 6] = ["HOLROYD", "Holroyd", "Margaret", "999 000", "9990000", "1944"];
const WHY: &str = "complaint 12";

async fn lead(world: &World, name: &str, ods: &str) -> Person {
    browser::person(world, &format!("{name}@ig.example"), Role::InformationGovernance, &[ods]).await
}

/// A discharge, whose home's copy somebody of the home lists and opens.
async fn seen_at_home(world: &World) -> DeliveryRecord {
    let (status, response, reply) = post_xml(&world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "{response}");
    let id = reply.headers["location"].to_str().expect("text").rsplit('/').next().expect("an id");
    let transfer =
        world.gateway().store().transfer(id.parse().expect("an id")).await.expect("readable").expect("there");
    let copy = transfer.deliveries.into_iter().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy");
    let nurse = browser::person(world, "nurse@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    assert_eq!(nurse.browser.get("/inbox").await.status, 200);
    assert_eq!(nurse.browser.get(&format!("/transfers/{}", copy.id)).await.status, 200);
    copy
}

/// Searches for everything of today and yesterday.
async fn search(person: &Person, tab: &str, more: &[(&str, &str)]) -> Page {
    let today = SystemClock.now();
    let day = |hours: i64| (today + jiff::SignedDuration::from_hours(hours)).strftime("%Y-%m-%d").to_string();
    let (from, until) = (day(-24), day(24));
    let ods = person.user.organisations[0].to_string();
    let fields = [("tab", tab), ("organisation", &ods), ("from", &from), ("until", &until), ("reason", WHY)];
    let fields: Vec<_> =
        more.iter().chain(fields.iter().filter(|field| more.iter().all(|own| own.0 != field.0))).copied().collect();
    person.browser.post("/audit/search", &fields).await
}

fn nameless(page: &Page) -> &str {
    assert_eq!(page.status, 200, "{}", page.text);
    for canary in CANARIES {
        assert!(!page.text.contains(canary), "it says {canary}: {}", page.text);
    }
    &page.text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_finds_what_concerns_their_own_organisation_and_no_name() {
    let world = World::start().await;
    let copy = seen_at_home(&world).await;
    let (own, other) = (lead(&world, "ada", "R9Z").await, lead(&world, "eve", "R9Y").await);
    let form = own.browser.get("/audit").await;
    assert!(nameless(&form).contains("Why do you look?") && !form.text.contains("Message accepted"), "nothing unasked");
    let events = search(&own, "events", &[]).await;
    let text = nameless(&events);
    for words in ["Message accepted", "A person, hidden", "northmoor-epr", "Sent to a recipient"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!nameless(&search(&other, "events", &[]).await).contains("Message accepted"), "another hospital's lead");
    let foreign = search(&other, "events", &[("organisation", "R9Z")]).await;
    assert!(foreign.status == 422 && foreign.text.contains("Choose one of your organisations"));
    // Filters, and what is wrong with them.
    let reading = search(&own, "events", &[("event", "messages"), ("entity", &copy.transfer.to_string())]).await;
    assert!(nameless(&reading).contains("Message accepted") && !reading.text.contains("Sent to a recipient"));
    let nothing = search(&own, "events", &[("agent", "nobody"), ("event", "access")]).await;
    assert!(nameless(&nothing).contains("No events match; 3 filters are on."), "{}", nothing.text);
    for (field, value, error) in [
        ("from", "", "Write a day"),
        ("until", "2020-01-01", "Choose a day after the first one"),
        ("from", "2020-01-01", "a year later at most"),
        ("reason", " ", "Say why"),
        ("reason", "about 9990000018", "Leave the NHS number out"),
        ("agent", "999 000 0018", "Leave the NHS number out: what is searched for"),
        ("entity", "9990000018", "Leave the NHS number out: what is searched for"),
        ("export", "17", "Write the whole identifier of the export"),
    ] {
        let page = search(&own, "events", &[(field, value)]).await;
        assert!(page.status == 422 && page.text.contains(error), "{field} {value}: {}", page.text);
    }
    let disclosures = search(&own, "disclosures", &[]).await;
    let text = nameless(&disclosures);
    for words in ["Disclosures by day", "Disclosures by recipient", "Out of hours", "<svg", ">VMH01</th>"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("Message accepted"), "that is no disclosure");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_saw_a_person_tells_lists_too() {
    let world = World::start().await;
    seen_at_home(&world).await;
    let homes = lead(&world, "ada", "VMH01").await;
    let asked = search(&homes, "who", &[("patient", "999 000 0018")]).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    for words in ["Stood on a list", "Opened", "Person nurse", "care-home-user VMH01, by password and code"] {
        assert!(asked.text.contains(words), "{words}: {}", asked.text);
    }
    let nobody = search(&homes, "who", &[("patient", "9990000026")]).await;
    assert!(nobody.text.contains("Nobody: the log of your organisation"), "{}", nobody.text);
    for wrong in ["", "9990000019", "Holroyd"] {
        let page = search(&homes, "who", &[("patient", wrong)]).await;
        assert!(page.status == 422 && page.text.contains("Write an NHS number"), "{wrong}");
    }
    // The question itself is an entry about the person; the number stands in no query that is kept.
    let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let question = log.iter().rev().find(|entry| entry.columns.word == "query" && entry.columns.patient.is_some());
    let question = question.expect("audited");
    assert_eq!(question.columns.agent.as_deref(), Some("Person ada"));
    assert!(String::from_utf8_lossy(question.event().expect("readable")).contains(WHY));

    // One entry: hidden, then shown for a reason.
    let place =
        asked.text.split("name=\"place\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a row");
    let entry = async |more: &[(&str, &str)]| {
        let fields = [&[("organisation", "VMH01"), ("place", place)], more].concat();
        homes.browser.post("/audit/entry", &fields).await
    };
    assert!(nameless(&entry(&[("reason", WHY)]).await).contains("Show whom it is about"));
    let size = world.gateway().store().audit_size().await.expect("readable");
    for reveal in ["0", "1"] {
        let page = entry(&[("reason", ""), ("reveal", reveal)]).await;
        assert!(page.status == 422 && page.text.contains("Say why"), "{}", page.text);
        assert!(!page.text.contains("Place in the log") && !page.text.contains("Person nurse"), "{}", page.text);
    }
    assert_eq!(world.gateway().store().audit_size().await.expect("readable"), size, "nothing was looked at");
    let shown = entry(&[("reason", WHY), ("reveal", "1")]).await;
    assert!(shown.status == 200 && shown.text.contains("NHS number 999 000 0018"), "{}", shown.text);
    let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    assert_eq!(log.iter().filter(|entry| entry.columns.word == "reveal").count(), 1);
    let other = lead(&world, "eve", "R9Y").await;
    let fields = [("organisation", "R9Y"), ("place", place), ("reason", WHY), ("reveal", "1")];
    assert_eq!(other.browser.post("/audit/entry", &fields).await.status, 404, "another organisation's entry");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_senders_lead_sees_what_a_copy_carries_and_what_was_withheld_from_it() {
    let world = World::start().await;
    seen_at_home(&world).await;
    let entries = async |who: &Person| {
        let organisation = who.user.organisations[0].to_string();
        let found = search(who, "disclosures", &[]).await;
        let places = found.text.split("name=\"place\" value=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let mut pages = Vec::new();
        for place in places {
            let fields = [("organisation", organisation.as_str()), ("place", place), ("reason", WHY)];
            pages.push(nameless(&who.browser.post("/audit/entry", &fields).await).to_owned());
        }
        assert!(!pages.is_empty(), "{}", found.text);
        pages
    };
    let (sender, home) = (lead(&world, "ada", "R9Z").await, lead(&world, "hal", "VMH01").await);
    let seen = entries(&sender).await;
    for page in &seen {
        assert!(page.contains("The copy carries") && page.contains("Withheld from it"), "{page}");
    }
    let has = |text: &str| seen.iter().any(|page| page.contains(text));
    assert!(has("sections: ") && has(" is not named ("), "the home's, by rules");
    assert!(has("document: identical") && has("Nothing"), "the registered practice has all");
    for page in entries(&home).await {
        assert!(page.contains("Place in the log"), "{page}");
        assert!(
            !page.contains("The copy carries") && !page.contains("Withheld"),
            "they are not told what they must not see"
        );
    }
    world.tamper("UPDATE disclosures SET disclosure = 'AAAA'");
    for page in entries(&sender).await {
        assert!(page.contains("Place in the log") && page.contains("its record is damaged"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn integrity_is_never_green_by_default_and_names_what_was_changed() {
    let world = World::start().await;
    seen_at_home(&world).await;
    let ada = lead(&world, "ada", "R9Z").await;
    let eve = lead(&world, "eve", "R9Y").await;
    let page = ada.browser.get("/audit/integrity").await;
    assert!(
        !page.text.contains("Others checked it")
            && page.text.contains("Not checked yet")
            && !page.text.contains("app-whole"),
        "{}",
        page.text
    );
    let page = ada.browser.post("/audit/integrity", &[]).await;
    assert!(
        page.status == 200 && page.text.contains("The log is whole") && page.text.contains("Head"),
        "{}",
        page.text
    );
    assert!(page.text.contains("External anchor") && page.text.contains("cannot be told from a shorter log"));
    let page = ada.browser.get("/audit/integrity").await;
    assert!(page.text.contains("Not checked since today at") && !page.text.contains("app-whole"), "{}", page.text);
    assert!(!page.text.contains("Others checked it"), "it was their own: {}", page.text);
    assert!(!search(&ada, "events", &[]).await.text.contains("was found"), "it was whole");
    // Another organisation's lead hears that it was, and no more.
    let page = eve.browser.get("/audit/integrity").await;
    let heard = page.text.contains("Not checked yet by anybody of your organisation. Others checked it last today at");
    assert!(heard && page.text.contains("It was whole then") && !page.text.contains("app-whole"), "{}", page.text);
    let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let changed = log.iter().find(|entry| entry.columns.word == "accept").expect("a message was accepted").index;
    world.tamper(&format!("UPDATE audit_log SET leaf = zeroblob(32) WHERE position = {changed}"));
    let broken = ada.browser.post("/audit/integrity", &[]).await;
    let named = broken.text.contains("The log is broken") && broken.text.contains(&format!(">{changed}</dd>"));
    assert!(named && !broken.text.contains("app-whole"), "{}", broken.text);
    let exports = ada.browser.get("/audit/exports").await;
    let told = format!("The log was found broken at entry {changed}");
    assert!(exports.text.contains(&told), "{}", exports.text);
    for tab in ["events", "disclosures"] {
        let read = search(&ada, tab, &[]).await;
        assert!(read.text.contains(&told) && read.text.contains("may have been changed"), "{tab}: {}", read.text);
        assert!(!search(&eve, tab, &[]).await.text.contains("broken at entry"), "{tab}: another organisation's check");
    }
    let page = eve.browser.get("/audit/integrity").await;
    assert!(page.text.contains("It was not whole") && !page.text.contains("broken at entry"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_with_a_bad_signature_is_broken_and_that_is_kept() {
    let world = World::start().await;
    seen_at_home(&world).await;
    let ada = lead(&world, "ada", "R9Z").await;
    world.tamper("INSERT OR REPLACE INTO checkpoints (size, note) VALUES (1, 'forged')");
    let broken = ada.browser.post("/audit/integrity", &[]).await;
    let named = broken.text.contains("The log is broken") && broken.text.contains("the stored checkpoint of 1 entries");
    assert!(named && !broken.text.contains("app-whole"), "{}", broken.text);
    let page = ada.browser.get("/audit/integrity").await;
    assert!(page.text.contains("What that check found: broken at entry 0"), "{}", page.text);
    let exports = ada.browser.get("/audit/exports").await;
    assert!(exports.text.contains("The log was found broken at entry 0"), "{}", exports.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_an_export_tells_nobody_whom_others_treat() {
    let world = World::start().await;
    seen_at_home(&world).await;
    let eve = lead(&world, "eve", "R9Y").await;
    let home = lead(&world, "ada", "VMH01").await;
    let day =
        |hours: i64| (SystemClock.now() + jiff::SignedDuration::from_hours(hours)).strftime("%Y-%m-%d").to_string();
    let (from, until) = (day(-24), day(24));
    let ask = async |person: &Person, ods: &str, patient: &str| {
        let fields = [
            ("form", "sar"),
            ("organisation", ods),
            ("from", from.as_str()),
            ("until", until.as_str()),
            ("patient", patient),
            ("born", "1944-03-08"),
            ("reason", WHY),
        ];
        person.browser.post("/audit/exports", &fields).await
    };
    let store = world.gateway().store();
    for (patient, whose) in [("9990000018", "another organisation's"), ("9990000026", "nobody's")] {
        let size = store.audit_size().await.expect("readable");
        let page = ask(&eve, "R9Y", patient).await;
        assert!(page.status == 422, "{whose}: {}", page.text);
        assert!(page.text.contains("Your organisation holds nothing about this person"), "{whose}: {}", page.text);
        let new = store.audit_entries(size, 100).await.expect("readable");
        let asked: Vec<_> = new.iter().filter(|entry| entry.columns.patient.is_some()).collect();
        assert_eq!(asked.len(), 1, "{whose}: that it was asked is kept");
        let event = String::from_utf8_lossy(asked[0].event().expect("kept"));
        assert!(event.contains("\"outcome\":\"8\""), "{whose}: and that it was refused: {event}");
    }
    let own = "R9Y".parse().expect("a code");
    let open = store.approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await.expect("readable");
    assert!(open.is_empty(), "nothing is kept to be granted");
    assert_eq!(ask(&home, "VMH01", "9990000018").await.status, 303, "who was sent a copy asks for what they hold");
    // What the hospital keeps is no part of it, and not gone.
    let ben = lead(&world, "ben", "VMH01").await;
    let own = "VMH01".parse().expect("a code");
    let open = store.approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await.expect("readable");
    let request = format!("/audit/exports/{}", open.first().expect("kept").id);
    let seen = ben.browser.get(&request).await;
    for words in [
        "1 copy that was sent",
        "everything that your organisation holds",
        "kept by the hospital that sent it",
        "Grant it",
    ] {
        assert!(nameless(&seen).contains(words), "{words}: {}", seen.text);
    }
    assert!(!seen.text.contains("no longer kept"), "{}", seen.text);
    // Whoever cannot be told what would leave can refuse it, and is not asked to grant it; nor can they by a form of their own making.
    assert_eq!(ask(&home, "VMH01", "9990000018").await.status, 303);
    let open = store.approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await.expect("readable");
    let seen_before = seen.field("shown").expect("a seal").to_owned();
    let other = open.iter().map(|approval| format!("/audit/exports/{}", approval.id)).find(|path| *path != request);
    let request = other.expect("kept");
    world.tamper("UPDATE rendition_bodies SET body = zeroblob(64)");
    let blind = ben.browser.get(&request).await;
    assert!(nameless(&blind).contains("could not be found out") && blind.text.contains("Refuse it"), "{}", blind.text);
    assert!(!blind.text.contains("Grant it") && !blind.text.contains("What would leave now"), "{}", blind.text);
    for shown in [None, Some(""), Some("AAAA"), Some(seen_before.as_str())] {
        let fields: Vec<_> = [("verdict", "grant")].into_iter().chain(shown.map(|seal| ("shown", seal))).collect();
        let page = ben.browser.post(&request, &fields).await;
        assert!(page.status == 409 && page.text.contains("Nothing was granted"), "{shown:?}: {}", page.text);
        assert!(page.text.contains(&format!("href=\"{request}\"")), "{}", page.text);
    }
    let open = store.approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await.expect("readable");
    assert!(open.iter().all(|approval| approval.verdict.is_none()), "none of these is a decision");
    let refused = ben.browser.post(&request, &[("verdict", "refuse")]).await;
    assert_eq!(refused.location(), Some("/audit/exports?done=refused"));
    // Of a person who was erased since nothing would leave: nothing is counted, and nobody is asked to grant it.
    let open = store.approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await.expect("readable");
    let undecided = open.iter().find(|approval| approval.verdict.is_none());
    let request = format!("/audit/exports/{}", undecided.expect("kept").id);
    world.tamper("UPDATE transfers SET patient = NULL");
    let empty = ben.browser.get(&request).await;
    assert!(nameless(&empty).contains("nothing would leave") && empty.text.contains("Refuse it"), "{}", empty.text);
    for words in ["What would leave now", "Counted", "Grant it"] {
        assert!(!empty.text.contains(words), "{words}: {}", empty.text);
    }
    // One that has expired has no page to be led to.
    world.tamper("UPDATE approvals SET expires = 1 WHERE verdict_by IS NULL");
    assert_eq!(ben.browser.get(&request).await.status, 404);
    let late = ben.browser.post(&request, &[("verdict", "refuse")]).await;
    assert!(late.status == 409 && late.text.contains("It expired"), "{}", late.text);
    assert!(!late.text.contains("Open the request"), "{}", late.text);
    // What asks for something else than an export is not told or decided here.
    let redirect = Approval {
        id: ApprovalId::random(),
        kind: ApprovalKind::Redirect,
        subject: "{}".to_owned(),
        organisation: own,
        asked_by: "somebody".to_owned(),
        asked_name: "Somebody Else".to_owned(),
        reason: WHY.to_owned(),
        asked: SystemClock.now(),
        expires: SystemClock.now() + jiff::SignedDuration::from_hours(1),
        verdict: None,
    };
    let request = format!("/audit/exports/{}", redirect.id);
    store.ask_approval(redirect, Vec::new()).await.expect("committed");
    for verdict in ["grant", "refuse"] {
        let page = ben.browser.post(&request, &[("verdict", verdict)]).await;
        assert_eq!(page.status, 409, "{}", page.text);
        for words in ["Open the request", "waits for a decision", "Nothing was granted"] {
            assert!(!page.text.contains(words), "{verdict}, {words}: {}", page.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_leaves_by_two_people_for_somebody_who_has_just_signed_in() {
    let world = World::start().await;
    seen_at_home(&world).await;
    let (ada, ben) = (lead(&world, "ada", "R9Z").await, lead(&world, "ben", "R9Z").await);
    let other = lead(&world, "eve", "R9Y").await;
    let day =
        |hours: i64| (SystemClock.now() + jiff::SignedDuration::from_hours(hours)).strftime("%Y-%m-%d").to_string();
    let (from, until) = (day(-24), day(24));
    let ask_born = async |form: &str, patient: &str, born: &str| {
        let fields = [
            ("form", form),
            ("organisation", "R9Z"),
            ("from", from.as_str()),
            ("until", until.as_str()),
            ("patient", patient),
            ("born", born),
            ("reason", WHY),
        ];
        ada.browser.post("/audit/exports", &fields).await
    };
    let ask = async |form: &str, patient: &str| ask_born(form, patient, "1944-03-08").await;
    assert_eq!(ask("everything", "").await.status, 422);
    assert_eq!(ask("sar", "").await.status, 422, "subject access is about somebody");
    for (born, words) in [("", "Write the date of birth"), ("1944-08-03", "This is not the date of birth that is held")]
    {
        let page = ask_born("sar", "9990000018", born).await;
        assert!(page.status == 422 && page.text.contains(words), "{born}: {}", page.text);
    }
    let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let refused = log.iter().filter_map(|entry| entry.event()).filter(|event| {
        let event = String::from_utf8_lossy(event);
        event.contains(ANOTHER_PERSON)
            && event.contains("\"outcome\":\"8\"")
            && event.contains("9990000018")
            && !event.contains("1944")
    });
    assert_eq!(refused.count(), 1, "that another date was given is an entry about the person");
    // As the form does: with what was shown, where there is such a form.
    let decide = async |person: &Person, id: &str, verdict: &str| {
        let path = format!("/audit/exports/{id}");
        let shown = person.browser.get(&path).await.field("shown").unwrap_or_default().to_owned();
        person.browser.post(&path, &[("verdict", verdict), ("shown", shown.as_str())]).await.status
    };
    let mut reveals = 0;
    let archive = [
        "1 message<br>5 copies that were sent<br>",
        "tables (CSV), entries (NDJSON), and a signed manifest",
        "× name and details of a contact person",
        "everything that your organisation holds about the person",
        "Look through the archive before it is handed out",
    ];
    for (form, patient) in [("csv", ""), ("ndjson", "9990000018"), ("sar", "9990000018")] {
        assert_eq!(ask(form, patient).await.location(), Some("/audit/exports?done=asked"));
        let own = "R9Z".parse().expect("a code");
        let store = world.gateway().store();
        let open = store.approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await.expect("readable");
        let id = open.iter().find(|approval| approval.verdict.is_none()).expect("kept").id.to_string();
        let file = format!("/audit/exports/{id}/file");
        assert_eq!(ada.browser.get(&file).await.status, 404, "not granted yet");
        assert_eq!(decide(&ada, &id, "grant").await, 409, "nobody grants what they ask for");
        assert_eq!(decide(&other, &id, "grant").await, 409, "nor another organisation's lead");
        let page = ben.browser.get("/audit/exports").await;
        let request = format!("/audit/exports/{id}");
        assert!(nameless(&page).contains(&format!("href=\"{request}\"")));
        assert_eq!(other.browser.get(&request).await.status, 404, "another organisation's lead");
        assert!(!nameless(&ada.browser.get(&request).await).contains("Grant it"), "not to whoever asked");
        let seen = ben.browser.get(&request).await;
        for words in ["Grant it", "Person ada, today at", WHY, "What would leave"] {
            assert!(nameless(&seen).contains(words), "{words}: {}", seen.text);
        }
        // Before the press: what it holds, what a rule withholds, whether anything is cut off, and whether the log was checked.
        for words in [
            "Withheld by rule",
            "Cut</dt>",
            "Before it is granted",
            "Nobody of your organisation has checked",
            "Not checked",
        ] {
            assert!(seen.text.contains(words), "{words}: {}", seen.text);
        }
        let own: &[&str] = match form {
            "csv" => &["of the log, about 1 person", "it names patients by NHS number", "tells of everybody"],
            "ndjson" => &["of the log, about 1 person", "everything of the period leaves"],
            _ => &archive,
        };
        for words in own {
            assert!(seen.text.contains(words), "{words}: {}", seen.text);
        }
        let reveal = async |why: &str| ben.browser.post(&format!("{request}/reveal"), &[("reason", why)]).await;
        assert_eq!(reveal("").await.status, 422);
        let shown = reveal("the letter names her").await;
        assert_eq!(shown.status, if patient.is_empty() { 404 } else { 200 }, "{}", shown.text);
        assert_eq!(shown.text.contains("999 000 0018"), !patient.is_empty());
        let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
        let revealed = log.iter().filter(|entry| entry.columns.word == "reveal");
        let revealed = revealed
            .filter(|entry| String::from_utf8_lossy(entry.event().expect("kept")).contains("the letter names her"));
        reveals += usize::from(!patient.is_empty());
        assert_eq!(revealed.count(), reveals, "each is audited");
        // What one lead was shown lets no other grant.
        let cleo = lead(&world, &format!("cleo-{form}"), "R9Z").await;
        let bens = [("verdict", "grant"), ("shown", seen.field("shown").expect("a seal"))];
        let unseen = cleo.browser.post(&request, &bens).await;
        assert!(unseen.status == 409 && unseen.text.contains("Nothing was granted"), "{}", unseen.text);
        assert_eq!(decide(&ben, &id, "grant").await, 303);
        // The entry keeps what was shown: when, how much, and the digest of all of it.
        let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
        let mut events = log.iter().rev().filter_map(|entry| entry.event()).map(String::from_utf8_lossy);
        let kept = events.find(|event| event.contains(" granted, shown at ")).expect("kept");
        let counts =
            if form == "sar" { ": 1 message; 5 copies that were sent; " } else { " of the log, about 1 person" };
        for words in [counts, "(SHA-256 of all that was shown: ", "): second person"] {
            assert!(kept.contains(words), "{words}: {kept}");
        }
        let late = cleo.browser.post(&request, &bens).await;
        assert!(late.status == 409 && late.text.contains("Granted by Person ben, today at"), "{}", late.text);
        assert_eq!(other.browser.get(&file).await.status, 404);
        let fetched = ada.browser.get(&file).await;
        assert_eq!(fetched.status, 200);
        assert!(fetched.headers["content-disposition"].to_str().expect("text").starts_with("attachment; filename="));
        match form {
            "csv" => {
                assert!(fetched.text.starts_with("entry,recorded,what,") && fetched.text.contains("northmoor-epr"))
            }
            "ndjson" => {
                let lines = || fetched.text.lines();
                assert!(
                    lines().count() > 3 && lines().all(|line| line.contains("9990000018")),
                    "about that person alone"
                );
            }
            _ => {
                for inside in [
                    "PK",
                    "index.html",
                    "summary.pdf",
                    "tables/log.csv",
                    "manifest.txt",
                    "messages/",
                    "onward subject access manifest",
                    "Two identifiers were checked",
                ] {
                    assert!(fetched.text.contains(inside), "{inside}");
                }
            }
        }
        let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
        let last = log.last().expect("entries");
        let word = if form == "sar" { "subject-access" } else { "export" };
        assert_eq!((last.columns.word.as_str(), last.columns.patient.is_some()), (word, !patient.is_empty()));
        if form != "sar" {
            let said = String::from_utf8_lossy(last.event().expect("kept"));
            let id = said.split(": export ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an identifier");
            let halves = search(&ben, "events", &[("export", id)]).await;
            for words in ["2 entries", &format!("export {id} begins: "), &format!("export {id} ends: ")] {
                assert!(nameless(&halves).contains(words), "{words}: {}", halves.text);
            }
        }
    }
    // The whole table carried entries about the person, and names nobody: whoever asks about the person is told of it all the same.
    let who = search(&ben, "who", &[("patient", "9990000018")]).await;
    let row = who.text.split("In an export of the log").nth(1);
    assert!(row.is_some_and(|row| row.contains("granted export")), "{}", who.text);
    assert_eq!(who.text.matches("In an export of the log").count(), 1, "and of no other: {}", who.text);
    assert_eq!(ask("csv", "").await.status, 303);
    let own = "R9Z".parse().expect("a code");
    let store = world.gateway().store();
    let open = store.approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await.expect("readable");
    let id = open.iter().find(|approval| approval.verdict.is_none()).expect("kept").id;
    assert_eq!(decide(&ben, &id.to_string(), "grant").await, 303);
    assert_eq!(ask("sar", "9990000018").await.status, 303);
    let open = store.approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await.expect("readable");
    let asked = open.iter().find(|approval| approval.verdict.is_none()).expect("kept").id;
    assert_eq!(ben.browser.post("/audit/integrity", &[]).await.status, 200);
    let seen = ben.browser.get(&format!("/audit/exports/{asked}")).await;
    for words in
        ["Last checked today at", "under a checkpoint", "What came after that was not checked", "No witness outside"]
    {
        assert!(nameless(&seen).contains(words), "{words}: {}", seen.text);
    }
    assert!(!seen.text.contains("Nobody of your organisation has checked"));
    world.tamper("UPDATE sessions SET authenticated = authenticated - 600000000");
    let stale = ada.browser.get(&format!("/audit/exports/{id}/file")).await;
    let back = stale.location().unwrap_or_default();
    assert!(stale.status == 303 && back.starts_with("/sign-in?next=%2Faudit%2Fexports") && back.ends_with("again=1"));

    // Nor does a browser that was left open ask or grant. What was written comes back, and is sent after signing in once more.
    let count =
        async || store.approvals(ApprovalKind::Export, Some(&own), SystemClock.now()).await.expect("readable").len();
    let before = count().await;
    let lost = ask("csv", "").await;
    assert_eq!(lost.status, 401, "{}", lost.text);
    let again = format!("action=\"/audit/exports?by={}\"", ada.user.id);
    for words in ["Sign in again: nothing was sent", WHY, "again=1\"", "value=\"csv\"", "Person ada", &again] {
        assert!(lost.text.contains(words), "{words}: {}", lost.text);
    }
    assert_eq!(decide(&ben, &id.to_string(), "refuse").await, 401);
    assert_eq!(count().await, before, "nothing was done");
    world.tamper("UPDATE passwords SET totp_step = 0");
    assert_eq!(ada.sign_in(&ada.browser).await.status, 303);
    let fields = [("form", "csv"), ("organisation", "R9Z"), ("from", &from), ("until", &until), ("reason", WHY)];
    let sent = ada.browser.post(&format!("/audit/exports?by={}", ada.user.id), &fields).await;
    assert_eq!(sent.location(), Some("/audit/exports?done=asked"), "{}", sent.text);
    assert_eq!(count().await, before + 1);
}
