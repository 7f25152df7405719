//! An echo server on the HTTP server of the roles: what HTTP costs without a command behind it.

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use runtime::http::{Limits, bind};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the address is taken.
pub async fn serve(listen: &str) -> anyhow::Result<()> {
    let listener = bind(listen, "--listen").await?;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        runtime::shutdown_signal().await;
        stop.cancel();
    });
    let router = Router::new().route("/v1/orders", post(|body: Bytes| async { body }));
    runtime::http::serve(listener, router, Limits::default(), shutdown).await;
    Ok(())
}
