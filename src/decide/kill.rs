//! Kill requests and their steps, and the removal of sessions.

use std::sync::Arc;

use super::draft::Draft;
use super::lock::KillLock;
use super::outcome::Outcome;
use crate::change::{Actor, Cause, Kind, LockFor, Target};
use crate::clock::{Now, Timestamp};
use crate::error::{Error, Result};
use crate::session::{Kill, Session};

impl Draft<'_> {
    /// Requests a kill for each target that has no kill request yet.
    pub(super) fn kill(
        &mut self,
        target: &Target,
        kill_id: &Arc<str>,
        reason: Option<&Arc<str>>,
        lock_for: Option<LockFor>,
        actor: &Actor,
        now: Now,
    ) -> Result<Outcome> {
        let with_lock = KillLock { lock_for, reason, kill_id, actor };
        match target {
            Target::Session(id) => {
                let session = self.within(id, actor)?;
                let locks = self.lock_users(std::slice::from_ref(&session), with_lock, now)?;
                let kill = match &session.kill {
                    Some(kill) => kill.clone(),
                    None => self.request_kill(&session, kill_id.clone(), reason, actor, now),
                };
                Ok(Outcome::Kill(kill, locks.into_iter().next()))
            }
            Target::App(_) | Target::Filter(_) => {
                let asked = self.all(|session| {
                    session.kill.is_none() && actor.scope.allows(&session.app) && target.includes(session, now.wall)
                });
                let locks = match target {
                    Target::App(app) => self.lock_app(app, with_lock, now)?,
                    _ => self.lock_users(&asked, with_lock, now)?,
                };
                for (index, session) in asked.iter().enumerate() {
                    let kill_id = if index == 0 { kill_id.clone() } else { format!("{kill_id}.{index}").into() };
                    self.request_kill(session, kill_id, reason, actor, now);
                }
                Ok(Outcome::Asked(asked.iter().map(|session| session.id.clone()).collect(), locks))
            }
        }
    }

    pub(super) fn request_kill(
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

    /// Records that the kill request was delivered or acknowledged; the first time counts.
    pub(super) fn kill_step(&mut self, session: &Session, kill_id: &str, step: Kind, now: Now) -> Result<Outcome> {
        let Some(kill) = session.kill.as_ref().filter(|kill| &*kill.kill_id == kill_id) else {
            return Err(Error::Invalid(format!("kill_id {kill_id:?} is not the kill of session {}", session.id)));
        };
        let delivered = kill.delivered_at.is_some();
        let acknowledged = kill.acknowledged_at.is_some();
        if step == Kind::KillAcknowledged {
            // An acknowledgement implies the delivery, whichever of the two changes comes first.
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

    /// Removes a session; one with a kill request is removed as killed and leaves a tombstone.
    pub(super) fn remove(&mut self, session: &Session, cause: Cause, actor: Actor, now: Now) {
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

    /// Removes the sessions without a socket whose last heartbeat is older than `before`.
    pub(super) fn remove_silent(&mut self, before: Timestamp, actor: &Actor, now: Now) -> Outcome {
        let silent = self
            .all(|session| !session.connected() && session.pulse.wall() < before && actor.scope.allows(&session.app));
        for session in &silent {
            self.remove(session, Cause::Deleted, actor.clone(), now);
        }
        Outcome::Count(silent.len())
    }
}
