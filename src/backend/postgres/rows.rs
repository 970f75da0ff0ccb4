//! SQL and its rows, but for those of a turn.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, IsolationLevel, Row};

use super::presence::number;
use super::{body, past};
use crate::backend::{Keep, Stored, restored, stored};
use crate::change::{Kind, Tombstone};
use crate::clock::Timestamp;
use crate::log::{Details, Entry, Query};
use crate::nodes::Known;
use crate::registry::Counts;
use crate::session::{Pulse, Session, SessionId};
use crate::stats::{Minute, Recount};

type Asked<T> = std::result::Result<T, tokio_postgres::Error>;

/// Lines that one call forgets at most.
const FORGET_AT_ONCE: i64 = 2_000;
/// What a line of the log takes, its indexes included.
const LINE_BYTES: i64 = 350;

/// All servers of the last day, gone or not.
const NODES: &str = "SELECT node, name FROM nodes";

fn nodes(rows: &[Row]) -> Known {
    rows.iter().map(|row| (number(row.get(0)), row.get::<_, String>(1).into())).collect()
}

/// Everything at one position.
pub(super) struct Loaded {
    pub(super) stored: Stored,
    /// The commit that led there.
    pub(super) commit_id: Option<String>,
    /// The names of the servers.
    pub(super) names: Known,
}

/// Everything at one position, and the note that a server starts.
pub(super) async fn load(client: &mut Client, now: Timestamp) -> Asked<Loaded> {
    let day_ago = now.minus(Duration::from_hours(24));
    let look = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let look = look.start().await?;
    let head = "SELECT cluster, seq, (SELECT commit_id FROM feed WHERE last_seq = seq) FROM head";
    let head = look.query_one(head, &[]).await?;
    let known = nodes(&look.query(NODES, &[]).await?);
    let rows =
        look.query("SELECT body, last_beats.at FROM sessions LEFT JOIN last_beats USING (session_id)", &[]).await?;
    let sessions = rows.iter().filter_map(|row| session(row, &known)).collect();
    let tombstones = look.query("SELECT * FROM tombstones", &[]).await?.iter().filter_map(tombstone).collect();
    let locks = look.query("SELECT body FROM locks", &[]).await?;
    let locks = locks.iter().filter_map(|row| serde_json::from_str(row.get(0)).ok()).collect();
    let mut minutes: Vec<Minute> = look
        .query("SELECT * FROM minutes WHERE at > $1 ORDER BY at", &[&day_ago.0])
        .await?
        .iter()
        .map(minute_row)
        .collect();
    let mut recount = Recount::since(&minutes, day_ago);
    let since = minutes.last().map_or(day_ago, |minute| minute.at);
    let lines = look.query("SELECT at, kind FROM events WHERE at >= $1 ORDER BY seq DESC", &[&since.0]).await?;
    let _ = lines.iter().all(|line| recount.take(Timestamp(line.get(0)), line.get(1)));
    recount.put(&mut minutes);
    let starts = look.query("SELECT at FROM starts WHERE at > $1 ORDER BY at", &[&day_ago.0]).await?;
    let stored = Stored {
        epoch: head.get::<_, String>(0).into(),
        seq: restored(head.get(1)),
        sessions,
        tombstones,
        locks,
        minutes,
        starts: starts.iter().map(|row| Timestamp(row.get(0))).collect(),
    };
    look.commit().await?;
    client.execute("INSERT INTO starts VALUES ($1)", &[&now.0]).await?;
    Ok(Loaded { stored, commit_id: head.get(2), names: known })
}

/// A session, with its last heartbeat. Its socket counts if its server is in `nodes`, gone or not:
/// that a server has gone is an event of the keeper's, so all servers see it at the same position.
fn session(row: &Row, known: &Known) -> Option<Session> {
    let mut session = body::session_of_text(row.get(0))?;
    if let Some(at) = row.get::<_, Option<i64>>(1) {
        let at = Timestamp(at).max(session.pulse.wall());
        session.pulse = Arc::new(Pulse::new(at, session.pulse.mono()));
    }
    session.socket = session.socket.filter(|socket| known.contains_key(&socket.node()));
    Some(session)
}

