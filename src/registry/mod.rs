//! The live sessions, in memory; no I/O, and no clock but the one that is passed in.
//!
//! Two structures hold the same versions. `by_id` answers a heartbeat with one sharded read
//! lock. `view` is a persistent ordered map: reading all sessions at one position costs a clone
//! of its root, and the writer does not wait for the reader. Only the writer applies events, so
//! the two differ by at most one batch.

mod counts;
mod departed;
mod foreign;
mod liveness;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};
use subtle::ConstantTimeEq;

use crate::change::{Event, Kind, Tombstone};
use crate::clock::{Now, Timestamp};
use crate::deadlines::{Deadlines, Entry};
use crate::error::Error;
use crate::lock::{Lock, Locks};
use crate::session::{Digest, Session, SessionId};
use crate::timing::Timing;
pub use counts::Counts;
use departed::Departed;
pub use liveness::{Beat, Due};
pub use view::View;

/// The lists over which moved ids are spread, so that heartbeats on many cores do not wait for
/// each other.
const MOVED_SHARDS: usize = 16;

/// The live sessions of this server, and what is remembered of ended ones.
pub struct Registry {
    timing: Timing,
    epoch: RwLock<Arc<str>>,
    seq: AtomicU64,
    by_id: DashMap<SessionId, Arc<Session>>,
    view: RwLock<View>,
    counts: Mutex<Counts>,
    /// How many live sessions each token has registered.
    by_token: Mutex<HashMap<Arc<str>, usize>>,
    tombstones: RwLock<HashMap<SessionId, Tombstone>>,
    locks: RwLock<Locks>,
    /// The owners of sessions that have ended.
    departed: Mutex<Departed>,
    deadlines: Mutex<Deadlines>,
    /// Whether [`Registry::restore`] has begun.
    restoring: Mutex<bool>,
    /// Silence is counted from this moment at the earliest: see [`Registry::grant_amnesty`].
    floor: AtomicU64,
    moved: [Mutex<Vec<SessionId>>; MOVED_SHARDS],
    beats: AtomicU64,
    next_shard: AtomicUsize,
}

impl Registry {
    /// An empty registry at position `seq`, with an epoch of its own until [`Registry::restore`]
    /// sets the store's.
    #[must_use]
    pub fn new(timing: Timing, seq: u64) -> Self {
        Self {
            timing,
            epoch: RwLock::new(uuid::Uuid::new_v4().to_string().into()),
            seq: AtomicU64::new(seq),
            by_id: DashMap::new(),
            view: RwLock::new(View::of(seq, [])),
            counts: Mutex::default(),
            by_token: Mutex::default(),
            tombstones: RwLock::default(),
            locks: RwLock::default(),
            departed: Mutex::default(),
            deadlines: Mutex::new(Deadlines::new(timing.resolution())),
            restoring: Mutex::new(false),
            floor: AtomicU64::new(0),
            moved: std::array::from_fn(|_| Mutex::default()),
            beats: AtomicU64::new(0),
            next_shard: AtomicUsize::new(0),
        }
    }

    /// The intervals.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The epoch that `seq` counts in.
    #[must_use]
    pub fn epoch(&self) -> Arc<str> {
        self.epoch.read().clone()
    }

