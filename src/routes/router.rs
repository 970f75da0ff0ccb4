//! The router: the table's routes behind the gate, and the answers for all other requests.

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::guard::pass_gate;
use super::table::{Route, table};
use crate::edge::Shared;
use crate::edge::gate::Access;
use crate::edge::problem::Problem;

/// Builds the router: each route behind the gate; unknown paths and methods get a problem too.
pub(super) fn router(app: &Shared) -> Router {
    let routes = table();
    let mut router = Router::new();
    for path in paths(&routes) {
        // The methods that pages of other origins may use, for their preflight.
        let ingest: Vec<&str> = routes
            .iter()
            .filter(|route| route.path == path && route.access.is_ingest())
            .map(|route| route.method.as_str())
            .collect();
        if !ingest.is_empty() {
            let allowed = HeaderValue::from_str(&ingest.join(", ")).unwrap_or(HeaderValue::from_static("GET"));
            let preflight = on(MethodFilter::OPTIONS, move || preflight(allowed.clone()));
            router = router.route(path, guarded(preflight, app, Access::Preflight));
        }
    }
    for Route { path, access, handler, .. } in routes {
        router = router.route(path, guarded(handler, app, access));
    }
    router.fallback(unknown_path).method_not_allowed_fallback(wrong_method).with_state(app.clone())
}

fn paths(routes: &[Route]) -> Vec<&'static str> {
    let mut paths: Vec<&'static str> = routes.iter().map(|route| route.path).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn guarded(handler: MethodRouter<Shared>, app: &Shared, access: Access) -> MethodRouter<Shared> {
    handler.layer(middleware::from_fn_with_state((app.clone(), access), pass_gate))
}

async fn preflight(allowed: HeaderValue) -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, allowed),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type, authorization")),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
        // An allowed page from the public network may reach a server on this machine.
        (header::HeaderName::from_static("access-control-allow-private-network"), HeaderValue::from_static("true")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

async fn unknown_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path; /openapi.json lists what there is")
}

async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not take this method; the Allow header lists those that it takes",
    )
}
