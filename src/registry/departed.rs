//! Who owned the sessions that have ended: an owner may know how its session ended.

use std::collections::{HashMap, VecDeque};

use crate::session::{Digest, Session, SessionId};

/// The owners of the sessions that ended last.
#[derive(Default)]
pub(super) struct Departed {
    tokens: HashMap<SessionId, Digest>,
    order: VecDeque<SessionId>,
}

impl Departed {
    /// How many are remembered.
    const MOST: usize = 10_000;

    /// Remembers the owner of a session that has ended; forgets the oldest one above the limit.
    pub(super) fn add(&mut self, session: &Session) {
        let Some(token) = session.token else { return };
        if self.tokens.insert(session.id.clone(), token).is_none() {
            self.order.push_back(session.id.clone());
        }
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.tokens.remove(&oldest);
        }
    }

    /// The digest of the token of a session that has ended.
    pub(super) fn token(&self, id: &str) -> Option<Digest> {
        self.tokens.get(id).copied()
    }
}
