//! The server's supervision: a log that cannot be written, a task that has ended, and the
//! health routes.

use std::process::Stdio;
use std::sync::Arc;

use clap::Parser;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sessionwatch::alerts::Raised;
use sessionwatch::backend::memory::Memory;
use sessionwatch::backend::{Backend, Keep, Outbox, Past, Stored, Turn};
use sessionwatch::change::Event;
use sessionwatch::clock::Timestamp;
use sessionwatch::config::Config;
use sessionwatch::error::Result;
use sessionwatch::log::{Entry, Query};
use sessionwatch::server::Server as Inside;
use sessionwatch::session::{Session, SessionId};
use sessionwatch::stats::Minute;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::gate::requests::tokens_of;
use crate::support::{PATIENCE, Server, command, until};

/// A server that logs at the highest level to `stderr`, which nobody reads.
async fn logging_to(db: &std::path::Path, stderr: Stdio) -> Server {
    let mut child = command(db, "127.0.0.1:0", &["--strict"])
        .env("RUST_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text");
    let url = first.expect("a line").rsplit(' ').next().expect("an address").to_owned();
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    Server::attached(child, db.to_owned(), url, port)
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_neither_revocation_nor_changes() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    let (closed_end, closed) = std::io::pipe().expect("a pipe");
    drop(closed_end);
    // This one is never read, so it fills up.
    let (_unread_end, unread) = std::io::pipe().expect("a pipe");
    let kinds = [("full", Stdio::from(full())), ("closed", Stdio::from(closed)), ("unread", Stdio::from(unread))];
    for (what, stderr) in kinds {
        let folder = tempfile::tempdir().expect("a folder");
        let server = logging_to(&folder.path().join("l.db"), stderr).await;
        let [ingest, _, admin] = tokens_of(&server);
        let ask = async |method: Method, path: &str, token: &str| {
            let request = server.client.request(method, format!("{}{path}", server.url)).bearer_auth(token);
            request.json(&json!({ "app_name": "a" })).send().await.expect("an answer").status().as_u16()
        };
        assert_eq!(ask(Method::GET, "/sessions", &admin).await, 200, "{what}");
        for _ in 0..200 {
            assert_eq!(ask(Method::POST, "/sessions", &ingest).await, 201, "{what}");
        }
        let done = Command::new(env!("CARGO_BIN_EXE_sessionwatch"))
            .args(["token", "revoke", "admin", "--db"])
            .arg(&server.db)
            .output()
            .await
            .expect("it runs");
        assert!(done.status.success(), "{what}: {done:?}");
        until("the revoked token is refused", async || ask(Method::GET, "/sessions", &admin).await == 401).await;
        assert_eq!(ask(Method::POST, "/sessions", &ingest).await, 201, "{what}");
        assert_eq!(ask(Method::GET, "/readyz", &ingest).await, 200, "{what}");
    }
}

/// How a broken store fails a commit.
#[derive(Clone, Copy)]
enum Fault {
    /// It panics, like a bug.
    Panics,
    /// It never answers, like a disk that hangs.
    Hangs,
}

struct Broken(Memory, Fault);

struct BrokenTurn<'b>(&'b Fault);

impl Turn for BrokenTurn<'_> {
    fn missed(&mut self) -> Vec<Event> {
        Vec::new()
    }
    fn raise(&mut self, _: Vec<Raised>) {}
    fn commit<'a>(self: Box<Self>, _: Arc<Vec<Event>>) -> BoxFuture<'a, Result<()>>
    where
        Self: 'a,
    {
        match self.0 {
            Fault::Panics => async { panic!("a mistake in the store") }.boxed(),
            Fault::Hangs => std::future::pending().boxed(),
        }
    }
}

