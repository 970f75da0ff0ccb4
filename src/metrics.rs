//! The server's metrics, for `/metrics`, in Prometheus' text format.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    exponential_buckets,
};

use crate::nodes::{Load, Server};

/// The labels of a count of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppStatus {
    /// The app's name.
    pub app: String,
    /// The status, as dashboards show it.
    pub status: String,
}

/// Most apps with a label of their own; the rest is counted under `other`.
pub const APPS_MAX: usize = 100;
/// Most statuses that have a label of their own.
pub const STATUSES_MAX: usize = 20;
/// The label for the rest.
const OTHER: &str = "other";

/// Counters and histograms that live as long as the server.
pub struct Metrics {
    registry: Registry,
    kills: IntCounterVec,
    alerts: IntCounterVec,
    alerts_waiting: Mutex<BTreeMap<String, u64>>,
    events: IntCounter,
    commits: IntCounter,
    commit_failures: IntCounter,
    locked_out: IntCounter,
    commit_seconds: Histogram,
    commit_rows: Histogram,
    fanout_seconds: Histogram,
    queue: AtomicI64,
    client_sockets: AtomicI64,
    dashboards: AtomicI64,
}

/// Unwraps a metric. Names, labels and buckets are constants of this file, so a wrong one
/// fails in every test.
#[expect(clippy::unwrap_used, reason = "only constants of this file can fail")]
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.unwrap()
}

/// Registers a metric and returns it.
fn put<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = made(metric);
    made(registry.register(Box::new(metric.clone())));
    metric
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    put(registry, IntCounter::new(format!("sessionwatch_{name}_total"), help))
}

fn gauge(registry: &Registry, name: &str, help: &str, value: i64) {
    put(registry, IntGauge::new(format!("sessionwatch_{name}"), help)).set(value);
}

fn histogram(registry: &Registry, name: &str, help: &str, start: f64, count: usize) -> Histogram {
    let buckets = made(exponential_buckets(start, 2.0, count));
    let options = HistogramOpts::new(format!("sessionwatch_{name}"), help).buckets(buckets);
    put(registry, Histogram::with_opts(options))
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        // CPU, memory, descriptors and start time, under the names that all exporters use.
        #[cfg(target_os = "linux")]
        made(registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self())));
        let build = Opts::new("sessionwatch_build_info", "Which version runs; always 1")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        put(&registry, IntGauge::with_opts(build)).set(1);
        let kills = Opts::new("sessionwatch_kills_total", "Kills by the step they reached");
        let alerts = Opts::new("sessionwatch_alerts_total", "Tries of alerts by what came of them");
        // The histograms of times go from 0.1 ms to 3 s.
        Self {
            kills: put(&registry, IntCounterVec::new(kills, &["step"])),
            alerts: put(&registry, IntCounterVec::new(alerts, &["target", "result"])),
            alerts_waiting: Mutex::default(),
            events: counter(&registry, "events", "Events published"),
            commits: counter(&registry, "commits", "Transactions committed"),
            commit_failures: counter(&registry, "commit_failures", "Transactions that failed"),
            locked_out: counter(&registry, "registrations_locked", "Registrations that a lock kept out"),
            commit_seconds: histogram(&registry, "commit_seconds", "Time a commit took", 0.000_1, 15),
            commit_rows: histogram(&registry, "commit_rows", "Events in a commit", 1.0, 13),
            fanout_seconds: histogram(&registry, "fanout_seconds", "Time from commit to publication", 0.000_1, 15),
            queue: AtomicI64::new(0),
            client_sockets: AtomicI64::new(0),
            dashboards: AtomicI64::new(0),
            registry,
        }
    }
}

/// Values that are read from other parts of the server when `/metrics` is requested.
#[derive(Default)]
pub struct Gauges {
    /// Live sessions by app and status.
    pub sessions: Vec<(AppStatus, i64)>,
    /// Heartbeats taken since the start.
    pub beats: u64,
    /// Snapshots encoded since the start.
    pub snapshots: u64,
    /// Large snapshots in memory.
    pub snapshots_held: usize,
    /// The locks.
    pub locks: usize,
    /// The servers that share the store.
    pub servers: Vec<Server>,
}

