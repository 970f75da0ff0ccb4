//! Large numbers: snapshots of 100,000 sessions, 1,000 dashboards that reconnect, the sweep
//! and the restart with a million sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sessionwatch::clock::Clock;
use tokio::task::JoinSet;

use crate::Bench;
use crate::http::{Connection, metric, register, request};
use crate::process::{self, Process};
use crate::report::{Row, Verdict, median, number};
use crate::seed;
use crate::socket::{Socket, field};

/// The number of dashboards that share one snapshot.
const SHARING: usize = 20;

/// The server's CPU time for the snapshot of each further dashboard.
pub async fn snapshots(bench: &Bench) -> Vec<Row> {
    let sessions = if bench.smoke { 2_000 } else { 100_000 };
    let folder = bench.folder();
    seed::database(folder.path(), sessions).await;
    let ours = Process::sessionwatch(folder.path(), &[]);
    let (bytes, parts) = whole(ours.port, "/ws").await;
    let bare = Process::bare("snapshots", &[&(bytes / parts).to_string(), &parts.to_string()]);
    let (mut our_costs, mut bare_costs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        // The first dashboard of each group causes the encoding; its cost is subtracted.
        let one = cost(&ours, "/ws", 1).await;
        let all = cost(&ours, "/ws", SHARING).await;
        let each = (all.saturating_sub(one)).as_secs_f64() / (SHARING - 1) as f64;
        let bare_each = cost(&bare, "/", SHARING).await.as_secs_f64() / SHARING as f64;
        our_costs.push(each);
        bare_costs.push(bare_each);
        ratios.push(each / bare_each);
    }
    let ratio = median(&ratios);
    let encodes = encodes(ours.port, if bench.smoke { 1 } else { 5 }).await;
    vec![
        Row::new(
            format!("{} sessions: each further dashboard's snapshot", number(sessions as f64)),
            "≤ 1.5 × a memcpy of its bytes plus the write",
            format!("{:.1} ms of CPU for {:.1} MB", median(&our_costs) * 1e3, bytes as f64 / 1e6),
            Verdict::of(ratio <= 1.5),
        )
        .against(format!("memcpy + write {:.1} ms ({ratio:.2} ×)", median(&bare_costs) * 1e3)),
        Row::new(
            "snapshots encoded a second while dashboards come and go",
            "≤ 2",
            format!("{encodes:.1}"),
            Verdict::of(encodes <= 2.2),
        ),
    ]
}

/// Opens a dashboard and reads one complete snapshot; returns its bytes and parts.
async fn whole(port: u16, path: &str) -> (usize, usize) {
    let mut socket = Socket::open(port, path).await.expect("a dashboard");
    socket.until(r#"{"type":"hello""#).await.expect("hello");
    let (mut bytes, mut parts) = (0, 0);
    loop {
        let text = socket.text().await.expect("a part");
        bytes += text.len();
        parts += 1;
        let head = std::str::from_utf8(&text[..text.len().min(100)]).expect("text");
        let number = |name| field(head, name).and_then(|number| number.parse::<usize>().ok()).expect("its number");
        if number("part") == number("parts") {
            return (bytes, parts);
        }
    }
}

/// CPU time of the server for this many dashboards that connect at once and read everything.
async fn cost(server: &Process, path: &'static str, dashboards: usize) -> Duration {
    // Wait until the last snapshot is no longer shared.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = server.cpu();
    let port = server.port;
    let mut tasks = JoinSet::new();
    for _ in 0..dashboards {
        tasks.spawn(async move {
            let mut socket = Socket::open(port, path).await.expect("a dashboard");
            // When nothing arrives for a moment, everything has arrived.
            while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(1_000), socket.text()).await {}
        });
    }
    while tasks.join_next().await.is_some() {}
    server.cpu().saturating_sub(before)
}

