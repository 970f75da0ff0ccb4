//! From committed events to the frames that dashboards get: each is encoded once,
//! sent through one broadcast channel, and kept in a ring for those who resume.
//!
//! The feed holds the view as of the frame that it published last. Who joins gets a
//! snapshot or the missed changes up to exactly that frame, and from the same moment
//! on every later frame; so what a dashboard holds is always one true position.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use crate::change::{Event, Kind};
use crate::clock::{Clock, Now, Timestamp};
use crate::metrics::Metrics;
use crate::registry::View;
use crate::session::{Session, SessionId};
use crate::timing::Timing;
use crate::wire::{self, RemovedJson};

/// What the writer hands over after a batch was applied.
pub struct Batch {
    /// The events, in order.
    pub events: Arc<Vec<Event>>,
    /// Everything, after the last of them.
    pub view: View,
    /// When the batch was applied, to measure how long it takes to every screen.
    pub applied_at: Instant,
}

/// Frames that a dashboard may lag behind before it is given a new snapshot.
const LAG_MAX: usize = 128;
/// Events that one frame tells at most.
const FRAME_EVENTS: usize = 1_000;
/// Frames, and bytes of them, kept for those who resume.
const RING_FRAMES: usize = 8_192;
const RING_BYTES: usize = 32 * 1_024 * 1_024;
/// Missed frames are sent as they were up to this many bytes, and conflated beyond.
const REPLAY_BYTES: usize = 1_024 * 1_024;
/// More missed sessions than this, and a snapshot is the shorter way.
const CATCH_UP_MAX: usize = 20_000;
/// Heartbeats that one frame tells at most; the others wait for the next second.
const BEATS_AT_ONCE: usize = 4_096;
/// A snapshot is shared by all who come within this time: at most two encodes a second.
const SNAPSHOT_SHARED: Duration = Duration::from_millis(500);
/// A snapshot of so many parts costs a millisecond or two: it is made anew whenever it
/// has to be.
const SMALL_PARTS: usize = 2;
/// What sending one frame to one dashboard costs, roughly. Frames come no faster
/// than they can be sent to all who watch.
const SEND_COST: Duration = Duration::from_micros(20);

/// A published `changes` frame.
struct Frame {
    from: u64,
    seq: u64,
    at: Timestamp,
    /// Empty where nobody watched when it was published.
    text: Utf8Bytes,
    touched: Vec<Touched>,
}

#[derive(Clone)]
enum Touched {
    Changed(SessionId, Timestamp),
    Removed(SessionId, Arc<RemovedJson>),
}

impl Touched {
    fn id(&self) -> &SessionId {
        match self {
            Self::Changed(id, _) | Self::Removed(id, _) => id,
        }
    }
}

/// What every dashboard receives.
#[derive(Clone)]
pub enum Published {
    /// Changes up to this position.
    Changes(Utf8Bytes),
    /// Heartbeats that moved.
    Beats(Utf8Bytes),
}

struct State {
    view: View,
    ring: VecDeque<Frame>,
    ring_bytes: usize,
    beats_waiting: VecDeque<Arc<Session>>,
    beats_listed: HashSet<SessionId>,
}

struct Snapshot {
    seq: u64,
    now: Now,
    made: Instant,
    parts: Arc<Vec<Utf8Bytes>>,
}

/// The feed that all dashboards share.
pub struct Feed {
    state: Mutex<State>,
    sender: broadcast::Sender<Published>,
    published: watch::Sender<u64>,
    snapshot: tokio::sync::Mutex<Option<Snapshot>>,
    clock: Clock,
    metrics: Arc<Metrics>,
    snapshots_encoded: AtomicU64,
}

/// What a dashboard gets when it joins: these frames, then all from the receiver.
pub struct Joined {
    /// A snapshot, or nothing where it resumes.
    pub snapshot: Option<Arc<Vec<Utf8Bytes>>>,
    /// What was missed.
    pub frames: Vec<Utf8Bytes>,
    /// What comes.
    pub receiver: broadcast::Receiver<Published>,
    /// Where the frames lead to.
    pub seq: u64,
}

/// The missed changes, before they are encoded.
enum Missed {
    Frames(Vec<Utf8Bytes>),
    /// The sessions, each with where it was touched last.
    Conflated {
        view: View,
        touched: Vec<(u64, Touched)>,
    },
    Unknown,
}

