//! The pages in a real browser (Debian's `chromium-headless-shell`, driven by `tests/journeys/run.mjs`). `tests/journeys/install` puts what that
//! needs into `target/journeys`; without it the test says so loudly, and fails under `ONWARD_REQUIRE_CHROMIUM`.

use std::path::{Path, PathBuf};

use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::people::Role;
use onward_core::state::RecipientKind;
use onward_core::store::{Acceptance, Accepted, Held, NewDelivery, NewTransfer, Queue, ReplyWanted, StuckQuery};
use onward_core::{Clock as _, DeliveryId, HoldId, SystemClock, TransferId};
use onward_tests::browser;
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, accepted};
use serde_json::{Value, json};

use crate::lifecycle::{Version, copy_of};
use crate::page_audit::taken_back;

const CHROMIUM: &str = "/usr/bin/chromium-headless-shell";
/// Text that would run, turn round or overflow if anything let it.
const HOSTILE: &str =
    "&quot;&gt;&lt;img src=x onerror=alert(1)&gt;&lt;script&gt;alert(2)&lt;/script&gt;{{7*7}} \u{202e}txet";

/// The folder with what npm installed; `None`, loudly, when there is none.
pub(crate) fn installed() -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/journeys");
    let there = |package: &str| modules.join("node_modules").join(package).is_dir();
    if there("playwright-core") && there("oidc-provider") && Path::new(CHROMIUM).exists() {
        return Some(modules.canonicalize().expect("it is there"));
    }
    let required = std::env::var_os("ONWARD_REQUIRE_CHROMIUM").is_some();
    assert!(!required, "Chromium or a package of npm's is missing: run tests/journeys/install");
    println!(
        "SKIPPED: the journeys through the pages, and sign-in with a provider that is not ours: Chromium or target/journeys is missing; run tests/journeys/install"
    );
    None
}

/// A copy like this one, of a person who has died meanwhile: such a message waits for a person, and comes here by release.
pub(crate) async fn deceased_like(world: &World, copy: DeliveryId) -> DeliveryId {
    let store = world.gateway().store();
    let record = store.delivery(copy).await.expect("readable").expect("there");
    let about = store.subject_record(record.patient.as_ref().expect("traced")).await.expect("readable");
    let mut renditions = about.iter().flat_map(|transfer| &transfer.renditions);
    let rendition = renditions.find(|rendition| rendition.delivery == copy).expect("kept");
    let html = String::from_utf8(rendition.html.clone().expect("a page")).expect("text");
    let stop = "</section>\n<div class=\"stop\" role=\"alert\"><h2>This person has died</h2><p>Died 25 November 2026. Do not carry \
        out the requests below. Ring the hospital.</p></div>";
    let mut card: Value =
        serde_json::from_slice(&store.card(copy).await.expect("readable").expect("kept")).expect("JSON");
    card["died"] = "Died 25 November 2026".into();
    let row = |word| {
        let agent = Agent::named("test", None);
        world.gateway().journal().row(&AuditEntry::new(word, SystemClock.now(), agent, "test"))
    };
    let id = DeliveryId::random();
    let transfer = TransferId::random();
    let acceptance = Acceptance {
        transfer: NewTransfer {
            id: transfer,
            sender: record.sender.clone(),
            client_id: "test".to_owned(),
            message_id: transfer.to_string(),
            document_id: None,
            document_set_id: None,
            dated: None,
            version: 1,
            replaces: None,
            awaits: None,
            event: "ITK003D".to_owned(),
            received: SystemClock.now(),
            expected: Some(SystemClock.now()),
            patient: record.patient.clone(),
            care_home: Some(record.recipient.clone()),
            reply: ReplyWanted {
                infrastructure: false,
                business: false,
                mailbox: None,
                header_id: transfer.to_string(),
                sender_reference: None,
                workflow: None,
            },
            media_type: "application/fhir+json".to_owned(),
            body: Vec::new(),
            body_sha256: [0; 32],
            response: Vec::new(),
        },
        deliveries: vec![NewDelivery {
            id,
            kind: RecipientKind::CareHome,
            recipient: record.recipient.clone(),
            recipient_name: record.recipient_name.clone(),
            endpoint: record.endpoint.clone(),
            directory: None,
            media_type: rendition.media_type.clone(),
            body: rendition.body.clone(),
            html: Some(html.replacen("</section>", stop, 1).into_bytes()),
            card: Some(card.to_string().into_bytes()),
            correlation_id: None,
            workflow: None,
            basis: record.basis.clone(),
            disclosure: "{}".to_owned(),
            acknowledgement_awaited: true,
            notice: None,
        }],
        hold: None,
        late: None,
        endings: Vec::new(),
        audit: vec![row(AuditWord::Accept)],
        audit_if_repeat: row(AuditWord::Duplicate),
        audit_if_conflict: row(AuditWord::Refuse),
        held: Held::default(),
    };
    assert_eq!(store.accept(acceptance).await.expect("committed"), Accepted::New);
    id
}

