//! What the demo's partners share: they see nothing of the gateway but its HTTP API and its MESH messages, keep what
//! arrives, and tell the narrator.

pub(super) mod care_home;
pub(super) mod hospital;
pub(super) mod pharmacy;
pub(super) mod practice;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use onward_connect::http::{Method, StatusCode};
use onward_connect::mesh::{MeshClient, MeshConfig};
use onward_core::{DeliveryId, SystemClock};
use tokio::sync::{mpsc, watch};
use url::Url;

use super::people::Person;
use super::world::World;
use crate::session::Session;

/// What the narrator hears.
#[derive(Debug)]
pub(super) enum Event {
    /// A partner has a copy.
    Arrived(Arrival),
    /// A partner has answered.
    Acknowledged {
        /// The copy.
        delivery: DeliveryId,
        /// How (`Task accepted`, `ITK3 30019 …`).
        how: String,
    },
    /// An ITK3 response lies in the hospital's mailbox.
    Responded {
        /// MessageHeader.id of the message that it answers.
        header_id: String,
        /// Response code.
        code: u32,
        /// Its display.
        display: String,
        /// Where it was kept.
        kept: PathBuf,
    },
    /// A partner could not do something; it tries again.
    Trouble {
        /// Who.
        who: &'static str,
        /// What.
        what: String,
    },
}

/// A copy at its recipient.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The copy.
    pub(super) delivery: DeliveryId,
    /// Bytes that came over the wire.
    pub(super) bytes: u64,
    /// Where they were kept.
    pub(super) kept: Vec<PathBuf>,
}

/// One partner's ways: out to the gateway and to MESH, and to the narrator.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) world: Arc<World>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    who: &'static str,
}

impl Post {
    /// Of the partner called `who`.
    pub(super) fn new(world: &Arc<World>, events: &mpsc::UnboundedSender<Event>, who: &'static str) -> Self {
        Self { world: Arc::clone(world), events: events.clone(), who }
    }

    /// Tells the narrator. When the demo ends first, nobody needs to know.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Signed in as `person`.
    pub(super) fn session(&self, gateway: &Url, person: &Person) -> anyhow::Result<Session> {
        Ok(Session::new(self.world.http()?, gateway.clone(), person.id, self.world.client_key(person.id)?))
    }

    /// The partner's own MESH mailbox.
    pub(super) fn mailbox(&self, mesh: &Url, mailbox: &str) -> anyhow::Result<MeshClient> {
        let config = MeshConfig::new(
            mesh.clone(),
            mailbox.parse()?,
            self.world.secret(&format!("mesh-password-{mailbox}"))?,
            self.world.secret("mesh-shared-key")?,
        );
        Ok(MeshClient::new(config, self.world.http()?, Arc::new(SystemClock)))
    }

    /// Rounds of looking, `every` so often until `stop`.
    pub(super) fn rounds(&self, every: Duration, stop: watch::Receiver<bool>) -> Rounds {
        Rounds { post: self.clone(), every, stop, last: None }
    }
}

/// A partner's rounds.
pub(super) struct Rounds {
    post: Post,
    every: Duration,
    stop: watch::Receiver<bool>,
    /// Trouble of the round before; `None` before the first round.
    last: Option<String>,
}

impl Rounds {
    /// Waits for the next round; `false` when there is none. The first one is now.
    async fn next(&mut self) -> bool {
        if self.last.is_some() {
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
        !*self.stop.borrow()
    }

    /// Ends a round; trouble is told, once each time it changes, and the next round tries again.
    fn end(&mut self, result: anyhow::Result<()>) {
        let trouble = result.err().map(|error| format!("{error:#}")).unwrap_or_default();
        if !trouble.is_empty() && self.last.as_ref() != Some(&trouble) {
            self.post.tell(Event::Trouble { who: self.post.who, what: trouble.clone() });
        }
        self.last = Some(trouble);
    }
}

/// A recipient's own Tasks in these states, from the first page: the demo has few.
async fn tasks(session: &Session, owner: &str, status: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let reply = session.get(&format!("fhir/R4/Task?owner={owner}&status={status}&_count=200")).await?;
    anyhow::ensure!(reply.status == StatusCode::OK, "the list of Tasks was answered with {}", reply.status);
    let bundle = reply.json()?;
    let entries = bundle["entry"].as_array().into_iter().flatten();
    Ok(entries.map(|entry| entry["resource"].clone()).collect())
}

fn task_id(task: &serde_json::Value) -> anyhow::Result<DeliveryId> {
    Ok(task["id"].as_str().context("a Task without id")?.parse()?)
}

/// Accepts a Task as it is now; `false` when somebody moved it in between, so that it must be looked at again.
async fn accept(session: &Session, id: DeliveryId) -> anyhow::Result<bool> {
    let path = format!("fhir/R4/Task/{id}");
    let reply = session.get(&path).await?;
    anyhow::ensure!(reply.status == StatusCode::OK, "the Task was answered with {}", reply.status);
    let tag = reply.headers.get("etag").and_then(|tag| tag.to_str().ok()).context("the Task has no ETag")?.to_owned();
    let mut task = reply.json()?;
    task["status"] = "accepted".into();
    let headers = [("content-type", "application/fhir+json"), ("if-match", tag.as_str())];
    let put = session.call(Method::PUT, &path, &headers, task.to_string()).await?;
    match put.status {
        StatusCode::OK => Ok(true),
        StatusCode::PRECONDITION_FAILED => Ok(false),
        status => anyhow::bail!("accepting the Task was answered with {status}"),
    }
}
