//! A mailbox that cannot be read, or that has a message which stays there, is a person's business: nobody else sees that an answer or
//! a discharge waits there.

use jiff::Timestamp;
use onward_core::store::StoreError;
use onward_core::store::alerts::AlertKind;
use uuid::Uuid;

use crate::Gateway;

impl Gateway {
    /// Raises that MESH has not answered about our mailbox for too long or that a message stays there for as long, once, or clears that;
    /// whether it is new.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub(crate) async fn watch_mailbox(&self, now: Timestamp) -> Result<bool, StoreError> {
        let limit = self.settings.alerts.mailbox;
        let Some(since) = self.looks.stuck_since(now, limit) else {
            if self.looks.is_well(now, limit) {
                let open = self.store.alert_counts().await?;
                if open.iter().any(|(kind, _)| *kind == AlertKind::MailboxUnreadable)
                    && self.store.clear_alert(AlertKind::MailboxUnreadable, Uuid::nil(), now).await?
                {
                    tracing::info!("the MESH mailbox can be read again, and nothing stays there");
                }
            }
            return Ok(false);
        };
        if !self.looks.may_tell(now) {
            return Ok(false);
        }
        let new = self.raise_own(AlertKind::MailboxUnreadable, None, since).await?;
        self.looks.told(now);
        Ok(new)
    }
}
