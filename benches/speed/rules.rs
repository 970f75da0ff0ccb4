//! The CPU time that rules cost: the same server under the same load, with 20 rules and without.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Bench;
use crate::http::{Connection, request};
use crate::process::Process;
use crate::report::{Row, Verdict, median, number};
use crate::seed;

const SESSIONS: usize = 100_000;
const RULES: usize = 20;
/// Each session sends a heartbeat this often.
const BEAT_EVERY: usize = 30;
const TICK: Duration = Duration::from_millis(10);

/// The rules: of each kind that users write. None matches, since what a rule does is another cost.
fn rules() -> String {
    let filters = [
        "app:risk idle:>2h -meta.keep:true",
        "silent:>2m app:risk",
        "busy:>45m task:report",
        "user:guest* age:>8h",
        "status:running silent:>150s -user:root",
    ];
    let mut text = String::new();
    for index in 0..RULES {
        let when = filters[index % filters.len()];
        text.push_str(&format!(
            "[[rule]]\nname = \"rule {index}\"\nwhen = \"{when}\"\nwarn = \"You will be signed out.\"\ngrace = \"5m\"\nthen = \"kill\"\nreason = \"idle\"\n\n"
        ));
    }
    text
}

/// The cost of 20 rules over 100,000 sessions that send heartbeats, of which some change.
pub async fn cost(bench: &Bench) -> Vec<Row> {
    let (sessions, slice) = if bench.smoke { (2_000, 1) } else { (SESSIONS, 10) };
    let (plain, judged) = (bench.folder(), bench.folder());
    let file = judged.path().join("rules.toml");
    std::fs::write(&file, rules()).expect("the rules are written");
    let plain = server(plain.path(), sessions, &[]).await;
    let judged = server(judged.path(), sessions, &["--rules", file.to_str().expect("a path")]).await;
    let mut rows = Vec::new();
    for changes in [100, 1_000] {
        let (mut without, mut with, mut costs) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = 0;
        for _ in 0..bench.rounds() {
            let load = Load { sessions, changes, slice: Duration::from_secs(slice), from: at };
            let one = load.share(&plain).await;
            let other = load.share(&judged).await;
            at += load.beats();
            without.push(one);
            with.push(other);
            costs.push(other - one);
        }
        let cost = median(&costs);
        let measure = format!(
            "{RULES} rules over {} sessions that beat every {BEAT_EVERY} s, {} changes/s",
            number(sessions as f64),
            number(changes as f64)
        );
        rows.push(
            Row::new(measure, "≤ 2 % of a core", format!("{cost:.2} % of a core"), Verdict::of(cost <= 2.0)).against(
                format!("the server without rules {:.1} %, with them {:.1} %", median(&without), median(&with)),
            ),
        );
    }
    rows
}

async fn server(folder: &Path, sessions: usize, args: &[&str]) -> Process {
    seed::database(folder, sessions).await;
    let process = Process::sessionwatch(folder, &[&["--stale-after", "1h", "--expire-after", "2h"], args].concat());
    // After a start all sessions are judged once.
    tokio::time::sleep(Duration::from_secs(5)).await;
    process
}

/// Heartbeats and changes at a steady rate.
struct Load {
    sessions: usize,
    changes: usize,
    slice: Duration,
    /// The session that sends the first heartbeat.
    from: usize,
}

impl Load {
    fn ticks(&self) -> usize {
        (self.slice.as_millis() / TICK.as_millis()) as usize
    }

    fn beats(&self) -> usize {
        self.ticks() * self.sessions / BEAT_EVERY / 100
    }

    /// The share of a core that the server takes under this load, in percent.
    async fn share(&self, server: &Process) -> f64 {
        let port = server.port;
        let mut connection = Connection::open(port).await.expect("the server accepts");
        let (begun, before) = (Instant::now(), server.cpu());
        let (mut beat, mut changed) = (0, 0);
        for tick in 1..=self.ticks() {
            while beat < self.beats() * tick / self.ticks() {
                let path = format!("/sessions/s{}/heartbeat", (self.from + beat) % self.sessions);
                connection.must(&request("POST", &path, port, None)).await;
                beat += 1;
            }
            while changed < self.changes * self.slice.as_secs() as usize * tick / self.ticks() {
                let path = format!("/sessions/s{}/status", (self.from + changed * 7) % self.sessions);
                let body = format!(r#"{{"status":"running","task":"step {changed} of {}"}}"#, self.from);
                connection.must(&request("PUT", &path, port, Some(&body))).await;
                changed += 1;
            }
            tokio::time::sleep_until((begun + TICK * tick as u32).into()).await;
        }
        (server.cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0
    }
}
