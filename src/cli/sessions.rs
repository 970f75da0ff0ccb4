//! Sessions as rows of a table: which of them, in which order, in which words.

use std::{borrow::Cow, cmp::Ordering};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    ls::FilterArgs,
    store::Store,
    table::{Cell, Column, Line, Style, lay_out},
    text::{ago, clock, escape, millis},
    wire::{Kill, Session, State},
};

const COLUMNS: [Column; 7] = [
    Column { title: "STATE", least: 9, rank: 0 },
    Column { title: "APP", least: 8, rank: 1 },
    Column { title: "USER", least: 6, rank: 3 },
    Column { title: "TASK", least: 10, rank: 2 },
    Column { title: "FOR", least: 5, rank: 5 },
    Column { title: "BEAT", least: 8, rank: 4 },
    Column { title: "ID", least: 8, rank: 6 },
];

/// Problems first, then the newest start; the id settles the rest, so that rows never jump about.
pub(crate) fn by_concern(a: &Session, b: &Session, now: DateTime<Utc>) -> Ordering {
    (a.state(now), b.start_time, &a.session_id).cmp(&(b.state(now), a.start_time, &b.session_id))
}

/// The sessions of the store that pass the filter, in the order shown.
#[must_use]
pub(crate) fn chosen<'a>(store: &'a Store, filter: &FilterArgs, now: DateTime<Utc>) -> Vec<&'a Session> {
    let mut sessions: Vec<&Session> =
        store.rows().map(|row| &row.session).filter(|session| passes(session, filter, now)).collect();
    sessions.sort_by(|a, b| by_concern(a, b, now));
    sessions
}

/// Whether `session` passes `filter`, as `GET /sessions` would judge.
#[must_use]
pub(crate) fn passes(session: &Session, filter: &FilterArgs, now: DateTime<Utc>) -> bool {
    let status = |wanted: &str| match session.is_stale {
        true => wanted == "stale" || wanted == session.state(now).word(),
        false => wanted == session.reported_status || wanted == session.state(now).word(),
    };
    let holds = |text: &str, wanted: &str| text.to_lowercase().contains(&wanted.to_lowercase());
    let anywhere = |wanted: &str| {
        let fields = [
            Some(&session.session_id),
            Some(&session.app_name),
            session.user_id.as_ref(),
            session.current_task.as_ref(),
            session.client.as_ref(),
        ];
        fields.into_iter().flatten().any(|field| holds(field, wanted))
            || session.meta.iter().any(|(key, value)| holds(key, wanted) || holds(&tag(value), wanted))
    };
    filter.app.as_ref().is_none_or(|app| *app == session.app_name)
        && filter.user.as_ref().is_none_or(|user| session.user_id.as_ref() == Some(user))
        && filter.status.as_deref().is_none_or(status)
        && filter.q.as_deref().is_none_or(anywhere)
}

/// A tag's value as it reads, strings without their quotes.
fn tag(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        value => value.to_string().into(),
    }
}

/// A table of `sessions` at `now`, heading first.
pub(crate) fn table<'a>(
    sessions: impl Iterator<Item = &'a Session>,
    now: DateTime<Utc>,
    room: Option<usize>,
) -> Vec<Line> {
    let rows: Vec<Vec<Cell>> = sessions.map(|session| row(session, now)).collect();
    lay_out(&COLUMNS, &rows, room)
}

fn row(session: &Session, now: DateTime<Utc>) -> Vec<Cell> {
    let state = session.state(now);
    let since = |from: DateTime<Utc>| (now - from).num_seconds();
    let (task, task_style) = match &session.kill {
        Some(kill) if session.kill_requested => (steps(kill, now), style(state)),
        _ => (session.current_task.as_deref().map(escape).unwrap_or_default().into_owned(), Style::Plain),
    };
    // An app's own word for being at work says more than ours.
    let word =
        if state == State::Running { escape(&session.reported_status).into_owned() } else { state.word().to_owned() };
    vec![
        Cell::new(format!("{} {word}", state.shape()), style(state)),
        Cell::plain(escape(&session.app_name)),
        Cell::plain(session.user_id.as_deref().map(escape).unwrap_or_default()),
        Cell::new(task, task_style),
        Cell::plain(session.task_started_at.map(|at| clock(since(at))).unwrap_or_default()),
        Cell::new(ago(since(session.last_heartbeat)), if session.is_stale { Style::Bad } else { Style::Plain }),
        Cell::new(escape(&session.session_id), Style::Faint),
    ]
}

/// How far a kill got: `asked by eve, told 3 ms, acknowledged 41 ms`.
#[must_use]
pub(crate) fn steps(kill: &Kill, now: DateTime<Utc>) -> String {
    let after = |at: DateTime<Utc>| millis((at - kill.requested_at).num_milliseconds());
    let mut said = match &kill.requested_by {
        Some(by) => format!("asked by {}", escape(by)),
        None => "asked to end".to_owned(),
    };
    match kill.delivered_at {
        Some(at) => said.push_str(&format!(", delivered {}", after(at))),
        None => said.push_str(", not delivered yet"),
    }
    match kill.acknowledged_at {
        Some(at) => said.push_str(&format!(", acknowledged {}", after(at))),
        None if kill.is_unconfirmed(now) => said.push_str(", no answer"),
        None => {}
    }
    said
}

/// The colour of a state.
#[must_use]
pub(crate) fn style(state: State) -> Style {
    match state {
        State::Unconfirmed | State::Stale => Style::Bad,
        State::Ending => Style::Leaving,
        State::Running => Style::Busy,
        State::Hidden => Style::Faint,
        State::Idle => Style::Good,
    }
}
