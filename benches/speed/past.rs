//! The past: how long any moment of 30 days takes, what an event costs in the log, and what a
//! checkpoint costs the writer. The history is made with the library, decided and committed as in the
//! server. `SESSIONWATCH_PAST_EVENTS` and `SESSIONWATCH_PAST_SESSIONS` set its size.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use sessionwatch::backend::sqlite::Sqlite;
use sessionwatch::backend::{Backend, Past};
use sessionwatch::change::{Actor, Authority, Cause, Change, Report};
use sessionwatch::clock::{Clock, Mono, Now, Timestamp};
use sessionwatch::decide::{Draft, Limits};
use sessionwatch::past::{Checkpoint, Encoder};
use sessionwatch::registry::Registry;
use sessionwatch::session::{Status, Visibility};

use crate::Bench;
use crate::process::Process;
use crate::report::{Row, Verdict, median, number, percentile};
use crate::seed;

/// The history goes back so far, a little less than the server keeps.
const DAYS: f64 = 29.9;
const BATCH: u64 = 10_000;
const TASKS: [&str; 6] = ["Q4 report", "Monte Carlo", "export orders", "render charts", "nightly sync", "train model"];

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Numbers without a pattern, the same in each run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % most.max(1)
    }
}

/// What happens to a session: mostly it reports; sometimes it ends, and the next one begins.
fn change(dice: &mut Dice, sessions: u64, registry: &Registry) -> Change {
    let index = dice.below(sessions) as usize;
    let id = seed::id(index);
    if registry.get(id.as_str()).is_none() {
        return seed::registration(index);
    }
    if dice.below(20) == 0 {
        return Change::Remove { id, cause: Cause::Ended, actor: Actor::default(), authority: Authority::Server };
    }
    let report = match dice.below(3) {
        0 => Report { status: Some(Status::Idle), ..Report::default() },
        1 => {
            let visibility = if dice.below(2) == 0 { Visibility::Visible } else { Visibility::Hidden };
            Report { visibility: Some(visibility), ..Report::default() }
        }
        _ => {
            let task = TASKS[dice.below(TASKS.len() as u64) as usize];
            Report { status: Some(Status::Running), task: Some(Some(task.into())), ..Report::default() }
        }
    };
    Change::Report(id, report, Authority::Server)
}

/// Takes a checkpoint as the keeper does.
async fn checkpoint(store: &Sqlite, registry: &Registry, at: Timestamp) -> u64 {
    let view = registry.view();
    let (mut pieces, mut bytes) = (0, 0);
    for piece in Encoder::new(view.sessions().cloned(), at) {
        pieces += 1;
        bytes += piece.body.len() as u64;
        store.put_piece(view.seq, piece).await.expect("it is written");
    }
    let sessions = view.len() as u64;
    store.finish(Checkpoint { seq: view.seq, at, pieces, sessions, bytes }).await.expect("it is written");
    bytes
}

/// Makes the history; returns how many events it has, and the bytes of all checkpoints.
async fn history(folder: &Path, sessions: u64, events: u64) -> (u64, u64) {
    let store = Sqlite::open(&folder.join("bench.db")).await.expect("the database opens");
    let until = Clock::system().now().wall;
    let span = Duration::from_secs_f64(DAYS * 86_400.0);
    let begin = until.minus(span);
    store.load(begin).await.expect("it is empty");
    let now = |at: f64| {
        let passed = span.mul_f64(at.clamp(0.0, 1.0));
        Now { wall: begin.plus(passed), mono: Mono(passed.as_millis() as u64) }
    };
    let registry = seed::sessions(sessions as usize, now(0.0), Some(&store)).await;
    let (mut dice, mut checkpoints) = (Dice(7), 0);
    while registry.seq() < events {
        let at = now(registry.seq() as f64 / events as f64);
        let mut draft = Draft::new(&registry, Limits::sessions(usize::MAX));
        for step in 0..BATCH {
            let within = Now { wall: Timestamp(at.wall.0 + step as i64 / 100), ..at };
            let _ = draft.decide(&change(&mut dice, sessions, &registry), within);
        }
        let made = Arc::new(draft.into_events());
        let turn = store.begin(registry.seq()).await.expect("a turn");
        turn.commit(made.clone()).await.expect("the store takes it");
        registry.apply(&made, at);
        let reach = store.reach().await.expect("it is read");
        if reach.is_due(registry.seq(), registry.len() as u64, at.wall) {
            checkpoints += checkpoint(&store, &registry, at.wall).await;
        }
    }
    store.close().await.expect("it closes");
    (registry.seq(), checkpoints)
}

/// Bytes of the log in this file, its indexes included, for each entry.
fn bytes_an_event(file: &Path) -> f64 {
    let db = Connection::open(file).expect("it opens");
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, f64>(0)).expect("a number");
    let bytes = number("SELECT cast(sum(pgsize) AS REAL) FROM dbstat WHERE aggregate = TRUE AND name LIKE '%events%'");
    bytes / number("SELECT cast(count(*) AS REAL) FROM events")
}

/// The size of an entry with what each event changed, and without it, as before.
async fn sizes(bench: &Bench) -> [f64; 2] {
    let folder = bench.folder();
    history(folder.path(), 2_000, if bench.smoke { 10_000 } else { 200_000 }).await;
    let file = folder.path().join("bench.db");
    let rewritten = |sql: &str| {
        let db = Connection::open(&file).expect("it opens");
        db.execute_batch(&format!("{sql} VACUUM;")).expect("it is rewritten");
        drop(db);
        bytes_an_event(&file)
    };
    [rewritten(""), rewritten("UPDATE events SET state = NULL;")]
}

