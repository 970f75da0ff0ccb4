//! The limit on open connections: the number of file descriptors that the process may have,
//! less those that the store needs. With all places taken, the store still works.
//!
//! This is kept by hand because hyper limits neither the number of connections nor the time
//! that a write may wait, and a tower layer sees requests only, not connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::timing::Timing;

/// Descriptors reserved for the database, its WAL and the token file.
const HEADROOM: u64 = 64;

/// Places for connections.
pub struct Places {
    free: Arc<Semaphore>,
    told: Mutex<Option<Instant>>,
}

/// Shortest time between two warnings that all places are taken.
const TOLD_EVERY: Duration = Duration::from_secs(10);

impl Places {
    /// Raises the process's soft limit of descriptors to the hard limit, and makes a place
    /// of each that is not reserved.
    #[must_use]
    pub fn of_this_process() -> Self {
        let granted = getrlimit(Resource::Nofile);
        let all = Rlimit { current: granted.maximum, maximum: granted.maximum };
        let limit = if setrlimit(Resource::Nofile, all).is_ok() { granted.maximum } else { granted.current };
        let limit = limit.unwrap_or(u64::MAX);
        let places = limit - HEADROOM.min(limit / 2);
        let places = usize::try_from(places).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(places)), told: Mutex::default() }
    }

    /// Takes a place; waits until one is free. Meanwhile new connections wait in the kernel's
    /// accept queue.
    pub async fn take(&self) -> Place {
        if self.free.available_permits() == 0 {
            let mut told = self.told.lock();
            if told.is_none_or(|at| at.elapsed() > TOLD_EVERY) {
                *told = Some(Instant::now());
                tracing::warn!("as many connections are open as descriptors allow; raise the limit (ulimit -n)");
            }
        }
        // The semaphore is never closed, so this never fails.
        Place { _permit: self.free.clone().acquire_owned().await.ok() }
    }
}

/// One place; released when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// A connection that holds a place until it is closed, also as a WebSocket. A write that
/// makes no progress for [`Timing::WRITE_WITHIN`] fails, so a client that does not read its
/// responses cannot keep the place.
#[derive(Debug)]
pub struct Placed {
    stream: TcpStream,
    place: Place,
    /// The timer that runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Placed {
    /// Puts a connection in a place.
    #[must_use]
    pub fn new(stream: TcpStream, place: Place) -> Self {
        Self { stream, place, stalled: None }
    }

    /// The connection, and its place.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Place) {
        (self.stream, self.place)
    }

    fn within(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(Timing::WRITE_WITHIN)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.within(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
