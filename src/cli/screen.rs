//! What `watch` shows, as lines: a pure function of the view, the time and the room there is.

use chrono::{DateTime, Utc};

use super::{
    ls::FilterArgs,
    sessions::{chosen, style, table},
    store::Store,
    table::{Cell, Line, Style, cut},
    text::{ago, fit, millis, width},
    wire::{Session, State},
};

/// How the connection to the server stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Link {
    /// Nothing has come yet.
    Connecting,
    /// Changes arrive; how long the last one was on its way, where we know.
    Live(Option<i64>),
    /// The view is as of then, and another attempt is made by itself.
    Lost(DateTime<Utc>),
}

/// What stands on the screen besides the sessions.
#[derive(Debug)]
pub struct View<'a> {
    /// The sessions.
    pub store: &'a Store,
    /// Which of them.
    pub filter: &'a FilterArgs,
    /// The connection.
    pub link: Link,
    /// How many rows are scrolled away above.
    pub scroll: usize,
    /// The time by the server's clock.
    pub now: DateTime<Utc>,
}

/// The whole screen: at most `height` lines of at most `width` columns.
#[must_use]
pub fn draw(view: &View<'_>, columns: usize, height: usize) -> Vec<Line> {
    let sessions = chosen(view.store, view.filter, view.now);
    let body = body_height(height);
    let scroll = view.scroll.min(sessions.len().saturating_sub(body));
    let mut lines = vec![title(view, sessions.len(), columns)];
    if height >= 4 {
        lines.push(counts(&sessions, view.now, columns));
    }
    if !sessions.is_empty() {
        lines.extend(visible_rows(&sessions, scroll, body, view.now, columns));
    } else if view.store.is_filled() {
        lines.push(vec![Cell::new(fit("No live sessions match.", columns), Style::Faint)]);
    }
    if matches!(view.link, Link::Lost(_)) {
        // What may be old must not look alive.
        for cell in lines.iter_mut().skip(1).flatten() {
            cell.style = Style::Faint;
        }
    }
    lines.truncate(height);
    if height >= 6 {
        lines.resize(height - 1, Line::new());
        lines.push(footer(sessions.len(), scroll, body, columns));
    }
    lines
}

/// As many sessions decide how wide the columns are, so that these do not move as rows come into sight.
const MEASURED: usize = 500;

/// The heading and the rows that are in sight.
fn visible_rows(sessions: &[&Session], scroll: usize, body: usize, now: DateTime<Utc>, columns: usize) -> Vec<Line> {
    let end = (scroll + body).min(sessions.len());
    let (laid_out, first) = if sessions.len() <= MEASURED { (sessions, scroll) } else { (&sessions[scroll..end], 0) };
    let mut lines = table(laid_out.iter().copied(), now, Some(columns));
    let rows = lines.split_off(1);
    lines.extend(rows.into_iter().skip(first).take(body));
    lines
}

/// How many sessions a screen of `height` lines holds: what the title, counts, heading and footer leave.
#[must_use]
pub(crate) fn body_height(height: usize) -> usize {
    match height {
        0..=3 => height.saturating_sub(2),
        4..=5 => height - 3,
        _ => height - 4,
    }
}

fn title(view: &View<'_>, count: usize, columns: usize) -> Line {
    let (badge, style) = match view.link {
        Link::Connecting => ("◌ Connecting".to_owned(), Style::Busy),
        Link::Live(Some(delay)) => (format!("● Live {}", millis(delay)), Style::Good),
        Link::Live(None) => ("● Live".to_owned(), Style::Good),
        Link::Lost(since) => (format!("■ Reconnecting, as of {}", ago((view.now - since).num_seconds())), Style::Bad),
    };
    let badge = fit(&badge, columns).into_owned();
    let noun = if count == 1 { "session" } else { "sessions" };
    let name = format!("sessionwatch  {count} {noun}");
    let name = fit(&name, columns.saturating_sub(width(&badge) + 1)).into_owned();
    let gap = columns.saturating_sub(width(&badge) + width(&name));
    vec![Cell::new(name, Style::Strong), Cell::plain(" ".repeat(gap)), Cell::new(badge, style)]
}

/// Every state with its number; where the room is short the words go, and the shapes and numbers stay.
fn counts(sessions: &[&Session], now: DateTime<Utc>, columns: usize) -> Line {
    let number = |state: State| sessions.iter().filter(|session| session.state(now) == state).count();
    let told = |words: bool| {
        let mut line = Line::new();
        for state in State::ALL {
            let count = number(state);
            if count == 0 && state == State::Unconfirmed {
                continue;
            }
            let text = if words {
                format!("{} {} {count}", state.shape(), state.word())
            } else {
                format!("{}{count}", state.shape())
            };
            line.push(Cell::new(text, if count == 0 { Style::Faint } else { style(state) }));
            line.push(Cell::plain(if words { "   " } else { " " }));
        }
        line
    };
    let wide: usize = told(true).iter().map(|cell| width(&cell.text)).sum();
    cut(told(wide <= columns), Some(columns))
}

