//! Whether alerts, subscribers and the collector of traces can be reached, and whether what is posted can be signed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use onward_connect::secret::Secret;
use onward_connect::{smtp, webhook};

use super::Findings;
use crate::config::Config;

pub(super) fn alerts(config: &Config, findings: &mut Findings) {
    let alerts = &config.alerts;
    findings.positive("alerts.step_minutes", alerts.step_minutes);
    findings.positive("alerts.receipt_hours", alerts.receipt_hours);
    findings.positive("alerts.acknowledgement_hours", alerts.acknowledgement_hours);
    findings.positive("alerts.queued_hours", alerts.queued_hours);
    // A node that takes over the turn of another that died looks later than that would have.
    if u64::from(alerts.mailbox_minutes) * 60 <= 2 * u64::from(config.mesh.poll_seconds) {
        findings.error(
            "alerts.mailbox_minutes",
            "must be longer than twice mesh.poll_seconds: the mailbox is not looked into more often",
        );
    }
    match &alerts.webhook_url {
        Some(url) => {
            findings.reachable("alerts.webhook_url", config, url, false);
            if alerts.webhook_key_files.is_empty() {
                findings
                    .error("alerts.webhook_key_files", "not set: nothing is posted unsigned; see onward keys webhook");
            }
        }
        None if !alerts.webhook_key_files.is_empty() => {
            findings.warning("alerts.webhook_key_files", "not used: alerts.webhook_url is not set");
        }
        None => {}
    }
    signing_keys("alerts.webhook_key_files", &alerts.webhook_key_files, findings);
    mail(config, findings);
    if config.smtp.host.is_empty() && alerts.webhook_url.is_none() {
        findings.warning(
            "alerts",
            "nobody is told: set [smtp] or alerts.webhook_url. Alerts stand in the log, /metrics and `onward alerts`",
        );
    }
}

fn mail(config: &Config, findings: &mut Findings) {
    let (alerts, mail) = (&config.alerts, &config.smtp);
    findings.secret("smtp.password_file", mail.password_file.as_deref());
    findings.own("smtp.password_file", mail.password_file.as_deref(), false);
    findings.client_certificate(
        ["smtp.certificate_file", "smtp.key_file"],
        mail.certificate_file.as_deref(),
        mail.key_file.as_deref(),
    );
    if mail.password_file.is_some() == mail.user.is_empty() {
        findings.error("smtp.user", "user and password go together: one of them is not set");
    }
    if mail.host.is_empty() {
        if alerts.tell_homes {
            findings.error("alerts.tell_homes", "homes are told by e-mail: smtp.host is not set");
        }
        return;
    }
    findings.reachable_host("smtp.host", config, &mail.host, mail.port);
    if !smtp::is_address(&mail.from) {
        findings.error("smtp.from", "not an e-mail address: notifications need a sender");
    }
    if !smtp::is_address(&alerts.operations_email) {
        findings.error(
            "alerts.operations_email",
            "not an e-mail address: somebody must hear what has no address of its own",
        );
    }
    if alerts.wards.iter().any(|ward| !smtp::is_address(&ward.email)) {
        findings.error("alerts.wards", "an email is not an e-mail address");
    }
}

pub(super) fn push(config: &Config, findings: &mut Findings) {
    let mut hosts = BTreeSet::new();
    for push in &config.delivery.push {
        if !hosts.insert(push.host.to_ascii_lowercase()) {
            let text = format!("{} has two entries: put its token and its keys into one", push.host);
            findings.error("delivery.push", text);
        }
        findings.secret("delivery.push", push.bearer_token_file.as_deref());
        signing_keys("delivery.push", &push.signing_key_files, findings);
    }
}

pub(super) fn traces(config: &Config, findings: &mut Findings) {
    if let Some(traces) = &config.traces {
        findings.reachable("OTEL_EXPORTER_OTLP_ENDPOINT", config, &traces.endpoint, true);
    }
}

pub(super) fn hooks(config: &Config, findings: &mut Findings) {
    for hook in &config.delivery.hooks {
        findings.reachable("delivery.hooks", config, &hook.url, false);
        if hook.url.query().is_some() || hook.url.fragment().is_some() {
            let text =
                format!("the address for {} has a query or fragment: leave it out, subscriptions have none", hook.ods);
            findings.error("delivery.hooks", text);
        } else if !hook.url.path().ends_with('/') {
            let text = format!("the address for {} must end with a slash: what begins with it may be called", hook.ods);
            findings.error("delivery.hooks", text);
        }
    }
}

fn signing_keys(key: &'static str, files: &[PathBuf], findings: &mut Findings) {
    for file in files {
        findings.secret(key, Some(file));
        if Secret::from_file(file).is_ok_and(|secret| webhook::public_key(&secret).is_err()) {
            findings.error(key, format!("{}: {}", file.display(), webhook::NotASigningKey));
        }
    }
}
