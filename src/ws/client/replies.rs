//! What the writer answers, in the order in which the client asked.

use tokio_tungstenite::tungstenite::Message;

use super::state::{Client, Reply, Step};
use crate::change::Change;
use crate::decide::Outcome;
use crate::error::{Error, Result};
use crate::monitor::Pending;
use crate::session::SessionId;
use crate::wire::Seconds;
use crate::ws::protocol::{CloseCode, ServerFrame};
use crate::ws::socket::{self, Socket};

impl Client {
    /// Asks for a change; the client is told only if it is refused.
    pub(super) async fn ask(&mut self, change: Change, id: SessionId) {
        let pending = self.app.monitor.submit(change).await;
        self.expect(pending, id);
    }

    /// Waits for a change beside the frames that follow.
    pub(super) fn expect(&mut self, pending: Result<Pending>, id: SessionId) {
        self.replies.push_back(Box::pin(async move {
            let outcome = match pending {
                Ok(pending) => pending.done().await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(_) => Reply::Done,
                Err(error) => Reply::Refused { id, error },
            }
        }));
    }

    /// Sends what the writer has answered.
    pub(super) async fn answer(&mut self, socket: &mut Socket, reply: Reply) -> Step {
        match reply {
            Reply::Done => Ok(None),
            Reply::Refused { id, error } => {
                // The client already knows that the session has ended.
                if !self.held.contains_key(&id) {
                    return Ok(None);
                }
                self.refuse(socket, Some(id.as_str()), &error).await
            }
            Reply::Registered { asked, token, outcome: Ok(Outcome::Registered { session, resumed, .. }) } => {
                self.answered(&asked);
                self.registered = true;
                let frame = ServerFrame::Registered {
                    session_id: session.id.as_str(),
                    session_token: &token,
                    heartbeat_interval: Seconds(session.heartbeat_interval),
                    resumed,
                };
                socket::send(socket, Message::Text(frame.encode().into())).await?;
                self.begin_pending_kill(socket, &session).await
            }
            Reply::Registered { asked, outcome, .. } => {
                // A session that is connected here stays, even if it registered once more in vain.
                if self.answered(&asked) == 0 && !self.is_connected(&asked) {
                    self.held.remove(&asked);
                }
                match outcome {
                    Err(gone @ Error::Gone { .. }) => {
                        self.killed_before(socket, Some(asked.as_str()), self.shared, gone).await
                    }
                    Err(locked @ Error::Locked { .. }) => {
                        self.refuse(socket, Some(asked.as_str()), &locked).await?;
                        Ok((!self.shared).then_some((CloseCode::Locked, "locked out for a while")))
                    }
                    Err(error) => self.refuse(socket, Some(asked.as_str()), &error).await,
                    Ok(_) => Ok(None),
                }
            }
        }
    }

    /// Counts one registration of a session as answered; returns how many still wait.
    fn answered(&mut self, id: &SessionId) -> usize {
        let Some(held) = self.held.get_mut(id) else { return 0 };
        held.asked = held.asked.saturating_sub(1);
        held.asked
    }
}
