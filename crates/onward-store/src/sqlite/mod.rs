//! SQLite, for one server: one writer thread with group commit, a few readers, one file.

mod alerts;
mod audit;
mod checkup;
mod clients;
mod closing;
mod columns;
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
mod people;
mod readers;
mod reporting;
mod resending;
mod retention;
mod retracing;
mod steps;
mod subscriptions;
mod tasks;
mod transfers;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
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
use rusqlite::types::ToSqlOutput;
use uuid::Uuid;

pub use open::OpenError;
pub use writer::CommitCounts;

use failure::Failure;
use keyed::Keyed;
use open::{MIGRATIONS, Purpose};
use readers::{READERS, Readers};
use writer::Writer;

use crate::query::{Dialect, Value};
use crate::rows::copies::{PackedAcceptance, have_parts};
use crate::rows::resending::Requeue;
use crate::sealing::{KeyEncryption, Vault};

/// Where SQLite's SQL is its own.
const DIALECT: Dialect = Dialect {
    greatest: "max",
    ordered_join: "CROSS JOIN",
    body_of_delivery: "b.delivery = d.id",
    account: "user",
    parameter: '?',
    any_transport: "(CASE WHEN json_valid(d.endpoint) THEN json_extract(d.endpoint, '$.transport') END) \
                    IN ('inbox', 'https', 'process-message', 'mesh', 'gp-routing')",
};

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Id(id) => id.to_string().into(),
        })
    }
}

/// The store in one SQLite file. Moments keep microseconds.
///
/// Dropping it waits until everything queued is committed.
pub struct SqliteStore {
    // Readers close first and the writer second, so that the last connection can carry the log over;
    // the lock goes when nothing writes any more.
    readers: Readers,
    writer: Writer,
    vault: Arc<Vault>,
    /// Whether parts may be taken out of copies, as far as is known: once they may, they always may.
    parts: AtomicBool,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    lock: Option<open::Lock>,
}

impl SqliteStore {
    /// Opens the database as its only server, creating and migrating it where needed. Leases of a server
    /// that died end at once: while the lock is held, nobody else can be sending.
    ///
    /// # Errors
    /// [`OpenError::InUse`] while another process serves it (trust.md §7, fault 14); see [`OpenError`].
    pub fn open(path: &Path, keys: Arc<dyn KeyEncryption>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        open::check_sqlite()?;
        let lock = open::lock(path)?;
        open::create(path)?;
        let mut writer = open::connect(path, Purpose::Write)?;
        open::migrate(&mut writer, MIGRATIONS, &keys, clock.now())?;
        dispatch::end_all_leases(&writer)?;
        Self::assemble(path, writer, keys, clock, Some(lock))
    }

    /// Opens the database beside a server that may be running, for commands. SQLite's own locks order
    /// the writes of both.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when the schema must be brought forward while a server runs; see [`OpenError`].
    pub fn open_shared(path: &Path, keys: Arc<dyn KeyEncryption>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        open::check_sqlite()?;
        open::create(path)?;
        let mut writer = open::connect(path, Purpose::Write)?;
        if open::is_outdated(&writer)? {
            let _sole = open::lock(path)?;
            open::migrate(&mut writer, MIGRATIONS, &keys, clock.now())?;
        }
        Self::assemble(path, writer, keys, clock, None)
    }

    fn assemble(
        path: &Path,
        writer: rusqlite::Connection,
        keys: Arc<dyn KeyEncryption>,
        clock: Arc<dyn Clock>,
        lock: Option<open::Lock>,
    ) -> Result<Self, OpenError> {
        let vault = Arc::new(keys::open(&writer, keys)?);
        let readers = (0..READERS).map(|_| open::connect(path, Purpose::Read)).collect::<Result<Vec<_>, _>>()?;
        readers.iter().chain([&writer]).try_for_each(open::opened)?;
        let writer = Writer::start(writer).map_err(OpenError::Thread)?;
        let readers = Readers::start(readers).map_err(OpenError::Thread)?;
        let parts = AtomicBool::new(false);
        Ok(Self { readers, writer, vault, parts, path: path.to_owned(), clock, lock })
    }

