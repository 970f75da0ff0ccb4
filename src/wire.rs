//! The JSON that HTTP and sockets share: a session, and the frames that are encoded once
//! for all dashboards.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::clock::{Now, Timestamp};
use crate::marks::{self, Due};
use crate::nodes::{Known, name_of};
use crate::session::{Kill, Session, Visibility};

/// The server's name and version, as in `hello`.
pub const SERVER: &str = concat!("sessionwatch ", env!("CARGO_PKG_VERSION"));

/// A session as in `docs/protocol.md`; the first ten fields are the original system's.
#[derive(Serialize, ToSchema)]
pub struct SessionJson<'a> {
    session_id: &'a str,
    app_name: &'a str,
    user_id: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    start_time: Timestamp,
    /// Null in the table of a past moment: the log has no heartbeats.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_heartbeat: Option<Timestamp>,
    duration_seconds: i64,
    status: &'a str,
    current_task: Option<&'a str>,
    is_stale: bool,
    kill_requested: bool,
    reported_status: &'a str,
    #[schema(value_type = Option<String>, format = DateTime)]
    task_started_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    status_since: Timestamp,
    /// Since when there was neither a task nor input of the user; null while it is not idle.
    #[schema(value_type = Option<String>, format = DateTime)]
    idle_since: Option<Timestamp>,
    /// Whether a live client socket is open; null in the table of a past moment.
    connected: Option<bool>,
    /// The name of the server that holds its socket, where several share the store.
    node: Option<&'a str>,
    visibility: Option<&'static str>,
    #[schema(value_type = f64)]
    heartbeat_interval: Seconds,
    client: Option<&'a str>,
    remote_addr: Option<&'a str>,
    #[schema(value_type = Object)]
    meta: &'a RawValue,
    #[schema(value_type = Option<Kill>)]
    kill: Option<&'a Kill>,
    /// What rules are about to do with it.
    due: Vec<Due>,
}

impl<'a> SessionJson<'a> {
    /// The session at `now`.
    #[must_use]
    pub fn new(session: &'a Session, now: Timestamp, known: &'a Known) -> Self {
        let meta = session.meta.as_deref().unwrap_or("{}");
        Self {
            session_id: session.id.as_str(),
            app_name: &session.app,
            user_id: session.user.as_deref(),
            start_time: session.started_at,
            last_heartbeat: Some(session.pulse.wall()),
            duration_seconds: session.duration_seconds(now),
            status: session.shown_status(),
            current_task: session.task.as_deref(),
            is_stale: session.stale,
            kill_requested: session.kill.is_some(),
            reported_status: session.status.as_str(),
            task_started_at: session.task_started_at,
            status_since: session.status_since,
            idle_since: session.idle_since(),
            connected: Some(session.connected()),
            node: name_of(session, known),
            visibility: session.visibility.map(Visibility::as_str),
            heartbeat_interval: Seconds(session.heartbeat_interval),
            client: session.client.as_deref(),
            remote_addr: session.remote_addr.as_deref(),
            meta: serde_json::from_str(meta).unwrap_or(RawValue::NULL),
            kill: session.kill.as_deref(),
            due: marks::due(session.marks()),
        }
    }
}

impl SessionJson<'_> {
    /// Without what the log does not tell.
    #[must_use]
    pub fn of_the_past(self) -> Self {
        Self { last_heartbeat: None, connected: None, node: None, ..self }
    }
}

/// Seconds, written without a fraction where they are whole.
#[derive(Clone, Copy)]
pub struct Seconds(pub f64);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// A removed session in a `changes` frame.
#[derive(Clone, Debug, Serialize)]
pub struct RemovedJson {
    /// The session's id.
    pub session_id: String,
    /// Why it was removed.
    pub cause: &'static str,
    /// When it was removed.
    pub at: Timestamp,
    /// Who requested it.
    pub by: Option<String>,
    /// The reason that was given.
    pub reason: Option<String>,
    /// The kill that ended it. Its last steps are mostly committed together with the
    /// removal; without this field a dashboard would not see them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill: Option<Arc<Kill>>,
}

/// Largest part of a snapshot, in bytes.
pub const PART_MAX: usize = 256 * 1_024;

/// The bytes as a string. serde_json wrote them, so they are UTF-8.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

/// Appends JSON. It cannot fail: a `Vec` takes all bytes, and the types of this file can
/// always be serialised.
fn append(out: &mut Vec<u8>, value: &impl Serialize) {
    let _ = serde_json::to_writer(out, value);
}

/// Largest `changes` frame, in bytes: half of a socket's write buffer. A frame that does not
/// fit into that buffer closes the socket.
pub const FRAME_MAX: usize = 512 * 1_024;

