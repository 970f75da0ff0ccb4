//! The store of the sessions and of the log: one trait, whose comments are its guarantees,
//! and one contract suite (`tests/it/contract.rs`) that every implementation passes.
//!
//! The store also fixes the order of events. There is no separate message bus: with one, an
//! event could be published that is not committed. The writer decides against the state that
//! it has applied, then requests one commit. A store shared by several servers would refuse
//! a commit that does not continue its own last position, and return the events that the
//! writer has not seen; the writer would apply these and decide again.

pub mod memory;
pub mod sqlite;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::change::{Event, Tombstone};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::log::{Entry, Query};
use crate::session::{Session, SessionId};
use crate::stats::Minute;

/// What a start loads from the store.
#[derive(Default)]
pub struct Stored {
    /// The position of the last event.
    pub seq: u64,
    /// The live sessions; none of them is connected.
    pub sessions: Vec<Session>,
    /// The tombstones of killed sessions.
    pub tombstones: Vec<(SessionId, Tombstone)>,
    /// The counts of the last 24 hours, oldest first.
    pub minutes: Vec<Minute>,
    /// When servers started on this store in the last 24 hours, oldest first.
    pub starts: Vec<Timestamp>,
}

/// The limits of what the store keeps; the rest is deleted.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Log entries and counts since this time.
    pub events: Timestamp,
    /// Tombstones since this time.
    pub tombstones: Timestamp,
    /// Largest size of the log, in bytes. The oldest entries are deleted first, those of kills
    /// and removals last.
    pub log_bytes: u64,
}

/// A store of sessions.
pub trait Backend: Send + Sync + 'static {
    /// Loads the state as of the last commit, and records that a server started at `now`. The
    /// counts of the last minute are corrected from the log. Times are wall-clock times; the
    /// caller decides what is stale.
    fn load(&self, now: Timestamp) -> BoxFuture<'_, Result<Stored>>;

    /// Reads one live session as of the last commit. May be called while `load` runs, and
    /// does not wait for it.
    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>>>;

    /// Commits all of these events or none, in their order, in one transaction: for each
    /// event its log entry, the session's new version or its removal, and its tombstone.
    ///
    /// After `Ok` the events survive a crash of the process and, for a store on disk, a loss
    /// of power. After an error none of them is stored, now or after a restart, and the
    /// same events may be committed later. The caller guarantees that their `seq` are greater
    /// than all that were committed before.
    fn commit(&self, events: Arc<Vec<Event>>) -> BoxFuture<'_, Result<()>>;

    /// Stores the last heartbeats of these sessions. They have no order with commits, and
    /// unknown sessions are ignored. After a crash a heartbeat may be older than the last one
    /// by up to the flush interval.
    fn beats(&self, beats: Vec<(SessionId, Timestamp)>) -> BoxFuture<'_, Result<()>>;

    /// Stores the counts of a minute; replaces earlier counts of the same minute.
    fn minute(&self, minute: Minute) -> BoxFuture<'_, Result<()>>;

    /// Reads the log. It sees every commit that returned before the call. It does not wait
    /// for a running commit, and no commit waits for it.
    fn events(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>>>;

    /// Deletes what is outside `keep`, a bounded number of rows per call; returns whether
    /// there is more to delete. The newest entry of the log always stays.
    fn forget(&self, keep: Keep) -> BoxFuture<'_, Result<bool>>;

    /// Closes the store cleanly: the next start has nothing to recover.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}
