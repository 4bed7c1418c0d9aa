//! The walk of one discharge: accept, identify, render, dispatch, acknowledge, collect, hold.
//!
//! Each step consumes the previous step's type. This crate decides; it does no I/O of its own: the store, the
//! transports, the mailbox and the directory are ports. It refuses to guess a recipient and to release a byte
//! without its audit entry.

pub mod accept;
pub mod acknowledge;
pub mod again;
pub mod alerts;
pub mod answer;
pub mod arrivals;
pub mod attend;
pub mod audit_search;
pub mod background;
pub mod beforehand;
pub mod breaker;
pub mod checklist;
pub mod collect;
pub mod configured;
pub mod contents;
pub mod decided;
pub mod decision;
pub mod directory;
pub mod dispatch;
mod elsewhere;
pub mod erasing;
pub mod explain;
pub mod explore;
pub mod exporting;
pub mod facts;
pub mod held;
pub mod holds;
pub mod identify;
pub mod journal;
pub mod leaving;
pub mod lifecycle;
pub mod made;
pub mod mailbox;
pub mod mailboxes;
pub mod meanwhile;
mod needs;
mod objection;
pub mod operate;
mod order;
pub mod organisations;
mod outdated;
mod pausing;
pub mod prepare;
pub mod readdressing;
pub mod recall;
pub mod reconcile;
pub mod redirect;
pub mod refusal;
pub mod registered;
pub mod resending;
pub mod retrace;
mod room;
pub mod rounds;
pub mod routes;
mod scan;
pub mod sent;
pub mod shown;
pub mod sightings;
pub mod starts;
pub mod strange;
pub mod subscriptions;
pub mod tasks;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use onward_core::directory::Directory;
use onward_core::retry::Schedule;
use onward_core::scanning::Scanner;
use onward_core::state::{HoldReason, RecipientKind, TransportKind};
use onward_core::store::alerts::Deadlines;
use onward_core::store::{Store, StoreError};
use onward_core::transport::{Hook, Mailbox, Notifier, Transport};
use onward_core::{Clock, HoldId, MeshMailboxId, OdsCode};
use onward_transform::disclose::Policy;
use onward_validate::{Level, RuleBook, Validator};
use tokio::sync::Notify;

use crate::alerts::Alerting;
use crate::breaker::Breakers;
use crate::journal::Journal;
pub use crate::room::Place;
use crate::room::Room;
use crate::routes::Routes;
use crate::subscriptions::HookAddress;

/// What the gateway is told once, at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The organisation that runs this gateway.
    pub own_ods: OdsCode,
    /// Its name.
    pub own_name: String,
    /// Its MESH mailbox.
    pub own_mailbox: Option<MeshMailboxId>,
    /// Practices without a directory entry are found by MESH.
    pub gp_routing: bool,
    /// Public base URL, without a trailing slash.
    pub base_url: String,
    /// Largest accepted message, bytes (ITK3: 5 MB).
    pub body_bytes_max: usize,
    /// Copies sent side by side.
    pub workers: u32,
    /// How long a leased copy is one worker's.
    pub lease: SignedDuration,
    /// When to try again, by class of endpoint; the default where nothing is set.
    pub retry: BTreeMap<TransportKind, Schedule>,
    /// Who decides each kind of hold, and within which time.
    pub holds: BTreeMap<HoldReason, (String, SignedDuration)>,
    /// When a person must look, and whom that is told.
    pub alerts: Alerting,
    /// The addresses that subscriptions may name.
    pub hooks: Vec<HookAddress>,
}

impl Settings {
    /// When a copy for such an endpoint is tried again.
    #[must_use]
    pub fn schedule(&self, kind: TransportKind) -> Schedule {
        self.retry.get(&kind).copied().unwrap_or_default()
    }

    /// Who decides this kind of hold, and until when: within its time, and before the person comes as far as the grace allows.
    #[must_use]
    pub fn hold_until(&self, reason: HoldReason, expected: Option<Timestamp>, now: Timestamp) -> (String, Timestamp) {
        let (owner, within) = self.hold_policy(reason);
        let Deadlines { unread_before_arrival, grace, .. } = self.alerts.deadlines;
        let before =
            expected.map(|at| at.checked_sub(unread_before_arrival).unwrap_or(Timestamp::MIN).max(now + grace));
        let due = now + within;
        (owner, before.map_or(due, |before| due.min(before)))
    }

    /// Who decides this kind of hold, and within which time; four hours of the operator's where nothing is set.
    #[must_use]
    pub fn hold_policy(&self, reason: HoldReason) -> (String, SignedDuration) {
        self.holds.get(&reason).cloned().unwrap_or_else(|| ("operator".to_owned(), SignedDuration::from_hours(4)))
    }
}

/// FHIR R4 and its profiles, and what a breach of them does to a message that is sent.
#[derive(Clone)]
pub struct Profiles {
    /// Knows FHIR and the operator's packages.
    pub validator: Arc<Validator>,
    /// Refuse, or warn; `None` looks at no message that is sent.
    pub level: Option<Level>,
}

