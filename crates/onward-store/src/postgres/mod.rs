//! PostgreSQL, for any number of nodes on one database: a few writers with group commit, and readers. Only SQL that engines
//! compatible with PostgreSQL have, but for the partitions.

mod accept;
mod alerts;
mod audit;
mod checkup;
mod clients;
mod closing;
mod columns;
mod connect;
mod deliveries;
mod directory;
mod dispatch;
mod elsewhere;
mod erasures;
mod evidence;
mod failure;
mod figures;
mod keyed;
mod keys;
mod lifecycle;
mod migrate;
mod open;
mod operations;
mod own;
mod partitions;
mod people;
mod purge;
mod readers;
mod reporting;
mod resending;
mod retention;
mod retracing;
mod session;
mod steps;
mod subscriptions;
mod tasks;
mod transfers;
mod work;
mod writers;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use deadpool_postgres::Pool;
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use onward_core::audit::{AuditQuery, AuditRow, FoundAudit, StoredCheckpoint};
use onward_core::client::{Client, Token};
use onward_core::directory::{DirectoryEntry, Endpoint};
use onward_core::store::{
    Acceptance, Accepted, Again, Arrival, ArrivalQuery, AttemptEnd, Checkup, Claim, Closure, DeliveryQuery,
    DeliveryRecord, DirectoryReading, ErasureConfirmation, ErasureOutcome, ErasureRequest, Figures, Finish, FoundTask,
    GivenUp, HeldTransfer, HoldChange, ImportAudit, KeyUsage, Lease, LegalHold, LegalHoldOrder, Lifted, Listed,
    NewDelivery, OriginalMessage, Overdue, Pause, PendingErasure, Placing, Predecessor, Release, Renewal, Schema, Step,
    Store, StoreError, StoredAudit, StoredRendition, SubjectTransfer, TakeBack, TaskQuery, TransferRecord, Transition,
    Waiting,
};
use onward_core::{Clock, DeliveryId, HoldId, NhsNumber, OdsCode, TransferId};
use rustls::crypto::CryptoProvider;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

pub use connect::address_problem;
pub use open::OpenError;

use crate::query::Dialect;
use crate::rows::copies::{PackedAcceptance, have_parts};
use crate::rows::resending::Requeue;
use crate::sealing::{KeyEncryption, Vault};
use crate::stored::{micros, month};
use partitions::Partitions;
use readers::Look;
use writers::{WRITERS, Writers};

/// Connections that read.
const READERS: usize = 8;
/// Where PostgreSQL's SQL is its own.
const DIALECT: Dialect = Dialect {
    greatest: "greatest",
    ordered_join: "JOIN",
    body_of_delivery: "b.delivery = d.id AND b.month = d.month",
    account: "account",
    parameter: '$',
    any_transport: "d.transport IN ('inbox', 'https', 'mesh')",
};
/// The longest month and a day: the next month's partition is there before its first row.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 32);

/// Where the database is, and how it is talked to. `Debug` leaves the password out.
#[derive(Clone)]
pub struct PostgresSettings {
    /// `postgres://USER@HOST/DATABASE`; [`address_problem`] says what may follow.
    pub url: Url,
    /// The user's password.
    pub password: Option<Zeroizing<String>>,
    /// The only authorities of the server's certificate, PEM; none: the operating system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The user's certificate and its key, PEM, where the server wants them.
    pub client_pem: Option<(Vec<u8>, Zeroizing<String>)>,
    /// What TLS is made of.
    pub tls: Arc<CryptoProvider>,
    /// Takes a server that does not sync: for throw-away databases of tests.
    pub fsync_off_allowed: bool,
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// By which clock leases run out, and what waits becomes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseClock {
    /// The database's: the same for every node.
    Database,
    /// That of whoever claims: contracts tell the time themselves.
    #[cfg(test)]
    Caller,
}

