//! A minimal WebSocket client. It is written by hand because the load generator shares the
//! machine with the server: CPU time that it saves is left for the server.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The handshake request for a path.
pub fn handshake(port: u16, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// One open socket.
pub struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The position of the next frame in the buffer.
    next: usize,
}

/// A frame from the server.
pub enum Frame<'a> {
    /// A text frame, or a binary one.
    Text(&'a [u8]),
    /// A close frame, with its code.
    Close(u16),
}

impl Socket {
    /// Opens a socket on this path.
    pub async fn open(port: u16, path: &str) -> io::Result<Self> {
        Self::open_in(port, path, "").await
    }

    /// Opens a socket that offers a subprotocol, if it is not empty.
    pub async fn open_in(port: u16, path: &str, form: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut request = handshake(port, path);
        if !form.is_empty() {
            request = request.replace("\r\n\r\n", &format!("\r\nsec-websocket-protocol: {form}\r\n\r\n"));
        }
        stream.write_all(request.as_bytes()).await?;
        let mut socket = Self { stream, buffer: Vec::with_capacity(1_024), next: 0 };
        loop {
            socket.fill().await?;
            if let Some(end) = socket.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                if !socket.buffer.starts_with(b"HTTP/1.1 101") {
                    return Err(io::Error::other(String::from_utf8_lossy(&socket.buffer).into_owned()));
                }
                socket.next = end + 4;
                return Ok(socket);
            }
        }
    }

    /// Sends a text frame.
    pub async fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(&masked(TEXT, text.as_bytes())).await
    }

    /// Sends frames that [`text`] has encoded.
    pub async fn send_prepared(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame).await
    }

    /// Waits for the next text or close frame; answers pings.
    pub async fn frame(&mut self) -> io::Result<Frame<'_>> {
        loop {
            while let Some((opcode, from, to)) = self.complete() {
                self.next = to;
                match opcode {
                    TEXT | BINARY => return Ok(Frame::Text(&self.buffer[from..to])),
                    CLOSE => {
                        let code = self.buffer[from..to].first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                        return Ok(Frame::Close(code));
                    }
                    PING => {
                        let pong = masked(PONG, &self.buffer[from..to]);
                        self.stream.write_all(&pong).await?;
                    }
                    _ => {}
                }
            }
            self.fill().await?;
        }
    }

    /// Waits for the next text frame; panics on a close.
    pub async fn text(&mut self) -> io::Result<&[u8]> {
        match self.frame().await? {
            Frame::Text(text) => Ok(text),
            Frame::Close(code) => Err(io::Error::other(format!("closed with {code}"))),
        }
    }

    /// Reads frames until one begins with `begins`; returns the bytes of all of them, and the start of that one.
    pub async fn until(&mut self, begins: &str) -> io::Result<(usize, String)> {
        let mut bytes = 0;
        loop {
            let text = self.text().await?;
            bytes += text.len();
            if text.starts_with(begins.as_bytes()) {
                return Ok((bytes, String::from_utf8_lossy(&text[..text.len().min(512)]).into_owned()));
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.next > 0 {
            self.buffer.drain(..self.next);
            self.next = 0;
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Opcode, start and end of the next frame's payload; `None` while it is incomplete. The
    /// servers here send no masked and no fragmented frames.
    fn complete(&mut self) -> Option<(u8, usize, usize)> {
        let bytes = &self.buffer[self.next..];
        let (opcode, short) = (bytes.first()? & 0x0F, bytes.get(1)? & 0x7F);
        let (head, length) = match short {
            126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?) as usize),
            short => (2, usize::from(short)),
        };
        if bytes.len() < head + length {
            self.buffer.reserve(head + length);
            return None;
        }
        Some((opcode, self.next + head, self.next + head + length))
    }
}

/// Encodes a masked text frame.
pub fn text(text: &str) -> Vec<u8> {
    masked(TEXT, text.as_bytes())
}

/// Clients must mask frames; a key of zeros does not change the payload.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length if length < 126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Encodes an unmasked text frame, like a server.
pub fn from_server(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | TEXT];
    match payload.len() {
        length if length < 126 => frame.push(length as u8),
        length if length < 65_536 => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// Connects a client socket and registers a session on it; returns the session's id.
pub async fn register(port: u16, app: &str) -> io::Result<(Socket, String)> {
    let mut socket = Socket::open(port, "/ws/client").await?;
    socket.send(&format!(r#"{{"type":"register","app_name":"{app}"}}"#)).await?;
    let (_, registered) = socket.until(r#"{"type":"registered""#).await?;
    let id = field(&registered, "session_id").unwrap_or_default().to_owned();
    Ok((socket, id))
}

/// The value of a text or number field in a frame.
pub fn field<'a>(frame: &'a str, name: &str) -> Option<&'a str> {
    let begin = frame.find(&format!("\"{name}\":"))? + name.len() + 3;
    let rest = &frame[begin..];
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => rest.split([',', '}']).next(),
    }
}
