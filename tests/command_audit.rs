//! Every command and outcome leaves exactly the audit events of a table, as `audit` says for the API and `page_audit` for pages.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use onward_core::store::Store;
use onward_core::{DeliveryId, TransferId};
use onward_server::app::{self, Tenure};
use onward_server::cli::{Cli, Exit};
use onward_tests::balp;
use onward_tests::message::{self, fresh};
use onward_tests::world::{self, World, accepted};
use serde_json::Value;

use crate::audit::told;

const PERSON: &str = "9990000018";
/// Whom nobody ever asked about: asking makes an entry about them.
const NOBODY: &str = "9990000042";
const CHANGED: &str = "110100 E0 - operator>onward";
const CHANGED_ABOUT: &str = "110100 E0 - operator>onward patient";
const DENIED: &str = "110100 E8 - operator>onward";
const ASKED: &str = "rest/search E0 Query operator>onward";
const ASKED_ABOUT: &str = "rest/search E0 PatientQuery operator>onward patient";
const LOOKED: &str = "rest/read R0 PatientRead operator>onward patient";
const TRACED: &str = "rest/read R0 PatientRead onward>Personal Demographics Service patient";
const SHOWN: &str = "110106/disclose R0 PrivacyDisclosure.Source onward>operator patient";
const HANDED: &str = "110106/disclose R0 - onward>operator";
const DECIDED: &str = "rest/update U0 PatientUpdate operator>onward patient";
const PREVIEWED: &str = DECIDED;

