//! Mailboxes that MESH lists: an import has them found, and a running gateway holds those of the directory against MESH once a day.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser as _;
use jiff::SignedDuration;
use onward_core::directory::{DirectoryEntry, Endpoint, Practice};
use onward_core::store::Store;
use onward_core::store::alerts::AlertKind;
use onward_core::transport::{Mailboxes, SendError};
use onward_core::{Clock, MeshMailboxId, OdsCode, SystemClock, WorkflowId};
use onward_gateway::Gateway;
use onward_gateway::mailboxes::{self, Watched};
use onward_gateway::rounds::Looked;
use onward_server::app::{self, Tenure};
use onward_server::cli::{Cli, Exit};
use onward_server::config::RouteFile;
use onward_tests::mesh_sandbox::Sandbox;
use onward_tests::world::{World, load};
use tokio::sync::watch;

use crate::organisations::{Turned, assembled};

const PRACTICE: &str = "Y99001";
const MAILBOX: &str = "Y99001OT1";
/// By which goes what the built-in routes send to a practice.
const USUAL: [&str; 4] = ["GPCONNECT_SEND_DOCUMENT", "TOC_FHIR_EC_DISCH", "TOC_FHIR_IP_DISCH", "TOC_FHIR_MH_DISCH"];

/// Runs a `directory` command as an operator would.
async fn directory(command: &str, file: &Path, config: &Path) -> Exit {
    let [file, config] = [file, config].map(|path| path.to_str().expect("UTF-8"));
    let cli = Cli::try_parse_from(["onward", "directory", command, file, "--config", config]).expect("parses");
    tokio::task::spawn_blocking(|| cli.run()).await.expect("it ran")
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}

async fn stored(store: &dyn Store, code: &str) -> Option<DirectoryEntry> {
    store.directory_entry(&code.parse().expect("a code")).await.expect("readable")
}

fn by_mesh(mailbox: &str) -> Endpoint {
    Endpoint::Mesh { mailbox: mailbox.parse().expect("a mailbox"), workflow: None }
}

/// The sandbox has no mailboxes for the workflows of discharges: its own stand for them.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_has_mesh_find_the_mailbox_that_an_entry_leaves_out() {
    let Some(sandbox) = Sandbox::start().await else { return };
    let world = World::start_with_mesh(&sandbox).await;
    let store = world.gateway().store().as_ref();
    let file = |name: &str, entries: &[(&str, &str)]| -> PathBuf {
        let entry = |(ods, workflow): &(&str, &str)| {
            format!(
                "[[practice]]\nods = \"{ods}\"\nname = \"Practice {ods}\"\nexpires = \"2099-12-31\"\n\
                 endpoint = {{ transport = \"mesh\", workflow = \"{workflow}\" }}\n"
            )
        };
        let path = world.folder().join(name);
        std::fs::write(&path, entries.iter().map(entry).collect::<String>()).expect("written");
        path
    };
    let config = world.config_file.as_path();
    // MESH lists several, and none: with one such entry no other is imported either.
    for (place, wrong) in [("X26", "TEST_WORKFLOW2"), ("X27", "TEST_WORKFLOW")].into_iter().enumerate() {
        let other = if wrong.0 == "X26" { ("X27", "TEST_WORKFLOW_ACK") } else { ("X26", "TEST_WORKFLOW") };
        let path = file(&format!("wrong-{place}.toml"), &[other, wrong]);
        assert_eq!(directory("check", &path, config).await, Exit::No, "{wrong:?}");
        assert_eq!(directory("import", &path, config).await, Exit::No, "{wrong:?}");
    }
    let right = file("right.toml", &[("X26", "TEST_WORKFLOW"), ("X27", "TEST_WORKFLOW_ACK")]);
    // Without MESH, and where it refuses us.
    let mut options = std::fs::OpenOptions::new();
    let wrong = options.write(true).create_new(true).mode(0o600).open(world.folder().join("mesh-wrong"));
    wrong.and_then(|mut file| file.write_all(b"not-the-password")).expect("written");
    let text = std::fs::read_to_string(config).expect("readable");
    for (name, from, to, exit) in [
        ("without.toml", "[mesh]\nenabled = true", "[mesh]\nenabled = false", Exit::No),
        ("refused.toml", "\"mesh-password\"", "\"mesh-wrong\"", Exit::Fault),
    ] {
        assert!(text.contains(from), "{from}");
        let other = world.folder().join(name);
        std::fs::write(&other, text.replacen(from, to, 1)).expect("written");
        assert_eq!(directory("import", &right, &other).await, exit, "{name}");
    }
    assert_eq!(directory("check", &right, config).await, Exit::Done);
    assert_eq!((stored(store, "X26").await, stored(store, "X27").await), (None, None), "nothing was imported so far");
    assert_eq!(directory("import", &right, config).await, Exit::Done);
    for (code, expected, by) in [("X26", "X26ABC2", "TEST_WORKFLOW"), ("X27", "X26ABC3", "TEST_WORKFLOW_ACK")] {
        let entry = stored(store, code).await.expect("imported");
        let Endpoint::Mesh { mailbox, workflow } = entry.endpoint() else { panic!("{code} receives by MESH") };
        assert_eq!((mailbox.as_str(), workflow.as_ref().map(WorkflowId::as_str)), (expected, Some(by)));
    }
    // What a person decided stays: another mailbox than MESH lists, and that MESH is not believed about an organisation.
    let before = (stored(store, "X26").await, stored(store, "X27").await);
    let named = world.folder().join("named.toml");
    let text =
        std::fs::read_to_string(&right).expect("readable").replacen("\"mesh\"", "\"mesh\", mailbox = \"X26ABC9\"", 1);
    std::fs::write(&named, text).expect("written");
    assert_eq!(directory("import", &named, config).await, Exit::Done);
    let decided = (stored(store, "X26").await, stored(store, "X27").await);
    assert!(decided.0 != before.0 && decided.1 == before.1);
    assert_eq!(directory("import", &right, config).await, Exit::No, "the directory has another");
    let excepting = world.folder().join("excepting.toml");
    let text = text_of(config).replacen("[mesh]\nenabled = true", "[mesh]\nenabled = true\nlook_except = [\"X27\"]", 1);
    std::fs::write(&excepting, text).expect("written");
    let other = file("other.toml", &[("X27", "TEST_WORKFLOW_ACK")]);
    assert_eq!(directory("import", &other, &excepting).await, Exit::No, "MESH is not believed");
    assert_eq!((stored(store, "X26").await, stored(store, "X27").await), decided);
    // What the e-mail tells to run: all that an entry gets, beside the entry's own mailbox.
    for (code, expected) in [("X26", Exit::No), ("X27", Exit::Done), ("X28", Exit::No)] {
        assert_eq!(directory("mailbox", Path::new(code), config).await, expected, "{code}");
    }
}

