//! The running neighbourhood: the gateway, the MESH stand-in, the pharmacy's server and everybody's systems.

use std::sync::Arc;

use anyhow::Context as _;
use onward_connect::strength::RSA_BITS_MIN;
use onward_core::SystemClock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use url::Url;

use super::mesh_stand_in::{self, Exchange};
use super::partners::practice::Practice;
use super::partners::{Event, Post, care_home, hospital, pharmacy, practice};
use super::people::{COVERING_MAILBOX, MAILBOXES, REGISTERED_MAILBOX, settle_in};
use super::world::{Ports, World};
use crate::config::{Config, ConfigError};
use crate::listener::{self, Patience, Tls, TlsFiles};
use crate::serve::Running;

const COVERING: Practice = Practice {
    ods: "Y99001",
    name: "Beck Lane Surgery",
    mailbox: COVERING_MAILBOX,
    label: "covering-practice",
    // GP registration accepted.
    answer: 30019,
};
const REGISTERED: Practice = Practice {
    ods: "Y99002",
    name: "Hillside Medical Practice",
    mailbox: REGISTERED_MAILBOX,
    label: "registered-practice",
    // Patient known here.
    answer: 30001,
};

/// Everything that runs.
pub(super) struct Neighbourhood {
    /// The gateway.
    pub(super) gateway: Running,
    /// Its public address.
    pub(super) gateway_url: Url,
    /// The MESH stand-in's address.
    pub(super) mesh_url: Url,
    /// Where the pharmacy takes referrals.
    pub(super) pharmacy_url: Url,
    /// The hospital, which posts when it is asked to.
    pub(super) hospital: hospital::Hospital,
    /// What the partners tell.
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    partners: Group,
    servers: Group,
}

/// Tasks that end together.
struct Group {
    stop: watch::Sender<bool>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Group {
    fn new() -> Self {
        Self { stop: watch::Sender::new(false), tasks: JoinSet::new() }
    }

    async fn end(mut self) -> anyhow::Result<()> {
        let _ = self.stop.send(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a partner broke off")??;
        }
        Ok(())
    }
}

impl Neighbourhood {
    /// Starts it in `world`.
    ///
    /// # Errors
    /// When something cannot be bound, read or opened; another gateway that serves this world is left alone.
    pub(super) async fn start(world: &Arc<World>) -> anyhow::Result<Self> {
        let listeners = world.listen().await?;
        let Ports { gateway, mesh, pharmacy, .. } = listeners.ports;
        let at = |port: u16, path: &str| Url::parse(&format!("https://127.0.0.1:{port}{path}"));
        let (gateway_url, mesh_url, pharmacy_url) = (at(gateway, "/")?, at(mesh, "/")?, at(pharmacy, "/onward")?);
        let (tell, events) = mpsc::unbounded_channel();
        let post = |who: &'static str| Post::new(world, &tell, who);

        let files = TlsFiles {
            certificate: world.path("tls/server.crt"),
            key: world.path("tls/server.key"),
            client_ca: None,
            client_crl: None,
            rsa_bits_min: RSA_BITS_MIN,
        };
        let tls = Arc::new(Tls::open(files)?);
        let mut servers = Group::new();
        let exchange = mesh_stand_in::router(Arc::new(exchange(world)?));
        let counter = pharmacy::Counter::new(post("the pharmacy"));
        for (bound, app) in [(listeners.mesh, exchange), (listeners.pharmacy, pharmacy::router(Arc::clone(&counter)))] {
            let (tls, stop) = (Arc::clone(&tls), servers.stop.subscribe());
            servers.tasks.spawn(async move {
                listener::serve(bound, Some(tls), app, Patience::default(), stop).await;
                Ok(())
            });
        }

        let running = match start_gateway(world, listeners.gateway, listeners.ports).await {
            Ok(running) => running,
            Err(error) => {
                world.discard();
                return Err(error);
            }
        };
        world.settle()?;
        settle_in(&running.app, world).await?;

        let mut partners = Group::new();
        let stop = || partners.stop.subscribe();
        let (homes, counters) = (stop(), stop());
        let (covering, registered, mailbox) = (stop(), stop(), stop());
        partners.tasks.spawn(care_home::live(post("the care home"), gateway_url.clone(), homes));
        partners.tasks.spawn(pharmacy::live(counter, gateway_url.clone(), counters));
        let who = "the covering practice";
        partners.tasks.spawn(practice::live(COVERING, post(who), mesh_url.clone(), covering));
        let who = "the registered practice";
        partners.tasks.spawn(practice::live(REGISTERED, post(who), mesh_url.clone(), registered));
        partners.tasks.spawn(hospital::live(post("the hospital"), mesh_url.clone(), mailbox));
        let hospital = hospital::Hospital::new(&post("the hospital"), &gateway_url)?;
        Ok(Self { gateway: running, gateway_url, mesh_url, pharmacy_url, hospital, events, partners, servers })
    }

    /// Ends it: first who calls, then who is called.
    ///
    /// # Errors
    /// When a partner broke off.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let ended = self.partners.end().await;
        self.gateway.stop().await;
        self.servers.end().await?;
        ended
    }
}

/// Starts the gateway on the drafts of its configuration.
async fn start_gateway(world: &World, bound: tokio::net::TcpListener, ports: Ports) -> anyhow::Result<Running> {
    let draft = world.draft(ports)?;
    // The world's own settings rule: variables that are set for another gateway must not reach into it.
    let loaded = Config::load_from(Some(&draft), std::iter::empty()).map_err(|error| {
        // The draft differs by its ports only, so its lines are those of the file that a person knows.
        let named = |problem: &String| problem.replace("gateway.toml.new", "gateway.toml");
        ConfigError { problems: error.problems.iter().map(named).collect() }
    })?;
    Running::start(&loaded.config, Some(bound)).await.context("starting the gateway")
}

fn exchange(world: &World) -> anyhow::Result<Exchange> {
    let passwords = MAILBOXES
        .into_iter()
        .map(|mailbox| Ok((mailbox.to_owned(), world.secret(&format!("mesh-password-{mailbox}"))?)))
        .collect::<anyhow::Result<_>>()?;
    Ok(Exchange::new(passwords, world.secret("mesh-shared-key")?, Arc::new(SystemClock)))
}
