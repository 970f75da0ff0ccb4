//! The one writer: decides what is asked, commits it, applies it, shows it, answers.
//! In this order, for everything, so that nobody sees what is not durable.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::hub::Hub;
use crate::backend::Backend;
use crate::change::{Change, Event, Kind};
use crate::clock::Now;
use crate::decide::{Draft, Outcome};
use crate::error::Result;
use crate::feed::Batch;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::stats::Stats;

/// Changes that may wait; more is 503.
pub(super) const QUEUE: usize = 4_096;
/// Turns of the runtime that a batch waits at most while each brings more.
const TURNS: usize = 8;
/// Changes in one transaction.
const BATCH: usize = 512;

/// One change, and who waits for it.
pub(super) struct Job {
    pub(super) change: Change,
    pub(super) now: Now,
    pub(super) reply: Option<oneshot::Sender<Result<Outcome>>>,
}

pub(super) struct Writer {
    pub(super) registry: Arc<Registry>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) hub: Arc<Hub>,
    pub(super) stats: Arc<Stats>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) feed: mpsc::Sender<Batch>,
    pub(super) max_sessions: usize,
}

impl Writer {
    /// Writes until everybody who could ask is gone.
    pub(super) async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(job) = jobs.recv().await {
            let mut urgent = is_urgent(&job.change);
            batch.push(job);
            // What came during the last commit goes together; a kill waits for nobody. Those
            // whom that commit has answered ask again within microseconds: for as long as a
            // turn of the runtime brings some of them, they need not wait for this commit.
            for turn in 0..TURNS {
                let before = batch.len();
                while !urgent && batch.len() < BATCH {
                    let Ok(job) = jobs.try_recv() else { break };
                    urgent = is_urgent(&job.change);
                    batch.push(job);
                }
                if urgent || batch.len() == BATCH || (turn > 0 && batch.len() == before) {
                    break;
                }
                tokio::task::yield_now().await;
            }
            self.metrics.queue(-(batch.len() as i64));
            self.write(&mut batch).await;
        }
    }

    async fn write(&self, batch: &mut Vec<Job>) {
        let mut draft = Draft::new(&self.registry, self.max_sessions);
        let outcomes: Vec<Result<Outcome>> = batch.iter().map(|job| draft.decide(&job.change, job.now)).collect();
        let events = Arc::new(draft.into_events());
        let now = batch.last().map(|job| job.now).unwrap_or_default();

        if let Err(error) = self.commit(&events).await {
            tracing::error!(%error, changes = batch.len(), "a commit failed");
            self.metrics.commit_failed();
            let still_true = |change: &Change| matches!(change, Change::Disconnect(..));
            for job in batch.drain(..) {
                if still_true(&job.change) {
                    // A socket is closed whatever the disk says, and it has no line in the log.
                    let mut draft = Draft::new(&self.registry, self.max_sessions);
                    let _ = draft.decide(&job.change, job.now);
                    self.apply(Arc::new(draft.into_events()), job.now).await;
                }
                if let Some(reply) = job.reply {
                    let _ = reply.send(Err(error.clone()));
                }
            }
            return;
        }

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
        for event in events.iter() {
            self.hub.notify(event);
            self.count(event);
        }
    }

    async fn commit(&self, events: &Arc<Vec<Event>>) -> Result<()> {
        if !events.iter().any(|event| event.kind.is_logged()) {
            return Ok(());
        }
        let begun = Instant::now();
        self.backend.commit(events.clone()).await?;
        self.metrics.committed(events.len(), begun.elapsed());
        Ok(())
    }

    async fn apply(&self, events: Arc<Vec<Event>>, now: Now) {
        if events.is_empty() {
            return;
        }
        self.registry.apply(&events, now);
        self.stats.count(&events, self.registry.counts());
        let batch = Batch { events, view: self.registry.view(), applied_at: Instant::now() };
        let _ = self.feed.send(batch).await;
    }

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

fn is_urgent(change: &Change) -> bool {
    matches!(change, Change::Kill { .. })
}
