//! The operator's board: what is stuck is told without names, a name is shown for a reason, and what is grave takes two people.

use onward_core::audit::{Agent, AuditQuery};
use onward_core::client::Role as ClientRole;
use onward_core::people::Role;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{Approval, ApprovalKind, DeliveryRecord, TransferRecord};
use onward_core::{Clock as _, DeliveryId, NhsNumber, ReplayId, SystemClock, TransferId};
use onward_gateway::explore::everything;
use onward_gateway::lifecycle::TakenBack;
use onward_gateway::resending::seal_of;
use onward_gateway::sightings::sightings;
use onward_tests::browser::{self, Person};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};
use serde_json::Value;

use crate::lifecycle::{put, task};

/// Whatever tells who the person of the fixtures is.
const CANARIES: [&str; 6] = ["HOLROYD", "Holroyd", "Margaret", "999 000", "9990000", "1944"];
const WHY: &str = "the ward rang";

async fn operator(world: &World, name: &str) -> Person {
    browser::person(world, &format!("{name}@onward.example"), Role::Operator, &["Y99900"]).await
}

async fn sent(world: &World, message: String) -> TransferId {
    let (status, response, reply) = post_xml(&world.hospital().await, message).await;
    assert_eq!(status, 200, "{response}");
    reply.headers["location"].to_str().expect("text").rsplit('/').next().expect("an id").parse().expect("an id")
}

async fn record(world: &World, id: TransferId) -> TransferRecord {
    world.gateway().store().transfer(id).await.expect("readable").expect("there")
}

/// The copy of this kind, once it is in this state.
async fn copy_in(world: &World, id: TransferId, kind: RecipientKind, state: DeliveryState) -> DeliveryRecord {
    for _ in 0..600_000 {
        let transfer = record(world, id).await;
        if let Some(copy) = transfer.deliveries.into_iter().find(|copy| (copy.kind, copy.state) == (kind, state)) {
            return copy;
        }
        tokio::task::yield_now().await;
    }
    panic!("no copy for {kind} came to be {state}");
}

/// What stands between this text and the next quotation mark.
fn after<'p>(page: &'p str, text: &str) -> &'p str {
    page.split(text).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("{text} in {page}"))
}