impl Feed {
    /// Begins with nobody.
    #[must_use]
    pub fn new(clock: Clock, metrics: Arc<Metrics>) -> Self {
        let published = watch::channel(0).0;
        let state = State {
            view: View::default(),
            ring: VecDeque::new(),
            ring_bytes: 0,
            beats_waiting: VecDeque::new(),
            beats_listed: HashSet::new(),
        };
        Self {
            state: Mutex::new(state),
            sender: broadcast::channel(LAG_MAX).0,
            published,
            snapshot: tokio::sync::Mutex::new(None),
            clock,
            metrics,
            snapshots_encoded: AtomicU64::new(0),
        }
    }

    /// Begins anew with what was restored, before anybody watches.
    pub fn begin(&self, view: View) {
        let seq = view.seq;
        self.state.lock().view = view;
        self.published.send_replace(seq);
    }

    /// How many dashboards watch.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// How many snapshots were encoded since the start.
    #[must_use]
    pub fn snapshots_encoded(&self) -> u64 {
        self.snapshots_encoded.load(Ordering::Relaxed)
    }

    /// Publishes what the writer hands over, until the writer is gone. On a quiet
    /// server at once; under load changes gather for at most [`Timing::GATHER_MAX`].
    pub async fn run(&self, mut batches: mpsc::Receiver<Batch>) {
        let mut last = Instant::now().checked_sub(Timing::GATHER_MAX).unwrap_or_else(Instant::now);
        while let Some(first) = batches.recv().await {
            let mut gathered = vec![first];
            let gap = (SEND_COST * self.watchers() as u32).min(Timing::GATHER_MAX);
            let until = last + gap;
            let mut events = gathered[0].events.len();
            while events < FRAME_EVENTS {
                let next = if Instant::now() < until {
                    match tokio::time::timeout_at(until, batches.recv()).await {
                        Ok(next) => next,
                        Err(_) => break,
                    }
                } else {
                    batches.try_recv().ok()
                };
                let Some(batch) = next else { break };
                events += batch.events.len();
                gathered.push(batch);
            }
            last = Instant::now();
            self.publish(&gathered);
        }
    }

    fn publish(&self, gathered: &[Batch]) {
        let Some(newest) = gathered.last() else { return };
        let now = self.clock.now().wall;
        let events: Vec<&Event> = gathered.iter().flat_map(|batch| batch.events.iter()).collect();
        let mut state = self.state.lock();
        let mut from = state.view.seq;
        let parts = cut(&events);
        for (index, part) in parts.iter().enumerate() {
            let last = if index + 1 == parts.len() { None } else { part.last() };
            let seq = last.map_or(newest.view.seq, |event| event.seq);
            self.publish_part(&mut state, from, seq, now, part);
            from = seq;
        }
        state.view = newest.view.clone();
        drop(state);
        self.published.send_replace(newest.view.seq);
        for batch in gathered {
            self.metrics.published(batch.applied_at.elapsed(), batch.events.len());
        }
    }

    fn publish_part(&self, state: &mut State, from: u64, seq: u64, now: Timestamp, events: &[&Event]) {
        // Each session at most once, as it was last.
        let mut seen = HashSet::with_capacity(events.len());
        let mut upserted: Vec<&Session> = Vec::new();
        let mut removed = Vec::new();
        let mut touched = Vec::new();
        for event in events.iter().rev().filter(|event| event.kind.changes_session()) {
            if !seen.insert(&event.session.id) {
                continue;
            }
            if event.kind == Kind::Removed {
                let gone = removed_json(event);
                touched.push(Touched::Removed(event.session.id.clone(), Arc::new(gone.clone())));
                removed.push(gone);
            } else {
                touched.push(Touched::Changed(event.session.id.clone(), event.session.started_at));
                upserted.push(&event.session);
            }
        }
        let watched = self.watchers() > 0;
        let text: Utf8Bytes =
            if watched { wire::changes(from, seq, now, upserted.into_iter(), &removed).into() } else { "".into() };
        state.remember(Frame { from, seq, at: now, text: text.clone(), touched });
        if watched {
            let _ = self.sender.send(Published::Changes(text));
        }
    }

