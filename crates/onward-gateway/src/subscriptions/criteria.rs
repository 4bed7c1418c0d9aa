//! Which Tasks a subscription is about: a search, as far as it can be judged of one Task.

use std::fmt;

use onward_core::OdsCode;
use onward_core::client::{Client, Role};
use onward_core::state::{EndReason, RecipientKind};
use onward_core::store::{DeliveryRecord, TransferRecord};
use onward_fhir::systems;

use crate::tasks::{STATUSES, kinds_of};

/// Why a text is no criteria.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CriteriaError {
    /// Not of Tasks, or with parameters that cannot be judged.
    #[error("criteria are Task, or Task?status=CODES, Task?owner=ODS or both; a patient is never named in them")]
    Form,
    /// A status that Tasks do not have here.
    #[error(
        "status takes requested, received, accepted, in-progress, on-hold, completed, rejected, failed and cancelled"
    )]
    Status,
    /// No ODS code.
    #[error("owner takes an ODS code, or its system, a bar and the code")]
    Owner,
    /// A recipient sees its own copies only.
    #[error("owner names another organisation, whose Tasks this client does not see")]
    Foreign,
}

/// Which Tasks. What is left out fits any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Criteria {
    statuses: Vec<String>,
    owner: Option<OdsCode>,
}

impl Criteria {
    /// Reads `Task?…`.
    ///
    /// # Errors
    /// See [`CriteriaError`].
    pub fn read(text: &str) -> Result<Self, CriteriaError> {
        let query = match text.strip_prefix("Task").ok_or(CriteriaError::Form)? {
            "" => return Ok(Self::default()),
            rest => rest.strip_prefix('?').ok_or(CriteriaError::Form)?,
        };
        let mut criteria = Self::default();
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').ok_or(CriteriaError::Form)?;
            match name {
                "status" if criteria.statuses.is_empty() => {
                    criteria.statuses = value.replace("%2C", ",").split(',').map(str::to_owned).collect();
                    if criteria.statuses.iter().any(|status| !STATUSES.contains(&status.as_str())) {
                        return Err(CriteriaError::Status);
                    }
                }
                "owner" | "owner:identifier" if criteria.owner.is_none() => {
                    let value = value.replace("%7C", "|");
                    let (system, code) = value.rsplit_once('|').unwrap_or((systems::ODS_ORGANISATION, &value));
                    let code = code.parse().ok().filter(|_| systems::is_ods(system));
                    criteria.owner = Some(code.ok_or(CriteriaError::Owner)?);
                }
                _ => return Err(CriteriaError::Form),
            }
        }
        Ok(criteria)
    }

    /// That this client can ever see such a Task: a sender sees those of all its recipients.
    pub(super) fn fit(&self, client: &Client) -> Result<(), CriteriaError> {
        match &self.owner {
            Some(owner) if client.role != Role::Sender && *owner != client.ods => Err(CriteriaError::Foreign),
            _ => Ok(()),
        }
    }

    fn has(&self, status: &str, owner: &OdsCode) -> bool {
        (self.statuses.is_empty() || self.statuses.iter().any(|own| own == status))
            && self.owner.as_ref().is_none_or(|own| own == owner)
    }

    /// Whether the Task of this transfer is the client's and fits.
    pub(super) fn fit_transfer(&self, transfer: &TransferRecord, client: &Client, own_ods: &OdsCode) -> bool {
        client.role == Role::Sender && transfer.sender == client.ods && self.has(transfer.task_status(), own_ods)
    }

    /// Whether the Task of this copy is the client's and fits.
    pub(super) fn fit_copy(&self, copy: &DeliveryRecord, client: &Client) -> bool {
        let own = match client.role {
            Role::Sender => copy.sender == client.ods && copy.kind != RecipientKind::Sender,
            role => {
                let recalled = copy.ended.is_some_and(|ended| ended.why == EndReason::Recalled);
                copy.recipient == client.ods && kinds_of(role).contains(&copy.kind) && !recalled
            }
        };
        own && self.has(copy.state.task_status(), &copy.recipient)
    }
}

impl fmt::Display for Criteria {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task")?;
        let mut mark = '?';
        if !self.statuses.is_empty() {
            write!(f, "{mark}status={}", self.statuses.join(","))?;
            mark = '&';
        }
        if let Some(owner) = &self.owner {
            write!(f, "{mark}owner={owner}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_read_back_as_they_are_written() {
        for (text, written) in [
            ("Task", "Task"),
            ("Task?status=requested", "Task?status=requested"),
            ("Task?owner=VMH01&status=requested,received", "Task?status=requested,received&owner=VMH01"),
            ("Task?status=accepted%2Crejected", "Task?status=accepted,rejected"),
            ("Task?owner:identifier=https://fhir.nhs.uk/Id/ods-organization-code%7CVMH01", "Task?owner=VMH01"),
        ] {
            let criteria = Criteria::read(text).expect(text);
            assert_eq!(criteria.to_string(), written);
            assert_eq!(Criteria::read(written), Ok(criteria));
        }
    }

    #[test]
    fn what_cannot_be_judged_of_one_task_is_refused() {
        for (text, error) in [
            ("", CriteriaError::Form),
            ("Observation", CriteriaError::Form),
            ("Tasks", CriteriaError::Form),
            ("Task?", CriteriaError::Form),
            ("Task?status", CriteriaError::Form),
            ("Task?patient=9990000018", CriteriaError::Form),
            ("Task?for:identifier=9990000018", CriteriaError::Form),
            ("Task?_lastUpdated=ge2026", CriteriaError::Form),
            ("Task?status=requested&status=received", CriteriaError::Form),
            ("Task?status=", CriteriaError::Status),
            ("Task?status=requested,", CriteriaError::Status),
            ("Task?status=9990000018", CriteriaError::Status),
            ("Task?owner=", CriteriaError::Owner),
            ("Task?owner=urn:x|VMH01", CriteriaError::Owner),
            ("https://elsewhere.example/Task", CriteriaError::Form),
        ] {
            assert_eq!(Criteria::read(text), Err(error), "{text}");
        }
    }
}
