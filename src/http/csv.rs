//! Sessions as CSV (RFC 4180), without cells that a spreadsheet would run as formulas.

use std::borrow::Cow;

use crate::clock::Timestamp;
use crate::nodes::{Known, name_of};
use crate::past::Ended;
use crate::session::{Session, Visibility};

const HEAD: [&str; 22] = [
    "session_id",
    "app_name",
    "user_id",
    "start_time",
    "last_heartbeat",
    "duration_seconds",
    "status",
    "current_task",
    "is_stale",
    "kill_requested",
    "reported_status",
    "task_started_at",
    "connected",
    "visibility",
    "heartbeat_interval",
    "client",
    "remote_addr",
    "meta",
    "kill_id",
    "kill_requested_by",
    "kill_reason",
    "node",
];

/// The columns that only ended sessions have.
const END: [&str; 4] = ["ended_at", "cause", "ended_by", "end_reason"];
/// The columns of which the past knows nothing: the log has no heartbeats and no sockets.
const UNKNOWN: [&str; 3] = ["last_heartbeat", "connected", "node"];

/// Ended sessions, with the head line.
pub(super) fn ended(found: &[Ended]) -> String {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let _ = table.write_record(HEAD.iter().chain(&END));
    let known = Known::default();
    for Ended { session, at, cause, by, reason, .. } in found {
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let end = [at.to_string(), text(cause), text(by), text(reason)];
        let cells = past_line(session, *at, &known).map(Cow::into_owned).into_iter().chain(end);
        let _ = table.write_record(cells.map(|cell| guarded(&cell).into_owned()));
    }
    String::from_utf8(table.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// The line of a session of the past.
fn past_line<'a>(session: &'a Session, now: Timestamp, known: &'a Known) -> [Cow<'a, str>; 22] {
    let mut cells = line(session, now, known);
    for (cell, _) in cells.iter_mut().zip(HEAD).filter(|(_, name)| UNKNOWN.contains(name)) {
        *cell = "".into();
    }
    cells
}

/// Lines of the table, after the head line if they are the first; lines end with CR LF.
pub(super) fn sessions<'a>(
    sessions: impl Iterator<Item = &'a Session>,
    now: Timestamp,
    known: &Known,
    first: bool,
    of_the_past: bool,
) -> String {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Writing into a Vec does not fail, and every line has the cells of the head.
    if first {
        let _ = table.write_record(HEAD);
    }
    for session in sessions {
        let cells = if of_the_past { past_line(session, now, known) } else { line(session, now, known) };
        let _ = table.write_record(cells.iter().map(|cell| guarded(cell).into_owned()));
    }
    String::from_utf8(table.into_inner().unwrap_or_default()).unwrap_or_default()
}

fn line<'a>(session: &'a Session, now: Timestamp, known: &'a Known) -> [Cow<'a, str>; 22] {
    let kill = session.kill.as_deref();
    let text = |text: Option<&'_ std::sync::Arc<str>>| text.map(ToString::to_string).unwrap_or_default().into();
    [
        session.id.as_str().into(),
        (*session.app).into(),
        session.user.as_deref().unwrap_or_default().into(),
        session.started_at.to_string().into(),
        session.pulse.wall().to_string().into(),
        session.duration_seconds(now).to_string().into(),
        session.shown_status().into(),
        session.task.as_deref().unwrap_or_default().into(),
        session.stale.to_string().into(),
        kill.is_some().to_string().into(),
        session.status.as_str().into(),
        session.task_started_at.map(|at| at.to_string()).unwrap_or_default().into(),
        session.connected().to_string().into(),
        session.visibility.map_or("", Visibility::as_str).into(),
        session.heartbeat_interval.to_string().into(),
        session.client.as_deref().unwrap_or_default().into(),
        session.remote_addr.as_deref().unwrap_or_default().into(),
        session.meta.as_deref().unwrap_or("{}").into(),
        text(kill.map(|kill| &kill.kill_id)),
        text(kill.map(|kill| &kill.requested_by)),
        text(kill.and_then(|kill| kill.reason.as_ref())),
        name_of(session, known).unwrap_or_default().into(),
    ]
}

/// A cell without formulas (OWASP, CSV injection): an apostrophe is put before each sign that would
/// begin one: at the start, after blanks, and after characters that end a cell in the spreadsheets
/// of some countries. `web/lib/csv.js` does the same for the page; `tests/vectors/csv-cells.json`
/// tests both.
fn guarded(cell: &str) -> Cow<'_, str> {
    let harmful = |rest: &str| rest.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    let ends_cell = |c: char| matches!(c, ';' | '\t' | '\r' | '\n');
    if !cell.starts_with(['\t', '\r', '\n']) && !harmful(cell) && !cell.contains(ends_cell) {
        return Cow::Borrowed(cell);
    }
    let mut out = String::with_capacity(cell.len() + 2);
    let mut rest = cell;
    // A leading tab or return would hide what follows it.
    let mut marked = rest.starts_with(['\t', '\r', '\n']);
    if marked {
        out.push('\'');
    }
    loop {
        let end = rest.find(ends_cell).map_or(rest.len(), |at| at + 1);
        let (part, next) = rest.split_at(end);
        if !marked && harmful(part) {
            out.push('\'');
        }
        marked = false;
        out.push_str(part);
        if next.is_empty() {
            return Cow::Owned(out);
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_made_harmless_as_on_the_page() {
        let vectors: Vec<(String, String)> =
            serde_json::from_str(include_str!("../../tests/vectors/csv-cells.json")).expect("pairs");
        assert!(vectors.len() > 20);
        for (cell, expected) in vectors {
            assert_eq!(guarded(&cell), expected, "{cell:?}");
        }
    }
}
