//! The hospital's system: signs in, posts messages, follows its transfers, and reads its MESH mailbox.

use std::time::Duration;

use anyhow::Context as _;
use onward_connect::http::{Method, StatusCode};
use onward_connect::mesh::MeshClient;
use onward_core::TransferId;
use onward_core::transport::Mailbox as _;
use onward_fhir::Message;
use onward_fhir::message::Response;
use onward_fhir::read::{self, Limits};
use tokio::sync::watch;
use url::Url;

use super::{Event, Post};
use crate::demo::messages::Posting;
use crate::demo::people::{HOSPITAL, HOSPITAL_MAILBOX};
use crate::session::Session;

/// How often the hospital looks into its mailbox.
const EVERY: Duration = Duration::from_millis(400);

/// The gateway's answer to a posted message.
pub(in crate::demo) enum Answer {
    /// It became a transfer.
    Accepted(TransferId),
    /// It did not.
    Refused {
        /// HTTP status.
        status: u16,
        /// What was found.
        issues: Vec<Issue>,
    },
}

/// One finding, as the OperationOutcome tells it.
pub(in crate::demo) struct Issue {
    /// `error`, `warning` …
    pub(in crate::demo) severity: String,
    /// FHIRPath, where there is one.
    pub(in crate::demo) expression: Option<String>,
    /// What was expected and found.
    pub(in crate::demo) diagnostics: String,
    /// ITK3 response code.
    pub(in crate::demo) itk_code: Option<String>,
}

impl Issue {
    fn read(issue: &serde_json::Value) -> Self {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let codings = issue["details"]["coding"].as_array().into_iter().flatten();
        Self {
            severity: text(&issue["severity"]).unwrap_or_default(),
            expression: text(&issue["expression"][0]),
            diagnostics: text(&issue["diagnostics"]).unwrap_or_default(),
            itk_code: codings.filter_map(|coding| text(&coding["code"])).next(),
        }
    }
}

/// The hospital, signed in when it has to be.
pub(in crate::demo) struct Hospital {
    session: Session,
}

impl Hospital {
    /// At this gateway.
    ///
    /// # Errors
    /// When its key cannot be read.
    pub(in crate::demo) fn new(post: &Post, gateway: &Url) -> anyhow::Result<Self> {
        Ok(Self { session: post.session(gateway, &HOSPITAL)? })
    }

    /// Posts one message.
    ///
    /// # Errors
    /// When there is no answer, or one that is neither acceptance nor refusal.
    pub(in crate::demo) async fn submit(&self, posting: &Posting) -> anyhow::Result<Answer> {
        let headers = [("content-type", posting.media_type), ("accept", "application/fhir+json")];
        let body = posting.text.clone();
        let reply = self.session.call(Method::POST, "fhir/R4/$process-message", &headers, body).await?;
        match reply.status {
            StatusCode::OK => {
                let location = reply.headers.get("location").and_then(|value| value.to_str().ok());
                let task = location.and_then(|text| text.rsplit('/').next()).context("the answer has no Location")?;
                Ok(Answer::Accepted(task.parse()?))
            }
            status if status.is_client_error() => {
                let outcome = reply.json()?;
                let issues = outcome["issue"].as_array().into_iter().flatten().map(Issue::read).collect();
                Ok(Answer::Refused { status: status.as_u16(), issues })
            }
            status => anyhow::bail!("the gateway answered {status}"),
        }
    }

    /// The status of the transfer's Task.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::demo) async fn status(&self, transfer: TransferId) -> anyhow::Result<String> {
        let reply = self.session.get(&format!("fhir/R4/Task/{transfer}")).await?;
        anyhow::ensure!(reply.status == StatusCode::OK, "the transfer's Task was answered with {}", reply.status);
        Ok(reply.json()?["status"].as_str().context("the Task has no status")?.to_owned())
    }
}

/// Reads the mailbox until `stop`.
///
/// # Errors
/// When its secrets cannot be read.
pub(in crate::demo) async fn live(post: Post, mesh: Url, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let mailbox = post.mailbox(&mesh, HOSPITAL_MAILBOX)?;
    let mut rounds = post.rounds(EVERY, stop);
    while rounds.next().await {
        rounds.end(collect(&post, &mailbox).await);
    }
    Ok(())
}

async fn collect(post: &Post, mailbox: &MeshClient) -> anyhow::Result<()> {
    for id in mailbox.list().await? {
        take(post, mailbox, &id).await?;
    }
    Ok(())
}

async fn take(post: &Post, mailbox: &MeshClient, id: &str) -> anyhow::Result<()> {
    let came = mailbox.fetch(id).await?;
    let xml = std::str::from_utf8(&came.body).context("the response is not UTF-8")?;
    let tree = read::xml(xml, &Limits::default()).context("the response is not FHIR XML")?;
    let message = Message::read(tree.root()).context("what came is no message")?;
    let response = Response::read(&message).context("what came is no response")?;
    let header_id = response.original_header_id.context("the response names no message")?.to_owned();
    let code = response.code.context("the response has no code")?;
    let kept = post.world.keep(&format!("arrived/hospital-response-{code}-{id}.xml"), &came.body)?;
    mailbox.acknowledge(id).await?;
    let display = response.display.unwrap_or_default().to_owned();
    post.tell(Event::Responded { header_id, code, display, kept });
    Ok(())
}