async fn encodes(port: u16, seconds: u64) -> f64 {
    let before = metric(port, "sessionwatch_snapshots_total").await;
    let over = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let over = over.clone();
        tasks.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let mut socket = Socket::open(port, "/ws").await.expect("a dashboard");
                socket.until(r#"{"type":"hello""#).await.expect("hello");
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    over.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    (metric(port, "sessionwatch_snapshots_total").await - before) / begun.elapsed().as_secs_f64()
}

/// 1,000 dashboards lose their connection and reconnect within 5 s, while sessions change.
pub async fn returning(bench: &Bench) -> Vec<Row> {
    let (count, within) = if bench.smoke { (20, 500) } else { (1_000, 4_000) };
    let folder = bench.folder();
    let ours = Process::sessionwatch(folder.path(), &[]);
    let port = ours.port;
    register(port, 1_000).await;
    let over = Arc::new(AtomicBool::new(false));
    let changing = tokio::spawn(change(port, over.clone()));
    let mut open = Vec::new();
    for _ in 0..count {
        let mut socket = Socket::open(port, "/ws").await.expect("a dashboard");
        let (_, hello) = socket.until(r#"{"type":"hello""#).await.expect("hello");
        let epoch = field(&hello, "epoch").expect("an epoch").to_owned();
        open.push((socket, epoch, field(&hello, "seq").expect("a seq").to_owned()));
    }
    let places: Vec<(String, String)> = open.into_iter().map(|(_, epoch, seq)| (epoch, seq)).collect();
    // All disconnect at once; each reconnects after its jitter.
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, (epoch, seq)) in places.into_iter().enumerate() {
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis((index * within / count) as u64)).await;
            let mut socket = Socket::open(port, &format!("/ws?epoch={epoch}&seq={seq}")).await.expect("a dashboard");
            socket.until(r#"{"type":"hello""#).await.expect("hello");
            let resumed = socket.text().await.is_ok_and(|text| !text.starts_with(br#"{"type":"snapshot""#));
            (resumed, socket)
        });
    }
    let (mut resumed, mut back) = (0, Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (by_changes, socket) = done.expect("it comes back");
        resumed += usize::from(by_changes);
        back.push(socket);
    }
    let took = begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    changing.await.expect("the changes go on");
    let share = resumed as f64 / count as f64;
    vec![Row::new(
        format!("{} dashboards back within 5 s, 100 changes/s", number(count as f64)),
        "≥ 95 % resumed by changes",
        format!("{:.1} %, all back in {took:.1} s", share * 100.0),
        Verdict::of(share >= 0.95 && took <= 5.0),
    )]
}

async fn change(port: u16, over: Arc<AtomicBool>) {
    let mut connection = Connection::open(port).await.expect("the server accepts");
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut number = 0_u64;
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        number += 1;
        let body = format!(r#"{{"status":"running","current_task":"c{number}"}}"#);
        connection.must(&request("PUT", &format!("/sessions/s{}/status", number % 1_000), port, Some(&body))).await;
    }
}

/// CPU time of this thread, so that a pause does not include other processes on the core.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[allow(unsafe_code, reason = "the standard library has no clock for a thread's own time")]
    // SAFETY: the call writes to one `timespec`, which lives long enough.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The sweep over a million sessions with a heartbeat every 30 s, with a manual clock: its
/// CPU time in ten minutes, and its longest pause.
pub async fn sweep(bench: &Bench) -> Vec<Row> {
    let (count, seconds) = if bench.smoke { (10_000, 130) } else { (1_000_000, 600) };
    let clock = Clock::manual();
    let registry = seed::sessions(count, clock.now(), None).await;
    let ids: Vec<_> = (0..count).map(seed::id).collect();
    let (mut spent, mut longest) = (Duration::ZERO, Duration::ZERO);
    for second in 0..seconds {
        clock.advance(Duration::from_secs(1));
        let now = clock.now();
        for id in ids.iter().skip(second % 30).step_by(30) {
            let _ = registry.beat(id.as_str(), now);
        }
        drop(registry.take_moved());
        // In slices of a thousand, like the keeper.
        let mut more = true;
        while more {
            let begun = thread_time();
            let (due, again) = registry.due(now, 1_000);
            let took = thread_time().saturating_sub(begun);
            assert_eq!(due, [], "everybody beats in time");
            (spent, longest, more) = (spent + took, longest.max(took), again);
        }
    }
    let share = spent.as_secs_f64() / seconds as f64;
    vec![Row::new(
        format!("{} HTTP sessions: sweep", number(count as f64)),
        "≤ 1 % of a core, no pause over 5 ms",
        format!("{:.2} % of a core, longest pause {:.2} ms", share * 100.0, longest.as_secs_f64() * 1e3),
        Verdict::of(share <= 0.01 && longest <= Duration::from_millis(5)),
    )]
}

/// A restart with a million rows.
pub async fn restart(bench: &Bench) -> Vec<Row> {
    let count = if bench.smoke { 10_000 } else { 1_000_000 };
    let folder = bench.folder();
    seed::database(folder.path(), count).await;
    let (mut firsts, mut alls, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if bench.smoke { 1 } else { 3 } {
        let begun = Instant::now();
        let mut ours = Process::announced(process::sessionwatch(&folder.path().join("bench.db")));
        let port = ours.port;
        let mut connection = Connection::open(port).await.expect("the server accepts");
        let beat = request("POST", &format!("/sessions/s{}/heartbeat", count / 2), port, None);
        while connection.ask(&beat).await.expect("an answer").0 != 200 {}
        firsts.push(begun.elapsed().as_secs_f64());
        let ready = request("GET", "/readyz", port, None);
        while connection.ask(&ready).await.expect("an answer").0 != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        alls.push(begun.elapsed().as_secs_f64());
        let (_, gauges) = connection.ask(&request("GET", "/metrics", port, None)).await.expect("an answer");
        let loaded = sessions_in(&String::from_utf8_lossy(gauges));
        assert_eq!(loaded, count, "what /readyz calls restored has all sessions");
        sizes.push(ours.rss() / count as f64);
        ours.stop();
    }
    let (first, all) = (median(&firsts), median(&alls));
    vec![
        Row::new(
            format!("restart with {} rows", number(count as f64)),
            "first heartbeat answered in 1 s, all loaded in 5 s",
            format!("first heartbeat {first:.2} s, all loaded {all:.2} s"),
            Verdict::of(first <= 1.0 && all <= 5.0),
        )
        .against(format!("{:.0} bytes of RSS a session after it", median(&sizes))),
    ]
}

/// All sessions that `/metrics` counts, of all apps and statuses.
fn sessions_in(gauges: &str) -> usize {
    let lines = gauges.lines().filter(|line| line.starts_with("sessionwatch_sessions{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}
