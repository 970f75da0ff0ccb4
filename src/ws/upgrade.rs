//! The handshake of both sockets. axum checks the request; the connection is taken over here, since
//! axum's own socket does not give access to it.

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::socket::Socket;
use super::stream::Stream;
use crate::edge::gate::offered;
use crate::edge::problem::Problem;
use crate::feed::Form;

/// Whether a request asks for a WebSocket.
#[must_use]
pub fn is_handshake(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The handshake of a WebSocket; as an extractor it refuses any other request with a [`Problem`].
pub struct Upgrade {
    accept: HeaderValue,
    /// The subprotocols that the client offers, the one that it likes best first.
    offered: Vec<String>,
    chosen: Option<&'static str>,
    on_upgrade: OnUpgrade,
    largest: usize,
    dashboard: Option<Form>,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let on_upgrade = parts.extensions.get::<OnUpgrade>().cloned();
        let checked = WebSocketUpgrade::from_request_parts(parts, state).await;
        let _checked = checked.map_err(|rejection| {
            Problem::new(rejection.status(), format!("this path is a WebSocket: {}", rejection.body_text()))
        })?;
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let accept = key.and_then(|key| HeaderValue::try_from(key).ok());
        let (Some(on_upgrade), Some(accept)) = (on_upgrade, accept) else {
            return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "this path is a WebSocket".to_owned()));
        };
        let offered = offered(&parts.headers).map(str::to_owned).collect();
        Ok(Self { accept, offered, chosen: None, on_upgrade, largest: super::protocol::FRAME_MAX, dashboard: None })
    }
}

impl Upgrade {
    /// The handshake of a request; `None` where it is none.
    pub async fn of(request: Request) -> Option<Self> {
        Self::from_request_parts(&mut request.into_parts().0, &()).await.ok()
    }

    /// Chooses the first subprotocol that the client offers and that is one of these.
    #[must_use]
    pub fn protocols(mut self, known: &[&'static str]) -> Self {
        self.chosen = self.offered.iter().find_map(|offered| known.iter().find(|known| *offered == **known)).copied();
        self
    }

    /// The subprotocol that is spoken.
    #[must_use]
    pub fn chosen(&self) -> Option<&'static str> {
        self.chosen
    }

    /// Lets frames have this many bytes, instead of [`super::protocol::FRAME_MAX`].
    #[must_use]
    pub fn largest(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }

    /// Makes the connection that of a dashboard, with a lane for frames in this form.
    #[must_use]
    pub(super) fn dashboard(mut self, form: Form) -> Self {
        self.dashboard = Some(form);
        self
    }

    /// Answers the handshake, and serves the socket in a task of its own.
    pub fn serve<F: Future<Output = ()> + Send + 'static>(
        self,
        serve: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> Response {
        let Self { accept, chosen, on_upgrade, largest, dashboard, .. } = self;
        tokio::spawn(async move {
            let Ok(upgraded) = on_upgrade.await else { return };
            let (mut stream, sent) = Stream::of(upgraded);
            if let Some(form) = dashboard {
                stream = stream.into_lane(form);
            }
            let socket = WebSocketStream::from_partially_read(stream, sent, Role::Server, Some(limits(largest))).await;
            // Another task, so that this one does not keep its memory as long as the socket is open.
            tokio::spawn(serve(socket));
        });
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(chosen) = chosen {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen));
        }
        response
    }
}

/// The limits of both sockets. The library allocates the read buffer at once and keeps it, so it is
/// small; without a limit the write buffer is unbounded.
fn limits(largest: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest))
        .read_buffer_size(512)
        .write_buffer_size(0)
        .max_write_buffer_size((1_024 * 1_024).max(2 * largest))
}
