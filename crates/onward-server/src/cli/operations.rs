//! `onward serve`, `onward migrate` and `onward healthcheck`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HeaderMap, HttpClient, HttpConfig, Method};
use onward_core::audit::AuditWord;
use onward_core::store::{Finish, Schema};
use serde_json::json;
use url::Url;

use super::exit::{Exit, Failure, Outcome};
use super::logging;
use super::open::{ConfigArgs, Desk};
use super::terminal::{Style, Terminal};
use crate::config::{Config, Loaded, StoreUrl};
use crate::hardening::{self, Posture};
use crate::serve;
use crate::traces::Ended;

/// A container's health check is worth nothing if it waits long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The gateway.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward serve --config gateway.toml
  onward config default > gateway.toml    # every key with its meaning

Logs go to standard error, as [log] says. SIGTERM and Ctrl-C let open requests and attempts finish.")]
pub struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Makes the store, or brings its schema up to date.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onward migrate --config gateway.toml
  onward migrate --finish --config gateway.toml

After an upgrade, programs of before may go on beside this one where the steps of the schema let them, and you can go back to them. So
nothing is stored yet that they cannot read: a letter that several recipients get is stored with each of them, and no delivery is closed (onward dead close). --finish --yes ends that for
good; without --yes it shows what would change. Replace every node first, and end what still runs of before: where the store can tell
that there is one, nothing is changed; one that it cannot tell fails every copy with a letter that it takes. The audit log keeps that it
was done. A new store has nothing to wait for.")]
pub struct Migrate {
    #[command(flatten)]
    config: ConfigArgs,
    /// Shut out the programs of before, so that the store keeps what they cannot read
    #[arg(long)]
    finish: bool,
    /// Do it
    #[arg(long, requires = "finish")]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Asks a running gateway on this machine whether it is ready.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  onward healthcheck --config gateway.toml || systemctl restart onward

Exit code: 0 ready, 1 not ready, 3 no answer.")]
pub struct Healthcheck {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What `onward serve` starts with.
pub(super) struct Prepared {
    loaded: Loaded,
    posture: Posture,
    traces: Option<Ended>,
}

/// Reads and judges the configuration, and gives up what it does not need: before the runtime, since threads that run
/// already keep what they have.
///
/// # Errors
/// When the configuration cannot work here, or the kernel does not give what it requires.
pub(super) fn prepare(command: &Serve) -> Result<Prepared, Failure> {
    let loaded = command.config.load()?;
    let log = &loaded.config.log;
    let traces = logging::start(log.format, &log.filter, loaded.config.traces.as_ref())?;
    // What cannot work is said at once and whole, not by the first part that fails.
    let errors: Vec<_> = loaded
        .check()
        .into_iter()
        .filter(|finding| finding.severity == crate::config::Severity::Error)
        .map(|finding| format!("{}: {}", finding.key, finding.message))
        .collect();
    if !errors.is_empty() {
        return Err(Failure::usage(format!("the configuration cannot work here:\n{}", errors.join("\n"))));
    }
    // It is made where there is none; afterwards its folder can only be read.
    serve::signing_key(&loaded.config.audit.signing_key_file, &loaded.config)?;
    let posture = hardening::harden(&loaded)?;
    Ok(Prepared { loaded, posture, traces })
}

/// Runs `onward serve`.
///
/// # Errors
/// When something cannot be opened, read or bound.
pub(super) async fn serve(prepared: Prepared) -> Outcome {
    serve::run(&prepared.loaded.config, prepared.posture, prepared.traces).await?;
    Ok(Exit::Done)
}

/// Runs `onward migrate`.
///
/// # Errors
/// When the store cannot be opened or brought up to date.
pub(super) async fn migrate(command: &Migrate, terminal: &mut Terminal) -> Outcome {
    if command.finish {
        return finish(command, terminal).await;
    }
    let (config, store) = command.config.store().await?;
    store.ready().await?;
    let place = place(&config);
    let schema = store.schema().await?;
    let is_newer = schema.is_newer();
    if command.json {
        let state = if is_newer { "newer" } else { "up-to-date" };
        terminal.json(&migrated(&place, state, &schema));
    } else if is_newer {
        let word = terminal.paint(Style::Yellow, "newer than this program");
        terminal.say(format_args!("{word}: {place}, schema {}; this program knows {}", schema.stored, schema.known));
    } else {
        let word = terminal.paint(Style::Green, "up to date");
        terminal.say(format_args!("{word}: {place}, schema {}", schema.stored));
        if let Some(waits) = unfinished(&schema) {
            terminal.say(waits);
        }
    }
    Ok(Exit::Done)
}

/// Shuts out the programs of before.
async fn finish(command: &Migrate, terminal: &mut Terminal) -> Outcome {
    let (config, store) = command.config.existing_store().await?;
    let (place, before) = (place(&config), store.schema().await?);
    let told = if before.is_finished() || !command.yes {
        None
    } else {
        let detail = format!("programs that do not know schema {} are shut out of the store", before.waits_for);
        let row = Desk::new(&config)?.row(AuditWord::Configure, detail);
        Some(store.finish_upgrade(vec![row]).await?)
    };
    let (state, exit) = match told {
        None if before.is_finished() => ("finished-before", Exit::Done),
        None => ("not-finished", Exit::No),
        Some(Finish::Done) => ("finished", Exit::Done),
        Some(Finish::Already) => ("finished-before", Exit::Done),
        Some(Finish::Newer) => {
            return Err(Failure::no(
                "the store is newer than this program, which cannot finish the upgrade: the newest can",
            ));
        }
        Some(Finish::Served) => {
            return Err(Failure::no(
                "a gateway serves that may be of before: replace every node and end what still runs (of the embedded store its one gateway, for \
                 as long as this takes), then finish. Nothing is changed",
            ));
        }
    };
    let schema = store.schema().await?;
    if command.json {
        terminal.json(&migrated(&place, state, &schema));
        return Ok(exit);
    }
    match exit {
        Exit::Done => {
            let word = terminal.paint(Style::Green, if told.is_some() { "finished" } else { "finished before" });
            terminal.say(format_args!(
                "{word}: {place}; programs that do not know schema {} cannot serve",
                schema.waits_for
            ));
        }
        _ => {
            let word = terminal.paint(Style::Yellow, "not finished");
            terminal.say(format_args!("{word}: {place}"));
            terminal.say(unfinished(&schema).unwrap_or_default());
            terminal.say("With --yes they are shut out, and there is no way back but a backup. Nothing is changed.");
        }
    }
    Ok(exit)
}

fn place(config: &Config) -> String {
    match &config.store.url {
        StoreUrl::Sqlite(path) => path.display().to_string(),
        StoreUrl::Postgres(url) => url.to_string(),
    }
}

fn migrated(place: &str, state: &str, schema: &Schema) -> serde_json::Value {
    json!({
        "store": place, "state": state, "schema": schema.stored, "known": schema.known,
        "oldest_program": schema.oldest_program, "finished": schema.is_finished(),
    })
}

/// What is not stored yet as it could be, because of whom.
pub(super) fn unfinished(schema: &Schema) -> Option<String> {
    let oldest = schema.oldest_program.filter(|_| !schema.is_finished())?;
    Some(format!(
        "Programs that know schema {oldest} can serve as well, so what they cannot read is not stored, and no delivery is closed (`onward dead close`). When every node is new: \
         onward migrate --finish"
    ))
}

/// Runs `onward healthcheck`.
///
/// # Errors
/// When there is no answer.
pub(super) async fn healthcheck(command: &Healthcheck, terminal: &mut Terminal) -> Outcome {
    let config = command.config.load()?.config;
    let (http, url) = operations_page(&config, "readyz")?;
    let answer = http.send(Method::GET, url.clone(), HeaderMap::new(), bytes::Bytes::new()).await;
    let status = answer.map_err(|fault| Failure::fault(anyhow::Error::from(fault).context(url.to_string())))?.status();
    let ready = status.is_success();
    if command.json {
        terminal.json(&json!({ "ready": ready, "status": status.as_u16(), "url": url.as_str() }));
    } else {
        let word = if ready { terminal.paint(Style::Green, "ready") } else { terminal.paint(Style::Red, "not ready") };
        terminal.say(format_args!("{word} ({status})"));
    }
    Ok(Exit::answer(ready))
}

/// What the running gateway tells of itself; nothing where none answers here.
pub(super) async fn told(config: &Config) -> Option<Told> {
    let (http, url) = operations_page(config, "metrics").ok()?;
    let answer = http.send(Method::GET, url, HeaderMap::new(), bytes::Bytes::new()).await.ok()?;
    let page = answer.bytes().await.ok()?;
    Some(Told::read(std::str::from_utf8(&page).ok()?))
}

/// What a running gateway tells of itself and the store does not know.
pub(crate) struct Told {
    /// Endpoints that it leaves alone at present, by transport.
    pub(crate) silent: BTreeMap<String, u64>,
    /// Seconds since it listed our MESH mailbox; none where it has none.
    pub(crate) mailbox_age: Option<u64>,
    /// Messages there that it could not collect.
    pub(crate) mailbox_staying: Option<u64>,
}

impl Told {
    /// Reads it off the page of the metrics.
    pub(crate) fn read(page: &str) -> Self {
        let silent = page.lines().filter_map(|line| {
            let (transport, count) =
                line.strip_prefix("onward_endpoints_not_answering{transport=\"")?.split_once("\"} ")?;
            Some((transport.to_owned(), count.parse().ok()?))
        });
        let one = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Self {
            silent: silent.collect(),
            mailbox_age: one("onward_mesh_inbox_look_age_seconds "),
            mailbox_staying: one("onward_mesh_inbox_staying_messages "),
        }
    }
}

/// A page of the operations listener, and who asks for it: plain HTTP on loopback, else TLS, with whatever certificate the listener
/// shows. It is on this machine, and its state is no secret.
fn operations_page(config: &Config, page: &str) -> Result<(HttpClient, Url), Failure> {
    let listen = config.server.operations_listen;
    if listen.port() == 0 {
        return Err(Failure::usage("server.operations_listen has port 0, any free one: nobody can know which"));
    }
    let address = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    };
    let scheme = if listen.ip().is_loopback() { "http" } else { "https" };
    let url = format!("{scheme}://{}/{page}", SocketAddr::new(address, listen.port()));
    let url = Url::parse(&url).expect("an address and a path are a URL");
    let host = url.host_str().expect("made from an address").to_owned();
    let http = HttpClient::new(&HttpConfig {
        egress: vec![EgressHost { host, internal: true }],
        connect_timeout: TIMEOUT,
        total_timeout: TIMEOUT,
        allow_plain_loopback: true,
        any_certificate: true,
        ..HttpConfig::default()
    });
    Ok((http.map_err(Failure::fault)?, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(listen: &str) -> Result<String, Exit> {
        let mut config = Config::load_from(None, []).expect("the defaults").config;
        config.server.operations_listen = listen.parse().expect("an address");
        operations_page(&config, "readyz").map(|(_, url)| url.into()).map_err(|failure| failure.exit)
    }

    #[test]
    fn health_is_asked_in_the_clear_on_loopback_only() {
        assert_eq!(asked("127.0.0.1:9443"), Ok("http://127.0.0.1:9443/readyz".to_owned()));
        assert_eq!(asked("[::1]:9443"), Ok("http://[::1]:9443/readyz".to_owned()));
        assert_eq!(asked("0.0.0.0:9443"), Ok("https://127.0.0.1:9443/readyz".to_owned()));
        assert_eq!(asked("[::]:9443"), Ok("https://[::1]:9443/readyz".to_owned()));
        assert_eq!(asked("192.0.2.7:9443"), Ok("https://192.0.2.7:9443/readyz".to_owned()));
        assert_eq!(asked("127.0.0.1:0"), Err(Exit::Usage));
    }
}
