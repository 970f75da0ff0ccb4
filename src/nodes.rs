//! The servers that share a store, as they tell of themselves, and their names.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::clock::Timestamp;
use crate::filter::{Field, Moment, Row, tag_text};
use crate::session::{Node, Session, Visibility};

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
    /// Whether it has ended by itself.
    pub left: bool,
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

    /// Takes the names that the store has. Numbers are given in their order, so one that is higher than
    /// all of these is of a server that came after they were read; others that are missing are
    /// forgotten.
    pub fn learn(&self, names: Known) {
        let newest = names.keys().max().copied().unwrap_or(0);
        let mut known = self.0.write();
        let newer = known.iter().filter(|(node, _)| **node > newest).map(|(node, name)| (*node, name.clone()));
        let all: Known = newer.chain(names).collect();
        if all != **known {
            *known = Arc::new(all);
        }
    }
}

/// The name of the server that holds the session's socket.
#[must_use]
pub fn name_of<'a>(session: &Session, known: &'a Known) -> Option<&'a str> {
    known.get(&session.socket?.node()).map(|name| &**name).filter(|name| !name.is_empty())
}

/// A session and the name of its server: what a filter is matched with.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    /// The session.
    pub session: &'a Session,
    /// The names of the servers.
    pub known: &'a Known,
}

impl Row for Named<'_> {
    fn text(&self, field: Field, _now: i64) -> Option<&str> {
        let session = self.session;
        match field {
            Field::App => Some(&session.app),
            Field::User => session.user.as_deref(),
            Field::Task => session.task.as_deref(),
            Field::Id => Some(session.id.as_str()),
            Field::State => Some(session.state().as_str()),
            Field::Reported => Some(session.status.as_str()),
            Field::Client => session.client.as_deref(),
            Field::Addr => session.remote_addr.as_deref(),
            Field::Visibility => session.visibility.map(Visibility::as_str),
            Field::Connected => Some(if session.connected() { "yes" } else { "no" }),
            Field::Node => name_of(session, self.known),
            Field::Reason => session.kill.as_ref()?.reason.as_deref(),
            Field::Kind | Field::By | Field::Cause | Field::Text => None,
        }
    }

    fn time(&self, moment: Moment) -> Option<i64> {
        match moment {
            Moment::Idle => self.session.idle_since().map(|at| at.0),
            Moment::Beat => Some(self.session.pulse.wall().0),
            Moment::Start => Some(self.session.started_at.0),
            Moment::TaskStart => self.session.task_started_at.map(|at| at.0),
            Moment::At => None,
        }
    }

    fn unconfirmed(&self, now: i64) -> bool {
        self.session.kill.as_ref().is_some_and(|kill| kill.confirm_by.0 < now)
    }

    fn tags(&self, look: &mut dyn FnMut(&str, &str) -> bool) -> bool {
        let Some(meta) = self.session.meta.as_deref() else { return false };
        let tags: serde_json::Map<String, serde_json::Value> = serde_json::from_str(meta).unwrap_or_default();
        tags.iter().any(|(name, value)| look(name, &tag_text(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_does_not_forget_a_server_that_has_come_since() {
        let names = Names::default();
        let of = |nodes: &[Node]| nodes.iter().map(|node| (*node, Arc::from(format!("n{node}")))).collect::<Known>();
        names.learn(of(&[1, 2, 3]));
        names.learn(of(&[1, 2]));
        assert_eq!(*names.now(), of(&[1, 2, 3]), "an answer from before the third came");
        names.learn(of(&[2, 3]));
        assert_eq!(*names.now(), of(&[2, 3]), "the first is a day gone");
    }
}
