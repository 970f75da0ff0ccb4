//! One change to 500 dashboards at 100 changes per second: the delay, the server's CPU time per
//! delivery and the bytes, beside nchan, Node's `ws` and a bare loop of writes that send frames of
//! the same size; on a quiet machine, and beside a process that keeps one core busy.

use std::fmt::Write;

use crate::Bench;
use crate::fanout::{BUSY, Delayed, PACE, delays, message};
use crate::http::{register, request};
use crate::peers;
use crate::process::Process;
use crate::report::{Row, Verdict, median, percentile};

/// What was measured of one server, one value a round.
#[derive(Default)]
struct Measured {
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Seconds of CPU time of the server for one frame to one dashboard.
    cpu: Vec<f64>,
    bytes: Vec<f64>,
}

impl Measured {
    fn add(&mut self, delayed: &Delayed, spent: f64) {
        self.p50.push(median(&delayed.delays));
        self.p99.push(percentile(&delayed.delays, 0.99));
        self.cpu.push(spent / (delayed.frames as f64).max(1.0));
        self.bytes.push(delayed.bytes as f64 / (delayed.frames as f64).max(1.0));
    }

    fn text(&self) -> String {
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, {:.2} µs a delivery of {:.0} bytes",
            median(&self.p50) * 1e3,
            median(&self.p99) * 1e3,
            median(&self.cpu) * 1e6,
            median(&self.bytes)
        )
    }
}

/// The median of the ratios of two lists, round by round.
fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
}

/// Both loads.
pub async fn one_change(bench: &Bench, watchers: usize) -> Vec<Row> {
    let mut rows = one_load(bench, watchers, false).await;
    rows.extend(one_load(bench, watchers, true).await);
    rows
}

async fn one_load(bench: &Bench, watchers: usize, is_busy: bool) -> Vec<Row> {
    let folder = bench.folder();
    let ours = Process::sessionwatch(folder.path(), &[]);
    register(ours.port, BUSY).await;
    let peers = [
        ("nchan", "/sub", peers::nchan(folder.path())),
        ("Node's ws", "/", peers::node_ws()),
        ("bare writes", "/sub", Some(Process::bare("broadcast", &[]))),
    ];
    let _busy = is_busy.then(|| Process::bare("busy", &[]));
    let mut us = Measured::default();
    let mut them: [Measured; 3] = Default::default();
    for _ in 0..bench.rounds() {
        let port = ours.port;
        let ask = move |change: u64| {
            let body = format!(r#"{{"status":"running","current_task":"c{change}"}}"#);
            request("PUT", &format!("/sessions/s{}/status", change % BUSY as u64), port, Some(&body))
        };
        let before = ours.spent();
        let delayed = delays(bench, port, "/ws", watchers, ask).await;
        us.add(&delayed, ours.spent() - before);
        let size = us.bytes.last().copied().unwrap_or_default() as usize;
        for ((_, path, peer), measured) in peers.iter().zip(&mut them) {
            let Some(peer) = peer else { continue };
            let port = peer.port;
            let ask = move |change| request("POST", "/pub", port, Some(&message(change, size)));
            let before = peer.spent();
            let delayed = delays(bench, port, path, watchers, ask).await;
            measured.add(&delayed, peer.spent() - before);
        }
    }
    let mut against = String::new();
    for ((name, ..), measured) in peers.iter().zip(&them).filter(|(_, measured)| !measured.p99.is_empty()) {
        let _ = write!(against, "{}{name}: {}", if against.is_empty() { "" } else { "; " }, measured.text());
    }
    let nchan = &them[0];
    let verdict = |holds: bool| if nchan.p99.is_empty() { Verdict::Open } else { Verdict::of(holds) };
    let (delay, cost) = (ratio(&us.p99, &nchan.p99), ratio(&us.cpu, &nchan.cpu));
    let beside = if is_busy { ", beside one busy loop" } else { "" };
    let measure = format!("change to dashboard at {PACE} changes/s, {watchers} dashboards{beside}");
    vec![
        Row::new(
            format!("{measure}: delay"),
            "p99 ≤ 25 ms, and ≤ 1.5 × nchan's",
            us.text(),
            verdict(median(&us.p99) <= 0.025 && delay <= 1.5),
        )
        .against(against),
        Row::new(
            format!("{measure}: CPU of the server a delivery"),
            "≤ 4 µs, and ≤ nchan's",
            format!("{:.2} µs", median(&us.cpu) * 1e6),
            verdict(median(&us.cpu) <= 4e-6 && cost <= 1.0),
        )
        .against(match nchan.p99.is_empty() {
            true => "nchan is not installed".to_owned(),
            false => format!("{cost:.2} × nchan's, p99 {delay:.2} × nchan's"),
        }),
    ]
}
