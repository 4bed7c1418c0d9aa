//! The gateway's configuration: compiled-in defaults, then one TOML file, then the environment.
//!
//! It refuses keys that nobody reads, secrets as values, and URLs that carry credentials. It is the only place that
//! reads the process environment. Reading says whether a text is a configuration; [`Loaded::check`] says whether it
//! can work on this machine.

mod alerts;
mod audit;
pub mod check;
mod identity;
mod layers;
mod national;
pub mod routes;
mod traces;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onward_connect::clamd::ClamdAddress;
use onward_connect::egress::EgressHost;
use onward_core::OdsCode;
use onward_core::state::{HoldReason, TransportKind};
use onward_gateway::Profiles;
use onward_validate::conformance::Conformance;
use onward_validate::{Level, RuleBook, Validator};
use serde::{Deserialize, Serialize};
use url::Url;

pub use alerts::{Alerts, HookHost, PushHost, Smtp, Ward};
pub use audit::{Audit, HostPort, SyslogContent, Witness};
pub use check::{Finding, Severity};
pub use identity::{Identity, Issuer, TokenIssuer};
pub(crate) use layers::{line_of, nearest, with_suggestion};
pub use national::{Mesh, Ods, Pds, PdsMode};
pub use routes::RouteFile;
pub use traces::{Sampling, Traces};
pub use values::StoreUrl;

use crate::hardening::Hardening;
use crate::listener::TlsFiles;
use values::{filled, parsed};

/// `config/gateway.toml`: every key with its default and its meaning.
pub const DEFAULTS: &str = include_str!("../../../config/gateway.toml");

/// All settings, valid one by one. Paths are resolved against the folder of the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where traces go, as OpenTelemetry's variables say.
    #[serde(skip)]
    pub traces: Option<Traces>,
    /// Each section as it is in force, in one text: every key with its value. Never a secret: see [`Setting`].
    #[serde(skip)]
    pub sections: BTreeMap<String, String>,
    /// Listeners and limits.
    pub server: Server,
    /// The organisation that runs the gateway.
    pub identity: Identity,
    /// People who sign in.
    pub people: People,
    /// Where transfers are kept.
    pub store: Store,
    /// Under which keys.
    pub keys: Keys,
    /// How long what is stored is kept.
    pub retention: Retention,
    /// The Message Exchange for Social Care and Health.
    pub mesh: Mesh,
    /// The Personal Demographics Service.
    pub pds: Pds,
    /// The Organisation Data Service.
    pub ods: Ods,
    /// Where Onward may connect to.
    pub egress: Egress,
    /// How copies are sent.
    pub delivery: Delivery,
    /// When copies are sent again, by class of endpoint.
    pub retry: BTreeMap<TransportKind, Retry>,
    /// When a person must look, and who is told.
    pub alerts: Alerts,
    /// The mail server.
    pub smtp: Smtp,
    /// Who decides about a transfer that waits, and how soon. Every reason is there.
    pub holds: BTreeMap<HoldReason, HoldPolicy>,
    /// Which message goes to whom.
    pub routes: RoutesFile,
    /// How messages are judged.
    pub validation: Validation,
    /// What looks for malware.
    pub scanning: Scanning,
    /// Who may receive what.
    pub disclosure: Disclosure,
    /// The audit log.
    pub audit: Audit,
    /// Logs.
    pub log: Log,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Public listener.
    pub listen: SocketAddr,
    /// Certificate chain, PEM. With the key: TLS.
    #[serde(deserialize_with = "filled")]
    pub tls_certificate_file: Option<PathBuf>,
    /// Private key, PEM.
    #[serde(deserialize_with = "filled")]
    pub tls_key_file: Option<PathBuf>,
    /// Authorities of client certificates, PEM.
    #[serde(deserialize_with = "filled")]
    pub client_ca_file: Option<PathBuf>,
    /// Revocation lists of these authorities, PEM.
    #[serde(deserialize_with = "filled")]
    pub client_crl_file: Option<PathBuf>,
    /// Operations listener.
    pub operations_listen: SocketAddr,
    /// The address that others know us by.
    #[serde(deserialize_with = "parsed")]
    pub public_url: PublicUrl,
    /// Largest accepted message, bytes.
    pub body_bytes_max: usize,
    /// Requests that one machine client may make in a minute.
    pub client_requests_per_minute: u32,
    /// Requests of one machine client that are answered side by side.
    pub client_requests_at_once: u32,
    /// Whether a machine client's search may name a person in its address, in place of a posted form.
    pub patients_in_addresses: bool,
    /// Seconds that a connection may stay open without a request.
    pub connection_idle_seconds: u32,
    /// Seconds that a connection may stay open in all.
    pub connection_seconds_max: u32,
    /// Seconds in which a peer must take something of what is written to it.
    pub write_stall_seconds: u32,
    /// What the process gives up before it serves.
    pub hardening: Hardening,
}

