//! `onward client`: the machine clients that may sign in. Every change is audited.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use onward_connect::egress::Egress;
use onward_core::audit::AuditWord;
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::{MeshMailboxId, OdsCode};
use onward_gateway::registered;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use url::Url;

use super::exit::{Exit, Failure, Outcome};
use super::input;
use super::open::{ConfigArgs, Desk};
use super::output::new_file;
use super::terminal::{Style, Terminal};
use crate::auth::key_source;
use crate::config::Config;
use crate::keys;
use crate::listener::sha256_hex;

/// Machine clients.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Registers a client with its public keys
    #[command(after_help = "Examples:
  onward client add --id northmoor-epr --ods R9Z --role sender --generate-key northmoor-epr.pem
  onward client add --id rowan-house --ods VMH01 --role care-home --jwks rowan-house.jwks.json
  onward client add --id elm-court --ods VMH02 --role care-home --jwks-url https://elm.example.org/jwks")]
    Add(Add),
    /// Lists clients
    #[command(after_help = "Example:\n  onward client list --json | jq -r .id")]
    List(List),
    /// Replaces a client's keys: the old ones sign in no more
    #[command(after_help = "Example:\n  onward client rotate --id northmoor-epr --generate-key northmoor-epr-2.pem")]
    Rotate(Rotate),
    /// Ends a client's access; tokens that it holds are void at once
    #[command(after_help = "Example:\n  onward client disable northmoor-epr")]
    Disable(Disable),
}

/// Where the keys come from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Keys {
    /// JWK Set with the client's public keys, each with a kid
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Where the client publishes its JWK Set: https, on a host of egress.hosts. New keys are taken within a minute
    #[arg(long, value_name = "URL")]
    jwks_url: Option<Url>,
    /// Make an ES384 key pair: the private key goes to this new file, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    generate_key: Option<PathBuf>,
}

/// A new client.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    config: ConfigArgs,
    /// Its identifier: iss and sub of its assertions
    #[arg(long, value_name = "ID", value_parser = client_id)]
    id: String,
    /// The organisation that it acts for
    #[arg(long, value_name = "ODS")]
    ods: OdsCode,
    /// What it is
    #[arg(long, value_name = "ROLE", value_parser = words(Role::ALL, Role::as_str))]
    role: Role,
    #[command(flatten)]
    keys: Keys,
    /// The organisation's MESH mailbox, for responses and for messages that come by MESH
    #[arg(long, value_name = "MAILBOX")]
    mesh_mailbox: Option<MeshMailboxId>,
    /// The client certificate (PEM) that it must show; its tokens are bound to it
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// What to do with messages whose NHS number cannot be one
    #[arg(long, value_name = "POLICY", default_value = "refuse",
        value_parser = words(NhsNumberPolicy::ALL, NhsNumberPolicy::as_str))]
    nhs_number_policy: NhsNumberPolicy,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What to list.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    config: ConfigArgs,
    /// One line of JSON for each client
    #[arg(long)]
    json: bool,
}

/// Whose keys.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    config: ConfigArgs,
    /// The client
    #[arg(long, value_name = "ID")]
    id: String,
    #[command(flatten)]
    keys: Keys,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Who.
#[derive(Debug, Args)]
pub struct Disable {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// The client
    #[arg(value_name = "ID")]
    id: String,
}

pub(super) fn words<W: Copy + Send + Sync + 'static>(
    all: &'static [W],
    word: fn(W) -> &'static str,
) -> impl TypedValueParser<Value = W> {
    PossibleValuesParser::new(all.iter().map(|each| word(*each))).map(move |text: String| {
        all.iter().copied().find(|each| word(*each) == text).expect("clap lets the known words through only")
    })
}

/// Client identifiers stand in logs, audit entries and claims: letters, digits, `.`, `_` and `-`.
fn client_id(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&text.len()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a client identifier has 1 to 64 letters, digits, '.', '_' or '-'".to_owned())
    }
}