/// MESH, which lists the practice's mailbox for everything, unless a test says otherwise.
#[derive(Default)]
struct Mesh {
    otherwise: Mutex<BTreeMap<&'static str, &'static [&'static str]>>,
    is_down: Mutex<bool>,
    asked: Mutex<Vec<String>>,
}

impl Mesh {
    fn lists(&self, workflow: &'static str, mailboxes: &'static [&'static str]) {
        self.otherwise.lock().expect("whole").insert(workflow, mailboxes);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("whole"))
    }
}

#[async_trait]
impl Mailboxes for Mesh {
    async fn taking(&self, _: &OdsCode, workflow: &WorkflowId) -> Result<Vec<MeshMailboxId>, SendError> {
        self.asked.lock().expect("whole").push(workflow.to_string());
        if *self.is_down.lock().expect("whole") {
            return Err(SendError::Transient { reason: "MESH answered 503".to_owned(), retry_after_seconds: None });
        }
        let otherwise = self.otherwise.lock().expect("whole").get(workflow.as_str()).copied();
        Ok(otherwise.unwrap_or(&[MAILBOX]).iter().map(|mailbox| mailbox.parse().expect("a mailbox")).collect())
    }
}

#[tokio::test]
async fn only_the_one_mailbox_that_takes_everything_is_found() {
    let routes = RouteFile::built_in().routes;
    let practice = "ods = \"Y99001\"\nname = \"Beck Lane Surgery\"\nexpires = \"2099-12-31\"\n";
    let find = async |endpoint: &str, mesh: &Mesh| {
        let practice = toml::from_str(&format!("{practice}endpoint = {endpoint}")).expect("a practice");
        mailboxes::find(mesh, &routes, &DirectoryEntry::Practice(practice), Duration::ZERO).await
    };
    let unnamed = "{ transport = \"mesh\", mailbox = \"NONE\" }";
    let mesh = Mesh::default();
    for (place, workflow) in USUAL.into_iter().enumerate() {
        mesh.lists(workflow, [&["Y99001OT2", "Y99001OT3"], &["Y99001OT4", "Y99001OT2"]][place % 2]);
    }
    assert_eq!(find(unnamed, &mesh).await, Ok(Ok("Y99001OT2".parse().expect("a mailbox"))));
    assert_eq!(mesh.asked(), USUAL);
    mesh.lists(USUAL[1], &["Y99001OT4"]);
    let told = find(unnamed, &mesh).await.expect("asked").expect_err("none takes everything");
    assert!(told.contains("TOC_FHIR_EC_DISCH in Y99001OT4; TOC_FHIR_IP_DISCH in Y99001OT2, Y99001OT3;"), "{told}");
    mesh.lists(USUAL[1], &[]);
    let told = find(unnamed, &mesh).await.expect("asked").expect_err("one is taken nowhere");
    assert!(told.contains("TOC_FHIR_EC_DISCH nowhere"), "{told}");
    let _ = mesh.asked();
    let own = "{ transport = \"mesh\", mailbox = \"NONE\", workflow = \"LOCAL\" }";
    assert_eq!(find(own, &mesh).await, Ok(Ok(MAILBOX.parse().expect("a mailbox"))));
    assert_eq!(mesh.asked(), ["LOCAL"], "the endpoint's own goes before");
    mesh.lists("LOCAL", &["Y99001OT2", "Y99001OT3"]);
    let told = find(own, &mesh).await.expect("asked").expect_err("two take it");
    assert!(told.contains("several (LOCAL in Y99001OT2, Y99001OT3)"), "{told}");
    *mesh.is_down.lock().expect("whole") = true;
    assert!(find(own, &mesh).await.is_err(), "what cannot be asked is not taken for none");
}

/// A gateway whose directory is held against MESH, moved by hand; one practice receives by MESH.
struct Bench {
    gateway: Gateway,
    mesh: Arc<Mesh>,
    clock: Arc<Turned>,
    running: watch::Sender<bool>,
    world: World,
}

impl Bench {
    async fn new() -> Self {
        let mut world = World::start().await;
        let settings = world.gateway().settings().clone();
        world.stop().await;
        let store = app::open_store(&load(&world.config_file), Tenure::Server).await.expect("a store");
        let clock = Arc::new(Turned(Mutex::new(SystemClock.now())));
        let practice = stored(store.as_ref(), PRACTICE).await.expect("there").with_endpoint(by_mesh(MAILBOX));
        store.import_directory(vec![practice], "test", clock.now(), Vec::new().into()).await.expect("imported");
        let mesh = Arc::<Mesh>::default();
        let watched = Some(watched(&mesh, &[], SignedDuration::from_mins(30)));
        let gateway = assembled(&world, store, &clock, settings, None, watched);
        Self { gateway, mesh, clock, running: watch::Sender::new(false), world }
    }

