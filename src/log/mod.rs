//! The audit log's entry: an event without the whole state of its session. Backends store
//! entries, HTTP shows them.

mod state;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::change::{Event, Kind};
use crate::clock::Timestamp;
use crate::scope::Scope;
use crate::session::Input;
pub use state::{State, fresh};

/// One line of the audit log.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Entry {
    /// Its position.
    pub seq: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened: an event kind of `docs/protocol.md`.
    pub kind: String,
    /// The session's id; empty for an event that belongs to no session.
    pub session_id: String,
    /// The session's app; empty for an event that belongs to no session.
    pub app_name: String,
    /// The session's user.
    pub user_id: Option<String>,
    /// Who requested it.
    pub by: Option<String>,
    /// From which address.
    pub from: Option<String>,
    /// The reason that was given.
    pub reason: Option<String>,
    /// Why the session was removed.
    pub cause: Option<String>,
    /// The fields that depend on the kind, as one JSON object.
    #[serde(flatten)]
    pub details: Details,
    /// The [`State`] as the store keeps it: which fields of the session changed. `None` for an event
    /// that changes no session, and in an entry of a version that did not keep it.
    #[serde(skip)]
    pub state: Option<String>,
}

/// The fields that only some kinds have. Every entry has all of them, so that a table
/// of entries has the same columns everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Details {
    /// The status that the client reported.
    pub status: Option<String>,
    /// The task that the client reported.
    pub current_task: Option<String>,
    /// The visibility that the client reported.
    pub visibility: Option<String>,
    /// `active`, or since when the client has told of no input by the user.
    pub input: Option<String>,
    /// The kill's id.
    pub kill_id: Option<String>,
    /// The message's id.
    pub message_id: Option<String>,
    /// The message's text.
    pub text: Option<String>,
    /// The message's level: `info` or `warning`.
    pub level: Option<String>,
    /// When the rule that warned will end the session.
    pub ends_at: Option<String>,
    /// When the session registered.
    pub start_time: Option<String>,
    /// How long the session was live.
    pub duration_seconds: Option<i64>,
    /// The lock's id.
    pub lock_id: Option<String>,
    /// When the lock begins; null for one that held at once.
    pub locked_from: Option<String>,
    /// When the lock ends; null for one that holds until it is lifted.
    pub locked_until: Option<String>,
}

impl Details {
    fn of(event: &Event) -> Self {
        let session = &event.session;
        let owned = |text: &std::sync::Arc<str>| text.to_string();
        let mut details = Self::default();
        match event.kind {
            Kind::Registered | Kind::StatusChanged | Kind::Recovered => {
                details.status = Some(session.status.as_str().to_owned());
                details.current_task = session.task.as_ref().map(owned);
                details.visibility = session.visibility.map(|visibility| visibility.as_str().to_owned());
                details.input = match session.input {
                    Input::Unknown => None,
                    Input::Active => Some("active".to_owned()),
                    Input::NoneSince(at) => Some(at.to_string()),
                };
            }
            Kind::KillRequested | Kind::KillDelivered | Kind::KillAcknowledged => {
                details.kill_id = session.kill.as_ref().map(|kill| kill.kill_id.to_string());
            }
            Kind::MessageSent | Kind::MessageDelivered | Kind::Warned => {
                if let Some(message) = &event.message {
                    details.message_id = Some(message.message_id.to_string());
                    if event.kind != Kind::MessageDelivered {
                        details.text = Some(message.text.to_string());
                        details.level = Some(message.level.to_owned());
                        details.ends_at = message.warning.as_ref().map(|(_, at)| at.to_string());
                    }
                }
            }
            Kind::Removed => {
                details.kill_id = session.kill.as_ref().map(|kill| kill.kill_id.to_string());
                details.start_time = Some(session.started_at.to_string());
                details.duration_seconds = Some(session.duration_seconds(event.at));
            }
            Kind::Locked | Kind::Unlocked | Kind::LockAnnounced => {
                if let Some(lock) = &event.lock {
                    details.lock_id = Some(lock.lock_id.to_string());
                    details.locked_from = lock.from.map(|from| from.to_string());
                    details.locked_until = lock.until.map(|until| until.to_string());
                }
            }
            Kind::Stale | Kind::Stayed | Kind::LoggedIn | Kind::Connection => {}
        }
        details
    }

    /// The JSON that the store keeps: only the fields that are set; `None` when none is.
    #[must_use]
    pub fn stored(&self) -> Option<String> {
        let Self {
            status,
            current_task,
            visibility,
            input,
            kill_id,
            message_id,
            text,
            level,
            ends_at,
            start_time,
            duration_seconds,
            lock_id,
            locked_from,
            locked_until,
        } = self;
        let texts = [
            ("status", status),
            ("current_task", current_task),
            ("visibility", visibility),
            ("input", input),
            ("kill_id", kill_id),
            ("message_id", message_id),
            ("text", text),
            ("level", level),
            ("ends_at", ends_at),
            ("start_time", start_time),
            ("lock_id", lock_id),
            ("locked_from", locked_from),
            ("locked_until", locked_until),
        ];
        let mut fields = serde_json::Map::new();
        for (name, value) in texts {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value.as_str().into());
            }
        }
        if let Some(seconds) = duration_seconds {
            fields.insert("duration_seconds".to_owned(), (*seconds).into());
        }
        (!fields.is_empty()).then(|| serde_json::Value::Object(fields).to_string())
    }

    /// Reads the JSON that the store keeps.
    #[must_use]
    pub fn restored(json: Option<&str>) -> Self {
        json.and_then(|json| serde_json::from_str::<&RawValue>(json).ok())
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default()
    }
}

impl Entry {
    /// The entry of an event.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let text = |text: &Option<std::sync::Arc<str>>| text.as_ref().map(ToString::to_string);
        Self {
            seq: event.seq,
            at: event.at,
            kind: event.kind.as_str().to_owned(),
            session_id: event.session.id.to_string(),
            app_name: event.session.app.to_string(),
            user_id: text(&event.session.user),
            by: text(&event.actor.by),
            from: text(&event.actor.from),
            reason: text(&event.reason),
            cause: event.cause.map(|cause| cause.as_str().to_owned()),
            details: Details::of(event),
            state: State::of(event).map(|state| state.stored()),
        }
    }
}

/// A query of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only these kinds; empty for all.
    pub kinds: Vec<String>,
    /// Only this session.
    pub session_id: Option<String>,
    /// Only this app.
    pub app_name: Option<String>,
    /// Only these apps.
    pub scope: Scope,
    /// Only entries with a smaller `seq`.
    pub before: Option<u64>,
    /// Only entries with a larger `seq`.
    pub after: Option<u64>,
    /// Most entries in the answer.
    pub limit: usize,
    /// The oldest first; otherwise the newest first.
    pub oldest_first: bool,
}

impl Query {
    /// Whether an entry matches; `limit` is not considered.
    #[must_use]
    pub fn fits(&self, entry: &Entry) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && self.session_id.as_ref().is_none_or(|id| *id == entry.session_id)
            && self.app_name.as_ref().is_none_or(|app| *app == entry.app_name)
            && self.scope.allows(&entry.app_name)
            && self.before.is_none_or(|before| entry.seq < before)
            && self.after.is_none_or(|after| entry.seq > after)
    }
}
