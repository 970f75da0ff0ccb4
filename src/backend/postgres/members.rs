//! What the servers tell each other of themselves, for the list of servers and for the names
//! of those that hold sockets.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::Shared;
use super::connect::explain;
use super::presence::number;
use super::turn::away;
use crate::backend::{restored, stored};
use crate::change::Event;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::nodes::{Known, Load, Names, Server};

/// How long the database may take to tell the names of new servers.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// How far this server is, and what it knows of itself and the others.
#[derive(Default)]
pub(super) struct Members {
    load: Mutex<Load>,
    /// The position that this server has applied; none before it has loaded the store.
    applied: Mutex<Option<u64>>,
    list: Mutex<Vec<Server>>,
    names: Arc<Names>,
}

type Asked<T> = std::result::Result<T, tokio_postgres::Error>;

impl Members {
    pub(super) fn tell(&self, load: Load) {
        *self.load.lock() = load;
    }

    /// This server has applied everything up to there.
    pub(super) fn applied(&self, position: u64) {
        *self.applied.lock() = Some(position);
    }

    /// The position that this server has applied, once it has loaded the store.
    pub(super) fn position(&self) -> Option<u64> {
        *self.applied.lock()
    }

    pub(super) fn names(&self) -> Arc<Names> {
        self.names.clone()
    }

    /// All that are known, with what is newer of this server itself.
    pub(super) fn list(&self, own: Server) -> Vec<Server> {
        let mut list = self.list.lock().clone();
        match list.iter_mut().find(|server| server.node == own.node) {
            Some(told) => (told.load, told.keeper) = (own.load, own.keeper),
            // Its row is gone: the database's history went back, and this server is about to end.
            None => list.push(own),
        }
        list
    }

    /// Writes this server's row; 0 where it counts as gone.
    pub(super) async fn put(&self, client: &Client, node: i32, boot: &str) -> Asked<u64> {
        let load = *self.load.lock();
        let applied = self.applied.lock().map(stored);
        client
            .execute(
                "UPDATE nodes SET seen_at = clock_timestamp(), sockets = $4, dashboards = $5, seq = $3::bigint,
                    lag = (SELECT greatest(head.seq - $3::bigint, 0) FROM head WHERE $3::bigint IS NOT NULL),
                    lag_ms = CASE WHEN $3::bigint IS NOT NULL THEN coalesce((
                        SELECT greatest(extract(epoch FROM clock_timestamp() - at) * 1000, 0)::bigint
                        FROM feed WHERE last_seq > $3::bigint ORDER BY last_seq LIMIT 1), 0) END
                 WHERE node = $1 AND boot = $2 AND NOT gone",
                &[&node, &boot, &applied, &stored(load.sockets), &stored(load.dashboards)],
            )
            .await
    }

    /// Reads the rows of all servers.
    pub(super) async fn get(&self, client: &Client) -> Asked<Vec<Server>> {
        let rows = client
            .query(
                "SELECT node, name, url, version, (extract(epoch FROM started_at) * 1000)::bigint,
                    (extract(epoch FROM seen_at) * 1000)::bigint, sockets, dashboards, lag, lag_ms,
                    coalesce(boot = head.keeper AND head.keeper_until > clock_timestamp(), false) AND NOT gone, gone,
                    left_at IS NOT NULL
                 FROM nodes, head ORDER BY node",
                &[],
            )
            .await?;
        let list: Vec<Server> = rows.iter().map(server).collect();
        self.names.learn(list.iter().map(|server| (server.node, server.name.clone())).collect());
        self.list.lock().clone_from(&list);
        Ok(list)
    }
}

fn server(row: &tokio_postgres::Row) -> Server {
    let text = |text: Option<String>| text.map(Arc::from);
    Server {
        node: number(row.get(0)),
        name: text(row.get(1)).unwrap_or_default(),
        url: text(row.get(2)),
        version: text(row.get(3)).unwrap_or_default(),
        started_at: Timestamp(row.get(4)),
        seen_at: Timestamp(row.get(5)),
        load: Load { sockets: restored(row.get(6)), dashboards: restored(row.get(7)) },
        lag: row.get::<_, Option<i64>>(8).map(restored),
        lag_ms: row.get::<_, Option<i64>>(9).map(restored),
        keeper: row.get(10),
        gone: row.get(11),
        left: row.get(12),
    }
}

impl Shared {
    /// Learns the names of servers whose sockets these events show for the first time: the frames of
    /// these events are to have them, since nothing would show them later.
    pub(super) async fn meet(&self, client: &Client, events: &[Event]) -> Result<()> {
        let sockets = || events.iter().filter_map(|event| event.session.socket);
        let strange = |known: &Known| sockets().any(|socket| !known.contains_key(&socket.node()));
        if !strange(&self.members.names.now()) {
            return Ok(());
        }
        let asked = timeout(KNOWN_WITHIN, self.members.get(client)).await;
        asked.map_err(|_| away("no answer in time"))?.map_err(|error| away(&explain(&error)))?;
        let mut known = Known::clone(&self.members.names.now());
        if strange(&known) {
            // The store has forgotten them: not asked again for each event.
            sockets().for_each(|socket| {
                known.entry(socket.node()).or_default();
            });
            self.members.names.learn(known);
        }
        Ok(())
    }
}
