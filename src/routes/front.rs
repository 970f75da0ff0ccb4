//! What every request passes before its route: the check of its Host, the base path; and the
//! headers of every answer.
//!
//! Heartbeats do not go through axum's router but straight to their handler, behind the same
//! gate. They are by far most of the requests, and matching a route costs more than everything
//! else that a heartbeat does. No library offers a router with such a fast path, so it is kept
//! here by hand; the class of the route still comes from the route table.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
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

/// The HTTP service: answers requests.
#[derive(Clone)]
pub struct Front {
    app: Shared,
    router: Router,
    /// The base path behind a proxy; empty at the root.
    base: Arc<str>,
    /// The class of the heartbeat's route, from the route table.
    heartbeat: Option<Access>,
    /// Whether each answer is a line in the log.
    logged: bool,
}

impl Front {
    /// The service with all routes, under the path `base`.
    #[must_use]
    pub fn new(app: &Shared, base: &str) -> Self {
        let heartbeat = table().into_iter().find(|route| route.path == HEARTBEAT).map(|route| route.access);
        Self { app: app.clone(), router: router(app), base: base.into(), heartbeat, logged: false }
    }

    /// The same, with a line in the log for each answer, if `logged`.
    #[must_use]
    pub fn logged(self, logged: bool) -> Self {
        Self { logged, ..self }
    }

    /// Answers a request that came from `peer`.
    pub async fn answer(&self, request: Request, peer: SocketAddr) -> Response {
        let line = self.logged.then(|| Line::of(&self.app, &request, peer));
        let headers = request.headers();
        // hyper uses Transfer-Encoding and ignores a Content-Length beside it. A proxy may have
        // used the other one; then an attacker wrote the bytes that follow, so they are not read.
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
        if let Some(line) = line {
            line.write(response.status());
        }
        response
    }

    async fn route(&self, mut request: Request, peer: SocketAddr) -> Response {
        // The fast path of heartbeats; see the head of this file.
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

/// A line of the access log. It has the path without the query, which may have a secret.
struct Line {
    from: IpAddr,
    method: Method,
    path: String,
    begun: Instant,
}

impl Line {
    fn of(app: &Shared, request: &Request, peer: SocketAddr) -> Self {
        let from = app.gate.proxies.client(request.headers(), peer.ip().to_canonical());
        let path = request.uri().path().to_owned();
        Self { from, method: request.method().clone(), path, begun: Instant::now() }
    }

    fn write(self, status: StatusCode) {
        let Self { from, method, path, begun } = self;
        let took_us = begun.elapsed().as_micros();
        tracing::info!(target: "sessionwatch::access", %from, %method, path, status = status.as_u16(), took_us, "answered");
    }
}

/// Whether this is a health check, which may come with any Host.
fn is_health(base: &str, path: &str) -> bool {
    matches!(path.strip_prefix(base).unwrap_or(path), "/healthz" | "/readyz")
}

/// The session of a heartbeat. `None` for all other requests, and for an id that is escaped or not
/// valid: the router handles those.
fn heartbeat_of(request: &Request) -> Option<SessionId> {
    let path = request.uri().path();
    if *request.method() != Method::POST {
        return None;
    }
    SessionId::parse(path.strip_prefix("/sessions/")?.strip_suffix("/heartbeat")?)
}
