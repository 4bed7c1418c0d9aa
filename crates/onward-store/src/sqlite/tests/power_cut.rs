//! Fault 8: the power fails. strace writes down every write and every sync of a short run; from that the files are made as a disk may
//! hold them after a cut at any moment: what was synced is there, of what was not some pages are and some are not. What was
//! acknowledged before the cut must be there. The same run without syncing at commits must lose something, or the test shows nothing.
//!
//! Fault 9: the cut comes in the middle of a write, and half of it is on the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::injection::{EVERY, FOLDER, SERVED_WRONG, adds_up, can_watch, child_arguments, folder};

/// One thing that the run did to a file, or said, in the order in which it happened.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    Write {
        file: PathBuf,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: PathBuf,
        length: usize,
    },
    /// The sync has ended well.
    Sync {
        file: PathBuf,
    },
    Remove {
        file: PathBuf,
    },
    Acknowledged(String),
}

/// A file of which the disk holds one thing for certain, and perhaps more.
#[derive(Default)]
pub(super) struct Disk {
    synced: Vec<u8>,
    /// Writes (with their place) and truncations since.
    pending: Vec<(usize, Option<Vec<u8>>)>,
}

impl Disk {
    /// A file that has been there for long.
    pub(super) fn of(synced: Vec<u8>) -> Self {
        Self { synced, pending: Vec::new() }
    }

    /// What it may hold after a cut: of the pending changes those that `kept` takes, by their number.
    pub(super) fn after_cut(&self, kept: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut content = self.synced.clone();
        for (_, change) in self.pending.iter().enumerate().filter(|(number, _)| kept(*number)) {
            apply(&mut content, change);
        }
        content
    }

    /// What it holds after a cut in the middle of its last write, of which one half has come: everything before is there.
    fn torn(&self, first_half: bool) -> Vec<u8> {
        let (last, before) = self.pending.split_last().expect("a write");
        let mut content = self.synced.clone();
        before.iter().for_each(|change| apply(&mut content, change));
        let (at, Some(bytes)) = last else { panic!("a write") };
        let half = bytes.len() / 2;
        let kept = if first_half { (*at, bytes[..half].to_vec()) } else { (at + half, bytes[half..].to_vec()) };
        apply(&mut content, &(kept.0, Some(kept.1)));
        content
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.synced, &change);
        }
    }
}

