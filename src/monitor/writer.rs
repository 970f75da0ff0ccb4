//! The one writer: decides a batch of changes, commits it, applies it, publishes it, answers. It
//! always does so in this order, so that nothing is visible that is not durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::hub::Hub;
use super::judge::Judge;
use super::queue::{Job, Jobs};
use super::supervisor::Ended;
use crate::alerts;
use crate::backend::Backend;
use crate::change::{Change, Event, Kind};
use crate::clock::{Clock, Now};
use crate::decide::{Draft, Limits, Outcome};
use crate::error::{Error, Result};
use crate::feed::Batch;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::rules::Rules;
use crate::session::{SessionId, SocketId};
use crate::stats::Stats;

/// Most changes in one transaction.
const BATCH: usize = 512;
/// With fewer callers than this, a batch does not wait for more changes.
const DELAY_FROM: usize = 8;
/// How soon what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a batch waits at most for the changes that are expected.
const DELAY_MAX: Duration = Duration::from_millis(2);

pub(super) struct Writer {
    /// The first field, since it is dropped first: the feed ends with `feed`, and is not the cause.
    pub(super) _ended: Ended,
    pub(super) registry: Arc<Registry>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) hub: Arc<Hub>,
    pub(super) stats: Arc<Stats>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) feed: mpsc::Sender<Batch>,
    pub(super) judge: Arc<Judge>,
    pub(super) limits: Limits,
    pub(super) rules: Arc<Rules>,
    /// Wakes who takes what was raised.
    pub(super) raised: Arc<Notify>,
    pub(super) clock: Clock,
    /// Sockets that have closed, which could not be written yet.
    pub(super) unwritten: Vec<(Change, Now)>,
}

/// What a turn came to.
struct Decided {
    events: Arc<Vec<Event>>,
    outcomes: Vec<Result<Outcome>>,
}

/// How long the next batch waits for more changes, which databases call a commit delay. Callers
/// that a commit has answered ask again within a millisecond: one commit for all of them takes
/// less time than two commits for half of them each.
#[derive(Default)]
struct CommitDelay {
    /// Callers of the last commit: those it answered, and those that asked meanwhile.
    callers: usize,
    /// The longest wait: half of the time that the last commit took.
    delay: Duration,
}

impl CommitDelay {
    /// Adds the queued changes to a batch, and waits a little for the changes that are expected.
    /// A batch with a kill request does not wait.
    async fn gather(&self, batch: &mut Vec<Job>, jobs: &mut Jobs) {
        let mut urgent = batch.iter().any(|job| is_urgent(&job.change));
        let expected = if self.callers < DELAY_FROM { 0 } else { self.callers - self.callers / 16 };
        let enough = tokio::time::sleep(self.delay);
        tokio::pin!(enough);
        while !urgent && batch.len() < BATCH {
            let job = match jobs.try_recv() {
                Some(job) => job,
                None if batch.len() >= expected => return,
                None => tokio::select! {
                    Some(job) = jobs.recv() => job,
                    () = &mut enough => return,
                },
            };
            urgent = is_urgent(&job.change);
            batch.push(job);
        }
    }
}

