//! A running gateway's log, checked by a second implementation that shares no code with ours: `verify.py` of
//! onward-ledger agrees with every true checkpoint, proof and export, and refuses every change of one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser as _;
use onward_server::cli::{Cli, Exit};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

const VERIFIER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/onward-ledger/verify/verify.py");

/// Whether Python is there; panics where skipping is forbidden, as for the MESH sandbox, which needs it too.
pub(crate) fn python() -> bool {
    let runs = Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    let required = std::env::var_os("ONWARD_REQUIRE_MESH_SANDBOX").is_some();
    assert!(runs || !required, "python3 is missing, so the log was not checked by a second implementation");
    if !runs {
        eprintln!("SKIPPED: python3 is missing, so the log was not checked by a second implementation");
    }
    runs
}

/// Exit code and words of the second implementation.
pub(crate) fn verify(arguments: &[&str]) -> (i32, String) {
    let done = Command::new("python3").arg("-I").arg(VERIFIER).args(arguments).output().expect("python runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.code().expect("it ended by itself"), said)
}

pub(crate) fn refused(arguments: &[&str], what: &str) {
    let (code, said) = verify(arguments);
    assert_eq!(code, 1, "{what}: {said}");
    assert!(said.starts_with("does not hold: "), "{what}: {said}");
}

/// Runs `onward audit …` on this world, as an operator would beside the running gateway.
pub(crate) async fn onward(world: &World, arguments: &[&str]) -> Exit {
    command(world, &[&["audit"], arguments].concat()).await
}

pub(crate) async fn command(world: &World, arguments: &[&str]) -> Exit {
    let config = world.config_file.to_str().expect("UTF-8");
    let words = [&["onward"], arguments, &["--config", config]].concat();
    let cli = Cli::try_parse_from(words).expect("parses");
    tokio::task::spawn_blocking(|| cli.run()).await.expect("it ran")
}

pub(crate) fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

/// The same text with one character replaced by another of its kind, at a given place.
fn altered(text: &str, at: usize) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    chars[at] = match chars[at] {
        '0'..='8' => char::from(chars[at] as u8 + 1),
        'A' => 'B',
        'a' => 'b',
        _ => 'A',
    };
    chars.into_iter().collect()
}

struct Evidence {
    folder: PathBuf,
    key: String,
    checkpoint: String,
    export: String,
}

/// Public key, newest checkpoint and export of a world whose hospital has just discharged somebody.
async fn evidence(world: &World) -> Evidence {
    let hospital = world.hospital().await;
    for _ in 0..3 {
        let (status, response, _) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
        assert_eq!(status, 200, "{response}");
    }
    until_covered(world).await;
    let folder = world.folder().to_owned();
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let found = Evidence {
        key: path("log.pub"),
        checkpoint: path("checkpoint.txt"),
        export: path("audit.ndjson"),
        folder: folder.clone(),
    };
    assert_eq!(onward(world, &["key", "--out", &found.key]).await, Exit::Done);
    assert_eq!(onward(world, &["checkpoint", "--out", &found.checkpoint]).await, Exit::Done);
    assert_eq!(onward(world, &["export", "--evidence", "--out", &found.export]).await, Exit::Done);
    found
}

