//! Who joins: a snapshot that is shared, or what was missed, and then all that comes.
//!
//! What a dashboard is owed is handed out frame by frame, so that one which stops
//! reading can be made to let go of it: see [`Owed`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::Instant;

use super::ring::{Missed, Touched};
use super::{BEATS_AT_ONCE, Feed, Published};
use crate::clock::{Now, Timestamp};
use crate::registry::View;
use crate::scope::Scope;
use crate::session::Session;
use crate::timing::Timing;
use crate::wire::{self, RemovedJson};

/// A snapshot is shared by all who come within this time: at most two encodes a second.
const SHARED: Duration = Duration::from_millis(500);
/// A snapshot of so many parts costs a millisecond or two: it is made anew whenever it
/// has to be.
const SMALL_PARTS: usize = 2;
/// Large snapshots that are in memory at once, however many dashboards are slow to take
/// theirs. Who comes when there are as many shares one that is there.
const LARGE_AT_ONCE: usize = 3;
/// How long a dashboard may take for a large snapshot while others wait for a newer one.
const HELD_AT_MOST: Duration = Duration::from_secs(10);

/// All sessions at one position, encoded.
pub(super) struct Snapshot {
    seq: u64,
    now: Now,
    made: Instant,
    parts: Vec<Utf8Bytes>,
    /// Its place among the large ones; given back with the memory.
    _place: Option<OwnedSemaphorePermit>,
}

impl Snapshot {
    fn is_large(&self) -> bool {
        self.parts.len() > SMALL_PARTS
    }
}

/// The snapshots that are in memory.
pub(super) struct Snapshots {
    latest: tokio::sync::Mutex<Latest>,
    places: Arc<Semaphore>,
    /// Somebody waits for a place.
    wanted: AtomicBool,
    encoded: AtomicU64,
}

#[derive(Default)]
struct Latest {
    shared: Option<Arc<Snapshot>>,
    /// The same one, for as long as somebody still reads it.
    read: Weak<Snapshot>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            latest: tokio::sync::Mutex::default(),
            places: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            wanted: AtomicBool::new(false),
            encoded: AtomicU64::new(0),
        }
    }
}

/// What a dashboard gets when it joins: what it is owed, then all from the receiver.
pub struct Joined {
    /// A snapshot or what was missed.
    pub owed: Owed,
    /// What comes.
    pub receiver: broadcast::Receiver<Published>,
    /// The position of the snapshot, or where what was missed leads to.
    pub seq: u64,
}

/// What a dashboard has to be sent before it is up to date, frame by frame.
///
/// It keeps alive what it will be made of: a snapshot, which others may share, or the
/// view. A dashboard that has stopped reading has to drop it, and joins again when it
/// reads on.
pub struct Owed {
    snapshot: Option<Arc<Snapshot>>,
    parts_sent: usize,
    frames: std::vec::IntoIter<Utf8Bytes>,
    conflated: Option<Conflated>,
    now: Timestamp,
    moved: std::vec::IntoIter<Arc<Session>>,
}

impl Iterator for Owed {
    type Item = Utf8Bytes;

    fn next(&mut self) -> Option<Utf8Bytes> {
        if let Some(snapshot) = &self.snapshot {
            if let Some(part) = snapshot.parts.get(self.parts_sent) {
                self.parts_sent += 1;
                return Some(part.clone());
            }
            self.snapshot = None;
        }
        if let Some(frame) = self.frames.next() {
            return Some(frame);
        }
        if let Some(conflated) = &mut self.conflated {
            if let Some(frame) = conflated.next_frame(self.now) {
                return Some(frame);
            }
            self.conflated = None;
        }
        let moved: Vec<Arc<Session>> = self.moved.by_ref().take(BEATS_AT_ONCE).collect();
        (!moved.is_empty()).then(|| wire::beats(self.now, moved.iter().map(|session| &**session)).into())
    }
}

impl Owed {
    /// A snapshot and nothing more.
    pub(super) fn snapshot(snapshot: Arc<Snapshot>) -> Self {
        Self {
            now: snapshot.now.wall,
            snapshot: Some(snapshot),
            parts_sent: 0,
            frames: Vec::new().into_iter(),
            conflated: None,
            moved: Vec::new().into_iter(),
        }
    }

