//! A server's turn: the head's row is locked, what others have committed is read, and what
//! this server decides on top of it is committed; in two flights to the database.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join3};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use tokio_postgres::{Client, Statement};

use super::connect::explain;
use super::marks::Broken;
use super::{Shared, alerts, body, lost};
use crate::alerts::Raised;
use crate::backend::{Turn, last_locks, last_versions, restored, stored};
use crate::change::{Event, Kind};
use crate::error::{Error, Result};
use crate::log::Entry;
use crate::session::SessionId;

/// How long the database may take for one flight.
const FLIGHT_WITHIN: Duration = Duration::from_secs(5);
/// How long the server asks about a commit with an unknown outcome, before it answers that the
/// outcome is unknown.
const UNKNOWN_WITHIN: Duration = Duration::from_secs(10);

/// The connection that writes.
pub(super) struct Link {
    client: Client,
    lock: Statement,
    missed: Statement,
    write: Statement,
    locks: Statement,
}

const LOCK: &str = "SELECT seq, cluster, keeper FROM head FOR UPDATE";

/// The commits behind a position, and the one that led to it, without what it was: to see that the
/// history is still the same. Not one statement with the lock: its look would be at the state
/// before the lock was given.
pub(super) const MISSED: &str = "SELECT first_seq, last_seq, commit_id, CASE WHEN last_seq > $1 THEN body END
    FROM feed WHERE last_seq >= $1 ORDER BY last_seq";

const WRITE: &str = "
    WITH upserted AS (
        INSERT INTO sessions (session_id, version, body)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])
        ON CONFLICT (session_id) DO UPDATE SET version = excluded.version, body = excluded.body),
    removed AS (DELETE FROM sessions WHERE session_id = ANY($4::text[])),
    logged AS (
        INSERT INTO events (seq, at, kind, session_id, app_name, user_id, by, origin, reason, cause, details, state)
        SELECT * FROM unnest($5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
            $12::text[], $13::text[], $14::text[], $15::text[], $27::text[])),
    buried AS (
        INSERT INTO tombstones (session_id, at, kill_id, by, reason, token)
        SELECT * FROM unnest($16::text[], $17::bigint[], $18::text[], $19::text[], $20::text[], $21::bytea[])
        ON CONFLICT (session_id) DO UPDATE SET at = excluded.at, kill_id = excluded.kill_id, by = excluded.by,
            reason = excluded.reason, token = excluded.token),
    told AS (INSERT INTO feed (first_seq, last_seq, commit_id, body) VALUES ($22, $23, $24, $25)),
    raised AS (INSERT INTO raised (body) SELECT * FROM unnest($26::text[])),
    moved AS (UPDATE head SET seq = $23)
    SELECT pg_notify('sessionwatch', $23::bigint::text)";

/// The locks that a commit changes.
const LOCKS: &str = "
    WITH lifted AS (DELETE FROM locks WHERE lock_id = ANY($3::text[]))
    INSERT INTO locks (lock_id, body) SELECT * FROM unnest($1::text[], $2::text[])
    ON CONFLICT (lock_id) DO UPDATE SET body = excluded.body";

impl Link {
    async fn open(shared: &Shared) -> std::result::Result<Self, String> {
        let client = shared.target.connect(None).await?;
        let prepare = async |sql: &str| client.prepare(sql).await.map_err(|error| explain(&error));
        let (lock, missed, write) = (prepare(LOCK).await?, prepare(MISSED).await?, prepare(WRITE).await?);
        let locks = prepare(LOCKS).await?;
        Ok(Self { client, lock, missed, write, locks })
    }

    /// Commits rows for the book of alerts without an event.
    async fn raise_alone(&self, bodies: &[String]) -> std::result::Result<(), tokio_postgres::Error> {
        self.client.execute(alerts::INSERT_RAISED, &[&bodies]).await?;
        self.client.batch_execute("COMMIT").await
    }
}

