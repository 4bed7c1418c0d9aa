//! MESH, the Message Exchange for Social Care and Health (`mesh-api.yaml` 2.0.0): sends to other mailboxes, and takes
//! from and acknowledges in our own.
//!
//! It refuses to repeat a send by itself (a repeat is a new attempt under the same `Mex-LocalID`), to put anything
//! about a patient into a header but the address by which MESH itself finds a practice, and to hold more than one
//! message's bound in memory.

mod authorization;
mod download;
mod upload;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use onward_core::directory::Endpoint;
use onward_core::state::TransportKind;
use onward_core::transport::{LISTED_AT_ONCE, Mailbox, Mailboxes, MeshMessage, Outbound, SendError, Sent, Transport};
use onward_core::{Clock, MeshMailboxId, OdsCode, WorkflowId};
use serde::Deserialize;
use url::Url;

use crate::http::{Answer, HeaderMap, HeaderValue, HttpClient, HttpFault, Method, StatusCode, header};
use crate::secret::Secret;

/// Version 2 of the answers (`mesh-api.yaml`, API Versioning).
const ACCEPT: &str = "application/vnd.mesh.v2+json";
/// MESH takes one handshake a day; an hour of slack keeps a slow day inside it.
const HANDSHAKE_EVERY: SignedDuration = SignedDuration::from_hours(23);
/// Largest JSON answer, bytes: 500 identifiers are about 30 kB.
const JSON_BYTES_MAX: usize = 1024 * 1024;
/// Pages of one listing.
const PAGES_MAX: usize = 20;
/// Neutral: the subject is shown in mailbox lists and logs.
const SUBJECT: &str = "Onward delivery";
/// The same for what a person had sent again.
const SUBJECT_OF_REPEAT: &str = "Onward delivery, sent again";

/// Our mailbox and how we use it. Prints without its secrets.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// Root of the API, such as `https://mesh-sync.spineservices.nhs.uk/`.
    pub base_url: Url,
    /// Our own mailbox.
    pub mailbox: MeshMailboxId,
    /// Its password.
    pub password: Secret,
    /// The shared key of the MESH environment.
    pub shared_key: Secret,
    /// Send bodies gzip-encoded.
    pub compress: bool,
    /// Largest part of a message sent in one request, bytes before compression; what is longer goes in chunks.
    pub chunk_bytes: usize,
    /// Largest message taken, bytes.
    pub message_bytes_max: usize,
    /// How a date of birth stands in the address of GP auto-routing.
    pub gp_routing_date: GpRoutingDate,
}

/// How a date of birth stands in `GPPROVIDER_…`: the NHS's pages differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum GpRoutingDate {
    /// As NHS England's page on GP auto-routing (2024) writes it.
    #[default]
    #[serde(rename = "YYYYMMDD")]
    YearFirst,
    /// As GP Connect Messaging 1.5.0 writes it.
    #[serde(rename = "DDMMYYYY")]
    DayFirst,
}

impl MeshConfig {
    /// 100 MB, the bound of MESH for one request.
    pub const MESSAGE_BYTES_MAX: usize = 100_000_000;
    /// What does not compress grows by gzip: a hundredth is room enough.
    pub const CHUNK_BYTES: usize = 99_000_000;

    /// Uncompressed sending, in chunks of 99 MB; messages of up to 100 MB are taken.
    #[must_use]
    pub fn new(base_url: Url, mailbox: MeshMailboxId, password: Secret, shared_key: Secret) -> Self {
        Self {
            base_url,
            mailbox,
            password,
            shared_key,
            compress: false,
            chunk_bytes: Self::CHUNK_BYTES,
            message_bytes_max: Self::MESSAGE_BYTES_MAX,
            gp_routing_date: GpRoutingDate::default(),
        }
    }
}

/// How a sent message fares (`GET outbox/tracking`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tracking {
    /// MESH message identifier; `messageId` in version 1 of the answers, as the others.
    #[serde(alias = "messageId")]
    pub message_id: String,
    /// Our delivery identifier.
    #[serde(alias = "localId", default)]
    pub local_id: Option<String>,
    /// The mailbox it went to.
    #[serde(default)]
    pub recipient: Option<String>,
    /// `accepted`, `acknowledged`, …
    #[serde(default)]
    pub status: Option<String>,
    /// `00` or an error code of the MESH table.
    #[serde(alias = "statusCode", default)]
    pub status_code: Option<String>,
}

