//! What is in force when a gateway starts, part by part, and the entry of the log when it is not what was before.
//!
//! Only digests are kept: which section or policy changed is told, never a value. The parts are those of the effective
//! configuration (which holds no secret), the contents of the files that decide who gets what, and the keys in use: the store's by its
//! name, the others by their public halves. A file of keys can be made where there is no store yet, and be put in another's place by
//! hand: the start that first uses it tells.

use std::collections::BTreeMap;

use anyhow::Context as _;
use onward_connect::secret::Secret;
use onward_connect::webhook;
use onward_core::audit::{Agent, AuditEntry, AuditQuery, AuditWord};
use onward_core::store::{Store, StoreError};
use onward_gateway::Gateway;
use onward_store::sealing::KeyEncryption as _;

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
        parts.insert(format!("policy {kind}"), meaning(&name, &text)?);
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
/// node's last start had. Two nodes that start at once with the same change may both tell it, each by its name.
///
/// # Errors
/// When the log cannot be read or written: then nothing may be served.
pub async fn note(gateway: &Gateway, node: &str, parts: &Parts) -> Result<bool, StoreError> {
    let changed = match last(gateway.store().as_ref(), node).await? {
        Some(before) if before == *parts => return Ok(false),
        Some(before) => differences(&before, parts),
        None => "nothing was recorded before".to_owned(),
    };
    let all: Vec<String> = parts.iter().map(|(part, digest)| format!("{part} {digest}")).collect();
    let detail = format!("{BEGINS}{node}: {changed}{IN_FORCE}{}", all.join(", "));
    let entry = AuditEntry::new(AuditWord::Configure, gateway.clock().now(), Agent::gateway(), detail);
    gateway.store().audit(vec![gateway.journal().row(&entry)]).await?;
    Ok(true)
}

/// What the newest start of this node put in force; that of any node, where this one has none.
async fn last(store: &dyn Store, node: &str) -> Result<Option<Parts>, StoreError> {
    let mut wanted = AuditQuery {
        agent: Some(Agent::GATEWAY.to_owned()),
        words: vec![AuditWord::Configure],
        limit: PAGE,
        ..AuditQuery::default()
    };
    let mut of_any = None;
    loop {
        let page = store.search_audit(wanted.clone()).await?;
        for entry in &page {
            let Some((of, parts)) = entry.event.as_deref().and_then(read) else { continue };
            if of == node {
                return Ok(Some(parts));
            }
            of_any.get_or_insert(parts);
        }
        match page.last() {
            Some(oldest) if page.len() == PAGE as usize => wanted.after = Some((oldest.recorded, oldest.index)),
            _ => return Ok(of_any),
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
