//! Following the log: a task listens for the notifications of commits, and also reads the head
//! every 250 ms, since a connection that listens can be deaf for long after a failover.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::Client;

use super::marks::Broken;
use super::turn::{MISSED, NEW_EPOCH};
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
                        if look(&shared, &client).await.is_none() {
                            break;
                        }
                        if shared.lost.borrow().is_some() {
                            return;
                        }
                    }
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

const LOOK: &str = "SELECT seq, (SELECT commit_id FROM feed WHERE last_seq = $1), cluster FROM head";

/// Looks at the head, and whether the commit is still there that led to what is applied here. `None`
/// where the connection has to be given up.
async fn look(shared: &Shared, client: &Client) -> Option<()> {
    // Before the look: what becomes known while it is under way is newer than its answer.
    let known = *shared.head.borrow();
    let position = shared.members.position();
    let mark = position.and_then(|position| shared.marks.of(position));
    let at = stored(position.unwrap_or(0));
    let ask = async { client.query_one(LOOK, &[&at]).await };
    let row = timeout(LOOK_WITHIN, ask).await.ok()?.ok()?;
    let seq = restored(row.get(0));
    let there: Option<String> = row.get(1);
    if row.get::<_, &str>(2) != shared.cluster {
        shared.lose(known, seq, Broken::OtherEpoch);
        return Some(());
    }
    let is_another = mark.is_some() && there.is_some() && mark != there;
    if seq >= known && !is_another {
        shared.heard(seq);
        return Some(());
    }
    let again = format!("{NEW_EPOCH} WHERE cluster = $1");
    let begin = async { client.execute(&again, &[&shared.cluster]).await };
    // Without the new epoch a reload would give old numbers a second meaning.
    timeout(LOOK_WITHIN, begin).await.ok()?.ok()?;
    let (from, why) = if is_another { (position.unwrap_or(0), Broken::OtherCommit) } else { (known, Broken::Gap) };
    shared.lose(from, seq, why);
    Some(())
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
                match shared.marks.follow(&rows, position, None) {
                    Ok(events) if events.is_empty() => {}
                    Ok(events) => match known(shared, &events).await {
                        Ok(()) => return Ok(events),
                        Err(error) => tracing::warn!(%error, "the names of the servers cannot be read now"),
                    },
                    // The next look begins a new epoch.
                    Err(Broken::OtherCommit) => {}
                    Err(why) => shared.lose(position, to, why),
                }
            }
            Err(error) => tracing::warn!(%error, "the log cannot be read now"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Learns the names of the servers that these events show.
async fn known(shared: &Shared, events: &[Event]) -> Result<()> {
    let client = shared.reader().await?;
    shared.meet(&client, events).await
}
