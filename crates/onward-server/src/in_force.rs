//! What is in force when a gateway starts, part by part, and the entry of the log when it is not what was before.
//!
//! Only digests are kept: which section or policy changed is told, never a value. The parts are those of the effective
//! configuration (which holds no secret), the contents of the files that decide who gets what, and the keys in use: the store's by its
//! name, the others by their public halves. A file of keys can be made where there is no store yet, and be put in another's place by
//! hand: the start that first uses it tells, and an exchange of TLS files while the gateway runs is told as a start is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use onward_connect::secret::Secret;
use onward_connect::webhook;
use onward_core::Timestamp;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::state::RecipientKind;
use onward_core::store::StoreError;
use onward_core::store::evidence::PolicyInForce;
use onward_gateway::Gateway;
use onward_gateway::configured::Configured;
use onward_gateway::registered;
use onward_gateway::starts::{self, Named, POLICY, Parts, Start, Starts, digest};
use onward_gateway::strange::Strange;
use onward_store::sealing::KeyEncryption as _;
use onward_transform::disclose::Policy;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::config::{Config, PdsMode, RouteFile, StoreUrl};
use crate::listener::{Exchanges, sha256_hex};
use crate::{app, serve, store_keys};

/// How often what is in force is read again when other nodes start at the same moment.
const TRIES: usize = 8;

/// How long an exchange waits to be told again that could not be.
const BETWEEN_TRIES: Duration = Duration::from_secs(2);

/// The part that names the certificate of our listener, and the key behind it.
pub(crate) const SERVER_CERTIFICATE: &str = "certificate of the server";
/// The part that names the authorities of clients' certificates.
pub(crate) const CLIENT_AUTHORITIES: &str = "authorities of clients";
/// The part that names the revocation lists of those authorities.
pub(crate) const CLIENT_LISTS: &str = "revocation lists of clients";

/// The disclosure policies as they are written.
pub type Policies = BTreeMap<RecipientKind, String>;

/// The policies that this configuration puts in force.
///
/// # Errors
/// When one cannot be read.
pub fn policies(config: &Config) -> anyhow::Result<Policies> {
    Ok(app::policy_texts(config)?.into_iter().map(|(kind, _, text)| (kind, text)).collect())
}

/// What this configuration puts in force.
///
/// # Errors
/// When a policy, the routes, the rules or a key cannot be read.
pub fn parts(config: &Config) -> anyhow::Result<Parts> {
    let mut parts = Parts::new();
    for (section, text) in &config.sections {
        parts.insert(format!("section {section}"), digest(text));
    }
    for (kind, name, text) in app::policy_texts(config)? {
        parts.insert(format!("{POLICY}{kind}"), meaning(&name, &text)?);
    }
    let read =
        |path: &std::path::Path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    if let Some(traces) = &config.traces {
        // The headers of exports may hold a token.
        parts.insert("traces".to_owned(), digest(traces.endpoint.as_str()));
    }
    let routes = config.routes.file.as_deref().map(read).transpose()?;
    parts.insert("routes".to_owned(), meaning("routes", routes.as_deref().unwrap_or(RouteFile::BUILT_IN))?);
    let rules = config.validation.rules_file.as_deref().map(read).transpose()?;
    parts.insert("rules".to_owned(), meaning("rules", rules.as_deref().unwrap_or(onward_validate::BUILT_IN_RULES))?);
    keys(config, &mut parts)?;
    Ok(parts)
}

