//! What other servers have committed and heard, made fit for this server's registry.

use std::collections::HashMap;
use std::sync::Arc;

use super::Registry;
use crate::change::Event;
use crate::clock::{Now, Timestamp};
use crate::session::{Pulse, Session, SessionId};

impl Registry {
    /// The events of another server, ready for [`Registry::apply`]: each session gets the pulse
    /// that it has here, moved to the last heartbeat that the event tells of.
    #[must_use]
    pub fn foreign(&self, events: Vec<Event>, now: Now) -> Vec<Event> {
        let mut pulses: HashMap<SessionId, Arc<Pulse>> = HashMap::new();
        let with_pulse = |mut event: Event| {
            let mut session = Arc::unwrap_or_clone(event.session);
            let last = session.pulse.wall();
            let known = pulses.get(&session.id).cloned();
            let here = || self.get(session.id.as_str()).filter(|here| here.started_at == session.started_at);
            let pulse = known.or_else(|| here().map(|here| here.pulse.clone()));
            session.pulse = pulse.unwrap_or_else(|| Arc::new(Pulse::new(last, now.mono)));
            if session.pulse.wall() < last {
                session.pulse.move_to(Now { wall: last, mono: now.mono });
            }
            pulses.insert(session.id.clone(), session.pulse.clone());
            event.session = Arc::new(session);
            event
        };
        events.into_iter().map(with_pulse).collect()
    }

    /// Takes heartbeats that other servers have heard; returns the sessions that moved.
    #[must_use]
    pub fn foreign_beats(&self, beats: Vec<(SessionId, Timestamp)>, now: Now) -> Vec<Arc<Session>> {
        let moved = |(id, at): (SessionId, Timestamp)| {
            let session = self.get(id.as_str())?;
            // Each is told once, so it is a sign of life, whatever the other server's clock says.
            session.pulse.move_to(Now { wall: at.max(session.pulse.wall()), mono: now.mono });
            Some(session)
        };
        beats.into_iter().filter_map(moved).collect()
    }
}
