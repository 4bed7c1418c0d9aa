//! Later versions of a document, and transfers that are withdrawn: everyone who got the earlier one hears of it.
//!
//! A replacement names its immediate predecessor (ITK3). When it is queued, the earlier copies end: who gets the new
//! version is told by it, who is no longer routed gets a notice, what has not left is cancelled. What comes in another
//! order is in `order`.

use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord};
use onward_core::client::Client;
use onward_core::directory::Endpoint;
use onward_core::state::{DeliveryState, Departure, EndReason, RecipientKind, TransportKind};
use onward_core::store::{
    DeliveryRecord, Ending, NewDelivery, Notice, Predecessor, Store, StoreError, StoredRendition, TakeBack,
    TransferRecord, Went,
};
use onward_core::{DeliveryId, NhsNumber, OdsCode, Timestamp, TransferId};
use onward_fhir::read;
use onward_transform::render::{self, NoticeParts};

use crate::Gateway;
use crate::prepare::read_tree;
use crate::sightings;

/// How often a change is tried again that others overtook.
pub(crate) const TRIES: usize = 8;

/// Who takes something back, and why.
#[derive(Debug, Clone)]
pub struct TakenBack<'t> {
    /// As audit names the way in.
    pub agent: Agent,
    /// The person, by name; none where a client's system says so.
    pub by: Option<&'t str>,
    /// Why; no patient data.
    pub reason: &'t str,
    /// `X-Request-ID`.
    pub request_id: Option<&'t str>,
}

/// What became of a withdrawal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// Done.
    Done,
    /// No such transfer for this client.
    NotFound,
    /// The Task has another version now.
    VersionChanged {
        /// The version that it has.
        current: u64,
    },
    /// It has ended already.
    Ended(EndReason),
    /// A withdrawal needs a reason.
    ReasonMissing,
}

/// What a notice needs of the copy that it is about.
pub(crate) struct Subject<'c> {
    transfer: TransferId,
    id: DeliveryId,
    created: Timestamp,
    kind: RecipientKind,
    recipient: &'c OdsCode,
    recipient_name: &'c str,
    endpoint: &'c Endpoint,
    sender: &'c OdsCode,
    patient: Option<&'c NhsNumber>,
    body: Option<&'c [u8]>,
}

impl<'c> Subject<'c> {
    fn of(copy: &'c DeliveryRecord, body: Option<&'c [u8]>) -> Self {
        Self {
            transfer: copy.transfer,
            id: copy.id,
            created: copy.created,
            kind: copy.kind,
            recipient: &copy.recipient,
            recipient_name: &copy.recipient_name,
            endpoint: &copy.endpoint,
            sender: &copy.sender,
            patient: copy.patient.as_ref(),
            body,
        }
    }

    /// The same at another address, which may have the copy. An attempt that was made there may have come to nothing, and whose it is now nobody knows:
    /// they are told which document it is, and not about whom.
    fn elsewhere(&self, endpoint: &'c Endpoint) -> Self {
        Self { endpoint, patient: None, body: None, ..*self }
    }

    /// Of a copy that is about to be queued.
    pub(crate) fn of_new(
        transfer: TransferId,
        sender: &'c OdsCode,
        patient: Option<&'c NhsNumber>,
        copy: &'c NewDelivery,
        created: Timestamp,
    ) -> Self {
        Self {
            transfer,
            id: copy.id,
            created,
            kind: copy.kind,
            recipient: &copy.recipient,
            recipient_name: &copy.recipient_name,
            endpoint: &copy.endpoint,
            sender,
            patient,
            body: Some(&copy.body),
        }
    }
}

/// A copy of the version that takes the place of earlier ones.
pub(crate) struct Heir<'c> {
    id: DeliveryId,
    kind: RecipientKind,
    recipient: &'c OdsCode,
    endpoint: &'c Endpoint,
}

impl<'c> From<&'c NewDelivery> for Heir<'c> {
    fn from(copy: &'c NewDelivery) -> Self {
        Self { id: copy.id, kind: copy.kind, recipient: &copy.recipient, endpoint: &copy.endpoint }
    }
}

impl<'c> From<&'c DeliveryRecord> for Heir<'c> {
    fn from(copy: &'c DeliveryRecord) -> Self {
        Self { id: copy.id, kind: copy.kind, recipient: &copy.recipient, endpoint: &copy.endpoint }
    }
}

impl Gateway {
    /// All versions before a transfer that replaces this one, the nearest first.
    pub(crate) async fn versions_before(
        &self,
        replaces: Option<TransferId>,
    ) -> Result<Vec<TransferRecord>, StoreError> {
        let mut versions = Vec::new();
        let mut next = replaces;
        while let Some(id) = next {
            let Some(record) = self.store.transfer(id).await? else { break };
            next = record.replaces;
            versions.push(record);
        }
        Ok(versions)
    }

