//! The way to one dashboard. Its socket's task and the fan-out both write into it, each only whole
//! frames: what the connection does not take at once waits here, and everything later waits behind
//! it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Notify, broadcast};

use super::{Form, Frame};

/// Most frames of one write.
const AT_ONCE: usize = 16;
/// With this many bytes, a write takes no further frame.
const BYTES_AT_ONCE: usize = 64 * 1_024;

/// Where the bytes of a dashboard go.
pub enum Out {
    /// A plain connection. The fan-out can write into it.
    Tcp(OwnedWriteHalf),
    /// Any other one, such as TLS.
    Other(Box<dyn AsyncWrite + Send + Unpin>),
}

/// The way to one dashboard.
pub struct Lane {
    form: Form,
    state: Mutex<State>,
    /// Tells the socket's task that the fan-out could not go on.
    stopped: Notify,
}

struct State {
    out: Out,
    /// The frames that follow, while the fan-out sends them.
    frames: Option<broadcast::Receiver<Frame>>,
    /// What the connection has not taken yet.
    rest: VecDeque<Bytes>,
    /// Whether the socket's task writes, so that the fan-out has to wait.
    is_held: bool,
    /// Why no frame follows.
    over: Option<Over>,
}

/// Why a dashboard gets no further frames from the fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It is too far behind and has missed frames.
    Lagged,
    /// The server ends.
    Ended,
    /// Its connection is gone.
    Gone,
}

impl Lane {
    /// A lane into this connection, for frames in this form.
    #[must_use]
    pub fn new(out: Out, form: Form) -> Self {
        let state = State { out, frames: None, rest: VecDeque::new(), is_held: false, over: None };
        Self { form, state: Mutex::new(state), stopped: Notify::new() }
    }

    /// The form of its frames.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether the fan-out can write into it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self.state.lock().out, Out::Tcp(_))
    }

    /// Puts a frame behind everything that waits; [`Lane::poll_rest`] sends it.
    pub fn put(&self, frame: Bytes) {
        self.state.lock().rest.push_back(frame);
    }

    /// Sends what waits.
    pub fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.lock().poll_rest(cx)
    }

    /// Sends other bytes, such as a ping, behind what waits. The fan-out stops until
    /// [`Lane::catch_up`], since these may be a part of a frame.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.state.lock();
        state.is_held = true;
        ready!(state.poll_rest(cx))?;
        state.out.poll_write(cx, bytes)
    }

    /// Sends what the connection still buffers.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.lock();
        ready!(state.poll_rest(cx))?;
        state.out.poll_flush(cx)
    }

    /// Ends the connection's direction to the dashboard.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state.lock().out {
            Out::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Out::Other(other) => Pin::new(other).poll_shutdown(cx),
        }
    }

    /// Waits until the fan-out could not go on.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// Sends frames until none is left, and lets the fan-out go on. Returns false where a part
    /// of them waits for the connection.
    ///
    /// # Errors
    /// No frame follows.
    pub fn catch_up(&self) -> Result<bool, Over> {
        let mut state = self.state.lock();
        state.is_held = false;
        state.push(self.form);
        match state.over {
            Some(over) if state.rest.is_empty() || over == Over::Gone => Err(over),
            _ => Ok(state.rest.is_empty()),
        }
    }

    /// From now on the fan-out sends these frames.
    pub(super) fn begin(&self, frames: broadcast::Receiver<Frame>) {
        let mut state = self.state.lock();
        state.frames = Some(frames);
        state.over = None;
    }

    /// From now on the fan-out sends nothing.
    pub(super) fn end(&self) {
        self.state.lock().frames = None;
    }

    /// A step of the fan-out: sends the frames that are new.
    pub(super) fn push(&self) {
        let mut state = self.state.lock();
        if !state.is_held && state.rest.is_empty() && state.over.is_none() {
            state.push(self.form);
            if !state.rest.is_empty() || state.over.is_some() {
                drop(state);
                self.stopped.notify_one();
            }
        }
    }
}

impl State {
    /// Sends new frames, as long as the connection takes them at once.
    fn push(&mut self, form: Form) {
        while self.rest.is_empty() && self.over.is_none() && self.gather(form) {
            let Out::Tcp(tcp) = &self.out else { return };
            let written = match &self.rest.make_contiguous()[..] {
                [one] => tcp.try_write(one),
                several => {
                    let mut parts = [IoSlice::new(&[]); AT_ONCE];
                    parts.iter_mut().zip(several).for_each(|(part, frame)| *part = IoSlice::new(frame));
                    tcp.try_write_vectored(&parts[..several.len()])
                }
            };
            match written {
                Ok(written) => self.taken(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.over = Some(Over::Gone),
            }
        }
    }

    /// Puts the next frames into `rest`; returns whether there are any.
    fn gather(&mut self, form: Form) -> bool {
        let Some(frames) = &mut self.frames else { return false };
        let mut bytes = 0;
        while self.rest.len() < AT_ONCE && bytes < BYTES_AT_ONCE {
            match frames.try_recv() {
                Ok(frame) => {
                    let frame = frame.bytes(form);
                    bytes += frame.len();
                    self.rest.push_back(frame);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(_)) => {
                    self.over = Some(Over::Lagged);
                    break;
                }
                Err(TryRecvError::Closed) => {
                    self.over = Some(Over::Ended);
                    break;
                }
            }
        }
        !self.rest.is_empty()
    }

    fn taken(&mut self, mut bytes: usize) {
        while let Some(first) = self.rest.front_mut() {
            if bytes < first.len() {
                first.advance(bytes);
                return;
            }
            bytes -= first.len();
            self.rest.pop_front();
        }
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.rest.front() {
            let written = ready!(self.out.poll_write(cx, first))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken(written);
        }
        self.out.poll_flush(cx)
    }
}

impl Out {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Other(other) => Pin::new(other).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Other(other) => Pin::new(other).poll_flush(cx),
        }
    }
}
