//! Transfers and copies as FHIR Tasks, and the response message that every accepted message gets.

use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::Client;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{DeliveryQuery, DeliveryRecord, NewHold, NewTransfer, StoreError, TransferRecord};
use onward_core::{DeliveryId, NhsNumber, Timestamp, TransferId};
use onward_fhir::authored::{
    self, Concept, Issue, IssueCode, Organisation, Parameter, ParameterValue, ResponseContent, Severity, TaskContent,
};
use onward_validate::Findings;

use crate::Gateway;
use crate::collect::{Standing, standing};

/// Code system of what Onward's Tasks are for.
const TASK_CODES: &str = "https://onward.example/CodeSystem/task";

/// One page of copies.
#[derive(Debug, Clone)]
pub struct Page {
    /// The copies, in (created, id) order.
    pub records: Vec<DeliveryRecord>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<(Timestamp, DeliveryId)>,
}

impl Gateway {
    /// The Task of a transfer, JSON: what the hospital follows.
    #[must_use]
    pub fn transfer_task(&self, transfer: &TransferRecord) -> String {
        let copies: Vec<&DeliveryRecord> =
            transfer.deliveries.iter().filter(|copy| copy.kind != RecipientKind::Sender).collect();
        let output = copies
            .iter()
            .map(|copy| Parameter {
                name: Concept::text(copy.kind.as_str()),
                value: ParameterValue::Reference(format!("Task/{}", copy.id)),
            })
            .collect();
        let content = TaskContent {
            id: transfer.id.to_string(),
            version: Some(self.transfer_version(transfer).to_string()),
            last_updated: Some(transfer.changed.to_string()),
            status: transfer_status(transfer.hold.as_ref(), &copies).to_owned(),
            output,
            ..self.transfer_content(transfer.id.to_string(), transfer.hold.as_ref())
        };
        let content = TaskContent {
            requester: Some(Organisation { ods: transfer.sender.to_string(), name: None }),
            nhs_number: transfer.patient.as_ref().map(|number| number.expose().to_owned()),
            authored_on: Some(transfer.received.to_string()),
            ..content
        };
        authored::task(&content).expect("states, times and codes are ours")
    }

    /// Grows with every change of the transfer or of one of its copies.
    #[must_use]
    pub fn transfer_version(&self, transfer: &TransferRecord) -> u64 {
        let copies: u64 =
            transfer.deliveries.iter().filter(|copy| copy.kind != RecipientKind::Sender).map(|copy| copy.version).sum();
        1 + copies + u64::from(transfer.hold.is_none())
    }

    /// The Task of one copy, JSON: what its recipient moves.
    #[must_use]
    pub fn delivery_task(&self, copy: &DeliveryRecord) -> String {
        let base = &self.settings.base_url;
        let content = TaskContent {
            id: copy.id.to_string(),
            version: Some(copy.version.to_string()),
            last_updated: Some(copy.changed.to_string()),
            status: copy.state.task_status().to_owned(),
            status_reason: copy.reason.as_deref().map(Concept::text),
            business_status: Some(Concept {
                coding: copy
                    .code
                    .as_ref()
                    .map(|code| (onward_fhir::systems::ITK_RESPONSE_CODES.to_owned(), code.clone(), None)),
                text: Some(copy.state.as_str().to_owned()),
            }),
            code: Some(Concept::coded(TASK_CODES, copy.kind.as_str(), purpose(copy.kind))),
            focus: Some(format!("{base}/fhir/R4/Bundle/{}", copy.id)),
            nhs_number: copy.patient.as_ref().map(|number| number.expose().to_owned()),
            requester: Some(Organisation { ods: copy.sender.to_string(), name: None }),
            owner: Some(Organisation { ods: copy.recipient.to_string(), name: Some(copy.recipient_name.clone()) }),
            part_of: vec![format!("Task/{}", copy.transfer)],
            authored_on: Some(copy.created.to_string()),
            ..TaskContent::default()
        };
        authored::task(&content).expect("states, times and codes are ours")
    }

    fn transfer_content(&self, id: String, hold: Option<&NewHold>) -> TaskContent {
        TaskContent {
            identifiers: vec![(onward_fhir::systems::UUID.to_owned(), id)],
            status_reason: hold.map(|hold| Concept::text(&hold.detail)),
            business_status: hold.map(|hold| Concept::text(&format!("held: {}, {} decides", hold.reason, hold.owner))),
            code: Some(Concept::coded(TASK_CODES, "transfer-of-care", "Transfer of care")),
            owner: Some(Organisation {
                ods: self.settings.own_ods.to_string(),
                name: Some(self.settings.own_name.clone()),
            }),
            restriction_period: hold.map(|hold| (None, Some(hold.due.to_string()))),
            ..TaskContent::default()
        }
    }

