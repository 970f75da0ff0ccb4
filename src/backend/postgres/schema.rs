//! The tables, made and brought up to date by numbered steps, each in one transaction under
//! a lock, so that several servers may start at once.

use tokio_postgres::Client;

/// The steps. One that has been released is never edited; a later one adds to it.
const STEPS: [&str; 5] = [
    "
    CREATE TABLE head (one boolean PRIMARY KEY DEFAULT true CHECK (one), cluster text NOT NULL, seq bigint NOT NULL,
        keeper text, term bigint NOT NULL DEFAULT 0, keeper_until timestamptz NOT NULL) WITH (fillfactor = 10);
    INSERT INTO head (cluster, seq, keeper_until) VALUES (gen_random_uuid()::text, 0, '-infinity');
    CREATE TABLE feed (last_seq bigint PRIMARY KEY, first_seq bigint NOT NULL, commit_id text NOT NULL UNIQUE,
        at timestamptz NOT NULL DEFAULT clock_timestamp(), body bytea NOT NULL);
    CREATE TABLE sessions (session_id text COLLATE \"C\" PRIMARY KEY, version bigint NOT NULL, body text NOT NULL)
        WITH (fillfactor = 85);
    CREATE TABLE events (seq bigint PRIMARY KEY, at bigint NOT NULL, kind text NOT NULL, session_id text COLLATE \"C\" NOT NULL,
        app_name text NOT NULL, user_id text, by text, origin text, reason text, cause text, details text);
    CREATE INDEX events_of_session ON events (session_id, seq);
    CREATE INDEX events_of_app ON events (app_name, kind, seq);
    CREATE INDEX events_of_kind ON events (kind, seq);
    CREATE INDEX events_by_time ON events (at);
    CREATE TABLE tombstones (session_id text COLLATE \"C\" PRIMARY KEY, at bigint NOT NULL, kill_id text NOT NULL,
        by text NOT NULL, reason text, token bytea);
    CREATE TABLE minutes (at bigint PRIMARY KEY, idle bigint NOT NULL, running bigint NOT NULL, hidden bigint NOT NULL,
        stale bigint NOT NULL, ending bigint NOT NULL, ended bigint NOT NULL, kills bigint NOT NULL);
    CREATE TABLE starts (at bigint NOT NULL);
    CREATE SEQUENCE node_numbers MAXVALUE 16777215;
    CREATE TABLE nodes (node int PRIMARY KEY, boot text NOT NULL, name text NOT NULL, url text, version text NOT NULL,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(), seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        seq bigint, lag bigint, lag_ms bigint, sockets bigint NOT NULL DEFAULT 0, dashboards bigint NOT NULL DEFAULT 0,
        gone boolean NOT NULL DEFAULT false);
    CREATE UNLOGGED TABLE beats (node int NOT NULL, tick bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY (node, tick));
    CREATE UNLOGGED TABLE last_beats (session_id text COLLATE \"C\" PRIMARY KEY, at bigint NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE token_state (one boolean PRIMARY KEY DEFAULT true CHECK (one), version bigint NOT NULL);
    INSERT INTO token_state (version) VALUES (0);
    CREATE TABLE tokens (name text COLLATE \"C\" PRIMARY KEY, place bigserial, role text NOT NULL, apps text[],
        expires bigint, digest bytea NOT NULL UNIQUE);
    CREATE TABLE token_changes (number bigserial PRIMARY KEY, at text NOT NULL, what text NOT NULL, name text NOT NULL,
        by text NOT NULL, origin text NOT NULL, reason text);
    CREATE TABLE login_links (digest bytea PRIMARY KEY, expires timestamptz NOT NULL,
        token bytea NOT NULL REFERENCES tokens (digest) ON DELETE CASCADE);
    CREATE TABLE cookies (digest bytea PRIMARY KEY, page bytea NOT NULL, expires timestamptz NOT NULL,
        token bytea NOT NULL REFERENCES tokens (digest) ON DELETE CASCADE);
    CREATE INDEX cookies_of_token ON cookies (token, expires);
    CREATE TABLE token_readers (node int PRIMARY KEY REFERENCES nodes ON DELETE CASCADE, url text NOT NULL,
        version bigint NOT NULL);
",
    // 2: alerts
    "
    CREATE TABLE raised (number bigserial PRIMARY KEY, body text NOT NULL);
    CREATE TABLE alert_notes (key text COLLATE \"C\" PRIMARY KEY, value text NOT NULL);
    CREATE TABLE alerts (id text COLLATE \"C\" PRIMARY KEY, created bigint NOT NULL, target text COLLATE \"C\" NOT NULL,
        app_name text COLLATE \"C\", waiting boolean NOT NULL, body text NOT NULL);
    CREATE INDEX alerts_waiting ON alerts (id) WHERE waiting;
",
    // 3: locks
    "
    CREATE TABLE locks (lock_id text PRIMARY KEY, body text NOT NULL);
",
    // 4: the past: what each entry tells of its session's state, checkpoints of the table, how far the log reaches
    "
    ALTER TABLE events ADD COLUMN state text;
    CREATE TABLE reach (one boolean PRIMARY KEY DEFAULT true CHECK (one), complete_after bigint NOT NULL,
        untold_until bigint NOT NULL);
    INSERT INTO reach (complete_after, untold_until) SELECT coalesce(max(seq), 0), coalesce(max(seq), 0) FROM events;
    CREATE TABLE checkpoints (seq bigint PRIMARY KEY, at bigint NOT NULL, pieces int NOT NULL, sessions bigint NOT NULL,
        bytes bigint NOT NULL);
    CREATE TABLE checkpoint_pieces (seq bigint NOT NULL, number int NOT NULL, body bytea NOT NULL,
        PRIMARY KEY (seq, number));
    ALTER TABLE checkpoint_pieces ALTER COLUMN body SET STORAGE EXTERNAL;
",
    // 5: when a server ended by itself; one that was lost has none
    "
    ALTER TABLE nodes ADD COLUMN left_at timestamptz;
",
];

/// Any number that no other program takes for its own lock on the same database.
const LOCK: i64 = 0x5e55_1009;

/// Brings the tables up to date.
///
/// # Errors
/// A sentence: the database is of a newer version, or refuses.
pub(super) async fn migrate(client: &mut Client) -> Result<(), String> {
    let told = |error: tokio_postgres::Error| super::connect::explain(&error);
    let step = client.transaction().await.map_err(told)?;
    step.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(told)?;
    step.batch_execute("CREATE TABLE IF NOT EXISTS schema_version (version int NOT NULL)").await.map_err(told)?;
    let found = step.query_opt("SELECT version FROM schema_version", &[]).await.map_err(told)?;
    let known = STEPS.len() as i32;
    let version: i32 = found.as_ref().map_or(0, |row| row.get(0));
    if version > known {
        return Err(newer(version));
    }
    for sql in STEPS.iter().skip(version as usize) {
        step.batch_execute(sql).await.map_err(told)?;
    }
    if found.is_none() {
        step.execute("INSERT INTO schema_version VALUES ($1)", &[&known]).await.map_err(told)?;
    } else if version < known {
        step.execute("UPDATE schema_version SET version = $1", &[&known]).await.map_err(told)?;
    }
    step.commit().await.map_err(told)
}

fn newer(version: i32) -> String {
    let known = STEPS.len();
    format!("its tables are of version {version}, and this program knows up to {known}: start a newer sessionwatch")
}

/// Checks that the tables are there and of this program's version, without a change.
///
/// # Errors
/// A sentence that says what to do.
pub(super) async fn check(client: &Client) -> Result<(), String> {
    let told = |error: tokio_postgres::Error| super::connect::explain(&error);
    let there = client.query_one("SELECT to_regclass('schema_version') IS NOT NULL", &[]).await.map_err(told)?;
    if !there.get::<_, bool>(0) {
        return Err("it has no tables of sessionwatch yet; start a server, which makes them".to_owned());
    }
    let version: i32 = client.query_one("SELECT version FROM schema_version", &[]).await.map_err(told)?.get(0);
    match version.cmp(&(STEPS.len() as i32)) {
        std::cmp::Ordering::Greater => Err(newer(version)),
        std::cmp::Ordering::Less => Err("its tables are of an older version; start a server of this one".to_owned()),
        std::cmp::Ordering::Equal => Ok(()),
    }
}
