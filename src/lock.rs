//! Locks: who may not register for a while, and why.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::filter::Filter;
use crate::nodes::{Known, Named};
use crate::scope::Scope;
use crate::session::Session;

/// Most locks at a time.
pub const LOCKS_MAX: usize = 1_000;
/// The longest time of a lock that has an end.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);
/// When a client that is locked out without an end asks again.
pub const ASK_AGAIN: Duration = Duration::from_secs(300);
/// How long before its start a lock is announced once more to those whom it concerns.
pub const ANNOUNCED_BEFORE: Duration = Duration::from_secs(300);

/// Whom a lock keeps out. Each part that is set has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Who {
    /// Only registrations of this app.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub app_name: Option<Arc<str>>,
    /// Only registrations of this user.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub user_id: Option<Arc<str>>,
    /// Only registrations of sessions that match this filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub filter: Option<Arc<Filter>>,
}

impl Who {
    /// Whether it names nobody, which would lock out everybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.app_name.is_none() && self.user_id.is_none() && self.filter.is_none()
    }

    /// Whether a session is meant, at `now`.
    #[must_use]
    pub fn fits(&self, session: &Session, now: Timestamp) -> bool {
        let known = Known::default();
        let row = Named { session, known: &known };
        self.app_name.as_deref().is_none_or(|wanted| *wanted == *session.app)
            && self.user_id.as_deref().is_none_or(|wanted| Some(wanted) == session.user.as_deref())
            && self.filter.as_deref().is_none_or(|filter| filter.matches(&row, now.0))
    }

    /// Whether a caller with this scope may see and change locks on these. A lock that is not of
    /// one app needs a caller who is limited to none.
    #[must_use]
    pub fn is_within(&self, scope: &Scope) -> bool {
        match &self.app_name {
            Some(app) => scope.allows(app),
            None => scope.is_all(),
        }
    }
}

/// A lock: while it holds, those whom it names cannot register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Lock {
    /// The id of the lock.
    #[schema(value_type = String)]
    pub lock_id: Arc<str>,
    /// Whom it keeps out.
    #[serde(flatten)]
    pub who: Who,
    /// The reason, which those who are kept out read.
    #[schema(value_type = String)]
    pub reason: Arc<str>,
    /// When it begins; null for a lock that holds since it was made.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// When it ends; null for one that holds until it is lifted.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Who made it.
    #[schema(value_type = String)]
    pub by: Arc<str>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the users were told shortly before its start; null if that has not happened.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub announced_at: Option<Timestamp>,
}

impl Lock {
    /// Whether it keeps anybody out now.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.has_begun(now) && !self.is_over(now)
    }

    /// Whether its end has passed.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether its users should be told once more that it begins soon.
    #[must_use]
    pub fn should_be_announced(&self, now: Timestamp) -> bool {
        self.announced_at.is_none() && self.begins_soon(now) && !self.is_over(now)
    }

    /// Whether it begins within the time in which it is announced once more.
    #[must_use]
    pub fn begins_soon(&self, now: Timestamp) -> bool {
        self.from.is_some_and(|from| now < from && from.minus(ANNOUNCED_BEFORE) <= now)
    }

    /// The error of a registration that it keeps out.
    #[must_use]
    pub fn refusal(&self, now: Timestamp) -> Error {
        let left = |until: Timestamp| u64::try_from(until.since(now)).unwrap_or(0).div_ceil(1_000).max(1);
        Error::Locked {
            reason: self.reason.to_string(),
            until: self.until,
            retry_after: self.until.map_or(ASK_AGAIN.as_secs(), left),
        }
    }

    /// What its users are told before it begins.
    #[must_use]
    pub fn announcement(&self) -> String {
        let minute = |at: Timestamp| at.to_string().chars().take(16).collect::<String>().replace('T', " ");
        let from = self.from.map(minute).unwrap_or_default();
        let until = self.until.map(|until| format!(" to {}", minute(until))).unwrap_or_default();
        format!("Closed from {from}{until} UTC: {}", self.reason)
    }

    fn has_begun(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now)
    }
}

/// All locks. A clone costs one pointer, and does not change with the original.
#[derive(Clone, Debug, Default)]
pub struct Locks(Arc<Vec<Arc<Lock>>>);

impl Locks {
    /// These locks.
    #[must_use]
    pub fn of(locks: Vec<Lock>) -> Self {
        let mut all = Self(Arc::new(locks.into_iter().map(Arc::new).collect()));
        all.sort();
        all
    }

    /// All locks, oldest first; those that do not hold yet, or no longer, are among them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Lock>> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lock with this id.
    #[must_use]
    pub fn get(&self, lock_id: &str) -> Option<&Arc<Lock>> {
        self.0.iter().find(|lock| *lock.lock_id == *lock_id)
    }