    /// Whether it begins with a snapshot.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Whether it has taken so long over a large snapshot that it has to let those go on
    /// who wait for a newer one.
    #[must_use]
    pub fn is_overdue(&self, feed: &Feed) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.made.elapsed() > HELD_AT_MOST)
            && feed.snapshots.wanted.load(Ordering::Relaxed)
    }
}

impl Feed {
    /// How many snapshots were encoded since the start.
    #[must_use]
    pub fn snapshots_encoded(&self) -> u64 {
        self.snapshots.encoded.load(Ordering::Relaxed)
    }

    /// How many large snapshots are in memory.
    #[must_use]
    pub fn snapshots_held(&self) -> usize {
        LARGE_AT_ONCE - self.snapshots.places.available_permits()
    }

    /// Joins a dashboard that has nothing. What it is sent first holds everything up to
    /// `at_least`, so that who has just been answered finds their change in it; only while
    /// too many large snapshots are still being sent, a part of that follows as changes.
    pub async fn join(&self, at_least: u64) -> Joined {
        // The feed is behind the registry by as much as it gathers.
        let _ = self.published.subscribe().wait_for(|seq| *seq >= at_least).await;
        loop {
            let snapshot = self.snapshot(at_least).await;
            let seq = snapshot.seq;
            if let Some(joined) = self.resume_since(seq, Some(snapshot.now.wall)) {
                let owed = Owed { snapshot: Some(snapshot), ..joined.owed };
                return Joined { owed, seq, ..joined };
            }
            // So much happened since that it cannot be caught up with: another snapshot.
            *self.snapshots.latest.lock().await = Latest::default();
        }
    }

    /// Joins a dashboard that has everything up to `seq`; `None` where what it missed
    /// is no longer known.
    #[must_use]
    pub fn resume(&self, seq: u64) -> Option<Joined> {
        self.resume_since(seq, None)
    }

    /// A snapshot that holds everything up to `at_least`: the last one, where it does;
    /// else a new one. A large one is made at most twice a second: who comes earlier
    /// waits, and then shares it with all who came meanwhile.
    async fn snapshot(&self, at_least: u64) -> Arc<Snapshot> {
        // The lock is held while waiting and encoding.
        let mut latest = self.snapshots.latest.lock().await;
        if let Some(snapshot) = &latest.shared {
            if snapshot.seq >= at_least && snapshot.made.elapsed() < SHARED {
                return snapshot.clone();
            }
            if snapshot.is_large() {
                tokio::time::sleep_until(snapshot.made + SHARED).await;
            }
        }
        // Its place may be the one that the new one gets.
        latest.shared = None;
        let place = match self.snapshots.places.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => {
                if let Some(snapshot) = latest.read.upgrade() {
                    return snapshot;
                }
                self.place().await
            }
        };
        let view = self.state.lock().view.clone();
        let snapshot = Arc::new(self.encode(view, Scope::all(), place).await);
        *latest = Latest { shared: Some(snapshot.clone()), read: Arc::downgrade(&snapshot) };
        snapshot
    }

    /// A place for one more large snapshot.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.snapshots.places.clone().try_acquire_owned() {
            return Some(place);
        }
        self.snapshots.wanted.store(true, Ordering::Relaxed);
        let place = self.snapshots.places.clone().acquire_owned().await;
        self.snapshots.wanted.store(false, Ordering::Relaxed);
        place.ok()
    }

    /// Encodes what of a view is in `scope`.
    pub(super) async fn encode(&self, view: View, scope: Scope, place: Option<OwnedSemaphorePermit>) -> Snapshot {
        let now = self.clock.now();
        let seq = view.seq;
        self.snapshots.encoded.fetch_add(1, Ordering::Relaxed);
        let made = Instant::now();
        let encode = move || {
            let sessions = view.sessions().filter(|session| scope.allows(&session.app));
            wire::snapshot(seq, sessions, now).into_iter().map(Utf8Bytes::from).collect::<Vec<_>>()
        };
        let parts = tokio::task::spawn_blocking(encode).await.unwrap_or_default();
        let mut snapshot = Snapshot { seq, now, made, parts, _place: place };
        if !snapshot.is_large() {
            snapshot._place = None;
        }
        snapshot
    }

    /// Frees the shared snapshot once it is too old to be shared.
    pub fn drop_old_snapshot(&self) {
        // Who holds the lock is about to replace it.
        let Ok(mut latest) = self.snapshots.latest.try_lock() else { return };
        if latest.shared.as_ref().is_some_and(|snapshot| snapshot.made.elapsed() >= SHARED) {
            latest.shared = None;
        }
    }

    /// Subscribes and finds what was missed, at one moment. `since` is when the one
    /// who joins last knew all heartbeats; without it, the frame at `seq` tells.
    fn resume_since(&self, seq: u64, since: Option<Timestamp>) -> Option<Joined> {
        let (receiver, missed, view, since) = {
            let state = self.state.lock();
            let missed = state.ring.missed(seq, &state.view);
            let since = since.unwrap_or_else(|| state.ring.published_at(seq));
            (self.sender.subscribe(), missed, state.view.clone(), since)
        };
        let now = self.clock.now().wall;
        let reached = view.seq;
        // Heartbeats are no changes, so those of the time away are told here. One beats
        // frame a second, hence the slack.
        let since = since.minus(Timing::BEATS_EVERY * 2);
        let moved: Vec<Arc<Session>> =
            view.sessions().filter(|session| session.pulse.wall() >= since).cloned().collect();
        let (frames, conflated) = match missed {
            Missed::Unknown => return None,
            Missed::Frames(frames) => (frames, None),
            Missed::Conflated(touched) => (Vec::new(), Some(Conflated { view, touched, told: 0, from: seq })),
        };
        let owed = Owed {
            snapshot: None,
            parts_sent: 0,
            frames: frames.into_iter(),
            conflated,
            now,
            moved: moved.into_iter(),
        };
        Some(Joined { owed, receiver, seq: reached })
    }
}

