//! A version that waits goes along when its recipient receives elsewhere from now on. Whoever has an earlier one at the former address was to be told
//! by it, and gets a notice instead. So does whoever has one whose place was taken by another that never left.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use onward_core::DeliveryId;
use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord};
use onward_core::directory::Endpoint;
use onward_core::state::EndReason;
use onward_core::store::{DeliveryRecord, NoticeElsewhere, Readdressed, StoreError, ToldElsewhere};

use crate::Gateway;

/// Copies that are asked for at once.
const AT_ONCE: u32 = 500;
/// How long a round looks at them: alerts are raised in the same, and must not wait for an import that moved thousands.
const ROUND: Duration = Duration::from_secs(2);

impl Gateway {
    /// Tells whoever has an earlier version where the copy that took its place does not go. A round goes on where the one before left off, and begins
    /// anew behind the last: what others changed meanwhile, and what could not be told, is looked at again then.
    pub(crate) async fn tell_elsewhere(&self) -> Result<(), StoreError> {
        let found = self.store.readdressed(self.told_elsewhere.load(Ordering::Relaxed), AT_ONCE).await?;
        let (began, are_all) = (Instant::now(), found.len() as u64 != u64::from(AT_ONCE));
        for Readdressed { mark, copy } in found {
            self.told_elsewhere.store(mark, Ordering::Relaxed);
            match self.tell_of(mark, copy).await {
                Ok(()) | Err(StoreError::Overtaken) => {}
                // The others are told all the same.
                Err(error) => {
                    tracing::error!(%error, delivery = %copy, "an earlier version's address could not be told");
                }
            }
            if began.elapsed() >= ROUND {
                return Ok(());
            }
        }
        if are_all {
            self.told_elsewhere.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn tell_of(&self, mark: u64, id: DeliveryId) -> Result<(), StoreError> {
        let (notices, audit) = match self.store.delivery(id).await? {
            Some(copy) => self.notices_elsewhere(&copy).await?,
            None => (Vec::new(), Vec::new()),
        };
        let told = ToldElsewhere { mark, notices, at: self.clock.now(), audit };
        if self.store.tell_elsewhere(told).await? {
            self.work.notify_one();
        }
        Ok(())
    }

    /// A notice to each address that may have an earlier version of this copy, which does not go there, and was not told yet.
    async fn notices_elsewhere(
        &self,
        copy: &DeliveryRecord,
    ) -> Result<(Vec<NoticeElsewhere>, Vec<AuditRow>), StoreError> {
        let (mut notices, mut audit) = (Vec::new(), Vec::new());
        let Some(transfer) = self.store.transfer(copy.transfer).await? else { return Ok((notices, audit)) };
        let earlier = self.versions_before(transfer.replaces).await?;
        let told = earlier.iter().flat_map(|record| &record.deliveries);
        let told = told.filter_map(|copy| {
            Some((copy.notice.as_ref().filter(|notice| notice.why == EndReason::Superseded)?.of, &copy.endpoint))
        });
        let told: Vec<(DeliveryId, &Endpoint)> = told.collect();
        let is_its = |old: &&DeliveryRecord| {
            let superseded = old.ended.is_some_and(|ended| ended.why == EndReason::Superseded);
            superseded && (old.kind, &old.recipient) == (copy.kind, &copy.recipient)
        };
        let mut addresses: Vec<Endpoint> = Vec::new();
        let olds: Vec<(u32, &DeliveryRecord)> =
            earlier.iter().flat_map(|record| record.copies().filter(is_its).map(|old| (record.version, old))).collect();
        for (version, old) in olds {
            let reason =
                format!("version {} replaces version {version}: stop using version {version}", transfer.version);
            let went = self.went(old, EndReason::Superseded, &reason, &copy.endpoint).await?;
            for notice in went.notices {
                let address = notice.endpoint.clone();
                if addresses.contains(&address) {
                    continue;
                }
                let arrived = notice.endpoint == old.endpoint && self.store.has_arrived(old.id).await?;
                if !told.contains(&(old.id, &notice.endpoint)) {
                    audit.push(self.elsewhere_row(old, &reason, &address.told()));
                    notices.push(NoticeElsewhere { notice, named: arrived && old.patient.is_some() });
                }
                // Of the newest that they have; of what they may not have got, and what came before that.
                if arrived {
                    addresses.push(address);
                }
            }
        }
        Ok((notices, audit))
    }

    fn elsewhere_row(&self, old: &DeliveryRecord, reason: &str, address: &str) -> AuditRow {
        let detail = format!("{}: {reason}; told at {address}: the newer one goes elsewhere", EndReason::Superseded);
        self.journal.row(&AuditEntry {
            transfer: Some(old.transfer),
            delivery: Some(old.id),
            recipient: Some(old.recipient.clone()),
            patient: old.patient.clone(),
            ..AuditEntry::new(AuditWord::Withdraw, self.clock.now(), Agent::gateway(), detail)
        })
    }
}
