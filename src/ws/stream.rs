//! The connection under a socket. A plain one is taken back from hyper, so that a dashboard's frames
//! can be written straight into it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::feed::{Form, Lane, Out};
use crate::heads::Heads;
use crate::places::{Place, Placed};

/// A connection after its handshake.
pub enum Stream {
    /// A plain TCP connection.
    Plain(Placed),
    /// Any other one, such as TLS.
    Other(Box<TokioIo<Upgraded>>),
    /// The connection of a dashboard.
    Lane {
        /// What the dashboard sends.
        read: Box<dyn AsyncRead + Send + Unpin>,
        /// What it gets.
        lane: Arc<Lane>,
        /// Its place among the open connections, where hyper does not keep it.
        place: Option<Place>,
    },
}

impl Stream {
    /// Takes the connection; returns it with what the peer has sent already.
    pub(super) fn of(upgraded: Upgraded) -> (Self, Vec<u8>) {
        match upgraded.downcast::<TokioIo<Heads<Placed>>>() {
            Ok(parts) => (Self::Plain(parts.io.into_inner().into_inner()), parts.read_buf.to_vec()),
            // It hands out first what the peer has sent already.
            Err(other) => (Self::Other(Box::new(TokioIo::new(other))), Vec::new()),
        }
    }

    /// Makes it the connection of a dashboard.
    pub(super) fn into_lane(self, form: Form) -> Self {
        let (read, out, place): (Box<dyn AsyncRead + Send + Unpin>, _, _) = match self {
            Self::Plain(placed) => {
                let (tcp, place) = placed.into_parts();
                let (read, write) = tcp.into_split();
                (Box::new(read), Out::Tcp(write), Some(place))
            }
            Self::Other(other) => {
                let (read, write) = tokio::io::split(*other);
                (Box::new(read), Out::Other(Box::new(write)), None)
            }
            lane @ Self::Lane { .. } => return lane,
        };
        Self::Lane { read, lane: Arc::new(Lane::new(out, form)), place }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(placed) => Pin::new(placed).poll_read(cx, buffer),
            Self::Other(other) => Pin::new(other).poll_read(cx, buffer),
            Self::Lane { read, .. } => Pin::new(read).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(placed) => Pin::new(placed).poll_write(cx, bytes),
            Self::Other(other) => Pin::new(other).poll_write(cx, bytes),
            Self::Lane { lane, .. } => lane.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(placed) => Pin::new(placed).poll_flush(cx),
            Self::Other(other) => Pin::new(other).poll_flush(cx),
            Self::Lane { lane, .. } => lane.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(placed) => Pin::new(placed).poll_shutdown(cx),
            Self::Other(other) => Pin::new(other).poll_shutdown(cx),
            Self::Lane { lane, .. } => lane.poll_shutdown(cx),
        }
    }
}
