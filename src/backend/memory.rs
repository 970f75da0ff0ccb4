//! A store in memory, for tests. It gives the same guarantees as the SQLite store for as long
//! as the process lives.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::outbox::{another_keeper, is_waiting};
use super::{AlertQuery, Backend, Keep, Outbox, Past, Stored, Turn, fresh_epoch};
use crate::alerts::{Alert, Kept, Raised, Settled};
use crate::change::{Event, Kind, Tombstone};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::lock::Locks;
use crate::log::{Entry, Query};
use crate::past::{Checkpoint, Piece, Reach, Reset};
use crate::registry::Counts;
use crate::session::{Pulse, Session, SessionId};
use crate::stats::{Minute, Recount};

/// The size of a log entry for the limit on the log's size, in bytes.
const LINE_BYTES: u64 = 300;

#[derive(Default)]
struct Tables {
    seq: u64,
    sessions: HashMap<SessionId, (Arc<Session>, Timestamp)>,
    log: BTreeMap<u64, Entry>,
    tombstones: HashMap<SessionId, Tombstone>,
    locks: Locks,
    minutes: BTreeMap<Timestamp, Minute>,
    starts: Vec<Reset>,
    complete_after: u64,
    checkpoints: BTreeMap<u64, Checkpoint>,
    pieces: BTreeMap<(u64, u32), Vec<u8>>,
    raised: BTreeMap<i64, Raised>,
    raised_last: i64,
    notes: BTreeMap<String, String>,
    alerts: BTreeMap<String, Alert>,
}

/// The store in memory.
#[derive(Default)]
pub struct Memory {
    tables: Mutex<Tables>,
}

/// A turn of the one server that there is.
struct MemoryTurn<'m>(&'m Mutex<Tables>, Vec<Raised>);

impl Turn for MemoryTurn<'_> {
    fn missed(&mut self) -> Vec<Event> {
        Vec::new()
    }

    fn raise(&mut self, raised: Vec<Raised>) {
        self.1.extend(raised);
    }

    fn commit<'a>(self: Box<Self>, events: Arc<Vec<Event>>) -> BoxFuture<'a, Result<()>>
    where
        Self: 'a,
    {
        let mut tables = self.0.lock();
        events.iter().for_each(|event| tables.take(event));
        self.1.into_iter().for_each(|row| tables.raise(row));
        ready(Ok(())).boxed()
    }
}

impl Memory {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The minutes of one step as one.
fn gathered(at: i64, minutes: &[Minute]) -> Minute {
    let mean = |value: fn(&Counts) -> u64| {
        let sum: u64 = minutes.iter().map(|minute| value(&minute.counts)).sum();
        (sum as f64 / minutes.len() as f64).round() as u64
    };
    Minute {
        at: Timestamp(at),
        counts: Counts {
            idle: mean(|counts| counts.idle),
            running: mean(|counts| counts.running),
            hidden: mean(|counts| counts.hidden),
            stale: mean(|counts| counts.stale),
            ending: mean(|counts| counts.ending),
        },
        ended: minutes.iter().map(|minute| minute.ended).sum(),
        kills: minutes.iter().map(|minute| minute.kills).sum(),
    }
}

fn is_kept_longest(kind: &str) -> bool {
    Kind::LOGGED.iter().any(|known| known.as_str() == kind && known.is_kept_longest())
}

/// The session as a start finds it: with a new pulse, and not connected.
fn restored((session, last): &(Arc<Session>, Timestamp)) -> Session {
    Session {
        pulse: Arc::new(Pulse::new(*last, crate::clock::Mono::default())),
        socket: None,
        stale: false,
        ..(**session).clone()
    }
}

impl Tables {
    fn raise(&mut self, row: Raised) {
        self.raised_last += 1;
        self.raised.insert(self.raised_last, row);
    }

    fn take(&mut self, event: &Event) {
        self.seq = event.seq;
        if !event.kind.is_logged() {
            return;
        }
        self.log.insert(event.seq, Entry::of(event));
        let session = &event.session;
        if event.kind == Kind::Removed {
            self.sessions.remove(&session.id);
        } else if event.kind.changes_session() {
            self.sessions.insert(session.id.clone(), (session.clone(), session.pulse.wall()));
        }
        match (&event.lock, event.kind) {
            (Some(lock), Kind::Unlocked) => self.locks.remove(&lock.lock_id),
            (Some(lock), _) => self.locks.put(lock.clone()),
            (None, _) => {}
        }
        if let Some(tombstone) = event.tombstone() {
            self.tombstones.insert(session.id.clone(), tombstone);
        }
    }
}

impl Outbox for Memory {
    fn raised(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(i64, Raised)>>> {
        let rows = self.tables.lock().raised.iter().take(limit).map(|(number, row)| (*number, row.clone())).collect();
        ready(Ok(rows)).boxed()
    }

    fn raise(&self, row: Raised) -> BoxFuture<'_, Result<()>> {
        self.tables.lock().raise(row);
        ready(Ok(())).boxed()
    }