/// What writers and readers share.
struct Shared {
    writes: Pool,
    reads: Pool,
    partitions: Partitions,
    /// Whether parts may be taken out of copies, as far as is known: once they may, they always may.
    parts: AtomicBool,
    vault: Arc<Vault>,
    lease_clock: LeaseClock,
    /// Whether the server can be told how to go through a queue.
    in_order: bool,
}

/// The store in a PostgreSQL database. Moments keep microseconds.
pub struct PostgresStore {
    writers: Writers,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

impl PostgresStore {
    /// Opens the database, migrating it where needed. Any number of nodes and commands may have it open.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        settings: &PostgresSettings,
        keys: Arc<dyn KeyEncryption>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Self::open_with(settings, keys, clock, LeaseClock::Database).await
    }

    /// The same, but never makes a store where there is none.
    ///
    /// # Errors
    /// [`OpenError::Absent`] where there is none; see [`OpenError`].
    pub async fn open_existing(
        settings: &PostgresSettings,
        keys: Arc<dyn KeyEncryption>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        if !open::is_there(&connect::pool(settings, 1)?).await? {
            return Err(OpenError::Absent);
        }
        Self::open(settings, keys, clock).await
    }

    async fn open_with(
        settings: &PostgresSettings,
        keys: Arc<dyn KeyEncryption>,
        clock: Arc<dyn Clock>,
        lease_clock: LeaseClock,
    ) -> Result<Self, OpenError> {
        let (writes, reads) = (connect::pool(settings, WRITERS)?, connect::pool(settings, READERS)?);
        open::check_durability(&reads, settings.fsync_off_allowed).await?;
        let now = clock.now();
        open::migrate(&reads, open::UPGRADE, &keys, now).await?;
        let vault = Arc::new(keys::open(&reads, keys).await?);
        open::seal_stragglers(&reads, &vault).await?;
        let partitions = Partitions::default();
        partitions.make(&reads, &[month(now), month(now + AHEAD)]).await?;
        let parts = AtomicBool::new(false);
        let in_order = dispatch::knows_order(&reads).await?;
        let shared = Arc::new(Shared { writes, reads, partitions, parts, vault, lease_clock, in_order });
        Ok(Self { writers: Writers::start(&shared), shared, clock })
    }

    async fn read<I, T>(&self, input: I, look: Look<I, T>) -> Result<T, StoreError> {
        readers::run(&self.shared.reads, &self.shared.vault, input, look).await
    }

    /// Whether parts may be taken out of copies; what cannot be found out is no reason to refuse a message.
    async fn may_part(&self) -> bool {
        let known = &self.shared.parts;
        if !known.load(Ordering::Relaxed) {
            let may = self.read((), |c, ()| open::may_part(c).boxed()).await.unwrap_or(false);
            known.store(may, Ordering::Relaxed);
        }
        known.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("connections", &self.shared.writes.status().size).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        let may_part = have_parts(&acceptance.deliveries) && self.may_part().await;
        self.writers.accept(PackedAcceptance::of(acceptance, &self.shared.vault, may_part)).await
    }

    async fn audit(&self, rows: Vec<AuditRow>) -> Result<(), StoreError> {
        self.writers.run(rows, |work, rows| audit::append(work, rows).boxed()).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Lease>, StoreError> {
        self.writers.run(claim, |work, claim| dispatch::claim(work, claim).boxed()).await
    }

    async fn place(&self, placing: Placing) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.writers.run(placing, |work, placing| dispatch::place(work, placing).boxed()).await
    }

    async fn renew(&self, renewal: Renewal) -> Result<Vec<bool>, StoreError> {
        self.writers.run(renewal, |work, renewal| dispatch::renew(work, renewal).boxed()).await
    }

    async fn complete(&self, ends: Vec<AttemptEnd>) -> Result<Vec<bool>, StoreError> {
        self.writers.run(ends, |work, ends| dispatch::complete(work, ends).boxed()).await
    }

    async fn queued_since(&self, delivery: DeliveryId) -> Result<Option<Timestamp>, StoreError> {
        self.read(delivery, |c, delivery| dispatch::queued_since(c, *delivery).boxed()).await
    }