fn keys(config: &Config, parts: &mut Parts) -> anyhow::Result<()> {
    let wraps = store_keys::ring(&config.keys)?.current().context("the keys of the store")?;
    parts.insert("key of the store".to_owned(), wraps);
    let log = serve::signing_key(&config.audit.signing_key_file, config)?;
    parts.insert("keys of the log".to_owned(), digest(&log.verifying_keys().to_string()));
    let files = config.delivery.push.iter().flat_map(|host| &host.signing_key_files);
    let mut posting = Vec::new();
    for file in files.chain(&config.alerts.webhook_key_files) {
        let key = Secret::from_file(file).with_context(|| format!("reading {}", file.display()))?;
        // Of a secret that both sides have nothing can be told.
        let public = webhook::public_key(&key).with_context(|| file.display().to_string())?;
        posting.push(public.unwrap_or_else(|| "shared".to_owned()));
    }
    if !posting.is_empty() {
        parts.insert("keys of posts".to_owned(), digest(&posting.join(" ")));
    }
    for (part, file) in certificates(config) {
        parts.insert(part.to_owned(), fingerprints_in::<CertificateDer<'_>>(file)?);
    }
    if let Some(file) = &config.server.client_crl_file {
        parts.insert(CLIENT_LISTS.to_owned(), fingerprints_in::<CertificateRevocationListDer<'_>>(file)?);
    }
    let pds = config.pds.key_file.as_ref().filter(|_| config.pds.mode == PdsMode::Pds);
    let issuers = config.identity.issuer.iter().map(|issuer| &issuer.key_file);
    for (part, files) in
        [("key to PDS", pds.into_iter().collect::<Vec<_>>()), ("keys to identity providers", issuers.collect())]
    {
        let public = files.iter().map(|file| {
            let pem = std::fs::read(file).map(Zeroizing::new).with_context(|| format!("reading {}", file.display()))?;
            crate::keys::thumbprint(&pem).with_context(|| file.display().to_string())
        });
        let public: Vec<String> = public.collect::<anyhow::Result<_>>()?;
        if !public.is_empty() {
            parts.insert(part.to_owned(), digest(&public.join(" ")));
        }
    }
    Ok(())
}

/// The files of certificates that are in use: ours, whose fingerprints name the keys behind them, and of authorities that we believe.
fn certificates(config: &Config) -> impl Iterator<Item = (&'static str, &Path)> {
    let (store, mesh, audit, smtp) = (&config.store, &config.mesh, &config.audit, &config.smtp);
    let is_mesh = mesh.enabled;
    let is_syslog = audit.syslog_address.is_some();
    let is_mail = !smtp.host.is_empty();
    let is_postgres = !matches!(store.url, StoreUrl::Sqlite(_));
    let files = [
        (true, SERVER_CERTIFICATE, &config.server.tls_certificate_file),
        (true, CLIENT_AUTHORITIES, &config.server.client_ca_file),
        (true, "authorities of partners", &config.egress.extra_ca_file),
        (is_mesh, "certificate to MESH", &mesh.certificate_file),
        (is_mesh, "authorities of MESH", &mesh.ca_file),
        (is_mail, "certificate to the mail server", &smtp.certificate_file),
        (is_syslog, "certificate to syslog", &audit.syslog_certificate_file),
        (is_syslog, "authorities of syslog", &audit.syslog_ca_file),
        (is_postgres, "certificate to PostgreSQL", &store.certificate_file),
        (is_postgres, "authorities of PostgreSQL", &store.ca_file),
    ];
    files.into_iter().filter(|(is_used, ..)| *is_used).filter_map(|(_, part, file)| Some((part, file.as_deref()?)))
}

/// The digest of the fingerprints of these certificates or lists, in their order.
pub(crate) fn fingerprints<D: PemObject + AsRef<[u8]>>(pem: &[u8]) -> anyhow::Result<String> {
    let read = D::pem_slice_iter(pem).map(|each| Ok(sha256_hex(each?.as_ref())));
    let all: Vec<String> = read.collect::<anyhow::Result<_>>()?;
    Ok(digest(&all.join(" ")))
}

fn fingerprints_in<D: PemObject + AsRef<[u8]>>(file: &Path) -> anyhow::Result<String> {
    let pem = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    fingerprints::<D>(&pem).with_context(|| file.display().to_string())
}

/// The digest of what a TOML file says: comments and their places change nothing.
fn meaning(name: &str, text: &str) -> anyhow::Result<String> {
    let table: toml::Table = text.parse().with_context(|| format!("reading {name}"))?;
    Ok(digest(&table.to_string()))
}

/// The name of the machine, as far as it is one that a log can hold.
#[must_use]
pub fn node() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '.' | '_');
    name.chars().filter(|sign| plain(*sign)).take(64).collect()
}

