//! The yardstick: the gateway's own listener and TLS, with nothing behind them.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::listener::{self, Patience, Tls};

/// Serves until the process is ended.
///
/// # Errors
/// When the configuration has no TLS, or its port cannot be bound.
pub(crate) async fn serve(config: &Config) -> anyhow::Result<()> {
    let tls = Tls::open(config.tls().context("TLS is not configured")?)?;
    let listener = TcpListener::bind(config.server.listen).await?;
    let app = Router::new()
        .fallback(|body: Bytes| async move { (StatusCode::ACCEPTED, body.len().to_string()) })
        .layer(DefaultBodyLimit::max(config.server.body_bytes_max));
    let (_stop, stopped) = watch::channel(false);
    listener::serve(listener, Some(Arc::new(tls)), app, Patience::default(), stopped).await;
    Ok(())
}
