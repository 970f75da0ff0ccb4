//! The sessions while they are rebuilt, entry by entry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::change::Kind;
use crate::clock::Timestamp;
use crate::fields;
use crate::log::{Entry, State, fresh};
use crate::registry::View;
use crate::session::{Input, Kill, Session, SessionId, Status, Visibility};

/// Texts that are shared; above this limit each session has its own.
const KNOWN_MAX: usize = 4_096;

/// The sessions at one position.
#[derive(Clone, Default)]
pub struct Table {
    sessions: HashMap<SessionId, Arc<Session>>,
    /// Apps and clients are few and occur in many sessions, so each text is kept once.
    known: HashSet<Arc<str>>,
}

impl Table {
    /// How many sessions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Adds a session.
    pub fn put(&mut self, mut session: Session) {
        session.app = self.shared(session.app);
        session.client = session.client.map(|client| self.shared(client));
        self.sessions.insert(session.id.clone(), Arc::new(session));
    }

    fn shared(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(known) = self.known.get(&text) {
            return known.clone();
        }
        if self.known.len() < KNOWN_MAX {
            self.known.insert(text.clone());
        }
        text
    }

    /// Applies an entry of the log. Entries come in their order.
    pub fn take(&mut self, entry: &Entry) {
        let Some(kind) = Kind::parse(&entry.kind).filter(|kind| kind.changes_session()) else { return };
        match kind {
            Kind::Removed => {
                self.sessions.remove(&*entry.session_id);
            }
            Kind::Registered => {
                let Some(id) = SessionId::parse(&entry.session_id) else { return };
                let user = entry.user_id.as_deref().map(Into::into);
                let from = entry.from.as_deref().map(Into::into);
                let mut session = fresh(id, (*entry.app_name).into(), user, from, entry.at);
                change(&mut session, kind, entry);
                self.put(session);
            }
            _ => {
                // A session that is not there registered before the log begins.
                let Some(session) = self.sessions.get_mut(&*entry.session_id) else { return };
                change(Arc::make_mut(session), kind, entry);
            }
        }
    }

    /// Applies a start of the server: no session is stale.
    pub fn reset(&mut self) {
        for session in self.sessions.values_mut().filter(|session| session.stale) {
            Arc::make_mut(session).stale = false;
        }
    }

    /// All sessions, in the order of the list.
    #[must_use]
    pub fn view(&self, seq: u64) -> View {
        View::of(seq, self.sessions.values().cloned())
    }
}

/// Puts into a session what an entry tells.
fn change(session: &mut Session, kind: Kind, entry: &Entry) {
    session.user = entry.user_id.as_deref().map(Into::into);
    if kind.tells_report() {
        report(session, entry);
    }
    match entry.state.as_deref().map(serde_json::from_str::<State>) {
        Some(Ok(state)) => state.apply(session, entry.at),
        _ => guess(session, kind, entry),
    }
}

/// What the details of an entry tell of the last report.
fn report(session: &mut Session, entry: &Entry) {
    let details = &entry.details;
    let status = details.status.as_deref().and_then(|status| fields::status(status).ok());
    let task: Option<Arc<str>> = details.current_task.as_deref().map(Into::into);
    let status = status.unwrap_or_default();
    if entry.state.is_none() {
        // Older entries do not tell these times; they follow from what changed.
        let (is_other, is_new) = (status != session.status, task != session.task);
        let begins = is_new || (is_other && session.status == Status::Idle);
        if is_other || is_new {
            session.status_since = entry.at;
        }
        session.task_started_at = task.as_ref().and(if begins { Some(entry.at) } else { session.task_started_at });
    }
    session.status = status;
    session.task = task;
    session.visibility = details.visibility.as_deref().and_then(Visibility::parse);
    session.input = match details.input.as_deref() {
        None => Input::Unknown,
        Some("active") => Input::Active,
        Some(since) => Timestamp::parse(since).map_or(Input::Unknown, Input::NoneSince),
    };
}

/// What the kind of an entry tells that has no [`State`], since an older version wrote it.
fn guess(session: &mut Session, kind: Kind, entry: &Entry) {
    match kind {
        Kind::Stale => session.stale = true,
        Kind::Recovered => session.stale = false,
        Kind::KillRequested => {
            let text = |text: &Option<String>| text.as_deref().map(Into::into);
            session.kill = Some(Arc::new(Kill {
                kill_id: text(&entry.details.kill_id).unwrap_or_default(),
                requested_at: entry.at,
                requested_by: text(&entry.by).unwrap_or_else(|| "local".into()),
                reason: text(&entry.reason),
                delivered_at: None,
                acknowledged_at: None,
                confirm_by: entry.at,
            }));
        }
        Kind::KillDelivered | Kind::KillAcknowledged => {
            let Some(kill) = session.kill.as_deref() else { return };
            let mut kill = kill.clone();
            if kind == Kind::KillDelivered {
                kill.delivered_at = Some(entry.at);
            } else {
                kill.acknowledged_at = Some(entry.at);
            }
            session.kill = Some(Arc::new(kill));
        }
        _ => {}
    }
}