async fn looks(bench: &Bench, process: &Process, path: &str) -> Vec<f64> {
    let mut dice = Dice(11);
    let mut took = Vec::new();
    let client = reqwest::Client::new();
    for _ in 0..if bench.smoke { 3 } else { 15 } {
        let ago = Duration::from_secs_f64(DAYS * 86_400.0 * 0.99 * dice.below(1_000_000) as f64 / 1e6);
        let at = Clock::system().now().wall.minus(ago);
        let begun = Instant::now();
        let asked = client.get(format!("http://127.0.0.1:{}/sessions?at={at}{path}", process.port));
        let answer = asked.send().await.expect("an answer").error_for_status().expect("a success");
        answer.bytes().await.expect("all of it");
        took.push(begun.elapsed().as_secs_f64());
    }
    took
}

/// Registrations for each second, while checkpoints are taken one after the other, and without.
async fn beside_checkpoints(bench: &Bench, sessions: u64) -> [f64; 4] {
    let folder = bench.folder();
    let (mut with, mut without): ([Vec<f64>; 2], [Vec<f64>; 2]) = Default::default();
    let store = Arc::new(Sqlite::open(&folder.path().join("bench.db")).await.expect("it opens"));
    store.load(Timestamp(0)).await.expect("it is empty");
    let registry = Arc::new(seed::sessions(sessions as usize, Clock::system().now(), Some(&store)).await);
    for _ in 0..bench.rounds() {
        for is_with in [false, true] {
            let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let taking = (is_with).then(|| {
                let (store, registry, over) = (store.clone(), registry.clone(), over.clone());
                tokio::spawn(async move {
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        let view = registry.view();
                        let sessions: Vec<_> = view.sessions().cloned().collect();
                        let mut encoder = Encoder::new(sessions.into_iter(), Timestamp(0));
                        // On a thread of its own, as the keeper does.
                        loop {
                            let next = tokio::task::spawn_blocking(move || (encoder.next(), encoder)).await;
                            let (piece, rest) = next.expect("it is made");
                            encoder = rest;
                            let Some(piece) = piece else { break };
                            store.put_piece(view.seq, piece).await.expect("it is written");
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                })
            });
            let mut latencies = Vec::new();
            let begun = Instant::now();
            let mut dice = Dice(3);
            while begun.elapsed() < bench.slice() {
                let mut draft = Draft::new(&registry, Limits::sessions(usize::MAX));
                for _ in 0..64 {
                    let _ = draft.decide(&change(&mut dice, sessions, &registry), Clock::system().now());
                }
                let made = Arc::new(draft.into_events());
                let one = Instant::now();
                store.begin(registry.seq()).await.expect("a turn").commit(made.clone()).await.expect("it is stored");
                latencies.push(one.elapsed().as_secs_f64());
                registry.apply(&made, Clock::system().now());
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            if let Some(taking) = taking {
                let _ = taking.await;
            }
            let side = if is_with { &mut with } else { &mut without };
            side[0].push(latencies.len() as f64 / begun.elapsed().as_secs_f64());
            side[1].push(percentile(&latencies, 0.99));
        }
    }
    [median(&without[0]), median(&with[0]), median(&without[1]), median(&with[1])]
}

/// All of it.
pub async fn any_moment(bench: &Bench) -> Vec<Row> {
    let sessions = setting("SESSIONWATCH_PAST_SESSIONS", if bench.smoke { 1_000 } else { 100_000 });
    let events = setting("SESSIONWATCH_PAST_EVENTS", if bench.smoke { 10_000 } else { 2_000_000 });
    let folder = bench.folder();
    let begun = Instant::now();
    let (made, checkpoints) = history(folder.path(), sessions, events).await;
    eprintln!("  {} events were made in {:.0} s", number(made as f64), begun.elapsed().as_secs_f64());
    let log = bytes_an_event(&folder.path().join("bench.db")) * made as f64;
    let process = Process::sessionwatch(folder.path(), &["--events-max-size", "16GiB"]);
    let one = looks(bench, &process, "&limit=50").await;
    let whole = looks(bench, &process, "").await;
    drop(process);
    let what = format!("{} sessions, {} events in 30 days", number(sessions as f64), number(made as f64));
    let shown = |took: &[f64]| {
        format!("{:.0} ms, longest {:.0} ms", median(took) * 1e3, took.iter().fold(0.0_f64, |a, b| a.max(*b)) * 1e3)
    };
    let longest = one.iter().fold(0.0_f64, |a, b| a.max(*b));
    let [with, without] = sizes(bench).await;
    let [rate, rate_beside, p99, p99_beside] = beside_checkpoints(bench, sessions).await;
    vec![
        Row::new(
            format!("any moment, a page of 50 rows; {what}"),
            "< 1 s",
            shown(&one),
            Verdict::of(bench.smoke || longest < 1.0),
        ),
        Row::new("any moment, every row", "", shown(&whole), Verdict::Open),
        Row::new("bytes an event in the log, indexes included", "", format!("{with:.0}"), Verdict::Open)
            .against(format!("{without:.0} before")),
        Row::new(
            "checkpoints, of the log's size",
            "",
            format!(
                "{:.0} % ({:.1} bytes an event)",
                100.0 * checkpoints as f64 / log,
                checkpoints as f64 / made as f64
            ),
            Verdict::Open,
        ),
        Row::new(
            "commits of 64 changes a second, while checkpoints are written without a pause",
            "",
            format!("{rate_beside:.0}, p99 {:.1} ms", p99_beside * 1e3),
            Verdict::Open,
        )
        .against(format!("{rate:.0}, p99 {:.1} ms without", p99 * 1e3)),
    ]
}
