//! The live sessions, in memory; no I/O, and no clock but the one that is passed in.
//!
//! Two structures hold the same versions. `by_id` answers a heartbeat with one
//! sharded read lock. `view` is a persistent ordered map: to read all of it at one
//! exact position costs a clone of its root, and nobody waits for the reader.
//! Only the writer applies events, so the two never differ by more than one batch.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use imbl::OrdMap;
use parking_lot::{Mutex, RwLock};
use subtle::ConstantTimeEq;

use crate::change::{Event, Kind, Tombstone};
use crate::clock::{Mono, Now, Timestamp};
use crate::deadlines::{Deadlines, Entry};
use crate::error::Error;
use crate::session::{Digest, Pulse, Session, SessionId, State};
use crate::timing::Timing;

/// Newest start first, then by id.
type Order = (Reverse<i64>, SessionId);

/// All live sessions at one position. Cheap to clone, never changes.
#[derive(Clone, Default)]
pub struct View {
    /// The last event that it has seen.
    pub seq: u64,
    by_start: OrdMap<Order, Arc<Session>>,
}

impl View {
    /// All sessions, newest start first.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.by_start.values()
    }

    /// The sessions behind this one in the order, whether or not it still lives.
    pub fn sessions_after(&self, started_at: Timestamp, id: SessionId) -> impl Iterator<Item = &Arc<Session>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from: Order = (Reverse(started_at.0), id);
        self.by_start.range((Excluded(from), Unbounded)).map(|(_, session)| session)
    }

    /// One session, for who knows when it registered.
    #[must_use]
    pub fn get(&self, started_at: Timestamp, id: &SessionId) -> Option<&Arc<Session>> {
        self.by_start.get(&(Reverse(started_at.0), id.clone()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    fn put(&mut self, session: Arc<Session>) {
        self.by_start.insert(order(&session), session);
    }

    fn remove(&mut self, session: &Session) {
        self.by_start.remove(&order(session));
    }
}

fn order(session: &Session) -> Order {
    (Reverse(session.started_at.0), session.id.clone())
}

/// How many live sessions are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Counts {
    /// Idle and seen.
    pub idle: u64,
    /// Doing something.
    pub running: u64,
    /// Idle and not seen.
    pub hidden: u64,
    /// Silent for too long.
    pub stale: u64,
    /// Asked to end.
    pub ending: u64,
}

impl Counts {
    /// Counts one more session in this state.
    pub fn add(&mut self, state: State) {
        *self.of(state) += 1;
    }

    fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Idle => &mut self.idle,
            State::Running => &mut self.running,
            State::Hidden => &mut self.hidden,
            State::Stale => &mut self.stale,
            State::Ending => &mut self.ending,
        }
    }
}

/// What a heartbeat learns.
pub struct Beat {
    /// The session as it is.
    pub session: Arc<Session>,
    /// It counted as stale: somebody has to tell the writer that it lives.
    pub was_stale: bool,
}

/// Owners of sessions that have ended, the newest so many.
#[derive(Default)]
struct Departed {
    tokens: HashMap<SessionId, Digest>,
    order: VecDeque<SessionId>,
}

impl Departed {
    const MOST: usize = 10_000;

    fn add(&mut self, session: &Session) {
        let Some(token) = session.token else { return };
        if self.tokens.insert(session.id.clone(), token).is_none() {
            self.order.push_back(session.id.clone());
        }
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.tokens.remove(&oldest);
        }
    }
}

/// Number of lists over which the ids that beat are spread, so that beats on many
/// cores do not meet.
const MOVED_SHARDS: usize = 16;

/// The live sessions.
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
    /// Who owned the sessions that ended otherwise than by a kill, as far back as is kept.
    departed: Mutex<Departed>,
    deadlines: Mutex<Deadlines>,
    /// Whether [`Registry::restore`] has begun.
    restoring: Mutex<bool>,
    /// Nobody is silent for longer than since this moment: see [`Registry::grant_amnesty`].
    floor: AtomicU64,
    moved: [Mutex<Vec<SessionId>>; MOVED_SHARDS],
    beats: AtomicU64,
    next_shard: AtomicUsize,
}

impl Registry {
    /// Empty, at `seq`, with an epoch of its own until [`Registry::restore`] gives it the store's.
    #[must_use]
    pub fn new(timing: Timing, seq: u64) -> Self {
        Self {
            timing,
            epoch: RwLock::new(uuid::Uuid::new_v4().to_string().into()),
            seq: AtomicU64::new(seq),
            by_id: DashMap::new(),
            view: RwLock::new(View { seq, by_start: OrdMap::new() }),
            counts: Mutex::default(),
            by_token: Mutex::default(),
            tombstones: RwLock::default(),
            departed: Mutex::default(),
            deadlines: Mutex::new(Deadlines::new(timing.resolution())),
            restoring: Mutex::new(false),
            floor: AtomicU64::new(0),
            moved: std::array::from_fn(|_| Mutex::default()),
            beats: AtomicU64::new(0),
            next_shard: AtomicUsize::new(0),
        }
    }

