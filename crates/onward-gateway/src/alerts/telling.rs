//! Telling people and systems of what needs them: what is due is taken, grouped by address, and told side by side.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::SignedDuration;
use onward_core::Timestamp;
use onward_core::state::TransportKind;
use onward_core::store::StoreError;
use onward_core::store::alerts::{
    AlertKind, Channel, Concern, Contacted, DueNotification, NewNotification, NotificationEnd, NotificationOutcome,
};
use onward_core::transport::{SendError, Telling};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::{EVERY, notification};
use crate::Gateway;
use crate::dispatch::retry_after;

/// Whoever takes a notification and dies leaves it due again after this.
const TAKEN: SignedDuration = SignedDuration::from_secs(120);
/// No telling takes longer: it is ended then.
const ONE_TELLING: Duration = Duration::from_secs(50);
/// So long after they were taken a telling may begin, and the rest is left to the next look: its end must be kept before another
/// node may take them.
const BEGINS_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// Tellings of one way that run at once.
const AT_ONCE: usize = 4;
/// Attempts to tell somebody, before others are told instead: a few minutes apart, so most of a day.
const ATTEMPTS_MAX: u32 = 60;
/// The longest wait between two of them that nobody asks for, minutes.
const WAIT_MINUTES_MAX: u32 = 15;
/// How many tellings of each way run at once, so that what hangs delays nobody else.
struct Places {
    email: Semaphore,
    webhook: Semaphore,
}

impl Default for Places {
    fn default() -> Self {
        Self { email: Semaphore::new(AT_ONCE), webhook: Semaphore::new(AT_ONCE) }
    }
}

impl Places {
    /// Nothing more begins.
    fn close(&self) {
        self.email.close();
        self.webhook.close();
    }

    fn of(&self, channel: Channel) -> &Semaphore {
        match channel {
            Channel::Email => &self.email,
            Channel::Webhook => &self.webhook,
        }
    }
}

