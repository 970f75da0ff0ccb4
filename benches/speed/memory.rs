//! The resident memory of an idle session, with and without a socket.

use std::time::Duration;

use crate::Bench;
use crate::http::{Connection, request};
use crate::process::Process;
use crate::report::{Row, Verdict, number};
use crate::socket::{self, Socket};

/// Sockets and sessions that are opened before the measured ones, so that caches and thread
/// stacks are allocated already.
const WARM_SOCKETS: usize = 2_000;
const SOCKETS: usize = 5_000;
const SESSIONS: usize = 100_000;

/// Memory per idle client socket and per HTTP session.
pub async fn idle(bench: &Bench) -> Vec<Row> {
    let (warm, count, sessions) = if bench.smoke { (50, 100, 1_000) } else { (WARM_SOCKETS, SOCKETS, SESSIONS) };
    let folder = bench.folder();
    let ours = Process::sessionwatch(folder.path(), &[]);
    let bare = Process::bare("http", &[]);
    let per_socket = each(&ours, warm, count, true).await;
    let per_bare = each(&bare, warm, count, false).await;
    drop(ours);
    let folder = bench.folder();
    let ours = Process::sessionwatch(folder.path(), &[]);
    register(ours.port, 0, sessions).await;
    let before = settled(bench, &ours).await;
    register(ours.port, sessions, sessions).await;
    let per_session = (settled(bench, &ours).await - before) / sessions as f64;
    let kib = |bytes: f64| format!("{:.2} KiB", bytes / 1_024.0);
    vec![
        Row::new(
            format!("memory per idle client socket with its session ({})", number(count as f64)),
            "≤ 5 KiB of RSS",
            kib(per_socket),
            Verdict::of(per_socket <= 5.0 * 1_024.0),
        )
        .against(format!("bare axum WebSocket, 1 KiB read buffer: {}", kib(per_bare))),
        Row::new(
            format!("memory per HTTP session (the second {})", number(sessions as f64)),
            "≤ 1 KiB of RSS",
            kib(per_session),
            Verdict::of(per_session <= 1_024.0),
        ),
    ]
}

async fn settled(bench: &Bench, process: &Process) -> f64 {
    // The first heartbeats, those of the registrations, are stored after 5 s.
    tokio::time::sleep(Duration::from_secs(if bench.smoke { 1 } else { 6 })).await;
    process.rss()
}

async fn each(process: &Process, warm: usize, count: usize, sessions: bool) -> f64 {
    let mut open = Vec::new();
    let mut before = 0.0;
    for index in 0..warm + count {
        if index == warm {
            tokio::time::sleep(Duration::from_secs(1)).await;
            before = process.rss();
        }
        open.push(if sessions {
            socket::register(process.port, "memory").await.expect("a session on a socket").0
        } else {
            Socket::open(process.port, "/echo").await.expect("a socket")
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    (process.rss() - before) / count as f64
}

async fn register(port: u16, from: usize, count: usize) {
    let writers = 64;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        tasks.spawn(async move {
            let mut connection = Connection::open(port).await.expect("the server accepts");
            for index in (from + writer..from + count).step_by(writers) {
                let body = format!(r#"{{"app_name":"risk","session_id":"s{index}","user_id":"user{index}"}}"#);
                connection.must(&request("POST", "/sessions", port, Some(&body))).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("every session registers");
    }
}
