//! How a dashboard joins the feed: it gets a backlog (a shared snapshot, or the changes that
//! it missed), and then all later frames.
//!
//! The backlog is handed out frame by frame, so that the memory of a dashboard that stops
//! reading can be freed: see [`Backlog`]. The parts of a snapshot are handed out while the later
//! ones are still being encoded. A dashboard subscribes after the last part, so that a slow
//! connection does not make it lag during a large snapshot.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::Instant;

use super::ring::{Missed, Touched};
use super::{BEATS_AT_ONCE, Feed, Frame};
use crate::clock::{Now, Timestamp};
use crate::nodes::Known;
use crate::registry::View;
use crate::scope::Scope;
use crate::session::Session;
use crate::timing::Timing;
use crate::wire::{self, RemovedJson};

/// All dashboards that join within this time share a snapshot: at most two encodes a second.
const SHARED: Duration = Duration::from_millis(500);
/// Most parts of a small snapshot. It is encoded in a millisecond or two, so it needs no
/// limits.
const SMALL_PARTS: usize = 4;
/// Most large snapshots in memory, however many dashboards read theirs slowly. With this
/// many, a dashboard that joins shares one of them.
const LARGE_AT_ONCE: usize = 3;
/// Longest time that a dashboard may hold a large snapshot while others wait for a newer one.
const HELD_AT_MOST: Duration = Duration::from_secs(10);

/// All sessions at one position, encoded part by part.
pub(super) struct Snapshot {
    seq: u64,
    now: Now,
    made: Instant,
    /// The number of parts in the end.
    total: usize,
    /// The parts so far.
    parts: watch::Receiver<Vec<Frame>>,
    /// Its place among the large ones; released together with the memory.
    _place: Option<OwnedSemaphorePermit>,
}

impl Snapshot {
    fn is_large(&self) -> bool {
        self.total > SMALL_PARTS
    }

    /// A part, once it is encoded; `None` where there is none, or encoding has failed.
    async fn part(&self, index: usize) -> Option<Frame> {
        if index >= self.total {
            return None;
        }
        let mut parts = self.parts.clone();
        let parts = parts.wait_for(|parts| parts.len() > index).await.ok()?;
        parts.get(index).cloned()
    }
}

/// Encodes the parts, as long as anybody has the snapshot.
fn encode_parts(of: &Weak<Snapshot>, made: &watch::Sender<Vec<Frame>>, contents: &Contents, cut: &[usize]) {
    let Contents { view, scope, known, now } = contents;
    let mut sessions = view.sessions().filter(|session| scope.allows(&session.app));
    for (index, count) in cut.iter().enumerate() {
        if of.strong_count() == 0 {
            return;
        }
        let place = (index + 1, cut.len());
        let text = wire::snapshot_part(view.seq, place, sessions.by_ref().take(*count), *now, known);
        made.send_modify(|parts| parts.push(Frame::new(&text)));
    }
}

/// What a snapshot is made of.
struct Contents {
    view: View,
    scope: Scope,
    known: Arc<Known>,
    now: Now,
}

/// The snapshots that are in memory.
pub(super) struct Snapshots {
    latest: tokio::sync::Mutex<Latest>,
    places: Arc<Semaphore>,
    /// Whether a dashboard waits for a place.
    wanted: AtomicBool,
    encoded: AtomicU64,
}

#[derive(Default)]
struct Latest {
    shared: Option<Arc<Snapshot>>,
    /// The same snapshot, for as long as a dashboard still reads it.
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

/// What a dashboard gets when it joins: first the backlog, then all frames of the receiver.
pub struct Joined {
    /// A snapshot, or the changes that were missed.
    pub backlog: Backlog,
    /// The later frames; `None` where the dashboard has to call [`Feed::after`] when the backlog is
    /// sent.
    pub receiver: Option<broadcast::Receiver<Frame>>,
    /// The position of the snapshot, or after the changes that were missed.
    pub seq: u64,
}

/// The frames that a dashboard needs to be up to date.
///
/// It keeps memory alive: a snapshot, which other dashboards may share, or a view. When a
/// dashboard stops reading, its backlog has to be dropped; it joins again when it reads on.
pub struct Backlog {
    snapshot: Option<Arc<Snapshot>>,
    parts_sent: usize,
    /// The position and the time of the snapshot, once all its parts were handed out.
    reached: Option<(u64, Timestamp)>,
    frames: std::vec::IntoIter<Frame>,
    conflated: Option<Conflated>,
    now: Timestamp,
    moved: std::vec::IntoIter<Arc<Session>>,
}

impl Backlog {
    /// The next frame; waits until it is encoded. `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        if let Some(snapshot) = &self.snapshot {
            if let Some(part) = snapshot.part(self.parts_sent).await {
                self.parts_sent += 1;
                return Some(part);
            }
            self.reached = (self.parts_sent == snapshot.total).then_some((snapshot.seq, snapshot.now.wall));
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
        (!moved.is_empty()).then(|| Frame::new(&wire::beats(self.now, moved.iter().map(|session| &**session))))
    }

