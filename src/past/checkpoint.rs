//! Checkpoints: all sessions at one position, in pieces of a bounded size. A piece is a list of JSON
//! objects, compressed with DEFLATE: first the time that its times are relative to, then the sessions.

use std::io::{Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::log::{State, fresh};
use crate::session::{Session, SessionId};

/// Sessions in one piece: a row of about 50 KB.
const PIECE: usize = 1_000;
/// The most bytes of one piece when it is unpacked, so that a damaged row cannot fill the memory. A
/// session has at most 4 KiB of tags and a few texts of 256 characters.
const UNPACKED_MAX: u64 = 32 << 20;

/// The first line of a piece. Each has its own, so that pieces of two checkpoints of one position,
/// which a change of the keeper may leave, fit together.
#[derive(Serialize, Deserialize)]
struct Head {
    at: i64,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    app: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    state: State,
}

#[derive(Deserialize)]
struct StoredRow {
    id: String,
    app: Arc<str>,
    #[serde(default)]
    user: Option<Arc<str>>,
    state: State,
}

/// One piece of a checkpoint.
pub struct Piece {
    /// Its number, from 0.
    pub number: u32,
    /// Its row.
    pub body: Vec<u8>,
}

/// Makes the pieces of a checkpoint one by one, so that only one is in memory.
pub struct Encoder<I> {
    sessions: I,
    at: Timestamp,
    next: u32,
}

impl<I: Iterator<Item = Arc<Session>>> Encoder<I> {
    /// A checkpoint of these sessions that is taken at `at`.
    #[must_use]
    pub fn new(sessions: I, at: Timestamp) -> Self {
        Self { sessions, at, next: 0 }
    }
}

impl<I: Iterator<Item = Arc<Session>>> Iterator for Encoder<I> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let sessions: Vec<Arc<Session>> = self.sessions.by_ref().take(PIECE).collect();
        if sessions.is_empty() {
            return None;
        }
        let row = |session: &'_ Arc<Session>| {
            let state = State::whole(session, self.at);
            let row = Row { id: session.id.as_str(), app: &session.app, user: session.user.as_deref(), state };
            serde_json::to_vec(&row).unwrap_or_default()
        };
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
        // Writing into a Vec does not fail.
        let _ = packed.write_all(&serde_json::to_vec(&Head { at: self.at.0 }).unwrap_or_default());
        let _ = packed.write_all(b"\n");
        for session in &sessions {
            let _ = packed.write_all(&row(session));
            let _ = packed.write_all(b"\n");
        }
        let number = self.next;
        self.next += 1;
        Some(Piece { number, body: packed.finish().unwrap_or_default() })
    }
}

/// The sessions of a piece of a checkpoint; `None` where it cannot be read.
#[must_use]
pub fn decode(body: &[u8]) -> Option<Vec<Session>> {
    let mut text = Vec::new();
    DeflateDecoder::new(body).take(UNPACKED_MAX).read_to_end(&mut text).ok()?;
    let (head, rows) = text.split_at(text.iter().position(|byte| *byte == b'\n')?);
    let at = Timestamp(serde_json::from_slice::<Head>(head).ok()?.at);
    let session = |row: serde_json::Result<StoredRow>| {
        let row = row.ok()?;
        let mut session = fresh(SessionId::parse(&row.id)?, row.app, row.user, None, at);
        row.state.apply(&mut session, at);
        Some(session)
    };
    serde_json::Deserializer::from_slice(rows).into_iter::<StoredRow>().map(session).collect()
}
