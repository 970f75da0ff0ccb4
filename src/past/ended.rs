//! A session that has ended: its last entry tells all of it.

use std::sync::Arc;

use crate::change::Kind;
use crate::clock::Timestamp;
use crate::log::{Entry, State, fresh};
use crate::session::{Session, SessionId};

/// A session that has ended.
pub struct Ended {
    /// Its last version. Its pulse means nothing: the log has no heartbeats.
    pub session: Session,
    /// The position of its end.
    pub seq: u64,
    /// When it ended.
    pub at: Timestamp,
    /// Why.
    pub cause: Option<Arc<str>>,
    /// Who ended it.
    pub by: Option<Arc<str>>,
    /// The reason that was given.
    pub reason: Option<Arc<str>>,
    /// Whether the log tells its last state; not where an older version wrote the entry.
    pub told: bool,
}

impl Ended {
    /// Out of the entry of its end; `None` for another entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        if entry.kind != Kind::Removed.as_str() {
            return None;
        }
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        let id = SessionId::parse(&entry.session_id)?;
        let mut session = fresh(id, (*entry.app_name).into(), text(&entry.user_id), None, entry.at);
        let state = entry.state.as_deref().and_then(|state| serde_json::from_str::<State>(state).ok());
        let told = state.is_some();
        match state {
            Some(state) => state.apply(&mut session, entry.at),
            None => {
                let start = entry.details.start_time.as_deref().and_then(Timestamp::parse);
                session.started_at = start.unwrap_or(entry.at);
            }
        }
        let (cause, by, reason) = (text(&entry.cause), text(&entry.by), text(&entry.reason));
        Some(Self { session, seq: entry.seq, at: entry.at, cause, by, reason, told })
    }
}
