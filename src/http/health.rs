//! Health and metrics of the server itself.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::refusals::Refusals;
use crate::edge::Shared;
use crate::edge::gate::Caller;
use crate::monitor::Ending;

/// 503 with one word, which reveals nothing to strangers.
fn not_ready(word: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], word).into_response()
}

/// `GET /healthz`: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, description = "`ok`: the process answers", body = String, content_type = "text/plain")))]
pub(crate) async fn alive() -> &'static str {
    "ok"
}

/// `GET /readyz`: it takes changes.
#[utoipa::path(get, path = "/readyz", tag = "server", responses((status = 200, description = "`ok`: it takes changes", body = String, content_type = "text/plain"), (status = 503, description = "`ending`, `restoring` or `busy`", body = String, content_type = "text/plain")))]
pub(crate) async fn ready(State(app): State<Shared>) -> Response {
    match () {
        () if *app.monitor.ending().borrow() != Ending::No => not_ready("ending"),
        () if !app.monitor.is_restored() => not_ready("restoring"),
        () if !app.monitor.answers().await => not_ready("busy"),
        () => "ok".into_response(),
    }
}

/// `GET /metrics`: Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, description = "for Prometheus", body = String, content_type = "text/plain"), Refusals))]
pub(crate) async fn metrics(State(app): State<Shared>, caller: Caller) -> impl IntoResponse {
    let text = app.monitor.metrics_text(&caller.scope());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
