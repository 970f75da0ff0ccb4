//! All live sessions at one position, in order.

use std::cmp::Reverse;
use std::sync::Arc;

use imbl::OrdMap;

use crate::clock::Timestamp;
use crate::session::{Session, SessionId};

/// The order of the view: the newest start first, then by id.
pub(super) type Order = (Reverse<i64>, SessionId);

/// All live sessions at one position. It never changes; a clone costs one root of a tree.
#[derive(Clone, Default)]
pub struct View {
    /// The position: the last event in it.
    pub seq: u64,
    pub(super) by_start: OrdMap<Order, Arc<Session>>,
}

impl View {
    /// The view of these sessions at a position.
    #[must_use]
    pub fn of(seq: u64, sessions: impl IntoIterator<Item = Arc<Session>>) -> Self {
        let mut in_order: Vec<(Order, Arc<Session>)> =
            sessions.into_iter().map(|session| (order(&session), session)).collect();
        // A map that grows at its end is built several times faster.
        in_order.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut by_start = OrdMap::new();
        for (key, session) in in_order {
            by_start.insert(key, session);
        }
        Self { seq, by_start }
    }

    /// All sessions, newest start first.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.by_start.values()
    }

    /// The sessions after this place in the order; the session there may be gone.
    pub fn sessions_after(&self, started_at: Timestamp, id: SessionId) -> impl Iterator<Item = &Arc<Session>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from: Order = (Reverse(started_at.0), id);
        self.by_start.range((Excluded(from), Unbounded)).map(|(_, session)| session)
    }

    /// One session, by its start and id.
    #[must_use]
    pub fn get(&self, started_at: Timestamp, id: &SessionId) -> Option<&Arc<Session>> {
        self.by_start.get(&(Reverse(started_at.0), id.clone()))
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    pub(super) fn put(&mut self, session: Arc<Session>) {
        self.by_start.insert(order(&session), session);
    }

    pub(super) fn remove(&mut self, session: &Session) {
        self.by_start.remove(&order(session));
    }
}

/// The place of a session in the order.
pub(super) fn order(session: &Session) -> Order {
    (Reverse(session.started_at.0), session.id.clone())
}
