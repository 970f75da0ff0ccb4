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
pub(super) struct Ended {
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
        let ended = self.watch(name);
        tokio::spawn(async move {
            let _ended = ended;
            task.await;
        })
    }

    /// Reports an end when it is dropped. A task whose end makes others end holds it where it is dropped
    /// before what they notice.
    pub(super) fn watch(&self, name: &'static str) -> Ended {
        Ended { name, report: self.ended.clone() }
    }

    /// Waits until a task has ended; returns its name. At a shutdown all tasks end.
    pub async fn one_ended(&self) -> &'static str {
        let mut ended = self.ended.subscribe();
        let first = ended.wait_for(Option::is_some).await;
        first.ok().and_then(|name| *name).unwrap_or("the supervisor")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use futures_util::future::{BoxFuture, ready};

    use crate::backend::memory::Memory;
    use crate::backend::{Backend, Keep, Outbox, Past, Stored, Turn};
    use crate::change::Event;
    use crate::clock::{Clock, Timestamp};
    use crate::decide::Limits;
    use crate::error::{Error, Result};
    use crate::log::{Entry, Query};
    use crate::monitor::Monitor;
    use crate::session::{Session, SessionId};
    use crate::stats::Minute;
    use crate::timing::Timing;

    /// A store whose order cannot be followed.
    struct Lost(Memory);

    impl Backend for Lost {
        fn outbox(&self) -> &dyn Outbox {
            self.0.outbox()
        }
        fn past(&self) -> &dyn Past {
            self.0.past()
        }
        fn minutes(&self, since: Timestamp, step: i64) -> BoxFuture<'_, Result<Vec<Minute>>> {
            self.0.minutes(since, step)
        }
        fn begin(&self, position: u64) -> BoxFuture<'_, Result<Box<dyn Turn + '_>>> {
            self.0.begin(position)
        }
        fn follow(&self, _: u64) -> BoxFuture<'_, Result<Vec<Event>>> {
            ready(Err(Error::Storage("lost".to_owned()))).boxed()
        }
        fn load(&self, now: Timestamp) -> BoxFuture<'_, Result<Stored>> {
            self.0.load(now)
        }
        fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>>> {
            self.0.session(id)
        }
        fn beats(&self, beats: Vec<(SessionId, Timestamp)>) -> BoxFuture<'_, Result<()>> {
            self.0.beats(beats)
        }
        fn minute(&self, minute: Minute) -> BoxFuture<'_, Result<()>> {
            self.0.minute(minute)
        }
        fn events(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>>> {
            self.0.events(query)
        }
        fn forget(&self, keep: Keep) -> BoxFuture<'_, Result<bool>> {
            self.0.forget(keep)
        }
        fn close(&self) -> BoxFuture<'_, Result<()>> {
            self.0.close()
        }
    }

    #[tokio::test]
    async fn the_task_that_ends_first_is_named_though_others_end_with_it() {
        let store = Arc::new(Lost(Memory::default()));
        let monitor = Monitor::start(store, Timing::default(), Clock::system(), Limits::sessions(10)).await;
        assert_eq!(monitor.expect("it starts").supervisor().one_ended().await, "the writer");
    }
}
