//! What is asked for (`Change`), and what has happened (`Event`, committed, with its
//! place in the order). An event carries the session as it is afterwards, so that
//! applying it means putting that version in place: no reader computes anything.

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::scope::Scope;
use crate::session::{Digest, Kill, Session, SessionId, SocketId, Status, Visibility};
use crate::timing::Timing;

/// Who asks, and from where, for the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// A token's name, what the caller said of themselves, or `local`.
    pub by: Option<Arc<str>>,
    /// The address of who asked.
    pub from: Option<Arc<str>>,
    /// Whose sessions they may act on: the writer judges it against each session.
    pub scope: Scope,
}

/// What shows that somebody may act for a session that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The digest of the token that came with the request.
    Token(Digest),
    /// No token, but a plain client on this machine, or an administrator.
    Trusted,
    /// Neither.
    Missing,
}

/// What lets a change act on one session. The writer judges it against the session as it
/// is at that moment, so it holds whatever came in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The change came over this socket, which has to be the session's socket.
    Socket(SocketId),
    /// What the caller of an HTTP route has shown.
    Proof(Proof),
    /// The server itself acts.
    Server,
}

impl Authority {
    /// Whether a change may act on this version of a session.
    #[must_use]
    pub fn holds_for(&self, session: &Session) -> bool {
        match self {
            Self::Socket(socket) => session.socket == Some(*socket),
            Self::Proof(Proof::Token(digest)) => session.owned_by(digest),
            Self::Proof(Proof::Trusted) | Self::Server => true,
            Self::Proof(Proof::Missing) => false,
        }
    }
}

/// A session that registers, all fields checked.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The client's own id, or a fresh one.
    pub id: SessionId,
    /// The app that it belongs to.
    pub app: Arc<str>,
    /// Who uses it.
    pub user: Option<Arc<str>>,
    /// The client's tags.
    pub meta: Option<Arc<str>>,
    /// Seconds between heartbeats.
    pub heartbeat_interval: f64,
    /// What it does; `None` leaves a resumed session as it is.
    pub status: Option<Status>,
    /// What it works on.
    pub task: Option<Arc<str>>,
    /// Whether somebody sees it.
    pub visibility: Option<Visibility>,
    /// The client's name and version.
    pub client: Option<Arc<str>>,
    /// Where it came from.
    pub remote_addr: Option<Arc<str>>,
    /// Why it may resume a session that is already there.
    pub proof: Proof,
    /// Digest of the token that it gets where it has none yet.
    pub fresh_token: Digest,
    /// The name of the token that it registers with.
    pub registered_by: Option<Arc<str>>,
    /// The apps that whoever registers it is limited to.
    pub scope: Scope,
    /// The socket on which it registered, if it did so on one.
    pub socket: Option<SocketId>,
}

/// What a client says of itself; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What it does.
    pub status: Option<Status>,
    /// What it works on; `Some(None)` for nothing. Absent, a task ends with its status.
    pub task: Option<Option<Arc<str>>>,
    /// Whether somebody sees it.
    pub visibility: Option<Visibility>,
    /// Its tags; `Some(None)` for none.
    pub meta: Option<Option<Arc<str>>>,
}

impl Report {
    /// Takes a later report into this one, so that the result is what both would leave, one
    /// after the other. `reported` is the status before either.
    pub fn merge(&mut self, later: Self, reported: &Status) {
        if let Some(status) = later.status {
            let before = self.status.as_ref().unwrap_or(reported);
            if later.task.is_none() && *before != status {
                // A task ends with its status.
                self.task = Some(None);
            }
            self.status = Some(status);
        }
        if later.task.is_some() {
            self.task = later.task;
        }
        if later.visibility.is_some() {
            self.visibility = later.visibility;
        }
        if later.meta.is_some() {
            self.meta = later.meta;
        }
    }
}

/// Whom a kill or a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One session.
    Session(SessionId),
    /// Every live session of an app.
    App(Arc<str>),
}

/// A note to the user of a session that ends nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Names it in frames and the log.
    pub message_id: Arc<str>,
    /// What it says.
    pub text: Arc<str>,
    /// `info` or `warning`.
    pub level: &'static str,
    /// Who says it.
    pub by: Option<Arc<str>>,
}

/// Why a session is no longer live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The client said that it ended.
    Ended,
    /// Somebody deleted it.
    Deleted,
    /// An administrator ended it.
    Killed,
    /// It was silent for `expire_after`.
    Expired,
    /// A pinged job ended with exit status 0.
    Done,
    /// A pinged job ended with another exit status.
    Failed,
}

impl Cause {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Deleted => "deleted",
            Self::Killed => "killed",
            Self::Expired => "expired",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The cause that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Ended, Self::Deleted, Self::Killed, Self::Expired, Self::Done, Self::Failed]
            .into_iter()
            .find(|cause| cause.as_str() == word)
    }
}

