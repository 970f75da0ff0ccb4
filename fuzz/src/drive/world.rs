//! A server without a port: the monitor with a store in memory, the HTTP front, and known
//! secrets. Its clock is manual.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use serde_json::Value;
use sessionwatch::backend::memory::Memory;
use sessionwatch::clock::Clock;
use sessionwatch::decide::Limits;
use sessionwatch::edge::gate::Gate;
use sessionwatch::edge::gate::proxies::Proxies;
use sessionwatch::edge::{App, Shared};
use sessionwatch::monitor::Monitor;
use sessionwatch::per_address::PerAddress;
use sessionwatch::routes::Front;
use sessionwatch::timing::Timing;
use sessionwatch::tokens::{self, Role, Tokens};

/// The port that the server is configured with.
const PORT: u16 = 8000;
/// Longest answer that is checked; the largest page is shorter.
const ANSWER_MAX: usize = 8 * 1_024 * 1_024;

/// The tokens, and the words that stand for them in an input.
struct Secrets {
    tokens: Arc<Tokens>,
    words: Vec<(&'static str, String)>,
}

/// Made once for all inputs, since tokens are in a file.
fn secrets() -> &'static Secrets {
    static SECRETS: OnceLock<Secrets> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        let tokens = Tokens::open(&path).expect("made");
        let lines = tokens::read(&path).expect("readable").tokens;
        let token = |role: Role| lines.iter().find(|line| line.role == role).expect("there").token.clone();
        let admin = token(Role::Admin);
        // A token file keeps no cookies, so nothing is waited for.
        let logged_in = std::pin::pin!(tokens.exchange(&admin)).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok(Some(browser))) = logged_in else { panic!("an administrator may log in") };
        let words = vec![
            ("$ingest", token(Role::Ingest)),
            ("$view", token(Role::View)),
            ("$cookie", browser.cookie),
            ("$page", browser.page),
            ("$auth", format!("sessionwatch.auth.{}", URL_SAFE_NO_PAD.encode(&admin))),
            ("$admin", admin),
        ];
        Secrets { tokens: Arc::new(tokens), words }
    })
}

/// The gate of a server: local, local with `--strict`, or on the network behind a proxy.
pub fn gate(loopback: bool, strict: bool) -> Gate {
    Gate {
        port: PORT,
        loopback,
        strict,
        tls: false,
        allow_hosts: vec!["monitor.example".to_owned()],
        allow_origins: vec!["https://app.example".to_owned()],
        proxies: Proxies::new(&[IpAddr::from([192, 0, 2, 1]).into()]),
        people: sessionwatch::edge::gate::people::People::default(),
        tokens: secrets().tokens.clone(),
    }
}

/// The server.
pub struct World {
    pub app: Shared,
    pub front: Front,
    clock: Clock,
    /// The `$` words, each with the value from the server that replaces it.
    words: Vec<(&'static str, String)>,
}

impl World {
    pub async fn new(base: &str) -> Self {
        let clock = Clock::manual();
        let start = Monitor::start(Arc::new(Memory::new()), Timing::default(), clock.clone(), Limits::sessions(64));
        let monitor = start.await.expect("a store in memory opens");
        let app = Arc::new(App {
            monitor,
            gate: gate(true, false),
            sockets: PerAddress::new(256),
            streams: PerAddress::new(256),
            lists: Default::default(),
            tests: Default::default(),
        });
        let front = Front::new(&app, base);
        Self { app, front, clock, words: Vec::new() }
    }

    /// Moves the server's clock, and lets it handle the deadlines that are due.
    pub async fn wait(&self, time: Duration) {
        self.clock.advance(time);
        self.app.monitor.sweep().await;
    }

    /// Makes `word` stand for `what` in the rest of the input.
    pub fn learn(&mut self, word: &'static str, what: &Value) {
        let Some(what) = what.as_str() else { return };
        self.words.retain(|(known, _)| *known != word);
        self.words.push((word, what.to_owned()));
    }

    /// The input with its words replaced by their values.
    pub fn filled(&self, input: &[u8]) -> Vec<u8> {
        fill(input, self.words.iter())
    }