    fn kept(&self) -> BoxFuture<'_, Result<Kept>> {
        let tables = self.tables.lock();
        let notes = tables.notes.iter().map(|(key, json)| (key.clone(), json.clone())).collect();
        let alerts = tables.alerts.values().filter(|alert| is_waiting(alert)).cloned().collect();
        ready(Ok(Kept { notes, alerts })).boxed()
    }

    fn settle(&self, settled: Settled) -> BoxFuture<'_, Result<()>> {
        let mut tables = self.tables.lock();
        if !settled.taken.iter().all(|number| tables.raised.contains_key(number)) {
            return ready(Err(another_keeper())).boxed();
        }
        for number in settled.taken {
            tables.raised.remove(&number);
        }
        for (key, json) in settled.notes {
            match json {
                Some(json) => tables.notes.insert(key, json),
                None => tables.notes.remove(&key),
            };
        }
        tables.alerts.extend(settled.alerts.into_iter().map(|alert| (alert.id.clone(), alert)));
        ready(Ok(())).boxed()
    }

    fn alerts(&self, query: AlertQuery) -> BoxFuture<'_, Result<Vec<Alert>>> {
        let tables = self.tables.lock();
        let found = tables.alerts.values().rev().filter(|alert| query.fits(alert));
        ready(Ok(found.take(query.limit).cloned().collect())).boxed()
    }

    fn forget_alerts(&self, before: Timestamp, most: usize) -> BoxFuture<'_, Result<()>> {
        let mut tables = self.tables.lock();
        let done = tables.alerts.values().rev().filter(|alert| !is_waiting(alert));
        let over: Vec<String> = done
            .enumerate()
            .filter(|(place, alert)| *place >= most || alert.created < before)
            .map(|(_, alert)| alert.id.clone())
            .collect();
        for id in over {
            tables.alerts.remove(&id);
        }
        ready(Ok(())).boxed()
    }
}

impl Past for Memory {
    fn reach(&self) -> BoxFuture<'_, Result<Reach>> {
        let tables = self.tables.lock();
        let reach = Reach {
            complete_after: tables.complete_after,
            untold_until: 0,
            last: tables.log.last_key_value().map_or(0, |(seq, _)| *seq),
            checkpoints: tables.checkpoints.values().copied().collect(),
            resets: tables.starts.clone(),
        };
        ready(Ok(reach)).boxed()
    }

    fn last_until(&self, at: Timestamp) -> BoxFuture<'_, Result<u64>> {
        let tables = self.tables.lock();
        let found = tables.log.values().rev().find(|entry| entry.at <= at).map_or(0, |entry| entry.seq);
        ready(Ok(found)).boxed()
    }

    fn piece(&self, seq: u64, number: u32) -> BoxFuture<'_, Result<Option<Vec<u8>>>> {
        ready(Ok(self.tables.lock().pieces.get(&(seq, number)).cloned())).boxed()
    }

    fn put_piece(&self, seq: u64, piece: Piece) -> BoxFuture<'_, Result<()>> {
        self.tables.lock().pieces.insert((seq, piece.number), piece.body);
        ready(Ok(())).boxed()
    }

    fn finish(&self, checkpoint: Checkpoint) -> BoxFuture<'_, Result<()>> {
        self.tables.lock().checkpoints.insert(checkpoint.seq, checkpoint);
        ready(Ok(())).boxed()
    }
}

impl Tables {
    /// Drops checkpoints that are of no use any more, and those over the limit.
    fn forget_checkpoints(&mut self, log_bytes: u64) {
        while let Some((&oldest, _)) = self.checkpoints.first_key_value().filter(|_| self.checkpoints.len() > 1) {
            let bytes: u64 = self.checkpoints.values().map(|checkpoint| checkpoint.bytes).sum();
            if oldest >= self.complete_after && bytes <= log_bytes / 2 {
                break;
            }
            self.checkpoints.remove(&oldest);
        }
        let kept = &self.checkpoints;
        let newest = kept.last_key_value().map_or(0, |(seq, _)| *seq);
        self.pieces.retain(|(seq, _), _| *seq > newest || kept.contains_key(seq));
    }
}

