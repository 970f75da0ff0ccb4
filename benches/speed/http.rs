//! A minimal HTTP client: keep-alive, one request at a time on each connection, answers read
//! to the last byte.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens a connection.
    pub async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4_096) })
    }

    /// Sends the bytes of a request; returns the status and the body of the answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((status, from, to)) = answer(&self.buffer)
                && self.buffer.len() >= to
            {
                return Ok((status, &self.buffer[from..to]));
            }
        }
    }

    /// As [`Connection::ask`]; panics when the answer is not a success.
    pub async fn must(&mut self, request: &[u8]) -> String {
        let (status, body) = self.ask(request).await.expect("an answer");
        let body = String::from_utf8_lossy(body).into_owned();
        assert!((200..300).contains(&status), "{status} {body}");
        body
    }
}

/// The status, and the start and end of the body; `None` while the head is incomplete.
fn answer(bytes: &[u8]) -> Option<(u16, usize, usize)> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some((status, head_end, head_end + length.unwrap_or(0)))
}

/// The bytes of a request, with a JSON body or none.
pub fn request(method: &str, path: &str, port: u16, body: Option<&str>) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n");
    match body {
        None if method == "GET" => format!("{head}\r\n"),
        None => format!("{head}content-length: 0\r\n\r\n"),
        Some(body) => {
            format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
    }
    .into_bytes()
}

/// The result of a load.
#[derive(Default)]
pub struct Load {
    /// Answers that were a success.
    pub answered: u64,
    /// Seconds from each request to its answer.
    pub latencies: Vec<f64>,
    /// The duration of the load, in seconds.
    pub seconds: f64,
}

impl Load {
    /// Successful answers per second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.seconds
    }
}

/// Runs a load: each connection sends its next request when the one before is answered.
/// `make` gets the connection's number and its count of requests so far.
pub async fn drive(
    port: u16,
    connections: usize,
    time: Duration,
    make: impl Fn(usize, u64) -> Vec<u8> + Send + Sync + 'static,
) -> Load {
    let (make, over) = (Arc::new(make), Arc::new(AtomicBool::new(false)));
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(port).await.expect("the server accepts"));
    }
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, mut connection) in open.into_iter().enumerate() {
        let (make, over) = (make.clone(), over.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let request = make(index, latencies.len() as u64);
                let asked = Instant::now();
                let (status, body) = connection.ask(&request).await.expect("an answer");
                assert!((200..300).contains(&status), "{status} {}", String::from_utf8_lossy(body));
                latencies.push(asked.elapsed().as_secs_f64());
            }
            latencies
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let mut load = Load { seconds: begun.elapsed().as_secs_f64(), ..Load::default() };
    while let Some(latencies) = tasks.join_next().await {
        load.latencies.extend(latencies.expect("no connection fails"));
    }
    load.answered = load.latencies.len() as u64;
    load
}

/// Reads one value from `/metrics`.
pub async fn metric(port: u16, name: &str) -> f64 {
    let mut connection = Connection::open(port).await.expect("the server accepts");
    let text = connection.must(&request("GET", "/metrics", port, None)).await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in /metrics"))
}

/// Registers sessions `s0` to `s{count-1}` over HTTP.
pub async fn register(port: u16, count: usize) {
    let mut tasks = JoinSet::new();
    let writers = 256.min(count.max(1));
    for writer in 0..writers {
        tasks.spawn(async move {
            let mut connection = Connection::open(port).await.expect("the server accepts");
            for index in (writer..count).step_by(writers) {
                let body = format!(
                    r#"{{"app_name":"risk","session_id":"s{index}","user_id":"user{index}","client":"js/0.1.0"}}"#
                );
                connection.must(&request("POST", "/sessions", port, Some(&body))).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("every session registers");
    }
}
