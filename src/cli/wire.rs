//! The server's frames and answers, as far as the command line reads them. Unknown fields are skipped; missing
//! optional ones are none.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A position in the stream of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The server's run that `seq` counts in.
    pub epoch: String,
    /// The number of the last change.
    pub seq: u64,
}

/// A live session.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Session {
    /// The server's or the client's own id.
    pub session_id: String,
    /// The app's name.
    pub app_name: String,
    /// The user's id.
    #[serde(default)]
    pub user_id: Option<String>,
    /// When it registered.
    pub start_time: DateTime<Utc>,
    /// The time of the last heartbeat.
    pub last_heartbeat: DateTime<Utc>,
    /// The status that the client reported: `idle`, `running` or a word of its own.
    pub reported_status: String,
    /// The task that the client reported.
    #[serde(default)]
    pub current_task: Option<String>,
    /// When `current_task` began.
    #[serde(default)]
    pub task_started_at: Option<DateTime<Utc>>,
    /// Since when the status is what it is.
    #[serde(default)]
    pub status_since: Option<DateTime<Utc>>,
    /// Since when it is idle, none while it is not; absent in the answers of an older server.
    #[serde(default, deserialize_with = "told")]
    pub idle_since: Option<Option<DateTime<Utc>>>,
    /// A socket of its client is open.
    #[serde(default)]
    pub connected: bool,
    /// The name of the server that holds the socket.
    #[serde(default)]
    pub node: Option<String>,
    /// The client's address.
    #[serde(default)]
    pub remote_addr: Option<String>,
    /// No heartbeat for the server's `stale_after`.
    #[serde(default)]
    pub is_stale: bool,
    /// A kill was requested.
    #[serde(default)]
    pub kill_requested: bool,
    /// The page's visibility that the client reported: `visible`, `hidden`, `frozen` or `suspended`.
    #[serde(default)]
    pub visibility: Option<String>,
    /// The client's name and version.
    #[serde(default)]
    pub client: Option<String>,
    /// The client's own tags.
    #[serde(default)]
    pub meta: Map<String, Value>,
    /// The kill request, and its steps so far.
    #[serde(default)]
    pub kill: Option<Kill>,
}

/// A kill request; each time is none until it happens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Kill {
    /// The id of this request.
    pub kill_id: String,
    /// When it was requested.
    pub requested_at: DateTime<Utc>,
    /// Who asked.
    #[serde(default)]
    pub requested_by: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was delivered to the client.
    #[serde(default)]
    pub delivered_at: Option<DateTime<Utc>>,
    /// When the client acknowledged it, after its clean-up.
    #[serde(default)]
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// When it counts as unconfirmed without an acknowledgement.
    #[serde(default)]
    pub confirm_by: Option<DateTime<Utc>>,
}

/// The state of a session: the first of these that applies. The most urgent comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Asked to end, and `confirm_by` has passed without an acknowledgement.
    Unconfirmed,
    /// No heartbeat for too long.
    Stale,
    /// Asked to end.
    Ending,
    /// At work.
    Running,
    /// Idle, and its page is not visible.
    Hidden,
    /// Idle.
    Idle,
}

impl State {
    /// Every state, problems first.
    pub const ALL: [Self; 6] = [Self::Unconfirmed, Self::Stale, Self::Ending, Self::Running, Self::Hidden, Self::Idle];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unconfirmed => "unconfirmed",
            Self::Stale => "stale",
            Self::Ending => "ending",
            Self::Running => "running",
            Self::Hidden => "hidden",
            Self::Idle => "idle",
        }
    }

    /// The shape beside the word, for those who do not see the colour.
    #[must_use]
    pub fn shape(self) -> &'static str {
        match self {
            Self::Unconfirmed => "!",
            Self::Stale => "■",
            Self::Ending => "◌",
            Self::Running => "▶",
            Self::Hidden => "○",
            Self::Idle => "●",
        }
    }
}

