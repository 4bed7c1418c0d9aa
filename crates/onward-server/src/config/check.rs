//! Whether a configuration can work on this machine: files, addresses, and values that exclude each other.
//!
//! Nothing is connected to and nothing is written. Findings name keys and files, never what a secret file holds.

mod alerts;

use std::fs::File;
use std::path::Path;

use onward_connect::egress::Egress as EgressList;
use onward_connect::mesh::MeshConfig;
use onward_connect::secret::Secret;
use onward_connect::strength::{RSA_BITS_MAX, RSA_BITS_MIN, private_key_bits};
use onward_core::state::TransportKind;
use onward_store::postgres::address_problem;
use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use super::{Config, Loaded, PdsMode, StoreUrl, SyslogContent};
use crate::auth::scope::Scopes;

/// ITK3 receivers refuse larger messages with 20015.
const ITK_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Longest token life of the NHS API platform, seconds.
const TOKEN_SECONDS_MAX: u32 = 600;

/// Secrets of manuals, images and the NHS MESH sandbox.
const PUBLISHED: [&str; 9] =
    ["password", "TestKey", "BackBone", "changeme", "change-me", "postgres", "secret", "admin", "onward"];

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Probably not meant.
    Warning,
    /// The gateway does not start with this.
    Error,
}

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave.
    pub severity: Severity,
    /// The key (`mesh.password_file`).
    pub key: &'static str,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{word}: {}: {}", self.key, self.message)
    }
}

impl Loaded {
    /// Everything that is wrong or doubtful, errors first.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let config = &self.config;
        let mut findings = Findings { found: Vec::new(), rsa_bits_min: config.identity.rsa_bits_min };
        server(config, &mut findings);
        identity(config, &mut findings);
        people(config, &mut findings);
        issuers(config, &mut findings);
        token_issuers(config, &mut findings);
        store(config, &mut findings);
        keys(config, &mut findings);
        mesh(config, &mut findings);
        pds(config, &mut findings);
        delivery(config, &mut findings);
        alerts::push(config, &mut findings);
        alerts::hooks(config, &mut findings);
        alerts::traces(config, &mut findings);
        alerts::alerts(config, &mut findings);
        rules(config, &mut findings);
        audit(config, &mut findings);
        findings.readable("egress.extra_ca_file", config.egress.extra_ca_file.as_deref());
        findings.found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings.found
    }
}

struct Findings {
    found: Vec<Finding>,
    rsa_bits_min: u32,
}

impl Findings {
    fn error(&mut self, key: &'static str, message: impl Into<String>) {
        self.found.push(Finding { severity: Severity::Error, key, message: message.into() });
    }

    fn warning(&mut self, key: &'static str, message: impl Into<String>) {
        self.found.push(Finding { severity: Severity::Warning, key, message: message.into() });
    }

    /// An optional file that must be readable when it is named.
    fn readable(&mut self, key: &'static str, path: Option<&Path>) {
        let Some(path) = path else { return };
        match File::open(path).and_then(|file| file.metadata()) {
            Err(error) => self.error(key, format!("{} cannot be read: {error}", path.display())),
            Ok(metadata) if !metadata.is_file() => self.error(key, format!("{} is not a file", path.display())),
            Ok(metadata) if metadata.len() == 0 => self.error(key, format!("{} is empty", path.display())),
            Ok(_) => {}
        }
    }

    /// A secret file: readable for us, and for nobody else; if it is an RSA key, a large one.
    fn secret(&mut self, key: &'static str, path: Option<&Path>) {
        self.readable(key, path);
        let Some(path) = path else { return };
        self.private(key, path);
        let bits = std::fs::read(path).ok().and_then(|text| private_key_bits(&Zeroizing::new(text)));
        if let Some(bits) = bits.filter(|bits| *bits < self.rsa_bits_min) {
            let wanted = self.rsa_bits_min;
            self.error(key, format!("an RSA key of {bits} bits, and identity.rsa_bits_min asks for {wanted}"));
        }
    }