/// The hold of a message about a restricted person.
async fn held(world: &World, hospital: &Session) -> HoldId {
    let id = accepted(hospital, fresh(message::RESTRICTED_ITK3)).await;
    let transfer = world.gateway().store().transfer(id).await.expect("readable");
    transfer.and_then(|transfer| transfer.hold).expect("held").id
}

/// A copy that failed for good.
async fn dead(world: &World) -> DeliveryId {
    let query = || StuckQuery { queues: vec![Queue::Dead], limit: 1, ..StuckQuery::default() };
    loop {
        if let Some(stuck) = world.gateway().store().stuck(query()).await.expect("readable").first() {
            return stuck.copy.id;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_care_home_finds_its_way_in_a_browser() {
    journey("home").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_leads_find_their_way_in_a_browser() {
    journey("staff").await;
}

/// The part of the script that is these people's, in a world of its own.
async fn journey(whose: &str) {
    let Some(modules) = installed() else { return };
    let world = World::start_with_broken_partners().await;
    let hospital = world.hospital().await;
    let home = browser::person(&world, "home@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let other = browser::person(&world, "other@elm.example", Role::CareHomeUser, &["VMH02"]).await;
    let keyboard = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    let plain = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    // Somebody looked an hour ago, and no entry says what they knew then: all of it is new to them.
    assert_eq!(home.browser.get("/inbox").await.status, 200);
    world.tamper("UPDATE users SET looked = looked - 3600000000");
    let given = "<given value=\"Ellen\"/>";
    let text = fresh(message::EDISCHARGE_ITK3);
    assert!(text.contains(given), "the fixture's person has a second given name");
    let long = format!("<given value=\"{HOSTILE} {}\"/>", "Wolfeschlegelsteinhausen".repeat(10));
    let hostile = copy_of(&world, &hospital, text.replace(given, &long)).await;
    let deceased = deceased_like(&world, keyboard).await;
    let first = Version::first();
    let old = copy_of(&world, &hospital, first.text.clone()).await;
    let before = home.browser.get(&format!("/transfers/{old}")).await;
    assert_eq!(before.status, 200, "the first version was read");
    let new = copy_of(&world, &hospital, first.next().text).await;
    let withdrawn = copy_of(&world, &hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(home.browser.get(&format!("/transfers/{withdrawn}")).await.status, 200, "it was read");
    let notice = taken_back(&world, &hospital, withdrawn).await;
    let ward = browser::person(&world, "ward@northmoor.example", Role::WardCoordinator, &["R9Z"]).await;
    let operators = [
        browser::person(&world, "ada@onward.example", Role::Operator, &["Y99900"]).await,
        browser::person(&world, "ben@onward.example", Role::Operator, &["Y99900"]).await,
    ];
    let leads = [
        browser::person(&world, "cat@ig.example", Role::InformationGovernance, &["R9Z"]).await,
        browser::person(&world, "dan@ig.example", Role::InformationGovernance, &["R9Z"]).await,
    ];
    // What is grave wants a fresh sign-in, and the journey takes more than five minutes on a busy machine.
    world.tamper("UPDATE sessions SET authenticated = authenticated + 3600000000");
    let hold = held(&world, &hospital).await;
    let dead = dead(&world).await;
    let (_, invitation) = browser::invited(&world, "kit@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    // A busy machine takes longer than a session lasts of which nobody makes use; the home's own shows how that ends.
    world.tamper(
        "UPDATE sessions SET last_seen = last_seen + 3600000000
         WHERE user NOT IN (SELECT id FROM users WHERE email = 'home@rowan.example')",
    );
    let pictures = std::env::var_os("ONWARD_PICTURES").map(|_| modules.join("../pages"));
    let folder = tempfile::tempdir().expect("a folder");
    let cookie = |person: &browser::Person| person.browser.cookie("__Host-sid").expect("signed in");
    let told = json!({
        "whose": whose, "base": world.base().as_str().trim_end_matches('/'), "modules": modules, "pictures": pictures, "chromium": CHROMIUM,
        "home": cookie(&home), "ward": cookie(&ward), "other": cookie(&other), "operators": operators.each_ref().map(cookie),
        "leads": leads.each_ref().map(cookie), "invitation": invitation,
        "ids": {
            "keyboard": keyboard, "plain": plain, "hostile": hostile, "deceased": deceased, "hold": hold, "dead": dead,
            "old": old, "new": new, "withdrawn": withdrawn, "notice": notice,
        },
    });
    let file = folder.path().join("told.json");
    std::fs::write(&file, told.to_string()).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("journeys/run.mjs");
    let run = tokio::process::Command::new("node")
        .arg(script)
        .arg(&file)
        .kill_on_drop(true)
        .output()
        .await
        .expect("node runs");
    let stdout = String::from_utf8_lossy(&run.stdout).into_owned();
    let last = stdout.lines().last().unwrap_or_default();
    let wrong: Vec<String> = serde_json::from_str(last)
        .unwrap_or_else(|_| panic!("the journey said {stdout} {}", String::from_utf8_lossy(&run.stderr)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
