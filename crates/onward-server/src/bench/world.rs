//! A gateway's world, furnished for the benchmark and removed with it: everybody collects from an inbox but the pharmacies, which
//! take what is pushed to them and say nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HttpClient, HttpConfig};
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::store::{Pause, Store};
use onward_core::{Clock as _, SystemClock, Timestamp};
use onward_gateway::registered;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

use super::BenchOptions;
use super::messages::people;
use crate::app::{self, App, Tenure};
use crate::config::Config;
use crate::directory_import::{self, Format};
use crate::listener::{self, Patience, Tls};
use crate::{demo, keys, store_keys};

const DIRECTORY: &str = include_str!("../../../../config/examples/directory.toml");
/// Who posts.
pub(super) const CLIENT: &str = "bench-epr";

/// The world.
pub(super) struct World {
    pub(super) config_file: PathBuf,
    pub(super) port: u16,
    pub(super) key_pem: String,
    folder: TempDir,
    config: Config,
    pushed: Arc<AtomicU64>,
    // The pharmacies' server ends with the world.
    _stop: watch::Sender<bool>,
}

/// The present moment.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

impl World {
    pub(super) async fn new(postgres: Option<&Url>, options: &BenchOptions) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("onward-bench-").tempdir()?;
        let write = |name: &str, text: &str| private(&folder.path().join(name), text);
        let issued = demo::issue(now())?;
        for (name, text) in
            [("ca.crt", &issued.authority), ("server.crt", &issued.certificate), ("server.key", &issued.key)]
        {
            write(name, text)?;
        }
        store_keys::add_key(&folder.path().join("store.key"), now())?;
        write("people.toml", &people_text())?;
        let pharmacies = TcpListener::bind("127.0.0.1:0").await?;
        let directory = directory_text(pharmacies.local_addr()?.port());
        let (port, operations) = free_ports().await?;
        let config_file = folder.path().join("gateway.toml");
        write("gateway.toml", &config_text(port, operations, postgres, options)?)?;
        let config = Config::load_from(Some(&config_file), std::iter::empty())?.config;
        let pushed = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = watch::channel(false);
        let tls = Arc::new(Tls::open(config.tls().context("TLS is configured")?)?);
        tokio::spawn(listener::serve(pharmacies, Some(tls), taking(&pushed), Patience::default(), stopped));
        let key_pem = keys::generate_pem()?;
        let world = Self { config_file, port, key_pem, folder, config, pushed, _stop: stop };
        world.settle(&directory).await?;
        Ok(world)
    }

    async fn settle(&self, directory: &str) -> anyhow::Result<()> {
        let store = app::open_store(&self.config, Tenure::Command).await?;
        let client = Client {
            id: CLIENT.to_owned(),
            ods: "R9Z".parse()?,
            role: Role::Sender,
            jwks: keys::jwks_json(keys::public_jwk(&self.key_pem)?)?,
            certificate_sha256: None,
            mesh_mailbox: None,
            nhs_number_policy: NhsNumberPolicy::Refuse,
            disabled: false,
            under: None,
        };
        // A database may be left full by an earlier run: a client that changes without an entry would be an alarm.
        let told = registered::told(&client, "registered by the benchmark");
        let entry = AuditEntry::new(AuditWord::Configure, now(), Agent::named(Agent::OPERATOR, None), told);
        let row = app::build(&self.config, Arc::clone(&store))?.gateway.journal().row(&entry);
        store.put_client(client, vec![row]).await?;
        let stored = directory_import::kinds(&store.directory().await?);
        let import = directory_import::read(directory, Format::Toml, &stored, now())?;
        store.import_directory(import.entries, "bench", now(), Vec::new().into()).await?;
        store.resume(None, Vec::new()).await?;
        Ok(())
    }

    /// The store, beside whoever serves it.
    pub(super) async fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        app::open_store(&self.config, Tenure::CommandOnExisting).await
    }

    /// Everything wired over it.
    pub(super) async fn app(&self) -> anyhow::Result<App> {
        app::build(&self.config, self.store().await?)
    }

    /// Nothing is sent until it is resumed.
    pub(super) async fn pause(&self) -> anyhow::Result<()> {
        let pause = Pause { recipient: None, reason: "bench".to_owned(), by: "bench".to_owned(), since: now() };
        self.store().await?.pause(pause, Vec::new()).await?;
        Ok(())
    }

    /// A client that trusts the world's authority and nobody else; its connections are its own.
    pub(super) fn http(&self) -> anyhow::Result<HttpClient> {
        Ok(HttpClient::new(&HttpConfig {
            egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
            system_roots: false,
            extra_roots_pem: std::fs::read(self.folder.path().join("ca.crt"))?,
            total_timeout: std::time::Duration::from_secs(60),
            ..HttpConfig::default()
        })?)
    }

    pub(super) fn base(&self, port: u16) -> anyhow::Result<Url> {
        Ok(Url::parse(&format!("https://127.0.0.1:{port}/"))?)
    }

    /// Where everything lies.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the pharmacies have taken so far.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed.load(Ordering::Relaxed)
    }
}

