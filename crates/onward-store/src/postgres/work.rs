//! The transaction of a batch of operations. Operations change rows at once; the copies that they queue and the audit rows that
//! they write are gathered and written last, so that the one row that everybody waits for (`log_head`) is held for the shortest
//! time, and always as the last lock: two transactions cannot wait for each other there.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use deadpool_postgres::Pool;
use onward_core::audit::{AuditRow, AuditWord};
use onward_core::store::NewDelivery;
use uuid::Uuid;

use super::audit::Parties;
use super::failure::Failure;
use super::keyed::{Keyed, Whose};
use super::session;
use super::{LeaseClock, Shared, audit, directory, open};
use crate::columns::Columns;
use crate::rows::Origin;
use crate::rows::copies::{PackedAcceptance, PackedCopy, SealedCopy, SealedPart, have_parts, packed};
use crate::sealing::PartsOf;
use crate::stored::{json, micros, month, stored_count};

/// A copy to be queued.
struct Queued<'j> {
    origin: Arc<Origin>,
    delivery: &'j NewDelivery,
    packed: Content<'j>,
    /// Not an error when its identifier is there already.
    once: bool,
}

/// What is to be sealed of a copy.
enum Content<'j> {
    Own(PackedCopy),
    Lent(&'j PackedCopy),
}

impl Deref for Content<'_> {
    type Target = PackedCopy;

    fn deref(&self) -> &PackedCopy {
        match self {
            Self::Own(packed) => packed,
            Self::Lent(packed) => packed,
        }
    }
}

/// A copy to be queued and what is sealed of it.
type Ready<'a, 'j> = (&'a Queued<'j>, &'a SealedCopy);

/// What a transaction has still to write.
pub(super) struct Work<'j> {
    keyed: Keyed,
    shared: &'j Shared,
    queued: Vec<Queued<'j>>,
    log: Vec<Cow<'j, AuditRow>>,
    accepted: i64,
    held: i64,
    /// The directory's version from this transaction on.
    directory: Option<i64>,
    /// Copies that wait to be sent again, and the version of the directory at which they followed their recipients.
    again: Option<(i64, Vec<Uuid>)>,
}

/// What a transaction has from the row that everybody waits for.
struct Places {
    /// The first free position of the log.
    position: i64,
    /// The first free sequence of copies.
    sequence: i64,
    /// The moment at which new copies are due at the latest.
    due: i64,
    /// The directory's version, which stays until the commit.
    directory: i64,
}

impl<'j> Work<'j> {
    pub(super) async fn begin(shared: &'j Shared) -> Result<Self, Failure> {
        Self::begin_on(&shared.writes, shared).await
    }

    /// By a connection that no writer waits for.
    pub(super) async fn begin_aside(shared: &'j Shared) -> Result<Self, Failure> {
        Self::begin_on(&shared.reads, shared).await
    }

    async fn begin_on(pool: &Pool, shared: &'j Shared) -> Result<Self, Failure> {
        let keyed = Keyed::begin(pool, session::WRITE, &shared.vault).await?;
        let (queued, log, directory, again) = (Vec::new(), Vec::new(), None, None);
        Ok(Self { keyed, shared, queued, log, accepted: 0, held: 0, directory, again })
    }

    pub(super) fn client(&self) -> &Keyed {
        &self.keyed
    }

