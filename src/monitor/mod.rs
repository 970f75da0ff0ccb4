//! The monitor: one method a verb. Everything that HTTP and the sockets do goes
//! through here; reads and heartbeats are answered from memory, changes by the writer.

mod hub;
mod keeper;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use hub::{Delivery, Hub, Push, Pushes};

use crate::backend::Backend;
use crate::change::{Actor, Cause, Change, Message, Registration, Report, Target};
use crate::clock::{Clock, Now, Timestamp};
use crate::decide::Outcome;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::log::{Entry, Query};
use crate::metrics::{AppStatus, Gauges, Metrics};
use crate::registry::Registry;
use crate::session::{Kill, Session, SessionId};
use crate::stats::Stats;
use crate::timing::Timing;
use writer::{Job, QUEUE, Writer};

/// Batches that may wait for the feed; a writer that runs ahead of it by more waits.
const FEED_QUEUE: usize = 256;

/// The monitor of one server.
pub struct Monitor {
    registry: Arc<Registry>,
    backend: Arc<dyn Backend>,
    feed: Arc<Feed>,
    hub: Arc<Hub>,
    stats: Arc<Stats>,
    metrics: Arc<Metrics>,
    clock: Clock,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    restored: watch::Sender<bool>,
    ending: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    keepers: Mutex<Vec<JoinHandle<()>>>,
    started_at: Timestamp,
}

/// A session that registered.
pub struct Registered {
    /// As it is now.
    pub session: Arc<Session>,
    /// It was there already.
    pub resumed: bool,
    /// The token given as fresh is its token from now on.
    pub fresh_token: bool,
}

/// How far a note came.
pub struct Sent {
    /// Names the note.
    pub message_id: Arc<str>,
    /// Clients that it went to.
    pub sent: usize,
    /// Sessions without a socket.
    pub unreachable: usize,
    /// When each client that it went to has shown it, as far as is known yet.
    pub deliveries: Vec<(SessionId, Option<Timestamp>)>,
}

