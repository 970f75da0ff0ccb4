//! What both sockets share: writes with a time limit, and closes that arrive.

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError};

use super::protocol::CloseCode;
use crate::timing::Timing;

/// The peer does not read any more, or the connection is gone.
pub(super) struct Gone;

/// Sends one frame, and waits at most [`Timing::WRITE_WITHIN`].
pub(super) async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Gone> {
    match timeout(Timing::WRITE_WITHIN, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

/// Puts one frame into the buffer; [`flush`] sends it with others.
pub(super) async fn feed(socket: &mut WebSocket, text: Utf8Bytes) -> Result<(), Gone> {
    match timeout(Timing::WRITE_WITHIN, socket.feed(Message::Text(text))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

/// Sends the buffered frames.
pub(super) async fn flush(socket: &mut WebSocket) -> Result<(), Gone> {
    match timeout(Timing::WRITE_WITHIN, socket.flush()).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

/// The close code for what the peer did wrong; `None` if the connection is just gone.
#[must_use]
pub fn code_of(error: axum::Error) -> Option<CloseCode> {
    let error = error.into_inner().downcast::<WsError>().ok()?;
    match *error {
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => Some(CloseCode::TooLarge),
        WsError::Utf8(_) => Some(CloseCode::Text),
        WsError::Protocol(_) | WsError::Capacity(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

/// Sends the close frame and reads on for a moment: a connection that is dropped with unread bytes
/// is reset, and a reset can destroy the close frame before it arrives.
pub async fn close(mut socket: WebSocket, code: CloseCode, reason: &str) {
    // A close frame has room for 123 bytes of reason.
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let frame = CloseFrame { code: code.number(), reason: reason[..end].into() };
    if timeout(Timing::DRAIN, socket.send(Message::Close(Some(frame)))).await.is_err() {
        return;
    }
    drain(socket).await;
}

/// Answers the peer's close frame, or notices that the connection is gone. The library sends the
/// answer when the next frame is read.
pub async fn answer_close(socket: WebSocket) {
    drain(socket).await;
}

async fn drain(mut socket: WebSocket) {
    let _ = timeout(Timing::DRAIN, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}
