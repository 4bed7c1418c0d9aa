//! What the process gives up before it serves (trust.md §5, S6), and that it serves as before.

use std::fs;
use std::io::ErrorKind::PermissionDenied;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use onward_core::{Clock as _, SystemClock};
use onward_server::config::Config;
use onward_server::hardening::{Posture, harden};
use onward_tests::authority::{Authority, Kind};
use onward_tests::message::{self, fresh};
use onward_tests::process::Process;
use onward_tests::wire::Wire;
use onward_tests::world::{World, post_xml};
use rustix::process::DumpableBehavior;

/// Runs on a thread of its own, which alone is limited.
fn hardened<T: Send>(config: &Path, run: impl FnOnce(Posture) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let limited = scope.spawn(|| {
            let loaded = Config::load_from(Some(config), []).expect("a configuration");
            run(harden(&loaded).expect("best effort"))
        });
        limited.join().expect("it ends")
    })
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
}

/// A folder with a configuration and a folder for the store, and a file elsewhere.
struct Ground {
    folder: tempfile::TempDir,
    elsewhere: tempfile::TempDir,
    listen: u16,
}

impl Ground {
    fn new(more: &str) -> Self {
        let (folder, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (listen, operations) = (port(), port());
        fs::create_dir_all(folder.path().join("etc")).expect("made");
        fs::create_dir_all(folder.path().join("data")).expect("made");
        fs::write(elsewhere.path().join("secret"), "another program's").expect("written");
        fs::write(folder.path().join("etc/server.key"), "ours").expect("written");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{listen}\"\noperations_listen = \"127.0.0.1:{operations}\"\n{more}\n\
             tls_key_file = \"server.key\"\n[store]\nurl = \"sqlite:../data/onward.db\"\n"
        );
        fs::write(folder.path().join("etc/gateway.toml"), text).expect("written");
        Self { folder, elsewhere, listen }
    }

    fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("etc/gateway.toml")
    }
}

/// True where this machine's kernel gives everything; otherwise it says that the test shows nothing.
fn whole(posture: &Posture) -> bool {
    let whole = posture.seccomp && posture.landlock.is_some();
    if !whole {
        println!("SKIPPED: this kernel gives only: {posture}");
    }
    whole
}

#[test]
fn what_is_not_configured_is_out_of_reach() {
    let ground = Ground::new("");
    let at = |path: &str| ground.folder.path().join(path);
    hardened(&ground.config(), |posture| {
        if !whole(&posture) {
            return;
        }
        // What it needs.
        assert_eq!(fs::read_to_string(at("etc/server.key")).expect("configured"), "ours");
        fs::write(at("data/onward.db-wal"), "x").expect("the store's folder");
        fs::rename(at("data/onward.db-wal"), at("data/other")).expect("the store's folder");
        fs::remove_file(at("data/other")).expect("the store's folder");
        fs::read("/etc/hosts").expect("names are resolved");
        // What it does not.
        let refused = |what: &str, result: std::io::Result<()>| {
            assert_eq!(result.expect_err(what).kind(), PermissionDenied, "{what}");
        };
        refused("a file elsewhere", fs::read(ground.elsewhere.path().join("secret")).map(drop));
        refused("a new file elsewhere", fs::write(ground.elsewhere.path().join("new"), "x"));
        refused("the configuration's folder", fs::write(at("etc/server.key"), "theirs"));
        refused("another's memory", fs::read("/proc/1/environ").map(drop));
        refused("a program", Command::new("/bin/true").spawn().map(drop));
        let behaviour = rustix::process::dumpable_behavior().expect("the kernel tells");
        assert_eq!(behaviour, DumpableBehavior::NotDumpable, "its memory and environment are root's to read alone");
        if posture.landlock >= Some(4) {
            refused("another port", TcpListener::bind(("127.0.0.1", 0)).map(drop));
            TcpListener::bind(("127.0.0.1", ground.listen)).expect("the configured port");
        }
    });
    assert_eq!(fs::read_to_string(at("etc/server.key")).expect("there"), "ours");
    fs::write(ground.elsewhere.path().join("new"), "x").expect("other threads are as before");
}

#[test]
fn a_renewed_file_is_read_again() {
    let ground = Ground::new("");
    let at = |path: &str| ground.folder.path().join(path);
    let (renew, renewed) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            renew.wait();
            fs::write(at("etc/next"), "renewed").expect("written");
            fs::rename(at("etc/next"), at("etc/server.key")).expect("renamed");
            renewed.wait();
        });
        hardened(&ground.config(), |_| {
            renew.wait();
            renewed.wait();
            assert_eq!(fs::read_to_string(at("etc/server.key")).expect("another file by now"), "renewed");
        });
    });
}

