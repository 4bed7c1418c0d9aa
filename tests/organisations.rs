//! The directory held against ODS while the gateway runs: once a day, by one node, no faster than ODS wishes; and nothing new goes to an
//! organisation that has closed before a person has looked. What a person takes back is taken back at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use jiff::SignedDuration;
use jiff::civil::date;
use onward_connect::stand_in::StandInDirectory;
use onward_core::audit::Agent;
use onward_core::client::Client;
use onward_core::state::{HoldReason, RecipientKind};
use onward_core::store::alerts::AlertKind;
use onward_core::store::{HeldTransfer, Store};
use onward_core::{Clock, OdsCode, SystemClock, Timestamp, TransferId};
use onward_gateway::accept::Submission;
use onward_gateway::holds::{Choice, Decider, Released};
use onward_gateway::organisations::{Watched, told};
use onward_gateway::rounds::Looked;
use onward_gateway::{Gateway, Parts, Settings, mailboxes};
use onward_server::app::{self, Tenure};
use onward_tests::message::{self, fresh};
use onward_tests::ods::Ods;
use onward_tests::world::{World, load};
use tokio::sync::watch;

const ALL: [&str; 6] = ["FZZ01", "FZZ02", "VMH01", "VMH02", "Y99001", "Y99002"];

/// A clock that a test turns.
pub(crate) struct Turned(pub(crate) Mutex<Timestamp>);

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("whole")
    }
}

/// A gateway whose directory is held against a stub of ODS, moved by hand.
struct Bench {
    gateway: Gateway,
    hospital: Client,
    ods: Ods,
    clock: Arc<Turned>,
    running: watch::Sender<bool>,
    world: World,
}

fn watched(ods: &Ods, except: &[&str], rest: SignedDuration) -> Watched {
    let except = except.iter().map(|code| code.parse().expect("a code")).collect();
    Watched { ods: Arc::new(ods.client()), except, rest }
}

/// A gateway over a world's store, without listeners, that holds the directory against these.
pub(crate) fn assembled(
    world: &World,
    store: Arc<dyn Store>,
    clock: &Arc<Turned>,
    settings: Settings,
    organisations: Option<Watched>,
    mailboxes: Option<mailboxes::Watched>,
) -> Gateway {
    let config = load(&world.config_file);
    Gateway::new(Parts {
        store,
        directory: Arc::new(StandInDirectory::load(&world.folder().join("people.toml")).expect("people")),
        organisations,
        mailboxes,
        transports: Vec::new(),
        mailbox: None,
        notifiers: Vec::new(),
        hook: None,
        scanner: None,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        policies: app::load_policies(&config).expect("policies"),
        routes: config.load_routes().expect("routes").routes,
        rules: config.load_rules().expect("rules"),
        profiles: config.load_profiles().expect("profiles"),
        settings,
    })
}

impl Bench {
    async fn new(except: &[&str]) -> Self {
        Self::resting(except, SignedDuration::ZERO).await
    }

    /// Of a process that makes no round before it has run for so long.
    async fn resting(except: &[&str], rest: SignedDuration) -> Self {
        let mut world = World::start().await;
        world.hospital().await;
        let hospital = world.gateway().store().client("northmoor-epr").await.expect("readable").expect("registered");
        let settings = world.gateway().settings().clone();
        world.stop().await;
        let config = load(&world.config_file);
        let ods = Ods::start().await;
        for code in ALL {
            ods.stands(code, if code.starts_with('V') { "RO269" } else { "RO76" });
        }
        let clock = Arc::new(Turned(Mutex::new(SystemClock.now())));
        let store = app::open_store(&config, Tenure::Server).await.expect("a store");
        let gateway = assembled(&world, store, &clock, settings, Some(watched(&ods, except, rest)), None);
        Self { gateway, hospital, ods, clock, running: watch::Sender::new(false), world }
    }

    /// The gateway begins again with another configuration, over the same store.
    fn restarts(&mut self, organisations: Option<Watched>) {
        let store = Arc::clone(self.gateway.store());
        let settings = self.gateway.settings().clone();
        self.gateway = assembled(&self.world, store, &self.clock, settings, organisations, None);
    }

    async fn look(&self) -> Looked {
        let looked = self.gateway.look_at_organisations(Duration::ZERO, &self.running.subscribe()).await;
        looked.expect("the store answers")
    }

