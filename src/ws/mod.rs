//! The two sockets: dashboards watch on one, sessions live on the other.

pub mod client;
pub mod dashboard;
pub mod protocol;
pub mod socket;

use std::net::{IpAddr, Ipv6Addr};
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
#[derive(Debug)]
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
        let address = subscriber(address);
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

/// Who an address stands for: an IPv6 subscriber has a whole /64 of them.
fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
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

/// Limits for both sockets, which take frames of at most `largest` bytes. The library
/// allocates its read buffer at once and for good, hence a small one; and it bounds its
/// write buffer only when told to.
pub fn limited(upgrade: WebSocketUpgrade, largest: usize) -> WebSocketUpgrade {
    upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(largest)
        .max_frame_size(largest)
        .read_buffer_size(1_024)
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
            limited(upgrade, protocol::FRAME_MAX).on_upgrade(async move |socket: WebSocket| {
                socket::close(socket, code, &detail).await;
            })
        }
        Err(_) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_256_places_and_gets_them_back() {
        let places = PerAddress::default();
        let take = |address: &str| places.take(address.parse().expect("an address"));
        let taken: Vec<Place> = (0..PER_ADDRESS).map(|_| take("192.0.2.7").expect("a place")).collect();
        assert_eq!(take("192.0.2.7").err().map(|problem| problem.status()), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert!(take("192.0.2.8").is_ok(), "another address has its own");
        drop(taken);
        assert!(take("192.0.2.7").is_ok());
        assert!(places.open.is_empty(), "who has none open is forgotten");
    }

    #[test]
    fn an_ipv6_subscriber_counts_as_one_and_loopback_is_not_counted() {
        let places = PerAddress::default();
        let take = |address: String| places.take(address.parse().expect("an address"));
        let taken: Vec<Place> =
            (0..PER_ADDRESS).map(|n| take(format!("2001:db8:0:1::{n:x}")).expect("a place")).collect();
        assert!(take("2001:db8:0:1:ffff::1".to_owned()).is_err());
        assert!(take("2001:db8:0:2::1".to_owned()).is_ok());
        let local: Vec<_> = (0..=PER_ADDRESS).map(|_| take("127.0.0.1".to_owned())).collect();
        assert!(local.iter().all(Result::is_ok));
        drop(taken);
    }
}
