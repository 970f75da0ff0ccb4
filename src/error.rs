//! The errors of the domain. `http` and `ws` each have one map from these to status
//! codes and frames; no other code chooses a status code.

use thiserror::Error;

use crate::clock::Timestamp;

/// Why a request was refused or failed. Each text says what the caller can do about it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// No live session has this id: 404.
    #[error("no live session has the id {0}; register it with POST /sessions, or it has ended")]
    NotFound(String),
    /// An administrator ended the session; its id stays unusable until `until`: 410.
    #[error("session {id} was terminated by an administrator{}; its id cannot be used again until {until}, so start a new session", because(.reason.as_deref()))]
    Gone {
        /// The killed session.
        id: String,
        /// The administrator's reason.
        reason: Option<String>,
        /// The kill that ended it.
        kill_id: String,
        /// Who requested the kill.
        by: Option<String>,
        /// When the tombstone is deleted.
        until: Timestamp,
    },
    /// A lock keeps the session out: 423.
    #[error("registrations are locked here ({reason}){}", until_when(*.until))]
    Locked {
        /// The reason of the lock.
        reason: String,
        /// When it ends, if that is known.
        until: Option<Timestamp>,
        /// Seconds until it is worth asking again.
        retry_after: u64,
    },
    /// A value is not valid: 422.
    #[error("{0}")]
    Invalid(String),
    /// There is no lock with this id: 404.
    #[error("there is no lock {0}; GET /locks lists them")]
    NoLock(String),
    /// The caller is not authenticated: 401.
    #[error("{0}")]
    Unauthorized(String),
    /// The caller is authenticated but not allowed to do this: 403.
    #[error("{0}")]
    Forbidden(String),
    /// A limit is reached; the same request may succeed later: 503.
    #[error("{0}")]
    Busy(String),
    /// The store did not say whether it has stored the change: 503.
    #[error("the database did not answer, so it is not known whether this was done; look, and ask again")]
    Unknown,
    /// The store failed (disk full, I/O error); nothing was changed: 503.
    #[error("the database cannot take this now ({0}); nothing was changed, try again")]
    Storage(String),
}

/// A result with the domain's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

fn until_when(until: Option<Timestamp>) -> String {
    match until {
        Some(until) => format!(" until {until}; come back after that"),
        None => "; ask again in some minutes, or ask an administrator to lift the lock".to_owned(),
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}
