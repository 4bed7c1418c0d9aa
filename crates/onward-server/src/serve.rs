//! `onward serve`: listeners, dispatch, mailbox, checkpoints, and an orderly end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use onward_connect::http::HttpClient;
use onward_core::store::{Store, StoreError};
use onward_gateway::Gateway;
use onward_gateway::breaker::Breakers;
use onward_ledger::SigningKeys;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::{self, App, Tenure};
use crate::auth::refusals;
use crate::background::Tasks;
use crate::config::{Config, Traces};
use crate::hardening::Posture;
use crate::listener::{Patience, Tls};
use crate::metrics::Standing;
use crate::traces::Ended;
use crate::{api, in_force, listener};

/// How long open requests and attempts may take to finish at the end.
const DRAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether this program may serve on.
const LOOK: Duration = Duration::from_secs(10);

/// A running gateway.
pub struct Running {
    /// What the handlers use.
    pub app: Arc<App>,
    /// Where the public listener is.
    pub address: std::net::SocketAddr,
    /// Where the operations listener is.
    pub operations_address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    tasks: Tasks,
}

impl Running {
    /// Starts everything that the configuration describes, on listeners that are bound already when given.
    ///
    /// # Errors
    /// When something cannot be opened, read or bound.
    pub async fn start(config: &Config, public: Option<TcpListener>) -> anyhow::Result<Self> {
        Self::start_as(config, public, Posture::default()).await
    }

    /// As [`Running::start`], in a process that has given up as much as `posture` tells.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub async fn start_as(config: &Config, public: Option<TcpListener>, posture: Posture) -> anyhow::Result<Self> {
        let tls = match config.tls() {
            Some(files) => Some(Arc::new(Tls::open(files)?)),
            None => {
                anyhow::ensure!(
                    config.server.listen.ip().is_loopback(),
                    "without server.tls_certificate_file and server.tls_key_file Onward listens on loopback only"
                );
                None
            }
        };
        let signing_key = Arc::new(signing_key(&config.audit.signing_key_file, config)?);
        anyhow::ensure!(
            tls.is_some() || config.server.operations_listen.ip().is_loopback(),
            "without server.tls_certificate_file and server.tls_key_file the operations listener is on loopback only"
        );
        let store = app::open_store(config, Tenure::Server).await?;
        belongs(&signing_key, store.as_ref(), &config.audit.signing_key_file).await?;
        let app = Arc::new(app::build(config, store)?);
        app.log_key.get_or_init(|| Arc::clone(&signing_key));
        app.gateway.store().ready().await.context("the store cannot commit")?;
        let (parts, policies) = (in_force::parts(config)?, in_force::policies(config)?);
        in_force::note(&app.gateway, &in_force::node(), &parts, &policies)
            .await
            .context("what is in force could not be written to the audit log")?;
        let public = match public {
            Some(listener) => listener,
            None => TcpListener::bind(config.server.listen)
                .await
                .with_context(|| format!("listening on {}", config.server.listen))?,
        };
        let operations = TcpListener::bind(config.server.operations_listen)
            .await
            .with_context(|| format!("listening on {}", config.server.operations_listen))?;
        let (address, operations_address) = (public.local_addr()?, operations.local_addr()?);
        let (stop, stopped) = watch::channel(false);
        let gateway = Arc::clone(&app.gateway);
        // In the clear on this machine only, as the configuration's check says.
        let operations_tls = tls.clone().filter(|_| !operations_address.ip().is_loopback());
        let patience = Patience::of(&config.server);
        let mut listeners = JoinSet::new();
        listeners.spawn(listener::serve(public, tls.clone(), api::router(&app), patience, stopped.clone()));
        listeners.spawn(listener::serve(
            operations,
            operations_tls,
            operations_router(&app, &posture),
            patience,
            stopped.clone(),
        ));
        let mut tasks = Tasks::new(Arc::clone(gateway.background()), stopped);
        if let Some(tls) = &tls {
            let gateway = Arc::clone(&gateway);
            tasks.keep("tls-exchanges", tls, move |tls, stop| {
                in_force::note_exchanges_until(Arc::clone(&gateway), tls.exchanges(), in_force::node(), stop)
            });
            tasks.keep("tls-files", tls, Tls::reload_until);
        }
        tasks.keep("dispatcher", &gateway, Gateway::dispatch_until);
        tasks.keep("alerts", &gateway, Gateway::alert_until);
        tasks.keep("tellings", &gateway, Gateway::tell_until);
        tasks.keep("resending", &gateway, Gateway::resend_many_until);
        tasks.keep("asking-again", &gateway, Gateway::ask_again_until);
        tasks.keep("organisations", &gateway, Gateway::watch_organisations_until);
        tasks.keep("mailboxes", &gateway, Gateway::watch_mailboxes_until);
        tasks.keep("calls", &gateway, Gateway::call_subscribers_until);
        tasks.keep("refusals", &app, refusals::tell_until);
        let poll = Duration::from_secs(u64::from(config.mesh.poll_seconds.max(1)));
        tasks.keep("mailbox", &gateway, move |gateway, stop| gateway.poll_mailbox_until(poll, stop));
        if let Some(forwarding) = &app.forwarding {
            let gateway = Arc::clone(&gateway);
            tasks.keep("syslog", forwarding, move |forwarding, stop| forwarding.until(Arc::clone(&gateway), stop));
        }
        let every = Duration::from_secs(u64::from(config.audit.checkpoint_seconds.max(1)));
        let (own, log) = (Arc::clone(&gateway), signing_key.verifying_keys().clone());
        tasks.keep("witnesses", &app.witnessing, move |witnessing, stop| {
            witnessing.until(Arc::clone(&own), log.clone(), every, stop)
        });
        tasks.keep("checkpoints", &gateway, move |gateway, stop| {
            gateway.checkpoint_until(Arc::clone(&signing_key), every, stop)
        });
        tracing::info!(%address, %operations_address, hardening = %posture, "serving");
        Ok(Self { app, address, operations_address, stop, listeners, tasks })
    }

    /// Exports traces as well.
    fn export(&mut self, ended: Ended, traces: &Traces, http: HttpClient) {
        let traces = traces.clone();
        self.tasks.keep("traces", &Arc::new(ended), move |ended, stop| {
            ended.export_until(http.clone(), traces.clone(), stop)
        });
    }

    /// Waits for what this process cannot go on with: a listener that ends and that nobody has told to, as nobody can ask for anything then; or
    /// a schema that shuts it out.
    async fn fault(&mut self) -> &'static str {
        let store = Arc::clone(self.app.gateway.store());
        tokio::select! {
            _ = self.listeners.join_next() => "a listener ended by a fault of this gateway",
            () = shut_out(store.as_ref()) => {
                "the store's schema has been brought to where this program can no longer serve: start the newer program"
            }
        }
    }

    /// Lets open requests and attempts finish, and ends; what takes longer than [`DRAIN`] is broken off, as a crash would.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let mut tasks = self.tasks.begun();
        let ended = tokio::join!(finished(&mut self.listeners, DRAIN), finished(&mut tasks, DRAIN));
        if ended != (true, true) {
            tracing::warn!("stopped before everything had finished");
        }
    }
}

