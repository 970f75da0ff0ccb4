//! Checkpoints: they copy committed pages from the WAL into the database file. They run on a
//! connection of their own, so that no commit waits for them.
//!
//! SQLite starts again at the head of the WAL only after a checkpoint has copied all of it.
//! Beside a busy writer a checkpoint never gets that far. So when the WAL is long, the writer
//! copies the small rest itself (<https://www.sqlite.org/wal.html>, "Avoiding Excessively
//! Large WAL Files").

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rusqlite::hooks::Wal;
use tokio_rusqlite::Connection;

/// New pages in the WAL after which a checkpoint starts: 4 MiB.
const WORTH_WHILE: usize = 1_000;
/// Pages in the WAL after which the writer itself runs a checkpoint: 32 MiB.
const LONG: usize = 8_000;

thread_local! {
    /// The pages in the WAL after the last commit of this thread's connection.
    static PAGES: Cell<usize> = const { Cell::new(0) };
}

/// Turns off SQLite's automatic checkpoints, which run inside a commit.
pub(super) fn replace_automatic(writer: &rusqlite::Connection) {
    writer.wal_hook(Some(note));
}

fn note(_: &Wal, pages: c_int) -> rusqlite::Result<()> {
    PAGES.set(pages.try_into().unwrap_or(0));
    Ok(())
}

/// To be called after each commit of the writer: returns the pages in the WAL, and runs a
/// checkpoint where they are very many.
pub(super) fn after_commit(writer: &rusqlite::Connection) -> usize {
    let pages = PAGES.get();
    if pages >= LONG {
        // While a reader prevents it, each commit tries again.
        if let Err(error) = checkpoint(writer) {
            tracing::warn!(%error, "a checkpoint of the long WAL failed; it grows until one succeeds");
        }
    }
    pages
}

fn checkpoint(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// The connection that runs the checkpoints.
pub(super) struct Checkpoints {
    connection: Connection,
    under_way: Arc<AtomicBool>,
    /// The pages in the WAL when the last checkpoint started.
    reached: AtomicUsize,
}

impl Checkpoints {
    pub(super) fn on(connection: Connection) -> Self {
        Self { connection, under_way: Arc::default(), reached: AtomicUsize::new(0) }
    }

    /// Starts a checkpoint where the WAL has grown enough since the last one.
    pub(super) fn consider(&self, pages: usize) {
        let reached = self.reached.load(Ordering::Relaxed);
        // Fewer pages than before: SQLite has started again at the head of the WAL.
        let reached = if pages < reached { 0 } else { reached };
        if pages - reached < WORTH_WHILE || self.under_way.swap(true, Ordering::Relaxed) {
            return;
        }
        self.reached.store(pages, Ordering::Relaxed);
        let (connection, under_way) = (self.connection.clone(), self.under_way.clone());
        tokio::spawn(async move {
            if let Err(error) = connection.call(|connection| checkpoint(connection)).await {
                tracing::warn!(%error, "a checkpoint failed; committed pages stay in the WAL until the next one");
            }
            under_way.store(false, Ordering::Relaxed);
        });
    }

    pub(super) async fn close(&self) -> tokio_rusqlite::Result<()> {
        self.connection.clone().close().await
    }
}