/// A mailbox that takes a workflow for an organisation (`GET endpointlookup`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FoundMailbox {
    /// The mailbox; `address` in version 1 of the answers.
    #[serde(alias = "address")]
    pub mailbox_id: MeshMailboxId,
    /// Its name; `description` in version 1.
    #[serde(alias = "description", default)]
    pub mailbox_name: String,
}

/// The MESH client.
pub struct MeshClient {
    config: MeshConfig,
    http: HttpClient,
    /// For what is taken from our mailbox.
    downloads: HttpClient,
    clock: Arc<dyn Clock>,
    shaken: Mutex<Option<Timestamp>>,
}

impl MeshClient {
    /// A client for one mailbox. `http` carries the certificate that MESH issued for it.
    #[must_use]
    pub fn new(config: MeshConfig, http: HttpClient, clock: Arc<dyn Clock>) -> Self {
        Self { config, downloads: http.clone(), http, clock, shaken: Mutex::new(None) }
    }

    /// Downloads by this client, whose total timeout fits the largest message that others send us.
    #[must_use]
    pub fn with_downloads(self, downloads: HttpClient) -> Self {
        Self { downloads, ..self }
    }

    /// Tells MESH that the mailbox is in use, and checks our credentials. Every other call does this first when the
    /// last one is 23 hours old.
    ///
    /// # Errors
    /// Always transient: what MESH holds against this gateway is none of the copies', and is mended for all of them.
    pub async fn handshake(&self) -> Result<(), SendError> {
        self.shake_hands().await.map_err(|error| match error {
            SendError::Transient { .. } => error,
            SendError::Permanent { reason } | SendError::Unknown { reason } => {
                SendError::Transient { reason, retry_after_seconds: None }
            }
        })
    }