    async fn overdue(
        &self,
        endpoints: Vec<Endpoint>,
        queued_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Overdue>, StoreError> {
        let asked = (endpoints, queued_before, limit);
        self.read(asked, |c, (endpoints, before, limit)| dispatch::overdue(c, endpoints, *before, *limit).boxed()).await
    }

    async fn give_up(&self, given_up: GivenUp) -> Result<bool, StoreError> {
        self.writers.run(given_up, |work, given_up| dispatch::give_up(work, given_up).boxed()).await
    }

    async fn transition(&self, transition: Transition) -> Result<bool, StoreError> {
        self.writers.run(transition, |work, change| deliveries::transition(work, change).boxed()).await
    }

    async fn open_rendition(
        &self,
        delivery: DeliveryId,
        at: Timestamp,
        reader: Option<Step>,
        audit: Vec<AuditRow>,
    ) -> Result<Option<StoredRendition>, StoreError> {
        let opening = deliveries::Opening { delivery, at, reader, audit };
        self.writers.run(opening, |work, opening| deliveries::open_rendition(work, opening).boxed()).await
    }

    async fn take_step(
        &self,
        step: Step,
        transition: Option<Transition>,
        notices: Vec<NewDelivery>,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let taken = steps::Taken { step, transition, notices, audit };
        self.writers.run(taken, |work, taken| steps::take(work, taken).boxed()).await
    }

    async fn steps(&self, delivery: DeliveryId) -> Result<Vec<Step>, StoreError> {
        self.read(delivery, |c, delivery| steps::of(c, *delivery).boxed()).await
    }

    async fn arrivals(&self, query: ArrivalQuery) -> Result<Vec<Arrival>, StoreError> {
        self.read(query, |c, query| steps::arrivals(c, query).boxed()).await
    }

    async fn card(&self, delivery: DeliveryId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(delivery, |c, delivery| steps::card(c, *delivery).boxed()).await
    }

    async fn transfer(&self, id: TransferId) -> Result<Option<TransferRecord>, StoreError> {
        self.read(id, |c, id| transfers::transfer(c, *id).boxed()).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        self.read(id, |c, id| deliveries::by_id(c, *id).boxed()).await
    }

    async fn delivery_by_correlation(&self, correlation_id: &str) -> Result<Option<DeliveryRecord>, StoreError> {
        self.read(correlation_id.to_owned(), |c, id| deliveries::by_correlation(c, id).boxed()).await
    }

    async fn delivery_by_reference(&self, reference: &str) -> Result<Option<DeliveryRecord>, StoreError> {
        self.read(reference.to_owned(), |c, reference| deliveries::by_reference(c, reference).boxed()).await
    }

    async fn is_leased(&self, delivery: DeliveryId, now: Timestamp) -> Result<bool, StoreError> {
        let asked = (delivery, now, self.shared.lease_clock);
        self.read(asked, |c, (delivery, now, clock)| dispatch::is_leased(c, *delivery, *now, *clock).boxed()).await
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Listed<DeliveryRecord>, StoreError> {
        self.read(query, |c, query| deliveries::list(c, query).boxed()).await
    }

    async fn tasks(&self, query: TaskQuery) -> Result<Vec<FoundTask>, StoreError> {
        self.read(query, |c, query| tasks::list(c, query).boxed()).await
    }

    async fn count_tasks(&self, query: TaskQuery) -> Result<u64, StoreError> {
        self.read(query, |c, query| tasks::count(c, query).boxed()).await
    }

    async fn rendition(&self, delivery: DeliveryId) -> Result<Option<StoredRendition>, StoreError> {
        self.read(delivery, |c, delivery| deliveries::rendition(c, *delivery).boxed()).await
    }

    async fn predecessor(
        &self,
        sender: &OdsCode,
        named: &str,
        except: TransferId,
    ) -> Result<Option<Predecessor>, StoreError> {
        let asked = (sender.clone(), named.to_owned(), except);
        self.read(asked, |c, (sender, named, except)| lifecycle::predecessor(c, sender, named, *except).boxed()).await
    }

    async fn waiting(&self, sender: &OdsCode, for_any: &[String]) -> Result<Vec<Waiting>, StoreError> {
        let asked = (sender.clone(), for_any.to_vec());
        self.read(asked, |c, (sender, for_any)| lifecycle::waiting(c, sender, for_any).boxed()).await
    }

    async fn waiting_in_vain(&self) -> Result<Vec<Waiting>, StoreError> {
        self.read((), |c, ()| lifecycle::waiting_in_vain(c).boxed()).await
    }

    async fn come_since(&self, transfer: TransferId) -> Result<Option<TransferId>, StoreError> {
        self.read(transfer, |c, transfer| lifecycle::come_since(c, *transfer).boxed()).await
    }

    async fn successor(
        &self,
        sender: &OdsCode,
        named: &[String],
        dated: Option<Timestamp>,
        except: &[TransferId],
    ) -> Result<Option<TransferId>, StoreError> {
        let asked = (sender.clone(), named.to_vec(), dated, except.to_vec());
        self.read(asked, |c, (sender, named, dated, except)| {
            lifecycle::successor(c, sender, named, *dated, except).boxed()
        })
        .await
    }

    async fn take_back(&self, take_back: TakeBack) -> Result<bool, StoreError> {
        self.writers.run(take_back, |work, back| lifecycle::take_back(work, back).boxed()).await
    }

    async fn pause(&self, pause: Pause, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.writers.run((pause, audit), |work, input| lifecycle::pause(work, input).boxed()).await
    }

    async fn resume(&self, recipient: Option<&OdsCode>, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        let input = (recipient.cloned(), audit);
        self.writers.run(input, |work, input| lifecycle::resume(work, input).boxed()).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.read((), |c, ()| lifecycle::pauses(c).boxed()).await
    }

    async fn checkup(&self) -> Result<Checkup, StoreError> {
        self.read((), |c, ()| checkup::run(c).boxed()).await
    }

    async fn original(&self, id: TransferId) -> Result<Option<OriginalMessage>, StoreError> {
        self.read(id, |c, id| transfers::original(c, *id).boxed()).await
    }

    async fn subject_record(&self, patient: &NhsNumber) -> Result<Vec<SubjectTransfer>, StoreError> {
        self.read(patient.clone(), |c, patient| transfers::about(c, patient).boxed()).await
    }

    async fn holds(&self) -> Result<Listed<HeldTransfer>, StoreError> {
        self.read((), |c, ()| transfers::holds(c).boxed()).await
    }

    async fn open_hold(&self, hold: HoldId) -> Result<Option<HeldTransfer>, StoreError> {
        self.read(hold, |c, hold| transfers::open_hold(c, *hold).boxed()).await
    }

    async fn closed_hold(&self, hold: HoldId) -> Result<Option<TransferId>, StoreError> {
        self.read(hold, |c, hold| transfers::closed_hold(c, *hold).boxed()).await
    }

    async fn release_hold(&self, release: Release) -> Result<bool, StoreError> {
        self.writers.run(release, |work, release| transfers::release_hold(work, release).boxed()).await
    }

    async fn change_hold(&self, change: HoldChange) -> Result<bool, StoreError> {
        self.writers.run(change, |work, change| transfers::change_hold(work, change).boxed()).await
    }

    async fn close_hold(&self, closure: Closure) -> Result<bool, StoreError> {
        self.writers.run(closure, |work, closure| transfers::close_hold(work, closure).boxed()).await
    }

    async fn requeue(
        &self,
        delivery: DeliveryId,
        again: Again,
        by: &str,
        why: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let (by, why) = (by.to_owned(), why.to_owned());
        self.writers
            .run((delivery, again, by, why, at, audit), |work, (delivery, again, by, why, at, audit)| {
                let Again { how, to } = again;
                let again = Requeue { delivery: *delivery, how: *how, to, by, why, at: *at, bulk: None };
                resending::requeue(work, again, audit).boxed()
            })
            .await
    }

    async fn put_client(&self, client: Client, audit: Vec<AuditRow>) -> Result<(), StoreError> {
        self.writers.run((client, audit), |work, input| clients::put(work, input).boxed()).await
    }

    async fn client(&self, id: &str) -> Result<Option<Client>, StoreError> {
        self.read(id.to_owned(), |c, id| clients::by_id(c, id).boxed()).await
    }

    async fn clients(&self) -> Result<Vec<Client>, StoreError> {
        self.read((), |c, ()| clients::all(c).boxed()).await
    }

    async fn redeem_assertion(
        &self,
        jti: &str,
        jti_expires: Timestamp,
        token: Token,
        client: Client,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let redemption = clients::Redemption {
            jti: jti.to_owned(),
            jti_expires,
            token,
            client,
            audit,
            #[cfg(test)]
            now: self.clock.now(),
        };
        self.writers.run(redemption, |work, redemption| clients::redeem(work, redemption).boxed()).await
    }

    async fn note_first_use(
        &self,
        issuer: &str,
        jti: &str,
        expires: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let used = clients::FirstUse { issuer: issuer.to_owned(), jti: jti.to_owned(), expires, audit };
        self.writers.run(used, |work, used| clients::note_first_use(work, used).boxed()).await
    }

    async fn token(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<(Token, Client)>, StoreError> {
        self.read((*hash, now), |c, (hash, now)| clients::token(c, hash, *now).boxed()).await
    }

    async fn import_directory(
        &self,
        entries: Vec<DirectoryEntry>,
        source: &str,
        at: Timestamp,
        audit: ImportAudit,
    ) -> Result<u64, StoreError> {
        let import = directory::Import { entries, source: source.to_owned(), at };
        directory::import(&self.shared, &import, &audit).await
    }

    async fn amend_directory(
        &self,
        was: DirectoryEntry,
        entry: DirectoryEntry,
        source: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let import = directory::Import { entries: vec![entry], source: source.to_owned(), at };
        let amendment = directory::Amendment { was, import, audit };
        self.writers.run(amendment, |work, amendment| directory::amend(work, amendment).boxed()).await
    }

    async fn read_directory(&self, ods: &OdsCode) -> Result<DirectoryReading, StoreError> {
        self.read(ods.clone(), |c, ods| directory::reading(c, ods).boxed()).await
    }

    async fn directory(&self) -> Result<Vec<DirectoryEntry>, StoreError> {
        self.read((), |c, ()| directory::all(c).boxed()).await
    }

    async fn audit_leaves(&self, from: u64, limit: u32) -> Result<Vec<[u8; 32]>, StoreError> {
        self.read((from, limit), |c, (from, limit)| audit::leaves(c, *from, *limit).boxed()).await
    }

    async fn audit_entries(&self, from: u64, limit: u32) -> Result<Vec<StoredAudit>, StoreError> {
        self.read((from, limit), |c, (from, limit)| audit::entries(c, *from, *limit).boxed()).await
    }

    async fn misfiled_audit(&self) -> Result<Option<u64>, StoreError> {
        self.read((), |c, ()| audit::misfiled(c).boxed()).await
    }

    async fn search_audit(&self, query: AuditQuery) -> Result<Vec<FoundAudit>, StoreError> {
        self.read(query, |c, query| audit::search(c, query).boxed()).await
    }

    async fn put_checkpoint(&self, checkpoint: StoredCheckpoint) -> Result<bool, StoreError> {
        self.writers.run(checkpoint, |work, checkpoint| audit::put_checkpoint(work, checkpoint).boxed()).await
    }

    async fn checkpoints(&self, after: Option<u64>, limit: u32) -> Result<Vec<StoredCheckpoint>, StoreError> {
        self.read((after, limit), |c, (after, limit)| audit::checkpoints(c, *after, *limit).boxed()).await
    }

    async fn checkpoints_of(&self, sizes: Vec<u64>) -> Result<Vec<StoredCheckpoint>, StoreError> {
        self.read(sizes, |c, sizes| audit::checkpoints_of(c, sizes).boxed()).await
    }

    async fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError> {
        self.read((), |c, ()| audit::latest_checkpoint(c).boxed()).await
    }

    async fn key_usage(&self) -> Result<Vec<KeyUsage>, StoreError> {
        self.read((), |c, ()| keys::usage(c).boxed()).await
    }

    async fn rewrap_keys(&self, limit: u32, audit: Vec<AuditRow>) -> Result<u64, StoreError> {
        self.writers.run((limit, audit), |work, input| keys::rewrap(work, input).boxed()).await
    }

    async fn request_erasure(
        &self,
        patient: &NhsNumber,
        request: ErasureRequest,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let asked = erasures::Asked { patient: patient.clone(), request, audit };
        self.writers.run(asked, |work, asked| erasures::request(work, asked).boxed()).await
    }

    async fn pending_erasures(&self) -> Result<Vec<PendingErasure>, StoreError> {
        self.read((), |c, ()| erasures::pending(c).boxed()).await
    }

    async fn lapse_erasure(&self, id: Uuid, at: Timestamp, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.writers.run((id, at, audit), |work, lapsed| erasures::lapse(work, lapsed).boxed()).await
    }

    async fn refuse_erasure(&self, id: Uuid, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.writers.run((id, audit), |work, refused| erasures::refuse(work, refused).boxed()).await
    }

    async fn confirm_erasure(&self, confirmation: ErasureConfirmation) -> Result<ErasureOutcome, StoreError> {
        let outcome = self.writers.run(confirmation, |work, done| erasures::confirm(work, done).boxed()).await?;
        let ErasureOutcome::Erased { transfers, entries, .. } = outcome else { return Ok(outcome) };
        // The keys are destroyed and that is durable; the old rows in the table's file are another matter.
        let remains = match erasures::clear_table(&self.shared.reads).await {
            Ok(true) => {
                "the write-ahead log and its archives keep the destroyed keys, wrapped, until PostgreSQL recycles them"
            }
            Ok(false) | Err(_) => {
                "the table data_keys could not be written anew and keeps the destroyed keys, wrapped: end the sessions that still read the database as it was (pg_stat_activity.backend_xmin tells), then run VACUUM FULL data_keys"
            }
        };
        Ok(ErasureOutcome::Erased { transfers, entries, remains: Some(remains) })
    }

    async fn place_legal_hold(
        &self,
        patient: &NhsNumber,
        order: LegalHoldOrder,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError> {
        let ordered = erasures::Ordered { patient: patient.clone(), order, audit };
        self.writers.run(ordered, |work, ordered| erasures::place_hold(work, ordered).boxed()).await
    }

    async fn lift_legal_hold(
        &self,
        id: Uuid,
        by: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<Lifted, StoreError> {
        let lifted = erasures::Lifting { id, by: by.to_owned(), at, audit };
        self.writers.run(lifted, |work, lifted| erasures::lift_hold(work, lifted).boxed()).await
    }

    async fn legal_holds(&self) -> Result<Vec<LegalHold>, StoreError> {
        self.read((), |c, ()| erasures::legal_holds(c).boxed()).await
    }

    async fn figures(&self, now: Timestamp) -> Result<Figures, StoreError> {
        self.read(now, |c, now| figures::read(c, *now).boxed()).await
    }

    async fn schema(&self) -> Result<Schema, StoreError> {
        self.read((), |c, ()| open::schema(c, open::MIGRATIONS.len()).boxed()).await
    }

    async fn finish_upgrade(&self, audit: Vec<AuditRow>) -> Result<Finish, StoreError> {
        self.writers.run(audit, |work, audit| open::finish(work, audit).boxed()).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let now = micros(self.clock.now());
        self.writers.run(now, |work, now| audit::commit_readiness(work, now).boxed()).await?;
        self.read((), |c, ()| audit::read_readiness(c).boxed()).await
    }
}
