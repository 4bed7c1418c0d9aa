//! The Task of a repeat. It is read, never moved: what a recipient answers stands in the Task of the copy that it repeats.

use onward_core::client::Client;
use onward_core::store::{DeliveryRecord, Replay};
use onward_fhir::authored::{self, Concept, Organisation, Parameter, TaskContent};

use super::{TASK_CODES, parameter, person_shown, purpose, stands};
use crate::Gateway;

impl Gateway {
    /// The Task of one of the repeats of a copy, JSON; `all` are its repeats, the oldest first. Status and business status are those of
    /// the copy. Why somebody had it sent again is told to nobody outside.
    #[must_use]
    pub fn repeat_task(&self, repeat: &Replay, all: &[Replay], copy: &DeliveryRecord, client: &Client) -> String {
        let place = all.iter().position(|each| each.id == repeat.id).unwrap_or_default();
        let later = all.get(place + 1).map(|next| parameter("repeated again", format!("Task/{}", next.id)));
        let content = TaskContent {
            id: repeat.id.to_string(),
            version: Some(copy.version.to_string()),
            last_updated: Some(copy.changed.max(repeat.at).to_string()),
            status: copy.state.task_status().to_owned(),
            business_status: Some(Concept::text(&format!("repeat {} of {}: {}", place + 1, all.len(), stands(copy)))),
            code: Some(Concept::coded(TASK_CODES, copy.kind.as_str(), purpose(copy.kind))),
            focus: Some(format!("{}/fhir/R4/Bundle/{}", self.settings.base_url, copy.id)),
            nhs_number: person_shown(client, copy.patient.as_ref()),
            requester: Some(Organisation { ods: copy.sender.to_string(), name: None }),
            owner: Some(Organisation { ods: copy.recipient.to_string(), name: Some(copy.recipient_name.clone()) }),
            part_of: vec![format!("Task/{}", copy.transfer)],
            authored_on: Some(repeat.at.to_string()),
            input: vec![parameter("repeats", format!("Task/{}", copy.id))],
            output: later.into_iter().collect(),
            ..TaskContent::default()
        };
        authored::task(&content).expect("states, times and codes are ours")
    }
}

/// What the Task of a copy says of its repeats.
pub(super) fn repeats(replays: &[Replay]) -> impl Iterator<Item = Parameter> + '_ {
    replays.iter().map(|replay| parameter("repeat", format!("Task/{}", replay.id)))
}