/// Runs it.
///
/// # Errors
/// When a file, the configuration or the store cannot be used, or there is no such client.
pub(super) async fn run(command: &ClientCommand, terminal: &mut Terminal) -> Outcome {
    match command {
        ClientCommand::Add(add) => self::add(add, terminal).await,
        ClientCommand::List(list) => self::list(list, terminal).await,
        ClientCommand::Rotate(rotate) => self::rotate(rotate, terminal).await,
        ClientCommand::Disable(disable) => self::disable(disable, terminal).await,
    }
}

async fn add(add: &Add, terminal: &mut Terminal) -> Outcome {
    let (config, store) = add.config.store().await?;
    let desk = Desk::new(&config)?;
    if store.client(&add.id).await?.is_some() {
        return Err(Failure::no(format!(
            "client {} is there already: `onward client rotate` changes its keys",
            add.id
        )));
    }
    let certificate_sha256 = add.certificate.as_deref().map(fingerprint).transpose()?;
    let made = MadeKeys::from(&add.keys, &config)?;
    let client = Client {
        id: add.id.clone(),
        ods: add.ods.clone(),
        role: add.role,
        jwks: made.jwks.clone(),
        certificate_sha256,
        mesh_mailbox: add.mesh_mailbox.as_ref().map(ToString::to_string),
        nhs_number_policy: add.nhs_number_policy,
        disabled: false,
        under: None,
    };
    let keys = told_keys(&client).join(", ");
    let detail = registered::told(&client, &registered::added(&client, &keys));
    made.keep_if(store.put_client(client.clone(), vec![desk.row(AuditWord::Configure, detail)]).await)?;
    tell("added", &client, add.keys.generate_key.as_deref(), add.json, terminal);
    Ok(Exit::Done)
}

async fn rotate(rotate: &Rotate, terminal: &mut Terminal) -> Outcome {
    let (config, store) = rotate.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let mut client = store.client(&rotate.id).await?.ok_or_else(|| unknown(&rotate.id))?;
    let old = told_keys(&client).join(", ");
    let made = MadeKeys::from(&rotate.keys, &config)?;
    client.jwks.clone_from(&made.jwks);
    let new = told_keys(&client).join(", ");
    let detail = registered::told(&client, &format!("rotated: keys {old} replaced by {new}"));
    made.keep_if(store.put_client(client.clone(), vec![desk.row(AuditWord::Configure, detail)]).await)?;
    tell("rotated", &client, rotate.keys.generate_key.as_deref(), rotate.json, terminal);
    Ok(Exit::Done)
}

async fn disable(disable: &Disable, terminal: &mut Terminal) -> Outcome {
    let (config, store) = disable.config.existing_store().await?;
    let desk = Desk::new(&config)?;
    let mut client = store.client(&disable.id).await?.ok_or_else(|| unknown(&disable.id))?;
    client.disabled = true;
    let row = desk.row(AuditWord::Configure, registered::told(&client, "disabled"));
    store.put_client(client.clone(), vec![row]).await?;
    tell("disabled", &client, None, disable.json, terminal);
    Ok(Exit::Done)
}

async fn list(list: &List, terminal: &mut Terminal) -> Outcome {
    let (_, store) = list.config.existing_store().await?;
    let clients = store.clients().await?;
    let row = |client: &Client| {
        [
            client.id.clone(),
            client.ods.to_string(),
            client.role.to_string(),
            if client.disabled { "disabled" } else { "active" }.to_owned(),
            client.mesh_mailbox.clone().unwrap_or_default(),
            client.nhs_number_policy.to_string(),
            if client.certificate_sha256.is_some() { "required" } else { "" }.to_owned(),
            kids(client).join(", "),
        ]
    };
    let headings = ["client", "ODS", "role", "state", "mailbox", "NHS numbers", "certificate", "keys"];
    terminal.list(
        &clients,
        list.json.then_some(shown),
        "no client is registered: see `onward client add --help`",
        headings,
        row,
    );
    Ok(Exit::Done)
}

/// A key set, and the private key file that was made with it.
struct MadeKeys {
    jwks: String,
    file: Option<PathBuf>,
}

