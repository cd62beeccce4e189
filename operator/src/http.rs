//! The operator's own pages: `/metrics`, `/livez`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// The series.
    pub metrics: Metrics,
    /// Whether the process has reached the API server: it then leads or stands by.
    pub ready: Arc<AtomicBool>,
}

/// Opens the port.
///
/// # Errors
/// When the address cannot be bound.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

/// Serves the pages until the process ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, pages: Pages) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(pages);
    axum::serve(listener, router).await.context("serve metrics")
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    match pages.metrics.page() {
        Ok(page) => (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}

async fn ready(State(pages): State<Pages>) -> impl IntoResponse {
    if pages.ready.load(Ordering::Acquire) {
        return (StatusCode::OK, "ok\n");
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the API server has not been reached yet\n")
}
