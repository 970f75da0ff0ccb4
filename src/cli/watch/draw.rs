//! Draws the full screen of `watch`.

use chrono::{DateTime, Utc};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Position, Rect},
    style::{Color, Modifier, Style as ScreenStyle},
    text::{Line, Span},
    widgets::{Paragraph, Row, StatefulWidget, Table, TableState, Widget},
};

use super::{
    super::{
        columns::{GAP, fit_columns},
        sessions::{COLUMNS, matching, row, style},
        style::{Cell, Style},
        text::{ago, escape, fit, millis, width},
        wire::{Session, State},
    },
    bottom::{Bottom, bottom, footer},
    prompt::Prompt,
    screen::{Link, Mode, Screen},
};

/// At most so many sessions decide on the widths of the columns. Of a longer list, only the rows on the screen do.
const MEASURED: usize = 500;

/// The keys, and what each does.
const KEYS: [(&str, &str); 7] = [
    ("↑ ↓  j k", "select a session"),
    ("PgUp PgDn  g G", "a page up or down, the first, the last"),
    ("/", "a filter, such as app:risk idle:>2h; Enter keeps it, Esc brings back the old one"),
    ("x", "end the selected session: a reason, then y"),
    ("Esc", "select nothing, clear the message"),
    ("?", "this help"),
    ("q", "quit"),
];

/// Draws `screen` into `area`; where the cursor stands, if it is shown.
pub(super) fn draw(screen: &mut Screen, now: DateTime<Utc>, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    if matches!(screen.mode, Mode::Help) {
        help(screen, area, buffer);
        return None;
    }
    let sessions = matching(&screen.store, &screen.filter, now);
    let selected = selection(&sessions, screen.selected.as_deref(), screen.selected_at);
    let bottom = bottom(screen, selected.map(|at| sessions[at]), now, area.height);
    let [title_area, counts_area, body, bottom_area] = areas(area, bottom.len());
    let rows = usize::from(body.height.saturating_sub(1));
    let offset = scroll(screen.offset, selected, rows, sessions.len());
    put(&title(screen, sessions.len()), screen.colour, title_area, buffer);
    badge(screen, now, title_area, buffer);
    counts(screen.colour, &sessions, now, counts_area, buffer);
    table(screen, &sessions, selected, offset, now, body, buffer);
    if matches!(screen.link, Link::Lost(_)) {
        // What may be out of date does not look live.
        let old = ScreenStyle::new().fg(Color::Reset).remove_modifier(Modifier::BOLD).add_modifier(Modifier::DIM);
        buffer.set_style(counts_area, old);
        buffer.set_style(body, old);
    }
    let mut cursor = None;
    for (line, area) in bottom.iter().zip(bottom_area.rows()) {
        match line {
            Bottom::Text(cell) => put(cell, screen.colour, area, buffer),
            Bottom::Prompt { label, prompt } => cursor = prompt_line(label, prompt, area, buffer),
            Bottom::Footer => put(&footer(sessions.len(), offset, rows), screen.colour, area, buffer),
        }
    }
    let id = selected.map(|at| sessions[at].session_id.clone());
    (screen.selected_at, screen.selected) = (selected.unwrap_or_default(), id);
    (screen.offset, screen.rows) = (offset, rows);
    cursor
}

/// The screen as lines of text.
pub(super) fn text(screen: &mut Screen, now: DateTime<Utc>, columns: u16, height: u16) -> Vec<String> {
    let area = Rect::new(0, 0, columns, height);
    let mut buffer = Buffer::empty(area);
    draw(screen, now, area, &mut buffer);
    let line = |row: Rect| {
        let (mut line, mut next) = (String::new(), 0);
        for at in row.positions() {
            // A wide character covers the cells behind it.
            if at.x >= next {
                let symbol = buffer[at].symbol();
                line.push_str(symbol);
                next = at.x + u16::try_from(width(symbol)).unwrap_or(u16::MAX).max(1);
            }
        }
        line.trim_end().to_owned()
    };
    area.rows().map(line).collect()
}

/// The rectangles of title, counts, table and bottom. Where there is no room for all, the bottom stays longest.
fn areas(area: Rect, bottom: usize) -> [Rect; 4] {
    let bottom = u16::try_from(bottom).unwrap_or(u16::MAX).min(area.height);
    let left = area.height - bottom;
    let (title, counts) = (u16::from(left >= 1), u16::from(left >= 3));
    Layout::vertical([title, counts, left - title - counts, bottom].map(Constraint::Length)).areas(area)
}

