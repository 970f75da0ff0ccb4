//! HTTP: the whole route table, the gate in front of it, one file a resource.

pub mod base;
pub mod body;
mod cookie;
mod csv;
pub mod error;
mod events;
mod front;
pub mod gate;
mod health;
mod kills;
mod list;
pub mod listing;
mod login;
mod messages;
mod openapi;
pub mod owner;
mod pages;
mod path;
pub mod people;
mod ping;
pub mod proxies;
pub mod sessions;
mod sse;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::monitor::Monitor;
use crate::per_address::{AddressPlace, PerAddress};
use error::Problem;
pub use front::Front;
use gate::{Access, Caller, Gate};

/// What every handler works with.
pub struct App {
    /// The monitor.
    pub monitor: Arc<Monitor>,
    /// Who may ask what.
    pub gate: Gate,
    /// Open sockets by address.
    pub sockets: PerAddress,
    /// Open event streams by address.
    pub streams: PerAddress,
    /// Lists of sessions that are on their way.
    pub lists: listing::Lists,
}

/// A place for one more of `what` from this address.
///
/// # Errors
/// 503 when the address has as many open as it may.
pub fn take_place(places: &PerAddress, address: std::net::IpAddr, what: &str) -> Result<AddressPlace, Problem> {
    places.take(address).ok_or_else(|| {
        let detail = format!("{} {what} are open from this address; close some first", places.most());
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("10"))
    })
}

/// How handlers get it.
pub type Shared = Arc<App>;

/// The address of the other end, put into each request by the server.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The path under which a browser finds the server; empty at the root.
#[derive(Clone, Debug)]
struct Base(Arc<str>);

/// The path of a heartbeat, the one request that comes all the time.
const HEARTBEAT: &str = "/sessions/{id}/heartbeat";

/// One line of the route table.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, as axum writes it.
    pub path: &'static str,
    /// Who may ask.
    pub access: Access,
    handler: MethodRouter<Shared>,
}

/// A line of the table. A path may stand in several lines, a method a line.
fn route<H, T>(method: Method, path: &'static str, access: Access, handler: H) -> Route
where
    H: Handler<T, Shared>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    Route { method, path, access, handler: on(filter, handler) }
}

/// Every route there is. A line cannot leave out who may ask.
#[must_use]
pub fn routes() -> Vec<Route> {
    use Access::{Admin, Health, Own, Page, Register, Script, View};
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    vec![
        // apps
        route(post.clone(), "/sessions", Register, sessions::register),
        route(put.clone(), "/sessions/{id}", Register, sessions::put),
        route(delete.clone(), "/sessions/{id}", Own, sessions::delete),
        route(post.clone(), "/sessions/{id}/end", Own, sessions::end),
        route(post.clone(), HEARTBEAT, Own, sessions::heartbeat),
        route(put, "/sessions/{id}/status", Own, sessions::status),
        route(get.clone(), "/sessions/{id}/events", Own, sse::events),
        route(get.clone(), "/sessions/{id}/alive", Own, sessions::alive),
        route(get.clone(), "/ping/{app_name}/{id}", Register, ping::beat),
        route(post.clone(), "/ping/{app_name}/{id}", Register, ping::beat_post),
        route(get.clone(), "/ping/{app_name}/{id}/{what}", Register, ping::step),
        route(post.clone(), "/ping/{app_name}/{id}/{what}", Register, ping::step_post),
        route(get.clone(), "/ws/client", Register, crate::ws::client::upgrade),
        route(get.clone(), "/client.js", Script, pages::client_module),
        route(get.clone(), "/client.iife.js", Script, pages::client_script),
        // administrators
        route(get.clone(), "/sessions", View, list::list),
        route(get.clone(), "/sessions/{id}", View, list::one),
        route(get.clone(), "/sessions/{id}/timeline", View, events::timeline),
        route(get.clone(), "/events", View, events::log),
        route(get.clone(), "/stats", View, events::stats),
        route(get.clone(), "/ws", View, crate::ws::dashboard::upgrade),
        route(post.clone(), "/sessions/{id}/kill", Admin, kills::one),
        route(post.clone(), "/apps/{app_name}/kill-all", Admin, kills::app),
        route(post.clone(), "/sessions/{id}/message", Admin, messages::one),
        route(post.clone(), "/apps/{app_name}/message", Admin, messages::app),
        route(delete, "/sessions/stale", Admin, kills::stale),
        route(get.clone(), "/metrics", View, health::metrics),
        // the page
        route(get.clone(), "/", Page, pages::dashboard),
        route(get.clone(), "/assets/{*path}", Page, pages::asset),
        route(post.clone(), "/login", Page, login::log_in),
        route(post, "/logout", Page, login::log_out),
        route(get.clone(), "/healthz", Health, health::alive),
        route(get.clone(), "/readyz", Health, health::ready),
        route(get, "/openapi.json", Page, health::openapi),
    ]
}