    pub(super) fn shared(&self) -> &'j Shared {
        self.shared
    }

    /// Queues a copy, due at once.
    pub(super) fn queue(&mut self, origin: &Arc<Origin>, delivery: &'j NewDelivery) {
        let packed = Content::Own(PackedCopy::whole(delivery));
        self.queued.push(Queued { origin: Arc::clone(origin), delivery, packed, once: false });
    }

    /// The same unless its identifier is there already.
    pub(super) fn queue_once(&mut self, origin: &Arc<Origin>, delivery: &'j NewDelivery) {
        let packed = Content::Own(PackedCopy::whole(delivery));
        self.queued.push(Queued { origin: Arc::clone(origin), delivery, packed, once: true });
    }

    /// Queues copies together, so that what they have in common is kept once.
    pub(super) async fn queue_together(
        &mut self,
        origin: &Arc<Origin>,
        copies: &'j [NewDelivery],
    ) -> Result<(), Failure> {
        let of = PartsOf { transfer: origin.transfer, month: month(origin.created) };
        let may_part = have_parts(copies) && open::may_part(self.client()).await?;
        let packed = packed(of, copies, self.keyed.keys().vault(), may_part);
        for (delivery, packed) in copies.iter().zip(packed) {
            let packed = Content::Own(packed);
            self.queued.push(Queued { origin: Arc::clone(origin), delivery, packed, once: false });
        }
        Ok(())
    }

    /// The same of a message that was packed before.
    pub(super) fn queue_packed(&mut self, origin: &Arc<Origin>, message: &'j PackedAcceptance) {
        for (delivery, packed) in message.acceptance.deliveries.iter().zip(&message.copies) {
            let packed = Content::Lent(packed);
            self.queued.push(Queued { origin: Arc::clone(origin), delivery, packed, once: false });
        }
    }

    /// Refuses what must see every copy while some of this batch are not written yet.
    pub(super) fn needs_every_copy(&self) -> Result<(), Failure> {
        if self.queued.is_empty() { Ok(()) } else { Err(Failure::Alone) }
    }

    /// Appends rows to the audit log.
    pub(super) fn audit(&mut self, rows: &'j [AuditRow]) {
        self.log.extend(rows.iter().map(Cow::Borrowed));
    }

    /// Appends rows that were made within the transaction.
    pub(super) fn audit_own(&mut self, rows: Vec<AuditRow>) {
        self.log.extend(rows.into_iter().map(Cow::Owned));
    }

    /// Counts what was accepted and held.
    pub(super) fn count(&mut self, accepted: usize, held: usize) {
        self.accepted += stored_count(accepted as u64);
        self.held += stored_count(held as u64);
    }

    /// The directory has this version from the commit on.
    pub(super) fn directory_is(&mut self, version: i64) {
        self.directory = Some(version);
    }

    /// Copies that this transaction holds wait to be sent again: they go where their recipients receive when it commits.
    pub(super) async fn follow(&mut self, copies: Vec<Uuid>) -> Result<(), Failure> {
        let version = directory::version(self.client()).await?;
        directory::follow(self.client(), &copies).await?;
        let (before, mut all) = self.again.take().unwrap_or((version, Vec::new()));
        all.extend(copies);
        self.again = Some((version.min(before), all));
        Ok(())
    }

    /// Takes the last lock at once, and nothing that anybody can hold who waits for it.
    pub(super) async fn hold_places(&self) -> Result<(), Failure> {
        session::first(self.client(), "SELECT id FROM log_head WHERE id = 1 FOR UPDATE", &[]).await?;
        Ok(())
    }

    /// Gives up, leaving nothing.
    pub(super) async fn rollback(self) {
        self.keyed.into_session().rollback().await;
    }

    /// Writes what was gathered, and commits.
    pub(super) async fn commit(self) -> Result<(), Failure> {
        match self.settle().await {
            Ok(()) => self.keyed.into_session().commit().await,
            Err(failure) => {
                self.keyed.into_session().rollback().await;
                Err(failure)
            }
        }
    }

    async fn settle(&self) -> Result<(), Failure> {
        let sealed = self.seal_copies().await?;
        let log: Vec<&AuditRow> = self.log.iter().map(AsRef::as_ref).collect();
        let entries = audit::seal(self.client(), &log).await?;
        let (once, strict): (Vec<Ready<'_, 'j>>, Vec<_>) =
            self.queued.iter().zip(&sealed).partition(|(queued, _)| queued.once);
        // Before the head is taken: they are the largest part, and nobody else waits for them.
        self.keep_bodies(&strict).await?;
        audit::keep_contents(self.client(), &log).await?;
        let parties = Parties::of(self.client(), &log, self.queued.iter().map(|queued| queued.delivery)).await?;
        let counts = self.accepted != 0 || self.held != 0;
        if self.queued.is_empty() && self.log.is_empty() && !counts && self.directory.is_none() && self.again.is_none()
        {
            return Ok(());
        }
        let Places { position, sequence, due, directory } = self.take_places().await?;
        self.keep_up_with(directory).await?;
        let (positions, sequences) = (position.., sequence..);
        let sequences: Vec<i64> = sequences.take(self.queued.len()).collect();
        let (of_strict, of_once) = sequences.split_at(strict.len());
        self.insert(&strict, of_strict, due, "").await?;
        let inserted = self.insert(&once, of_once, due, "ON CONFLICT (id) DO NOTHING").await?;
        let new: Vec<_> = once.into_iter().filter(|(queued, _)| inserted.contains(&queued.delivery.id.0)).collect();
        self.keep_bodies(&new).await?;
        audit::insert(self.client(), positions, &log, &entries, parties).await
    }

    /// Seals what is queued before anybody has to wait for it.
    async fn seal_copies(&self) -> Result<Vec<SealedCopy>, Failure> {
        let Some(first) = self.queued.first() else { return Ok(Vec::new()) };
        let origins = self.queued.iter().map(|copy| &copy.origin);
        let whose: Vec<Whose<'_>> = origins.map(|origin| Whose::of(origin.patient.as_ref(), origin.transfer)).collect();
        let ids = self.keyed.keys_of(&whose, first.origin.created).await?;
        let keys = self.keyed.keys();
        self.queued.iter().zip(ids).map(|(copy, key)| Ok(copy.packed.sealed(keys, key, copy.delivery)?)).collect()
    }

    /// Where the directory has moved on since this transaction or its caller read it, what rests on addresses is held against it as it stays
    /// until the commit.
    async fn keep_up_with(&self, version: i64) -> Result<(), Failure> {
        let read_before = |read: Option<u64>| read.is_some_and(|read| stored_count(read) < version);
        let copies = self.queued.iter().map(|copy| copy.delivery);
        let copies: Vec<&NewDelivery> = copies.filter(|copy| read_before(copy.directory)).collect();
        if !copies.is_empty() {
            directory::stand(self.client(), &copies, version).await?;
        }
        if let Some((_, copies)) = self.again.as_ref().filter(|(read, _)| *read < version) {
            directory::follow(self.client(), copies).await?;
        }
        Ok(())
    }

    /// The places of what is written, the present moment by the database, as a node whose clock is ahead must not keep new copies from the others,
    /// and the directory's version. Whoever has the places keeps everybody else waiting until it commits.
    async fn take_places(&self) -> Result<Places, Failure> {
        let refused = self.log.iter().filter(|row| row.word == AuditWord::Refuse).count();
        let (entries, copies) = (stored_count(self.log.len() as u64), stored_count(self.queued.len() as u64));
        let row = session::first(
            self.client(),
            "UPDATE log_head SET audit_next = audit_next + $1, delivery_next = delivery_next + $2,
                 accepted = accepted + $3, refused = refused + $4, held = held + $5, directory = greatest(directory, $6)
             WHERE id = 1
             RETURNING audit_next, delivery_next, directory, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now",
            &[
                &entries,
                &copies,
                &self.accepted,
                &stored_count(refused as u64),
                &self.held,
                &self.directory.unwrap_or_default(),
            ],
        )
        .await?
        .ok_or_else(|| Failure::corrupt("log_head", "id"))?;
        let columns = Columns::of("log_head", &row);
        let due = match self.shared.lease_clock {
            LeaseClock::Database => columns.count("now")?,
            #[cfg(test)]
            LeaseClock::Caller => i64::MAX,
        };
        Ok(Places {
            position: columns.count::<i64>("audit_next")? - entries,
            sequence: columns.count::<i64>("delivery_next")? - copies,
            due,
            directory: columns.count("directory")?,
        })
    }

    async fn keep_bodies(&self, copies: &[Ready<'_, 'j>]) -> Result<(), Failure> {
        if copies.is_empty() {
            return Ok(());
        }
        let months: Vec<i64> = copies.iter().map(|(copy, _)| month(copy.origin.created)).collect();
        self.shared.partitions.require(&months)?;
        let ids: Vec<Uuid> = copies.iter().map(|(copy, _)| copy.delivery.id.0).collect();
        let media_types: Vec<&str> = copies.iter().map(|(copy, _)| copy.delivery.media_type.as_str()).collect();
        let bodies: Vec<&[u8]> = copies.iter().map(|(_, sealed)| sealed.body.as_slice()).collect();
        let pages: Vec<Option<&[u8]>> = copies.iter().map(|(_, sealed)| sealed.html.as_deref()).collect();
        let cards: Vec<Option<&[u8]>> = copies.iter().map(|(_, sealed)| sealed.card.as_deref()).collect();
        let parts: Vec<Option<&str>> = copies.iter().map(|(copy, _)| copy.packed.parts.as_deref()).collect();
        session::execute(
            self.client(),
            "INSERT INTO rendition_bodies (delivery, month, media_type, body, html, card, parts)
             SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[], $7::text[])",
            &[&ids, &months, &media_types, &bodies, &pages, &cards, &parts],
        )
        .await?;
        if parts.iter().any(Option::is_some) {
            open::shut_out(self.client(), open::PARTS_SINCE).await?;
        }
        self.keep_parts(copies).await
    }

    async fn keep_parts(&self, copies: &[Ready<'_, 'j>]) -> Result<(), Failure> {
        let parts: Vec<&SealedPart> = copies.iter().flat_map(|(_, sealed)| &sealed.new_parts).collect();
        if parts.is_empty() {
            return Ok(());
        }
        session::execute(
            self.client(),
            "INSERT INTO rendition_parts (transfer, month, digest, body)
             SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::bytea[]) ON CONFLICT DO NOTHING",
            &[
                &parts.iter().map(|part| part.of.transfer.0).collect::<Vec<_>>(),
                &parts.iter().map(|part| part.of.month).collect::<Vec<_>>(),
                &parts.iter().map(|part| part.digest.as_slice()).collect::<Vec<_>>(),
                &parts.iter().map(|part| part.body.as_slice()).collect::<Vec<_>>(),
            ],
        )
        .await?;
        Ok(())
    }

    /// Inserts copies with their first version, and gives the identifiers of those that were not there.
    async fn insert(
        &self,
        copies: &[Ready<'_, 'j>],
        sequences: &[i64],
        due: i64,
        conflict: &str,
    ) -> Result<Vec<Uuid>, Failure> {
        if copies.is_empty() {
            return Ok(Vec::new());
        }
        let disclosures: Vec<&str> = copies.iter().map(|(_, sealed)| sealed.disclosure.as_str()).collect();
        let copies: Vec<&Queued<'j>> = copies.iter().map(|(copy, _)| *copy).collect();
        let keys = self.keyed.keys();
        let each = |value: fn(&NewDelivery) -> &str| copies.iter().map(|copy| value(copy.delivery)).collect::<Vec<_>>();
        let created: Vec<i64> = copies.iter().map(|copy| micros(copy.origin.created)).collect();
        let rows = session::all(
            self.client(),
            &format!(
                "INSERT INTO deliveries (id, sequence, transfer, month, lane, sender, patient, kind, recipient,
                     recipient_name, transport, endpoint, state, version, attempts, next_attempt, correlation_id, workflow,
                     body_bytes, acknowledgement_awaited, basis, created, changed, disclosure, notice_of, notice_why)
                 SELECT id, sequence, transfer, month, lane, sender, patient, kind, recipient, recipient_name, transport,
                     endpoint, 'queued', 1, 0, least(created, $22::bigint), correlation_id, workflow, body_bytes,
                     acknowledgement_awaited, basis, created, created, disclosure, notice_of, notice_why
                 FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bigint[],
                     $16::boolean[], $17::text[], $18::bigint[], $19::text[], $20::uuid[], $21::text[])
                     AS u(id, sequence, transfer, month, lane, sender, patient, kind, recipient, recipient_name, transport,
                     endpoint, correlation_id, workflow, body_bytes, acknowledgement_awaited, basis, created, disclosure,
                     notice_of, notice_why)
                 {conflict} RETURNING id"
            ),
            &[
                &copies.iter().map(|copy| copy.delivery.id.0).collect::<Vec<_>>(),
                &sequences,
                &copies.iter().map(|copy| copy.origin.transfer.0).collect::<Vec<_>>(),
                &copies.iter().map(|copy| month(copy.origin.created)).collect::<Vec<_>>(),
                &copies.iter().map(|copy| copy.origin.lane(keys)).collect::<Vec<_>>(),
                &copies.iter().map(|copy| copy.origin.sender.as_str()).collect::<Vec<_>>(),
                &copies.iter().map(|copy| keys.index(copy.origin.patient.as_ref())).collect::<Vec<_>>(),
                &each(|copy| copy.kind.as_str()),
                &each(|copy| copy.recipient.as_str()),
                &each(|copy| copy.recipient_name.as_str()),
                &each(|copy| copy.endpoint.kind().as_str()),
                &copies.iter().map(|copy| json(&copy.delivery.endpoint)).collect::<Vec<_>>(),
                &copies.iter().map(|copy| copy.delivery.correlation_id.as_deref()).collect::<Vec<_>>(),
                &copies.iter().map(|copy| copy.delivery.workflow.as_ref().map(|w| w.as_str())).collect::<Vec<_>>(),
                &copies.iter().map(|copy| copy.packed.body_bytes).collect::<Vec<_>>(),
                &copies.iter().map(|copy| copy.delivery.acknowledgement_awaited).collect::<Vec<_>>(),
                &each(|copy| copy.basis.as_str()),
                &created,
                &disclosures,
                &copies.iter().map(|copy| copy.delivery.notice.map(|notice| notice.of.0)).collect::<Vec<_>>(),
                &copies.iter().map(|copy| copy.delivery.notice.map(|n| n.why.as_str())).collect::<Vec<_>>(),
                &due,
            ],
        )
        .await?;
        let new: Vec<Uuid> =
            rows.iter().map(|row| Columns::of("deliveries", row).parsed("id")).collect::<Result<_, _>>()?;
        session::execute(
            self.client(),
            "INSERT INTO delivery_history (delivery, version, state, at)
             SELECT id, version, state, created FROM deliveries WHERE id = ANY($1)",
            &[&new],
        )
        .await?;
        Ok(new)
    }
}
