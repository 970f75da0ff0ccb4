//! Where sessions are kept. One trait, whose comments are its guarantees, and one
//! contract suite (`tests/contract`) that every implementation passes.
//!
//! Store and order are one trait on purpose: with a separate bus one could publish
//! what is not committed. The writer takes a turn: it begins at the position that it has
//! applied, gets the events that other servers have committed behind it, applies them,
//! decides, and commits. While it holds the turn nobody else commits, so it never decides
//! on an old state. A store of one server has nothing to hand over and nobody to wait for.

pub mod memory;
pub mod postgres;
pub mod sqlite;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::change::{Event, Tombstone};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::log::{Entry, Query};
use crate::session::{Node, Session, SessionId};
use crate::stats::Minute;

/// What a store remembers from before.
#[derive(Default)]
pub struct Stored {
    /// The lineage that `seq` counts in. A store whose order survives a restart without a gap
    /// keeps it; another one makes a new one at each start, since a number may come again.
    pub epoch: Arc<str>,
    /// The place of the last event in the order.
    pub seq: u64,
    /// The live sessions. Connected are those with a socket on another server.
    pub sessions: Vec<Session>,
    /// The killed ids.
    pub tombstones: Vec<(SessionId, Tombstone)>,
    /// The counts of the last 24 hours, oldest first.
    pub minutes: Vec<Minute>,
    /// When servers started on this store in the last 24 hours, oldest first.
    pub starts: Vec<Timestamp>,
}

/// An epoch for a store whose order does not survive a restart without a gap: what is not in
/// the log (a socket that opens) takes a number too, which is not written down.
pub(crate) fn fresh_epoch() -> Arc<str> {
    uuid::Uuid::new_v4().to_string().into()
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

/// The right to write next. Others wait until it commits or is dropped.
pub trait Turn: Send {
    /// The events that other servers have committed since the position at which the turn
    /// begins, in order and without a gap; empty from the second call on. They are applied
    /// before anything is decided.
    fn missed(&mut self) -> Vec<Event>;

    /// Whether this server is the keeper for as long as it holds the turn.
    fn is_keeper(&self) -> bool {
        true
    }

    /// Takes all of these events or none, in their order, each that is logged with its line
    /// in the log, the session's new version (or its removal) and its tombstone, in one
    /// transaction. Their `seq` follow those of [`Turn::missed`].
    ///
    /// When this returns `Ok`, the events survive the death of the process and, for a
    /// store on disk, the loss of power. When it returns an error nothing of them is
    /// there, now or after a restart, and the same events may be committed later.
    fn commit<'a>(self: Box<Self>, events: Arc<Vec<Event>>) -> BoxFuture<'a, Result<()>>
    where
        Self: 'a;
}

/// A place where sessions are kept.
pub trait Backend: Send + Sync + 'static {
    /// The number of this server among those that share the store, for as long as it runs.
    fn node(&self) -> Node {
        0
    }

    /// Whether this server is the one that finds what is stale, expires it, and forgets what
    /// is old: exactly one of those that share the store.
    fn is_keeper(&self) -> bool {
        true
    }

    /// The servers that have gone since the keeper asked last, or became the keeper: their
    /// sockets have closed. A store of one server has none to tell.
    fn gone(&self) -> Vec<Node> {
        Vec::new()
    }

    /// The right to write next, for a server that has applied everything up to `position`.
    ///
    /// # Errors
    /// The store cannot be written now.
    fn begin(&self, position: u64) -> BoxFuture<'_, Result<Box<dyn Turn + '_>>>;

    /// Waits until other servers have committed events behind `position`, and tells those, in
    /// order and without a gap. Nothing is lost when this is dropped while it waits. A store
    /// of one server waits for ever.
    ///
    /// # Errors
    /// The order cannot be followed any more, since it is not the one that this server knows:
    /// the server has to start anew.
    fn follow(&self, position: u64) -> BoxFuture<'_, Result<Vec<Event>>> {
        let _ = position;
        futures_util::future::pending().boxed()
    }

    /// Tells the other servers which sessions have beaten here, and takes what they tell. Called
    /// once a second.
    ///
    /// # Errors
    /// The others cannot be reached: until they can, their sessions' silence tells nothing.
    fn exchange<'a>(&'a self, moved: &'a [Arc<Session>]) -> BoxFuture<'a, Result<Vec<(SessionId, Timestamp)>>> {
        let _ = moved;
        futures_util::future::ready(Ok(Vec::new())).boxed()
    }

    /// All that was committed, as the last commit left it, with the counts of the last minute
    /// mended out of the log. Times are wall-clock times; the caller decides what is stale.
    /// Notes that a server started `now`.
    fn load(&self, now: Timestamp) -> BoxFuture<'_, Result<Stored>>;

    /// One live session as the last commit left it. May be asked while `load` is under
    /// way, and does not wait for it.
    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>>>;

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
