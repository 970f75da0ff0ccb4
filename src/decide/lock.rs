//! Locks: made, changed, announced, lifted, over.

use std::collections::HashSet;
use std::sync::Arc;

use super::draft::Draft;
use super::outcome::Outcome;
use crate::change::{Actor, Kind, LockFor, Message, NewLock};
use crate::clock::{Now, Timestamp};
use crate::error::{Error, Result};
use crate::fields::REASON_MAX;
use crate::lock::{ANNOUNCED_BEFORE, LOCKS_MAX, LONGEST, Lock, Who};
use crate::session::Session;

/// The reason of a lock that comes with a kill request without one.
const NO_REASON: &str = "an administrator ended the session";

/// The lock that a kill request asks for.
#[derive(Clone, Copy)]
pub(super) struct KillLock<'a> {
    pub(super) lock_for: Option<LockFor>,
    pub(super) reason: Option<&'a Arc<str>>,
    pub(super) kill_id: &'a Arc<str>,
    pub(super) actor: &'a Actor,
}

impl Draft<'_> {
    /// Makes a lock, or changes the one on the same users with the same start.
    pub(super) fn lock(&mut self, asked: &NewLock, actor: &Actor, now: Now) -> Result<Outcome> {
        self.may_lock(&asked.who, actor)?;
        check_times(asked, now.wall)?;
        let (lock, fresh) = self.put_lock(asked, actor, now)?;
        Ok(Outcome::Lock { lock, fresh })
    }

    /// Locks the users of these sessions out of their apps, all or none.
    pub(super) fn lock_users(
        &mut self,
        sessions: &[Arc<Session>],
        kill: KillLock<'_>,
        now: Now,
    ) -> Result<Vec<Arc<Lock>>> {
        if kill.lock_for.is_none() {
            return Ok(Vec::new());
        }
        if let Some(nobodys) = sessions.iter().find(|session| session.user.is_none()) {
            return Err(Error::Invalid(format!(
                "lock_for locks out the user of a session, and session {} has no user_id; leave it out, or lock the whole app with POST /locks",
                nobodys.id
            )));
        }
        let mut known = HashSet::new();
        let users = sessions.iter().filter(|session| known.insert((&session.app, &session.user)));
        let users = users.map(|session| Who {
            app_name: Some(session.app.clone()),
            user_id: session.user.clone(),
            filter: None,
        });
        self.lock_with_kill(users.collect(), kill, now)
    }

    /// Locks everybody out of an app.
    pub(super) fn lock_app(&mut self, app: &Arc<str>, kill: KillLock<'_>, now: Now) -> Result<Vec<Arc<Lock>>> {
        self.lock_with_kill(vec![Who { app_name: Some(app.clone()), ..Who::default() }], kill, now)
    }

    /// Makes the locks of a kill request, all or none. They never shorten a lock that there is.
    fn lock_with_kill(&mut self, whom: Vec<Who>, kill: KillLock<'_>, now: Now) -> Result<Vec<Arc<Lock>>> {
        let until = match kill.lock_for {
            None => return Ok(Vec::new()),
            Some(LockFor::Time(time)) => Some(now.wall.plus(time)),
            Some(LockFor::UntilLifted) => None,
        };
        let reason = kill.reason.cloned().unwrap_or_else(|| NO_REASON.into());
        for who in &whom {
            self.may_lock(who, kill.actor)?;
        }
        let fresh = whom.iter().filter(|who| self.locked_already(who, now).is_none()).count();
        self.has_room(fresh)?;
        let mut locks = Vec::with_capacity(whom.len());
        for (index, who) in whom.into_iter().enumerate() {
            let lasts = |lock: &&Arc<Lock>| lock.until.is_none_or(|known| until.is_some_and(|until| until <= known));
            if let Some(lock) = self.locked_already(&who, now).filter(lasts) {
                locks.push(lock.clone());
                continue;
            }
            let kill_id = kill.kill_id;
            let lock_id = if index == 0 { kill_id.clone() } else { format!("{kill_id}.{index}").into() };
            let asked = NewLock { lock_id, who, reason: reason.clone(), from: None, until };
            locks.push(self.put_lock(&asked, kill.actor, now)?.0);
        }
        Ok(locks)
    }

    /// The lock on these users that has no start.
    fn locked_already(&self, who: &Who, now: Now) -> Option<&Arc<Lock>> {
        self.locks.iter().find(|lock| lock.who == *who && lock.from.is_none() && !lock.is_over(now.wall))
    }

    fn has_room(&self, fresh: usize) -> Result<()> {
        if self.locks.len() + fresh > LOCKS_MAX {
            return Err(Error::Busy(format!("there can be {LOCKS_MAX} locks at most; lift some first")));
        }
        Ok(())
    }

    /// Lifts a lock.
    pub(super) fn unlock(&mut self, lock_id: &str, actor: &Actor, now: Now) -> Result<Outcome> {
        let found = self.locks.get(lock_id).filter(|lock| lock.who.is_within(&actor.scope));
        let Some(lock) = found.cloned() else {
            return Err(Error::NoLock(lock_id.chars().take(128).collect()));
        };
        self.note_lock(Kind::Unlocked, lock, actor.clone(), now);
        Ok(Outcome::Done)
    }

    /// Forgets a lock whose end has come.
    pub(super) fn end_lock(&mut self, lock_id: &str, now: Now) -> Outcome {
        if let Some(lock) = self.locks.get(lock_id).filter(|lock| lock.is_over(now.wall)).cloned() {
            self.note_lock(Kind::Unlocked, lock, Actor::default(), now);
        }
        Outcome::Done
    }

    /// Tells the users of a lock that it begins soon.
    pub(super) fn announce_lock(&mut self, lock_id: &str, now: Now) -> Outcome {
        if let Some(lock) = self.locks.get(lock_id).filter(|lock| lock.should_be_announced(now.wall)).cloned() {
            let lock = Arc::new(Lock { announced_at: Some(now.wall), ..(*lock).clone() });
            self.note_lock(Kind::LockAnnounced, lock.clone(), Actor::default(), now);
            self.announce(&lock, now);
        }
        Outcome::Done
    }

    /// The error for this session, if a lock keeps it out now.
    pub(super) fn kept_out(&self, session: &Session, now: Now) -> Result<()> {
        match self.locks.keeping_out(session, now.wall) {
            Some(lock) => Err(lock.refusal(now.wall)),
            None => Ok(()),
        }
    }

    fn may_lock(&self, who: &Who, actor: &Actor) -> Result<()> {
        if who.is_within(&actor.scope) {
            return Ok(());
        }
        Err(Error::Forbidden(match &who.app_name {
            Some(app) => format!("this token is limited to other apps than {app:?}"),
            None => "this token is limited to some apps: give app_name, one of these".to_owned(),
        }))
    }

    /// Puts a lock in place; returns it, and whether there was none on the same users before.
    fn put_lock(&mut self, asked: &NewLock, actor: &Actor, now: Now) -> Result<(Arc<Lock>, bool)> {
        let same = |lock: &&Arc<Lock>| lock.who == asked.who && lock.from == asked.from && !lock.is_over(now.wall);
        let before = self.locks.iter().find(same).cloned();
        self.has_room(usize::from(before.is_none()))?;
        let announces = asked.from.is_some_and(|from| from > now.wall);
        let soon = asked.from.is_some_and(|from| from.minus(ANNOUNCED_BEFORE) <= now.wall);
        let lock = Arc::new(Lock {
            lock_id: before.as_ref().map_or_else(|| asked.lock_id.clone(), |before| before.lock_id.clone()),
            who: asked.who.clone(),
            reason: asked.reason.clone(),
            from: asked.from,
            until: asked.until,
            by: actor.by.clone().unwrap_or_else(|| "local".into()),
            created_at: before.as_ref().map_or(now.wall, |before| before.created_at),
            announced_at: (announces && soon).then_some(now.wall),
        });
        self.note_lock(Kind::Locked, lock.clone(), actor.clone(), now);
        if announces {
            self.announce(&lock, now);
        }
        Ok((lock, before.is_none()))
    }

    /// Adds an event about a lock.
    fn note_lock(&mut self, kind: Kind, lock: Arc<Lock>, actor: Actor, now: Now) {
        let session = Session {
            app: lock.who.app_name.clone().unwrap_or_default(),
            user: lock.who.user_id.clone(),
            ..Session::none(now)
        };
        if kind == Kind::Unlocked {
            self.locks.remove(&lock.lock_id);
        } else {
            self.locks.put(lock.clone());
        }
        let event = self.push(kind, session, actor, now);
        event.reason = Some(lock.reason.clone());
        event.lock = Some(lock);
    }

    /// Sends a message to the sessions that a lock concerns.
    fn announce(&mut self, lock: &Lock, now: Now) {
        let concerned = self.all(|session| lock.who.fits(session, now.wall));
        self.announce_to(concerned, lock, now);
    }

    /// Tells a new session of the locks that begin soon: those that were there before it know already.
    pub(super) fn announce_locks_to(&mut self, session: &Arc<Session>, now: Now) {
        let told = |lock: &&Arc<Lock>| lock.begins_soon(now.wall) && lock.announced_at.is_some();
        let locks = self.locks.iter().filter(told).filter(|lock| lock.who.fits(session, now.wall));
        for lock in locks.cloned().collect::<Vec<_>>() {
            self.announce_to(vec![session.clone()], &lock, now);
        }
    }

    fn announce_to(&mut self, sessions: Vec<Arc<Session>>, lock: &Lock, now: Now) {
        let message = Arc::new(Message {
            message_id: format!("{}.{}", lock.lock_id, self.seq + 1).into(),
            text: lock.announcement().chars().take(REASON_MAX).collect::<String>().into(),
            level: "warning",
            warning: None,
            by: Some(lock.by.clone()),
        });
        let actor = Actor { by: Some(lock.by.clone()), ..Actor::default() };
        for session in sessions {
            self.note_message(Kind::MessageSent, session, actor.clone(), &message, now);
        }
    }
}

/// Refuses a lock that never holds, or that no one remembers when it ends.
fn check_times(asked: &NewLock, now: Timestamp) -> Result<()> {
    let wrong = |why: &str| Err(Error::Invalid(why.to_owned()));
    match (asked.from, asked.until) {
        (_, Some(until)) if until <= now => wrong("until has passed; give a time in the future, or none"),
        (Some(from), Some(until)) if until <= from => wrong("until must be after from"),
        (Some(from), _) if from > now.plus(LONGEST) => wrong("from is more than a year away"),
        (from, Some(until)) if until > from.unwrap_or(now).max(now).plus(LONGEST) => {
            wrong("until is more than a year away; leave it out for a lock that holds until it is lifted")
        }
        _ => Ok(()),
    }
}