    /// Answers a request, and checks the answer. Returns its status and JSON.
    pub async fn ask(&mut self, request: Request, peer: SocketAddr) -> (StatusCode, Value) {
        let asked = format!("{} {}", request.method(), request.uri());
        let head = request.method() == Method::HEAD;
        let response = self.front.answer(request, peer).await;
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status, parts.headers);
        let busy = status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key(header::RETRY_AFTER);
        assert!(busy || !status.is_server_error(), "{asked}: {status}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{asked}");
        let kind = headers.get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().expect("a type is text"));
        if kind.starts_with("text/event-stream") {
            // An event stream goes on until its session ends.
            return (status, Value::Null);
        }
        let body = http_body_util::Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.unwrap_or_else(|error| panic!("{asked}: {error}")).to_bytes();
        let refused = status.is_client_error() || status.is_server_error();
        let told = kind.starts_with("text/plain") && asked.contains("/ping/");
        assert!(!refused || told || kind == "application/problem+json", "{asked}: {status} is told as {kind:?}");
        if !kind.contains("json") || (head && body.is_empty()) {
            return (status, Value::Null);
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{asked}: {error}"));
        if refused {
            assert_eq!(json["status"], status.as_u16(), "{asked}");
            assert!(json["title"].is_string() && json["detail"].is_string(), "{asked}: {json}");
        }
        for (word, name) in [("$token", "session_token"), ("$kill", "kill_id"), ("$message", "message_id")] {
            self.learn(word, &json[name]);
        }
        (status, json)
    }

    /// Ends the server, and checks that none of its tasks is left.
    pub async fn end(self) {
        self.app.monitor.shutdown().await;
        drop(self);
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for _ in 0..1_000 {
            if tasks() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} tasks go on without their server", tasks());
    }
}

fn fill<'a>(input: &[u8], words: impl Iterator<Item = &'a (&'static str, String)>) -> Vec<u8> {
    if !input.contains(&b'$') {
        return input.to_vec();
    }
    let words: Vec<&(&str, String)> = words.chain(&secrets().words).collect();
    let mut filled = Vec::with_capacity(input.len() + 64);
    let mut rest = input;
    while let Some((first, after)) = rest.split_first() {
        match words.iter().find(|(word, _)| rest.starts_with(word.as_bytes())) {
            Some((word, what)) => {
                filled.extend_from_slice(what.as_bytes());
                rest = &rest[word.len()..];
            }
            None => {
                filled.push(*first);
                rest = after;
            }
        }
    }
    filled
}

/// The head of a request: `GET /path`, with the client's address as an optional prefix
/// `@192.0.2.9 `, and one header per line. Headers that hyper would refuse are left out.
pub struct Head {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub peer: SocketAddr,
}

impl Head {
    /// Splits a text into the head and the body after the empty line.
    pub fn parse(input: &[u8]) -> Option<(Self, &[u8])> {
        let (head, body) = match input.windows(2).position(|two| two == b"\n\n") {
            Some(end) => (&input[..end], &input[end + 2..]),
            None => (input, &[][..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut words = lines.next()?.split(|byte| *byte == b' ');
        let mut word = words.next()?;
        let mut from = IpAddr::from([127, 0, 0, 1]);
        if let Some(address) = word.strip_prefix(b"@") {
            from = std::str::from_utf8(address).ok()?.parse().ok()?;
            word = words.next()?;
        }
        let method = Method::from_bytes(word).ok()?;
        let uri = Uri::try_from(words.next()?).ok()?;
        let version = if words.next() == Some(b"HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut headers = HeaderMap::new();
        for line in lines.take(64) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(fill(&line[colon + 1..], [].iter()).trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        Some((Self { method, uri, version, headers, peer: SocketAddr::new(from, 50_000) }, body))
    }

    /// The request. Without a Host header it gets the right one.
    pub fn request(self, body: Vec<u8>) -> (Request, SocketAddr) {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost:8000"));
        (request, self.peer)
    }
}
