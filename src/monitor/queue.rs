//! The queue in front of the writer. It has two lanes, so that apps which flood the
//! monitor with changes never hold up an administrator.

use tokio::sync::{mpsc, oneshot};

use crate::change::{Authority, Cause, Change, Proof};
use crate::clock::Now;
use crate::decide::Outcome;
use crate::error::Result;

/// Changes that may wait in each lane; more is 503.
pub(super) const QUEUE: usize = 4_096;

/// One change, and who waits for it.
pub(super) struct Job {
    pub(super) change: Change,
    pub(super) now: Now,
    pub(super) reply: Option<oneshot::Sender<Result<Outcome>>>,
}

/// The end that changes are put into.
#[derive(Clone)]
pub(super) struct Sender {
    control: mpsc::Sender<Job>,
    apps: mpsc::Sender<Job>,
}

/// The writer's end.
pub(super) struct Jobs {
    control: mpsc::Receiver<Job>,
    apps: mpsc::Receiver<Job>,
}

/// An empty queue.
pub(super) fn queue() -> (Sender, Jobs) {
    let (control_sender, control) = mpsc::channel(QUEUE);
    let (apps_sender, apps) = mpsc::channel(QUEUE);
    (Sender { control: control_sender, apps: apps_sender }, Jobs { control, apps })
}

impl Sender {
    /// Waits for a place; the job comes back when the writer is gone.
    pub(super) async fn send(&self, job: Job) -> std::result::Result<(), Job> {
        self.lane(&job.change).send(job).await.map_err(|error| error.0)
    }

    /// Takes a place if there is one.
    pub(super) fn try_send(&self, job: Job) -> std::result::Result<(), Job> {
        self.lane(&job.change).try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job) => job,
        })
    }

    fn lane(&self, change: &Change) -> &mpsc::Sender<Job> {
        if is_control(change) { &self.control } else { &self.apps }
    }
}

impl Jobs {
    /// The next job, those of administrators first; `None` when nobody can ask any more.
    pub(super) async fn recv(&mut self) -> Option<Job> {
        tokio::select! {
            biased;
            Some(job) = self.control.recv() => Some(job),
            Some(job) = self.apps.recv() => Some(job),
            else => None,
        }
    }

    /// The next job that is there already.
    pub(super) fn try_recv(&mut self) -> Option<Job> {
        self.control.try_recv().or_else(|_| self.apps.try_recv()).ok()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.control.len() + self.apps.len()
    }
}

/// Whether a change is an administrator's, or a step of a kill that one asked for. An app
/// has at most a few of these for each kill of its sessions.
fn is_control(change: &Change) -> bool {
    match change {
        Change::Kill { .. }
        | Change::KillDelivered(..)
        | Change::KillAcknowledged(..)
        | Change::RemoveSilent { .. }
        | Change::LoggedIn(_)
        | Change::Send { .. } => true,
        Change::Remove { cause, authority, .. } => {
            *cause == Cause::Killed || matches!(authority, Authority::Proof(Proof::Trusted) | Authority::Server)
        }
        _ => false,
    }
}
