//! A witness that a partner runs (C2SP tlog-witness): it knows the public keys of some logs, keeps the size and root of the
//! last checkpoint that it cosigned of each, and cosigns only what grows out of that.
//!
//! It refuses to cosign before that is on disk, to share its state with a second process, and to keep anything of a log
//! but two numbers and a hash: it sees nobody's data.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onward_core::{Clock, SystemClock};
use onward_ledger::{CosigningKey, NotCosigned, Seen, Submission, VerifyingKeys, judge};

/// A checkpoint with a few signatures and the longest proof is far smaller.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A witness.
pub struct Witness {
    key: CosigningKey,
    logs: BTreeMap<String, VerifyingKeys>,
    state: Mutex<Record>,
}

/// What was seen, by origin, and the file that says so.
struct Record {
    path: PathBuf,
    seen: BTreeMap<String, Seen>,
    _lock: File,
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its cosignature.
    Cosigned(String),
    /// It has seen this size last.
    Conflict(u64),
    /// No cosignature; a status and why.
    Refused(u16, String),
}

impl Witness {
    /// Opens the state, or begins one, for these logs.
    ///
    /// # Errors
    /// When the state cannot be read or is another process's, or two logs have one name.
    pub fn open(key: CosigningKey, logs: Vec<VerifyingKeys>, state: &Path) -> anyhow::Result<Self> {
        let mut by_origin = BTreeMap::new();
        for log in logs {
            let twice = by_origin.insert(log.name().to_owned(), log);
            anyhow::ensure!(
                twice.is_none(),
                "the log {} is given twice: the keys of one log stand in one file",
                twice.map_or_else(String::new, |k| k.name().to_owned())
            );
        }
        anyhow::ensure!(!by_origin.is_empty(), "a witness needs the public key of at least one log");
        Ok(Self { key, logs: by_origin, state: Mutex::new(Record::open(state)?) })
    }

    /// Its public key.
    pub fn key(&self) -> &CosigningKey {
        &self.key
    }

    /// Judges one submission at this time (seconds since 1970), writes down what was seen, and only then cosigns.
    ///
    /// # Panics
    /// Never: nobody panics while holding the lock.
    pub fn add_checkpoint(&self, body: &str, seconds: u64) -> Answer {
        let refused = |status: StatusCode, why: String| Answer::Refused(status.as_u16(), why);
        let submission = match Submission::from_text(body) {
            Ok(submission) => submission,
            Err(error) => return refused(StatusCode::BAD_REQUEST, error.to_string()),
        };
        let origin = submission.note.lines().next().unwrap_or_default();
        let Some(log) = self.logs.get(origin) else {
            return refused(StatusCode::NOT_FOUND, "this witness does not know that log".to_owned());
        };
        let checkpoint = match log.open(&submission.note) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return refused(StatusCode::FORBIDDEN, error.to_string()),
        };
        // Held until the cosignature is made: what is seen moves in one step with what is said.
        let mut record = self.state.lock().expect("nobody panics while holding it");
        match judge(&submission, &checkpoint, record.seen.get(origin)) {
            Ok(()) => {}
            Err(error @ NotCosigned::Reversed) => return refused(StatusCode::BAD_REQUEST, error.to_string()),
            Err(NotCosigned::OtherSize { size }) => return Answer::Conflict(size),
            Err(error @ NotCosigned::OtherRoot { size }) => {
                tracing::error!(origin, %error, "a log shows two histories");
                return Answer::Conflict(size);
            }
            Err(error @ NotCosigned::Inconsistent) => {
                tracing::error!(origin, %error, "a log does not grow out of what was seen of it");
                return refused(StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
            }
        }
        if let Err(error) = record.keep(origin, Seen { size: checkpoint.size, root: checkpoint.root }) {
            tracing::error!(
                error = format!("{error:#}"),
                "what was seen cannot be written down, so nothing is cosigned"
            );
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the witness cannot write down what it saw".to_owned());
        }
        match self.key.cosign(&checkpoint, seconds) {
            Ok(line) => {
                tracing::info!(origin, entries = checkpoint.size, "cosigned");
                Answer::Cosigned(line)
            }
            Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }
}

/// The witness's HTTP interface.
pub fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(answer))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(witness)
}

