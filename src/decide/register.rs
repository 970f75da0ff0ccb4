//! Registrations: a new session, or a live one that is resumed.

use std::sync::Arc;

use super::draft::{Draft, Limits};
use super::outcome::Outcome;
use super::report::{apply_report, same_report};
use crate::change::{Actor, Kind, Proof, Registration, Report};
use crate::clock::Now;
use crate::error::{Error, Result};
use crate::session::{Input, Pulse, Session};

impl Draft<'_> {
    /// Creates a session, or resumes the one with this id.
    pub(super) fn register(&mut self, asked: &Registration, now: Now) -> Result<Outcome> {
        if !asked.scope.allows(&asked.app) {
            return Err(Error::Forbidden(format!(
                "this token is limited to other apps than {:?}; register with a token for that app",
                asked.app
            )));
        }
        if let Some(session) = self.get(&asked.id) {
            return self.resume(&session, asked, now);
        }
        if let Some(gone) = self.gone(&asked.id) {
            return Err(gone);
        }
        let session = Session {
            id: asked.id.clone(),
            app: asked.app.clone(),
            user: asked.user.clone(),
            started_at: now.wall,
            pulse: Arc::new(Pulse::new(now.wall, now.mono)),
            status: asked.status.clone().unwrap_or_default(),
            status_since: now.wall,
            task: asked.task.clone(),
            task_started_at: asked.task.as_ref().map(|_| now.wall),
            visibility: asked.visibility,
            input: asked.no_input_for.map_or(Input::Unknown, |silent| Input::Unknown.after(silent, now.wall)),
            heartbeat_interval: asked.heartbeat_interval,
            client: asked.client.clone(),
            remote_addr: asked.remote_addr.clone(),
            meta: asked.meta.clone(),
            kill: None,
            token: Some(asked.fresh_token),
            registered_by: asked.registered_by.clone(),
            stale: false,
            marks: None,
            socket: asked.socket,
        };
        self.kept_out(&session, now)?;
        self.take_place(asked.registered_by.as_ref())?;
        let from = Actor { from: asked.remote_addr.clone(), ..Actor::default() };
        let session = self.push(Kind::Registered, session, from, now).session.clone();
        self.announce_locks_to(&session, now);
        Ok(Outcome::Registered { session, resumed: false, fresh_token: true })
    }

    /// Counts one more session, if the limits allow it.
    fn take_place(&mut self, token: Option<&Arc<str>>) -> Result<()> {
        let Limits { max_sessions, max_per_token } = self.limits;
        if self.registry.len() + self.added >= max_sessions {
            return Err(Error::Busy(format!(
                "there are already {max_sessions} sessions, the most that --max-sessions allows; try again when some have ended"
            )));
        }
        if let Some(token) = token {
            let added = self.added_by.entry(token.clone()).or_default();
            if self.registry.registered_by(token) + *added >= max_per_token {
                return Err(Error::Busy(format!(
                    "the token {token:?} already has {max_per_token} sessions, the most that --max-sessions-per-token allows; try again when some have ended"
                )));
            }
            *added += 1;
        }
        self.added += 1;
        Ok(())
    }

    /// Resumes a live session for a caller who has shown its token or is trusted.
    fn resume(&mut self, session: &Arc<Session>, asked: &Registration, now: Now) -> Result<Outcome> {
        let fresh_token = match asked.proof {
            Proof::Token(digest) if session.owned_by(&digest) => false,
            Proof::Trusted if asked.scope.allows(&session.app) => true,
            Proof::Trusted | Proof::Token(_) | Proof::Missing => {
                return Err(Error::Forbidden(format!(
                    "the session {} belongs to somebody else: send its session_token, or register with another session_id",
                    session.id
                )));
            }
        };
        if session.app != asked.app {
            return Err(Error::Invalid(format!(
                "app_name must stay {:?}: the session {} registered with it",
                session.app, session.id
            )));
        }
        if asked.user.is_some() && asked.user != session.user {
            // To become somebody else is as good as a new session.
            let taken = Session { user: asked.user.clone(), ..(**session).clone() };
            self.kept_out(&taken, now)?;
        }
        let report = Report {
            status: asked.status.clone(),
            task: asked.status.as_ref().map(|_| asked.task.clone()),
            visibility: asked.visibility,
            no_input_for: asked.no_input_for,
            meta: asked.meta.clone().map(Some),
        };
        let mut after = apply_report(session, &report, now);
        if asked.user.is_some() {
            after.user.clone_from(&asked.user);
        }
        if asked.client.is_some() {
            after.client.clone_from(&asked.client);
        }
        after.remote_addr.clone_from(&asked.remote_addr);
        after.heartbeat_interval = asked.heartbeat_interval;
        let changed =
            !same_report(session, &after) || after.client != session.client || after.remote_addr != session.remote_addr;
        if fresh_token {
            after.token = Some(asked.fresh_token);
        }
        after.socket = asked.socket.or(session.socket);
        let recovered = after.stale;
        after.stale = false;
        session.pulse.beat(now);
        // A new token has to be durable, so it needs an event that is in the log.
        let kind = match () {
            () if recovered => Kind::Recovered,
            () if changed || fresh_token => Kind::StatusChanged,
            () => Kind::Connection,
        };
        let event = self.push(kind, after, Actor::default(), now);
        Ok(Outcome::Registered { session: event.session.clone(), resumed: true, fresh_token })
    }
}