/// One session.
pub(super) async fn one(client: &Client, id: &SessionId) -> Asked<Option<Session>> {
    let row = client
        .query_opt(
            "SELECT body, last_beats.at FROM sessions LEFT JOIN last_beats USING (session_id) WHERE session_id = $1",
            &[&id.as_str()],
        )
        .await?;
    let known = nodes(&client.query(NODES, &[]).await?);
    Ok(row.as_ref().and_then(|row| session(row, &known)))
}

/// Notes heartbeats, in a table that no log is written for.
pub(super) async fn beats(client: &Client, beats: &[(SessionId, Timestamp)]) -> Asked<()> {
    for slice in beats.chunks(10_000) {
        // In one order on every server, so that none waits for another in a circle.
        let mut slice: Vec<_> = slice.iter().collect();
        slice.sort_unstable();
        let (ids, ats): (Vec<&str>, Vec<i64>) = slice.iter().map(|(id, at)| (id.as_str(), at.0)).unzip();
        client
            .execute(
                "INSERT INTO last_beats (session_id, at)
                 SELECT beat.id, beat.at FROM unnest($1::text[], $2::bigint[]) AS beat (id, at)
                 JOIN sessions ON sessions.session_id = beat.id
                 ON CONFLICT (session_id) DO UPDATE SET at = excluded.at",
                &[&ids, &ats],
            )
            .await?;
    }
    Ok(())
}

/// Notes the counts of a minute.
pub(super) async fn minute(client: &Client, minute: &Minute) -> Asked<()> {
    let Counts { idle, running, hidden, stale, ending } = minute.counts;
    let numbers = [idle, running, hidden, stale, ending, minute.ended, minute.kills].map(stored);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&minute.at.0];
    parameters.extend(numbers.iter().map(|number| number as &(dyn ToSql + Sync)));
    client
        .execute(
            "INSERT INTO minutes VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (at) DO UPDATE SET idle = excluded.idle, running = excluded.running, hidden = excluded.hidden,
                stale = excluded.stale, ending = excluded.ending, ended = excluded.ended, kills = excluded.kills",
            &parameters,
        )
        .await?;
    Ok(())
}

/// The counts since a time, in steps of `step` ms.
pub(super) async fn minutes(client: &Client, since: Timestamp, step: i64) -> Asked<Vec<Minute>> {
    let mean = |column: &str| format!("round(avg({column}))::bigint");
    let [idle, running, hidden, stale, ending] = ["idle", "running", "hidden", "stale", "ending"].map(mean);
    let sql = format!(
        "SELECT at / $2 * $2 AS step, {idle}, {running}, {hidden}, {stale}, {ending}, sum(ended)::bigint, sum(kills)::bigint
         FROM minutes WHERE at >= $1 GROUP BY step ORDER BY step"
    );
    Ok(client.query(&sql, &[&since.0, &step]).await?.iter().map(minute_row).collect())
}

/// Lines of the log.
pub(super) async fn events(client: &Client, query: &Query) -> Asked<Vec<Entry>> {
    let order = if query.oldest_first { "ASC" } else { "DESC" };
    let apps: Option<Vec<&str>> = query.scope.apps().map(|apps| apps.iter().map(|app| &**app).collect());
    let kinds: Option<&[String]> = (!query.kinds.is_empty()).then_some(&query.kinds);
    let (before, after) = (query.before.map(stored), query.after.map(stored));
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let rows = client
        .query(
            &format!(
                "SELECT * FROM events
                 WHERE ($1::text IS NULL OR session_id = $1) AND ($2::text IS NULL OR app_name = $2)
                   AND ($3::text[] IS NULL OR app_name = ANY($3)) AND ($4::text[] IS NULL OR kind = ANY($4))
                   AND ($5::bigint IS NULL OR seq < $5) AND ($7::bigint IS NULL OR seq > $7)
                 ORDER BY seq {order} LIMIT $6"
            ),
            &[&query.session_id, &query.app_name, &apps, &kinds, &before, &limit, &after],
        )
        .await?;
    Ok(rows.iter().map(entry).collect())
}

