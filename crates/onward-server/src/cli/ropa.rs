//! `onward ropa`: the record of processing activities (UK GDPR Article 30) and an appendix for the impact assessment (Article
//! 35), written from the configuration in force, so that they cannot say what the gateway does not do.

use std::fmt::Write as _;

use clap::Args;
use onward_core::OdsCode;
use onward_core::state::RecipientKind;
use onward_gateway::routes::Decision;
use onward_transform::disclose::{Cell, Form, Policy, matrix};

use super::exit::{Exit, Failure, Outcome};
use super::open::ConfigArgs;
use super::output::Output;
use super::terminal::Terminal;
use crate::app;
use crate::config::{Config, PdsMode, StoreUrl, SyslogContent};
use crate::hardening::Hardening;

/// What only people know; no configuration says it.
const OPEN: &str = "*to be filled in*";

/// Prints the record of processing activities (UK GDPR Article 30), as Markdown, from the configuration in force
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward ropa --config gateway.toml --out record-of-processing.md
  onward ropa --dpia --config gateway.toml | diff dpia-appendix.md -

With --dpia: the data flows for the impact assessment (Article 35): who sends what to whom, and element by recipient. What no
configuration knows is marked *to be filled in*. Keep the file and compare it after every change.")]
pub struct Ropa {
    #[command(flatten)]
    config: ConfigArgs,
    /// The appendix for the data protection impact assessment instead
    #[arg(long)]
    dpia: bool,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
///
/// # Errors
/// When configuration, policies or routes cannot be used.
pub(super) fn run(command: &Ropa, terminal: &mut Terminal) -> Outcome {
    let config = command.config.load()?.config;
    let policies: Vec<_> = app::load_policies(&config).map_err(Failure::configuration)?.into_values().collect();
    let text = if command.dpia { appendix(&config, &policies)? } else { record(&config, &policies)? };
    command.output.write(text.as_bytes(), terminal)?;
    Ok(Exit::Done)
}

/// Text that stands in a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn named(config: &Config) -> String {
    let ods = config.identity.ods.as_ref().map_or(OPEN, |ods| ods.as_str());
    let name = if config.identity.name.is_empty() { OPEN } else { &config.identity.name };
    format!("{name} ({ods})")
}

/// Article 30(1) and (2).
fn record(config: &Config, policies: &[Policy]) -> Result<String, Failure> {
    let mut text = String::from(
        "# Record of processing activities\n\nWritten by `onward ropa` from the configuration in force.\n\n",
    );
    let mut section = |article: &str, title: &str, lines: &[String]| {
        let _ = write!(text, "## {title} (Article {article})\n\n");
        lines.iter().for_each(|line| {
            let _ = writeln!(text, "- {line}");
        });
        text.push('\n');
    };
    section(
        "30(1)(a)",
        "Who",
        &[
            format!("Who runs the gateway: {}", named(config)),
            format!("Contact: {OPEN}"),
            format!("Data protection officer: {OPEN}"),
            format!("Controller, joint controller or processor for the hospitals, and by which agreement: {OPEN}"),
        ],
    );
    section(
        "30(1)(b)",
        "Purpose",
        &[
            "A hospital's transfer-of-care message reaches those who go on caring for the person: direct care"
                .to_owned(),
            "Evidence of who received and saw what: accountability (Article 5(2))".to_owned(),
        ],
    );
    section("30(1)(c)", "Whose data, and which", &[
        "People discharged from hospital to a care home, and those whom their documents name: relatives, professionals".to_owned(),
        "Health data (Article 9): whatever a discharge document holds; each recipient's part is in the appendix (`--dpia`)".to_owned(),
        "Staff who sign in: name, e-mail address, organisation, role, credentials, what they did, and the address that each request came from".to_owned(),
    ]);
    section("30(1)(d)", "Recipients", &recipients(config, policies)?);
    section("30(1)(e)", "Transfers to third countries", &transfers(config));
    section("30(1)(f)", "Time limits for erasure", &limits(config));
    section("30(1)(g)", "Technical and organisational measures", &measures(config));
    Ok(text.trim_end().to_owned() + "\n")
}

/// Per class, as `[retention]` has it.
fn limits(config: &Config) -> Vec<String> {
    let line = |what: &str, days: u32| match days {
        0 => format!("{what}: no limit is set; by the retention schedule of the controller: {OPEN}"),
        days => format!("{what}: {days} days"),
    };
    let kept = &config.retention;
    vec![
        line("The senders' messages, by whole months", kept.messages_days),
        line("The copies of each recipient, by whole months", kept.renditions_days),
        line("Everything about a person, from the last record about them", kept.people_days),
        line("Alerts that are over, with the addresses that were told", kept.alerts_days),
        line("Entries of the directory (names, telephone numbers of staff), after later ones took their place", kept.directory_days),
        line("Accounts of staff (name, e-mail address, credentials), after they were disabled", kept.accounts_days),
        line("Reasons of erasures, of lifted legal holds, and of what two people decided", kept.decisions_days),
        line("Subscriptions of systems (the address to call), after they were turned off or given up", kept.subscriptions_days),
        format!(
            "Sessions of staff: {} idle minutes, {} hours at most; their rows go with a later sign-in, two days after they began",
            config.people.session_idle_minutes, config.people.session_hours
        ),
        "The audit log: entries about a person are unreadable when the person's keys go; what concerns no patient (sign-ins, changes), \
         with the name of who acted and the address they asked from, stays with the log, for every proof needs every entry"
            .to_owned(),
        "Nothing goes by itself: `onward retention plan` lists what is due, a second command carries it out and signs a certificate. \
         What is under a legal hold stays"
            .to_owned(),
    ]
}