    async fn shake_hands(&self) -> Result<(), SendError> {
        let mut headers = self.headers();
        headers.insert("mex-clientversion", HeaderValue::from_static(concat!("Onward==", env!("CARGO_PKG_VERSION"))));
        headers.insert("mex-osname", HeaderValue::from_static(std::env::consts::OS));
        // The version of the operating system helps nobody but an attacker who reads the exchange's logs.
        headers.insert("mex-osversion", HeaderValue::from_static("not-told"));
        headers.insert("mex-osarchitecture", HeaderValue::from_static(std::env::consts::ARCH));
        let answer = self.call(Method::POST, &[], headers, Bytes::new()).await.map_err(of_repeatable)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.repeatable_refusal("the handshake", answer).await);
        }
        // Spine has been seen to answer 200 with an error inside.
        if let Some(code) = error_code(&answer.bytes_up_to(JSON_BYTES_MAX).await.map_err(of_repeatable)?) {
            return Err(permanent(&format!("MESH refused the handshake with code {code}")));
        }
        *self.shaken.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
        Ok(())
    }

    /// How a message that we sent fares; `None` when MESH does not know it as ours.
    ///
    /// # Errors
    /// See [`SendError`]; never unknown.
    pub async fn tracking(&self, message_id: &str) -> Result<Option<Tracking>, SendError> {
        self.handshake_if_due().await?;
        let message_id = checked_message_id(message_id)?;
        let mut url = self.url(&["outbox", "tracking"]);
        url.query_pairs_mut().append_pair("messageID", message_id);
        let answer = self.get(url).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => self.json(answer).await.map(Some),
            _ => Err(self.repeatable_refusal("tracking", answer).await),
        }
    }

    /// The mailboxes that an organisation takes a workflow in; none where it takes it nowhere.
    ///
    /// # Errors
    /// See [`SendError`]; never unknown.
    pub async fn lookup(&self, ods: &OdsCode, workflow: &WorkflowId) -> Result<Vec<FoundMailbox>, SendError> {
        #[derive(Deserialize)]
        struct Results {
            results: Vec<FoundMailbox>,
        }
        self.handshake_if_due().await?;
        let mut url = self.config.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // The one path of the API without our own mailbox.
            segments.pop_if_empty().extend(["messageexchange", "endpointlookup", ods.as_str(), workflow.as_str()]);
        }
        let answer = self.get(url).await?;
        match answer.status() {
            StatusCode::OK => Ok(self.json::<Results>(answer).await?.results),
            StatusCode::NOT_FOUND => Ok(Vec::new()),
            _ => Err(self.repeatable_refusal("the endpoint lookup", answer).await),
        }
    }

    async fn handshake_if_due(&self) -> Result<(), SendError> {
        let last = *self.shaken.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        match last {
            Some(at) if now.duration_since(at).abs() < HANDSHAKE_EVERY => Ok(()),
            _ => self.handshake().await,
        }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.config.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["messageexchange", self.config.mailbox.as_str()]).extend(path);
        }
        url
    }

    /// What every call carries; the token is good for one request only.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        headers.insert(header::AUTHORIZATION, authorization::fresh(&self.config, self.clock.now()));
        headers
    }

    async fn call(&self, method: Method, path: &[&str], headers: HeaderMap, body: Bytes) -> Result<Answer, HttpFault> {
        self.http.send(method, self.url(path), headers, body).await
    }

    async fn get(&self, url: Url) -> Result<Answer, SendError> {
        self.http.send(Method::GET, url, self.headers(), Bytes::new()).await.map_err(of_repeatable)
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, answer: Answer) -> Result<T, SendError> {
        let body = answer.bytes_up_to(JSON_BYTES_MAX).await.map_err(of_repeatable)?;
        serde_json::from_slice(&body).map_err(|_| permanent("MESH's answer is not its specification's JSON"))
    }

    /// The error for a call that can be repeated without harm.
    async fn repeatable_refusal(&self, what: &str, answer: Answer) -> SendError {
        match self.refusal(what, answer).await {
            SendError::Unknown { reason } => SendError::Transient { reason, retry_after_seconds: None },
            error => error,
        }
    }

    /// What a refusing status means. Only MESH's short error code is kept of the body.
    async fn refusal(&self, what: &str, answer: Answer) -> SendError {
        let status = answer.status();
        let retry_after_seconds = answer.retry_after_seconds(self.clock.now());
        let reason = format!("MESH answered {what} with {}", status.as_u16());
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY => SendError::Transient { reason, retry_after_seconds },
            status if status.is_server_error() => SendError::Unknown { reason },
            // This gateway's own trouble, such as a password that was changed: every copy would fail by it within minutes.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => SendError::Transient {
                reason: format!(
                    "{reason}: mailbox, password, shared key, certificate or clock is wrong, or the mailbox may not do this"
                ),
                retry_after_seconds,
            },
            _ => {
                let body = answer.bytes_up_to(JSON_BYTES_MAX).await.unwrap_or_default();
                match error_code(&body).as_deref() {
                    Some("12") => permanent("the recipient's mailbox is not registered with MESH (code 12)"),
                    Some(code) => permanent(&format!("{reason}, code {code}")),
                    None => permanent(&reason),
                }
            }
        }
    }
}

#[async_trait]
impl Transport for MeshClient {
    fn kind(&self) -> TransportKind {
        TransportKind::Mesh
    }

    async fn send(&self, outbound: &Outbound) -> Result<Sent, SendError> {
        let (to, workflow) = match &outbound.endpoint {
            Endpoint::Mesh { mailbox, workflow } => (HeaderValue::from_str(mailbox.as_str()).ok(), workflow),
            Endpoint::GpRouting { workflow } => (Some(self.gp_address(outbound)?), workflow),
            _ => (None, &None),
        };
        let to = to.ok_or_else(|| permanent("the endpoint is not a MESH mailbox"))?;
        let workflow = workflow.as_ref().or(outbound.workflow.as_ref());
        let workflow = workflow.ok_or_else(|| permanent("no MESH workflow is known for this delivery"))?;
        self.upload(outbound, to, workflow).await
    }
}

