//! A client's subscription: Subscription, as R4 has it.

use fhir_sdk::r4b::codes::{SubscriptionChannelType, SubscriptionStatus};
use fhir_sdk::r4b::resources::{Subscription, SubscriptionChannel};

use super::{AuthorError, parts};

/// What a Subscription says. Times are FHIR instants.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionContent {
    /// `id`.
    pub id: String,
    /// `meta.versionId`.
    pub version: String,
    /// `meta.lastUpdated`.
    pub last_updated: String,
    /// `status`, a FHIR code.
    pub status: String,
    /// `end`.
    pub end: Option<String>,
    /// `reason`.
    pub reason: String,
    /// `criteria`.
    pub criteria: String,
    /// `error`.
    pub error: Option<String>,
    /// `channel.endpoint`; the channel is a rest-hook without payload.
    pub endpoint: String,
}

/// A Subscription, JSON.
///
/// # Errors
/// When the status is no FHIR code, or a time is none.
pub fn subscription(content: &SubscriptionContent) -> Result<String, AuthorError> {
    let status: SubscriptionStatus = content.status.parse().map_err(|_| AuthorError::Code("Subscription.status"))?;
    let mut channel = SubscriptionChannel::builder()
        .r#type(SubscriptionChannelType::RestHook)
        .build()
        .expect("every mandatory element is set");
    channel.endpoint = Some(content.endpoint.clone());
    let mut subscription = Subscription::builder()
        .status(status)
        .reason(content.reason.clone())
        .criteria(content.criteria.clone())
        .channel(channel)
        .build()
        .expect("every mandatory element is set");
    let updated = parts::instant(&content.last_updated, "Subscription.meta.lastUpdated")?;
    subscription.id = Some(content.id.clone());
    subscription.meta = Some(parts::meta(Some(&content.version), Some(updated), None));
    subscription.end = parts::optional(content.end.as_deref(), |text| parts::instant(text, "Subscription.end"))?;
    subscription.error = content.error.clone();
    Ok(serde_json::to_string(&subscription).expect("the model serialises"))
}
