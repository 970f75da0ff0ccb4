//! Which sessions a kill request, a message or a rule is for.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::filter::Filter;
use crate::nodes::{Known, Named};
use crate::session::{Session, SessionId};

/// The sessions that a kill request or a message is for.
#[derive(Clone, Debug)]
pub enum Target {
    /// One session.
    Session(SessionId),
    /// Every live session of an app.
    App(Arc<str>),
    /// Every live session that a filter matches when the change is decided.
    Filter(Matching),
}

impl Target {
    /// Whether a session is one of them at `now`.
    #[must_use]
    pub fn includes(&self, session: &Session, now: Timestamp) -> bool {
        match self {
            Self::Session(id) => session.id == *id,
            Self::App(app) => session.app == *app,
            Self::Filter(matching) => matching.holds(session, now),
        }
    }
}

/// A filter, and the names of the servers for its `node:`.
#[derive(Clone, Debug)]
pub struct Matching {
    /// The filter.
    pub filter: Arc<Filter>,
    /// The names of the servers.
    pub known: Arc<Known>,
}

impl Matching {
    /// Whether the filter matches a session at `now`.
    #[must_use]
    pub fn holds(&self, session: &Session, now: Timestamp) -> bool {
        self.filter.matches(&Named { session, known: &self.known }, now.0)
    }
}
