//! Wiring: a checked configuration becomes a gateway with its store, transports and background work.

mod notifying;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;
use onward_connect::clamd::Clamd;
use onward_connect::http::{ClientCertificate, HttpClient, HttpConfig};
use onward_connect::https_push::HttpsPush;
use onward_connect::mesh::{MeshClient, MeshConfig};
use onward_connect::ods::OdsClient;
use onward_connect::pds::token::{TokenClient, TokenConfig};
use onward_connect::pds::{PdsClient, PdsConfig};
use onward_connect::secret::Secret;
use onward_connect::stand_in::StandInDirectory;
use onward_connect::strength::tls_provider;
use onward_core::directory::Directory;
use onward_core::retry::Schedule;
use onward_core::scanning::Scanner;
use onward_core::state::RecipientKind;
use onward_core::store::Store;
use onward_core::transport::{Mailbox, Mailboxes, Transport};
use onward_core::{Clock, OdsCode, SystemClock};
use onward_gateway::rounds::REST;
use onward_gateway::{Gateway, Parts, Settings, mailboxes, organisations};
use onward_ledger::SigningKeys;
use onward_store::postgres::{PostgresSettings, PostgresStore};
use onward_store::sqlite::SqliteStore;
use onward_transform::disclose::Policy;

use crate::auth::first_uses::FirstUses;
use crate::auth::key_source::{FETCH_TIMEOUT, KEY_SET_BYTES_MAX, KeySource};
use crate::auth::limit::Limits;
use crate::auth::refusals::Refusals;
use crate::config::{Config, PdsMode, Retry, StoreUrl, TokenIssuer, Traces};
use crate::forwarding::Forwarding;
use crate::pages::{Archives, Previews};
use crate::people::People;
use crate::seal::Seal;
use crate::store_keys;
use crate::witnessing::Witnessing;

pub use notifying::alerting;

/// What the handlers need.
pub struct App {
    /// The use cases.
    pub gateway: Arc<Gateway>,
    /// The host that requests must name: ours, as others know it.
    pub public_host: String,
    /// `aud` of client assertions.
    pub token_url: String,
    /// Whether a search may name a person in its address.
    pub(crate) patients_in_addresses: bool,
    /// Life of an access token, seconds.
    pub token_seconds: i64,
    /// Where the keys of clients come from.
    pub key_source: KeySource,
    /// Who else issues access tokens.
    pub(crate) token_issuers: Vec<TokenIssuer>,
    /// The public keys that this gateway signs with, a JWK Set.
    pub jwks: String,
    /// Seals what our links must not show.
    pub seal: Seal,
    /// How people sign in.
    pub people: People,
    /// What bounds subject access archives.
    pub(crate) archives: Arc<Archives>,
    /// What requests for exports would let out, as far as it was found out lately.
    pub(crate) previews: Previews,
    /// The audit log's key, where this process serves.
    pub(crate) log_key: OnceLock<Arc<SigningKeys>>,
    /// The name of the organisation that runs the gateway.
    pub(crate) own_name: String,
    /// How much each machine client may ask for.
    pub(crate) limits: Limits,
    /// Sign-ins of machines that were refused.
    pub(crate) refusals: Refusals,
    /// Tokens of other issuers whose first use is audited.
    pub(crate) first_uses: FirstUses,
    /// Where the audit log is forwarded to.
    pub(crate) forwarding: Option<Arc<Forwarding>>,
    /// Who vouches for the audit log.
    pub witnessing: Arc<Witnessing>,
}

/// Whether this process is the one that serves the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenure {
    /// It serves: an embedded store refuses a second one.
    Server,
    /// A command beside a running server.
    Command,
    /// The same, but it makes no store where there is none.
    CommandOnExisting,
}