impl MadeKeys {
    fn from(keys: &Keys, config: &Config) -> Result<Self, Failure> {
        if let Some(url) = &keys.jwks_url {
            let egress = Egress::new(config.egress.hosts.iter().cloned());
            egress.check_url(url, false).map_err(|refusal| Failure::usage(format!("{url}: {refusal}")))?;
            return Ok(Self { jwks: key_source::at(url), file: None });
        }
        if let Some(path) = &keys.jwks {
            let checked = keys::checked_jwks(&input::text(path)?);
            let jwks = checked.with_context(|| path.display().to_string()).map_err(Failure::configuration)?;
            let set: JwkSet = serde_json::from_str(&jwks).context("the key set was checked")?;
            let bits_min = config.identity.rsa_bits_min;
            if let Some(small) = set.keys.iter().find(|key| !keys::is_strong(key, bits_min)) {
                let kid = small.common.key_id.as_deref().unwrap_or_default();
                return Err(Failure::usage(format!(
                    "{}: the RSA key {kid} has fewer than {bits_min} bits, which identity.rsa_bits_min asks for",
                    path.display()
                )));
            }
            return Ok(Self { jwks, file: None });
        }
        let path = keys.generate_key.as_ref().expect("clap demands one of the three");
        let pem = keys::generate_pem()?;
        let jwks = keys::jwks_json(keys::public_jwk(&pem)?)?;
        let mut file = new_file(path)?;
        file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).with_context(|| path.display().to_string())?;
        Ok(Self { jwks, file: Some(path.clone()) })
    }

    /// A private key whose public half was not registered is of no use to anybody.
    fn keep_if<E: Into<Failure>>(&self, registered: Result<(), E>) -> Result<(), Failure> {
        registered.map_err(|error| {
            if let Some(path) = &self.file {
                let _ = std::fs::remove_file(path);
            }
            error.into()
        })
    }
}

/// SHA-256 of the first certificate of a PEM file.
fn fingerprint(path: &Path) -> Result<String, Failure> {
    let certificate = CertificateDer::pem_slice_iter(&input::bytes(path)?)
        .next()
        .and_then(Result::ok)
        .ok_or_else(|| Failure::usage(format!("{} holds no certificate in PEM", path.display())))?;
    Ok(sha256_hex(certificate.as_ref()))
}

fn unknown(id: &str) -> Failure {
    Failure::no(format!("there is no client {id}"))
}

fn kids(client: &Client) -> Vec<String> {
    if let Some(url) = key_source::url_of(client) {
        return vec![format!("at {url}")];
    }
    let keys: Value = serde_json::from_str(&client.jwks).unwrap_or_default();
    keys["keys"].as_array().into_iter().flatten().filter_map(|key| key["kid"].as_str()).map(str::to_owned).collect()
}

/// As the audit log tells them: an identifier is the client's choice, so the RFC 7638 thumbprint stands beside it where it is another.
fn told_keys(client: &Client) -> Vec<String> {
    let Ok(set) = serde_json::from_str::<JwkSet>(&client.jwks) else { return kids(client) };
    let told = |key: &Jwk| {
        let kid = key.common.key_id.as_deref().unwrap_or_default();
        match key_source::thumbprint(key) {
            Some(thumbprint) if thumbprint != kid => format!("{kid} ({thumbprint})"),
            _ => kid.to_owned(),
        }
    };
    set.keys.iter().map(told).collect()
}

fn shown(client: &Client) -> Value {
    json!({
        "id": client.id, "ods": client.ods, "role": client.role, "disabled": client.disabled,
        "mesh_mailbox": client.mesh_mailbox, "certificate_sha256": client.certificate_sha256,
        "nhs_number_policy": client.nhs_number_policy, "keys": kids(client),
    })
}

fn tell(what: &str, client: &Client, key: Option<&Path>, json: bool, terminal: &mut Terminal) {
    if json {
        terminal.json(&shown(client));
        return;
    }
    let id = terminal.paint(Style::Bold, &client.id);
    terminal.say(format_args!(
        "{what}: client {id}, {} of {}, keys {}",
        client.role,
        client.ods,
        kids(client).join(", ")
    ));
    if let Some(key) = key {
        terminal.say(format_args!("  private key: {} (hand it to the client and keep no copy)", key.display()));
    }
}

#[cfg(test)]
mod tests;