    /// A backlog of only a snapshot.
    pub(super) fn snapshot(snapshot: Arc<Snapshot>) -> Self {
        Self {
            now: snapshot.now.wall,
            snapshot: Some(snapshot),
            parts_sent: 0,
            reached: None,
            frames: Vec::new().into_iter(),
            conflated: None,
            moved: Vec::new().into_iter(),
        }
    }

    /// Whether its dashboard has held a large snapshot for too long while others wait for a
    /// newer one. If so, drop it and join again.
    #[must_use]
    pub fn is_overdue(&self, feed: &Feed) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.made.elapsed() > HELD_AT_MOST)
            && feed.snapshots.wanted.load(Ordering::Relaxed)
    }
}

impl Feed {
    /// The number of snapshots that were encoded since the start.
    #[must_use]
    pub fn snapshots_encoded(&self) -> u64 {
        self.snapshots.encoded.load(Ordering::Relaxed)
    }

    /// The number of large snapshots in memory.
    #[must_use]
    pub fn snapshots_held(&self) -> usize {
        LARGE_AT_ONCE - self.snapshots.places.available_permits()
    }

    /// Joins a dashboard that has no state. Its snapshot contains all events up to `at_least`,
    /// so a client whose change was just answered sees it. Exception: with
    /// [`LARGE_AT_ONCE`] snapshots in memory it gets an older one. The changes since follow:
    /// see [`Feed::after`].
    pub async fn join(&self, at_least: u64) -> Joined {
        // The feed gathers changes, so it may be behind the registry.
        let _ = self.published.subscribe().wait_for(|seq| *seq >= at_least).await;
        loop {
            let snapshot = self.snapshot(at_least).await;
            let seq = snapshot.seq;
            let is_known = {
                let state = self.state.lock();
                state.ring.knows(seq, &state.view)
            };
            if is_known {
                return Joined { backlog: Backlog::snapshot(snapshot), receiver: None, seq };
            }
            // The ring no longer has all changes since this snapshot: make another one.
            *self.snapshots.latest.lock().await = Latest::default();
        }
    }

    /// What follows a snapshot that was handed out; `None` where encoding has failed, or the ring no longer has
    /// all changes since, so that the dashboard has to join again.
    #[must_use]
    pub fn after(&self, backlog: &Backlog) -> Option<Joined> {
        let (seq, now) = backlog.reached?;
        self.resume_since(seq, Some(now))
    }

    /// Joins a dashboard that has the state at `seq`; `None` where the ring no longer has all
    /// changes since.
    #[must_use]
    pub fn resume(&self, seq: u64) -> Option<Joined> {
        self.resume_since(seq, None)
    }

    /// A snapshot with all events up to `at_least`: the last one, if it has them, else a new
    /// one. A large one is made at most twice a second: earlier callers wait, and then share
    /// it.
    async fn snapshot(&self, at_least: u64) -> Arc<Snapshot> {
        // The lock is held while waiting.
        let mut latest = self.snapshots.latest.lock().await;
        if let Some(snapshot) = &latest.shared {
            if snapshot.seq >= at_least && snapshot.made.elapsed() < SHARED {
                return snapshot.clone();
            }
            if snapshot.is_large() {
                tokio::time::sleep_until(snapshot.made + SHARED).await;
            }
        }
        // Dropped first, since its place may be the one for the new snapshot.
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
        let snapshot = self.encode(view, Scope::all(), place).await;
        *latest = Latest { shared: Some(snapshot.clone()), read: Arc::downgrade(&snapshot) };
        snapshot
    }