impl Gateway {
    /// Tells what is due until `stop` turns true; then ends what has begun. Woken by every look. What hangs, a mail
    /// server say, delays nothing else: each way to tell has places of its own, and what falls due meanwhile is taken all the same.
    pub async fn tell_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let places = Places::default();
        let mut running = FuturesUnordered::new();
        loop {
            let stopping = *stop.borrow();
            if stopping {
                // What was taken and has not begun falls due again, for whichever node is there.
                places.close();
            }
            if stopping && running.is_empty() {
                return;
            }
            if !stopping {
                match self.take_due().await {
                    Ok((taken, groups)) => {
                        running.extend(groups.into_iter().map(|group| self.tell_in_turn(group, taken, &places)));
                    }
                    Err(error) => tracing::error!(%error, "what is due to be told could not be read"),
                }
            }
            let mut look_again = std::pin::pin!(tokio::time::sleep(EVERY));
            loop {
                tokio::select! {
                    Some(()) = running.next(), if !running.is_empty() => {
                        if stopping && running.is_empty() {
                            break;
                        }
                    }
                    () = &mut look_again => break,
                    () = self.tellings.notified() => break,
                    _ = stop.wait_for(|stop| *stop), if !stopping => break,
                }
            }
        }
    }

    /// Tells what is due now, and ends when all of it is told.
    pub(super) async fn tell_due(&self) -> Result<(), StoreError> {
        let (places, (taken, groups)) = (Places::default(), self.take_due().await?);
        let mut running: FuturesUnordered<_> =
            groups.into_iter().map(|group| self.tell_in_turn(group, taken, &places)).collect();
        while running.next().await.is_some() {}
        Ok(())
    }

    /// Takes what is due, since when it is taken; what goes to the same address goes as one.
    async fn take_due(&self) -> Result<(Timestamp, Vec<Vec<DueNotification>>), StoreError> {
        let now = self.clock.now();
        let mut groups: BTreeMap<(&str, String, &str), Vec<DueNotification>> = BTreeMap::new();
        for due in self.store.take_notifications(now, now + TAKEN).await? {
            let new = &due.notification;
            let key = (new.channel.as_str(), new.address.clone(), new.contacted.as_str());
            groups.entry(key).or_default().push(due);
        }
        Ok((now, groups.into_values().collect()))
    }

    /// Tells a group when there is a place for it.
    async fn tell_in_turn(&self, group: Vec<DueNotification>, taken: Timestamp, places: &Places) {
        let Some(first) = group.first().map(|due| (due.notification.id, due.notification.channel)) else { return };
        let (id, channel) = first;
        let Ok(_place) = places.of(channel).acquire().await else { return };
        // What begins later might end after another node has taken them, and be told a second time: it falls due again.
        if self.clock.now().duration_since(taken) > BEGINS_WITHIN {
            return;
        }
        let count = group.len();
        // A fault of ours in one group hinders no other: it falls due again, and would stand before the same ones each time.
        let error = match AssertUnwindSafe(self.tell(group)).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a panic".to_owned(),
        };
        tracing::error!(%error, count, first = %id, "what is due could not be told, and is due again");
    }

    async fn tell(&self, group: Vec<DueNotification>) -> Result<(), StoreError> {
        let Some(first) = group.first() else { return Ok(()) };
        let (channel, contacted) = (first.notification.channel, first.notification.contacted);
        let telling = self.telling(first.notification.clone(), &group).await?;
        let told = match self.notifiers.iter().find(|notifier| notifier.channel() == channel) {
            Some(notifier) => within(ONE_TELLING, notifier.tell(&telling)).await,
            None => Err(SendError::Permanent { reason: format!("no {channel} is set up any more") }),
        };
        if let Err(error) = &told {
            tracing::error!(%error, %channel, %contacted, notification = %telling.id, "somebody could not be told");
        }
        for due in group {
            let (outcome, detail) = self.outcome_of_telling(&due, &told);
            let entry = self.notify_entry(&due.concern, told.is_ok(), detail).await?;
            let end = NotificationEnd {
                id: due.notification.id,
                attempt: due.attempt,
                at: self.clock.now(),
                outcome,
                audit: vec![self.journal.row(&entry)],
            };
            if !self.store.end_notification(end).await? {
                tracing::warn!(notification = %due.notification.id, "another node has told this meanwhile");
            }
        }
        Ok(())
    }

    fn outcome_of_telling(&self, due: &DueNotification, told: &Result<(), SendError>) -> (NotificationOutcome, String) {
        let DueNotification { notification: NewNotification { contacted, channel, address, .. }, concern, attempt } =
            due;
        let what = format!("{} (step {}): {contacted} ", concern.kind, concern.step);
        match told {
            Ok(()) => (NotificationOutcome::Sent, format!("{what}told by {channel}")),
            Err(error @ (SendError::Transient { .. } | SendError::Unknown { .. })) if *attempt < ATTEMPTS_MAX => {
                let asked = self.settings.schedule(TransportKind::Https).capped(retry_after(error));
                let again = NotificationOutcome::Again(self.clock.now() + waits(*attempt, asked));
                (again, format!("{what}not told by {channel} yet: {error}"))
            }
            Err(error) => {
                let operations = &self.settings.alerts.operations;
                let others = !operations.is_empty() && operations != address && concern.kind.is_trouble();
                let instead = (others && self.has(Channel::Email))
                    .then(|| notification(Contacted::Operations, Channel::Email, operations.clone()));
                (
                    NotificationOutcome::Failed(instead.into_iter().collect()),
                    format!("{what}not told by {channel}: {error}"),
                )
            }
        }
    }

    /// What is told. Identifiers and codes of organisations only.
    async fn telling(&self, to: NewNotification, group: &[DueNotification]) -> Result<Telling, StoreError> {
        let mut subjects: Vec<_> = group.iter().map(|due| headline(&due.concern)).collect();
        subjects.dedup();
        let mut text = String::new();
        let mut events = Vec::new();
        for due in group {
            let concern = &due.concern;
            let link = self.link(to.contacted, concern);
            let _ = write!(text, "{}.\n\n", headline(concern));
            if to.contacted != Contacted::Home && to.contacted != Contacted::Coordinator {
                let copy = concern.delivery.map(|id| format!(", copy {id}")).unwrap_or_default();
                let recipient = concern.recipient.as_ref().map(|ods| format!(", for {ods}")).unwrap_or_default();
                if let Some(transfer) = concern.transfer {
                    let _ = writeln!(text, "Transfer {transfer}{copy}, from {}{recipient}.", concern.sender);
                }
                if let Some(id) = concern.subscription {
                    let see = "`onward subscription list` says why";
                    let _ = writeln!(
                        text,
                        "Subscription {id} of {}: {see}; its owner must ask for it again.",
                        concern.sender
                    );
                }
                if concern.kind == AlertKind::DeliveryFailed && concern.delivery.is_none() {
                    let _ = writeln!(
                        text,
                        "A copy of it is unreadable in the store, its identifier too: `onward dead list` counts it, and the audit log of the \
                         transfer says where."
                    );
                }
                if concern.kind == AlertKind::ReplacementRefused {
                    let _ = writeln!(
                        text,
                        "Its sender has a newer version, which was refused here, and was told why: until that one comes, or this transfer is \
                         withdrawn, its recipients go on with the version that they have.{}",
                        match to.contacted {
                            Contacted::Operations => {
                                " The audit log has the refusal; `onward status` names the recipients. `onward alerts --over` ends this."
                            }
                            _ => "",
                        }
                    );
                }
                if concern.kind == AlertKind::BackgroundFallen {
                    let since = concern.since;
                    let _ = writeln!(
                        text,
                        "It has been so since {since}. It begins again each time; what it does is late. `/readyz` and \
                         `onward_background_faults_total` of each node name what falls, the log of the process where (`a panic`)."
                    );
                }
                if concern.kind == AlertKind::MailboxUnreadable {
                    let since = concern.since;
                    let _ = writeln!(
                        text,
                        "It has been so since {since}. `onward status` and the log of the process say more."
                    );
                }
                if let (AlertKind::OrganisationClosed, Some(ods)) = (concern.kind, &concern.recipient) {
                    let see = "`onward directory current` says what ODS says of it, and who comes after it";
                    let _ =
                        writeln!(text, "{ods}: {see}; its entry, or that of the home which names it, must be mended.");
                }
                if let (AlertKind::MailboxChanged, Some(ods)) = (concern.kind, &concern.recipient) {
                    let see =
                        format!("`onward directory mailbox {ods}` says where MESH finds it, workflow by workflow");
                    let _ = writeln!(
                        text,
                        "{ods}: {see}. What it gets goes to the mailbox of its entry all the same: ask the organisation which is right, and \
                         mend the entry, or name the code in [mesh] look_except."
                    );
                }
                for number in self.numbers(concern).await? {
                    let _ = writeln!(text, "Ring {number}");
                }
            }
            if let Some(link) = &link {
                let _ = writeln!(text, "Sign in to see it: {link}");
            }
            text.push('\n');
            events.push(json!({
                "kind": concern.kind, "step": concern.step, "since": concern.since, "transfer": concern.transfer,
                "delivery": concern.delivery, "hold": concern.hold, "subscription": concern.subscription, "work": concern.work,
                "sender": concern.sender, "recipient": concern.recipient, "link": link,
            }));
        }
        let _ = writeln!(text, "This message names no patient. It was sent by {}.", self.settings.own_name);
        let subject = match (subjects.as_slice(), group.len()) {
            ([one], 1) => one.clone(),
            ([one], count) => format!("{one} ({count})"),
            (_, count) => format!("{count} matters wait for somebody to look"),
        };
        let event = json!({ "type": "onward.alerts", "timestamp": self.clock.now(), "data": { "alerts": events } });
        Ok(Telling { id: name_of(group), address: to.address, subject, text, event: event.to_string() })
    }

    /// Where whoever is told finds it. A ward has no account here.
    fn link(&self, contacted: Contacted, concern: &Concern) -> Option<String> {
        let base = &self.settings.base_url;
        match (contacted, concern.delivery) {
            _ if !concern.kind.is_of_transfer() => None,
            (Contacted::Ward, _) => None,
            (Contacted::Home | Contacted::Coordinator, Some(copy)) => Some(format!("{base}/transfers/{copy}")),
            _ => Some(format!("{base}/operations")),
        }
    }
}

