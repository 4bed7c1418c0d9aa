//! Transfers and copies as FHIR Tasks, and the response message that every accepted message gets.

use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::{Client, Role};
use onward_core::state::{EndReason, RecipientKind};
use onward_core::store::{
    DeliveryRecord, FoundTask, Late, NewHold, NewTransfer, Replay, Step, StepKind, StoreError, TaskQuery,
    TransferRecord,
};
use onward_core::{DeliveryId, NhsNumber, OdsCode, Timestamp, TransferId};
use onward_fhir::authored::{
    self, Concept, Issue, IssueCode, Organisation, Parameter, ParameterValue, ResponseContent, Severity, TaskContent,
};
use onward_validate::Findings;

use crate::Gateway;
use crate::retrace::without_pds;

mod repeat;

/// The FHIR `Task.status` codes that Tasks have here.
pub const STATUSES: [&str; 9] =
    ["requested", "received", "accepted", "in-progress", "on-hold", "completed", "rejected", "failed", "cancelled"];

/// What is told of a copy that a person has closed. How they did it they wrote for the log.
const CLOSED: &str = "it did not arrive electronically, and a person took care of it in another way";

/// Code system of what Onward's Tasks are for.
const TASK_CODES: &str = "https://onward.example/CodeSystem/task";

/// One page of Tasks.
#[derive(Debug, Clone)]
pub struct Page {
    /// The Tasks, in (created, id) order.
    pub tasks: Vec<FoundTask>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<(Timestamp, uuid::Uuid)>,
    /// How many Tasks fit in all; told only when no page was asked for.
    pub total: Option<u64>,
}

impl Gateway {
    /// The Task of a transfer, JSON: what the hospital follows. Operators see states, never whose they are.
    #[must_use]
    pub fn transfer_task(&self, transfer: &TransferRecord, client: &Client) -> String {
        let mut output: Vec<Parameter> =
            transfer.copies().map(|copy| parameter(copy.kind.as_str(), format!("Task/{}", copy.id))).collect();
        output.extend(transfer.replaced_by.map(|id| parameter("replaced by", format!("Task/{id}"))));
        let input = transfer.replaces.map(|id| parameter("replaces", format!("Task/{id}")));
        let content = TaskContent {
            id: transfer.id.to_string(),
            version: Some(self.transfer_version(transfer).to_string()),
            last_updated: Some(transfer.changed.to_string()),
            status: transfer.task_status().to_owned(),
            input: input.into_iter().collect(),
            output,
            ..self.transfer_content(transfer.id.to_string(), transfer.hold.as_ref())
        };
        let content = TaskContent {
            requester: Some(Organisation { ods: transfer.sender.to_string(), name: None }),
            nhs_number: person_shown(client, transfer.patient.as_ref()),
            authored_on: Some(transfer.received.to_string()),
            status_reason: match (&transfer.ended, &transfer.not_sent) {
                (Some((_, reason)), _) | (None, Some(reason)) => Some(Concept::text(reason)),
                (None, None) => content.status_reason.clone(),
            },
            business_status: match (&transfer.ended, &transfer.not_sent) {
                (Some((why, _)), _) => Some(Concept::text(why.as_str())),
                (None, Some(_)) => Some(Concept::text("closed by a person: not sent")),
                (None, None) if transfer.replaced_by.is_some() => {
                    Some(Concept::text("a later version has come and waits for a person"))
                }
                (None, None) if transfer.copies().any(|copy| copy.closed && copy.ended.is_none()) => {
                    Some(Concept::text(&format!("not every copy: {CLOSED}")))
                }
                (None, None) => content.business_status.clone(),
            },
            ..content
        };
        authored::task(&content).expect("states, times and codes are ours")
    }

    /// Grows with every change of the transfer, of its hold or of one of its copies: the moment of the latest one.
    #[must_use]
    pub fn transfer_version(&self, transfer: &TransferRecord) -> i64 {
        transfer.changed.as_microsecond()
    }

