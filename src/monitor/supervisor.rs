//! The tasks that run as long as the server: the writer, the feed, the keeper, the watcher of the
//! tokens. If one of them ends, by a panic or otherwise, the server no longer works correctly, so
//! the process ends.

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Notices when a long-lived task ends.
pub struct Supervisor {
    ended: watch::Sender<Option<&'static str>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self { ended: watch::channel(None).0 }
    }
}

/// Reports the end of a task when it is dropped with the task's future, after a panic too.
struct Ended {
    name: &'static str,
    report: watch::Sender<Option<&'static str>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.report.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(self.name);
            is_first
        });
    }
}

impl Supervisor {
    /// Starts a task; [`Supervisor::one_ended`] reports its end.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let ended = Ended { name, report: self.ended.clone() };
        tokio::spawn(async move {
            let _ended = ended;
            task.await;
        })
    }

    /// Waits until a task has ended; returns its name. At a shutdown all tasks end.
    pub async fn one_ended(&self) -> &'static str {
        let mut ended = self.ended.subscribe();
        let first = ended.wait_for(Option::is_some).await;
        first.ok().and_then(|name| *name).unwrap_or("the supervisor")
    }
}
