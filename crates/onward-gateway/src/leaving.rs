//! A person leaves the home: whoever got a copy for the stay is told, so that registrations, deliveries and visits end.

use std::collections::BTreeSet;

use jiff::civil::Date;
use onward_core::state::{Departure, EndReason, RecipientKind};
use onward_core::store::{DeliveryRecord, NewDelivery, StoreError};
use onward_transform::render::dates;

use crate::Gateway;

/// Where somebody went, and when, in words; no name and no place.
pub(crate) fn told(to: Departure, on: Date) -> String {
    let to = match to {
        Departure::OwnHome => "To their own home",
        Departure::AnotherHome => "To another care home",
        Departure::Hospital => "To hospital",
        Departure::Elsewhere => "Elsewhere",
        Departure::Died => "The person died",
    };
    format!("{to}, on {}", dates::fhir(&on.to_string()))
}

impl Gateway {
    /// A notice for each practice and pharmacy that got a copy of the same transfer, once each. Whose copy was taken back is
    /// not told about the person any further.
    pub(crate) async fn leaving_notices(
        &self,
        of_home: &DeliveryRecord,
        to: Departure,
        on: Date,
    ) -> Result<Vec<NewDelivery>, StoreError> {
        let Some(transfer) = self.store.transfer(of_home.transfer).await? else { return Ok(Vec::new()) };
        let reason = format!("{}. The care home {} told so.", told(to, on), of_home.recipient_name);
        let mut seen = BTreeSet::new();
        let mut notices = Vec::new();
        for copy in transfer.copies().filter(|copy| copy.kind != RecipientKind::CareHome && copy.ended.is_none()) {
            if seen.insert(&copy.recipient) {
                notices.push(self.notice(copy, EndReason::LeftHome, &reason, Some(to)).await?);
            }
        }
        Ok(notices)
    }
}
