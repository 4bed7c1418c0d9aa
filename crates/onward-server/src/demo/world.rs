//! The demo's world: a folder with everything that a gateway and its neighbours need, kept between runs.
//!
//! It refuses a folder with other things in it, and never touches a gateway that is not the demo's own.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HttpClient, HttpConfig};
use onward_connect::secret::Secret;
use onward_core::{Clock as _, SystemClock};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::certificates;
use super::people::{CLIENTS, MAILBOXES};
use crate::config::ConfigError;
use crate::{keys, store_keys};

/// Tells a person what the folder is, and us that it is ours.
const MARKER: &str = "neighbourhood.txt";
const GATEWAY: &str = "gateway.toml";
const DIRECTORY: &str = "directory.toml";
const DIRECTORY_EXAMPLE: &str = include_str!("../../../../config/examples/directory.toml");
const PEOPLE_EXAMPLE: &str = include_str!("../../../../config/examples/pds-stand-in.toml");
/// What stands in every URL and listener of the world.
const HOST: &str = "127.0.0.1";

/// The folder. A temporary one is removed with this value.
pub(super) struct World {
    folder: PathBuf,
    temporary: Option<TempDir>,
}

/// Listeners of the world, bound; the operations listener is bound by the gateway itself.
pub(super) struct Listeners {
    pub(super) gateway: TcpListener,
    pub(super) mesh: TcpListener,
    pub(super) pharmacy: TcpListener,
    pub(super) ports: Ports,
}

/// Where everything listens on [`HOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) gateway: u16,
    pub(super) operations: u16,
    pub(super) mesh: u16,
    pub(super) pharmacy: u16,
}

