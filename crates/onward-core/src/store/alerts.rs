//! What a person must look at, who is told of it, and whether they were.

use std::fmt;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::StoreError;
use crate::audit::AuditRow;
use crate::state::words;
use crate::{DeliveryId, HoldId, OdsCode, TransferId};

words!(
    /// What a person must look at.
    AlertKind {
        /// A copy waits for the home to open it. Nothing is wrong: the home is told that something is there.
        Arrived = "arrived",
        /// The person comes soon, or has come, and the home has not opened its copy.
        UnreadBeforeArrival = "unread-before-arrival",
        /// A copy failed for good.
        DeliveryFailed = "delivery-failed",
        /// The recipient's system refused the message itself: it could not read it, or would not take it. Nobody there has it.
        NotProcessed = "not-processed",
        /// A home declined somebody who comes from hospital, and the ward must know before they are sent.
        Declined = "declined",
        /// A practice or a pharmacy declined its part: the person comes to a home all the same, and somebody else must do it.
        CareDeclined = "care-declined",
        /// Nobody has opened a notice that a version is not to be used any more.
        NoticeUnread = "notice-unread",
        /// Copies wait to be sent for longer than they may: their recipient does not answer, or a pause was forgotten. One for
        /// each recipient, about the copy that waits the longest.
        QueuedTooLong = "queued-too-long",
        /// The person comes soon, or has come, and their discharge is held: nobody there has anything.
        HeldBeforeArrival = "held-before-arrival",
        /// A hold's time is over.
        HoldOverdue = "hold-overdue",
        /// A copy was sent and nothing has said that it arrived (infrastructure acknowledgement).
        ReceiptMissing = "receipt-missing",
        /// A copy arrived and nobody has acknowledged it in time (business acknowledgement).
        AcknowledgementMissing = "acknowledgement-missing",
        /// A client's subscription was given up: its system is not called any more, and may not know.
        SubscriptionFailed = "subscription-failed",
        /// Background work of a gateway falls again and again by a fault of ours: what it does is late, or is not done.
        BackgroundFallen = "background-fallen",
        /// Our own MESH mailbox cannot be read, or has a message that cannot be collected: an answer or a discharge waits unseen. Or one
        /// that is refused, or the report about a refusal, where its sender is not told so.
        MailboxUnreadable = "mailbox-unreadable",
        /// ODS says that an organisation of the directory has closed: nothing new is sent there.
        OrganisationClosed = "organisation-closed",
        /// MESH says that an organisation of the directory takes what it gets in other mailboxes than its entry's, or in none.
        MailboxChanged = "mailbox-changed",
        /// A message was refused that was to replace this transfer: who has it acts on what its sender knows to be out of date.
        ReplacementRefused = "replacement-refused",
    }
);

impl AlertKind {
    /// Something is wrong, or late.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        self != Self::Arrived
    }

    /// It is about a transfer, or something of one.
    #[must_use]
    pub fn is_of_transfer(self) -> bool {
        use AlertKind::{BackgroundFallen, MailboxChanged, MailboxUnreadable, OrganisationClosed, SubscriptionFailed};
        !matches!(self, SubscriptionFailed | BackgroundFallen | MailboxUnreadable | OrganisationClosed | MailboxChanged)
    }
}

words!(
    /// Whom a notification is for.
    Contacted {
        /// Whoever runs the gateway.
        Operations = "operations",
        /// The home's discharge coordinator.
        Coordinator = "coordinator",
        /// The home itself.
        Home = "home",
        /// The ward, or the team that the hospital named.
        Ward = "ward",
    }
);

words!(
    /// How somebody is told.
    Channel {
        /// By e-mail.
        Email = "email",
        /// By a signed call of their system.
        Webhook = "webhook",
    }
);

words!(
    /// How far a notification has come.
    NotificationState {
        /// To be sent, or tried again.
        Queued = "queued",
        /// It was taken.
        Sent = "sent",
        /// Given up.
        Failed = "failed",
        /// Not sent: what it would have told is over.
        Dropped = "dropped",
    }
);

/// When something becomes a person's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// A home must have opened its copy so long before the person is expected, and nothing may be held then.
    pub unread_before_arrival: SignedDuration,
    /// But nobody is called before a copy or a hold has waited this long; because of a home's notice that a version is not to be used any
    /// more they are then.
    pub grace: SignedDuration,
    /// Time between two steps of an escalation.
    pub step: SignedDuration,
    /// Something must have said that a copy arrived within this.
    pub receipt: SignedDuration,
    /// A copy that arrived must be acknowledged within this; and a practice or a pharmacy must have opened within this, of when it was made,
    /// a notice that a version is not to be used any more.
    pub acknowledgement: SignedDuration,
    /// A copy may wait to be sent for so long.
    pub queued: SignedDuration,
    /// A home is told of each copy that waits for it.
    pub tell_homes: bool,
}

