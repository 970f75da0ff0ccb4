//! The state of one client socket: its sessions, and what it waits for.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::change::{Authority, Cause, Change};
use crate::decide::Outcome;
use crate::edge::Shared;
use crate::edge::gate::Caller;
use crate::error::{Error, Result};
use crate::session::{Kill, SessionId, SocketId};
use crate::timing::Timing;
use crate::ws::protocol::{self, CloseCode};
use crate::ws::socket::{self, Gone, Socket};

/// The end of a socket: its close code and reason; `None` goes on.
pub(super) type End = Option<(CloseCode, &'static str)>;
/// What follows from one step: nothing, or the end of the socket.
pub(super) type Step = std::result::Result<End, Gone>;

/// What the socket knows of one of its sessions.
#[derive(Default)]
pub(super) struct Held {
    /// The kill request, once it was sent to the client.
    pub(super) kill: Option<Killing>,
    /// Messages that the client has not acknowledged yet.
    pub(super) notes: Vec<Arc<str>>,
    /// The page is in the back-forward cache and may come back.
    pub(super) suspended: bool,
    /// Registrations that wait for the writer.
    pub(super) asked: usize,
}

/// A kill request that was sent to the client.
pub(super) struct Killing {
    pub(super) kill: Arc<Kill>,
    /// When the socket is closed without an acknowledgement; `None` on a shared socket.
    pub(super) close_at: Option<Instant>,
}

/// The writer's answer to a change that this socket asked for.
pub(super) enum Reply {
    Registered { asked: SessionId, token: String, outcome: Result<Outcome> },
    Refused { id: SessionId, error: Error },
    Done,
}

/// The state of one client socket.
pub(super) struct Client {
    pub(super) app: Shared,
    pub(super) caller: Caller,
    pub(super) socket: SocketId,
    /// The socket carries several sessions.
    pub(super) shared: bool,
    /// The sessions on this socket.
    pub(super) held: HashMap<SessionId, Held>,
    /// The session of a socket that carries only one.
    pub(super) own: Option<SessionId>,
    /// Answers of the writer that are still to come, in the order of the frames.
    pub(super) replies: FuturesOrdered<BoxFuture<'static, Reply>>,
    /// A registration was accepted.
    pub(super) registered: bool,
    /// The time to register is over, but registrations still wait for the writer: these are
    /// answered first, and nothing more is read.
    pub(super) late: bool,
    /// Nothing is read before this moment: the client reports faster than its rate allows.
    pub(super) read_at: Option<Instant>,
    /// The server ends, and this is when the socket is closed.
    pub(super) drained_at: Option<Instant>,
    /// The client is a page: its script cannot see pings, so it gets `tick` frames.
    pub(super) ticks: bool,
    /// The page was closed, or the user went to another page.
    pub(super) gone: bool,
}

impl Client {
    pub(super) fn new(app: Shared, caller: Caller, socket: SocketId) -> Self {
        Self {
            app,
            caller,
            socket,
            shared: false,
            held: HashMap::new(),
            own: None,
            replies: FuturesOrdered::new(),
            registered: false,
            late: false,
            read_at: None,
            drained_at: None,
            ticks: false,
            gone: false,
        }
    }

    pub(super) fn timing(&self) -> &Timing {
        self.app.monitor.timing()
    }

    /// The authority of this socket's changes: the writer compares it with the session's socket.
    pub(super) fn authority(&self) -> Authority {
        Authority::Socket(self.socket)
    }

    /// The change that removes a session of this socket.
    pub(super) fn removal(&self, id: SessionId, cause: Cause) -> Change {
        Change::Remove { id, cause, actor: self.caller.address(), authority: self.authority() }
    }

    /// The id of the session that a frame is about; without one, the only session of the socket.
    ///
    /// # Errors
    /// The session is not on this socket, or the frame has to name one.
    pub(super) fn held_id(&self, said: Option<&str>) -> Result<SessionId> {
        match said {
            Some(said) => self
                .held
                .get_key_value(said)
                .map(|(id, _)| id.clone())
                .ok_or_else(|| Error::NotFound(said.chars().take(128).collect())),
            None if self.shared => {
                Err(Error::Invalid("session_id is needed on a socket that carries several sessions".to_owned()))
            }
            None => self
                .own
                .clone()
                .filter(|id| self.held.contains_key(id))
                .ok_or_else(|| Error::NotFound("of this socket".to_owned())),
        }
    }

    /// Whether the session is connected by this socket.
    pub(super) fn is_connected(&self, id: &SessionId) -> bool {
        let session = self.app.monitor.session(id.as_str());
        session.is_ok_and(|session| session.socket == Some(self.socket))
    }

    /// Sends an `error` frame.
    pub(super) async fn refuse(&mut self, socket: &mut Socket, id: Option<&str>, error: &Error) -> Step {
        socket::send(socket, Message::Text(protocol::error(id, error).into())).await?;
        Ok(None)
    }
}
