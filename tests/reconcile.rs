//! The hospital's list of discharges against what came: every gap is found, each person told of is in the log, nobody is named.

use clap::Parser as _;
use jiff::SignedDuration;
use onward_core::audit::Agent;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::{NhsNumber, Timestamp, TransferId};
use onward_gateway::reconcile::{Discharge, Progress};
use onward_server::cli::{Cli, Exit};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, accepted};

fn day(person: &str) -> Discharge {
    let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
    let patient: NhsNumber = person.parse().expect("a test number");
    Discharge { patient, from: at("2026-11-13T00:00:00Z"), until: at("2026-11-13T23:59:59Z") }
}

async fn sent(world: &World) -> TransferId {
    accepted(&world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await
}

/// The home reads its copy once every copy has left.
async fn read_by_home(world: &World, id: TransferId) {
    let store = world.gateway().store();
    let copy = loop {
        let record = store.transfer(id).await.expect("readable").expect("there");
        if record.copies().all(|copy| copy.state != DeliveryState::Queued) {
            break record.copies().find(|copy| copy.kind == RecipientKind::CareHome).expect("a copy").id;
        }
        tokio::task::yield_now().await;
    };
    let reply = world.care_home().await.get(&format!("fhir/R4/Bundle/{copy}")).await.expect("an answer");
    assert_eq!(reply.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discharge_is_matched_with_one_message_and_every_gap_is_work() {
    let world = World::start().await;
    let gateway = world.gateway();
    let (first, second) = (sent(&world).await, sent(&world).await);
    read_by_home(&world, first).await;
    let entries = gateway.store().audit_size().await.expect("readable");
    let agent = || Agent::operator(&"Y99900".parse().expect("a code"), None);
    let sender = || "R9Z".parse().expect("a code");
    let mut list = gateway.reconcile(sender(), SignedDuration::from_hours(72), agent());
    let (known, other) = ("9990000018", "9990000034");
    let found = list.find(&[day(known), day(other), day(known), day(known)]).await.expect("compared");
    let progress: Vec<_> = found.iter().map(|found| found.progress).collect();
    assert_eq!(progress[1], Progress::NotReceived, "nothing came about that person");
    assert_eq!(progress[3], Progress::NotReceived, "two messages stand for two discharges");
    let told: Vec<_> = [0, 2].map(|at| (found[at].transfer.expect("found"), progress[at])).to_vec();
    assert!(told.contains(&(first, Progress::Read)), "{told:?}");
    let (_, unread) = told.iter().find(|(id, _)| *id == second).expect("found");
    assert!(matches!(unread, Progress::NotRead | Progress::NotDelivered), "{unread:?}");
    let log = gateway.store().audit_entries(entries, 100).await.expect("readable");
    let about: Vec<_> = log.iter().filter(|entry| entry.columns.word == "query").collect();
    let people: Vec<_> = about.iter().filter_map(|entry| entry.columns.patient.as_deref()).collect();
    assert_eq!(people, [known, other, known, known], "one for each that was told, also that nothing came");

    let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
    let (from, until) = (at("2020-01-01T00:00:00Z"), at("2099-01-01T00:00:00Z"));
    assert!(list.unlisted(from, until).await.expect("readable").is_empty(), "both are on the list");
    let empty = gateway.reconcile(sender(), SignedDuration::from_hours(72), agent());
    let unlisted = empty.unlisted(from, until).await.expect("readable");
    assert_eq!(unlisted.len(), 2);
    let log = gateway.store().audit_entries(0, 10_000).await.expect("readable");
    let last: Vec<_> = log[log.len() - 2..].iter().map(|entry| &entry.columns).collect();
    for (columns, told) in last.iter().zip(&unlisted) {
        let transfer = told.transfer.map(|id| id.to_string());
        assert_eq!((columns.patient.as_deref(), &columns.transfer), (Some(known), &transfer), "whom it was told about");
    }
    let stranger = gateway.reconcile("RXH".parse().expect("a code"), SignedDuration::from_hours(72), agent());
    assert!(stranger.unlisted(from, until).await.expect("readable").is_empty(), "another hospital's are not told");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_whether_there_is_work() {
    let world = World::start().await;
    read_by_home(&world, sent(&world).await).await;
    let run = async |text: &str, arguments: &[&str]| {
        let file = world.folder().join("list.csv");
        std::fs::write(&file, text).expect("written");
        let file = file.display().to_string();
        let config = world.config_file.to_str().expect("UTF-8");
        let words = [&["onward", "reconcile", &file, "--sender", "R9Z", "--config", config], arguments].concat();
        let cli = Cli::try_parse_from(words).expect("parses");
        tokio::task::spawn_blocking(|| cli.run()).await.expect("it ran")
    };
    let whole = "nhs_number,discharged\n9990000018,2026-11-13\n";
    assert_eq!(run(whole, &["--json", "--all"]).await, Exit::Done, "received, delivered, read");
    assert_eq!(run(&format!("{whole}9990000034,2026-11-13\n"), &["--csv"]).await, Exit::No);
    assert_eq!(run(&format!("{whole}=1+1,2026-11-13\n"), &[]).await, Exit::No, "a row that is no discharge is work");
    assert_eq!(run("name,discharged\nx,2026-11-13\n", &[]).await, Exit::Usage);
    assert_eq!(run("nhs_number,discharged\n", &[]).await, Exit::Usage, "an empty list is no answer");
}