/// What PDS is asked by.
const ASKED_BY: &str =
    "the NHS number; where a message has none, or a wrong one, name, date of birth, gender and postcode";

fn recipients(config: &Config, policies: &[Policy]) -> Result<Vec<String>, Failure> {
    let routes = config.load_routes()?;
    let mut lines: Vec<String> = policies
        .iter()
        .map(|policy| {
            let form = match policy.form {
                Form::Identical => "the hospital's document, identical",
                Form::Reduced => "a copy reduced by policy",
            };
            let (kind, version) = (policy.recipient, &policy.version);
            format!("{kind}: {form}, policy {version}; {}; {}", policy.lawful_basis, policy.opt_out)
        })
        .collect();
    lines.push("sender: responses and the Task of its own transfer".to_owned());
    lines.push(match config.pds.mode {
        PdsMode::Pds => format!("Personal Demographics Service (NHS England): {ASKED_BY}"),
        PdsMode::StandIn => "no Personal Demographics Service: people are looked up in a local file".to_owned(),
    });
    if config.mesh.enabled {
        lines.push("NHS England as carrier of MESH messages".to_owned());
        if config.mesh.gp_routing {
            lines.push(
                "the same, to find a practice: NHS number, date of birth and family name as the address".to_owned(),
            );
        }
    }
    if !config.smtp.host.is_empty() {
        lines.push(format!(
            "mail server {}: staff's e-mail addresses, a link, codes of organisations; no patient",
            config.smtp.host
        ));
    }
    if let Some(host) = config.alerts.webhook_url.as_ref().and_then(url::Url::host_str) {
        lines.push(format!("alerts' receiver {host}: identifiers of transfers, codes of organisations; no patient"));
    }
    for (ods, host) in subscribed(config) {
        lines.push(format!(
            "{ods}'s subscribed systems at {host}: that a Task changed, and the search that finds it; no patient"
        ));
    }
    if let Some(address) = &config.audit.syslog_address {
        let what = match config.audit.syslog_content {
            SyslogContent::Minimal => "audit entries without anything that names a patient",
            SyslogContent::Event => "whole audit entries, patients' NHS numbers included",
        };
        lines.push(format!("syslog receiver {}:{}: {what}", address.host, address.port));
    }
    for issuer in &config.identity.issuer {
        lines.push(format!(
            "identity provider {} at {}: that somebody signs in here; it tells who they are; staff, no patient",
            issuer.label, issuer.issuer
        ));
    }
    for issuer in &config.identity.token_issuer {
        lines.push(format!(
            "token issuer {}: asked at {} for its public keys alone; nothing about anybody",
            issuer.name,
            issuer.jwks_url.host_str().unwrap_or_default()
        ));
    }
    if config.scanning.clamd.is_some() {
        lines.push(
            "malware scanner (clamd) on this machine: the hospital's attachments, whole, to be looked through before anything is kept"
                .to_owned(),
        );
    }
    if let Some(host) = config.traces.as_ref().and_then(|traces| traces.endpoint.host_str()) {
        lines.push(format!(
            "collector of traces {host}: routes, times, statuses, identifiers of copies, codes of organisations; no patient"
        ));
    }
    for witness in &config.audit.witness {
        lines.push(format!("witness {}: size and hash of the audit log; no personal data", witness.key.name()));
    }
    lines.push(format!("{} rules decide who receives (`routes`)", routes.routes.all().len()));
    Ok(lines)
}

fn transfers(config: &Config) -> Vec<String> {
    let hosts = config.egress.hosts.iter().map(|host| {
        let place = if host.internal { "own network" } else { "public" };
        format!("{} ({place}): country {OPEN}", host.host)
    });
    std::iter::once("The gateway connects to no host but these, and to the recipients' among them:".to_owned())
        .chain(hosts)
        .collect()
}

