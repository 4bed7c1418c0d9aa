//! A recipient reads its copy: reading is disclosure, audited in the transaction that releases the bytes.

use onward_core::audit::{Agent, AuditEntry, AuditWord, Basis};
use onward_core::client::{Client, Role};
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{DeliveryRecord, StoreError, StoredRendition, Transition};
use onward_core::{DeliveryId, TransferId};
use onward_fhir::message::release_of;
use onward_fhir::{read, write};
use onward_transform::render::{dates, marked};

use crate::contents::{self, Leaving};
use crate::prepare::read_tree;
use crate::{Gateway, sha256_hex};

const FHIR_JSON: &str = "application/fhir+json";
const FHIR_XML: &str = "application/fhir+xml";

/// What a client is to a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is addressed to the client's organisation, in that role.
    Recipient,
    /// The client's organisation sent the transfer.
    Sender,
    /// Operators see states, never content.
    Operator,
    /// Nothing: to the client the copy does not exist.
    None,
}

/// What `client` is to `delivery` (trust.md §8).
#[must_use]
pub fn standing(client: &Client, delivery: &DeliveryRecord) -> Standing {
    let addressed = delivery.recipient == client.ods;
    let kind_fits = match client.role {
        Role::CareHome => delivery.kind == RecipientKind::CareHome,
        Role::Practice => matches!(delivery.kind, RecipientKind::CoveringPractice | RecipientKind::RegisteredPractice),
        Role::Pharmacy => matches!(delivery.kind, RecipientKind::PharmacyReferral | RecipientKind::PharmacyNomination),
        _ => false,
    };
    match client.role {
        Role::CareHome | Role::Practice | Role::Pharmacy if addressed && kind_fits => Standing::Recipient,
        Role::Sender | Role::InformationGovernance if delivery.sender == client.ods => Standing::Sender,
        Role::Operator => Standing::Operator,
        _ => Standing::None,
    }
}

/// In which form a copy is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What travels, as it is.
    Document,
    /// The same as FHIR JSON.
    Json,
    /// The same as FHIR XML.
    Xml,
    /// The page for people.
    Page,
    /// The page as PDF.
    Pdf,
}

/// What a reader gets. Its `Debug` leaves the bytes out, which are about a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Made {
    /// Media type, as `Content-Type` has it.
    pub media_type: String,
    /// The bytes, whose digest is in the entry of the reading.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("media_type", &self.media_type).finish_non_exhaustive()
    }
}

/// Why a reader gets nothing in the form that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmade {
    /// The copy has no page for people.
    NoPage,
    /// It cannot be written as the first of these media types without loss; it is kept as the second.
    Loss(&'static str, String),
    /// The page could not be drawn: a fault of ours.
    NotDrawn,
}

/// A copy that was released to its recipient.
#[derive(Debug)]
pub struct Opened {
    /// What the reader gets.
    pub made: Result<Made, Unmade>,
    /// A later version has taken its place.
    pub superseded: Option<Superseded>,
}

/// What a recipient is told of a copy whose place a later version has taken.
#[derive(Debug)]
pub struct Superseded {
    /// The recipient's copy of the later version.
    pub by: Option<DeliveryId>,
    /// In words: stop using it.
    pub reason: String,
}

/// The copy as it is kept, or in FHIR's other syntax when that carries it whole.
fn document(rendition: StoredRendition, form: Form) -> Result<Made, Unmade> {
    let StoredRendition { media_type, body, .. } = rendition;
    let is_json = media_type.starts_with(FHIR_JSON);
    let asked = match form {
        Form::Json if !is_json => FHIR_JSON,
        Form::Xml if is_json => FHIR_XML,
        _ => return Ok(Made { media_type, bytes: body }),
    };
    let other = read_tree(&body, read::sniff(&body).unwrap_or(read::Format::Xml)).ok().map(|tree| {
        let release = release_of(tree.root());
        if is_json { write::xml(tree.root(), release) } else { write::json(tree.root(), release) }
    });
    match other.filter(|written| written.losses.is_empty()) {
        Some(written) => Ok(Made { media_type: asked.to_owned(), bytes: written.text.into_bytes() }),
        None => Err(Unmade::Loss(asked, media_type)),
    }
}

/// The page, marked where a later version has taken the copy's place.
fn page(rendition: StoredRendition, mark: Option<&str>) -> Result<Made, Unmade> {
    let html = rendition.html.ok_or(Unmade::NoPage)?;
    let bytes = mark.map_or_else(|| html.clone(), |reason| marked(&html, reason));
    Ok(Made { media_type: "text/html; charset=utf-8".to_owned(), bytes })
}

/// A page as PDF. Drawing takes a while: not on the thread that serves a connection.
pub(crate) async fn drawn(html: Vec<u8>, foot: String) -> Result<Made, Unmade> {
    let drawn = tokio::task::spawn_blocking(move || {
        let page = std::str::from_utf8(&html).map_err(|error| error.to_string())?;
        onward_transform::pdf::of_page(page, &foot).map_err(|error| error.to_string())
    });
    match drawn.await {
        Ok(Ok(bytes)) => Ok(Made { media_type: "application/pdf".to_owned(), bytes }),
        Ok(Err(error)) => {
            tracing::error!(error, "a page could not be written as PDF");
            Err(Unmade::NotDrawn)
        }
        Err(_) => Err(Unmade::NotDrawn),
    }
}

