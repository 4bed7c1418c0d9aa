//! The gateway as a process of its own: `onward serve` on a world's folder, with its log and its memory in view.

use std::process::Stdio;
use std::time::Duration;

use clap::Parser as _;
use onward_server::bench::Role;
use onward_server::cli::{Cli, Exit};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};

use crate::leaks;
use crate::world::World;

/// The test function that becomes the gateway in the child process.
const ENTRY: &str = "serving::child";
/// How the child learns its configuration.
const CONFIG: &str = "ONWARD_TEST_SERVE_CONFIG";

/// The same, for the yardstick that only answers.
const ANSWER: &str = "ONWARD_TEST_ANSWER_CONFIG";

/// A process that serves this configuration, as `onward bench` asks for one.
///
/// # Panics
/// When this program has no name.
#[must_use]
pub fn benched(role: Role, config: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let variable = match role {
        Role::Gateway => CONFIG,
        Role::Answer => ANSWER,
    };
    command.args(["--exact", ENTRY, "--ignored", "--nocapture"]).env(variable, config);
    command
}

/// `onward serve` in a child process; it ends with this value.
pub struct Process {
    child: Child,
    log: watch::Sender<String>,
    /// Ends when there is nothing more to be read.
    reading: Option<tokio::task::JoinHandle<()>>,
}

impl Process {
    /// Ends the world's own gateway and serves its folder from a child process, on the same port.
    ///
    /// # Panics
    /// When the child does not start.
    pub async fn take_over(world: &mut World) -> Self {
        Self::take_over_with(world, &[]).await
    }

    /// The same with these variables in its environment.
    ///
    /// # Panics
    /// When the child does not start.
    pub async fn take_over_with(world: &mut World, environment: &[(&str, &str)]) -> Self {
        world.stop().await;
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", ENTRY, "--ignored", "--nocapture"])
            .env(CONFIG, &world.config_file)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a child process");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = watch::Sender::new(String::new());
        let (tell, serving) = oneshot::channel();
        let kept = log.clone();
        let reading = tokio::spawn(async move {
            let mut tell = Some(tell);
            while let Ok(Some(line)) = lines.next_line().await {
                leaks::look("log of a process", &line);
                kept.send_modify(|kept| kept.extend([line.as_str(), "\n"]));
                // Not before it is kept: whoever is told reads the address there.
                if line.contains("serving")
                    && line.contains("operations_address")
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(());
                }
            }
        });
        let process = Self { child, log, reading: Some(reading) };
        if serving.await.is_err() {
            panic!("the gateway did not start:\n{}", process.log());
        }
        process
    }

    /// What a gateway says that does not start with these variables in its environment. The world's own must have ended.
    ///
    /// # Panics
    /// When it cannot be tried.
    pub async fn refused(world: &World, environment: &[(&str, &str)]) -> String {
        let tried = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", ENTRY, "--ignored", "--nocapture"])
            .env(CONFIG, &world.config_file)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let tried = tokio::time::timeout(Duration::from_secs(60), tried).await;
        let tried = tried.expect("it does not serve").expect("a child process");
        String::from_utf8_lossy(&tried.stderr).into_owned()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Returns when it has logged this.
    ///
    /// # Panics
    /// When it has not within a minute.
    pub async fn logs(&self, text: &str) {
        let mut log = self.log.subscribe();
        let logged = tokio::time::timeout(Duration::from_secs(60), log.wait_for(|log| log.contains(text))).await;
        assert!(logged.is_ok(), "it does not log {text:?}:\n{}", self.log());
    }

    /// Resident memory, bytes: at present, and the most there ever was.
    ///
    /// # Panics
    /// When the process has ended.
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process is there");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells");
            1024 * line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
        };
        (bytes("VmRSS"), bytes("VmHWM"))
    }

    /// What the kernel tells under this name of each of its threads.
    ///
    /// # Panics
    /// When the process has ended.
    #[must_use]
    pub fn threads(&self, name: &str) -> Vec<String> {
        let id = self.child.id().expect("it runs");
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("the process is there");
        let status = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
        let prefix = format!("{name}:");
        status
            .filter_map(|text| Some(text.lines().find_map(|line| line.strip_prefix(&prefix))?.trim().to_owned()))
            .collect()
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Tells it to stop, as a service manager does (SIGTERM).
    ///
    /// # Panics
    /// When it cannot be told.
    pub fn tell_to_stop(&self) {
        let id = self.child.id().expect("it runs").to_string();
        let told = std::process::Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(told.success());
    }

    /// Waits until it has stopped, and its log is whole; whether it ended well.
    ///
    /// # Panics
    /// When it does not stop within a minute.
    pub async fn stopped(&mut self) -> bool {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        if let Some(reading) = self.reading.take() {
            reading.await.expect("read");
        }
        ended.expect("it stops").expect("it is ours").success()
    }

    /// Tells it to stop and waits until it has; whether it ended well.
    ///
    /// # Panics
    /// When it cannot be told, or does not stop within a minute.
    pub async fn terminate(mut self) -> bool {
        self.tell_to_stop();
        self.stopped().await
    }

    /// What its operations listener answers to `GET` of this path: everything, head and body.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn operations(&self, path: &str) -> String {
        let log = self.log();
        let address = log.split("operations_address=").nth(1).expect("it is logged");
        let address = address.split_whitespace().next().expect("an address");
        operations(address, path).await
    }

    /// True while it runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// What the child does: exactly what the binary does.
#[expect(clippy::disallowed_methods, reason = "the one word from the test that started this process")]
pub fn child() {
    if let Ok(config) = std::env::var(CONFIG) {
        let exit = Cli::parse_from(["onward", "serve", "--config", &config]).run();
        assert_eq!(exit, Exit::Done, "the process must not end well when the gateway did not");
    }
    if let Ok(config) = std::env::var(ANSWER) {
        let _ = Cli::parse_from(["onward", "bench", "--answer", &config]).run();
    }
}

/// What the operations listener at this address answers.
///
/// # Panics
/// When it does not.
pub async fn operations(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut tcp = tokio::net::TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.expect("written");
    let mut heard = String::new();
    tcp.read_to_string(&mut heard).await.expect("an answer");
    leaks::look(path, &heard);
    heard
}
