//! What is written: events with their sessions, heartbeats, minutes.

use rusqlite::{Connection, Transaction, params, params_from_iter};

use super::values::kill_to_json;
use crate::alerts::Raised;
use crate::backend::{last_locks, last_versions, stored};
use crate::change::{Event, Kind, Tombstone};
use crate::clock::Timestamp;
use crate::log::Entry;
use crate::marks;
use crate::registry::Counts;
use crate::session::{Session, SessionId, Visibility};
use crate::stats::Minute;

/// Writes a batch of events in one transaction: a log line for each, and each session's last
/// version; and the rows that they raise.
pub(super) fn commit(connection: &mut Connection, events: &[Event], raised: &[Raised]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    super::alerts::raise(&transaction, raised)?;
    let logged = || events.iter().filter(|event| event.kind.is_logged());
    {
        let mut line = transaction.prepare_cached(
            "INSERT INTO events (seq, at, kind, session_id, app_name, user_id, by, origin, reason, cause, details, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?;
        let mut tombstone = transaction.prepare_cached(
            "INSERT OR REPLACE INTO tombstones (session_id, at, kill_id, by, reason, token) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for event in logged() {
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
                entry.state,
            ])?;
            if let Some(Tombstone { at, kill_id, by, reason, token }) = event.tombstone() {
                let (id, token) = (event.session.id.as_str(), token.as_ref().map(|token| &token[..]));
                tombstone.execute(params![id, at.0, &*kill_id, &*by, reason.as_deref(), token])?;
            }
        }
    }
    for event in last_versions(logged()) {
        if event.kind == Kind::Removed {
            transaction
                .prepare_cached("DELETE FROM sessions WHERE session_id = ?1")?
                .execute([event.session.id.as_str()])?;
        } else {
            put(&transaction, &event.session)?;
        }
    }
    for (event, lock) in last_locks(logged()) {
        if event.kind == Kind::Unlocked {
            transaction.execute("DELETE FROM locks WHERE lock_id = ?1", [&*lock.lock_id])?;
        } else {
            let body = serde_json::to_string(lock).unwrap_or_default();
            transaction.execute("INSERT OR REPLACE INTO locks VALUES (?1, ?2)", [&*lock.lock_id, &body])?;
        }
    }
    transaction.commit()
}

/// Writes one session.
fn put(transaction: &Transaction<'_>, session: &Session) -> rusqlite::Result<()> {
    let kill = session.kill.as_deref().map(kill_to_json);
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO sessions (session_id, app_name, user_id, start_time, last_heartbeat, status,
                status_since, current_task, task_started_at, visibility, heartbeat_interval, client, remote_addr, meta, token, kill,
                registered_by, marks, input)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
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
            session.marks.as_deref().map(marks::to_json),
            session.input.to_number(),
        ])?;
    Ok(())
}

/// Writes the last heartbeats of sessions.
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