/// What became of a telling; one that takes longer is ended, and may have been taken all the same.
async fn within(limit: Duration, telling: impl Future<Output = Result<(), SendError>>) -> Result<(), SendError> {
    let too_long = |_| Err(SendError::Unknown { reason: format!("it took longer than {} s", limit.as_secs()) });
    tokio::time::timeout(limit, telling).await.unwrap_or_else(too_long)
}

/// Until the next attempt after this one, and as long as whoever is told asks for (`Retry-After`).
fn waits(attempt: u32, asked: Option<SignedDuration>) -> SignedDuration {
    let wait = SignedDuration::from_mins(i64::from(attempt.min(WAIT_MINUTES_MAX)));
    wait.max(asked.unwrap_or_default())
}

/// The name of what is told together: the same for the same matters, so that whoever gets it twice can see that, and another one where
/// something was added or is over.
fn name_of(group: &[DueNotification]) -> Uuid {
    let mut ids: Vec<Uuid> = group.iter().map(|due| due.notification.id).collect();
    ids.sort_unstable();
    match ids.as_slice() {
        [one] => *one,
        ids => {
            Uuid::new_v5(&Uuid::NAMESPACE_OID, ids.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<_>>().as_slice())
        }
    }
}

/// What it is in a line: of background work also which, when it was raised. One alert is open for all nodes, whatever falls later.
fn headline(concern: &Concern) -> String {
    match &concern.work {
        Some(work) => format!("{}: {work}, and perhaps more since (/readyz of each node tells)", subject(concern.kind)),
        None => subject(concern.kind).to_owned(),
    }
}

