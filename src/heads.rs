//! How long a connection may take to ask: ten seconds for a head, counted from its first
//! byte (or, on a new connection, from the start), and longer between an answer and the
//! next question. Were both the same, a client that beats every ten seconds would again and
//! again send its beat just when the connection is closed, and not know what became of it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a head may take to arrive.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may be kept that asks nothing; nginx's `keepalive_timeout`.
pub const IDLE_WITHIN: Duration = Duration::from_secs(75);

/// Whose turn it is: odd while a request is being answered.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<AtomicU64>);

impl Turns {
    /// A head is there.
    pub fn asked(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// What it asked has its answer. Not to be said of a connection that was upgraded:
    /// what it brings from now on are no heads.
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
    /// The turn that was last seen.
    turn: u64,
    /// Whether some of a head is there.
    begun: bool,
    /// Runs while the rest of a head is waited for.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S> Heads<S> {
    /// This new connection, which has to ask something in time.
    #[must_use]
    pub fn new(stream: S, turns: Turns) -> Self {
        Self { stream, turn: turns.count(), turns, begun: true, late: None }
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
