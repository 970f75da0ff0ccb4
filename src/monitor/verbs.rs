//! What callers do to sessions, one method a verb. Everything that HTTP and the sockets change goes
//! through here; heartbeats are answered from memory, changes by the writer.

use std::sync::Arc;
use std::time::Duration;

use super::reports::Way;
use super::{Monitor, Pending, fresh_id, full};
use crate::change::{Actor, Authority, Cause, Change, LockFor, Message, NewLock, Registration, Report, Target};
use crate::clock::Timestamp;
use crate::decide::Outcome;
use crate::error::Result;
use crate::lock::Lock;
use crate::session::{Kill, Session, SessionId, SocketId};
use crate::timing::Timing;

/// A session after its registration.
pub struct Registered {
    /// The session now.
    pub session: Arc<Session>,
    /// It existed before.
    pub resumed: bool,
    /// Its token is now the fresh one of the registration.
    pub fresh_token: bool,
}

/// Who got a message.
pub struct Sent {
    /// The id of the message.
    pub message_id: Arc<str>,
    /// Clients that it was sent to.
    pub sent: usize,
    /// Sessions without a socket.
    pub unreachable: usize,
    /// When each client showed it; `None` where that is not known yet.
    pub deliveries: Vec<(SessionId, Option<Timestamp>)>,
}

impl Monitor {
    /// Creates or resumes a session.
    ///
    /// # Errors
    /// Killed id, another client's id, too many sessions, store.
    pub async fn register(&self, registration: Registration) -> Result<Registered> {
        if self.reports_too_fast(&registration) {
            // A registration can change as much as a report, so it has the same rate.
            tokio::time::sleep(self.timing().report_every).await;
        }
        match self.ask(Change::Register(Box::new(registration))).await? {
            Outcome::Registered { session, resumed, fresh_token } => Ok(Registered { session, resumed, fresh_token }),
            _ => Err(full()),
        }
    }

    /// Whether a live session registers again faster than it may report.
    #[must_use]
    pub fn reports_too_fast(&self, registration: &Registration) -> bool {
        let Timing { report_every, report_burst, .. } = *self.timing();
        let session = self.registry.get(registration.id.as_str());
        !report_every.is_zero()
            && session.is_some_and(|session| {
                Authority::Proof(registration.proof).holds_for(&session)
                    && !session.pulse.may_report(self.clock.now().mono, report_every, report_burst)
            })
    }

    /// Takes a heartbeat, and the report that came with it if that changes anything.
    ///
    /// # Errors
    /// Unknown or killed id; the store, where something new was said.
    pub async fn heartbeat(&self, id: &str, report: Option<Report>, authority: Authority) -> Result<Arc<Session>> {
        self.beat(self.session(id)?, report, authority).await
    }

    /// As [`Monitor::heartbeat`], for a caller that has the session.
    ///
    /// # Errors
    /// The store, where something new was said.
    pub async fn beat(
        &self,
        session: Arc<Session>,
        report: Option<Report>,
        authority: Authority,
    ) -> Result<Arc<Session>> {
        self.alive(&session).await;
        if let Some(report) = report.filter(|report| says_more(&session, report, self.now())) {
            self.write_report(&session, report, authority).await?;
        }
        // The answer tells the client of its kill request.
        if let Some(kill) = &session.kill {
            self.kill_delivered(&session.id, kill);
        }
        Ok(session)
    }

    /// Records that a session is alive; marks a stale session as alive.
    async fn alive(&self, session: &Session) {
        self.registry.beat_session(session, self.clock.now());
        if session.stale {
            // This heartbeat changes what dashboards show, so it waits for the store, for 1 s at most:
            // it counts even if the store is slow.
            let recovered = self.ask(Change::Recover(session.id.clone()));
            let _ = tokio::time::timeout(Duration::from_secs(1), recovered).await;
        }
    }

    /// Records that the client received its kill request; the first time counts.
    pub fn kill_delivered(&self, id: &SessionId, kill: &Kill) {
        if kill.delivered_at.is_none() {
            self.note(Change::KillDelivered(id.clone(), kill.kill_id.clone(), Authority::Server));
        }
    }

    /// Takes a sign of life of a session over this socket; cheap, never waits. It counts only
    /// while the socket is the session's.
    pub fn pulse(&self, session: &SessionId, socket: SocketId) {
        let Some(session) = self.registry.get(session.as_str()).filter(|session| session.socket == Some(socket)) else {
            return;
        };
        self.registry.beat_session(&session, self.clock.now());
        if session.stale {
            self.note(Change::Recover(session.id.clone()));
        }
    }

    /// Takes a client's report.
    ///
    /// # Errors
    /// Unknown or killed id, store.
    pub async fn report(&self, id: SessionId, report: Report, authority: Authority) -> Result<()> {
        let session = self.session(id.as_str())?;
        self.alive(&session).await;
        self.write_report(&session, report, authority).await.map(drop)
    }

    /// Waits until a report is durable, alone or merged with newer ones.
    async fn write_report(&self, session: &Session, report: Report, authority: Authority) -> Result<Outcome> {
        match self.reports.take(session, report, authority, self.clock.now(), self.timing()) {
            Way::Direct(report) => self.ask(Change::Report(session.id.clone(), report, authority)).await,
            Way::Merged(written) => Pending(written).done().await,
        }
    }

    /// As [`Monitor::report`], for sockets: does not wait. `None` if the session reports faster than
    /// its rate, so that the report was merged with others.
    ///
    /// # Errors
    /// The server ends.
    pub async fn submit_report(&self, id: SessionId, report: Report, authority: Authority) -> Result<Option<Pending>> {
        let report = match self.registry.get(id.as_str()) {
            Some(session) => match self.reports.take(&session, report, authority, self.clock.now(), self.timing()) {
                Way::Direct(report) => report,
                Way::Merged(_) => return Ok(None),
            },
            None => report,
        };
        self.submit(Change::Report(id, report, authority)).await.map(Some)
    }

