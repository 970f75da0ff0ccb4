//! The monitor of one server: its start, its restore, the queue of the writer, its end. What
//! callers change is in `verbs`, what they read in `reads`, dashboards in `subscription`, client
//! sockets in `sockets`.

mod alerting;
mod ending;
mod hub;
mod judge;
mod keeper;
mod past;
mod probe;
mod queue;
mod reads;
mod reports;
mod sockets;
mod subscription;
mod supervisor;
mod tally;
mod verbs;
mod writer;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use ending::{Ending, ended, must_close};
pub use hub::Push;
pub use past::Then;
pub use reads::{Day, Snapshot};
pub use sockets::ClientSocket;
pub use subscription::{Frames, Joined, Subscription};
pub use tally::RuleCounts;
pub use verbs::{Registered, Sent};

use crate::backend::Backend;
use crate::change::Change;
use crate::clock::{Clock, Now, Timestamp};
use crate::decide::{Limits, Outcome};
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::rules::Rules;
use crate::stats::Stats;
use crate::timing::Timing;
use hub::Hub;
use judge::Judge;
use queue::{Job, Sender, queue};
use reports::Reports;
pub use supervisor::Supervisor;
use writer::Writer;

/// Batches that may wait for the feed; the writer waits when there are more.
const FEED_QUEUE: usize = 256;

/// The monitor of one server.
pub struct Monitor {
    registry: Arc<Registry>,
    backend: Arc<dyn Backend>,
    feed: Arc<Feed>,
    hub: Arc<Hub>,
    rules: Arc<Rules>,
    raised: Arc<Notify>,
    judge: Arc<Judge>,
    stats: Arc<Stats>,
    rebuilt: past::Rebuilt,
    metrics: Arc<Metrics>,
    clock: Clock,
    jobs: Mutex<Option<Sender>>,
    reports: Arc<Reports>,
    restored: watch::Sender<bool>,
    ending: watch::Sender<Ending>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    keepers: Mutex<Vec<JoinHandle<()>>>,
    supervisor: Supervisor,
    probe: probe::Probe,
    started_at: Timestamp,
    name: OnceLock<Arc<str>>,
}

/// A change that waits for the writer.
pub struct Pending(oneshot::Receiver<Result<Outcome>>);

impl Pending {
    /// Waits until it is durable and visible, or refused.
    ///
    /// # Errors
    /// Why it is refused, or that the server ends.
    pub async fn done(self) -> Result<Outcome> {
        self.0.await.unwrap_or_else(|_| Err(ending()))
    }
}

fn ending() -> Error {
    Error::Busy("the server is shutting down; try again in a moment".to_owned())
}

fn full() -> Error {
    Error::Busy("too many changes wait for the disk; try again in a moment".to_owned())
}

