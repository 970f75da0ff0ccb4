//! `/openapi.json`, generated from the types of the handlers, so that it always fits them.

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::http::{
    alerts, ended, events, health, kills, list, locks, login, messages, nodes, ping, rules, sessions, sse,
};

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The document of the HTTP interface. Sockets are described in `docs/asyncapi.yaml`.
#[derive(OpenApi)]
#[openapi(
    info(title = "sessionwatch", description = "A push-based, real-time monitor of live user sessions."),
    modifiers(&Bearer),
    security((), ("token" = [])),
    paths(
        sessions::register, sessions::put, sessions::delete, sessions::end, sessions::heartbeat, sessions::status,
        sse::events, sessions::alive, ping::beat, ping::beat_post, ping::step, ping::step_post,
        list::list, list::one, ended::ended, events::timeline, events::log, events::stats, nodes::list,
        rules::list, rules::release, rules::rehearse, rules::spare, rules::stay, alerts::list, alerts::test,
        kills::one, kills::app, kills::matching, kills::stale, locks::list, locks::make, locks::lift, messages::one, messages::app,
        health::metrics, health::alive, health::ready, openapi, login::log_in, login::log_out,
    ),
)]
struct Document;

/// `GET /openapi.json`
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, description = "this document", body = Object)))]
pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], Document::openapi().to_json().unwrap_or_default())
}
