//! The store of the sessions and of the log: one trait, whose comments are its guarantees,
//! and one contract suite (`tests/it/contract.rs`) that every implementation passes.
//!
//! The store also fixes the order of events. There is no separate message bus: with one, an
//! event could be published that is not committed. The writer takes a turn: it begins at the
//! position that it has applied, gets the events that other servers have committed behind it,
//! applies them, decides, and commits. While it holds the turn no other server commits, so it
//! never decides against an old state. A store of one server has no events to hand over.

pub mod memory;
mod outbox;
mod past;
pub mod postgres;
pub mod sqlite;

use std::collections::HashMap;
use std::sync::Arc;

pub use outbox::{AlertQuery, Outbox};
pub use past::Past;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::alerts::Raised;
use crate::change::{Event, Tombstone};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::lock::Lock;
use crate::log::{Entry, Query};
use crate::nodes::{Load, Names, Server};
use crate::session::{Node, Session, SessionId};
use crate::stats::Minute;
use crate::tokens::Tokens;

/// What a start loads from the store.
#[derive(Default)]
pub struct Stored {
    /// The epoch that `seq` counts in. A store whose order survives a restart without a gap keeps
    /// it; another store makes a new one at each start, since a number may be used twice.
    pub epoch: Arc<str>,
    /// The position of the last event.
    pub seq: u64,
    /// The live sessions. Connected are only those with a socket on another server.
    pub sessions: Vec<Session>,
    /// The tombstones of killed sessions.
    pub tombstones: Vec<(SessionId, Tombstone)>,
    /// The locks.
    pub locks: Vec<Lock>,
    /// The counts of the last 24 hours, oldest first.
    pub minutes: Vec<Minute>,
    /// When servers started on this store in the last 24 hours, oldest first.
    pub starts: Vec<Timestamp>,
}

/// An epoch for a store whose order does not survive a restart without a gap: events that the log
/// does not have (a socket opens) take a number too, which is not stored.
pub(crate) fn fresh_epoch() -> Arc<str> {
    uuid::Uuid::new_v4().to_string().into()
}

/// A count as a database stores it.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count that a database has stored.
fn restored(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The last of these events for each session that they change.
fn last_versions<'a>(events: impl Iterator<Item = &'a Event>) -> impl Iterator<Item = &'a Event> {
    let mut last: HashMap<&SessionId, &Event> = HashMap::new();
    last.extend(events.filter(|event| event.kind.changes_session()).map(|event| (&event.session.id, event)));
    last.into_values()
}

