//! The one writer: decides what is asked, commits it, applies it, shows it, answers.
//! In this order, for everything, so that nobody sees what is not durable.

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

/// Changes in one transaction.
const BATCH: usize = 512;
/// With fewer who ask at once, nobody is waited for.
const COMPANY: usize = 8;
/// How long a batch waits at most for those who are expected.
const WAIT_MAX: Duration = Duration::from_millis(2);

pub(super) struct Writer {
    pub(super) registry: Arc<Registry>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) hub: Arc<Hub>,
    pub(super) stats: Arc<Stats>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) feed: mpsc::Sender<Batch>,
    pub(super) limits: Limits,
}

/// Who asked lately. Those whom a commit has answered ask again within a millisecond: two
/// commits of half of them each would take longer than one of all, for everybody. This is
/// what databases call a commit delay.
#[derive(Default)]
struct Company {
    /// How many asked while the last commit was under way, those it answered included.
    asking: usize,
    /// How long they are worth waiting for: half of what that commit took.
    patience: Duration,
}

impl Company {
    /// Adds to a batch what is there, and waits a little for those who are expected. A kill
    /// waits for nobody.
    async fn gather(&self, batch: &mut Vec<Job>, jobs: &mut Jobs) {
        let mut urgent = batch.iter().any(|job| is_urgent(&job.change));
        let expected = if self.asking < COMPANY { 0 } else { self.asking - self.asking / 16 };
        let enough = tokio::time::sleep(self.patience);
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
    /// Writes until everybody who could ask is gone.
    pub(super) async fn run(self, mut jobs: Jobs) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut company = Company::default();
        while let Some(job) = jobs.recv().await {
            batch.push(job);
            company.gather(&mut batch, &mut jobs).await;
            self.metrics.queue(-(batch.len() as i64));
            company = self.write(&mut batch, &jobs).await;
        }
    }

    /// Writes a batch; tells who asked meanwhile.
    async fn write(&self, batch: &mut Vec<Job>, jobs: &Jobs) -> Company {
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
                    // A socket is closed whatever the disk says, and it has no line in the log.
                    let mut draft = Draft::new(&self.registry, self.limits);
                    let _ = draft.decide(&job.change, job.now);
                    self.apply(Arc::new(draft.into_events()), job.now).await;
                }
                if let Some(reply) = job.reply {
                    let _ = reply.send(Err(error.clone()));
                }
            }
            return Company::default();
        }
        let company = Company { asking: batch.len() + jobs.len(), patience: (begun.elapsed() / 2).min(WAIT_MAX) };

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
        company
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

    /// How many a batch has in the end, to which `come` come while it is gathered.
    async fn gathered(company: Company, first: Job, come: impl IntoIterator<Item = Job>) -> usize {
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
            () = company.gather(&mut batch, &mut jobs) => batch.len(),
            () = coming => 0,
        }
    }

    #[tokio::test]
    async fn a_batch_waits_for_those_who_asked_lately_and_for_nobody_else() {
        // So long that only those who come can end it.
        let patience = Duration::from_secs(60);
        let come = || (1..100).map(recover);
        assert_eq!(gathered(Company::default(), recover(0), come()).await, 1, "nobody is expected");
        assert_eq!(
            gathered(Company { asking: COMPANY - 1, patience }, recover(0), come()).await,
            1,
            "too few to wait for"
        );
        let asking = 32;
        // What is there already when enough have come goes with them.
        let almost_all = 30..=32;
        assert!(almost_all.contains(&gathered(Company { asking, patience }, recover(0), come()).await));
        let patience = Duration::from_millis(20);
        assert_eq!(gathered(Company { asking, patience }, recover(0), [recover(1)]).await, 2, "they do not come");
    }

    #[tokio::test]
    async fn a_kill_waits_for_nobody() {
        let company = || Company { asking: 500, patience: Duration::from_secs(60) };
        assert_eq!(gathered(company(), kill(), (1..100).map(recover)).await, 1);
        // What came before it goes along, or waits for the next batch: a kill has a lane of its own.
        let with_it = 2..=3;
        assert!(with_it.contains(&gathered(company(), recover(0), [recover(1), kill()]).await));
    }

    #[tokio::test]
    async fn a_kill_goes_before_what_apps_have_queued() {
        let (sender, mut jobs) = queue();
        for index in 1..100 {
            assert!(sender.try_send(recover(index)).is_ok());
        }
        assert!(sender.try_send(kill()).is_ok());
        let mut batch = vec![recover(0)];
        Company { asking: 500, patience: Duration::from_secs(60) }.gather(&mut batch, &mut jobs).await;
        assert_eq!(batch.len(), 2);
        assert!(is_urgent(&batch[1].change));
    }
}