impl Writer {
    /// Writes until the queue is closed.
    pub(super) async fn run(mut self, mut jobs: Jobs) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut delay = CommitDelay::default();
        loop {
            let position = self.registry.seq();
            let job = tokio::select! {
                biased;
                job = jobs.recv() => job,
                missed = self.backend.follow(position) => {
                    let Ok(missed) = missed else { return };
                    self.show_foreign(missed).await;
                    continue;
                }
                () = tokio::time::sleep(RETRY), if !self.unwritten.is_empty() => {
                    self.write_closed_sockets().await;
                    continue;
                }
            };
            let Some(job) = job else { return };
            batch.push(job);
            delay.gather(&mut batch, &mut jobs).await;
            self.metrics.queue(-(batch.len() as i64));
            delay = self.write(&mut batch, &jobs).await;
        }
    }

    /// Writes a batch and answers its callers; returns the delay of the next batch.
    async fn write(&mut self, batch: &mut Vec<Job>, jobs: &Jobs) -> CommitDelay {
        let begun = Instant::now();
        let changes = batch.iter().map(|job| (&job.change, job.now));
        let Decided { events, outcomes } = match self.decide_and_commit(changes).await {
            Ok(decided) => decided,
            Err(error) => {
                self.refuse(batch, &error, begun.elapsed() < RETRY).await;
                return CommitDelay::default();
            }
        };
        let delay = CommitDelay { callers: batch.len() + jobs.len(), delay: (begun.elapsed() / 2).min(DELAY_MAX) };
        let now = batch.last().map(|job| job.now).unwrap_or_default();
        self.apply(events.clone(), now).await;
        for (job, outcome) in batch.drain(..).zip(outcomes) {
            if matches!(outcome, Err(Error::Locked { .. })) {
                self.metrics.locked_out();
            }
            if let Some(reply) = job.reply {
                let _ = reply.send(outcome);
            }
        }
        self.notify(&events);
        if !self.unwritten.is_empty() {
            self.write_closed_sockets().await;
        }
        delay
    }

    /// Takes a turn: shows what other servers have committed, decides these changes on top of
    /// it, commits what they become.
    async fn decide_and_commit(&self, changes: impl Iterator<Item = (&Change, Now)> + Send) -> Result<Decided> {
        let mut turn = self.backend.begin(self.registry.seq()).await?;
        self.show_foreign(turn.missed()).await;
        let mut draft = Draft::new(&self.registry, self.limits);
        let is_keeper = turn.is_keeper();
        let decide = |(change, now): (&Change, Now)| match change {
            // Only the keeper knows what every server has heard.
            Change::GoStale(_)
            | Change::Expire(_)
            | Change::Judge(..)
            | Change::EndLock(_)
            | Change::AnnounceLock(_)
                if !is_keeper =>
            {
                Ok(Outcome::Done)
            }
            _ => draft.decide(change, now),
        };
        let outcomes: Vec<Result<Outcome>> = changes.map(decide).collect();
        let mut raised = draft.take_raised();
        let events = Arc::new(draft.into_events());
        raised.extend(alerts::arise(&events, &self.rules.now(), &self.backend.names().now()));
        let is_alert = !raised.is_empty();
        turn.raise(raised);
        if is_alert || !events.is_empty() {
            let begun = Instant::now();
            turn.commit(events.clone()).await?;
            if events.iter().any(|event| event.kind.is_logged()) {
                self.metrics.committed(events.len(), begun.elapsed());
            }
            if is_alert {
                self.raised.notify_one();
            }
        }
        Ok(Decided { events, outcomes })
    }

    /// Answers a batch that could not be committed. That a socket is closed stays true, so it
    /// is written as soon as it can be; a store that does not log it takes it at once. One that
    /// took long to fail would do so again, so then it is tried later.
    async fn refuse(&mut self, batch: &mut Vec<Job>, error: &Error, at_once: bool) {
        tracing::error!(%error, changes = batch.len(), "a commit failed");
        self.metrics.commit_failed();
        for job in batch.drain(..) {
            if let Some(reply) = job.reply {
                let _ = reply.send(Err(error.clone()));
            }
            if matches!(job.change, Change::Disconnect(..)) {
                self.unwritten.push((job.change, job.now));
            }
        }
        if at_once && !self.unwritten.is_empty() {
            self.write_closed_sockets().await;
        }
    }

    /// Writes that sockets have closed, where an earlier commit of it failed.
    async fn write_closed_sockets(&mut self) {
        let changes = self.unwritten.iter().map(|(change, now)| (change, *now));
        let Ok(Decided { events, .. }) = self.decide_and_commit(changes).await else { return };
        let now = self.unwritten.last().map(|(_, now)| *now).unwrap_or_default();
        self.unwritten.clear();
        self.apply(events, now).await;
    }

    /// Takes what other servers have committed the way of what is committed here.
    async fn show_foreign(&self, missed: Vec<Event>) {
        if missed.is_empty() {
            return;
        }
        let now = self.clock.now();
        let events = Arc::new(self.registry.foreign(missed, now));
        self.apply(events.clone(), now).await;
        events.iter().for_each(|event| self.hub.notify(event));
    }

    /// The sockets whose sessions have a newer one after these events, which are not applied yet.
    fn superseded(&self, events: &[Event]) -> Vec<(SocketId, SessionId)> {
        let mut newest: HashMap<&SessionId, SocketId> = HashMap::new();
        let mut superseded = Vec::new();
        for session in events.iter().filter(|event| event.kind.changes_session()).map(|event| &event.session) {
            let Some(socket) = session.socket else { continue };
            let before = newest.insert(&session.id, socket);
            let before = before.or_else(|| self.registry.get(session.id.as_str())?.socket);
            superseded.extend(before.filter(|before| *before != socket).map(|before| (before, session.id.clone())));
        }
        superseded
    }

    /// Applies committed events, hands them to the feed, and tells the sockets that newer ones replace.
    async fn apply(&self, events: Arc<Vec<Event>>, now: Now) {
        if events.is_empty() {
            return;
        }
        let superseded = self.superseded(&events);
        self.registry.apply(&events, now);
        self.judge.note(&events);
        self.stats.count(&events, self.registry.counts());
        let batch = Batch { events, view: self.registry.view(), applied_at: Instant::now() };
        let _ = self.feed.send(batch).await;
        for (socket, id) in superseded {
            self.hub.supersede(socket, id);
        }
    }

    /// Pushes applied events to the sockets that they concern.
    fn notify(&self, events: &[Event]) {
        for event in events {
            self.hub.notify(event);
            self.count(event);
        }
    }

    /// Counts the steps of kill requests.
    fn count(&self, event: &Event) {
        match event.kind {
            Kind::KillRequested => self.metrics.kill("requested"),
            Kind::KillDelivered => self.metrics.kill("delivered"),
            Kind::KillAcknowledged => self.metrics.kill("acknowledged"),
            Kind::Removed if event.session.kill.is_some() => self.metrics.kill("gone"),
            _ => {}
        }
    }
}

