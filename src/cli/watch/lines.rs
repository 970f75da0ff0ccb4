//! `watch` without a terminal, and `watch --json`: a line for each change.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::super::{
    error::CliError,
    feed::Feed,
    filter,
    output::{Output, complain},
    sessions::steps,
    store::{Delta, Store},
    text::escape,
    wire::Session,
};

use crate::filter::Filter;

/// Prints a line for each change of what matches, until the server refuses us or nobody reads any more.
pub(super) async fn follow(
    mut frames: mpsc::Receiver<Feed>,
    wanted: &Filter,
    as_json: bool,
    output: Output,
) -> Result<(), CliError> {
    let mut store = Store::default();
    let mut interrupted = signal(SignalKind::terminate())?;
    loop {
        let feed = tokio::select! {
            feed = frames.recv() => feed,
            _ = interrupted.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let frame = match feed {
            Some(Feed::Frame(frame)) => frame,
            Some(Feed::Lost { error, .. }) if store.is_filled() => {
                complain(&error.to_string());
                continue;
            }
            // There never was a connection: a wrong address is likelier than a short break.
            Some(Feed::Lost { error, .. } | Feed::Refused(error)) => return Err(error),
            None => return Ok(()),
        };
        let local = Utc::now();
        for delta in store.apply(frame, local) {
            let now = store.server_time(local);
            if !matches(&delta, wanted, now) {
                continue;
            }
            if as_json {
                output.json(&delta_json(&delta))?;
            } else {
                output.text(&delta_line(&delta, now))?;
            }
        }
    }
}

/// Whether the session matches the filter now, or did before the change.
fn matches(delta: &Delta, wanted: &Filter, now: DateTime<Utc>) -> bool {
    let matches = |session: &Session| filter::matches(wanted, session, now);
    match delta {
        Delta::Present(row) => matches(&row.session),
        Delta::Upserted { before, row } => matches(&row.session) || before.as_ref().is_some_and(matches),
        Delta::Removed { before, .. } => before.as_ref().is_some_and(matches),
    }
}

/// A change as JSON: `{"change":"present"|"upserted","session":…}` or `{"change":"removed","session_id":…,…}`.
fn delta_json(delta: &Delta) -> Value {
    match delta {
        Delta::Present(row) => json!({ "change": "present", "session": row.raw }),
        Delta::Upserted { row, .. } => json!({ "change": "upserted", "session": row.raw }),
        Delta::Removed { before, removal } => json!({
            "change": "removed", "session_id": removal.session_id, "app_name": before.as_ref().map(|session| &session.app_name),
            "user_id": before.as_ref().and_then(|session| session.user_id.as_ref()), "cause": removal.cause,
            "at": removal.at, "by": removal.by, "reason": removal.reason,
        }),
    }
}

/// A change as a line: time, what happened, app, user, task, id.
fn delta_line(delta: &Delta, now: DateTime<Utc>) -> String {
    let word = |session: &Session| session.state(now).word();
    let (what, session, id, note) = match delta {
        Delta::Present(row) => {
            (word(&row.session).to_owned(), Some(&row.session), &row.session.session_id, String::new())
        }
        Delta::Upserted { before: None, row } => {
            (format!("new, {}", word(&row.session)), Some(&row.session), &row.session.session_id, String::new())
        }
        Delta::Upserted { before: Some(before), row } => {
            let (was, is) = (word(before), word(&row.session));
            let what = if was == is { is.to_owned() } else { format!("{was} → {is}") };
            let note = row.session.kill.as_ref().map(|kill| steps(kill, now)).unwrap_or_default();
            (what, Some(&row.session), &row.session.session_id, note)
        }
        Delta::Removed { before, removal } => {
            let mut note = removal.by.as_deref().map(|by| format!("by {}", escape(by))).unwrap_or_default();
            if let Some(reason) = &removal.reason {
                note = format!("{note} ({})", escape(reason)).trim_start().to_owned();
            }
            let cause = removal.cause.as_deref().unwrap_or("while not connected");
            (format!("gone, {}", escape(cause)), before.as_ref(), &removal.session_id, note)
        }
    };
    let app = session.map(|session| escape(&session.app_name)).unwrap_or_default();
    let user = session.and_then(|session| session.user_id.as_deref()).map_or("–".into(), escape);
    let task = session.and_then(|session| session.current_task.as_deref()).map_or("–".into(), escape);
    let line = format!(
        "{}  {what:<18}  {app:<12}  {user:<12}  {task:<24}  {}  {note}",
        now.format("%Y-%m-%dT%H:%M:%SZ"),
        escape(id)
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::store::{
        Row,
        tests::{session, time},
    };

    fn row(more: Value) -> Row {
        match Row::new(session("a1", more)) {
            Some(row) => row,
            None => panic!("a session of the contract"),
        }
    }

    #[test]
    fn a_change_reads_as_what_happened() {
        let now = time("2026-11-22T08:10:10Z");
        let idle = row(json!({}));
        let running = row(json!({"reported_status": "running", "current_task": "Q4\u{1b}[2J"}));
        let new = delta_line(&Delta::Upserted { before: None, row: Box::new(idle.clone()) }, now);
        assert!(new.starts_with("2026-11-22T08:10:10Z  new, idle") && new.ends_with("a1"), "{new}");
        let line =
            delta_line(&Delta::Upserted { before: Some(idle.session.clone()), row: Box::new(running.clone()) }, now);
        assert!(line.contains("idle → running") && line.contains("Q4\\u{1b}[2J"), "{line}");
        let removal = serde_json::from_value(
            json!({"session_id": "a1", "cause": "killed", "at": null, "by": "eve", "reason": "month end"}),
        );
        let Ok(removal) = removal else { panic!("a removal of the contract") };
        let gone = delta_line(&Delta::Removed { before: Some(running.session), removal }, now);
        assert!(gone.contains("gone, killed") && gone.ends_with("a1  by eve (month end)"), "{gone}");
    }

    #[test]
    fn json_lines_carry_the_session_as_it_came() {
        let row = row(json!({"meta": {"env": "prod"}}));
        let told = delta_json(&Delta::Present(Box::new(row.clone())));
        assert_eq!(told["change"], "present");
        assert_eq!(told["session"], row.raw);
    }
}
