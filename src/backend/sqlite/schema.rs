//! The numbered migrations. A released one is never edited: each change of the schema is a
//! new entry at the end of the list.

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
    // 2: who registered a session; the owner of a killed one
    "
    ALTER TABLE sessions ADD COLUMN registered_by TEXT;
    ALTER TABLE tombstones ADD COLUMN token BLOB;
    ",
    // 3: an app's lines of one kind, in their order: an entry of an index ends with `seq`
    "
    CREATE INDEX events_of_app ON events (app_name, kind);
    ",
    // 4: alerts
    "
    CREATE TABLE raised (number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL) STRICT;
    CREATE TABLE alert_notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE alerts (
        id TEXT PRIMARY KEY,
        created INTEGER NOT NULL,
        target TEXT NOT NULL,
        app_name TEXT,
        waiting INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX alerts_waiting ON alerts (id) WHERE waiting;
    ",
    // 5: what rules have noted on a session
    "
    ALTER TABLE sessions ADD COLUMN marks TEXT;
    ",
    // 6: locks, each as the JSON that the API shows
    "
    CREATE TABLE locks (lock_id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
    ",
    // 7: the last input of the user; 0 while the user is active
    "
    ALTER TABLE sessions ADD COLUMN input INTEGER;
    ",
    // 8: the past: what each entry tells of its session's state, checkpoints of the table, how far the log reaches
    "
    ALTER TABLE events ADD COLUMN state TEXT;
    ALTER TABLE starts ADD COLUMN seq INTEGER;
    CREATE TABLE reach (one INTEGER PRIMARY KEY CHECK (one = 1), complete_after INTEGER NOT NULL, untold_until INTEGER NOT NULL) STRICT;
    INSERT INTO reach SELECT 1, coalesce(max(seq), 0), coalesce(max(seq), 0) FROM events;
    CREATE TABLE checkpoints (
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        pieces INTEGER NOT NULL,
        sessions INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE checkpoint_pieces (seq INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (seq, number)) STRICT;
    ",
];

/// Refuses the database of the system that sessionwatch replaces, before anything in it is
/// changed.
///
/// # Errors
/// It is such a database.
pub(super) fn refuse_original(connection: &Connection) -> Result<(), String> {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    if version == Ok(0) && super::original::is_original(connection) {
        return Err(
            "it is the database of the monitor that sessionwatch replaces; give sessionwatch a file of its own with --db, and copy the sessions with `sessionwatch import`"
                .to_owned(),
        );
    }
    Ok(())
}

/// Applies all missing migrations in one transaction.
///
/// # Errors
/// SQLite's errors, or the database belongs to a newer version of this program.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), String> {
    let version: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map_err(|error| error.to_string())?
        .try_into()
        .map_err(|_| "its version is negative".to_owned())?;
    check_known(version as i64)?;
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

/// Checks that this program knows the schema of a database that it did not make.
///
/// # Errors
/// A newer program has written it.
pub(super) fn check_known(version: i64) -> Result<(), String> {
    if version > MIGRATIONS.len() as i64 {
        return Err(format!(
            "it was written by a newer sessionwatch (schema {version}, this program knows {}); use that version instead",
            MIGRATIONS.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::backend::sqlite::Sqlite;
    use crate::clock::Timestamp;

    /// Makes a database with the first version of the schema, a live session and a killed one.
    fn of_the_first_version(path: &std::path::Path) {
        let connection = Connection::open(path).expect("it is made");
        connection.execute_batch(MIGRATIONS[0]).expect("the first migration");
        connection.pragma_update(None, "user_version", 1).expect("its number");
        let rows = "
            INSERT INTO sessions (session_id, app_name, start_time, last_heartbeat, status, status_since, heartbeat_interval)
                VALUES ('a', 'shop', 1000, 2000, 'running', 1000, 30);
            INSERT INTO events (seq, at, kind, session_id, app_name) VALUES (7, 1000, 'registered', 'a', 'shop');
            INSERT INTO tombstones (session_id, at, kill_id, by, reason) VALUES ('b', 3000, 'k', 'ana', 'because');";
        connection.execute_batch(rows).expect("its rows");
    }

    #[tokio::test]
    async fn a_database_of_the_first_version_opens_with_all_that_it_held() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("old.db");
        of_the_first_version(&path);
        let store = Sqlite::open(&path).await.expect("it opens");
        let stored = store.load(Timestamp(5_000)).await.expect("it loads");
        assert_eq!(stored.seq, 7);
        assert_eq!(stored.sessions.len(), 1);
        assert_eq!((stored.sessions[0].id.as_str(), stored.sessions[0].registered_by.as_deref()), ("a", None));
        let (id, grave) = &stored.tombstones[0];
        assert_eq!((id.as_str(), grave.reason.as_deref(), grave.token), ("b", Some("because"), None));
        let reach = store.past().reach().await.expect("it is read");
        assert_eq!((reach.complete_after, reach.untold_until, reach.last), (7, 7, 7), "its entries tell no state");
    }
}
