//! Clients that post side by side for a time, and what that costs the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use onward_connect::http::{HeaderMap, HeaderValue, HttpClient, Method, StatusCode, header};
use tokio::task::JoinSet;
use url::Url;

use super::messages::{MEDIA_TYPE, Messages};
use super::report::Measured;
use super::server::Child;
use super::world::{CLIENT, World};
use crate::session::Session;

/// How long a client waits that is told to come again.
const COMES_AGAIN: Duration = Duration::from_secs(1);

/// Posts from so many clients for so long. Each client has its own connection; all have one token, as a hospital's system has,
/// or none where none are given.
pub(super) async fn run(
    world: &World,
    port: u16,
    child: &Child,
    signs_in: bool,
    messages: &Arc<Messages>,
    clients: usize,
    time: Duration,
) -> anyhow::Result<Measured> {
    let session = signs_in
        .then(|| anyhow::Ok(Session::new(world.http()?, world.base(port)?, CLIENT, world.key_pem.clone())))
        .transpose()?
        .map(Arc::new);
    let url = world.base(port)?.join("fhir/R4/$process-message")?;
    // The first of each connection pays for the handshake, and is not counted.
    let mut ready = Vec::new();
    for _ in 0..clients {
        let http = world.http()?;
        post(&http, &url, session.as_deref(), &messages.next()).await?;
        ready.push(http);
    }
    let (cpu, started) = (child.cpu(), Instant::now());
    let mut posting = JoinSet::new();
    for http in ready {
        let (url, session, messages) = (url.clone(), session.clone(), Arc::clone(messages));
        posting.spawn(async move {
            let (mut waits, mut again) = (Vec::new(), 0);
            while started.elapsed() < time {
                let message = messages.next();
                let sent = Instant::now();
                again += post(&http, &url, session.as_deref(), &message).await?;
                waits.push(sent.elapsed());
            }
            anyhow::Ok((waits, again))
        });
    }
    let (mut waits, mut again) = (Vec::new(), 0);
    while let Some(done) = posting.join_next().await {
        let (own, own_again) = done.context("a client broke off")??;
        waits.extend(own);
        again += own_again;
    }
    let elapsed = started.elapsed();
    Ok(Measured { again, ..Measured::new(waits, elapsed, child.cpu().saturating_sub(cpu)) })
}

/// Posts a message until it is taken; how often its client was told to come again.
async fn post(http: &HttpClient, url: &Url, session: Option<&Session>, message: &str) -> anyhow::Result<usize> {
    let mut again = 0;
    while !is_taken(http, url, session, message.to_owned()).await? {
        again += 1;
        tokio::time::sleep(COMES_AGAIN).await;
    }
    Ok(again)
}

/// `false` when the server is busy (503).
async fn is_taken(http: &HttpClient, url: &Url, session: Option<&Session>, message: String) -> anyhow::Result<bool> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Some(session) = session {
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", session.token().await?))?);
    }
    let answer = http.send(Method::POST, url.clone(), headers, message).await?;
    let status = answer.status();
    let body = answer.bytes_up_to(1_000_000).await?;
    let busy = status == StatusCode::SERVICE_UNAVAILABLE;
    anyhow::ensure!(
        status.is_success() || busy,
        "a message was not taken: {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(!busy)
}