    /// A certificate of ours and its key: both or neither.
    fn client_certificate(&mut self, keys: [&'static str; 2], certificate: Option<&Path>, key: Option<&Path>) {
        self.readable(keys[0], certificate);
        self.secret(keys[1], key);
        if certificate.is_some() != key.is_some() {
            self.error(keys[0], "certificate and key go together: one of them is not set");
        }
    }

    fn required_secret(&mut self, key: &'static str, path: Option<&Path>, why: &str) {
        if path.is_none() {
            self.error(key, format!("not set: {why}"));
        }
        self.secret(key, path);
    }

    /// A secret that anybody can read in a manual protects nothing; with a sandbox on this machine it is in its place.
    fn own(&mut self, key: &'static str, path: Option<&Path>, sandbox: bool) {
        let Some(Ok(secret)) = path.map(Secret::from_file) else { return };
        if !sandbox && PUBLISHED.iter().any(|published| secret.expose().eq_ignore_ascii_case(published)) {
            self.error(key, "is a published default or sandbox secret: ask for one of your own and put it there");
        }
    }

    #[cfg(unix)]
    fn private(&mut self, key: &'static str, path: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let Ok(metadata) = std::fs::metadata(path) else { return };
        let mode = metadata.permissions().mode();
        let who = match (mode & 0o007, mode & 0o070) {
            (0, 0) => return,
            (0, _) => "the file's group",
            _ => "every user of this machine",
        };
        let mend = format!("run: chmod 600 {}", path.display());
        self.error(key, format!("{who} can reach this secret (mode {:o}); {mend}", mode & 0o777));
    }

    #[cfg(not(unix))]
    fn private(&mut self, _: &'static str, _: &Path) {}

    fn positive(&mut self, key: &'static str, value: u32) {
        if value == 0 {
            self.error(key, "must be more than 0");
        }
    }

    /// That a host may be reached that is spoken to in another way than by HTTP.
    fn reachable_host(&mut self, key: &'static str, config: &Config, host: &str, port: u16) {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match Url::parse(&format!("https://{host}:{port}/")) {
            Ok(url) => self.reachable(key, config, &url, false),
            Err(error) => self.error(key, error.to_string()),
        }
    }

    fn reachable(&mut self, key: &'static str, config: &Config, url: &Url, allow_plain_loopback: bool) {
        let list = EgressList::new(config.egress.hosts.iter().cloned());
        if let Err(refusal) = list.check_url(url, allow_plain_loopback) {
            self.error(key, format!("{refusal}; see egress.hosts"));
        }
    }
}

/// Names that are plain and stand once.
fn names<'a>(key: &'static str, names: impl Iterator<Item = &'a String>, findings: &mut Findings) {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(plain) || !seen.insert(name) {
            findings.error(key, "every name has lower-case letters, digits and '-', and stands once");
        }
    }
}

fn token_issuers(config: &Config, findings: &mut Findings) {
    const KEY: &str = "identity.token_issuer";
    let all = &config.identity.token_issuer;
    names(KEY, all.iter().map(|issuer| &issuer.name), findings);
    let mut issuers = std::collections::BTreeSet::new();
    for issuer in all {
        if issuer.issuer.is_empty() || !issuers.insert(&issuer.issuer) {
            findings.error(KEY, "every issuer is set, and stands once");
        }
        findings.reachable(KEY, config, &issuer.jwks_url, false);
        if [&issuer.audience, &issuer.kind, &issuer.client_claim, &issuer.scope_claim].into_iter().any(String::is_empty)
            || issuer.clients.is_empty()
        {
            findings.error(KEY, "audience, kind, client_claim, scope_claim and clients must be set");
        }
        if !(1..=1_440).contains(&issuer.life_minutes_max) {
            findings.error(KEY, "life_minutes_max must be 1 to 1440");
        }
        for scope in issuer.scopes.values().flatten() {
            if !Scopes::default().add(scope) {
                findings.error(KEY, format!("{scope} is no scope of ours: they look like system/Task.rs"));
            }
        }
    }
}

