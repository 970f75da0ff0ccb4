//! The two WebSockets: one for dashboards, one for the clients of sessions.

pub mod client;
pub mod dashboard;
pub mod protocol;
pub mod socket;
mod stream;
mod upgrade;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::edge::gate::SUBPROTOCOL;
use crate::edge::problem::Problem;
use protocol::CloseCode;
pub use stream::Stream;
pub use upgrade::{Upgrade, is_handshake};

/// Refuses a WebSocket: completes the handshake and closes the socket with the code of the refusal,
/// since a page can read a close code but not why a handshake failed.
pub async fn refuse(request: Request, problem: Problem) -> Response {
    let code = if problem.status() == StatusCode::FORBIDDEN { CloseCode::Forbidden } else { CloseCode::Unauthorized };
    match Upgrade::of(request).await {
        Some(upgrade) => {
            let detail = problem.detail().to_owned();
            upgrade.protocols(&[SUBPROTOCOL]).serve(async move |socket| socket::close(socket, code, &detail).await)
        }
        None => problem.into_response(),
    }
}