    /// The ends of all earlier copies when these are the copies of version `version`, the nearest version's first. A copy that was
    /// superseded before ends too where its recipient does not get this version: nothing stands in for it any more.
    pub(crate) async fn superseding(
        &self,
        earlier: &[TransferRecord],
        version: u32,
        copies: &[Heir<'_>],
    ) -> Result<Vec<Ending>, StoreError> {
        let mut endings = Vec::new();
        for record in earlier {
            for old in record.copies().filter(|copy| copy.is_readable()) {
                let heir = copies.iter().find(|new| new.kind == old.kind && *new.recipient == old.recipient);
                let ending = match heir {
                    Some(_) if old.ended.is_some() => continue,
                    Some(new) => {
                        let reason = format!(
                            "version {version} replaces version {}: stop using version {}",
                            record.version, record.version
                        );
                        let why = EndReason::Superseded;
                        let went = Some(self.went(old, why, &reason, new.endpoint).await?);
                        Ending { delivery: old.id, why, by: Some(new.id), reason, seen: false, notice: None, went }
                    }
                    None => {
                        let reason = format!(
                            "version {version} replaced version {} and does not go to you: stop using version {}",
                            record.version, record.version
                        );
                        self.ending(old, EndReason::Withdrawn, reason).await?
                    }
                };
                endings.push(ending);
            }
        }
        Ok(endings)
    }

    /// Where a copy went that ends, with the notices to every address that may have it besides this one.
    pub(crate) async fn went(
        &self,
        copy: &DeliveryRecord,
        why: EndReason,
        reason: &str,
        besides: &Endpoint,
    ) -> Result<Went, StoreError> {
        let former = self.store.former_addresses(copy.id).await?;
        let has_come_back = former.iter().any(|former| former.endpoint == copy.endpoint);
        let attempted = copy.attempts > former.last().map_or(0, |former| former.attempt) || has_come_back;
        // What stays in an inbox of ours is marked there.
        let is_there = attempted && copy.endpoint.kind() != TransportKind::Inbox;
        let present = Some(&copy.endpoint).filter(|_| is_there);
        let mut addresses: Vec<&Endpoint> = Vec::new();
        for address in former.iter().map(|former| &former.endpoint).chain(present) {
            if address != besides && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let has_come = match copy.ended {
            _ if !addresses.contains(&&copy.endpoint) => false,
            None => !matches!(copy.state, DeliveryState::Queued | DeliveryState::Failed),
            // What has ended is withdrawn, whatever it was before.
            Some(_) => self.store.has_arrived(copy.id).await?,
        };
        let kept = match has_come {
            true => self.readable_rendition(copy.id).await?,
            false => None,
        };
        let subject = Subject::of(copy, kept.as_ref().map(|kept| kept.body.as_slice()));
        let notices = addresses.into_iter().map(|address| match *address == copy.endpoint && has_come {
            true => self.notice_of(&subject, why, reason, None),
            false => self.notice_of(&subject.elsewhere(address), why, reason, None),
        });
        let notices = notices.collect::<Result<Vec<_>, _>>()?;
        Ok(Went { endpoint: copy.endpoint.clone(), attempted, former: former.len(), notices })
    }

    /// What was sent; none where it cannot be read: the notice says less then, and is sent all the same.
    async fn readable_rendition(&self, copy: DeliveryId) -> Result<Option<StoredRendition>, StoreError> {
        match self.store.rendition(copy).await {
            Err(StoreError::Corrupt(_) | StoreError::Erased) => Ok(None),
            read => read,
        }
    }

    /// The end of one copy with the notices of it.
    pub(crate) async fn ending(
        &self,
        copy: &DeliveryRecord,
        why: EndReason,
        reason: String,
    ) -> Result<Ending, StoreError> {
        let notice = self.notice(copy, why, &reason, None).await?;
        let seen = self.was_seen(copy).await?;
        let went = Some(self.went(copy, why, &reason, &copy.endpoint).await?);
        Ok(Ending { delivery: copy.id, why, by: None, reason, seen, notice: Some(notice), went })
    }

    /// Whether the recipient's people have seen on their list whom a copy is about, or their systems in a Task.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn was_seen(&self, copy: &DeliveryRecord) -> Result<bool, StoreError> {
        Ok(!sightings::lists_that_named(self.store.as_ref(), copy).await?.is_empty())
    }

    /// The notice to whoever has a copy; where the person went, when they left the home.
    pub(crate) async fn notice(
        &self,
        copy: &DeliveryRecord,
        why: EndReason,
        reason: &str,
        departure: Option<Departure>,
    ) -> Result<NewDelivery, StoreError> {
        let kept = self.store.rendition(copy.id).await?;
        let body = kept.as_ref().map(|kept| kept.body.as_slice());
        self.notice_of(&Subject::of(copy, body), why, reason, departure)
    }

    /// The same of a copy by what a notice needs of it.
    pub(crate) fn notice_of(
        &self,
        copy: &Subject<'_>,
        why: EndReason,
        reason: &str,
        departure: Option<Departure>,
    ) -> Result<NewDelivery, StoreError> {
        let id = DeliveryId::random();
        let tree = copy.body.and_then(|body| read_tree(body, read::sniff(body)?).ok());
        let patient =
            tree.as_ref().filter(|tree| onward_fhir::message::release_of(tree.root()) == onward_fhir::Release::Stu3);
        let patient = patient.and_then(|tree| tree.root().descendants().find(|element| element.is("Patient")));
        let parts = NoticeParts {
            transfer: copy.transfer,
            of: copy.id,
            sent: copy.created,
            why,
            reason,
            departure,
            kind: copy.kind,
            recipient: copy.recipient,
            recipient_name: copy.recipient_name,
            endpoint: copy.endpoint,
            nhs_number: copy.patient,
            patient: patient.filter(|_| why != EndReason::Recalled),
            sender_ods: copy.sender,
            own_ods: &self.settings.own_ods,
            own_mailbox: self.settings.own_mailbox.as_ref(),
            now: self.clock.now(),
        };
        // All of it is ours: identifiers, times, and a Patient that was written once before.
        let rendered = render::notice(&parts, id)
            .map_err(|error| StoreError::Corrupt(format!("the copy {} of a notice: {error}", copy.id)))?;
        Ok(NewDelivery {
            id,
            kind: copy.kind,
            recipient: copy.recipient.clone(),
            recipient_name: copy.recipient_name.to_owned(),
            endpoint: copy.endpoint.clone(),
            directory: None,
            media_type: rendered.media_type,
            body: rendered.body,
            html: rendered.html,
            correlation_id: rendered.correlation_id,
            workflow: rendered.workflow,
            basis: rendered.basis,
            disclosure: "{}".to_owned(),
            card: None,
            acknowledgement_awaited: true,
            notice: Some(Notice { of: copy.id, why }),
        })
    }

    /// The audit rows of these ends.
    pub(crate) fn ending_rows(
        &self,
        endings: &[Ending],
        copies: &[&DeliveryRecord],
        back: &TakenBack<'_>,
    ) -> Vec<AuditRow> {
        let row = |ending: &Ending| {
            let copy = copies.iter().find(|copy| copy.id == ending.delivery);
            let by = back.by.map(|by| format!(", by {by}")).unwrap_or_default();
            let entry = AuditEntry {
                transfer: copy.map(|copy| copy.transfer),
                delivery: Some(ending.delivery),
                recipient: copy.map(|copy| copy.recipient.clone()),
                patient: copy.and_then(|copy| copy.patient.clone()),
                request_id: back.request_id.map(str::to_owned),
                ..AuditEntry::new(
                    AuditWord::Withdraw,
                    self.clock.now(),
                    back.agent.clone(),
                    format!("{}{by}: {}", ending.why, ending.reason),
                )
            };
            self.journal.row(&entry)
        };
        endings.iter().map(row).collect()
    }

    /// The hospital takes its own transfer back. What has not left is cancelled, everyone else gets a notice.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn withdraw(
        &self,
        client: &Client,
        id: TransferId,
        expected_version: u64,
        reason: Option<&str>,
        request_id: Option<&str>,
    ) -> Result<Withdrawn, StoreError> {
        for _ in 0..TRIES {
            let Some(record) = self.store.transfer(id).await? else { return Ok(Withdrawn::NotFound) };
            if record.sender != client.ods {
                let detail = "withdrawal of another organisation's transfer";
                self.deny(client, Some(id), None, detail, request_id).await?;
                return Ok(Withdrawn::NotFound);
            }
            let current = u64::try_from(self.transfer_version(&record)).unwrap_or_default();
            if current != expected_version {
                return Ok(Withdrawn::VersionChanged { current });
            }
            if let Some((why, _)) = record.ended {
                return Ok(Withdrawn::Ended(why));
            }
            let Some(reason) = reason.map(str::trim).filter(|reason| !reason.is_empty()) else {
                return Ok(Withdrawn::ReasonMissing);
            };
            let back = TakenBack { agent: Agent::client(client), by: None, reason, request_id };
            match self.end_transfer(&record, EndReason::Withdrawn, &back).await {
                Ok(true) => return Ok(Withdrawn::Done),
                // A copy moved on, or the transfer ended, between the look and the commit.
                Ok(false) | Err(StoreError::Overtaken) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Overtaken)
    }

    /// Ends a whole transfer, and the versions before it that it was to take the place of: `false` when it has ended meanwhile.
    pub(crate) async fn end_transfer(
        &self,
        record: &TransferRecord,
        why: EndReason,
        back: &TakenBack<'_>,
    ) -> Result<bool, StoreError> {
        let joins = self.store.come_since(record.id).await?;
        let earlier = self.versions_before(record.replaces.or(joins)).await?;
        let line: Vec<&TransferRecord> = std::iter::once(record).chain(&earlier).collect();
        let (endings, audit) = self.ends_of(&line, why, back).await?;
        let done = self
            .store
            .take_back(TakeBack {
                transfer: record.id,
                whole: Some(why),
                joins,
                reason: back.reason.to_owned(),
                endings,
                hold: None,
                at: self.clock.now(),
                audit,
            })
            .await?;
        self.work.notify_one();
        Ok(done)
    }

    /// The ends of all copies of these versions that can still be read, the newest version first, and the audit rows of that.
    pub(crate) async fn ends_of(
        &self,
        versions: &[&TransferRecord],
        why: EndReason,
        back: &TakenBack<'_>,
    ) -> Result<(Vec<Ending>, Vec<AuditRow>), StoreError> {
        let copies = versions.iter().flat_map(|record| record.copies());
        let copies: Vec<&DeliveryRecord> = copies.filter(|copy| copy.is_readable()).collect();
        let mut endings = Vec::new();
        for copy in &copies {
            endings.push(self.ending(copy, why, told(why, back.reason)).await?);
        }
        let in_force = versions.iter().filter(|record| record.ended.is_none());
        let mut audit: Vec<AuditRow> =
            in_force.map(|record| self.whole_row(record.id, record.patient.as_ref(), why, back)).collect();
        audit.extend(self.ending_rows(&endings, &copies, back));
        Ok((endings, audit))
    }

    /// The audit row of a whole transfer that ends.
    pub(crate) fn whole_row(
        &self,
        transfer: TransferId,
        patient: Option<&NhsNumber>,
        why: EndReason,
        back: &TakenBack<'_>,
    ) -> AuditRow {
        let by = back.by.map(|by| format!(", by {by}")).unwrap_or_default();
        self.journal.row(&AuditEntry {
            transfer: Some(transfer),
            patient: patient.cloned(),
            request_id: back.request_id.map(str::to_owned),
            ..AuditEntry::new(
                AuditWord::Withdraw,
                self.clock.now(),
                back.agent.clone(),
                format!("the whole transfer {why}{by}: {}", back.reason),
            )
        })
    }
}

/// Whether the content of a copy may have reached its recipient, as far as the copy tells: who saw it on a list alone, the log tells
/// ([`Gateway::was_seen`]).
#[must_use]
pub fn may_have_it(copy: &DeliveryRecord) -> bool {
    use onward_core::state::DeliveryState;
    if copy.endpoint.kind() == TransportKind::Inbox {
        // Whoever answers for it knows whom it is about.
        return copy.opened.is_some()
            || matches!(
                copy.state,
                DeliveryState::Accepted
                    | DeliveryState::InProgress
                    | DeliveryState::Completed
                    | DeliveryState::Rejected
            );
    }
    copy.opened.is_some()
        || copy.attempts > 0
        || !matches!(copy.state, DeliveryState::Queued | DeliveryState::Withdrawn)
}

/// Copies whose recipient has refused the later version that took their place, or could not be sent it, each with that one: there the
/// earlier may still be in use.
///
/// # Errors
/// When the store cannot be read.
pub async fn not_taken(
    store: &dyn Store,
    transfer: &TransferRecord,
) -> Result<Vec<(DeliveryId, DeliveryRecord)>, StoreError> {
    use onward_core::state::DeliveryState::{Failed, Rejected};
    let mut found = Vec::new();
    for copy in transfer.copies() {
        let Some(by) = copy.ended.and_then(|ended| ended.by) else { continue };
        let later = store.delivery(by).await?;
        let is_not_taken = |later: &DeliveryRecord| later.ended.is_none() && matches!(later.state, Rejected | Failed);
        found.extend(later.filter(is_not_taken).map(|later| (copy.id, later)));
    }
    Ok(found)
}

/// What a recipient is told.
pub(crate) fn told(why: EndReason, reason: &str) -> String {
    match why {
        EndReason::Recalled => "sent to you by mistake: stop using it and delete it".to_owned(),
        EndReason::Void => format!("null and void, a replacement could not be processed: stop using it ({reason})"),
        _ => format!("withdrawn by the hospital: stop using it ({reason})"),
    }
}

/// Whether a message names another person than the version before it.
pub(crate) fn names_another_person(predecessor: &Predecessor, patient: Option<&NhsNumber>) -> bool {
    matches!((&predecessor.patient, patient), (Some(before), Some(now)) if before != now)
}