impl World {
    /// Makes the world in `dir`, or goes on with the one that is there; without `dir` in a temporary folder.
    ///
    /// # Errors
    /// When the folder holds other things, or cannot be written.
    pub(super) fn open(dir: Option<&Path>) -> anyhow::Result<Self> {
        let (folder, temporary) = match dir {
            Some(dir) => {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(dir)
                    .with_context(|| format!("making the folder {}", dir.display()))?;
                (dir.canonicalize().with_context(|| format!("opening the folder {}", dir.display()))?, None)
            }
            None => {
                let temporary =
                    tempfile::Builder::new().prefix("onward-demo-").tempdir().context("a temporary folder")?;
                (temporary.path().canonicalize()?, Some(temporary))
            }
        };
        let world = Self { folder, temporary };
        if !world.path(MARKER).exists() {
            let used = std::fs::read_dir(&world.folder)?.next().is_some();
            if used {
                let what = "holds other things: give an empty or new folder, or one that an earlier demo made";
                return Err(refused(format!("{} {what}", world.folder.display())));
            }
            world.write(MARKER, "A world of `onward demo`. Everything in it is fictitious.\n", 0o600)?;
        }
        for folder in ["tls", "clients", "secrets", "arrived", "messages"] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(world.path(folder))?;
        }
        world.furnish()?;
        Ok(world)
    }

    /// Whatever is missing of certificates, keys, secrets and people.
    fn furnish(&self) -> anyhow::Result<()> {
        let tls = ["tls/ca.crt", "tls/server.crt", "tls/server.key"];
        if !tls.iter().all(|file| self.path(file).exists()) {
            let issued = certificates::issue(SystemClock.now())?;
            self.write(tls[2], &issued.key, 0o600)?;
            self.write(tls[1], &issued.certificate, 0o644)?;
            self.write(tls[0], &issued.authority, 0o644)?;
        }
        for client in CLIENTS {
            self.once(&format!("clients/{}.key", client.id), 0o600, keys::generate_pem)?;
        }
        self.once("secrets/mesh-shared-key", 0o600, random_secret)?;
        for mailbox in MAILBOXES {
            self.once(&format!("secrets/mesh-password-{mailbox}"), 0o600, random_secret)?;
        }
        if !self.path("store.key").exists() {
            store_keys::add_key(&self.path("store.key"), SystemClock.now())?;
        }
        self.once("pds-stand-in.toml", 0o600, || Ok(PEOPLE_EXAMPLE.to_owned()))
    }

    /// Whether the folder goes away with the demo.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of the world.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The private key of a client, PEM.
    pub(super) fn client_key(&self, id: &str) -> anyhow::Result<String> {
        let path = self.path(&format!("clients/{id}.key"));
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// A secret of the world.
    pub(super) fn secret(&self, name: &str) -> anyhow::Result<Secret> {
        let path = self.path(&format!("secrets/{name}"));
        Secret::from_file(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// An HTTP client that trusts the world's authority and nobody else, and reaches nothing but this machine.
    pub(super) fn http(&self) -> anyhow::Result<HttpClient> {
        Ok(HttpClient::new(&HttpConfig {
            egress: vec![EgressHost { host: HOST.to_owned(), internal: true }],
            system_roots: false,
            extra_roots_pem: std::fs::read(self.path("tls/ca.crt"))?,
            response_bytes_max: 64 * 1024 * 1024,
            ..HttpConfig::default()
        })?)
    }

    /// Binds every listener, on the ports of the last run where those are free.
    ///
    /// # Errors
    /// When no port can be bound, or the world's configuration cannot be read.
    pub(super) async fn listen(&self) -> anyhow::Result<Listeners> {
        let last = self.last_ports()?;
        let gateway = bind(last.map(|ports| ports.gateway)).await?;
        let mesh = bind(last.map(|ports| ports.mesh)).await?;
        let pharmacy = bind(last.map(|ports| ports.pharmacy)).await?;
        // Bound and let go: the gateway binds it a moment later.
        let operations = bind(last.map(|ports| ports.operations)).await?;
        let ports = Ports {
            gateway: gateway.local_addr()?.port(),
            operations: operations.local_addr()?.port(),
            mesh: mesh.local_addr()?.port(),
            pharmacy: pharmacy.local_addr()?.port(),
        };
        Ok(Listeners { gateway, mesh, pharmacy, ports })
    }

    fn last_ports(&self) -> anyhow::Result<Option<Ports>> {
        let Some(gateway) = self.existing(GATEWAY)? else { return Ok(None) };
        let directory = self.existing(DIRECTORY)?.unwrap_or_default();
        ports_of(&gateway, &directory).map(Some).ok_or_else(|| {
            refused(format!(
                "{GATEWAY} and {DIRECTORY} in {} no longer name {HOST} addresses for everybody; \
                 remove {GATEWAY} to have both made anew",
                self.folder.display()
            ))
        })
    }

    fn existing(&self, name: &str) -> anyhow::Result<Option<String>> {
        match std::fs::read_to_string(self.path(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", self.path(name).display())),
        }
    }

    /// Writes configuration and directory with these ports beside the ones in force, and gives the new
    /// configuration's path. What a person has changed in them stays; only ports move.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn draft(&self, ports: Ports) -> anyhow::Result<PathBuf> {
        let (gateway, directory) = match (self.last_ports()?, self.existing(GATEWAY)?, self.existing(DIRECTORY)?) {
            (Some(last), Some(gateway), Some(directory)) => {
                (moved(&gateway, last, ports), moved(&directory, last, ports))
            }
            _ => (gateway_text(ports), directory_text(ports)?),
        };
        self.write(&format!("{DIRECTORY}.new"), &directory, 0o600)?;
        self.write(&format!("{GATEWAY}.new"), &gateway, 0o600)?;
        Ok(self.path(&format!("{GATEWAY}.new")))
    }

    /// Puts the drafts in force, once the gateway runs on them: a gateway that already serves this world keeps its own.
    ///
    /// # Errors
    /// When a file cannot be renamed.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        for name in [DIRECTORY, GATEWAY] {
            std::fs::rename(self.path(&format!("{name}.new")), self.path(name))?;
        }
        Ok(())
    }

    /// Takes the drafts back.
    pub(super) fn discard(&self) {
        for name in [DIRECTORY, GATEWAY] {
            let _ = std::fs::remove_file(self.path(&format!("{name}.new")));
        }
    }

    /// The directory in force.
    pub(super) fn directory_file(&self) -> PathBuf {
        self.path(DIRECTORY)
    }

    /// Writes who is who, for people.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn describe(&self, text: &str) -> anyhow::Result<()> {
        self.write(MARKER, text, 0o600)
    }

    /// Keeps what arrived; gives its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(&self, name: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        replace(&path, content, 0o600)?;
        Ok(path)
    }

    fn once(&self, name: &str, mode: u32, make: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
        if self.path(name).exists() { Ok(()) } else { self.write(name, &make()?, mode) }
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
        replace(&self.path(name), text.as_bytes(), mode)
    }
}