fn issuers(config: &Config, findings: &mut Findings) {
    const KEY: &str = "identity.issuer";
    names(KEY, config.identity.issuer.iter().map(|issuer| &issuer.name), findings);
    for issuer in &config.identity.issuer {
        match Url::parse(&issuer.issuer) {
            Ok(url) => findings.reachable(KEY, config, &url, false),
            Err(error) => findings.error(KEY, format!("issuer is no URL: {error}")),
        }
        if issuer.client_id.is_empty() || !issuer.scopes.iter().any(|scope| scope == "openid") {
            findings.error(KEY, "client_id must be set, and scopes must have openid");
        }
        if !(1..=43_200).contains(&issuer.auth_age_max_seconds) {
            findings.error(KEY, "auth_age_max_seconds must be 1 to 43200");
        } else if u64::from(issuer.auth_age_max_seconds) >= u64::from(config.people.session_hours) * 3_600 {
            let told = "auth_age_max_seconds is as long as people.session_hours, or longer: a session counts from the sign-in there, \
                        and one that old would be over at once. Make it shorter";
            findings.error(KEY, told);
        }
        findings.secret(KEY, Some(&issuer.key_file));
    }
}

fn people(config: &Config, findings: &mut Findings) {
    let people = &config.people;
    for (key, value, most) in [
        ("people.session_idle_minutes", people.session_idle_minutes, 15),
        ("people.session_hours", people.session_hours, 12),
        ("people.invitation_hours", people.invitation_hours, 14 * 24),
    ] {
        if !(1..=most).contains(&value) {
            findings.error(key, format!("must be 1 to {most}"));
        }
    }
}

