//! The one writer: decides a batch of changes, commits it, applies it, publishes it, answers. It
//! always does so in this order, so that nothing is visible that is not durable.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::hub::Hub;
use super::queue::{Job, Jobs};
use crate::backend::Backend;
use crate::change::{Change, Event, Kind};
use crate::clock::Now;
use crate::decide::{Draft, Limits, Outcome};
use crate::error::Result;
use crate::feed::Batch;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::stats::Stats;

/// Most changes in one transaction.
const BATCH: usize = 512;
/// With fewer callers than this, a batch does not wait for more changes.
const DELAY_FROM: usize = 8;
/// How long a batch waits at most for the changes that are expected.
const DELAY_MAX: Duration = Duration::from_millis(2);

pub(super) struct Writer {
    pub(super) registry: Arc<Registry>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) hub: Arc<Hub>,
    pub(super) stats: Arc<Stats>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) feed: mpsc::Sender<Batch>,
    pub(super) limits: Limits,
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
    pub(super) async fn run(self, mut jobs: Jobs) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut delay = CommitDelay::default();
        while let Some(job) = jobs.recv().await {
            batch.push(job);
            delay.gather(&mut batch, &mut jobs).await;
            self.metrics.queue(-(batch.len() as i64));
            delay = self.write(&mut batch, &jobs).await;
        }
    }

    /// Writes a batch and answers its callers; returns the delay of the next batch.
    async fn write(&self, batch: &mut Vec<Job>, jobs: &Jobs) -> CommitDelay {
        let begun = Instant::now();
        let mut draft = Draft::new(&self.registry, self.limits);
        let outcomes: Vec<Result<Outcome>> = batch.iter().map(|job| draft.decide(&job.change, job.now)).collect();
        let events = Arc::new(draft.into_events());
        let now = batch.last().map(|job| job.now).unwrap_or_default();

        if let Err(error) = self.commit(&events).await {
            tracing::error!(%error, changes = batch.len(), "a commit failed");
            self.metrics.commit_failed();
            let still_true = |change: &Change| matches!(change, Change::Disconnect(..));
            for job in batch.drain(..) {
                if still_true(&job.change) {
                    // The socket is closed even if the store fails, and the log has no line for it.
                    let mut draft = Draft::new(&self.registry, self.limits);
                    let _ = draft.decide(&job.change, job.now);
                    self.apply(Arc::new(draft.into_events()), job.now).await;
                }
                if let Some(reply) = job.reply {
                    let _ = reply.send(Err(error.clone()));
                }
            }
            return CommitDelay::default();
        }
        let delay = CommitDelay { callers: batch.len() + jobs.len(), delay: (begun.elapsed() / 2).min(DELAY_MAX) };

        self.apply(events.clone(), now).await;
        for (job, outcome) in batch.drain(..).zip(outcomes) {
            if let (Ok(Outcome::Registered { replaced: Some(socket), .. }), Change::Register(registration)) =
                (&outcome, &job.change)
            {
                self.hub.supersede(*socket, registration.id.clone());
            }
            if let Some(reply) = job.reply {
                let _ = reply.send(outcome);
            }
        }
        self.notify(&events);
        delay
    }

    /// Commits the events, if the log has one of them.
    async fn commit(&self, events: &Arc<Vec<Event>>) -> Result<()> {
        if !events.iter().any(|event| event.kind.is_logged()) {
            return Ok(());
        }
        let begun = Instant::now();
        self.backend.commit(events.clone()).await?;
        self.metrics.committed(events.len(), begun.elapsed());
        Ok(())
    }

    /// Applies committed events and hands them to the feed.
    async fn apply(&self, events: Arc<Vec<Event>>, now: Now) {
        if events.is_empty() {
            return;
        }
        self.registry.apply(&events, now);
        self.stats.count(&events, self.registry.counts());
        let batch = Batch { events, view: self.registry.view(), applied_at: Instant::now() };
        let _ = self.feed.send(batch).await;
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
    matches!(change, Change::Kill { .. })
}

#[cfg(test)]
mod tests {
    use super::super::queue::queue;
    use super::*;
    use crate::change::{Actor, Target};
    use crate::session::SessionId;

    fn job(change: Change) -> Job {
        Job { change, now: Now::default(), reply: None }
    }

    fn recover(id: usize) -> Job {
        job(Change::Recover(SessionId::parse(&format!("s{id}")).expect("an id")))
    }

    fn kill() -> Job {
        let target = Target::App("a".into());
        job(Change::Kill { target, kill_id: "k".into(), reason: None, actor: Actor::default() })
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
