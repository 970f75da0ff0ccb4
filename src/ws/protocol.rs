//! Frames and close codes, as the contract names them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::change::Message;
use crate::clock::Timestamp;
use crate::edge::input::{RegisterBody, ReportBody};
use crate::edge::json::{Unread, object};
use crate::edge::problem::status_of;
use crate::error::{Error, Result};
use crate::session::Kill;
use crate::wire::Seconds;

/// Largest frame that a client may send, in bytes.
pub const FRAME_MAX: usize = 16 * 1_024;

/// What the killed see, and nobody else.
pub const TERMINATED: &str = "Session terminated by administrator";

/// Why a socket is closed; the number tells the client whether to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The session has ended as it wished.
    Normal,
    /// The session was killed.
    Killed,
    /// Not a WebSocket as the RFC has it.
    Protocol,
    /// A binary frame.
    Binary,
    /// Not UTF-8.
    Text,
    /// Over the limit.
    TooLarge,
    /// The server restarts.
    Restart,
    /// It could not keep up.
    Lagging,
    /// No token, or a wrong one.
    Unauthorized,
    /// Not allowed.
    Forbidden,
    /// No `register` in time, or no sign of life.
    Silent,
    /// The session opened a newer socket.
    Superseded,
}

impl CloseCode {
    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Killed => 1001,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::Text => 1007,
            Self::TooLarge => 1009,
            Self::Restart => 1012,
            Self::Lagging => 4000,
            Self::Unauthorized => 4401,
            Self::Forbidden => 4403,
            Self::Silent => 4408,
            Self::Superseded => 4409,
        }
    }
}

/// Any frame that a client sends. One flat shape, since a tagged enum would be
/// buffered before it is read, and heartbeats are many.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ClientFrame<'a> {
    /// What it is.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// Of which session.
    #[serde(borrow)]
    pub session_id: Option<Cow<'a, str>>,
    /// This socket carries several sessions.
    pub shared: bool,
    /// The page went into the back-forward cache.
    pub persisted: bool,
    /// Which kill is acknowledged.
    pub kill_id: Option<String>,
    /// Which note is acknowledged.
    pub message_id: Option<String>,
    app_name: Option<String>,
    user_id: Option<String>,
    session_token: Option<String>,
    meta: Option<Map<String, Value>>,
    heartbeat_interval: Option<f64>,
    status: Option<String>,
    #[serde(deserialize_with = "crate::edge::input::present")]
    current_task: Option<Option<String>>,
    client: Option<String>,
    visibility: Option<String>,
}

impl<'a> ClientFrame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// Which field is wrong, and what it must be.
    pub fn read(text: &'a str) -> Result<Self> {
        object(text.as_bytes()).map_err(|unread| {
            let (Unread::Shape(why) | Unread::Syntax(why)) = unread;
            Error::Invalid(format!("the frame is not one of the contract's: {why}"))
        })
    }

    /// The fields of a registration.
    #[must_use]
    pub fn registration(self) -> RegisterBody {
        RegisterBody {
            app_name: self.app_name,
            user_id: self.user_id,
            session_id: self.session_id.map(Cow::into_owned),
            session_token: self.session_token,
            meta: self.meta,
            heartbeat_interval: self.heartbeat_interval,
            status: self.status,
            current_task: self.current_task.flatten(),
            client: self.client,
            visibility: self.visibility,
        }
    }

    /// The fields of a report.
    #[must_use]
    pub fn report(self) -> ReportBody {
        ReportBody {
            status: self.status,
            current_task: self.current_task,
            visibility: self.visibility,
            meta: self.meta,
            session_token: None,
        }
    }
}

/// What the server sends on a client's socket.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// The session is there.
    Registered {
        /// Its id.
        session_id: &'a str,
        /// Its token.
        session_token: &'a str,
        /// Seconds between heartbeats.
        heartbeat_interval: Seconds,
        /// It was there already.
        resumed: bool,
    },
    /// The session is to end.
    Kill {
        /// Which.
        session_id: &'a str,
        /// Names the kill.
        kill_id: &'a str,
        /// Why.
        reason: Option<&'a str>,
        /// Who asks.
        by: Option<&'a str>,
        /// Milliseconds to clean up in.
        grace_ms: u64,
    },
    /// Sent beside each ping to browsers, whose scripts see no pings: to be answered with
    /// a heartbeat, and by its absence a sign that the connection is dead.
    Tick,
    /// Show this to the user.
    Message {
        /// Whose user.
        session_id: &'a str,
        /// Names the note.
        message_id: &'a str,
        /// What it says.
        text: &'a str,
        /// How urgent it is.
        level: &'a str,
        /// Who says it.
        by: Option<&'a str>,
    },
    /// A frame was refused.
    Error {
        /// Which session's.
        session_id: Option<&'a str>,
        /// As HTTP would have it.
        status: u16,
        /// What to do.
        detail: &'a str,
    },
}

impl<'a> ServerFrame<'a> {
    /// The frame for a kill.
    #[must_use]
    pub fn kill(session_id: &'a str, kill: &'a Kill, grace_ms: u64) -> Self {
        Self::Kill {
            session_id,
            kill_id: &kill.kill_id,
            reason: kill.reason.as_deref(),
            by: Some(&kill.requested_by),
            grace_ms,
        }
    }

    /// The frame for a note.
    #[must_use]
    pub fn message(session_id: &'a str, message: &'a Message) -> Self {
        Self::Message {
            session_id,
            message_id: &message.message_id,
            text: &message.text,
            level: message.level,
            by: message.by.as_deref(),
        }
    }

    /// The text of the frame.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The text of an `error` frame.
#[must_use]
pub fn error(session_id: Option<&str>, error: &Error) -> String {
    let detail = error.to_string();
    ServerFrame::Error { session_id, status: status_of(error).as_u16(), detail: &detail }.encode()
}

/// The first frame to a dashboard.
#[derive(Serialize)]
#[serde(tag = "type", rename = "hello")]
pub struct Hello<'a> {
    /// The version of the contract.
    pub protocol: u8,
    /// This server.
    pub server: &'a str,
    /// The lineage of `seq`.
    pub epoch: &'a str,
    /// Where the frames that follow lead to.
    pub seq: u64,
    /// The server's clock.
    pub now: Timestamp,
    /// What this dashboard may do.
    pub role: &'a str,
    /// Seconds.
    pub stale_after: Seconds,
    /// Seconds.
    pub expire_after: Seconds,
    /// Seconds.
    pub heartbeat_interval: Seconds,
    /// Milliseconds.
    pub grace_ms: u64,
}
