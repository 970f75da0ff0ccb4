//! The feed: turns committed events into frames for dashboards. Each frame is encoded once,
//! sent through one broadcast channel, and kept in a ring for dashboards that resume.
//!
//! The feed holds the view as of the last frame that it published. A dashboard that joins gets a
//! snapshot of it. After that, or when it resumes, it gets the changes that it missed, up to exactly
//! the last frame, and is subscribed to all later frames under the same lock. So a dashboard
//! always has the state of one position, and no frame is lost or sent twice.

mod fanout;
mod frame;
mod join;
mod lane;
mod narrow;
mod patch;
mod ring;

pub use fanout::Following;
pub use frame::{Form, Frame};
pub use join::{Backlog, Joined};
pub use lane::{Lane, Out, Over};
pub use narrow::{Frames, JoinedWithin};

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use crate::change::{Event, Kind};
use crate::clock::{Clock, Timestamp};
use crate::metrics::Metrics;
use crate::nodes::Names;
use crate::registry::View;
use crate::session::{Session, SessionId};
use crate::timing::Timing;
use crate::wire::{self, RemovedJson};
use fanout::Fanout;
use join::Snapshots;
use narrow::Raw;
use patch::Before;
use ring::{Past, Ring, Touched};

/// A batch of events that the writer has committed and applied.
pub struct Batch {
    /// The events, in order.
    pub events: Arc<Vec<Event>>,
    /// All live sessions after the last of the events.
    pub view: View,
    /// When the batch was applied; for the metric of the fan-out time.
    pub applied_at: Instant,
}

/// Frames that a dashboard may lag behind before it has to start again with a snapshot.
const LAG_MAX: usize = 128;
/// Most events in a frame.
const FRAME_EVENTS: usize = 1_000;
/// Most heartbeats in a frame; the rest waits for the next second.
const BEATS_AT_ONCE: usize = 4_096;
/// Estimated time to send one frame to one dashboard. The time between two frames is at
/// least this, multiplied by the number of dashboards.
const SEND_COST: Duration = Duration::from_micros(4);

struct State {
    view: View,
    ring: Ring,
    beats_waiting: VecDeque<Arc<Session>>,
    beats_listed: HashSet<SessionId>,
}

/// The feed that all dashboards share.
pub struct Feed {
    state: Mutex<State>,
    sender: broadcast::Sender<Frame>,
    /// The same, not encoded, for dashboards that are limited to some apps.
    raw: broadcast::Sender<Arc<Raw>>,
    published: watch::Sender<u64>,
    fanout: Arc<Fanout>,
    /// How many dashboards want patches.
    patched: AtomicUsize,
    snapshots: Snapshots,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// The names of the servers that hold sockets.
    names: Arc<Names>,
}

impl Feed {
    /// Makes an empty feed.
    #[must_use]
    pub fn new(clock: Clock, metrics: Arc<Metrics>, names: Arc<Names>) -> Self {
        let published = watch::channel(0).0;
        let state = State {
            view: View::default(),
            ring: Ring::default(),
            beats_waiting: VecDeque::new(),
            beats_listed: HashSet::new(),
        };
        Self {
            state: Mutex::new(state),
            sender: broadcast::channel(LAG_MAX).0,
            raw: broadcast::channel(LAG_MAX).0,
            published,
            fanout: Arc::default(),
            patched: AtomicUsize::new(0),
            snapshots: Snapshots::default(),
            clock,
            metrics,
            names,
        }
    }

    /// Sets the view that was restored from the store. To be called before any dashboard joins.
    pub fn begin(&self, view: View) {
        let seq = view.seq;
        self.state.lock().view = view;
        self.published.send_replace(seq);
    }

    /// The number of dashboards that get all apps.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// Counts dashboards that want patches: they are made only while there are any.
    pub fn want_patches(&self, by: isize) {
        let changed = |count: usize| Some(count.saturating_add_signed(by));
        let _ = self.patched.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }

    /// Sends the frames to the dashboards that [`Feed::follow`]; runs as long as the server.
    pub fn fan_out(&self) -> impl Future<Output = ()> + Send + use<> {
        self.fanout.clone().run()
    }

    /// Sends the frames of a dashboard that has joined into its lane, until the result is dropped.
    pub fn follow(&self, lane: Arc<Lane>, frames: broadcast::Receiver<Frame>) -> Following {
        self.fanout.follow(lane, frames)
    }

