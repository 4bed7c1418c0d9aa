//! A throw-away PostgreSQL on loopback, for the tests of the store and of the gateway alike: only the standard library, so that
//! both can include this file. Where PostgreSQL is not installed a test says so loudly, and fails under
//! `ONWARD_REQUIRE_POSTGRES`.
//!
//! A second server can follow it as its standby, and take its place.
//!
//! Its `fsync` is off: what these tests lose is a process, never the machine. Nothing else may run Onward on such a server.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The database user of the tests.
pub const USER: &str = "onward";
/// Its password.
pub const PASSWORD: &str = "not a secret";

/// Serves until its input ends, which it does when this process ends, however it does; then removes its folder.
const KEEPER: &str = r#"
"$1/postgres" -D "$2/data" $3 >>"$2/log" 2>&1 &
server=$!
read -r line
kill -INT "$server"
wait "$server"
[ "$line" = keep ] || rm -rf "$2"
"#;

/// A running server.
pub struct Cluster {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    options: String,
    owner: Option<(u32, u32)>,
    keeper: std::sync::Mutex<Child>,
}

/// The server that the tests of this process share; `None`, loudly, where PostgreSQL is not installed.
///
/// # Panics
/// When it does not start, or is not installed where that is required.
#[must_use]
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start("")).as_ref()
}

impl Cluster {
    /// A server of its own, with further options of `postgres`; `None`, loudly, where PostgreSQL is not installed.
    ///
    /// # Panics
    /// When it does not start, or is not installed where that is required.
    #[must_use]
    pub fn start(options: &str) -> Option<Self> {
        Self::start_with(options, &[])
    }

    /// The same with files in its data folder, readable by its owner alone; `{data}` in an option stands for that folder.
    ///
    /// # Panics
    /// When it does not start, or is not installed where that is required.
    #[must_use]
    pub fn start_with(options: &str, files: &[(&str, &str)]) -> Option<Self> {
        let Some(bin) = installed() else {
            assert!(
                std::env::var_os("ONWARD_REQUIRE_POSTGRES").is_none(),
                "PostgreSQL is missing and ONWARD_REQUIRE_POSTGRES forbids skipping (Debian: postgresql)"
            );
            eprintln!("SKIPPED: PostgreSQL is missing (Debian: postgresql)");
            return None;
        };
        // Of every user's own, because PostgreSQL refuses to run as root.
        let owner = unprivileged();
        let folder = new_folder(owner);
        write(&folder.join("password"), PASSWORD, owner);
        // The plain password, on loopback: SCRAM's thousands of hashes take longer than the tests where nothing is optimised.
        let initialised = as_owner(&bin.join("initdb"), owner)
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-U", USER, "-A", "password", "-E", "UTF8", "--no-locale", "--no-sync", "--pwfile"])
            .arg(folder.join("password"))
            .output()
            .expect("initdb runs");
        assert!(initialised.status.success(), "initdb: {}", String::from_utf8_lossy(&initialised.stderr));
        for (name, text) in files {
            write(&folder.join("data").join(name), text, owner);
        }
        Some(Self::serve(bin, folder, options, owner))
    }

    /// Serves what is in the folder.
    fn serve(bin: PathBuf, folder: PathBuf, options: &str, owner: Option<(u32, u32)>) -> Self {
        let port = free_port();
        let options = format!(
            "-h 127.0.0.1 -p {port} -c unix_socket_directories= -c fsync=off -c max_connections=200 \
             -c shared_buffers=32MB -c log_line_prefix=%d: {}",
            options.replace("{data}", &folder.join("data").to_string_lossy())
        );
        let keeper = std::sync::Mutex::new(keep(&bin, &folder, &options, owner));
        let cluster = Self { bin, folder, port, options, owner, keeper };
        cluster.wait();
        cluster
    }