/// Commits an entry when what is in force is not what this node's last start had; of a node that never started here, not what any
/// node's last start had. Two nodes that start at once with the same change may both tell it, each by its name. The policies are kept with
/// it as they are written, where others were in force last, and it names the kept ones: those in force, and any of an earlier program that
/// no start has named. A kept policy that no start put in force is somebody else's, and so is a registration of a client that no command
/// left: it is not named, and told as an alarm, in the log by whoever finds it first, and by every start in the process log; that it is
/// over is told there, too.
///
/// # Errors
/// When the log cannot be read or written: then nothing may be served.
pub async fn note(gateway: &Gateway, node: &str, parts: &Parts, policies: &Policies) -> Result<bool, StoreError> {
    note_at(gateway, gateway.clock().now(), node, By::Start(parts), policies).await
}

/// Who puts something in force, and how much of it they know.
#[derive(Clone, Copy)]
pub(crate) enum By<'b> {
    /// A start, which knows all parts.
    Start(&'b Parts),
    /// A command that makes copies: it knows the policies alone.
    Command,
    /// An exchange of these files of TLS while the node runs.
    Exchange(&'b Parts),
}

impl By<'_> {
    /// All parts: what it knows, and the rest as they were.
    fn parts(self, last: Option<&Parts>, policies: &Policies) -> Parts {
        let but = |is_known: fn(&str) -> bool| {
            let rest = last.into_iter().flatten().filter(move |(part, _)| !is_known(part));
            rest.map(|(part, digest)| (part.clone(), digest.clone()))
        };
        match self {
            Self::Start(parts) => parts.clone(),
            Self::Command => {
                let says = |(kind, text): (&RecipientKind, &String)| {
                    Some((format!("{POLICY}{kind}"), digest(&Policy::says(text)?)))
                };
                but(|part| part.starts_with(POLICY)).chain(policies.iter().filter_map(says)).collect()
            }
            Self::Exchange(tls) => {
                let rest = but(|part| [SERVER_CERTIFICATE, CLIENT_AUTHORITIES, CLIENT_LISTS].contains(&part));
                rest.chain(tls.clone()).collect()
            }
        }
    }

    /// What stands before what changed.
    fn told(self) -> &'static str {
        match self {
            Self::Start(_) => "",
            Self::Command => "by a command, ",
            Self::Exchange(_) => "while it runs, ",
        }
    }
}

/// At this moment, or in the first microsecond after it in which nothing else came into force.
pub(crate) async fn note_at(
    gateway: &Gateway,
    at: Timestamp,
    node: &str,
    by: By<'_>,
    policies: &Policies,
) -> Result<bool, StoreError> {
    for _ in 1..TRIES {
        match try_to_note(gateway, at, node, by, policies, true).await {
            // Another node put policies in force in this very microsecond, or while ours were read.
            Err(StoreError::Overtaken) => {}
            outcome => return outcome,
        }
    }
    try_to_note(gateway, at, node, by, policies, false).await
}

