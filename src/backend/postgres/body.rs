//! Sessions and events as they stand in the shared tables: JSON with short names, which a
//! server of the next version reads too. What a reader does not know it passes over, and what
//! is absent is empty.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::change::{Actor, Cause, Event, Kind, Message};
use crate::clock::{Mono, Timestamp};
use crate::fields;
use crate::lock::Lock;
use crate::marks;
use crate::session::{Digest, Input, Kill, Pulse, Session, SessionId, SocketId, Visibility};

#[derive(Serialize, Deserialize)]
struct SessionBody {
    id: String,
    app: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Arc<str>>,
    started: i64,
    /// The last heartbeat that the writing server knew of.
    last: i64,
    status: String,
    since: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task_started: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    visibility: Option<String>,
    interval: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meta: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kill: Option<KillBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registered_by: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marks: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    socket: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KillBody {
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

#[derive(Serialize, Deserialize)]
struct MessageBody {
    id: Arc<str>,
    text: Arc<str>,
    warning: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Arc<str>>,
    /// The rule that warns, and when it will end the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<(Arc<str>, i64)>,
}

#[derive(Serialize, Deserialize)]
struct EventBody {
    seq: u64,
    at: i64,
    kind: String,
    session: SessionBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<MessageBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock: Option<Lock>,
}

/// A session's row.
pub(super) fn session_to_text(session: &Session) -> serde_json::Result<String> {
    serde_json::to_string(&session_body(session))
}

/// A session out of its row; `None` where the row is no session.
pub(super) fn session_of_text(text: &str) -> Option<Session> {
    session(serde_json::from_str(text).ok()?)
}

/// A commit's row in the feed.
pub(super) fn events_to_bytes(events: &[Event]) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&events.iter().map(event_body).collect::<Vec<_>>())
}

/// A commit out of its row in the feed; `None` where the row holds what this version does not
/// know: to leave an event out would be a hole.
pub(super) fn events_of_bytes(bytes: &[u8]) -> Option<Vec<Event>> {
    let bodies: Vec<EventBody> = serde_json::from_slice(bytes).ok()?;
    bodies.into_iter().map(event).collect()
}

fn session_body(session: &Session) -> SessionBody {
    SessionBody {
        id: session.id.to_string(),
        app: session.app.to_string(),
        user: session.user.clone(),
        started: session.started_at.0,
        last: session.pulse.wall().0,
        status: session.status.as_str().to_owned(),
        since: session.status_since.0,
        task: session.task.clone(),
        task_started: session.task_started_at.map(|at| at.0),
        visibility: session.visibility.map(|visibility| visibility.as_str().to_owned()),
        interval: session.heartbeat_interval,
        input: session.input.to_number(),
        client: session.client.clone(),
        from: session.remote_addr.clone(),
        meta: session.meta.clone(),
        kill: session.kill.as_deref().map(kill_body),
        token: session.token,
        registered_by: session.registered_by.clone(),
        marks: session.marks.as_deref().map(marks::to_json),
        stale: session.stale,
        socket: session.socket.map(SocketId::to_number),
    }
}

fn session(body: SessionBody) -> Option<Session> {
    Some(Session {
        // An event of no session has an empty id.
        id: if body.id.is_empty() { SessionId::none() } else { SessionId::parse(&body.id)? },
        app: body.app.into(),
        user: body.user,
        started_at: Timestamp(body.started),
        pulse: Arc::new(Pulse::new(Timestamp(body.last), Mono::default())),
        status: fields::status(&body.status).unwrap_or_default(),
        status_since: Timestamp(body.since),
        task: body.task,
        task_started_at: body.task_started.map(Timestamp),
        visibility: body.visibility.as_deref().and_then(Visibility::parse),
        heartbeat_interval: body.interval,
        input: Input::of_number(body.input),
        client: body.client,
        remote_addr: body.from,
        meta: body.meta,
        kill: body.kill.map(|body| Arc::new(kill(body))),
        token: body.token,
        registered_by: body.registered_by,
        marks: body.marks.as_deref().map(marks::from_json).filter(|marks| !marks.is_empty()),
        stale: body.stale,
        socket: body.socket.map(SocketId::of_number),
    })
}

fn kill_body(kill: &Kill) -> KillBody {
    KillBody {
        id: kill.kill_id.clone(),
        at: kill.requested_at.0,
        by: kill.requested_by.clone(),
        reason: kill.reason.clone(),
        delivered: kill.delivered_at.map(|at| at.0),
        acknowledged: kill.acknowledged_at.map(|at| at.0),
        confirm_by: kill.confirm_by.0,
    }
}

fn kill(body: KillBody) -> Kill {
    Kill {
        kill_id: body.id,
        requested_at: Timestamp(body.at),
        requested_by: body.by,
        reason: body.reason,
        delivered_at: body.delivered.map(Timestamp),
        acknowledged_at: body.acknowledged.map(Timestamp),
        confirm_by: Timestamp(body.confirm_by),
    }
}

fn event_body(event: &Event) -> EventBody {
    EventBody {
        seq: event.seq,
        at: event.at.0,
        kind: event.kind.as_str().to_owned(),
        session: session_body(&event.session),
        by: event.actor.by.clone(),
        from: event.actor.from.clone(),
        reason: event.reason.clone(),
        cause: event.cause.map(|cause| cause.as_str().to_owned()),
        message: event.message.as_deref().map(|message| MessageBody {
            id: message.message_id.clone(),
            text: message.text.clone(),
            warning: message.level == "warning",
            by: message.by.clone(),
            due: message.warning.as_ref().map(|(rule, at)| (rule.clone(), at.0)),
        }),
        lock: event.lock.as_deref().cloned(),
    }
}

fn event(body: EventBody) -> Option<Event> {
    let cause = match body.cause {
        Some(word) => Some(Cause::parse(&word)?),
        None => None,
    };
    Some(Event {
        seq: body.seq,
        at: Timestamp(body.at),
        kind: Kind::parse(&body.kind)?,
        session: Arc::new(session(body.session)?),
        before: None,
        actor: Actor { by: body.by, from: body.from, ..Actor::default() },
        reason: body.reason,
        cause,
        message: body.message.map(|body| {
            Arc::new(Message {
                message_id: body.id,
                text: body.text,
                level: if body.warning { "warning" } else { "info" },
                by: body.by,
                warning: body.due.map(|(rule, at)| (rule, Timestamp(at))),
            })
        }),
        lock: body.lock.map(Arc::new),
    })
}
