//! A frame for dashboards, with the WebSocket header in front. A server sends frames unmasked, so
//! the bytes are the same for every dashboard, and are made once for all.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

/// A text frame that is the last of its message.
const TEXT: u8 = 0x81;

/// A frame. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct Frame(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    text: Bytes,
    /// The bytes of the header.
    head: usize,
}

impl Frame {
    /// The frame of this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let (head, text) = framed(TEXT, text.as_bytes());
        Self(Arc::new(Inner { text, head }))
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        // It was made of a text.
        std::str::from_utf8(&self.0.text[self.0.head..]).unwrap_or_default()
    }

    /// All its bytes, as they are sent.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.0.text.clone()
    }

    /// The bytes that it takes in memory.
    pub(super) fn cost(&self) -> usize {
        self.0.text.len()
    }
}

/// The length of the header, and the header with the payload behind it.
fn framed(opcode: u8, payload: &[u8]) -> (usize, Bytes) {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(opcode);
    match payload.len() {
        short @ ..126 => out.put_u8(short as u8),
        medium @ ..0x1_0000 => {
            out.put_u8(126);
            out.put_u16(medium as u16);
        }
        long => {
            out.put_u8(127);
            out.put_u64(long as u64);
        }
    }
    let head = out.len();
    out.extend_from_slice(payload);
    (head, out.freeze())
}
