//! What the sockets and event streams of clients get from the monitor: their pushes.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Monitor;
use super::hub::{Hub, Push, Pushes};
use crate::error::Result;
use crate::metrics::Metrics;
use crate::session::{Session, SessionId, SocketId};

/// An open client socket. Its queue takes pushes, and the metrics count it, until it is dropped.
pub struct ClientSocket {
    id: SocketId,
    pushes: Pushes,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
}

impl ClientSocket {
    /// The number of the socket.
    #[must_use]
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// Waits for the next push; `None` when so many waited that the hub has closed the queue.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Push> {
        self.pushes.next().await
    }
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        self.hub.close(self.id);
        self.metrics.client_sockets(-1);
    }
}

impl Monitor {
    /// Opens the queue of a new client socket.
    #[must_use]
    pub fn open_socket(&self) -> ClientSocket {
        let (hub, metrics) = (self.hub.clone(), self.metrics.clone());
        let (id, pushes) = hub.open();
        metrics.client_sockets(1);
        ClientSocket { id, pushes, hub, metrics }
    }

    /// Listens for the pushes of one session, for an event stream; returns the session as it is
    /// when listening has begun, so that no kill request is missed. One may be seen twice.
    ///
    /// # Errors
    /// Unknown or killed id.
    pub fn listen(&self, id: &SessionId) -> Result<(Arc<Session>, mpsc::Receiver<Push>)> {
        let pushes = self.hub.listen(id.clone());
        self.session(id.as_str()).map(|session| (session, pushes))
    }
}
