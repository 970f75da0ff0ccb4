//! The queue of the writer. It has two lanes, so that the changes of an administrator overtake
//! those of apps that flood the monitor.

use tokio::sync::{mpsc, oneshot};

use crate::change::{Authority, Cause, Change, Proof};
use crate::clock::Now;
use crate::decide::Outcome;
use crate::error::Result;

/// Changes that may wait in each lane; above this limit callers get 503.
pub(super) const QUEUE: usize = 4_096;

/// One change, and the caller that waits for it.
pub(super) struct Job {
    pub(super) change: Change,
    pub(super) now: Now,
    pub(super) reply: Option<oneshot::Sender<Result<Outcome>>>,
}

/// The lane is full, or the writer has ended.
pub(super) struct NoPlace;

/// The sending end.
#[derive(Clone)]
pub(super) struct Sender {
    control: mpsc::Sender<Job>,
    apps: mpsc::Sender<Job>,
}

/// The receiving end: the writer's.
pub(super) struct Jobs {
    control: mpsc::Receiver<Job>,
    apps: mpsc::Receiver<Job>,
}

/// Makes an empty queue.
pub(super) fn queue() -> (Sender, Jobs) {
    let (control_sender, control) = mpsc::channel(QUEUE);
    let (apps_sender, apps) = mpsc::channel(QUEUE);
    (Sender { control: control_sender, apps: apps_sender }, Jobs { control, apps })
}

impl Sender {
    /// Queues a change; waits while the lane is full. Fails when the writer has ended.
    pub(super) async fn send(&self, job: Job) -> std::result::Result<(), NoPlace> {
        self.lane(&job.change).send(job).await.map_err(|_| NoPlace)
    }

    /// Queues a change; fails when the lane is full.
    pub(super) fn try_send(&self, job: Job) -> std::result::Result<(), NoPlace> {
        self.lane(&job.change).try_send(job).map_err(|_| NoPlace)
    }

    /// Whether nobody takes changes any more.
    pub(super) fn is_closed(&self) -> bool {
        self.control.is_closed()
    }

    fn lane(&self, change: &Change) -> &mpsc::Sender<Job> {
        if is_control(change) { &self.control } else { &self.apps }
    }
}

impl Jobs {
    /// Waits for the next job, those of administrators first; `None` when the queue is closed.
    pub(super) async fn recv(&mut self) -> Option<Job> {
        tokio::select! {
            biased;
            Some(job) = self.control.recv() => Some(job),
            Some(job) = self.apps.recv() => Some(job),
            else => None,
        }
    }

    /// The next job, if one is queued.
    pub(super) fn try_recv(&mut self) -> Option<Job> {
        self.control.try_recv().or_else(|_| self.apps.try_recv()).ok()
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.control.len() + self.apps.len()
    }
}

/// Whether a change is an administrator's, or a step of a kill request. An app has at most a few
/// of these for each kill request.
fn is_control(change: &Change) -> bool {
    match change {
        Change::Kill { .. }
        | Change::Lock { .. }
        | Change::Unlock(..)
        | Change::EndLock(_)
        | Change::AnnounceLock(_)
        | Change::KillDelivered(..)
        | Change::KillAcknowledged(..)
        | Change::RemoveSilent { .. }
        | Change::LoggedIn(_)
        | Change::Send { .. } => true,
        Change::Remove { cause, authority, actor, .. } => {
            *cause == Cause::Killed
                || actor.by.is_some()
                || matches!(authority, Authority::Proof(Proof::Trusted) | Authority::Server)
        }
        _ => false,
    }
}
