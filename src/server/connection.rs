//! Connections: accepted within the limits, with or without TLS, and served until they end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use http::StatusCode;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use super::tls::Tls;
use crate::edge::gate::Gate;
use crate::heads::{HEAD_WITHIN, Heads, IDLE_WITHIN, Turns};
use crate::monitor::{Ending, ended};
use crate::per_address::{AddressPlace, PerAddress};
use crate::places::{Placed, Places};
use crate::routes::Front;

/// Largest head of a request, in bytes; the limit of hyper's buffer.
const HEAD_MAX: usize = 16 * 1_024;
/// The kernel's send buffer of one connection, in bytes; a dashboard that does not read is noticed
/// when it is full.
const SEND_BUFFER: u32 = 256 * 1_024;

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(1_024)
}

pub(super) async fn accept(listener: &TcpListener, places: &Places) -> io::Result<(Placed, SocketAddr)> {
    let place = places.take().await;
    let (stream, peer) = listener.accept().await?;
    let _ = stream.set_nodelay(true);
    Ok((Placed::new(stream, place), peer))
}

/// A place for a connection; `None` if the address has as many as it may, and the connection is
/// closed at once. The connections of a trusted proxy are not counted: they are of many clients.
pub(super) fn place_of(by_address: &PerAddress, gate: &Gate, peer: SocketAddr) -> Option<AddressPlace> {
    let address = peer.ip().to_canonical();
    if gate.proxies.trust(address) {
        return Some(AddressPlace::default());
    }
    by_address.take(address)
}

/// Waits a little after a failed accept: without free descriptors every accept fails at once, and
/// the loop would spin.
pub(super) async fn pause_after(error: &io::Error) {
    let of_this_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !of_this_connection {
        tracing::warn!(%error, "cannot accept connections for the moment");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn connection(
    stream: Placed,
    peer: SocketAddr,
    place: AddressPlace,
    tls: Option<Arc<Tls>>,
    front: Front,
    ending: watch::Receiver<Ending>,
) {
    match tls {
        None => serve(stream, peer, place, front, ending).await,
        // Boxed: the TLS future is three times as large, and plain connections would keep memory
        // for it.
        Some(tls) => {
            Box::pin(async move {
                if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_WITHIN, tls.acceptor().accept(stream)).await {
                    serve(stream, peer, place, front, ending).await;
                }
            })
            .await;
        }
    }
}

/// Serves one connection until it ends; when `ending` becomes true, it finishes the running request
/// only. A connection that becomes a WebSocket frees its place: sockets have their own.
pub async fn serve<S>(
    stream: S,
    peer: SocketAddr,
    place: AddressPlace,
    front: Front,
    mut ending: watch::Receiver<Ending>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let front = Arc::new(front);
    let place = Arc::new(Mutex::new(Some(place)));
    let turns = Turns::default();
    let stream = Heads::new(stream, turns.clone());
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        turns.asked();
        let (front, turns, place) = (front.clone(), turns.clone(), place.clone());
        let request: Request = request.map(axum::body::Body::new);
        async move {
            let response = front.answer(request, peer).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                place.lock().take();
            } else {
                turns.answered();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    // hyper's time limit for a head starts at the last answer, so it limits how long a connection
    // may be idle. `Heads` limits the time of the head itself.
    http.timer(TokioTimer::new()).header_read_timeout(IDLE_WITHIN).max_buf_size(HEAD_MAX).keep_alive(true);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = ended(&mut ending) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
