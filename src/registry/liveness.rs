//! Heartbeats and silence: who is alive, and whose deadline has passed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{MOVED_SHARDS, Registry};
use crate::clock::{Mono, Now};
use crate::deadlines::Entry;
use crate::session::{Pulse, Session, SessionId};
use crate::timing::Timing;

/// The result of a heartbeat.
pub struct Beat {
    /// The session now.
    pub session: Arc<Session>,
    /// The session was stale: the caller has to ask the writer for [`Change::Recover`].
    ///
    /// [`Change::Recover`]: crate::change::Change::Recover
    pub was_stale: bool,
}

/// A session that has been silent for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// For `stale_after`.
    Stale(SessionId),
    /// For `expire_after`.
    Expired(SessionId),
}

impl Registry {
    /// Records a heartbeat by id. Costs one sharded read lock and two atomic stores; the list of
    /// moved sessions is touched once per collection.
    #[must_use]
    pub fn beat(&self, id: &str, now: Now) -> Option<Beat> {
        let session = self.get(id)?;
        self.beat_session(&session, now);
        let was_stale = session.stale;
        Some(Beat { session, was_stale })
    }

    /// As [`Registry::beat`], for a caller that has the session.
    pub fn beat_session(&self, session: &Session, now: Now) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        if session.pulse.beat(now) {
            let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % MOVED_SHARDS;
            self.moved[shard].lock().push(session.id.clone());
        }
    }

    /// The sessions whose heartbeat moved since the last call.
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

    /// The moment from which silence is counted at the earliest.
    #[must_use]
    pub fn floor(&self) -> Mono {
        Mono(self.floor.load(Ordering::Relaxed))
    }

    /// How long a session has been silent; at most the time since the last amnesty.
    #[must_use]
    pub fn silence(&self, pulse: &Pulse, now: Now) -> Duration {
        now.mono.since(pulse.mono().max(self.floor()))
    }

    /// Gives every session a full `stale_after` again, with one store: after a clock jump or a
    /// sleep of the machine the server was silent, not the clients.
    pub fn grant_amnesty(&self, now: Now) {
        self.floor.store(now.mono.0, Ordering::Relaxed);
    }

    /// Sets the first deadline of a session.
    pub(super) fn schedule(&self, session: &Session, at: Mono) {
        self.deadlines.lock().schedule(session.id.clone(), session.pulse.clone(), at);
    }

    /// Takes at most `limit` sessions whose deadline has come. Returns those that have been silent
    /// for too long, and whether more may be due now; the others get their next deadline.
    #[must_use]
    pub fn due(&self, now: Now, limit: usize) -> (Vec<Due>, bool) {
        let entries = self.deadlines.lock().take_due(now.mono, limit);
        let more = entries.len() == limit;
        let mut due = Vec::new();
        let next: Vec<(Entry, Mono)> = entries
            .into_iter()
            .filter_map(|entry| {
                // A session that is gone has dropped its pulse: the entry holds the last reference.
                if Arc::strong_count(&entry.pulse) == 1 {
                    return None;
                }
                // Most have sent a heartbeat since then; the pulse is enough to know.
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

    /// The next deadline of a session that is silent or connected; adds it to `due` if it is too late.
    fn next_deadline(&self, session: &Arc<Session>, now: Now, due: &mut Vec<Due>) -> Mono {
        let Timing { stale_after, expire_after, .. } = self.timing;
        if session.connected() {
            return now.mono.plus(stale_after);
        }
        let silence = self.silence(&session.pulse, now);
        if silence >= expire_after {
            due.push(Due::Expired(session.id.clone()));
            // Needed only if the removal cannot be committed.
            return now.mono.plus(Duration::from_secs(1));
        }
        if silence < stale_after {
            return now.mono.plus(stale_after - silence);
        }
        if !session.stale {
            due.push(Due::Stale(session.id.clone()));
            return now.mono.plus((expire_after - silence).min(Duration::from_secs(1)));
        }
        // Not only when it expires: it may recover and go silent again before that.
        now.mono.plus((expire_after - silence).min(stale_after))
    }
}
