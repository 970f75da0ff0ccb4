//! Changes to 500 dashboards: how many per second at full load. What one change costs is in
//! `delivery.rs`.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::Bench;
use crate::http::{Connection, request};
use crate::peers;
use crate::process::Process;
use crate::report::{Row, Verdict, median, number};
use crate::socket::{self, Socket};

const DASHBOARDS: usize = 500;
/// Sessions whose status changes as fast as the server takes it.
pub const BUSY: usize = 100;
/// Changes per second while the delay is measured.
pub const PACE: u32 = 100;

/// At full load, compared with nchan, Node's `ws` and a bare writer.
pub async fn changes(bench: &Bench) -> Vec<Row> {
    flat_out(bench, watchers(bench)).await
}

/// The number of dashboards.
pub fn watchers(bench: &Bench) -> usize {
    if bench.smoke { 10 } else { DASHBOARDS }
}

/// What all dashboards of one server received.
#[derive(Default)]
pub struct Seen {
    frames: AtomicU64,
    bytes: AtomicU64,
    changes: AtomicU64,
}

impl Seen {
    fn read(&self) -> [f64; 3] {
        [&self.frames, &self.bytes, &self.changes].map(|count| count.load(Ordering::Relaxed) as f64)
    }

    /// Frames, bytes and changes a second over this time.
    pub async fn rates(&self, time: Duration) -> [f64; 3] {
        let (before, begun) = (self.read(), Instant::now());
        tokio::time::sleep(time).await;
        let (after, seconds) = (self.read(), begun.elapsed().as_secs_f64());
        std::array::from_fn(|index| (after[index] - before[index]) / seconds)
    }
}

/// Opens dashboards; their frames are counted until the set is dropped.
async fn watch(port: u16, path: &'static str, count: usize) -> (Arc<Seen>, JoinSet<()>) {
    watch_in("", port, path, count).await
}

/// The same with a subprotocol.
pub async fn watch_in(form: &str, port: u16, path: &'static str, count: usize) -> (Arc<Seen>, JoinSet<()>) {
    let (seen, mut tasks) = (Arc::new(Seen::default()), JoinSet::new());
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(Socket::open_in(port, path, form).await.expect("a dashboard"));
    }
    for mut socket in open {
        let seen = seen.clone();
        tasks.spawn(async move {
            while let Ok(text) = socket.text().await {
                seen.frames.fetch_add(1, Ordering::Relaxed);
                seen.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
                seen.changes.fetch_add(told(text), Ordering::Relaxed);
                // One frame of each dashboard in turn, even if more wait in its socket.
                tokio::task::yield_now().await;
            }
        });
    }
    (seen, tasks)
}

/// The number of changes in a frame: `seq` less `from`; one for a peer's message.
fn told(text: &[u8]) -> u64 {
    let mut begin = [0; 120];
    let head = if text.starts_with(b"{") { &text[..text.len().min(120)] } else { inflated(text, &mut begin) };
    let head = std::str::from_utf8(head).unwrap_or_default();
    if !head.starts_with(r#"{"type":"changes""#) {
        return u64::from(head.starts_with(r#"{"peer""#));
    }
    let number = |name| socket::field(head, name).and_then(|number| number.parse::<u64>().ok());
    number("seq").zip(number("from")).map_or(0, |(seq, from)| seq - from)
}

/// The beginning of a compressed frame.
fn inflated<'a>(frame: &[u8], begin: &'a mut [u8]) -> &'a [u8] {
    let mut read = 0;
    let mut stream = flate2::read::DeflateDecoder::new_with_buf(frame, vec![0; 512]);
    while let Ok(more @ 1..) = stream.read(&mut begin[read..]) {
        read += more;
    }
    &begin[..read]
}

