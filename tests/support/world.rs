//! One gateway with its neighbours registered, on loopback, over TLS.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::authority::{write_authority, write_certificate};
use crate::leaks::{self, Session};
use crate::process;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HttpClient, HttpConfig};
use onward_connect::strength::RSA_BITS_MIN;
use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::client::{Client, NhsNumberPolicy, Role};
use onward_core::{Clock, SystemClock, TransferId};
use onward_gateway::registered;
use onward_server::config::Config;
use onward_server::directory_import::Format;
use onward_server::listener::{Tls, TlsFiles};
use onward_server::serve::Running;
use onward_server::{directory_import, keys, store_keys};
use rcgen::{Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

use crate::mesh_sandbox::{self, Sandbox};
use crate::published::Published;
use crate::signer::Signer;
use crate::wire::Wire;

/// The gateway's own mailbox.
pub const GATEWAY_MAILBOX: &str = "X26ABC2";
/// The covering practice's mailbox.
pub const PRACTICE_MAILBOX: &str = "X26ABC3";

/// Everybody collects from the inbox, so that a test needs no partner's server.
const DIRECTORY: &str = include_str!("directory.toml");
const PEOPLE: &str = include_str!("../../config/examples/pds-stand-in.toml");
/// No partner is reached over a network.
const INBOX_ONLY: &str = "[egress]\nhosts = []\n";
const LOOPBACK: &str = "[egress]\nhosts = [{ host = \"127.0.0.1\", internal = true }]\nextra_ca_file = \"ca.pem\"\n";

/// A running gateway and its folder.
pub struct World {
    /// The gateway; `None` once stopped.
    pub running: Option<Running>,
    /// Its configuration file.
    pub config_file: PathBuf,
    base: Url,
    port: u16,
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl World {
    /// A fresh world.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start() -> Self {
        Self::start_with("", INBOX_ONLY, &[], DIRECTORY).await
    }

    /// A fresh world with these lines in `[server]`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_limited(server: &str) -> Self {
        Self::start_with(server, INBOX_ONLY, &[], DIRECTORY).await
    }

    /// A fresh world that takes client certificates of these authorities, with these revocation lists (PEM).
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_with_client_authorities(authorities: &str, crls: &str) -> Self {
        let server = "client_ca_file = \"client-ca.pem\"\nclient_crl_file = \"client-crl.pem\"\n";
        let files = [("client-ca.pem", authorities), ("client-crl.pem", crls)];
        Self::start_with(server, INBOX_ONLY, &files, DIRECTORY).await
    }

    /// A fresh world that may connect to partners on loopback, and trusts its own authority there.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_reaching_loopback() -> Self {
        Self::start_reaching_loopback_with("").await
    }

    /// The same with further sections of configuration.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_reaching_loopback_with(further: &str) -> Self {
        Self::start_with("", &format!("{LOOPBACK}{further}"), &[], DIRECTORY).await
    }

    /// A fresh world in which the subscriptions of these organisations may name `/hooks/` of this port on loopback, which gets a
    /// bearer token. What fails there is tried again within seconds.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_with_hooks(port: u16, organisations: &[&str]) -> Self {
        let hook = |ods: &&str| format!("{{ ods = \"{ods}\", url = \"https://127.0.0.1:{port}/hooks/\" }}");
        let hooks: Vec<String> = organisations.iter().map(hook).collect();
        let sections = format!(
            "[egress]\nhosts = [{{ host = \"127.0.0.1\", internal = true }}]\nextra_ca_file = \"ca.pem\"\n\
             [delivery]\nhooks = [{}]\npush = [{{ host = \"127.0.0.1\", bearer_token_file = \"hook-token\" }}]\n\
             [retry.https]\nfirst_seconds = 1\nlongest_seconds = 1\n",
            hooks.join(", ")
        );
        Self::start_with("", &sections, &[("hook-token", "the home's token")], DIRECTORY).await
    }

    /// A fresh world in which both practices take messages at `$process-message` of this port on loopback. What fails there is tried
    /// again within seconds.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_with_message_server(port: u16) -> Self {
        let mut directory = DIRECTORY.to_owned();
        for name in ["Beck Lane Surgery", "Hillside Medical Practice"] {
            let inbox = format!("name = \"{name}\"\nendpoint = {{ transport = \"inbox\" }}");
            assert!(directory.contains(&inbox), "{name} is in the directory");
            let url = format!("https://127.0.0.1:{port}/fhir/R4");
            let there = format!("name = \"{name}\"\nendpoint = {{ transport = \"process-message\", url = \"{url}\" }}");
            directory = directory.replace(&inbox, &there);
        }
        let sections = "[egress]\nhosts = [{ host = \"127.0.0.1\", internal = true }]\nextra_ca_file = \"ca.pem\"\n\
                        [retry.https]\nfirst_seconds = 1\nlongest_seconds = 1\n";
        Self::start_with("", sections, &[], &directory).await
    }

    /// A fresh world in which the covering practice's address may not be reached, and nobody answers at the pharmacy's. Its
    /// public address is a name, because browsers give passkeys to names only.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_with_broken_partners() -> Self {
        let at = |name: &str, url: &str, directory: &str| {
            let inbox = format!("name = \"{name}\"\nendpoint = {{ transport = \"inbox\" }}");
            assert!(directory.contains(&inbox), "{name} is in the directory");
            directory
                .replace(&inbox, &format!("name = \"{name}\"\nendpoint = {{ transport = \"https\", url = \"{url}\" }}"))
        };
        let directory = at("Beck Lane Surgery", "https://beck-lane.example/in", DIRECTORY);
        let directory = at("Station Road Pharmacy", "https://127.0.0.1:9/in", &directory);
        Self::start_as("localhost", "", LOOPBACK, &[], &directory).await
    }

    /// A fresh world whose attachments this clamd looks through.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_scanning(clamd: &Path) -> Self {
        let sections = format!("[scanning]\nclamd = \"{}\"\n", clamd.display());
        Self::start_with("", &sections, &[], DIRECTORY).await
    }

    /// A fresh world whose people sign in through this identity provider too, on loopback; `cis2` is its name.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_with_issuer(issuer: &str, client_id: &str, key_pem: &str) -> Self {
        let sections = format!(
            r#"
[egress]
hosts = [{{ host = "127.0.0.1", internal = true }}]
extra_ca_file = "ca.pem"

[[identity.issuer]]
name = "cis2"
label = "NHS CIS2"
issuer = "{issuer}"
client_id = "{client_id}"
key_file = "issuer.key"
key_id = "our-key"
required_claims = {{ id_assurance_level = ["3"] }}
"#
        );
        Self::start_with("", &sections, &[("issuer.key", key_pem)], DIRECTORY).await
    }

    /// A server's certificate of this world's authority.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn tls(&self) -> Tls {
        let at = |name: &str| self.folder().join(name);
        let files = TlsFiles {
            certificate: at("server.pem"),
            key: at("server.key"),
            client_ca: None,
            client_crl: None,
            rsa_bits_min: RSA_BITS_MIN,
        };
        Tls::open(files).expect("usable")
    }

    /// A partner's server with a certificate of this world's authority.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn publish(&self) -> Published {
        Published::start(self.tls()).await
    }

    /// A fresh world on this PostgreSQL database; its leases are short, so that what a dead node had is soon taken over.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_on_postgres(database: &str) -> Self {
        Self::start_on_postgres_with(database, "").await
    }

    /// The same with further sections of configuration.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_on_postgres_with(database: &str, further: &str) -> Self {
        Self::start_on_postgres_among(INBOX_ONLY, database, further).await
    }

    /// The same, which may connect to partners on loopback under this bearer token, a file beside the configuration.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_on_postgres_reaching_loopback(database: &str, token_file: &str) -> Self {
        let push = format!("push = [{{ host = \"127.0.0.1\", bearer_token_file = \"{token_file}\" }}]\n");
        Self::start_on_postgres_among(LOOPBACK, database, &push).await
    }

    async fn start_on_postgres_among(egress: &str, database: &str, further: &str) -> Self {
        let sections = format!(
            "{egress}\n[store]\nurl = \"{database}\"\npassword_file = \"store-password\"\nallow_fsync_off = true\n\
             [delivery]\nlease_seconds = 3\nconnect_seconds = 1\nattempt_seconds = 2\n{further}"
        );
        Self::start_with("", &sections, &[("store-password", crate::postgres::PASSWORD)], DIRECTORY).await
    }

    /// The configuration of a further gateway on the same database under the same public address, and where it listens.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn node(&self, name: &str) -> (PathBuf, Url) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let text = std::fs::read_to_string(&self.config_file).expect("readable");
        let listen = format!("listen = \"127.0.0.1:{}\"", self.port);
        assert!(text.contains(&listen));
        let file = self.folder().join(format!("{name}.toml"));
        std::fs::write(&file, text.replacen(&listen, &format!("listen = \"127.0.0.1:{port}\""), 1)).expect("written");
        (file, Url::parse(&format!("https://127.0.0.1:{port}")).expect("a URL"))
    }

    /// A fresh world that logs everything, its libraries included. Nothing can be sent to Elm Court: its host is not listed.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_talkative() -> Self {
        let hook = "{ ods = \"VMH01\", url = \"https://127.0.0.1:1/hooks/\" }";
        let hosts = "[egress]\nhosts = [{ host = \"127.0.0.1\", internal = true }]";
        let sections = format!("{hosts}\n[delivery]\nhooks = [{hook}]\n[log]\nfilter = \"trace\"\n");
        let (elm, rest) = DIRECTORY.split_once("name = \"Elm Court\"").expect("it is in the directory");
        let endpoint = "{ transport = \"https\", url = \"https://elm-court.example/in\" }";
        let rest = rest.replacen("{ transport = \"inbox\" }", endpoint, 1);
        Self::start_with("", &sections, &[], &format!("{elm}name = \"Elm Court\"{rest}")).await
    }

    /// A fresh world that refuses what FHIR or a declared profile forbids.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_strict() -> Self {
        let sections = format!("{INBOX_ONLY}\n[validation]\nprofiles = \"refuse\"\n");
        Self::start_with("", &sections, &[], DIRECTORY).await
    }

    /// A fresh world that exchanges by MESH: the gateway has the mailbox [`GATEWAY_MAILBOX`], the covering practice has
    /// [`PRACTICE_MAILBOX`]. The hospital gets its own by [`World::client_with`].
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn start_with_mesh(sandbox: &Sandbox) -> Self {
        Self::start_with_mesh_at(&sandbox.url()).await
    }

    /// The same with MESH at this address.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start_with_mesh_at(url: &str) -> Self {
        let inbox = "name = \"Beck Lane Surgery\"\nendpoint = { transport = \"inbox\" }";
        assert!(DIRECTORY.contains(inbox), "the covering practice is in the directory");
        let mesh = format!(
            "name = \"Beck Lane Surgery\"\nendpoint = {{ transport = \"mesh\", mailbox = \"{PRACTICE_MAILBOX}\" }}"
        );
        let sections = format!(
            r#"
[egress]
hosts = [{{ host = "127.0.0.1", internal = true }}]

[mesh]
enabled = true
base_url = "{url}"
mailbox = "{GATEWAY_MAILBOX}"
password_file = "mesh-password"
shared_key_file = "mesh-shared-key"
poll_seconds = 1
compress = true
chunk_bytes = 16384
allow_plain_loopback = true
"#
        );
        let secrets = [("mesh-password", mesh_sandbox::PASSWORD), ("mesh-shared-key", mesh_sandbox::SHARED_KEY)];
        Self::start_with("", &sections, &secrets, &DIRECTORY.replace(inbox, &mesh)).await
    }

    async fn start_with(server: &str, sections: &str, files: &[(&str, &str)], directory: &str) -> Self {
        Self::start_as("127.0.0.1", server, sections, files, directory).await
    }

    /// Under this name of loopback.
    async fn start_as(host: &str, server: &str, sections: &str, files: &[(&str, &str)], directory: &str) -> Self {
        leaks::watch_logs();
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let base = Url::parse(&format!("https://{host}:{port}")).expect("a URL");
        let issuer = write_authority(folder.path());
        write_certificate(folder.path(), &issuer);
        std::fs::write(folder.path().join("people.toml"), PEOPLE).expect("written");
        store_keys::add_key(&folder.path().join("store.key"), SystemClock.now()).expect("a key");
        let config_file = folder.path().join("gateway.toml");
        std::fs::write(&config_file, config_text(host, port, server) + sections).expect("written");
        for (name, text) in files {
            // Some are secrets, which a gateway does not take from where everybody can read them.
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(folder.path().join(name));
            file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
        }
        let running = Running::start(&load(&config_file), Some(listener)).await.expect("the gateway starts");
        let world = Self { running: Some(running), config_file, base, port, issuer, folder };
        world.import_directory(directory).await;
        world
    }

    /// The gateway.
    ///
    /// # Panics
    /// When it is stopped.
    #[must_use]
    pub fn gateway(&self) -> &onward_gateway::Gateway {
        &self.running.as_ref().expect("the gateway runs").app.gateway
    }

    /// Ends the gateway in order.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            process::operations(&running.operations_address.to_string(), "/metrics").await;
            running.stop().await;
        }
    }

    /// Starts it again on the same port and store.
    ///
    /// # Panics
    /// When it cannot start.
    pub async fn restart(&mut self) {
        self.stop().await;
        let listener = free_again(self.port).await;
        self.running = Some(Running::start(&load(&self.config_file), Some(listener)).await.expect("it starts again"));
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Public base URL.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Connections on which a test writes its own bytes.
    ///
    /// # Panics
    /// When the authority's certificate cannot be read.
    #[must_use]
    pub fn wire(&self) -> Wire {
        Wire::new(self.folder(), self.port)
    }

    /// Gives the server another certificate and key of the same authority.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn renew_certificate(&self) {
        write_certificate(self.folder(), &self.issuer);
    }

    /// Port of the public listener.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Imports a directory.
    ///
    /// # Panics
    /// When it has problems.
    pub async fn import_directory(&self, text: &str) {
        let none = std::collections::BTreeMap::new();
        let import =
            directory_import::read(text, Format::Toml, &none, SystemClock.now()).expect("the test directory is right");
        let row = self.gateway().journal().row(&entry("directory import"));
        self.gateway()
            .store()
            .import_directory(import.entries, "test", SystemClock.now(), vec![row].into())
            .await
            .expect("imported");
    }

    /// An HTTP client that trusts this world and reaches nothing else.
    ///
    /// # Panics
    /// When it cannot be built.
    #[must_use]
    pub fn http(&self) -> HttpClient {
        HttpClient::new(&HttpConfig {
            egress: ["127.0.0.1", "localhost"]
                .map(|host| EgressHost { host: host.to_owned(), internal: true })
                .to_vec(),
            extra_roots_pem: std::fs::read(self.folder().join("ca.pem")).expect("readable"),
            response_bytes_max: 64 * 1024 * 1024,
            total_timeout: std::time::Duration::from_secs(60),
            ..HttpConfig::default()
        })
        .expect("a client")
    }

    /// Registers a client and gives its session.
    ///
    /// # Panics
    /// When it cannot be registered.
    pub async fn client(&self, id: &str, ods: &str, role: Role) -> Session {
        self.client_with(id, ods, role, NhsNumberPolicy::Refuse, None).await
    }

    /// The same with a policy for NHS numbers and a MESH mailbox.
    ///
    /// # Panics
    /// When it cannot be registered.
    pub async fn client_with(
        &self,
        id: &str,
        ods: &str,
        role: Role,
        nhs_number_policy: NhsNumberPolicy,
        mesh_mailbox: Option<&str>,
    ) -> Session {
        let pem = keys::generate_pem().expect("a key");
        self.register(id, ods, role, &pem, None, nhs_number_policy, mesh_mailbox).await;
        Session::new(onward_server::session::Session::new(self.http(), self.base.clone(), id, pem))
    }

    /// Registers a client whose private key the test keeps, bound to a client certificate (SHA-256) when given.
    ///
    /// # Panics
    /// When it cannot be registered.
    pub async fn signer(&self, id: &str, ods: &str, role: Role, certificate_sha256: Option<String>) -> Signer {
        let pem = keys::generate_pem().expect("a key");
        self.register(id, ods, role, &pem, certificate_sha256, NhsNumberPolicy::Refuse, None).await;
        Signer::new(id, &pem, self.base.join("oauth2/token").expect("a URL").as_str())
    }

    #[expect(clippy::too_many_arguments, reason = "what a client is made of")]
    async fn register(
        &self,
        id: &str,
        ods: &str,
        role: Role,
        pem: &str,
        certificate_sha256: Option<String>,
        nhs_number_policy: NhsNumberPolicy,
        mesh_mailbox: Option<&str>,
    ) {
        let client = Client {
            id: id.to_owned(),
            ods: ods.parse().expect("an ODS code"),
            role,
            jwks: keys::jwks_json(keys::public_jwk(pem).expect("a JWK")).expect("a key set"),
            certificate_sha256,
            mesh_mailbox: mesh_mailbox.map(str::to_owned),
            nhs_number_policy,
            disabled: false,
            under: None,
        };
        let operator = Agent::named(Agent::OPERATOR, None);
        let said = registered::told(&client, "added");
        let row =
            self.gateway().journal().row(&AuditEntry::new(AuditWord::Configure, SystemClock.now(), operator, said));
        self.gateway().store().put_client(client, vec![row]).await.expect("registered");
    }

    /// The audit row of a change that a test makes to the configuration.
    ///
    /// # Panics
    /// When the gateway is stopped.
    #[must_use]
    pub fn configured(&self, detail: &str) -> onward_core::audit::AuditRow {
        self.gateway().journal().row(&entry(detail))
    }

    /// Runs SQL in the gateway's own database, beside it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.folder().join("onward.db")).expect("opens");
        connection.busy_timeout(std::time::Duration::from_secs(60)).expect("set");
        connection.execute_batch(sql).expect("runs");
    }

    /// A number that SQL gives beside the gateway.
    ///
    /// # Panics
    /// When it gives none.
    #[must_use]
    pub fn asked(&self, sql: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.folder().join("onward.db")).expect("opens");
        connection.busy_timeout(std::time::Duration::from_secs(60)).expect("set");
        connection.query_row(sql, [], |row| row.get(0)).expect("a number")
    }

    /// How many events of the audit log have this text.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub async fn logged(&self, text: &str) -> usize {
        let entries = self.gateway().store().audit_entries(0, 1000).await.expect("readable");
        let events = entries.iter().map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned());
        events.filter(|event| event.contains(text)).count()
    }

    /// The hospital of the neighbourhood.
    pub async fn hospital(&self) -> Session {
        self.client("northmoor-epr", "R9Z", Role::Sender).await
    }

    /// The care home of the neighbourhood.
    pub async fn care_home(&self) -> Session {
        self.client("rowan-house", "VMH01", Role::CareHome).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        leaks::nothing_found();
    }
}

