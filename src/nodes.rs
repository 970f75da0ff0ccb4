//! The servers that share a store, as they tell of themselves, and their names.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::clock::Timestamp;
use crate::session::{Node, Session};

/// What a server tells the others of itself, once a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Its open client sockets.
    pub sockets: u64,
    /// Its open dashboards.
    pub dashboards: u64,
}

/// One of the servers that share a store.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its number.
    pub node: Node,
    /// Its name.
    pub name: Arc<str>,
    /// The URL by which it is reached, if it was told.
    pub url: Option<Arc<str>>,
    /// Its version.
    pub version: Arc<str>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was heard of last.
    pub seen_at: Timestamp,
    /// What it told of itself last.
    pub load: Load,
    /// Events that it has not applied yet; `None` while that is not known.
    pub lag: Option<u64>,
    /// How long the oldest of these has waited, in ms; `None` while that is not known.
    pub lag_ms: Option<u64>,
    /// Whether it is the keeper.
    pub keeper: bool,
    /// Whether it has ended, or counts as gone since it was silent.
    pub gone: bool,
}

/// The names of the servers, by their numbers. Empty in a store of one server.
pub type Known = HashMap<Node, Arc<str>>;

/// The names that are known now; they change while the server runs.
#[derive(Default)]
pub struct Names(RwLock<Arc<Known>>);

impl Names {
    /// The names as of now: to be taken once for a frame.
    #[must_use]
    pub fn now(&self) -> Arc<Known> {
        self.0.read().clone()
    }

    /// Replaces all names.
    pub fn replace(&self, names: Known) {
        *self.0.write() = Arc::new(names);
    }
}

/// The name of the server that holds the session's socket.
#[must_use]
pub fn name_of<'a>(session: &Session, known: &'a Known) -> Option<&'a str> {
    known.get(&session.socket?.node()).map(|name| &**name).filter(|name| !name.is_empty())
}