    /// Publishes the last heartbeats that moved; what is too much for one frame waits
    /// for the next call. Called once a second.
    pub fn publish_beats(&self, moved: Vec<Arc<Session>>) {
        let mut state = self.state.lock();
        if self.watchers() == 0 {
            state.beats_waiting.clear();
            state.beats_listed.clear();
            return;
        }
        for session in moved {
            if state.beats_listed.insert(session.id.clone()) {
                state.beats_waiting.push_back(session);
            }
        }
        let count = state.beats_waiting.len().min(BEATS_AT_ONCE);
        if count == 0 {
            return;
        }
        let now_told: Vec<Arc<Session>> = state.beats_waiting.drain(..count).collect();
        for session in &now_told {
            state.beats_listed.remove(&session.id);
        }
        let text = wire::beats(self.clock.now().wall, now_told.iter().map(|session| &**session));
        let _ = self.sender.send(Published::Beats(text.into()));
    }

    /// Joins a dashboard that has nothing. What it is sent first holds everything up to
    /// `at_least`, so that who has just been answered finds their change in it.
    pub async fn join(&self, at_least: u64) -> Joined {
        // The feed is behind the registry by as much as it gathers.
        let _ = self.published.subscribe().wait_for(|seq| *seq >= at_least).await;
        loop {
            let (seq, now, parts) = self.shared_snapshot(at_least).await;
            if let Some(joined) = self.resume_since(seq, Some(now.wall)) {
                return Joined { snapshot: Some(parts), seq, ..joined };
            }
            // So much happened since that it cannot be caught up with: another snapshot.
            self.snapshot.lock().await.take();
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
    async fn shared_snapshot(&self, at_least: u64) -> (u64, Now, Arc<Vec<Utf8Bytes>>) {
        // The lock is held while waiting and encoding.
        let mut shared = self.snapshot.lock().await;
        if let Some(snapshot) = shared.as_ref() {
            if snapshot.seq >= at_least && snapshot.made.elapsed() < SNAPSHOT_SHARED {
                return (snapshot.seq, snapshot.now, snapshot.parts.clone());
            }
            if snapshot.parts.len() > SMALL_PARTS {
                tokio::time::sleep_until(snapshot.made + SNAPSHOT_SHARED).await;
            }
        }
        let view = self.state.lock().view.clone();
        let now = self.clock.now();
        let seq = view.seq;
        self.snapshots_encoded.fetch_add(1, Ordering::Relaxed);
        let made = Instant::now();
        let encode = move || wire::snapshot(&view, now).into_iter().map(Utf8Bytes::from).collect::<Vec<_>>();
        let parts = Arc::new(tokio::task::spawn_blocking(encode).await.unwrap_or_default());
        *shared = Some(Snapshot { seq, now, made, parts: parts.clone() });
        (seq, now, parts)
    }

    /// Frees the shared snapshot once it is too old to be shared.
    pub async fn drop_old_snapshot(&self) {
        let mut shared = self.snapshot.lock().await;
        if shared.as_ref().is_some_and(|snapshot| snapshot.made.elapsed() >= SNAPSHOT_SHARED) {
            *shared = None;
        }
    }

    /// Subscribes and finds what was missed, at one moment. `since` is when the one
    /// who joins last knew all heartbeats; without it, the frame at `seq` tells.
    fn resume_since(&self, seq: u64, since: Option<Timestamp>) -> Option<Joined> {
        let (receiver, missed, view, since) = {
            let state = self.state.lock();
            let missed = state.missed(seq);
            let since = since.unwrap_or_else(|| state.published_at(seq));
            (self.sender.subscribe(), missed, state.view.clone(), since)
        };
        let now = self.clock.now().wall;
        let mut frames = match missed {
            Missed::Unknown => return None,
            Missed::Frames(frames) => frames,
            Missed::Conflated { view, touched } => conflate(seq, &view, touched, now),
        };
        // Heartbeats are no changes, so those of the time away are told here. One beats
        // frame a second, hence the slack.
        let since = since.minus(Timing::BEATS_EVERY * 2);
        let moved: Vec<&Session> =
            view.sessions().map(|session| &**session).filter(|session| session.pulse.wall() >= since).collect();
        for moved in moved.chunks(BEATS_AT_ONCE) {
            frames.push(wire::beats(now, moved.iter().copied()).into());
        }
        Some(Joined { snapshot: None, frames, receiver, seq: view.seq })
    }
}

fn removed_json(event: &Event) -> RemovedJson {
    RemovedJson {
        session_id: event.session.id.to_string(),
        cause: event.cause.map_or("ended", crate::change::Cause::as_str),
        at: event.at,
        by: event.actor.by.as_deref().map(str::to_owned),
        reason: event.reason.as_deref().map(str::to_owned),
        kill: event.session.kill.clone(),
    }
}

/// Cuts events into runs whose frames are not too large for a socket's write buffer,
/// which is small so that a dashboard that no longer reads costs little.
fn cut<'a, 'b>(mut events: &'a [&'b Event]) -> Vec<&'a [&'b Event]> {
    let mut runs = Vec::new();
    let (mut weight, mut length) = (0, 0);
    while let Some(event) = events.get(length) {
        weight += wire::weight(&event.session);
        if weight > wire::FRAME_MAX && length > 0 {
            let (run, rest) = events.split_at(length);
            runs.push(run);
            (events, weight, length) = (rest, 0, 0);
        } else {
            length += 1;
        }
    }
    runs.push(events);
    runs
}

