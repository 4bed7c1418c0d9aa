//! What the process gives up before it serves, so that whoever gets inside finds little: new privileges, files that the
//! configuration does not name (Landlock), system calls that no gateway needs (seccomp). Best effort by default: an old
//! kernel is told in the log and by `/readyz`, not refused. And it shows its memory and its environment to nobody but root.
//!
//! It acts on the calling thread and those that are started after it: it comes before the runtime.

#[cfg(target_os = "linux")]
mod landlock;
#[cfg(target_os = "linux")]
mod seccomp;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;

use crate::config::{Config, Loaded, StoreUrl};

/// `[server] hardening`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hardening {
    /// The gateway does not start without all of it.
    Require,
    /// As much as the kernel has.
    BestEffort,
    /// None.
    Off,
}

/// What is in force, for the log and for `/readyz`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Posture {
    /// The version of Landlock's interface that limits files and ports.
    pub landlock: Option<i32>,
    /// System calls are limited.
    pub seccomp: bool,
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.landlock, self.seccomp) {
            (None, false) => f.write_str("none"),
            (None, true) => f.write_str("no new privileges, seccomp; no Landlock"),
            (Some(version), false) => write!(f, "no new privileges, Landlock {version}; no seccomp"),
            (Some(version), true) => write!(f, "no new privileges, Landlock {version}, seccomp"),
        }
    }
}

/// What the gateway may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reach {
    /// Read, with all that is beneath.
    read: Vec<PathBuf>,
    /// Read, written, made and removed, with all that is beneath.
    write: Vec<PathBuf>,
    /// TCP ports that are listened on; empty when one is left to the system.
    ports: Vec<u16>,
    /// A command of the configuration's is run: it brings its own needs, so that any file may be read and run.
    commands: bool,
}

/// Gives up what the configuration does not need.
///
/// # Errors
/// When all of it is required and the kernel does not have it.
pub fn harden(loaded: &Loaded) -> anyhow::Result<Posture> {
    let level = loaded.config.server.hardening;
    if level == Hardening::Off {
        return Ok(Posture::default());
    }
    let hidden = hide();
    let posture = apply(&Reach::of(loaded))?;
    let whole = hidden && posture.landlock.is_some() && posture.seccomp;
    anyhow::ensure!(
        whole || level != Hardening::Require,
        "server.hardening is \"require\", but this system gives only: {posture}. Landlock needs Linux 5.13 with it enabled \
         (see /sys/kernel/security/lsm); \"best-effort\" starts without"
    );
    Ok(posture)
}

/// Keeps this process's memory and environment from its user's other processes, and out of core files (`PR_SET_DUMPABLE`); true where
/// the system does. Of the whole process; a program that it starts is as open as ever.
#[cfg(target_os = "linux")]
pub(crate) fn hide() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn hide() -> bool {
    false
}

#[cfg(target_os = "linux")]
fn apply(reach: &Reach) -> anyhow::Result<Posture> {
    Ok(Posture { landlock: landlock::apply(reach)?, seccomp: seccomp::apply(reach.commands) })
}

#[cfg(not(target_os = "linux"))]
fn apply(_: &Reach) -> anyhow::Result<Posture> {
    Ok(Posture::default())
}

impl Reach {
    /// Whatever key names a file or a folder, so that none is forgotten.
    fn of(loaded: &Loaded) -> Self {
        let base = loaded.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let mut reach = Self::default();
        for setting in &loaded.settings {
            let key = setting.key.rsplit('.').next().unwrap_or_default();
            if let Ok(mut table) = format!("value = {}", setting.value).parse::<toml::Table>()
                && let Some(value) = table.remove("value")
            {
                reach.take(base, key, &value);
            }
        }
        if let StoreUrl::Sqlite(path) = &loaded.config.store.url {
            reach.write.extend(folders(path));
        }
        reach.read.extend(Config::authorities_elsewhere());
        let server = &loaded.config.server;
        let ports = [server.listen.port(), server.operations_listen.port()];
        if !ports.contains(&0) {
            reach.ports = ports.to_vec();
        }
        reach
    }

