//! Which servers live, which one is the keeper, and what each tells the others of its
//! heartbeats. All by the database's clock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_postgres::Client;

use super::{Shared, rows};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::session::{Node, Session, SessionId};

/// How often a server says that it lives.
const SEEN_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// How long a server counts itself as the keeper after it was confirmed: less than the lease
/// of five seconds that the database holds.
const KEEPER_FOR: Duration = Duration::from_secs(4);
/// How long a server reaches the database without a break before it counts others as gone: after
/// the database was away, they need a moment to say that they live.
const SEEING_FOR: Duration = Duration::from_secs(5);
/// How long an exchange of heartbeats may take.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(1);

/// Takes a number for this server. Under the head's lock, so that numbers enter in their order.
pub(super) async fn enter(
    client: &mut Client,
    boot: &str,
    name: &str,
    url: Option<&str>,
) -> std::result::Result<(Node, String), tokio_postgres::Error> {
    let step = client.transaction().await?;
    let cluster: String = step.query_one("SELECT cluster FROM head FOR UPDATE", &[]).await?.get(0);
    let node: i32 = step
        .query_one(
            "INSERT INTO nodes (node, boot, name, url, version) VALUES (nextval('node_numbers')::int, $1, $2, $3, $4)
             RETURNING node",
            &[&boot, &name, &url, &env!("CARGO_PKG_VERSION")],
        )
        .await?
        .get(0);
    step.commit().await?;
    Ok((number(node), cluster))
}

/// Gives the number back: the sockets of this server have closed.
pub(super) async fn leave(client: &Client, node: Node) -> std::result::Result<(), tokio_postgres::Error> {
    let node = stored(node);
    client.execute("UPDATE nodes SET gone = true, left_at = clock_timestamp() WHERE node = $1", &[&node]).await?;
    client.execute("DELETE FROM beats WHERE node = $1", &[&node]).await?;
    Ok(())
}

/// Says every second that this server lives.
pub(super) async fn stay(shared: Arc<Shared>) {
    let mut ticks = interval(SEEN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = shared.be_seen().await {
            *shared.seeing_since.lock() = None;
            tracing::warn!(%error, "the other servers cannot be told that this one lives");
        }
    }
}

impl Shared {
    /// Says that this server lives; takes or keeps the keeper's lease; as the keeper, notes
    /// as gone who has said nothing for four seconds.
    pub(super) async fn be_seen(&self) -> Result<()> {
        let node = stored(self.node);
        let asked = Instant::now();
        let may_count = self.seeing_since.lock().get_or_insert(asked).elapsed() > SEEING_FOR;
        let (seen, keeper, gone, living) = self
            .read(SEEN_WITHIN, async |client| {
                let seen = self.members.put(&client, node, &self.boot).await?;
                let keeper = match seen {
                    0 => None,
                    _ => client
                        .query_opt(
                            "UPDATE head SET term = CASE WHEN keeper = $1 THEN term ELSE term + 1 END, keeper = $1,
                                keeper_until = clock_timestamp() + interval '5 s'
                             WHERE keeper = $1 OR keeper IS NULL OR keeper_until < clock_timestamp() RETURNING term",
                            &[&self.boot],
                        )
                        .await?
                        .map(|row| row.get::<_, i64>(0)),
                };
                if keeper.is_some() && may_count {
                    client
                        .execute(
                            "UPDATE nodes SET gone = true
                             WHERE NOT gone AND seen_at < clock_timestamp() - interval '4 s'",
                            &[],
                        )
                        .await?;
                }
                let known = self.members.get(&client).await?;
                let (gone, living): (Vec<_>, Vec<_>) =
                    known.into_iter().map(|server| (server.node, server.gone)).partition(|(_, gone)| *gone);
                let numbers = |of: Vec<(Node, bool)>| of.into_iter().map(|(node, _)| node).collect::<Vec<Node>>();
                Ok((seen > 0, keeper, numbers(gone), numbers(living)))
            })
            .await?;
        if !seen {
            let why = "the other servers have counted this one as gone, since it was silent for too long".to_owned();
            self.lost.send_replace(Some(why));
        }
        *self.keeper_until.lock() = keeper.map(|_| asked + KEEPER_FOR);
        if let Some(term) = keeper {
            if self.term.swap(term, Ordering::Relaxed) != term {
                tracing::info!(term, "this server is the keeper now");
            }
            self.tell_gone(&gone);
        } else {
            // Who becomes the keeper looks at all of them.
            self.told_gone.lock().clear();
        }
        let mut ticks = self.ticks.lock();
        ticks.retain(|node, _| living.contains(node));
        for node in living {
            ticks.entry(node).or_insert(0);
        }
        Ok(())
    }

    fn tell_gone(&self, gone: &[Node]) {
        let mut told = self.told_gone.lock();
        told.retain(|node| gone.contains(node));
        for node in gone {
            if told.insert(*node) {
                tracing::info!(node, "a server has gone; its sockets count as closed");
                self.gone.lock().push(*node);
            }
        }
    }

    /// Tells the other servers which sessions beat here, and takes what they tell.
    pub(super) async fn exchange(&self, moved: &[Arc<Session>]) -> Result<Vec<(SessionId, Timestamp)>> {
        let others: Vec<(Node, i64)> = self
            .ticks
            .lock()
            .iter()
            .filter(|(node, _)| **node != self.node)
            .map(|(node, tick)| (*node, *tick))
            .collect();
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let told = (!moved.is_empty()).then(|| rows::beats_to_bytes(moved));
        let (node, tick) = (stored(self.node), self.tick.fetch_add(1, Ordering::Relaxed) + 1);
        let found = self
            .read(EXCHANGE_WITHIN, async |client| {
                if let Some(body) = &told {
                    client
                        .execute(
                            "WITH old AS (DELETE FROM beats WHERE node = $1 AND tick < $2::bigint - 10)
                             INSERT INTO beats (node, tick, body) VALUES ($1, $2::bigint, $3)",
                            &[&node, &tick, body],
                        )
                        .await?;
                }
                let (nodes, ticks): (Vec<i32>, Vec<i64>) =
                    others.iter().map(|(node, tick)| (stored(*node), *tick)).unzip();
                client
                    .query(
                        "SELECT beats.node, beats.tick, beats.body FROM beats
                         JOIN unnest($1::int[], $2::bigint[]) AS seen (node, tick)
                           ON beats.node = seen.node AND beats.tick > seen.tick
                         ORDER BY beats.node, beats.tick",
                        &[&nodes, &ticks],
                    )
                    .await
            })
            .await?;
        let mut beats = Vec::new();
        let mut seen = self.ticks.lock();
        for row in found {
            let (node, tick): (i32, i64) = (row.get(0), row.get(1));
            if let Some(last) = seen.get_mut(&number(node)) {
                *last = tick.max(*last);
            }
            beats.extend(rows::beats_of_bytes(row.get(2)));
        }
        Ok(beats)
    }
}

pub(super) fn stored(node: Node) -> i32 {
    i32::try_from(node).unwrap_or(i32::MAX)
}

pub(super) fn number(node: i32) -> Node {
    Node::try_from(node).unwrap_or(0)
}