/// Where the selected session stands now; where it is gone or does not match any more, the row in its place.
fn selection(sessions: &[&Session], id: Option<&str>, at: usize) -> Option<usize> {
    let last = sessions.len().checked_sub(1)?;
    let found = sessions.iter().position(|session| Some(session.session_id.as_str()) == id);
    id.map(|_| found.unwrap_or(at.min(last)))
}

/// The offset nearest to `offset` at which the selected row is on the screen and no room is wasted.
fn scroll(offset: usize, selected: Option<usize>, rows: usize, count: usize) -> usize {
    let offset = offset.min(count.saturating_sub(rows));
    match selected {
        Some(at) if rows > 0 => offset.clamp((at + 1).saturating_sub(rows), at),
        _ => offset,
    }
}

fn title(screen: &Screen, count: usize) -> Cell {
    let noun = if count == 1 { "session" } else { "sessions" };
    let text = screen.filter.text();
    let filter = if text.is_empty() { String::new() } else { format!("  {}", escape(text)) };
    Cell::new(format!("sessionwatch  {count} {noun}{filter}"), Style::Strong)
}

/// The state of the connection, on the right of the title.
fn badge(screen: &Screen, now: DateTime<Utc>, area: Rect, buffer: &mut Buffer) {
    let (text, style) = match screen.link {
        Link::Connecting => ("◌ Connecting".to_owned(), Style::Busy),
        Link::Live(Some(delay)) => (format!("● Live {}", millis(delay)), Style::Good),
        Link::Live(None) => ("● Live".to_owned(), Style::Good),
        Link::Lost(since) => (format!("■ Reconnecting, as of {}", ago((now - since).num_seconds())), Style::Bad),
    };
    // A blank before it keeps it apart from a long title.
    let text = fit(&format!(" {text}"), usize::from(area.width)).into_owned();
    let wide = u16::try_from(width(&text)).unwrap_or(area.width).min(area.width);
    let right = Rect { x: area.right() - wide, width: wide, ..area };
    put(&Cell::new(text, style), screen.colour, right, buffer);
}

/// The number of sessions in each state. Where the room is short, the words are left out.
fn counts(colour: bool, sessions: &[&Session], now: DateTime<Utc>, area: Rect, buffer: &mut Buffer) {
    let mut numbers = State::ALL.map(|state| (state, 0));
    for session in sessions {
        let state = session.state(now);
        numbers.iter_mut().filter(|(counted, _)| *counted == state).for_each(|(_, number)| *number += 1);
    }
    let spans = |words: bool| {
        let shown = numbers.iter().filter(|(state, number)| *number > 0 || *state != State::Unconfirmed);
        let span = |&(state, number): &(State, usize)| {
            let style = if number == 0 { Style::Faint } else { style(state) };
            let text = if words {
                format!("{} {} {number}", state.shape(), state.word())
            } else {
                format!("{}{number}", state.shape())
            };
            [Span::styled(text, style.on_screen(colour)), Span::raw(if words { "   " } else { " " })]
        };
        Line::from(shown.flat_map(span).collect::<Vec<_>>())
    };
    let long = spans(true);
    if long.width() <= usize::from(area.width) { long } else { spans(false) }.render(area, buffer);
}