fn subject(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::Arrived => "Something from a hospital waits for you",
        AlertKind::UnreadBeforeArrival => "Somebody is coming from hospital, and the summary has not been read",
        AlertKind::DeliveryFailed => "A discharge could not be delivered",
        AlertKind::NotProcessed => "A discharge was not processed by the system that it was sent to",
        AlertKind::Declined => "A home has declined somebody who is coming from hospital",
        AlertKind::CareDeclined => {
            "A practice or pharmacy has declined its part for somebody who is coming from hospital"
        }
        AlertKind::NoticeUnread => "A summary is not to be used any more, and the notice has not been read",
        AlertKind::QueuedTooLong => "Discharges to one recipient wait to be sent longer than they may",
        AlertKind::HeldBeforeArrival => "Somebody is coming from hospital, and the summary waits for a decision",
        AlertKind::HoldOverdue => "A discharge waits for a decision longer than it may",
        AlertKind::ReceiptMissing => "Nothing has said that a discharge arrived",
        AlertKind::AcknowledgementMissing => "A discharge has not been acknowledged",
        AlertKind::SubscriptionFailed => "A system is not called any more when something comes",
        AlertKind::BackgroundFallen => "Background work of the gateway falls again and again",
        AlertKind::MailboxUnreadable => {
            "Our MESH mailbox cannot be read, has a message that cannot be collected, or one whose sender hears nothing of a refusal"
        }
        AlertKind::OrganisationClosed => "An organisation of the directory has closed, and nothing new is sent there",
        AlertKind::MailboxChanged => "MESH lists another mailbox for an organisation than the directory has",
        AlertKind::ReplacementRefused => {
            "A newer version of a discharge was refused, and the earlier one is still in use"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_time_to_be_told_again_has_it() {
        let minutes = |count| SignedDuration::from_mins(count);
        assert_eq!([1, 15, 40].map(|attempt| waits(attempt, None)), [1, 15, 15].map(minutes));
        assert_eq!([1, 15].map(|attempt| waits(attempt, Some(minutes(5)))), [5, 15].map(minutes));
    }

    #[tokio::test]
    async fn a_telling_that_does_not_end_is_ended_and_may_have_been_taken() {
        let ended = within(Duration::from_millis(1), std::future::pending()).await;
        assert!(matches!(ended, Err(SendError::Unknown { .. })), "{ended:?}");
        assert_eq!(within(ONE_TELLING, std::future::ready(Ok(()))).await, Ok(()));
        let (telling, begins) = (SignedDuration::try_from(ONE_TELLING).expect("in range"), BEGINS_WITHIN);
        assert!(begins + telling < TAKEN, "another node may take them from then on");
    }
}
