//! The table of a past moment: rebuilt from a checkpoint and the entries of the log behind it.
//! Pure: what is read, and in which order, is the monitor's.

mod checkpoint;
mod ended;
mod table;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

pub use checkpoint::{Encoder, Piece, decode};
pub use ended::Ended;
pub use table::Table;

/// A checkpoint that the store has whole: the table at one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The last entry of the log that is in it.
    pub seq: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// In how many pieces it is kept.
    pub pieces: u32,
    /// How many sessions it has.
    pub sessions: u64,
    /// The size of its pieces together.
    pub bytes: u64,
}

/// A start of the server after which no session is stale, although no entry says so: a store of
/// one server does not keep who is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The last entry of the log before the start.
    pub seq: u64,
    /// When the server started.
    pub at: Timestamp,
}

/// What a store can tell of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The log has every entry behind this position, each with its [`State`](crate::log::State).
    pub complete_after: u64,
    /// Entries up to this position are of a version that did not keep the state; 0 where there are none.
    pub untold_until: u64,
    /// The last entry.
    pub last: u64,
    /// The checkpoints that are whole, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// The starts after which no session is stale, oldest first.
    pub resets: Vec<Reset>,
}

/// A moment of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At this time: after the last entry that is not later.
    At(Timestamp),
    /// Right after this entry.
    After(u64),
}

/// Where a rebuild begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At a checkpoint.
    Checkpoint(Checkpoint),
    /// At the first entry of the log, before which there was no session.
    Nothing,
    /// At the first entry of the log; what was before it is not known.
    Unknown,
}

impl Start {
    /// The position that it is at.
    #[must_use]
    pub fn seq(&self) -> u64 {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.seq,
            Self::Nothing | Self::Unknown => 0,
        }
    }
}

impl Reach {
    /// Where the rebuild of a position begins; `None` where the log no longer reaches back to it.
    #[must_use]
    pub fn start(&self, position: u64, moment: Moment) -> Option<Start> {
        // A checkpoint of the same position may have been taken after a later start of the server.
        let is_before = |checkpoint: &&Checkpoint| match moment {
            Moment::At(at) => checkpoint.seq <= position && checkpoint.at <= at,
            Moment::After(_) => checkpoint.seq < position,
        };
        let usable = |checkpoint: &&Checkpoint| checkpoint.seq >= self.complete_after;
        let newest = self.checkpoints.iter().rev().filter(usable).find(is_before);
        match newest {
            Some(checkpoint) => Some(Start::Checkpoint(*checkpoint)),
            None if self.complete_after == 0 => Some(Start::Nothing),
            // Nothing of the old entries is gone but the oldest of them.
            None if self.complete_after <= self.untold_until => Some(Start::Unknown),
            None => None,
        }
    }

    /// The first moment that can be told exactly; `None` where that is the log's beginning.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        let first = self.checkpoints.iter().find(|checkpoint| checkpoint.seq >= self.complete_after);
        first.filter(|_| self.complete_after > 0).map(|checkpoint| checkpoint.at)
    }

    /// Whether the keeper should take a checkpoint now, at a position with this many sessions.
    /// A checkpoint costs about as much as the entries since the last one, so that all of them
    /// together are never more than the log; and with few entries one in six hours is enough.
    #[must_use]
    pub fn is_due(&self, seq: u64, sessions: u64, now: Timestamp) -> bool {
        let usable = |checkpoint: &&Checkpoint| checkpoint.seq >= self.complete_after;
        // Without one, what was before the oldest entry is not known once the first entries are forgotten.
        let Some(last) = self.checkpoints.last().filter(usable) else { return seq > 0 };
        let entries = seq.saturating_sub(last.seq);
        entries >= sessions.max(ENTRIES_MIN) || (entries > 0 && now.since(last.at).abs() >= OFTEN_MS)
    }
}

/// Entries of the log between two checkpoints, at least.
const ENTRIES_MIN: u64 = 5_000;
/// Where there are few entries, a checkpoint is taken this often.
const OFTEN_MS: i64 = 6 * 3_600_000;