fn measures(config: &Config) -> Vec<String> {
    let store = match &config.store.url {
        StoreUrl::Sqlite(_) => "embedded database on this machine; files for their owner alone",
        StoreUrl::Postgres(_) => {
            "PostgreSQL database; TLS with everything but this machine, the server's name verified"
        }
    };
    let tls = match config.tls() {
        Some(files) if files.client_ca.is_some() => "TLS 1.3 and 1.2 with client certificates",
        Some(_) => "TLS 1.3 and 1.2",
        None => "loopback only: TLS is ended by a proxy in front",
    };
    let hardening = match config.server.hardening {
        Hardening::Require => "required",
        Hardening::BestEffort => "as far as the kernel has it",
        Hardening::Off => "off",
    };
    let witnesses = match config.audit.witness.len() {
        0 => "no witness: that the log was not cut back cannot be proven".to_owned(),
        count => format!("{count} witness(es) cosign every checkpoint"),
    };
    vec![
        format!("Listener: {tls}"),
        "Systems sign in by signed assertions, people by passkey or by password and code; each role has its functions"
            .to_owned(),
        format!(
            "Tokens last {} seconds; sessions end after {} idle minutes",
            config.identity.token_lifetime_seconds, config.people.session_idle_minutes
        ),
        format!("Store: {store}"),
        "Messages, copies, what people wrote about them, and audit events about a person are sealed under that person's own key \
         (AES-256-GCM); erasure destroys the key"
            .to_owned(),
        format!("The process gives up files and system calls that it does not need: {hardening}"),
        "Looks at messages, copies, lists and entries, disclosures, denials, alerts and changes are entries of a signed log, in the \
         transaction of their effect"
            .to_owned(),
        format!("Audit log: {witnesses}"),
        "No patient data in logs, metrics, errors, addresses".to_owned(),
    ]
}

/// Article 35(7)(a): a systematic description of the processing.
fn appendix(config: &Config, policies: &[Policy]) -> Result<String, Failure> {
    let mut text = String::from(
        "# Appendix to the data protection impact assessment\n\nWritten by `onward ropa --dpia` from the configuration in force.\n\n",
    );
    let _ = write!(
        text,
        "Gateway of {}.\n\n## Data flows\n\n| from | to | what | on what ground |\n|---|---|---|---|\n",
        named(config)
    );
    let mut flow = |from: &str, to: &str, what: &str, ground: &str| {
        let _ = writeln!(text, "| {} | {} | {} | {} |", cell(from), cell(to), cell(what), cell(ground));
    };
    flow("hospital", "gateway", "the whole transfer-of-care message", "direct care, by the hospital's own basis");
    if config.pds.mode == PdsMode::Pds {
        flow("gateway", "Personal Demographics Service", ASKED_BY, "to send to the right people");
    }
    for policy in policies {
        let what = match policy.form {
            Form::Identical => "the identical document".to_owned(),
            Form::Reduced => "what the table below allows".to_owned(),
        };
        flow("gateway", policy.recipient.as_str(), &what, &policy.lawful_basis);
    }
    flow("recipients", "gateway", "acknowledgements, questions, who opened it and when", "direct care");
    flow("gateway", "hospital", "state of each copy, who acknowledged, answers", "direct care");
    for (ods, host) in subscribed(config) {
        flow(
            "gateway",
            &format!("subscribed systems of {ods} at {host}"),
            "that a Task changed; no patient",
            "direct care",
        );
    }
    if let Some(address) = &config.audit.syslog_address {
        let what = match config.audit.syslog_content {
            SyslogContent::Minimal => "audit entries, no patient",
            SyslogContent::Event => "audit entries, NHS numbers included",
        };
        flow("gateway", &format!("{}:{}", address.host, address.port), what, OPEN);
    }
    text.push_str("\n## Routes\n\n| route | delivers to, or waits for a person because |\n|---|---|\n");
    for route in config.load_routes()?.routes.all() {
        let decision = match &route.decision {
            Decision::Deliver(kinds) => kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            Decision::Hold(reason) => format!("waits: {reason}"),
        };
        let _ = writeln!(text, "| {} | {} |", cell(&route.name), cell(&decision));
    }
    text.push_str("\n## Who may receive what\n\nElements without a row go to nobody but recipients of the identical document.\n\n| element |");
    let kinds: Vec<RecipientKind> = policies.iter().map(|policy| policy.recipient).collect();
    kinds.iter().for_each(|kind| {
        let _ = write!(text, " {kind} |");
    });
    text.push_str("\n|---|");
    kinds.iter().for_each(|_| text.push_str("---|"));
    text.push('\n');
    for row in matrix(policies) {
        let _ = write!(text, "| {} |", cell(&row.element));
        for (_, what) in &row.cells {
            let _ = write!(text, " {} |", if *what == Cell::No { "-" } else { what.as_str() });
        }
        text.push('\n');
    }
    let _ = write!(
        text,
        "\n## Risks and measures\n\nNecessity and proportionality, risks to people and the measures against them (Article 35(7)(b) to (d)): {OPEN}\n"
    );
    Ok(text)
}

/// Whose systems may be called when a Task changes, and at which host.
fn subscribed(config: &Config) -> impl Iterator<Item = (&OdsCode, &str)> {
    config.delivery.hooks.iter().map(|hook| (&hook.ods, hook.url.host_str().unwrap_or_default()))
}

#[cfg(test)]
mod tests;