impl Backend for Broken {
    fn outbox(&self) -> &dyn Outbox {
        self.0.outbox()
    }
    fn past(&self) -> &dyn Past {
        self.0.past()
    }
    fn load(&self, now: Timestamp) -> BoxFuture<'_, Result<Stored>> {
        self.0.load(now)
    }
    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>>> {
        self.0.session(id)
    }
    fn begin(&self, _: u64) -> BoxFuture<'_, Result<Box<dyn Turn + '_>>> {
        let turn: Box<dyn Turn + '_> = Box::new(BrokenTurn(&self.1));
        ready(Ok(turn)).boxed()
    }
    fn beats(&self, beats: Vec<(SessionId, Timestamp)>) -> BoxFuture<'_, Result<()>> {
        self.0.beats(beats)
    }
    fn minute(&self, minute: Minute) -> BoxFuture<'_, Result<()>> {
        self.0.minute(minute)
    }
    fn minutes(&self, since: Timestamp, step: i64) -> BoxFuture<'_, Result<Vec<Minute>>> {
        self.0.minutes(since, step)
    }
    fn events(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>>> {
        self.0.events(query)
    }
    fn forget(&self, keep: Keep) -> BoxFuture<'_, Result<bool>> {
        self.0.forget(keep)
    }
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.0.close()
    }
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

#[tokio::test]
async fn a_server_whose_writer_has_ended_ends_with_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("p.db");
    let arguments = ["sessionwatch", "--listen", "127.0.0.1:0", "--db", db.to_str().expect("text")];
    let config = Arguments::parse_from(arguments).config;
    let server = Inside::bind(&config, Arc::new(Broken(Memory::new(), Fault::Panics))).await.expect("it starts");
    let url = server.url();
    let served = tokio::spawn(server.run(async || std::future::pending().await));
    assert_eq!(reqwest::get(format!("{url}/readyz")).await.expect("an answer").status(), 200);
    let register = reqwest::Client::new().post(format!("{url}/sessions")).json(&json!({ "app_name": "a" }));
    let refused = register.send().await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == StatusCode::SERVICE_UNAVAILABLE));
    let ended = tokio::time::timeout(PATIENCE, served).await.expect("it ends by itself").expect("no panic here");
    assert!(ended.is_err_and(|why| why.contains("the writer")), "it says which task");
}

#[tokio::test]
async fn readyz_fails_within_seconds_when_the_writer_hangs_and_healthz_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("h.db");
    let arguments = ["sessionwatch", "--listen", "127.0.0.1:0", "--db", db.to_str().expect("text")];
    let config = Arguments::parse_from(arguments).config;
    let server = Inside::bind(&config, Arc::new(Broken(Memory::new(), Fault::Hangs))).await.expect("it starts");
    let url = server.url();
    let served = tokio::spawn(server.run(async || std::future::pending().await));
    let client = reqwest::Client::new();
    let stuck = tokio::spawn(client.post(format!("{url}/sessions")).json(&json!({ "app_name": "a" })).send());
    until("the writer is busy", async || {
        let answer = client.get(format!("{url}/readyz")).send().await.expect("an answer");
        answer.status() == 503 && answer.text().await.expect("a word") == "busy"
    })
    .await;
    // Any number of requests share one place in the writer's queue.
    let many = (0..50).map(|_| client.get(format!("{url}/readyz")).send());
    for answer in futures_util::future::join_all(many).await {
        assert_eq!(answer.expect("an answer").status(), 503);
    }
    assert_eq!(client.get(format!("{url}/healthz")).send().await.unwrap().text().await.unwrap(), "ok");
    stuck.abort();
    served.abort();
}

#[tokio::test]
async fn health_routes_answer_everybody_with_any_host_in_one_word() {
    let server = Server::start(&["--strict", "--base-path", "/monitor"]).await;
    for path in ["/healthz", "/readyz", "/monitor/healthz", "/monitor/readyz"] {
        for head in ["Host: evil.com\r\n", "Host: 10.0.0.7:8080\r\n", "Host: a\r\nHost: b\r\n", ""] {
            for method in ["GET", "HEAD"] {
                let head = format!("{method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n");
                let answer = server.raw(head.as_bytes()).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path} {head:?}: {answer}");
                let body = answer.split("\r\n\r\n").nth(1).expect("a body");
                assert_eq!(body, if method == "GET" { "ok" } else { "" });
            }
        }
    }
    let elsewhere = server.raw(b"GET /monitor/sessions HTTP/1.1\r\nHost: evil.com\r\nConnection: close\r\n\r\n").await;
    assert!(elsewhere.starts_with("HTTP/1.1 421"), "{elsewhere}");
}
