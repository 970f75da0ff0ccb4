//! What both sockets share: writes with a time limit, and closes that arrive.

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::protocol::CloseCode;
use super::stream::Stream;
use crate::timing::Timing;

/// An open WebSocket.
pub type Socket = WebSocketStream<Stream>;

/// The peer does not read any more, or the connection is gone.
pub(super) struct Gone;

/// Sends one frame, and waits at most [`Timing::WRITE_WITHIN`].
pub(super) async fn send(socket: &mut Socket, message: Message) -> Result<(), Gone> {
    match timeout(Timing::WRITE_WITHIN, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

/// Sends what the library has to answer, such as a pong.
pub(super) async fn flush(socket: &mut Socket) -> Result<(), Gone> {
    match timeout(Timing::WRITE_WITHIN, socket.flush()).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

/// The close code for what the peer did wrong; `None` if the connection is just gone.
#[must_use]
pub fn code_of(error: &WsError) -> Option<CloseCode> {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => Some(CloseCode::TooLarge),
        WsError::Utf8(_) => Some(CloseCode::Text),
        WsError::Protocol(_) | WsError::Capacity(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

/// Sends the close frame and reads on for a moment: a connection that is dropped with unread bytes
/// is reset, and a reset can destroy the close frame before it arrives.
pub async fn close(mut socket: Socket, code: CloseCode, reason: &str) {
    // A close frame has room for 123 bytes of reason.
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let frame = CloseFrame { code: code.number().into(), reason: reason[..end].into() };
    if timeout(Timing::DRAIN, socket.send(Message::Close(Some(frame)))).await.is_err() {
        return;
    }
    drain(socket).await;
}

/// Answers the peer's close frame, or notices that the connection is gone. The library sends the
/// answer when the next frame is read.
pub async fn answer_close(socket: Socket) {
    drain(socket).await;
}

async fn drain(mut socket: Socket) {
    let _ = timeout(Timing::DRAIN, async { while let Some(Ok(_)) = socket.next().await {} }).await;
}