impl Monitor {
    /// Starts the writer and the feed, and restores the sessions of the store. While a large store is
    /// restored the server already answers heartbeats; see [`Monitor::restored`]. Every session
    /// gets a full `stale_after`: while the server was down, no client could send heartbeats.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(backend: Arc<dyn Backend>, timing: Timing, clock: Clock, limits: Limits) -> Result<Arc<Self>> {
        let now = clock.now();
        let registry = Arc::new(Registry::new(timing, 0));
        registry.grant_amnesty(now);
        let stats = Arc::new(Stats::new(now.wall));
        let metrics = Arc::new(Metrics::default());
        let hub = Arc::new(Hub::new(backend.node()));
        let feed = Arc::new(Feed::new(clock.clone(), metrics.clone(), backend.names()));
        let (rules, raised) = (Arc::<Rules>::default(), Arc::<Notify>::default());
        let judge = Arc::new(Judge::default());
        let (jobs, queued) = queue();
        let (to_feed, batches) = mpsc::channel(FEED_QUEUE);
        let supervisor = Supervisor::default();
        let writer = Writer {
            _ended: supervisor.watch("the writer"),
            registry: registry.clone(),
            backend: backend.clone(),
            hub: hub.clone(),
            stats: stats.clone(),
            metrics: metrics.clone(),
            feed: to_feed,
            judge: judge.clone(),
            limits,
            rules: rules.clone(),
            raised: raised.clone(),
            clock: clock.clone(),
            unwritten: Vec::new(),
        };
        let monitor = Arc::new(Self {
            registry,
            backend,
            feed,
            hub,
            rules,
            raised,
            judge,
            stats,
            rebuilt: past::Rebuilt::default(),
            metrics,
            clock,
            jobs: Mutex::new(Some(jobs)),
            reports: Arc::default(),
            restored: watch::channel(false).0,
            ending: watch::channel(Ending::No).0,
            tasks: Mutex::default(),
            keepers: Mutex::default(),
            supervisor,
            probe: probe::Probe::default(),
            started_at: now.wall,
            name: OnceLock::new(),
        });
        let (restored, restore) = oneshot::channel();
        let restoring = monitor.clone();
        let task = monitor.supervisor.spawn("the writer", async move {
            let done = restoring.restore(now).await;
            let feed = restoring.feed.clone();
            let read = done.is_ok();
            if let Err(error) = &done {
                tracing::error!(%error, "the store could not be read");
                restoring.end();
            }
            let _ = restored.send(done);
            if read {
                let fanning = restoring.supervisor.spawn("the fan-out", feed.fan_out());
                let publishing = restoring.supervisor.spawn("the feed", async move { feed.run(batches).await });
                drop(restoring);
                writer.run(queued).await;
                let _ = publishing.await;
                fanning.abort();
            }
        });
        monitor.tasks.lock().push(task);
        if !timing.report_every.is_zero() {
            tokio::spawn(reports::pass_on(monitor.reports.clone(), Arc::downgrade(&monitor), monitor.ending()));
        }
        match tokio::time::timeout(Timing::RESTORE_AT_ONCE, restore).await {
            Ok(Ok(Err(error))) => Err(error),
            _ => Ok(monitor),
        }
    }

    /// Restores sessions, tombstones and counts from the store.
    async fn restore(&self, now: Now) -> Result<()> {
        let stored = self.backend.load(now.wall).await?;
        for (id, tombstone) in stored.tombstones {
            self.registry.bury(id, tombstone);
        }
        self.registry.restore_locks(stored.locks);
        self.stats.restore(stored.minutes, stored.starts);
        let registry = self.registry.clone();
        let put = move || registry.restore(stored.sessions, stored.epoch, stored.seq, now);
        tokio::task::spawn_blocking(put).await.map_err(|error| Error::Storage(error.to_string()))?;
        self.feed.begin(self.registry.view());
        self.restored.send_replace(true);
        Ok(())
    }

    /// Whether all sessions of the store are restored.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        *self.restored.borrow()
    }

    /// Why the state that was loaded is no longer the store's; see [`Backend::lost`].
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        self.backend.lost()
    }

    /// Waits until all sessions of the store are restored. Changes wait for it on their own; reads do
    /// not, so callers that read have to call this.
    ///
    /// # Errors
    /// The server ends.
    pub async fn restored(&self) -> Result<()> {
        if self.is_restored() {
            return Ok(());
        }
        let (mut restored, mut ends) = (self.restored.subscribe(), self.ending());
        tokio::select! {
            _ = restored.wait_for(|restored| *restored) => Ok(()),
            () = ended(&mut ends) => Err(ending()),
        }
    }

    /// Starts the tasks that run by the clock. A test with its own clock does not call it and calls
    /// [`Monitor::sweep`].
    pub fn keep(self: &Arc<Self>) {
        *self.keepers.lock() = keeper::start(self);
    }

    /// Refuses new changes, finishes those that are queued, writes the heartbeats, closes the store.
    pub async fn shutdown(&self) {
        self.end();
        let keepers = std::mem::take(&mut *self.keepers.lock());
        for keeper in keepers {
            let _ = keeper.await;
        }
        self.pass_on_reports(true);
        self.jobs.lock().take();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            let _ = task.await;
        }
        if let Err(error) = self.backend.close().await {
            tracing::warn!(%error, "the store could not be left cleanly");
        }
    }

    /// Queues a change and waits only while the queue is full: for sockets, which slow their clients
    /// down (backpressure) instead of refusing them.
    ///
    /// # Errors
    /// The server ends.
    pub async fn submit(&self, change: Change) -> Result<Pending> {
        let jobs = self.jobs.lock().clone().ok_or_else(ending)?;
        let (reply, pending) = oneshot::channel();
        let job = Job { change, now: self.clock.now(), reply: Some(reply) };
        self.metrics.queue(1);
        jobs.send(job).await.map_err(|_| ending())?;
        Ok(Pending(pending))
    }

    /// Queues a change without waiting for it; drops it when the queue is full.
    fn note(&self, change: Change) {
        let Some(jobs) = self.jobs.lock().clone() else { return };
        if jobs.try_send(Job { change, now: self.clock.now(), reply: None }).is_ok() {
            self.metrics.queue(1);
        }
    }

    /// Queues merged reports: those whose sessions' rates allow it, or all.
    fn pass_on_reports(&self, all: bool) {
        let Some(jobs) = self.jobs.lock().clone() else { return };
        let passed = self.reports.pass_on(&self.registry, self.clock.now(), &jobs, all);
        self.metrics.queue(passed);
    }

    /// Queues a change and waits for its result; 503 when the queue is full.
    async fn ask(&self, change: Change) -> Result<Outcome> {
        let (reply, pending) = oneshot::channel();
        let job = Job { change, now: self.clock.now(), reply: Some(reply) };
        {
            let jobs = self.jobs.lock();
            let jobs = jobs.as_ref().ok_or_else(ending)?;
            jobs.try_send(job).map_err(|_| if jobs.is_closed() { ending() } else { full() })?;
        }
        self.metrics.queue(1);
        Pending(pending).done().await
    }

    /// How far the end of the server is.
    #[must_use]
    pub fn ending(&self) -> watch::Receiver<Ending> {
        self.ending.subscribe()
    }

    /// Begins to close the sockets, spread over this time.
    pub fn drain(&self, over: Duration) {
        self.ending.send_replace(Ending::Draining(over));
    }

    /// Tells all tasks and sockets that the server ends.
    pub fn end(&self) {
        self.ending.send_replace(Ending::Now);
    }

    /// The supervisor of the tasks that run as long as the server.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }
}

/// A fresh id for a kill request or a message.
#[must_use]
pub fn fresh_id() -> Arc<str> {
    uuid::Uuid::new_v4().to_string().into()
}
