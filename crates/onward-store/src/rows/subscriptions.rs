//! Rows about who wants to be called.

use onward_core::store::subscriptions::Subscription;
use onward_core::{DeliveryId, TransferId};

use crate::columns::{Columns, Corrupt};

/// Of a row with the columns of a subscription.
pub(crate) fn subscription(columns: &Columns<'_>) -> Result<Subscription, Corrupt> {
    Ok(Subscription {
        id: columns.parsed("id")?,
        client_id: columns.get("client")?,
        criteria: columns.get("criteria")?,
        endpoint: columns.get("endpoint")?,
        ends: columns.moment_opt("ends")?,
        status: columns.parsed("status")?,
        error: columns.get("error")?,
        version: columns.count("version")?,
        created: columns.moment("created")?,
        changed: columns.moment("changed")?,
        told: columns.count("told")?,
        failures: columns.count("failures")?,
        next_call: columns.moment_opt("next_call")?,
        failing_since: columns.moment_opt("failing_since")?,
    })
}

/// Of a row of [`crate::query::subscriptions::CHANGED_TASKS`].
pub(crate) fn changed(columns: &Columns<'_>) -> Result<(TransferId, Option<DeliveryId>), Corrupt> {
    Ok((columns.parsed("transfer")?, columns.parsed_opt("delivery")?))
}
