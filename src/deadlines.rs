//! Who goes stale or expires next.
//!
//! Time is cut into slots; a session stands in the slot of its next deadline. A
//! heartbeat does not move it: when the slot comes, the one who looks sees the newer
//! pulse and puts the session into its true slot. So a beat costs nothing here, a
//! session is looked at once per `stale_after`, and a look costs what is due, not what
//! is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Mono, millis};
use crate::session::{Pulse, SessionId};

/// One session that waits for its deadline. The pulse tells it from a later session
/// with the same id.
pub struct Entry {
    /// Whose deadline it is.
    pub id: SessionId,
    /// The pulse of that very session.
    pub pulse: Arc<Pulse>,
}

/// The slots.
pub struct Deadlines {
    resolution: u64,
    slots: BTreeMap<u64, Vec<Entry>>,
}

impl Deadlines {
    /// No deadlines; slots are `resolution` wide.
    #[must_use]
    pub fn new(resolution: Duration) -> Self {
        Self { resolution: millis(resolution).max(1), slots: BTreeMap::new() }
    }

    /// Puts a session into the slot that ends after `at`: never early, at most one
    /// slot late.
    pub fn schedule(&mut self, id: SessionId, pulse: Arc<Pulse>, at: Mono) {
        self.put_back([(Entry { id, pulse }, at)]);
    }

    /// Puts entries that were taken into the slots of their next deadlines.
    pub fn put_back(&mut self, entries: impl IntoIterator<Item = (Entry, Mono)>) {
        for (entry, at) in entries {
            let slot = at.0 / self.resolution + 1;
            self.slots.entry(slot).or_default().push(entry);
        }
    }

    /// Takes at most `limit` of those whose slot has come.
    pub fn take_due(&mut self, now: Mono, limit: usize) -> Vec<Entry> {
        let present = now.0 / self.resolution;
        let mut due = Vec::new();
        while due.len() < limit {
            let Some(mut slot) = self.slots.first_entry().filter(|slot| *slot.key() <= present) else { break };
            let entries = slot.get_mut();
            let keep = entries.len().saturating_sub(limit - due.len());
            due.extend(entries.drain(keep..));
            if entries.is_empty() {
                slot.remove();
            }
        }
        due
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
    fn a_crowd_is_taken_in_slices() {
        let mut deadlines = Deadlines::new(Duration::from_millis(10));
        for n in 0..25 {
            schedule(&mut deadlines, &format!("s{n}"), 50);
        }
        let slices: Vec<usize> = (0..4).map(|_| deadlines.take_due(Mono(1_000), 10).len()).collect();
        assert_eq!(slices, [10, 10, 5, 0]);
    }
}