fn footer(count: usize, scroll: usize, body: usize, columns: usize) -> Line {
    let last = (scroll + body).min(count);
    let place = if count > body { format!("{}–{last} of {count}   ", scroll + 1) } else { String::new() };
    vec![Cell::new(fit(&format!("{place}↑↓ scroll   q quit"), columns), Style::Faint)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        store::tests::{filled, frame, session, time},
        table::paint,
    };
    use serde_json::{Value, json};

    const NOW: &str = "2026-11-22T08:10:10Z";

    fn store(sessions: &[Value]) -> Store {
        let mut store = Store::default();
        let snapshot = json!({"type": "snapshot", "seq": 1, "part": 1, "parts": 1, "sessions": sessions});
        store.apply(frame(snapshot), time(NOW));
        store
    }

    fn everybody() -> Store {
        let kill = |confirm_by: &str| {
            json!({"kill_requested": true, "kill": {"kill_id": "k", "requested_at": "2026-11-22T08:10:00.000Z", "requested_by": "eve",
                   "reason": null, "delivered_at": "2026-11-22T08:10:00.003Z", "acknowledged_at": null, "confirm_by": confirm_by}})
        };
        store(&[
            session("idle-1", json!({})),
            session("hidden-1", json!({"visibility": "hidden"})),
            session(
                "running-1",
                json!({"reported_status": "running", "current_task": "Monte Carlo", "task_started_at": "2026-11-22T08:06:49.000Z"}),
            ),
            session(
                "stale-1",
                json!({"is_stale": true, "status": "stale", "last_heartbeat": "2026-11-22T08:08:00.000Z", "current_task": "a\u{1b}[2J"}),
            ),
            session("ending-1", kill("2026-11-22T08:10:12.000Z")),
            session("deaf-1", kill("2026-11-22T08:10:03.000Z")),
        ])
    }

    fn drawn(store: &Store, scroll: usize, columns: usize, height: usize) -> Vec<String> {
        let filter = FilterArgs::default();
        let view = View { store, filter: &filter, link: Link::Live(Some(12)), scroll, now: time(NOW) };
        draw(&view, columns, height).iter().map(|line| paint(line, false)).collect()
    }

    #[test]
    fn problems_stand_first_and_every_state_has_its_word() {
        let screen = drawn(&everybody(), 0, 100, 12);
        assert!(
            screen[0].starts_with("sessionwatch  6 sessions") && screen[0].ends_with("● Live 12 ms"),
            "{screen:#?}"
        );
        assert_eq!(screen[1], "! unconfirmed 1   ■ stale 1   ◌ ending 1   ▶ running 1   ○ hidden 1   ● idle 1");
        let first: Vec<&str> = screen[3..9].iter().filter_map(|line| line.split("  ").next()).collect();
        assert_eq!(first, ["! unconfirmed", "■ stale", "◌ ending", "▶ running", "○ hidden", "● idle"]);
        assert!(screen[3].contains("asked by eve, delivered 3 ms"), "{}", screen[3]);
        assert!(screen[4].contains("a\\u{1b}[2J") && screen[4].contains("2 min ago"), "{}", screen[4]);
        assert!(screen[6].contains("Monte Carlo") && screen[6].contains("3:21"), "{}", screen[6]);
        assert!(screen[11].contains("q quit"));
    }

    #[test]
    fn no_screen_is_larger_than_its_terminal() {
        let store = everybody();
        for columns in [0, 1, 7, 20, 40, 80, 200] {
            for height in 0..15 {
                let screen = drawn(&store, 0, columns, height);
                assert!(screen.len() <= height, "{} lines in {height}", screen.len());
                assert!(screen.iter().all(|line| width(line) <= columns), "{columns} columns: {screen:#?}");
            }
        }
    }

    #[test]
    fn a_small_terminal_keeps_state_app_and_task() {
        let screen = drawn(&everybody(), 0, 40, 10);
        assert_eq!(screen[1], "!1 ■1 ◌1 ▶1 ○1 ●1");
        assert!(
            screen[2].starts_with("STATE") && screen[2].contains("APP") && screen[2].contains("TASK"),
            "{}",
            screen[2]
        );
        assert!(!screen[2].contains("ID"), "{}", screen[2]);
    }

    #[test]
    fn scrolling_stops_at_the_last_session() {
        let screen = drawn(&everybody(), 99, 80, 8);
        assert!(screen[6].starts_with("● idle"), "{screen:#?}");
        assert!(screen[7].starts_with("3–6 of 6"), "{}", screen[7]);
    }

    #[test]
    fn what_may_be_old_is_dimmed_and_says_so() {
        let store = filled();
        let filter = FilterArgs::default();
        let view = View {
            store: &store,
            filter: &filter,
            link: Link::Lost(time("2026-11-22T08:10:00Z")),
            scroll: 0,
            now: time(NOW),
        };
        let screen = draw(&view, 80, 10);
        assert!(paint(&screen[0], false).ends_with("■ Reconnecting, as of 10 s ago"));
        assert!(screen[1..].iter().flatten().all(|cell| cell.style == Style::Faint));
    }

    #[test]
    fn the_filter_judges_as_the_server_does() {
        let store = everybody();
        let ids = |filter: &FilterArgs| {
            chosen(&store, filter, time(NOW)).iter().map(|session| session.session_id.clone()).collect::<Vec<_>>()
        };
        let only = |status: &str| FilterArgs { status: Some(status.to_owned()), ..FilterArgs::default() };
        assert_eq!(ids(&only("stale")), ["stale-1"]);
        assert_eq!(ids(&only("running")), ["running-1"]);
        assert_eq!(ids(&FilterArgs { q: Some("MONTE".to_owned()), ..FilterArgs::default() }), ["running-1"]);
        assert_eq!(ids(&FilterArgs { user: Some("bob".to_owned()), ..FilterArgs::default() }), Vec::<String>::new());
        assert_eq!(ids(&FilterArgs { app: Some("risk".to_owned()), ..FilterArgs::default() }).len(), 6);
    }
}