    /// A second server, which has everything that this one has and follows it: it gets every commit some time after.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn standby(&self) -> Self {
        let folder = new_folder(self.owner);
        let copied = as_owner(&self.bin.join("pg_basebackup"), self.owner)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, "-X", "stream", "-c", "fast"])
            .args(["--no-sync", "-R", "-D"])
            .arg(folder.join("data"))
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("pg_basebackup runs");
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        Self::serve(self.bin.clone(), folder, "", self.owner)
    }

    /// Lets commits wait for the standby (`synchronous_standby_names`), and returns when the server has one to wait for.
    ///
    /// # Panics
    /// When it cannot be set.
    pub fn wait_for_standby(&self, wait: bool) {
        let names = if wait { "*" } else { "" };
        self.sql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        self.sql("postgres", "SELECT pg_reload_conf()");
        let expected = if wait { "sync" } else { "async" };
        self.until("SELECT sync_state FROM pg_stat_replication", expected);
    }

    /// Cuts this standby off from the server that it follows: what is committed there from now on never comes.
    ///
    /// # Panics
    /// When it does not let go.
    pub fn cut_off(&self) {
        self.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
        self.sql("postgres", "SELECT pg_reload_conf()");
        self.until("SELECT count(*) FROM pg_stat_wal_receiver", "0");
    }

    /// Makes this standby the server that is written to.
    ///
    /// # Panics
    /// When it does not become one.
    pub fn promote(&self) {
        assert_eq!(self.sql("postgres", "SELECT pg_promote()"), ["t"], "{}", self.log());
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn until(&self, sql: &str, answer: &str) {
        while self.sql("postgres", sql) != [answer] {
            std::thread::yield_now();
        }
    }

    /// The address of a new database.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn database(&self) -> String {
        self.database_like("template1")
    }

    /// The address of a new database that has what the database of this name has, which nobody may use meanwhile.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn database_like(&self, template: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs SQL beside whoever uses the database of this address, as damage or a curious operator would, and gives the lines of
    /// its answer.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn tamper(&self, url: &str, sql: &str) -> Vec<String> {
        self.sql(url.rsplit('/').next().expect("a database's name"), sql)
    }

    /// Stops the server as an administrator's restart does, and starts it again on the same port and data.
    ///
    /// # Panics
    /// When it does not stop or start.
    pub fn restart(&self) {
        use std::io::Write as _;
        let mut keeper = self.keeper.lock().expect("nobody panicked here");
        keeper.stdin.take().expect("it is running").write_all(b"keep\n").expect("told");
        assert!(keeper.wait().expect("it ends").success() || self.folder.exists());
        *keeper = keep(&self.bin, &self.folder, &self.options, self.owner);
        drop(keeper);
        self.wait();
    }

    fn wait(&self) {
        let asked = || {
            Command::new(self.bin.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
        };
        // pg_isready itself takes a while; a minute's worth of them is thousands.
        for _ in 0..6_000 {
            if asked().expect("pg_isready runs").success() {
                return;
            }
            let mut keeper = self.keeper.lock().expect("nobody panicked here");
            assert!(keeper.try_wait().expect("a child").is_none(), "PostgreSQL ended: {}", self.log());
        }
        panic!("PostgreSQL does not answer: {}", self.log());
    }

    /// What the server has logged, each line after the name of the database that it is about.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn sql(&self, database: &str, sql: &str) -> Vec<String> {
        let ran = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", USER, "-d", database, "-c", sql])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("psql runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut().expect("nobody panicked here");
        drop(keeper.stdin.take());
        // Its end is all that matters; the folder goes with it.
        let _ = keeper.wait();
    }
}

/// A folder of a server, of whoever runs it.
fn new_folder(owner: Option<(u32, u32)>) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("onward-postgres-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    fs::DirBuilder::new().mode(0o700).create(&folder).expect("a folder");
    if let Some((user, group)) = owner {
        chown(&folder, Some(user), Some(group)).expect("given away");
    }
    folder
}

fn keep(bin: &Path, folder: &Path, options: &str, owner: Option<(u32, u32)>) -> Child {
    as_owner(Path::new("sh"), owner)
        .args(["-c", KEEPER, "keeper"])
        .arg(bin)
        .arg(folder)
        .arg(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs")
}

/// The newest server of Debian's folders, else of the path.
fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.pop().map(|(_, bin)| bin).or_else(|| std::env::split_paths(&path).find(|bin| bin.join("initdb").exists()))
}

/// Whom to run as instead of root: `postgres`, else `nobody`. Others run as themselves.
fn unprivileged() -> Option<(u32, u32)> {
    let number = |args: &[&str]| {
        let answered = Command::new("id").args(args).output().ok()?;
        String::from_utf8(answered.stdout).ok()?.trim().parse::<u32>().ok()
    };
    if number(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|user| Some((number(&["-u", user])?, number(&["-g", user])?)))
}

fn as_owner(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn write(path: &Path, text: &str, owner: Option<(u32, u32)>) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("created");
    file.write_all(text.as_bytes()).expect("written");
    if let Some((user, group)) = owner {
        chown(path, Some(user), Some(group)).expect("given away");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}