    /// Requests a kill; a session that has a kill request keeps the first one, which is returned with
    /// the lock that `lock_for` has made.
    ///
    /// # Errors
    /// Unknown or killed id, a lock for a session without a user, store.
    pub async fn kill(
        &self,
        id: SessionId,
        reason: Option<Arc<str>>,
        lock_for: Option<LockFor>,
        actor: Actor,
    ) -> Result<(Arc<Kill>, Option<Arc<Lock>>)> {
        let change = Change::Kill { target: Target::Session(id), kill_id: fresh_id(), reason, lock_for, actor };
        match self.ask(change).await? {
            Outcome::Kill(kill, lock) => Ok((kill, lock)),
            _ => Err(full()),
        }
    }

    /// Requests a kill for all sessions of an app or of a filter; returns those that had no kill request
    /// before, and the locks that `lock_for` has made.
    ///
    /// # Errors
    /// A lock for a session without a user, too many locks, store.
    pub async fn kill_all(
        &self,
        target: Target,
        reason: Option<Arc<str>>,
        lock_for: Option<LockFor>,
        actor: Actor,
    ) -> Result<(Vec<SessionId>, Vec<Arc<Lock>>)> {
        match self.ask(Change::Kill { target, kill_id: fresh_id(), reason, lock_for, actor }).await? {
            Outcome::Asked(asked, locks) => Ok((asked, locks)),
            _ => Err(full()),
        }
    }

    /// Calls off what rules are about to do with a session; returns these rules.
    ///
    /// # Errors
    /// Unknown or killed id, not allowed, store.
    pub async fn stay(&self, id: SessionId, actor: Actor, authority: Authority) -> Result<Vec<Arc<str>>> {
        match self.ask(Change::Stay { id, actor, authority }).await? {
            Outcome::Stayed(called_off) => Ok(called_off),
            _ => Err(full()),
        }
    }

    /// Makes a lock, or changes the one on the same users with the same start; returns whether it is a
    /// new one.
    ///
    /// # Errors
    /// An app outside the actor's scope, wrong times, too many locks, store.
    pub async fn lock(&self, lock: NewLock, actor: Actor) -> Result<(Arc<Lock>, bool)> {
        match self.ask(Change::Lock { lock: Box::new(lock), actor }).await? {
            Outcome::Lock { lock, fresh } => Ok((lock, fresh)),
            _ => Err(full()),
        }
    }

    /// Lifts a lock.
    ///
    /// # Errors
    /// Unknown id, store.
    pub async fn unlock(&self, lock_id: &str, actor: Actor) -> Result<()> {
        self.ask(Change::Unlock(lock_id.into(), actor)).await.map(drop)
    }

    /// Removes a session.
    ///
    /// # Errors
    /// Unknown or killed id, store.
    pub async fn remove(&self, id: SessionId, cause: Cause, actor: Actor, authority: Authority) -> Result<()> {
        self.ask(Change::Remove { id, cause, actor, authority }).await.map(drop)
    }

    /// Removes sessions without a socket whose last heartbeat is older than `before`; returns how many.
    ///
    /// # Errors
    /// Store.
    pub async fn remove_silent(&self, before: Timestamp, actor: Actor) -> Result<usize> {
        self.count(Change::RemoveSilent { before, actor }).await
    }

    async fn count(&self, change: Change) -> Result<usize> {
        match self.ask(change).await? {
            Outcome::Count(count) => Ok(count),
            _ => Err(full()),
        }
    }

    /// Sends a message, and waits up to `MESSAGE_WAIT` for the clients to show it.
    ///
    /// # Errors
    /// Unknown or killed id, store.
    pub async fn send(&self, target: Target, message: Message, actor: Actor) -> Result<Sent> {
        let mut shown = self.hub.deliveries();
        let message = Arc::new(message);
        let change = Change::Send { target, message: message.clone(), actor };
        let Outcome::Recipients(recipients) = self.ask(change).await? else { return Err(full()) };
        let reached = |id: &SessionId| self.registry.get(id.as_str()).is_some_and(|session| session.connected());
        let (reached, unreached): (Vec<_>, Vec<_>) = recipients.into_iter().partition(reached);
        let mut deliveries: Vec<(SessionId, Option<Timestamp>)> = reached.into_iter().map(|id| (id, None)).collect();
        let mut missing = deliveries.len();
        let until = tokio::time::Instant::now() + Timing::MESSAGE_WAIT;
        while missing > 0 {
            let Ok(Ok(delivery)) = tokio::time::timeout_at(until, shown.recv()).await else { break };
            let waiting = deliveries.iter_mut().find(|(id, at)| *id == delivery.session && at.is_none());
            if let Some((_, at)) = waiting.filter(|_| delivery.message_id == message.message_id) {
                *at = Some(delivery.at);
                missing -= 1;
            }
        }
        let (sent, unreachable) = (deliveries.len(), unreached.len());
        deliveries.extend(unreached.into_iter().map(|id| (id, None)));
        Ok(Sent { message_id: message.message_id.clone(), sent, unreachable, deliveries })
    }
}

/// Whether a heartbeat's report changes the session.
fn says_more(session: &Session, report: &Report, now: Timestamp) -> bool {
    report.status.as_ref().is_some_and(|status| *status != session.status)
        || report.task.as_ref().is_some_and(|task| *task != session.task)
        || (report.visibility.is_some() && report.visibility != session.visibility)
        || report.no_input_for.is_some_and(|silent| session.input.after(silent, now) != session.input)
        || report.meta.as_ref().is_some_and(|meta| *meta != session.meta)
}
