//! The route table: every method and path, who may use it, and its handler.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::openapi;
use crate::edge::Shared;
use crate::edge::gate::Access;
use crate::http::{
    alerts, ended, events, health, kills, list, locks, login, messages, nodes, pages, ping, rules, sessions, sse,
};
use crate::ws;

/// The path of a heartbeat, by far the most frequent request.
pub(super) const HEARTBEAT: &str = "/sessions/{id}/heartbeat";

/// One line of the route table.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, as axum writes it.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    pub(super) handler: MethodRouter<Shared>,
}

/// Makes a line of the table. A path may be in several lines, one for each method.
fn route<H, T>(method: Method, path: &'static str, access: Access, handler: H) -> Route
where
    H: Handler<T, Shared>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    Route { method, path, access, handler: on(filter, handler) }
}

/// All routes. A line does not compile without its class ([`Access`]).
#[must_use]
pub fn table() -> Vec<Route> {
    use Access::{Admin, Health, Own, Page, Register, Script, View};
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    vec![
        // apps
        route(post.clone(), "/sessions", Register, sessions::register),
        route(put.clone(), "/sessions/{id}", Register, sessions::put),
        route(delete.clone(), "/sessions/{id}", Own, sessions::delete),
        route(post.clone(), "/sessions/{id}/end", Own, sessions::end),
        route(post.clone(), "/sessions/{id}/stay", Own, rules::stay),
        route(post.clone(), HEARTBEAT, Own, sessions::heartbeat),
        route(put, "/sessions/{id}/status", Own, sessions::status),
        route(get.clone(), "/sessions/{id}/events", Own, sse::events),
        route(get.clone(), "/sessions/{id}/alive", Own, sessions::alive),
        route(get.clone(), "/ping/{app_name}/{id}", Register, ping::beat),
        route(post.clone(), "/ping/{app_name}/{id}", Register, ping::beat_post),
        route(get.clone(), "/ping/{app_name}/{id}/{what}", Register, ping::step),
        route(post.clone(), "/ping/{app_name}/{id}/{what}", Register, ping::step_post),
        route(get.clone(), "/ws/client", Register, ws::client::upgrade),
        route(get.clone(), "/client.js", Script, pages::client_module),
        route(get.clone(), "/client.iife.js", Script, pages::client_script),
        // administrators
        route(get.clone(), "/sessions", View, list::list),
        route(get.clone(), "/sessions/{id}", View, list::one),
        route(get.clone(), "/sessions/{id}/timeline", View, events::timeline),
        route(get.clone(), "/events", View, events::log),
        route(get.clone(), "/ended", View, ended::ended),
        route(get.clone(), "/stats", View, events::stats),
        route(get.clone(), "/nodes", View, nodes::list),
        route(get.clone(), "/rules", View, rules::list),
        route(get.clone(), "/locks", View, locks::list),
        route(post.clone(), "/rules/rehearse", View, rules::rehearse),
        route(get.clone(), "/alerts", View, alerts::list),
        route(get.clone(), "/ws", View, ws::dashboard::upgrade),
        route(post.clone(), "/sessions/{id}/kill", Admin, kills::one),
        route(post.clone(), "/apps/{app_name}/kill-all", Admin, kills::app),
        route(post.clone(), "/kill", Admin, kills::matching),
        route(post.clone(), "/sessions/{id}/spare", Admin, rules::spare),
        route(post.clone(), "/rules/{name}/release", Admin, rules::release),
        route(post.clone(), "/alerts/{target}/test", Admin, alerts::test),
        route(post.clone(), "/sessions/{id}/message", Admin, messages::one),
        route(post.clone(), "/apps/{app_name}/message", Admin, messages::app),
        route(post.clone(), "/locks", Admin, locks::make),
        route(delete.clone(), "/locks/{lock_id}", Admin, locks::lift),
        route(delete, "/sessions/stale", Admin, kills::stale),
        route(get.clone(), "/metrics", View, health::metrics),
        // the page
        route(get.clone(), "/", Page, pages::dashboard),
        route(get.clone(), "/assets/{*path}", Page, pages::asset),
        route(post.clone(), "/login", Page, login::log_in),
        route(post, "/logout", Page, login::log_out),
        route(get.clone(), "/healthz", Health, health::alive),
        route(get.clone(), "/readyz", Health, health::ready),
        route(get, "/openapi.json", Page, openapi::openapi),
    ]
}