/// Forgets what is old; true when there may be more.
pub(super) async fn forget(client: &Client, keep: Keep) -> Asked<bool> {
    let old = past::delete(
        client,
        "SELECT seq FROM events WHERE at < $1 AND seq < (SELECT max(seq) FROM events) ORDER BY seq LIMIT $2",
        &[&keep.events.0, &FORGET_AT_ONCE],
    )
    .await?;
    let size: i64 = client.query_one("SELECT pg_total_relation_size('events')", &[]).await?.get(0);
    let mut oldest = 0;
    if restored(size) > keep.log_bytes {
        // The size of the table does not shrink when lines go, so they are counted.
        let count: i64 = client.query_one("SELECT count(*) FROM events", &[]).await?.get(0);
        let most = stored(keep.log_bytes) / LINE_BYTES;
        let too_many = (count - most).clamp(0, FORGET_AT_ONCE);
        let longest: Vec<&str> =
            Kind::LOGGED.into_iter().filter(|kind| kind.is_kept_longest()).map(Kind::as_str).collect();
        for wanted in [false, true] {
            if too_many == 0 || oldest > 0 {
                break;
            }
            oldest = past::delete(
                client,
                "SELECT seq FROM events WHERE (kind = ANY($1)) = $2
                    AND seq < (SELECT max(seq) FROM events) ORDER BY seq LIMIT $3",
                &[&longest, &wanted, &too_many],
            )
            .await?;
        }
    }
    let checkpoint = past::forget(client, keep.log_bytes).await?;
    client.execute("DELETE FROM tombstones WHERE at < $1", &[&keep.tombstones.0]).await?;
    client.execute("DELETE FROM minutes WHERE at < $1", &[&keep.events.0]).await?;
    client.execute("DELETE FROM starts WHERE at < $1", &[&keep.events.0]).await?;
    client
        .execute(
            "DELETE FROM feed WHERE at < clock_timestamp() - interval '10 min' AND last_seq < (SELECT seq FROM head)",
            &[],
        )
        .await?;
    client.execute("DELETE FROM nodes WHERE gone AND seen_at < clock_timestamp() - interval '1 day'", &[]).await?;
    client
        .execute(
            "DELETE FROM last_beats WHERE at < $1 AND NOT EXISTS
                (SELECT FROM sessions WHERE sessions.session_id = last_beats.session_id)",
            &[&keep.tombstones.0],
        )
        .await?;
    Ok(old == FORGET_AT_ONCE.unsigned_abs() || oldest > 0 || checkpoint)
}

fn tombstone(row: &Row) -> Option<(SessionId, Tombstone)> {
    let id = SessionId::parse(row.get("session_id"))?;
    let tombstone = Tombstone {
        at: Timestamp(row.get("at")),
        kill_id: row.get::<_, String>("kill_id").into(),
        by: row.get::<_, String>("by").into(),
        reason: row.get::<_, Option<String>>("reason").map(Into::into),
        token: row.get::<_, Option<&[u8]>>("token").and_then(|token| token.try_into().ok()),
    };
    Some((id, tombstone))
}

fn minute_row(row: &Row) -> Minute {
    let number = |column: usize| restored(row.get(column));
    let counts = Counts { idle: number(1), running: number(2), hidden: number(3), stale: number(4), ending: number(5) };
    Minute { at: Timestamp(row.get(0)), counts, ended: number(6), kills: number(7) }
}

fn entry(row: &Row) -> Entry {
    Entry {
        seq: restored(row.get("seq")),
        at: Timestamp(row.get("at")),
        kind: row.get("kind"),
        session_id: row.get("session_id"),
        app_name: row.get("app_name"),
        user_id: row.get("user_id"),
        by: row.get("by"),
        from: row.get("origin"),
        reason: row.get("reason"),
        cause: row.get("cause"),
        details: Details::restored(row.get("details")),
        state: row.get("state"),
    }
}

/// Heartbeats for the other servers: each the length of the id, the id, and the time.
pub(super) fn beats_to_bytes(moved: &[Arc<Session>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(moved.len() * 48);
    for session in moved {
        let id = session.id.as_str().as_bytes();
        bytes.push(id.len() as u8);
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&session.pulse.wall().0.to_be_bytes());
    }
    bytes
}

/// Out of [`beats_to_bytes`]; what cannot be read is passed over.
pub(super) fn beats_of_bytes(mut bytes: &[u8]) -> Vec<(SessionId, Timestamp)> {
    let mut beats = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let Some((id, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
        let Some((at, rest)) = rest.split_first_chunk::<8>() else { break };
        bytes = rest;
        if let Some(id) = std::str::from_utf8(id).ok().and_then(SessionId::parse) {
            beats.push((id, Timestamp(i64::from_be_bytes(*at))));
        }
    }
    beats
}
