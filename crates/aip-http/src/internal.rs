//! The internal listener: probes and metrics, for the operator's network only.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::health::Health;

#[derive(Clone)]
struct Internal {
    health: Arc<dyn Health>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The router of the internal listener. `metrics` renders the Prometheus text format.
pub fn internal_router(
    health: Arc<dyn Health>,
    metrics: impl Fn() -> String + Send + Sync + 'static,
) -> Router {
    Router::new()
        .route("/internal/alive", get(|| async { "alive\n" }))
        .route(
            "/internal/started",
            get(|State(it): State<Internal>| async move {
                if it.health.started() {
                    return "started\n".into_response();
                }
                unavailable("starting\n".to_owned())
            }),
        )
        .route(
            "/internal/ready",
            get(|State(it): State<Internal>| async move {
                match it.health.ready().await {
                    Ok(()) => "ready\n".into_response(),
                    Err(why) => unavailable(format!("not ready: {why}\n")),
                }
            }),
        )
        .route(
            "/metrics",
            get(|State(it): State<Internal>| async move {
                let media_type = "text/plain; version=0.0.4; charset=utf-8";
                ([(CONTENT_TYPE, media_type)], (it.metrics)()).into_response()
            }),
        )
        .with_state(Internal {
            health,
            metrics: Arc::new(metrics),
        })
}

fn unavailable(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
