//! The rules: what a change becomes, given what is true now. Pure; the one writer
//! asks it for one change after another, so no two changes can race.

use std::collections::HashMap;
use std::sync::Arc;

use crate::change::{
    Actor, Authority, Cause, Change, Event, Kind, Message, Proof, Registration, Report, Target, Tombstone,
};
use crate::clock::Now;
use crate::error::{Error, Result};
use crate::registry::Registry;
use crate::session::{Kill, Pulse, Session, SessionId, SocketId, Status};
use crate::timing::Timing;

/// What a change that was done tells the one who asked.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The session is there.
    Registered {
        /// As it is now.
        session: Arc<Session>,
        /// It was there already.
        resumed: bool,
        /// `fresh_token` of the registration is its token from now on.
        fresh_token: bool,
    },
    /// It is as asked; nothing more to say.
    Done,
    /// The session was asked to end, now or before.
    Kill(Arc<Kill>),
    /// So many sessions were asked to end, or removed.
    Count(usize),
    /// These sessions are to be sent the note.
    Recipients(Vec<SessionId>),
}

/// What is true now for the writer: the registry, and over it what the changes of
/// this batch have already decided but not committed.
pub struct Draft<'a> {
    registry: &'a Registry,
    timing: &'a Timing,
    limits: Limits,
    now: Now,
    seq: u64,
    sessions: HashMap<SessionId, Option<Arc<Session>>>,
    tombstones: HashMap<SessionId, Tombstone>,
    added: usize,
    added_by: HashMap<Arc<str>, usize>,
    events: Vec<Event>,
}

/// What stands for a session in an event that is of none.
fn nobody(now: Now) -> Session {
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
        heartbeat_interval: 0.0,
        client: None,
        remote_addr: None,
        meta: None,
        kill: None,
        token: None,
        stale: false,
        socket: None,
        registered_by: None,
    }
}

/// How many sessions there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub max_sessions: usize,
    /// Registered with one token.
    pub max_per_token: usize,
}

impl Limits {
    /// None but this one.
    #[must_use]
    pub fn sessions(max_sessions: usize) -> Self {
        Self { max_sessions, max_per_token: usize::MAX }
    }
}