fn server(config: &Config, findings: &mut Findings) {
    let server = &config.server;
    findings.readable("server.tls_certificate_file", server.tls_certificate_file.as_deref());
    findings.secret("server.tls_key_file", server.tls_key_file.as_deref());
    findings.readable("server.client_ca_file", server.client_ca_file.as_deref());
    findings.readable("server.client_crl_file", server.client_crl_file.as_deref());
    match (&server.client_ca_file, &server.client_crl_file) {
        (None, Some(_)) => findings.error("server.client_crl_file", "revocation lists need server.client_ca_file"),
        (Some(_), None) => {
            findings.warning("server.client_crl_file", "not set: a revoked client certificate is taken like any other");
        }
        _ => {}
    }
    match (&server.tls_certificate_file, &server.tls_key_file) {
        (Some(_), None) => findings.error("server.tls_key_file", "not set, but a certificate is"),
        (None, Some(_)) => findings.error("server.tls_certificate_file", "not set, but a key is"),
        (None, None) if !server.listen.ip().is_loopback() => findings.error(
            "server.tls_certificate_file",
            format!("not set: {} is no loopback address, so it needs TLS", server.listen),
        ),
        (None, None) if server.client_ca_file.is_some() => {
            findings.error("server.client_ca_file", "client certificates need TLS: set certificate and key");
        }
        _ => {}
    }
    let public = server.public_url.url();
    let loopback = is_loopback(public);
    if public.scheme() != "https" && !loopback {
        findings.error("server.public_url", "must be https");
    } else if loopback && !server.listen.ip().is_loopback() {
        findings.warning("server.public_url", "names this machine only, but the listener is open to others");
    }
    if !server.operations_listen.ip().is_loopback() {
        if config.tls().is_none() {
            findings
                .error("server.operations_listen", "is no loopback address, so it needs TLS: set certificate and key");
        }
        findings.warning("server.operations_listen", "metrics and readiness are open to the network");
    }
    // Port 0 is "any free port": two of them never collide.
    if server.listen == server.operations_listen && server.listen.port() != 0 {
        findings.error("server.operations_listen", "is the same address as server.listen");
    }
    findings.positive("server.client_requests_per_minute", server.client_requests_per_minute);
    findings.positive("server.client_requests_at_once", server.client_requests_at_once);
    findings.positive("server.connection_idle_seconds", server.connection_idle_seconds);
    findings.positive("server.connection_seconds_max", server.connection_seconds_max);
    findings.positive("server.write_stall_seconds", server.write_stall_seconds);
    if server.body_bytes_max == 0 {
        findings.error("server.body_bytes_max", "must be more than 0");
    } else if server.body_bytes_max > ITK_BYTES_MAX {
        findings.warning(
            "server.body_bytes_max",
            "ITK3 receivers refuse messages over 5 MB (20015): what is accepted here may not be deliverable",
        );
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn identity(config: &Config, findings: &mut Findings) {
    if config.identity.ods.is_none() {
        findings.error("identity.ods", "not set: the ODS code of the organisation that runs this gateway");
    }
    if config.identity.name.trim().is_empty() {
        findings.error("identity.name", "not set: the name of the organisation that runs this gateway");
    }
    findings.positive("identity.token_lifetime_seconds", config.identity.token_lifetime_seconds);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&config.identity.rsa_bits_min) {
        findings.error("identity.rsa_bits_min", format!("must be {RSA_BITS_MIN} to {RSA_BITS_MAX}"));
    }
    if config.identity.token_lifetime_seconds > TOKEN_SECONDS_MAX {
        findings.error("identity.token_lifetime_seconds", format!("must be at most {TOKEN_SECONDS_MAX}"));
    }
}

fn store(config: &Config, findings: &mut Findings) {
    findings.secret("store.password_file", config.store.password_file.as_deref());
    findings.own("store.password_file", config.store.password_file.as_deref(), false);
    findings.readable("store.ca_file", config.store.ca_file.as_deref());
    findings.client_certificate(
        ["store.certificate_file", "store.key_file"],
        config.store.certificate_file.as_deref(),
        config.store.key_file.as_deref(),
    );
    match &config.store.url {
        StoreUrl::Sqlite(path) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() {
                findings.error("store.url", format!("the folder {} does not exist", folder.display()));
            } else if path.is_dir() {
                findings.error("store.url", format!("{} is a folder", path.display()));
            }
        }
        StoreUrl::Postgres(url) => {
            if let Some(problem) = address_problem(url) {
                findings.error("store.url", problem);
            }
        }
    }
    if config.store.allow_fsync_off {
        findings.warning(
            "store.allow_fsync_off",
            "a power cut may lose acknowledged messages: for throw-away databases of tests only",
        );
    }
}

/// MESH API, Check an inbox: "a maximum of once every five minutes".
const MESH_POLL_SECONDS_MIN: u32 = 300;

