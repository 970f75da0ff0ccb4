//! What callers read: single sessions, all sessions at one position, the log, the counts of the
//! last day, the metrics. Reads never wait for the writer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Monitor;
use crate::change::{Authority, Kind, Proof};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::log::{Entry, Query};
use crate::metrics::{self, AppStatus, Gauges};
use crate::nodes::{Known, Load, Server};
use crate::registry::{Counts, View};
use crate::scope::Scope;
use crate::session::{Node, Session, SessionId};
use crate::stats::Minute;
use crate::timing::Timing;

/// Log lines that are read to count what ended in some apps.
const ENDED_MAX: usize = 10_000;

/// All live sessions at one position.
pub struct Snapshot {
    /// The sessions, and the position (`seq`) that they are at.
    pub view: View,
    /// The epoch that `seq` counts in.
    pub epoch: Arc<str>,
    /// The wall clock when the snapshot was taken.
    pub now: Timestamp,
}

/// The counts of the last day.
pub struct Day {
    /// The wall clock now.
    pub now: Timestamp,
    /// When this server started.
    pub started_at: Timestamp,
    /// Live sessions in each state.
    pub current: Counts,
    /// Sessions that ended in the last 24 hours.
    pub ended_24h: u64,
    /// The counts of each minute, oldest first; minutes in which no server ran are absent.
    pub minutes: Vec<Minute>,
    /// When servers started on this store in the last day.
    pub restarts: Vec<Timestamp>,
}

