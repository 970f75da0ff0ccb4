//! Changes, which callers ask the writer for, and events, which the writer has decided and
//! committed. An event carries the whole session after it, so applying it means to put that
//! version in place: no reader computes anything.

mod actor;
mod event;
mod judging;
mod locking;
mod report;
mod target;
mod tombstone;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::session::{SessionId, SocketId};
pub use actor::{Actor, Authority, Proof};
pub use event::{Cause, Event, Kind, Message};
pub use judging::Judging;
pub use locking::{LockFor, NewLock};
pub use report::{Registration, Report};
pub use target::{Matching, Target};
pub use tombstone::Tombstone;

/// A change that the writer is asked for.
#[derive(Clone, Debug)]
pub enum Change {
    /// Create a session, or resume it.
    Register(Box<Registration>),
    /// Apply a client's report.
    Report(SessionId, Report, Authority),
    /// A socket has closed; ignored if the session has a newer one.
    Disconnect(SessionId, SocketId),
    /// Request the end of sessions.
    Kill {
        /// Which sessions.
        target: Target,
        /// The id of the kill, unless the session already has one; for an app, the first session's.
        kill_id: Arc<str>,
        /// Why.
        reason: Option<Arc<str>>,
        /// For how long its users cannot register again.
        lock_for: Option<LockFor>,
        /// Who asks for it.
        actor: Actor,
    },
    /// Make a lock, or change the one on the same users with the same start.
    Lock {
        /// The lock; its time and who made it are those of the change.
        lock: Box<NewLock>,
        /// Who asks for it.
        actor: Actor,
    },
    /// Lift a lock.
    Unlock(Arc<str>, Actor),
    /// Forget a lock; ignored if its end has not come.
    EndLock(Arc<str>),
    /// Tell the users of a lock that it begins soon; ignored if it is too early, or was done.
    AnnounceLock(Arc<str>),
    /// The client received the kill request.
    KillDelivered(SessionId, Arc<str>, Authority),
    /// The client has cleaned up.
    KillAcknowledged(SessionId, Arc<str>, Authority),
    /// Remove a session. A session with a kill request is removed as killed, whatever `cause` says.
    Remove {
        /// The session.
        id: SessionId,
        /// Why.
        cause: Cause,
        /// Who asks for it.
        actor: Actor,
        /// What allows it.
        authority: Authority,
    },
    /// Remove all sessions without a socket that have been silent since before a moment.
    RemoveSilent {
        /// Sessions whose last heartbeat is older than this are removed.
        before: Timestamp,
        /// Who asks for it.
        actor: Actor,
    },
    /// Mark a session as stale; ignored if it is not silent for `stale_after`.
    GoStale(SessionId),
    /// Mark a stale session as alive.
    Recover(SessionId),
    /// Remove a session; ignored if it is not silent for `expire_after`.
    Expire(SessionId),
    /// Send a message.
    Send {
        /// Which sessions.
        target: Target,
        /// The message.
        message: Arc<Message>,
        /// Who asks for it.
        actor: Actor,
    },
    /// Let a rule act on a session, if it still has reason to.
    Judge(SessionId, Arc<Judging>),
    /// Call off what rules are about to do with a session.
    Stay {
        /// The session.
        id: SessionId,
        /// Who asks for it.
        actor: Actor,
        /// What allows it.
        authority: Authority,
    },
    /// Somebody has logged in; the log keeps it.
    LoggedIn(Actor),
    /// Changes nothing; shows whether the writer answers.
    Probe,
    /// A client has shown a message.
    MessageDelivered(SessionId, Arc<str>, Authority),
}