fn mesh(config: &Config, findings: &mut Findings) {
    let mesh = &config.mesh;
    if !mesh.enabled {
        return;
    }
    if mesh.mailbox.is_none() {
        findings.error("mesh.mailbox", "not set: our own mailbox");
    }
    findings.required_secret("mesh.password_file", mesh.password_file.as_deref(), "the mailbox password");
    findings.required_secret("mesh.shared_key_file", mesh.shared_key_file.as_deref(), "the environment's shared key");
    let sandbox = is_loopback(&mesh.base_url);
    findings.own("mesh.password_file", mesh.password_file.as_deref(), sandbox);
    findings.own("mesh.shared_key_file", mesh.shared_key_file.as_deref(), sandbox);
    findings.client_certificate(
        ["mesh.certificate_file", "mesh.key_file"],
        mesh.certificate_file.as_deref(),
        mesh.key_file.as_deref(),
    );
    findings.readable("mesh.ca_file", mesh.ca_file.as_deref());
    if mesh.certificate_file.is_none() && mesh.base_url.scheme() == "https" {
        findings.warning("mesh.certificate_file", "not set: the NHS MESH environments want mutual TLS");
    }
    findings.positive("mesh.poll_seconds", mesh.poll_seconds);
    if !sandbox && (1..MESH_POLL_SECONDS_MIN).contains(&mesh.poll_seconds) {
        findings.error(
            "mesh.poll_seconds",
            format!("MESH has a mailbox polled every five minutes at most: at least {MESH_POLL_SECONDS_MIN}"),
        );
    }
    findings.positive("mesh.request_seconds", mesh.request_seconds);
    findings.positive("mesh.chunk_bytes", mesh.chunk_bytes);
    if usize::try_from(mesh.chunk_bytes).is_ok_and(|bytes| bytes > MeshConfig::CHUNK_BYTES) {
        findings
            .error("mesh.chunk_bytes", format!("MESH takes 100 MB in a request: at most {}", MeshConfig::CHUNK_BYTES));
    }
    findings.reachable("mesh.base_url", config, &mesh.base_url, mesh.allow_plain_loopback);
}

fn pds(config: &Config, findings: &mut Findings) {
    let pds = &config.pds;
    match pds.mode {
        PdsMode::StandIn => {
            findings.warning("pds.mode", "people are looked up in a local file: for demo, tests and training only");
            if pds.stand_in_file.is_none() {
                findings.error("pds.stand_in_file", "not set: the people of the stand-in");
            }
            findings.readable("pds.stand_in_file", pds.stand_in_file.as_deref());
        }
        PdsMode::Pds => {
            for (key, value) in [("pds.client_id", &pds.client_id), ("pds.key_id", &pds.key_id)] {
                if value.is_empty() {
                    findings.error(key, "not set: registered with the NHS API platform");
                }
            }
            findings.required_secret("pds.key_file", pds.key_file.as_deref(), "the key that signs our assertions");
            findings.reachable("pds.base_url", config, &pds.base_url, pds.allow_plain_loopback);
            findings.reachable("pds.token_url", config, &pds.token_url, pds.allow_plain_loopback);
            findings.positive("pds.requests_per_second", pds.requests_per_second);
        }
    }
}

fn delivery(config: &Config, findings: &mut Findings) {
    let delivery = &config.delivery;
    findings.positive("delivery.workers", delivery.workers);
    findings.positive("delivery.connect_seconds", delivery.connect_seconds);
    findings.positive("delivery.attempt_seconds", delivery.attempt_seconds);
    for (kind, retry) in &config.retry {
        if *kind == TransportKind::Inbox {
            findings.error("retry", "nothing is sent to an inbox: set https and mesh");
        }
        for value in [retry.first_seconds, retry.longest_seconds, retry.give_up_hours] {
            findings.positive("retry", value);
        }
        if retry.first_seconds > retry.longest_seconds {
            findings.error("retry", format!("{kind}: first_seconds is longer than longest_seconds"));
        }
        for (key, value) in
            [("longest_seconds", retry.longest_seconds), ("retry_after_seconds_max", retry.retry_after_seconds_max)]
        {
            if u64::from(value) >= u64::from(retry.give_up_hours) * 3_600 {
                findings.error(
                    "retry",
                    format!("{kind}: {key} is as long as give_up_hours, or longer: a copy would be given up before it is tried again"),
                );
            }
        }
    }
    if delivery.connect_seconds > delivery.attempt_seconds {
        findings.error("delivery.connect_seconds", "is longer than delivery.attempt_seconds");
    }
    if delivery.lease_seconds <= delivery.attempt_seconds {
        findings.error(
            "delivery.lease_seconds",
            "must be longer than delivery.attempt_seconds: a node that cannot reach the store for one attempt would lose what it sends",
        );
    }
    for (reason, policy) in &config.holds {
        if policy.owner.trim().is_empty() {
            findings.error("holds", format!("[holds.{reason}] owner is not set: somebody must decide"));
        }
        if policy.hours == 0 {
            findings.error("holds", format!("[holds.{reason}] hours must be more than 0"));
        }
    }
}

