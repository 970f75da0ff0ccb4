//! Two time limits for reading requests: a request's head must be complete 10 s after its
//! first byte (on a new connection: after the connect), and a connection may be idle for 75 s
//! between a response and the next request.
//!
//! The two limits differ because a client with a heartbeat every 10 s would otherwise often
//! send it just when the server closes the connection, and could not know whether it arrived.
//!
//! This is kept by hand because hyper has one timer (`header_read_timeout`) for both.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Longest time from the first byte of a request's head to its last.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Longest idle time between two requests; the same as nginx's default `keepalive_timeout`.
pub const IDLE_WITHIN: Duration = Duration::from_secs(75);

/// Whether the connection reads a request or answers one: a counter that is odd while a
/// request is being answered. The service counts; [`Heads`] reads it.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<AtomicU64>);

impl Turns {
    /// To be called when a head is complete.
    pub fn asked(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// To be called when the response is complete. Not for a connection that was upgraded
    /// to a WebSocket: no more heads arrive on it, so the limits must stay off.
    pub fn answered(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection whose reads fail with `TimedOut` when a head takes too long.
#[derive(Debug)]
pub struct Heads<S> {
    stream: S,
    turns: Turns,
    /// The count of `turns` at the last read.
    turn: u64,
    /// Whether a part of a head has arrived.
    begun: bool,
    /// The timer that runs while a head, or its rest, is awaited.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S> Heads<S> {
    /// Wraps a new connection. The limit for its first head starts with the first read.
    #[must_use]
    pub fn new(stream: S, turns: Turns) -> Self {
        Self { stream, turn: turns.count(), turns, begun: true, late: None }
    }
}

impl<S> Heads<S> {
    /// The connection, once no more heads arrive on it.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let turn = self.turns.count();
        if turn != self.turn {
            self.turn = turn;
            self.begun = false;
            self.late = None;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let is_answering = turn % 2 == 1;
        if is_answering {
            return read;
        }
        self.begun |= buffer.filled().len() > before;
        if read.is_ready() || !self.begun {
            return read;
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(HEAD_WITHIN)));
        late.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
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
