//! The two sockets: dashboards watch on one, sessions live on the other.

pub mod client;
pub mod dashboard;
pub mod protocol;
mod socket;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dashmap::DashMap;

use crate::http::error::Problem;
use crate::http::gate::SUBPROTOCOL;
use protocol::CloseCode;

/// Sockets that one address may have open; this machine's own may have any number.
const PER_ADDRESS: usize = 256;

/// How many sockets each address has open.
#[derive(Default)]
pub struct PerAddress {
    open: Arc<DashMap<IpAddr, usize>>,
}

/// One place of an address; given back when dropped.
pub struct Place(Option<(Arc<DashMap<IpAddr, usize>>, IpAddr)>);

impl PerAddress {
    /// A place for one more socket.
    ///
    /// # Errors
    /// 503 when the address has too many open.
    pub fn take(&self, address: IpAddr) -> Result<Place, Problem> {
        if address.is_loopback() {
            return Ok(Place(None));
        }
        let mut open = self.open.entry(address).or_default();
        if *open >= PER_ADDRESS {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{PER_ADDRESS} sockets are open from this address; close some first"),
            )
            .with_header(header::RETRY_AFTER, header::HeaderValue::from_static("10")));
        }
        *open += 1;
        Ok(Place(Some((self.open.clone(), address))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((open, address)) = &self.0 {
            open.remove_if_mut(address, |_, count| {
                *count = count.saturating_sub(1);
                *count == 0
            });
        }
    }
}

/// Whether a request asks for a WebSocket.
#[must_use]
pub fn is_handshake(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Limits for both sockets. The library allocates its read buffer at once and for
/// good, hence small ones; and it bounds its write buffer only when told to.
fn limited(upgrade: WebSocketUpgrade, read_buffer: usize) -> WebSocketUpgrade {
    upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(protocol::FRAME_MAX)
        .max_frame_size(protocol::FRAME_MAX)
        .read_buffer_size(read_buffer)
        .write_buffer_size(0)
        .max_write_buffer_size(1_024 * 1_024)
}

fn upgraded(upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>) -> Result<WebSocketUpgrade, Problem> {
    upgrade.map_err(|rejection| {
        Problem::new(rejection.status(), format!("this path is a WebSocket: {}", rejection.body_text()))
    })
}

/// Completes a handshake only to close it with the code for this refusal.
pub async fn refuse(request: Request, problem: Problem) -> Response {
    let code = if problem.status() == StatusCode::FORBIDDEN { CloseCode::Forbidden } else { CloseCode::Unauthorized };
    match WebSocketUpgrade::from_request(request, &()).await {
        Ok(upgrade) => {
            let detail = problem.detail().to_owned();
            limited(upgrade, 1_024).on_upgrade(async move |socket: WebSocket| {
                socket::close(socket, code, &detail).await;
            })
        }
        Err(_) => problem.into_response(),
    }
}
