//! Who is told that a person must look, and by which ways.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::SignedDuration;
use onward_connect::https_push::HttpsPushConfig;
use onward_connect::secret::Secret;
use onward_connect::smtp::{Smtp, SmtpConfig};
use onward_connect::webhook::Webhook;
use onward_core::Clock;
use onward_core::store::alerts::Deadlines;
use onward_core::transport::Notifier;
use onward_gateway::alerts::Alerting;
use onward_gateway::subscriptions::HookAddress;

use super::{client_certificate, http, http_config};
use crate::config::{Config, HookHost};
use crate::traces;

/// When something becomes a person's business, and whom that is told, as configured.
#[must_use]
pub fn alerting(config: &Config) -> Alerting {
    let alerts = &config.alerts;
    let hours = |hours: u32| SignedDuration::from_hours(i64::from(hours));
    let minutes = |minutes: u32| SignedDuration::from_mins(i64::from(minutes));
    Alerting {
        deadlines: Deadlines {
            unread_before_arrival: hours(alerts.unread_hours_before_arrival),
            grace: minutes(alerts.grace_minutes),
            step: minutes(alerts.step_minutes),
            receipt: hours(alerts.receipt_hours),
            acknowledgement: hours(alerts.acknowledgement_hours),
            queued: hours(alerts.queued_hours),
            tell_homes: alerts.tell_homes,
        },
        mailbox: minutes(alerts.mailbox_minutes),
        operations: alerts.operations_email.clone(),
        wards: alerts.wards.iter().map(|ward| (ward.sender.clone(), ward.email.clone())).collect(),
        webhook: alerts.webhook_url.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// The ways that are set up.
///
/// # Errors
/// When a file or address cannot be used.
pub(super) fn notifiers(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Vec<Arc<dyn Notifier>>> {
    let mut notifiers: Vec<Arc<dyn Notifier>> = Vec::new();
    let smtp = &config.smtp;
    if !smtp.host.is_empty() {
        let credentials = match &smtp.password_file {
            Some(file) => Some((smtp.user.clone(), Secret::from_file(file).context("reading smtp.password_file")?)),
            None => None,
        };
        let (host, from) = (smtp.host.clone(), smtp.from.clone());
        let certificate = client_certificate(smtp.certificate_file.as_deref(), smtp.key_file.as_deref())?;
        let mail = Smtp::new(
            SmtpConfig { host, port: smtp.port, from, credentials },
            &http_config(config, certificate, None, false)?,
        );
        notifiers.push(Arc::new(mail.context("[smtp]")?));
    }
    if config.alerts.webhook_url.is_some() {
        let files = config.alerts.webhook_key_files.clone();
        anyhow::ensure!(!files.is_empty(), "alerts.webhook_key_files is not set: nothing is posted unsigned");
        notifiers.push(Arc::new(Webhook::new(http(config, None, None, false)?, files, Arc::clone(clock))));
    }
    Ok(notifiers)
}

/// What the hosts that copies are pushed to ask for.
pub(super) fn push(config: &Config) -> HttpsPushConfig {
    let hosts = || config.delivery.push.iter().map(|push| (push.host.to_ascii_lowercase(), push));
    HttpsPushConfig {
        traceparent: config.traces.as_ref().map(|_| traces::traceparent as fn() -> Option<String>),
        bearer_token_files: hosts().filter_map(|(host, push)| Some((host, push.bearer_token_file.clone()?))).collect(),
        signing_key_files: hosts()
            .filter(|(_, push)| !push.signing_key_files.is_empty())
            .map(|(host, push)| (host, push.signing_key_files.clone()))
            .collect(),
    }
}

/// The addresses that subscriptions may name.
pub(super) fn hooks(config: &Config) -> Vec<HookAddress> {
    let address = |hook: &HookHost| HookAddress { organisation: hook.ods.clone(), prefix: hook.url.to_string() };
    config.delivery.hooks.iter().filter(|hook| hook.url.path().ends_with('/')).map(address).collect()
}
