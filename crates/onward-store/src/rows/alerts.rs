//! Rows about what needs a person, and about who is told.

use onward_core::store::alerts::{
    Alert, AlertKind, Concern, DueNotification, NewNotification, NotificationOutcome, NotificationState, Told,
};
use uuid::Uuid;

use crate::columns::{Columns, Corrupt};
use crate::query::alerts::STANDS;
use crate::stored::micros;

/// What a row says; one that cannot be read is told, and does not silence the others.
pub(crate) fn readable<T>(row: Result<T, Corrupt>) -> Option<T> {
    row.inspect_err(|corrupt| tracing::error!(place = corrupt.0, "something that may need a person is unreadable")).ok()
}

/// Of a row with [`crate::query::alerts::CONCERN`].
fn raised(columns: &Columns<'_>) -> Result<Concern, Corrupt> {
    Ok(Concern { work: columns.get("work")?, ..concern(columns)? })
}

/// What is so and is not raised yet: a row of [`crate::query::alerts::concerns`] or [`crate::query::alerts::GIVEN_UP`]. A copy that failed may have
/// done so because it is damaged: one whose identifier cannot be read is told by its transfer.
pub(crate) fn concern(columns: &Columns<'_>) -> Result<Concern, Corrupt> {
    let kind: AlertKind = columns.parsed("kind")?;
    let transfer =
        if kind.is_of_transfer() { Some(columns.parsed("transfer")?) } else { columns.parsed_opt("transfer")? };
    let unless_it_failed = |damaged| if kind == AlertKind::DeliveryFailed { Ok(()) } else { Err(damaged) };
    Ok(Concern {
        kind,
        step: columns.count("step")?,
        transfer,
        sender: columns.parsed("sender")?,
        delivery: columns.parsed_opt("delivery").or_else(|damaged| unless_it_failed(damaged).map(|()| None))?,
        recipient: columns.parsed_opt("recipient").or_else(|damaged| unless_it_failed(damaged).map(|()| None))?,
        hold: columns.parsed_opt("hold")?,
        subscription: columns.parsed_opt("subscription")?,
        work: None,
        since: columns.moment("since")?,
    })
}

/// Of a row of notification `n` and its alert.
pub(crate) fn due(columns: &Columns<'_>) -> Result<DueNotification, Corrupt> {
    Ok(DueNotification {
        notification: NewNotification {
            id: columns.parsed("id")?,
            contacted: columns.parsed("contacted")?,
            channel: columns.parsed("channel")?,
            address: columns.get("address")?,
        },
        concern: raised(columns)?,
        attempt: columns.count("attempt")?,
    })
}

/// Alerts, gathered from rows of [`crate::query::alerts::open`] or [`crate::query::alerts::of_transfer`].
#[derive(Default)]
pub(crate) struct Gathered {
    last: Option<Uuid>,
    alerts: Vec<Alert>,
}

impl Gathered {
    /// Takes the next row.
    pub(crate) fn add(&mut self, columns: &Columns<'_>) -> Result<(), Corrupt> {
        let id = columns.parsed("id")?;
        if self.last.replace(id) != Some(id) {
            let (concern, raised) = (raised(columns)?, columns.moment("raised")?);
            self.alerts.push(Alert { concern, raised, told: Vec::new() });
        }
        if let (Some(alert), Some(contacted)) = (self.alerts.last_mut(), columns.parsed_opt("contacted")?) {
            alert.told.push(Told { contacted, channel: columns.parsed("channel")?, state: columns.parsed("state")? });
        }
        Ok(())
    }

    /// All of them.
    pub(crate) fn done(self) -> Vec<Alert> {
        self.alerts
    }
}

/// No look finds such an alert again, and no other program ends it.
pub(crate) fn stands(kind: AlertKind) -> bool {
    kind == AlertKind::ReplacementRefused
}

/// What `cleared` is when an alert is raised.
pub(crate) fn cleared_at_first(kind: AlertKind) -> Option<i64> {
    stands(kind).then_some(STANDS)
}

/// Of a row of [`crate::query::alerts::counts`].
pub(crate) fn count(columns: &Columns<'_>) -> Result<(AlertKind, u64), Corrupt> {
    Ok((columns.parsed("kind")?, columns.count("n")?))
}

/// How an outcome leaves a notification: its state, the moment of its next attempt, and what is sent in its place.
pub(crate) fn left_by(outcome: &NotificationOutcome) -> (NotificationState, Option<i64>, &[NewNotification]) {
    match outcome {
        NotificationOutcome::Sent => (NotificationState::Sent, None, &[]),
        NotificationOutcome::Again(at) => (NotificationState::Queued, Some(micros(*at)), &[]),
        NotificationOutcome::Failed(instead) => (NotificationState::Failed, None, instead),
    }
}