/// The public address without a trailing slash: [`PublicUrl::at`] appends paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// The absolute URL of `path`, which begins with a slash.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }

    /// As a URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl std::str::FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = values::url(text)?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("the public address is scheme, host and port only, without a path".to_owned());
        }
        Ok(Self(url))
    }
}

/// `[people]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// A session that is not used for so long is over, minutes.
    pub session_idle_minutes: u32,
    /// A session that began so long ago is over, hours.
    pub session_hours: u32,
    /// How long an invitation link is good, hours.
    pub invitation_hours: u32,
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Which store, where.
    #[serde(deserialize_with = "parsed")]
    pub url: StoreUrl,
    /// File with the PostgreSQL password.
    #[serde(deserialize_with = "filled")]
    pub password_file: Option<PathBuf>,
    /// Authorities of the PostgreSQL server's certificate, PEM.
    #[serde(deserialize_with = "filled")]
    pub ca_file: Option<PathBuf>,
    /// The PostgreSQL user's certificate, where the server wants one, PEM.
    #[serde(deserialize_with = "filled")]
    pub certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(deserialize_with = "filled")]
    pub key_file: Option<PathBuf>,
    /// Takes a PostgreSQL server that does not sync.
    pub allow_fsync_off: bool,
}

/// `[scanning]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scanning {
    /// ClamAV's daemon on this machine.
    #[serde(deserialize_with = "filled")]
    pub clamd: Option<ClamdAddress>,
}

/// `[keys]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// File of the key-encryption keys.
    #[serde(deserialize_with = "values::path")]
    pub file: PathBuf,
    /// Program and arguments that print such a file; when set, the file is not read.
    pub command: Vec<String>,
    /// Name of the environment variable that holds what such a file does; when set, the file is not read.
    #[serde(deserialize_with = "filled")]
    pub environment: Option<String>,
}

/// `[retention]`; 0 keeps for ever.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Days for the senders' bytes.
    pub messages_days: u32,
    /// Days for the copies' bytes, pages and cards.
    pub renditions_days: u32,
    /// Days after the last record about a person until their keys go, and everything about them with these.
    pub people_days: u32,
    /// Days for alerts that are over, with who was told.
    pub alerts_days: u32,
    /// Days for entries of the directory after others took their place.
    pub directory_days: u32,
    /// Days for accounts after they were disabled.
    pub accounts_days: u32,
    /// Days for the reasons of erasures, of legal holds that were lifted, and of what two people decided.
    pub decisions_days: u32,
    /// Days for subscriptions that are off or given up.
    pub subscriptions_days: u32,
}

/// `[egress]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// The only hosts that are connected to.
    pub hosts: Vec<EgressHost>,
    /// Further authorities, PEM.
    #[serde(deserialize_with = "filled")]
    pub extra_ca_file: Option<PathBuf>,
}

/// `[delivery]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// Copies that are sent side by side.
    pub workers: u32,
    /// How long a worker owns a copy.
    pub lease_seconds: u32,
    /// Longest wait for TCP and TLS.
    pub connect_seconds: u32,
    /// Longest exchange with a partner.
    pub attempt_seconds: u32,
    /// Hosts that want a token or signatures.
    pub push: Vec<PushHost>,
    /// Where subscriptions may have their owners called.
    pub hooks: Vec<HookHost>,
}

/// `[retry.<transport>]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// First window of jitter.
    pub first_seconds: u32,
    /// Longest window.
    pub longest_seconds: u32,
    /// `Retry-After` is honoured up to this.
    pub retry_after_seconds_max: u32,
    /// After this a person decides.
    pub give_up_hours: u32,
}

