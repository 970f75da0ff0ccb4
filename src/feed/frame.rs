//! A frame for dashboards in its forms, each with the WebSocket header in front. A server sends frames
//! unmasked, so the bytes are the same for every dashboard, and each form is made once for all.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};

/// The headers' first byte, of a frame that is the last of its message.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
/// How hard to compress. The next steps take twice the time for a few bytes less.
const LEVEL: u32 = 3;

/// The form in which a dashboard wants its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Changes may have only the fields that changed.
    pub is_patched: bool,
    /// Frames are binary and compressed.
    pub is_compressed: bool,
}

/// A frame. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct Frame(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    full: Text,
    /// With patches, where there are any.
    patched: Option<Text>,
}

/// A text, framed, and the same compressed once somebody wants it.
#[derive(Debug)]
struct Text {
    framed: Bytes,
    /// The bytes of the header.
    head: usize,
    compressed: OnceLock<Bytes>,
}

impl Frame {
    /// The frame of this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Inner { full: Text::new(text), patched: None }))
    }

    /// The same with patches in the second text, if there is one.
    pub(super) fn with_patches(text: &str, patched: Option<&str>) -> Self {
        Self(Arc::new(Inner { full: Text::new(text), patched: patched.map(Text::new) }))
    }

    /// Its text, with all fields.
    #[must_use]
    pub fn text(&self) -> &str {
        // It was made of a text.
        std::str::from_utf8(self.0.full.payload()).unwrap_or_default()
    }

    /// All its bytes, as they are sent.
    #[must_use]
    pub fn bytes(&self, form: Form) -> Bytes {
        let text = self.chosen(form);
        if form.is_compressed { text.compressed().clone() } else { text.framed.clone() }
    }

    /// The same, for a large frame that may have to be compressed first: that keeps a thread busy
    /// for some milliseconds.
    pub async fn prepared(&self, form: Form) -> Bytes {
        const SMALL: usize = 16 * 1_024;
        let text = self.chosen(form);
        if form.is_compressed && text.framed.len() > SMALL && text.compressed.get().is_none() {
            let frame = self.clone();
            let _ = tokio::task::spawn_blocking(move || frame.bytes(form)).await;
        }
        self.bytes(form)
    }

    fn chosen(&self, form: Form) -> &Text {
        self.0.patched.as_ref().filter(|_| form.is_patched).unwrap_or(&self.0.full)
    }

    /// The bytes that it takes in memory; compressed forms add a part of it.
    pub(super) fn cost(&self) -> usize {
        self.0.full.framed.len() + self.0.patched.as_ref().map_or(0, |patched| patched.framed.len())
    }
}

impl Text {
    fn new(text: &str) -> Self {
        let (head, framed) = framed(TEXT, text.as_bytes());
        Self { framed, head, compressed: OnceLock::new() }
    }

    fn payload(&self) -> &[u8] {
        &self.framed[self.head..]
    }

    fn compressed(&self) -> &Bytes {
        self.compressed.get_or_init(|| framed(BINARY, &deflated(self.payload())).1)
    }
}

thread_local! {
    /// The state of a compressor is large, and is used again.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// A raw DEFLATE stream of these bytes.
fn deflated(bytes: &[u8]) -> Vec<u8> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        let mut out = Vec::with_capacity(bytes.len() / 4 + 64);
        loop {
            let read = compressor.total_in() as usize;
            match compressor.compress_vec(&bytes[read..], &mut out, FlushCompress::Finish) {
                Ok(flate2::Status::StreamEnd) => return out,
                // The output is full.
                _ => out.reserve(bytes.len() / 4 + 64),
            }
        }
    })
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const Z: Form = Form { is_patched: false, is_compressed: true };

    #[test]
    fn headers_have_the_length_in_each_of_its_three_sizes() {
        for (length, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let text = "x".repeat(length);
            let bytes = Frame::new(&text).bytes(Form::default());
            assert_eq!((bytes.len(), bytes[0]), (head + length, TEXT));
            assert_eq!(&bytes[head..], text.as_bytes());
        }
    }

    #[test]
    fn a_compressed_frame_is_one_raw_deflate_stream_of_the_text() {
        let texts = ["", "{}", &"a session ".repeat(40_000), &format!("{:?}", (0..20_000).collect::<Vec<_>>())];
        for text in texts {
            let bytes = Frame::new(text).bytes(Z);
            let head = match bytes[1] {
                127 => 10,
                126 => 4,
                _ => 2,
            };
            let mut read = String::new();
            flate2::read::DeflateDecoder::new(&bytes[head..]).read_to_string(&mut read).expect("a stream");
            assert_eq!((read.as_str(), bytes[0]), (text, BINARY));
        }
    }

    #[test]
    fn without_patches_the_full_form_is_sent() {
        let patched = Form { is_patched: true, is_compressed: false };
        assert_eq!(Frame::new("all").bytes(patched), Frame::new("all").bytes(Form::default()));
        let both = Frame::with_patches("all", Some("few"));
        assert_eq!(both.bytes(patched), Frame::new("few").bytes(Form::default()));
        assert_eq!((both.bytes(Form::default()), both.text()), (Frame::new("all").bytes(Form::default()), "all"));
    }
}
