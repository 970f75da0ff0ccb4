//! The two WebSockets: one for dashboards, one for the clients of sessions.

pub mod client;
pub mod dashboard;
pub mod protocol;
pub mod socket;

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::edge::gate::SUBPROTOCOL;
use crate::edge::problem::Problem;
use protocol::CloseCode;

/// Whether a request asks for a WebSocket.
#[must_use]
pub fn is_handshake(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Sets the limits of both sockets; frames may have `largest` bytes. The library allocates the read
/// buffer at once and keeps it, so it is small; without a limit the write buffer is unbounded.
pub fn limited(upgrade: WebSocketUpgrade, largest: usize) -> WebSocketUpgrade {
    upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(largest)
        .max_frame_size(largest)
        .read_buffer_size(1_024)
        .write_buffer_size(0)
        .max_write_buffer_size(1_024 * 1_024)
}

/// Extracts the handshake of a WebSocket; refuses any other request with a [`Problem`].
pub(crate) struct Upgrade(WebSocketUpgrade);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
        upgrade.map(Self).map_err(|rejection| {
            Problem::new(rejection.status(), format!("this path is a WebSocket: {}", rejection.body_text()))
        })
    }
}

/// Refuses a WebSocket: completes the handshake and closes the socket with the code of the refusal,
/// since a page can read a close code but not why a handshake failed.
pub async fn refuse(request: Request, problem: Problem) -> Response {
    let code = if problem.status() == StatusCode::FORBIDDEN { CloseCode::Forbidden } else { CloseCode::Unauthorized };
    match WebSocketUpgrade::from_request(request, &()).await {
        Ok(upgrade) => {
            let detail = problem.detail().to_owned();
            limited(upgrade, protocol::FRAME_MAX).on_upgrade(async move |socket: WebSocket| {
                socket::close(socket, code, &detail).await;
            })
        }
        Err(_) => problem.into_response(),
    }
}
