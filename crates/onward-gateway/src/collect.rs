//! A recipient reads its copy: reading is disclosure, audited in the transaction that releases the bytes.

use onward_core::audit::{Agent, AuditEntry, AuditWord, Basis};
use onward_core::client::{Client, Role};
use onward_core::state::RecipientKind;
use onward_core::store::{DeliveryRecord, StoreError, StoredRendition};
use onward_core::{DeliveryId, TransferId};

use crate::Gateway;

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

/// Which of a copy's two forms is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What travels, as it is or in FHIR's other syntax.
    Document,
    /// The page for people, also as PDF.
    Page,
}

/// A copy that was released to its recipient.
#[derive(Debug)]
pub struct Opened {
    /// What travels, and the page.
    pub rendition: StoredRendition,
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

impl Gateway {
    /// Releases a copy to its recipient, committing who read it. `None`: not there, or not theirs.
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
        let Some(rendition) = self.store.rendition(id).await? else { return Ok(None) };
        let leaving = match form {
            Form::Document => Some(self.reader.of(&rendition.media_type, &rendition.body)),
            // Without a page nothing leaves.
            Form::Page => rendition.html.is_some().then(|| self.reader.of_page(&rendition)),
        };
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
        let superseded =
            record.ended.map(|ended| Superseded { by: ended.by, reason: record.reason.unwrap_or_default() });
        Ok(opened.map(|rendition| Opened { rendition, superseded }))
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