impl Gateway {
    /// Releases a copy to its recipient, committing who read it. `None`: not there, or not theirs. One that ends meanwhile is opened
    /// anew, as what it has become.
    ///
    /// # Errors
    /// When the reading cannot be audited: then nothing is released.
    pub async fn open(
        &self,
        client: &Client,
        id: DeliveryId,
        form: Form,
        request_id: Option<&str>,
    ) -> Result<Option<Opened>, StoreError> {
        loop {
            let Some(record) = self.store.delivery(id).await? else { return Ok(None) };
            if standing(client, &record) != Standing::Recipient {
                self.deny(
                    client,
                    Some(record.transfer),
                    Some(id),
                    "rendition asked for by another organisation",
                    request_id,
                )
                .await?;
                return Ok(None);
            }
            // A copy that was taken back is no longer theirs; one that a later version replaced still is. One that waits for its
            // turn is: it is committed, and they see its Task.
            if !record.is_readable() {
                return Ok(None);
            }
            let Some(rendition) = self.content(&record).await? else { return Ok(None) };
            let superseded = record
                .ended
                .map(|ended| Superseded { by: ended.by, reason: record.reason.clone().unwrap_or_default() });
            let mark = superseded.as_ref().map(|superseded| superseded.reason.as_str());
            let made = match form {
                Form::Document | Form::Json | Form::Xml => document(rendition, form).map(|made| (made, None)),
                Form::Page => page(rendition, mark).map(|made| (made, None)),
                Form::Pdf => match page(rendition, mark) {
                    Ok(page) => {
                        let foot = format!("Made {} for {}.", dates::moment(self.clock.now()), client.id);
                        drawn(page.bytes.clone(), foot).await.map(|made| (made, Some(page.bytes)))
                    }
                    Err(none) => Err(none),
                },
            };
            // Drawing takes its time.
            if form == Form::Pdf && self.has_ended_since(&record).await? {
                continue;
            }
            // Where nothing could be made nothing leaves. A PDF shows what its page does.
            let leaving = made.as_ref().ok().map(|(made, drawn_from)| match drawn_from {
                None => self.reader.of(&made.media_type, &made.bytes),
                Some(page) => Leaving { sha256: sha256_hex(&made.bytes), ..self.reader.of(contents::PAGE, page) },
            });
            let entry = AuditEntry {
                content_sha256: leaving.as_ref().map(|leaving| leaving.sha256.clone()),
                contents: leaving.map(|leaving| leaving.contents),
                transfer: Some(record.transfer),
                delivery: Some(id),
                recipient: Some(client.ods.clone()),
                patient: record.patient.clone(),
                basis: Some(Basis::care(&record.basis)),
                request_id: request_id.map(str::to_owned),
                ..AuditEntry::new(
                    AuditWord::Read,
                    self.clock.now(),
                    Agent::client(client),
                    format!("version {} opened", record.version),
                )
            };
            let opened = self.store.open_rendition(id, self.clock.now(), None, vec![self.journal.row(&entry)]).await?;
            self.work.notify_one();
            if self.has_ended_since(&record).await? {
                continue;
            }
            return Ok(opened.map(|_| Opened { made: made.map(|(made, _)| made), superseded }));
        }
    }

    /// The content of a copy that its recipient asks for. Where it is not what was stored, a copy that waits to be collected becomes a
    /// person's, as one does that is unreadable when its turn to be sent comes (trust.md §7, fault 10): who runs the gateway hears of it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where it cannot be read; others when the store cannot be.
    pub(crate) async fn content(&self, record: &DeliveryRecord) -> Result<Option<StoredRendition>, StoreError> {
        let read = self.store.rendition(record.id).await;
        let Err(StoreError::Corrupt(place)) = &read else { return read };
        if record.state == DeliveryState::AwaitingCollection {
            let reason = format!("unreadable in the store: {place}");
            tracing::error!(delivery = %record.id, %place, "a copy that waits to be collected is unreadable and waits for a person");
            let now = self.clock.now();
            // Nothing was disclosed, and nothing will be.
            let entry = AuditEntry {
                success: false,
                transfer: Some(record.transfer),
                delivery: Some(record.id),
                recipient: Some(record.recipient.clone()),
                patient: record.patient.clone(),
                ..AuditEntry::new(AuditWord::DeliveryFailed, now, Agent::gateway(), reason.clone())
            };
            let parked = Transition {
                delivery: record.id,
                expected_version: record.version,
                state: DeliveryState::Failed,
                code: None,
                reason: Some(reason),
                at: now,
                responses: Vec::new(),
                audit: vec![self.journal.row(&entry)],
            };
            // Whoever was faster has found the same, or has ended the copy.
            self.store.transition(parked).await?;
        }
        read
    }

    /// Whether a copy has ended, or in another way, since it was looked at. What was made of it then is not what its reader must see.
    pub(crate) async fn has_ended_since(&self, looked: &DeliveryRecord) -> Result<bool, StoreError> {
        Ok(self.store.delivery(looked.id).await?.is_some_and(|now| now.ended != looked.ended))
    }

    /// Commits that a request ended by a fault of ours: what it was about nobody can say any more.
    ///
    /// # Errors
    /// When it cannot be audited.
    pub async fn note_fault(&self, route: &str, request_id: Option<&str>) -> Result<(), StoreError> {
        let entry = AuditEntry {
            success: false,
            request_id: request_id.map(str::to_owned),
            ..AuditEntry::new(
                AuditWord::Notify,
                self.clock.now(),
                Agent::gateway(),
                format!("a request to {route} ended by a fault of this gateway"),
            )
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }

    /// Commits that something was denied.
    ///
    /// # Errors
    /// When the denial cannot be audited.
    pub async fn deny(
        &self,
        client: &Client,
        transfer: Option<TransferId>,
        delivery: Option<DeliveryId>,
        detail: &str,
        request_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry {
            success: false,
            transfer,
            delivery,
            request_id: request_id.map(str::to_owned),
            ..AuditEntry::new(AuditWord::Deny, self.clock.now(), Agent::client(client), detail.to_owned())
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }
}