async fn answer(State(witness): State<Arc<Witness>>, body: String) -> Response {
    let seconds = u64::try_from(SystemClock.now().as_second()).unwrap_or(0);
    // It waits for the disk.
    let answered = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, seconds)).await;
    match answered {
        Ok(Answer::Cosigned(line)) => (StatusCode::OK, line).into_response(),
        Ok(Answer::Conflict(size)) => {
            let kind = [(header::CONTENT_TYPE, "text/x.tlog.size")];
            (StatusCode::CONFLICT, kind, format!("{size}\n")).into_response()
        }
        Ok(Answer::Refused(status, why)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, why + "\n").into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Record {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let lock_path = beside(path, "lock");
        let lock = context(
            OpenOptions::new().create(true).write(true).truncate(false).open(&lock_path),
            "opening",
            &lock_path,
        )?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!("another witness uses {}: two would cosign two histories", path.display())
            }
            Err(TryLockError::Error(error)) => return context(Err(error), "locking", &lock_path),
        }
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return context(Err(error), "reading", path),
        };
        let mut seen = BTreeMap::new();
        for line in text.lines() {
            let (origin, own) = seen_of(line)
                .with_context(|| format!("{} has a line that is no size, root and log", path.display()))?;
            seen.insert(origin, own);
        }
        Ok(Self { path: path.to_owned(), seen, _lock: lock })
    }

    /// Writes down what was seen, durably: the file is replaced whole, and its folder synced.
    fn keep(&mut self, origin: &str, own: Seen) -> anyhow::Result<()> {
        let mut seen = self.seen.clone();
        seen.insert(origin.to_owned(), own);
        let text: String = seen
            .iter()
            .map(|(origin, Seen { size, root })| format!("{size} {} {origin}\n", STANDARD.encode(root)))
            .collect();
        let part = beside(&self.path, "part");
        let mut file = context(File::create(&part), "writing", &part)?;
        context(file.write_all(text.as_bytes()).and_then(|()| file.sync_all()), "writing", &part)?;
        context(std::fs::rename(&part, &self.path), "replacing", &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        context(File::open(folder).and_then(|folder| folder.sync_all()), "syncing", folder)?;
        self.seen = seen;
        Ok(())
    }
}

