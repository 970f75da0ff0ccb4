//! The table of a past moment: rebuilt from the store, a slice at a time, so that nothing waits long
//! for it. The keeper takes the checkpoints that bound the work.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Monitor;
use crate::change::Kind;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::log::Query;
use crate::past::{Checkpoint, Encoder, Ended, Moment, Reach, Reset, Start, Table, decode};
use crate::registry::View;
use crate::scope::Scope;

/// Entries that are read at once.
const SLICE: usize = 4_000;
/// Entries behind which a rebuild is given up: only a log without checkpoints is that long.
const ENTRIES_MAX: u64 = 2_000_000;
/// Rebuilds that may be under way at once; each may hold all sessions of a moment.
const AT_ONCE: usize = 2;
/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(10);
/// How long a rebuild may take.
const WITHIN: Duration = Duration::from_secs(30);
/// How long a table is kept for the next request, which often asks for a moment nearby.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// A table with more sessions is not kept.
const KEPT_SESSIONS: usize = 200_000;
/// Ended sessions that are read at once, and how often in one request.
const ENDED_SLICE: usize = 1_000;
const ENDED_SLICES: usize = 20;
/// The rest that the writer gets between two pieces of a checkpoint.
const PIECE_EVERY: Duration = Duration::from_millis(20);

/// The table at a past moment.
pub struct Then {
    /// The sessions, at the position of the last entry of the log that is in them. Their pulses mean
    /// nothing: the log has no heartbeats.
    pub view: View,
    /// The moment.
    pub at: Timestamp,
    /// Whether it has every session of that moment. Not where the log was written by a version that
    /// did not keep the state, and no checkpoint was taken since.
    pub complete: bool,
}

/// Tables that were rebuilt, and the turns to rebuild one.
pub(super) struct Rebuilt {
    turns: Semaphore,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Clone)]
struct Kept {
    /// The history that `seq` counts in.
    epoch: Arc<str>,
    seq: u64,
    complete: bool,
    /// The last start of the server that is in it.
    reset: Option<Reset>,
    table: Arc<Table>,
    used: Instant,
}

impl Default for Rebuilt {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), kept: Mutex::default() }
    }
}

impl Rebuilt {
    /// The kept table that is nearest before a position and not before `from`.
    fn nearest(&self, epoch: &str, from: u64, position: u64, reset: Option<Reset>) -> Option<Kept> {
        let mut kept = self.kept.lock();
        let fits = |kept: &&mut Kept| {
            let same = kept.seq == position && kept.reset == reset;
            *kept.epoch == *epoch && kept.seq >= from && (kept.seq < position || same)
        };
        let found = kept.iter_mut().filter(fits).max_by_key(|kept| kept.seq)?;
        found.used = Instant::now();
        Some(found.clone())
    }

    /// Keeps a table, and drops the one that was used the longest ago.
    fn keep(&self, table: Kept) {
        if table.table.len() > KEPT_SESSIONS {
            return;
        }
        let mut kept = self.kept.lock();
        kept.retain(|other| (other.seq, other.reset) != (table.seq, table.reset));
        if kept.len() >= AT_ONCE {
            kept.sort_by_key(|kept| kept.used);
            kept.remove(0);
        }
        kept.push(table);
    }

    /// Drops what nobody has asked for lately.
    pub(super) fn drop_old(&self) {
        self.kept.lock().retain(|kept| kept.used.elapsed() < KEPT_FOR);
    }
}

fn too_old(reach: &Reach) -> Error {
    let since = reach.since().map_or_else(String::new, |since| format!("; it is known since {since}"));
    Error::Invalid(format!("the log no longer reaches back to that moment{since}: ask for a later one"))
}

fn changed() -> Error {
    Error::Busy("the log was cut while it was read; try again".to_owned())
}

