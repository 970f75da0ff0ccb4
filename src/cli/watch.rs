//! `sessionwatch watch`: the live sessions, as they change.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use chrono::{DateTime, Utc};
use clap::Args;
use crossterm::{
    cursor,
    event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute, queue,
    terminal::{self, BeginSynchronizedUpdate, ClearType, EndSynchronizedUpdate},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::{
    client::Api,
    error::CliError,
    feed::{self, Feed},
    ls::FilterArgs,
    output::{Output, complain},
    screen::{self, Link, View, body_height},
    server::ServerArgs,
    sessions,
    store::{Delta, Store},
    text::escape,
    wire::{DashboardFrame, Session},
};

/// Changes that come closer together than this are drawn together.
const REDRAW_GAP: Duration = Duration::from_millis(80);

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// One line of JSON for each change, first for each session that is there
    #[arg(long)]
    json: bool,
}

pub(super) async fn watch(args: WatchArgs) -> Result<ExitCode, CliError> {
    let output = Output::standard();
    let frames = feed::follow(Api::new(&args.server)?);
    if args.json || !output.is_terminal() {
        lines(frames, &args, output).await?;
    } else {
        full_screen(frames, &args.filter, output).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints one line a change until the server refuses us or the reader goes.
async fn lines(mut frames: mpsc::Receiver<Feed>, args: &WatchArgs, output: Output) -> Result<(), CliError> {
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
            // Nobody was there from the beginning: more likely a wrong address than a short break.
            Some(Feed::Lost { error, .. } | Feed::Refused(error)) => return Err(error),
            None => return Ok(()),
        };
        let local = Utc::now();
        for delta in store.apply(frame, local) {
            let now = store.server_time(local);
            if !concerns(&delta, &args.filter, now) {
                continue;
            }
            if args.json {
                output.json(&delta_json(&delta))?;
            } else {
                output.text(&delta_line(&delta, now))?;
            }
        }
    }
}

