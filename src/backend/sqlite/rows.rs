//! SQL and its rows: the only place that knows how a session stands in a table.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params, params_from_iter};

use crate::backend::Stored;
use crate::change::{Event, Kind, Tombstone};
use crate::clock::{Mono, Timestamp};
use crate::fields;
use crate::log::{Details, Entry, Query};
use crate::registry::Counts;
use crate::session::{Kill, Pulse, Session, SessionId, Visibility};
use crate::stats::{Minute, Recount};

/// Writes a batch of events: each one's line, each session's last version.
pub(super) fn commit(connection: &mut Connection, events: &[Event]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut last: HashMap<&SessionId, &Event> = HashMap::with_capacity(events.len());
    {
        let mut line = transaction.prepare_cached(
            "INSERT INTO events (seq, at, kind, session_id, app_name, user_id, by, origin, reason, cause, details)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        let mut tombstone = transaction.prepare_cached(
            "INSERT OR REPLACE INTO tombstones (session_id, at, kill_id, by, reason, token) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for event in events.iter().filter(|event| event.kind.is_logged()) {
            let entry = Entry::of(event);
            line.execute(params![
                stored(entry.seq),
                entry.at.0,
                entry.kind,
                entry.session_id,
                entry.app_name,
                entry.user_id,
                entry.by,
                entry.from,
                entry.reason,
                entry.cause,
                entry.details.stored(),
            ])?;
            if let Some(Tombstone { at, kill_id, by, reason, token }) = event.tombstone() {
                let (id, token) = (event.session.id.as_str(), token.as_ref().map(|token| &token[..]));
                tombstone.execute(params![id, at.0, &*kill_id, &*by, reason.as_deref(), token])?;
            }
            if event.kind.changes_session() {
                last.insert(&event.session.id, event);
            }
        }
    }
    for event in last.into_values() {
        if event.kind == Kind::Removed {
            transaction
                .prepare_cached("DELETE FROM sessions WHERE session_id = ?1")?
                .execute([event.session.id.as_str()])?;
        } else {
            put(&transaction, &event.session)?;
        }
    }
    transaction.commit()
}

/// A count as SQLite keeps it.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count that SQLite kept.
fn restored(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn put(transaction: &Transaction<'_>, session: &Session) -> rusqlite::Result<()> {
    let kill = session.kill.as_deref().map(kill_to_json);
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO sessions (session_id, app_name, user_id, start_time, last_heartbeat, status,
                status_since, current_task, task_started_at, visibility, heartbeat_interval, client, remote_addr, meta, token, kill,
                registered_by)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            session.id.as_str(),
            &*session.app,
            session.user.as_deref(),
            session.started_at.0,
            session.pulse.wall().0,
            session.status.as_str(),
            session.status_since.0,
            session.task.as_deref(),
            session.task_started_at.map(|at| at.0),
            session.visibility.map(Visibility::as_str),
            session.heartbeat_interval,
            session.client.as_deref(),
            session.remote_addr.as_deref(),
            session.meta.as_deref(),
            session.token.as_ref().map(|token| &token[..]),
            kill,
            session.registered_by.as_deref(),
        ])?;
    Ok(())
}

/// Writes heartbeats that moved.
pub(super) fn beats(connection: &mut Connection, beats: &[(SessionId, Timestamp)]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut update = transaction.prepare_cached("UPDATE sessions SET last_heartbeat = ?2 WHERE session_id = ?1")?;
        for (id, at) in beats {
            update.execute(params![id.as_str(), at.0])?;
        }
    }
    transaction.commit()
}

/// Writes the counts of a minute.
pub(super) fn minute(connection: &Connection, minute: &Minute) -> rusqlite::Result<()> {
    let Counts { idle, running, hidden, stale, ending } = minute.counts;
    let numbers = [idle, running, hidden, stale, ending, minute.ended, minute.kills].map(stored);
    connection
        .prepare_cached("INSERT OR REPLACE INTO minutes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params_from_iter(std::iter::once(minute.at.0).chain(numbers)))?;
    Ok(())
}

/// Reads all that is remembered, and notes the start.
pub(super) fn load(connection: &mut Connection, now: Timestamp) -> rusqlite::Result<Stored> {
    let seq = connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get::<_, i64>(0))?;
    let day_ago = now.0.saturating_sub(86_400_000);
    let mut restore = Restore::default();
    let mut minutes = all(connection, &format!("SELECT * FROM minutes WHERE at > {day_ago} ORDER BY at"), minute_row)?;
    recount(connection, &mut minutes, Timestamp(day_ago))?;
    let stored = Stored {
        seq: restored(seq),
        sessions: all(connection, &format!("SELECT {COLUMNS} FROM sessions"), |row| restore.session(row))?
            .into_iter()
            .flatten()
            .collect(),
        tombstones: all(connection, "SELECT * FROM tombstones", tombstone)?.into_iter().flatten().collect(),
        minutes,
        starts: all(connection, &format!("SELECT at FROM starts WHERE at > {day_ago} ORDER BY at"), |row| {
            row.get(0).map(Timestamp)
        })?,
    };
    connection.execute("INSERT OR REPLACE INTO starts VALUES (?1)", [now.0])?;
    Ok(stored)
}

