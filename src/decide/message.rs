//! Messages to users, and events about no session.

use std::sync::Arc;

use super::draft::Draft;
use super::outcome::Outcome;
use crate::change::{Actor, Kind, Message, Target};
use crate::clock::Now;
use crate::error::Result;
use crate::session::{Input, Pulse, Session, SessionId, Status};

impl Draft<'_> {
    /// Sends a message to each target.
    pub(super) fn send(&mut self, target: &Target, message: &Arc<Message>, actor: &Actor, now: Now) -> Result<Outcome> {
        let recipients = match target {
            Target::Session(id) => vec![self.within(id, actor)?],
            Target::App(_) | Target::Filter(_) => {
                self.all(|session| actor.scope.allows(&session.app) && target.includes(session, now.wall))
            }
        };
        let ids = recipients.iter().map(|session| session.id.clone()).collect();
        for session in recipients {
            self.note_message(Kind::MessageSent, session, actor.clone(), message, now);
        }
        Ok(Outcome::Recipients(ids))
    }

    /// Records that a client has shown a message.
    pub(super) fn message_delivered(&mut self, session: Arc<Session>, message_id: &Arc<str>, now: Now) -> Outcome {
        let shown = Message { message_id: message_id.clone(), text: "".into(), level: "info", by: None, warning: None };
        self.note_message(Kind::MessageDelivered, session, Actor::default(), &Arc::new(shown), now);
        Outcome::Done
    }

    /// Records that somebody has logged in.
    pub(super) fn logged_in(&mut self, actor: &Actor, now: Now) -> Outcome {
        self.push(Kind::LoggedIn, no_session(now), actor.clone(), now);
        Outcome::Done
    }

    pub(super) fn note_message(
        &mut self,
        kind: Kind,
        session: Arc<Session>,
        actor: Actor,
        message: &Arc<Message>,
        now: Now,
    ) {
        let session = Arc::unwrap_or_clone(session);
        self.push(kind, session, actor, now).message = Some(message.clone());
    }
}

/// The session of an event that is about no session.
pub(super) fn no_session(now: Now) -> Session {
    Session {
        id: SessionId::none(),
        app: "".into(),
        user: None,
        started_at: now.wall,
        pulse: Arc::new(Pulse::new(now.wall, now.mono)),
        status: Status::default(),
        status_since: now.wall,
        task: None,
        task_started_at: None,
        visibility: None,
        input: Input::Unknown,
        heartbeat_interval: 0.0,
        client: None,
        remote_addr: None,
        meta: None,
        kill: None,
        token: None,
        stale: false,
        marks: None,
        socket: None,
        registered_by: None,
    }
}