#[test]
fn off_gives_up_nothing() {
    let ground = Ground::new("hardening = \"off\"");
    hardened(&ground.config(), |posture| {
        assert_eq!(posture, Posture::default());
        fs::write(ground.elsewhere.path().join("new"), "x").expect("nothing is limited");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hardened_gateway_serves_as_before() {
    let authority = Authority::new("An authority");
    let mut world = World::start_with_client_authorities(authority.certificate(), &authority.crl(&[], 2099)).await;
    let (hospital, home) = (world.hospital().await, world.care_home().await);
    let process = Process::take_over(&mut world).await;

    let ready = process.operations("/readyz").await;
    let told = ready.lines().find_map(|line| line.strip_prefix("hardening: ")).expect("it is told").to_owned();
    assert!(process.log().contains(&format!("hardening={told}")), "also at start: {}", process.log());
    if told.contains("seccomp") && told.contains("Landlock") && !told.contains("; no") {
        // The thread that serves, and all that it has started; that of the test itself came before.
        let limited = process.threads("Seccomp").iter().filter(|mode| *mode == "2").count();
        let privileges = process.threads("NoNewPrivs").iter().filter(|flag| *flag == "1").count();
        assert!(limited > 2 && limited == privileges, "{limited} threads of {:?}", process.threads("Name"));
    } else {
        println!("SKIPPED: this kernel gives only: {told}");
    }

    // A message arrives, its copy is read and accepted; certificate and revocation lists are renewed meanwhile.
    let (status, response, _) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "{response}");
    let mut listed = serde_json::Value::Null;
    while listed["entry"].as_array().is_none_or(Vec::is_empty) {
        listed = home.get("fhir/R4/Task?status=requested,received").await.expect("an answer").json().expect("JSON");
    }
    let id = listed["entry"][0]["resource"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(home.get(&format!("fhir/R4/Bundle/{id}")).await.expect("an answer").status, 200);

    let request =
        format!("GET /fhir/R4/metadata HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", world.port());
    let revoked = authority.issue(1, Kind::Right);
    let wire = Wire::with_certificate(world.folder(), world.port(), &revoked);
    assert_eq!(wire.say(request.as_bytes()).await.status(), 200);
    let before = certificate(&world.wire()).await;
    world.renew_certificate();
    fs::write(world.folder().join("client-crl.pem"), authority.crl(&[1], 2099)).expect("written");
    while certificate(&world.wire()).await == before {
        tokio::task::yield_now().await;
    }
    while wire.say(request.as_bytes()).await.alert.as_deref() != Some("CertificateRevoked") {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.wire().say(request.as_bytes()).await.status(), 200);
    process.kill().await;
}

/// The store's keys as a variable: taken, refused when they are weak or not there, and told to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn the_stores_keys_may_stand_in_the_environment() {
    let mut world = World::start().await;
    let hospital = world.hospital().await;
    let (file, away) = (world.folder().join("store.key"), tempfile::tempdir().expect("a folder"));
    let ring = fs::read_to_string(&file).expect("readable");
    fs::remove_file(&file).expect("there is no file any more");
    let line = BASE64.encode(&ring);
    let named = ("ONWARD__KEYS__ENVIRONMENT", "ONWARD_STORE_KEYS");
    world.stop().await;
    let zero = format!("current = \"a\"\n[keys]\na = \"{}\"\n", BASE64.encode([0; 32]));
    let example = format!("current = \"a\"\n[keys]\na = \"{}\"\n", BASE64.encode(b"changemechangemechangemechangeme"));
    let other = away.path().join("store.key");
    onward_server::store_keys::add_key(&other, SystemClock.now()).expect("a key");
    let other = fs::read_to_string(&other).expect("readable");
    for (value, told) in [
        (None, "has no variable ONWARD_STORE_KEYS"),
        (Some("changeme"), "expected a key file"),
        (Some(zero.as_str()), "no random key"),
        (Some(example.as_str()), "no random key"),
        (Some(other.as_str()), "the key-encryption key `"),
    ] {
        let environment: Vec<_> = [named].into_iter().chain(value.map(|value| ("ONWARD_STORE_KEYS", value))).collect();
        let said = Process::refused(&world, &environment).await;
        assert!(said.contains(told), "{told}: {said}");
        let secret = value.and_then(|value| value.split('"').nth(3)).unwrap_or("changeme");
        assert!(!said.contains(secret), "it is not repeated: {said}");
    }
    let mut process = Process::take_over_with(&mut world, &[named, ("ONWARD_STORE_KEYS", &line)]).await;
    let (status, response, _) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "{response}");
    let secret = ring.split('"').nth(3).expect("a key");
    assert!(process.runs() && !process.log().contains(secret) && !process.log().contains(&line));
    process.kill().await;
}

/// The image: built by the pinned compiler in a stage that does not stay, run by nobody in particular, with a check of its health.
#[test]
fn the_image_has_one_binary_no_root_and_the_pinned_compiler() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("readable");
    let text = |table: &toml::Table, section: &str, key: &str| table[section][key].as_str().expect("a text").to_owned();
    let toolchain = text(&read("rust-toolchain.toml").parse().expect("TOML"), "toolchain", "channel");
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let oldest = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version").to_owned();
    assert!(toolchain.starts_with(&format!("{oldest}.")), "Cargo.toml says {oldest}, rust-toolchain.toml {toolchain}");

    let file = read("Dockerfile");
    let stages: Vec<&str> = file.split("\nFROM ").skip(1).collect();
    let [builder, image] = stages[..] else { panic!("{} stages", stages.len()) };
    assert!(builder.starts_with(&format!("rust:{toolchain}-")), "not {toolchain}: {builder}");
    assert!(builder.contains("cargo build --release --locked"));
    assert!(
        image.starts_with("gcr.io/distroless/") && image.lines().next().is_some_and(|line| line.contains(":nonroot"))
    );
    let says = |word: &str| image.lines().filter(|line| line.starts_with(word)).collect::<Vec<_>>();
    assert_eq!(says("USER "), ["USER nonroot:nonroot"]);
    assert_eq!(says("ENTRYPOINT "), ["ENTRYPOINT [\"/usr/local/bin/onward\"]"], "no shell is between");
    assert_eq!(says("HEALTHCHECK ").len(), 1);
    assert!(image.contains("\"healthcheck\", \"--config\""));
    // Nothing is run while it is put together, so that it needs no shell; its only writable place is the volume.
    assert!(says("RUN ").is_empty() && says("ADD ").is_empty());
    assert_eq!(says("VOLUME "), ["VOLUME /var/lib/onward"]);
}

async fn certificate(wire: &Wire) -> Vec<u8> {
    let stream = wire.connect().await.expect("a handshake");
    stream.get_ref().1.peer_certificates().expect("shown")[0].to_vec()
}