/// The caller must change something: wrong usage or configuration, not a fault.
fn refused(problem: String) -> anyhow::Error {
    ConfigError { problems: vec![problem] }.into()
}

/// Whole or not at all, and never readable by more than `mode` says, not even for a moment.
fn replace(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let told = || format!("writing {}", path.display());
    let mut name = path.file_name().context("a file name")?.to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&part).with_context(told)?;
    file.write_all(content).with_context(told)?;
    std::fs::rename(&part, path).with_context(told)
}

fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no randomness"))?;
    Ok(hex::encode(bytes))
}

async fn bind(wanted: Option<u16>) -> anyhow::Result<TcpListener> {
    if let Some(port) = wanted
        && let Ok(listener) = TcpListener::bind((HOST, port)).await
    {
        return Ok(listener);
    }
    TcpListener::bind((HOST, 0)).await.context("no free port on 127.0.0.1")
}

/// The ports that the two texts name; `None` when a person has put other addresses there.
fn ports_of(gateway: &str, directory: &str) -> Option<Ports> {
    let config: toml::Table = gateway.parse().ok()?;
    let port = |section: &str, key: &str| loopback_port(config.get(section)?.get(key)?.as_str()?);
    Some(Ports {
        gateway: port("server", "listen")?,
        operations: port("server", "operations_listen")?,
        mesh: port("mesh", "base_url")?,
        pharmacy: loopback_port(directory)?,
    })
}

/// The port after the first `127.0.0.1:` of a text.
fn loopback_port(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("127.0.0.1:")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

/// The text with every old address replaced by the new one, all at once.
fn moved(text: &str, from: Ports, to: Ports) -> String {
    let pairs = [
        (from.gateway, to.gateway),
        (from.operations, to.operations),
        (from.mesh, to.mesh),
        (from.pharmacy, to.pharmacy),
    ];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("127.0.0.1:") {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let old = &after[..digits];
        let new = pairs.iter().find(|(from, _)| from.to_string() == old).map(|(_, to)| to.to_string());
        out.push_str(before);
        out.push_str("127.0.0.1:");
        out.push_str(new.as_deref().unwrap_or(old));
        rest = &after[digits..];
    }
    out.push_str(rest);
    out
}

fn gateway_text(ports: Ports) -> String {
    let Ports { gateway, operations, mesh, .. } = ports;
    format!(
        r#"# The gateway of the demo's neighbourhood; only what differs from the defaults (`onward config default`).
# `onward demo --dir` moves ports that are taken, and leaves everything else as it is.

[server]
listen = "{HOST}:{gateway}"
public_url = "https://{HOST}:{gateway}"
operations_listen = "{HOST}:{operations}"
tls_certificate_file = "tls/server.crt"
tls_key_file = "tls/server.key"

[identity]
ods = "R9Z"
name = "Northmoor Teaching Hospitals NHS Trust"

[store]
url = "sqlite:onward.db"

# The demo's stand-in for MESH; it runs with the demo only.
[mesh]
enabled = true
base_url = "https://{HOST}:{mesh}"
mailbox = "ONWOT001"
password_file = "secrets/mesh-password-ONWOT001"
shared_key_file = "secrets/mesh-shared-key"
ca_file = "tls/ca.crt"
# The stand-in of MESH lists no mailboxes.
look_daily = false
poll_seconds = 1

[pds]
mode = "stand-in"
stand_in_file = "pds-stand-in.toml"

[egress]
hosts = [{{ host = "{HOST}", internal = true }}]
extra_ca_file = "tls/ca.crt"
"#
    )
}

/// The example directory with the pharmacy on this machine.
fn directory_text(ports: Ports) -> anyhow::Result<String> {
    let example: toml::Table = DIRECTORY_EXAMPLE.parse().context("the example directory is not TOML")?;
    let pharmacies = example.get("pharmacy").and_then(toml::Value::as_array).context("a pharmacy")?;
    let url = pharmacies.iter().find_map(|pharmacy| pharmacy.get("endpoint")?.get("url")?.as_str());
    let url = url.context("the example directory has no pharmacy with an HTTPS endpoint")?;
    let header = "# The directory of the demo's neighbourhood, from config/examples/directory.toml.\n";
    let rest = DIRECTORY_EXAMPLE.replace(url, &format!("https://{HOST}:{}/onward", ports.pharmacy));
    Ok(format!("{header}{rest}"))
}

#[cfg(test)]
mod tests;