/// The turn, while the head's row is locked.
pub(super) struct PostgresTurn {
    shared: Arc<Shared>,
    /// Empty once the turn is over.
    link: Option<OwnedMutexGuard<Option<Link>>>,
    pub(super) missed: Vec<Event>,
    is_keeper: bool,
    raised: Vec<Raised>,
}

/// Takes the turn of a server that has applied everything up to `position`.
pub(super) async fn begin(shared: Arc<Shared>, position: u64) -> Result<PostgresTurn> {
    let mut guard = shared.writer.clone().lock_owned().await;
    if guard.as_ref().is_none_or(|link| link.client.is_closed()) {
        *guard = None;
        let link = timeout(FLIGHT_WITHIN, Link::open(&shared)).await;
        *guard = Some(link.map_err(|_| away("no connection in time"))?.map_err(|why| away(&why))?);
    }
    let Some(link) = guard.as_ref() else { return Err(away("no connection")) };
    let from = stored(position);
    let flight = async {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&from];
        let (begun, head, missed) = join3(
            link.client.batch_execute("BEGIN"),
            link.client.query_one(&link.lock, &[]),
            link.client.query(&link.missed, &parameters),
        )
        .await;
        begun?;
        Ok::<_, tokio_postgres::Error>((head?, missed?))
    };
    let (head, rows) = match timeout(FLIGHT_WITHIN, flight).await {
        Ok(Ok(answer)) => answer,
        // Who drops the connection gives the lock back.
        Ok(Err(error)) => {
            *guard = None;
            return Err(away(&explain(&error)));
        }
        Err(_) => {
            *guard = None;
            return Err(away("no answer in time"));
        }
    };
    let mut turn = PostgresTurn {
        is_keeper: head.get::<_, Option<String>>(2).as_deref() == Some(&*shared.boot),
        link: Some(guard),
        missed: Vec::new(),
        raised: Vec::new(),
        shared,
    };
    let (seq, cluster): (i64, String) = (head.get(0), head.get(1));
    let seq = restored(seq);
    let is_ours = cluster == *turn.shared.cluster;
    match is_ours.then(|| turn.shared.marks.follow(&rows, position, Some(seq))) {
        Some(Ok(missed)) => {
            turn.missed = missed;
            Ok(turn)
        }
        broken => {
            let why = if let Some(Err(why)) = broken { why } else { Broken::OtherEpoch };
            if is_ours && why.is_another_history(position, seq) && !turn.begin_epoch().await {
                return Err(away("no new epoch can begin now"));
            }
            turn.shared.lose(position, seq, why);
            Err(lost())
        }
    }
}

impl PostgresTurn {
    /// Learns the names of the servers that what it hands over shows.
    pub(super) async fn meet(&self) -> Result<()> {
        match self.link.as_ref().and_then(|guard| guard.as_ref()) {
            Some(link) => self.shared.meet(&link.client, &self.missed).await,
            None => Ok(()),
        }
    }

    /// Begins a new epoch: what comes now takes the numbers of what was lost. Returns whether it did.
    async fn begin_epoch(&mut self) -> bool {
        let Some(mut guard) = self.link.take() else { return false };
        let Some(link) = guard.as_ref() else { return false };
        let sql = format!("{NEW_EPOCH}; COMMIT");
        let begun = matches!(timeout(FLIGHT_WITHIN, link.client.batch_execute(&sql)).await, Ok(Ok(())));
        *guard = None;
        begun
    }
}

pub(super) const NEW_EPOCH: &str = "UPDATE head SET cluster = gen_random_uuid()::text";