impl Monitor {
    /// The table as it was at a moment, exact to the event. Never blocks the writer. A moment after an
    /// entry can be asked for by who may see the entry.
    ///
    /// # Errors
    /// The moment is in the future, or the log no longer reaches back to it; too many callers ask
    /// for the past; store.
    pub async fn then(&self, moment: Moment, scope: &Scope) -> Result<Then> {
        let now = self.now();
        if matches!(moment, Moment::At(at) if at > now) {
            return Err(Error::Invalid(format!("that moment is in the future: it is {now} now")));
        }
        let busy = || Error::Busy("the past is being read for others; try again in a moment".to_owned());
        let _turn = timeout(WAIT, self.rebuilt.turns.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())?;
        timeout(WITHIN, self.rebuild(moment, scope)).await.map_err(|_| busy())?
    }

    async fn rebuild(&self, moment: Moment, scope: &Scope) -> Result<Then> {
        let past = self.backend.past();
        let reach = past.reach().await?;
        let (position, at) = match moment {
            Moment::At(at) => (past.last_until(at).await?, at),
            Moment::After(seq) => self.entry(seq, scope).await?,
        };
        let oldest = self.now().minus(self.timing().events_keep);
        let start = reach.start(position, moment).filter(|_| at >= oldest).ok_or_else(|| too_old(&reach))?;
        let resets = resets(&reach, position, moment);
        let reset = resets.last().copied();
        let kept = match self.rebuilt.nearest(&self.registry.epoch(), start.seq(), position, reset) {
            Some(kept) => kept,
            None => self.begin_at(start).await?,
        };
        let then = self.replay(kept, position, &resets).await?;
        // What was read may have been deleted while it was read.
        if past.reach().await?.complete_after > start.seq() && start != Start::Unknown {
            return Err(changed());
        }
        let complete = then.complete;
        let table = then.table.clone();
        self.rebuilt.keep(then);
        let view = tokio::task::spawn_blocking(move || table.view(position)).await;
        Ok(Then { view: view.map_err(|error| Error::Storage(error.to_string()))?, at, complete })
    }

    /// The position and the time of an entry.
    async fn entry(&self, seq: u64, scope: &Scope) -> Result<(u64, Timestamp)> {
        let query = Query { before: seq.checked_add(1), limit: 1, scope: scope.clone(), ..Query::default() };
        let found = self.backend.events(query).await?.pop().filter(|entry| entry.seq == seq);
        let unknown = || Error::Invalid(format!("the log has no entry {seq}; take one of GET /events"));
        found.map(|entry| (entry.seq, entry.at)).ok_or_else(unknown)
    }

    /// The table at the start of a rebuild.
    async fn begin_at(&self, start: Start) -> Result<Kept> {
        let mut table = Table::default();
        if let Start::Checkpoint(Checkpoint { seq, pieces, .. }) = start {
            for number in 0..pieces {
                let body = self.backend.past().piece(seq, number).await?.ok_or_else(changed)?;
                let read = tokio::task::spawn_blocking(move || decode(&body)).await;
                let sessions = read.ok().flatten();
                let damaged = || Error::Storage("a checkpoint of the past cannot be read".to_owned());
                sessions.ok_or_else(damaged)?.into_iter().for_each(|session| table.put(session));
            }
        }
        let complete = start != Start::Unknown;
        let epoch = self.registry.epoch();
        Ok(Kept { epoch, seq: start.seq(), complete, reset: None, table: Arc::new(table), used: Instant::now() })
    }

    /// Applies the entries up to a position.
    async fn replay(&self, kept: Kept, position: u64, resets: &[Reset]) -> Result<Kept> {
        let Kept { mut seq, complete, reset, table, epoch, .. } = kept;
        if position.saturating_sub(seq) > ENTRIES_MAX {
            return Err(Error::Invalid(
                "no checkpoint is near that moment, and the log up to it is too long; ask for a later one".to_owned(),
            ));
        }
        let from = seq;
        let mut resets = resets.iter().copied().filter(|other| other.seq >= from && Some(*other) != reset).peekable();
        let mut table = Arc::unwrap_or_clone(table);
        let mut last = reset;
        while seq < position {
            let query = Query {
                after: Some(seq),
                before: Some(position + 1),
                limit: SLICE,
                oldest_first: true,
                ..Query::default()
            };
            let entries = self.backend.events(query).await?;
            let Some(to) = entries.last().map(|entry| entry.seq) else { break };
            for entry in &entries {
                while let Some(start) = resets.next_if(|start| start.seq < entry.seq) {
                    table.reset();
                    last = Some(start);
                }
                table.take(entry);
            }
            seq = to;
            tokio::task::yield_now().await;
        }
        for start in resets {
            table.reset();
            last = Some(start);
        }
        Ok(Kept { epoch, seq: position, complete, reset: last, table: Arc::new(table), used: Instant::now() })
    }

