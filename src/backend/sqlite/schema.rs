//! The numbered migrations. One that has shipped is never edited: the next change
//! of the schema is the next entry of the list.

use rusqlite::{Connection, TransactionBehavior};

const MIGRATIONS: &[&str] = &[
    // 1: sessions, the log, tombstones, counts
    "
    CREATE TABLE sessions (
        session_id TEXT PRIMARY KEY,
        app_name TEXT NOT NULL,
        user_id TEXT,
        start_time INTEGER NOT NULL,
        last_heartbeat INTEGER NOT NULL,
        status TEXT NOT NULL,
        status_since INTEGER NOT NULL,
        current_task TEXT,
        task_started_at INTEGER,
        visibility TEXT,
        heartbeat_interval REAL NOT NULL,
        client TEXT,
        remote_addr TEXT,
        meta TEXT,
        token BLOB,
        kill TEXT
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        session_id TEXT NOT NULL,
        app_name TEXT NOT NULL,
        user_id TEXT,
        by TEXT,
        origin TEXT,
        reason TEXT,
        cause TEXT,
        details TEXT
    ) STRICT;
    CREATE INDEX events_of_session ON events (session_id, seq);
    CREATE INDEX events_of_kind ON events (kind, seq);

    CREATE TABLE tombstones (
        session_id TEXT PRIMARY KEY,
        at INTEGER NOT NULL,
        kill_id TEXT NOT NULL,
        by TEXT NOT NULL,
        reason TEXT
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE minutes (
        at INTEGER PRIMARY KEY,
        idle INTEGER NOT NULL,
        running INTEGER NOT NULL,
        hidden INTEGER NOT NULL,
        stale INTEGER NOT NULL,
        ending INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        kills INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE starts (at INTEGER PRIMARY KEY) STRICT;
    ",
];

/// Brings a database up to the newest migration, all of them in one transaction.
///
/// # Errors
/// SQLite's, or a database that a newer version of this program has written.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), String> {
    let version: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map_err(|error| error.to_string())?
        .try_into()
        .map_err(|_| "its version is negative".to_owned())?;
    if version > MIGRATIONS.len() {
        return Err(format!(
            "it was written by a newer sessionwatch (schema {version}, this program knows {}); start that version instead",
            MIGRATIONS.len()
        ));
    }
    let mut apply = || -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        for migration in &MIGRATIONS[version..] {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        transaction.commit()
    };
    if version < MIGRATIONS.len() { apply().map_err(|error| error.to_string()) } else { Ok(()) }
}
