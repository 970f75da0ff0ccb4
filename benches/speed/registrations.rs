//! Durable registrations: how many there are per fdatasync, and how long one takes.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Bench;
use crate::http::{Load, drive, metric, request};
use crate::peers;
use crate::process::Process;
use crate::report::{Row, Verdict, median, number, percentile};

const WRITERS: usize = 64;
const PEER_WRITERS: usize = 32;

/// Who makes the ids: the server, as for most clients, or the client. The client's ids are
/// at random places of the index.
#[derive(Clone, Copy, PartialEq)]
enum Ids {
    Server,
    Clients,
}

async fn registrations(port: u16, writers: usize, ids: Ids, time: Duration) -> Load {
    let make = move |_: usize, _: u64| {
        let id = match ids {
            Ids::Server => String::new(),
            Ids::Clients => format!(r#","session_id":"{}""#, uuid::Uuid::new_v4()),
        };
        let body = format!(r#"{{"app_name":"risk","user_id":"ana"{id}}}"#);
        request("POST", "/sessions", port, Some(&body))
    };
    drive(port, writers, time, make).await
}

/// Seconds for appending a page and fdatasync, one after the other.
fn syncs(folder: &Path, time: Duration) -> Vec<f64> {
    let mut file = std::fs::File::create(folder.join("append")).expect("a file");
    let page = [b'x'; 4_096];
    let begun = Instant::now();
    let mut took = Vec::new();
    while begun.elapsed() < time {
        let one = Instant::now();
        file.write_all(&page).expect("it is written");
        file.sync_data().expect("it is synced");
        took.push(one.elapsed().as_secs_f64());
    }
    took
}

/// Registrations per second with 64 writers.
pub async fn durable(bench: &Bench) -> Vec<Row> {
    let folder = bench.folder();
    let ours = Process::sessionwatch(folder.path(), &[]);
    let (mut rates, mut rows_per_sync, mut p99s, mut allowed, mut sync_medians) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut own_rates, mut own_p99s) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let sync = median(&syncs(folder.path(), bench.slice() / 4));
        let commits = metric(ours.port, "sessionwatch_commits_total").await;
        let load = registrations(ours.port, WRITERS, Ids::Server, bench.slice()).await;
        let commits = metric(ours.port, "sessionwatch_commits_total").await - commits;
        rates.push(load.rate());
        rows_per_sync.push(load.answered as f64 / commits);
        p99s.push(percentile(&load.latencies, 0.99));
        allowed.push(2.0 * sync + 0.005);
        sync_medians.push(sync);
        let load = registrations(ours.port, WRITERS, Ids::Clients, bench.slice()).await;
        own_rates.push(load.rate());
        own_p99s.push(percentile(&load.latencies, 0.99));
    }
    let rows = median(&rows_per_sync);
    let (p99, most) = (median(&p99s), median(&allowed));
    let mut table = vec![
        Row::new(
            "durable registrations, 64 writers: rows per fdatasync",
            "≥ 30",
            format!("{rows:.1}"),
            Verdict::of(rows >= 30.0),
        )
        .against(format!("one append + fdatasync takes {:.2} ms", median(&sync_medians) * 1e3)),
        Row::new(
            "durable registrations, 64 writers: p99",
            "≤ 2 fdatasyncs + 5 ms",
            format!("{:.1} ms", p99 * 1e3),
            Verdict::of(p99 <= most),
        )
        .against(format!("{:.1} ms", most * 1e3)),
        Row::new(
            "the same with ids that the clients make",
            "",
            format!("{}/s, p99 {:.1} ms", number(median(&own_rates)), median(&own_p99s) * 1e3),
            Verdict::Open,
        ),
    ];
    let Some(peer) = peers::fastapi(folder.path()) else {
        table.push(Row::new("durable registrations/s", "≥ 20 × FastAPI", number(median(&rates)), Verdict::Open));
        return table;
    };
    let (mut ratios, mut peer_rates) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let peer_rate = registrations(peer.port, PEER_WRITERS, Ids::Server, bench.slice()).await.rate();
        let our_rate = registrations(ours.port, WRITERS, Ids::Server, bench.slice()).await.rate();
        peer_rates.push(peer_rate);
        ratios.push(our_rate / peer_rate);
    }
    let ratio = median(&ratios);
    table.push(
        Row::new(
            "durable registrations/s, 64 writers",
            "≥ 20 × FastAPI",
            number(median(&rates)),
            Verdict::of(ratio >= 20.0),
        )
        .against(format!("FastAPI {} ({ratio:.0} ×)", number(median(&peer_rates)))),
    );
    table
}
