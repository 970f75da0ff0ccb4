//! The frames and close codes of the protocol.

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

/// The close reason after a kill request; no other close has it.
pub const TERMINATED: &str = "Session terminated by administrator";

/// Why a socket is closed; the number tells the client whether to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The client has ended the session.
    Normal,
    /// The session was killed.
    Killed,
    /// The frame breaks the WebSocket protocol.
    Protocol,
    /// A binary frame.
    Binary,
    /// Not UTF-8.
    Text,
    /// The frame is larger than the limit.
    TooLarge,
    /// The server restarts.
    Restart,
    /// The client reads too slowly.
    Lagging,
    /// The token is missing or wrong.
    Unauthorized,
    /// The token or the origin may not do this.
    Forbidden,
    /// No `register` in time, or the client was silent.
    Silent,
    /// The session opened a newer socket.
    Superseded,
    /// A lock keeps the session out.
    Locked,
}

impl CloseCode {
    /// The number of the code.
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
            Self::Locked => 4423,
        }
    }
}

/// Any frame of a client. It is one flat struct: serde would buffer a tagged enum before it reads it,
/// and heartbeats are frequent.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ClientFrame<'a> {
    /// The type of the frame.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// The session.
    #[serde(borrow)]
    pub session_id: Option<Cow<'a, str>>,
    /// The socket carries several sessions.
    pub shared: bool,
    /// The page went into the back-forward cache.
    pub persisted: bool,
    /// The kill that is acknowledged.
    pub kill_id: Option<String>,
    /// The message that is acknowledged.
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
    /// Seconds without input of the user.
    pub idle_seconds: Option<f64>,
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
            idle_seconds: self.idle_seconds,
        }
    }

    /// The fields of a report.
    #[must_use]
    pub fn report(self) -> ReportBody {
        ReportBody {
            status: self.status,
            current_task: self.current_task,
            visibility: self.visibility,
            idle_seconds: self.idle_seconds,
            meta: self.meta,
            session_token: None,
        }
    }
}

/// The frames that the server sends to a client.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// The session is registered.
    Registered {
        /// Its id.
        session_id: &'a str,
        /// Its token.
        session_token: &'a str,
        /// Seconds between heartbeats.
        heartbeat_interval: Seconds,
        /// It existed before.
        resumed: bool,
    },
    /// A kill was requested for the session.
    Kill {
        /// The session.
        session_id: &'a str,
        /// The id of the kill.
        kill_id: &'a str,
        /// The reason that was given.
        reason: Option<&'a str>,
        /// Who requested it.
        by: Option<&'a str>,
        /// Milliseconds to clean up.
        grace_ms: u64,
    },
    /// Sent with each ping to browsers, whose scripts cannot see pings. The script answers with a
    /// heartbeat; without ticks it knows that the connection is dead.
    Tick,
    /// A message for the user.
    Message {
        /// The session.
        session_id: &'a str,
        /// The id of the message.
        message_id: &'a str,
        /// The text.
        text: &'a str,
        /// `info` or `warning`.
        level: &'a str,
        /// The sender.
        by: Option<&'a str>,
        /// The rule that warns.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'a str>,
        /// When the rule will end the session, unless the user stays.
        #[serde(skip_serializing_if = "Option::is_none")]
        ends_at: Option<Timestamp>,
    },
    /// A frame was refused.
    Error {
        /// The session that it was about.
        session_id: Option<&'a str>,
        /// The HTTP status of the refusal.
        status: u16,
        /// What to do.
        detail: &'a str,
        /// The reason of the lock that keeps the session out.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        /// When the lock ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// Seconds until it is worth registering again.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
}

impl<'a> ServerFrame<'a> {
    /// The frame for a kill request.
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

    /// The frame for a message.
    #[must_use]
    pub fn message(session_id: &'a str, message: &'a Message) -> Self {
        Self::Message {
            session_id,
            message_id: &message.message_id,
            text: &message.text,
            level: message.level,
            by: message.by.as_deref(),
            rule: message.warning.as_ref().map(|(rule, _)| &**rule),
            ends_at: message.warning.as_ref().map(|(_, ends_at)| *ends_at),
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
    let (reason, until, retry_after) = match error {
        Error::Locked { reason, until, retry_after } => (Some(&**reason), *until, Some(*retry_after)),
        _ => (None, None, None),
    };
    ServerFrame::Error { session_id, status: status_of(error).as_u16(), detail: &detail, reason, until, retry_after }
        .encode()
}

/// The first frame to a dashboard.
#[derive(Serialize)]
#[serde(tag = "type", rename = "hello")]
pub struct Hello<'a> {
    /// The version of the protocol.
    pub protocol: u8,
    /// The name and version of the server.
    pub server: &'a str,
    /// The epoch that `seq` counts in.
    pub epoch: &'a str,
    /// The position after the snapshot or the missed frames.
    pub seq: u64,
    /// The server's wall clock.
    pub now: Timestamp,
    /// `view` or `admin`.
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
