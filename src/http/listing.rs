//! Sends a list of sessions in pieces, so that a slow reader costs the memory of one piece and not
//! of a list of 100,000.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::csv;
use super::filter::Wanted;
use crate::clock::Timestamp;
use crate::nodes::Known;
use crate::registry::View;
use crate::session::{Session, SessionId};
use crate::wire::SessionJson;

/// Rows that are encoded at once.
const PIECE: usize = 256;
/// How long the sending of a list may take.
const DEADLINE: Duration = Duration::from_secs(120);

pub(super) enum Format {
    Json,
    Csv,
}

/// A list that was asked for, at one position.
pub(super) struct Listing {
    pub(super) view: View,
    pub(super) wanted: Arc<Wanted>,
    pub(super) after: Option<(Timestamp, SessionId)>,
    pub(super) now: Timestamp,
    pub(super) epoch: Arc<str>,
    pub(super) format: Format,
    /// The names of the servers that hold sockets.
    pub(super) known: Arc<Known>,
    /// The past moment that the list is of; `None` for now.
    pub(super) past: Option<Past>,
}

/// The past moment that a list is of.
#[derive(Clone, Copy)]
pub(super) struct Past {
    /// When.
    pub(super) at: Timestamp,
    /// Whether it has every session of that moment.
    pub(super) complete: bool,
}

impl Past {
    /// The fields of a session that are not known of the past: they are not in the log.
    const UNKNOWN: [&str; 3] = ["last_heartbeat", "connected", "node"];
    /// The fields that are not known either where an older version wrote the log.
    const UNTOLD: [&str; 4] = ["client", "heartbeat_interval", "meta", "due"];

    fn unknown(self) -> Vec<&'static str> {
        let untold = if self.complete { &[][..] } else { &Self::UNTOLD };
        Self::UNKNOWN.iter().chain(untold).copied().collect()
    }
}

/// The fields that only the list of a past moment has.
#[derive(Serialize)]
struct PastTail {
    /// The moment.
    at: Timestamp,
    /// Whether it has every session of that moment.
    complete: bool,
    /// The fields of the sessions that are not known of that moment.
    unknown: Vec<&'static str>,
}

/// The answer as the API documents it; it is written in pieces.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<'a> {
    sessions: Vec<SessionJson<'a>>,
    total: usize,
    next: Option<String>,
    epoch: &'a str,
    seq: u64,
    /// The moment, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Whether it has every session of that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    /// The fields of the sessions that are not known of that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<Vec<&'static str>>,
}

/// The fields after the sessions.
#[derive(Serialize)]
struct Tail<'a> {
    total: usize,
    next: Option<String>,
    epoch: &'a str,
    seq: u64,
    #[serde(flatten)]
    past: Option<PastTail>,
}

fn cursor(session: &Session) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", session.started_at.0, session.id))
}

/// How far a list has been sent.
struct Progress {
    listing: Listing,
    total: usize,
    written: usize,
    last: Option<Arc<Session>>,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Listing {
    /// The answer, whose body is made while it is read.
    pub(super) async fn answer(self, place: OwnedSemaphorePermit) -> Response {
        let counting = (self.view.clone(), self.wanted.clone());
        // Counting reads every session, so it runs outside the async threads.
        let count = move || {
            let (view, wanted) = counting;
            view.sessions().filter(|session| wanted.fits(session)).count()
        };
        let total = if self.view.len() > PIECE {
            tokio::task::spawn_blocking(count).await.unwrap_or_default()
        } else {
            count()
        };
        let mut headers = HeaderMap::new();
        match self.format {
            Format::Json => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Format::Csv => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
                let name = HeaderValue::from_static("attachment; filename=\"sessions.csv\"");
                headers.insert(header::CONTENT_DISPOSITION, name);
            }
        }
        let mut progress =
            Progress { listing: self, total, written: 0, last: None, until: Instant::now() + DEADLINE, _place: place };
        let (first, more) = progress.piece(true);
        if !more {
            return (headers, first).into_response();
        }
        let rest = stream::unfold(Some(progress), |progress| async move {
            let mut progress = progress?;
            if Instant::now() >= progress.until {
                let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "the list was read too slowly");
                return Some((Err(late), None));
            }
            let (bytes, more) = progress.piece(false);
            Some((Ok(bytes), more.then_some(progress)))
        });
        let first = stream::once(std::future::ready(Ok(first)));
        (headers, Body::from_stream(futures_util::StreamExt::chain(first, rest))).into_response()
    }
}

impl Progress {
    /// The next piece, and whether more follow.
    fn piece(&mut self, first: bool) -> (Bytes, bool) {
        let room = self.listing.wanted.limit().saturating_sub(self.written);
        // One row more than is written shows whether there are more.
        let mut rows = self.rows(room.min(PIECE).saturating_add(1));
        let more_exist = rows.len() > room.min(PIECE);
        rows.truncate(room.min(PIECE));
        self.written += rows.len();
        if let Some(last) = rows.last() {
            self.last = Some(last.clone());
        }
        let more = more_exist && room > PIECE;
        let next = (more_exist && !more).then_some(self.last.as_deref()).flatten().map(cursor);
        let now = self.listing.now;
        let bytes = match self.listing.format {
            Format::Csv => {
                let of_the_past = self.listing.past.is_some();
                csv::sessions(rows.iter().map(|session| &**session), now, &self.listing.known, first, of_the_past)
                    .into()
            }
            Format::Json => self.json(&rows, first, (!more).then_some(next)),
        };
        (bytes, more)
    }

    fn json(&self, rows: &[Arc<Session>], first: bool, end: Option<Option<String>>) -> Bytes {
        let mut out = Vec::with_capacity(rows.len() * 512 + 128);
        if first {
            out.extend_from_slice(br#"{"sessions":["#);
        }
        for (index, session) in rows.iter().enumerate() {
            if index > 0 || !first {
                out.push(b',');
            }
            let Listing { now, known, past, .. } = &self.listing;
            let shown = SessionJson::new(session, *now, known);
            let _ = serde_json::to_writer(&mut out, &if past.is_some() { shown.of_the_past() } else { shown });
        }
        if let Some(next) = end {
            out.push(b']');
            let Listing { view, epoch, past, .. } = &self.listing;
            let past = past.map(|past| PastTail { at: past.at, complete: past.complete, unknown: past.unknown() });
            let tail = Tail { total: self.total, next, epoch, seq: view.seq, past };
            let from = out.len();
            let _ = serde_json::to_writer(&mut out, &tail);
            // The tail's fields continue the object: its brace becomes a comma.
            out[from] = b',';
        }
        out.into()
    }

    /// The next sessions that fit, at most `most`.
    fn rows(&self, most: usize) -> Vec<Arc<Session>> {
        let Listing { view, wanted, after, .. } = &self.listing;
        let from = self.last.as_ref().map(|last| (last.started_at, last.id.clone())).or_else(|| after.clone());
        let take = |rows: &mut dyn Iterator<Item = &Arc<Session>>| {
            rows.filter(|session| wanted.fits(session)).take(most).cloned().collect()
        };
        match from {
            Some((at, id)) => take(&mut view.sessions_after(at, id)),
            None => take(&mut view.sessions()),
        }
    }
}