/// Words (`{…}` stands for what the scene knows), how it ends, events.
type Row = (&'static str, Exit, &'static [&'static str]);

/// While one person's copies have settled, and a second person's transfer waits in a hold.
#[rustfmt::skip]
const SETTLED: &[Row] = &[
    ("status", Exit::Done, &[]),
    ("status {transfer}", Exit::Done, &[LOOKED]),
    ("status {unknown}", Exit::No, &[]),
    ("hold list", Exit::Done, &[ASKED]),
    ("dead list", Exit::Done, &[ASKED]),
    ("alerts", Exit::Done, &[ASKED]),
    ("alerts --over {unknown} --reason r --by Ada", Exit::No, &[]),
    ("subscription list", Exit::Done, &[ASKED]),
    ("subscription off {unknown} --reason r --by Ada", Exit::No, &[]),
    ("audit who --nhs-number 9990000018", Exit::Done, &[ASKED_ABOUT]),
    ("audit who --nhs-number 9990000034", Exit::No, &[ASKED_ABOUT]),
    ("audit export --out {folder}/log.ndjson", Exit::Done, &[ASKED, HANDED]),
    ("audit export --out {folder}/log.ndjson", Exit::Fault, &[ASKED]),
    ("audit verify", Exit::Done, &[ASKED]),
    ("audit prove 0 --out {folder}/proof", Exit::Done, &[ASKED, HANDED]),
    ("audit prove 0 --hash-only --out {folder}/hash", Exit::Done, &[ASKED]),
    ("audit prove 100000 --out {folder}/none", Exit::No, &[]),
    ("audit check {folder}/proof", Exit::Done, &[]),
    ("audit checkpoint", Exit::Done, &[]),
    ("audit key", Exit::Done, &[]),
    ("sar export --nhs-number 9990000018 --out {folder}/archive", Exit::Done, &[SHOWN]),
    ("sar export --nhs-number 9990000018 --out {folder}/archive", Exit::Usage, &[]),
    ("sar export --nhs-number 9990000042 --out {folder}/nothing", Exit::No, &[]),
    ("sar export --nhs-number 9990000018 --born 1944-03-08 --out {folder}/archive-2", Exit::Done, &[SHOWN]),
    ("sar export --nhs-number 9990000018 --born 1944-03-09 --out {folder}/archive-3", Exit::No,
        &["rest/search E8 - operator>onward patient"]),
    // Of whom nothing is held but the question above.
    ("sar export --nhs-number 9990000034 --out {folder}/questions", Exit::Done, &[SHOWN]),
    ("sar check {folder}/archive", Exit::Done, &[]),
    ("breach pack --from 2020-01-01 --to 2100-01-01 --reason r --out {folder}/breach", Exit::Done,
        &[HANDED, ASKED_ABOUT, ASKED_ABOUT]),
    ("breach pack --held 2100-01-01 --reason r --out {folder}/held", Exit::Done, &[HANDED, ASKED_ABOUT, ASKED_ABOUT]),
    ("breach pack --held 2020-01-01 --reason r --out {folder}/held-2", Exit::No, &[]),
    ("breach check {folder}/breach", Exit::Done, &[]),
    ("report --from 2020-01-01 --to 2100-01-01 --out {folder}/report", Exit::Done, &[ASKED]),
    ("report --from 2020-01-01 --to 2020-01-02 --out {folder}/empty", Exit::No, &[]),
    ("reconcile {folder}/list.csv --sender R9Z", Exit::No, &[ASKED, ASKED_ABOUT]),
    ("explain {folder}/discharge.xml", Exit::Done, &[CHANGED, TRACED, SHOWN]),
    ("explain {folder}/broken.xml", Exit::No, &[CHANGED]),
    ("fsck", Exit::Done, &[]),
    ("ropa", Exit::Done, &[]),
    ("policy matrix", Exit::Done, &[]),
    ("policy matrix --sent", Exit::Done, &[ASKED]),
    ("policy test", Exit::Done, &[]),
    ("config check", Exit::Done, &[]),
    ("config show", Exit::Done, &[]),
    ("migrate", Exit::Done, &[]),
    // New stores have nothing to finish: `upgrade_finish` has one that does.
    ("migrate --finish --yes", Exit::Done, &[]),
    ("directory list", Exit::Done, &[]),
    ("directory show VMH01", Exit::Done, &[]),
    ("directory show VMH99", Exit::No, &[]),
    ("directory check {folder}/directory.toml", Exit::Done, &[]),
    ("directory import {folder}/directory.toml", Exit::Done, &[CHANGED]),
    ("client list", Exit::Done, &[]),
    ("client add --id ward --ods R9Z --role sender --generate-key {folder}/ward.pem", Exit::Done, &[CHANGED]),
    ("client add --id ward --ods R9Z --role sender --generate-key {folder}/ward-2.pem", Exit::No, &[]),
    ("client rotate --id ward --generate-key {folder}/ward-3.pem", Exit::Done, &[CHANGED]),
    ("client disable ward", Exit::Done, &[CHANGED]),
    ("client disable nobody", Exit::No, &[]),
    ("user list", Exit::Done, &[]),
    ("user add --name Ines --email ines@northmoor.example --role information-governance --ods R9Z", Exit::Done, &[CHANGED]),
    ("user add --name Ines --email ines@northmoor.example --role information-governance --ods R9Z", Exit::No, &[]),
    ("user invite ines@northmoor.example", Exit::Done, &[CHANGED]),
    ("user disable ines@northmoor.example", Exit::Done, &[CHANGED]),
    ("user disable nobody@northmoor.example", Exit::No, &[]),
    ("pause VMH01 --reason r --by Cy", Exit::Done, &[CHANGED]),
    ("resume VMH01 --reason r --by Cy", Exit::Done, &[CHANGED]),
    ("resume VMH01 --reason r --by Cy", Exit::No, &[]),
    ("keys list", Exit::Done, &[]),
    ("keys new", Exit::Done, &[CHANGED]),
    ("keys rotate", Exit::Done, &[CHANGED]),
    // It knows no gateway: the start that puts it to use is the entry, as `audit` tells.
    ("keys webhook {folder}/hook.key", Exit::Done, &[]),
    ("keys log", Exit::Done, &[CHANGED]),
    ("keys log", Exit::No, &[]),
    ("keys log --retire", Exit::No, &[]),
    ("retention plan", Exit::Done, &[CHANGED]),
    ("retention run {plan} --by Cy", Exit::No, &[]),
    ("retention run {plan} --by Cy --yes --out {folder}/certificate", Exit::Done, &[CHANGED]),
    ("retention run {plan} --by Cy --yes --out {folder}/certificate-2", Exit::No, &[]),
    ("retention certificate {plan}", Exit::Done, &[]),
    ("legal-hold add --nhs-number 9990000018 --reason r --by Cy", Exit::Done, &[CHANGED_ABOUT]),
    ("legal-hold list", Exit::Done, &[]),
    ("erase request --nhs-number 9990000018 --reason r --by Ada", Exit::No, &[]),
    ("erase request --nhs-number 9990000042 --ground wrong-person --reason r --by Ada", Exit::No, &[]),
    ("erase request --nhs-number 9990000018 --ground wrong-person --reason r --by Ada", Exit::Done, &[CHANGED_ABOUT]),
    ("erase list", Exit::Done, &[]),
    ("erase confirm {request} --by Bea", Exit::No, &[]),
    ("erase confirm {request} --by Ada --yes", Exit::No, &[DENIED]),
    ("erase confirm {request} --by Bea --yes", Exit::No, &[DENIED]),
    ("erase confirm {unknown} --by Bea --yes", Exit::No, &[]),
    ("erase refuse {unknown} --by Bea --reason r", Exit::No, &[]),
    ("erase refuse {request} --by Bea --reason r", Exit::Done, &[CHANGED]),
    ("erase request --nhs-number 9990000018 --ground wrong-person --reason r --by Ada", Exit::Done, &[CHANGED_ABOUT]),
    ("legal-hold lift {legal} --reason r --by CY", Exit::No, &[DENIED]),
    ("legal-hold lift {legal} --reason r --by Dot", Exit::Done, &[CHANGED]),
    ("legal-hold lift {legal} --reason r --by Dot", Exit::No, &[]),
    ("erase confirm {request} --by Bea --yes", Exit::Done, &[CHANGED]),
];

/// Once the first person has another transfer, of which one copy failed.
#[rustfmt::skip]
const STUCK: &[Row] = &[
    ("dead close {copy} --reason r --by Ada", Exit::Done, &[LOOKED]),
    ("dead close {copy} --reason r --by Ada --yes", Exit::Done, &[DECIDED]),
    ("dead close {copy} --reason r --by Ada --yes", Exit::No, &[]),
    ("dead close {unknown} --reason r --by Ada --yes", Exit::No, &[]),
    ("dead replay {copy} --reason r", Exit::Done, &[LOOKED]),
    ("dead replay {copy} --reason r --yes", Exit::Done, &[DECIDED]),
    ("dead replay {copy} --reason r --yes", Exit::No, &[]),
    ("dead replay {unknown} --reason r --yes", Exit::No, &[]),
    ("recall {copy} --by Ada --reason r", Exit::Done, &[ASKED_ABOUT]),
    ("recall {copy} --by Ada --reason r --out {folder}/incident", Exit::Done, &[ASKED_ABOUT, HANDED]),
    ("recall {copy} --by Ada --reason r --yes", Exit::Done, &[DECIDED, ASKED_ABOUT]),
    ("recall {unknown} --by Ada --reason r --yes", Exit::No, &[]),
    ("hold release {hold} --reason r --by Ada --recipients-agreed-with-ward care-home", Exit::Done, &[TRACED, PREVIEWED]),
    ("hold release {hold} --reason r --by Ada --recipients-agreed-with-ward care-home --yes", Exit::No, &[TRACED, PREVIEWED]),
    ("hold release {hold} --held-for deceased --reason r --by Ada --yes", Exit::No, &["rest/update U8 - operator>onward"]),
    ("hold release {hold} --reason r --by Ada --yes", Exit::No, &[TRACED, "rest/update U8 - operator>onward patient"]),
    ("hold release {unknown} --reason r --by Ada --yes", Exit::No, &[]),
    ("hold reroute {hold} --care-home VMH01 --reason r --by Ada --yes", Exit::No, &["rest/update U8 - operator>onward"]),
    ("hold close {hold} --reason r --by Ada --yes", Exit::Done, &[DECIDED]),
    // The hold that the recall has made.
    ("hold close {hold} --reason r --by Ada --yes", Exit::Done, &[DECIDED]),
    ("hold close {unknown} --reason r --by Ada --yes", Exit::No, &[]),
];

/// They need no store, or another process: what they leave is told by other tests, or is nothing.
const ELSEWHERE: &[&str] = &[
    "demo",
    "serve",
    "validate",
    "convert",
    "send",
    "bench",
    "healthcheck",
    "config default",
    "directory mailbox",
    "directory current",
    "audit witness",
];

/// What the rows are about.
struct Scene {
    world: World,
    store: Arc<dyn Store>,
    transfer: TransferId,
    copy: Option<DeliveryId>,
}

impl Scene {
    /// A gateway that has stopped, so that nobody else writes entries.
    async fn start() -> Self {
        let mut world = World::start().await;
        let hospital = world.hospital().await;
        let transfer = accepted(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
        accepted(&hospital, fresh(message::RESTRICTED_ITK3)).await;
        settle(&world).await;
        world.stop().await;
        let store =
            app::open_store(&world::load(&world.config_file), Tenure::CommandOnExisting).await.expect("a store");
        let config = std::fs::read_to_string(&world.config_file).expect("readable");
        std::fs::write(&world.config_file, config + "\n[retention]\nmessages_days = 30000\n").expect("written");
        for (name, text) in [
            ("discharge.xml", fresh(message::EDISCHARGE_ITK3)),
            ("directory.toml", include_str!("support/directory.toml").to_owned()),
            ("broken.xml", "<Bundle".to_owned()),
            ("list.csv", "nhs_number,discharged\n9990000034,2026-11-01\n".to_owned()),
        ] {
            std::fs::write(world.folder().join(name), text).expect("written");
        }
        Self { world, store, transfer, copy: None }
    }

    async fn events(&self) -> Vec<Value> {
        let entries = self.store.audit_entries(0, 100_000).await.expect("readable");
        entries.iter().filter_map(|entry| serde_json::from_slice(entry.event()?).ok()).collect()
    }

    /// The identifier in the newest entry that begins so.
    async fn newest(&self, begin: &str) -> String {
        let events = self.events().await;
        let told = events.iter().rev().filter_map(|event| event["outcomeDesc"].as_str()?.split_once(": "));
        let mut found = told.filter_map(|(_, detail)| detail.strip_prefix(begin)?.split([' ', ':']).next());
        found.next().unwrap_or_default().to_owned()
    }

    async fn words(&self, row: &str) -> String {
        let holds = self.store.holds().await.expect("readable");
        row.replace("{folder}", self.world.folder().to_str().expect("UTF-8"))
            .replace("{transfer}", &self.transfer.to_string())
            .replace("{copy}", &self.copy.map(|id| id.to_string()).unwrap_or_default())
            .replace("{hold}", &holds.first().map(|held| held.hold.id.to_string()).unwrap_or_default())
            .replace("{unknown}", "3f2b0c9e-0000-4000-8000-000000000000")
            .replace("{plan}", &self.newest("retention plan ").await)
            .replace("{request}", &self.newest("erasure ").await)
            .replace("{legal}", &self.newest("legal hold ").await)
    }

    /// Runs the rows, and gives what differs.
    async fn run(&self, rows: &[Row]) -> Vec<String> {
        let observer = world::load(&self.world.config_file).server.public_url.at("");
        let mut differing = Vec::new();
        for (number, (row, exit, expected)) in rows.iter().enumerate() {
            let before: BTreeSet<String> = ids(&self.events().await).collect();
            let words = self.words(row).await;
            let ended = command(&self.world, &words.split_whitespace().collect::<Vec<_>>()).await;
            let events = self.events().await;
            let new = events.iter().filter(|event| !before.contains(event["id"].as_str().expect("an id")));
            let mut found: Vec<String> = new.map(|event| told(event, &observer)).collect();
            let mut expected: Vec<String> = expected.iter().map(|&event| event.to_owned()).collect();
            found.sort();
            expected.sort();
            if (ended, &found) != (*exit, &expected) {
                differing.push(format!("{number}: {row}: {ended:?} {found:#?}, not {exit:?} {expected:#?}"));
            }
        }
        differing
    }
}

/// Runs a command as an operator would, with this world's configuration where it takes one.
async fn command(world: &World, words: &[&str]) -> Exit {
    let config = world.config_file.to_str().expect("UTF-8");
    let with = [&["onward"], words, &["--config", config]].concat();
    let without = [&["onward"], words].concat();
    let cli = Cli::try_parse_from(with).or_else(|_| Cli::try_parse_from(without));
    let cli = cli.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    tokio::task::spawn_blocking(|| cli.run()).await.expect("it ran")
}

fn ids(events: &[Value]) -> impl Iterator<Item = String> {
    events.iter().filter_map(|event| event["id"].as_str().map(str::to_owned))
}

/// Waits until nothing is on its way, answers to the hospital included.
async fn settle(world: &World) {
    let file = rusqlite::Connection::open(world.folder().join("onward.db")).expect("opens");
    let queued = || -> i64 {
        let count = "SELECT count(*) FROM deliveries WHERE state = 'queued'";
        file.query_row(count, [], |row| row.get(0)).expect("counted")
    };
    while queued() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_and_outcome_leaves_exactly_its_events() {
    let mut scene = Scene::start().await;
    // Before the last one erases what the entries say.
    let (erasing, before) = SETTLED.split_last().expect("rows");
    let mut differing = scene.run(before).await;
    assert!(balp::judge(scene.store.as_ref(), 0).await > 0);
    let about_the_erased = scene.events().await.iter().filter(|event| balp::patient(event) == Some(PERSON)).count();
    differing.extend(scene.run(std::slice::from_ref(erasing)).await);
    scene.world.restart().await;
    scene.transfer = accepted(&scene.world.hospital().await, fresh(message::EDISCHARGE_ITK3)).await;
    settle(&scene.world).await;
    scene.world.stop().await;
    let record = scene.store.transfer(scene.transfer).await.expect("readable").expect("there");
    scene.copy = record.deliveries.iter().find(|copy| copy.kind.as_str() == "care-home").map(|copy| copy.id);
    scene.world.tamper("UPDATE deliveries SET state = 'failed' WHERE kind = 'care-home'");
    differing.extend(scene.run(STUCK).await);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    let (judged, gone) = balp::judge_what_is_left(scene.store.as_ref()).await;
    // The erased person's are gone, and theirs alone; each row that has events left some.
    assert_eq!(gone, about_the_erased);
    assert!(judged > STUCK.iter().map(|row| row.2.len()).sum::<usize>() + gone, "{judged} judged, {gone} gone");
    let names = async |number| scene.events().await.iter().any(|event| event.to_string().contains(number));
    assert!(!names(NOBODY).await, "nothing is kept of a search for nobody");
    assert!(names(PERSON).await, "the canary sings");
}

#[test]
fn no_command_is_missing_from_the_table() {
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path = format!("{path} {}", below.get_name()).trim().to_owned();
            if below.get_subcommands().next().is_none() {
                found.push(path);
            } else {
                leaves(below, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    leaves(&Cli::command(), "", &mut found);
    assert!(found.len() > 40, "{found:?}");
    for leaf in found {
        let begins = |row: &&Row| row.0 == leaf || row.0.starts_with(&format!("{leaf} "));
        let here = SETTLED.iter().chain(STUCK).any(|row| begins(&row));
        assert!(here != ELSEWHERE.contains(&leaf.as_str()), "{leaf} has no row, or has one and is told elsewhere");
    }
}
