//! What clients say of their sessions: registrations and reports, all fields checked.

use std::sync::Arc;
use std::time::Duration;

use super::actor::Proof;
use crate::scope::Scope;
use crate::session::{Digest, SessionId, SocketId, Status, Visibility};

/// A registration whose fields are all checked.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The id that the client chose, or a fresh one.
    pub id: SessionId,
    /// The app.
    pub app: Arc<str>,
    /// The user.
    pub user: Option<Arc<str>>,
    /// The client's tags.
    pub meta: Option<Arc<str>>,
    /// Seconds between heartbeats.
    pub heartbeat_interval: f64,
    /// The status; `None` keeps the status of a resumed session.
    pub status: Option<Status>,
    /// The current task.
    pub task: Option<Arc<str>>,
    /// Whether the page is visible.
    pub visibility: Option<Visibility>,
    /// For how long there was no input of the user; zero while the user is active.
    pub no_input_for: Option<Duration>,
    /// The client's name and version.
    pub client: Option<Arc<str>>,
    /// The client's address.
    pub remote_addr: Option<Arc<str>>,
    /// What allows it to resume a session that exists.
    pub proof: Proof,
    /// The digest of the token that a new session gets.
    pub fresh_token: Digest,
    /// The name of the token that it registers with.
    pub registered_by: Option<Arc<str>>,
    /// The apps that the caller's token is limited to.
    pub scope: Scope,
    /// The socket that it registers on; `None` over HTTP.
    pub socket: Option<SocketId>,
}

/// A report of a client about its session; absent fields do not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The status.
    pub status: Option<Status>,
    /// The current task; `Some(None)` clears it. Without this field a new status clears it.
    pub task: Option<Option<Arc<str>>>,
    /// Whether the page is visible.
    pub visibility: Option<Visibility>,
    /// For how long there was no input of the user; zero while the user is active.
    pub no_input_for: Option<Duration>,
    /// The tags; `Some(None)` clears them.
    pub meta: Option<Option<Arc<str>>>,
}

impl Report {
    /// Merges a later report into this one; applying the result equals applying both in order.
    /// `reported` is the session's status before both.
    pub fn merge(&mut self, later: Self, reported: &Status) {
        if let Some(status) = later.status {
            let before = self.status.as_ref().unwrap_or(reported);
            if later.task.is_none() && *before != status {
                // A new status clears the task.
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
        if later.no_input_for.is_some() {
            self.no_input_for = later.no_input_for;
        }
        if later.meta.is_some() {
            self.meta = later.meta;
        }
    }
}