/// What was touched last at each position, told in frames that are not too large. Each
/// leads to the position of what it tells last: who resumes there has missed only what
/// the later frames tell.
struct Conflated {
    view: View,
    /// In the order of the positions.
    touched: Vec<(u64, Touched)>,
    /// How many of them were told.
    told: usize,
    /// Where the frames told so far lead to.
    from: u64,
}

/// What one conflated frame tells.
#[derive(Default)]
struct Part<'a> {
    upserted: Vec<&'a Session>,
    removed: Vec<RemovedJson>,
}

impl Conflated {
    /// The next frame; the last one leads to the view.
    fn next_frame(&mut self, now: Timestamp) -> Option<Utf8Bytes> {
        if self.from == self.view.seq {
            return None;
        }
        let mut part = Part::default();
        let (mut weight, mut reached) = (0, self.view.seq);
        for together in self.touched[self.told..].chunk_by(|one, next| one.0 == next.0) {
            let more: usize = together.iter().map(|(_, touched)| self.weight(touched)).sum();
            if weight > 0 && weight + more > wire::FRAME_MAX {
                reached = self.touched[self.told - 1].0;
                break;
            }
            together.iter().for_each(|(_, touched)| part.add(touched, &self.view));
            weight += more;
            self.told += together.len();
        }
        let frame = wire::changes(self.from, reached, now, part.upserted.into_iter(), &part.removed);
        self.from = reached;
        Some(frame.into())
    }

    fn weight(&self, touched: &Touched) -> usize {
        match touched {
            Touched::Removed(_, gone) => gone.weight(),
            Touched::Changed(id, started_at) => {
                self.view.get(*started_at, id).map_or(0, |session| wire::weight(session))
            }
        }
    }
}

impl<'a> Part<'a> {
    fn add(&mut self, touched: &Touched, view: &'a View) {
        match touched {
            Touched::Removed(_, gone) => self.removed.push((**gone).clone()),
            Touched::Changed(id, started_at) => {
                self.upserted.extend(view.get(*started_at, id).map(|session| &**session));
            }
        }
    }
}
