//! SQL and its rows: the only place that knows how a session stands in a table.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params, params_from_iter};

use crate::backend::{Stored, fresh_epoch};
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
        epoch: fresh_epoch(),
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

/// Reads the log: at most `limit` lines for each kind that is asked for, whatever is there,
/// so that no question delays the next one.
pub(super) fn events(connection: &Connection, query: &Query) -> rusqlite::Result<Vec<Entry>> {
    let (sql, values) = question(query);
    connection.prepare_cached(&sql)?.query_map(params_from_iter(values), entry)?.collect()
}

/// The question that no line answers.
fn nothing() -> (String, Vec<Box<dyn ToSql>>) {
    ("SELECT * FROM events WHERE 0".to_owned(), Vec::new())
}

/// Questions that one statement may hold (SQLite takes 500).
const QUESTIONS_MAX: usize = 400;

/// The question in SQL. Each kind is asked for by itself, since an index has its lines in
/// their order only within one kind; an app alone is asked for all kinds there are.
fn question(query: &Query) -> (String, Vec<Box<dyn ToSql>>) {
    let order = if query.oldest_first { "ORDER BY seq" } else { "ORDER BY seq DESC" };
    let limit = query.limit;
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut conditions = |kind: Option<&str>, apps: &[String]| {
        let mut sql = String::from("1");
        let mut add = |text: &str, value: Box<dyn ToSql>| {
            sql.push_str(text);
            values.push(value);
        };
        if let Some(id) = &query.session_id {
            add(" AND session_id = ?", Box::new(id.clone()));
        }
        // One session's lines are few: what stands beside them needs no index.
        let plus = if query.session_id.is_some() { "+" } else { "" };
        for (index, app) in apps.iter().enumerate() {
            let before = if index == 0 { format!(" AND {plus}app_name IN (") } else { ", ".to_owned() };
            let after = if index + 1 == apps.len() { ")" } else { "" };
            add(&format!("{before}?{after}"), Box::new(app.clone()));
        }
        if let Some(before) = query.before {
            add(" AND seq < ?", Box::new(i64::try_from(before).unwrap_or(i64::MAX)));
        }
        if let Some(kind) = kind {
            add(&format!(" AND {plus}kind = ?"), Box::new(kind.to_owned()));
        }
        sql
    };
    let apps = match (&query.app_name, query.scope.apps()) {
        (Some(app), Some(_)) if !query.scope.allows(app) => return nothing(),
        // Limited to no app at all.
        (None, Some([])) => return nothing(),
        (Some(app), _) => vec![app.clone()],
        (None, Some(apps)) => apps.iter().map(ToString::to_string).collect(),
        (None, None) => Vec::new(),
    };
    let kinds: Vec<&str> = match (&query.kinds[..], &apps[..], &query.session_id) {
        ([], [_, ..], None) => Kind::LOGGED.map(Kind::as_str).to_vec(),
        (asked, ..) => asked.iter().map(String::as_str).collect(),
    };
    // Each app by itself, too, as long as SQLite takes so many questions in one.
    let alone = kinds.len() * apps.len() <= QUESTIONS_MAX && query.session_id.is_none();
    let groups: Vec<&[String]> = if alone && !apps.is_empty() { apps.chunks(1).collect() } else { vec![&apps] };
    let pairs = || kinds.iter().flat_map(|kind| groups.iter().map(move |apps| (*kind, *apps)));
    let sql = match (&kinds[..], &groups[..]) {
        ([], _) => format!("SELECT * FROM events WHERE {} {order} LIMIT {limit}", conditions(None, &apps)),
        ([kind], [apps]) => {
            format!("SELECT * FROM events WHERE {} {order} LIMIT {limit}", conditions(Some(kind), apps))
        }
        _ => {
            let mut each = |(kind, apps): (&str, &[String])| {
                let conditions = conditions(Some(kind), apps);
                format!("SELECT * FROM (SELECT seq FROM events WHERE {conditions} {order} LIMIT {limit})")
            };
            let all = pairs().map(&mut each).collect::<Vec<_>>().join(" UNION ALL ");
            format!("SELECT * FROM events WHERE seq IN ({all}) {order} LIMIT {limit}")
        }
    };
    (sql, values)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sqlite::schema;

    /// How SQLite goes about a question, in a log of many apps.
    fn plan(connection: &Connection, query: &Query) -> String {
        let (sql, values) = question(query);
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("SQL");
        let lines = plan.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).expect("a plan");
        lines.collect::<rusqlite::Result<Vec<_>>>().expect("text").join("\n")
    }

    #[test]
    fn no_question_to_the_log_looks_at_lines_that_it_does_not_ask_for() {
        let mut connection = Connection::open_in_memory().expect("memory");
        schema::migrate(&mut connection).expect("the schema");
        connection
            .execute_batch(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
                 INSERT INTO events (seq, at, kind, session_id, app_name)
                 SELECT i, i, CASE i % 50 WHEN 0 THEN 'kill_requested' ELSE 'status_changed' END, 's' || (i % 1000), 'app' || (i % 3) FROM n;",
            )
            .expect("lines");
        let app = Some("app1".to_owned());
        let of = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
        let asked = [
            (Query { app_name: app.clone(), ..Query::default() }, "events_of_app"),
            (Query { app_name: Some("nobody".to_owned()), ..Query::default() }, "events_of_app"),
            (Query { app_name: app.clone(), kinds: of(&["kill_requested"]), ..Query::default() }, "events_of_app"),
            (Query { app_name: app.clone(), kinds: of(&["stale", "removed"]), ..Query::default() }, "events_of_app"),
            (Query { kinds: of(&["kill_requested"]), ..Query::default() }, "events_of_kind"),
            (Query { kinds: of(&["stale", "removed"]), ..Query::default() }, "events_of_kind"),
            (Query { session_id: Some("s1".to_owned()), ..Query::default() }, "events_of_session"),
            (
                Query { session_id: Some("s1".to_owned()), app_name: app, kinds: of(&["stale"]), ..Query::default() },
                "events_of_session",
            ),
        ];
        for (query, index) in asked {
            for before in [None, Some(10_000)] {
                let query = Query { before, limit: 100, ..query.clone() };
                let plan = plan(&connection, &query);
                assert!(plan.contains(index), "{query:?}:\n{plan}");
                assert!(!plan.contains("SCAN events"), "{query:?}:\n{plan}");
                // The lines of one kind, or of one session, come in their order.
                assert!(query.kinds.len() != 1 || !plan.contains("TEMP B-TREE"), "{query:?}:\n{plan}");
                let found = events(&connection, &query).expect("lines");
                assert!(found.iter().all(|entry| query.fits(entry)), "{query:?}");
                assert!(found.is_sorted_by(|one, other| one.seq > other.seq), "{query:?}");
            }
        }
        let mine = Query { app_name: Some("app1".to_owned()), limit: 7, ..Query::default() };
        let seqs: Vec<u64> = events(&connection, &mine).expect("lines").iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, [19_999, 19_996, 19_993, 19_990, 19_987, 19_984, 19_981], "the newest, of all kinds");
    }
}