/// Until a checkpoint covers every entry there is.
async fn until_covered(world: &World) {
    let store = world.gateway().store();
    let entries = store.audit_size().await.expect("readable");
    while store.latest_checkpoint().await.expect("readable").is_none_or(|checkpoint| checkpoint.size < entries) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_implementation_agrees_with_the_whole_log_and_refuses_every_change() {
    if !python() {
        return;
    }
    let world = World::start().await;
    let Evidence { folder, key, checkpoint, export } = evidence(&world).await;
    let (code, said) = verify(&["checkpoint", "--key", &key, &checkpoint]);
    assert!(said.contains("limit: without a witness"), "what it cannot show is said: {said}");
    assert_eq!(code, 0, "{said}");
    let whole = ["log", "--key", &key, "--checkpoint", &checkpoint, &export];
    let (code, said) = verify(&whole);
    assert_eq!(code, 0, "{said}");

    let note = std::fs::read_to_string(&checkpoint).expect("readable");
    let length = note.chars().count();
    for at in (0..length).step_by(11) {
        let changed = altered(&note, at);
        if changed != note {
            refused(
                &["checkpoint", "--key", &key, &write(&folder, "changed.txt", changed)],
                &format!("character {at}"),
            );
        }
    }
    let log = std::fs::read_to_string(&export).expect("readable");
    let lines: Vec<&str> = log.lines().collect();
    let covered: usize = note.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size");
    assert!(covered > 10, "{covered} entries");
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    for at in [0, 1, covered / 2, covered - 1] {
        let mut edited: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        edited[at] = edited[at].replace(r#"\"success\":"#, r#"\"success\": "#);
        assert_ne!(edited[at], lines[at]);
        let mut retold: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        retold[at] = retold[at].replace(r#"\"outcome\":\""#, r#"\"outcome\": \""#);
        assert_ne!(retold[at], lines[at]);
        let mut removed = lines.clone();
        removed.remove(at);
        // A copy after the last signed entry is a new entry: doubled in front of it.
        let mut doubled = lines.clone();
        doubled.insert(at.saturating_sub(1), lines[at]);
        let mut swapped = lines.clone();
        swapped.swap(at, (at + 1) % covered);
        for (what, changed) in [
            ("edited", edited.concat()),
            ("told otherwise", retold.iter().map(|line| format!("{line}\n")).collect()),
            ("edited", edited.iter().map(|line| format!("{line}\n")).collect()),
            ("removed", joined(&removed)),
            ("doubled", joined(&doubled)),
            ("swapped", joined(&swapped)),
            ("cut off", joined(&lines[..at])),
        ] {
            let changed = write(&folder, "changed.ndjson", changed);
            refused(&["log", "--key", &key, "--checkpoint", &checkpoint, &changed], &format!("entry {at} {what}"));
        }
    }
    let unsigned = joined(&lines[..covered]);
    let (code, said) =
        verify(&["log", "--key", &key, "--checkpoint", &checkpoint, &write(&folder, "u.ndjson", unsigned)]);
    assert_eq!(code, 0, "what no checkpoint covers may be missing, and nobody can tell: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_implementation_accepts_proofs_and_refuses_every_change() {
    if !python() {
        return;
    }
    let world = World::start().await;
    let Evidence { folder, key, checkpoint, export } = evidence(&world).await;
    let log = std::fs::read_to_string(&export).expect("readable");
    let note = std::fs::read_to_string(&checkpoint).expect("readable");
    let size: usize = note.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size");
    for at in [0, 1, size / 2, size - 1] {
        let path = folder.join(format!("{at}.tlog-proof")).to_str().expect("UTF-8").to_owned();
        assert_eq!(onward(&world, &["prove", &at.to_string(), "--out", &path]).await, Exit::Done);
        let (code, said) = verify(&["proof", "--key", &key, &path]);
        assert_eq!(code, 0, "{said}");
        let bare = format!("{path}.bare");
        assert_eq!(onward(&world, &["prove", &at.to_string(), "--hash-only", "--out", &bare]).await, Exit::Done);
        let line = log.lines().nth(at).expect("an entry");
        let entry = write(&folder, "entry.json", format!("{line}\n"));
        let (code, said) = verify(&["proof", "--key", &key, "--entry", &entry, &bare]);
        assert_eq!(code, 0, "{said}");
        refused(&["proof", "--key", &key, &bare], "without the entry");
        let other = write(&folder, "other.json", log.lines().nth((at + 1) % size).expect("an entry"));
        refused(&["proof", "--key", &key, "--entry", &other, &bare], "another entry");
        refused(&["proof", "--key", &key, "--entry", &other, &path], "another entry than the one carried");
    }
    let path = folder.join(format!("{}.tlog-proof", size / 2));
    let proof = std::fs::read_to_string(path).expect("readable");
    let lines: Vec<&str> = proof.lines().collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let mut changed: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        changed[at] = altered(line, line.chars().count() / 2);
        let mut without = lines.clone();
        without.remove(at);
        for (what, text) in [("changed", changed.join("\n")), ("removed", without.join("\n"))] {
            let text = write(&folder, "changed.tlog-proof", text + "\n");
            refused(&["proof", "--key", &key, &text], &format!("line {at} {what}"));
            assert_eq!(onward(&world, &["check", &text, "--verifier", &key]).await, Exit::No, "ours: line {at} {what}");
        }
    }
    let stranger = onward_ledger::SigningKeys::generate("onward/Y99900").expect("a key");
    let stranger = write(&folder, "stranger.pub", stranger.verifying_keys().to_string());
    let path = folder.join("0.tlog-proof").to_str().expect("UTF-8").to_owned();
    refused(&["proof", "--key", &stranger, &path], "another key of the same name");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_key_is_changed_and_its_past_stays_proven() {
    if !python() {
        return;
    }
    let mut world = World::start().await;
    let Evidence { folder, key: old_key, checkpoint: before, .. } = evidence(&world).await;
    let secret_file = world.folder().join("audit-signing.key");
    let stolen = std::fs::read_to_string(&secret_file).expect("readable");
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let (both, after, export, all_keys) = (path("both.txt"), path("after.txt"), path("later.ndjson"), path("all.pub"));

    assert_eq!(command(&world, &["keys", "log"]).await, Exit::Done);
    assert_eq!(command(&world, &["keys", "log"]).await, Exit::No, "one change at a time");
    until_covered(&world).await;
    assert_eq!(command(&world, &["keys", "log", "--retire"]).await, Exit::No, "no gateway signs with the new key yet");
    world.restart().await;
    let hospital = world.hospital().await;
    assert_eq!(post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await.0, 200);
    until_covered(&world).await;
    assert_eq!(onward(&world, &["checkpoint", "--out", &both]).await, Exit::Done);
    assert_eq!(command(&world, &["keys", "log", "--retire"]).await, Exit::Done);
    assert_eq!(command(&world, &["keys", "log", "--retire"]).await, Exit::No, "nothing is left to retire");
    world.restart().await;
    let hospital = world.hospital().await;
    assert_eq!(post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await.0, 200);
    until_covered(&world).await;

    assert_eq!(onward(&world, &["key", "--out", &all_keys]).await, Exit::Done);
    assert_eq!(onward(&world, &["checkpoint", "--out", &after]).await, Exit::Done);
    assert_eq!(onward(&world, &["export", "--evidence", "--out", &export]).await, Exit::Done);
    assert_eq!(onward(&world, &["verify", "--checkpoint", &before, "--checkpoint", &both]).await, Exit::Done);
    let (code, said) = verify(&[
        "log",
        "--key",
        &all_keys,
        "--checkpoint",
        &before,
        "--checkpoint",
        &both,
        "--checkpoint",
        &after,
        &export,
    ]);
    assert_eq!(code, 0, "{said}");
    // Who has only the old key follows as far as it signed, and then knows that something changed.
    for (checkpoint, expected) in [(&before, 0), (&both, 0), (&after, 1)] {
        assert_eq!(verify(&["checkpoint", "--key", &old_key, checkpoint]).0, expected, "{checkpoint}");
    }
    assert_eq!(onward(&world, &["verify", "--verifier", &old_key]).await, Exit::No);

    // Who kept the old secret makes no newer history of it.
    let kept = std::fs::read_to_string(&secret_file).expect("readable");
    assert!(!kept.contains(stolen.trim()), "the secret is destroyed");
    let stolen = onward_ledger::SigningKeys::from_secret_text(&stolen).expect("a key");
    let honest = std::fs::read_to_string(&after).expect("readable");
    let checkpoint = std::fs::read_to_string(&all_keys).expect("readable");
    let keys = onward_ledger::VerifyingKeys::from_text(&checkpoint).expect("keys");
    let forged = stolen.sign(&keys.open(&honest).expect("signed by the new key")).expect("signs");
    let forged = write(&folder, "forged.txt", forged);
    refused(&["checkpoint", "--key", &all_keys, &forged], "signed by the retired key alone");
    assert_eq!(onward(&world, &["verify", "--checkpoint", &forged]).await, Exit::No);
}
