//! Checkpoints: what is committed moves from the WAL into the database file beside the
//! commits, on a connection of its own, so that none of them waits for it.
//!
//! SQLite starts the WAL anew only when a checkpoint has caught up with it, which one that
//! runs beside a busy writer never does. So now and then the writer does the little that
//! is left itself (<https://www.sqlite.org/wal.html>, "Avoiding Excessively Large WAL Files").

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rusqlite::hooks::Wal;
use tokio_rusqlite::Connection;

/// Pages of the WAL that make a checkpoint worth while: 4 MiB.
const WORTH_WHILE: usize = 1_000;
/// Pages after which the writer sees to it that the WAL starts anew: 32 MiB.
const LONG: usize = 8_000;

thread_local! {
    /// How many pages the WAL had after the last commit of this thread's connection.
    static PAGES: Cell<usize> = const { Cell::new(0) };
}

/// Takes the place of SQLite's own checkpoints, which the writer would wait for.
pub(super) fn by_hand(writer: &rusqlite::Connection) {
    writer.wal_hook(Some(note));
}

fn note(_: &Wal, pages: c_int) -> rusqlite::Result<()> {
    PAGES.set(pages.try_into().unwrap_or(0));
    Ok(())
}

/// The pages in the WAL after a commit of the writer, which first does what is left to be
/// done when there are very many.
pub(super) fn after_commit(writer: &rusqlite::Connection) -> usize {
    let pages = PAGES.get();
    if pages >= LONG {
        // Where it cannot (somebody reads), the next commit tries again.
        if let Err(error) = checkpoint(writer) {
            tracing::warn!(%error, "the WAL could not be emptied; it grows until it can");
        }
    }
    pages
}

fn checkpoint(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Who makes the checkpoints.
pub(super) struct Checkpoints {
    connection: Connection,
    under_way: Arc<AtomicBool>,
    /// Up to which page of the WAL they have come.
    reached: AtomicUsize,
}

impl Checkpoints {
    pub(super) fn on(connection: Connection) -> Self {
        Self { connection, under_way: Arc::default(), reached: AtomicUsize::new(0) }
    }

    /// Starts a checkpoint where the WAL has grown enough since the last one.
    pub(super) fn consider(&self, pages: usize) {
        let reached = self.reached.load(Ordering::Relaxed);
        // Fewer than before: it has started anew.
        let reached = if pages < reached { 0 } else { reached };
        if pages - reached < WORTH_WHILE || self.under_way.swap(true, Ordering::Relaxed) {
            return;
        }
        self.reached.store(pages, Ordering::Relaxed);
        let (connection, under_way) = (self.connection.clone(), self.under_way.clone());
        tokio::spawn(async move {
            if let Err(error) = connection.call(|connection| checkpoint(connection)).await {
                tracing::warn!(%error, "a checkpoint failed; what is committed stays in the WAL until the next");
            }
            under_way.store(false, Ordering::Relaxed);
        });
    }

    pub(super) async fn close(&self) -> tokio_rusqlite::Result<()> {
        self.connection.clone().close().await
    }
}
