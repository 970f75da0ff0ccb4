//! What the hub pushes to the socket: kill requests, messages, the end of a session.

use tokio_tungstenite::tungstenite::Message;

use super::state::{Client, Step};
use crate::change::Cause;
use crate::error::Error;
use crate::monitor::Push;
use crate::ws::protocol::{CloseCode, ServerFrame, TERMINATED};
use crate::ws::socket::{self, Socket};

/// Messages of one session that may wait for their acknowledgement; the oldest is forgotten.
const NOTES_MAX: usize = 64;

impl Client {
    /// Tells the client of one push.
    pub(super) async fn push(&mut self, socket: &mut Socket, push: Push) -> Step {
        match push {
            Push::Kill(id, kill) => self.begin_kill(socket, id, kill).await,
            Push::Message(id, message) => {
                let Some(held) = self.held.get_mut(&id) else { return Ok(None) };
                if held.notes.len() == NOTES_MAX {
                    held.notes.remove(0);
                }
                held.notes.push(message.message_id.clone());
                let frame = ServerFrame::message(id.as_str(), &message).encode();
                socket::send(socket, Message::Text(frame.into())).await?;
                Ok(None)
            }
            Push::Superseded(id) => {
                self.held.remove(&id);
                if self.shared {
                    let error = Error::Forbidden("the session opened a newer socket".to_owned());
                    return self.refuse(socket, Some(id.as_str()), &error).await;
                }
                Ok(Some((CloseCode::Superseded, "the session opened a newer socket")))
            }
            Push::Removed(id, cause) => {
                if self.held.remove(&id).is_none() {
                    return Ok(None);
                }
                match (self.shared, cause) {
                    (true, _) => {
                        let error = Error::NotFound(id.to_string());
                        self.refuse(socket, Some(id.as_str()), &error).await
                    }
                    (false, Cause::Killed) => Ok(Some((CloseCode::Killed, TERMINATED))),
                    (false, _) => Ok(Some((CloseCode::Normal, "ended"))),
                }
            }
        }
    }
}