impl Turn for PostgresTurn {
    fn missed(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.missed)
    }

    fn is_keeper(&self) -> bool {
        self.is_keeper
    }

    fn raise(&mut self, raised: Vec<Raised>) {
        self.raised.extend(raised);
    }

    fn commit<'a>(mut self: Box<Self>, events: Arc<Vec<Event>>) -> BoxFuture<'a, Result<()>>
    where
        Self: 'a,
    {
        async move {
            let Some(mut guard) = self.link.take() else { return Err(away("the turn is over")) };
            let Some(link) = guard.as_ref() else { return Err(away("the turn is over")) };
            if events.is_empty() {
                let done = timeout(FLIGHT_WITHIN, link.raise_alone(&alerts::bodies(&self.raised))).await;
                return match done {
                    Ok(Ok(())) => Ok(()),
                    failed => {
                        // It may have taken effect; a row that is raised twice is told once.
                        *guard = None;
                        Err(away(&failed.map_or("no answer in time".to_owned(), |done| {
                            done.map_or_else(|error| explain(&error), |()| String::new())
                        })))
                    }
                };
            }
            let commit_id = uuid::Uuid::new_v4().to_string();
            let rows =
                Rows::of(&events, &self.raised, &commit_id).map_err(|error| Error::Storage(error.to_string()))?;
            let flight = async {
                let parameters = rows.parameters();
                // A refusal of the first one makes PostgreSQL refuse the others too.
                let (_, written, ended) = join3(
                    write_locks(link, &events),
                    link.client.query(&link.write, &parameters),
                    link.client.batch_execute("COMMIT"),
                )
                .await;
                (written, ended)
            };
            match timeout(FLIGHT_WITHIN, flight).await {
                Ok((Ok(_), Ok(()))) => {
                    self.shared.marks.put(restored(rows.last), commit_id);
                    return Ok(());
                }
                // The database has refused the write, so its COMMIT was a ROLLBACK.
                Ok((Err(error), _)) if error.as_db_error().is_some() && !link.client.is_closed() => {
                    return Err(away(&explain(&error)));
                }
                _ => {}
            }
            *guard = None;
            drop(guard);
            self.shared.outcome(&commit_id).await?;
            self.shared.marks.put(restored(rows.last), commit_id);
            Ok(())
        }
        .boxed()
    }
}

/// Writes the locks that these events change; most commits change none.
async fn write_locks(link: &Link, events: &[Event]) -> std::result::Result<(), tokio_postgres::Error> {
    let (mut ids, mut bodies, mut lifted) = (Vec::new(), Vec::new(), Vec::new());
    for (event, lock) in last_locks(events.iter()) {
        if event.kind == Kind::Unlocked {
            lifted.push(&*lock.lock_id);
        } else {
            ids.push(&*lock.lock_id);
            bodies.push(serde_json::to_string(lock).unwrap_or_default());
        }
    }
    if ids.is_empty() && lifted.is_empty() {
        return Ok(());
    }
    link.client.execute(&link.locks, &[&ids, &bodies, &lifted]).await.map(drop)
}

impl Drop for PostgresTurn {
    fn drop(&mut self) {
        let Some(mut guard) = self.link.take() else { return };
        // Nothing was decided: the lock goes back.
        tokio::spawn(async move {
            let Some(link) = guard.as_ref() else { return };
            let done = timeout(FLIGHT_WITHIN, link.client.batch_execute("ROLLBACK")).await;
            if !matches!(done, Ok(Ok(()))) {
                *guard = None;
            }
        });
    }
}

