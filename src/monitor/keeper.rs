//! What happens by the clock: deadlines, heartbeats to dashboards and to the store, the counts of
//! each minute, the removal of old data.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Monitor, ended, judge};
use crate::backend::Keep;
use crate::change::Change;
use crate::clock::{Now, Timestamp};
use crate::registry::Due;
use crate::session::{Node, Session, SessionId};
use crate::timing::Timing;

/// Sessions that are checked at once; more are checked in further slices, so that other tasks run
/// in between.
const SLICE: usize = 1_000;
/// How often the keeper looks whether a checkpoint of the table is due.
const CHECKPOINT_LOOK: Duration = Duration::from_secs(10);
/// Heartbeats that wait at most until the other servers can be told.
const UNTOLD_MAX: usize = 100_000;

/// Starts the keeper's tasks; they end when the monitor ends.
pub(super) fn start(monitor: &Arc<Monitor>) -> Vec<tokio::task::JoinHandle<()>> {
    let deadlines = {
        let monitor = monitor.clone();
        async move {
            let mut ticks = interval(monitor.timing().resolution());
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut watch = Watch::new(monitor.clock.now());
            while monitor.next(&mut ticks).await {
                let now = monitor.clock.now();
                if watch.slept_or_jumped(now, monitor.timing()) {
                    tracing::warn!("the clocks jumped or the machine slept; every session gets its full time anew");
                    monitor.registry.grant_amnesty(now);
                }
                monitor.sweep().await;
            }
        }
    };
    let beats = {
        let monitor = monitor.clone();
        async move {
            let mut ticks = interval(Timing::BEATS_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut flush = Flush::default();
            while monitor.next(&mut ticks).await {
                monitor.backend.tell(monitor.load());
                flush.take(&monitor);
                flush.exchange(&monitor).await;
                if flush.since.elapsed() >= monitor.timing().flush_interval {
                    flush.write(&monitor).await;
                }
                monitor.feed.drop_old_snapshot();
            }
            flush.take(&monitor);
            flush.write(&monitor).await;
        }
    };
    let minutes = {
        let monitor = monitor.clone();
        async move {
            let mut ticks = interval(Duration::from_secs(10));
            while monitor.next(&mut ticks).await {
                monitor.write_minutes().await;
                monitor.forget().await;
                monitor.rebuilt.drop_old();
            }
            monitor.write_minutes().await;
        }
    };
    let checkpoints = {
        let monitor = monitor.clone();
        async move {
            let mut ticks = interval(CHECKPOINT_LOOK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while monitor.next(&mut ticks).await {
                if let Err(error) = monitor.take_checkpoint().await {
                    tracing::warn!(%error, "a checkpoint of the table could not be written; a look at the past takes longer");
                }
            }
        }
    };
    let rules = {
        let monitor = monitor.clone();
        async move {
            let mut ticks = interval(judge::EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while monitor.next(&mut ticks).await {
                monitor.judge().await;
            }
        }
    };
    let supervisor = monitor.supervisor();
    vec![
        supervisor.spawn("the keeper of the deadlines", deadlines),
        supervisor.spawn("the keeper of the heartbeats", beats),
        supervisor.spawn("the keeper of the counts", minutes),
        supervisor.spawn("the keeper of the checkpoints", checkpoints),
        supervisor.spawn("the judge of the rules", rules),
    ]
}

/// Notices when the machine or the process slept, or a clock was set.
struct Watch {
    last: Now,
}

impl Watch {
    fn new(now: Now) -> Self {
        Self { last: now }
    }

    /// Whether that happened since the last call. A suspended machine stops the monotonic clock only;
    /// a stopped process finds both clocks moved on; setting the time moves the wall clock only.
    fn slept_or_jumped(&mut self, now: Now, timing: &Timing) -> bool {
        let passed = now.mono.since(self.last.mono);
        let on_the_wall = now.wall.since(self.last.wall);
        self.last = now;
        let apart = on_the_wall.saturating_sub(crate::clock::signed_millis(passed)).unsigned_abs();
        passed > timing.resolution() + timing.amnesty_after() || apart > crate::clock::millis(timing.amnesty_after())
    }
}

/// Heartbeats that are not in the store yet.
struct Flush {
    waiting: HashMap<SessionId, Arc<Session>>,
    /// Heartbeats that the other servers were not told of yet.
    untold: Vec<Arc<Session>>,
    /// Theirs do not come, so that nothing is known of the silence of their sessions.
    is_blind: bool,
    since: Instant,
}

impl Default for Flush {
    fn default() -> Self {
        Self { waiting: HashMap::new(), untold: Vec::new(), is_blind: false, since: Instant::now() }
    }
}

impl Flush {
    /// Collects the heartbeats since the last call and sends them to dashboards.
    fn take(&mut self, monitor: &Monitor) {
        let moved = monitor.registry.take_moved();
        self.waiting.extend(moved.iter().map(|session| (session.id.clone(), session.clone())));
        self.untold.extend(moved.iter().cloned());
        monitor.feed.publish_beats(moved);
    }

    /// Tells other servers of the heartbeats here, and takes theirs.
    async fn exchange(&mut self, monitor: &Monitor) {
        match monitor.backend.exchange(&self.untold).await {
            Ok(beats) => {
                self.untold.clear();
                let now = monitor.clock.now();
                if std::mem::take(&mut self.is_blind) {
                    monitor.registry.grant_amnesty(now);
                }
                monitor.feed.publish_beats(monitor.registry.foreign_beats(beats, now));
            }
            Err(error) => {
                // They are told with the next ones, up to a bound.
                self.untold.truncate(UNTOLD_MAX);
                if !std::mem::replace(&mut self.is_blind, true) {
                    tracing::warn!(%error, "heartbeats cannot be exchanged with the other servers");
                }
            }
        }
    }

    /// Writes the collected heartbeats to the store.
    async fn write(&mut self, monitor: &Monitor) {
        self.since = Instant::now();
        let beats: Vec<(SessionId, Timestamp)> =
            self.waiting.values().map(|session| (session.id.clone(), session.pulse.wall())).collect();
        if beats.is_empty() {
            return;
        }
        match monitor.backend.beats(beats).await {
            Ok(()) => self.waiting.clear(),
            // They stay and are written with the next flush.
            Err(error) => tracing::warn!(%error, "heartbeats could not be written yet"),
        }
    }
}

impl Monitor {
    /// Waits for the next tick; false when the monitor ends.
    async fn next(&self, ticks: &mut tokio::time::Interval) -> bool {
        if self.restored().await.is_err() {
            return false;
        }
        let mut ending = self.ending();
        tokio::select! {
            _ = ticks.tick() => true,
            () = ended(&mut ending) => false,
        }
    }

    /// Finds the sessions whose deadline has passed and asks the writer to mark or remove them. The
    /// server calls this by the clock; a test calls it after it has moved its own clock.
    pub async fn sweep(&self) {
        let gone = self.backend.gone();
        if !gone.is_empty() {
            self.disconnect_gone(&gone).await;
        }
        self.sweep_locks().await;
        let mut again = self.backend.is_keeper();
        while again {
            let now = self.clock.now();
            let (due, more) = self.registry.due(now, SLICE);
            again = more;
            let mut last = None;
            for due in due {
                let change = match due {
                    Due::Stale(id) => Change::GoStale(id),
                    Due::Expired(id) => Change::Expire(id),
                };
                last = self.submit(change).await.ok();
            }
            if let Some(last) = last {
                let _ = last.done().await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Ends the locks whose end has come, and announces those that begin soon.
    async fn sweep_locks(&self) {
        if !self.backend.is_keeper() {
            return;
        }
        let now = self.clock.now().wall;
        let mut last = None;
        for lock in self.registry.locks().iter() {
            let change = match lock {
                lock if lock.is_over(now) => Change::EndLock(lock.lock_id.clone()),
                lock if lock.should_be_announced(now) => Change::AnnounceLock(lock.lock_id.clone()),
                _ => continue,
            };
            last = self.submit(change).await.ok();
        }
        if let Some(last) = last {
            let _ = last.done().await;
        }
    }

    /// Closes the sockets of servers that are gone. Their sessions get a full `stale_after`: how
    /// long they have been silent is not known.
    async fn disconnect_gone(&self, gone: &[Node]) {
        self.registry.grant_amnesty(self.clock.now());
        let view = self.registry.view();
        let mut last = None;
        for session in view.sessions() {
            if let Some(socket) = session.socket.filter(|socket| gone.contains(&socket.node())) {
                last = self.submit(Change::Disconnect(session.id.clone(), socket)).await.ok();
            }
        }
        if let Some(last) = last {
            let _ = last.done().await;
        }
    }

    /// Writes the counts of the minutes that are over.
    async fn write_minutes(&self) {
        let now = self.clock.now().wall;
        let is_keeper = self.backend.is_keeper();
        for minute in self.stats.tick(now, self.registry.counts()) {
            if is_keeper && let Err(error) = self.backend.minute(minute).await {
                tracing::warn!(%error, "the counts of a minute could not be written");
            }
        }
    }

    /// Removes what is older than the settings keep: tombstones, log lines, closed queues.
    async fn forget(&self) {
        let now = self.clock.now().wall;
        self.hub.sweep();
        self.registry.forget_tombstones(now);
        let timing = self.timing();
        let keep = Keep {
            events: now.minus(timing.events_keep),
            tombstones: now.minus(timing.tombstone_ttl),
            log_bytes: timing.events_max_bytes,
        };
        while self.backend.is_keeper()
            && let Ok(true) = self.backend.forget(keep).await
        {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn only_a_jump_or_a_sleep_is_seen_as_one() {
        let timing = Timing::default();
        let clock = Clock::manual();
        let mut watch = Watch::new(clock.now());
        for _ in 0..100 {
            clock.advance(Duration::from_secs(1));
            assert!(!watch.slept_or_jumped(clock.now(), &timing));
        }
        clock.jump_wall(86_400_000);
        assert!(watch.slept_or_jumped(clock.now(), &timing), "set forward");
        clock.jump_wall(-86_400_000);
        assert!(watch.slept_or_jumped(clock.now(), &timing), "set back");
        clock.advance(Duration::from_secs(60));
        assert!(watch.slept_or_jumped(clock.now(), &timing), "stopped");
        assert!(!watch.slept_or_jumped(clock.now(), &timing));
    }
}
