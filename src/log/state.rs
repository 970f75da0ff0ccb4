//! What an entry tells of its session beyond its own columns: the fields that changed, as JSON with
//! short names. With it the table of any past moment is rebuilt exactly. Times are milliseconds
//! before the entry's own time, so most are short.
//!
//! No entry has a session's token, its socket or its heartbeats: the first is a secret, and the others
//! change without an entry.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::change::{Event, Kind};
use crate::clock::{Mono, Timestamp};
use crate::fields;
use crate::marks;
use crate::session::{Input, Kill, Pulse, Session, SessionId, Status, Visibility};

/// The seconds between heartbeats that are not written, since most clients use them.
const USUAL_INTERVAL: f64 = 30.0;

/// A field that changed to a value, or to none.
#[allow(clippy::option_option)]
type Change<T> = Option<Option<T>>;

/// The fields that an entry tells. An absent one has not changed.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "told")]
    task: Change<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "told")]
    begun: Change<i64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "told")]
    visibility: Change<String>,
    /// As [`Input::to_number`]; not relative, since 0 has a meaning of its own.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "told")]
    input: Change<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "told")]
    client: Change<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "told")]
    from: Change<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "told")]
    meta: Change<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "told")]
    kill: Change<KillState>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "told")]
    marks: Change<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KillState {
    id: Arc<str>,
    at: i64,
    by: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivered: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acknowledged: Option<i64>,
    confirm_by: i64,
}

/// Reads a field that is there, null included.
fn told<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Change<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl State {
    /// What the entry of an event tells; `None` where the event changes no session. The last entry of
    /// a session tells all of it, so that the ended session can be shown.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        if !event.kind.changes_session() {
            return None;
        }
        let (session, at) = (&*event.session, event.at);
        Some(match (event.kind, event.before.as_deref()) {
            (Kind::Registered, _) => {
                let mut state = Self::between(&blank(session, event.actor.from.clone(), at), session, at);
                state.leave_details();
                state
            }
            (Kind::Removed, _) | (_, None) => Self::whole(session, at),
            (kind, Some(before)) => {
                let mut state = Self::between(before, session, at);
                if kind.tells_report() {
                    state.leave_details();
                }
                state
            }
        })
    }

    /// All fields of a session.
    #[must_use]
    pub fn whole(session: &Session, at: Timestamp) -> Self {
        Self::between(&blank(session, None, at), session, at)
    }

    /// The fields in which two versions differ.
    fn between(before: &Session, after: &Session, at: Timestamp) -> Self {
        let ago = |time: Timestamp| at.since(time);
        let is_new = |differs: bool| differs.then_some(());
        Self {
            started: is_new(before.started_at != after.started_at).map(|()| ago(after.started_at)),
            status: is_new(before.status != after.status).map(|()| after.status.as_str().to_owned()),
            since: is_new(before.status_since != after.status_since).map(|()| ago(after.status_since)),
            task: is_new(before.task != after.task).map(|()| after.task.clone()),
            begun: is_new(before.task_started_at != after.task_started_at).map(|()| after.task_started_at.map(ago)),
            visibility: is_new(before.visibility != after.visibility)
                .map(|()| after.visibility.map(|visibility| visibility.as_str().to_owned())),
            input: is_new(before.input != after.input).map(|()| after.input.to_number()),
            interval: is_new(before.heartbeat_interval.to_bits() != after.heartbeat_interval.to_bits())
                .map(|()| after.heartbeat_interval),
            client: is_new(before.client != after.client).map(|()| after.client.clone()),
            from: is_new(before.remote_addr != after.remote_addr).map(|()| after.remote_addr.clone()),
            meta: is_new(before.meta != after.meta)
                .map(|()| after.meta.as_deref().and_then(|meta| RawValue::from_string(meta.to_owned()).ok())),
            kill: is_new(before.kill != after.kill).map(|()| after.kill.as_deref().map(|kill| KillState::of(kill, at))),
            marks: is_new(before.marks() != after.marks()).map(|()| after.marks.as_deref().map(marks::to_json)),
            stale: is_new(before.stale != after.stale).map(|()| after.stale),
        }
    }

    /// Removes what the entry's details tell already.
    fn leave_details(&mut self) {
        self.status = None;
        self.task = None;
        self.visibility = None;
        self.input = None;
    }

    /// The JSON that the store keeps.
    #[must_use]
    pub fn stored(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Puts the told fields into a session.
    pub fn apply(self, session: &mut Session, at: Timestamp) {
        let time = |ago: i64| Timestamp(at.0.saturating_sub(ago));
        put(&mut session.started_at, self.started.map(time));
        put(&mut session.status, self.status.map(|word| fields::status(&word).unwrap_or_default()));
        put(&mut session.status_since, self.since.map(time));
        put(&mut session.task, self.task);
        put(&mut session.task_started_at, self.begun.map(|ago| ago.map(time)));
        put(&mut session.visibility, self.visibility.map(|word| word.as_deref().and_then(Visibility::parse)));
        put(&mut session.input, self.input.map(Input::of_number));
        put(&mut session.heartbeat_interval, self.interval);
        put(&mut session.client, self.client);
        put(&mut session.remote_addr, self.from);
        put(&mut session.meta, self.meta.map(|meta| meta.map(|meta| meta.get().into())));
        put(&mut session.kill, self.kill.map(|kill| kill.map(|kill| Arc::new(kill.told(at)))));
        let marks = |json: Option<String>| json.map(|json| marks::from_json(&json)).filter(|marks| !marks.is_empty());
        put(&mut session.marks, self.marks.map(marks));
        put(&mut session.stale, self.stale);
    }
}

fn put<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

impl KillState {
    fn of(kill: &Kill, at: Timestamp) -> Self {
        let ago = |time: Timestamp| at.since(time);
        Self {
            id: kill.kill_id.clone(),
            at: ago(kill.requested_at),
            by: kill.requested_by.clone(),
            reason: kill.reason.clone(),
            delivered: kill.delivered_at.map(ago),
            acknowledged: kill.acknowledged_at.map(ago),
            confirm_by: ago(kill.confirm_by),
        }
    }

    fn told(self, at: Timestamp) -> Kill {
        let time = |ago: i64| Timestamp(at.0.saturating_sub(ago));
        Kill {
            kill_id: self.id,
            requested_at: time(self.at),
            requested_by: self.by,
            reason: self.reason,
            delivered_at: self.delivered.map(time),
            acknowledged_at: self.acknowledged.map(time),
            confirm_by: time(self.confirm_by),
        }
    }
}

/// The session that a reader starts from: it has just registered, and nothing is known of it.
fn blank(session: &Session, from: Option<Arc<str>>, at: Timestamp) -> Session {
    fresh(session.id.clone(), session.app.clone(), session.user.clone(), from, at)
}

/// A session that has just registered, of which nothing else is known.
#[must_use]
pub fn fresh(id: SessionId, app: Arc<str>, user: Option<Arc<str>>, from: Option<Arc<str>>, at: Timestamp) -> Session {
    Session {
        id,
        app,
        user,
        started_at: at,
        pulse: Arc::new(Pulse::new(at, Mono::default())),
        status: Status::default(),
        status_since: at,
        task: None,
        task_started_at: None,
        visibility: None,
        input: Input::Unknown,
        heartbeat_interval: USUAL_INTERVAL,
        client: None,
        remote_addr: from,
        meta: None,
        kill: None,
        token: None,
        registered_by: None,
        stale: false,
        marks: None,
        socket: None,
    }
}