/// A change on its way.
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
    /// Starts the writer and the feed, and restores what the store remembers. A large
    /// store is restored while the server already answers heartbeats; see
    /// [`Monitor::restored`]. Everyone gets a full `stale_after`: the time that the server
    /// was away was not theirs.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(
        backend: Arc<dyn Backend>,
        timing: Timing,
        clock: Clock,
        max_sessions: usize,
    ) -> Result<Arc<Self>> {
        let now = clock.now();
        let registry = Arc::new(Registry::new(timing, 0));
        registry.grant_amnesty(now);
        let stats = Arc::new(Stats::new(now.wall));
        let metrics = Arc::new(Metrics::default());
        let hub = Arc::new(Hub::default());
        let feed = Arc::new(Feed::new(clock.clone(), metrics.clone()));
        let (jobs, queued) = mpsc::channel(QUEUE);
        let (to_feed, batches) = mpsc::channel(FEED_QUEUE);
        let writer = Writer {
            registry: registry.clone(),
            backend: backend.clone(),
            hub: hub.clone(),
            stats: stats.clone(),
            metrics: metrics.clone(),
            feed: to_feed,
            max_sessions,
        };
        let monitor = Arc::new(Self {
            registry,
            backend,
            feed,
            hub,
            stats,
            metrics,
            clock,
            jobs: Mutex::new(Some(jobs)),
            restored: watch::channel(false).0,
            ending: watch::channel(false).0,
            tasks: Mutex::default(),
            keepers: Mutex::default(),
            started_at: now.wall,
        });
        let (tell, told) = oneshot::channel();
        let restoring = monitor.clone();
        let task = tokio::spawn(async move {
            let done = restoring.restore(now).await;
            let publishing = restoring.feed.clone();
            let read = done.is_ok();
            if let Err(error) = &done {
                tracing::error!(%error, "the store could not be read");
                restoring.end();
            }
            let _ = tell.send(done);
            drop(restoring);
            if read {
                let publishing = tokio::spawn(async move { publishing.run(batches).await });
                writer.run(queued).await;
                let _ = publishing.await;
            }
        });
        monitor.tasks.lock().push(task);
        match tokio::time::timeout(Timing::RESTORE_AT_ONCE, told).await {
            Ok(Ok(Err(error))) => Err(error),
            _ => Ok(monitor),
        }
    }

    async fn restore(&self, now: Now) -> Result<()> {
        let stored = self.backend.load(now.wall).await?;
        for (id, tombstone) in stored.tombstones {
            self.registry.bury(id, tombstone);
        }
        self.stats.restore(stored.minutes, stored.starts);
        let registry = self.registry.clone();
        let put = move || registry.restore(stored.sessions, stored.seq, now);
        tokio::task::spawn_blocking(put).await.map_err(|error| Error::Storage(error.to_string()))?;
        self.feed.begin(self.registry.view());
        self.restored.send_replace(true);
        Ok(())
    }

    /// Whether everything that the store remembers is there.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        *self.restored.borrow()
    }

    /// Waits until everything that the store remembers is there. Changes wait for it by
    /// themselves; who reads has to.
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

    /// One live session, from the store while not all are restored.
    ///
    /// # Errors
    /// Unknown or killed id, store.
    pub async fn find(&self, id: &str) -> Result<Arc<Session>> {
        let known = self.session(id);
        if known.is_ok() || self.is_restored() {
            return known;
        }
        if let Some(id) = SessionId::parse(id)
            && let Some(session) = self.backend.session(id).await?
            && let Some(session) = self.registry.adopt(session)
        {
            return Ok(session);
        }
        self.restored().await?;
        self.session(id)
    }

    /// Starts what happens by the clock. A test that moves the clock itself leaves it
    /// out and calls [`Monitor::sweep`].
    pub fn keep(self: &Arc<Self>) {
        *self.keepers.lock() = keeper::start(self);
    }

    /// Takes no more changes, finishes those under way, writes the heartbeats and
    /// leaves the store.
    pub async fn shutdown(&self) {
        self.ending.send_replace(true);
        let keepers = std::mem::take(&mut *self.keepers.lock());
        for keeper in keepers {
            let _ = keeper.await;
        }
        self.jobs.lock().take();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            let _ = task.await;
        }
        if let Err(error) = self.backend.close().await {
            tracing::warn!(%error, "the store could not be left cleanly");
        }
    }

    /// Asks for a change and waits only for a place in the queue: for sockets, which
    /// hold their clients back rather than refuse them.
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

    /// Asks for a change that nobody waits for; lost when the queue is full.
    fn note(&self, change: Change) {
        let Some(jobs) = self.jobs.lock().clone() else { return };
        if jobs.try_send(Job { change, now: self.clock.now(), reply: None }).is_ok() {
            self.metrics.queue(1);
        }
    }

    async fn ask(&self, change: Change) -> Result<Outcome> {
        let (reply, pending) = oneshot::channel();
        let job = Job { change, now: self.clock.now(), reply: Some(reply) };
        {
            let jobs = self.jobs.lock();
            let jobs = jobs.as_ref().ok_or_else(ending)?;
            jobs.try_send(job).map_err(|_| full())?;
        }
        self.metrics.queue(1);
        Pending(pending).done().await
    }

    /// Makes or resumes a session.
    ///
    /// # Errors
    /// Killed id, somebody else's id, too many sessions, store.
    pub async fn register(&self, registration: Registration) -> Result<Registered> {
        match self.ask(Change::Register(Box::new(registration))).await? {
            Outcome::Registered { session, resumed, fresh_token, .. } => {
                Ok(Registered { session, resumed, fresh_token })
            }
            _ => Err(full()),
        }
    }

    /// Takes a sign of life, and what the client says with it if that is new.
    ///
    /// # Errors
    /// Unknown or killed id; the store, where something new was said.
    pub async fn heartbeat(&self, id: &str, report: Option<Report>) -> Result<Arc<Session>> {
        self.beat(self.session(id)?, report).await
    }

    /// As [`Monitor::heartbeat`], for who has the session at hand.
    ///
    /// # Errors
    /// The store, where something new was said.
    pub async fn beat(&self, session: Arc<Session>, report: Option<Report>) -> Result<Arc<Session>> {
        self.alive(&session).await;
        if let Some(report) = report.filter(|report| says_more(&session, report)) {
            self.ask(Change::Report(session.id.clone(), report)).await?;
        }
        // The answer tells it.
        if let Some(kill) = &session.kill {
            self.kill_delivered(&session.id, kill);
        }
        Ok(session)
    }

    /// Takes a sign of life, and sees to it that it is seen.
    async fn alive(&self, session: &Session) {
        self.registry.beat_session(session, self.clock.now());
        if session.stale {
            // What is seen changes, so this one beat in a long silence waits for the store,
            // though not for long: it counts as a sign of life either way.
            let recovered = self.ask(Change::Recover(session.id.clone()));
            let _ = tokio::time::timeout(Duration::from_secs(1), recovered).await;
        }
    }

    /// Notes that the client was told of its kill; the first time counts.
    pub fn kill_delivered(&self, id: &SessionId, kill: &Kill) {
        if kill.delivered_at.is_none() {
            self.note(Change::KillDelivered(id.clone(), kill.kill_id.clone()));
        }
    }

    /// Takes a sign of life of a session whose socket spoke; cheap, never waits.
    pub fn pulse(&self, session: &SessionId) {
        if let Some(beat) = self.registry.beat(session.as_str(), self.clock.now())
            && beat.was_stale
        {
            self.note(Change::Recover(session.clone()));
        }
    }

    /// Takes what a client says of itself.
    ///
    /// # Errors
    /// Unknown or killed id, store.
    pub async fn report(&self, id: SessionId, report: Report) -> Result<()> {
        self.alive(&*self.session(id.as_str())?).await;
        self.ask(Change::Report(id, report)).await.map(drop)
    }

    /// Asks a session to end; the second time tells of the first.
    ///
    /// # Errors
    /// Unknown or killed id, store.
    pub async fn kill(&self, id: SessionId, reason: Option<Arc<str>>, actor: Actor) -> Result<Arc<Kill>> {
        let change = Change::Kill { target: Target::Session(id), kill_id: fresh_id(), reason, actor };
        match self.ask(change).await? {
            Outcome::Kill(kill) => Ok(kill),
            _ => Err(full()),
        }
    }

    /// Asks all sessions of an app to end; tells how many were not asked before.
    ///
    /// # Errors
    /// Store.
    pub async fn kill_app(&self, app: Arc<str>, reason: Option<Arc<str>>, actor: Actor) -> Result<usize> {
        self.count(Change::Kill { target: Target::App(app), kill_id: fresh_id(), reason, actor }).await
    }

    /// Takes a session off the live view.
    ///
    /// # Errors
    /// Unknown or killed id, store.
    pub async fn remove(&self, id: SessionId, cause: Cause, actor: Actor) -> Result<()> {
        self.ask(Change::Remove { id, cause, actor }).await.map(drop)
    }

    /// Removes what has been silent since before `before`; tells how many.
    ///
    /// # Errors
    /// Store.
    pub async fn remove_silent(&self, before: Timestamp, actor: Actor) -> Result<usize> {
        self.count(Change::RemoveSilent { before, actor }).await
    }

    async fn count(&self, change: Change) -> Result<usize> {
        match self.ask(change).await? {
            Outcome::Count(count) => Ok(count),
            _ => Err(full()),
        }
    }

    /// Sends a note, and waits a moment for the clients to say that they have shown it.
    ///
    /// # Errors
    /// Unknown or killed id, store.
    pub async fn send(&self, target: Target, message: Message, actor: Actor) -> Result<Sent> {
        let mut shown = self.hub.deliveries();
        let message = Arc::new(message);
        let change = Change::Send { target, message: message.clone(), actor };
        let Outcome::Recipients(recipients) = self.ask(change).await? else { return Err(full()) };
        let reached = |id: &SessionId| self.registry.get(id.as_str()).is_some_and(|session| session.connected());
        let (reached, unreached): (Vec<_>, Vec<_>) = recipients.into_iter().partition(reached);
        let mut deliveries: Vec<(SessionId, Option<Timestamp>)> = reached.into_iter().map(|id| (id, None)).collect();
        let mut missing = deliveries.len();
        let until = tokio::time::Instant::now() + Timing::MESSAGE_WAIT;
        while missing > 0 {
            let Ok(Ok(delivery)) = tokio::time::timeout_at(until, shown.recv()).await else { break };
            let waiting = deliveries.iter_mut().find(|(id, at)| *id == delivery.session && at.is_none());
            if let Some((_, at)) = waiting.filter(|_| delivery.message_id == message.message_id) {
                *at = Some(delivery.at);
                missing -= 1;
            }
        }
        let (sent, unreachable) = (deliveries.len(), unreached.len());
        deliveries.extend(unreached.into_iter().map(|id| (id, None)));
        Ok(Sent { message_id: message.message_id.clone(), sent, unreachable, deliveries })
    }

    /// One live session.
    ///
    /// # Errors
    /// Unknown or killed id.
    pub fn session(&self, id: &str) -> Result<Arc<Session>> {
        self.registry.get(id).ok_or_else(|| self.unknown(id))
    }

    fn unknown(&self, id: &str) -> Error {
        let now = self.clock.now().wall;
        self.registry.gone(id, now).unwrap_or_else(|| Error::NotFound(id.chars().take(128).collect()))
    }

    /// The log.
    ///
    /// # Errors
    /// Store.
    pub async fn events(&self, query: Query) -> Result<Vec<Entry>> {
        self.backend.events(query).await
    }

    /// What `/metrics` reads off at the moment.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let mut sessions: std::collections::BTreeMap<(String, String), i64> = std::collections::BTreeMap::new();
        for session in self.registry.view().sessions() {
            *sessions.entry((session.app.to_string(), session.shown_status().to_owned())).or_default() += 1;
        }
        let sessions = sessions.into_iter().map(|((app, status), count)| (AppStatus { app, status }, count)).collect();
        Gauges {
            sessions,
            beats: self.registry.beats(),
            snapshots: self.feed.snapshots_encoded(),
            snapshots_held: self.feed.snapshots_held(),
        }
    }

    /// Becomes true when the server ends.
    #[must_use]
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// Tells everyone that the server ends.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// The live sessions.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What dashboards get.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What client sockets get.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The counts of the last day.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What the server measures of itself.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What time it is.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The intervals.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        self.registry.timing()
    }

    /// When this server started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    fn backend(&self) -> &dyn Backend {
        &*self.backend
    }
}

/// Waits until the server ends.
pub async fn ended(ending: &mut watch::Receiver<bool>) {
    // An error means that the monitor is gone, which is the end as well.
    let _ = ending.wait_for(|ending| *ending).await;
}

/// An id for a kill or a note.
#[must_use]
pub fn fresh_id() -> Arc<str> {
    uuid::Uuid::new_v4().to_string().into()
}

/// Whether a heartbeat says what is not known yet.
fn says_more(session: &Session, report: &Report) -> bool {
    report.status.as_ref().is_some_and(|status| *status != session.status)
        || report.task.as_ref().is_some_and(|task| *task != session.task)
        || (report.visibility.is_some() && report.visibility != session.visibility)
        || report.meta.as_ref().is_some_and(|meta| *meta != session.meta)
}
