//! The store in one SQLite file.
//!
//! WAL with `synchronous=FULL`: when a commit has returned, it is on the disk and not only in
//! the kernel's cache. There are four connections: one writes, one reads the log (so that a
//! long query delays nothing else), one reads single sessions, and one runs checkpoints. A
//! lock on a file beside the database prevents a second server; the kernel releases it when
//! the process ends, also after a crash.

mod alerts;
pub mod backup;
mod checkpoints;
mod files;
mod forget;
pub mod original;
mod log;
mod past;
mod read;
mod schema;
mod values;
mod write;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use rusqlite::OpenFlags;
use tokio_rusqlite::Connection;

use super::{AlertQuery, Backend, Keep, Outbox, Past, Stored, Turn};
use crate::alerts::{Alert, Kept, Raised, Settled};
use crate::change::Event;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::log::{Entry, Query};
use crate::past::{Checkpoint, Piece, Reach};
use crate::session::{Session, SessionId};
use crate::stats::Minute;
use checkpoints::Checkpoints;

/// The store in a SQLite file.
pub struct Sqlite {
    writer: Connection,
    /// Reads single sessions. The log has its own reader, so that a long query does not delay
    /// these reads.
    lookups: Connection,
    log: Connection,
    checkpoints: Checkpoints,
    /// Holds the lock; the kernel releases it when the process ends.
    _lock: File,
}

/// Why the database cannot be opened; the text is for the user who starts the server.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the database {path}: {why}")]
pub struct OpenError {
    path: String,
    why: String,
}

impl Sqlite {
    /// Opens the file, or makes it, and migrates its schema.
    ///
    /// # Errors
    /// Another server uses it; it is not a database, is damaged, or belongs to a newer
    /// version; the folder cannot be written.
    pub async fn open(path: &Path) -> std::result::Result<Self, OpenError> {
        Self::open_with_vfs(path, None).await
    }

    /// As [`Sqlite::open`], with another SQLite VFS (file layer). Tests simulate a power cut
    /// with it.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub async fn open_with_vfs(path: &Path, vfs: Option<&str>) -> std::result::Result<Self, OpenError> {
        let failed = |why: String| OpenError { path: path.display().to_string(), why };
        // By its canonical name: the lock belongs to the file, whatever name it is opened by.
        let path = &files::canonical(path).map_err(failed)?;
        let lock = files::lock(path).map_err(failed)?;
        if vfs.is_none() {
            files::keep_private(path).map_err(failed)?;
        }
        let writer = connect(path, OpenFlags::default(), vfs).await.map_err(|error| failed(explain(&error)))?;
        let prepared = writer
            .call(|connection| {
                schema::refuse_original(connection)?;
                prepare(connection).map_err(|error| explain(&error))?;
                checkpoints::replace_automatic(connection);
                schema::migrate(connection)
            })
            .await;
        match prepared {
            Ok(()) => {}
            Err(tokio_rusqlite::Error::Error(why)) => return Err(failed(why)),
            Err(other) => return Err(failed(other.to_string())),
        }
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let lookups = connect(path, read_only, vfs).await.map_err(|error| failed(explain(&error)))?;
        let log = connect(path, read_only, vfs).await.map_err(|error| failed(explain(&error)))?;
        let fourth = connect(path, OpenFlags::default(), vfs).await.map_err(|error| failed(explain(&error)))?;
        Ok(Self { writer, lookups, log, checkpoints: Checkpoints::on(fourth), _lock: lock })
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let work = move |connection: &mut rusqlite::Connection| {
            let done = work(connection)?;
            Ok((done, checkpoints::after_commit(connection)))
        };
        let (done, pages) = self.writer.call(work).await.map_err(|error| storage(&error))?;
        self.checkpoints.consider(pages);
        Ok(done)
    }
}

async fn connect(path: &Path, flags: OpenFlags, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs).await,
        None => Connection::open_with_flags(path, flags).await,
    }
}

fn prepare(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // 32 MiB, enough for the pages of all sessions of a busy server.
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Reads the schema, so that a file that is not a database is refused here.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    Ok(())
}

fn explain(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => {
            "the file is not a SQLite database; move it away, or give another --db".to_owned()
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => format!(
            "the file is damaged ({error}); restore a copy, or move it away together with its -wal file to start anew"
        ),
        _ => error.to_string(),
    }
}

fn storage(error: &tokio_rusqlite::Error) -> Error {
    Error::Storage(error.to_string())
}

/// A turn of the one server that may use the file.
struct SqliteTurn<'s> {
    store: &'s Sqlite,
    raised: Vec<Raised>,
}

impl Turn for SqliteTurn<'_> {
    fn missed(&mut self) -> Vec<Event> {
        Vec::new()
    }

    fn raise(&mut self, raised: Vec<Raised>) {
        self.raised.extend(raised);
    }

    fn commit<'a>(self: Box<Self>, events: Arc<Vec<Event>>) -> BoxFuture<'a, Result<()>>
    where
        Self: 'a,
    {
        if self.raised.is_empty() && !events.iter().any(|event| event.kind.is_logged()) {
            return ready(Ok(())).boxed();
        }
        let Self { store, raised } = *self;
        async move { store.write(move |connection| write::commit(connection, &events, &raised)).await }.boxed()
    }
}

