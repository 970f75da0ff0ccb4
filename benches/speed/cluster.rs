//! Several servers on one PostgreSQL: what they write together, and how long a change and a kill
//! take from one server to a screen and a socket of another. The database, the servers and the
//! load share this machine's cores.

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../tests/it/postgres.rs"]
mod postgres;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::Bench;
use crate::http::{Connection, drive, request};
use crate::kill;
use crate::process::{self, Process};
use crate::report::{Row, Verdict, number, percentile};
use crate::socket::Socket;

/// Three servers on a new database.
async fn servers() -> (postgres::Cluster, Vec<Process>) {
    let cluster = tokio::task::spawn_blocking(postgres::on_a_thread_that_stays).await.expect("PostgreSQL starts");
    let url = cluster.database().await;
    let start = |number: usize| {
        let mut command = process::sessionwatch(Path::new(&url));
        command.args(["--node-name", &format!("server-{number}")]).env("SESSIONWATCH_REPORT_RATE", "0");
        Process::announced(command)
    };
    let servers = (1..=3).map(start).collect();
    (cluster, servers)
}

/// All measures of several servers.
pub async fn several(bench: &Bench) -> Vec<Row> {
    if !Path::new("/usr/lib/postgresql/15/bin/postgres").exists() {
        return vec![Row::new(
            "several servers".to_owned(),
            "",
            "PostgreSQL 15 is not installed".to_owned(),
            Verdict::Open,
        )];
    }
    let (_cluster, servers) = servers().await;
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let mut rows = vec![registrations(bench, &ports).await, change(bench, ports[0], ports[1]).await];
    let (count, kills) = if bench.smoke { (30, 10) } else { (1_000, 300) };
    let (_, closes) = kill::measure(ports[1], ports[0], count, kills).await;
    let at = |share| percentile(&closes, share) * 1e3;
    rows.push(Row::new(
        format!("kill asked of A: request to close frame on a socket of B, {count} sockets"),
        "p99 ≤ 25 ms",
        format!("p50 {:.1} ms, p99 {:.1} ms ({kills} kills)", at(0.5), at(0.99)),
        Verdict::of(at(0.99) <= 25.0),
    ));
    rows
}

/// Registrations at three servers at once, beside those at one server with SQLite.
async fn registrations(bench: &Bench, ports: &[u16]) -> Row {
    let writers = if bench.smoke { 8 } else { 64 };
    let (time, body) = (bench.slice(), r#"{"app_name":"bench"}"#);
    let load = |port: u16| drive(port, writers, time, move |_, _| request("POST", "/sessions", port, Some(body)));
    let (one, two, three) = tokio::join!(load(ports[0]), load(ports[1]), load(ports[2]));
    let folder = bench.folder();
    let alone = Process::sessionwatch(folder.path(), &[]);
    let sqlite = load(alone.port).await;
    let latencies = [one.latencies.as_slice(), &two.latencies, &three.latencies].concat();
    Row::new(
        format!("durable registrations/s, 3 servers × {writers} writers on PostgreSQL"),
        "",
        format!(
            "{}, p50 {:.1} ms, p99 {:.1} ms",
            number(one.rate() + two.rate() + three.rate()),
            percentile(&latencies, 0.5) * 1e3,
            percentile(&latencies, 0.99) * 1e3
        ),
        Verdict::Open,
    )
    .against(format!("one server with SQLite, {writers} writers: {}", number(sqlite.rate())))
}

/// From the answer of one server to the frame at a dashboard of another, at 100 changes/s.
async fn change(bench: &Bench, asked: u16, watched: u16) -> Row {
    let count = if bench.smoke { 50 } else { 2_000 };
    let mut connection = Connection::open(asked).await.expect("the server accepts");
    let session = r#"{"app_name":"bench","session_id":"changing"}"#;
    connection.must(&request("POST", "/sessions", asked, Some(session))).await;
    let mut dashboard = Socket::open(watched, "/ws").await.expect("a dashboard");
    dashboard.until(r#"{"type":"snapshot""#).await.expect("a snapshot");
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let mut seen: HashMap<usize, Instant> = HashMap::new();
        while !seen.contains_key(&(count - 1)) {
            let Ok(text) = dashboard.text().await else { break };
            let text = String::from_utf8_lossy(text);
            for part in text.split(r#""current_task":"c"#).skip(1) {
                if let Some(change) = part.split('"').next().and_then(|number| number.parse().ok()) {
                    seen.entry(change).or_insert_with(Instant::now);
                }
            }
        }
        let _ = tell.send(seen);
    });
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut answered = Vec::new();
    for change in 0..count {
        pace.tick().await;
        let body = format!(r#"{{"status":"running","current_task":"c{change}"}}"#);
        connection.must(&request("PUT", "/sessions/changing/status", asked, Some(&body))).await;
        answered.push(Instant::now());
    }
    let seen = told.await.expect("the dashboard sees the last one");
    // Changes that came with the next one in one frame are seen with that one.
    let delays: Vec<f64> = answered
        .iter()
        .enumerate()
        .filter_map(|(change, at)| Some(seen.get(&change)?.saturating_duration_since(*at).as_secs_f64()))
        .collect();
    let at = |share| percentile(&delays, share) * 1e3;
    Row::new(
        "change acknowledged on A to the frame at a dashboard of B, 100 changes/s".to_owned(),
        "p50 ≤ 5 ms, p99 ≤ 25 ms",
        format!("p50 {:.1} ms, p99 {:.1} ms ({} of {count} frames)", at(0.5), at(0.99), delays.len()),
        Verdict::of(at(0.5) <= 5.0 && at(0.99) <= 25.0 && delays.len() * 10 >= count * 9),
    )
}
