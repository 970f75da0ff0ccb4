//! Starts a real server for a test, and sends requests and frames to it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// The time limit of every wait in these tests; long, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server process with its own database.
pub struct Server {
    pub url: String,
    pub port: u16,
    pub child: Child,
    pub db: PathBuf,
    pub client: reqwest::Client,
    /// The lines that it printed at its start.
    pub lines: Vec<String>,
    args: Vec<String>,
    folder: Option<TempDir>,
}

impl Server {
    /// Starts a server with more arguments, and waits until it listens.
    pub async fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("test.db");
        let mut server = Self::start_on(&db, "127.0.0.1:0", args).await;
        server.folder = Some(folder);
        server
    }

    /// Starts a server with this database and address.
    pub async fn start_on(db: &Path, listen: &str, args: &[&str]) -> Self {
        Self::run(command(db, listen, args), db, args).await
    }

    /// Starts a server with a command that [`command`] has made from these arguments.
    pub async fn run(mut command: Command, db: &Path, args: &[&str]) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log()).spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("it listens in time")
            .expect("its output is text")
            .expect("it prints a line before it ends");
        let url = first.rsplit(' ').next().expect("an address").trim_end_matches('/').to_owned();
        let port = url.split(':').nth(2).and_then(|rest| rest.split('/').next()?.parse().ok()).expect("a port");
        let mut printed = vec![first];
        if let Ok(Ok(Some(line))) = tokio::time::timeout(Duration::from_millis(100), lines.next_line()).await {
            printed.push(line);
        }
        let client = reqwest::Client::builder()
            .danger_accept_invalid_certs(true)
            // The server closes idle connections; do not reuse one at that moment.
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .expect("a client");
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { url, port, child, db: db.to_owned(), client, lines: printed, args, folder: None }
    }

    /// Wraps a process that a test has started itself.
    pub fn attached(child: Child, db: PathBuf, url: String, port: u16) -> Self {
        Self { url, port, child, db, client: reqwest::Client::new(), lines: Vec::new(), args: Vec::new(), folder: None }
    }

    /// Kills the server with SIGKILL, and starts it again with the same port and database.
    pub async fn kill9_and_restart(mut self) -> Self {
        self.kill9().await;
        self.start_again().await
    }

    /// Starts one that has ended again, with the same port and database.
    pub async fn start_again(mut self) -> Self {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let mut again = Self::start_on(&self.db, &format!("127.0.0.1:{}", self.port), &args).await;
        again.folder = self.folder.take();
        again
    }

    /// Sends SIGKILL, and waits until the process has ended.
    pub async fn kill9(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Sends SIGTERM; returns the exit code.
    pub async fn stop(&mut self) -> i32 {
        self.signal(libc::SIGTERM);
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends in time");
        ended.expect("it was ours").code().expect("it was not killed")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let id = self.child.id().expect("it runs").to_string();
        let name = format!("-{signal}");
        let done = std::process::Command::new("kill").args([&name, &id]).status().expect("kill runs");
        assert!(done.success());
    }

    /// Sends a request without special headers; returns the status and the JSON (null where there is none).
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        (status, serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or_default())
    }

    /// GET; panics when it fails.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None).await;
        assert!(status.is_success(), "GET {path}: {status} {body}");
        body
    }

    /// POST; panics when it fails.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "POST {path}: {status} {answer}");
        answer
    }

    /// POST; returns the status.
    pub async fn post_status(&self, path: &str, body: Value) -> u16 {
        self.ask(Method::POST, path, Some(body)).await.0.as_u16()
    }

    /// Sends raw bytes on a new connection; returns everything until the server closes it or
    /// sends nothing for two seconds.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("a connection");
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let mut buffer = [0_u8; 4_096];
        while let Ok(Ok(count)) = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut buffer)).await {
            if count == 0 {
                break;
            }
            answer.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Opens a WebSocket, with more headers.
    pub async fn socket(&self, path: &str, headers: &[(&str, &str)]) -> Socket {
        self.try_socket(path, headers).await.expect("the handshake succeeds")
    }

    /// As [`Server::socket`]; the error is the status of a refused handshake.
    pub async fn try_socket(&self, path: &str, headers: &[(&str, &str)]) -> Result<Socket, u16> {
        let url = format!("ws://127.0.0.1:{}{path}", self.port);
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Socket(stream)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }
}

/// The command that starts a server, for tests of a start that fails.
pub fn command(db: &Path, listen: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionwatch"));
    command.arg("serve").arg("--listen").arg(listen).arg("--db").arg(db).args(args).kill_on_drop(true);
    command
}

fn log() -> Stdio {
    if std::env::var_os("SESSIONWATCH_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() }
}

/// An open WebSocket.
pub struct Socket(pub tokio_tungstenite::WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Sends a frame.
    pub async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("the frame goes out");
    }

    /// The next text frame; panics when the socket closes instead.
    pub async fn next(&mut self) -> Value {
        match self.event().await {
            Ok(frame) => frame,
            Err(close) => panic!("the socket closed: {close:?}"),
        }
    }

    /// The next frame of this type; skips others.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// The close frame; skips other frames. `None` when the socket ends without one.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            if let Err(close) = self.event().await {
                return close;
            }
        }
    }

    /// The next frame with a text, or the end.
    pub async fn event(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("something happens in time");
            match next {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                // Compressed.
                Some(Ok(Message::Binary(bytes))) => {
                    let text = flate2::read::DeflateDecoder::new(&bytes[..]);
                    return Ok(serde_json::from_reader(text).expect("JSON"));
                }
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}

/// Waits until a condition is true; for changes that depend on the server's clock.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = tokio::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
