//! Raw bytes of HTTP and WebSocket frames, without a library that would refuse to send invalid
//! ones; and the server's answer to each invalid frame.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::requests::resident_kib;
use crate::support::{PATIENCE, Server, until};

/// A raw connection.
pub struct Raw {
    pub stream: TcpStream,
    rest: Vec<u8>,
}

impl Raw {
    pub async fn connect(server: &Server) -> Self {
        Self::on(TcpStream::connect(("127.0.0.1", server.port)).await.expect("a connection"))
    }

    /// Wraps an open connection.
    pub fn on(stream: TcpStream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Opens a connection with a very small receive buffer.
    pub async fn connect_narrow(server: &Server) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("it may be small");
        let address = format!("127.0.0.1:{}", server.port).parse().expect("an address");
        Self { stream: socket.connect(address).await.expect("a connection"), rest: Vec::new() }
    }

    /// Opens a WebSocket; returns the status and the head of the answer.
    pub async fn upgrade(&mut self, server: &Server, path: &str, headers: &str) -> (u16, String) {
        self.upgrade_in("sessionwatch.v1", server, path, headers).await
    }

    /// The same with this subprotocol.
    pub async fn upgrade_in(&mut self, form: &str, server: &Server, path: &str, headers: &str) -> (u16, String) {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {form}\r\n{headers}\r\n",
            server.port
        );
        self.stream.write_all(head.as_bytes()).await.expect("it goes out");
        self.head().await
    }

    /// Writes; returns whether the peer still accepts bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// The head of an answer.
    pub async fn head(&mut self) -> (u16, String) {
        loop {
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.rest.drain(..end + 4).collect();
                let head = String::from_utf8_lossy(&head).into_owned();
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                return (status.expect("a status"), head);
            }
            assert!(self.read().await, "the connection ended within the head: {:?}", self.rest);
        }
    }

    /// Reads some bytes; false at the end.
    pub async fn read(&mut self) -> bool {
        let mut buffer = vec![0_u8; 16_384];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("in time");
        match read {
            Ok(count) if count > 0 => {
                self.rest.extend_from_slice(&buffer[..count]);
                true
            }
            _ => false,
        }
    }

    /// Reads until the end, as text.
    pub async fn rest(mut self) -> String {
        while self.read().await {}
        String::from_utf8_lossy(&self.rest).into_owned()
    }

    /// The code of the close frame; skips other frames. `None` when the connection ends
    /// without one.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            while let Some((opcode, payload)) = self.take_frame() {
                if opcode == 8 {
                    return Some(u16::from_be_bytes([payload[0], payload[1]]));
                }
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// The next text frame; `None` at the end.
    pub async fn text(&mut self) -> Option<String> {
        loop {
            match self.take_frame() {
                Some((opcode, payload)) if opcode == TEXT => return String::from_utf8(payload).ok(),
                Some((CLOSE, _)) => return None,
                Some(_) => {}
                None if self.read().await => {}
                None => return None,
            }
        }
    }

    /// The next frame of the server, if it is complete.
    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let bytes = &self.rest;
        let (length, at) = match *bytes.get(1)? {
            126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
            length => (usize::from(length), 2),
        };
        let payload = bytes.get(at..at + length)?.to_vec();
        let opcode = bytes[0] & 15;
        self.rest.drain(..at + length);
        Some((opcode, payload))
    }
}

pub const FIN: u8 = 0x80;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;