    /// Takes a place for a large snapshot; waits until one is free.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.snapshots.places.clone().try_acquire_owned() {
            return Some(place);
        }
        self.snapshots.wanted.store(true, Ordering::Relaxed);
        let place = self.snapshots.places.clone().acquire_owned().await;
        self.snapshots.wanted.store(false, Ordering::Relaxed);
        place.ok()
    }

    /// Begins to encode the sessions of a view that are in `scope`.
    pub(super) async fn encode(&self, view: View, scope: Scope, place: Option<OwnedSemaphorePermit>) -> Arc<Snapshot> {
        let (now, made, seq) = (self.clock.now(), Instant::now(), view.seq);
        self.snapshots.encoded.fetch_add(1, Ordering::Relaxed);
        let contents = Contents { view, scope, known: self.names.now(), now };
        // Cutting a million sessions takes some milliseconds.
        let cut = tokio::task::spawn_blocking(move || {
            let Contents { view, scope, .. } = &contents;
            let cut = wire::cut(view.sessions().filter(|session| scope.allows(&session.app)));
            (cut, contents)
        });
        let (sender, parts) = watch::channel(Vec::new());
        let Ok((cut, contents)) = cut.await else {
            return Arc::new(Snapshot { seq, now, made, total: 1, parts, _place: None });
        };
        let total = cut.len();
        let place = place.filter(|_| total > SMALL_PARTS);
        let snapshot = Arc::new(Snapshot { seq, now, made, total, parts, _place: place });
        let of = Arc::downgrade(&snapshot);
        tokio::task::spawn_blocking(move || encode_parts(&of, &sender, &contents, &cut));
        snapshot
    }

    /// Frees the shared snapshot once it is too old to be shared.
    pub fn drop_old_snapshot(&self) {
        // The holder of the lock is about to replace it.
        let Ok(mut latest) = self.snapshots.latest.try_lock() else { return };
        if latest.shared.as_ref().is_some_and(|snapshot| snapshot.made.elapsed() >= SHARED) {
            latest.shared = None;
        }
    }

    /// Subscribes and finds the missed changes, under one lock. `since` is the time up to
    /// which the dashboard knows all heartbeats; without it, the time of the frame at `seq`.
    fn resume_since(&self, seq: u64, since: Option<Timestamp>) -> Option<Joined> {
        let (receiver, missed, view, since) = {
            let state = self.state.lock();
            let missed = state.ring.missed(seq, &state.view);
            let since = since.unwrap_or_else(|| state.ring.published_at(seq));
            (self.sender.subscribe(), missed, state.view.clone(), since)
        };
        let now = self.clock.now().wall;
        let reached = view.seq;
        // Heartbeats are not in the ring, so those since the break are added here. The slack
        // is there because `beats` frames come once a second only.
        let since = since.minus(Timing::BEATS_EVERY * 2);
        let moved: Vec<Arc<Session>> =
            view.sessions().filter(|session| session.pulse.wall() >= since).cloned().collect();
        let (frames, conflated) = match missed {
            Missed::Unknown => return None,
            Missed::Frames(frames) => (frames, None),
            Missed::Conflated(touched) => {
                let known = self.names.now();
                (Vec::new(), Some(Conflated { view, known, touched, sent: 0, from: seq }))
            }
        };
        let backlog = Backlog {
            snapshot: None,
            parts_sent: 0,
            reached: None,
            frames: frames.into_iter(),
            conflated,
            now,
            moved: moved.into_iter(),
        };
        Some(Joined { backlog, receiver: Some(receiver), seq: reached })
    }
}

/// Missed changes, conflated: each session once, at the position of its last change. They
/// are sent in frames of limited size. Each frame ends at the position of its last change,
/// so a dashboard that breaks off there resumes with the later frames only.
struct Conflated {
    view: View,
    known: Arc<Known>,
    /// The sessions, ordered by position.
    touched: Vec<(u64, Touched)>,
    /// How many of them were sent.
    sent: usize,
    /// The position after the frames that were sent.
    from: u64,
}

/// The content of one conflated frame.
#[derive(Default)]
struct Part<'a> {
    upserted: Vec<&'a Session>,
    removed: Vec<RemovedJson>,
}

impl Conflated {
    /// The next frame. The last one ends at the position of the view.
    fn next_frame(&mut self, now: Timestamp) -> Option<Frame> {
        if self.from == self.view.seq {
            return None;
        }
        let mut part = Part::default();
        let (mut weight, mut reached) = (0, self.view.seq);
        for together in self.touched[self.sent..].chunk_by(|one, next| one.0 == next.0) {
            let more: usize = together.iter().map(|(_, touched)| self.weight(touched)).sum();
            if weight > 0 && weight + more > wire::FRAME_MAX {
                reached = self.touched[self.sent - 1].0;
                break;
            }
            together.iter().for_each(|(_, touched)| part.add(touched, &self.view));
            weight += more;
            self.sent += together.len();
        }
        let text = wire::changes(self.from, reached, now, &self.known, part.upserted.into_iter(), &part.removed);
        self.from = reached;
        Some(Frame::new(&text))
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