/// Readable by its owner alone: the gateway refuses keys that others can reach.
fn private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// Two ports that were free a moment ago: the child binds them. Held at the same time, they are not the same.
pub(super) async fn free_ports() -> anyhow::Result<(u16, u16)> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

fn taking(pushed: &Arc<AtomicU64>) -> Router {
    let pushed = Arc::clone(pushed);
    Router::new().fallback(move |_: Bytes| {
        pushed.fetch_add(1, Ordering::Relaxed);
        async { StatusCode::NO_CONTENT }
    })
}

fn people_text() -> String {
    let mut text = String::new();
    for number in people() {
        let _ = write!(
            text,
            "[[patient]]\nnhs_number = \"{number}\"\nsensitivity = \"unrestricted\"\nfamily = \"Holroyd\"\n\
             given = [\"Margaret\", \"Ellen\"]\nbirth_date = \"1944-03-08\"\nregistered_practice = \"Y99002\"\n\
             nominated_pharmacy = \"FZZ02\"\n"
        );
    }
    text
}

/// The example directory on this machine.
fn directory_text(port: u16) -> String {
    let line = |line: &str| match line.starts_with("endpoint = ") {
        true if line.contains("https") => {
            format!("endpoint = {{ transport = \"https\", url = \"https://127.0.0.1:{port}/onward\" }}")
        }
        true => "endpoint = { transport = \"inbox\" }".to_owned(),
        false => line.to_owned(),
    };
    DIRECTORY.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn config_text(port: u16, operations: u16, postgres: Option<&Url>, options: &BenchOptions) -> anyhow::Result<String> {
    let store = match postgres {
        None => "url = \"sqlite:onward.db\"\n".to_owned(),
        Some(url) => {
            let mut store = format!("url = \"{url}\"\nallow_fsync_off = {}\n", options.postgres_fsync_off);
            if let Some(file) = &options.postgres_password {
                let file = std::path::absolute(file)?;
                let _ = writeln!(store, "password_file = {:?}", file.display().to_string());
            }
            store
        }
    };
    Ok(format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"https://127.0.0.1:{port}\"\n\
         operations_listen = \"127.0.0.1:{operations}\"\ntls_certificate_file = \"server.crt\"\ntls_key_file = \"server.key\"\n\
         client_requests_per_minute = 100_000_000\nclient_requests_at_once = 10_000\n\
         [identity]\nods = \"R9Z\"\nname = \"Onward benchmark\"\n[store]\n{store}\
         [pds]\nmode = \"stand-in\"\nstand_in_file = \"people.toml\"\n[log]\nfilter = \"error\"\n\
         [egress]\nhosts = [{{ host = \"127.0.0.1\", internal = true }}]\nextra_ca_file = \"ca.crt\"\n"
    ))
}