    /// The gateway begins again with another configuration, over the same store.
    fn restarts(&mut self, watched: Option<Watched>) {
        let (store, settings) = (Arc::clone(self.gateway.store()), self.gateway.settings().clone());
        self.gateway = assembled(&self.world, store, &self.clock, settings, None, watched);
    }

    async fn look(&self) -> Looked {
        let looked = self.gateway.look_at_mailboxes(Duration::ZERO, &self.running.subscribe()).await;
        looked.expect("the store answers")
    }

    async fn a_day_later(&self) -> Looked {
        *self.clock.0.lock().expect("whole") += SignedDuration::from_hours(24);
        self.look().await
    }

    /// About whom operations is told.
    async fn told_of(&self) -> Vec<String> {
        let alerts = self.gateway.store().alerts().await.expect("readable");
        let told = alerts.into_iter().filter(|alert| alert.concern.kind == AlertKind::MailboxChanged);
        told.filter_map(|alert| alert.concern.recipient).map(|code| code.to_string()).collect()
    }
}

fn watched(mesh: &Arc<Mesh>, except: &[&str], rest: SignedDuration) -> Watched {
    let except: BTreeSet<OdsCode> = except.iter().map(|code| code.parse().expect("a code")).collect();
    Watched { mesh: Arc::clone(mesh) as Arc<dyn Mailboxes>, except, rest }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_mesh_lists_otherwise_is_told_once_a_day_and_nothing_is_changed() {
    let bench = Bench::new().await;
    let directory = bench.gateway.store().directory().await.expect("readable");
    assert_eq!(bench.look().await, Looked::NotNow, "the process has only begun");
    assert_eq!(bench.a_day_later().await, Looked::Whole);
    assert_eq!(bench.mesh.asked(), USUAL, "about the one that receives by a mailbox, for all that it gets");
    assert_eq!((bench.look().await, bench.mesh.asked()), (Looked::NotNow, Vec::new()));
    assert!(bench.told_of().await.is_empty());
    for elsewhere in [&["Y99001OT2"][..], &[]] {
        bench.mesh.lists("TOC_FHIR_MH_DISCH", elsewhere);
        assert_eq!((bench.a_day_later().await, bench.told_of().await), (Looked::Whole, vec![PRACTICE.to_owned()]));
        bench.mesh.lists("TOC_FHIR_MH_DISCH", &["Y99001OT2", MAILBOX]);
        assert_eq!(bench.a_day_later().await, Looked::Whole);
        assert!(bench.told_of().await.is_empty(), "one of several is as good");
    }
    // Where it cannot be asked nothing is raised and nothing is cleared, and it is told since when.
    bench.mesh.lists("TOC_FHIR_MH_DISCH", &[]);
    *bench.mesh.is_down.lock().expect("whole") = true;
    assert_eq!((bench.a_day_later().await, bench.told_of().await), (Looked::BrokenOff, Vec::new()));
    assert_eq!(bench.gateway.mailboxes_standing().expect("watched").failing, Some(bench.clock.now()));
    *bench.mesh.is_down.lock().expect("whole") = false;
    assert_eq!((bench.look().await, bench.told_of().await), (Looked::Whole, vec![PRACTICE.to_owned()]));
    *bench.mesh.is_down.lock().expect("whole") = true;
    assert_eq!((bench.a_day_later().await, bench.told_of().await), (Looked::BrokenOff, vec![PRACTICE.to_owned()]));
    assert_eq!(bench.gateway.store().directory().await.expect("readable"), directory, "a person decides");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_of_a_mailbox_ends_when_a_person_has_decided() {
    let mut bench = Bench::new().await;
    let rest = SignedDuration::ZERO;
    bench.mesh.lists("GPCONNECT_SEND_DOCUMENT", &[]);
    for decided in [Some(watched(&bench.mesh, &[PRACTICE], rest)), None] {
        bench.restarts(Some(watched(&bench.mesh, &[], rest)));
        assert_eq!((bench.a_day_later().await, bench.told_of().await), (Looked::Whole, vec![PRACTICE.to_owned()]));
        bench.restarts(decided);
        assert_eq!((bench.look().await, bench.told_of().await), (Looked::NotNow, Vec::new()));
    }
    // The directory is mended: what it says now is looked at a day later.
    bench.restarts(Some(watched(&bench.mesh, &[], rest)));
    assert_eq!((bench.a_day_later().await, bench.told_of().await), (Looked::Whole, vec![PRACTICE.to_owned()]));
    let file = bench.world.folder().join("practice.toml");
    let mended = "[[practice]]\nods = \"Y99001\"\nname = \"Beck Lane Surgery\"\nexpires = \"2099-12-31\"\n\
                  endpoint = { transport = \"mesh\", mailbox = \"Y99001OT2\" }\n";
    std::fs::write(&file, mended).expect("written");
    assert_eq!(directory("import", &file, &bench.world.config_file).await, Exit::Done);
    assert!(bench.told_of().await.is_empty());
    assert_eq!((bench.look().await, bench.told_of().await), (Looked::NotNow, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_mailboxes_that_mesh_lists_otherwise_a_round_tells_a_few() {
    let bench = Bench::new().await;
    let store = bench.gateway.store().as_ref();
    let moved = ["Y99003", "Y99004", "Y99005", "Y99006"];
    let practice = |ods: &&str| {
        DirectoryEntry::Practice(Practice {
            ods: ods.parse().expect("a code"),
            name: format!("Practice {ods}"),
            telephone: String::new(),
            postcode: String::new(),
            endpoint: by_mesh("Y99001OT3"),
            expires: jiff::civil::date(2099, 12, 31),
            ods_end: None,
        })
    };
    let inbox = |n: u32| practice(&format!("Y98{n:03}").as_str()).with_endpoint(Endpoint::Inbox {});
    let entries = moved.iter().map(practice).chain((0..100).map(inbox)).collect();
    store.import_directory(entries, "test", bench.clock.now(), Vec::new().into()).await.expect("imported");
    let told = async || {
        let mut told = bench.told_of().await;
        told.sort();
        told
    };
    assert_eq!((bench.a_day_later().await, told().await.as_slice()), (Looked::Whole, &moved.map(str::to_owned)[..3]));
    // What is known takes nobody's place.
    assert_eq!((bench.a_day_later().await, told().await.as_slice()), (Looked::Whole, &moved.map(str::to_owned)[..]));
}
