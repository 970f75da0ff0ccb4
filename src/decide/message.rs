//! Messages to users, and events about no session.

use std::sync::Arc;

use super::draft::Draft;
use super::outcome::Outcome;
use crate::change::{Actor, Kind, Message, Target};
use crate::clock::Now;
use crate::error::Result;
use crate::session::Session;

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
        self.push(Kind::LoggedIn, Session::none(now), actor.clone(), now);
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