    /// The intervals that it keeps.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The lineage that `seq` counts in.
    #[must_use]
    pub fn epoch(&self) -> Arc<str> {
        self.epoch.read().clone()
    }

    /// The last event that was applied.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// How many sessions are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many heartbeats were taken since the start.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// One live session.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.by_id.get(id).map(|entry| entry.value().clone())
    }

    /// All sessions at one exact position.
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

    fn count_token(&self, session: &Session, by: isize) {
        let Some(token) = &session.registered_by else { return };
        let mut by_token = self.by_token.lock();
        let count = by_token.entry(token.clone()).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            by_token.remove(token);
        }
    }

    /// What an asker is told of an id that was killed, while that is remembered.
    #[must_use]
    pub fn gone(&self, id: &str, now: Timestamp) -> Option<Error> {
        self.tombstones.read().get(id)?.gone(id, &self.timing, now)
    }

    /// Whether this is the digest of the token of a session that has ended; its owner may know
    /// how it did.
    #[must_use]
    pub fn was_owned_by(&self, id: &str, digest: &Digest) -> bool {
        let buried = self.tombstones.read().get(id).and_then(|tombstone| tombstone.token);
        let token = buried.or_else(|| self.departed.lock().tokens.get(id).copied());
        token.is_some_and(|token| token.ct_eq(digest).into())
    }

    /// Remembers a killed id, as the store did.
    pub fn bury(&self, id: SessionId, tombstone: Tombstone) {
        self.tombstones.write().insert(id, tombstone);
    }

    /// Forgets the tombstones that are over.
    pub fn forget_tombstones(&self, now: Timestamp) {
        let ttl = self.timing.tombstone_ttl;
        self.tombstones.write().retain(|_, tombstone| now < tombstone.at.plus(ttl));
    }

    /// Lets a session that the store remembers answer before all of them are restored;
    /// `None` once that has begun, since what was read before may be old by then.
    #[must_use]
    pub fn adopt(&self, session: Session) -> Option<Arc<Session>> {
        let restoring = self.restoring.lock();
        if *restoring {
            return None;
        }
        Some(self.by_id.entry(session.id.clone()).or_insert_with(|| Arc::new(session)).clone())
    }

    /// Puts all sessions that the store remembers in place, outside the order of events,
    /// which goes on behind `seq` in `epoch`. Those that were adopted meanwhile stay as they are.
    pub fn restore(&self, sessions: Vec<Session>, epoch: Arc<str>, seq: u64, now: Now) {
        *self.restoring.lock() = true;
        *self.epoch.write() = epoch;
        let mut counts = Counts::default();
        let mut deadlines = Vec::with_capacity(sessions.len());
        let mut in_order = Vec::with_capacity(sessions.len());
        let at = now.mono.plus(self.timing.stale_after);
        for session in sessions {
            let session = self.by_id.entry(session.id.clone()).or_insert_with(|| Arc::new(session)).clone();
            *counts.of(session.state()) += 1;
            self.count_token(&session, 1);
            deadlines.push((Entry { id: session.id.clone(), pulse: session.pulse.clone() }, at));
            in_order.push((order(&session), session));
        }
        // A map that grows at its end is built several times as fast.
        in_order.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut by_start = OrdMap::new();
        for (key, session) in in_order {
            by_start.insert(key, session);
        }
        *self.counts.lock() = counts;
        self.deadlines.lock().put_back(deadlines);
        *self.view.write() = View { seq, by_start };
        self.seq.store(seq, Ordering::Release);
    }

    /// Takes committed events, in order. Called by the writer and by nobody else.
    pub fn apply(&self, events: &[Event], now: Now) {
        let Some(last) = events.last() else { return };
        // First, so that a killed id is never merely unknown in between.
        for event in events {
            if let Some(tombstone) = event.tombstone() {
                self.bury(event.session.id.clone(), tombstone);
            }
        }
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

    /// The events of another server, fit to be applied: each session with the pulse that it
    /// has here, moved by what the event says of its last sign of life.
    #[must_use]
    pub fn foreign(&self, events: Vec<Event>, now: Now) -> Vec<Event> {
        let mut pulses: HashMap<SessionId, Arc<Pulse>> = HashMap::new();
        let with_pulse = |mut event: Event| {
            let mut session = Arc::unwrap_or_clone(event.session);
            let last = session.pulse.wall();
            let known = pulses.get(&session.id).cloned();
            let here = || self.get(session.id.as_str()).filter(|here| here.started_at == session.started_at);
            let pulse = known.or_else(|| here().map(|here| here.pulse.clone()));
            session.pulse = pulse.unwrap_or_else(|| Arc::new(Pulse::new(last, now.mono)));
            if session.pulse.wall() < last {
                session.pulse.move_to(Now { wall: last, mono: now.mono });
            }
            pulses.insert(session.id.clone(), session.pulse.clone());
            event.session = Arc::new(session);
            event
        };
        events.into_iter().map(with_pulse).collect()
    }

    /// Takes heartbeats that other servers tell; the sessions that they moved.
    #[must_use]
    pub fn foreign_beats(&self, beats: Vec<(SessionId, Timestamp)>, now: Now) -> Vec<Arc<Session>> {
        let moved = |(id, at): (SessionId, Timestamp)| {
            let session = self.get(id.as_str())?;
            // Each is told once, so it is a sign of life, whatever the other server's clock says.
            session.pulse.move_to(Now { wall: at.max(session.pulse.wall()), mono: now.mono });
            Some(session)
        };
        beats.into_iter().filter_map(moved).collect()
    }

    /// Notes a sign of life and tells the session as it is. One sharded read lock, two
    /// atomic stores; a list of those that moved is touched once per collection.
    #[must_use]
    pub fn beat(&self, id: &str, now: Now) -> Option<Beat> {
        let session = self.get(id)?;
        self.beat_session(&session, now);
        let was_stale = session.stale;
        Some(Beat { session, was_stale })
    }

    /// As [`Registry::beat`], for who has the session at hand.
    pub fn beat_session(&self, session: &Session, now: Now) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        if session.pulse.beat(now) {
            let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % MOVED_SHARDS;
            self.moved[shard].lock().push(session.id.clone());
        }
    }

    /// The sessions that beat since the last call.
    #[must_use]
    pub fn take_moved(&self) -> Vec<Arc<Session>> {
        let mut moved = Vec::new();
        for shard in &self.moved {
            let ids = std::mem::take(&mut *shard.lock());
            moved.extend(ids.into_iter().filter_map(|id| {
                let session = self.get(id.as_str())?;
                session.pulse.take_moved();
                Some(session)
            }));
        }
        moved
    }

    /// How long a session has been silent, at most since the last amnesty.
    #[must_use]
    pub fn silence(&self, pulse: &Pulse, now: Now) -> Duration {
        let floor = Mono(self.floor.load(Ordering::Relaxed));
        now.mono.since(pulse.mono().max(floor))
    }

    /// Gives everyone a full `stale_after` anew, in one store: after a clock jump or a
    /// sleep of the machine the silence was ours, not theirs.
    pub fn grant_amnesty(&self, now: Now) {
        self.floor.store(now.mono.0, Ordering::Relaxed);
    }

    fn schedule(&self, session: &Session, at: Mono) {
        self.deadlines.lock().schedule(session.id.clone(), session.pulse.clone(), at);
    }

    /// Those whose deadline has come, at most `limit` of them: what is due is `Some`
    /// when they are silent too long, the others are given their next deadline here.
    /// Returns also whether more may be due now.
    #[must_use]
    pub fn due(&self, now: Now, limit: usize) -> (Vec<Due>, bool) {
        let entries = self.deadlines.lock().take_due(now.mono, limit);
        let more = entries.len() == limit;
        let mut due = Vec::new();
        let next: Vec<(Entry, Mono)> = entries
            .into_iter()
            .filter_map(|entry| {
                // Nobody else holds the pulse of a session that is gone.
                if Arc::strong_count(&entry.pulse) == 1 {
                    return None;
                }
                // Most have beaten meanwhile, which their pulse alone tells.
                let silence = self.silence(&entry.pulse, now);
                if silence < self.timing.stale_after {
                    return Some((entry, now.mono.plus(self.timing.stale_after - silence)));
                }
                // An entry of an earlier session with the same id has another pulse.
                let session = self.get(entry.id.as_str()).filter(|s| Arc::ptr_eq(&s.pulse, &entry.pulse))?;
                let next = self.next_deadline(&session, now, &mut due);
                Some((entry, next))
            })
            .collect();
        self.deadlines.lock().put_back(next);
        (due, more)
    }

    fn next_deadline(&self, session: &Arc<Session>, now: Now, due: &mut Vec<Due>) -> Mono {
        let Timing { stale_after, expire_after, .. } = self.timing;
        if session.connected() {
            return now.mono.plus(stale_after);
        }
        let silence = self.silence(&session.pulse, now);
        if silence >= expire_after {
            due.push(Due::Expired(session.id.clone()));
            // Comes again only where the removal could not be committed.
            return now.mono.plus(Duration::from_secs(1));
        }
        if silence < stale_after {
            return now.mono.plus(stale_after - silence);
        }
        if !session.stale {
            due.push(Due::Stale(session.id.clone()));
            return now.mono.plus((expire_after - silence).min(Duration::from_secs(1)));
        }
        // Not only when it expires: it may recover, and go silent again long before that.
        now.mono.plus((expire_after - silence).min(stale_after))
    }
}

/// Who is silent for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// For `stale_after`.
    Stale(SessionId),
    /// For `expire_after`.
    Expired(SessionId),
}
