//! Clients that post side by side for a time, and what that costs the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use onward_connect::http::{HeaderMap, HeaderValue, HttpClient, Method, header};
use tokio::task::JoinSet;
use url::Url;

use super::messages::{MEDIA_TYPE, Messages};
use super::report::Measured;
use super::server::Child;
use super::world::{CLIENT, World};
use crate::session::Session;

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
        post(&http, &url, session.as_deref(), messages.next()).await?;
        ready.push(http);
    }
    let (cpu, started) = (child.cpu(), Instant::now());
    let mut posting = JoinSet::new();
    for http in ready {
        let (url, session, messages) = (url.clone(), session.clone(), Arc::clone(messages));
        posting.spawn(async move {
            let mut waits = Vec::new();
            while started.elapsed() < time {
                let message = messages.next();
                let sent = Instant::now();
                post(&http, &url, session.as_deref(), message).await?;
                waits.push(sent.elapsed());
            }
            anyhow::Ok(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(done) = posting.join_next().await {
        waits.extend(done.context("a client broke off")??);
    }
    let elapsed = started.elapsed();
    Ok(Measured::new(waits, elapsed, child.cpu().saturating_sub(cpu)))
}

async fn post(http: &HttpClient, url: &Url, session: Option<&Session>, message: String) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Some(session) = session {
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", session.token().await?))?);
    }
    let answer = http.send(Method::POST, url.clone(), headers, message).await?;
    let status = answer.status();
    let body = answer.bytes_up_to(1_000_000).await?;
    anyhow::ensure!(status.is_success(), "a message was not taken: {status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}