    fn a_day_passes(&self) {
        let mut now = self.clock.0.lock().expect("whole");
        *now += SignedDuration::from_hours(24);
    }

    async fn accept(&self) -> TransferId {
        let submission = Submission {
            client: self.hospital.clone(),
            body: Bytes::from(fresh(message::EDISCHARGE_ITK3)),
            media_type: "application/fhir+xml".to_owned(),
            request_id: None,
        };
        self.gateway.accept(submission).await.expect("accepted").transfer
    }

    /// The recipients of the copies of a transfer.
    async fn copies(&self, transfer: TransferId) -> BTreeSet<(RecipientKind, String)> {
        let transfer = self.gateway.store().transfer(transfer).await.expect("readable").expect("there");
        transfer.deliveries.iter().map(|copy| (copy.kind, copy.recipient.to_string())).collect()
    }

    async fn held(&self, transfer: TransferId) -> Option<HeldTransfer> {
        let holds = self.gateway.store().holds().await.expect("readable");
        holds.into_iter().find(|held| held.transfer == transfer)
    }

    async fn told_of(&self) -> Vec<OdsCode> {
        let alerts = self.gateway.store().alerts().await.expect("readable");
        let closed = alerts.into_iter().filter(|alert| alert.concern.kind == AlertKind::OrganisationClosed);
        closed.filter_map(|alert| alert.concern.recipient).collect()
    }