/// Whether a batch with this change is committed without a delay.
fn is_urgent(change: &Change) -> bool {
    matches!(change, Change::Kill { .. } | Change::Lock { .. })
}

#[cfg(test)]
mod tests {
    use super::super::queue::queue;
    use super::*;
    use crate::change::{Actor, Target};

    fn job(change: Change) -> Job {
        Job { change, now: Now::default(), reply: None }
    }

    fn recover(id: usize) -> Job {
        job(Change::Recover(SessionId::parse(&format!("s{id}")).expect("an id")))
    }

    fn kill() -> Job {
        let target = Target::App("a".into());
        job(Change::Kill { target, kill_id: "k".into(), reason: None, lock_for: None, actor: Actor::default() })
    }

    /// The size of a batch, to which `come` are added while it is gathered.
    async fn gathered(delay: CommitDelay, first: Job, come: impl IntoIterator<Item = Job>) -> usize {
        let (sender, mut jobs) = queue();
        let mut batch = vec![first];
        let coming = async {
            for job in come {
                tokio::task::yield_now().await;
                assert!(sender.send(job).await.is_ok(), "the batch is gathered");
            }
            // The queue stays open, as it does in a server.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = delay.gather(&mut batch, &mut jobs) => batch.len(),
            () = coming => 0,
        }
    }

    #[tokio::test]
    async fn a_batch_waits_only_for_changes_that_are_expected() {
        // So long that only further changes can end it.
        let delay = Duration::from_secs(60);
        let come = || (1..100).map(recover);
        assert_eq!(gathered(CommitDelay::default(), recover(0), come()).await, 1, "nothing is expected");
        assert_eq!(
            gathered(CommitDelay { callers: DELAY_FROM - 1, delay }, recover(0), come()).await,
            1,
            "too few to wait for"
        );
        let callers = 32;
        // Changes that are queued when the batch is large enough are added too.
        let almost_all = 30..=32;
        assert!(almost_all.contains(&gathered(CommitDelay { callers, delay }, recover(0), come()).await));
        let delay = Duration::from_millis(20);
        assert_eq!(
            gathered(CommitDelay { callers, delay }, recover(0), [recover(1)]).await,
            2,
            "the others do not come"
        );
    }

    #[tokio::test]
    async fn a_kill_request_does_not_wait() {
        let delay = || CommitDelay { callers: 500, delay: Duration::from_secs(60) };
        assert_eq!(gathered(delay(), kill(), (1..100).map(recover)).await, 1);
        // Earlier changes are in its batch or in the next one: a kill has a lane of its own.
        let with_it = 2..=3;
        assert!(with_it.contains(&gathered(delay(), recover(0), [recover(1), kill()]).await));
    }

    #[tokio::test]
    async fn a_kill_request_overtakes_the_changes_of_apps() {
        let (sender, mut jobs) = queue();
        for index in 1..100 {
            assert!(sender.try_send(recover(index)).is_ok());
        }
        assert!(sender.try_send(kill()).is_ok());
        let mut batch = vec![recover(0)];
        CommitDelay { callers: 500, delay: Duration::from_secs(60) }.gather(&mut batch, &mut jobs).await;
        assert_eq!(batch.len(), 2);
        assert!(is_urgent(&batch[1].change));
    }
}