/// The most bytes that a session can take in a frame: every character may be escaped.
#[must_use]
pub fn weight(session: &Session) -> usize {
    // The name of a server is short: see `Config::node_name`.
    const FIELDS: usize = 1_000;
    let length = |text: &Option<std::sync::Arc<str>>| text.as_ref().map_or(0, |text| text.len());
    let kill = session.kill.as_deref();
    let texts = session.id.as_str().len()
        + session.app.len()
        + session.status.as_str().len()
        + [&session.user, &session.task, &session.client, &session.remote_addr].map(length).iter().sum::<usize>()
        + kill.map_or(0, |kill| length(&kill.reason) + kill.requested_by.len());
    // `meta` is kept in the form in which it is sent.
    // A rule's name has up to 64 characters of up to 4 bytes, and the rest of `due` is short.
    let due = session.marks().len() * (2 * 4 * 64 + 80);
    FIELDS + 2 * texts + length(&session.meta) + due
}

impl RemovedJson {
    /// The most bytes that it can take in a frame, as [`weight`].
    #[must_use]
    pub fn weight(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        160 + self.session_id.len() + 2 * (length(&self.by) + length(&self.reason))
    }
}

/// Encodes one session.
#[must_use]
pub fn session(session: &Session, now: Timestamp, known: &Known) -> String {
    let mut out = Vec::with_capacity(1_024);
    append(&mut out, &SessionJson::new(session, now, known));
    text(out)
}

/// Encodes a `changes` frame: all changes after `from` up to and including `seq`.
pub fn changes<'a>(
    from: u64,
    seq: u64,
    now: Timestamp,
    known: &Known,
    upserted: impl Iterator<Item = &'a Session>,
    removed: &[RemovedJson],
) -> String {
    let mut out = format!(r#"{{"type":"changes","from":{from},"seq":{seq},"at":"{now}","upserted":["#).into_bytes();
    for (index, session) in upserted.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append(&mut out, &SessionJson::new(session, now, known));
    }
    out.extend_from_slice(br#"],"removed":"#);
    append(&mut out, &removed);
    out.push(b'}');
    text(out)
}

/// Encodes a `hint` frame: what `about` names has changed, and may be asked for again over HTTP.
#[must_use]
pub fn hint(about: &str, now: Timestamp) -> String {
    format!(r#"{{"type":"hint","about":"{about}","at":"{now}"}}"#)
}

/// Encodes a `beats` frame with the last heartbeats of these sessions.
pub fn beats<'a>(now: Timestamp, moved: impl Iterator<Item = &'a Session>) -> String {
    let mut out = Vec::with_capacity(4_096);
    out.extend_from_slice(br#"{"type":"beats","at":""#);
    out.extend_from_slice(&now.to_bytes());
    out.extend_from_slice(br#"","beats":{"#);
    for (index, session) in moved.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        // An id has no character that JSON would escape.
        out.push(b'"');
        out.extend_from_slice(session.id.as_str().as_bytes());
        out.extend_from_slice(b"\":\"");
        out.extend_from_slice(&session.pulse.wall().to_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"}}");
    text(out)
}

/// Cuts sessions into the parts of a snapshot, each of at most [`PART_MAX`] bytes; returns the number of
/// sessions in each. There is at least one part.
///
/// It looks at what the sessions can take at most, so the number of parts is known before any of them is encoded.
pub fn cut<'a>(sessions: impl Iterator<Item = &'a Arc<Session>>) -> Vec<usize> {
    /// Bytes kept free for the head of a part.
    const HEAD: usize = 128;
    let (mut parts, mut bytes) = (vec![0], HEAD);
    for session in sessions {
        let more = weight(session) + 1;
        if bytes + more > PART_MAX && bytes > HEAD {
            parts.push(0);
            bytes = HEAD;
        }
        bytes += more;
        if let Some(part) = parts.last_mut() {
            *part += 1;
        }
    }
    parts
}

/// Encodes a part of a snapshot, which has these sessions; `part` counts from one.
pub fn snapshot_part<'a>(
    seq: u64,
    (part, parts): (usize, usize),
    sessions: impl Iterator<Item = &'a Arc<Session>>,
    now: Now,
    known: &Known,
) -> String {
    let mut out = Vec::with_capacity(PART_MAX / 2);
    out.extend_from_slice(
        format!(r#"{{"type":"snapshot","seq":{seq},"part":{part},"parts":{parts},"sessions":["#).as_bytes(),
    );
    for (index, session) in sessions.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append(&mut out, &SessionJson::new(session, now.wall, known));
    }
    out.extend_from_slice(b"]}");
    text(out)
}