/// The last of these events for each lock that they change.
fn last_locks<'a>(events: impl Iterator<Item = &'a Event>) -> impl Iterator<Item = (&'a Event, &'a Lock)> {
    let mut last: HashMap<&str, (&Event, &Lock)> = HashMap::new();
    let changed = events.filter(|event| event.kind.changes_locks());
    last.extend(changed.filter_map(|event| event.lock.as_deref().map(|lock| (&*lock.lock_id, (event, lock)))));
    last.into_values()
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

/// The right to write next. Other servers wait until it commits or is dropped.
pub trait Turn: Send {
    /// The events that other servers have committed since the position at which the turn
    /// begins, in order and without a gap; empty from the second call on. They are applied
    /// before anything is decided.
    fn missed(&mut self) -> Vec<Event>;

    /// Whether this server is the keeper while it holds the turn.
    fn is_keeper(&self) -> bool {
        true
    }

    /// Adds rows for the keeper's book of alerts to what this turn commits: they are stored if
    /// and only if its events are. A turn may commit such rows without an event.
    fn raise(&mut self, raised: Vec<Raised>);

    /// Commits all of these events or none, in their order, in one transaction: for each
    /// event its log entry, the session's new version or its removal, its tombstone, and the lock's
    /// new version or its removal. Their
    /// `seq` follow those of [`Turn::missed`].
    ///
    /// After `Ok` the events survive a crash of the process and, for a store on disk, a loss
    /// of power. After an error none of them is stored, now or after a restart, and the
    /// same events may be committed later; only [`Error::Unknown`](crate::error::Error::Unknown)
    /// leaves it open, and then the next turn hands over what was stored.
    fn commit<'a>(self: Box<Self>, events: Arc<Vec<Event>>) -> BoxFuture<'a, Result<()>>
    where
        Self: 'a;
}

/// A store of sessions.
pub trait Backend: Send + Sync + 'static {
    /// The number of this server among those that share the store, for as long as it runs.
    fn node(&self) -> Node {
        0
    }

    /// Whether this server is the keeper: the one of those that share the store that marks
    /// sessions as stale, expires them, and deletes what is old.
    fn is_keeper(&self) -> bool {
        true
    }

    /// The servers that have gone since the keeper called this last, or became the keeper:
    /// their sockets are closed.
    fn gone(&self) -> Vec<Node> {
        Vec::new()
    }

    /// Why the state that this server has loaded is no longer the store's; it has to load anew.
    fn lost(&self) -> Option<String> {
        None
    }

    /// Takes what this server tells the others of itself. Called once a second.
    fn tell(&self, load: Load) {
        let _ = load;
    }

    /// The servers that share the store, as they told last: from memory. `own` is this server as
    /// it is now.
    fn servers(&self, own: Server) -> Vec<Server> {
        vec![own]
    }

    /// The names of the servers that share the store; in a store of one server there are none.
    fn names(&self) -> Arc<Names> {
        Arc::default()
    }

    /// The tokens that all servers of the store share; `None` where the server has a file of
    /// its own.
    ///
    /// # Errors
    /// A sentence: they cannot be read.
    fn tokens(&self) -> BoxFuture<'_, std::result::Result<Option<Tokens>, String>> {
        futures_util::future::ready(Ok(None)).boxed()
    }

    /// The part of the store that keeps alerts.
    fn outbox(&self) -> &dyn Outbox;

    /// The part of the store that keeps what the past is rebuilt from.
    fn past(&self) -> &dyn Past;

    /// Begins a turn of a server that has applied everything up to `position`.
    ///
    /// # Errors
    /// The store cannot be written now.
    fn begin(&self, position: u64) -> BoxFuture<'_, Result<Box<dyn Turn + '_>>>;

    /// Waits until other servers have committed events behind `position`, and returns these, in
    /// order and without a gap. Nothing is lost when the future is dropped. In a store of one
    /// server it never returns.
    ///
    /// # Errors
    /// The order is not the one that this server knows: see [`Backend::lost`].
    fn follow(&self, position: u64) -> BoxFuture<'_, Result<Vec<Event>>> {
        let _ = position;
        futures_util::future::pending().boxed()
    }

    /// Sends the other servers the heartbeats of these sessions, and returns those that they
    /// have sent. Called once a second.
    ///
    /// # Errors
    /// The other servers cannot be reached: until they can, the silence of their sessions
    /// means nothing.
    fn exchange<'a>(&'a self, moved: &'a [Arc<Session>]) -> BoxFuture<'a, Result<Vec<(SessionId, Timestamp)>>> {
        let _ = moved;
        futures_util::future::ready(Ok(Vec::new())).boxed()
    }

    /// Loads the state as of the last commit, and records that a server started at `now`. The
    /// counts of the last minute are corrected from the log. Times are wall-clock times; the
    /// caller decides what is stale.
    fn load(&self, now: Timestamp) -> BoxFuture<'_, Result<Stored>>;

    /// Reads one live session as of the last commit. May be called while `load` runs, and
    /// does not wait for it.
    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>>>;

    /// Stores the last heartbeats of these sessions. They have no order with commits, and
    /// unknown sessions are ignored. After a crash a heartbeat may be older than the last one
    /// by up to the flush interval.
    fn beats(&self, beats: Vec<(SessionId, Timestamp)>) -> BoxFuture<'_, Result<()>>;

    /// Stores the counts of a minute; replaces earlier counts of the same minute.
    fn minute(&self, minute: Minute) -> BoxFuture<'_, Result<()>>;

    /// Reads the counts since a time, gathered in steps of `step` ms, oldest first: of a step's sessions the mean, of
    /// what ended and of kills the sum.
    fn minutes(&self, since: Timestamp, step: i64) -> BoxFuture<'_, Result<Vec<Minute>>>;

    /// Reads the log. It sees every commit that returned before the call. It does not wait
    /// for a running commit, and no commit waits for it.
    fn events(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>>>;

    /// Deletes what is outside `keep`, a bounded number of rows per call; returns whether
    /// there is more to delete. The newest entry of the log always stays. A checkpoint goes when
    /// entries behind it have gone, and the oldest ones when all together take more than half of
    /// `log_bytes`; the newest one stays.
    fn forget(&self, keep: Keep) -> BoxFuture<'_, Result<bool>>;

    /// Closes the store cleanly: the next start has nothing to recover.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}