    /// The sessions that have ended and that fit, the last end first, and the position to go on before; `None` at the
    /// end. Reads a bounded number of entries, so there may be fewer than `limit` although more follow.
    ///
    /// # Errors
    /// Store.
    pub async fn ended(
        &self,
        fits: impl Fn(&Ended) -> bool + Send + Sync,
        mut before: Option<u64>,
        limit: usize,
        scope: &Scope,
    ) -> Result<(Vec<Ended>, Option<u64>)> {
        let mut found = Vec::new();
        for _ in 0..ENDED_SLICES {
            let query = Query {
                kinds: vec![Kind::Removed.as_str().to_owned()],
                scope: scope.clone(),
                before,
                limit: ENDED_SLICE,
                ..Query::default()
            };
            let entries = self.backend.events(query).await?;
            let more = entries.len() == ENDED_SLICE;
            for entry in &entries {
                before = Some(entry.seq);
                found.extend(Ended::of(entry).filter(&fits));
                if found.len() == limit {
                    return Ok((found, before));
                }
            }
            if !more {
                return Ok((found, None));
            }
            tokio::task::yield_now().await;
        }
        Ok((found, before))
    }

    /// Takes a checkpoint of the table where one is due: on the keeper alone, from the view, so that
    /// no commit waits but for the rows themselves.
    ///
    /// # Errors
    /// Store.
    pub async fn take_checkpoint(&self) -> Result<bool> {
        if !self.backend.is_keeper() || !self.is_restored() {
            return Ok(false);
        }
        let (view, now) = (self.registry.view(), self.now());
        let past = self.backend.past();
        let reach = past.reach().await?;
        if !reach.is_due(view.seq, view.len() as u64, now) {
            return Ok(false);
        }
        // Events that the log does not have take numbers too, and another start may use these again.
        let query = Query { before: Some(view.seq + 1), limit: 1, ..Query::default() };
        let Some(seq) = self.backend.events(query).await?.pop().map(|entry| entry.seq) else { return Ok(false) };
        if reach.checkpoints.last().is_some_and(|last| last.seq >= seq) {
            return Ok(false);
        }
        let sessions = view.len() as u64;
        let (mut pieces, mut bytes) = (0, 0);
        let mut encoder = Encoder::new(view.sessions().cloned().collect::<Vec<_>>().into_iter(), now);
        loop {
            let next = tokio::task::spawn_blocking(move || (encoder.next(), encoder)).await;
            let (piece, rest) = next.map_err(|error| Error::Storage(error.to_string()))?;
            encoder = rest;
            let Some(piece) = piece else { break };
            pieces += 1;
            bytes += piece.body.len() as u64;
            past.put_piece(seq, piece).await?;
            tokio::time::sleep(PIECE_EVERY).await;
        }
        past.finish(Checkpoint { seq, at: now, pieces, sessions, bytes }).await?;
        Ok(true)
    }
}

/// The starts of the server that are in the table of a moment.
fn resets(reach: &Reach, position: u64, moment: Moment) -> Vec<Reset> {
    let is_in = |start: &&Reset| match moment {
        Moment::At(at) => start.seq < position || (start.seq == position && start.at <= at),
        Moment::After(_) => start.seq < position,
    };
    reach.resets.iter().filter(is_in).copied().collect()
}
