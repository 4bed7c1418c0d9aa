//! Attachments go through a real ClamAV before a message is taken in.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use onward_core::audit::AuditWord;
use onward_tests::message::with_attached;
use onward_tests::world::{World, post_xml};

/// What our own signature finds; ClamAV's database is not needed.
const MARK: &str = "onward-test-malware";

/// A daemon; it ends with this value.
struct Clamd {
    program: &'static str,
    folder: tempfile::TempDir,
    process: Child,
}

impl Clamd {
    /// `None`, loudly, where it is not installed.
    fn start() -> Option<Self> {
        let program = ["/usr/sbin/clamd", "/usr/bin/clamd"].iter().find(|path| Path::new(path).exists());
        if program.is_none() {
            let required = std::env::var_os("ONWARD_REQUIRE_CLAMD").is_some();
            assert!(!required, "clamd is missing and ONWARD_REQUIRE_CLAMD forbids skipping (Debian: clamav-daemon)");
            println!("SKIPPED: the tests with a malware scanner: clamd is missing (Debian: clamav-daemon)");
        }
        let program = *program?;
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("signatures")).expect("made");
        let hex: String = MARK.bytes().map(|byte| format!("{byte:02x}")).collect();
        let signature = format!("Onward-Test-Malware:0:*:{hex}\n");
        std::fs::write(at("signatures/test.ndb"), signature).expect("written");
        let settings = format!(
            "LocalSocket {}\nDatabaseDirectory {}\nForeground yes\nLogFile {}\n",
            at("clamd.ctl").display(),
            at("signatures").display(),
            at("clamd.log").display()
        );
        std::fs::write(at("clamd.conf"), settings).expect("written");
        let process = Self::spawn(program, folder.path());
        Some(Self { program, folder, process })
    }

    fn spawn(program: &str, folder: &Path) -> Child {
        let mut process = Command::new(program)
            .arg("-c")
            .arg(folder.join("clamd.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("clamd runs");
        while std::os::unix::net::UnixStream::connect(folder.join("clamd.ctl")).is_err() {
            let log = || std::fs::read_to_string(folder.join("clamd.log")).unwrap_or_default();
            assert!(process.try_wait().expect("a child").is_none(), "clamd ended: {}", log());
            std::thread::yield_now();
        }
        process
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("clamd.ctl")
    }

    fn stop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("it ends");
    }
}

impl Drop for Clamd {
    fn drop(&mut self) {
        // It may have been stopped before.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_with_malware_are_refused_and_nothing_is_taken_unscanned() {
    let Some(mut clamd) = Clamd::start() else { return };
    let world = World::start_scanning(&clamd.socket()).await;
    let hospital = world.hospital().await;
    assert_eq!(post_xml(&hospital, with_attached("")).await.0, 200);

    let (status, answer, _) = post_xml(&hospital, with_attached(MARK)).await;
    assert_eq!(status, 422, "{answer}");
    let issue = &answer["issue"][0];
    assert_eq!(issue["code"], "security", "{answer}");
    assert_eq!(issue["diagnostics"], "attachment 1 holds malware: Onward-Test-Malware.UNOFFICIAL");
    assert!(answer.to_string().contains("20004"), "{answer}");
    let entries = world.gateway().store().audit_entries(0, 1_000).await.expect("readable");
    let refused: Vec<_> = entries.iter().filter(|entry| entry.columns.word == AuditWord::Refuse.as_str()).collect();
    assert_eq!(refused.len(), 1, "audited");
    assert_eq!(world.logged("malware: Onward-Test-Malware.UNOFFICIAL in attachment 1").await, 1);

    clamd.stop();
    let waiting = with_attached(" and nothing else");
    let accepted = world.logged("copies, route").await;
    let (status, answer, reply) = post_xml(&hospital, waiting.clone()).await;
    assert_eq!(status, 503, "{answer}");
    assert!(reply.headers.contains_key("retry-after"));
    assert_eq!(world.logged("copies, route").await, accepted, "nothing is taken in");
    clamd.process = Clamd::spawn(clamd.program, clamd.folder.path());
    let (status, answer, _) = post_xml(&hospital, waiting).await;
    assert_eq!(status, 200, "{answer}");
}
