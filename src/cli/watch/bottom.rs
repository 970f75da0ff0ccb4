//! The lines at the bottom of the screen: details, the last message, the dialog or the keys.

use chrono::{DateTime, Utc};

use super::{
    super::{
        style::{Cell, Style},
        text::{ago, escape},
        wire::Session,
    },
    prompt::Prompt,
    screen::{KillDialog, Mode, Screen},
};
use crate::filter::tag_text;

/// A line at the bottom of the screen.
pub(super) enum Bottom<'a> {
    Text(Cell),
    Prompt {
        label: &'static str,
        prompt: &'a Prompt,
    },
    /// The place in the list and the keys.
    Footer,
}

/// The lines at the bottom: details of the selected session, the last message, and the prompt or the keys.
pub(super) fn bottom<'a>(
    screen: &'a Screen,
    selected: Option<&Session>,
    now: DateTime<Utc>,
    height: u16,
) -> Vec<Bottom<'a>> {
    let mut lines = Vec::new();
    match &screen.mode {
        Mode::Kill(dialog) => kill_lines(dialog, &mut lines),
        Mode::Filter { prompt, .. } => {
            let wrong = screen.wrong.as_deref().filter(|_| height >= 3);
            lines.extend(wrong.map(|wrong| Bottom::Text(Cell::new(escape(wrong), Style::Busy))));
            lines.push(Bottom::Prompt { label: "/", prompt });
        }
        Mode::List | Mode::Help => {
            lines.extend(selected.filter(|_| height >= 8).map(|session| Bottom::Text(details(session, now))));
            let news = screen.kills.news.clone();
            // On a small screen the message takes the place of the keys.
            let keys = height >= 6 && (height >= 7 || news.is_none());
            lines.extend(news.filter(|_| height >= 3).map(Bottom::Text));
            lines.extend(keys.then_some(Bottom::Footer));
        }
    }
    lines
}

fn kill_lines<'a>(dialog: &'a KillDialog, lines: &mut Vec<Bottom<'a>>) {
    lines.push(Bottom::Text(Cell::new(format!("End {}?", dialog.name), Style::Bad)));
    if dialog.confirming {
        let reason = dialog.reason.text().map_or("none".into(), escape);
        lines.push(Bottom::Text(Cell::plain(format!("Reason: {reason}"))));
        lines.push(Bottom::Text(Cell::new("y end this session   n cancel", Style::Strong)));
    } else {
        lines.push(Bottom::Text(Cell::new("Enter next (the reason may be empty)   Esc cancel", Style::Strong)));
        lines.push(Bottom::Prompt { label: "Reason: ", prompt: &dialog.reason });
    }
}

/// What the table does not show of a session, its whole id first.
fn details(session: &Session, now: DateTime<Utc>) -> Cell {
    let started = ago((now - session.start_time).num_seconds());
    let mut parts = vec![escape(&session.session_id).into_owned(), format!("started {started}")];
    parts.extend(session.client.as_deref().map(|client| escape(client).into_owned()));
    parts.extend(session.meta.iter().map(|(key, value)| format!("{}={}", escape(key), escape(&tag_text(value)))));
    let reason = session.kill.as_ref().and_then(|kill| kill.reason.as_deref());
    parts.extend(reason.map(|reason| format!("because {}", escape(reason))));
    Cell::plain(parts.join("  "))
}

/// The place in the list, and the keys.
pub(super) fn footer(count: usize, offset: usize, rows: usize) -> Cell {
    let last = (offset + rows).min(count);
    let place = if count > rows { format!("{}–{last} of {count}   ", offset + 1) } else { String::new() };
    Cell::new(format!("{place}↑↓ select   / filter   x end   ? help   q quit"), Style::Faint)
}
