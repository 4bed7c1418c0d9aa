//! What is left outdated by a refusal: the message said that it replaces another one, which its recipients go on using.
//!
//! The sender has its answer, and nothing here waits for it to try again: whoever runs the gateway hears of it, once for the transfer that was
//! to be replaced, however often that is tried.

use onward_core::audit::{AuditEntry, AuditWord};
use onward_core::store::alerts::{AlertKind, Concern};
use onward_core::store::{StoreError, TransferRecord};
use onward_core::{NhsNumber, OdsCode, TransferId};
use onward_fhir::message::{DocumentPart, release_of};
use onward_fhir::{Document, Element, Message, Release, views};
use uuid::Uuid;

use crate::Gateway;
use crate::facts;
use crate::holds::Decider;
use crate::prepare::{embedded_format, format_of, read_tree};

/// Versions of a document that are followed to the newest one.
const VERSIONS_MAX: u32 = 100;
/// No transfer has this identifier.
const NONE: TransferId = TransferId(Uuid::nil());

/// What a refused message says of itself, as far as it can be read. It has no `Debug`: it names the person.
#[derive(Default)]
pub(crate) struct Refused {
    /// Its identifier, when that is a plain token, so that a refusal can be found again years later.
    pub(crate) message_id: Option<String>,
    /// Whom it is about, when that is a valid number.
    pub(crate) patient: Option<NhsNumber>,
    /// What it was to replace.
    pub(crate) replaces: Option<Replacing>,
}

/// A document that names another one in whose place it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replacing {
    /// The other one, as it names it.
    pub(crate) named: String,
    /// Its own identifier.
    pub(crate) document_id: Option<String>,
}

impl Refused {
    /// Reads them.
    pub(crate) fn read(body: &[u8], media_type: &str) -> Self {
        let Ok(tree) = read_tree(body, format_of(media_type)) else { return Self::default() };
        let plain = |text: &&str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let message = Message::read(tree.root()).ok();
        let message_id = message.as_ref().and_then(|message| message.message_id).filter(plain).map(str::to_owned);
        let patient = tree.root().descendants().find(|element| element.is("Patient")).and_then(views::nhs_number);
        let replaces = message.as_ref().and_then(replaces);
        Self { message_id, patient: patient.and_then(|number| number.parse().ok()), replaces }
    }
}

fn replaces(message: &Message<'_, '_>) -> Option<Replacing> {
    match &message.document {
        DocumentPart::Nested(element) => replaced_by(*element, message.release),
        DocumentPart::Embedded { .. } => {
            let embedded = message.embedded_document().ok()?;
            let tree = read_tree(&embedded.bytes, embedded_format(embedded.format)).ok()?;
            replaced_by(tree.root(), embedded.release.unwrap_or_else(|| release_of(tree.root())))
        }
        _ => None,
    }
}

fn replaced_by(document: Element<'_, '_>, release: Release) -> Option<Replacing> {
    let document = Document::read(document, release).ok()?;
    let named = facts::named(document.replaces?);
    (!named.is_empty()).then(|| Replacing { named, document_id: document.document_id.map(str::to_owned) })
}

impl Gateway {
    /// Tells of a replacement that was refused, where somebody has what it was to replace: of the newest version of that, once while the alert
    /// is open. A document that has come already, in whatever message, tells nothing new. What cannot be read of the earlier ones keeps no
    /// sender from its answer: that stands in the log.
    pub(crate) async fn tell_outdated(&self, sender: &OdsCode, refused: Option<Replacing>) {
        let Some(refused) = refused else { return };
        match self.outdated_by(sender, refused).await {
            // At once: an earlier program beside this one may drop what is not told yet, and this one tells that at its next look.
            Ok(()) => self.tellings.notify_one(),
            Err(error) => tracing::error!(%error, "that a replacement was refused could not be told"),
        }
    }

    async fn outdated_by(&self, sender: &OdsCode, refused: Replacing) -> Result<(), StoreError> {
        let Some(named) = self.store.predecessor(sender, &refused.named, NONE).await? else { return Ok(()) };
        let (mut next, mut newest) = (Some(named.transfer), None);
        for _ in 0..VERSIONS_MAX {
            let Some(id) = next else { break };
            let Some(record) = self.store.transfer(id).await? else { break };
            next = record.replaced_by;
            newest = Some(record);
        }
        let Some(newest) = newest.filter(is_in_use) else { return Ok(()) };
        if let Some(document) = &refused.document_id
            && self.store.predecessor(sender, document, NONE).await?.is_some()
        {
            return Ok(());
        }
        let since = self.clock.now();
        self.raise(about(&newest, since)).await.map(drop)
    }

    /// A person says that nothing is left to do about a replacement of this transfer that was refused; whether that was told of.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn end_outdated(&self, transfer: TransferId, decider: &Decider<'_>) -> Result<bool, StoreError> {
        let kind = AlertKind::ReplacementRefused;
        let is_it = |concern: &Concern| concern.kind == kind && concern.transfer == Some(transfer);
        if !self.store.alerts().await?.iter().any(|alert| is_it(&alert.concern)) {
            return Ok(false);
        }
        let record = self.store.transfer(transfer).await?;
        let entry = AuditEntry {
            transfer: Some(transfer),
            patient: record.and_then(|record| record.patient),
            request_id: decider.request_id.map(str::to_owned),
            ..AuditEntry::new(
                AuditWord::Notify,
                self.clock.now(),
                decider.agent.clone(),
                format!("{kind}: over, by {}: {}", decider.by, decider.reason),
            )
        };
        // First the entry: whoever ends something has said so.
        self.store.audit(vec![self.journal.row(&entry)]).await?;
        self.store.clear_alert(kind, transfer.0, self.clock.now()).await
    }
}

/// Somebody has it, or will when a person lets it go.
fn is_in_use(record: &TransferRecord) -> bool {
    let is_in_force = record.ended.is_none() && record.not_sent.is_none() && !record.erased;
    let mut copies = record.copies().peekable();
    let waits = record.hold.is_some() && copies.peek().is_none();
    is_in_force && (waits || copies.any(|copy| copy.ended.is_none()))
}

fn about(transfer: &TransferRecord, since: onward_core::Timestamp) -> Concern {
    Concern {
        kind: AlertKind::ReplacementRefused,
        step: 1,
        transfer: Some(transfer.id),
        sender: transfer.sender.clone(),
        delivery: None,
        recipient: None,
        hold: None,
        subscription: None,
        work: None,
        since,
    }
}
