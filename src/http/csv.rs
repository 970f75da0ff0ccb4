//! Sessions as CSV that a spreadsheet can open without being told what to do by it.

use crate::clock::Timestamp;
use crate::session::{Session, Visibility};

const HEAD: &str = "session_id,app_name,user_id,start_time,last_heartbeat,duration_seconds,status,current_task,\
is_stale,kill_requested,reported_status,task_started_at,connected,visibility,heartbeat_interval,client,remote_addr,\
meta,kill_id,kill_requested_by,kill_reason";

/// Lines of the table, with the head line where they are the first; lines end by CR LF
/// (RFC 4180).
pub(super) fn sessions<'a>(sessions: impl Iterator<Item = &'a Session>, now: Timestamp, first: bool) -> String {
    let mut out = String::new();
    if first {
        out.push_str(HEAD);
        out.push_str("\r\n");
    }
    for session in sessions {
        let kill = session.kill.as_deref();
        let cells: [&str; 21] = [
            session.id.as_str(),
            &session.app,
            session.user.as_deref().unwrap_or_default(),
            &session.started_at.to_string(),
            &session.pulse.wall().to_string(),
            &session.duration_seconds(now).to_string(),
            session.shown_status(),
            session.task.as_deref().unwrap_or_default(),
            &session.stale.to_string(),
            &kill.is_some().to_string(),
            session.status.as_str(),
            &session.task_started_at.map(|at| at.to_string()).unwrap_or_default(),
            &session.connected().to_string(),
            session.visibility.map_or("", Visibility::as_str),
            &session.heartbeat_interval.to_string(),
            session.client.as_deref().unwrap_or_default(),
            session.remote_addr.as_deref().unwrap_or_default(),
            session.meta.as_deref().unwrap_or("{}"),
            kill.map_or("", |kill| &kill.kill_id),
            kill.map_or("", |kill| &kill.requested_by),
            kill.and_then(|kill| kill.reason.as_deref()).unwrap_or_default(),
        ];
        for (index, cell) in cells.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_cell(&mut out, cell);
        }
        out.push_str("\r\n");
    }
    out
}

/// One cell. What a spreadsheet would take for a formula gets an apostrophe in front
/// (OWASP, CSV injection).
fn push_cell(out: &mut String, cell: &str) {
    let harmful = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !harmful && !cell.contains(['"', ',', '\n', '\r']) {
        out.push_str(cell);
        return;
    }
    out.push('"');
    if harmful {
        out.push('\'');
    }
    out.push_str(&cell.replace('"', "\"\""));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_made_harmless_and_quotes_doubled() {
        let cell = |text: &str| {
            let mut out = String::new();
            push_cell(&mut out, text);
            out
        };
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        for start in ["=", "+", "-", "@", "\t", "\r"] {
            assert_eq!(cell(&format!("{start}1")), format!("\"'{start}1\""));
        }
    }
}