/// `alone`: only where nobody put policies in force meanwhile, or what both share would be kept twice.
async fn try_to_note(
    gateway: &Gateway,
    at: Timestamp,
    node: &str,
    by: By<'_>,
    policies: &Policies,
    alone: bool,
) -> Result<bool, StoreError> {
    let store = gateway.store();
    // Before the starts: what another one commits in between is then told by it.
    let kept = store.policies_in_force().await?;
    let Configured { starts, registered, entries } = Configured::of(store.as_ref()).await?;
    if alone && store.policies_in_force().await? != kept {
        return Err(StoreError::Overtaken);
    }
    let now = starts.free_from(at, &kept);
    let (mut kept, planted): (Vec<_>, Vec<_>) = kept.into_iter().partition(|policy| starts.know(policy));
    let last = last(&starts, node);
    let (mut parts, mut found) = (by.parts(last, policies), Vec::new());
    // Commands and exchanges leave it to the next start.
    if matches!(by, By::Start(_)) {
        match store.clients().await {
            Ok(clients) => {
                parts.insert(registered::CLIENTS.to_owned(), registered::digest_of_all(&clients));
                found = registered.found(&clients, entries);
            }
            // It is told with what does not fit, and nobody signs in by it.
            Err(StoreError::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let mut strange: Strange = planted.iter().map(|policy| (starts::planted(policy), BTreeSet::new())).collect();
    strange.extend(registered.misfits(store.as_ref()).await?.into_iter().map(|unfit| (unfit.misfit.why, unfit.whose)));
    let mut audit = gateway.alarms(now, &strange).await?;
    let own = |said: String| gateway.journal().row(&AuditEntry::new(AuditWord::Configure, now, Agent::gateway(), said));
    audit.extend(found.into_iter().map(own));
    // Comments change nothing that a copy is held against.
    let is_new = |(kind, text): &(&RecipientKind, &String)| {
        newest(&kept, **kind).is_none_or(|newest| Policy::says(&newest.text) != Policy::says(text))
    };
    let new: Vec<PolicyInForce> = policies
        .iter()
        .filter(is_new)
        .map(|(kind, text)| PolicyInForce { kind: *kind, since: now, text: text.clone() })
        .collect();
    kept.extend(new.iter().cloned());
    let is_named = |policy: &PolicyInForce| starts.name(&Named::of(policy));
    let changed = match last {
        Some(before) if *before == parts && kept.iter().all(is_named) => {
            if !audit.is_empty() {
                store.audit(audit).await?;
            }
            return Ok(false);
        }
        Some(before) if *before == parts => "policies are kept as they are written".to_owned(),
        Some(before) => differences(before, &parts),
        None => "nothing was recorded before".to_owned(),
    };
    let is_in_force = |policy: &PolicyInForce| newest(&kept, policy.kind) == Some(policy);
    let told = kept.iter().filter(|policy| is_in_force(policy) || !is_named(policy)).map(Named::of);
    audit.push(own(Start::told(node, &format!("{}{changed}", by.told()), &told.collect::<Vec<_>>(), &parts)));
    store.put_in_force(new, audit).await?;
    Ok(true)
}

/// As [`note`], for a command that makes copies: of the policies alone, as the keys and files of the gateway need not be in its reach.
/// Everything else stays as this node's last start had it.
///
/// # Errors
/// When the log cannot be read or written: then no copy may be made.
pub async fn note_policies(gateway: &Gateway, node: &str, policies: &Policies) -> Result<bool, StoreError> {
    note_at(gateway, gateway.clock().now(), node, By::Command, policies).await
}

/// As [`note`], for files of TLS that were exchanged while this node runs. Everything else stays as its last start had it.
///
/// # Errors
/// When the log cannot be read or written.
pub async fn note_exchange(gateway: &Gateway, node: &str, tls: &Parts) -> Result<bool, StoreError> {
    note_at(gateway, gateway.clock().now(), node, By::Exchange(tls), &Policies::new()).await
}

/// Tells each exchange of the files of TLS until `stop` turns true. The files are in force when that is told: a revocation must not wait
/// for the log. One that cannot be told is told again; that of a process that ends before is told by its next start.
pub async fn note_exchanges_until(
    gateway: Arc<Gateway>,
    mut exchanges: Exchanges,
    node: String,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let tls = tokio::select! {
            tls = exchanges.next() => tls,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Some(tls) = tls else { return };
        while let Err(error) = note_exchange(&gateway, &node, &tls).await {
            tracing::error!(%error, "the exchange of TLS files could not be written to the audit log");
            tokio::select! {
                () = tokio::time::sleep(BETWEEN_TRIES) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}

/// Of the kept policies for this kind the one that came into force last.
fn newest(kept: &[PolicyInForce], kind: RecipientKind) -> Option<&PolicyInForce> {
    kept.iter().filter(|kept| kept.kind == kind).max_by_key(|kept| kept.since)
}

/// What the newest start of this node put in force; that of any node, where this one has none.
fn last<'s>(starts: &'s Starts, node: &str) -> Option<&'s Parts> {
    let own = starts.all.iter().find(|start| start.node == node);
    own.or(starts.all.first()).map(|start| &start.parts)
}

fn differences(before: &Parts, now: &Parts) -> String {
    let changed = now.iter().filter_map(|(part, digest)| match before.get(part) {
        Some(old) if old == digest => None,
        Some(old) => Some(format!("{part} changed ({old} to {digest})")),
        None => Some(format!("{part} is new ({digest})")),
    });
    let gone = before.iter().filter(|(part, _)| !now.contains_key(*part));
    changed.chain(gone.map(|(part, old)| format!("{part} is gone ({old})"))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_name_that_reads_back() {
        let name = node();
        assert!(!name.contains([' ', ':', ',']) && name.len() <= 64);
    }
}
