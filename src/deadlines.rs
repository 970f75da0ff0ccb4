//! The deadlines of the sessions: which one becomes stale or expires next.
//!
//! Time is divided into slots. A session is in the slot of its next deadline. A heartbeat
//! does not move it: when the slot is due, the keeper finds the newer pulse and puts the
//! session into the slot of its new deadline. So a heartbeat costs nothing here, each session
//! is checked about once per `stale_after`, and a check reads only the slots that are due.
//!
//! This is kept by hand because timer libraries (such as tokio-util's `DelayQueue`) move an
//! entry at every reset: each heartbeat would take a lock and write to the queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Mono, Timestamp, millis};
use crate::session::{Pulse, SessionId};

/// A session and its deadline's slot. The pulse identifies the session: a later session may
/// have the same id, but never the same pulse.
pub struct Entry {
    /// The session's id.
    pub id: SessionId,
    /// The session's pulse.
    pub pulse: Arc<Pulse>,
}

/// Entries in one piece of memory. After a start one slot holds all sessions; freeing its
/// memory in one piece would pause the server for several milliseconds.
const TOGETHER: usize = 1_024;

/// The entries of one slot, in pieces of at most [`TOGETHER`].
#[derive(Default)]
struct Slot(Vec<Vec<Entry>>);

impl Slot {
    fn push(&mut self, entry: Entry) {
        match self.0.last_mut().filter(|piece| piece.len() < TOGETHER) {
            Some(piece) => piece.push(entry),
            None => self.0.push(vec![entry]),
        }
    }

    /// Moves at most `limit` entries to `taken`; returns whether the slot is empty now.
    fn take(&mut self, limit: usize, taken: &mut Vec<Entry>) -> bool {
        let most = taken.len() + limit;
        while taken.len() < most {
            let Some(piece) = self.0.last_mut() else { break };
            let keep = piece.len().saturating_sub(most - taken.len());
            taken.extend(piece.drain(keep..));
            if piece.is_empty() {
                self.0.pop();
            }
        }
        self.0.is_empty()
    }
}

/// The slots.
pub struct Deadlines {
    resolution: u64,
    slots: BTreeMap<u64, Slot>,
}

impl Deadlines {
    /// Makes it empty, with slots of the length `resolution`.
    #[must_use]
    pub fn new(resolution: Duration) -> Self {
        Self { resolution: millis(resolution).max(1), slots: BTreeMap::new() }
    }

    /// Puts a session into the slot that ends after `at`. It is due never early, and at most
    /// one slot late.
    pub fn schedule(&mut self, id: SessionId, pulse: Arc<Pulse>, at: Mono) {
        self.put_back([(Entry { id, pulse }, at)]);
    }

    /// Puts entries back, each into the slot of its next deadline.
    pub fn put_back(&mut self, entries: impl IntoIterator<Item = (Entry, Mono)>) {
        for (entry, at) in entries {
            let slot = (at.0 / self.resolution).saturating_add(1);
            self.slots.entry(slot).or_default().push(entry);
        }
    }

    /// Takes at most `limit` entries whose slot is due.
    pub fn take_due(&mut self, now: Mono, limit: usize) -> Vec<Entry> {
        let present = now.0 / self.resolution;
        let mut due = Vec::new();
        while due.len() < limit {
            let Some(mut slot) = self.slots.first_entry().filter(|slot| *slot.key() <= present) else { break };
            let wanted = limit - due.len();
            if slot.get_mut().take(wanted, &mut due) {
                slot.remove();
            }
        }
        due
    }
}

/// When each session has to be looked at again, by the wall clock. A session has one time.
#[derive(Default)]
pub struct Agenda {
    at: HashMap<SessionId, Timestamp>,
    order: BTreeSet<(Timestamp, SessionId)>,
}

impl Agenda {
    /// Sets the time of a session, or takes it away.
    pub fn set(&mut self, id: &SessionId, at: Option<Timestamp>) {
        if let Some(before) = self.at.remove(id) {
            self.order.remove(&(before, id.clone()));
        }
        if let Some(at) = at {
            self.at.insert(id.clone(), at);
            self.order.insert((at, id.clone()));
        }
    }

    /// Takes the session whose time has come first, with that time.
    pub fn take_due(&mut self, now: Timestamp) -> Option<(Timestamp, SessionId)> {
        let (at, id) = self.order.first().filter(|(at, _)| *at <= now).cloned()?;
        self.set(&id, None);
        Some((at, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn schedule(deadlines: &mut Deadlines, id: &str, at: u64) {
        let pulse = Arc::new(Pulse::new(Timestamp(0), Mono(0)));
        deadlines.schedule(SessionId::parse(id).expect("an id"), pulse, Mono(at));
    }

    #[test]
    fn nobody_is_due_early_and_nobody_much_later() {
        let mut deadlines = Deadlines::new(Duration::from_millis(10));
        schedule(&mut deadlines, "a", 100);
        for now in 0..100 {
            assert!(deadlines.take_due(Mono(now), 9).is_empty(), "{now}");
        }
        assert!(deadlines.take_due(Mono(100), 9).is_empty());
        assert_eq!(deadlines.take_due(Mono(110), 9).len(), 1);
        assert!(deadlines.take_due(Mono(110), 9).is_empty());
    }

    #[test]
    fn a_crowd_of_several_pieces_is_taken_whole() {
        let mut deadlines = Deadlines::new(Duration::from_millis(10));
        let count = 2 * TOGETHER + 7;
        for n in 0..count {
            schedule(&mut deadlines, &format!("s{n}"), 50);
        }
        let mut taken = Vec::new();
        while taken.len() < count {
            let some = deadlines.take_due(Mono(1_000), 1_000);
            assert_eq!(some.len(), 1_000.min(count - taken.len()));
            taken.extend(some.into_iter().map(|entry| entry.id.to_string()));
        }
        taken.sort();
        taken.dedup();
        assert_eq!(taken.len(), count);
        assert!(deadlines.take_due(Mono(1_000), 1).is_empty());
    }

    #[test]
    fn a_crowd_is_taken_in_slices() {
        let mut deadlines = Deadlines::new(Duration::from_millis(10));
        for n in 0..25 {
            schedule(&mut deadlines, &format!("s{n}"), 50);
        }
        let slices: Vec<usize> = (0..4).map(|_| deadlines.take_due(Mono(1_000), 10).len()).collect();
        assert_eq!(slices, [10, 10, 5, 0]);
    }
}