/// What one conflated frame tells.
#[derive(Default)]
struct Conflated<'a> {
    upserted: Vec<&'a Session>,
    removed: Vec<RemovedJson>,
    weight: usize,
}

impl<'a> Conflated<'a> {
    fn add(&mut self, touched: &Touched, view: &'a View) {
        match touched {
            Touched::Removed(_, gone) => {
                self.weight += gone.weight();
                self.removed.push((**gone).clone());
            }
            Touched::Changed(id, started_at) => {
                let session = view.get(*started_at, id).map(|session| &**session);
                self.weight += session.map_or(0, wire::weight);
                self.upserted.extend(session);
            }
        }
    }
}

/// Tells what was touched last at each position, in frames that are not too large. Each
/// leads to the position of what it tells last: who resumes there has missed only what
/// the later frames tell.
fn conflate(mut from: u64, view: &View, mut touched: Vec<(u64, Touched)>, now: Timestamp) -> Vec<Utf8Bytes> {
    touched.sort_unstable_by_key(|(at, _)| *at);
    let mut frames = Vec::new();
    let mut part = Conflated::default();
    let mut reached = from;
    let mut encode = |part: Conflated<'_>, seq: u64| {
        frames.push(wire::changes(from, seq, now, part.upserted.into_iter(), &part.removed).into());
        from = seq;
    };
    for together in touched.chunk_by(|one, next| one.0 == next.0) {
        let mut more = Conflated::default();
        together.iter().for_each(|(_, touched)| more.add(touched, view));
        if part.weight > 0 && part.weight + more.weight > wire::FRAME_MAX {
            encode(std::mem::take(&mut part), reached);
        }
        part.upserted.append(&mut more.upserted);
        part.removed.append(&mut more.removed);
        part.weight += more.weight;
        reached = together[0].0;
    }
    encode(part, view.seq);
    frames
}

impl State {
    fn remember(&mut self, frame: Frame) {
        self.ring_bytes += frame.cost();
        self.ring.push_back(frame);
        while self.ring.len() > RING_FRAMES || self.ring_bytes > RING_BYTES {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.ring_bytes -= oldest.cost();
        }
    }

    /// When the frame that led to `seq` was published, or a moment before it.
    fn published_at(&self, seq: u64) -> Timestamp {
        let next = self.ring.partition_point(|frame| frame.seq <= seq);
        let frame = next.checked_sub(1).and_then(|last| self.ring.get(last));
        frame.map_or(Timestamp(0), |frame| frame.at)
    }

    fn missed(&self, seq: u64) -> Missed {
        if seq == self.view.seq {
            return Missed::Frames(Vec::new());
        }
        let known_since = self.ring.front().map_or(self.view.seq, |frame| frame.from);
        if seq < known_since || seq > self.view.seq {
            return Missed::Unknown;
        }
        let first = self.ring.partition_point(|frame| frame.seq <= seq);
        let missed = || self.ring.range(first..);
        let at_boundary = self.ring.get(first).is_some_and(|frame| frame.from == seq);
        let bytes: usize = missed().map(|frame| frame.text.len()).sum();
        if at_boundary && bytes <= REPLAY_BYTES && missed().all(|frame| !frame.text.is_empty()) {
            return Missed::Frames(missed().map(|frame| frame.text.clone()).collect());
        }
        let mut touched: HashMap<SessionId, (u64, Touched)> = HashMap::new();
        for frame in missed() {
            for touch in &frame.touched {
                touched.insert(touch.id().clone(), (frame.seq, touch.clone()));
            }
        }
        if touched.len() > CATCH_UP_MAX {
            return Missed::Unknown;
        }
        Missed::Conflated { view: self.view.clone(), touched: touched.into_values().collect() }
    }
}

impl Frame {
    fn cost(&self) -> usize {
        // An id, a time and what the allocator adds.
        self.text.len() + self.touched.len() * 96 + 128
    }
}
