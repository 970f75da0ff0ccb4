//! Reads the sessions from the database of the system that sessionwatch replaces.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Local, NaiveDateTime, TimeZone};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use crate::clock::{Mono, Timestamp};
use crate::fields;
use crate::session::{Input, Kill, Pulse, Session, SessionId, Status};

/// The columns by which its table of sessions is recognised.
const NEEDED: [&str; 3] = ["session_id", "app_name", "start_time"];

/// The content of the file.
pub struct Original {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// The number of rows without a valid id, app or start time.
    pub unreadable: usize,
}

/// The time zone of times without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NaiveTimes {
    /// UTC.
    Utc,
    /// The time zone of this machine.
    Local,
}

/// Reads a file, without changing it.
///
/// # Errors
/// It cannot be read, or has no table of sessions.
pub fn read(path: &Path, naive: NaiveTimes, now: Timestamp) -> Result<Original, String> {
    let failed = |why: String| format!("{} cannot be imported: {why}", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| failed(error.to_string()))?;
    let table = table(&connection).map_err(|error| failed(error.to_string()))?;
    let table = table.ok_or_else(|| {
        failed(format!("it has no table with the columns {}; is it the old monitor's database?", NEEDED.join(", ")))
    })?;
    let mut rows = connection.prepare(&format!("SELECT * FROM {table}")).map_err(|error| failed(error.to_string()))?;
    let mut rows = rows.query([]).map_err(|error| failed(error.to_string()))?;
    let mut original = Original { sessions: Vec::new(), unreadable: 0 };
    while let Some(row) = rows.next().map_err(|error| failed(error.to_string()))? {
        match session(row, naive, now) {
            Some(session) => original.sessions.push(session),
            None => original.unreadable += 1,
        }
    }
    Ok(original)
}

/// The name of the table of sessions, quoted.
fn table(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    for name in names.query_map([], |row| row.get::<_, String>(0))? {
        let quoted = format!("\"{}\"", name?.replace('"', "\"\""));
        let statement = connection.prepare(&format!("SELECT * FROM {quoted} LIMIT 0"))?;
        let columns = statement.column_names();
        if NEEDED.iter().all(|needed| columns.contains(needed)) {
            return Ok(Some(quoted));
        }
    }
    Ok(None)
}

/// Whether the file has the original's table of sessions.
pub(super) fn is_original(connection: &Connection) -> bool {
    table(connection).is_ok_and(|table| table.is_some())
}

fn session(row: &Row<'_>, naive: NaiveTimes, now: Timestamp) -> Option<Session> {
    let text = |column: &str| row.get_ref(column).ok().and_then(text_of);
    let time = |column: &str| row.get_ref(column).ok().and_then(|value| time_of(value, naive));
    let id = SessionId::parse(&text("session_id")?)?;
    let app = fields::clean(&text("app_name")?, fields::NAME_MAX);
    let app = fields::app_name("app_name", &app).ok()?;
    let started_at = time("start_time")?;
    let optional = |column: &str| -> Option<Arc<str>> {
        let clean = fields::clean(&text(column)?, fields::NAME_MAX);
        fields::optional(column, Some(&clean), fields::NAME_MAX).ok()?
    };
    // There too `stale` is computed from the last heartbeat, so it is not a reported status.
    let reported = text("status").filter(|status| status != "stale").unwrap_or_default();
    let status = fields::status(&fields::clean_status(&reported)).unwrap_or(Status::Idle);
    let task = optional("current_task");
    let asked_to_end = text("kill_requested").is_some_and(|value| !matches!(&*value, "0" | "" | "false" | "False"));
    let kill = asked_to_end.then(|| {
        Arc::new(Kill {
            kill_id: uuid::Uuid::new_v4().to_string().into(),
            requested_at: now,
            requested_by: "import".into(),
            reason: None,
            delivered_at: None,
            acknowledged_at: None,
            confirm_by: now.plus(std::time::Duration::from_secs(60)),
        })
    });
    Some(Session {
        id,
        app,
        user: optional("user_id"),
        started_at,
        pulse: Arc::new(Pulse::new(time("last_heartbeat").unwrap_or(started_at), Mono::default())),
        task_started_at: task.as_ref().map(|_| started_at),
        status,
        status_since: started_at,
        task,
        visibility: None,
        input: Input::Unknown,
        heartbeat_interval: 30.0,
        client: None,
        remote_addr: None,
        meta: None,
        kill,
        token: None,
        registered_by: None,
        marks: None,
        stale: false,
        socket: None,
    })
}

fn text_of(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// Parses a time as Python writes it (`2026-11-27T14:03:00.123456`, with or without a zone,
/// also with a space instead of the `T`), or in seconds since 1970.
fn time_of(value: ValueRef<'_>, naive: NaiveTimes) -> Option<Timestamp> {
    let text = text_of(value)?.replacen(' ', "T", 1);
    if let Some(seconds) = text.parse().ok().filter(|seconds: &f64| seconds.is_finite()) {
        return Some(Timestamp((seconds * 1_000.0) as i64));
    }
    if let Ok(zoned) = DateTime::parse_from_rfc3339(&text) {
        return Some(Timestamp(zoned.timestamp_millis()));
    }
    let plain: NaiveDateTime = text.parse().ok()?;
    let millis = match naive {
        NaiveTimes::Utc => plain.and_utc().timestamp_millis(),
        NaiveTimes::Local => Local.from_local_datetime(&plain).earliest()?.timestamp_millis(),
    };
    Some(Timestamp(millis))
}
