//! What every request passes, whatever its path: the Host that it names, the base path,
//! its route; and what holds for every answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

use super::base::{enter, leave};
use super::guard::through_gate;
use super::router::router;
use super::table::{HEARTBEAT, table};
use crate::edge::gate::{Access, Caller};
use crate::edge::input::ReportBody;
use crate::edge::problem::Answer;
use crate::edge::{Base, Peer, Shared};
use crate::http::body::Maybe;
use crate::http::sessions::beat;
use crate::session::SessionId;

/// The server as a function from requests to answers.
#[derive(Clone)]
pub struct Front {
    app: Shared,
    router: Router,
    /// Where the server stands behind a proxy; empty at the root.
    base: Arc<str>,
    /// Who may send heartbeats, as the route table says.
    heartbeat: Option<Access>,
}

impl Front {
    /// Every route there is, under the path `base`.
    #[must_use]
    pub fn new(app: &Shared, base: &str) -> Self {
        let heartbeat = table().into_iter().find(|route| route.path == HEARTBEAT).map(|route| route.access);
        Self { app: app.clone(), router: router(app), base: base.into(), heartbeat }
    }

    /// Answers a request that came from `peer`.
    pub async fn answer(&self, request: Request, peer: SocketAddr) -> Response {
        let headers = request.headers();
        // hyper reads by Transfer-Encoding alone and hides a Content-Length beside it. Where
        // a proxy went by the other one, what follows is an attacker's: it is never read.
        let ambiguous = headers.contains_key(header::TRANSFER_ENCODING);
        let host = match is_health(&self.base, request.uri().path()) {
            true => Ok(""),
            false => self.app.gate.check_host(request.uri(), headers),
        };
        let mut response = match host {
            Ok(_) => match enter(&self.base, request) {
                Ok(request) => leave(&self.base, self.route(request, peer).await),
                Err(redirect) => *redirect,
            },
            Err(problem) => problem.into_response(),
        };
        let headers = response.headers_mut();
        if ambiguous {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }

    async fn route(&self, mut request: Request, peer: SocketAddr) -> Response {
        // Heartbeats are most of what comes. They pass the same gate as everything, but are
        // not looked up among the routes, which would cost more than all that they do.
        if let (Some(access), Some(id)) = (self.heartbeat, heartbeat_of(&request)) {
            let next = |request, caller| async move { self.heartbeat(id, request, caller).await.into_response() };
            return through_gate(&self.app, access, peer, request, next).await;
        }
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(Base(self.base.clone()));
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn heartbeat(&self, id: SessionId, request: Request, caller: Caller) -> Answer {
        let Maybe(body) = Maybe::<ReportBody>::from_request(request, &()).await?;
        beat(&self.app, &caller, id.as_str(), body).await
    }
}

/// Whether this asks how the server is, which it may by any name.
fn is_health(base: &str, path: &str) -> bool {
    matches!(path.strip_prefix(base).unwrap_or(path), "/healthz" | "/readyz")
}

/// Whose heartbeat this is. One with an escaped id, or with one that is none, is left to
/// the router.
fn heartbeat_of(request: &Request) -> Option<SessionId> {
    let path = request.uri().path();
    if *request.method() != Method::POST {
        return None;
    }
    SessionId::parse(path.strip_prefix("/sessions/")?.strip_suffix("/heartbeat")?)
}