impl Monitor {
    /// The wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// The server's intervals.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        self.registry.timing()
    }

    /// One live session; reads it from the store while not all sessions are restored.
    ///
    /// # Errors
    /// Unknown or killed id, store.
    pub async fn find(&self, id: &str) -> Result<Arc<Session>> {
        let known = self.session(id);
        if known.is_ok() || self.is_restored() {
            return known;
        }
        if let Some(id) = SessionId::parse(id)
            && let Some(session) = self.backend.session(id).await?
            && let Some(session) = self.registry.adopt(session)
        {
            return Ok(session);
        }
        self.restored().await?;
        self.session(id)
    }

    /// One live session.
    ///
    /// # Errors
    /// Unknown or killed id.
    pub fn session(&self, id: &str) -> Result<Arc<Session>> {
        self.registry.get(id).ok_or_else(|| self.unknown(id))
    }

    fn unknown(&self, id: &str) -> Error {
        let now = self.clock.now().wall;
        self.registry.gone(id, now).unwrap_or_else(|| Error::NotFound(id.chars().take(128).collect()))
    }

    /// Whether `proof` is the token of the session that has this id or had it until it ended.
    #[must_use]
    pub fn is_owner(&self, id: &str, proof: Proof) -> bool {
        let Proof::Token(digest) = proof else { return false };
        let live = self.registry.get(id);
        live.is_some_and(|session| Authority::Proof(proof).holds_for(&session))
            || self.registry.was_owned_by(id, &digest)
    }

    /// All live sessions at one position. Costs the clone of a tree's root.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { view: self.registry.view(), epoch: self.registry.epoch(), now: self.now() }
    }

    /// The locks that a caller may see, oldest first.
    #[must_use]
    pub fn locks(&self, scope: &Scope) -> Vec<Arc<Lock>> {
        let within = |lock: &&Arc<Lock>| lock.who.is_within(scope);
        self.registry.locks().iter().filter(within).cloned().collect()
    }

    /// Live sessions in each state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.registry.counts()
    }

    /// The names of the servers that hold sockets, as of now.
    #[must_use]
    pub fn names(&self) -> Arc<Known> {
        self.backend.names().now()
    }

    /// Names this server, for the list of servers; the first name stays.
    pub fn call(&self, name: &str) {
        let _ = self.name.set(name.into());
    }

    /// The servers that share the store, this one alone in most. From memory; the others as they told
    /// last.
    #[must_use]
    pub fn servers(&self) -> Vec<Server> {
        self.backend.servers(Server {
            node: self.node(),
            name: self.name.get().cloned().unwrap_or_default(),
            url: None,
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.started_at,
            seen_at: self.now(),
            load: self.load(),
            lag: Some(0),
            lag_ms: Some(0),
            keeper: self.backend.is_keeper(),
            gone: false,
            left: false,
        })
    }

    /// Whether this server does the work by the clock for all that share the store.
    #[must_use]
    pub fn is_keeper(&self) -> bool {
        self.backend.is_keeper()
    }

    /// The number of this server among those that share the store.
    #[must_use]
    pub fn node(&self) -> Node {
        self.backend.node()
    }

    /// What this server tells the others of itself.
    pub(super) fn load(&self) -> Load {
        self.metrics.load()
    }

    /// Reads the audit log.
    ///
    /// # Errors
    /// Store.
    pub async fn events(&self, query: Query) -> Result<Vec<Entry>> {
        self.backend.events(query).await
    }

    /// The counts of the last day, with at most `minutes` minutes. A caller whose scope is limited
    /// to some apps gets no minutes: they are kept for all apps together.
    ///
    /// # Errors
    /// Store.
    pub async fn day(&self, scope: &Scope, minutes: usize) -> Result<Day> {
        let now = self.now();
        let (current, ended_24h, counted) = if scope.is_all() {
            let current = self.registry.counts();
            self.stats.tick(now, current);
            (current, self.stats.ended(now), self.stats.minutes(now, minutes))
        } else {
            (self.counts_within(scope), self.ended_within(scope, now).await?, Vec::new())
        };
        let restarts = self.stats.starts(now, minutes);
        Ok(Day { now, started_at: self.started_at, current, ended_24h, minutes: counted, restarts })
    }

    /// The counts of the last minutes, gathered in steps of `step` minutes; from the store, so that they reach as far back
    /// as the log. A caller whose scope is limited to some apps gets none.
    ///
    /// # Errors
    /// Store.
    pub async fn minutes(&self, scope: &Scope, minutes: u32, step: u32) -> Result<Vec<Minute>> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let since = self.now().minus(Duration::from_secs(60) * minutes);
        self.backend.minutes(since, i64::from(step) * 60_000).await
    }

    fn counts_within(&self, scope: &Scope) -> Counts {
        let mut counts = Counts::default();
        let view = self.registry.view();
        let within = view.sessions().filter(|session| scope.allows(&session.app));
        within.for_each(|session| counts.add(session.state()));
        counts
    }

    /// Counts what ended in the last 24 hours, from the log.
    async fn ended_within(&self, scope: &Scope, now: Timestamp) -> Result<u64> {
        let query = Query {
            kinds: vec![Kind::Removed.as_str().to_owned()],
            scope: scope.clone(),
            limit: ENDED_MAX,
            ..Query::default()
        };
        let day_ago = now.minus(Duration::from_secs(24 * 3_600));
        let ended = self.events(query).await?.iter().filter(|event| event.at >= day_ago).count();
        Ok(ended as u64)
    }

    /// The metrics in Prometheus' text format. A caller whose scope is limited to some apps gets
    /// the counts of their sessions alone.
    #[must_use]
    pub fn metrics_text(&self, scope: &Scope) -> String {
        let gauges = self.gauges(scope);
        if scope.is_all() { self.metrics.render(&gauges) } else { metrics::sessions_alone(&gauges) }
    }

    /// The metrics that are read only when somebody asks.
    #[must_use]
    pub fn gauges(&self, scope: &Scope) -> Gauges {
        let mut sessions: BTreeMap<(String, String), i64> = BTreeMap::new();
        for session in self.registry.view().sessions().filter(|session| scope.allows(&session.app)) {
            *sessions.entry((session.app.to_string(), session.shown_status().to_owned())).or_default() += 1;
        }
        let sessions = sessions.into_iter().map(|((app, status), count)| (AppStatus { app, status }, count)).collect();
        Gauges {
            sessions,
            beats: self.registry.beats(),
            snapshots: self.feed.snapshots_encoded(),
            snapshots_held: self.feed.snapshots_held(),
            locks: self.registry.locks().len(),
            servers: self.servers(),
        }
    }
}
