//! Sessions that go silent, and those that come back.

use super::draft::Draft;
use super::outcome::Outcome;
use crate::change::{Actor, Cause, Kind};
use crate::clock::Now;
use crate::session::{Session, SessionId};

impl Draft<'_> {
    /// Marks a session without a socket as stale, if it is still silent.
    pub(super) fn go_stale(&mut self, id: &SessionId, now: Now) -> Outcome {
        if let Some(session) = self.get(id) {
            let silent = self.registry.silence(&session.pulse, now) >= self.timing.stale_after;
            if silent && !session.stale && !session.connected() {
                let after = Session { stale: true, ..(*session).clone() };
                self.push(Kind::Stale, after, Actor::default(), now);
            }
        }
        Outcome::Done
    }

    /// Marks a stale session as alive.
    pub(super) fn recover(&mut self, id: &SessionId, now: Now) -> Outcome {
        if let Some(session) = self.get(id).filter(|session| session.stale) {
            let after = Session { stale: false, ..(*session).clone() };
            self.push(Kind::Recovered, after, Actor::default(), now);
        }
        Outcome::Done
    }

    /// Removes a session without a socket, if it is still silent for `expire_after`.
    pub(super) fn expire(&mut self, id: &SessionId, now: Now) -> Outcome {
        if let Some(session) = self.get(id) {
            let silent = self.registry.silence(&session.pulse, now) >= self.timing.expire_after;
            if silent && !session.connected() {
                self.remove(&session, Cause::Expired, Actor::default(), now);
            }
        }
        Outcome::Done
    }
}