impl Shared {
    /// Whether a commit took effect whose answer never came. The head's lock waits for the
    /// connection on which it was sent.
    async fn outcome(&self, commit_id: &str) -> Result<()> {
        let ask = async {
            loop {
                if let Ok(client) = self.target.connect(None).await {
                    let asked = async {
                        client.batch_execute("BEGIN; SELECT seq FROM head FOR UPDATE").await?;
                        let found = client.query_opt("SELECT 1 FROM feed WHERE commit_id = $1", &[&commit_id]).await?;
                        client.batch_execute("ROLLBACK").await?;
                        Ok::<_, tokio_postgres::Error>(found.is_some())
                    };
                    if let Ok(Ok(found)) = timeout(FLIGHT_WITHIN, asked).await {
                        return found;
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        match timeout(UNKNOWN_WITHIN, ask).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(away("the connection was lost before the commit")),
            // If it did take effect, the next turn hands it over like another server's.
            Err(_) => Err(Error::Unknown),
        }
    }
}

/// What one commit writes, by column.
#[derive(Default)]
struct Rows {
    session_ids: Vec<String>,
    versions: Vec<i64>,
    bodies: Vec<String>,
    removed: Vec<String>,
    seqs: Vec<i64>,
    ats: Vec<i64>,
    kinds: Vec<String>,
    of_sessions: Vec<String>,
    apps: Vec<String>,
    users: Vec<Option<String>>,
    bys: Vec<Option<String>>,
    origins: Vec<Option<String>>,
    reasons: Vec<Option<String>>,
    causes: Vec<Option<String>>,
    details: Vec<Option<String>>,
    states: Vec<Option<String>>,
    buried: Vec<String>,
    buried_at: Vec<i64>,
    buried_kill: Vec<String>,
    buried_by: Vec<String>,
    buried_reason: Vec<Option<String>>,
    buried_token: Vec<Option<Vec<u8>>>,
    first: i64,
    last: i64,
    commit_id: String,
    feed: Vec<u8>,
    raised: Vec<String>,
}

impl Rows {
    fn of(events: &[Event], raised: &[Raised], commit_id: &str) -> serde_json::Result<Self> {
        let mut rows = Self {
            first: stored(events.first().map_or(0, |event| event.seq)),
            last: stored(events.last().map_or(0, |event| event.seq)),
            commit_id: commit_id.to_owned(),
            feed: body::events_to_bytes(events)?,
            raised: alerts::bodies(raised),
            ..Self::default()
        };
        let mut buried: HashMap<&SessionId, &Event> = HashMap::new();
        for event in events {
            if event.kind.is_logged() {
                rows.log(Entry::of(event));
            }
            if event.tombstone().is_some() {
                buried.insert(&event.session.id, event);
            }
        }
        for event in last_versions(events.iter()) {
            let id = event.session.id.to_string();
            if event.kind == Kind::Removed {
                rows.removed.push(id);
            } else {
                rows.session_ids.push(id);
                rows.versions.push(stored(event.seq));
                rows.bodies.push(body::session_to_text(&event.session)?);
            }
        }
        for (id, event) in buried {
            let Some(tombstone) = event.tombstone() else { continue };
            rows.buried.push(id.to_string());
            rows.buried_at.push(tombstone.at.0);
            rows.buried_kill.push(tombstone.kill_id.to_string());
            rows.buried_by.push(tombstone.by.to_string());
            rows.buried_reason.push(tombstone.reason.as_deref().map(str::to_owned));
            rows.buried_token.push(tombstone.token.map(|token| token.to_vec()));
        }
        Ok(rows)
    }

    fn log(&mut self, entry: Entry) {
        self.seqs.push(stored(entry.seq));
        self.ats.push(entry.at.0);
        self.kinds.push(entry.kind);
        self.of_sessions.push(entry.session_id);
        self.apps.push(entry.app_name);
        self.users.push(entry.user_id);
        self.bys.push(entry.by);
        self.origins.push(entry.from);
        self.reasons.push(entry.reason);
        self.causes.push(entry.cause);
        self.details.push(entry.details.stored());
        self.states.push(entry.state);
    }

    fn parameters(&self) -> [&(dyn tokio_postgres::types::ToSql + Sync); 27] {
        [
            &self.session_ids,
            &self.versions,
            &self.bodies,
            &self.removed,
            &self.seqs,
            &self.ats,
            &self.kinds,
            &self.of_sessions,
            &self.apps,
            &self.users,
            &self.bys,
            &self.origins,
            &self.reasons,
            &self.causes,
            &self.details,
            &self.buried,
            &self.buried_at,
            &self.buried_kill,
            &self.buried_by,
            &self.buried_reason,
            &self.buried_token,
            &self.first,
            &self.last,
            &self.commit_id,
            &self.feed,
            &self.raised,
            &self.states,
        ]
    }
}

/// The database cannot take it now, and nothing was changed.
pub(super) fn away(why: &str) -> Error {
    Error::Storage(why.to_owned())
}
