//! When a copy becomes a person's task: time alone decides, since it was made or a person sent it again, without the time for which it or
//! everybody was paused. What its partner asks for (`Retry-After`) does not put that off, and a copy whose endpoint is left alone needs no
//! attempt of its own.

use jiff::{SignedDuration, Timestamp};
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::cause::ENDPOINT_SILENT;
use onward_core::state::TransportKind;
use onward_core::store::{DeliveryRecord, GivenUp, Overdue, StoreError};

use crate::Gateway;
use crate::pausing::Pauses;

/// Copies that are looked at together: those that a pause held back must not hide the others.
const PART: u32 = 5_000;
/// Copies that are given up together, a commit each: the leases of what is being sent are renewed in between.
const AT_ONCE: usize = 100;

/// Why it is given up, as its record tells.
pub(super) fn told(after: SignedDuration, reason: &str) -> String {
    format!("given up after {} hours: {reason}", after.as_hours())
}

impl Gateway {
    /// Whether a copy has waited for so long. Where that cannot be read it is tried on.
    pub(super) async fn is_given_up(&self, record: &DeliveryRecord, now: Timestamp, after: SignedDuration) -> bool {
        if now.duration_since(record.created) < after {
            return false;
        }
        let waited = async {
            let Some(queued) = self.store.queued_since(record.id).await? else { return Ok(SignedDuration::ZERO) };
            if now.duration_since(queued) < after {
                return Ok(SignedDuration::ZERO);
            }
            let pauses = Pauses::since(self.store.as_ref(), queued).await?;
            Ok::<_, StoreError>(now.duration_since(queued) - pauses.paused(&record.recipient, queued, now))
        };
        match waited.await {
            Ok(waited) => waited >= after,
            Err(error) => {
                tracing::error!(%error, delivery = %record.id, "since when a copy waits could not be read");
                false
            }
        }
    }

    /// Gives up what waits for endpoints that do not answer and has waited long enough; only probes are sent there, and they are few.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub(super) async fn give_up_waiting(&self, now: Timestamp) -> Result<(), StoreError> {
        let open = self.breakers.take_looks(now);
        for kind in [TransportKind::Https, TransportKind::Mesh] {
            let endpoints: Vec<_> = open.iter().filter(|endpoint| endpoint.kind() == kind).cloned().collect();
            let after = self.settings.schedule(kind).give_up_after;
            let Some(before) = now.checked_sub(after).ok().filter(|_| !endpoints.is_empty()) else { continue };
            let waiting = self.store.overdue(endpoints, before, PART).await?;
            let Some(oldest) = waiting.iter().map(|each| each.queued).min() else { continue };
            let pauses = Pauses::since(self.store.as_ref(), oldest).await?;
            let waited =
                |each: &Overdue| now.duration_since(each.queued) - pauses.paused(&each.recipient, each.queued, now);
            for each in waiting.iter().filter(|each| waited(each) >= after).take(AT_ONCE) {
                match self.store.delivery(each.delivery).await {
                    Ok(Some(record)) => self.give_up(&record, now, after).await?,
                    Ok(None) => {}
                    // Others are given up all the same.
                    Err(error) => {
                        tracing::error!(%error, delivery = %each.delivery, "a copy that waits could not be read")
                    }
                }
            }
        }
        Ok(())
    }

    async fn give_up(&self, record: &DeliveryRecord, now: Timestamp, after: SignedDuration) -> Result<(), StoreError> {
        let reason = told(after, record.reason.as_deref().unwrap_or(ENDPOINT_SILENT));
        let entry = AuditEntry {
            success: false,
            transfer: Some(record.transfer),
            delivery: Some(record.id),
            recipient: Some(record.recipient.clone()),
            patient: record.patient.clone(),
            ..AuditEntry::new(AuditWord::DeliveryFailed, now, Agent::gateway(), reason.clone())
        };
        let given_up = GivenUp {
            delivery: record.id,
            expected_version: record.version,
            reason,
            at: now,
            audit: vec![self.journal.row(&entry)],
        };
        if self.store.give_up(given_up).await? {
            let (delivery, recipient) = (record.id, &record.recipient);
            tracing::error!(%delivery, %recipient, "a copy is given up unsent: its endpoint does not answer");
        }
        Ok(())
    }
}