/// Status reports on sockets, each sent as soon as the server accepts it.
async fn busy(port: u16, over: Arc<AtomicBool>, count: usize) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let frames = ["running", "idle"].map(|status| socket::text(&format!(r#"{{"type":"status","status":"{status}"}}"#)));
    for _ in 0..count {
        let (mut socket, _) = socket::register(port, "busy").await.expect("a session on a socket");
        let (over, frames) = (over.clone(), frames.clone());
        tasks.spawn(async move {
            for frame in frames.iter().cycle() {
                if over.load(Ordering::Relaxed) || socket.send_prepared(frame).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    tasks
}

/// The bytes of a sessionwatch frame with one change.
pub const ONE_CHANGE: usize = 620;

/// A message of this many bytes.
pub fn message(number: u64, bytes: usize) -> String {
    let head = format!(r#"{{"peer":0,"current_task":"c{number}","padding":""#);
    let padding = "x".repeat(bytes.saturating_sub(head.len() + 2));
    format!(r#"{head}{padding}"}}"#)
}

/// Posts messages as fast as the peer accepts them.
async fn publish(port: u16, over: Arc<AtomicBool>, connections: usize) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let mut connection = Connection::open(port).await.expect("the peer accepts");
        let post = request("POST", "/pub", port, Some(&message(0, ONE_CHANGE)));
        let over = over.clone();
        tasks.spawn(async move { while !over.load(Ordering::Relaxed) && connection.ask(&post).await.is_ok() {} });
    }
    tasks
}

async fn our_round(bench: &Bench, port: u16, watchers: usize) -> [f64; 3] {
    let (seen, dashboards) = watch(port, "/ws", watchers).await;
    let over = Arc::new(AtomicBool::new(false));
    let load = busy(port, over.clone(), BUSY.min(watchers * 10)).await;
    tokio::time::sleep(bench.slice() / 4).await;
    let rates = seen.rates(bench.slice()).await;
    over.store(true, Ordering::Relaxed);
    drop(load);
    drop(dashboards);
    rates
}

async fn peer_round(bench: &Bench, port: u16, path: &'static str, watchers: usize) -> f64 {
    let (seen, dashboards) = watch(port, path, watchers).await;
    let over = Arc::new(AtomicBool::new(false));
    let load = publish(port, over.clone(), 8).await;
    tokio::time::sleep(bench.slice() / 4).await;
    let [_, _, changes] = seen.rates(bench.slice()).await;
    over.store(true, Ordering::Relaxed);
    drop(load);
    drop(dashboards);
    changes
}

async fn flat_out(bench: &Bench, watchers: usize) -> Vec<Row> {
    let folder = bench.folder();
    let ours = Process::sessionwatch(folder.path(), &[]);
    let (nchan, node) = (peers::nchan(folder.path()), peers::node_ws());
    let (mut frames, mut changes, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare_frames, mut shares) = (Vec::new(), Vec::new());
    let (mut nchan_rates, mut node_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let [our_frames, our_bytes, our_changes] = our_round(bench, ours.port, watchers).await;
        let size = (our_bytes / our_frames.max(1.0)) as usize;
        let bare = Process::bare("writer", &[&size.to_string()]);
        let (seen, dashboards) = watch(bare.port, "/", watchers).await;
        let [bare_rate, ..] = seen.rates(bench.slice()).await;
        drop(dashboards);
        if let Some(nchan) = &nchan {
            let rate = peer_round(bench, nchan.port, "/sub", watchers).await;
            nchan_rates.push(rate);
            ratios.push(our_changes / rate);
        }
        if let Some(node) = &node {
            node_rates.push(peer_round(bench, node.port, "/", watchers).await);
        }
        frames.push(our_frames);
        changes.push(our_changes);
        sizes.push(size as f64);
        bare_frames.push(bare_rate);
        shares.push(our_frames / bare_rate);
    }
    let (ratio, share) = (median(&ratios), median(&shares));
    let measure = format!("fan-out, {watchers} dashboards, changes as fast as they go");
    vec![
        Row::new(
            format!("{measure}: deliveries of changes/s"),
            "≥ 5 × nchan",
            number(median(&changes)),
            if ratios.is_empty() { Verdict::Open } else { Verdict::of(ratio >= 5.0) },
        )
        .against(format!(
            "{}, {}",
            peers::compared("nchan", &nchan_rates, |rate| format!("{} ({ratio:.1} ×)", number(rate))),
            peers::compared("Node's ws", &node_rates, number)
        )),
        Row::new(
            format!("{measure}: frames/s of {:.1} KiB", median(&sizes) / 1_024.0),
            "≥ 75 % of the bare writer",
            number(median(&frames)),
            Verdict::of(share >= 0.75),
        )
        .against(format!("bare writer {} ({:.0} %)", number(median(&bare_frames)), share * 100.0)),
    ]
}

/// What all dashboards received while changes were paced.
#[derive(Default)]
pub struct Delayed {
    /// For each change and each dashboard, the seconds from the request to its arrival.
    pub delays: Vec<f64>,
    /// Frames with changes.
    pub frames: u64,
    /// The bytes of those frames.
    pub bytes: u64,
}

/// The number of each change that a frame tells of.
fn numbers(text: &str) -> impl Iterator<Item = usize> {
    const BEGIN: &str = r#""current_task":"c"#;
    let rest = text.match_indices(BEGIN).map(|(at, _)| &text[at + BEGIN.len()..]);
    rest.filter_map(|rest| rest.split('"').next()?.parse().ok())
}

/// Paces changes, and measures when they arrive.
pub async fn delays(
    bench: &Bench,
    port: u16,
    path: &'static str,
    watchers: usize,
    ask: impl Fn(u64) -> Vec<u8>,
) -> Delayed {
    let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen: Arc<Mutex<Delayed>> = Arc::default();
    let mut dashboards = JoinSet::new();
    for _ in 0..watchers {
        let mut socket = Socket::open(port, path).await.expect("a dashboard");
        let (sent, seen) = (sent.clone(), seen.clone());
        dashboards.spawn(async move {
            while let Ok(text) = socket.text().await {
                let now = Instant::now();
                let text = std::str::from_utf8(text).unwrap_or_default();
                // A snapshot contains changes from before.
                if text.starts_with(r#"{"type":"snapshot""#) || !text.contains(r#""current_task":"c"#) {
                    continue;
                }
                let mut seen = seen.lock();
                seen.frames += 1;
                seen.bytes += text.len() as u64;
                for change in numbers(text) {
                    if let Some(at) = sent.lock().get(change) {
                        seen.delays.push((now - *at).as_secs_f64());
                    }
                }
            }
        });
    }
    let mut connection = Connection::open(port).await.expect("the server accepts");
    let mut pace = tokio::time::interval(Duration::from_secs(1) / PACE);
    let changes = (bench.slice().as_secs_f64() * 2.0 * f64::from(PACE)) as u64;
    for change in 0..changes {
        pace.tick().await;
        sent.lock().push(Instant::now());
        let (status, _) = connection.ask(&ask(change)).await.expect("an answer");
        assert!((200..300).contains(&status), "{status}");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(dashboards);
    std::mem::take(&mut *seen.lock())
}
