//! A complete WebSocket connection: the handshake, then a client's text frames, one per line.
//! A line that begins with `!` is a command:
//!
//! - `!open /ws?seq=1`, as the first line: connects to this path instead of `/ws/client`;
//! - `!ask POST /sessions/s1/kill {"reason":"why"}`: another client sends this request;
//! - `!wait 130`: moves the server's clock by 130 s;
//! - `!raw 81 05 …`: sends these bytes instead of a frame.
//!
//! `$token`, `$kill` and `$message` are replaced by the last such value from the server.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{sleep, timeout};

use super::world::World;

/// Most lines in an input.
const LINES_MAX: usize = 64;
/// Time after which all tasks wait for the client's next frame.
const MOMENT: Duration = Duration::from_millis(2);
/// Longest time until the server has closed a connection that the client has dropped; none of
/// its timeouts is longer.
const LETS_GO_WITHIN: Duration = Duration::from_secs(60);

pub async fn drive(input: &[u8]) {
    let mut world = World::new("").await;
    let mut lines = input.split(|byte| *byte == b'\n').take(LINES_MAX).peekable();
    let opened = lines.next_if(|line| line.starts_with(b"!open ")).and_then(|line| line.get(6..));
    let (ours, theirs) = tokio::io::duplex(64 * 1_024);
    let ending = world.app.monitor.ending();
    let served = tokio::spawn(sessionwatch::server::serve(
        theirs,
        ([127, 0, 0, 1], 50_000).into(),
        sessionwatch::per_address::AddressPlace::default(),
        world.front.clone(),
        ending,
    ));
    let mut socket = Socket { stream: ours, read: Vec::new(), open: true, closed: false };
    socket.handshake(opened.unwrap_or(b"/ws/client")).await;
    let mut asked = Vec::new();
    for line in lines {
        if !socket.open {
            break;
        }
        match line.strip_prefix(b"!") {
            Some(order) => asked.extend(other(&world, order, &mut socket).await),
            None => socket.write(&frame(0x81, &world.filled(line))).await,
        }
        socket.listen(&mut world).await;
    }
    if socket.open {
        socket.write(&frame(0x88, &1000_u16.to_be_bytes())).await;
        socket.listen(&mut world).await;
        // Bytes that follow an incomplete `!raw` frame are a part of that frame.
        let begun = input.windows(5).any(|five| five == b"!raw ");
        assert!(begun || socket.closed, "a close is answered by a close");
    }
    drop(socket);
    timeout(LETS_GO_WITHIN, served).await.expect("the server lets go").expect("it does not panic");
    for ask in asked {
        timeout(LETS_GO_WITHIN, ask).await.expect("an answer").expect("it does not panic");
    }
    // Changes at the end of a socket are committed after it is closed.
    for _ in 0..1_000 {
        let connected = world.app.monitor.snapshot().view.sessions().any(|session| session.connected());
        if !connected {
            return world.end().await;
        }
        sleep(MOMENT).await;
    }
    panic!("a session is connected without a socket");
}

/// A command line, which is not sent as a frame.
async fn other(world: &World, order: &[u8], socket: &mut Socket) -> Option<tokio::task::JoinHandle<()>> {
    let order = String::from_utf8(world.filled(order)).ok()?;
    let (word, rest) = order.split_once(' ')?;
    match word {
        "raw" => {
            let bytes = rest.split(' ').map_while(|byte| u8::from_str_radix(byte, 16).ok());
            socket.write(&bytes.collect::<Vec<u8>>()).await;
            None
        }
        "wait" => {
            world.wait(Duration::from_secs(rest.trim().parse::<u32>().ok()?.into())).await;
            None
        }
        "ask" => {
            let mut parts = rest.splitn(3, ' ');
            let request = Request::builder()
                .method(parts.next()?)
                .uri(parts.next()?)
                .header(header::HOST, "localhost:8000")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(parts.next().unwrap_or_default().to_owned()))
                .ok()?;
            let front = world.front.clone();
            // A message waits for the client's acknowledgement.
            Some(tokio::spawn(async move {
                let answer = front.answer(request, ([127, 0, 0, 1], 50_001).into()).await;
                assert!(!answer.status().is_server_error(), "{}", answer.status());
            }))
        }
        _ => None,
    }
}

/// A masked frame; the mask of zeros changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The client's side of the connection.
struct Socket {
    stream: DuplexStream,
    /// Received bytes that are not a complete frame yet.
    read: Vec<u8>,
    /// Whether neither side has closed it.
    open: bool,
    /// Whether the server has sent its close frame.
    closed: bool,
}

impl Socket {
    async fn handshake(&mut self, path: &[u8]) {
        let mut request = b"GET ".to_vec();
        request.extend_from_slice(path);
        request.extend_from_slice(
            b" HTTP/1.1\r\nhost: localhost:8000\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        self.write(&request).await;
        self.gather().await;
        let head = self.read.windows(4).position(|four| four == b"\r\n\r\n");
        match head {
            Some(end) if self.read.starts_with(b"HTTP/1.1 101") => drop(self.read.drain(..end + 4)),
            // The handshake was refused with an HTTP response; other targets check these.
            _ => {
                self.read.clear();
                self.open = false;
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        // A closed connection takes nothing; do not wait for one that does not read.
        let _ = timeout(LETS_GO_WITHIN, self.stream.write_all(bytes)).await;
    }

    /// Reads until nothing more arrives.
    async fn gather(&mut self) {
        while let Ok(read) = timeout(MOMENT, self.stream.read_buf(&mut self.read)).await {
            if read.unwrap_or(0) == 0 {
                self.open = false;
                return;
            }
        }
    }

    /// Reads the server's frames, and checks that they are valid.
    async fn listen(&mut self, world: &mut World) {
        self.gather().await;
        while let Some((opcode, payload)) = self.next() {
            match opcode {
                1 => {
                    let said: Value = serde_json::from_slice(&payload).expect("a frame is JSON");
                    assert!(said["type"].is_string(), "{said}");
                    assert!(
                        said["type"] != "error" || said["status"].as_u64().is_some_and(|status| status < 500),
                        "{said}"
                    );
                    let words = [("$token", "session_token"), ("$kill", "kill_id"), ("$message", "message_id")];
                    words.into_iter().for_each(|(word, name)| world.learn(word, &said[name]));
                }
                8 => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    let known = [1000, 1001, 1002, 1003, 1007, 1009, 1012, 4000, 4401, 4403, 4408, 4409];
                    assert!(code.is_none_or(|code| known.contains(&code)), "closed with {code:?}");
                    (self.open, self.closed) = (false, true);
                }
                9 => self.write(&frame(0x8a, &payload)).await,
                10 => {}
                _ => panic!("the server sent a frame of the kind {opcode}"),
            }
        }
    }

    /// The next complete frame.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.read.first()?, *self.read.get(1)?);
        assert!(first & 0xf0 == 0x80 && second < 128, "a server sends whole, unmasked frames");
        let (head, length) = match second {
            126 => (4, u16::from_be_bytes(*self.read.get(2..)?.first_chunk()?).into()),
            127 => (10, u64::from_be_bytes(*self.read.get(2..)?.first_chunk()?) as usize),
            length => (2, length.into()),
        };
        let payload = self.read.get(head..head + length)?.to_vec();
        self.read.drain(..head + length);
        Some((first & 0x0f, payload))
    }
}