/// The compiled-in disclosure policies.
const POLICIES: [(RecipientKind, &str); 5] = [
    (RecipientKind::CareHome, include_str!("../../../config/disclosure/care-home.toml")),
    (RecipientKind::CoveringPractice, include_str!("../../../config/disclosure/covering-practice.toml")),
    (RecipientKind::RegisteredPractice, include_str!("../../../config/disclosure/registered-practice.toml")),
    (RecipientKind::PharmacyReferral, include_str!("../../../config/disclosure/pharmacy-referral.toml")),
    (RecipientKind::PharmacyNomination, include_str!("../../../config/disclosure/pharmacy-nomination.toml")),
];

/// Opens the store that the configuration names.
///
/// # Errors
/// When it cannot be opened, or its keys cannot be had.
pub async fn open_store(config: &Config, tenure: Tenure) -> anyhow::Result<Arc<dyn Store>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let keys = store_keys::open(&config.keys)?;
    match &config.store.url {
        StoreUrl::Sqlite(path) => {
            let opened = match tenure {
                Tenure::Server => SqliteStore::open(path, keys, clock),
                Tenure::Command | Tenure::CommandOnExisting => SqliteStore::open_shared(path, keys, clock),
            };
            Ok(Arc::new(opened.with_context(|| format!("opening the store {}", path.display()))?))
        }
        StoreUrl::Postgres(url) => {
            let settings = postgres_settings(config, url)?;
            let opened = match tenure {
                Tenure::Server | Tenure::Command => PostgresStore::open(&settings, keys, clock).await,
                Tenure::CommandOnExisting => PostgresStore::open_existing(&settings, keys, clock).await,
            };
            Ok(Arc::new(opened.with_context(|| format!("opening the store {url}"))?))
        }
    }
}

fn postgres_settings(config: &Config, url: &url::Url) -> anyhow::Result<PostgresSettings> {
    let password = config.store.password_file.as_deref().map(Secret::from_file).transpose();
    Ok(PostgresSettings {
        url: url.clone(),
        password: password.context("reading store.password_file")?.map(|secret| secret.expose().to_owned().into()),
        ca_pem: config.store.ca_file.as_deref().map(read).transpose()?,
        client_pem: client_certificate(config.store.certificate_file.as_deref(), config.store.key_file.as_deref())?
            .map(|certificate| (certificate.chain_pem, certificate.key_pem.expose().to_owned().into())),
        tls: Arc::new(tls_provider(config.identity.rsa_bits_min)),
        fsync_off_allowed: config.store.allow_fsync_off,
    })
}

/// The policies in force: the folder's, else the compiled-in ones.
///
/// # Errors
/// When a policy is missing or not a policy.
pub fn load_policies(config: &Config) -> anyhow::Result<BTreeMap<RecipientKind, Policy>> {
    let parsed = policy_texts(config)?.into_iter().map(|(kind, name, text)| {
        Ok((kind, Policy::parse(&name, &text).with_context(|| format!("disclosure policy {name}"))?))
    });
    parsed.collect()
}

/// The disclosure policies as they are written: for whom, the file's name, its text.
///
/// # Errors
/// When a file cannot be read.
pub fn policy_texts(config: &Config) -> anyhow::Result<Vec<(RecipientKind, String, String)>> {
    let text = |(kind, built_in): (RecipientKind, &str)| match &config.disclosure.folder {
        None => Ok((kind, format!("{kind}.toml"), built_in.to_owned())),
        Some(folder) => {
            let path = folder.join(format!("{kind}.toml"));
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            Ok((kind, path.display().to_string(), text))
        }
    };
    POLICIES.into_iter().map(text).collect()
}