/// Something that needs a person now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// What.
    pub kind: AlertKind,
    /// Step of the escalation, from 1: the coordinator, the home, the ward; of a hold the ward, whoever runs the gateway, both.
    pub step: u32,
    /// The transfer; none where it is about a subscription, background work, the mailbox or an organisation.
    pub transfer: Option<TransferId>,
    /// Who sent it, whose subscription it is, or, of background work, the mailbox and an organisation, the gateway's own.
    pub sender: OdsCode,
    /// The copy.
    pub delivery: Option<DeliveryId>,
    /// Its recipient, or the organisation that it is about.
    pub recipient: Option<OdsCode>,
    /// The hold.
    pub hold: Option<HoldId>,
    /// The subscription.
    pub subscription: Option<Uuid>,
    /// Which background work falls, and how often it has; of an older version's alert nobody knows.
    pub work: Option<String>,
    /// Since when it is so.
    pub since: Timestamp,
}

/// What a concern is about that is about an organisation: a name made of its code.
#[must_use]
pub fn about_organisation(organisation: &OdsCode) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, organisation.as_str().as_bytes())
}

impl Concern {
    /// What it is about: the hold, else the copy, else the transfer, else the subscription, else the organisation; nil of background work
    /// and of the mailbox, which are one each.
    #[must_use]
    pub fn subject(&self) -> Uuid {
        let hold = self.hold.map(|id| id.0);
        let copy = self.delivery.map(|id| id.0);
        let transfer = self.transfer.map(|id| id.0);
        let organisation = || self.recipient.as_ref().map(about_organisation);
        hold.or(copy).or(transfer).or(self.subscription).or_else(organisation).unwrap_or_default()
    }
}

/// One person or team to be told. Its `Debug` leaves the address out.
#[derive(Clone, PartialEq, Eq)]
pub struct NewNotification {
    /// Its identifier.
    pub id: Uuid,
    /// Whom.
    pub contacted: Contacted,
    /// How.
    pub channel: Channel,
    /// E-mail address, or URL.
    pub address: String,
}

impl fmt::Debug for NewNotification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewNotification")
            .field("contacted", &self.contacted)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// A concern that is about to be raised.
#[derive(Debug, Clone)]
pub struct NewAlert {
    /// Its identifier.
    pub id: Uuid,
    /// What it is about.
    pub concern: Concern,
    /// When.
    pub at: Timestamp,
    /// Who is to be told.
    pub notifications: Vec<NewNotification>,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// Who was told, or is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Whom.
    pub contacted: Contacted,
    /// How.
    pub channel: Channel,
    /// How far that has come.
    pub state: NotificationState,
}

/// An open alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What it is about.
    pub concern: Concern,
    /// When it was raised.
    pub raised: Timestamp,
    /// Who was told.
    pub told: Vec<Told>,
}

/// A notification that was taken to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueNotification {
    /// It.
    pub notification: NewNotification,
    /// What it tells.
    pub concern: Concern,
    /// This attempt's number, from 1; only its holder can end it.
    pub attempt: u32,
}

/// What became of an attempt to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotificationOutcome {
    /// It was taken.
    Sent,
    /// To be tried again at this moment.
    Again(Timestamp),
    /// Given up; these are told instead.
    Failed(Vec<NewNotification>),
}

/// The end of an attempt to tell somebody, to be committed with its audit.
#[derive(Debug, Clone)]
pub struct NotificationEnd {
    /// The notification.
    pub id: Uuid,
    /// The attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// What became of it.
    pub outcome: NotificationOutcome,
    /// The audit rows.
    pub audit: Vec<AuditRow>,
}

/// Alerts and the notifications that tell of them.
#[async_trait]
pub trait AlertStore: Send + Sync + 'static {
    /// What needs a person at `now` and is not raised yet: of holds and copies at most 200, the longest first, notices and what practices
    /// and pharmacies declined after the others; then of subscriptions, as many, likewise. What has been so for more than 30 days is history.
    async fn concerns(&self, now: Timestamp, deadlines: Deadlines) -> Result<Vec<Concern>, StoreError>;
    /// Raises an alert with its notifications and audit; `false`, with nothing written, when another node was faster.
    async fn raise_alert(&self, alert: NewAlert) -> Result<bool, StoreError>;
    /// Clears the alerts of what is over at `now`, and drops the notifications that nobody has sent yet. Gives how many.
    async fn settle_alerts(&self, now: Timestamp) -> Result<u64, StoreError>;
    /// Clears what is open of this kind about this subject, where nothing that is stored tells that it is over, and drops the notifications
    /// that nobody has sent yet; whether anything was.
    async fn clear_alert(&self, kind: AlertKind, subject: Uuid, at: Timestamp) -> Result<bool, StoreError>;
    /// Takes up to 200 notifications that are due at `now`. Nobody else gets them before `again`; whoever takes one and dies
    /// leaves it due then.
    async fn take_notifications(&self, now: Timestamp, again: Timestamp) -> Result<Vec<DueNotification>, StoreError>;
    /// Ends an attempt; `false`, with nothing written, when it is no longer the caller's.
    async fn end_notification(&self, end: NotificationEnd) -> Result<bool, StoreError>;
    /// Open alerts, the oldest first.
    async fn alerts(&self) -> Result<Vec<Alert>, StoreError>;
    /// Open alerts by kind; kinds without any are left out.
    async fn alert_counts(&self) -> Result<Vec<(AlertKind, u64)>, StoreError>;
}
