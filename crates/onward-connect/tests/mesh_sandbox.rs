//! Our MESH client against the NHS's own sandbox server and client (PyPI `mesh-sandbox`, `mesh-client`), which
//! `tests/mesh/install` puts into `target/mesh-venv`. Without them the tests say so loudly; with
//! `ONWARD_REQUIRE_MESH_SANDBOX` they fail.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HeaderMap, HeaderValue, HttpClient, HttpConfig, Method};
use onward_connect::mesh::{MeshClient, MeshConfig};
use onward_connect::secret::Secret;
use onward_core::directory::Endpoint;
use onward_core::state::RecipientKind;
use onward_core::transport::{Mailbox, Outbound, SendError, Sent, Transport};
use onward_core::{DeliveryId, SystemClock};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const KEY: &str = "TestKey";
const WORKFLOW: &str = "TOC_FHIR_IP_DISCH";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
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

/// The sandbox, stopped when dropped.
struct Sandbox {
    port: u16,
    python: PathBuf,
    _child: Child,
    _folder: tempfile::TempDir,
}

impl Sandbox {
    async fn start() -> Option<Self> {
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
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let mut child = Command::new(&python)
            .args(["-m", "uvicorn", "mesh_sandbox.api:app", "--host", "127.0.0.1", "--workers", "1"])
            .args(["--log-level", "warning", "--port", &port.to_string()])
            .envs([("STORE_MODE", "file"), ("SHARED_KEY", KEY), ("AUTH_MODE", "full"), ("ENV", "local")])
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

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    fn http() -> HttpClient {
        let config = HttpConfig {
            egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
            allow_plain_loopback: true,
            ..HttpConfig::default()
        };
        HttpClient::new(&config).expect("a client")
    }

    fn config(&self, mailbox: &str) -> MeshConfig {
        let secret = |text: &str| Secret::new(text.to_owned());
        let url = self.url().parse().expect("a URL");
        MeshConfig::new(url, mailbox.parse().expect("a mailbox"), secret("password"), secret(KEY))
    }

    fn open(config: MeshConfig) -> MeshClient {
        MeshClient::new(config, Self::http(), Arc::new(SystemClock))
    }

    fn mailbox(&self, mailbox: &str) -> MeshClient {
        Self::open(self.config(mailbox))
    }

    /// The NHS's client sends from `X26ABC2` to `X26ABC1`.
    async fn nhs_client_sends(&self, body: &[u8], local_id: &str, chunk_bytes: usize, encoding: &str) -> String {
        let mut child = Command::new(&self.python)
            .arg(root().join("tests/mesh/send.py"))
            .args([&self.url(), "X26ABC2", "X26ABC1", "password", KEY, WORKFLOW, local_id])
            .args([&chunk_bytes.to_string(), encoding])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("python runs");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(body).await.expect("written");
        drop(input);
        let output = child.wait_with_output().await.expect("it ends");
        assert!(output.status.success(), "the NHS client failed");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// The sandbox's own way of putting a non-delivery report into a mailbox.
    async fn report(&self, linked: &str, local_id: &str) {
        let url = format!("{}messageexchange/admin/report", self.url()).parse().expect("a URL");
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let body = format!(
            r#"{{"mailbox_id":"X26ABC1","code":"14","description":"not collected","workflow_id":"{WORKFLOW}",
                "local_id":"{local_id}","linked_message_id":"{linked}"}}"#
        );
        let answer = Self::http().send(Method::POST, url, headers, body).await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

fn outbound(mailbox: &str, body: &'static [u8]) -> Outbound {
    Outbound {
        delivery: DeliveryId::random(),
        attempt: 1,
        recipient: "A82608".parse().expect("a code"),
        kind: RecipientKind::RegisteredPractice,
        endpoint: Endpoint::Mesh { mailbox: mailbox.parse().expect("a mailbox"), workflow: None },
        media_type: "application/fhir+xml".to_owned(),
        body: Bytes::from_static(body),
        workflow: Some(WORKFLOW.parse().expect("a workflow")),
        replay: false,
        addressee: None,
    }
}

fn reference(sent: Result<Sent, SendError>) -> String {
    match sent {
        Ok(Sent::HandedOver { reference: Some(reference) }) => reference,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn send_poll_fetch_acknowledge_and_track() {
    let Some(sandbox) = Sandbox::start().await else { return };
    let (ours, theirs) = (sandbox.mailbox("X26ABC1"), sandbox.mailbox("X26ABC2"));
    ours.handshake().await.expect("a handshake");
    assert_eq!(theirs.list().await, Ok(vec![]));

    let compressing = Sandbox::open(MeshConfig { compress: true, ..sandbox.config("X26ABC1") });
    for client in [&ours, &compressing] {
        let outbound = outbound("X26ABC2", "<Bundle>\u{e9}\u{2192}</Bundle>".as_bytes());
        let id = reference(client.send(&outbound).await);
        let tracked = ours.tracking(&id).await.expect("an answer").expect("known");
        assert_eq!((tracked.message_id.as_str(), tracked.recipient.as_deref()), (id.as_str(), Some("X26ABC2")));
        assert_eq!(tracked.local_id, Some(outbound.delivery.to_string()));
        assert_eq!(tracked.status.as_deref().map(str::to_lowercase).as_deref(), Some("accepted"));
        assert_eq!(theirs.tracking(&id).await, Ok(None), "only the sender tracks");

        assert_eq!(theirs.list().await, Ok(vec![id.clone()]));
        let message = theirs.fetch(&id).await.expect("fetched");
        assert_eq!(message.body, outbound.body);
        assert_eq!(message.from.map(|mailbox| mailbox.to_string()).as_deref(), Some("X26ABC1"));
        assert_eq!((message.workflow.as_str(), message.message_type.as_str()), (WORKFLOW, "DATA"));
        assert_eq!(message.local_id, Some(outbound.delivery.to_string()));
        assert_eq!(theirs.list().await, Ok(vec![id.clone()]), "fetching does not acknowledge");

        theirs.acknowledge(&id).await.expect("acknowledged");
        theirs.acknowledge(&id).await.expect("acknowledging twice is harmless");
        assert_eq!(theirs.list().await, Ok(vec![]));
        let tracked = ours.tracking(&id).await.expect("an answer").expect("known");
        assert_eq!(tracked.status.as_deref().map(str::to_lowercase).as_deref(), Some("acknowledged"));
    }
    assert!(matches!(theirs.fetch("NOSUCHMESSAGE").await, Err(SendError::Permanent { .. })));
    assert_eq!(ours.tracking("NOSUCHMESSAGE").await, Ok(None));
}

#[tokio::test]
async fn wrong_secrets_and_unknown_recipients_need_a_person() {
    let Some(sandbox) = Sandbox::start().await else { return };
    let wrong = || Secret::new("wrong".to_owned());
    for config in [
        MeshConfig { password: wrong(), ..sandbox.config("X26ABC1") },
        MeshConfig { shared_key: wrong(), ..sandbox.config("X26ABC1") },
        sandbox.config("X26NONE"),
    ] {
        let client = Sandbox::open(config);
        let refused = |error: SendError| match error {
            SendError::Transient { reason, .. } => assert!(reason.contains("403"), "{reason}"),
            other => panic!("it ends no copy: {other:?}"),
        };
        refused(client.handshake().await.expect_err("refused"));
        refused(client.send(&outbound("X26ABC2", b"<a/>")).await.expect_err("refused"));
        refused(client.list().await.expect_err("refused"));
    }
    let ours = sandbox.mailbox("X26ABC1");
    match ours.send(&outbound("X26GONE", b"<a/>")).await {
        Err(SendError::Permanent { reason }) => assert!(reason.contains("not registered"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let id = reference(ours.send(&outbound("X26ABC2", b"<a/>")).await);
    // Another's message: MESH refuses, and nothing of it is shown.
    assert!(sandbox.mailbox("X26ABC3").fetch(&id).await.is_err());
}

#[tokio::test]
async fn what_the_nhs_client_sends_is_taken_in() {
    let Some(sandbox) = Sandbox::start().await else { return };
    let ours = sandbox.mailbox("X26ABC1");
    let body: Vec<u8> = (0..5000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
    for (chunk_bytes, encoding) in [(1 << 20, "plain"), (1 << 20, "gzip"), (4000, "plain"), (4000, "gzip")] {
        let id = sandbox.nhs_client_sends(&body, "theirs-1", chunk_bytes, encoding).await;
        assert_eq!(ours.list().await, Ok(vec![id.clone()]));
        let message = ours.fetch(&id).await.expect("fetched");
        assert!(message.body == body, "{chunk_bytes} {encoding}: the body differs");
        assert_eq!(message.from.map(|mailbox| mailbox.to_string()).as_deref(), Some("X26ABC2"));
        assert_eq!((message.workflow.as_str(), message.local_id.as_deref()), (WORKFLOW, Some("theirs-1")));
        ours.acknowledge(&id).await.expect("acknowledged");
        assert_eq!(ours.list().await, Ok(vec![]));
    }
}

#[tokio::test]
async fn a_report_of_non_delivery_names_our_delivery() {
    let Some(sandbox) = Sandbox::start().await else { return };
    let ours = sandbox.mailbox("X26ABC1");
    let outbound = outbound("X26ABC2", b"<a/>");
    let sent = reference(ours.send(&outbound).await);
    sandbox.report(&sent, &outbound.delivery.to_string()).await;
    let ids = ours.list().await.expect("listed");
    let [id] = ids.as_slice() else { panic!("one report, not {}", ids.len()) };
    let report = ours.fetch(id).await.expect("fetched");
    assert_eq!(report.message_type, "REPORT");
    assert_eq!(report.linked_message_id, Some(sent));
    assert_eq!(report.local_id, Some(outbound.delivery.to_string()));
    assert_eq!(report.status_code.as_deref(), Some("14"));
    assert!(report.body.is_empty());
    ours.acknowledge(id).await.expect("acknowledged");
}