fn rules(config: &Config, findings: &mut Findings) {
    match config.load_routes() {
        Ok(file) => file.warnings.into_iter().for_each(|warning| findings.warning("routes.file", warning)),
        Err(error) => error.problems.into_iter().for_each(|problem| findings.error("routes.file", problem)),
    }
    if let Err(error) = config.load_profiles() {
        error.problems.into_iter().for_each(|problem| findings.error("validation.packages", problem));
    }
    if let Err(error) = config.load_rules() {
        error.problems.into_iter().for_each(|problem| findings.error("validation.rules_file", problem));
    }
    if let Some(folder) = &config.disclosure.folder
        && !folder.is_dir()
    {
        findings.error("disclosure.folder", format!("the folder {} does not exist", folder.display()));
    }
}

fn keys(config: &Config, findings: &mut Findings) {
    // A command is not run for a check.
    if (config.keys.command.is_empty() || config.keys.environment.is_some())
        && let Err(error) = crate::store_keys::ring(&config.keys)
    {
        let key = if config.keys.environment.is_some() { "keys.environment" } else { "keys.file" };
        findings.error(key, error.to_string());
    }
}

/// Entries that are not under a checkpoint can be taken away without a trace.
const CHECKPOINT_SECONDS: u32 = 5;

fn audit(config: &Config, findings: &mut Findings) {
    findings.positive("audit.checkpoint_seconds", config.audit.checkpoint_seconds);
    findings.positive("audit.ship_seconds", config.audit.ship_seconds);
    if config.audit.checkpoint_seconds > CHECKPOINT_SECONDS {
        findings.warning(
            "audit.checkpoint_seconds",
            format!(
                "entries of the last {} seconds can be cut off unseen: at most {CHECKPOINT_SECONDS} is better",
                config.audit.checkpoint_seconds
            ),
        );
    }
    let mut names = std::collections::BTreeSet::new();
    for witness in &config.audit.witness {
        findings.reachable("audit.witness", config, &witness.url, false);
        if !names.insert(witness.key.name()) {
            findings.error("audit.witness", format!("{} is there twice", witness.key.name()));
        }
    }
    if let Some(url) = &config.audit.checkpoint_url {
        findings.reachable("audit.checkpoint_url", config, url, false);
    }
    if let Some(folder) = &config.audit.checkpoint_folder
        && !folder.is_dir()
    {
        findings.error("audit.checkpoint_folder", format!("the folder {} does not exist", folder.display()));
    }
    syslog(config, findings);
    let key = &config.audit.signing_key_file;
    if key.exists() {
        findings.secret("audit.signing_key_file", Some(key));
        return;
    }
    let folder = key.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        findings.warning("audit.signing_key_file", format!("{} does not exist yet: serve makes it", key.display()));
    } else {
        findings.error("audit.signing_key_file", format!("the folder {} does not exist", folder.display()));
    }
}

fn syslog(config: &Config, findings: &mut Findings) {
    let audit = &config.audit;
    findings.readable("audit.syslog_ca_file", audit.syslog_ca_file.as_deref());
    findings.client_certificate(
        ["audit.syslog_certificate_file", "audit.syslog_key_file"],
        audit.syslog_certificate_file.as_deref(),
        audit.syslog_key_file.as_deref(),
    );
    let Some(address) = &audit.syslog_address else { return };
    findings.reachable_host("audit.syslog_address", config, &address.host, address.port);
    if audit.syslog_content == SyslogContent::Event {
        findings.warning(
            "audit.syslog_content",
            "NHS numbers leave with every entry: the receiver must be allowed to know them",
        );
    }
}
