//! Sessions as rows of a table: their order, their columns, their words.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use super::{
    columns::Column,
    filter::matches,
    store::Store,
    style::{Cell, Style},
    text::{ago, clock, escape, millis},
    wire::{Kill, Session, State},
};

use crate::filter::Filter;

/// The columns of [`row`].
pub(super) const COLUMNS: [Column; 7] = [
    Column { title: "STATE", least: 9, rank: 0 },
    Column { title: "APP", least: 8, rank: 1 },
    Column { title: "USER", least: 6, rank: 3 },
    Column { title: "TASK", least: 10, rank: 2 },
    Column { title: "FOR", least: 5, rank: 5 },
    Column { title: "BEAT", least: 8, rank: 4 },
    Column { title: "ID", least: 8, rank: 6 },
];

/// The order in which sessions are shown: problems first, then the newest start, then by id.
pub(super) fn by_concern(a: &Session, b: &Session, now: DateTime<Utc>) -> Ordering {
    (a.state(now), b.start_time, &a.session_id).cmp(&(b.state(now), a.start_time, &b.session_id))
}

/// The sessions of the store that match the filter, in the order in which they are shown.
#[must_use]
pub(super) fn matching<'a>(store: &'a Store, filter: &Filter, now: DateTime<Utc>) -> Vec<&'a Session> {
    let mut sessions: Vec<&Session> =
        store.rows().map(|row| &row.session).filter(|session| matches(filter, session, now)).collect();
    sessions.sort_by(|a, b| by_concern(a, b, now));
    sessions
}

/// A session as a row: one cell for each of [`COLUMNS`].
#[must_use]
pub(super) fn row(session: &Session, now: DateTime<Utc>) -> Vec<Cell> {
    let state = session.state(now);
    let since = |from: DateTime<Utc>| (now - from).num_seconds();
    let (task, task_style) = match &session.kill {
        Some(kill) if session.kill_requested => (steps(kill, now), style(state)),
        _ => (session.current_task.as_deref().map(escape).unwrap_or_default().into_owned(), Style::Plain),
    };
    // Where the app has its own word for being at work, that word says more than `running`.
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

/// The steps of a kill request so far: `asked by eve, delivered 3 ms, acknowledged 41 ms`.
#[must_use]
pub(super) fn steps(kill: &Kill, now: DateTime<Utc>) -> String {
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

/// The style of a state.
#[must_use]
pub(super) fn style(state: State) -> Style {
    match state {
        State::Unconfirmed | State::Stale => Style::Bad,
        State::Ending => Style::Ending,
        State::Running => Style::Busy,
        State::Hidden => Style::Faint,
        State::Idle => Style::Good,
    }
}