/// `[holds.<reason>]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldPolicy {
    /// Team or role that decides.
    pub owner: String,
    /// Within how many hours.
    pub hours: u32,
}

/// `[routes]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutesFile {
    /// The rules; none: the built-in ones.
    #[serde(deserialize_with = "filled")]
    pub file: Option<PathBuf>,
}

/// `[validation]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// The rules of the ITK3 profiles and the levels of all; none: the built-in ones.
    #[serde(deserialize_with = "filled")]
    pub rules_file: Option<PathBuf>,
    /// What a breach of FHIR R4 or of a declared profile does to a message.
    pub profiles: ProfileLevel,
    /// FHIR packages beside R4 itself: folders or `.tgz`.
    pub packages: Vec<PathBuf>,
}

/// What a breach of FHIR R4 or of a declared profile does to a message that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileLevel {
    /// It is refused.
    Refuse,
    /// It is told, and the message carried on.
    Warn,
    /// Messages are judged by the rules of transfer of care alone.
    Off,
}

/// `[disclosure]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosure {
    /// Folder of the policies; none: the built-in ones.
    #[serde(deserialize_with = "filled")]
    pub folder: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// For whom.
    pub format: LogFormat,
    /// Filter of `tracing-subscriber`.
    pub filter: String,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// A configuration with the origin of every value.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// Every key with its value and where that comes from, sorted by key.
    pub settings: Vec<Setting>,
    /// The file, when there is one.
    pub file: Option<PathBuf>,
}

/// One key. Never a secret: secrets are files, and URLs with credentials are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Section and key (`server.listen`).
    pub key: String,
    /// As TOML, before paths are resolved.
    pub value: String,
    /// `default`, `gateway.toml line 7` or the name of the environment variable.
    pub source: String,
}

