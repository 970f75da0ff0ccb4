//! For those who watch the watcher.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::error::Answer;
use super::openapi::Refusals;
use crate::error::Error;

/// How the server is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<usize>,
}

/// `GET /healthz`: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, description = "the process answers", body = Health)))]
pub(super) async fn alive() -> impl IntoResponse {
    axum::Json(Health { status: "ok", sessions: None })
}

/// `GET /readyz`: it takes changes.
#[utoipa::path(get, path = "/readyz", tag = "server", responses((status = 200, description = "it takes changes", body = Health), Refusals))]
pub(super) async fn ready(State(app): State<Shared>) -> Answer {
    if *app.monitor.ending().borrow() {
        return Err(Error::Busy("the server is shutting down".to_owned()).into());
    }
    if !app.monitor.is_restored() {
        return Err(Error::Busy("the sessions are being restored; try again in a moment".to_owned()).into());
    }
    let sessions = Some(app.monitor.registry().len());
    Ok(axum::Json(Health { status: "ready", sessions }).into_response())
}

/// `GET /metrics`: Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, description = "for Prometheus", body = String, content_type = "text/plain"), Refusals))]
pub(super) async fn metrics(State(app): State<Shared>) -> impl IntoResponse {
    let text = app.monitor.metrics().render(&app.monitor.gauges());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// `GET /openapi.json`
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, description = "this document", body = Object)))]
pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], super::openapi::document())
}
