//! Leases copies, sends them with no transaction open, and commits attempt and audit together.

mod addressee;
mod answered;
mod giving_up;
mod lasting;
mod running;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onward_core::TRACES;
use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord, Basis};
use onward_core::directory::Endpoint;
use onward_core::state::{DeliveryState, RecipientKind, TransportKind};
use onward_core::store::{
    AttemptEnd, AttemptOutcome, DeliveryRecord, Intent, Lease, Outgoing, Parking, Placing, StoreError, Telling,
};
use onward_core::transport::{Outbound, SendError, Sent, Transport};
use tokio::sync::watch;
use tracing::Instrument as _;
use tracing::field::Empty;

use self::running::Running;
use crate::Gateway;
use crate::contents::Leaving;

/// How long an idle dispatcher waits before it looks again without having been woken.
const IDLE: Duration = Duration::from_millis(500);
/// Copies placed into inboxes in one round, as many as fill a commit.
const PLACED_AT_ONCE: u32 = 64;
/// Attempts of which nothing can be told before a person must look.
const UNTOLD_MAX: u32 = 3;

impl Gateway {
    /// Sends what is due until `stop` turns true; then ends what has begun. Woken by every acceptance. When the store cannot claim or
    /// complete, it is asked again; what was sent meanwhile keeps its lease, as far as that can be renewed.
    pub async fn dispatch_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut running = Running::of(&self);
        let mut well = true;
        loop {
            let stopping = *stop.borrow();
            if stopping && running.is_empty() {
                return;
            }
            // Before anything is begun: what is sent keeps its lease, and what could not be committed comes first.
            let renewed = running.renew().await;
            let begun = if stopping || renewed.is_err() || running.has_ended() { Ok(0) } else { running.fill().await };
            let goes_on = matches!(begun, Ok(1..)) || well && running.has_ended();
            if !goes_on {
                tokio::select! {
                    () = running.next_end() => {}
                    () = self.work.notified(), if well && !stopping => {}
                    () = tokio::time::sleep(IDLE) => {}
                    _ = stop.wait_for(|stop| *stop), if !stopping => {}
                }
            }
            running.gather().await;
            let errors = [renewed.err(), begun.err(), running.complete().await.err()];
            well = errors.iter().all(Option::is_none);
            for error in errors.into_iter().flatten() {
                tracing::error!(%error, "due copies could not be claimed, renewed or completed");
            }
        }
    }

    /// One round: begins what is due, waits for all of it, commits the ends. Gives the number of copies handled.
    ///
    /// # Errors
    /// When the store cannot claim or complete; leases then expire and the copies are sent again.
    pub async fn dispatch_due(&self) -> Result<usize, StoreError> {
        let mut running = Running::of(self);
        let handled = running.fill().await?;
        running.all().await;
        running.complete().await?;
        Ok(handled)
    }

    /// Places copies that are due into their recipients' inboxes: nothing of them leaves before somebody reads it. The number.
    async fn place(&self, now: Timestamp) -> Result<usize, StoreError> {
        let journal = self.journal.clone();
        let told = Telling::new(move |copy| {
            let state = DeliveryState::AwaitingCollection;
            let entry = attempt_entry(copy, now, &AttemptOutcome::Sent { state, reference: None }, None);
            vec![journal.row(&entry)]
        });
        let placed = self.store.place(Placing { now, limit: PLACED_AT_ONCE, told }).await?;
        for copy in &placed {
            let attempt = copy.attempts.saturating_add(1);
            let outcome = DeliveryState::AwaitingCollection.as_str();
            attempt_span(copy, attempt).record("onward.outcome", outcome);
            tell_attempt(copy, attempt, outcome);
        }
        Ok(placed.len())
    }

    /// What leaves this machine about a person is told before it does, so that a node that is killed while it sends has said so.
    fn intent(&self) -> Intent {
        let (journal, clock, reader) = (self.journal.clone(), Arc::clone(&self.clock), Arc::clone(&self.reader));
        Intent::new(move |lease| {
            let record = &lease.delivery;
            let transport = record.endpoint.kind();
            let outgoing = lease.outgoing.as_ref().filter(|_| record.kind != RecipientKind::Sender);
            let Some(outgoing) = outgoing else { return Vec::new() };
            let detail = format!("attempt {} by {transport}, as {}", lease.attempt, record.kind);
            let leaving = reader.of(&outgoing.media_type, &outgoing.body);
            vec![journal.row(&AuditEntry {
                transfer: Some(record.transfer),
                delivery: Some(record.id),
                recipient: Some(record.recipient.clone()),
                patient: record.patient.clone(),
                basis: Some(Basis::care(&record.basis)),
                content_sha256: Some(leaving.sha256),
                contents: Some(leaving.contents),
                ..AuditEntry::new(AuditWord::Intend, clock.now(), Agent::gateway(), detail)
            })]
        })
    }

    /// What is told of a copy that was due and cannot be read. Nothing of it has left, and about whom it is may be what is damaged.
    fn parking(&self) -> Parking {
        let (journal, clock) = (self.journal.clone(), Arc::clone(&self.clock));
        let (bare_journal, bare_clock) = (self.journal.clone(), Arc::clone(&self.clock));
        let failed = |at, reason: &str| AuditEntry {
            success: false,
            ..AuditEntry::new(AuditWord::DeliveryFailed, at, Agent::gateway(), reason.to_owned())
        };
        Parking::new(move |parked| {
            vec![journal.row(&AuditEntry {
                transfer: parked.transfer,
                delivery: parked.delivery,
                recipient: parked.recipient.clone(),
                ..failed(clock.now(), &parked.reason)
            })]
        })
        // What is read of a damaged row may be what the first rule falls over.
        .or(move |parked| {
            let told = "a copy was unreadable in the store, and left to a person";
            vec![bare_journal.row(&AuditEntry { delivery: parked.delivery, ..failed(bare_clock.now(), told) })]
        })
    }

    /// One attempt, told as a trace where anything is traced.
    async fn attempt(&self, lease: &Lease) -> AttemptEnd {
        let span = attempt_span(&lease.delivery, lease.attempt);
        let end = self.attempt_once(lease).instrument(span.clone()).await;
        span.record("onward.outcome", outcome_word(&end.outcome));
        end
    }

    async fn attempt_once(&self, lease: &Lease) -> AttemptEnd {
        let record = &lease.delivery;
        let sent = match &lease.outgoing {
            Some(outgoing) => self.send(lease, outgoing).await,
            None => Ok(Sent::AwaitingCollection),
        };
        let at = self.clock.now();
        self.note_health(record, &sent);
        let outcome = self.outcome(lease, sent).await;
        let audit = vec![self.journal.row(&self.attempt_entry(lease, &outcome))];
        tell_attempt(record, lease.attempt, outcome_word(&outcome));
        AttemptEnd { delivery: record.id, token: lease.token, outcome, at, audit }
    }

    async fn send(&self, lease: &Lease, outgoing: &Outgoing) -> Result<Sent, SendError> {
        let record = &lease.delivery;
        let routed = matches!(record.endpoint, Endpoint::GpRouting { .. });
        let outbound = Outbound {
            delivery: record.id,
            attempt: lease.attempt,
            recipient: record.recipient.clone(),
            kind: record.kind,
            endpoint: record.endpoint.clone(),
            media_type: outgoing.media_type.clone(),
            body: outgoing.body.clone(),
            workflow: lease.workflow.clone(),
            replay: record.replay.is_some(),
            addressee: routed.then(|| addressee::addressee(&outgoing.body)).flatten(),
        };
        match self.transport(record.endpoint.kind()) {
            Some(transport) => match transport.send(&outbound).await {
                Ok(Sent::Answered(answer)) => {
                    answered::understood(record.correlation_id.as_deref(), lease.attempt, &answer)
                }
                sent => sent,
            },
            None => Err(SendError::Permanent {
                reason: format!("no {} transport is configured on this gateway", record.endpoint.kind()),
            }),
        }
    }

    /// The end of an attempt in which this gateway itself failed (a panic), or that was not begun because it could not say what would
    /// leave. What was begun is a person's, for it may have arrived, and the next one would end so too. What was not is tried again a few
    /// times: another node, of another version perhaps, may be able to. Nothing of the content is read for its entry, in case that was it.
    fn broken_off(&self, lease: &Lease) -> AttemptEnd {
        let (record, now) = (&lease.delivery, self.clock.now());
        let reason = match (lease.told, lease.attempt) {
            (true, _) => "the attempt broke off by a fault of this gateway; it may have arrived",
            (false, 1) => "the attempt was not begun, by a fault of this gateway; nothing of it has left",
            (false, _) => {
                "the attempt was not begun, by a fault of this gateway; nothing of it has left, but an earlier one may have arrived"
            }
        };
        tracing::error!(delivery = %record.id, attempt = lease.attempt, reason, "a fault of this gateway");
        let reason = reason.to_owned();
        let is_tried_again = !lease.told && lease.attempt < UNTOLD_MAX;
        let word = if is_tried_again { AuditWord::AttemptFailed } else { AuditWord::DeliveryFailed };
        let row = self.unread_row(lease, word, &reason);
        let outcome = match is_tried_again {
            true => {
                let schedule = self.settings.schedule(record.endpoint.kind());
                AttemptOutcome::Retry { at: schedule.next_attempt(record.id, lease.attempt, now, None), reason }
            }
            false => AttemptOutcome::Failed { reason },
        };
        AttemptEnd { delivery: record.id, token: lease.token, outcome, at: now, audit: vec![row] }
    }

    /// The end of an attempt whose lease was over before anything was sent: whoever claims the copy next finds it as it is by then.
    fn not_begun(&self, lease: &Lease) -> AttemptEnd {
        let (record, now) = (&lease.delivery, self.clock.now());
        let reason = "the attempt was not begun, for its lease was over by then; nothing of it has left".to_owned();
        tracing::warn!(delivery = %record.id, attempt = lease.attempt, reason, "this gateway was held up");
        let audit = vec![self.unread_row(lease, AuditWord::AttemptFailed, &reason)];
        let outcome = AttemptOutcome::Retry { at: now, reason };
        AttemptEnd { delivery: record.id, token: lease.token, outcome, at: now, audit }
    }

    /// The entry of an attempt by which nothing is known to have left, of whose content nothing is read.
    fn unread_row(&self, lease: &Lease, word: AuditWord, reason: &str) -> AuditRow {
        let record = &lease.delivery;
        self.journal.row(&AuditEntry {
            success: false,
            transfer: Some(record.transfer),
            delivery: Some(record.id),
            recipient: Some(record.recipient.clone()),
            patient: record.patient.clone().filter(|_| record.kind != RecipientKind::Sender),
            content_sha256: lease.outgoing.as_ref().map(|outgoing| crate::sha256_hex(&outgoing.body)),
            ..AuditEntry::new(word, self.clock.now(), Agent::gateway(), reason)
        })
    }

    /// Whether the endpoint answers; a refusal of one copy is an answer too. The inbox is our own.
    fn note_health(&self, record: &DeliveryRecord, sent: &Result<Sent, SendError>) {
        if record.endpoint.kind() == TransportKind::Inbox {
            return;
        }
        let schedule = self.settings.schedule(record.endpoint.kind());
        match sent {
            Ok(_) | Err(SendError::Permanent { .. }) => {
                if self.breakers.answered(&record.endpoint) {
                    tracing::info!(recipient = %record.recipient, "an endpoint answers again");
                }
            }
            Err(error) => {
                let wait = schedule.capped(retry_after(error));
                if self.breakers.failed(&record.endpoint, self.clock.now(), wait) {
                    let transport = record.endpoint.kind();
                    tracing::error!(recipient = %record.recipient, %transport, "an endpoint does not answer; its copies wait");
                }
            }
        }
    }

    async fn outcome(&self, lease: &Lease, sent: Result<Sent, SendError>) -> AttemptOutcome {
        let now = self.clock.now();
        let responses_end_here = !lease.delivery.acknowledgement_awaited;
        match sent {
            Ok(Sent::AwaitingCollection) => {
                AttemptOutcome::Sent { state: DeliveryState::AwaitingCollection, reference: None }
            }
            // A response to the sender awaits nothing: handing it over completes it.
            Ok(Sent::HandedOver { reference } | Sent::Received { reference }) if responses_end_here => {
                AttemptOutcome::Sent { state: DeliveryState::Completed, reference }
            }
            // Read before this: what is left is an answer that nobody could read, to something that was taken.
            Ok(Sent::Answered(_)) => AttemptOutcome::Sent { state: DeliveryState::Sent, reference: None },
            Ok(Sent::HandedOver { reference }) => AttemptOutcome::Sent { state: DeliveryState::Sent, reference },
            Ok(Sent::Received { reference }) => AttemptOutcome::Sent { state: DeliveryState::Received, reference },
            Err(SendError::Permanent { reason }) => AttemptOutcome::Failed { reason },
            Err(error @ (SendError::Transient { .. } | SendError::Unknown { .. })) => {
                let schedule = self.settings.schedule(lease.delivery.endpoint.kind());
                let reason = error.to_string();
                if self.is_given_up(&lease.delivery, now, schedule.give_up_after).await {
                    return AttemptOutcome::Failed { reason: giving_up::told(schedule.give_up_after, &reason) };
                }
                let at = schedule.next_attempt(lease.delivery.id, lease.attempt, now, retry_after(&error));
                AttemptOutcome::Retry { at, reason }
            }
        }
    }

    fn attempt_entry(&self, lease: &Lease, outcome: &AttemptOutcome) -> AuditEntry {
        // From the inbox nothing has left before it is read.
        let leaving = lease.outgoing.as_ref().map(|outgoing| self.reader.of(&outgoing.media_type, &outgoing.body));
        attempt_entry(&lease.delivery, self.clock.now(), outcome, leaving)
    }

    /// An attempt whose lease had passed to another worker ended all the same: what it disclosed is told, and changes nothing. After a
    /// commit whose answer was lost nobody knows which.
    fn late_end(&self, lease: &Lease, outcome: &AttemptOutcome, doubtful: bool) -> AuditRow {
        let mut entry = self.attempt_entry(lease, outcome);
        entry.detail.push_str("; it ended after its lease had passed to another worker");
        if doubtful {
            entry.detail.push_str(", or is told already by a commit whose answer was lost");
        }
        self.journal.row(&entry)
    }

    pub(crate) fn transport(&self, kind: TransportKind) -> Option<&Arc<dyn Transport>> {
        self.transports.iter().find(|transport| transport.kind() == kind)
    }
}