/// Whether the filter lets a change through: by what the session is, or by what it was.
fn concerns(delta: &Delta, filter: &FilterArgs, now: DateTime<Utc>) -> bool {
    let passes = |session: &Session| sessions::passes(session, filter, now);
    match delta {
        Delta::Present(row) => passes(&row.session),
        Delta::Upserted { before, row } => passes(&row.session) || before.as_ref().is_some_and(passes),
        Delta::Removed { before, .. } => before.as_ref().is_some_and(passes),
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
            let note = row.session.kill.as_ref().map(|kill| sessions::steps(kill, now)).unwrap_or_default();
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

/// The terminal in raw mode on its alternate screen, and back as it was, however this ends.
struct FullScreen;

impl FullScreen {
    fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), terminal::EnterAlternateScreen, terminal::DisableLineWrap, cursor::Hide)?;
        Ok(screen)
    }

    /// Shows `lines`, and nothing in the rows below them up to `height`.
    fn show(&self, lines: &[String], height: usize) -> io::Result<()> {
        let mut out = io::stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        for row in 0..height {
            queue!(out, cursor::MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX)))?;
            // Before the text: after a full line the cursor still stands on its last character.
            queue!(out, terminal::Clear(ClearType::UntilNewLine))?;
            if let Some(line) = lines.get(row) {
                write!(out, "{line}")?;
            }
        }
        queue!(out, EndSynchronizedUpdate)?;
        out.flush()
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        // The terminal may be gone; there is nothing better to do about it.
        let _ = execute!(io::stdout(), cursor::Show, terminal::EnableLineWrap, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

async fn full_screen(mut frames: mpsc::Receiver<Feed>, filter: &FilterArgs, output: Output) -> Result<(), CliError> {
    let mut store = Store::default();
    let mut link = Link::Connecting;
    let mut scroll = 0;
    // The first answer decides whether there is anything to draw at all.
    let first = frames.recv().await;
    let mut pending = match first {
        Some(Feed::Frame(frame)) => Some(frame),
        Some(Feed::Lost { error, .. } | Feed::Refused(error)) => return Err(error),
        None => return Ok(()),
    };
    let screen = FullScreen::enter()?;
    let mut keys = EventStream::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut drawn: Option<Instant> = None;
    let mut dirty = true;
    loop {
        if let Some(frame) = pending.take() {
            link = take_in(&mut store, frame, link);
            dirty = true;
        }
        let redraw_at = drawn.map_or_else(Instant::now, |at| at + REDRAW_GAP);
        tokio::select! {
            feed = frames.recv() => match feed {
                Some(Feed::Frame(frame)) => pending = Some(frame),
                Some(Feed::Lost { .. }) => {
                    if !matches!(link, Link::Lost(_)) {
                        link = Link::Lost(store.server_time(Utc::now()));
                    }
                    dirty = true;
                }
                Some(Feed::Refused(error)) => return Err(error),
                None => return Ok(()),
            },
            key = keys.next() => match key {
                Some(Ok(event)) => {
                    let (_, height) = terminal::size()?;
                    match action(&event, body_height(usize::from(height))) {
                        Action::Quit => return Ok(()),
                        Action::Scroll(by) => scroll = scroll_by(scroll, by, sessions::chosen(&store, filter, Utc::now()).len()),
                        Action::Redraw => {}
                    }
                    dirty = true;
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            _ = terminated.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
            _ = second.tick() => dirty = true,
            () = tokio::time::sleep_until(redraw_at), if dirty => {
                let (columns, height) = terminal::size()?;
                let (columns, height) = (usize::from(columns), usize::from(height));
                let now = store.server_time(Utc::now());
                scroll = scroll.min(sessions::chosen(&store, filter, now).len().saturating_sub(body_height(height)));
                let view = View { store: &store, filter, link, scroll, now };
                let lines: Vec<String> = screen::draw(&view, columns, height).iter().map(|line| output.painted(line)).collect();
                screen.show(&lines, height)?;
                drawn = Some(Instant::now());
                dirty = false;
            }
        }
    }
}

/// Takes a frame into the view, and tells how the connection stands after it.
fn take_in(store: &mut Store, frame: DashboardFrame, link: Link) -> Link {
    let local = Utc::now();
    let sent = match &frame {
        DashboardFrame::Changes { at, .. } => *at,
        DashboardFrame::Beats { at, .. } => Some(*at),
        DashboardFrame::Hello { .. } | DashboardFrame::Snapshot { .. } | DashboardFrame::Unknown => None,
    };
    store.apply(frame, local);
    match sent {
        // The clocks were compared over the same network, so a delay may come out a little below nothing.
        Some(sent) => Link::Live(Some((store.server_time(local) - sent).num_milliseconds().max(0))),
        None if store.is_filled() => match link {
            Link::Live(delay) => Link::Live(delay),
            Link::Connecting | Link::Lost(_) => Link::Live(None),
        },
        None => link,
    }
}

/// What a key or a resize asks for.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Quit,
    /// By so many rows; the extremes mean the first and the last.
    Scroll(isize),
    Redraw,
}

fn action(event: &Event, page: usize) -> Action {
    let page = isize::try_from(page.max(1)).unwrap_or(isize::MAX);
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) = event else {
        return Action::Redraw;
    };
    match code {
        KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => Action::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Action::Quit,
        KeyCode::Up | KeyCode::Char('k') => Action::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Scroll(1),
        KeyCode::PageUp => Action::Scroll(-page),
        KeyCode::PageDown | KeyCode::Char(' ') => Action::Scroll(page),
        KeyCode::Home | KeyCode::Char('g') => Action::Scroll(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => Action::Scroll(isize::MAX),
        _ => Action::Redraw,
    }
}

fn scroll_by(scroll: usize, by: isize, count: usize) -> usize {
    scroll.saturating_add_signed(by).min(count.saturating_sub(1))
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

    #[test]
    fn keys_scroll_and_quit() {
        let press = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(action(&press(KeyCode::Char('q')), 10), Action::Quit);
        assert_eq!(action(&Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), 10), Action::Quit);
        assert_eq!(action(&press(KeyCode::PageDown), 10), Action::Scroll(10));
        assert_eq!(action(&press(KeyCode::Char('c')), 10), Action::Redraw);
        assert_eq!(scroll_by(3, isize::MIN, 9), 0);
        assert_eq!(scroll_by(3, isize::MAX, 9), 8);
        assert_eq!(scroll_by(0, -1, 0), 0);
    }
}
