//! The rules: what events a change becomes, given the sessions as they are. Pure: no I/O and no
//! clock. The one writer decides one change after another, so no two changes can race.

mod draft;
mod judge;
mod kill;
mod lock;
mod message;
mod outcome;
mod register;
mod report;
mod rule;
mod silence;

use crate::change::{Change, Kind};
use crate::clock::Now;
use crate::error::Result;
pub use draft::{Draft, Limits};
pub use judge::{Judgement, judge};
pub use outcome::Outcome;

impl Draft<'_> {
    /// Decides one change. A refused change adds no event.
    ///
    /// # Errors
    /// The change is refused; the error says why.
    pub fn decide(&mut self, change: &Change, now: Now) -> Result<Outcome> {
        self.now = now;
        match change {
            Change::Register(registration) => self.register(registration, now),
            Change::Report(id, report, authority) => self.report(id, report, authority, now),
            Change::Disconnect(id, socket) => Ok(self.disconnect(id, *socket, now)),
            Change::Kill { target, kill_id, reason, lock_for, actor } => {
                self.kill(target, kill_id, reason.as_ref(), *lock_for, actor, now)
            }
            Change::Lock { lock, actor } => self.lock(lock, actor, now),
            Change::Unlock(lock_id, actor) => self.unlock(lock_id, actor, now),
            Change::EndLock(lock_id) => Ok(self.end_lock(lock_id, now)),
            Change::AnnounceLock(lock_id) => Ok(self.announce_lock(lock_id, now)),
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
            Change::RemoveSilent { before, actor } => Ok(self.remove_silent(*before, actor, now)),
            Change::Judge(id, rule) => Ok(self.judge(id, rule, now)),
            Change::Stay { id, actor, authority } => self.stay(id, actor, authority, now),
            Change::LoggedIn(actor) => Ok(self.logged_in(actor, now)),
            Change::Probe => Ok(Outcome::Done),
            Change::GoStale(id) => Ok(self.go_stale(id, now)),
            Change::Recover(id) => Ok(self.recover(id, now)),
            Change::Expire(id) => Ok(self.expire(id, now)),
            Change::Send { target, message, actor } => self.send(target, message, actor, now),
            Change::MessageDelivered(id, message_id, authority) => {
                let session = self.authorized(id, authority)?;
                Ok(self.message_delivered(session, message_id, now))
            }
        }
    }
}