impl Sqlite {
    /// Reads on the connection of the log.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.log.call(read).await.map_err(|error| storage(&error))
    }
}

impl Outbox for Sqlite {
    fn raised(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(i64, Raised)>>> {
        self.read(move |connection| alerts::raised(connection, limit)).boxed()
    }

    fn raise(&self, row: Raised) -> BoxFuture<'_, Result<()>> {
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            alerts::raise(&transaction, &[row])?;
            transaction.commit()
        })
        .boxed()
    }

    fn kept(&self) -> BoxFuture<'_, Result<Kept>> {
        self.read(|connection| alerts::kept(connection)).boxed()
    }

    fn settle(&self, settled: Settled) -> BoxFuture<'_, Result<()>> {
        // Only this server uses the file, so nobody else has taken a row.
        self.write(move |connection| alerts::settle(connection, &settled)).boxed()
    }

    fn alerts(&self, query: AlertQuery) -> BoxFuture<'_, Result<Vec<Alert>>> {
        self.read(move |connection| alerts::alerts(connection, &query)).boxed()
    }

    fn forget_alerts(&self, before: Timestamp, most: usize) -> BoxFuture<'_, Result<()>> {
        self.write(move |connection| alerts::forget(connection, before, most)).boxed()
    }
}

impl Past for Sqlite {
    fn reach(&self) -> BoxFuture<'_, Result<Reach>> {
        self.read(past::reach).boxed()
    }

    fn last_until(&self, at: Timestamp) -> BoxFuture<'_, Result<u64>> {
        self.read(move |connection| past::last_until(connection, at)).boxed()
    }

    fn piece(&self, seq: u64, number: u32) -> BoxFuture<'_, Result<Option<Vec<u8>>>> {
        self.read(move |connection| past::piece(connection, seq, number)).boxed()
    }

    fn put_piece(&self, seq: u64, piece: Piece) -> BoxFuture<'_, Result<()>> {
        self.write(move |connection| past::put_piece(connection, seq, &piece)).boxed()
    }

    fn finish(&self, checkpoint: Checkpoint) -> BoxFuture<'_, Result<()>> {
        self.write(move |connection| past::finish(connection, &checkpoint)).boxed()
    }
}

impl Backend for Sqlite {
    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn past(&self) -> &dyn Past {
        self
    }

    fn load(&self, now: Timestamp) -> BoxFuture<'_, Result<Stored>> {
        self.write(move |connection| read::load(connection, now)).boxed()
    }

    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>>> {
        async move {
            let read = move |connection: &mut rusqlite::Connection| read::one(connection, &id);
            self.lookups.call(read).await.map_err(|error| storage(&error))
        }
        .boxed()
    }

    fn begin(&self, _position: u64) -> BoxFuture<'_, Result<Box<dyn Turn + '_>>> {
        let turn: Box<dyn Turn + '_> = Box::new(SqliteTurn { store: self, raised: Vec::new() });
        ready(Ok(turn)).boxed()
    }

    fn beats(&self, beats: Vec<(SessionId, Timestamp)>) -> BoxFuture<'_, Result<()>> {
        async move {
            // In the order of the table, so that neighbours are on the same pages and fewer
            // pages are written.
            let sort = move || {
                let mut beats = beats;
                beats.sort_unstable_by(|one, other| one.0.cmp(&other.0));
                beats
            };
            let sorted = tokio::task::spawn_blocking(sort).await;
            let beats = sorted.map_err(|error| Error::Storage(error.to_string()))?;
            // In slices, so that a commit waits for one slice at most.
            for slice in beats.chunks(1_000) {
                let slice = slice.to_vec();
                self.write(move |connection| write::beats(connection, &slice)).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn minute(&self, minute: Minute) -> BoxFuture<'_, Result<()>> {
        self.write(move |connection| write::minute(connection, &minute)).boxed()
    }

    fn minutes(&self, since: Timestamp, step: i64) -> BoxFuture<'_, Result<Vec<Minute>>> {
        self.read(move |connection| read::minutes(connection, since, step)).boxed()
    }

    fn events(&self, query: Query) -> BoxFuture<'_, Result<Vec<Entry>>> {
        async move {
            let read = move |connection: &mut rusqlite::Connection| log::events(connection, &query);
            self.log.call(read).await.map_err(|error| storage(&error))
        }
        .boxed()
    }

    fn forget(&self, keep: Keep) -> BoxFuture<'_, Result<bool>> {
        self.write(move |connection| forget::forget(connection, keep)).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        async move {
            // The connection that closes last runs the final checkpoint, so the writer is last.
            self.lookups.clone().close().await.map_err(|error| storage(&error))?;
            self.log.clone().close().await.map_err(|error| storage(&error))?;
            self.checkpoints.close().await.map_err(|error| storage(&error))?;
            self.writer.clone().close().await.map_err(|error| storage(&error))
        }
        .boxed()
    }
}