/// An attempt that may have reached the partner is a disclosure, whatever its outcome.
fn attempt_entry(
    record: &DeliveryRecord,
    now: Timestamp,
    outcome: &AttemptOutcome,
    leaving: Option<Leaving>,
) -> AuditEntry {
    // A response to the sender carries nothing about a person.
    let discloses = record.kind != RecipientKind::Sender;
    let as_disclosure = |word| if discloses { word } else { AuditWord::Respond };
    let (word, success, detail) = match outcome {
        AttemptOutcome::Sent { state: DeliveryState::AwaitingCollection, .. } => {
            (AuditWord::Disclose, true, "placed in the recipient's inbox; nothing has left yet".to_owned())
        }
        AttemptOutcome::Sent { reference, .. } => {
            let reference = reference.as_deref().unwrap_or("none");
            (AuditWord::Disclose, true, format!("attempt {}; partner's reference {reference}", record.attempts))
        }
        AttemptOutcome::Retry { reason, .. } => (AuditWord::AttemptFailed, false, reason.clone()),
        AttemptOutcome::Failed { reason } => (AuditWord::DeliveryFailed, false, reason.clone()),
    };
    let detail = match &record.replay {
        Some(why) => format!("replay ({why}): {detail}"),
        None => detail,
    };
    AuditEntry {
        success,
        transfer: Some(record.transfer),
        delivery: Some(record.id),
        recipient: Some(record.recipient.clone()),
        patient: record.patient.clone().filter(|_| discloses),
        basis: discloses.then(|| Basis::care(&record.basis)),
        content_sha256: leaving.as_ref().map(|leaving| leaving.sha256.clone()),
        contents: leaving.filter(|_| discloses).map(|leaving| leaving.contents),
        ..AuditEntry::new(as_disclosure(word), now, Agent::gateway(), detail)
    }
}

/// The trace of an attempt.
fn attempt_span(record: &DeliveryRecord, attempt: u32) -> tracing::Span {
    tracing::info_span!(
        target: TRACES, "attempt", otel.name = "deliver", otel.kind = "client", onward.delivery = %record.id,
        onward.recipient = %record.recipient, onward.kind = %record.kind,
        onward.transport = %record.endpoint.kind(), onward.attempt = attempt, onward.outcome = Empty,
    )
}

fn tell_attempt(record: &DeliveryRecord, attempt: u32, outcome: &str) {
    tracing::info!(
        delivery = %record.id, kind = %record.kind, recipient = %record.recipient, attempt, outcome, "attempt"
    );
}

pub(crate) fn retry_after(error: &SendError) -> Option<SignedDuration> {
    match error {
        SendError::Transient { retry_after_seconds, .. } => {
            retry_after_seconds.map(|seconds| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
        }
        _ => None,
    }
}

fn outcome_word(outcome: &AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Sent { state, .. } => state.as_str(),
        AttemptOutcome::Retry { .. } => "retry",
        AttemptOutcome::Failed { .. } => "failed",
    }
}
