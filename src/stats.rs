//! Counts per minute for the last 24 hours. The dashboard's sparklines and time band are
//! drawn from them, so these are complete after a reload or a restart.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use serde::Serialize;

use crate::change::{Event, Kind};
use crate::clock::Timestamp;
use crate::registry::Counts;

/// The number of minutes that are kept.
pub const MINUTES: usize = 24 * 60;

/// The counts of one minute: the sessions by state at its end, and what happened in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Minute {
    /// The minute's start.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Live sessions by state.
    #[serde(flatten)]
    pub counts: Counts,
    /// Sessions that ended in the minute.
    pub ended: u64,
    /// Kills that were requested in the minute.
    pub kills: u64,
}

/// Counts again, from the log, what happened since the counts were stored last: a server
/// that crashed could not store the end of its last minute.
pub struct Recount {
    since: Timestamp,
    counted: BTreeMap<Timestamp, (u64, u64)>,
}

impl Recount {
    /// Starts at the last of these minutes, or at `earliest` where there is none.
    #[must_use]
    pub fn since(minutes: &[Minute], earliest: Timestamp) -> Self {
        let since = minutes.last().map_or(earliest, |minute| minute.at);
        Self { since, counted: BTreeMap::new() }
    }

    /// Counts an entry of the log; to be called with the newest first. Returns false when
    /// this and all earlier entries are too old.
    pub fn take(&mut self, at: Timestamp, kind: &str) -> bool {
        if at < self.since {
            return false;
        }
        let (ended, kills) = self.counted.entry(at.minute()).or_default();
        *ended += u64::from(kind == Kind::Removed.as_str());
        *kills += u64::from(kind == Kind::KillRequested.as_str());
        true
    }

    /// Writes the counts into `minutes`.
    pub fn put(self, minutes: &mut Vec<Minute>) {
        for (at, (ended, kills)) in self.counted {
            match minutes.last_mut().filter(|last| last.at == at) {
                Some(last) => {
                    last.ended = last.ended.max(ended);
                    last.kills = last.kills.max(kills);
                }
                None => {
                    let counts = minutes.last().map(|last| last.counts).unwrap_or_default();
                    minutes.push(Minute { at, counts, ended, kills });
                }
            }
        }
    }
}

/// The last 24 hours.
pub struct Stats {
    inner: Mutex<Inner>,
}

struct Inner {
    minutes: VecDeque<Minute>,
    starts: Vec<Timestamp>,
}

impl Stats {
    /// Starts empty, for a server that started at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { inner: Mutex::new(Inner { minutes: VecDeque::new(), starts: vec![now] }) }
    }

    /// Sets the minutes to those from the store, and puts its starts before this one.
    pub fn restore(&self, minutes: Vec<Minute>, mut starts: Vec<Timestamp>) {
        let mut inner = self.inner.lock();
        starts.append(&mut inner.starts);
        inner.starts = starts;
        inner.minutes = minutes.into();
    }

    /// Counts committed events; `counts` are the sessions by state after them.
    pub fn count(&self, events: &[Event], counts: Counts) {
        let Some(last) = events.last() else { return };
        let mut inner = self.inner.lock();
        let minute = inner.current(last.at);
        minute.counts = counts;
        for event in events {
            match event.kind {
                Kind::Removed => minute.ended += 1,
                Kind::KillRequested => minute.kills += 1,
                _ => {}
            }
        }
    }

    /// Sets the sessions by state of the current minute. Returns the minutes to store: the
    /// current one, preceded by the one before where a new one has just begun.
    pub fn tick(&self, now: Timestamp, counts: Counts) -> Vec<Minute> {
        let mut inner = self.inner.lock();
        let begun = inner.minutes.back().is_none_or(|last| last.at != now.minute());
        inner.current(now).counts = counts;
        let skip = inner.minutes.len().saturating_sub(if begun { 2 } else { 1 });
        inner.minutes.iter().skip(skip).copied().collect()
    }

    /// The last `count` minutes, oldest first.
    #[must_use]
    pub fn minutes(&self, now: Timestamp, count: usize) -> Vec<Minute> {
        let since = first_of(now, count);
        let inner = self.inner.lock();
        inner.minutes.iter().filter(|minute| minute.at.0 >= since).copied().collect()
    }

    /// Sessions that ended in the last 24 hours.
    #[must_use]
    pub fn ended(&self, now: Timestamp) -> u64 {
        self.minutes(now, MINUTES).iter().map(|minute| minute.ended).sum()
    }

    /// The starts of servers in the last `count` minutes.
    #[must_use]
    pub fn starts(&self, now: Timestamp, count: usize) -> Vec<Timestamp> {
        let since = first_of(now, count);
        self.inner.lock().starts.iter().filter(|start| start.0 >= since).copied().collect()
    }
}

/// The start of the first of the last `count` minutes, as a Unix time in milliseconds.
fn first_of(now: Timestamp, count: usize) -> i64 {
    let before = i64::try_from(count.saturating_sub(1)).unwrap_or(i64::MAX);
    now.minute().0.saturating_sub(before.saturating_mul(60_000))
}

impl Inner {
    fn current(&mut self, now: Timestamp) -> &mut Minute {
        let at = now.minute();
        // When the clock goes back, events still count in the newest minute.
        if self.minutes.back().is_none_or(|last| last.at < at) {
            if self.minutes.len() == MINUTES {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Minute { at, ..Minute::default() });
        }
        let last = self.minutes.len() - 1;
        &mut self.minutes[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_keeps_its_last_counts_and_a_gap_stays_a_gap() {
        let stats = Stats::new(Timestamp(0));
        let counts = |idle| Counts { idle, ..Counts::default() };
        assert_eq!(stats.tick(Timestamp(1_000), counts(1)).len(), 1);
        stats.tick(Timestamp(59_000), counts(2));
        assert_eq!(stats.tick(Timestamp(600_000), counts(3)).len(), 2);
        let idle: Vec<u64> = stats.minutes(Timestamp(600_500), 60).iter().map(|m| m.counts.idle).collect();
        assert_eq!(idle, [2, 3]);
        assert_eq!(stats.minutes(Timestamp(600_500), 1).len(), 1);
    }

    #[test]
    fn a_day_is_all_that_is_kept() {
        let stats = Stats::new(Timestamp(0));
        for minute in 0..2_000 {
            stats.tick(Timestamp(minute * 60_000), Counts::default());
        }
        assert_eq!(stats.minutes(Timestamp(1_999 * 60_000), 9_999).len(), MINUTES);
    }
}