    async fn logged(&self, text: &str) -> usize {
        let entries = self.gateway.store().audit_entries(0, 1_000).await.expect("readable");
        let events = entries.iter().map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned());
        events.filter(|event| event.contains(text)).count()
    }

    async fn closed(&self) -> Vec<String> {
        let (_, closed) = told(self.gateway.store().as_ref(), self.clock.now()).await.expect("readable");
        closed.iter().map(ToString::to_string).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_a_day_one_node_asks_about_every_entry() {
    let bench = Bench::new(&["FZZ02"]).await;
    assert_eq!(bench.look().await, Looked::Whole);
    let without: Vec<&str> = ALL.iter().copied().filter(|code| *code != "FZZ02").collect();
    assert_eq!(bench.ods.asked(), without, "each once, but for what a person took out");
    assert_eq!(bench.look().await, Looked::NotNow);
    assert!(bench.ods.asked().is_empty());
    let standing = bench.gateway.organisations_standing().expect("it is held against ODS");
    assert_eq!((standing.looked.is_some(), standing.failing, standing.closed), (true, None, 0));
    bench.a_day_passes();
    let (now, another) = (bench.clock.now(), 7);
    let taken =
        bench.gateway.store().take_forwarding("ods", another, now, now + SignedDuration::from_mins(10), 0).await;
    assert!(taken.expect("committed").is_some());
    assert_eq!(bench.look().await, Looked::NotNow, "another node asks");
    assert!(bench.ods.asked().is_empty());
    bench.a_day_passes();
    assert_eq!(bench.look().await, Looked::Whole, "what another began and did not end is made up for");
    assert_eq!(bench.logged("to ODS it is").await, 0, "nothing was marked");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_goes_to_a_practice_that_has_closed() {
    let bench = Bench::new(&[]).await;
    assert_eq!(bench.look().await, Looked::Whole);
    let before = bench.accept().await;
    assert!(bench.copies(before).await.contains(&(RecipientKind::CoveringPractice, "Y99001".to_owned())));
    bench.ods.ends("Y99001", "RO76", date(2026, 6, 30), "Y99003");
    bench.a_day_passes();
    assert_eq!(bench.look().await, Looked::Whole);
    assert_eq!(
        (bench.closed().await, bench.told_of().await),
        (vec!["Y99001".to_owned()], vec!["Y99001".parse().expect("a code")])
    );
    assert_eq!(
        bench.logged("directory entry Y99001: to ODS it is closed after 2026-06-30, and after it comes Y99003").await,
        1
    );
    let transfer = bench.accept().await;
    let held = bench.held(transfer).await.expect("it waits for a person");
    assert_eq!(held.hold.reason, HoldReason::CoveringPracticeUnknown);
    for part in ["Y99001", "closed after 2026-06-30", "Y99003"] {
        assert!(held.hold.detail.contains(part), "{part}: {}", held.hold.detail);
    }
    assert!(bench.copies(transfer).await.is_empty());
    bench.a_day_passes();
    assert_eq!(bench.look().await, Looked::Whole);
    assert_eq!(bench.told_of().await.len(), 1, "told once");
    assert_eq!(bench.logged("to ODS it is closed").await, 1, "and written down once");
    // ODS takes it back.
    bench.ods.stands("Y99001", "RO76");
    bench.a_day_passes();
    assert_eq!(bench.look().await, Looked::Whole);
    assert!(bench.closed().await.is_empty() && bench.told_of().await.is_empty());
    assert!(bench.held(bench.accept().await).await.is_none());
}

/// A person who names the home knows that ODS calls it closed: the hold says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_has_closed_gets_what_a_person_sends_there() {
    let bench = Bench::new(&[]).await;
    bench.ods.ends("VMH01", "RO269", date(2026, 6, 30), "VMH02");
    // A pharmacy that no home needs is marked, and nobody is called for it.
    bench.ods.ends("FZZ02", "RO182", date(2026, 6, 30), "FZZ01");
    assert_eq!(bench.look().await, Looked::Whole);
    assert_eq!(bench.closed().await, ["VMH01", "FZZ02"], "by kind");
    assert_eq!(bench.told_of().await, ["VMH01".parse().expect("a code")]);
    let transfer = bench.accept().await;
    let held = bench.held(transfer).await.expect("it waits for a person");
    assert_eq!(held.hold.reason, HoldReason::CareHomeUnknown, "{}", held.hold.detail);
    assert!(held.hold.detail.contains("closed after 2026-06-30"), "{}", held.hold.detail);
    let decide = async |care_home: Option<&str>| {
        let agent = Agent::named("operator", None);
        let decider = Decider { agent, by: "Ada Wells", reason: "the ward knows", act: true, request_id: None };
        let choice = match care_home {
            Some(code) => Choice::Reroute { care_home: Some(code.parse().expect("a code")), registered_practice: None },
            None => Choice::Release { agreed_recipients: BTreeSet::new() },
        };
        bench.gateway.release(held.hold.id, choice, &decider).await.expect("decided")
    };
    assert!(matches!(decide(None).await, Released::StillHeld(cause) if cause.reason == HoldReason::CareHomeUnknown));
    assert!(matches!(decide(Some("VMH01")).await, Released::Queued(_)));
    assert!(bench.copies(transfer).await.contains(&(RecipientKind::CareHome, "VMH01".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_ods_is_waited_for_and_left_alone_when_it_wishes_for_more() {
    let bench = Bench::new(&[]).await;
    bench.ods.is_busy(&[0, 0]);
    assert_eq!(bench.look().await, Looked::Whole);
    let asked = bench.ods.asked();
    assert_eq!((asked.len(), &asked[..3]), (ALL.len() + 2, ["FZZ01"; 3].map(str::to_owned).as_slice()));
    bench.ods.ends("FZZ01", "RO182", date(2026, 6, 30), "FZZ02");
    bench.a_day_passes();
    assert_eq!(bench.look().await, Looked::Whole);
    assert_eq!(bench.closed().await, ["FZZ01"]);
    let last = bench.gateway.organisations_standing().expect("watched").looked;
    let _ = bench.ods.asked();
    // An hour: the round breaks off, nothing changes, and it is told since when.
    bench.a_day_passes();
    bench.ods.is_busy(&[3_600]);
    assert_eq!(bench.look().await, Looked::BrokenOff);
    assert_eq!(bench.ods.asked(), ["FZZ01"], "not hammered");
    let standing = bench.gateway.organisations_standing().expect("watched");
    assert_eq!((standing.looked, standing.failing, standing.closed), (last, Some(bench.clock.now()), 1));
    let held = bench.held(bench.accept().await).await.expect("what was known holds on");
    assert_eq!(held.hold.reason, HoldReason::PharmacyUnknown);
    assert_eq!(bench.look().await, Looked::Whole, "the next look goes on");
    assert_eq!(bench.gateway.organisations_standing().expect("watched").failing, None);
}

/// What ODS has wrong must hold nobody's discharge for longer than it takes a person to say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_a_person_takes_back_is_lifted_at_the_next_look() {
    let mut bench = Bench::new(&[]).await;
    let hour = SignedDuration::from_hours(1);
    let is_open = async |bench: &Bench| {
        let open = bench.closed().await.is_empty() && bench.told_of().await.is_empty();
        open && bench.held(bench.accept().await).await.is_none()
    };
    for (organisations, why) in [
        (
            Some(watched(&bench.ods, &["Y99001"], hour)),
            "the code is named; the process has only begun, and no round is due",
        ),
        (None, "ODS is not asked any more"),
    ] {
        bench.ods.ends("Y99001", "RO76", date(2026, 6, 30), "Y99003");
        bench.restarts(Some(watched(&bench.ods, &[], SignedDuration::ZERO)));
        bench.a_day_passes();
        assert_eq!(bench.look().await, Looked::Whole);
        assert_eq!((bench.closed().await, bench.told_of().await.len()), (vec!["Y99001".to_owned()], 1));
        assert!(bench.held(bench.accept().await).await.is_some());
        let asked = bench.ods.asked().len();
        assert_eq!(asked, ALL.len());
        bench.restarts(organisations);
        assert_eq!(bench.look().await, Looked::NotNow, "{why}");
        assert!(is_open(&bench).await, "{why}");
        assert!(bench.ods.asked().is_empty(), "{why}");
    }
    assert_eq!(bench.logged("directory entry Y99001: it is not held to be closed any more").await, 2);
}

/// While nodes are replaced one by one, earlier ones cannot read what a round writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_makes_no_round_before_it_has_run_for_a_while() {
    let rest = SignedDuration::from_mins(30);
    let bench = Bench::resting(&[], rest).await;
    assert_eq!(bench.look().await, Looked::NotNow);
    *bench.clock.0.lock().expect("whole") += rest - SignedDuration::from_secs(1);
    assert_eq!(bench.look().await, Looked::NotNow);
    assert!(bench.ods.asked().is_empty());
    *bench.clock.0.lock().expect("whole") += SignedDuration::from_secs(1);
    assert_eq!(bench.look().await, Looked::Whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_round_marks_a_few_whatever_ods_says() {
    let bench = Bench::new(&[]).await;
    for code in ALL {
        bench.ods.ends(code, if code.starts_with('V') { "RO269" } else { "RO76" }, date(2026, 6, 30), "Y99003");
    }
    assert_eq!(bench.look().await, Looked::Whole);
    let mut first = bench.closed().await;
    first.sort();
    assert_eq!(first, ["FZZ01", "FZZ02", "VMH01"]);
    bench.a_day_passes();
    assert_eq!(bench.look().await, Looked::Whole);
    assert_eq!(bench.closed().await.len(), ALL.len(), "the next goes on where nobody has said otherwise");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_code_at_which_ods_breaks_stops_no_round_and_three_do() {
    let bench = Bench::new(&[]).await;
    bench.ods.breaks_at(&["VMH01", "VMH02"]);
    assert_eq!(bench.look().await, Looked::Whole);
    assert_eq!(bench.ods.asked(), ALL, "each once");
    bench.a_day_passes();
    bench.ods.breaks_at(&["VMH01", "VMH02", "Y99001"]);
    assert_eq!(bench.look().await, Looked::BrokenOff);
    assert_eq!(bench.ods.asked(), ALL[..5], "three in a row");
    assert!(bench.gateway.organisations_standing().expect("watched").failing.is_some());
    bench.ods.breaks_at(&[]);
    assert_eq!(bench.look().await, Looked::Whole);
    assert_eq!(bench.ods.asked(), ALL[2..], "those three are asked about again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_does_not_wait_for_ods() {
    let bench = Bench::new(&[]).await;
    bench.ods.is_busy(&[50]);
    let mut asked = Vec::new();
    let ending = async {
        while asked.is_empty() {
            tokio::task::yield_now().await;
            asked = bench.ods.asked();
        }
        bench.running.send_replace(true);
    };
    let (looked, ()) = tokio::join!(bench.look(), ending);
    assert_eq!((looked, asked), (Looked::BrokenOff, vec!["FZZ01".to_owned()]));
    assert!(bench.ods.asked().is_empty(), "not asked again after its wish");
}
