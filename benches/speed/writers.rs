//! Many writers over HTTP, each as fast as it is answered, and 500 dashboards: how many changes reach
//! dashboards in a second and how many bytes each takes, in every form of the frames, beside nchan.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use crate::Bench;
use crate::fanout::{ONE_CHANGE, message, watch_in};
use crate::http::{Connection, register, request};
use crate::peers;
use crate::process::Process;
use crate::report::{Row, Verdict, median, number};

/// The forms of the frames.
const FORMS: [&str; 3] = ["sessionwatch.v1", "sessionwatch.v1.patch", "sessionwatch.v1.patch.z"];

/// With 32 and with 128 writers.
pub async fn flat_out(bench: &Bench, watchers: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for writers in [32, 128] {
        rows.extend(with(bench, watchers, writers).await);
    }
    rows
}

/// Different reports of a session. Their texts are random, so that compression does not profit from
/// repetitions that real sessions do not have.
const REPORTS: usize = 16;

/// Requests again and again, on a connection of its own.
async fn write(port: u16, requests: Vec<Vec<u8>>, over: Arc<AtomicBool>) {
    let mut connection = Connection::open(port).await.expect("the server accepts");
    for request in requests.iter().cycle() {
        if over.load(Ordering::Relaxed) || connection.ask(request).await.is_err() {
            return;
        }
    }
}

/// Changes that all dashboards got in a second, and the bytes of one.
async fn one_round(
    bench: &Bench,
    port: u16,
    (path, form): (&'static str, &str),
    watchers: usize,
    requests: Vec<Vec<Vec<u8>>>,
) -> (f64, f64) {
    let (seen, dashboards) = watch_in(form, port, path, watchers).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for of_one in requests {
        writers.spawn(write(port, of_one, over.clone()));
    }
    tokio::time::sleep(bench.slice() / 4).await;
    let [_, bytes, changes] = seen.rates(bench.slice()).await;
    over.store(true, Ordering::Relaxed);
    while writers.join_next().await.is_some() {}
    drop(dashboards);
    (changes, bytes / changes.max(1.0))
}

async fn with(bench: &Bench, watchers: usize, writers: usize) -> Vec<Row> {
    let folder = bench.folder();
    let ours = Process::sessionwatch(folder.path(), &[]);
    register(ours.port, writers).await;
    let nchan = peers::nchan(folder.path());
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut sizes: [Vec<f64>; 3] = Default::default();
    let (mut theirs, mut ratios): (Vec<f64>, [Vec<f64>; 3]) = Default::default();
    for _ in 0..bench.rounds() {
        let mut peer = 0.0;
        if let Some(nchan) = &nchan {
            let post = request("POST", "/pub", nchan.port, Some(&message(0, ONE_CHANGE)));
            let requests = vec![vec![post]; writers];
            (peer, _) = one_round(bench, nchan.port, ("/sub", ""), watchers, requests).await;
            theirs.push(peer);
        }
        for (index, form) in FORMS.iter().enumerate() {
            let put = |writer: usize| {
                let body = format!(r#"{{"status":"running","current_task":"{}"}}"#, uuid::Uuid::new_v4());
                request("PUT", &format!("/sessions/s{writer}/status"), ours.port, Some(&body))
            };
            let of_one = |writer| (0..REPORTS).map(|_| put(writer)).collect();
            let requests = (0..writers).map(of_one).collect();
            let (rate, size) = one_round(bench, ours.port, ("/ws", form), watchers, requests).await;
            rates[index].push(rate);
            sizes[index].push(size);
            if peer > 0.0 {
                ratios[index].push(rate / peer);
            }
        }
    }
    let mut rows = Vec::new();
    for (index, form) in FORMS.iter().enumerate() {
        let (ratio, share) = (median(&ratios[index]), median(&sizes[index]) / median(&sizes[0]).max(1.0));
        let verdict = match ratios[index].is_empty() {
            true => Verdict::Open,
            false => Verdict::of(ratio >= 5.0 && (index < 2 || share <= 1.0 / 3.0)),
        };
        let row = Row::new(
            format!("{writers} writers over HTTP, {watchers} dashboards, {form}: deliveries of changes/s"),
            if index < 2 { "≥ 5 × nchan" } else { "≥ 5 × nchan, a third of the bytes" },
            format!(
                "{}, {:.0} bytes each ({:.0} %)",
                number(median(&rates[index])),
                median(&sizes[index]),
                share * 100.0
            ),
            verdict,
        );
        let nchan = peers::compared("nchan", &theirs, |rate| format!("{} ({ratio:.1} ×)", number(rate)));
        rows.push(row.against(nchan));
    }
    rows
}
