//! The batch that is being decided: look-ups, and the events so far.

use std::collections::HashMap;
use std::sync::Arc;

use crate::alerts::Raised;
use crate::change::{Actor, Authority, Event, Kind, Tombstone};
use crate::clock::Now;
use crate::error::{Error, Result};
use crate::lock::Locks;
use crate::registry::Registry;
use crate::session::{Session, SessionId};
use crate::timing::Timing;

/// How many live sessions there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In total.
    pub max_sessions: usize,
    /// Registered with one token.
    pub max_per_token: usize,
}

impl Limits {
    /// A limit for all sessions and none for a token.
    #[must_use]
    pub fn sessions(max_sessions: usize) -> Self {
        Self { max_sessions, max_per_token: usize::MAX }
    }
}

/// A batch that is being decided: the registry, and over it what earlier changes of the batch
/// have decided but not committed.
pub struct Draft<'a> {
    pub(super) registry: &'a Registry,
    pub(super) timing: &'a Timing,
    pub(super) limits: Limits,
    pub(super) now: Now,
    pub(super) seq: u64,
    pub(super) sessions: HashMap<SessionId, Option<Arc<Session>>>,
    pub(super) tombstones: HashMap<SessionId, Tombstone>,
    pub(super) locks: Locks,
    pub(super) added: usize,
    pub(super) added_by: HashMap<Arc<str>, usize>,
    pub(super) events: Vec<Event>,
    raised: Vec<Raised>,
}

impl<'a> Draft<'a> {
    /// An empty batch at the position of the registry.
    #[must_use]
    pub fn new(registry: &'a Registry, limits: Limits) -> Self {
        Self {
            registry,
            timing: registry.timing(),
            limits,
            now: Now::default(),
            seq: registry.seq(),
            sessions: HashMap::new(),
            tombstones: HashMap::new(),
            locks: registry.locks(),
            added: 0,
            added_by: HashMap::new(),
            events: Vec::new(),
            raised: Vec::new(),
        }
    }

    /// The events decided so far, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The decided events, in order.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// Adds alerts that are committed with the events of this batch.
    pub fn raise(&mut self, raised: Vec<Raised>) {
        self.raised.extend(raised);
    }

    /// The alerts that the batch has added so far; afterwards it has none.
    pub fn take_raised(&mut self) -> Vec<Raised> {
        std::mem::take(&mut self.raised)
    }

    /// The session as this batch has left it.
    pub(super) fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        match self.sessions.get(id) {
            Some(drafted) => drafted.clone(),
            None => self.registry.get(id.as_str()),
        }
    }

    /// The live session, or the error for an id that is unknown or killed.
    pub(super) fn live(&self, id: &SessionId) -> Result<Arc<Session>> {
        self.get(id).ok_or_else(|| self.gone(id).unwrap_or_else(|| Error::NotFound(id.to_string())))
    }

    /// The live session, if the actor may change sessions of its app. For an actor who is limited
    /// to some apps all other ids are unknown, killed ones too.
    pub(super) fn within(&self, id: &SessionId, actor: &Actor) -> Result<Arc<Session>> {
        match self.live(id) {
            Ok(session) if actor.scope.allows(&session.app) => Ok(session),
            Err(error) if actor.scope.is_all() => Err(error),
            _ => Err(Error::NotFound(id.to_string())),
        }
    }

    /// The live session, if the authority of the change covers it.
    pub(super) fn authorized(&self, id: &SessionId, authority: &Authority) -> Result<Arc<Session>> {
        let session = self.live(id)?;
        if authority.holds_for(&session) {
            return Ok(session);
        }
        Err(Error::Forbidden(match authority {
            Authority::Socket(_) => format!("session {id} is not on this socket: register it here first"),
            _ => format!("this is not the session_token of session {id}; send the one that its registration answered"),
        }))
    }

    /// The error for a killed id.
    pub(super) fn gone(&self, id: &SessionId) -> Option<Error> {
        match self.tombstones.get(id) {
            Some(tombstone) => tombstone.gone(id.as_str(), self.timing, self.now.wall),
            None => self.registry.gone(id.as_str(), self.now.wall),
        }
    }

    /// All live sessions that fit, in the versions that this batch has decided.
    pub(super) fn all(&self, fits: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let view = self.registry.view();
        let kept = view.sessions().filter(|session| !self.sessions.contains_key(&session.id));
        let drafted = self.sessions.values().flatten();
        kept.chain(drafted).filter(|session| fits(session)).cloned().collect()
    }

    /// Adds an event at the next position.
    pub(super) fn push(&mut self, kind: Kind, session: Session, actor: Actor, now: Now) -> &mut Event {
        let session = Arc::new(session);
        let after = (kind != Kind::Removed).then(|| session.clone());
        let before = if kind.changes_session() {
            let before = self.get(&session.id);
            self.sessions.insert(session.id.clone(), after);
            before
        } else {
            None
        };
        self.seq += 1;
        self.events.push(Event {
            seq: self.seq,
            at: now.wall,
            kind,
            session,
            before,
            actor,
            reason: None,
            cause: None,
            message: None,
            lock: None,
        });
        let last = self.events.len() - 1;
        &mut self.events[last]
    }
}