/// A client's frame, masked with zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = claim(first, payload.len() as u64, true);
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of a frame that claims this length.
pub fn claim(first: u8, length: u64, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(mask | length as u8),
        126..=0xffff => {
            bytes.push(mask | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    if masked {
        bytes.extend_from_slice(&[0; 4]);
    }
    bytes
}

/// Invalid frames, each with the close code of the server.
fn broken() -> Vec<(&'static str, Vec<u8>, u16)> {
    let fragments = (0..20).fold(frame(TEXT, &[b'x'; 1_024]), |mut all, _| {
        all.extend(frame(0, &[b'x'; 1_024]));
        all
    });
    let mut unmasked = claim(FIN | TEXT, 2, false);
    unmasked.extend_from_slice(b"{}");
    vec![
        ("a frame over 16 KiB", frame(FIN | TEXT, &[b'x'; 16 * 1_024 + 1]), 1009),
        ("a frame that claims 2^63 bytes", claim(FIN | TEXT, 1 << 63, true), 1009),
        ("a frame that claims 2^63 - 1 bytes", claim(FIN | TEXT, (1 << 63) - 1, true), 1009),
        ("fragments without end", fragments, 1009),
        ("text that is no UTF-8", frame(FIN | TEXT, b"{\"type\":\"\xff\xfe\"}"), 1007),
        ("an encoded surrogate", frame(FIN | TEXT, b"\xed\xa0\x80"), 1007),
        ("a binary frame", frame(FIN | BINARY, b"{}"), 1003),
        ("an unmasked frame", unmasked, 1002),
        ("RSV1", frame(FIN | 0x40 | TEXT, b"{}"), 1002),
        ("RSV2", frame(FIN | 0x20 | TEXT, b"{}"), 1002),
        ("RSV3", frame(FIN | 0x10 | TEXT, b"{}"), 1002),
        ("a reserved opcode", frame(FIN | 3, b"{}"), 1002),
        ("a reserved control opcode", frame(FIN | 11, b""), 1002),
        ("a continuation of nothing", frame(FIN, b"{}"), 1002),
        ("a text within a fragmented text", [frame(TEXT, b"{"), frame(FIN | TEXT, b"}")].concat(), 1002),
        ("a fragmented ping", frame(PING, b"x"), 1002),
        ("a ping of 126 bytes", frame(FIN | PING, &[b'x'; 126]), 1002),
        ("a close frame of one byte", frame(FIN | CLOSE, b"x"), 1002),
    ]
}

#[tokio::test]
async fn every_invalid_frame_gets_its_close_code_on_both_sockets() {
    let server = Server::start(&[]).await;
    for path in ["/ws", "/ws/client"] {
        for (what, bytes, code) in broken() {
            let mut raw = Raw::connect(&server).await;
            assert_eq!(raw.upgrade(&server, path, "").await.0, 101);
            raw.write(&bytes).await;
            assert_eq!(raw.close_code().await, Some(code), "{what} on {path}");
        }
    }
    assert!(server.get("/sessions").await.is_object(), "and nobody else has noticed");
}

#[tokio::test]
async fn a_valid_frame_with_wrong_content_is_answered_and_the_socket_stays() {
    let server = Server::start(&[]).await;
    let deep = format!(r#"{{"type":"register","app_name":"a","meta":{}1"#, "[".repeat(10_000));
    let lone = r#"{"type":"register","app_name":"\ud800"}"#;
    let wrong = ["", "null", "NaN", r#"{"type":"register","heartbeat_interval":NaN}"#, lone, &deep, r#"{"type":5}"#];
    let mut socket = server.socket("/ws/client", &[]).await;
    for text in wrong {
        socket.0.send(Message::text(text)).await.expect("the frame goes out");
        let error = socket.next().await;
        assert_eq!((&error["type"], &error["status"]), (&"error".into(), &422.into()), "{text:.60}");
    }
    socket.send(serde_json::json!({ "type": "register", "app_name": "a" })).await;
    assert_eq!(socket.next().await["type"], "registered");
}

#[tokio::test]
async fn who_says_nothing_sensible_in_time_is_sent_away_with_4408() {
    let server = Server::start(&["--heartbeat-interval", "500ms", "--stale-after", "4s", "--expire-after", "9s"]).await;
    let mut early = Raw::connect(&server).await;
    early.upgrade(&server, "/ws/client", "").await;
    early.write(&frame(FIN | TEXT, br#"{"type":"heartbeat"}"#)).await;
    assert_eq!(early.close_code().await, Some(4408), "a first frame other than register");

    let mut silent = Raw::connect(&server).await;
    silent.upgrade(&server, "/ws/client", "").await;
    assert_eq!(silent.close_code().await, Some(4408), "silence");

    // Empty fragments never become a message that is too large, and are not a sign of life.
    let mut endless = Raw::connect(&server).await;
    endless.upgrade(&server, "/ws/client", "").await;
    endless.write(&frame(TEXT, b"")).await;
    let nothing: Vec<u8> = (0..100).flat_map(|_| frame(0, b"")).collect();
    let (mut reader, mut writer) = endless.stream.into_split();
    let flood = tokio::spawn(async move { while writer.write_all(&nothing).await.is_ok() {} });
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer)).await.expect("it ends in time");
    assert!(answer.windows(2).any(|code| code == 4408_u16.to_be_bytes()), "{} bytes", answer.len());
    flood.await.expect("the flood ends with the connection");
}

#[tokio::test]
async fn a_ping_flood_without_reading_is_cut_off_and_costs_little() {
    let server = Server::start(&["--heartbeat-interval", "500ms", "--stale-after", "4s", "--expire-after", "9s"]).await;
    let before = resident_kib(&server);
    let mut flooders = Vec::new();
    for path in ["/ws", "/ws/client"] {
        let mut raw = Raw::connect_narrow(&server).await;
        raw.upgrade(&server, path, "").await;
        if path == "/ws/client" {
            raw.write(&frame(FIN | TEXT, br#"{"type":"register","app_name":"flood"}"#)).await;
        }
        flooders.push(tokio::spawn(async move {
            let pings: Vec<u8> = (0..64).flat_map(|_| frame(FIN | PING, &[b'x'; 125])).collect();
            while raw.stream.write_all(&pings).await.is_ok() {}
        }));
    }
    // Meanwhile other clients are served.
    let mut other = server.socket("/ws/client", &[]).await;
    other.send(serde_json::json!({ "type": "register", "app_name": "other" })).await;
    assert_eq!(other.next().await["type"], "registered");
    for flooder in flooders {
        tokio::time::timeout(Duration::from_secs(40), flooder).await.expect("it is cut off").expect("it ends");
    }
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 8 * 1_024, "the server has grown by {grown} KiB");
}

#[tokio::test]
async fn a_client_that_floods_its_socket_is_killed_all_the_same() {
    let server = Server::start(&["--kill-grace", "500ms"]).await;
    let mut raw = Raw::connect(&server).await;
    raw.upgrade(&server, "/ws/client", "").await;
    raw.write(&frame(FIN | TEXT, br#"{"type":"register","app_name":"a","session_id":"flooder"}"#)).await;
    // Frames that are cheap to send and expensive to read, so that there is always another one.
    let beat = format!(r#"{{"type":"heartbeat","unknown":"{}"}}"#, r"\u0061".repeat(2_700));
    let beats: Vec<u8> = (0..64).flat_map(|_| frame(FIN | TEXT, beat.as_bytes())).collect();
    let (mut reader, mut writer) = raw.stream.into_split();
    let flood = tokio::spawn(async move { while writer.write_all(&beats).await.is_ok() {} });
    until("it has registered", || async { server.ask(Method::GET, "/sessions/flooder", None).await.0 == 200 }).await;
    let killed = Instant::now();
    server.ask(Method::POST, "/sessions/flooder/kill", None).await;
    until("it is removed", || async { server.ask(Method::GET, "/sessions/flooder", None).await.0 == 410 }).await;
    assert!(killed.elapsed() < Duration::from_secs(10), "it took {:?}", killed.elapsed());
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer)).await.expect("the socket ends");
    assert!(answer.windows(2).any(|code| code == 1001_u16.to_be_bytes()), "with its code");
    flood.await.expect("the flood ends with the connection");
}