#[async_trait]
impl Mailbox for MeshClient {
    /// At most 20 pages of 500; when there are more, list again after acknowledging.
    async fn list(&self) -> Result<Vec<String>, SendError> {
        #[derive(Deserialize)]
        struct Inbox {
            messages: Vec<String>,
            #[serde(default)]
            links: Links,
        }
        #[derive(Deserialize, Default)]
        struct Links {
            next: Option<String>,
        }
        self.handshake_if_due().await?;
        let (mut ids, mut from) = (Vec::new(), None::<(String, String)>);
        for _ in 0..PAGES_MAX {
            let mut url = self.url(&["inbox"]);
            url.query_pairs_mut().append_pair("max_results", &LISTED_AT_ONCE.to_string()).extend_pairs(&from);
            let answer = self.get(url.clone()).await?;
            if answer.status() != StatusCode::OK {
                return Err(self.repeatable_refusal("the inbox listing", answer).await);
            }
            let Inbox { messages, links } = self.json(answer).await?;
            let is_last = messages.is_empty();
            ids.extend(messages);
            // Only the place in the list is taken from the link, never an address.
            let next = links.next.and_then(|next| url.join(&next).ok());
            let next = next.and_then(|next| {
                let (name, value) = next.query_pairs().find(|(name, _)| name == "continue_from")?;
                Some((name.into_owned(), value.into_owned()))
            });
            if is_last || next.is_none() || next == from {
                break;
            }
            from = next;
        }
        let told = ids.len();
        ids.retain(|id| checked_message_id(id).is_ok());
        if ids.len() < told {
            // One odd identifier must not hide the others; MESH reports it to its sender after five days.
            tracing::warn!(skipped = told - ids.len(), "MESH lists identifiers that are none");
        }
        Ok(ids)
    }

    async fn fetch(&self, id: &str) -> Result<MeshMessage, SendError> {
        self.handshake_if_due().await?;
        self.download(checked_message_id(id)?).await
    }

    async fn recipient(&self, id: &str) -> Result<Option<MeshMailboxId>, SendError> {
        let tracking = self.tracking(id).await?;
        Ok(tracking.and_then(|tracking| tracking.recipient).and_then(|mailbox| mailbox.parse().ok()))
    }

    async fn acknowledge(&self, id: &str) -> Result<(), SendError> {
        self.handshake_if_due().await?;
        let path = ["inbox", checked_message_id(id)?, "status", "acknowledged"];
        let answer = self.call(Method::PUT, &path, self.headers(), Bytes::new()).await.map_err(of_repeatable)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            _ => Err(self.repeatable_refusal("the acknowledgement", answer).await),
        }
    }
}

#[async_trait]
impl Mailboxes for MeshClient {
    async fn taking(&self, ods: &OdsCode, workflow: &WorkflowId) -> Result<Vec<MeshMailboxId>, SendError> {
        Ok(self.lookup(ods, workflow).await?.into_iter().map(|found| found.mailbox_id).collect())
    }
}

/// What a fault means for a message that was being sent. That MESH and we do not trust one another, or that the egress rules have it not,
/// concerns this gateway and no copy; of a partner it is different (trust.md, fault 28).
fn of_send(fault: HttpFault) -> SendError {
    match fault {
        HttpFault::Trust(_) | HttpFault::Egress(_) => {
            SendError::Transient { reason: fault.to_string(), retry_after_seconds: None }
        }
        fault => fault.of_send(),
    }
}

/// The same for a call that can be repeated without harm.
fn of_repeatable(fault: HttpFault) -> SendError {
    match fault {
        HttpFault::Trust(_) | HttpFault::Egress(_) => of_send(fault),
        fault => fault.of_repeatable(),
    }
}

/// The identifier as a path segment: what MESH gives are letters, digits and `_`.
fn checked_message_id(id: &str) -> Result<&str, SendError> {
    let fits =
        (1..=100).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fits { Ok(id) } else { Err(permanent("this is not a MESH message identifier")) }
}

/// `message_id` of version 2, `messageID` of version 1.
fn message_id_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Accepted {
        #[serde(alias = "messageID")]
        message_id: String,
    }
    let id = serde_json::from_slice::<Accepted>(body).ok()?.message_id;
    checked_message_id(&id).is_ok().then_some(id)
}

/// The error code in either version's body: `errorCode`, or `detail[0].code`. Other texts are not kept.
fn error_code(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let code = body.get("errorCode").or_else(|| body.get("detail")?.get(0)?.get("code"))?.as_str()?;
    let fits = (1..=20).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    // 00 is success in the MESH table.
    (fits && code != "00").then(|| code.to_owned())
}

fn extension(media_type: &str) -> &'static str {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    match essence.rsplit(['/', '+']).next() {
        Some("xml") => "xml",
        Some("json") => "json",
        _ => "dat",
    }
}

fn permanent(reason: &str) -> SendError {
    SendError::Permanent { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
