//! The accept loop: TLS, timers and limits that `axum::serve` does not set, and a drain on shutdown.

mod frames;
mod patience;
mod peers;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use frames::FrameGuard;
pub use patience::Patience;
use patience::{Over, Pulse};
use peers::Peers;
pub(crate) use peers::holder;
use tls::Trust;
pub use tls::{Exchanges, Tls, TlsFiles};

/// A handshake, the first request of a connection, or a request head that takes longer is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
// The test of silent connections only sees that they are closed, since its machine may be busy; the bound stands here.
const _: () = assert!(HEAD_TIMEOUT.as_secs() < 10);
/// Whole connections at once; a further one waits in the kernel's queue.
const CONNECTIONS_MAX: u32 = 2_000;
/// Connections of one address at once, many clients behind one forwarder included; a further one is closed.
const CONNECTIONS_OF_ONE_MAX: u32 = CONNECTIONS_MAX / 2;
/// What is read of a request head, bytes: enough for hyper to tell a target that is too long (414) from headers that
/// are (431, by the edge at 16 KB).
const HEAD_BYTES_MAX: usize = 80 * 1024;
/// Open requests get this long to finish on shutdown.
const DRAIN: Duration = Duration::from_secs(30);
/// A peer that does harm gets this long to read that we leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// SHA-256 of the client certificate of the connection, hexadecimal.
#[derive(Debug, Clone)]
pub struct ClientCertificate(pub String);

/// The peer's address.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What a request's connection tells of whoever calls.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The peer's address.
    pub peer: IpAddr,
    /// The client certificate, verified, where one was shown.
    pub certificate: Option<ClientCertificate>,
}

impl<S: Sync> FromRequestParts<S> for Connection {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let Some(Peer(peer)) = parts.extensions.get().copied() else {
            tracing::error!("a request came by another way than the listener");
            return Err(crate::outcome::fault().into_response());
        };
        Ok(Self { peer: peer.ip(), certificate: parts.extensions.get().cloned() })
    }
}

/// Serves until `stop` turns true, then lets open requests finish.
///
/// # Errors
/// None that end the loop: a failing connection is dropped alone.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    app: Router,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let peers = Peers::new(CONNECTIONS_OF_ONE_MAX);
    loop {
        let next = async {
            let permit = Arc::clone(&connections).acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors: without a pause this loop would spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(admission) = peers.admit(peer.ip()) else {
            tracing::debug!("a connection is closed: its address has too many");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (app, tls, stop) = (app.clone(), tls.clone(), stop.clone());
        let pulse = Pulse::new(patience);
        tokio::spawn(async move {
            let _held = (permit, admission);
            let Some(tls) = tls else { return connection(stream, app, peer, None, &pulse, stop).await };
            // Before the handshake: what changes while it goes on is judged as well.
            let guard = tls.guard();
            let handshake = TlsAcceptor::from(guard.config()).accept(stream);
            let stream = match tokio::time::timeout(HEAD_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => return tracing::debug!("a TLS handshake took too long"),
            };
            let chain = stream.get_ref().1.peer_certificates().filter(|chain| !chain.is_empty());
            let client = chain.map(|chain| (ClientCertificate(sha256_hex(chain[0].as_ref())), guard.watch(chain)));
            connection(stream, app, peer, client, &pulse, stop).await;
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, connections.acquire_many(CONNECTIONS_MAX)).await.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

async fn connection<S>(
    stream: S,
    app: Router,
    peer: SocketAddr,
    client: Option<(ClientCertificate, Trust)>,
    pulse: &Arc<Pulse>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (certificate, mut trust) = client.unzip();
    let asked = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&asked);
    let beats = Arc::clone(pulse);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        first.store(true, Ordering::Relaxed);
        let exchange = beats.exchange();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        let answer = app.clone().oneshot(request);
        async move { answer.await.map(|answer| answer.map(|body| exchange.watch(body))) }
    });
    let alarm = Arc::new(Notify::new());
    let io = TokioIo::new(FrameGuard::new(stream, Arc::clone(&alarm), Arc::clone(pulse)));
    let builder = protocol();
    let mut serving = std::pin::pin!(builder.serve_connection(io, service));
    // hyper's timers start when it knows the version and waits for a head; before that nothing limits a silent peer.
    let silent = async {
        tokio::time::sleep(HEAD_TIMEOUT).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let lost = async {
        match &mut trust {
            Some(trust) => trust.lost().await,
            None => std::future::pending().await,
        }
    };
    let stopped = async {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let ended = tokio::select! {
        ended = &mut serving => return ended_early(ended),
        () = silent => return tracing::debug!("a connection without a request is closed"),
        () = alarm.notified() => {
            tracing::warn!("a connection with a flood of empty frames is closed");
            serving.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(FAREWELL, serving).await;
            return;
        }
        over = pulse.ends() => {
            tracing::debug!(?over, "a connection ends: it has stayed for long enough");
            let grace = match over {
                // It takes nothing, and no farewell either.
                Over::Stalled => return,
                Over::Idle => pulse.patience.stall,
                Over::Old => DRAIN,
            };
            serving.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(grace, serving).await;
            return;
        }
        // Open requests are answered, no further ones are taken.
        () = lost => {
            tracing::info!("a connection ends: its client certificate is not good any more");
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        () = stopped => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    ended_early(ended);
}

fn ended_early(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn protocol() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(200)
        // Many messages share a connection: with hyper's small window one would wait for another's bytes. Of a large one that waits unread for its
        // turn little is taken from the others.
        .initial_stream_window_size(Some(256 * 1024))
        .initial_connection_window_size(Some(4 * 1024 * 1024))
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(Some(20))
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

/// SHA-256, hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}