impl Metrics {
    /// A batch was committed.
    pub fn committed(&self, rows: usize, took: Duration) {
        self.commits.inc();
        self.commit_rows.observe(rows as f64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// A batch could not be committed.
    pub fn commit_failed(&self) {
        self.commit_failures.inc();
    }

    /// A lock kept a registration out.
    pub fn locked_out(&self) {
        self.locked_out.inc();
    }

    /// Events were sent to the dashboards, `took` after they were applied.
    pub fn published(&self, took: Duration, events: usize) {
        self.events.inc_by(events as u64);
        self.fanout_seconds.observe(took.as_secs_f64());
    }

    /// A kill reached a step: `requested`, `delivered`, `acknowledged` or `gone`.
    pub fn kill(&self, step: &'static str) {
        self.kills.with_label_values(&[step]).inc();
    }

    /// A try of an alert came to a result: `delivered`, `refused` or `failed`.
    pub fn alert(&self, target: &str, result: &str) {
        self.alerts.with_label_values(&[target, result]).inc();
    }

    /// So many alerts wait for each target.
    pub fn alerts_wait(&self, waiting: BTreeMap<String, u64>) {
        *self.alerts_waiting.lock() = waiting;
    }

    /// The writer's queue grew by `by`; a negative number means that it shrank.
    pub fn queue(&self, by: i64) {
        self.queue.fetch_add(by, Ordering::Relaxed);
    }

    /// A client socket opened (1) or closed (-1).
    pub fn client_sockets(&self, by: i64) {
        self.client_sockets.fetch_add(by, Ordering::Relaxed);
    }

    /// A dashboard opened (1) or closed (-1).
    pub fn dashboards(&self, by: i64) {
        self.dashboards.fetch_add(by, Ordering::Relaxed);
    }

    /// The open sockets and dashboards.
    #[must_use]
    pub fn load(&self) -> Load {
        let count = |gauge: &AtomicI64| gauge.load(Ordering::Relaxed).max(0).unsigned_abs();
        Load { sockets: count(&self.client_sockets), dashboards: count(&self.dashboards) }
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self, gauges: &Gauges) -> String {
        let now = Registry::new();
        put_sessions(&now, gauges);
        put_servers(&now, gauges);
        self.put_alerts(&now);
        counter(&now, "heartbeats", "Heartbeats taken").inc_by(gauges.beats);
        counter(&now, "snapshots", "Snapshots encoded").inc_by(gauges.snapshots);
        gauge(&now, "dashboards", "Open dashboards", self.dashboards.load(Ordering::Relaxed));
        gauge(&now, "locks", "Locks that keep out registrations, or will", gauges.locks as i64);
        gauge(&now, "snapshots_held", "Large snapshots in memory", gauges.snapshots_held as i64);
        gauge(&now, "client_sockets", "Open client sockets", self.client_sockets.load(Ordering::Relaxed));
        gauge(&now, "commit_queue", "Changes that wait for a commit", self.queue.load(Ordering::Relaxed));
        encode(&[&now, &self.registry])
    }
}

impl Metrics {
    fn put_alerts(&self, registry: &Registry) {
        let options = Opts::new("sessionwatch_alerts_waiting", "Alerts that wait to be delivered");
        let waiting = put(registry, IntGaugeVec::new(options, &["target"]));
        for (target, count) in self.alerts_waiting.lock().iter() {
            waiting.with_label_values(&[target]).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }
}

/// Only the counts of sessions, in Prometheus' text format: for callers that are limited to
/// some apps. All other metrics cover all apps together, so these callers must not see them.
#[must_use]
pub fn sessions_alone(gauges: &Gauges) -> String {
    let now = Registry::new();
    put_sessions(&now, gauges);
    encode(&[&now])
}

fn put_sessions(registry: &Registry, gauges: &Gauges) {
    let sessions = Opts::new("sessionwatch_sessions", "Live sessions by app and status");
    let sessions = put(registry, IntGaugeVec::new(sessions, &["app", "status"]));
    for ((app, status), count) in bounded(&gauges.sessions) {
        sessions.with_label_values(&[app, status]).set(count);
    }
}

/// One label for each server that has not gone: its number too, since names may be equal.
fn put_servers(registry: &Registry, gauges: &Gauges) {
    let vector = |name: &str, help: &str| {
        let options = Opts::new(format!("sessionwatch_node_{name}"), help);
        put(registry, IntGaugeVec::new(options, &["node", "name"]))
    };
    let sockets = vector("sockets", "Open client sockets of each server");
    let dashboards = vector("dashboards", "Open dashboards of each server");
    let lag = vector("lag_events", "Events that the server has not applied yet");
    let lag_ms = vector("lag_milliseconds", "How long the oldest of them has waited");
    let keeper = vector("keeper", "1 for the server that is the keeper");
    let seen = vector("seen_timestamp_seconds", "When the server was heard of last");
    for server in gauges.servers.iter().filter(|server| !server.gone) {
        let number = server.node.to_string();
        let put = |vector: &IntGaugeVec, value: u64| {
            vector.with_label_values(&[&*number, &*server.name]).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        put(&sockets, server.load.sockets);
        put(&dashboards, server.load.dashboards);
        let _ = server.lag.map(|events| put(&lag, events));
        let _ = server.lag_ms.map(|millis| put(&lag_ms, millis));
        put(&keeper, u64::from(server.keeper));
        put(&seen, server.seen_at.0.max(0).unsigned_abs() / 1_000);
    }
}

fn encode(registries: &[&Registry]) -> String {
    let mut out = Vec::new();
    for registry in registries {
        // Writing into a Vec does not fail, and `gather` leaves out empty families.
        let _ = TextEncoder::new().encode(&registry.gather(), &mut out);
    }
    String::from_utf8(out).unwrap_or_default()
}

/// The counts under a limited number of labels: the apps and the statuses with the most
/// sessions keep their names, so that no client can make the answer grow without end.
fn bounded(sessions: &[(AppStatus, i64)]) -> HashMap<(&str, &str), i64> {
    let apps = most(sessions.iter().map(|(labels, count)| (&*labels.app, *count)), APPS_MAX);
    let statuses = most(sessions.iter().map(|(labels, count)| (&*labels.status, *count)), STATUSES_MAX);
    let mut counts = HashMap::new();
    for (AppStatus { app, status }, count) in sessions {
        let app = if apps.contains(&**app) { app } else { OTHER };
        let status = if statuses.contains(&**status) { status } else { OTHER };
        *counts.entry((app, status)).or_default() += count;
    }
    counts
}

/// The names with the highest counts, at most `max`.
fn most<'a>(counted: impl Iterator<Item = (&'a str, i64)>, max: usize) -> HashSet<&'a str> {
    let mut sums: HashMap<&str, i64> = HashMap::new();
    for (name, count) in counted {
        *sums.entry(name).or_default() += count;
    }
    let mut names: Vec<(&str, i64)> = sums.into_iter().collect();
    // By name where the counts are equal, so that two answers agree.
    names.sort_unstable_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    names.into_iter().take(max).map(|(name, _)| name).collect()
}
