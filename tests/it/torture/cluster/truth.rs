//! What the servers have acknowledged and refused, as the clients know it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Milliseconds of the wall clock.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The answer to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Acknowledged,
    /// With the word that nothing was changed.
    Refused,
    /// It may have taken effect or not.
    Unknown,
}

/// What an id has been through, as far as it was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub registered: Option<Answer>,
    pub killed: Option<Answer>,
    pub ended: Option<Answer>,
    /// The tasks that it may have: the last acknowledged one, and those in doubt since then.
    pub tasks: Vec<String>,
    /// Times of signs of life that were acknowledged.
    pub lives: Vec<i64>,
    /// It is held by a client with a socket, which sees its kill.
    pub has_socket: bool,
    /// The client saw the kill: the close 1001, or the answer that it is gone.
    pub saw_kill: bool,
}

/// What a dashboard was shown in one epoch.
#[derive(Debug, Default)]
pub struct Shown {
    pub seq: u64,
    pub ids: BTreeSet<String>,
}

#[derive(Default)]
pub struct Truth {
    pub acknowledged: AtomicUsize,
    pub known: Mutex<HashMap<String, Known>>,
    /// By epoch.
    pub shown: Mutex<BTreeMap<String, Shown>>,
}

impl Truth {
    pub fn note(&self, id: &str, put: impl FnOnce(&mut Known)) {
        put(self.known.lock().entry(id.to_owned()).or_default());
    }

    /// A sign of life at this time was acknowledged.
    pub fn lived(&self, id: &str, at: i64) {
        self.note(id, |known| known.lives.push(at));
    }

    /// How many registrations were acknowledged until now.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// After a history that went back: all in it is known, nothing else was.
    pub fn rebase(&self, log: &HashMap<String, BTreeSet<String>>) {
        for (id, known) in self.known.lock().iter_mut() {
            let has = |kind: &str| log.get(id).is_some_and(|kinds| kinds.contains(kind));
            // What is not there may have been answered, and a request that is under way may
            // still come.
            let as_found = |answer: &mut Option<Answer>, kind: &str| {
                *answer = answer.map(|_| if has(kind) { Answer::Acknowledged } else { Answer::Unknown });
            };
            as_found(&mut known.registered, "registered");
            as_found(&mut known.killed, "kill_requested");
            as_found(&mut known.ended, "removed");
            known.tasks.clear();
        }
    }
}