    /// The Task of one copy, JSON: what its recipient moves, with what people there did with it, and its repeats. Operators see
    /// states, never whose they are or what anybody wrote.
    #[must_use]
    pub fn delivery_task(&self, copy: &DeliveryRecord, steps: &[Step], replays: &[Replay], client: &Client) -> String {
        let base = &self.settings.base_url;
        // A code of another system (MESH reports have their own) is no ITK3 coding.
        let known = copy.code.as_deref().and_then(onward_fhir::itk::response_code);
        let coding = known.map(|known| {
            let system = onward_fhir::systems::ITK_RESPONSE_CODES.to_owned();
            (system, known.code.to_string(), Some(known.display.to_owned()))
        });
        let business = known.filter(|known| known.level == onward_fhir::itk::Level::Business);
        let reason = match client.role {
            Role::CareHome | Role::Practice | Role::Pharmacy => {
                copy.reason.as_deref().map(|reason| without_pds(reason).to_owned())
            }
            _ => copy.reason.clone(),
        };
        let successor = copy.ended.and_then(|ended| ended.by);
        let successor = successor.map(|by| parameter("replaced by", format!("Task/{by}")));
        let content = TaskContent {
            id: copy.id.to_string(),
            version: Some(copy.version.to_string()),
            last_updated: Some(copy.changed.to_string()),
            status: copy.state.task_status().to_owned(),
            status_reason: (reason.is_some() || business.is_some())
                .then(|| Concept { coding: coding.clone().filter(|_| business.is_some()), text: reason }),
            business_status: Some(Concept { coding, text: Some(stands(copy)) }),
            code: Some(Concept::coded(TASK_CODES, copy.kind.as_str(), purpose(copy.kind))),
            input: copy
                .notice
                .map(|notice| match notice.why {
                    EndReason::LeftHome => parameter("ends with the stay", format!("Task/{}", notice.of)),
                    _ => parameter("stop using", format!("Task/{}", notice.of)),
                })
                .into_iter()
                .collect(),
            focus: Some(format!("{base}/fhir/R4/Bundle/{}", copy.id)),
            nhs_number: person_shown(client, copy.patient.as_ref()),
            requester: Some(Organisation { ods: copy.sender.to_string(), name: None }),
            owner: Some(Organisation { ods: copy.recipient.to_string(), name: Some(copy.recipient_name.clone()) }),
            part_of: vec![format!("Task/{}", copy.transfer)],
            authored_on: Some(copy.created.to_string()),
            output: successor
                .into_iter()
                .chain(repeat::repeats(replays))
                .chain(steps.iter().filter(|_| client.role != Role::Operator).filter_map(|step| receipt(step, copy)))
                .collect(),
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
        late: Option<&Late>,
        findings: &Findings,
    ) -> Vec<u8> {
        let id = transfer.id.to_string();
        let task = TaskContent {
            version: Some(transfer.received.as_microsecond().to_string()),
            last_updated: Some(transfer.received.to_string()),
            id: id.clone(),
            status: match (hold, late) {
                (_, Some(_)) => "cancelled",
                (Some(_), None) => "on-hold",
                (None, None) => "accepted",
            }
            .to_owned(),
            requester: Some(Organisation { ods: transfer.sender.to_string(), name: None }),
            authored_on: Some(transfer.received.to_string()),
            ..self.transfer_content(id.clone(), hold)
        };
        let task = authored::task(&task).expect("states, times and codes are ours");
        let mut issues = vec![Issue {
            severity: Severity::Information,
            code: IssueCode::Informational,
            expression: None,
            diagnostics: match (hold, late) {
                (_, Some(late)) => format!("accepted and durably stored; {}: {}", late.why, late.reason),
                (None, None) => "accepted and durably stored".to_owned(),
                (Some(hold), None) => format!(
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

    /// One page of Tasks by query, as far as they are the client's; the query is audited, with everybody it shows. A
    /// limit of 0 only counts.
    ///
    /// # Errors
    /// When the store cannot be read or the query cannot be audited.
    pub async fn list(
        &self,
        client: &Client,
        mut query: TaskQuery,
        asked: &str,
        request_id: Option<&str>,
    ) -> Result<Page, StoreError> {
        confine(client, &mut query);
        let asked_about = query.patient.clone();
        let count = query.limit as usize;
        let (mut tasks, total) = if count == 0 {
            (Vec::new(), Some(self.store.count_tasks(query).await?))
        } else {
            query.limit = query.limit.saturating_add(1);
            (self.store.tasks(query).await?, None)
        };
        let more = tasks.len() > count;
        tasks.truncate(count);
        let next = tasks.last().filter(|_| more).map(FoundTask::place);
        // BALP: one event for each person in the answer; one without a person when there is none.
        let mut people: Vec<Option<NhsNumber>> = Vec::new();
        for patient in asked_about.iter().chain(tasks.iter().filter_map(FoundTask::patient)) {
            if people.iter().flatten().all(|seen| seen != patient) {
                people.push(Some(patient.clone()));
            }
        }
        if people.is_empty() {
            people.push(None);
        }
        let rows = people.into_iter().map(|patient| {
            self.journal.row(&AuditEntry {
                patient,
                request_id: request_id.map(str::to_owned),
                query: Some(asked.to_owned()),
                ..AuditEntry::new(AuditWord::Query, self.clock.now(), Agent::client(client), "Task search")
            })
        });
        self.store.audit(rows.collect()).await?;
        Ok(Page { tasks, next, total })
    }

    /// Commits that a client looked at one Task: it names a person.
    ///
    /// # Errors
    /// When it cannot be audited: then nothing may be shown.
    pub async fn note_task_read(
        &self,
        client: &Client,
        (transfer, delivery): (Option<TransferId>, Option<DeliveryId>),
        patient: Option<NhsNumber>,
        request_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry {
            transfer,
            delivery,
            patient,
            request_id: request_id.map(str::to_owned),
            ..AuditEntry::new(AuditWord::ReadTask, self.clock.now(), Agent::client(client), "Task read")
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }
}

fn parameter(name: &str, reference: String) -> Parameter {
    Parameter { name: Concept::text(name), value: ParameterValue::Reference(reference) }
}

/// How a copy stands, in a word: how it ended rather than how far it came.
fn stands(copy: &DeliveryRecord) -> String {
    match (copy.ended, copy.notice) {
        (None, _) if copy.closed => format!("{}: {CLOSED}", copy.state),
        (Some(ended), _) => ended.why.to_string(),
        (None, Some(notice)) => format!("notice: {}, {}", notice.why, copy.state),
        (None, None) => copy.state.to_string(),
    }
}

/// What the hospital is told of a step: who at the recipient did what, when. What a home ticks for itself is its own.
fn receipt(step: &Step, copy: &DeliveryRecord) -> Option<Parameter> {
    if step.kind == StepKind::Checked {
        return None;
    }
    let with = if step.delivery == copy.id { "" } else { ", told with an earlier version" };
    let said = step.text.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    let who =
        format!("{} by {}, {}, {}{with}{said}", step.kind, step.name, copy.recipient_name, step.at.strftime("%FT%TZ"));
    Some(Parameter { name: Concept::text(step.kind.as_str()), value: ParameterValue::Text(who) })
}

fn event_system(event: &str) -> &'static str {
    if event.starts_with("ITK") {
        onward_fhir::systems::ITK_MESSAGE_EVENT
    } else {
        onward_fhir::systems::R4_MESSAGE_EVENT
    }
}

/// Whom a Task is about, for whoever may know it.
fn person_shown(client: &Client, patient: Option<&NhsNumber>) -> Option<String> {
    patient.filter(|_| client.role != Role::Operator).map(|number| number.expose().to_owned())
}

/// Whatever was asked for, a search finds what is the client's: a sender's own transfers with their copies, a
/// recipient's own copies (trust.md §8). Everybody else finds nothing.
fn confine(client: &Client, query: &mut TaskQuery) {
    let foreign = |asked: &Option<OdsCode>| asked.as_ref().is_some_and(|asked| *asked != client.ods);
    if client.role == Role::Sender {
        if foreign(&query.sender) {
            (query.transfers, query.copies) = (false, false);
        }
        query.sender = Some(client.ods.clone());
        return;
    }
    let kinds = kinds_of(client.role);
    query.transfers = false;
    query.without_recalled = true;
    query.copies &= !kinds.is_empty() && !foreign(&query.recipient);
    query.recipient = Some(client.ods.clone());
    query.kinds = kinds.to_vec();
}

/// As what a client of this role receives copies.
pub(crate) fn kinds_of(role: Role) -> &'static [RecipientKind] {
    match role {
        Role::CareHome => &[RecipientKind::CareHome],
        Role::Practice => &[RecipientKind::CoveringPractice, RecipientKind::RegisteredPractice],
        Role::Pharmacy => &[RecipientKind::PharmacyReferral, RecipientKind::PharmacyNomination],
        Role::Sender | Role::InformationGovernance | Role::Operator => &[],
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