/// The router: every route behind the gate, the rest answered in the same words.
fn router(app: &Shared) -> Router {
    let routes = routes();
    let mut router = Router::new();
    for path in paths(&routes) {
        // What a page on another origin may ask of this path, for its preflight.
        let ingest: Vec<&str> = routes
            .iter()
            .filter(|route| route.path == path && route.access.is_ingest())
            .map(|route| route.method.as_str())
            .collect();
        if !ingest.is_empty() {
            let allowed = HeaderValue::from_str(&ingest.join(", ")).unwrap_or(HeaderValue::from_static("GET"));
            let preflight = on(MethodFilter::OPTIONS, move || preflight(allowed.clone()));
            router = router.route(path, guarded(preflight, app, Access::Script));
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

async fn pass_gate(
    State((app, access)): State<(Shared, Access)>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(Peer(peer)) = request.extensions().get().copied() else {
        return Err(Problem::new(StatusCode::FORBIDDEN, "the connection has no address"));
    };
    let run = |mut request: Request, caller: Caller| {
        request.extensions_mut().insert(caller);
        next.run(request)
    };
    Ok(through_gate(&app, access, peer, request, run).await)
}

/// Lets a request through to `next`, or answers why not.
async fn through_gate<F>(
    app: &Shared,
    access: Access,
    peer: SocketAddr,
    request: Request,
    next: impl FnOnce(Request, Caller) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let (method, uri, version) = (request.method(), request.uri(), request.version());
    let admitted = app.gate.admit(access, method, uri, version, request.headers(), peer);
    let (cors, mut response) = match admitted {
        Ok(caller) => {
            let cors = caller.cors.clone();
            let shown = Shown::of(&caller, &request);
            let (let_in, response) = match pass(&app.monitor, access, caller, request).await {
                Ok((request, caller)) => (true, next(request, caller).await),
                Err(refusal) => (false, *refusal),
            };
            shown.tell(app, response.status(), let_in);
            (cors, response)
        }
        Err(problem) => (None, problem.into_response()),
    };
    let headers = response.headers_mut();
    if access.is_ingest() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = cors {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("location, retry-after"));
        }
    } else {
        // No other site's page may take it in, not even as a picture or a script.
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    }
    response
}

/// A secret that came with a request, for the server's log where it is refused.
struct Shown(Option<(IpAddr, Method, Option<MatchedPath>)>);

impl Shown {
    fn of(caller: &Caller, request: &Request) -> Self {
        let shown = caller.session_token.is_some() || caller.identity.is_some();
        let path = || request.extensions().get::<MatchedPath>().cloned();
        Self(shown.then(|| (caller.from, request.method().clone(), path())))
    }

    fn tell(self, app: &App, status: StatusCode, let_in: bool) {
        // A handshake is refused by a close code, after it is completed.
        let refused = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
            StatusCode::SWITCHING_PROTOCOLS => !let_in,
            _ => false,
        };
        if let Some((from, method, path)) = self.0.filter(|_| refused) {
            let path = path.as_ref().map_or(HEARTBEAT, MatchedPath::as_str);
            app.gate.tokens.refused(from, &format!("{method} {path}"));
        }
    }
}

/// The request and who asks, once they may and all is there that they ask for.
async fn pass(
    monitor: &Monitor,
    access: Access,
    caller: Caller,
    request: Request,
) -> Result<(Request, Caller), Box<Response>> {
    match gate::authorize(access, caller) {
        Ok(caller) => {
            // After a start with a large store only heartbeats are answered before all of it
            // is there: they look for their one session themselves.
            let waits = !matches!(access, Access::Page | Access::Script | Access::Health)
                && !request.uri().path().ends_with("/heartbeat");
            if waits && let Err(error) = monitor.restored().await {
                return Err(Box::new(Problem::from(error).into_response()));
            }
            Ok((request, caller))
        }
        // A page learns nothing of a refused handshake, so a socket is refused by a close
        // code, which it can read.
        Err(problem) if crate::ws::is_handshake(request.headers()) => {
            Err(Box::new(crate::ws::refuse(request, problem).await))
        }
        Err(problem) => Err(Box::new(problem.into_response())),
    }
}

async fn preflight(allowed: HeaderValue) -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, allowed),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type, authorization")),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
        // A page from the network that is allowed may reach us on this machine.
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