    fn take(&mut self, base: &Path, key: &str, value: &Value) {
        match value {
            Value::Table(table) => table.iter().for_each(|(key, value)| self.take(base, key, value)),
            Value::Array(values) => {
                if key.ends_with("command") && !values.is_empty() {
                    self.commands = true;
                }
                values.iter().for_each(|value| self.take(base, key, value));
            }
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => {
                let path = base.join(text);
                if key.ends_with("command") {
                    self.commands = true;
                } else if key.ends_with("file") || key.ends_with("files") {
                    self.read.extend(folders(&path));
                } else if key == "checkpoint_folder" {
                    self.write.push(path);
                } else if key.ends_with("folder") || key.ends_with("packages") {
                    self.read.push(path);
                }
            }
            _ => {}
        }
    }
}

/// The folder of a file, and that of what the file links to: a renewal puts another file in its place, and a rule about
/// the file itself would not let that be read. A file of the topmost folder stands for itself.
fn folders(file: &Path) -> Vec<PathBuf> {
    let folder = |path: &Path| match path.parent() {
        Some(parent) if parent == Path::new("/") => path.to_owned(),
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut found = vec![folder(file)];
    if let Ok(target) = file.canonicalize()
        && !found.contains(&folder(&target))
    {
        found.push(folder(&target));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_configuration_is_in_reach_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["data", "live", "archive"] {
            std::fs::create_dir(at(name)).expect("made");
        }
        std::fs::write(at("archive/cert1.pem"), "x").expect("written");
        std::os::unix::fs::symlink("../archive/cert1.pem", at("live/cert.pem")).expect("linked");
        let text = "[server]\ntls_certificate_file = \"live/cert.pem\"\nlisten = \"127.0.0.1:8443\"\n\
                    [store]\nurl = \"sqlite:data/onward.db\"\n[validation]\npackages = [\"uk\", \"own.tgz\"]\n\
                    [disclosure]\nfolder = \"/srv/policies\"\n\
                    [audit]\ncheckpoint_folder = \"checkpoints\"\n";
        std::fs::write(at("gateway.toml"), text).expect("written");
        let loaded = Config::load_from(Some(&at("gateway.toml")), []).expect("a configuration");
        let reach = Reach::of(&loaded);
        let archive = at("archive").canonicalize().expect("there");
        for path in [at("live"), archive, at("uk"), at("own.tgz"), PathBuf::from("/srv/policies"), at("")] {
            assert!(reach.read.contains(&path), "{} is not in {:?}", path.display(), reach.read);
        }
        assert!(reach.write.contains(&at("data")) && reach.write.contains(&at("checkpoints")), "{:?}", reach.write);
        assert!(!reach.write.contains(&at("live")));
        assert_eq!((reach.ports.as_slice(), reach.commands), ([8443, 9443].as_slice(), false));
    }

    #[test]
    fn nested_keys_and_commands_are_seen() {
        let value: toml::Table =
            "issuers = [{ jwks_file = \"keys.json\", key_files = [\"new/a\"] }]\nkey_command = [\"/usr/bin/unwrap\", \"x\"]"
                .parse()
                .expect("TOML");
        let mut reach = Reach::default();
        value.iter().for_each(|(key, value)| reach.take(Path::new("/etc/onward"), key, value));
        assert_eq!(reach.read, ["/etc/onward", "/etc/onward/new"].map(PathBuf::from));
        assert!(reach.commands);
    }

    #[test]
    fn a_posture_reads_as_words() {
        assert_eq!(Posture::default().to_string(), "none");
        let whole = Posture { landlock: Some(6), seccomp: true };
        assert_eq!(whole.to_string(), "no new privileges, Landlock 6, seccomp");
    }
}
