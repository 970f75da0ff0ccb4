//! The contract as a client reads it: unknown fields are skipped, missing optional ones are none.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The point in the stream of changes that a view has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which history `seq` counts in.
    pub epoch: String,
    /// The last change that was seen.
    pub seq: u64,
}

/// One live session, as far as the terminal shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Session {
    /// The server's or the client's own id.
    pub session_id: String,
    /// Which app it belongs to.
    pub app_name: String,
    /// Who uses it.
    #[serde(default)]
    pub user_id: Option<String>,
    /// When it registered.
    pub start_time: DateTime<Utc>,
    /// The last sign of life.
    pub last_heartbeat: DateTime<Utc>,
    /// What the client said last: `idle`, `running` or its own word.
    pub reported_status: String,
    /// What it is doing.
    #[serde(default)]
    pub current_task: Option<String>,
    /// When `current_task` began.
    #[serde(default)]
    pub task_started_at: Option<DateTime<Utc>>,
    /// No sign of life for the server's `stale_after`.
    #[serde(default)]
    pub is_stale: bool,
    /// Somebody asked it to end.
    #[serde(default)]
    pub kill_requested: bool,
    /// `visible`, `hidden`, `frozen` or `suspended`, as the client declared.
    #[serde(default)]
    pub visibility: Option<String>,
    /// The client's name and version.
    #[serde(default)]
    pub client: Option<String>,
    /// The client's own tags.
    #[serde(default)]
    pub meta: Map<String, Value>,
    /// The request to end it, and how far that got.
    #[serde(default)]
    pub kill: Option<Kill>,
}

/// A request to end a session; the times are none until they happen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Kill {
    /// Names this request.
    pub kill_id: String,
    /// When it was committed.
    pub requested_at: DateTime<Utc>,
    /// Who asked.
    #[serde(default)]
    pub requested_by: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// When the client was told.
    #[serde(default)]
    pub delivered_at: Option<DateTime<Utc>>,
    /// When the client said that it had cleaned up.
    #[serde(default)]
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// When a missing acknowledgement starts to mean something.
    #[serde(default)]
    pub confirm_by: Option<DateTime<Utc>>,
}

/// What a session is in, mutually exclusive; the first that applies, and the order is the order of concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Asked to end, and `confirm_by` has passed without an acknowledgement.
    Unconfirmed,
    /// No sign of life.
    Stale,
    /// Asked to end.
    Ending,
    /// At work.
    Running,
    /// Idle behind another window.
    Hidden,
    /// Idle.
    Idle,
}

impl State {
    /// Every state, problems first.
    pub const ALL: [Self; 6] = [Self::Unconfirmed, Self::Stale, Self::Ending, Self::Running, Self::Hidden, Self::Idle];

    /// The word shown for it.
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

    /// The shape shown beside the word, so that colour never stands alone.
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

/// The end of a session, as `changes` tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Removal {
    /// Which session is gone.
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

/// What the server says on `/ws`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DashboardFrame {
    /// The first frame.
    Hello {
        /// The history that `seq` counts in.
        epoch: String,
        /// The last change when it was sent.
        #[serde(default)]
        seq: u64,
        /// The server's clock.
        now: DateTime<Utc>,
    },
    /// All live sessions at `seq`, in several parts.
    Snapshot {
        /// The change it stands at.
        seq: u64,
        /// From 1.
        part: u32,
        /// How many there are.
        parts: u32,
        /// The sessions of this part.
        sessions: Vec<Value>,
    },
    /// What happened after `from` up to `seq`.
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
    /// Last heartbeats that moved.
    Beats {
        /// When it was sent, by the server's clock.
        at: DateTime<Utc>,
        /// The time of the last beat, by session.
        beats: std::collections::HashMap<String, DateTime<Utc>>,
    },
    /// A frame of a later version.
    #[serde(other)]
    Unknown,
}

/// What the server says on `/ws/client`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SessionFrame {
    /// The session is there.
    Registered {
        /// Its id.
        session_id: String,
        /// The proof that it is ours.
        session_token: String,
        /// Seconds between beats.
        heartbeat_interval: f64,
    },
    /// The session is asked to end.
    Kill {
        /// Which one, on a shared socket.
        #[serde(default)]
        session_id: Option<String>,
        /// Names the request in the acknowledgement.
        kill_id: String,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
        /// Who asked.
        #[serde(default)]
        by: Option<String>,
    },
    /// A note for the user.
    Message {
        /// Which session, on a shared socket.
        #[serde(default)]
        session_id: Option<String>,
        /// Names it in the acknowledgement.
        message_id: String,
        /// The note.
        text: String,
    },
    /// A frame of ours was refused.
    Error {
        /// Which session, on a shared socket.
        #[serde(default)]
        session_id: Option<String>,
        /// As the HTTP status.
        status: u16,
        /// What to do about it.
        detail: String,
    },
    /// A frame of a later version.
    #[serde(other)]
    Unknown,
}

/// One page of the event log; the events stay as they came, since their fields depend on their kind.
#[derive(Debug, Clone, Deserialize)]
pub struct EventPage {
    /// Newest first.
    pub events: Vec<Value>,
    /// What `before` takes for the page after this one.
    #[serde(default)]
    pub next: Option<u64>,
}