/// A page that names nobody.
async fn look(person: &Person, path: &str) -> String {
    let page = person.browser.get(path).await;
    assert_eq!(page.status, 200, "{path}: {}", page.text);
    for canary in CANARIES {
        assert!(!page.text.contains(canary), "{path} says {canary}");
    }
    page.text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stuck_is_told_and_sent_again_without_a_name() {
    let world = World::start_with_broken_partners().await;
    let ada = operator(&world, "ada").await;
    assert!(look(&ada, "/operations").await.contains("Nothing waits. Nothing has been delivered yet."));
    let id = sent(&world, fresh(message::EDISCHARGE_ITK3)).await;
    let dead = copy_in(&world, id, RecipientKind::CoveringPractice, DeliveryState::Failed).await;
    let board = look(&ada, "/operations").await;
    for words in ["Our own rules do not let it out", "Beck Lane Surgery", "blocked", "None: a person decides"] {
        assert!(board.contains(words), "{words}: {board}");
    }
    let short: String = dead.id.to_string().chars().take(8).collect();
    assert!(board.contains(&short));
    assert!(look(&ada, "/operations?queue=dead").await.contains(&short));
    let filtered = look(&ada, "/operations?cause=blocked&recipient=Y99001").await;
    assert!(filtered.contains("Send all failed copies of this filter again"), "{filtered}");
    assert!(!look(&ada, "/operations?queue=paused").await.contains(&short));
    assert_eq!(ada.browser.get("/operations?queue=everything").await.status, 404);
    assert!(look(&ada, "/operations/totals").await.contains("data-announce=\"Waiting "));

    // A reason is asked for, and it must not name the person.
    let path = format!("/operations/deliveries/{}", dead.id);
    assert!(look(&ada, &path).await.contains("Retry: send the same message now"));
    for (reason, error) in [("", "Say why"), ("for 999 000 0018", "Leave the NHS number out")] {
        let page = ada.browser.post(&format!("{path}/resend"), &[("how", "retry"), ("reason", reason)]).await;
        assert!(page.status == 422 && page.text.contains(error), "{}", page.text);
    }
    let retried = ada.browser.post(&format!("{path}/resend"), &[("how", "retry"), ("reason", WHY)]).await;
    assert_eq!(retried.location(), Some(format!("{path}?done=retry").as_str()));
    let again = copy_in(&world, id, RecipientKind::CoveringPractice, DeliveryState::Failed).await;
    assert!(again.version > dead.version && again.replay.is_none(), "a retry is not labelled");

    // Several at once: never without a filter, and never others than were shown.
    assert_eq!(ada.browser.get("/operations/retry").await.status, 400);
    assert_eq!(ada.browser.get("/operations/retry?queue=dead").await.status, 400);
    let asked = look(&ada, "/operations/retry?cause=blocked").await;
    assert!(asked.contains("Do you want to send 1 copy again?"), "{asked}");
    assert!(
        asked.contains("Our own rules do not let it out. The address is not on the list of hosts"),
        "what comes first: {asked}"
    );
    let decision = after(&asked, "name=\"bulk\" value=\"").to_owned();
    let seal = after(&asked, "name=\"copies\" value=\"").to_owned();
    let bulk = async |copies: &str| {
        let fields =
            [("filter", "cause=blocked"), ("copies", copies), ("reason", WHY), ("bulk", &decision), ("how", "replay")];
        ada.browser.post("/operations/retry", &fields).await
    };
    let page = format!("/operations/bulks/{decision}");
    for other in
        [seal_of(&[DeliveryId::random()]), seal_of(&[dead.id, DeliveryId::random()]), "1".to_owned(), String::new()]
    {
        let refused = bulk(&other).await;
        assert!(
            refused.status == 422 && refused.text.contains("not the copies that you were shown"),
            "{}",
            refused.text
        );
        assert!(
            refused.text.contains("Do you want to send 1 copy again?"),
            "those that there are, anew: {}",
            refused.text
        );
        assert_eq!(after(&refused.text, "name=\"copies\" value=\""), seal);
        assert_eq!(ada.browser.get(&page).await.status, 404, "nothing was kept");
    }
    assert_eq!(bulk(&seal).await.location(), Some(format!("{page}?done=retried").as_str()));
    assert_eq!(bulk(&seal).await.location(), Some(format!("{page}?done=retried").as_str()), "pressed twice");
    let finished = loop {
        let page = look(&ada, &page).await;
        if page.contains("Finished") {
            break page;
        }
        tokio::task::yield_now().await;
    };
    assert!(finished.contains("1 of 1 queued again, 0 to go") && finished.contains(WHY), "{finished}");
    assert!(look(&ada, "/operations").await.contains("As a repeat, 1 copies, by Person ada"));
    let over = ada.browser.post(&format!("{page}/cancel"), &[("reason", WHY)]).await;
    assert!(over.status == 409 && over.text.contains("It came to its end, today at"), "{}", over.text);
    assert!(!over.text.contains("Nothing leaves"), "nobody has paused anything: {}", over.text);
    let pause = [("whom", "everybody"), ("reason", WHY)];
    assert_eq!(ada.browser.post("/operations/pause", &pause).await.status, 303);
    let over = ada.browser.post(&format!("{page}/cancel"), &[("reason", WHY)]).await;
    for words in ["Nothing leaves for everybody: Person ada paused that", "It waits until the pause ends"] {
        assert!(over.status == 409 && over.text.contains(words), "{words}: {}", over.text);
    }
    assert_eq!(ada.browser.post("/operations/resume", &[("recipient", "*"), ("reason", WHY)]).await.status, 303);
    copy_in(&world, id, RecipientKind::CoveringPractice, DeliveryState::Failed).await;
    let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let released = log.iter().filter(|entry| entry.columns.word == "release");
    let of_many: Vec<_> = released
        .map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned())
        .filter(|event| event.contains("replay of a failed copy, one of 1"))
        .collect();
    let [one] = &of_many[..] else { panic!("decided once, done once: {of_many:?}") };
    assert!(one.contains("Person ada") && one.contains(WHY) && one.contains(&decision), "{one}");

    // A repeat is seen before it leaves; it leads to the copy, and the copy to it.
    let replays = world.gateway().store().replays(dead.id).await.expect("readable");
    let by_many = replays.first().expect("of the decision").id;
    let preview = look(&ada, &format!("{path}/replay")).await;
    for words in ["Nothing is sent yet", "The same bytes as before", "Onward-Replay", "Sent again once before"] {
        assert!(preview.contains(words), "{words}: {preview}");
    }
    let unsaid = ada.browser.post(&format!("{path}/resend"), &[("how", "replay")]).await;
    assert!(unsaid.status == 422 && unsaid.text.contains("Nothing is sent yet"), "{}", unsaid.text);
    let sent_again = ada.browser.post(&format!("{path}/resend"), &[("how", "replay"), ("reason", WHY)]).await;
    let replays = world.gateway().store().replays(dead.id).await.expect("readable");
    let own = replays.last().expect("kept").id;
    assert_eq!(sent_again.location(), Some(format!("/operations/replays/{own}?done=replay").as_str()));
    let repeat = look(&ada, &format!("/operations/replays/{own}?done=replay")).await;
    let others = [format!("href=\"{path}\""), format!("href=\"/operations/replays/{by_many}\""), WHY.to_owned()];
    for words in others.iter().map(String::as_str).chain(["queued again and labelled", "Person ada, today at"]) {
        assert!(repeat.contains(words), "{words}: {repeat}");
    }
    let of_many = look(&ada, &format!("/operations/replays/{by_many}")).await;
    assert!(
        of_many.contains(&format!("href=\"{page}\"")) && of_many.contains("It was repeated again later"),
        "{of_many}"
    );
    let copy = look(&ada, &path).await;
    for replay in [own, by_many] {
        assert!(copy.contains(&format!("href=\"/operations/replays/{replay}\"")), "{copy}");
    }
    copy_in(&world, id, RecipientKind::CoveringPractice, DeliveryState::Failed).await;
    tasks_of_repeats(&world, dead.id, by_many, own).await;

    // Whom it is about is shown once, for a reason, to whoever asked.
    let page = ada.browser.post(&format!("{path}/reveal"), &[("reason", WHY)]).await;
    assert!(page.status == 200 && page.text.contains("Holroyd") && page.text.contains("999 000 0018"), "{}", page.text);
    look(&ada, &path).await;
    let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let mut shown = log.iter().filter(|entry| entry.columns.word == "reveal");
    let entry = shown.next().expect("audited");
    assert_eq!(entry.columns.patient.as_deref(), Some("9990000018"));
    let event = String::from_utf8_lossy(entry.event().expect("kept"));
    assert!(event.contains("disclose") && event.contains("Person ada") && event.contains(WHY), "{event}");
    assert!(shown.next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_second_to_a_copy_is_told_who_was_first() {
    let world = World::start_with_broken_partners().await;
    let (ada, ben) = (operator(&world, "ada").await, operator(&world, "ben").await);
    let id = sent(&world, fresh(message::EDISCHARGE_ITK3)).await;
    let dead = copy_in(&world, id, RecipientKind::CoveringPractice, DeliveryState::Failed).await;
    let path = format!("/operations/deliveries/{}", dead.id);
    // Nothing is sent, so that the copy stays queued once it is queued again.
    let pause = [("whom", "everybody"), ("reason", WHY)];
    assert_eq!(ada.browser.post("/operations/pause", &pause).await.status, 303);
    let retry = async |person: &Person| {
        person.browser.post(&format!("{path}/resend"), &[("how", "retry"), ("reason", WHY)]).await
    };
    assert_eq!(retry(&ada).await.status, 303);
    let second = retry(&ben).await;
    assert_eq!(second.status, 409, "{}", second.text);
    for words in [
        "Nothing was done now",
        "Person ada had it sent again, today at",
        "Nothing leaves for everybody: Person ada paused that",
        "It waits until the pause ends",
        &format!("href=\"{path}\""),
    ] {
        assert!(second.text.contains(words), "{words}: {}", second.text);
    }
    assert!(!second.text.contains("HOLROYD") && !second.text.contains(WHY), "{}", second.text);
    let preview = ben.browser.get(&format!("{path}/replay")).await;
    assert!(preview.status == 409 && preview.text.contains("Person ada had it sent again"), "{}", preview.text);
}

/// A copy that was read out leaves what waits, and the hospital sees that a person took care. Who opens it then asks nobody for anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_in_another_way_is_closed_on_its_page() {
    let world = World::start_with_broken_partners().await;
    let (ada, ben) = (operator(&world, "ada").await, operator(&world, "ben").await);
    let id = sent(&world, fresh(message::EDISCHARGE_ITK3)).await;
    let dead = copy_in(&world, id, RecipientKind::CoveringPractice, DeliveryState::Failed).await;
    let path = format!("/operations/deliveries/{}", dead.id);
    let close = async |person: &Person, version: &str, reason: &str| {
        person.browser.post(&format!("{path}/close"), &[("version", version), ("reason", reason)]).await
    };
    let page = look(&ada, &path).await;
    assert!(page.contains("Close it: it was handed over in another way"), "{page}");
    let version = after(&page, "name=\"version\" value=\"").to_owned();
    let unsaid = close(&ada, &version, "").await;
    assert!(unsaid.status == 422 && unsaid.text.contains("Say why"), "{}", unsaid.text);
    assert_eq!(close(&ada, "0", WHY).await.status, 409, "not a failure that nobody has seen");
    assert_eq!(close(&ada, &version, WHY).await.location(), Some(format!("{path}?done=handed-over").as_str()));
    let stays = async || {
        let page = look(&ada, &format!("{path}?done=handed-over")).await;
        let told = ["It is closed: it was handed over in another way.", "Person ada, today at", WHY];
        for words in told.into_iter().chain(["A person took care of it in another way"]) {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(!page.contains(&format!("{path}/close")) && !page.contains("Retry now"), "{page}");
        let short: String = dead.id.to_string().chars().take(8).collect();
        assert!(!look(&ada, "/operations?queue=dead").await.contains(&short));
    };
    stays().await;
    let second = close(&ben, &version, WHY).await;
    let told = "Person ada handed it over in another way, and closed it";
    assert!(second.status == 409 && second.text.contains(told), "{}", second.text);
    assert!(!second.text.contains("HOLROYD") && !second.text.contains(WHY), "{}", second.text);
    let practice = world.client("beck-lane", "Y99001", ClientRole::Practice).await;
    let opened = practice.get(&format!("fhir/R4/Bundle/{}", dead.id)).await.expect("an answer");
    assert_eq!(opened.status, 200);
    let copy = world.gateway().store().delivery(dead.id).await.expect("readable").expect("there");
    assert!(copy.closed && copy.opened.is_some() && copy.state == DeliveryState::Failed);
    stays().await;
    let task = task(&world.hospital().await, dead.id).await;
    let said = task["businessStatus"]["text"].as_str().expect("text");
    assert!(said.contains("a person took care of it in another way") && !task.to_string().contains(WHY), "{task:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_address_is_shown_before_and_taken_by_what_is_sent_again() {
    let world = World::start_with_broken_partners().await;
    let ada = operator(&world, "ada").await;
    let id = sent(&world, fresh(message::EDISCHARGE_ITK3)).await;
    let dead = copy_in(&world, id, RecipientKind::CoveringPractice, DeliveryState::Failed).await;
    let path = format!("/operations/deliveries/{}", dead.id);
    let import = async |endpoint: &str| {
        let entry = "[[practice]]\nods = \"Y99001\"\nname = \"Beck Lane Surgery\"\nexpires = \"2099-12-31\"\n";
        world.import_directory(&format!("{entry}endpoint = {{ {endpoint} }}\n")).await;
    };
    let before = look(&ada, &format!("{path}/replay")).await;
    assert!(
        before.contains("https://beck-lane.example/in") && !before.contains("the directory has changed"),
        "{before}"
    );
    assert!(before.contains("Nothing younger about the person"), "{before}");
    // By another way: it was not made for that, and what to do is said.
    import("transport = \"mesh\", mailbox = \"Y99001OT1\"").await;
    let words = "receives in another way now (MESH mailbox Y99001OT1)";
    assert!(look(&ada, &format!("{path}/replay")).await.contains(words));
    assert!(look(&ada, "/operations/retry?recipient=Y99001").await.contains(words));
    for how in ["retry", "replay"] {
        let refused = ada.browser.post(&format!("{path}/resend"), &[("how", how), ("reason", WHY)]).await;
        assert!(refused.status == 422 && refused.text.contains(words), "{how}: {}", refused.text);
    }
    let stays = record(&world, id).await.deliveries.into_iter().find(|copy| copy.id == dead.id).expect("there");
    assert_eq!((stays.version, &stays.endpoint), (dead.version, &dead.endpoint));
    // To another address of the same way it goes.
    import("transport = \"https\", url = \"https://beck-lane.example/new\"").await;
    let preview = look(&ada, &format!("{path}/replay")).await;
    for words in
        ["https://beck-lane.example/new", "It was to go to https://beck-lane.example/in: the directory has changed"]
    {
        assert!(preview.contains(words), "{words}: {preview}");
    }
    let many = look(&ada, "/operations/retry?recipient=Y99001").await;
    assert!(
        many.contains("Y99001 goes to https://beck-lane.example/new, and not to https://beck-lane.example/in (1 copy)")
    );
    let sent = ada.browser.post(&format!("{path}/resend"), &[("how", "replay"), ("reason", WHY)]).await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    let now = record(&world, id).await.deliveries.into_iter().find(|copy| copy.id == dead.id).expect("there");
    assert_eq!(now.endpoint.told(), "https://beck-lane.example/new");
}

/// Hospital and recipient read a Task of each repeat: it leads to that of the copy, and that to it. It is nobody's to move, nobody
/// else's to see, and does not tell why.
async fn tasks_of_repeats(world: &World, copy: DeliveryId, first: ReplayId, second: ReplayId) {
    let hospital = world.hospital().await;
    let practice = world.client("beck-lane", "Y99001", ClientRole::Practice).await;
    let names = |task: &Value, list: &str| -> Vec<(String, String)> {
        let found = task[list].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        found.map(|each| (text(&each["type"]["text"]), text(&each["valueReference"]["reference"]))).collect()
    };
    let link = |name: &str, id: &dyn std::fmt::Display| (name.to_owned(), format!("Task/{id}"));
    for reader in [&hospital, &practice] {
        let (of_copy, task) = (task(reader, copy).await, task(reader, second).await);
        assert_eq!(names(&of_copy, "output"), [link("repeat", &first), link("repeat", &second)], "{of_copy:#}");
        assert_eq!(names(&task, "input"), [link("repeats", &copy)], "{task:#}");
        assert!(names(&task, "output").is_empty(), "it is the last one: {task:#}");
        assert_eq!(
            (&task["status"], &task["for"], &task["owner"]),
            (&of_copy["status"], &of_copy["for"], &of_copy["owner"])
        );
        assert_eq!(task["businessStatus"]["text"], "repeat 2 of 2: failed");
        assert!(!task.to_string().contains(WHY) && !task.to_string().contains("Person ada"), "{task:#}");
        let earlier = crate::lifecycle::task(reader, first).await;
        assert_eq!(names(&earlier, "output"), [link("repeated again", &second)]);
    }
    let moved = put(&practice, second, "accepted", None).await;
    assert_eq!(moved.status, 422, "{}", String::from_utf8_lossy(&moved.body));
    let other = world.client("southmoor-epr", "R9Y", ClientRole::Sender).await;
    assert_eq!(other.get(&format!("fhir/R4/Task/{second}")).await.expect("an answer").status, 404);
}

/// An operator who looked is found by whoever asks who saw the person: on the board, at one copy, at one hold.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_looked_at_a_copy_or_hold_saw_the_person() {
    let world = World::start_with_broken_partners().await;
    let ada = operator(&world, "ada").await;
    let id = sent(&world, fresh(message::EDISCHARGE_ITK3)).await;
    let dead = copy_in(&world, id, RecipientKind::CoveringPractice, DeliveryState::Failed).await;
    let held = sent(&world, fresh(message::RESTRICTED_ITK3)).await;
    let held = record(&world, held).await;
    let restricted = held.patient.clone().expect("traced");
    let hold = held.hold.expect("held").id;
    let seen = async |patient: &NhsNumber| -> Vec<String> {
        let store = world.gateway().store();
        let about = AuditQuery { patient: Some(patient.clone()), ..everything(None) };
        let mut found = store.search_audit(about).await.expect("readable");
        let on_lists = sightings(store.as_ref(), patient, &everything(None)).await.expect("readable");
        found.extend(on_lists.into_iter().map(|(entry, _)| entry));
        let by_ada = found
            .iter()
            .filter(|entry| String::from_utf8_lossy(entry.event.as_deref().unwrap_or_default()).contains("Person ada"));
        by_ada.map(|entry| entry.word.to_string()).collect()
    };
    let person: NhsNumber = "9990000018".parse().expect("a test number");
    assert_eq!((seen(&person).await.len(), seen(&restricted).await.len()), (0, 0));
    look(&ada, "/operations").await;
    assert_eq!((seen(&person).await, seen(&restricted).await), (vec!["query".to_owned()], vec!["query".to_owned()]));
    look(&ada, &format!("/operations/deliveries/{}", dead.id)).await;
    assert_eq!(seen(&person).await, ["read-task", "query"]);
    assert_eq!(seen(&restricted).await, ["query"], "that was about somebody else");
    look(&ada, &format!("/operations/holds/{hold}")).await;
    assert_eq!(seen(&restricted).await, ["read-task", "query"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_back_until_somebody_resumes() {
    let world = World::start().await;
    let ada = operator(&world, "ada").await;
    let pause = async |fields: &[(&str, &str)]| ada.browser.post("/operations/pause", fields).await;
    for (fields, error) in [
        (&[("reason", WHY)][..], "Say whom"),
        (&[("recipient", "VMH01"), ("reason", WHY)], "Say whom"),
        (&[("whom", "one"), ("recipient", "no code"), ("reason", WHY)], "ODS code"),
        (&[("whom", "one"), ("recipient", "VMH01")], "Say why"),
        (&[("whom", "everybody"), ("recipient", "VMH01"), ("reason", WHY)], "Take the code out"),
        (&[("whom", "one"), ("recipient", "VMH99"), ("reason", WHY)], "Nobody is known by this code"),
    ] {
        let page = pause(fields).await;
        assert!(page.status == 422 && page.text.contains(error), "{}", page.text);
    }
    let paused = pause(&[("whom", "one"), ("recipient", "vmh01"), ("reason", WHY)]).await;
    assert_eq!(paused.location(), Some("/operations?done=paused&whom=VMH01"));
    let banner = look(&ada, "/operations?done=paused&whom=VMH01").await;
    assert!(banner.contains("VMH01: it is paused. Messages are still taken in"), "{banner}");
    let again = pause(&[("whom", "one"), ("recipient", "VMH01"), ("reason", WHY)]).await;
    assert!(again.status == 409 && again.text.contains("Person ada paused VMH01, today at"), "{}", again.text);
    let id = sent(&world, fresh(message::EDISCHARGE_ITK3)).await;
    copy_in(&world, id, RecipientKind::CoveringPractice, DeliveryState::AwaitingCollection).await;
    let board = look(&ada, "/operations").await;
    assert!(board.contains("When it is resumed") && board.contains("by Person ada: the ward rang"), "{board}");
    assert!(record(&world, id).await.deliveries.iter().any(|copy| copy.state == DeliveryState::Queued));
    let resume = [("recipient", "VMH01"), ("reason", "it is back")];
    assert_eq!(ada.browser.post("/operations/resume", &[("recipient", "VMH01")]).await.status, 422);
    assert_eq!(
        ada.browser.post("/operations/resume", &resume).await.location(),
        Some("/operations?done=resumed&whom=VMH01")
    );
    let again = ada.browser.post("/operations/resume", &resume).await;
    assert!(again.status == 409 && again.text.contains("Person ada ended the pause, today at"), "{}", again.text);
    let never = ada.browser.post("/operations/resume", &[("recipient", "VMH02"), ("reason", WHY)]).await;
    assert!(never.status == 409 && never.text.contains("There is no pause of VMH02"), "{}", never.text);
    assert!(!never.text.contains("Person ada ended"), "that was another recipient's: {}", never.text);
    copy_in(&world, id, RecipientKind::CareHome, DeliveryState::AwaitingCollection).await;
    assert_eq!(pause(&[("whom", "everybody"), ("reason", WHY)]).await.status, 303);
    assert!(look(&ada, "/operations").await.contains("<strong>Everybody</strong>"));
    assert!(look(&ada, "/operations").await.contains("Nothing waits. The last delivery left today at"));
}

async fn the_request(world: &World) -> Approval {
    let store = world.gateway().store();
    let mut open = store.approvals(ApprovalKind::Redirect, None, SystemClock.now()).await.expect("readable");
    open.retain(|approval| approval.verdict.is_none());
    assert_eq!(open.len(), 1);
    open.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_two_people() {
    let world = World::start().await;
    let (ada, ben) = (operator(&world, "ada").await, operator(&world, "ben").await);
    let id = sent(&world, fresh(message::EDISCHARGE_ITK3)).await;
    let copy = copy_in(&world, id, RecipientKind::CareHome, DeliveryState::AwaitingCollection).await;
    let path = format!("/operations/deliveries/{}", copy.id);
    let ask =
        async |home: &str| ada.browser.post(&format!("{path}/redirect"), &[("care_home", home), ("reason", WHY)]).await;
    for (home, error) in [("", "Say where it is to go"), ("?", "ODS code"), ("VMH99", "is not in the directory")] {
        let page = ask(home).await;
        assert!(page.status == 422 && page.text.contains(error), "{}", page.text);
    }
    assert_eq!(ask("VMH02").await.status, 303);
    let decide = async |person: &Person, id: String, verdict: &str| {
        person.browser.post(&format!("/operations/approvals/{id}"), &[("verdict", verdict)]).await
    };
    let first = the_request(&world).await.id.to_string();
    assert!(look(&ada, "/operations").await.contains("Another operator must decide"));
    let own = decide(&ada, first.clone(), "grant").await;
    assert!(own.status == 409 && own.text.contains("Somebody else must decide"), "nobody grants what they ask for");
    assert_eq!(record(&world, id).await.deliveries.len(), 5, "and nothing has happened");
    // The second person sees what exactly it is, without a name, and decides there; the first sees it and cannot.
    let request = format!("/operations/approvals/{first}");
    assert!(look(&ben, "/operations").await.contains(&format!("href=\"{request}\"")));
    let seen = look(&ben, &request).await;
    let link = format!("href=\"{path}\"");
    for words in [
        "Elm Court (VMH02)",
        "Rowan House Care Home (VMH01)",
        "Person ada, today at",
        WHY,
        "Agree and send it there",
        &link,
    ] {
        assert!(seen.contains(words), "{words}: {seen}");
    }
    assert!(!look(&ada, &request).await.contains("Agree and send it there"), "not to whoever asked");
    let reveal = async |why: &str| ben.browser.post(&format!("{request}/reveal"), &[("reason", why)]).await;
    let blind = reveal(" ").await;
    assert!(blind.status == 422 && blind.text.contains("Say why") && !blind.text.contains("Holroyd"), "{}", blind.text);
    let shown = reveal("to compare with the ward's call").await;
    assert!(shown.status == 200 && shown.text.contains("Holroyd") && shown.text.contains("Agree and send it there"));
    let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let last = log.iter().rev().find(|entry| entry.columns.word == "reveal").expect("audited");
    assert_eq!(last.columns.agent.as_deref(), Some("Person ben"));
    assert_eq!(last.columns.patient.as_deref(), Some("9990000018"));
    assert_eq!(decide(&ben, first.clone(), "perhaps").await.status, 400);
    assert_eq!(decide(&ben, first.clone(), "refuse").await.location(), Some("/operations?done=refused"));
    let decided = decide(&ben, first, "grant").await;
    assert!(decided.status == 409 && decided.text.contains("Refused by Person ben, today at"), "{}", decided.text);
    assert_eq!(record(&world, id).await.deliveries.len(), 5);

    assert_eq!(ask("VMH02").await.status, 303);
    let second = the_request(&world).await.id.to_string();
    assert_eq!(decide(&ben, second, "grant").await.location(), Some("/operations?done=redirected"));
    let moved = record(&world, id).await;
    assert_eq!(moved.care_home.as_ref().map(ToString::to_string).as_deref(), Some("VMH02"));
    let old = moved.copies().find(|other| other.id == copy.id).expect("there");
    assert!(old.ended.is_some(), "the first home's copy is taken back");
    assert!(moved.copies().any(|copy| copy.recipient.as_str() == "VMH02" && copy.kind == RecipientKind::CareHome));
    let log = world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
    let told =
        log.iter().map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned()).collect::<Vec<_>>();
    assert!(told.iter().any(|event| event.contains("by Person ada and Person ben")), "both are named");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_shown_with_its_clock_and_decided_after_a_look() {
    let world = World::start().await;
    let ada = operator(&world, "ada").await;
    let id = sent(&world, fresh(message::RESTRICTED_ITK3)).await;
    let hold = record(&world, id).await.hold.expect("held").id;
    let board = look(&ada, "/operations").await;
    assert!(board.contains("The person’s record is restricted") && board.contains("restricted-patient"), "{board}");
    let path = format!("/operations/holds/{hold}");
    let page = look(&ada, &path).await;
    for words in ["What resolves it", "Decide by", "Who may receive it, as agreed with the ward"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let release = async |fields: &[(&str, &str)]| ada.browser.post(&format!("{path}/release"), fields).await;
    let still = release(&[("reason", WHY)]).await;
    assert!(still.status == 409 && still.text.contains("Nothing was sent"), "{}", still.text);
    assert_eq!(release(&[("reason", WHY), ("agreed", "anybody")]).await.status, 400);
    let agreed = [("reason", WHY), ("agreed", "care-home"), ("agreed", "covering-practice")];
    let preview = release(&agreed).await;
    assert!(preview.status == 200 && preview.text.contains("2 copies would be queued"), "{}", preview.text);
    assert!(record(&world, id).await.deliveries.is_empty(), "a look sends nothing");
    let done = release(&[agreed.as_slice(), &[("yes", "1")]].concat()).await;
    assert_eq!(done.location(), Some("/operations?done=released"));
    assert_eq!(record(&world, id).await.deliveries.len(), 2);
    // Whoever comes second is told by whom they were overtaken, and what is left to do.
    let ben = operator(&world, "ben").await;
    let late = ben.browser.get(&path).await;
    assert_eq!(late.status, 404, "it is no hold any more");
    let deeds: [(&str, &[(&str, &str)]); 4] = [
        ("release", &[("reason", WHY), ("agreed", "care-home"), ("yes", "1")]),
        ("close", &[("reason", WHY), ("yes", "1")]),
        ("redirect", &[("reason", WHY), ("care_home", "VMH02")]),
        ("reveal", &[("reason", WHY)]),
    ];
    let mut pages = vec![late];
    for (deed, fields) in deeds {
        let page = ben.browser.post(&format!("{path}/{deed}"), fields).await;
        assert_eq!(page.status, 409, "{deed}: {}", page.text);
        pages.push(page);
    }
    for page in pages {
        for words in
            ["Person ada let it go on, today at", "Nothing was done now", "look on the board whether its copies"]
        {
            assert!(page.text.contains(words), "{words}: {}", page.text);
        }
        assert!(!page.text.contains("Holroyd") && !page.text.contains("HOLROYD"), "{}", page.text);
    }
    // The home's copy is recalled, and the transfer waits again: the earlier hold's page leads to where it does.
    let record_now = record(&world, id).await;
    let copy = record_now.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("there");
    let agent = Agent::named("operator", None);
    let back = TakenBack { agent, by: Some("Cy"), reason: WHY, request_id: None };
    assert_eq!(world.gateway().recall(copy.transfer, Some(copy.id), &back, true).await.expect("committed").len(), 1);
    let waits = record(&world, id).await.hold.expect("held again").id;
    let late = ben.browser.post(&format!("{path}/release"), &agreed).await;
    for words in ["It is held again", &format!("href=\"/operations/holds/{waits}\"")] {
        assert!(late.status == 409 && late.text.contains(words), "{words}: {}", late.text);
    }
    let late = ben
        .browser
        .post(&format!("/operations/deliveries/{}/resend", copy.id), &[("how", "retry"), ("reason", WHY)])
        .await;
    assert!(late.status == 409 && late.text.contains("Cy recalled it, today at"), "{}", late.text);
    // The hospital takes all of it back.
    let hospital = world.hospital().await;
    assert_eq!(put(&hospital, id, "cancelled", Some(WHY)).await.status, 200);
    let late = ben.browser.post(&format!("/operations/holds/{waits}/release"), &agreed).await;
    for words in ["northmoor-epr took it back, today at", "nothing of it is to be used"] {
        assert!(late.status == 409 && late.text.contains(words), "{words}: {}", late.text);
    }

    let id = sent(&world, fresh(message::RESTRICTED_ITK3)).await;
    let path = format!("/operations/holds/{}", record(&world, id).await.hold.expect("held").id);
    let close = async |fields: &[(&str, &str)]| ada.browser.post(&format!("{path}/close"), fields).await;
    let preview = close(&[("reason", WHY)]).await;
    assert!(preview.status == 200 && preview.text.contains("Check before you end it"), "{}", preview.text);
    assert!(record(&world, id).await.not_sent.is_none());
    assert_eq!(close(&[("reason", WHY), ("yes", "1")]).await.location(), Some("/operations?done=closed"));
    assert!(record(&world, id).await.not_sent.is_some());
    let late = ben.browser.post(&format!("{path}/release"), &agreed).await;
    assert!(late.status == 409 && late.text.contains("Person ada ended it without sending, today at"), "{}", late.text);
}

/// A board that stands open keeps nobody signed in: its script's requests are no use of the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_keeps_nobody_signed_in() {
    let world = World::start().await;
    let ada = operator(&world, "ada").await;
    world.tamper("UPDATE sessions SET last_seen = last_seen - 120000000");
    let last_seen = || {
        let database = rusqlite::Connection::open(world.folder().join("onward.db")).expect("opens");
        database.query_row("SELECT max(last_seen) FROM sessions", [], |row| row.get::<_, i64>(0)).expect("a session")
    };
    let before = last_seen();
    let page = ada.browser.send("GET", "/operations/totals", &[("sec-fetch-dest", "empty")], String::new()).await;
    assert_eq!((page.status, last_seen()), (200, before));
    assert_eq!(ada.browser.get("/operations/totals").await.status, 200);
    assert!(last_seen() > before, "a person's request is a use");
}