    /// Runs the operation in a transaction of the writer, with the store's keys.
    async fn write<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Keyed<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let vault = Arc::clone(&self.vault);
        self.writer.run(move |c| operation(&Keyed::new(c, vault))).await
    }

    /// Runs the reads in one snapshot, with the store's keys.
    async fn read<T, F>(&self, reads: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Keyed<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let vault = Arc::clone(&self.vault);
        self.readers.run(move |c| reads(&Keyed::new(c, vault))).await
    }

    /// Whether parts may be taken out of copies; what cannot be found out is no reason to refuse a message.
    async fn may_part(&self) -> bool {
        if !self.parts.load(Ordering::Relaxed) {
            let may = self.read(|c| open::may_part(c)).await.unwrap_or(false);
            self.parts.store(may, Ordering::Relaxed);
        }
        self.parts.load(Ordering::Relaxed)
    }

    /// Carries the log over into the database and cuts it; `false` when a reader was busy all the while, or it could not be cut.
    async fn cut_log(&self) -> bool {
        let path = self.path.clone();
        let cut = tokio::task::spawn_blocking(move || erasures::cut_log(&path)).await;
        if let Ok(Err(error)) = &cut {
            tracing::warn!(%error, "the log could not be cut");
        }
        matches!(cut, Ok(Ok(true)))
    }

    /// How much was committed since it was opened.
    #[must_use]
    pub fn commit_counts(&self) -> CommitCounts {
        self.writer.counts()
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("commits", &self.commit_counts()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        let may_part = have_parts(&acceptance.deliveries) && self.may_part().await;
        let packed = PackedAcceptance::of(acceptance, &self.vault, may_part);
        self.write(move |c| transfers::accept(c, &packed)).await
    }

    async fn audit(&self, rows: Vec<AuditRow>) -> Result<(), StoreError> {
        self.write(move |c| audit::append(c, &rows)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Lease>, StoreError> {
        self.write(move |c| dispatch::claim(c, &claim)).await
    }

    async fn place(&self, placing: Placing) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.write(move |c| dispatch::place(c, &placing)).await
    }

    async fn renew(&self, renewal: Renewal) -> Result<Vec<bool>, StoreError> {
        self.write(move |c| dispatch::renew(c, &renewal)).await
    }

    async fn complete(&self, ends: Vec<AttemptEnd>) -> Result<Vec<bool>, StoreError> {
        self.write(move |c| ends.iter().map(|end| dispatch::complete(c, end)).collect()).await
    }

    async fn queued_since(&self, delivery: DeliveryId) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |c| dispatch::queued_since(c, delivery)).await
    }

    async fn overdue(
        &self,
        endpoints: Vec<Endpoint>,
        queued_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Overdue>, StoreError> {
        self.read(move |c| dispatch::overdue(c, &endpoints, queued_before, limit)).await
    }

    async fn give_up(&self, given_up: GivenUp) -> Result<bool, StoreError> {
        self.write(move |c| dispatch::give_up(c, &given_up)).await
    }

    async fn transition(&self, transition: Transition) -> Result<bool, StoreError> {
        self.write(move |c| deliveries::transition(c, &transition)).await
    }

    async fn open_rendition(
        &self,
        delivery: DeliveryId,
        at: Timestamp,
        reader: Option<Step>,
        audit: Vec<AuditRow>,
    ) -> Result<Option<StoredRendition>, StoreError> {
        self.write(move |c| deliveries::open_rendition(c, delivery, at, reader.as_ref(), &audit)).await
    }

    async fn take_step(
        &self,
        step: Step,
        transition: Option<Transition>,
        notices: Vec<NewDelivery>,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        self.write(move |c| steps::take(c, &step, transition.as_ref(), &notices, &audit)).await
    }

    async fn steps(&self, delivery: DeliveryId) -> Result<Vec<Step>, StoreError> {
        self.read(move |c| steps::of(c, delivery)).await
    }

    async fn arrivals(&self, query: ArrivalQuery) -> Result<Vec<Arrival>, StoreError> {
        self.read(move |c| steps::arrivals(c, &query)).await
    }

    async fn card(&self, delivery: DeliveryId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |c| steps::card(c, delivery)).await
    }

    async fn transfer(&self, id: TransferId) -> Result<Option<TransferRecord>, StoreError> {
        self.read(move |c| transfers::transfer(c, id)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        self.read(move |c| deliveries::by_id(c, id)).await
    }

    async fn delivery_by_correlation(&self, correlation_id: &str) -> Result<Option<DeliveryRecord>, StoreError> {
        let correlation_id = correlation_id.to_owned();
        self.read(move |c| deliveries::by_correlation(c, &correlation_id)).await
    }

    async fn delivery_by_reference(&self, reference: &str) -> Result<Option<DeliveryRecord>, StoreError> {
        let reference = reference.to_owned();
        self.read(move |c| deliveries::by_reference(c, &reference)).await
    }

    async fn is_leased(&self, delivery: DeliveryId, now: Timestamp) -> Result<bool, StoreError> {
        self.read(move |c| Ok(dispatch::is_leased(c, delivery, now)?)).await
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Listed<DeliveryRecord>, StoreError> {
        self.read(move |c| deliveries::list(c, &query)).await
    }

    async fn tasks(&self, query: TaskQuery) -> Result<Vec<FoundTask>, StoreError> {
        self.read(move |c| tasks::list(c, &query)).await
    }

    async fn count_tasks(&self, query: TaskQuery) -> Result<u64, StoreError> {
        self.read(move |c| tasks::count(c, &query)).await
    }

    async fn rendition(&self, delivery: DeliveryId) -> Result<Option<StoredRendition>, StoreError> {
        self.read(move |c| deliveries::rendition(c, delivery)).await
    }

    async fn predecessor(
        &self,
        sender: &OdsCode,
        named: &str,
        except: TransferId,
    ) -> Result<Option<Predecessor>, StoreError> {
        let (sender, named) = (sender.clone(), named.to_owned());
        self.read(move |c| lifecycle::predecessor(c, &sender, &named, except)).await
    }

    async fn waiting(&self, sender: &OdsCode, for_any: &[String]) -> Result<Vec<Waiting>, StoreError> {
        let (sender, for_any) = (sender.clone(), for_any.to_vec());
        self.read(move |c| lifecycle::waiting(c, &sender, &for_any)).await
    }

    async fn waiting_in_vain(&self) -> Result<Vec<Waiting>, StoreError> {
        self.read(lifecycle::waiting_in_vain).await
    }

    async fn come_since(&self, transfer: TransferId) -> Result<Option<TransferId>, StoreError> {
        self.read(move |c| lifecycle::come_since(c, transfer)).await
    }

    async fn successor(
        &self,
        sender: &OdsCode,
        named: &[String],
        dated: Option<Timestamp>,
        except: &[TransferId],
    ) -> Result<Option<TransferId>, StoreError> {
        let (sender, named, except) = (sender.clone(), named.to_vec(), except.to_vec());
        self.read(move |c| lifecycle::successor(c, &sender, &named, dated, &except)).await
    }

    async fn take_back(&self, take_back: TakeBack) -> Result<bool, StoreError> {
        self.write(move |c| lifecycle::take_back(c, &take_back)).await
    }

    async fn pause(&self, pause: Pause, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.write(move |c| lifecycle::pause(c, &pause, &audit)).await
    }

    async fn resume(&self, recipient: Option<&OdsCode>, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        let recipient = recipient.cloned();
        self.write(move |c| lifecycle::resume(c, recipient.as_ref(), &audit)).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.read(lifecycle::pauses).await
    }

    async fn checkup(&self) -> Result<Checkup, StoreError> {
        let (mut checkup, own) = tokio::try_join!(self.read(|c| checkup::run(c)), self.read(|c| checkup::own(c)))?;
        checkup.flaws.extend(own);
        Ok(checkup)
    }

    async fn original(&self, id: TransferId) -> Result<Option<OriginalMessage>, StoreError> {
        self.read(move |c| transfers::original(c, id)).await
    }

    async fn subject_record(&self, patient: &NhsNumber) -> Result<Vec<SubjectTransfer>, StoreError> {
        let patient = patient.clone();
        self.read(move |c| transfers::about(c, &patient)).await
    }

    async fn holds(&self) -> Result<Listed<HeldTransfer>, StoreError> {
        self.read(transfers::holds).await
    }

    async fn open_hold(&self, hold: HoldId) -> Result<Option<HeldTransfer>, StoreError> {
        self.read(move |c| transfers::open_hold(c, hold)).await
    }

    async fn closed_hold(&self, hold: HoldId) -> Result<Option<TransferId>, StoreError> {
        self.read(move |c| transfers::closed_hold(c, hold)).await
    }

    async fn release_hold(&self, release: Release) -> Result<bool, StoreError> {
        self.write(move |c| transfers::release_hold(c, &release)).await
    }

    async fn change_hold(&self, change: HoldChange) -> Result<bool, StoreError> {
        self.write(move |c| transfers::change_hold(c, &change)).await
    }

    async fn close_hold(&self, closure: Closure) -> Result<bool, StoreError> {
        self.write(move |c| transfers::close_hold(c, &closure)).await
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
        self.write(move |c| {
            let again = Requeue { delivery, how: again.how, to: &again.to, by: &by, why: &why, at, bulk: None };
            resending::requeue(c, &again, &audit)
        })
        .await
    }

    async fn put_client(&self, client: Client, audit: Vec<AuditRow>) -> Result<(), StoreError> {
        self.write(move |c| clients::put(c, &client, &audit)).await
    }

    async fn client(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let id = id.to_owned();
        self.read(move |c| clients::by_id(c, &id)).await
    }

    async fn clients(&self) -> Result<Vec<Client>, StoreError> {
        self.read(clients::all).await
    }

    async fn redeem_assertion(
        &self,
        jti: &str,
        jti_expires: Timestamp,
        token: Token,
        client: Client,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let jti = jti.to_owned();
        let now = self.clock.now();
        self.write(move |c| clients::redeem_assertion(c, &jti, jti_expires, &token, &client, now, &audit)).await
    }

    async fn note_first_use(
        &self,
        issuer: &str,
        jti: &str,
        expires: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let (issuer, jti) = (issuer.to_owned(), jti.to_owned());
        self.write(move |c| clients::note_first_use(c, &issuer, &jti, expires, &audit)).await
    }

    async fn token(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<(Token, Client)>, StoreError> {
        let hash = *hash;
        self.read(move |c| clients::token(c, &hash, now)).await
    }

    async fn import_directory(
        &self,
        entries: Vec<DirectoryEntry>,
        source: &str,
        at: Timestamp,
        audit: ImportAudit,
    ) -> Result<u64, StoreError> {
        let source = source.to_owned();
        self.write(move |c| directory::import(c, &entries, &source, at, &audit)).await
    }

    async fn amend_directory(
        &self,
        was: DirectoryEntry,
        entry: DirectoryEntry,
        source: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let source = source.to_owned();
        self.write(move |c| directory::amend(c, &was, &entry, &source, at, &audit)).await
    }

    async fn read_directory(&self, ods: &OdsCode) -> Result<DirectoryReading, StoreError> {
        let ods = ods.clone();
        self.read(move |c| directory::reading(c, &ods)).await
    }

    async fn directory(&self) -> Result<Vec<DirectoryEntry>, StoreError> {
        self.read(directory::all).await
    }

    async fn audit_leaves(&self, from: u64, limit: u32) -> Result<Vec<[u8; 32]>, StoreError> {
        self.read(move |c| audit::leaves(c, from, limit)).await
    }

    async fn audit_entries(&self, from: u64, limit: u32) -> Result<Vec<StoredAudit>, StoreError> {
        self.read(move |c| audit::entries(c, from, limit)).await
    }

    async fn misfiled_audit(&self) -> Result<Option<u64>, StoreError> {
        self.read(audit::misfiled).await
    }

    async fn search_audit(&self, query: AuditQuery) -> Result<Vec<FoundAudit>, StoreError> {
        self.read(move |c| audit::search(c, &query)).await
    }

    async fn put_checkpoint(&self, checkpoint: StoredCheckpoint) -> Result<bool, StoreError> {
        self.write(move |c| audit::put_checkpoint(c, &checkpoint)).await
    }

    async fn checkpoints(&self, after: Option<u64>, limit: u32) -> Result<Vec<StoredCheckpoint>, StoreError> {
        self.read(move |c| audit::checkpoints(c, after, limit)).await
    }

    async fn checkpoints_of(&self, sizes: Vec<u64>) -> Result<Vec<StoredCheckpoint>, StoreError> {
        self.read(move |c| audit::checkpoints_of(c, &sizes)).await
    }

    async fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError> {
        self.read(audit::latest_checkpoint).await
    }

    async fn key_usage(&self) -> Result<Vec<KeyUsage>, StoreError> {
        self.read(keys::usage).await
    }

    async fn rewrap_keys(&self, limit: u32, audit: Vec<AuditRow>) -> Result<u64, StoreError> {
        self.write(move |c| keys::rewrap(c, limit, &audit)).await
    }

    async fn request_erasure(
        &self,
        patient: &NhsNumber,
        request: ErasureRequest,
        audit: Vec<AuditRow>,
    ) -> Result<bool, StoreError> {
        let patient = patient.clone();
        self.write(move |c| erasures::request(c, &patient, &request, &audit)).await
    }

    async fn pending_erasures(&self) -> Result<Vec<PendingErasure>, StoreError> {
        self.read(erasures::pending).await
    }

    async fn lapse_erasure(&self, id: Uuid, at: Timestamp, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.write(move |c| erasures::lapse(c, id, at, &audit)).await
    }

    async fn refuse_erasure(&self, id: Uuid, audit: Vec<AuditRow>) -> Result<bool, StoreError> {
        self.write(move |c| erasures::refuse(c, id, &audit)).await
    }

    async fn confirm_erasure(&self, confirmation: ErasureConfirmation) -> Result<ErasureOutcome, StoreError> {
        let outcome = self.write(move |c| erasures::confirm(c, &confirmation)).await?;
        let ErasureOutcome::Erased { transfers, entries, .. } = outcome else { return Ok(outcome) };
        // The keys are destroyed and that is durable; the old pages of the log are another matter.
        let remains = (!self.cut_log().await).then_some(
            "the database's log could not be cut, most likely because somebody was reading: restart the gateway, which cuts it",
        );
        Ok(ErasureOutcome::Erased { transfers, entries, remains })
    }

    async fn place_legal_hold(
        &self,
        patient: &NhsNumber,
        order: LegalHoldOrder,
        audit: Vec<AuditRow>,
    ) -> Result<(), StoreError> {
        let patient = patient.clone();
        self.write(move |c| erasures::place_hold(c, &patient, &order, &audit)).await
    }

    async fn lift_legal_hold(
        &self,
        id: Uuid,
        by: &str,
        at: Timestamp,
        audit: Vec<AuditRow>,
    ) -> Result<Lifted, StoreError> {
        let by = by.to_owned();
        self.write(move |c| erasures::lift_hold(c, id, &by, at, &audit)).await
    }

    async fn legal_holds(&self) -> Result<Vec<LegalHold>, StoreError> {
        self.read(erasures::legal_holds).await
    }

    async fn figures(&self, now: Timestamp) -> Result<Figures, StoreError> {
        self.read(move |c| figures::read(c, now)).await
    }

    async fn schema(&self) -> Result<Schema, StoreError> {
        self.read(|c| open::schema(c, MIGRATIONS.len())).await
    }

    async fn finish_upgrade(&self, audit: Vec<AuditRow>) -> Result<Finish, StoreError> {
        // Beside a command an older program may serve.
        let _sole = match (&self.lock, open::lock(&self.path)) {
            (None, Err(OpenError::InUse { .. })) => return Ok(Finish::Served),
            (_, lock) => lock.ok(),
        };
        self.write(move |c| {
            let finish = open::finish(c, MIGRATIONS.len())?;
            if finish == Finish::Done {
                audit::append(c, &audit)?;
            }
            Ok(finish)
        })
        .await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.write(move |c| audit::commit_readiness(c, now)).await?;
        self.read(audit::read_readiness).await
    }
}