/// Everything wired, without listeners or background work.
///
/// # Errors
/// When a file, key, policy or the store cannot be used.
pub fn build(config: &Config, store: Arc<dyn Store>) -> anyhow::Result<App> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let own_ods: OdsCode = config.own_ods()?.clone();
    let key_source =
        KeySource::new(HttpClient::new(&key_http(config)?)?, Arc::clone(&clock), config.identity.rsa_bits_min);
    let mut transports: Vec<Arc<dyn Transport>> = Vec::new();
    let push = http(config, None, None, false)?;
    let push = Arc::new(HttpsPush::new(push, notifying::push(config), Arc::clone(&clock)));
    transports.push(Arc::clone(&push) as Arc<dyn Transport>);
    let mut mailbox: Option<Arc<dyn Mailbox>> = None;
    let mut mailboxes = None;
    if config.mesh.enabled {
        let mesh = Arc::new(mesh(config, &clock)?);
        transports.push(Arc::clone(&mesh) as Arc<dyn Transport>);
        mailboxes = heeds_mesh(config).then(|| mailboxes::Watched {
            mesh: Arc::clone(&mesh) as Arc<dyn Mailboxes>,
            except: config.mesh.look_except.iter().cloned().collect(),
            rest: REST,
        });
        mailbox = Some(mesh);
    }
    let holds = config
        .holds
        .iter()
        .map(|(reason, policy)| (*reason, (policy.owner.clone(), SignedDuration::from_hours(i64::from(policy.hours)))))
        .collect();
    let gateway = Gateway::new(Parts {
        store,
        directory: directory(config, &clock, &own_ods)?,
        organisations: watched(config)?,
        mailboxes,
        transports,
        mailbox,
        notifiers: notifying::notifiers(config, &clock)?,
        hook: Some(push),
        scanner: config.scanning.clamd.clone().map(|address| Arc::new(Clamd::new(address)) as Arc<dyn Scanner>),
        clock,
        policies: load_policies(config)?,
        routes: config.load_routes()?.routes,
        rules: config.load_rules()?,
        profiles: config.load_profiles()?,
        settings: Settings {
            own_ods,
            own_name: config.identity.name.clone(),
            own_mailbox: config.mesh.mailbox.clone(),
            gp_routing: config.mesh.enabled && config.mesh.gp_routing,
            base_url: config.server.public_url.at(""),
            body_bytes_max: config.server.body_bytes_max,
            workers: config.delivery.workers,
            lease: SignedDuration::from_secs(i64::from(config.delivery.lease_seconds)),
            retry: config.retry.iter().map(|(kind, retry)| (*kind, schedule(retry))).collect(),
            holds,
            alerts: alerting(config),
            hooks: notifying::hooks(config),
        },
    });
    let archives = Arc::<Archives>::default();
    Ok(App {
        gateway: Arc::new(gateway),
        public_host: public_host(&config.server.public_url.at(""))?,
        token_url: config.server.public_url.at("/oauth2/token"),
        patients_in_addresses: config.server.patients_in_addresses,
        token_seconds: i64::from(config.identity.token_lifetime_seconds),
        key_source,
        token_issuers: config.identity.token_issuer.clone(),
        jwks: jwks(config)?,
        seal: Seal::new()?,
        people: People::new(config, &http(config, None, None, false)?)?,
        previews: Previews::drawn_by(Arc::clone(&archives)),
        archives,
        log_key: OnceLock::new(),
        own_name: config.identity.name.clone(),
        limits: Limits::new(config),
        refusals: Refusals::default(),
        first_uses: FirstUses::default(),
        forwarding: Forwarding::new(config, http_config(config, None, config.audit.syslog_ca_file.as_deref(), false)?)?
            .map(Arc::new),
        witnessing: Arc::new(Witnessing::new(config, http(config, None, None, false)?)),
    })
}

fn schedule(retry: &Retry) -> Schedule {
    let seconds = |seconds: u32| SignedDuration::from_secs(i64::from(seconds));
    Schedule {
        first: seconds(retry.first_seconds),
        longest: seconds(retry.longest_seconds),
        retry_after_longest: seconds(retry.retry_after_seconds_max),
        give_up_after: SignedDuration::from_hours(i64::from(retry.give_up_hours)),
    }
}

