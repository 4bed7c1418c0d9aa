//! What is in force when a gateway starts, part by part, and the entry of the log when it is not what was before.
//!
//! Only digests are kept: which section or policy changed is told, never a value. The parts are those of the effective
//! configuration (which holds no secret), the contents of the files that decide who gets what, and the keys in use: the store's by its
//! name, the others by their public halves. A file of keys can be made where there is no store yet, and be put in another's place by
//! hand: the start that first uses it tells.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use onward_connect::secret::Secret;
use onward_connect::webhook;
use onward_core::Timestamp;
use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditWord};
use onward_core::state::RecipientKind;
use onward_core::store::evidence::PolicyInForce;
use onward_core::store::{Store, StoreError};
use onward_gateway::Gateway;
use onward_gateway::sent::Dated;
use onward_store::sealing::KeyEncryption as _;
use onward_transform::disclose::Policy;

use crate::config::{Config, RouteFile};
use crate::listener::sha256_hex;
use crate::{app, serve, store_keys};

/// How the entry begins, before the node's name.
const BEGINS: &str = "start of node ";
/// What stands before the parts and their digests.
const IN_FORCE: &str = "; in force: ";
/// Characters of a digest that are told: 64 bits, which tell changes apart and name nothing.
const TOLD: usize = 16;
/// Entries read at once.
const PAGE: u32 = 100;

/// Parts and their digests: `section delivery`, `policy care-home 2026-11-26`, `routes`, `rules`.
pub type Parts = BTreeMap<String, String>;

/// The disclosure policies as they are written.
pub type Policies = BTreeMap<RecipientKind, String>;

/// How the part of a policy is named, before its kind.
const POLICY: &str = "policy ";

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
        parts.insert(format!("section {section}"), told(text));
    }
    for (kind, name, text) in app::policy_texts(config)? {
        parts.insert(format!("{POLICY}{kind}"), meaning(&name, &text)?);
    }
    let read =
        |path: &std::path::Path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    if let Some(traces) = &config.traces {
        // The headers of exports may hold a token.
        parts.insert("traces".to_owned(), told(traces.endpoint.as_str()));
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
    parts.insert("keys of the log".to_owned(), told(&log.verifying_keys().to_string()));
    let files = config.delivery.push.iter().flat_map(|host| &host.signing_key_files);
    let mut posting = Vec::new();
    for file in files.chain(&config.alerts.webhook_key_files) {
        let key = Secret::from_file(file).with_context(|| format!("reading {}", file.display()))?;
        // Of a secret that both sides have nothing can be told.
        let public = webhook::public_key(&key).with_context(|| file.display().to_string())?;
        posting.push(public.unwrap_or_else(|| "shared".to_owned()));
    }
    if !posting.is_empty() {
        parts.insert("keys of posts".to_owned(), told(&posting.join(" ")));
    }
    Ok(())
}

/// The digest of what a TOML file says: comments and their places change nothing.
fn meaning(name: &str, text: &str) -> anyhow::Result<String> {
    let table: toml::Table = text.parse().with_context(|| format!("reading {name}"))?;
    Ok(told(&table.to_string()))
}

