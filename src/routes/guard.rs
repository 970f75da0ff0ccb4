//! The gate in front of each route, and what the gate adds to each answer.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::table::HEARTBEAT;
use crate::edge::gate::{Access, Caller, authorize};
use crate::edge::problem::Problem;
use crate::edge::{App, Peer, Shared};
use crate::monitor::Monitor;
use crate::ws;

/// The middleware of one route: the gate, with the class of the route.
pub(super) async fn pass_gate(
    State((app, access)): State<(Shared, Access)>,
    Peer(peer): Peer,
    request: Request,
    next: Next,
) -> Response {
    let run = |mut request: Request, caller: Caller| {
        request.extensions_mut().insert(caller);
        next.run(request)
    };
    through_gate(&app, access, peer, request, run).await
}

/// Passes a request that the gate admits to `next`; otherwise answers with the refusal.
pub(super) async fn through_gate<F>(
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
        // No page of another site may embed it, not even as a picture or a script.
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    }
    response
}

/// A secret that came with the request: if the request is refused, the server's log has a line.
struct Shown(Option<(IpAddr, Method, Option<MatchedPath>)>);

impl Shown {
    fn of(caller: &Caller, request: &Request) -> Self {
        let shown = caller.session_token.is_some() || caller.identity.is_some();
        let path = || request.extensions().get::<MatchedPath>().cloned();
        Self(shown.then(|| (caller.from, request.method().clone(), path())))
    }

    fn tell(self, app: &App, status: StatusCode, let_in: bool) {
        // A WebSocket handshake is completed first and refused by a close code.
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

/// Returns the request and its caller once the caller is authorized and the sessions that the
/// route reads are restored.
async fn pass(
    monitor: &Monitor,
    access: Access,
    caller: Caller,
    request: Request,
) -> Result<(Request, Caller), Box<Response>> {
    match authorize(access, caller) {
        Ok(caller) => {
            // While a large store is being restored after a start, only heartbeats are answered:
            // they read their one session from the store.
            let waits = !matches!(access, Access::Page | Access::Script | Access::Preflight | Access::Health)
                && !request.uri().path().ends_with("/heartbeat");
            if waits && let Err(error) = monitor.restored().await {
                return Err(Box::new(Problem::from(error).into_response()));
            }
            Ok((request, caller))
        }
        // A page cannot see why a handshake was refused, but it can read a close code.
        Err(problem) if ws::is_handshake(request.headers()) => Err(Box::new(ws::refuse(request, problem).await)),
        Err(problem) => Err(Box::new(problem.into_response())),
    }
}
