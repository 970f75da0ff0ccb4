//! What is read at the start: sessions, tombstones, minutes.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use super::values::kill_from_json;
use crate::backend::{Stored, fresh_epoch, restored};
use crate::change::Tombstone;
use crate::clock::{Mono, Timestamp};
use crate::fields;
use crate::lock::Lock;
use crate::marks;
use crate::registry::Counts;
use crate::session::{Input, Pulse, Session, SessionId, Visibility};
use crate::stats::{Minute, Recount};

/// Reads everything that a server needs at its start, and records the start.
pub(super) fn load(connection: &mut Connection, now: Timestamp) -> rusqlite::Result<Stored> {
    let seq = connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get::<_, i64>(0))?;
    let day_ago = now.0.saturating_sub(86_400_000);
    let mut restore = Restore::default();
    let mut minutes = all(connection, &format!("SELECT * FROM minutes WHERE at > {day_ago} ORDER BY at"), minute_row)?;
    recount(connection, &mut minutes, Timestamp(day_ago))?;
    let stored = Stored {
        epoch: fresh_epoch(),
        seq: restored(seq),
        sessions: all(connection, &format!("SELECT {COLUMNS} FROM sessions"), |row| restore.session(row))?
            .into_iter()
            .flatten()
            .collect(),
        tombstones: all(connection, "SELECT * FROM tombstones", tombstone)?.into_iter().flatten().collect(),
        locks: all(connection, "SELECT body FROM locks", lock)?.into_iter().flatten().collect(),
        minutes,
        starts: all(connection, &format!("SELECT at FROM starts WHERE at > {day_ago} ORDER BY at"), |row| {
            row.get(0).map(Timestamp)
        })?,
    };
    connection.execute("INSERT OR REPLACE INTO starts (at, seq) VALUES (?1, ?2)", [now.0, seq])?;
    Ok(stored)
}

/// Adds to the minutes what happened after they were last written.
fn recount(connection: &Connection, minutes: &mut Vec<Minute>, day_ago: Timestamp) -> rusqlite::Result<()> {
    let mut lines = connection.prepare("SELECT at, kind FROM events ORDER BY seq DESC")?;
    let mut lines = lines.query([])?;
    let mut recount = Recount::since(minutes, day_ago);
    while let Some(line) = lines.next()? {
        if !recount.take(Timestamp(line.get(0)?), line.get_ref(1)?.as_str()?) {
            break;
        }
    }
    recount.put(minutes);
    Ok(())
}

/// The counts since a time, in steps of `step` ms.
pub(super) fn minutes(connection: &Connection, since: Timestamp, step: i64) -> rusqlite::Result<Vec<Minute>> {
    let mean = |column: &str| format!("CAST(round(avg({column})) AS INTEGER)");
    let [idle, running, hidden, stale, ending] = ["idle", "running", "hidden", "stale", "ending"].map(mean);
    let sql = format!(
        "SELECT at / ?2 * ?2 AS step, {idle}, {running}, {hidden}, {stale}, {ending}, sum(ended), sum(kills)
         FROM minutes WHERE at >= ?1 GROUP BY step ORDER BY step"
    );
    connection.prepare_cached(&sql)?.query_map([since.0, step], minute_row)?.collect()
}

/// All rows of a statement.
fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

/// The columns of a session, in the order in which [`Restore::session`] takes them.
const COLUMNS: &str = "session_id, app_name, user_id, start_time, last_heartbeat, status, status_since, current_task,
    task_started_at, visibility, heartbeat_interval, client, remote_addr, meta, token, kill, registered_by, marks, input";

/// Makes sessions from rows. Apps, clients and addresses are few and occur in many rows, so each
/// text is kept once.
#[derive(Default)]
struct Restore {
    known: HashMap<Box<str>, Arc<str>>,
}

impl Restore {
    /// Texts that are shared; above this limit each row has its own.
    const KNOWN_MAX: usize = 4_096;

    /// A text, shared with earlier rows.
    fn known(&mut self, text: Option<&str>) -> Option<Arc<str>> {
        let text = text?;
        if let Some(known) = self.known.get(text) {
            return Some(known.clone());
        }
        let new: Arc<str> = text.into();
        if self.known.len() < Self::KNOWN_MAX {
            self.known.insert(text.into(), new.clone());
        }
        Some(new)
    }

    /// Makes a session; `None` if the row is not valid.
    fn session(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<Session>> {
        let text = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str_or_null()?);
        let time = |column: usize| row.get::<_, Option<i64>>(column).map(|at| at.map(Timestamp));
        let (Some(id), Ok(status)) =
            (SessionId::parse(text(0)?.unwrap_or_default()), fields::status(text(5)?.unwrap_or_default()))
        else {
            return Ok(None);
        };
        Ok(Some(Session {
            id,
            app: self.known(text(1)?).unwrap_or_default(),
            user: text(2)?.map(Arc::from),
            started_at: Timestamp(row.get(3)?),
            pulse: Arc::new(Pulse::new(Timestamp(row.get(4)?), Mono::default())),
            status,
            status_since: Timestamp(row.get(6)?),
            task: text(7)?.map(Arc::from),
            task_started_at: time(8)?,
            visibility: text(9)?.and_then(Visibility::parse),
            heartbeat_interval: row.get(10)?,
            client: self.known(text(11)?),
            remote_addr: self.known(text(12)?),
            meta: text(13)?.map(Arc::from),
            token: row.get_ref(14)?.as_blob_or_null()?.and_then(|token| token.try_into().ok()),
            kill: text(15)?.and_then(kill_from_json).map(Arc::new),
            registered_by: self.known(text(16)?),
            marks: text(17)?.map(marks::from_json).filter(|marks| !marks.is_empty()),
            input: Input::of_number(row.get(18)?),
            stale: false,
            socket: None,
        }))
    }
}

/// Reads one session.
pub(super) fn one(connection: &Connection, id: &SessionId) -> rusqlite::Result<Option<Session>> {
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE session_id = ?1");
    let mut rows = connection.prepare_cached(&sql)?;
    let session = rows.query_row([id.as_str()], |row| Restore::default().session(row)).optional()?;
    Ok(session.flatten())
}

fn tombstone(row: &Row<'_>) -> rusqlite::Result<Option<(SessionId, Tombstone)>> {
    let Some(id) = SessionId::parse(&row.get::<_, String>("session_id")?) else { return Ok(None) };
    let grave = Tombstone {
        at: Timestamp(row.get("at")?),
        kill_id: row.get::<_, String>("kill_id")?.into(),
        by: row.get::<_, String>("by")?.into(),
        reason: row.get::<_, Option<String>>("reason")?.map(Into::into),
        token: row.get_ref("token")?.as_blob_or_null()?.and_then(|token| token.try_into().ok()),
    };
    Ok(Some((id, grave)))
}

fn lock(row: &Row<'_>) -> rusqlite::Result<Option<Lock>> {
    Ok(serde_json::from_str(row.get_ref(0)?.as_str()?).ok())
}

fn minute_row(row: &Row<'_>) -> rusqlite::Result<Minute> {
    let number = |column: usize| row.get::<_, i64>(column).map(restored);
    let counts =
        Counts { idle: number(1)?, running: number(2)?, hidden: number(3)?, stale: number(4)?, ending: number(5)? };
    Ok(Minute { at: Timestamp(row.get(0)?), counts, ended: number(6)?, kills: number(7)? })
}
