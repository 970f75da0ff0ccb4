//! Requests for locks.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::lock::{LONGEST, Who};

/// A lock that somebody asks for, all fields checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLock {
    /// Its id, unless there is a lock on the same users with the same start.
    pub lock_id: Arc<str>,
    /// Whom it keeps out.
    pub who: Who,
    /// Why.
    pub reason: Arc<str>,
    /// When it begins; `None` for now.
    pub from: Option<Timestamp>,
    /// When it ends; `None` for one that holds until it is lifted.
    pub until: Option<Timestamp>,
}

/// For how long a kill request also locks out its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockFor {
    /// For this time from now on.
    Time(Duration),
    /// Until somebody lifts the lock.
    UntilLifted,
}

impl LockFor {
    /// Reads `30m`, `1h`, `1d` and the like, or `until_lifted`.
    ///
    /// # Errors
    /// It is no time, too short or too long.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "until_lifted" {
            return Ok(Self::UntilLifted);
        }
        let wrong = || {
            Error::Invalid(format!(
                "lock_for {:?} is no time from 1s to 366d; write it like 30m, 1h or 1d, or until_lifted",
                text.chars().take(64).collect::<String>()
            ))
        };
        let time = humantime::parse_duration(text).map_err(|_| wrong())?;
        if (Duration::from_secs(1)..=LONGEST).contains(&time) { Ok(Self::Time(time)) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_lock_for_is_between_a_second_and_a_year() {
        assert_eq!(LockFor::parse("30m").ok(), Some(LockFor::Time(Duration::from_secs(1_800))));
        assert_eq!(LockFor::parse("until_lifted").ok(), Some(LockFor::UntilLifted));
        for wrong in ["", "0s", "10ms", "30", "-5m", "2years", "forever", &"9".repeat(400)] {
            assert!(LockFor::parse(wrong).is_err(), "{wrong}");
        }
    }
}
