//! What happens by the clock, whether or not anybody looks: deadlines, heartbeats to
//! the dashboards and to the store, the counts of a minute, what is old enough to go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Monitor, ended};
use crate::backend::Keep;
use crate::change::Change;
use crate::clock::{Now, Timestamp};
use crate::registry::Due;
use crate::session::{Session, SessionId};
use crate::timing::Timing;

/// Sessions that one look at the deadlines takes, so that a crowd that is due at once
/// holds up nobody.
const SLICE: usize = 1_000;

/// Starts the keeper's tasks; they end with `monitor.shutdown`.
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
                flush.take(&monitor);
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
            }
            monitor.write_minutes().await;
        }
    };
    let supervisor = monitor.supervisor();
    vec![
        supervisor.spawn("the keeper of the deadlines", deadlines),
        supervisor.spawn("the keeper of the heartbeats", beats),
        supervisor.spawn("the keeper of the counts", minutes),
    ]
}

/// Sees when the silence was the machine's own.
struct Watch {
    last: Now,
}

impl Watch {
    fn new(now: Now) -> Self {
        Self { last: now }
    }

    /// A suspended machine stops the monotonic clock and not the wall clock; a stopped
    /// process sees both move on; a set clock moves only the wall.
    fn slept_or_jumped(&mut self, now: Now, timing: &Timing) -> bool {
        let passed = now.mono.since(self.last.mono);
        let on_the_wall = now.wall.since(self.last.wall);
        self.last = now;
        let apart = on_the_wall.saturating_sub(crate::clock::signed_millis(passed)).unsigned_abs();
        passed > timing.resolution() + timing.amnesty_after() || apart > crate::clock::millis(timing.amnesty_after())
    }
}

/// Heartbeats on their way to the store.
struct Flush {
    waiting: HashMap<SessionId, Arc<Session>>,
    since: Instant,
}

impl Default for Flush {
    fn default() -> Self {
        Self { waiting: HashMap::new(), since: Instant::now() }
    }
}

impl Flush {
    fn take(&mut self, monitor: &Monitor) {
        let moved = monitor.registry.take_moved();
        self.waiting.extend(moved.iter().map(|session| (session.id.clone(), session.clone())));
        monitor.feed.publish_beats(moved);
    }

    async fn write(&mut self, monitor: &Monitor) {
        self.since = Instant::now();
        let beats: Vec<(SessionId, Timestamp)> =
            self.waiting.values().map(|session| (session.id.clone(), session.pulse.wall())).collect();
        if beats.is_empty() {
            return;
        }
        match monitor.backend.beats(beats).await {
            Ok(()) => self.waiting.clear(),
            // They stay, and go with the next flush.
            Err(error) => tracing::warn!(%error, "heartbeats could not be written yet"),
        }
    }
}

impl Monitor {
    /// Sleeps until the next tick; false when the monitor ends.
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

    /// Finds who is due now and has the writer judge them, in slices. The server calls
    /// this by the clock; a test calls it after moving its own.
    pub async fn sweep(&self) {
        let mut again = true;
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

    async fn write_minutes(&self) {
        let now = self.clock.now().wall;
        for minute in self.stats.tick(now, self.registry.counts()) {
            if let Err(error) = self.backend.minute(minute).await {
                tracing::warn!(%error, "the counts of a minute could not be written");
            }
        }
    }

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
        while let Ok(true) = self.backend.forget(keep).await {
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
