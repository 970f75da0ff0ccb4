//! Events: what the writer has decided, each with its position and the session after it.

use std::sync::Arc;

use serde::Serialize;

use super::actor::Actor;
use super::tombstone::Tombstone;
use crate::clock::Timestamp;
use crate::lock::Lock;
use crate::session::Session;

/// The kind of an event, as the audit log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A session was created.
    Registered,
    /// The status, task, visibility, tags, user, heartbeat interval, client or address changed, or the
    /// session got a new token.
    StatusChanged,
    /// A message was sent to it.
    MessageSent,
    /// The client has shown the message.
    MessageDelivered,
    /// It was silent for `stale_after`.
    Stale,
    /// It is alive again after it was stale.
    Recovered,
    /// A kill was requested.
    KillRequested,
    /// The client received the kill request.
    KillDelivered,
    /// The client has cleaned up.
    KillAcknowledged,
    /// It is no longer live.
    Removed,
    /// A rule began: it has warned the user, or told its targets.
    Warned,
    /// What a rule was about to do was called off.
    Stayed,
    /// Somebody logged in; it is about no session.
    LoggedIn,
    /// A lock was made or changed; it is about no session.
    Locked,
    /// A lock was lifted, or its end has come; it is about no session.
    Unlocked,
    /// The users of a lock were told that it begins soon; it is about no session.
    LockAnnounced,
    /// A socket opened or closed: dashboards show it, the log does not have it.
    Connection,
}

impl Kind {
    /// All kinds that the log has.
    pub const LOGGED: [Self; 16] = [
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
        Self::Warned,
        Self::Stayed,
        Self::LoggedIn,
        Self::Locked,
        Self::Unlocked,
        Self::LockAnnounced,
    ];

    /// The word in frames and in the log.
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
            Self::Warned => "warned",
            Self::Stayed => "stayed",
            Self::LoggedIn => "logged_in",
            Self::Locked => "locked",
            Self::Unlocked => "unlocked",
            Self::LockAnnounced => "lock_announced",
            Self::Connection => "connection",
        }
    }

    /// The kind that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::LOGGED.into_iter().chain([Self::Connection]).find(|kind| kind.as_str() == word)
    }

    /// Whether the log has it; then it has to be durable before it is applied.
    #[must_use]
    pub fn is_logged(self) -> bool {
        self != Self::Connection
    }

    /// Whether a log that is too large keeps it longer than others: who ended what.
    #[must_use]
    pub fn is_kept_longest(self) -> bool {
        matches!(
            self,
            Self::KillRequested
                | Self::KillDelivered
                | Self::KillAcknowledged
                | Self::Removed
                | Self::Locked
                | Self::Unlocked
        )
    }

    /// Whether the event carries a new version of its session.
    #[must_use]
    pub fn changes_session(self) -> bool {
        !matches!(self, Self::MessageSent | Self::MessageDelivered | Self::LoggedIn) && !self.changes_locks()
    }

    /// Whether its log entry tells all that clients report: status, task, visibility, input.
    #[must_use]
    pub fn tells_report(self) -> bool {
        matches!(self, Self::Registered | Self::StatusChanged | Self::Recovered)
    }

    /// Whether the event carries a new version of a lock, or removes one.
    #[must_use]
    pub fn changes_locks(self) -> bool {
        matches!(self, Self::Locked | Self::Unlocked | Self::LockAnnounced)
    }
}

/// A committed event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The position: one more than that of the event before it.
    pub seq: u64,
    /// The wall clock when it was decided.
    pub at: Timestamp,
    /// The kind.
    pub kind: Kind,
    /// The session after the event; for a removal, its last version.
    pub session: Arc<Session>,
    /// The session before the event, where the server that decided it still has it: the log tells
    /// what changed. A server that only follows has none, and does not need it.
    pub before: Option<Arc<Session>>,
    /// Who asked for it.
    pub actor: Actor,
    /// The reason that was given.
    pub reason: Option<Arc<str>>,
    /// Why the session is no longer live.
    pub cause: Option<Cause>,
    /// The message that was sent or shown; for `message_delivered` only its id is set.
    pub message: Option<Arc<Message>>,
    /// The lock after the event; for `unlocked`, its last version.
    pub lock: Option<Arc<Lock>>,
}

impl Event {
    /// The tombstone, if this event removes a killed session.
    #[must_use]
    pub fn tombstone(&self) -> Option<Tombstone> {
        let kill = self.session.kill.as_ref()?;
        (self.cause == Some(Cause::Killed)).then(|| Tombstone::of(kill, self.at, self.session.token))
    }
}

/// Why a session is no longer live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The client said that it ended.
    Ended,
    /// Somebody deleted it.
    Deleted,
    /// It ended after a kill request.
    Killed,
    /// It was silent for `expire_after`.
    Expired,
    /// A pinged job ended with exit status 0.
    Done,
    /// A pinged job ended with another exit status.
    Failed,
}

impl Cause {
    /// The word in frames and in the log.
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

/// A message to the user of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id in frames and in the log.
    pub message_id: Arc<str>,
    /// The text.
    pub text: Arc<str>,
    /// `info` or `warning`.
    pub level: &'static str,
    /// The sender.
    pub by: Option<Arc<str>>,
    /// For the warning of a rule: its name, and when it will end the session.
    pub warning: Option<(Arc<str>, Timestamp)>,
}