/// The use cases, over their ports.
pub struct Gateway {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) organisations: Option<organisations::Watched>,
    /// How that stands.
    pub(crate) ods: Mutex<rounds::Known>,
    /// Entries that ODS calls closed, as this process saw last.
    pub(crate) ods_closed: AtomicU64,
    pub(crate) mailboxes: Option<mailboxes::Watched>,
    /// How that stands.
    pub(crate) lookups: Mutex<rounds::Known>,
    pub(crate) transports: Vec<Arc<dyn Transport>>,
    pub(crate) mailbox: Option<Arc<dyn Mailbox>>,
    /// How that stands.
    pub(crate) looks: mailbox::Looks,
    /// Alerts that an older version beside this one clears.
    pub(crate) lately: alerts::Lately,
    pub(crate) background: Arc<background::Background>,
    pub(crate) notifiers: Vec<Arc<dyn Notifier>>,
    pub(crate) hook: Option<Arc<dyn Hook>>,
    pub(crate) scanner: Option<Arc<dyn Scanner>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policies: BTreeMap<RecipientKind, Policy>,
    pub(crate) routes: Routes,
    pub(crate) rules: Arc<RuleBook>,
    pub(crate) profiles: Profiles,
    pub(crate) settings: Settings,
    pub(crate) journal: Journal,
    /// Rung when there may be something to send, or when a state has changed.
    pub(crate) work: Notify,
    /// For bodies of large messages that wait for their turn.
    bodies: Room,
    /// For large messages that are taken in at once.
    pub(crate) room: Room,
    pub(crate) scanning: Room,
    /// Rung when many copies are to be sent again.
    pub(crate) bulks: Notify,
    /// Wakes who tells what is due.
    pub(crate) tellings: Notify,
    pub(crate) breakers: Breakers,
    /// Those of subscribers: their probes are calls, not copies.
    pub(crate) hook_breakers: Breakers,
    /// What copies carry, as it was read lately.
    pub(crate) reader: Arc<contents::Reader>,
    /// How far into the audit log this process has looked for each subscription.
    pub(crate) looked: Mutex<BTreeMap<uuid::Uuid, u64>>,
    /// Replacements that this process has tried to join with what has come.
    pub(crate) tried: Mutex<BTreeSet<HoldId>>,
    /// The mark of a readdressed copy behind which the next round looks.
    pub(crate) told_elsewhere: AtomicU64,
}

/// The ports and rules that a [`Gateway`] is made of.
pub struct Parts {
    /// The durable memory.
    pub store: Arc<dyn Store>,
    /// PDS or its stand-in.
    pub directory: Arc<dyn Directory>,
    /// ODS, where the directory is held against it every day.
    pub organisations: Option<organisations::Watched>,
    /// MESH, where the mailboxes of the directory are held against it every day.
    pub mailboxes: Option<mailboxes::Watched>,
    /// One for each kind that is configured.
    pub transports: Vec<Arc<dyn Transport>>,
    /// Our own MESH mailbox.
    pub mailbox: Option<Arc<dyn Mailbox>>,
    /// Ways to tell people that they must look; none: alerts stand in the log, in `/metrics` and in `onward alerts`.
    pub notifiers: Vec<Arc<dyn Notifier>>,
    /// The way to call whoever subscribed.
    pub hook: Option<Arc<dyn Hook>>,
    /// What looks for malware in attachments.
    pub scanner: Option<Arc<dyn Scanner>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// One for each kind of recipient.
    pub policies: BTreeMap<RecipientKind, Policy>,
    /// Who receives what.
    pub routes: Routes,
    /// What the ITK3 profiles demand, and how grave each rule is.
    pub rules: Arc<RuleBook>,
    /// FHIR and its profiles.
    pub profiles: Profiles,
    /// What is told once.
    pub settings: Settings,
}

impl Gateway {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let journal = Journal::new(&parts.settings.own_ods, &parts.settings.base_url);
        Self {
            store: parts.store,
            directory: parts.directory,
            organisations: parts.organisations,
            ods: rounds::Known::at(parts.clock.now()),
            ods_closed: AtomicU64::default(),
            mailboxes: parts.mailboxes,
            lookups: rounds::Known::at(parts.clock.now()),
            transports: parts.transports,
            mailbox: parts.mailbox,
            looks: mailbox::Looks::default(),
            lately: alerts::Lately::default(),
            background: Arc::new(background::Background::new(Arc::clone(&parts.clock))),
            notifiers: parts.notifiers,
            hook: parts.hook,
            scanner: parts.scanner,
            clock: parts.clock,
            policies: parts.policies,
            routes: parts.routes,
            rules: parts.rules,
            profiles: parts.profiles,
            settings: parts.settings,
            journal,
            breakers: Breakers::default(),
            work: Notify::new(),
            bodies: Room::of_bodies(),
            room: Room::of_makers(),
            scanning: Room::of_scanning(),
            bulks: Notify::new(),
            tellings: Notify::new(),
            hook_breakers: Breakers::default(),
            reader: Arc::default(),
            looked: Mutex::default(),
            tried: Mutex::default(),
            told_elsewhere: AtomicU64::default(),
        }
    }

    /// The durable memory, for callers that need no decision (tokens, listings).
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Which endpoints do not answer at present.
    #[must_use]
    pub fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Which subscribers do not answer at present.
    #[must_use]
    pub fn hook_breakers(&self) -> &Breakers {
        &self.hook_breakers
    }

    /// A place for the body of a message of so many bytes, of which no more is read before there is one. Small ones need none.
    ///
    /// # Errors
    /// When there is none in time: whoever sends it is told to come again.
    pub async fn place_for(&self, bytes: usize) -> Result<Place, StoreError> {
        Ok(Place::of(self.bodies.enter(bytes).await?))
    }

    /// Kilobytes of large messages that are being read, rendered or committed at present.
    #[must_use]
    pub fn large_kilobytes(&self) -> u64 {
        self.room.taken()
    }

    /// Kilobytes of large messages whose decoded attachments are with the scanner, or wait for their reading before it.
    #[must_use]
    pub fn scanning_kilobytes(&self) -> u64 {
        self.scanning.taken()
    }

    /// Writes audit entries as rows.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What is told once.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The disclosure policies.
    #[must_use]
    pub fn policies(&self) -> &BTreeMap<RecipientKind, Policy> {
        &self.policies
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}
