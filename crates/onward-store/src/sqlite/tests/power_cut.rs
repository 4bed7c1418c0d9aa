//! Fault 8: the power fails. strace writes down every write and every sync of a short run; from that the files are made as a disk may
//! hold them after a cut at any moment: what was synced is there, of what was not some pages are and some are not. What was
//! acknowledged before the cut must be there. The same run without syncing at commits must lose something, or the test shows nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::injection::{FOLDER, adds_up, can_watch, child_arguments, folder};

/// One thing that the run did to a file, or said, in the order in which it happened.
#[derive(Debug, PartialEq)]
enum Event {
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
struct Disk {
    synced: Vec<u8>,
    /// Writes (with their place) and truncations since.
    pending: Vec<(usize, Option<Vec<u8>>)>,
}

impl Disk {
    /// What it may hold after a cut: of the pending changes those that `kept` takes, by their number.
    fn after_cut(&self, kept: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut content = self.synced.clone();
        for (_, change) in self.pending.iter().enumerate().filter(|(number, _)| kept(*number)) {
            apply(&mut content, change);
        }
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
fn run(folder: &Path, synchronous: &str) -> Vec<Event> {
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

/// What is lost or does not add up, over cuts all along the run.
async fn losses(synchronous: &str) -> Vec<String> {
    let ran = folder();
    let events = run(ran.path(), synchronous);
    let own = |file: &Path| file.parent() == Some(ran.path());
    let (mut disks, mut acknowledged) = (BTreeMap::<PathBuf, Disk>::new(), Vec::new());
    let (mut lost, mut cuts) = (Vec::new(), 0);
    for (count, event) in events.into_iter().enumerate() {
        let said = matches!(event, Event::Acknowledged(_));
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
            let place = tempfile::tempdir().expect("a folder");
            std::fs::copy(ran.path().join("keys"), place.path().join("keys")).expect("copied");
            for (file, disk) in disks.iter().filter(|(file, _)| !file.ends_with("onward.db-shm")) {
                let name = file.file_name().expect("a name");
                std::fs::write(place.path().join(name), disk.after_cut(kept)).expect("written");
            }
            cuts += 1;
            lost.extend(adds_up(place.path(), &acknowledged).await.err());
        }
    }
    assert!(acknowledged.len() >= 3 && cuts > 20, "{} acknowledged, {cuts} cuts", acknowledged.len());
    lost
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
