//! What can go wrong, in the domain's words. `http` and `ws` each have one map
//! from these to status codes and frames; nothing else decides on a code.

use thiserror::Error;

use crate::clock::Timestamp;

/// Why a request was not done. Each text says what the caller can do about it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// Nobody here has this id: 404.
    #[error("no live session has the id {0}; register it with POST /sessions, or it has ended")]
    NotFound(String),
    /// The id was ended by an administrator and stays ended: 410.
    #[error("session {id} was terminated by an administrator{}; its id cannot be used again until {until}, so start a new session", because(.reason.as_deref()))]
    Gone {
        /// The killed session.
        id: String,
        /// What the administrator gave as the reason.
        reason: Option<String>,
        /// The kill that ended it.
        kill_id: String,
        /// Who asked for it.
        by: Option<String>,
        /// When the tombstone is forgotten.
        until: Timestamp,
    },
    /// A value is not what it has to be: 422.
    #[error("{0}")]
    Invalid(String),
    /// Who asks is not known: 401.
    #[error("{0}")]
    Unauthorized(String),
    /// Who asks is known and may not: 403.
    #[error("{0}")]
    Forbidden(String),
    /// Too much at once; the same request may pass in a moment: 503.
    #[error("{0}")]
    Busy(String),
    /// The store did not tell whether it has taken it: 503.
    #[error("the database did not answer, so it is not known whether this was done; look, and ask again")]
    Unknown,
    /// The store cannot take it now (disk full, I/O error); nothing was done: 503.
    #[error("the database cannot take this now ({0}); nothing was changed, try again")]
    Storage(String),
}

/// The domain's result.
pub type Result<T> = std::result::Result<T, Error>;

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}
