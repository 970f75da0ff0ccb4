//! The bare servers that sessionwatch is compared with: they only move bytes, with the same
//! settings. Each runs in a process of its own, as this program in another role.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::header;
use axum::routing::{get, post};
use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use sessionwatch::ws::Upgrade;
use sessionwatch::ws::socket::{Socket, answer_close, close, code_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Sent;
use tower::ServiceExt;

use crate::socket::from_server;

/// Serves in a role until the process is killed.
pub async fn serve(role: &str, args: &[String]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("listening on http://{}", listener.local_addr().expect("its address"));
    match role {
        "http" => http(listener, bare()).await,
        "echo" => http(listener, echo()).await,
        "writer" => writer(listener, args[0].parse().expect("bytes"), 0).await,
        "broadcast" => broadcast(listener).await,
        "busy" => busy(),
        "snapshots" => writer(listener, args[0].parse().expect("bytes"), args[1].parse().expect("frames")).await,
        _ => panic!("no role {role:?}"),
    }
}

/// A handler with a static reply, and a WebSocket echo.
fn bare() -> Router {
    let reply = || async { ([(header::CONTENT_TYPE, "application/json")], r#"{"kill_requested":false}"#) };
    let echo = |upgrade: WebSocketUpgrade| async move {
        upgrade.read_buffer_size(1_024).write_buffer_size(0).on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if matches!(message, Message::Text(_)) && socket.send(message).await.is_err() {
                    return;
                }
            }
        })
    };
    Router::new().route("/sessions/{id}/heartbeat", post(reply)).route("/echo", get(echo))
}

/// Largest message among Autobahn's cases, in bytes.
const LARGEST: usize = 16 * 1_024 * 1_024;

/// A WebSocket echo with the server's own settings and closing handshake, but for frames of
/// any size and kind. `script/autobahn` tests it.
fn echo() -> Router {
    let echo = |upgrade: Upgrade| async move { upgrade.largest(LARGEST).serve(say_back) };
    Router::new().route("/", get(echo))
}

async fn say_back(mut socket: Socket) {
    let error = loop {
        match socket.next().await {
            None | Some(Ok(Sent::Close(_))) => return answer_close(socket).await,
            Some(Ok(message @ (Sent::Text(_) | Sent::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
        }
    };
    if let Some(code) = code_of(&error) {
        close(socket, code, "the frame was refused").await;
    }
}

/// Serves a router with the hyper settings of `src/server.rs`.
async fn http(listener: TcpListener, router: Router) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                let request: Request = request.map(axum::body::Body::new);
                let answer = router.clone().oneshot(request);
                async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10)).max_buf_size(16 * 1_024);
            let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

/// With `count` 0 sends one prepared frame of this many bytes to every socket, again and
/// again. Otherwise sends `count` shared frames to each socket, after a copy of each: the
/// least that a shared snapshot can cost. The frames are separate in memory, like the parts
/// of a snapshot, so that they do not all stay in the CPU's cache.
async fn writer(listener: TcpListener, bytes: usize, count: usize) {
    let frames: Arc<Vec<Vec<u8>>> = Arc::new((0..count.max(1)).map(|_| from_server(&vec![b'x'; bytes])).collect());
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let frames = frames.clone();
        tokio::spawn(async move {
            if handshake(&mut stream).await.is_none() {
                return;
            }
            for (sent, frame) in frames.iter().cycle().enumerate() {
                if count > 0 && sent == count {
                    break;
                }
                let written = if count > 0 {
                    let copy = std::hint::black_box(frame.clone());
                    stream.write_all(&copy).await
                } else {
                    stream.write_all(frame).await
                };
                if written.is_err() {
                    return;
                }
            }
            // It stays open until the client closes it.
            let _ = stream.read_u8().await;
        });
    }
}

/// A message posted to `/pub` goes to every socket on `/sub`: framed once, then one plain write
/// after another. The least that a delivery can cost here.
async fn broadcast(listener: TcpListener) {
    let sockets: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let sockets = sockets.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let mut head = [0; 4];
            if stream.peek(&mut head).await.is_ok() && head.starts_with(b"GET") {
                if handshake(&mut stream).await.is_some() {
                    sockets.lock().push(stream);
                }
                return;
            }
            while let Some(message) = posted(&mut stream).await {
                let frame = from_server(&message);
                sockets.lock().retain(|socket| match socket.try_write(&frame) {
                    Ok(written) => written == frame.len(),
                    Err(_) => false,
                });
                let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await;
            }
        });
    }
}

/// The body of the next request; `None` at the end of the connection.
async fn posted(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
        let length = head.split("content-length:").nth(1)?.lines().next()?.trim().parse::<usize>().ok()?;
        if request.len() >= end + 4 + length {
            return Some(request[end + 4..end + 4 + length].to_vec());
        }
    }
}

/// Keeps one core busy.
fn busy() {
    loop {
        std::hint::spin_loop();
    }
}

async fn handshake(stream: &mut TcpStream) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let mut request = Vec::new();
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    // The load generator does not check the key.
    let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.ok()
}
