//! What the server measures of itself while it runs, for `/metrics`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// How a kill went on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KillStep {
    /// `requested`, `delivered`, `acknowledged`, `gone`.
    pub step: &'static str,
}

/// One app's sessions in one status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AppStatus {
    /// The app's name.
    pub app: String,
    /// The status shown.
    pub status: String,
}

/// Counters and histograms that live as long as the server.
pub struct Metrics {
    kills: Family<KillStep, Counter>,
    events: Counter,
    commits: Counter,
    commit_failures: Counter,
    commit_seconds: Histogram,
    commit_rows: Histogram,
    fanout_seconds: Histogram,
    queue: AtomicI64,
    client_sockets: AtomicI64,
    dashboards: AtomicI64,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 0.1 ms to 3 s.
        let latency = || Histogram::new(exponential_buckets(0.000_1, 2.0, 15));
        Self {
            kills: Family::default(),
            events: Counter::default(),
            commits: Counter::default(),
            commit_failures: Counter::default(),
            commit_seconds: latency(),
            commit_rows: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            fanout_seconds: latency(),
            queue: AtomicI64::new(0),
            client_sockets: AtomicI64::new(0),
            dashboards: AtomicI64::new(0),
        }
    }
}

/// What is read off the rest of the server at the moment of asking.
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

    /// Changes went out to the dashboards, so long after they were applied.
    pub fn published(&self, took: Duration, events: usize) {
        self.events.inc_by(events as u64);
        self.fanout_seconds.observe(took.as_secs_f64());
    }

    /// A kill came one step further.
    pub fn kill(&self, step: &'static str) {
        self.kills.get_or_create(&KillStep { step }).inc();
    }

    /// The writer's queue grew (or, with a negative number, shrank).
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

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn render(&self, gauges: &Gauges) -> String {
        let mut registry = Registry::with_prefix("sessionwatch");
        let sessions = Family::<AppStatus, Gauge>::default();
        for (labels, count) in &gauges.sessions {
            sessions.get_or_create(labels).set(*count);
        }
        let gauge = |value: i64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(value);
            gauge
        };
        let counter = |value: u64| {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            counter
        };
        registry.register("sessions", "Live sessions by app and status", sessions);
        registry.register("heartbeats", "Heartbeats taken", counter(gauges.beats));
        registry.register("kills", "Kills by the step they reached", self.kills.clone());
        registry.register("events", "Events published", self.events.clone());
        registry.register("commits", "Transactions committed", self.commits.clone());
        registry.register("commit_failures", "Transactions that failed", self.commit_failures.clone());
        registry.register("commit_seconds", "Time a commit took", self.commit_seconds.clone());
        registry.register("commit_rows", "Events in a commit", self.commit_rows.clone());
        registry.register("fanout_seconds", "Time from commit to publication", self.fanout_seconds.clone());
        registry.register("dashboards", "Open dashboards", gauge(self.dashboards.load(Ordering::Relaxed)));
        registry.register("snapshots", "Snapshots encoded", counter(gauges.snapshots));
        registry.register("snapshots_held", "Large snapshots in memory", gauge(gauges.snapshots_held as i64));
        registry.register("client_sockets", "Open client sockets", gauge(self.client_sockets.load(Ordering::Relaxed)));
        registry.register("commit_queue", "Changes that wait for a commit", gauge(self.queue.load(Ordering::Relaxed)));
        let mut out = String::new();
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut out, &registry);
        out
    }
}