    /// The position: the last event that was applied.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// How many sessions are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Heartbeats since the start.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// One live session.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.by_id.get(id).map(|entry| entry.value().clone())
    }

    /// All sessions at one position.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.read().clone()
    }

    /// How many live sessions are in each state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// How many live sessions this token has registered.
    #[must_use]
    pub fn registered_by(&self, token: &str) -> usize {
        self.by_token.lock().get(token).copied().unwrap_or(0)
    }

    /// Counts sessions of the token that registered this one.
    fn count_token(&self, session: &Session, by: isize) {
        let Some(token) = &session.registered_by else { return };
        let mut by_token = self.by_token.lock();
        let count = by_token.entry(token.clone()).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            by_token.remove(token);
        }
    }

    /// The error for a killed id, while its tombstone is kept.
    #[must_use]
    pub fn gone(&self, id: &str, now: Timestamp) -> Option<Error> {
        self.tombstones.read().get(id)?.gone(id, &self.timing, now)
    }

    /// Whether a session that has ended had the token with this digest.
    #[must_use]
    pub fn was_owned_by(&self, id: &str, digest: &Digest) -> bool {
        let buried = self.tombstones.read().get(id).and_then(|tombstone| tombstone.token);
        let token = buried.or_else(|| self.departed.lock().token(id));
        token.is_some_and(|token| token.ct_eq(digest).into())
    }

    /// Adds the tombstone of a killed session.
    pub fn bury(&self, id: SessionId, tombstone: Tombstone) {
        self.tombstones.write().insert(id, tombstone);
    }

    /// Drops the tombstones that are older than `tombstone_ttl`.
    pub fn forget_tombstones(&self, now: Timestamp) {
        let ttl = self.timing.tombstone_ttl;
        self.tombstones.write().retain(|_, tombstone| now < tombstone.at.plus(ttl));
    }

    /// All locks, as of the last event that was applied.
    #[must_use]
    pub fn locks(&self) -> Locks {
        self.locks.read().clone()
    }

    /// Sets the locks that were restored from the store.
    pub fn restore_locks(&self, locks: Vec<Lock>) {
        *self.locks.write() = Locks::of(locks);
    }

    /// Puts the versions of locks that these events carry in place.
    fn apply_locks(&self, events: &[Event]) {
        for event in events.iter().filter(|event| event.kind.changes_locks()) {
            let Some(lock) = &event.lock else { continue };
            match event.kind {
                Kind::Unlocked => self.locks.write().remove(&lock.lock_id),
                _ => self.locks.write().put(lock.clone()),
            }
        }
    }

    /// Adds one session from the store before all are restored, so that it can be answered. `None`
    /// once [`Registry::restore`] has begun: the given version may be out of date.
    #[must_use]
    pub fn adopt(&self, session: Session) -> Option<Arc<Session>> {
        let restoring = self.restoring.lock();
        if *restoring {
            return None;
        }
        Some(self.by_id.entry(session.id.clone()).or_insert_with(|| Arc::new(session)).clone())
    }

    /// Adds all sessions of the store at position `seq` of `epoch`. Sessions that were adopted
    /// before keep their version.
    pub fn restore(&self, sessions: Vec<Session>, epoch: Arc<str>, seq: u64, now: Now) {
        *self.restoring.lock() = true;
        *self.epoch.write() = epoch;
        let mut counts = Counts::default();
        let mut deadlines = Vec::with_capacity(sessions.len());
        let mut all = Vec::with_capacity(sessions.len());
        let at = now.mono.plus(self.timing.stale_after);
        for session in sessions {
            let session = self.by_id.entry(session.id.clone()).or_insert_with(|| Arc::new(session)).clone();
            *counts.of(session.state()) += 1;
            self.count_token(&session, 1);
            deadlines.push((Entry { id: session.id.clone(), pulse: session.pulse.clone() }, at));
            all.push(session);
        }
        *self.counts.lock() = counts;
        self.deadlines.lock().put_back(deadlines);
        *self.view.write() = View::of(seq, all);
        self.seq.store(seq, Ordering::Release);
    }

    /// Applies committed events, in order: puts each session's new version in place. Only the writer
    /// calls it.
    pub fn apply(&self, events: &[Event], now: Now) {
        let Some(last) = events.last() else { return };
        // First, so that a killed id is never unknown in between.
        for event in events {
            if let Some(tombstone) = event.tombstone() {
                self.bury(event.session.id.clone(), tombstone);
            }
        }
        self.apply_locks(events);
        {
            let mut view = self.view.write();
            let mut counts = self.counts.lock();
            for event in events.iter().filter(|event| event.kind.changes_session()) {
                let session = &event.session;
                let before = if event.kind == Kind::Removed {
                    view.remove(session);
                    self.by_id.remove(session.id.as_str()).map(|(_, before)| before)
                } else {
                    *counts.of(session.state()) += 1;
                    view.put(session.clone());
                    self.by_id.insert(session.id.clone(), session.clone())
                };
                match event.kind {
                    Kind::Registered => self.count_token(session, 1),
                    Kind::Removed => {
                        self.count_token(session, -1);
                        self.departed.lock().add(session);
                    }
                    _ => {}
                }
                if let Some(before) = before {
                    let count = counts.of(before.state());
                    *count = count.saturating_sub(1);
                }
            }
            view.seq = last.seq;
            self.seq.store(last.seq, Ordering::Release);
        }
        for event in events.iter().filter(|event| event.kind == Kind::Registered) {
            self.schedule(&event.session, now.mono.plus(self.timing.stale_after));
        }
    }
}
