//! The NHS's own MESH server (PyPI `mesh-sandbox`) on loopback, and the NHS's own client (`mesh-client`) as the others'
//! systems. `tests/mesh/install` puts both into `target/mesh-venv`; without them a test says so loudly, and fails under
//! `ONWARD_REQUIRE_MESH_SANDBOX`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HeaderMap, HeaderValue, HttpClient, HttpConfig, Method};
use onward_connect::mesh::{MeshClient, MeshConfig};
use onward_connect::secret::Secret;
use onward_core::SystemClock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// The password of every mailbox.
pub const PASSWORD: &str = "password";
/// The shared key of the environment.
pub const SHARED_KEY: &str = "TestKey";

/// How the NHS's client packs a message.
#[derive(Debug, Clone, Copy)]
pub enum Packing {
    /// As it is.
    Plain,
    /// In chunks, each compressed.
    GzipChunks {
        /// Bytes of each chunk before compression.
        bytes: usize,
    },
}

/// What the NHS's client took out of a mailbox.
#[derive(Clone)]
pub struct Collected {
    /// MESH message identifier.
    pub id: String,
    /// `Mex-MessageType`.
    pub message_type: String,
    /// `Mex-From`.
    pub sender: String,
    /// `Mex-WorkflowID`.
    pub workflow: String,
    /// `Mex-LocalID`.
    pub local_id: String,
    /// `Mex-Subject`.
    pub subject: String,
    /// The body, unpacked.
    pub body: String,
}

/// The sandbox, stopped when dropped.
pub struct Sandbox {
    port: u16,
    python: PathBuf,
    _child: Child,
    _folder: tempfile::TempDir,
}

impl Sandbox {
    /// An empty one with the mailboxes X26ABC1, X26ABC2 and X26ABC3; `None`, loudly, when it is not installed.
    ///
    /// # Panics
    /// When it does not start, or is not installed where that is required.
    pub async fn start() -> Option<Self> {
        let python = python()?;
        let folder = tempfile::tempdir().expect("a folder");
        let find = "import mesh_sandbox, pathlib; print(pathlib.Path(mesh_sandbox.__file__).parent / 'store' / 'data')";
        let data = Command::new(&python).args(["-c", find]).output().await.expect("python runs");
        assert!(data.status.success(), "mesh_sandbox is not importable: run tests/mesh/install");
        let data = PathBuf::from(String::from_utf8(data.stdout).expect("a path").trim_end());
        for file in ["mailboxes.jsonl", "workflows.jsonl"] {
            std::fs::copy(data.join(file), folder.path().join(file)).expect("copied");
        }
        // The port is free now; should another take it before the sandbox does, readiness fails loudly below.
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let mut child = Command::new(&python)
            .args(["-m", "uvicorn", "mesh_sandbox.api:app", "--host", "127.0.0.1", "--workers", "1"])
            .args(["--log-level", "warning", "--port", &port.to_string()])
            .envs([("STORE_MODE", "file"), ("SHARED_KEY", SHARED_KEY), ("AUTH_MODE", "full"), ("ENV", "local")])
            .env("BUILD_LABEL", "local")
            .env("MAILBOXES_DATA_DIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the sandbox starts");
        for _ in 0..300 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(Self { port, python, _child: child, _folder: folder });
            }
            assert!(child.try_wait().expect("its state").is_none(), "the sandbox ended before it listened");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the sandbox does not listen after 30 s");
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// A look into a mailbox by our own client, which takes nothing out.
    ///
    /// # Panics
    /// When the name is not one of a mailbox.
    #[must_use]
    pub fn mailbox(&self, mailbox: &str) -> MeshClient {
        let secret = |text: &str| Secret::new(text.to_owned());
        let url = self.url().parse().expect("a URL");
        let mailbox = mailbox.parse().expect("a mailbox");
        let config = MeshConfig::new(url, mailbox, secret(PASSWORD), secret(SHARED_KEY));
        MeshClient::new(config, http(), Arc::new(SystemClock))
    }

    /// The NHS's client sends; gives the MESH message identifier.
    ///
    /// # Panics
    /// When it fails.
    pub async fn send(&self, [from, to]: [&str; 2], workflow: &str, packing: Packing, body: &str) -> String {
        let (chunk_bytes, encoding) = match packing {
            Packing::Plain => (100_000_000, "plain"),
            Packing::GzipChunks { bytes } => (bytes, "gzip"),
        };
        let arguments =
            [&self.url(), from, to, PASSWORD, SHARED_KEY, workflow, "theirs", &chunk_bytes.to_string(), encoding];
        self.nhs_client("send.py", &arguments, body.as_bytes()).await.trim_end().to_owned()
    }

    /// The NHS's client takes everything out of a mailbox and acknowledges it, in the order in which it came.
    ///
    /// # Panics
    /// When it fails.
    pub async fn collect(&self, mailbox: &str) -> Vec<Collected> {
        let told = self.nhs_client("collect.py", &[&self.url(), mailbox, PASSWORD, SHARED_KEY], b"").await;
        told.lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                let body = base64::engine::general_purpose::STANDARD.decode(text("body")).expect("base64");
                Collected {
                    id: text("id"),
                    message_type: text("type"),
                    sender: text("sender"),
                    workflow: text("workflow"),
                    local_id: text("local_id"),
                    subject: text("subject"),
                    body: String::from_utf8(body).expect("UTF-8"),
                }
            })
            .collect()
    }

    /// The sandbox's own way of putting a report of non-delivery (code 14) into a mailbox.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn report(&self, mailbox: &str, workflow: &str, linked: &str, local_id: &str) {
        let url = format!("{}messageexchange/admin/report", self.url()).parse().expect("a URL");
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let body = serde_json::json!({
            "mailbox_id": mailbox, "code": "14", "description": "not collected", "workflow_id": workflow,
            "local_id": local_id, "linked_message_id": linked,
        });
        let answer = http().send(Method::POST, url, headers, body.to_string()).await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    async fn nhs_client(&self, script: &str, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new(&self.python)
            .arg(root().join("tests/mesh").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("python runs");
        let mut pipe = child.stdin.take().expect("piped");
        pipe.write_all(input).await.expect("written");
        drop(pipe);
        let output = child.wait_with_output().await.expect("it ends");
        assert!(output.status.success(), "{script} failed");
        String::from_utf8(output.stdout).expect("text")
    }
}

fn http() -> HttpClient {
    let config = HttpConfig {
        egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
        allow_plain_loopback: true,
        ..HttpConfig::default()
    };
    HttpClient::new(&config).expect("a client")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn python() -> Option<PathBuf> {
    let python = root().join("target/mesh-venv/bin/python");
    if python.exists() {
        return Some(python);
    }
    assert!(
        std::env::var_os("ONWARD_REQUIRE_MESH_SANDBOX").is_none(),
        "the MESH sandbox is not installed: run tests/mesh/install"
    );
    eprintln!("SKIPPED: the MESH sandbox is not installed; run tests/mesh/install");
    None
}