impl Backend for Memory {
    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn past(&self) -> &dyn Past {
        self
    }

    fn load(&self, now: Timestamp) -> BoxFuture<'_, Result<Stored>> {
        let mut tables = self.tables.lock();
        let mut minutes: Vec<Minute> = tables.minutes.values().copied().collect();
        let mut recount = Recount::since(&minutes, now.minus(Duration::from_hours(24)));
        let _ = tables.log.values().rev().all(|entry| recount.take(entry.at, &entry.kind));
        recount.put(&mut minutes);
        let stored = Stored {
            epoch: fresh_epoch(),
            seq: tables.seq,
            sessions: tables.sessions.values().map(restored).collect(),
            tombstones: tables.tombstones.iter().map(|(id, grave)| (id.clone(), grave.clone())).collect(),
            locks: tables.locks.iter().map(|lock| (**lock).clone()).collect(),
            minutes,
            starts: tables.starts.iter().map(|start| start.at).collect(),
        };
        let start = Reset { seq: tables.log.last_key_value().map_or(0, |(seq, _)| *seq), at: now };
        tables.starts.push(start);
        ready(Ok(stored)).boxed()
    }

    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>>> {
        let session = self.tables.lock().sessions.get(&id).map(restored);
        ready(Ok(session)).boxed()
    }

    fn begin(&self, _position: u64) -> BoxFuture<'_, Result<Box<dyn Turn + '_>>> {
        let turn: Box<dyn Turn + '_> = Box::new(MemoryTurn(&self.tables, Vec::new()));
        ready(Ok(turn)).boxed()
    }

    fn beats(&self, beats: Vec<(SessionId, Timestamp)>) -> BoxFuture<'_, Result<()>> {
        let mut tables = self.tables.lock();
        for (id, at) in beats {
            if let Some((_, last)) = tables.sessions.get_mut(&id) {
                *last = at;
            }
        }
        ready(Ok(())).boxed()
    }

    fn minute(&self, minute: Minute) -> BoxFuture<'_, Result<()>> {
        self.tables.lock().minutes.insert(minute.at, minute);
        ready(Ok(())).boxed()
    }

    fn minutes(&self, since: Timestamp, step: i64) -> BoxFuture<'_, Result<Vec<Minute>>> {
        let tables = self.tables.lock();
        let mut steps: BTreeMap<i64, Vec<Minute>> = BTreeMap::new();
        for minute in tables.minutes.range(since..).map(|(_, minute)| minute) {
            steps.entry(minute.at.0 / step * step).or_default().push(*minute);
        }
        ready(Ok(steps.into_iter().map(|(at, minutes)| gathered(at, &minutes)).collect())).boxed()
    }

    fn events(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>>> {
        let tables = self.tables.lock();
        let fitting = |entry: &&Entry| query.fits(entry);
        let found: Vec<Entry> = if query.oldest_first {
            tables.log.values().filter(fitting).take(query.limit).cloned().collect()
        } else {
            tables.log.values().rev().filter(fitting).take(query.limit).cloned().collect()
        };
        ready(Ok(found)).boxed()
    }

    fn forget(&self, keep: Keep) -> BoxFuture<'_, Result<bool>> {
        let mut tables = self.tables.lock();
        let newest = tables.log.last_key_value().map(|(seq, _)| *seq);
        let is_kept = |entry: &Entry| entry.at >= keep.events || Some(entry.seq) == newest;
        let mut gone = tables.log.values().rev().find(|entry| !is_kept(entry)).map_or(0, |entry| entry.seq);
        tables.log.retain(|_, entry| is_kept(entry));
        tables.starts.retain(|start| start.at >= keep.events);
        tables.tombstones.retain(|_, tombstone| tombstone.at >= keep.tombstones);
        tables.minutes.retain(|at, _| *at >= keep.events);
        let most = usize::try_from(keep.log_bytes / LINE_BYTES).unwrap_or(usize::MAX);
        for keeps_longest in [false, true] {
            let too_many = tables.log.len().saturating_sub(most.max(1));
            let fits = |entry: &Entry| is_kept_longest(&entry.kind) == keeps_longest;
            let oldest: Vec<u64> = tables
                .log
                .iter()
                .filter(|(seq, entry)| fits(entry) && Some(**seq) != newest)
                .map(|(seq, _)| *seq)
                .take(too_many)
                .collect();
            for seq in oldest {
                tables.log.remove(&seq);
                gone = gone.max(seq);
            }
        }
        tables.complete_after = tables.complete_after.max(gone);
        tables.forget_checkpoints(keep.log_bytes);
        ready(Ok(false)).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }
}