    /// Publishes the writer's batches, until the writer ends. An idle server publishes at once. Under
    /// load changes are gathered until the frame before was sent to all dashboards, for at most
    /// [`Timing::GATHER_MAX`]: a frame that waits for another one might as well take more changes.
    pub async fn run(&self, mut batches: mpsc::Receiver<Batch>) {
        let mut last = Instant::now().checked_sub(Timing::GATHER_MAX).unwrap_or_else(Instant::now);
        while let Some(first) = batches.recv().await {
            let mut gathered = vec![first];
            let mut events = gathered[0].events.len();
            let gathering = self.gathering(last);
            tokio::pin!(gathering);
            let mut is_over = false;
            while events < FRAME_EVENTS {
                let next = if is_over {
                    batches.try_recv().ok()
                } else {
                    tokio::select! {
                        biased;
                        () = &mut gathering => {
                            is_over = true;
                            continue;
                        }
                        next = batches.recv() => next,
                    }
                };
                let Some(batch) = next else { break };
                events += batch.events.len();
                gathered.push(batch);
            }
            last = Instant::now();
            self.publish(&gathered);
        }
    }

    /// Waits until the next frame may be published after the one at `last`.
    async fn gathering(&self, last: Instant) {
        let watchers = u32::try_from(self.watchers()).unwrap_or(u32::MAX);
        let gap = SEND_COST.saturating_mul(watchers).min(Timing::GATHER_MAX);
        if Instant::now() < last + gap {
            tokio::time::sleep_until(last + gap).await;
        }
        let _ = tokio::time::timeout_at(last + Timing::GATHER_MAX, self.fanout.sent()).await;
    }

    fn publish(&self, gathered: &[Batch]) {
        let Some(newest) = gathered.last() else { return };
        let now = self.clock.now().wall;
        let events: Vec<&Event> = gathered.iter().flat_map(|batch| batch.events.iter()).collect();
        let mut state = self.state.lock();
        let view = state.view.clone();
        let mut before = (self.patched.load(Ordering::Relaxed) > 0).then(|| Before::new(&view));
        let mut from = view.seq;
        let parts = cut(&events);
        for (index, part) in parts.iter().enumerate() {
            let last = if index + 1 == parts.len() { None } else { part.last() };
            let seq = last.map_or(newest.view.seq, |event| event.seq);
            self.publish_part(&mut state, from, seq, now, part, before.as_mut());
            from = seq;
        }
        state.view = newest.view.clone();
        drop(state);
        self.fanout.wake();
        self.published.send_replace(newest.view.seq);
        for batch in gathered {
            self.metrics.published(batch.applied_at.elapsed(), batch.events.len());
        }
    }

    fn publish_part<'a>(
        &self,
        state: &mut State,
        from: u64,
        seq: u64,
        now: Timestamp,
        events: &[&'a Event],
        before: Option<&mut Before<'a>>,
    ) {
        // Each session at most once, in its newest version.
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
        let known = self.names.now();
        let frame = watched.then(|| {
            let text = wire::changes(from, seq, now, &known, upserted.iter().copied(), &removed);
            let patched = before
                .as_deref()
                .and_then(|before| patch::changes(from, seq, now, &known, before, &upserted, &removed));
            Frame::with_patches(&text, patched.as_deref())
        });
        if let Some(before) = before {
            let gone = events.iter().map(|event| &event.session.id);
            let gone = gone.filter(|id| !upserted.iter().any(|session| session.id == **id));
            before.note(&upserted, gone);
        }
        state.ring.remember(Past { from, seq, at: now, frame: frame.clone(), touched });
        if let Some(frame) = frame {
            let _ = self.sender.send(frame);
        }
        if self.raw.receiver_count() > 0 {
            let _ = self.raw.send(Arc::new(Raw::changes(seq, now, events)));
        }
        self.hint_of_locks(now, events);
    }

    /// Tells dashboards that locks have changed. Limited ones are told of those of their apps only.
    fn hint_of_locks(&self, now: Timestamp, events: &[&Event]) {
        let changed = || events.iter().filter(|event| event.kind.changes_locks());
        if changed().next().is_none() {
            return;
        }
        let frame = Frame::new(&wire::hint("locks", now));
        let _ = self.sender.send(frame.clone());
        let apps = changed().map(|event| event.session.app.clone()).collect();
        let _ = self.raw.send(Arc::new(Raw::Hint { frame, apps }));
    }

    /// Publishes the last heartbeats of the sessions that sent one since the last call. What
    /// does not fit into one frame waits for the next call. To be called once a second.
    pub fn publish_beats(&self, moved: Vec<Arc<Session>>) {
        let mut state = self.state.lock();
        let limited = self.raw.receiver_count() > 0;
        if self.watchers() == 0 && !limited {
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
        let at = self.clock.now().wall;
        if self.watchers() > 0 {
            let frame = Frame::new(&wire::beats(at, now_told.iter().map(|session| &**session)));
            let _ = self.sender.send(frame);
            self.fanout.wake();
        }
        if limited {
            let _ = self.raw.send(Arc::new(Raw::Beats { at, moved: now_told }));
        }
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

/// Cuts events into runs whose frames fit into a socket's write buffer. That buffer is small,
/// so that a dashboard that stops reading costs little memory.
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