/// Waits until the store's schema shuts this program out: a later one has brought it to where this one could break at rows, or spoil them.
async fn shut_out(store: &dyn Store) {
    loop {
        tokio::time::sleep(LOOK).await;
        // Where the store does not answer, everything else says so.
        if store.schema().await.is_ok_and(|schema| !schema.lets_serve()) {
            return;
        }
    }
}

/// Waits for the tasks to end, and breaks off what has not by then; whether all ended by themselves.
async fn finished(tasks: &mut JoinSet<()>, within: Duration) -> bool {
    let all = async { while tasks.join_next().await.is_some() {} };
    let is_done = tokio::time::timeout(within, all).await.is_ok();
    tasks.shutdown().await;
    is_done
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// As [`Running::start`]; and when a listener ends by itself.
pub async fn run(config: &Config, posture: Posture, traces: Option<Ended>) -> anyhow::Result<()> {
    // The usual message of a panic may quote what was being read: only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic");
    }));
    let mut running = Running::start_as(config, None, posture).await?;
    if let (Some(ended), Some(traces)) = (traces, &config.traces) {
        running.export(ended, traces, app::traces_http(config, traces)?);
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let fault = tokio::select! {
        _ = terminate.recv() => None,
        interrupted = tokio::signal::ctrl_c() => { interrupted?; None }
        fault = running.fault() => Some(fault),
    };
    tracing::info!("stopping: open requests and attempts finish first");
    running.stop().await;
    // Whoever supervises the process starts it again.
    fault.map_or(Ok(()), |fault| Err(anyhow::Error::msg(fault)))
}

