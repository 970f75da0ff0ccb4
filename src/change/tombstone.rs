//! What is remembered of killed sessions.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::session::{Digest, Kill};
use crate::timing::Timing;

/// What is remembered of a killed session: its id answers 410 for `tombstone_ttl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// When the session was removed.
    pub at: Timestamp,
    /// The kill request.
    pub kill_id: Arc<str>,
    /// Who requested the kill.
    pub by: Arc<str>,
    /// The reason that was given.
    pub reason: Option<Arc<str>>,
    /// The digest of the session's token; its owner may read the reason.
    pub token: Option<Digest>,
}

impl Tombstone {
    /// The tombstone of a session with this kill request and token.
    #[must_use]
    pub fn of(kill: &Kill, at: Timestamp, token: Option<Digest>) -> Self {
        Self { at, kill_id: kill.kill_id.clone(), by: kill.requested_by.clone(), reason: kill.reason.clone(), token }
    }

    /// The error for requests about this id; `None` after `tombstone_ttl`.
    #[must_use]
    pub fn gone(&self, id: &str, timing: &Timing, now: Timestamp) -> Option<Error> {
        let until = self.at.plus(timing.tombstone_ttl);
        (now < until).then(|| Error::Gone {
            id: id.to_owned(),
            reason: self.reason.as_deref().map(str::to_owned),
            kill_id: self.kill_id.to_string(),
            by: Some(self.by.to_string()),
            until,
        })
    }
}