impl Session {
    /// The state at `now` by the server's clock.
    #[must_use]
    pub fn state(&self, now: DateTime<Utc>) -> State {
        if self.kill_requested {
            let unconfirmed = self.kill.as_ref().is_some_and(|kill| kill.is_unconfirmed(now));
            if unconfirmed { State::Unconfirmed } else { State::Ending }
        } else if self.is_stale {
            State::Stale
        } else if self.reported_status != "idle" {
            State::Running
        } else if matches!(self.visibility.as_deref(), Some("hidden" | "frozen" | "suspended")) {
            State::Hidden
        } else {
            State::Idle
        }
    }
}

impl Kill {
    /// Whether the time for an acknowledgement has passed without one.
    #[must_use]
    pub fn is_unconfirmed(&self, now: DateTime<Utc>) -> bool {
        self.acknowledged_at.is_none() && self.confirm_by.is_some_and(|by| by < now)
    }
}

/// A removed session in a `changes` frame.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Removal {
    /// The session's id.
    pub session_id: String,
    /// `ended`, `deleted`, `killed`, `expired`, `done` or `failed`.
    #[serde(default)]
    pub cause: Option<String>,
    /// When.
    #[serde(default)]
    pub at: Option<DateTime<Utc>>,
    /// Who asked for it.
    #[serde(default)]
    pub by: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A frame of `/ws`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DashboardFrame {
    /// The first frame of a connection.
    Hello {
        /// The server's run that `seq` counts in.
        epoch: String,
        /// The number of the last change when it was sent.
        #[serde(default)]
        seq: u64,
        /// The server's clock.
        now: DateTime<Utc>,
    },
    /// All live sessions at `seq`, in several parts.
    Snapshot {
        /// The number of the last change in it.
        seq: u64,
        /// The number of this part, from 1.
        part: u32,
        /// How many parts there are.
        parts: u32,
        /// The sessions of this part.
        sessions: Vec<Value>,
    },
    /// The changes after `from` up to `seq`.
    Changes {
        /// The last change before these.
        from: u64,
        /// The last of these.
        seq: u64,
        /// When it was sent, by the server's clock.
        #[serde(default)]
        at: Option<DateTime<Utc>>,
        /// Sessions as they are now.
        #[serde(default)]
        upserted: Vec<Value>,
        /// Sessions that are gone.
        #[serde(default)]
        removed: Vec<Removal>,
    },
    /// The times of new heartbeats.
    Beats {
        /// When it was sent, by the server's clock.
        at: DateTime<Utc>,
        /// The time of the last heartbeat, by session id.
        beats: std::collections::HashMap<String, DateTime<Utc>>,
    },
    /// A frame of a type that we do not know.
    #[serde(other)]
    Unknown,
}

/// A frame of `/ws/client`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SessionFrame {
    /// The session is registered.
    Registered {
        /// The session's id.
        session_id: String,
        /// The token that proves it is ours.
        session_token: String,
        /// Seconds between beats.
        heartbeat_interval: f64,
    },
    /// A kill was requested.
    Kill {
        /// The session, on a shared socket.
        #[serde(default)]
        session_id: Option<String>,
        /// The request's id, for the acknowledgement.
        kill_id: String,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
        /// Who asked.
        #[serde(default)]
        by: Option<String>,
    },
    /// A message for the user.
    Message {
        /// The session, on a shared socket.
        #[serde(default)]
        session_id: Option<String>,
        /// The message's id, for the acknowledgement.
        message_id: String,
        /// The message's text.
        text: String,
    },
    /// A frame of ours was refused.
    Error {
        /// The session, on a shared socket.
        #[serde(default)]
        session_id: Option<String>,
        /// The HTTP status that this error would have.
        status: u16,
        /// What to do about it.
        detail: String,
        /// Seconds until the lock that keeps the session out ends, or is worth another look.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// A frame of a type that we do not know.
    #[serde(other)]
    Unknown,
}

/// One page of the event log. The events stay JSON, since their fields depend on their kind.
#[derive(Debug, Clone, Deserialize)]
pub struct EventPage {
    /// Newest first.
    pub events: Vec<Value>,
    /// What `before` takes for the page after this one.
    #[serde(default)]
    pub next: Option<u64>,
}
/// Reads a field so that absent differs from null.
fn told<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<DateTime<Utc>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