fn told(text: &str) -> String {
    let mut digest = sha256_hex(text.as_bytes());
    digest.truncate(TOLD);
    digest
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
/// it as they are written, where others were in force last.
///
/// # Errors
/// When the log cannot be read or written: then nothing may be served.
pub async fn note(gateway: &Gateway, node: &str, parts: &Parts, policies: &Policies) -> Result<bool, StoreError> {
    let (store, now) = (gateway.store(), gateway.clock().now());
    let kept = store.policies_in_force().await?;
    // Comments change nothing that a copy is held against.
    let says = |text: &str| meaning("a policy", text).ok();
    let is_new = |(kind, text): &(&RecipientKind, &String)| {
        let newest = kept.iter().rev().find(|kept| kept.kind == **kind);
        newest.is_none_or(|kept| says(&kept.text) != says(text))
    };
    let new: Vec<PolicyInForce> = policies
        .iter()
        .filter(is_new)
        .map(|(kind, text)| PolicyInForce { kind: *kind, since: now, text: text.clone() })
        .collect();
    let changed = match last(store.as_ref(), node).await? {
        Some(before) if before == *parts && new.is_empty() => return Ok(false),
        Some(before) if before == *parts => "policies are kept as they are written".to_owned(),
        Some(before) => differences(&before, parts),
        None => "nothing was recorded before".to_owned(),
    };
    let all: Vec<String> = parts.iter().map(|(part, digest)| format!("{part} {digest}")).collect();
    let detail = format!("{BEGINS}{node}: {changed}{IN_FORCE}{}", all.join(", "));
    let entry = AuditEntry::new(AuditWord::Configure, now, Agent::gateway(), detail);
    store.put_in_force(new, vec![gateway.journal().row(&entry)]).await?;
    Ok(true)
}

/// The policies that were in force, with from when on, and what is wrong with a kept one: it must read as a policy, and be one that the
/// entry of a start names by its digest. Those of the configuration follow, for copies that none of them made.
///
/// # Errors
/// When the store cannot be read.
pub async fn dated_policies(
    store: &dyn Store,
    configured: impl IntoIterator<Item = Policy>,
) -> Result<(Vec<Dated>, Vec<String>), StoreError> {
    let mut named = BTreeSet::new();
    starts(store, |_, parts| {
        named.extend(parts.into_iter().filter(|(part, _)| part.starts_with(POLICY)));
        false
    })
    .await?;
    let (mut dated, mut faults) = (Vec::new(), Vec::new());
    for PolicyInForce { kind, since, text } in store.policies_in_force().await? {
        let name = format!("{POLICY}{kind}");
        let digest = meaning(&name, &text).ok().filter(|digest| named.contains(&(name.clone(), digest.clone())));
        match Policy::parse(&name, &text) {
            Ok(policy) if digest.is_some() && policy.recipient == kind => dated.push(Dated { policy, since }),
            _ => {
                faults.push(format!("the policy for {kind} that is kept since {since} is none that a start has named"))
            }
        }
    }
    let newest = dated.iter().map(|dated| dated.since).max().unwrap_or(Timestamp::MIN);
    for policy in configured {
        let is_kept = dated
            .iter()
            .any(|dated| dated.policy.recipient == policy.recipient && dated.policy.version == policy.version);
        if !is_kept {
            dated.push(Dated { policy, since: newest });
        }
    }
    Ok((dated, faults))
}

/// What the newest start of this node put in force; that of any node, where this one has none.
async fn last(store: &dyn Store, node: &str) -> Result<Option<Parts>, StoreError> {
    let (mut of_node, mut of_any) = (None, None);
    starts(store, |of, parts| {
        let own = of == node;
        let newest = if own { &mut of_node } else { &mut of_any };
        newest.get_or_insert(parts);
        own
    })
    .await?;
    Ok(of_node.or(of_any))
}

/// Each start with what it put in force, the newest first, until `found` says that it is enough.
async fn starts(store: &dyn Store, mut found: impl FnMut(&str, Parts) -> bool + Send) -> Result<(), StoreError> {
    let mut wanted = AuditQuery {
        agent: Some(Agent::GATEWAY.to_owned()),
        words: vec![AuditWord::Configure],
        limit: PAGE,
        ..AuditQuery::default()
    };
    loop {
        let page = store.search_audit(wanted.clone()).await?;
        for entry in &page {
            let Some((of, parts)) = entry.event.as_deref().and_then(read) else { continue };
            if found(&of, parts) {
                return Ok(());
            }
        }
        match page.last() {
            Some(oldest) if page.len() == PAGE as usize => wanted.after = Some((oldest.recorded, oldest.index)),
            _ => return Ok(()),
        }
    }
}

/// The node and the parts of an entry of a start; `None` for any other.
fn read(event: &[u8]) -> Option<(String, Parts)> {
    let event: serde_json::Value = serde_json::from_slice(event).ok()?;
    let said = event["outcomeDesc"].as_str()?.strip_prefix(AuditWord::Configure.as_str())?.strip_prefix(": ")?;
    let (node, rest) = said.strip_prefix(BEGINS)?.split_once(": ")?;
    let parts = rest.split_once(IN_FORCE)?.1.split(", ");
    let parts = parts.map(|part| part.rsplit_once(' ').map(|(name, digest)| (name.to_owned(), digest.to_owned())));
    Some((node.to_owned(), parts.collect::<Option<_>>()?))
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
