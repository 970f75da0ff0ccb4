//! Heartbeats per second, over HTTP and over sockets, compared with a handler that does nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Bench;
use crate::http::{drive, metric, register, request};
use crate::peers;
use crate::process::Process;
use crate::report::{Row, Verdict, median, number};
use crate::socket;

const CONNECTIONS: usize = 64;
/// As in the measurement of the original server.
const PEER_CONNECTIONS: usize = 32;
/// Sockets that send heartbeats; so many that a read of the server mostly gets one frame.
const SOCKETS: usize = 1_000;

async fn beats(port: u16, sessions: usize, connections: usize, time: Duration) -> f64 {
    let make = move |connection: usize, count: u64| {
        let session = (connection + count as usize * connections) % sessions;
        request("POST", &format!("/sessions/s{session}/heartbeat"), port, None)
    };
    drive(port, connections, time, make).await.rate()
}

/// HTTP heartbeats/s, keep-alive, 10k and 100k sessions.
pub async fn http(bench: &Bench) -> Vec<Row> {
    let bare = Process::bare("http", &[]);
    let mut rows = Vec::new();
    let counts: &[usize] = if bench.smoke { &[100] } else { &[10_000, 100_000] };
    for &sessions in counts {
        let folder = bench.folder();
        let ours = Process::sessionwatch(folder.path(), &[]);
        register(ours.port, sessions).await;
        let (mut our_rates, mut bare_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds() {
            let bare_rate = beats(bare.port, sessions, CONNECTIONS, bench.slice()).await;
            let our_rate = beats(ours.port, sessions, CONNECTIONS, bench.slice()).await;
            our_rates.push(our_rate);
            bare_rates.push(bare_rate);
            ratios.push(our_rate / bare_rate);
        }
        let ratio = median(&ratios);
        let measure = format!("HTTP heartbeats/s, {} sessions", number(sessions as f64));
        rows.push(
            Row::new(measure, "≥ 85 % of the bare handler", number(median(&our_rates)), Verdict::of(ratio >= 0.85))
                .against(format!("bare axum {} ({:.0} %)", number(median(&bare_rates)), ratio * 100.0)),
        );
        if sessions != counts[0] {
            continue;
        }
        let Some(peer) = peers::fastapi(folder.path()) else {
            rows.push(Row::new("HTTP heartbeats/s beside FastAPI", "≥ 100 ×", "not installed", Verdict::Open));
            continue;
        };
        register(peer.port, PEER_CONNECTIONS).await;
        let mut ratios = Vec::new();
        let mut peer_rates = Vec::new();
        for _ in 0..bench.rounds() {
            let peer_rate = beats(peer.port, PEER_CONNECTIONS, PEER_CONNECTIONS, bench.slice()).await;
            let our_rate = beats(ours.port, sessions, PEER_CONNECTIONS, bench.slice()).await;
            peer_rates.push(peer_rate);
            ratios.push(our_rate / peer_rate);
        }
        let ratio = median(&ratios);
        rows.push(
            Row::new(
                "HTTP heartbeats/s, 32 connections",
                "≥ 100 × FastAPI",
                format!("{ratio:.0} ×"),
                Verdict::of(ratio >= 100.0),
            )
            .against(format!("FastAPI {}", number(median(&peer_rates)))),
        );
    }
    rows
}

/// Heartbeat frames per second on sockets. They have no answer, so the server's metric is
/// read before and after.
pub async fn sockets(bench: &Bench) -> Vec<Row> {
    let folder = bench.folder();
    let bare = Process::bare("http", &[]);
    let ours = Process::sessionwatch(folder.path(), &[]);
    let count = if bench.smoke { 20 } else { SOCKETS };
    let mut ratios = Vec::new();
    let (mut our_rates, mut bare_rates, mut echo_rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let bare_rate = beats(bare.port, count, CONNECTIONS, bench.slice()).await;
        let our_rate = frames(ours.port, count, bench.slice()).await;
        echo_rates.push(echoes(bare.port, CONNECTIONS, bench.slice()).await);
        our_rates.push(our_rate);
        bare_rates.push(bare_rate);
        ratios.push(our_rate / bare_rate);
    }
    let ratio = median(&ratios);
    let against = format!(
        "bare HTTP handler {} ({ratio:.2} ×); bare echo {}/s there and back",
        number(median(&bare_rates)),
        number(median(&echo_rates))
    );
    vec![
        Row::new(
            format!("socket heartbeats/s, {} sockets", number(count as f64)),
            "≥ 1.4 × the bare HTTP handler",
            number(median(&our_rates)),
            Verdict::of(ratio >= 1.4),
        )
        .against(against),
    ]
}

async fn frames(port: u16, count: usize, time: Duration) -> f64 {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(socket::register(port, "beats").await.expect("a session on a socket").0);
    }
    let over = Arc::new(AtomicBool::new(false));
    let beat = socket::text(r#"{"type":"heartbeat"}"#);
    let before = metric(port, "sessionwatch_heartbeats_total").await;
    let begun = Instant::now();
    let senders: Vec<_> = open
        .into_iter()
        .map(|mut socket| {
            let (over, beat) = (over.clone(), beat.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    socket.send_prepared(&beat).await.expect("the beat goes out");
                    // One frame from each socket in turn, as many clients would send them.
                    tokio::task::yield_now().await;
                }
                socket
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    let beats = metric(port, "sessionwatch_heartbeats_total").await - before;
    let rate = beats / begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    for sender in senders {
        drop(sender.await);
    }
    rate
}

async fn echoes(port: u16, count: usize, time: Duration) -> f64 {
    let (over, total) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..count {
        let (over, total) = (over.clone(), total.clone());
        let mut socket = socket::Socket::open(port, "/echo").await.expect("a socket");
        tasks.push(tokio::spawn(async move {
            let beat = socket::text(r#"{"type":"heartbeat"}"#);
            while !over.load(Ordering::Relaxed) {
                socket.send_prepared(&beat).await.expect("it goes out");
                socket.text().await.expect("it comes back");
                total.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no socket fails");
    }
    total.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}
