//! The benchmarks: the speed of sessionwatch, compared with bare servers and with its peers.
//!
//! `script/bench` runs all and prints one table; `script/bench NAME…` runs some;
//! `script/bench --smoke` runs a small part of each, to check that they still work. The two
//! sides of a ratio are measured alternately in one run, since absolute numbers change with
//! the load of the machine. The load comes from this process, the server is another one.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is no library, fails by panicking, and prints its table"
)]

mod bare;
mod cluster;
mod crowd;
mod delivery;
mod fanout;
mod heartbeats;
mod http;
mod kill;
mod memory;
mod past;
mod peers;
mod process;
mod registrations;
mod report;
mod rules;
mod seed;
mod socket;
mod stalled;
mod writers;

use std::time::Duration;

use tempfile::TempDir;

use crate::report::Row;

/// How thoroughly to measure, and where databases are made.
pub struct Bench {
    /// Only check that it works.
    pub smoke: bool,
}

impl Bench {
    /// A folder on the project's disk, since a sync costs nothing on a memory file system.
    pub fn folder(&self) -> TempDir {
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
    }

    /// The number of rounds; in each, both sides are measured.
    pub fn rounds(&self) -> usize {
        if self.smoke { 1 } else { 5 }
    }

    /// How long one side is measured at a time.
    pub fn slice(&self) -> Duration {
        Duration::from_millis(if self.smoke { 200 } else { 2_000 })
    }
}

/// The measures, by their names on the command line.
const MEASURES: [&str; 16] = [
    "heartbeats",
    "sockets",
    "registrations",
    "fanout",
    "delivery",
    "writers",
    "stalled",
    "kill",
    "memory",
    "snapshots",
    "returning",
    "sweep",
    "restart",
    "rules",
    "past",
    "cluster",
];

async fn measure(name: &str, bench: &Bench) -> Vec<Row> {
    match name {
        "heartbeats" => heartbeats::http(bench).await,
        "sockets" => heartbeats::sockets(bench).await,
        "registrations" => registrations::durable(bench).await,
        "fanout" => fanout::changes(bench).await,
        "delivery" => delivery::one_change(bench, fanout::watchers(bench)).await,
        "writers" => writers::flat_out(bench, fanout::watchers(bench)).await,
        "stalled" => stalled::beside(bench).await,
        "kill" => kill::to_close_frame(bench).await,
        "memory" => memory::idle(bench).await,
        "snapshots" => crowd::snapshots(bench).await,
        "returning" => crowd::returning(bench).await,
        "sweep" => crowd::sweep(bench).await,
        "restart" => crowd::restart(bench).await,
        "rules" => rules::cost(bench).await,
        "past" => past::any_moment(bench).await,
        "cluster" => cluster::several(bench).await,
        _ => Vec::new(),
    }
}

/// A measure that waits for what never comes fails, with its name; CI would wait for it
/// until its own end.
async fn within(name: &str, bench: &Bench) -> Vec<Row> {
    let most = Duration::from_secs(if bench.smoke { 120 } else { 1_800 });
    let measured = tokio::time::timeout(most, measure(name, bench)).await;
    measured.unwrap_or_else(|_| panic!("the measure {name} did not end within {most:?}"))
}

fn main() {
    // `cargo bench` adds the argument `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [role, name, rest @ ..] = &arguments[..]
        && role == "role"
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(bare::serve(name, rest));
        return;
    }
    let smoke = arguments.iter().any(|argument| argument == "--smoke");
    let asked: Vec<&str> = arguments.iter().map(String::as_str).filter(|name| *name != "--smoke").collect();
    if let Some(unknown) = asked.iter().find(|name| !MEASURES.contains(name)) {
        eprintln!("there is no measure {unknown:?}; there are: {}", MEASURES.join(", "));
        std::process::exit(2);
    }
    let bench = Bench { smoke };
    // One thread for the load, so that it takes the same CPU time for both sides.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rows = Vec::new();
    for name in MEASURES.into_iter().filter(|name| asked.is_empty() || asked.contains(name)) {
        eprintln!("measuring {name} …");
        // A heartbeat on a socket costs the sender more than the server, so two threads send.
        let wide = (name == "sockets").then(|| tokio::runtime::Builder::new_multi_thread().enable_all().build());
        let measured = match wide {
            Some(Ok(wide)) => wide.block_on(within(name, &bench)),
            _ => runtime.block_on(within(name, &bench)),
        };
        measured.iter().for_each(|row| eprintln!("  {}", row.line()));
        rows.extend(measured);
    }
    report::print(&rows);
}
