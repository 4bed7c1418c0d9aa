//! The clock of arrivals and answers: what needs a person is found, told to whoever can act, and told once.
//!
//! A home that has not opened its copy before the person comes is escalated in steps: its coordinator, the home (and whoever
//! runs the gateway, with the numbers to ring), the ward. What is told names no patient: what kind of thing it is, and a link.

mod lately;
mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::directory::{CareHome, Contact, DirectoryEntry};
use onward_core::store::StoreError;
use onward_core::store::alerts::{AlertKind, Channel, Concern, Contacted, Deadlines, NewAlert, NewNotification};
use onward_core::{OdsCode, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

use crate::Gateway;
pub(crate) use lately::{AGAIN, Lately};

/// How often it looks: a copy that failed for good is a person's within a minute.
const EVERY: Duration = Duration::from_secs(10);

/// When a person must look, and whom that is told.
#[derive(Debug, Clone)]
pub struct Alerting {
    /// When.
    pub deadlines: Deadlines,
    /// Our own mailbox must have been read within this, and no message may stay there uncollected for as long.
    pub mailbox: SignedDuration,
    /// E-mail address of whoever runs the gateway; empty where there is none.
    pub operations: String,
    /// E-mail addresses of the wards, by hospital.
    pub wards: BTreeMap<OdsCode, String>,
    /// Address of the system that is told of everything; empty where there is none.
    pub webhook: String,
}

impl Gateway {
    /// Looks for what needs a person until `stop` turns true. It waits for no telling.
    pub async fn alert_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(error) = self.look_once().await {
                tracing::error!(%error, "what needs a person could not be looked for");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// One look ([`Gateway::look_once`]), and then what is due is told.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn alert_once(&self) -> Result<usize, StoreError> {
        let raised = self.look_once().await?;
        self.tell_due().await?;
        Ok(raised)
    }

    /// One look: clears what is over, and raises what nobody knows of; tells of erasures that lapsed; lets
    /// replacements go on whose document has come, carries out redirects that were granted and broke off, and tells whoever has a version where
    /// the one that took its place does not go any more. Gives the number of alerts raised.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn look_once(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        self.store.settle_alerts(now).await?;
        let mut raised = 0;
        // First, and told at once: what falls may be this look, further below.
        match self.watch_background(now).await {
            Ok(new) => {
                raised += usize::from(new);
                self.tellings.notify_one();
            }
            Err(error) => tracing::error!(%error, "whether background work needs a person could not be kept"),
        }
        for concern in self.store.concerns(now, self.settings.alerts.deadlines).await? {
            let (kind, subject) = (concern.kind, concern.subject());
            match self.raise(concern).await {
                Ok(new) => raised += usize::from(new),
                // The others are raised, and told, all the same.
                Err(error) => tracing::error!(%error, %kind, %subject, "what needs a person could not be raised"),
            }
        }
        match self.watch_mailbox(now).await {
            Ok(new) => raised += usize::from(new),
            Err(error) => tracing::error!(%error, "whether the mailbox needs a person could not be kept"),
        }
        self.tellings.notify_one();
        if let Err(error) = self.join_left_over().await {
            tracing::error!(%error, "replacements whose document has come could not be looked for");
        }
        if let Err(error) = self.tell_elsewhere().await {
            tracing::error!(%error, "who is to be told where a newer version does not go could not be looked for");
        }
        // Last, and on its own: nobody's discharge stays unread because a request to erase could not be looked at.
        if let Err(error) = self.tell_lapses().await {
            tracing::error!(%error, "requests to erase that lapsed could not be told of");
        }
        if let Err(error) = self.carry_out_granted().await {
            tracing::error!(%error, "redirects that were granted and broke off could not be carried out");
        }
        Ok(raised)
    }

    /// Raises what is the gateway's own business and about no transfer, once; whether it is new.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub(crate) async fn raise_own(
        &self,
        kind: AlertKind,
        about: Option<OdsCode>,
        since: Timestamp,
    ) -> Result<bool, StoreError> {
        self.raise(self.own(kind, about, since)).await
    }

    /// What is the gateway's own business and about no transfer.
    pub(crate) fn own(&self, kind: AlertKind, about: Option<OdsCode>, since: Timestamp) -> Concern {
        Concern {
            kind,
            step: 1,
            transfer: None,
            sender: self.settings.own_ods.clone(),
            delivery: None,
            recipient: about,
            hold: None,
            subscription: None,
            work: None,
            since,
        }
    }

    /// Raises a concern; whether it is new. What an older version cleared is raised again an hour later.
    pub(crate) async fn raise(&self, concern: Concern) -> Result<bool, StoreError> {
        if self.lately.knows(&concern, self.clock.now()) {
            return Ok(false);
        }
        let notifications = self.notifications(&concern).await?;
        let told: Vec<_> = notifications.iter().map(|each| format!("{} by {}", each.contacted, each.channel)).collect();
        let told = if told.is_empty() { "no way to tell anybody is set up".to_owned() } else { told.join(", ") };
        let detail = format!("{} (step {}): {told}", concern.kind, concern.step);
        let entry = self.notify_entry(&concern, true, detail).await?;
        let alert = NewAlert {
            id: Uuid::new_v4(),
            concern: concern.clone(),
            at: self.clock.now(),
            notifications,
            audit: vec![self.journal.row(&entry)],
        };
        let at = alert.at;
        let raised = self.store.raise_alert(alert).await?;
        self.lately.raised(&concern, at);
        if raised && concern.kind.is_trouble() {
            tracing::error!(
                kind = %concern.kind, step = concern.step, transfer = concern.transfer.map(tracing::field::display),
                delivery = concern.delivery.map(tracing::field::display),
                subscription = concern.subscription.map(tracing::field::display), "a person must look"
            );
        }
        Ok(raised)
    }

    /// What is told names no patient; the entry does, because it is about what became of that person's summary. Where what is
    /// stored of the transfer cannot be read somebody must hear of it all the more: the entry names the transfer.
    async fn notify_entry(&self, concern: &Concern, success: bool, detail: String) -> Result<AuditEntry, StoreError> {
        let transfer = match concern.transfer {
            Some(transfer) => unless_unreadable(self.store.transfer(transfer).await)?.flatten(),
            None => None,
        };
        let detail = match (concern.subscription, concern.kind, &concern.recipient) {
            (Some(id), ..) => format!("{detail}; subscription {id}"),
            (None, AlertKind::BackgroundFallen, _) => match &concern.work {
                Some(work) => format!("{detail}; {work}"),
                None => detail,
            },
            (None, AlertKind::OrganisationClosed | AlertKind::MailboxChanged, Some(ods)) => {
                format!("{detail}; organisation {ods}")
            }
            _ => detail,
        };
        Ok(AuditEntry {
            success,
            transfer: concern.transfer,
            delivery: concern.delivery,
            recipient: concern.recipient.clone(),
            patient: transfer.and_then(|transfer| transfer.patient),
            ..AuditEntry::new(AuditWord::Notify, self.clock.now(), Agent::gateway(), detail)
        })
    }

    fn has(&self, channel: Channel) -> bool {
        self.notifiers.iter().any(|notifier| notifier.channel() == channel)
    }

    /// Who is told at this step; nobody where no way is set up or no address is known.
    async fn notifications(&self, concern: &Concern) -> Result<Vec<NewNotification>, StoreError> {
        let settings = &self.settings.alerts;
        let mut chosen = Vec::new();
        if self.has(Channel::Email) {
            let addresses = self.addresses(concern).await?;
            chosen.extend(addresses.into_iter().map(|(who, address)| notification(who, Channel::Email, address)));
        }
        if self.has(Channel::Webhook) && !settings.webhook.is_empty() {
            chosen.push(notification(Contacted::Operations, Channel::Webhook, settings.webhook.clone()));
        }
        Ok(chosen)
    }

    /// Who is told by e-mail. A step without an address must not end in silence: whoever runs the gateway hears it.
    async fn addresses(&self, concern: &Concern) -> Result<Vec<(Contacted, String)>, StoreError> {
        let settings = &self.settings.alerts;
        let operations = || (Contacted::Operations, settings.operations.clone());
        let ward = || (Contacted::Ward, settings.wards.get(&concern.sender).cloned().unwrap_or_default());
        let home = self.home_of(concern).await?;
        let email =
            |of: fn(&CareHome) -> &Contact| home.as_ref().map(|home| of(home).email.clone()).unwrap_or_default();
        let mut chosen = match (concern.kind, concern.step) {
            (AlertKind::Arrived, _) => vec![(Contacted::Home, email(|home| &home.contact))],
            // The directory has no address of a practice or a pharmacy: whoever runs the gateway rings them.
            (AlertKind::UnreadBeforeArrival | AlertKind::NoticeUnread, 1) => {
                vec![(Contacted::Coordinator, email(|home| &home.coordinator))]
            }
            (AlertKind::UnreadBeforeArrival | AlertKind::NoticeUnread, 2) => {
                vec![(Contacted::Home, email(|home| &home.contact)), operations()]
            }
            (AlertKind::UnreadBeforeArrival | AlertKind::NoticeUnread, _) => vec![ward()],
            // Somebody else must do it: whoever keeps the directory knows who could, and the ward whom the person has.
            (AlertKind::CareDeclined, _) => vec![operations(), ward()],
            // The hospital's system has the refusal; its people may not know, and can send it again or withdraw what it was to replace.
            (AlertKind::ReplacementRefused, _) => vec![operations(), ward()],
            (AlertKind::Declined, _) | (AlertKind::HeldBeforeArrival, 1) => vec![ward()],
            // The hold's owner hears of its time as well; a step later both know that the other has not ended it.
            (AlertKind::HeldBeforeArrival, 2) => vec![operations()],
            (AlertKind::HeldBeforeArrival, _) => vec![operations(), ward()],
            // A home can look at its page, whatever its system made of the message.
            (AlertKind::NotProcessed, _) => {
                vec![operations(), (Contacted::Coordinator, email(|home| &home.coordinator))]
            }
            _ => vec![operations()],
        };
        chosen.retain(|(_, address)| !address.is_empty());
        if chosen.is_empty() && concern.kind.is_trouble() {
            chosen.extend(Some(operations()).filter(|(_, address)| !address.is_empty()));
        }
        Ok(chosen)
    }

    async fn home_of(&self, concern: &Concern) -> Result<Option<CareHome>, StoreError> {
        use AlertKind::{Arrived, NotProcessed, NoticeUnread, UnreadBeforeArrival};
        let (UnreadBeforeArrival | NoticeUnread | Arrived | NotProcessed, Some(ods)) =
            (concern.kind, &concern.recipient)
        else {
            return Ok(None);
        };
        Ok(match unless_unreadable(self.store.directory_entry(ods).await)?.flatten() {
            Some(DirectoryEntry::CareHome(home)) => Some(home),
            _ => None,
        })
    }

    /// Whom to ring about the recipient, out of the directory: name and number each.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn numbers(&self, concern: &Concern) -> Result<Vec<String>, StoreError> {
        let Some(ods) = &concern.recipient else { return Ok(Vec::new()) };
        let named = |name: &str, telephone: &str| {
            (!telephone.trim().is_empty()).then(|| format!("{name} {telephone}").trim().to_owned())
        };
        Ok(match unless_unreadable(self.store.directory_entry(ods).await)?.flatten() {
            Some(DirectoryEntry::CareHome(home)) => [&home.contact, &home.coordinator]
                .into_iter()
                .filter_map(|contact| {
                    let name = if contact.name.is_empty() { &home.name } else { &contact.name };
                    named(name, &contact.telephone)
                })
                .collect(),
            Some(DirectoryEntry::Practice(practice)) => {
                named(&practice.name, &practice.telephone).into_iter().collect()
            }
            Some(DirectoryEntry::Pharmacy(pharmacy)) => {
                named(&pharmacy.name, &pharmacy.telephone).into_iter().collect()
            }
            None => Vec::new(),
        })
    }
}

/// What was read; nothing, and told in the log, where what is stored is not what was written.
fn unless_unreadable<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error @ StoreError::Corrupt(_)) => {
            tracing::error!(%error, "an alert goes on without what is unreadable");
            Ok(None)
        }
        read => read.map(Some),
    }
}

fn notification(contacted: Contacted, channel: Channel, address: String) -> NewNotification {
    NewNotification { id: Uuid::new_v4(), contacted, channel, address }
}