/// The key of the assertions to the NHS API platform, which fetches it from us; with the stand-in nothing is signed.
fn jwks(config: &Config) -> anyhow::Result<String> {
    let pds = &config.pds;
    if pds.mode == PdsMode::StandIn {
        return Ok(r#"{"keys":[]}"#.to_owned());
    }
    let path = pds.key_file.as_deref().context("pds.key_file is not set")?;
    crate::keys::assertion_jwks(&zeroize::Zeroizing::new(read(path)?), &pds.key_id).context("pds.key_file")
}

fn public_host(public_url: &str) -> anyhow::Result<String> {
    let url = url::Url::parse(public_url).context("server.public_url")?;
    Ok(url.host_str().context("server.public_url names no host")?.to_owned())
}

/// The way to MESH, as configured.
///
/// # Errors
/// When a file or address cannot be used.
pub(crate) fn mesh(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<MeshClient> {
    let mesh = &config.mesh;
    let secret = |path: &Option<std::path::PathBuf>, key: &str| {
        let path = path.as_deref().with_context(|| format!("{key} is not set"))?;
        Secret::from_file(path).with_context(|| format!("reading {key}"))
    };
    let http = |seconds: u32| -> anyhow::Result<HttpClient> {
        let certificate = client_certificate(mesh.certificate_file.as_deref(), mesh.key_file.as_deref())?;
        let plain = mesh.allow_plain_loopback;
        let total_timeout = Duration::from_secs(u64::from(seconds));
        let http = HttpConfig { total_timeout, ..http_config(config, certificate, mesh.ca_file.as_deref(), plain)? };
        Ok(HttpClient::new(&http)?)
    };
    let mailbox = mesh.mailbox.clone().context("mesh.mailbox is not set")?;
    let settings = MeshConfig {
        compress: mesh.compress,
        gp_routing_date: mesh.gp_routing_date,
        chunk_bytes: usize::try_from(mesh.chunk_bytes).unwrap_or(MeshConfig::CHUNK_BYTES),
        ..MeshConfig::new(
            mesh.base_url.clone(),
            mailbox,
            secret(&mesh.password_file, "mesh.password_file")?,
            secret(&mesh.shared_key_file, "mesh.shared_key_file")?,
        )
    };
    // Each request of a send; a message that somebody sent us may be large.
    let client = MeshClient::new(settings, http(config.delivery.attempt_seconds)?, Arc::clone(clock));
    Ok(client.with_downloads(http(mesh.request_seconds)?))
}

fn directory(config: &Config, clock: &Arc<dyn Clock>, own_ods: &OdsCode) -> anyhow::Result<Arc<dyn Directory>> {
    let pds = &config.pds;
    if pds.mode == PdsMode::StandIn {
        let path = pds.stand_in_file.as_deref().context("pds.stand_in_file is not set")?;
        return Ok(Arc::new(StandInDirectory::load(path).with_context(|| format!("reading {}", path.display()))?));
    }
    let http = http(config, None, None, pds.allow_plain_loopback)?;
    let key = pds.key_file.as_deref().context("pds.key_file is not set")?;
    let tokens = TokenClient::new(
        TokenConfig {
            token_url: pds.token_url.clone(),
            api_key: pds.client_id.clone(),
            key_id: pds.key_id.clone(),
            private_key_pem: Secret::from_file(key).context("reading pds.key_file")?,
        },
        http.clone(),
        Arc::clone(clock),
    )?;
    Ok(Arc::new(PdsClient::new(pds_settings(config, own_ods), http, Some(tokens), Arc::clone(clock))))
}

fn pds_settings(config: &Config, own_ods: &OdsCode) -> PdsConfig {
    PdsConfig {
        base_url: config.pds.base_url.clone(),
        end_user_organisation: Some(own_ods.clone()),
        // As long as an answer may take: a busy PDS asks for some five seconds.
        retry_wait_max: Duration::from_secs(u64::from(config.delivery.attempt_seconds)),
        requests_per_second: config.pds.requests_per_second,
    }
}

fn http(
    config: &Config,
    client_certificate: Option<ClientCertificate>,
    ca: Option<&Path>,
    allow_plain_loopback: bool,
) -> anyhow::Result<HttpClient> {
    Ok(HttpClient::new(&http_config(config, client_certificate, ca, allow_plain_loopback)?)?)
}

fn http_config(
    config: &Config,
    client_certificate: Option<ClientCertificate>,
    ca: Option<&Path>,
    allow_plain_loopback: bool,
) -> anyhow::Result<HttpConfig> {
    Ok(HttpConfig {
        egress: config.egress.hosts.clone(),
        connect_timeout: Duration::from_secs(u64::from(config.delivery.connect_seconds)),
        total_timeout: Duration::from_secs(u64::from(config.delivery.attempt_seconds)),
        allow_plain_loopback,
        extra_roots_pem: extra_roots(config, ca)?,
        client_certificate,
        rsa_bits_min: config.identity.rsa_bits_min,
        ..HttpConfig::default()
    })
}

/// The Organisation Data Service.
///
/// # Errors
/// When an authority cannot be read.
pub(crate) fn ods(config: &Config) -> anyhow::Result<OdsClient> {
    let http = http(config, None, None, config.ods.allow_plain_loopback)?;
    Ok(OdsClient::new(http, config.ods.base_url.clone(), Arc::new(SystemClock)))
}

/// Whether the directory is held against ODS: its host is listed, and nobody has switched it off.
pub(crate) fn heeds_ods(config: &Config) -> bool {
    let host = config.ods.base_url.host_str().unwrap_or_default();
    config.ods.daily && config.egress.hosts.iter().any(|listed| listed.host.eq_ignore_ascii_case(host))
}

/// Whether the mailboxes of the directory are held against MESH.
pub(crate) fn heeds_mesh(config: &Config) -> bool {
    config.mesh.enabled && config.mesh.look_daily
}

fn watched(config: &Config) -> anyhow::Result<Option<organisations::Watched>> {
    if !heeds_ods(config) {
        return Ok(None);
    }
    let except = config.ods.except.iter().cloned().collect();
    Ok(Some(organisations::Watched { ods: Arc::new(ods(config)?), except, rest: REST }))
}

/// For the collector of traces, which often stands on the same machine in the clear. It may take as long as its variable says.
///
/// # Errors
/// When an authority cannot be read.
pub(crate) fn traces_http(config: &Config, traces: &Traces) -> anyhow::Result<HttpClient> {
    let http = HttpConfig { total_timeout: traces.timeout, ..http_config(config, None, None, true)? };
    Ok(HttpClient::new(&http)?)
}

/// For the key sets of clients: somebody waits for a token meanwhile.
fn key_http(config: &Config) -> anyhow::Result<HttpConfig> {
    Ok(HttpConfig {
        egress: config.egress.hosts.clone(),
        connect_timeout: FETCH_TIMEOUT,
        total_timeout: FETCH_TIMEOUT,
        response_bytes_max: KEY_SET_BYTES_MAX,
        extra_roots_pem: extra_roots(config, None)?,
        rsa_bits_min: config.identity.rsa_bits_min,
        ..HttpConfig::default()
    })
}

/// What we show to who asks for a certificate; nothing where nothing is configured.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn client_certificate(
    chain: Option<&Path>,
    key: Option<&Path>,
) -> anyhow::Result<Option<ClientCertificate>> {
    let Some((chain, key)) = chain.zip(key) else { return Ok(None) };
    let key_pem = Secret::from_file(key).with_context(|| format!("reading {}", key.display()))?;
    Ok(Some(ClientCertificate { chain_pem: read(chain)?, key_pem }))
}

fn extra_roots(config: &Config, ca: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let mut pem = Vec::new();
    for path in [config.egress.extra_ca_file.as_deref(), ca].into_iter().flatten() {
        pem.extend(read(path)?);
        pem.push(b'\n');
    }
    Ok(pem)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_pds_is_waited_for_as_long_as_an_answer_may_take() {
        let config = Config::load_from(None, []).expect("the defaults").config;
        let settings = pds_settings(&config, &"Y99900".parse().expect("a code"));
        assert_eq!(settings.retry_wait_max.as_secs(), u64::from(config.delivery.attempt_seconds));
        assert!(settings.retry_wait_max >= Duration::from_secs(5), "what PDS asks for in its specification");
        assert_eq!(settings.requests_per_second, 5, "what PDS allows an application by default");
    }
}
