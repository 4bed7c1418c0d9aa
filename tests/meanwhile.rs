//! Two people work on the same thing: who did what while somebody had a page open is told where their own change lands, and where it is
//! refused.

use onward_core::directory::{CareHome, DirectoryEntry};
use onward_core::people::Role;
use onward_core::store::{Step, StepKind};
use onward_core::{Clock as _, DeliveryId, SystemClock};
use onward_tests::browser::{self, Page, Person};
use onward_tests::message::{self, fresh};
use onward_tests::world::World;

use crate::ended::words_of;
use crate::lifecycle::{copy_of, put};

const NEWS: &str = "Others did something with this summary while you had it open";

async fn entries(world: &World) -> u64 {
    world.gateway().store().audit_size().await.expect("readable")
}

/// The home as it stands in the directory.
async fn in_directory(world: &World) -> CareHome {
    let code = "VMH01".parse().expect("a code");
    match world.gateway().store().directory_entry(&code).await.expect("readable") {
        Some(DirectoryEntry::CareHome(home)) => home,
        other => panic!("no home: {other:?}"),
    }
}

/// A summary that two people of a home work on.
struct Shared {
    world: World,
    day: Person,
    night: Person,
    copy: DeliveryId,
    /// Of its page.
    path: String,
}

impl Shared {
    async fn start() -> Self {
        let world = World::start().await;
        let hospital = world.hospital().await;
        let day = browser::person(&world, "day@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
        let night = browser::person(&world, "night@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
        let copy = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
        Self { world, day, night, copy, path: format!("/transfers/{copy}") }
    }
}

/// What a page's form says that it knows.
fn seen(page: &Page) -> String {
    page.field("seen").unwrap_or_else(|| panic!("a form: {}", page.text)).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_colleague_did_first_is_told_where_ones_own_deed_lands_or_is_refused() {
    let Shared { world, day, night, path, .. } = Shared::start().await;
    let post = async |person: &Person, to: &str, fields: &[(&str, &str)]| {
        person.browser.post(&format!("{path}/{to}"), fields).await
    };
    let opened = day.browser.get(&path).await;
    let (page, form) = (seen(&opened), seen(&day.browser.get(&format!("{path}/decline")).await));
    let asking = seen(&day.browser.get(&format!("{path}/query")).await);
    assert!(!opened.text.contains(NEWS), "nobody did anything");
    let alone = post(&day, "query", &[("words", "Which bed?"), ("seen", &asking)]).await;
    assert_eq!(alone.location(), Some(path.as_str()), "what one did oneself is no news");

    assert_eq!(night.browser.get(&path).await.status, 200);
    assert_eq!(post(&night, "acknowledge", &[]).await.status, 303);
    // Refused: who was faster, with one entry for that this was shown.
    let before = entries(&world).await;
    let refused = post(&day, "decline", &[("words", "no bed"), ("seen", &form)]).await;
    assert_eq!(refused.status, 409);
    for words in
        ["While you had the page open:", "Person night acknowledged the summary, today at", "Nothing was done now"]
    {
        assert!(refused.text.contains(words), "{words}: {}", refused.text);
    }
    assert!(!refused.text.contains("HOLROYD") && !refused.text.contains("Person day asked"), "{}", refused.text);
    assert_eq!(entries(&world).await, before + 1);
    // Whoever does not say since when is told nothing, and nothing is read.
    let bare = post(&day, "decline", &[("words", "no bed")]).await;
    assert!(bare.status == 409 && !bare.text.contains("While you had"), "{}", bare.text);
    assert_eq!(entries(&world).await, before + 1);

    // It lands: the page that follows says so, once, and not of the colleague's own.
    let landed = post(&day, "arrive", &[("seen", &page)]).await;
    let next = landed.location().expect("it leads on").to_owned();
    assert_eq!(next, format!("{path}?seen={page}"));
    let told = day.browser.get(&next).await;
    assert!(told.text.contains(NEWS) && told.text.contains("Person night acknowledged the summary"), "{}", told.text);
    assert!(!day.browser.get(&path).await.text.contains(NEWS), "by this address alone");

    // The first 72 hours: the words that a colleague wrote stay where they stand.
    let list = day.browser.get(&format!("{path}/checklist")).await;
    let problem = [("item", "medicines"), ("outcome", "problem"), ("reason", "no insulin came")];
    assert_eq!(post(&night, "checklist", &problem).await.status, 303);
    let ticked = post(&day, "checklist", &[("item", "identity"), ("outcome", "done"), ("seen", &seen(&list))]).await;
    let next = ticked.location().expect("it leads on").to_owned();
    assert_eq!(next, format!("{path}/checklist?seen={}", seen(&list)));
    let told = day.browser.get(&next).await;
    let news = told.text.split(NEWS).nth(1).and_then(|rest| rest.split("</ul>").next()).expect("told");
    assert!(news.contains("Person night recorded") && news.contains(": a problem, today at"), "{news}");
    assert!(!news.contains("insulin") && !news.contains("identity") && !news.contains("Person day"), "{news}");
    let wrong = post(&day, "checklist", &[("item", "briefing"), ("seen", &seen(&list))]).await;
    assert!(wrong.status == 422 && wrong.text.contains(NEWS), "where something is missing, too: {}", wrong.text);
    assert_eq!(seen(&post(&day, "query", &[("words", " "), ("seen", "17")]).await), "17", "a form keeps what it knew");
}

/// Whoever follows a link of a page to a form has seen that page, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_behind_a_link_knows_what_its_page_told_and_whoever_tells_otherwise_of_a_leaving_is_told() {
    let Shared { world, day, night, copy, path } = Shared::start().await;
    let post = async |person: &Person, to: &str, fields: &[(&str, &str)]| {
        person.browser.post(&format!("{path}/{to}"), fields).await
    };
    // What a page's link to a form says that the page told.
    let linked = |page: &Page, form: &str| {
        let link = page.text.split(&format!("href=\"{path}/{form}?seen=")).nth(1);
        let mark = link.and_then(|rest| rest.split('"').next());
        mark.unwrap_or_else(|| panic!("a link to {form}: {}", page.text)).to_owned()
    };
    // What the form behind it says that it knows.
    let behind = async |page: &Page, form: &str| {
        let link = format!("{path}/{form}?seen={}", linked(page, form));
        seen(&day.browser.get(&link).await)
    };
    let opened = day.browser.get(&path).await;
    assert_eq!(post(&night, "acknowledge", &[]).await.status, 303);
    for form in ["decline", "query"] {
        assert_eq!(linked(&opened, form), seen(&opened), "{form}");
        assert_eq!(behind(&opened, form).await, seen(&opened), "{form}");
    }
    let form = behind(&opened, "decline").await;
    let refused = post(&day, "decline", &[("words", "no bed"), ("seen", &form)]).await;
    assert!(
        refused.status == 409 && refused.text.contains("Person night acknowledged the summary"),
        "{}",
        refused.text
    );
    // What no page wrote is no mark: the form's own.
    let own = seen(&day.browser.get(&format!("{path}/query?seen=17")).await);
    assert!(own.split('.').count() == 3 && own != seen(&opened), "{own}");

    assert_eq!(post(&day, "arrive", &[]).await.status, 303);
    let opened = day.browser.get(&path).await;
    let form = behind(&opened, "leave").await;
    assert_eq!(form, linked(&opened, "leave"));
    let today = SystemClock.now().strftime("%Y-%m-%d").to_string();
    let left = |to, words| [("to", to), ("on", today.as_str()), ("words", words), ("seen", form.as_str())];
    let steps = async || world.gateway().store().steps(copy).await.expect("readable");
    assert_eq!(post(&night, "leave", &left("own-home", "Her daughter fetches her")).await.status, 303);
    // Notices are on their way meanwhile: what counts is what these two left in the log.
    let by = async |name: &str| words_of(&world, name).await;
    let (before, kept) = (by("Person day").await, steps().await);
    let same = post(&day, "leave", &left("own-home", "Her daughter fetches her")).await;
    assert_eq!((same.status, by("Person day").await), (303, before), "the same is kept once: {}", same.text);
    // Not even who told it may take it for changed.
    for (person, name, to, words) in [
        (&day, "Person day", "hospital", ""),
        (&night, "Person night", "died", ""),
        (&day, "Person day", "own-home", "She walks"),
    ] {
        let before = by(name).await.len();
        let refused = post(person, "leave", &left(to, words)).await;
        assert_eq!(refused.status, 409, "{to}");
        let told = "Person night told that the person has left the home, today at";
        for words in [told, ": To their own home, on", "Nothing was kept of what you sent", "ring the hospital"] {
            assert!(refused.text.contains(words), "{to}: {words}: {}", refused.text);
        }
        assert!(!refused.text.contains("daughter") && !refused.text.contains("HOLROYD"), "{}", refused.text);
        assert_eq!(by(name).await[before..], ["read-task"], "{to}: the look");
    }
    assert_eq!(steps().await, kept, "what was told first stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_homes_own_system_did_is_told_and_so_is_what_was_planned_before_the_look() {
    let world = World::start().await;
    let (hospital, system) = (world.hospital().await, world.care_home().await);
    let day = browser::person(&world, "day@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let copy = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let path = format!("/transfers/{copy}");
    let post = async |to: &str, fields: &[(&str, &str)]| day.browser.post(&format!("{path}/{to}"), fields).await;
    let news = |page: &Page| {
        let told = page.text.split(NEWS).nth(1).and_then(|rest| rest.split("</ul>").next());
        told.unwrap_or_default().to_owned()
    };
    let page = seen(&day.browser.get(&path).await);
    let form = seen(&day.browser.get(&format!("{path}/decline")).await);
    assert_eq!(put(&system, copy, "accepted", None).await.status, 200);
    let by_system = "The home’s own system (rowan-house) acknowledged the summary, today at";
    let refused = post("decline", &[("words", "no bed"), ("seen", &form)]).await;
    assert!(refused.status == 409 && refused.text.contains(by_system), "{}", refused.text);
    let landed = post("arrive", &[("seen", &page)]).await;
    let told = day.browser.get(landed.location().expect("it leads on")).await;
    assert!(news(&told).contains(by_system), "{}", told.text);
    assert!(!news(&told).contains("recorded the arrival"), "what one did oneself is no system's: {}", told.text);

    // A colleague's step was planned before the page was made, by a gateway whose commit took its time.
    let list = day.browser.get(&format!("{path}/checklist")).await;
    let planned = Step {
        delivery: copy,
        kind: StepKind::Visited,
        at: SystemClock.now() - jiff::SignedDuration::from_hours(1),
        user: "somebody else".to_owned(),
        name: "Person night".to_owned(),
        item: None,
        outcome: None,
        text: Some("district nurse".to_owned()),
    };
    let row = vec![world.configured("a step")];
    assert_eq!(world.gateway().store().take_step(planned, None, Vec::new(), row).await, Ok(true));
    let ticked = post("checklist", &[("item", "identity"), ("outcome", "done"), ("seen", &seen(&list))]).await;
    let told = day.browser.get(ticked.location().expect("it leads on")).await;
    assert!(news(&told).contains("Person night noted who else came"), "{}", told.text);
    assert!(!news(&told).contains("own system") && !news(&told).contains("nurse"), "once: {}", told.text);
    let again = post("checklist", &[("item", "briefing"), ("outcome", "done"), ("seen", &seen(&told))]).await;
    assert_eq!(again.location(), Some(format!("{path}/checklist").as_str()), "nothing is told twice");
    // Nothing but what we wrote ourselves is a mark: an earlier program's moment tells nothing.
    let old = post("checklist", &[("item", "allergies"), ("outcome", "done"), ("seen", "1795809600000000")]).await;
    assert_eq!(old.location(), Some(format!("{path}/checklist").as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homes_entry_that_a_colleague_changed_is_not_overwritten_unseen() {
    let world = World::start().await;
    let day = browser::person(&world, "day@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let night = browser::person(&world, "night@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let stands = |page: &Page| page.field("stands").expect("a form").to_owned();
    let opened = stands(&day.browser.get("/directory").await);
    let keep = async |person: &Person, stands: &str, free: &str| {
        let fields = [("ods", "VMH01"), ("form", "1"), ("stands", stands), ("total-with", "9"), ("free-with", free)];
        person.browser.post("/directory/entry", &fields).await
    };
    assert_eq!(keep(&night, &opened, "2").await.status, 303);
    // A second press says what the first one did, and nothing is kept twice.
    let (before, stood) = (entries(&world).await, in_directory(&world).await);
    let again = keep(&night, &opened, "2").await;
    assert_eq!(again.location(), Some("/directory?done=kept"), "{}", again.text);
    assert_eq!((entries(&world).await, in_directory(&world).await.beds_updated), (before, stood.beds_updated));
    // What is corrected is held against what was seen, not against what nobody has seen yet.
    let wrong = keep(&day, &opened, "10").await;
    assert_eq!((wrong.status, stands(&wrong)), (422, opened.clone()), "{}", wrong.text);
    assert_eq!(wrong.text.matches(&format!("name=\"stands\" value=\"{opened}\"")).count(), 2, "{}", wrong.text);
    assert_eq!(keep(&day, &stands(&wrong), "3").await.status, 409);
    let refused = keep(&day, &opened, "3").await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    for words in [
        "Person night changed this entry, today at",
        "Nothing was kept of what you sent",
        "Free beds with nursing: “2” there, “3” here",
        "value=\"3\"",
    ] {
        assert!(refused.text.contains(words), "{words}: {}", refused.text);
    }
    assert!(!refused.text.contains("All beds with nursing: “"), "what is the same is not told: {}", refused.text);
    // Nor is what nobody has seen confirmed.
    let confirmed = day.browser.post("/directory/confirm", &[("ods", "VMH01"), ("stands", &opened)]).await;
    assert!(confirmed.status == 409 && confirmed.text.contains("What you see below is what stands there now"));
    assert!(confirmed.text.contains("value=\"2\""), "{}", confirmed.text);
    // An import has come after: nobody of the home is blamed for it.
    let now = stands(&confirmed);
    assert_eq!(keep(&day, &now, "4").await.status, 303, "whoever has seen it may");
    let last = stands(&day.browser.get("/directory").await);
    let store = world.gateway().store();
    let mut home = in_directory(&world).await;
    (home.beds_available.with_nursing, home.beds_updated) = (1, Some(SystemClock.now()));
    let entry = DirectoryEntry::CareHome(home);
    let row = world.configured("directory import");
    store.import_directory(vec![entry], "test", SystemClock.now(), vec![row].into()).await.expect("imported");
    let refused = keep(&day, &last, "3").await;
    assert!(refused.status == 409 && refused.text.contains("Somebody changed this entry, after"), "{}", refused.text);
    // Nor is whoever changed it before the import, once a colleague has confirmed what the import made of it.
    let (now, at) = (stands(&refused), in_directory(&world).await.beds_updated);
    let confirmed = night.browser.post("/directory/confirm", &[("ods", "VMH01"), ("stands", &now)]).await;
    assert_eq!(confirmed.location(), Some("/directory?done=confirmed"));
    assert_ne!(in_directory(&world).await.beds_updated, at);
    let refused = keep(&day, &last, "3").await;
    assert!(refused.status == 409 && refused.text.contains("Somebody changed this entry, after"), "{}", refused.text);
    // A form that changes nothing is a confirmation, and blames nobody either.
    assert_eq!(keep(&night, &now, "1").await.status, 303);
    let refused = keep(&day, &last, "3").await;
    assert!(refused.status == 409 && refused.text.contains("Somebody changed this entry, after"), "{}", refused.text);
}