/// What is asked of the monitor's one writer.
#[derive(Clone, Debug)]
pub enum Change {
    /// Make a session, or resume it.
    Register(Box<Registration>),
    /// Take what a client says of itself.
    Report(SessionId, Report, Authority),
    /// A socket has closed; counts only while it is the session's newest.
    Disconnect(SessionId, SocketId),
    /// Ask sessions to end.
    Kill {
        /// Whom.
        target: Target,
        /// Names the kill, where this is the first one; for an app, of the first session.
        kill_id: Arc<str>,
        /// Why.
        reason: Option<Arc<str>>,
        /// Who asks.
        actor: Actor,
    },
    /// The client was told.
    KillDelivered(SessionId, Arc<str>, Authority),
    /// The client has cleaned up.
    KillAcknowledged(SessionId, Arc<str>, Authority),
    /// Take a session off the live view. A session that was asked to end is removed
    /// as killed, whatever the cause given here.
    Remove {
        /// Which.
        id: SessionId,
        /// Why.
        cause: Cause,
        /// Who asks.
        actor: Actor,
        /// Why they may.
        authority: Authority,
    },
    /// Remove what has been silent since before this moment.
    RemoveSilent {
        /// The last moment at which a heartbeat saves a session.
        before: Timestamp,
        /// Who asks.
        actor: Actor,
    },
    /// Its deadline passed; counts only if it is still silent.
    GoStale(SessionId),
    /// It beat again.
    Recover(SessionId),
    /// Its last deadline passed; counts only if it is still silent.
    Expire(SessionId),
    /// Send a note.
    Send {
        /// To whom.
        target: Target,
        /// What.
        message: Arc<Message>,
        /// Who asks.
        actor: Actor,
    },
    /// Somebody has logged in, which the log keeps.
    LoggedIn(Actor),
    /// Changes nothing: asks whether the writer answers.
    Probe,
    /// A client has shown a note.
    MessageDelivered(SessionId, Arc<str>, Authority),
}

/// What happened, in the log's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A session was made.
    Registered,
    /// Its status, task, visibility or tags are others.
    StatusChanged,
    /// A note was sent to it.
    MessageSent,
    /// It has shown the note.
    MessageDelivered,
    /// It is silent for too long.
    Stale,
    /// It is alive again.
    Recovered,
    /// It was asked to end.
    KillRequested,
    /// It was told so.
    KillDelivered,
    /// It has cleaned up.
    KillAcknowledged,
    /// It is no longer live.
    Removed,
    /// Somebody logged in; of no session.
    LoggedIn,
    /// A socket opened or closed: seen on dashboards, not in the log.
    Connection,
}

impl Kind {
    /// All kinds that stand in the log.
    pub const LOGGED: [Self; 11] = [
        Self::Registered,
        Self::StatusChanged,
        Self::MessageSent,
        Self::MessageDelivered,
        Self::Stale,
        Self::Recovered,
        Self::KillRequested,
        Self::KillDelivered,
        Self::KillAcknowledged,
        Self::Removed,
        Self::LoggedIn,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::StatusChanged => "status_changed",
            Self::MessageSent => "message_sent",
            Self::MessageDelivered => "message_delivered",
            Self::Stale => "stale",
            Self::Recovered => "recovered",
            Self::KillRequested => "kill_requested",
            Self::KillDelivered => "kill_delivered",
            Self::KillAcknowledged => "kill_acknowledged",
            Self::Removed => "removed",
            Self::LoggedIn => "logged_in",
            Self::Connection => "connection",
        }
    }

    /// The kind that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::LOGGED.into_iter().chain([Self::Connection]).find(|kind| kind.as_str() == word)
    }

    /// Whether it stands in the log, and so has to be durable before it is applied.
    #[must_use]
    pub fn is_logged(self) -> bool {
        self != Self::Connection
    }

    /// Whether the log keeps it longer than others when it is too large: who ended what.
    #[must_use]
    pub fn is_kept_longest(self) -> bool {
        matches!(self, Self::KillRequested | Self::KillDelivered | Self::KillAcknowledged | Self::Removed)
    }

    /// Whether the session is another one afterwards.
    #[must_use]
    pub fn changes_session(self) -> bool {
        !matches!(self, Self::MessageSent | Self::MessageDelivered | Self::LoggedIn)
    }
}

/// One thing that happened, at its place in the order.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its place: one more than that of the event before it.
    pub seq: u64,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// What.
    pub kind: Kind,
    /// The session as it is afterwards; for a removal, as it was last.
    pub session: Arc<Session>,
    /// Who asked for it.
    pub actor: Actor,
    /// Why, in somebody's words.
    pub reason: Option<Arc<str>>,
    /// Why it is no longer live.
    pub cause: Option<Cause>,
    /// The note that was sent or shown; for `message_delivered` only its id counts.
    pub message: Option<Arc<Message>>,
}

/// A killed id, which answers 410 until it is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// When it was removed.
    pub at: Timestamp,
    /// The kill that ended it.
    pub kill_id: Arc<str>,
    /// Who asked for the kill.
    pub by: Arc<str>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// Digest of the session's token, so that its owner is still known.
    pub token: Option<Digest>,
}

impl Tombstone {
    /// What a kill leaves of a session with this token.
    #[must_use]
    pub fn of(kill: &Kill, at: Timestamp, token: Option<Digest>) -> Self {
        Self { at, kill_id: kill.kill_id.clone(), by: kill.requested_by.clone(), reason: kill.reason.clone(), token }
    }

    /// What everybody who asks for this id is told, or `None` once it may be forgotten.
    #[must_use]
    pub fn gone(&self, id: &str, timing: &Timing, now: Timestamp) -> Option<Error> {
        let until = self.at.plus(timing.tombstone_ttl);
        (now < until).then(|| Error::Gone {
            id: id.to_owned(),
            reason: self.reason.as_deref().map(str::to_owned),
            kill_id: self.kill_id.to_string(),
            by: Some(self.by.to_string()),
            until,
        })
    }
}

impl Event {
    /// The tombstone that this event leaves, if it is the removal of a killed session.
    #[must_use]
    pub fn tombstone(&self) -> Option<Tombstone> {
        let kill = self.session.kill.as_ref()?;
        (self.cause == Some(Cause::Killed)).then(|| Tombstone::of(kill, self.at, self.session.token))
    }
}
