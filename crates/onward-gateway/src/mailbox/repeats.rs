//! A message that comes by MESH again: the hospital may never have had our answer, and MESH gives it none by itself. What was answered the
//! first time goes out again, labelled as a repeat; nothing else happens a second time.

use jiff::SignedDuration;
use onward_core::TransferId;
use onward_core::audit::Agent;
use onward_core::client::Client;
use onward_core::state::RecipientKind;
use onward_core::store::{Resend, StoreError};

use crate::Gateway;
use crate::holds::Decider;

/// An answer goes out again at most so often within [`WITHIN`]: two systems that answer each other by resending make no storm. One that
/// waits to be sent is not queued again at all.
const AGAIN_MAX: usize = 4;
const WITHIN: SignedDuration = SignedDuration::from_hours(1);

const WHY: &str = "the sender sent its message again, and may not have had this answer";

impl Gateway {
    /// Sends again what the sender of this transfer was answered.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub(super) async fn answer_again(&self, client: &Client, transfer: TransferId) -> Result<(), StoreError> {
        let Some(record) = self.store.transfer(transfer).await? else { return Ok(()) };
        let recently = self.clock.now().checked_sub(WITHIN).unwrap_or_default();
        for answer in record.deliveries.iter().filter(|copy| copy.kind == RecipientKind::Sender) {
            let replays = self.store.replays(answer.id).await?;
            if replays.iter().filter(|replay| replay.at > recently).count() >= AGAIN_MAX {
                tracing::warn!(%transfer, delivery = %answer.id, "a message comes again and again; its answer has gone out often enough");
                continue;
            }
            let agent = Agent::client(client);
            let decider = Decider { agent, by: &client.id, reason: WHY, act: true, request_id: None };
            self.resend(answer.id, Resend::Replay, &decider).await?;
        }
        Ok(())
    }
}