/// The key that signs checkpoints; made, readable by its owner alone, when there is none yet.
///
/// # Errors
/// When it cannot be read or made, or the configuration names no organisation.
pub(crate) fn signing_key(path: &Path, config: &Config) -> anyhow::Result<SigningKeys> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let name = log_origin(config)?;
    match std::fs::read_to_string(path).map(zeroize::Zeroizing::new) {
        Ok(text) => SigningKeys::from_secret_text(text.trim())
            .with_context(|| format!("{} is not the audit log's key", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SigningKeys::generate(&name)?;
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("making {}", path.display()))?;
            file.write_all(key.to_secret_text()?.as_bytes())?;
            file.sync_all()?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// A log that has been signed goes on under its own key: another would be another log's.
async fn belongs(keys: &SigningKeys, store: &dyn Store, path: &Path) -> anyhow::Result<()> {
    let Some(newest) = store.latest_checkpoint().await? else { return Ok(()) };
    keys.verifying_keys().open(&newest.note).map(drop).with_context(|| {
        format!(
            "the newest checkpoint of the audit log is not signed by the key in {}, which is made where there is none: put the \
             log's own key there (gateways on one database share it)",
            path.display()
        )
    })
}

/// The name of this gateway's audit log: its key's name and its checkpoints' origin.
///
/// # Errors
/// When the configuration names no organisation.
pub fn log_origin(config: &Config) -> anyhow::Result<String> {
    Ok(format!("onward/{}", config.own_ods()?))
}

fn operations_router(app: &Arc<App>, posture: &Posture) -> Router {
    let told = format!("ready\nhardening: {posture}\n");
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move |State(app): State<Arc<App>>| ready(app, told)))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(app))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let now = app.gateway.clock().now();
    let store = app.gateway.store();
    let found = async {
        let forwarding = match &app.forwarding {
            Some(forwarding) => Some(forwarding.standing(store.as_ref()).await?),
            None => None,
        };
        Ok::<_, StoreError>((
            store.figures(now).await?,
            store.oldest_bodies().await?,
            store.pauses().await?,
            store.alert_counts().await?,
            store.subscriptions(None).await?,
            forwarding,
        ))
    };
    match found.await {
        Ok((figures, oldest_bodies, pauses, alerts, subscriptions, syslog)) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            let paused = u64::try_from(pauses.len()).unwrap_or(u64::MAX);
            let standing = Standing {
                paused,
                mailbox: app.gateway.mailbox_standing(),
                organisations: app.gateway.organisations_standing(),
                mailboxes: app.gateway.mailboxes_standing(),
                large_kilobytes: app.gateway.large_kilobytes(),
                scanning_kilobytes: app.gateway.scanning_kilobytes(),
                alerts,
                oldest_bodies,
                open: [app.gateway.breakers(), app.gateway.hook_breakers()]
                    .into_iter()
                    .flat_map(Breakers::open)
                    .collect(),
                subscriptions: subscriptions.iter().map(|each| each.status).collect(),
                witnesses: app.witnessing.standing(),
                shipped: app.witnessing.shipped(),
                syslog,
                background: app.gateway.background().standing(),
            };
            ([(header::CONTENT_TYPE, kind)], crate::metrics::page(&figures, &standing, now)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "no figures for monitoring");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn ready(app: Arc<App>, told: String) -> (StatusCode, String) {
    match app.gateway.store().ready().await {
        Ok(()) => (StatusCode::OK, with_fallen(told, &app.gateway.background().down())),
        Err(error) => {
            tracing::error!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the store cannot commit\n".to_owned())
        }
    }
}

/// What is told of a gateway that takes messages in, whatever of its background work is down: a balancer that sent nobody there, or a
/// supervisor that ended it, would make a fault in one kind of work an outage.
fn with_fallen(told: String, down: &[&str]) -> String {
    if down.is_empty() { told } else { format!("{told}fallen, and not begun again yet: {}\n", down.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fell_is_named_beside_what_is_told_of_a_gateway_that_is_ready() {
        let told = || "ready\n".to_owned();
        assert_eq!(with_fallen(told(), &[]), "ready\n");
        let fallen = "ready\nfallen, and not begun again yet: alerts, dispatcher\n";
        assert_eq!(with_fallen(told(), &["alerts", "dispatcher"]), fallen);
    }

    #[tokio::test]
    async fn an_end_waits_for_what_finishes_and_not_for_ever() {
        let mut tasks = JoinSet::new();
        tasks.spawn(tokio::time::sleep(Duration::from_millis(5)));
        assert!(finished(&mut tasks, Duration::from_secs(600)).await);
        tasks.spawn(std::future::pending());
        assert!(!finished(&mut tasks, Duration::from_millis(5)).await);
        assert!(tasks.is_empty());
    }
}
