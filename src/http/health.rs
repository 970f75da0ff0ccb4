//! For those who watch the watcher.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::json;

use super::Shared;
use super::error::Answer;
use crate::error::Error;

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> impl IntoResponse {
    axum::Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: it takes changes.
pub(super) async fn ready(State(app): State<Shared>) -> Answer {
    if *app.monitor.ending().borrow() {
        return Err(Error::Busy("the server is shutting down".to_owned()).into());
    }
    Ok(axum::Json(json!({ "status": "ready", "sessions": app.monitor.registry().len() })).into_response())
}

/// `GET /metrics`: Prometheus.
pub(super) async fn metrics(State(app): State<Shared>) -> impl IntoResponse {
    let text = app.monitor.metrics().render(&app.monitor.gauges());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

/// `GET /openapi.json`
pub(super) async fn openapi() -> impl IntoResponse {
    axum::Json(json!({}))
}