/// Posts XML and gives status and JSON.
///
/// # Panics
/// When there is no answer or it is no JSON.
pub async fn post_xml(
    session: &Session,
    body: impl Into<Vec<u8>>,
) -> (u16, serde_json::Value, onward_server::session::Reply) {
    post(session, "application/fhir+xml", body).await
}

/// Posts a message that is accepted: its transfer.
///
/// # Panics
/// When it is not.
pub async fn accepted(session: &Session, message: impl Into<Vec<u8>>) -> TransferId {
    let (status, response, reply) = post_xml(session, message).await;
    assert_eq!(status, 200, "{response}");
    reply.headers["location"].to_str().expect("text").rsplit('/').next().expect("an id").parse().expect("an id")
}

/// Posts a message and gives status, JSON and the whole reply.
///
/// # Panics
/// When there is no answer or it is no JSON.
pub async fn post(
    session: &Session,
    media_type: &str,
    body: impl Into<Vec<u8>>,
) -> (u16, serde_json::Value, onward_server::session::Reply) {
    let reply = session
        .call(
            onward_connect::http::Method::POST,
            "fhir/R4/$process-message",
            &[("content-type", media_type), ("accept", "application/fhir+json")],
            body.into(),
        )
        .await
        .expect("an answer");
    (reply.status.as_u16(), reply.json().expect("JSON"), reply)
}

/// The configuration of a file, without the process environment.
///
/// # Panics
/// When it is not one.
#[must_use]
pub fn load(file: &Path) -> Config {
    Config::load_from(Some(file), std::iter::empty()).expect("the test configuration is right").config
}

fn config_text(host: &str, port: u16, server: &str) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:{port}"
operations_listen = "127.0.0.1:0"
public_url = "https://{host}:{port}"
tls_certificate_file = "server.pem"
tls_key_file = "server.key"
{server}
[identity]
ods = "Y99900"
name = "Onward test gateway"

[pds]
mode = "stand-in"
stand_in_file = "people.toml"
"#
    )
}

fn entry(detail: &str) -> AuditEntry {
    AuditEntry::new(AuditWord::Configure, SystemClock.now(), Agent::named("test", None), detail.to_owned())
}

/// Listens on a port that somebody had before. Another test's connection may have got it meanwhile, until that ends.
async fn free_again(port: u16) -> TcpListener {
    let free = async {
        loop {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => return listener,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), free).await.expect("the port is free again")
}