/// The texts are not a configuration. Every problem is listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// One sentence each, with its place.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl Config {
    /// Reads defaults, `file` if given, and the process environment.
    ///
    /// # Errors
    /// All problems at once, each with file and line or environment variable.
    pub fn load(file: Option<&Path>) -> Result<Loaded, ConfigError> {
        Self::load_from(file, std::env::vars_os())
    }

    /// As [`Config::load`], with another environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let text = match file {
            None => None,
            Some(path) => Some((
                path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned()),
                std::fs::read_to_string(path).map_err(|error| ConfigError {
                    problems: vec![format!("the configuration {} cannot be read: {error}", path.display())],
                })?,
            )),
        };
        let environment: Vec<_> = environment.into_iter().collect();
        let traces = Traces::read(&environment);
        let merged = layers::merge(text.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), environment);
        let (mut config, settings) = match (merged, traces) {
            (Ok((config, settings)), Ok(traces)) => (Self { traces, ..config }, settings),
            (merged, traces) => {
                let mut problems = merged.err().map(|error| error.problems).unwrap_or_default();
                problems.extend(traces.err().unwrap_or_default());
                return Err(ConfigError { problems });
            }
        };
        for setting in &settings {
            let section = setting.key.split('.').next().unwrap_or_default();
            let text = config.sections.entry(section.to_owned()).or_default();
            text.push_str(&format!("{} = {}\n", setting.key, setting.value));
        }
        if let Some(folder) = file.and_then(Path::parent) {
            config.resolve(folder);
        }
        Ok(Loaded { config, settings, file: file.map(Path::to_owned) })
    }

    /// Where the environment says that the system's certificate authorities are (OpenSSL's variables).
    #[must_use]
    pub fn authorities_elsewhere() -> Vec<PathBuf> {
        let lists = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os);
        lists.flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>()).collect()
    }

    /// A secret that the environment holds under this name. It becomes no part of the configuration, which is printed.
    pub(crate) fn secret_variable(name: &str) -> Option<zeroize::Zeroizing<String>> {
        std::env::var_os(name).and_then(|value| value.into_string().ok()).map(zeroize::Zeroizing::new)
    }

    /// The files of the public listener's TLS, when it is configured.
    #[must_use]
    pub fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.server.tls_certificate_file.clone()?,
            key: self.server.tls_key_file.clone()?,
            client_ca: self.server.client_ca_file.clone(),
            client_crl: self.server.client_crl_file.clone(),
            rsa_bits_min: self.identity.rsa_bits_min,
        })
    }

    /// The organisation that runs the gateway.
    ///
    /// # Errors
    /// When it is not set: nothing is signed in nobody's name.
    pub fn own_ods(&self) -> Result<&OdsCode, ConfigError> {
        self.identity.ods.as_ref().ok_or_else(|| ConfigError {
            problems: vec![
                "[identity] ods is not set: the ODS code of the organisation that runs this gateway".to_owned(),
            ],
        })
    }

    /// Who decides about this kind of hold, and how soon.
    #[must_use]
    pub fn hold_policy(&self, reason: HoldReason) -> &HoldPolicy {
        self.holds.get(&reason).expect("the compiled-in defaults name every reason")
    }

    /// The routes in force.
    ///
    /// # Errors
    /// When the file cannot be read or is not a route file.
    pub fn load_routes(&self) -> Result<RouteFile, ConfigError> {
        match &self.routes.file {
            None => Ok(RouteFile::built_in()),
            Some(path) => RouteFile::read(path),
        }
    }

    /// The rules of the ITK3 profiles in force.
    ///
    /// # Errors
    /// When the file cannot be read or is not a rule file.
    pub fn load_rules(&self) -> Result<Arc<RuleBook>, ConfigError> {
        let Some(path) = &self.validation.rules_file else { return Ok(RuleBook::built_in()) };
        let problem = |what: String| ConfigError { problems: vec![format!("the rules {}: {what}", path.display())] };
        let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
        RuleBook::parse(&text).map(Arc::new).map_err(|error| problem(error.to_string()))
    }

    /// FHIR and the profiles in force.
    ///
    /// # Errors
    /// When a package cannot be used.
    pub fn load_profiles(&self) -> Result<Profiles, ConfigError> {
        let level = match self.validation.profiles {
            ProfileLevel::Refuse => Some(Level::Refuse),
            ProfileLevel::Warn => Some(Level::Warn),
            ProfileLevel::Off => None,
        };
        let conformance = Conformance::with_packages(&self.validation.packages)
            .map_err(|error| ConfigError { problems: vec![format!("[validation] packages: {error}")] })?;
        Ok(Profiles { validator: Arc::new(Validator::new(conformance)), level })
    }

    fn resolve(&mut self, folder: &Path) {
        let optional = [
            &mut self.server.tls_certificate_file,
            &mut self.server.tls_key_file,
            &mut self.server.client_ca_file,
            &mut self.server.client_crl_file,
            &mut self.store.password_file,
            &mut self.store.ca_file,
            &mut self.store.certificate_file,
            &mut self.store.key_file,
            &mut self.smtp.password_file,
            &mut self.smtp.certificate_file,
            &mut self.smtp.key_file,
            &mut self.mesh.password_file,
            &mut self.mesh.shared_key_file,
            &mut self.mesh.certificate_file,
            &mut self.mesh.key_file,
            &mut self.mesh.ca_file,
            &mut self.pds.key_file,
            &mut self.pds.stand_in_file,
            &mut self.egress.extra_ca_file,
            &mut self.validation.rules_file,
            &mut self.routes.file,
            &mut self.disclosure.folder,
            &mut self.audit.checkpoint_folder,
            &mut self.audit.syslog_ca_file,
            &mut self.audit.syslog_certificate_file,
            &mut self.audit.syslog_key_file,
        ];
        for issuer in &mut self.identity.issuer {
            issuer.key_file = folder.join(&issuer.key_file);
        }
        self.alerts.resolve(folder);
        self.delivery.push.iter_mut().for_each(|push| push.resolve(folder));
        for package in &mut self.validation.packages {
            *package = folder.join(&*package);
        }
        let store = match &mut self.store.url {
            StoreUrl::Sqlite(path) => Some(path),
            StoreUrl::Postgres(_) => None,
        };
        let set = optional.into_iter().filter_map(Option::as_mut);
        for path in set.chain([&mut self.audit.signing_key_file, &mut self.keys.file]).chain(store) {
            // Joining an absolute path gives the absolute path.
            *path = folder.join(&*path);
        }
    }
}

#[cfg(test)]
mod tests;