impl<'a> Draft<'a> {
    /// Nothing decided yet.
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
            added: 0,
            added_by: HashMap::new(),
            events: Vec::new(),
        }
    }

    /// The events decided so far, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The events decided so far, in order.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// Decides one change. A refusal leaves no trace.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn decide(&mut self, change: &Change, now: Now) -> Result<Outcome> {
        self.now = now;
        match change {
            Change::Register(registration) => self.register(registration, now),
            Change::Report(id, report, authority) => self.report(id, report, authority, now),
            Change::Disconnect(id, socket) => Ok(self.disconnect(id, *socket, now)),
            Change::Kill { target, kill_id, reason, actor } => self.kill(target, kill_id, reason.as_ref(), actor, now),
            Change::KillDelivered(id, kill_id, authority) => {
                let session = self.authorized(id, authority)?;
                self.kill_step(&session, kill_id, Kind::KillDelivered, now)
            }
            Change::KillAcknowledged(id, kill_id, authority) => {
                let session = self.authorized(id, authority)?;
                self.kill_step(&session, kill_id, Kind::KillAcknowledged, now)
            }
            Change::Remove { id, cause, actor, authority } => {
                self.within(id, actor)?;
                let session = self.authorized(id, authority)?;
                self.remove(&session, *cause, actor.clone(), now);
                Ok(Outcome::Done)
            }
            Change::RemoveSilent { before, actor } => {
                let silent = self.all(|session| {
                    !session.connected() && session.pulse.wall() < *before && actor.scope.allows(&session.app)
                });
                for session in &silent {
                    self.remove(session, Cause::Deleted, actor.clone(), now);
                }
                Ok(Outcome::Count(silent.len()))
            }
            Change::LoggedIn(actor) => {
                self.push(Kind::LoggedIn, nobody(now), actor.clone(), now);
                Ok(Outcome::Done)
            }
            Change::Probe => Ok(Outcome::Done),
            Change::GoStale(id) => Ok(self.go_stale(id, now)),
            Change::Recover(id) => Ok(self.recover(id, now)),
            Change::Expire(id) => Ok(self.expire(id, now)),
            Change::Send { target, message, actor } => self.send(target, message, actor, now),
            Change::MessageDelivered(id, message_id, authority) => {
                let session = self.authorized(id, authority)?;
                let shown = Message { message_id: message_id.clone(), text: "".into(), level: "info", by: None };
                self.note(Kind::MessageDelivered, session, Actor::default(), &Arc::new(shown), now);
                Ok(Outcome::Done)
            }
        }
    }

    fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        match self.sessions.get(id) {
            Some(drafted) => drafted.clone(),
            None => self.registry.get(id.as_str()),
        }
    }

    fn live(&self, id: &SessionId) -> Result<Arc<Session>> {
        self.get(id).ok_or_else(|| self.gone(id).unwrap_or_else(|| Error::NotFound(id.to_string())))
    }

    /// The live session, if it is of an app that the actor may act on. To who is limited to
    /// some apps, all other ids are unknown, those that were killed included.
    fn within(&self, id: &SessionId, actor: &Actor) -> Result<Arc<Session>> {
        match self.live(id) {
            Ok(session) if actor.scope.allows(&session.app) => Ok(session),
            Err(error) if actor.scope.is_all() => Err(error),
            _ => Err(Error::NotFound(id.to_string())),
        }
    }

    /// The live session, if the change may act on it.
    fn authorized(&self, id: &SessionId, authority: &Authority) -> Result<Arc<Session>> {
        let session = self.live(id)?;
        if authority.holds_for(&session) {
            return Ok(session);
        }
        Err(Error::Forbidden(match authority {
            Authority::Socket(_) => format!("session {id} is not on this socket: register it here first"),
            _ => format!("this is not the session_token of session {id}; send the one that its registration answered"),
        }))
    }

    fn gone(&self, id: &SessionId) -> Option<Error> {
        match self.tombstones.get(id) {
            Some(tombstone) => tombstone.gone(id.as_str(), self.timing, self.now.wall),
            None => self.registry.gone(id.as_str(), self.now.wall),
        }
    }

    /// All live sessions that fit, as the changes of this batch have left them.
    fn all(&self, fits: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let view = self.registry.view();
        let kept = view.sessions().filter(|session| !self.sessions.contains_key(&session.id));
        let drafted = self.sessions.values().flatten();
        kept.chain(drafted).filter(|session| fits(session)).cloned().collect()
    }

    fn push(&mut self, kind: Kind, session: Session, actor: Actor, now: Now) -> &mut Event {
        let session = Arc::new(session);
        let after = (kind != Kind::Removed).then(|| session.clone());
        if kind.changes_session() {
            self.sessions.insert(session.id.clone(), after);
        }
        self.seq += 1;
        let event =
            Event { seq: self.seq, at: now.wall, kind, session, actor, reason: None, cause: None, message: None };
        self.events.push(event);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    fn register(&mut self, asked: &Registration, now: Now) -> Result<Outcome> {
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
        self.take_place(asked.registered_by.as_ref())?;
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
            heartbeat_interval: asked.heartbeat_interval,
            client: asked.client.clone(),
            remote_addr: asked.remote_addr.clone(),
            meta: asked.meta.clone(),
            kill: None,
            token: Some(asked.fresh_token),
            registered_by: asked.registered_by.clone(),
            stale: false,
            socket: asked.socket,
        };
        let event =
            self.push(Kind::Registered, session, Actor { from: asked.remote_addr.clone(), ..Actor::default() }, now);
        Ok(Outcome::Registered { session: event.session.clone(), resumed: false, fresh_token: true })
    }

    /// Counts one more session, if there may be one more.
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
        let report = Report {
            status: asked.status.clone(),
            task: asked.status.as_ref().map(|_| asked.task.clone()),
            visibility: asked.visibility,
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
        let told_anew = !same_report(session, &after);
        if fresh_token {
            after.token = Some(asked.fresh_token);
        }
        after.socket = asked.socket.or(session.socket);
        let recovered = after.stale;
        after.stale = false;
        session.pulse.beat(now);
        // A new token has to be durable; the mere opening of a socket is not in the log.
        let kind = match () {
            () if recovered => Kind::Recovered,
            () if told_anew || fresh_token => Kind::StatusChanged,
            () => Kind::Connection,
        };
        let event = self.push(kind, after, Actor::default(), now);
        Ok(Outcome::Registered { session: event.session.clone(), resumed: true, fresh_token })
    }

    fn report(&mut self, id: &SessionId, report: &Report, authority: &Authority, now: Now) -> Result<Outcome> {
        let session = self.authorized(id, authority)?;
        let after = apply_report(&session, report, now);
        if !same_report(&session, &after) {
            self.push(Kind::StatusChanged, after, Actor::default(), now);
        }
        Ok(Outcome::Done)
    }

    fn disconnect(&mut self, id: &SessionId, socket: SocketId, now: Now) -> Outcome {
        if let Some(session) = self.get(id).filter(|session| session.socket == Some(socket)) {
            let after = Session { socket: None, ..(*session).clone() };
            self.push(Kind::Connection, after, Actor::default(), now);
        }
        Outcome::Done
    }

    fn kill(
        &mut self,
        target: &Target,
        kill_id: &Arc<str>,
        reason: Option<&Arc<str>>,
        actor: &Actor,
        now: Now,
    ) -> Result<Outcome> {
        match target {
            Target::Session(id) => {
                let session = self.within(id, actor)?;
                if let Some(kill) = &session.kill {
                    return Ok(Outcome::Kill(kill.clone()));
                }
                Ok(Outcome::Kill(self.request_kill(&session, kill_id.clone(), reason, actor, now)))
            }
            Target::App(app) => {
                let asked = self
                    .all(|session| session.app == *app && session.kill.is_none() && actor.scope.allows(&session.app));
                for (index, session) in asked.iter().enumerate() {
                    let kill_id = if index == 0 { kill_id.clone() } else { format!("{kill_id}.{index}").into() };
                    self.request_kill(session, kill_id, reason, actor, now);
                }
                Ok(Outcome::Count(asked.len()))
            }
        }
    }

    fn request_kill(
        &mut self,
        session: &Arc<Session>,
        kill_id: Arc<str>,
        reason: Option<&Arc<str>>,
        actor: &Actor,
        now: Now,
    ) -> Arc<Kill> {
        let within = self.timing.confirm_within(session.connected(), session.heartbeat_interval);
        let kill = Arc::new(Kill {
            kill_id,
            requested_at: now.wall,
            requested_by: actor.by.clone().unwrap_or_else(|| "local".into()),
            reason: reason.cloned(),
            delivered_at: None,
            acknowledged_at: None,
            confirm_by: now.wall.plus(within),
        });
        let after = Session { kill: Some(kill.clone()), ..(**session).clone() };
        let event = self.push(Kind::KillRequested, after, actor.clone(), now);
        event.reason = reason.cloned();
        kill
    }

    fn kill_step(&mut self, session: &Session, kill_id: &str, step: Kind, now: Now) -> Result<Outcome> {
        let Some(kill) = session.kill.as_ref().filter(|kill| &*kill.kill_id == kill_id) else {
            return Err(Error::Invalid(format!("kill_id {kill_id:?} is not the kill of session {}", session.id)));
        };
        let delivered = kill.delivered_at.is_some();
        let acknowledged = kill.acknowledged_at.is_some();
        if step == Kind::KillAcknowledged {
            // Who acknowledges has been told, whichever of the two notes comes first.
            let mut kill = (**kill).clone();
            if !delivered {
                kill.delivered_at = Some(now.wall);
                let after = Session { kill: Some(Arc::new(kill.clone())), ..session.clone() };
                self.push(Kind::KillDelivered, after, Actor::default(), now);
            }
            if !acknowledged {
                kill.acknowledged_at = Some(now.wall);
                let after = Session { kill: Some(Arc::new(kill)), ..session.clone() };
                self.push(Kind::KillAcknowledged, after, Actor::default(), now);
            }
        } else if !delivered {
            let kill = Kill { delivered_at: Some(now.wall), ..(**kill).clone() };
            let after = Session { kill: Some(Arc::new(kill)), ..session.clone() };
            self.push(Kind::KillDelivered, after, Actor::default(), now);
        }
        Ok(Outcome::Done)
    }

    fn remove(&mut self, session: &Session, cause: Cause, actor: Actor, now: Now) {
        let killed = session.kill.clone();
        let cause = if killed.is_some() { Cause::Killed } else { cause };
        let event = self.push(Kind::Removed, session.clone(), actor, now);
        event.cause = Some(cause);
        if let Some(kill) = killed {
            event.reason.clone_from(&kill.reason);
            event.actor.by = Some(kill.requested_by.clone());
        }
        if let Some(tombstone) = event.tombstone() {
            self.tombstones.insert(session.id.clone(), tombstone);
        }
    }

    fn go_stale(&mut self, id: &SessionId, now: Now) -> Outcome {
        if let Some(session) = self.get(id) {
            let silent = self.registry.silence(&session.pulse, now) >= self.timing.stale_after;
            if silent && !session.stale && !session.connected() {
                let after = Session { stale: true, ..(*session).clone() };
                self.push(Kind::Stale, after, Actor::default(), now);
            }
        }
        Outcome::Done
    }

    fn recover(&mut self, id: &SessionId, now: Now) -> Outcome {
        if let Some(session) = self.get(id).filter(|session| session.stale) {
            let after = Session { stale: false, ..(*session).clone() };
            self.push(Kind::Recovered, after, Actor::default(), now);
        }
        Outcome::Done
    }

    fn expire(&mut self, id: &SessionId, now: Now) -> Outcome {
        if let Some(session) = self.get(id) {
            let silent = self.registry.silence(&session.pulse, now) >= self.timing.expire_after;
            if silent && !session.connected() {
                self.remove(&session, Cause::Expired, Actor::default(), now);
            }
        }
        Outcome::Done
    }

    fn send(&mut self, target: &Target, message: &Arc<Message>, actor: &Actor, now: Now) -> Result<Outcome> {
        let recipients = match target {
            Target::Session(id) => vec![self.within(id, actor)?],
            Target::App(app) => self.all(|session| session.app == *app && actor.scope.allows(&session.app)),
        };
        let ids = recipients.iter().map(|session| session.id.clone()).collect();
        for session in recipients {
            self.note(Kind::MessageSent, session, actor.clone(), message, now);
        }
        Ok(Outcome::Recipients(ids))
    }

    fn note(&mut self, kind: Kind, session: Arc<Session>, actor: Actor, message: &Arc<Message>, now: Now) {
        let session = Arc::unwrap_or_clone(session);
        self.push(kind, session, actor, now).message = Some(message.clone());
    }
}

fn apply_report(session: &Session, report: &Report, now: Now) -> Session {
    let mut after = session.clone();
    let status_changed = report.status.as_ref().is_some_and(|status| *status != session.status);
    if let Some(status) = &report.status {
        after.status = status.clone();
    }
    match &report.task {
        Some(task) => after.task.clone_from(task),
        None if status_changed => after.task = None,
        None => {}
    }
    let begun_anew = status_changed && session.status == Status::Idle;
    if after.task.is_none() {
        after.task_started_at = None;
    } else if after.task != session.task || begun_anew {
        after.task_started_at = Some(now.wall);
    }
    if status_changed || after.task != session.task {
        after.status_since = now.wall;
    }
    if report.visibility.is_some() {
        after.visibility = report.visibility;
    }
    if let Some(meta) = &report.meta {
        after.meta.clone_from(meta);
    }
    after
}

fn same_report(a: &Session, b: &Session) -> bool {
    a.status == b.status
        && a.task == b.task
        && a.task_started_at == b.task_started_at
        && a.visibility == b.visibility
        && a.meta == b.meta
        && a.user == b.user
        && a.heartbeat_interval.to_bits() == b.heartbeat_interval.to_bits()
}
