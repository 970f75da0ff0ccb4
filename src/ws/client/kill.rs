//! Kill requests on a socket: sent, acknowledged or not, and the end of the session.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::state::{Client, Killing, Step};
use crate::change::{Cause, Change};
use crate::clock::millis;
use crate::error::Error;
use crate::session::{Kill, Session, SessionId};
use crate::timing::Timing;
use crate::ws::protocol::{CloseCode, ServerFrame, TERMINATED};
use crate::ws::socket::{self, Socket};

impl Client {
    /// Whether the time to acknowledge is over, on a socket with one session.
    pub(super) fn kill_is_over(&self, now: Instant) -> bool {
        let own = self.own.as_ref().and_then(|id| self.held.get(id));
        own.and_then(|held| held.kill.as_ref()?.close_at).is_some_and(|close_at| now >= close_at)
    }

    /// Sends the kill request that a session had before it registered on this socket.
    pub(super) async fn begin_pending_kill(&mut self, socket: &mut Socket, session: &Session) -> Step {
        match &session.kill {
            Some(kill) => self.begin_kill(socket, session.id.clone(), kill.clone()).await,
            None => Ok(None),
        }
    }

    /// Sends the kill request again to a client that registers a killed id.
    pub(super) async fn killed_before(
        &mut self,
        socket: &mut Socket,
        id: Option<&str>,
        shared: bool,
        gone: Error,
    ) -> Step {
        if let Error::Gone { id: gone_id, reason, kill_id, by, .. } = &gone {
            let frame = ServerFrame::Kill {
                session_id: id.unwrap_or(gone_id),
                kill_id,
                reason: reason.as_deref(),
                by: by.as_deref(),
                grace_ms: 0,
            };
            socket::send(socket, Message::Text(frame.encode().into())).await?;
        }
        Ok((!shared).then_some((CloseCode::Killed, TERMINATED)))
    }

    /// Sends a kill request, and records that it was delivered.
    pub(super) async fn begin_kill(&mut self, socket: &mut Socket, id: SessionId, kill: Arc<Kill>) -> Step {
        let grace = self.timing().kill_grace;
        let shared = self.shared;
        let Some(held) = self.held.get_mut(&id).filter(|held| held.kill.is_none()) else { return Ok(None) };
        let close_at = (!shared).then(|| Instant::now() + grace + Timing::ACK_SLACK);
        held.kill = Some(Killing { kill: kill.clone(), close_at });
        let frame = ServerFrame::kill(id.as_str(), &kill, millis(grace)).encode();
        socket::send(socket, Message::Text(frame.into())).await?;
        self.ask(Change::KillDelivered(id.clone(), kill.kill_id.clone(), self.authority()), id).await;
        Ok(None)
    }

    /// Takes the client's acknowledgement; a socket with one session ends with it.
    pub(super) async fn kill_acknowledged(&mut self, id: SessionId, kill_id: Option<&str>) -> Step {
        let killing = self.held.get(&id).and_then(|held| held.kill.as_ref());
        let Some(kill) = killing.map(|killing| killing.kill.clone()).filter(|kill| Some(&*kill.kill_id) == kill_id)
        else {
            return Ok(None);
        };
        self.ask(Change::KillAcknowledged(id.clone(), kill.kill_id.clone(), self.authority()), id.clone()).await;
        if self.shared {
            self.held.remove(&id);
            self.ask(self.removal(id.clone(), Cause::Killed), id).await;
            return Ok(None);
        }
        Ok(Some((CloseCode::Killed, TERMINATED)))
    }
}