/// The result with what was being done to which file.
fn context<T>(result: std::io::Result<T>, what: &str, path: &Path) -> anyhow::Result<T> {
    result.with_context(|| format!("{what} {}", path.display()))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn seen_of(line: &str) -> Option<(String, Seen)> {
    let (size, rest) = line.split_once(' ')?;
    let (root, origin) = rest.split_once(' ')?;
    let root = STANDARD.decode(root).ok()?.try_into().ok()?;
    Some((origin.to_owned(), Seen { size: size.parse().ok()?, root }))
}

#[cfg(test)]
mod tests {
    use onward_ledger::{Checkpoint, Hash, SigningKeys, consistency_proof, leaf_hash, root_of, with_cosignatures};
    use tempfile::TempDir;

    use super::*;

    const NOW: u64 = 1_795_000_000;

    struct Scene {
        folder: TempDir,
        log: SigningKeys,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let key = CosigningKey::generate("witness.example/w1").expect("a key");
            std::fs::write(folder.path().join("key"), key.to_secret_text().expect("text").as_bytes()).expect("written");
            Self { folder, log: SigningKeys::generate("onward/R9Z").expect("a key") }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn witness(&self) -> anyhow::Result<Witness> {
            let key = CosigningKey::from_secret_text(&std::fs::read_to_string(self.path("key"))?)?;
            Witness::open(key, vec![self.log.verifying_keys().clone()], &self.path("seen"))
        }

        fn submission(&self, leaves: &[Hash], old: u64) -> String {
            let size = leaves.len() as u64;
            let checkpoint = Checkpoint { origin: "onward/R9Z".to_owned(), size, root: root_of(leaves) };
            let note = self.log.sign(&checkpoint).expect("signed");
            let proof = consistency_proof(leaves, old, size).unwrap_or_default();
            Submission { old, proof, note }.to_text()
        }
    }

    fn leaves(count: u8) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(&[number])).collect()
    }

    #[test]
    fn what_was_seen_survives_a_restart_and_is_on_disk_before_it_is_cosigned() {
        let scene = Scene::new();
        let witness = scene.witness().expect("opens");
        let body = scene.submission(&leaves(5), 0);
        let Answer::Cosigned(line) = witness.add_checkpoint(&body, NOW) else { panic!("it grows out of nothing") };
        let note = Submission::from_text(&body).expect("ours").note;
        let stated = witness.key().witness_key().open(&with_cosignatures(&note, [line.as_str()])).expect("fits");
        assert_eq!(stated.map(|stated| (stated.checkpoint.size, stated.seconds)), Some((5, NOW)));
        assert!(std::fs::read_to_string(scene.path("seen")).expect("there").starts_with("5 "));
        assert!(scene.witness().is_err(), "a second process would cosign a second history");
        drop(witness);
        let witness = scene.witness().expect("opens again");
        assert_eq!(witness.add_checkpoint(&scene.submission(&leaves(9), 0), NOW), Answer::Conflict(5));
        assert!(matches!(witness.add_checkpoint(&scene.submission(&leaves(9), 5), NOW), Answer::Cosigned(_)));
    }

    #[test]
    fn rollback_and_rewriting_are_refused_and_change_nothing() {
        let scene = Scene::new();
        let witness = scene.witness().expect("opens");
        assert!(matches!(witness.add_checkpoint(&scene.submission(&leaves(9), 0), NOW), Answer::Cosigned(_)));
        let before = std::fs::read(scene.path("seen")).expect("there");
        assert_eq!(witness.add_checkpoint(&scene.submission(&leaves(4), 0), NOW), Answer::Conflict(9), "cut back");
        let status = |answer: Answer| match answer {
            Answer::Refused(status, _) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status(witness.add_checkpoint(&scene.submission(&leaves(4), 9), NOW)), 400);
        let mut rewritten = leaves(12);
        rewritten[3] = leaf_hash(b"another");
        assert_eq!(status(witness.add_checkpoint(&scene.submission(&rewritten, 9), NOW)), 422);
        let twin = Submission {
            proof: Vec::new(),
            ..Submission::from_text(&scene.submission(&rewritten[..9], 9)).expect("ours")
        };
        assert_eq!(witness.add_checkpoint(&twin.to_text(), NOW), Answer::Conflict(9), "a second history of one size");
        assert_eq!(std::fs::read(scene.path("seen")).expect("there"), before);
    }

    #[test]
    fn only_known_logs_and_keys_are_heard() {
        let scene = Scene::new();
        let witness = scene.witness().expect("opens");
        let status = |body: &str| match witness.add_checkpoint(body, NOW) {
            Answer::Refused(status, _) => status,
            other => panic!("{other:?}"),
        };
        let body = scene.submission(&leaves(3), 0);
        assert_eq!(status(&body.replace("onward/R9Z\n3", "onward/R9Y\n3")), 404);
        let stranger = Scene::new();
        assert_eq!(status(&stranger.submission(&leaves(3), 0)), 403, "another key of the same name");
        assert_eq!(status("old 0"), 400);
        assert!(!scene.path("seen").exists());
        std::fs::write(scene.path("seen"), "5 AAAA onward/R9Z\n").expect("written");
        drop(witness);
        assert!(scene.witness().is_err(), "a state that cannot be read is not taken for an empty one");
    }

    #[test]
    fn what_cannot_be_written_down_is_not_cosigned() {
        let scene = Scene::new();
        let witness = scene.witness().expect("opens");
        std::fs::create_dir(scene.path("seen.part")).expect("made");
        let body = scene.submission(&leaves(3), 0);
        assert!(matches!(witness.add_checkpoint(&body, NOW), Answer::Refused(503, _)));
        std::fs::remove_dir(scene.path("seen.part")).expect("removed");
        assert!(matches!(witness.add_checkpoint(&body, NOW), Answer::Cosigned(_)), "and nothing was taken for seen");
    }
}