/// Mends the counts of what happened after they were written last.
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

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

fn shared(text: Option<String>) -> Option<Arc<str>> {
    text.map(Arc::from)
}

/// The columns of a session, in the order in which [`Restore::session`] takes them.
const COLUMNS: &str = "session_id, app_name, user_id, start_time, last_heartbeat, status, status_since, current_task,
    task_started_at, visibility, heartbeat_interval, client, remote_addr, meta, token, kill, registered_by";

/// Makes sessions of rows. Apps, clients and addresses are few and stand in many rows:
/// each is kept once.
#[derive(Default)]
struct Restore {
    known: HashMap<Box<str>, Arc<str>>,
}

impl Restore {
    /// Apps and the like that are remembered; beyond, each row has its own.
    const KNOWN_MAX: usize = 4_096;

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

    /// A session as it was; `None` for a row that another hand has made senseless.
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

fn kill_to_json(kill: &Kill) -> String {
    serde_json::json!([
        &*kill.kill_id,
        kill.requested_at.0,
        &*kill.requested_by,
        kill.reason.as_deref(),
        kill.delivered_at.map(|at| at.0),
        kill.acknowledged_at.map(|at| at.0),
        kill.confirm_by.0,
    ])
    .to_string()
}

fn kill_from_json(json: &str) -> Option<Kill> {
    type Stored = (String, i64, String, Option<String>, Option<i64>, Option<i64>, i64);
    let (kill_id, requested_at, requested_by, reason, delivered_at, acknowledged_at, confirm_by): Stored =
        serde_json::from_str(json).ok()?;
    Some(Kill {
        kill_id: kill_id.into(),
        requested_at: Timestamp(requested_at),
        requested_by: requested_by.into(),
        reason: shared(reason),
        delivered_at: delivered_at.map(Timestamp),
        acknowledged_at: acknowledged_at.map(Timestamp),
        confirm_by: Timestamp(confirm_by),
    })
}

fn tombstone(row: &Row<'_>) -> rusqlite::Result<Option<(SessionId, Tombstone)>> {
    let Some(id) = SessionId::parse(&row.get::<_, String>("session_id")?) else { return Ok(None) };
    let grave = Tombstone {
        at: Timestamp(row.get("at")?),
        kill_id: row.get::<_, String>("kill_id")?.into(),
        by: row.get::<_, String>("by")?.into(),
        reason: shared(row.get("reason")?),
        token: row.get_ref("token")?.as_blob_or_null()?.and_then(|token| token.try_into().ok()),
    };
    Ok(Some((id, grave)))
}

fn minute_row(row: &Row<'_>) -> rusqlite::Result<Minute> {
    let number = |column: usize| row.get::<_, i64>(column).map(restored);
    let counts =
        Counts { idle: number(1)?, running: number(2)?, hidden: number(3)?, stale: number(4)?, ending: number(5)? };
    Ok(Minute { at: Timestamp(row.get(0)?), counts, ended: number(6)?, kills: number(7)? })
}

/// Reads the log.
pub(super) fn events(connection: &Connection, query: &Query) -> rusqlite::Result<Vec<Entry>> {
    let mut sql = String::from("SELECT * FROM events WHERE 1");
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    if let Some(id) = &query.session_id {
        sql.push_str(" AND session_id = ?");
        values.push(Box::new(id.clone()));
    }
    if let Some(app) = &query.app_name {
        sql.push_str(" AND app_name = ?");
        values.push(Box::new(app.clone()));
    }
    if let Some(apps) = query.scope.apps() {
        let marks = vec!["?"; apps.len()].join(", ");
        sql.push_str(&format!(" AND app_name IN ({marks})"));
        values.extend(apps.iter().map(|app| Box::new(app.to_string()) as Box<dyn ToSql>));
    }
    if let Some(before) = query.before {
        sql.push_str(" AND seq < ?");
        values.push(Box::new(i64::try_from(before).unwrap_or(i64::MAX)));
    }
    if !query.kinds.is_empty() {
        let marks = vec!["?"; query.kinds.len()].join(", ");
        sql.push_str(&format!(" AND kind IN ({marks})"));
        values.extend(query.kinds.iter().map(|kind| Box::new(kind.clone()) as Box<dyn ToSql>));
    }
    sql.push_str(if query.oldest_first { " ORDER BY seq" } else { " ORDER BY seq DESC" });
    sql.push_str(&format!(" LIMIT {}", query.limit));
    connection.prepare_cached(&sql)?.query_map(params_from_iter(values), entry)?.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        seq: restored(row.get("seq")?),
        at: Timestamp(row.get("at")?),
        kind: row.get("kind")?,
        session_id: row.get("session_id")?,
        app_name: row.get("app_name")?,
        user_id: row.get("user_id")?,
        by: row.get("by")?,
        from: row.get("origin")?,
        reason: row.get("reason")?,
        cause: row.get("cause")?,
        details: Details::restored(row.get::<_, Option<String>>("details")?.as_deref()),
    })
}
