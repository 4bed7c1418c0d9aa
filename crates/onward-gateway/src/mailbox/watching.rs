//! A mailbox that cannot be read is a person's business: nobody else sees that answers and discharges wait there.

use jiff::{SignedDuration, Timestamp};
use onward_core::store::StoreError;
use onward_core::store::alerts::{AlertKind, Concern};
use uuid::Uuid;

use crate::Gateway;

/// While it cannot be read by this process it says so again after this, in case others could for a while: their look clears the alert.
pub(super) const AGAIN: SignedDuration = SignedDuration::from_hours(6);

impl Gateway {
    /// Raises that our mailbox has not been listed for too long, once, or clears that; whether it is new.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub(crate) async fn watch_mailbox(&self, now: Timestamp) -> Result<bool, StoreError> {
        let Some(standing) = self.mailbox_standing() else { return Ok(false) };
        if now.duration_since(standing.listed) < self.settings.alerts.mailbox {
            let open = self.store.alert_counts().await?;
            if open.iter().any(|(kind, _)| *kind == AlertKind::MailboxUnreadable)
                && self.store.clear_alert(AlertKind::MailboxUnreadable, Uuid::nil(), now).await?
            {
                tracing::info!("the MESH mailbox can be read again");
            }
            return Ok(false);
        }
        if !self.looks.may_tell(now) {
            return Ok(false);
        }
        let concern = Concern {
            kind: AlertKind::MailboxUnreadable,
            step: 1,
            transfer: None,
            sender: self.settings.own_ods.clone(),
            delivery: None,
            recipient: None,
            hold: None,
            subscription: None,
            since: standing.listed,
        };
        let new = self.raise(concern).await?;
        self.looks.told(now);
        Ok(new)
    }
}