fn apply(content: &mut Vec<u8>, (at, bytes): &(usize, Option<Vec<u8>>)) {
    match bytes {
        None => content.resize(*at, 0),
        Some(bytes) => {
            content.resize(content.len().max(at + bytes.len()), 0);
            content[*at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// Runs it; what it did, in order.
pub(super) fn run(folder: &Path, synchronous: &str) -> Vec<Event> {
    let trace = folder.join("trace");
    let done = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-qq",
            "-xx",
            "-s",
            "4000000",
            "-e",
            "trace=pwrite64,write,fdatasync,fsync,ftruncate,unlink",
        ])
        .args(["-e", "signal=none"])
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().expect("this program"))
        .args(child_arguments())
        .envs([(FOLDER, folder.as_os_str()), ("ONWARD_TEST_SYNCHRONOUS", synchronous.as_ref())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(done.expect("strace runs").success(), "an undisturbed run ends well");
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let mut begun = BTreeMap::new();
    text.lines().filter_map(|line| event(line, &mut begun)).collect()
}

/// Reads a line of the trace. A sync counts when it returns, which another line may tell.
fn event(line: &str, begun: &mut BTreeMap<String, PathBuf>) -> Option<Event> {
    let (process, call) = line.split_once(' ')?;
    let call = call.trim_start();
    if let Some(rest) = call.strip_prefix("<... ") {
        let is_sync = rest.starts_with("fdatasync") || rest.starts_with("fsync");
        let file = is_sync.then(|| begun.remove(process)).flatten()?;
        return rest.ends_with("= 0").then_some(Event::Sync { file });
    }
    let (name, arguments) = call.split_once('(')?;
    if name == "unlink" {
        let file = unhex(arguments.split('"').nth(1)?)?;
        return Some(Event::Remove { file: PathBuf::from(String::from_utf8(file).ok()?) });
    }
    let file = arguments.split_once('<')?.1.split_once('>')?.0;
    let file = match file.starts_with("\\x") {
        true => String::from_utf8(unhex(file)?).ok()?.into(),
        false => PathBuf::from(file),
    };
    let numbers = || arguments.rsplit_once('"').map_or(arguments, |(_, rest)| rest);
    let number = |place: usize| {
        let text = numbers().split(',').nth(place)?.trim();
        text.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
    };
    match name {
        "pwrite64" => {
            let bytes = unhex(arguments.split('"').nth(1)?)?;
            (bytes.len() == number(1)?).then_some(Event::Write { file, at: number(2)?, bytes })
        }
        "ftruncate" => Some(Event::Truncate { file, length: number(1)? }),
        "fdatasync" | "fsync" if arguments.contains("<unfinished") => {
            begun.insert(process.to_owned(), file);
            None
        }
        "fdatasync" | "fsync" => arguments.ends_with("= 0").then_some(Event::Sync { file }),
        "write" => {
            let said = String::from_utf8(unhex(arguments.split('"').nth(1)?)?).ok()?;
            let id = said.lines().find_map(|line| line.strip_prefix("acknowledged "))?.to_owned();
            Some(Event::Acknowledged(id))
        }
        _ => None,
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    for part in text.split("\\x").skip(1) {
        bytes.push(u8::from_str_radix(part, 16).ok()?);
    }
    Some(bytes)
}

/// The files of a run, and what it has acknowledged, up to some moment of it.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) disks: BTreeMap<PathBuf, Disk>,
    pub(super) acknowledged: Vec<String>,
}

impl Machine {
    /// Goes on by one thing that the run in this folder did.
    pub(super) fn goes_on(&mut self, folder: &Path, event: Event) {
        let own = |file: &Path| file.parent() == Some(folder);
        let Self { disks, acknowledged } = self;
        match event {
            Event::Write { file, at, bytes } if own(&file) => {
                disks.entry(file).or_default().pending.push((at, Some(bytes)));
            }
            Event::Truncate { file, length } if own(&file) => {
                disks.entry(file).or_default().pending.push((length, None))
            }
            Event::Sync { file } if own(&file) => disks.entry(file).or_default().sync(),
            Event::Remove { file } => drop(disks.remove(&file)),
            Event::Acknowledged(id) => acknowledged.push(id),
            _ => {}
        }
    }

    /// A folder with what each file holds after a cut, by `content`.
    pub(super) fn after_cut(
        &self,
        folder: &Path,
        content: impl Fn(&Path, &Disk) -> Option<Vec<u8>>,
    ) -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::copy(folder.join("keys"), place.path().join("keys")).expect("copied");
        for (file, disk) in self.disks.iter().filter(|(file, _)| !file.ends_with("onward.db-shm")) {
            let Some(content) = content(file, disk) else { continue };
            std::fs::write(place.path().join(file.file_name().expect("a name")), content).expect("written");
        }
        place
    }

    /// Starts anew there: whether everything acknowledged is there, else what is wrong.
    async fn starts_anew(
        &self,
        folder: &Path,
        content: impl Fn(&Path, &Disk) -> Option<Vec<u8>>,
    ) -> Result<(), String> {
        let place = self.after_cut(folder, content);
        adds_up(place.path(), &self.acknowledged).await
    }
}

/// What is lost or does not add up, over cuts all along the run.
async fn losses(synchronous: &str) -> Vec<String> {
    let ran = folder();
    let events = run(ran.path(), synchronous);
    let mut machine = Machine::default();
    let (mut lost, mut cuts) = (Vec::new(), 0);
    for (count, event) in events.into_iter().enumerate() {
        let said = matches!(event, Event::Acknowledged(_));
        machine.goes_on(ran.path(), event);
        // After each acknowledgement, and at some moments between.
        if !said && count % 29 != 0 {
            continue;
        }
        // Nothing, everything, and some of what was pending, by a number that looks like chance.
        for choice in 0..3_usize {
            let kept = move |number: usize| match choice {
                0 => false,
                1 => true,
                _ => (number.wrapping_mul(2_654_435_761) ^ count).is_multiple_of(3),
            };
            cuts += 1;
            lost.extend(machine.starts_anew(ran.path(), |_, disk| Some(disk.after_cut(kept))).await.err());
        }
    }
    let acknowledged = machine.acknowledged.len();
    assert!(acknowledged >= 3 && cuts > 20, "{acknowledged} acknowledged, {cuts} cuts");
    lost
}

/// Fault 9: of a page or a frame one half is on the disk. In the log that is where it ends; in the file the log has it whole, until the
/// file is synced. Without that log, as from a disk that says it has synced and has not, a half page may be no store any more, or one that
/// does not add up; it is never something else than what was stored.
#[tokio::test]
async fn fault_009_a_write_that_is_torn_is_recovered_or_the_start_is_refused() {
    if !can_watch() {
        return;
    }
    let ran = folder();
    let events = run(ran.path(), "FULL");
    let stride = if std::env::var_os(EVERY).is_some() { 1 } else { 9 };
    let (mut machine, mut torn, mut refused, mut write) = (Machine::default(), BTreeMap::new(), 0, 0);
    for event in events {
        let file = match &event {
            Event::Write { file, .. } => file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        machine.goes_on(ran.path(), event);
        if machine.acknowledged.is_empty() || !["onward.db", "onward.db-wal"].contains(&file.as_str()) {
            continue;
        }
        write += 1;
        if write % stride != 0 {
            continue;
        }
        for first_half in [true, false] {
            let half = |own: &Path, disk: &Disk| match own.ends_with(&file) {
                true => disk.torn(first_half),
                false => disk.after_cut(|_| true),
            };
            *torn.entry(file.clone()).or_insert(0) += 1;
            let recovered = machine.starts_anew(ran.path(), |own, disk| Some(half(own, disk))).await;
            assert_eq!(recovered, Ok(()), "{file}, write {write}, first half: {first_half}");
            if file == "onward.db" {
                let no_log = |own: &Path, disk: &Disk| (!own.ends_with("onward.db-wal")).then(|| half(own, disk));
                let told = machine.starts_anew(ran.path(), no_log).await;
                assert_ne!(told, Err(SERVED_WRONG.to_owned()), "write {write}, first half: {first_half}");
                refused += usize::from(told.is_err());
            }
        }
    }
    assert!(torn["onward.db"] > 5 && torn["onward.db-wal"] > 5 && refused > 5, "{torn:?}, {refused} without the log");
}

#[tokio::test]
async fn fault_008_a_power_cut_takes_nothing_that_was_acknowledged() {
    if !can_watch() {
        return;
    }
    assert_eq!(losses("FULL").await, Vec::<String>::new());
    assert!(
        !losses("NORMAL").await.is_empty(),
        "without a sync at each commit something must be lost, or this test shows nothing"
    );
}

#[test]
fn a_trace_is_read() {
    let mut begun = BTreeMap::new();
    let mut read = |line: &str| event(line, &mut begun);
    let file = PathBuf::from("/t/a-wal");
    assert_eq!(
        read("7 pwrite64(5<\\x2f\\x74\\x2f\\x61\\x2d\\x77\\x61\\x6c>, \"\\x61\\x62\", 2, 4096) = 2"),
        Some(Event::Write { file: file.clone(), at: 4096, bytes: b"ab".to_vec() })
    );
    assert_eq!(read("7 fdatasync(5</t/a-wal>) = 0"), Some(Event::Sync { file: file.clone() }));
    assert_eq!(read("7 fdatasync(5</t/a-wal>) = -1 EIO (Input/output error)"), None);
    assert_eq!(read("7 fdatasync(5</t/a-wal> <unfinished ...>"), None);
    assert_eq!(read("8 <... futex resumed>) = 0"), None);
    assert_eq!(read("7 <... fdatasync resumed>) = 0"), Some(Event::Sync { file: file.clone() }));
    assert_eq!(read("7 ftruncate(5</t/a-wal>, 12) = 0"), Some(Event::Truncate { file: file.clone(), length: 12 }));
    assert_eq!(read("7 unlink(\"\\x2f\\x74\\x2f\\x61\\x2d\\x77\\x61\\x6c\") = 0"), Some(Event::Remove { file }));
    let said: String = b"\nacknowledged x\n".iter().map(|byte| format!("\\x{byte:02x}")).collect();
    assert_eq!(read(&format!("7 write(1<pipe:[1]>, \"{said}\", 16) = 16")), Some(Event::Acknowledged("x".to_owned())));
}