fn table(
    screen: &Screen,
    sessions: &[&Session],
    selected: Option<usize>,
    offset: usize,
    now: DateTime<Utc>,
    area: Rect,
    buffer: &mut Buffer,
) {
    if sessions.is_empty() {
        if screen.store.is_filled() {
            put(&Cell::new("No live sessions match.", Style::Faint), screen.colour, area, buffer);
        }
        return;
    }
    let rows = usize::from(area.height.saturating_sub(1));
    let end = (offset + rows).min(sessions.len());
    let (measured, first) = if sessions.len() <= MEASURED { (sessions, offset) } else { (&sessions[offset..end], 0) };
    let cells: Vec<Vec<Cell>> = measured.iter().map(|session| row(session, now)).collect();
    let columns = fit_columns(&COLUMNS, &cells, Some(usize::from(area.width)));
    let line = |cells: &Vec<Cell>| {
        let styled = |&(index, wide): &(usize, usize)| {
            let cell = &cells[index];
            Span::styled(fit(&cell.text, wide).into_owned(), cell.style.on_screen(screen.colour))
        };
        Row::new(columns.iter().map(styled).collect::<Vec<_>>())
    };
    let headings: Vec<Cell> = COLUMNS.iter().map(|column| Cell::new(column.title, Style::Faint)).collect();
    let widths = columns.iter().map(|&(_, wide)| Constraint::Length(u16::try_from(wide).unwrap_or(u16::MAX)));
    let table = Table::new(cells[first..].iter().take(end - offset).map(line), widths)
        .header(line(&headings))
        .column_spacing(u16::try_from(GAP).unwrap_or_default())
        .row_highlight_style(ScreenStyle::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(selected.map(|at| at - offset.min(at)));
    StatefulWidget::render(table, area, buffer, &mut state);
}

/// Draws a cell's text on one line, cut to its width.
fn put(cell: &Cell, colour: bool, area: Rect, buffer: &mut Buffer) {
    if !area.is_empty() {
        let text = fit(&cell.text, usize::from(area.width));
        buffer.set_stringn(area.x, area.y, text, usize::from(area.width), cell.style.on_screen(colour));
    }
}

/// Draws a label and the text that is being typed; where its cursor stands.
fn prompt_line(label: &str, prompt: &Prompt, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    let label_wide = u16::try_from(width(label)).unwrap_or_default().min(area.width);
    buffer.set_stringn(area.x, area.y, label, usize::from(area.width), ScreenStyle::new().add_modifier(Modifier::BOLD));
    let field = Rect { x: area.x + label_wide, width: area.width - label_wide, ..area };
    // The last column is the cursor's.
    let scroll = prompt.input().visual_scroll(usize::from(field.width.saturating_sub(1)));
    let scroll_columns = u16::try_from(scroll).unwrap_or(u16::MAX);
    Paragraph::new(prompt.input().value()).scroll((0, scroll_columns)).render(field, buffer);
    let cursor = prompt.input().visual_cursor().saturating_sub(scroll);
    let x = field.x.saturating_add(u16::try_from(cursor).unwrap_or(u16::MAX));
    (!area.is_empty()).then(|| Position::new(x.min(area.right() - 1), area.y))
}

fn help(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let wide = KEYS.iter().map(|(keys, _)| width(keys)).max().unwrap_or_default();
    let heading = [Cell::new("Keys", Style::Strong)];
    let keys = KEYS.iter().map(|(keys, what)| Cell::plain(format!("{keys}{}  {what}", " ".repeat(wide - width(keys)))));
    let lines = heading.into_iter().chain(keys).chain([Cell::new("any key goes back", Style::Faint)]);
    for (line, area) in lines.zip(area.rows()) {
        put(&line, screen.colour, area, buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::store::{
        Store,
        tests::{every_state, frame, session, time},
    };
    use crate::filter::Filter;
    use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
    use serde_json::json;

    const NOW: &str = "2026-11-22T08:10:10Z";

    fn screen(store: Store) -> Screen {
        Screen { store, link: Link::Live(Some(12)), ..Screen::new(Filter::default(), false) }
    }

    fn press(screen: &mut Screen, codes: &[KeyCode]) {
        for code in codes {
            screen.handle(&Event::Key(KeyEvent::new(*code, KeyModifiers::NONE)), time(NOW));
        }
    }

    fn drawn(screen: &mut Screen, columns: u16, height: u16) -> Vec<String> {
        text(screen, time(NOW), columns, height)
    }

    #[test]
    fn problems_stand_first_and_every_state_has_its_word() {
        let lines = drawn(&mut screen(every_state()), 100, 12);
        assert!(lines[0].starts_with("sessionwatch  6 sessions") && lines[0].ends_with("● Live 12 ms"), "{lines:#?}");
        assert_eq!(lines[1], "! unconfirmed 1   ■ stale 1   ◌ ending 1   ▶ running 1   ○ hidden 1   ● idle 1");
        let first: Vec<&str> = lines[3..9].iter().filter_map(|line| line.split("  ").next()).collect();
        assert_eq!(first, ["! unconfirmed", "■ stale", "◌ ending", "▶ running", "○ hidden", "● idle"]);
        assert!(lines[3].contains("asked by eve, delivered 3 ms"), "{}", lines[3]);
        assert!(lines[4].contains("a\\u{1b}[2J") && lines[4].contains("2 min ago"), "{}", lines[4]);
        assert!(lines[6].contains("Monte Carlo") && lines[6].contains("3:21"), "{}", lines[6]);
        assert!(lines[11].contains("q quit"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_in_any_mode() {
        let long = "1\u{fe0f}\u{20e3}日e\u{301}👩\u{200d}👩\u{200d}👧".repeat(30);
        let mut store = every_state();
        let more = session("long-1", json!({"app_name": long, "current_task": long, "meta": {"tag": long}}));
        let change = json!({"type": "changes", "from": 1, "seq": 2, "upserted": [more], "removed": []});
        store.apply(frame(change), time(NOW));
        let mut screen = screen(store);
        let modes: [&[KeyCode]; 5] = [
            &[],
            &[KeyCode::Down, KeyCode::Down],
            &[KeyCode::Char('/'), KeyCode::Char('日')],
            &[KeyCode::Esc, KeyCode::Char('x'), KeyCode::Char('日')],
            &[KeyCode::Enter],
        ];
        for keys in modes {
            press(&mut screen, keys);
            for columns in [0, 1, 7, 20, 40, 80, 200] {
                for height in 0..15 {
                    let lines = drawn(&mut screen, columns, height);
                    assert!(lines.len() <= usize::from(height), "{} lines in {height}", lines.len());
                    let fits = lines.iter().all(|line| width(line) <= usize::from(columns));
                    assert!(fits, "{columns} columns: {lines:#?}");
                }
            }
        }
        press(&mut screen, &[KeyCode::Char('n'), KeyCode::Char('?')]);
        assert!(drawn(&mut screen, 60, 12)[0].starts_with("Keys"));
        assert!(drawn(&mut screen, 10, 4).iter().all(|line| width(line) <= 10));
    }

    #[test]
    fn a_small_terminal_keeps_state_app_and_task() {
        let lines = drawn(&mut screen(every_state()), 40, 10);
        assert_eq!(lines[1], "!1 ■1 ◌1 ▶1 ○1 ●1");
        assert!(lines[2].starts_with("STATE") && lines[2].contains("APP") && lines[2].contains("TASK"), "{}", lines[2]);
        assert!(!lines[2].contains("ID"), "{}", lines[2]);
    }

    #[test]
    fn the_list_follows_the_selection_and_its_details_are_shown() {
        let mut screen = screen(every_state());
        assert!(drawn(&mut screen, 80, 8)[3].starts_with("! unconfirmed"));
        press(&mut screen, &[KeyCode::End]);
        let lines = drawn(&mut screen, 80, 8);
        assert!(lines[5].starts_with("● idle"), "{lines:#?}");
        assert!(lines[6].starts_with("idle-1  started 10 min ago"), "{lines:#?}");
        assert!(lines[7].starts_with("4–6 of 6"), "{lines:#?}");
        press(&mut screen, &[KeyCode::Up]);
        assert!(drawn(&mut screen, 80, 8)[6].contains("env=prod"));
    }

    #[test]
    fn a_selected_session_that_goes_leaves_the_row_in_its_place_selected() {
        let mut screen = screen(every_state());
        press(&mut screen, &[KeyCode::Down, KeyCode::Down]);
        let gone = json!({"type": "changes", "from": 1, "seq": 2, "upserted": [],
            "removed": [{"session_id": "stale-1", "cause": "expired", "at": null}]});
        screen.apply(frame(gone), time(NOW));
        assert!(drawn(&mut screen, 80, 12)[10].starts_with("ending-1"));
    }

    #[test]
    fn an_old_view_is_dim_and_says_so() {
        let mut screen = Screen { link: Link::Lost(time("2026-11-22T08:10:00Z")), ..screen(every_state()) };
        let area = Rect::new(0, 0, 80, 10);
        let mut buffer = Buffer::empty(area);
        draw(&mut screen, time(NOW), area, &mut buffer);
        assert!(text(&mut screen, time(NOW), 80, 10)[0].ends_with("■ Reconnecting, as of 10 s ago"));
        let table = Rect::new(0, 1, 80, 7);
        assert!(table.positions().all(|at| buffer[at].modifier.contains(Modifier::DIM)));
    }
}