    /// The answer to an accepted message and to all its repeats: response message with outcome and Task. JSON.
    pub(crate) fn receipt_message(
        &self,
        transfer: &NewTransfer,
        hold: Option<&NewHold>,
        findings: &Findings,
    ) -> Vec<u8> {
        let id = transfer.id.to_string();
        let task = TaskContent {
            version: Some("1".to_owned()),
            last_updated: Some(transfer.received.to_string()),
            id: id.clone(),
            status: if hold.is_some() { "on-hold" } else { "accepted" }.to_owned(),
            requester: Some(Organisation { ods: transfer.sender.to_string(), name: None }),
            authored_on: Some(transfer.received.to_string()),
            ..self.transfer_content(id.clone(), hold)
        };
        let task = authored::task(&task).expect("states, times and codes are ours");
        let mut issues = vec![Issue {
            severity: Severity::Information,
            code: IssueCode::Informational,
            expression: None,
            diagnostics: match hold {
                None => "accepted and durably stored".to_owned(),
                Some(hold) => format!(
                    "accepted and durably stored; waits for a person ({}, by {}): {}",
                    hold.owner, hold.due, hold.detail
                ),
            },
            itk_code: Some(20013),
        }];
        issues.extend(findings.issues());
        let namespace = transfer.id.0;
        let derived = |part: &str| uuid::Uuid::new_v5(&namespace, part.as_bytes()).to_string();
        let event = (event_system(&transfer.event).to_owned(), transfer.event.clone());
        let content = ResponseContent {
            message_id: derived("response"),
            header_id: derived("response-header"),
            outcome_id: derived("response-outcome"),
            original_header_id: transfer.reply.header_id.clone(),
            ok: true,
            event,
            issues,
            task: Some((format!("{}/fhir/R4/Task/{id}", self.settings.base_url), task)),
            source_endpoint: self.settings.base_url.clone(),
            sender_ods: Some(self.settings.own_ods.to_string()),
            destination_ods: Some(transfer.sender.to_string()),
            timestamp: transfer.received.to_string(),
        };
        authored::response_message(&content).expect("the time is a Timestamp").into_bytes()
    }

    /// One page of copies by query, as far as they are the client's; the query is audited, with everybody it shows.
    ///
    /// # Errors
    /// When the store cannot be read or the query cannot be audited.
    pub async fn list(
        &self,
        client: &Client,
        mut query: DeliveryQuery,
        request_id: Option<&str>,
    ) -> Result<Page, StoreError> {
        let asked_about = query.patient.clone();
        let count = query.limit as usize;
        query.limit = query.limit.saturating_add(1);
        let mut records: Vec<DeliveryRecord> = Vec::new();
        // What is not theirs is passed over here, so that the cursor of the next page names none of it.
        loop {
            let found = self.store.deliveries(query.clone()).await?;
            let last = found.last().map(|last| (last.created, last.id));
            let all = found.len() < query.limit as usize;
            records.extend(found.into_iter().filter(|record| standing(client, record) != Standing::None));
            if all || records.len() > count {
                break;
            }
            query.after = last;
        }
        let more = records.len() > count;
        records.truncate(count);
        let next = records.last().filter(|_| more).map(|last| (last.created, last.id));
        // BALP: one event for each person in the answer; one without a person when there is none.
        let mut people: Vec<Option<NhsNumber>> = Vec::new();
        for patient in asked_about.iter().chain(records.iter().filter_map(|record| record.patient.as_ref())) {
            if people.iter().flatten().all(|seen| seen != patient) {
                people.push(Some(patient.clone()));
            }
        }
        if people.is_empty() {
            people.push(None);
        }
        let detail = format!("Task search, {} found", records.len());
        let rows = people.into_iter().map(|patient| {
            self.journal.row(&self.looked_at(client, (None, None), patient, request_id, detail.clone()))
        });
        self.store.audit(rows.collect()).await?;
        Ok(Page { records, next })
    }

    /// Commits that a client looked at one Task: it names a person.
    ///
    /// # Errors
    /// When it cannot be audited: then nothing may be shown.
    pub async fn note_task_read(
        &self,
        client: &Client,
        task: (Option<TransferId>, Option<DeliveryId>),
        patient: Option<NhsNumber>,
        request_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let entry = self.looked_at(client, task, patient, request_id, "Task read".to_owned());
        self.store.audit(vec![self.journal.row(&entry)]).await
    }

    fn looked_at(
        &self,
        client: &Client,
        (transfer, delivery): (Option<TransferId>, Option<DeliveryId>),
        patient: Option<NhsNumber>,
        request_id: Option<&str>,
        detail: String,
    ) -> AuditEntry {
        AuditEntry {
            word: AuditWord::Query,
            recorded: self.clock.now(),
            success: true,
            agent: Agent { name: client.id.clone(), organisation: Some(client.ods.clone()) },
            transfer,
            delivery,
            recipient: None,
            patient,
            basis: None,
            content_sha256: None,
            request_id: request_id.map(str::to_owned),
            detail,
        }
    }
}

fn event_system(event: &str) -> &'static str {
    if event.starts_with("ITK") {
        onward_fhir::systems::ITK_MESSAGE_EVENT
    } else {
        onward_fhir::systems::R4_MESSAGE_EVENT
    }
}

/// The transfer's status follows from its copies: what needs a person is told first.
fn transfer_status(hold: Option<&NewHold>, copies: &[&DeliveryRecord]) -> &'static str {
    let any = |state: DeliveryState| copies.iter().any(|copy| copy.state == state);
    if hold.is_some() {
        "on-hold"
    } else if any(DeliveryState::Failed) || any(DeliveryState::Rejected) {
        "failed"
    } else if !copies.is_empty() && copies.iter().all(|copy| copy.state == DeliveryState::Withdrawn) {
        "cancelled"
    } else if !copies.is_empty() && copies.iter().all(|copy| copy.state.is_acknowledged()) {
        "completed"
    } else {
        "in-progress"
    }
}

fn purpose(kind: RecipientKind) -> &'static str {
    match kind {
        RecipientKind::CareHome => "Summary for the care home",
        RecipientKind::CoveringPractice => "Temporary registration",
        RecipientKind::RegisteredPractice => "Document for the registered practice",
        RecipientKind::PharmacyReferral => "Discharge Medicines Service referral",
        RecipientKind::PharmacyNomination => "Request to nominate the pharmacy",
        RecipientKind::Sender => "Response to the sender",
    }
}

#[cfg(test)]
mod tests;
