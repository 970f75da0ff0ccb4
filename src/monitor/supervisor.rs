//! The tasks that live as long as the server: the writer, the feed, the keeper, the
//! watcher of the tokens. When one of them ends, by a panic or otherwise, the server no
//! longer does what it says, and so the process ends.

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Watches over the long-lived tasks.
pub struct Supervisor {
    ended: watch::Sender<Option<&'static str>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self { ended: watch::channel(None).0 }
    }
}

/// Dropped with its task's future, after a panic too.
struct Ended {
    name: &'static str,
    told: watch::Sender<Option<&'static str>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.told.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(self.name);
            is_first
        });
    }
}

impl Supervisor {
    /// Starts a task; its end is told by [`Supervisor::one_ended`].
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let ended = Ended { name, told: self.ended.clone() };
        tokio::spawn(async move {
            let _ended = ended;
            task.await;
        })
    }

    /// Waits until one of the tasks has ended; tells which. At a shutdown all of them do.
    pub async fn one_ended(&self) -> &'static str {
        let mut ended = self.ended.subscribe();
        let first = ended.wait_for(Option::is_some).await;
        first.ok().and_then(|name| *name).unwrap_or("the supervisor")
    }
}
