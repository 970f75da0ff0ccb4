//! Where sessions are kept. One trait, whose comments are its guarantees, and one
//! contract suite (`tests/contract`) that every implementation passes.
//!
//! Store and order are one trait on purpose: with a separate bus one could publish
//! what is not committed. The writer decides on what it has applied, then asks for
//! one commit; an engine that several servers share would refuse a commit that does
//! not begin at its own last position, hand over what it has instead, and the writer
//! would decide again.

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

/// What a store remembers from before.
#[derive(Default)]
pub struct Stored {
    /// The place of the last event in the log.
    pub seq: u64,
    /// The live sessions, none of them connected.
    pub sessions: Vec<Session>,
    /// The killed ids.
    pub tombstones: Vec<(SessionId, Tombstone)>,
    /// The counts of the last 24 hours, oldest first.
    pub minutes: Vec<Minute>,
    /// When servers started on this store in the last 24 hours, oldest first.
    pub starts: Vec<Timestamp>,
}

/// What is worth keeping.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Log lines and counts from this time on.
    pub events: Timestamp,
    /// Tombstones from this time on.
    pub tombstones: Timestamp,
    /// At most so many bytes of the log: the oldest lines go first, those of kills and
    /// removals last.
    pub log_bytes: u64,
}

/// A place where sessions are kept.
pub trait Backend: Send + Sync + 'static {
    /// All that was committed, as the last commit left it, with the counts of the last minute
    /// mended out of the log. Times are wall-clock times; who is late is the caller's to
    /// judge. Notes that a server started `now`.
    fn load(&self, now: Timestamp) -> BoxFuture<'_, Result<Stored>>;

    /// One live session as the last commit left it. May be asked while `load` is under
    /// way, and does not wait for it.
    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>>>;

    /// Takes all of these events or none, in their order, each with its line in the
    /// log, the session's new version (or its removal) and its tombstone, in one
    /// transaction.
    ///
    /// When this returns `Ok`, the events survive the death of the process and, for a
    /// store on disk, the loss of power. When it returns an error nothing of them is
    /// there, now or after a restart, and the same events may be committed later.
    /// Their `seq` are greater than all that were committed before.
    fn commit(&self, events: Arc<Vec<Event>>) -> BoxFuture<'_, Result<()>>;

    /// Takes heartbeats that moved. Not ordered with commits; a session that is not
    /// there is passed over; an older beat may overwrite a newer one that is lost in a
    /// crash, by at most the flush interval.
    fn beats(&self, beats: Vec<(SessionId, Timestamp)>) -> BoxFuture<'_, Result<()>>;

    /// Takes the counts of a minute, in the place of what it had for that minute.
    fn minute(&self, minute: Minute) -> BoxFuture<'_, Result<()>>;

    /// The log. Sees every commit that returned before the call. Waits neither for a
    /// commit under way nor does one wait for it.
    fn events(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>>>;

    /// Forgets what `keep` does not keep, a bounded number at a time; returns whether more is
    /// left to forget. The newest line of the log stays.
    fn forget(&self, keep: Keep) -> BoxFuture<'_, Result<bool>>;

    /// Leaves the store so that the next start finds nothing to repair.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}
