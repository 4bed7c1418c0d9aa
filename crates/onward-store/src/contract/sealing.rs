//! What the tests of sealing share: messages that tell everything, and rings of keys.

use std::sync::Arc;

use onward_core::audit::{AuditRow, AuditWord};
use onward_core::state::RecipientKind;
use onward_core::store::{Acceptance, NewDelivery};

use super::{acceptance, delivery, row};
use crate::sealing::{KeyEncryption, KeyRing};

/// What must never stand in a file.
pub(crate) const CANARY: &str = "canary-of-a-person";

/// A message with something to be found in everything that could tell about a person.
pub(crate) fn telling(n: u32) -> Acceptance {
    let mut message = acceptance(n);
    message.transfer.body = format!("<body>{CANARY}</body>").into_bytes();
    message.transfer.response = format!("response {CANARY}").into_bytes();
    message.transfer.reply.sender_reference = Some(CANARY.to_owned());
    let copy = delivery(RecipientKind::CareHome, "VM1AB");
    message.deliveries = vec![NewDelivery {
        body: CANARY.as_bytes().to_vec(),
        html: Some(format!("<p>{CANARY}</p>").into_bytes()),
        disclosure: format!("{{\"disclosed\":\"{CANARY}\"}}"),
        ..copy
    }];
    message.audit = vec![AuditRow {
        event: format!("{{\"about\":\"{CANARY}\"}}").into_bytes(),
        patient: message.transfer.patient.clone(),
        ..row(AuditWord::Accept)
    }];
    message
}

/// The ring of this text.
pub(crate) fn ring(text: &str) -> Arc<dyn KeyEncryption> {
    Arc::new(KeyRing::from_text(text).expect("a ring"))
}

/// The text of a ring without its key `old`.
pub(crate) fn without_old(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("old = ")).map(|line| format!("{line}\n")).collect()
}