    /// Of the locks that keep out this session, the one that holds longest.
    #[must_use]
    pub fn keeping_out(&self, session: &Session, now: Timestamp) -> Option<&Arc<Lock>> {
        let holding = self.0.iter().filter(|lock| lock.holds(now) && lock.who.fits(session, now));
        holding.max_by_key(|lock| lock.until.unwrap_or(Timestamp(i64::MAX)))
    }

    /// Adds a lock, or replaces the one with its id.
    pub fn put(&mut self, lock: Arc<Lock>) {
        let locks = Arc::make_mut(&mut self.0);
        locks.retain(|known| known.lock_id != lock.lock_id);
        locks.push(lock);
        self.sort();
    }

    /// Removes a lock.
    pub fn remove(&mut self, lock_id: &str) {
        Arc::make_mut(&mut self.0).retain(|lock| *lock.lock_id != *lock_id);
    }

    fn sort(&mut self) {
        Arc::make_mut(&mut self.0)
            .sort_by(|one, other| (one.created_at, &one.lock_id).cmp(&(other.created_at, &other.lock_id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    fn lock(app: Option<&str>, user: Option<&str>, from: Option<i64>, until: Option<i64>) -> Lock {
        Lock {
            lock_id: "l".into(),
            who: Who { app_name: app.map(Into::into), user_id: user.map(Into::into), filter: None },
            reason: "audit".into(),
            from: from.map(Timestamp),
            until: until.map(Timestamp),
            by: "ana".into(),
            created_at: Timestamp(0),
            announced_at: None,
        }
    }

    fn session(app: &str, user: Option<&str>) -> Session {
        Session { app: app.into(), user: user.map(Into::into), ..Session::none(Now::default()) }
    }

    #[test]
    fn a_lock_names_an_app_a_user_a_filter_or_several_of_these() {
        let fits = |lock: Lock, app: &str, user| lock.who.fits(&session(app, user), Timestamp(0));
        let of = |app, user| lock(app, user, None, None);
        assert!(fits(of(Some("risk"), None), "risk", None) && fits(of(Some("risk"), None), "risk", Some("bob")));
        assert!(!fits(of(Some("risk"), None), "shop", None));
        assert!(fits(of(None, Some("bob")), "shop", Some("bob")) && !fits(of(None, Some("bob")), "shop", None));
        assert!(!fits(of(Some("risk"), Some("bob")), "risk", Some("Bob")));
        let filter = |text: &str| Some(Arc::new(Filter::sessions(text).expect("a filter")));
        let one = Lock { who: Who { filter: filter("app:r* -user:ana"), ..Who::default() }, ..of(None, None) };
        assert!(fits(one.clone(), "risk", Some("bob")) && !fits(one.clone(), "risk", Some("ana")));
        assert!(!one.who.is_empty() && !fits(one.clone(), "shop", Some("bob")));
        let stored = serde_json::to_string(&one).expect("JSON");
        assert_eq!(serde_json::from_str::<Lock>(&stored).expect("a lock"), one);
    }

    #[test]
    fn a_lock_holds_from_its_start_until_before_its_end() {
        let window = lock(Some("risk"), None, Some(10), Some(20));
        assert_eq!([9, 10, 19, 20].map(|at| window.holds(Timestamp(at))), [false, true, true, false]);
        assert!(lock(None, Some("bob"), None, None).holds(Timestamp(i64::MAX)));
    }

    #[test]
    fn of_several_locks_the_longest_tells_when_to_come_back() {
        let mut locks = Locks::of(vec![lock(Some("risk"), None, None, Some(90_000))]);
        locks.put(Arc::new(Lock { lock_id: "m".into(), ..lock(None, Some("bob"), None, Some(60_000)) }));
        let retry = |locks: &Locks| {
            let kept_out = locks
                .keeping_out(&session("risk", Some("bob")), Timestamp(500))
                .map(|lock| lock.refusal(Timestamp(500)));
            kept_out.map(|error| matches!(error, Error::Locked { retry_after: 90, .. }))
        };
        assert_eq!(retry(&locks), Some(true));
        let before = locks.clone();
        locks.remove("l");
        assert_eq!((retry(&locks), before.len(), locks.len()), (Some(false), 2, 1));
    }

    #[test]
    fn a_start_is_announced_in_the_last_minutes_before_it_and_once() {
        let window = lock(Some("risk"), None, Some(1_000_000), Some(2_000_000));
        let due = |lock: &Lock, at| lock.should_be_announced(Timestamp(at));
        assert_eq!([699_999, 700_000, 999_999, 1_000_000].map(|at| due(&window, at)), [false, true, true, false]);
        assert!(!due(&Lock { announced_at: Some(Timestamp(1)), ..window.clone() }, 800_000));
        assert_eq!(window.announcement(), "Closed from 1970-01-01 00:16 to 1970-01-01 00:33 UTC: audit");
    }
}
