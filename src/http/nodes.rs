//! The servers that share the store.

use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::refusals::Refusals;
use crate::clock::Timestamp;
use crate::edge::Shared;
use crate::edge::gate::Caller;
use crate::edge::problem::Answer;
use crate::nodes::Server;

/// The servers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Nodes {
    /// By their numbers; one that has gone is listed for a day.
    nodes: Vec<NodeJson>,
    /// The number of the server that gave this answer.
    answered_by: u32,
}

/// One server, as it told last.
#[derive(Serialize, ToSchema)]
struct NodeJson {
    node: u32,
    name: String,
    url: Option<String>,
    version: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// Its client sockets; null for a token that is limited to some apps.
    sockets: Option<u64>,
    /// Its dashboards; null for a token that is limited to some apps.
    dashboards: Option<u64>,
    /// Events that it has not applied yet; null while that is not known, and for a token that is
    /// limited to some apps.
    lag: Option<u64>,
    /// How long the oldest of these has waited; null while that is not known.
    lag_ms: Option<u64>,
    keeper: bool,
    /// It has ended, or was silent for too long.
    gone: bool,
}

impl NodeJson {
    fn new(server: &Server, all_apps: bool) -> Self {
        let of_all_apps = |count: u64| all_apps.then_some(count);
        Self {
            node: server.node,
            name: server.name.to_string(),
            url: server.url.as_deref().map(str::to_owned),
            version: server.version.to_string(),
            started_at: server.started_at,
            seen_at: server.seen_at,
            sockets: of_all_apps(server.load.sockets),
            dashboards: of_all_apps(server.load.dashboards),
            lag: server.lag.and_then(of_all_apps),
            lag_ms: server.lag_ms,
            keeper: server.keeper,
            gone: server.gone,
        }
    }
}

/// `GET /nodes`
#[utoipa::path(get, path = "/nodes", tag = "administrators", responses((status = 200, description = "the servers that share the store", body = Nodes), Refusals))]
pub(crate) async fn list(State(app): State<Shared>, caller: Caller) -> Answer {
    let all_apps = caller.scope().is_all();
    let servers = app.monitor.servers();
    let nodes = servers.iter().map(|server| NodeJson::new(server, all_apps)).collect();
    Ok(axum::Json(Nodes { nodes, answered_by: app.monitor.node() }).into_response())
}
