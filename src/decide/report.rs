//! Reports of clients, and sockets that close.

use super::draft::Draft;
use super::outcome::Outcome;
use crate::change::{Actor, Authority, Kind, Report};
use crate::clock::Now;
use crate::error::Result;
use crate::session::{Session, SessionId, SocketId, Status};

impl Draft<'_> {
    /// Applies a client's report; a report that changes nothing adds no event.
    pub(super) fn report(
        &mut self,
        id: &SessionId,
        report: &Report,
        authority: &Authority,
        now: Now,
    ) -> Result<Outcome> {
        let session = self.authorized(id, authority)?;
        let after = apply_report(&session, report, now);
        if !same_report(&session, &after) {
            self.push(Kind::StatusChanged, after, Actor::default(), now);
        }
        Ok(Outcome::Done)
    }

    /// Records that a socket has closed, if it is still the session's.
    pub(super) fn disconnect(&mut self, id: &SessionId, socket: SocketId, now: Now) -> Outcome {
        if let Some(session) = self.get(id).filter(|session| session.socket == Some(socket)) {
            let after = Session { socket: None, ..(*session).clone() };
            self.push(Kind::Connection, after, Actor::default(), now);
        }
        Outcome::Done
    }
}

/// The session after a report.
pub(super) fn apply_report(session: &Session, report: &Report, now: Now) -> Session {
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
    let begins_work = status_changed && session.status == Status::Idle;
    if after.task.is_none() {
        after.task_started_at = None;
    } else if after.task != session.task || begins_work {
        after.task_started_at = Some(now.wall);
    }
    if status_changed || after.task != session.task {
        after.status_since = now.wall;
    }
    if report.visibility.is_some() {
        after.visibility = report.visibility;
    }
    if let Some(silent) = report.no_input_for {
        after.input = session.input.after(silent, now.wall);
    }
    if let Some(meta) = &report.meta {
        after.meta.clone_from(meta);
    }
    after
}

/// Whether both versions say the same in everything that a client reports.
pub(super) fn same_report(a: &Session, b: &Session) -> bool {
    a.status == b.status
        && a.task == b.task
        && a.task_started_at == b.task_started_at
        && a.visibility == b.visibility
        && a.input == b.input
        && a.meta == b.meta
        && a.user == b.user
        && a.heartbeat_interval.to_bits() == b.heartbeat_interval.to_bits()
}
