//! Following the log: a task listens for the notifications of commits, and also reads the head
//! every 250 ms, since a connection that listens can be deaf for long after a failover.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::turn::{MISSED, NEW_EPOCH, without_gap};
use super::{Shared, lost};
use crate::backend::{restored, stored};
use crate::change::Event;
use crate::error::Result;

/// How often the head is looked at, told or not.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long one look may take before the connection is given up.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Hears of new positions for as long as the store is open.
pub(super) async fn listen(shared: Arc<Shared>) {
    loop {
        let (sender, mut heard) = mpsc::unbounded_channel();
        if let Ok(client) = shared.target.connect(Some(sender)).await
            && matches!(timeout(LOOK_WITHIN, client.batch_execute("LISTEN sessionwatch")).await, Ok(Ok(())))
        {
            let mut ticks = interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    notification = heard.recv() => match notification {
                        Some(notification) => {
                            if let Ok(seq) = notification.payload().parse::<u64>() {
                                shared.heard(seq);
                            }
                        }
                        None => break,
                    },
                    _ = ticks.tick() => {
                        // Before the look: what becomes known while it is under way is newer than its answer.
                        let known = *shared.head.borrow();
                        let look = client.query_one("SELECT seq FROM head", &[]);
                        let Ok(Ok(row)) = timeout(LOOK_WITHIN, look).await else { break };
                        let seq = restored(row.get(0));
                        if seq < known {
                            let again = format!("{NEW_EPOCH} WHERE cluster = $1 AND seq < $2");
                            let (of, behind) = (&shared.cluster, stored(known));
                            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [of, &behind];
                            let begun = client.execute(&again, &parameters);
                            // Without the new epoch a reload would give old numbers a second meaning.
                            let Ok(Ok(_)) = timeout(LOOK_WITHIN, begun).await else { break };
                            shared.lose(known, seq);
                            return;
                        }
                        shared.heard(seq);
                    }
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Shared {
    fn heard(&self, seq: u64) {
        self.head.send_if_modified(|known| {
            let newer = seq > *known;
            *known = seq.max(*known);
            newer
        });
    }
}

/// Waits for what others commit behind this position.
pub(super) async fn after(shared: &Shared, position: u64) -> Result<Vec<Event>> {
    // A history that goes back behind what is applied here is noticed by the next look.
    shared.heard(position);
    let (mut head, mut ended) = (shared.head.subscribe(), shared.lost.subscribe());
    loop {
        tokio::select! {
            _ = head.wait_for(|head| *head > position) => {}
            why = ended.wait_for(Option::is_some) => {
                let why = why.ok().and_then(|why| why.clone()).unwrap_or_default();
                tracing::error!(why, "the database's history cannot be followed any more");
                return Err(lost());
            }
        }
        let from = stored(position);
        let read = shared.read(READ_WITHIN, async |client| client.query(MISSED, &[&from]).await).await;
        match read {
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => {
                let to = rows.last().map_or(position, |row| restored(row.get(1)));
                match without_gap(&rows, position, to) {
                    Some(events) => return Ok(events),
                    None => shared.lose(position, to),
                }
            }
            Err(error) => tracing::warn!(%error, "the log cannot be read now"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
