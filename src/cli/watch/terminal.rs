//! Runs the full screen of `watch`: keys, frames and answers in, drawings out.

use std::{
    io::{self, Stdout},
    time::Duration,
};

use chrono::Utc;
use crossterm::{
    cursor,
    event::{DisableBracketedPaste, EnableBracketedPaste, EventStream},
    execute,
    terminal::{
        BeginSynchronizedUpdate, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate, EnterAlternateScreen,
        LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
    },
};
use futures_util::StreamExt;
use ratatui::{Terminal, backend::CrosstermBackend};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::{
    super::{
        client::Api,
        error::CliError,
        feed::Feed,
        kill::{body, story},
    },
    screen::{Effect, Screen},
};

/// Changes that come closer together than this are drawn together.
const REDRAW_GAP: Duration = Duration::from_millis(80);

/// What the server answered, outside the feed.
enum Answer {
    /// To a kill request.
    Kill { id: String, answer: Result<(), CliError> },
    /// All steps of a kill whose session is gone; none where they could not be read.
    Story { id: String, steps: Option<String> },
}

/// Shows the screen until the user quits, a signal ends the program, or the server refuses us.
pub(super) async fn run(
    api: Api,
    mut frames: mpsc::Receiver<Feed>,
    mut screen: Screen,
    by: Option<&str>,
) -> Result<(), CliError> {
    // Where there is no server, the message stands on the normal screen.
    let mut pending = match frames.recv().await {
        Some(Feed::Frame(frame)) => Some(frame),
        Some(Feed::Lost { error, .. } | Feed::Refused(error)) => return Err(error),
        None => return Ok(()),
    };
    let mut terminal = FullScreen::enter()?;
    let mut keys = EventStream::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let (answered, mut answers) = mpsc::channel(16);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut drawn: Option<Instant> = None;
    let mut dirty = true;
    loop {
        if let Some(frame) = pending.take() {
            for id in screen.apply(frame, Utc::now()) {
                tokio::spawn(tell_story(api.clone(), id, answered.clone()));
            }
            dirty = true;
        }
        let redraw_at = drawn.map_or_else(Instant::now, |at| at + REDRAW_GAP);
        tokio::select! {
            feed = frames.recv() => match feed {
                Some(Feed::Frame(frame)) => pending = Some(frame),
                Some(Feed::Lost { .. }) => {
                    screen.lost(Utc::now());
                    dirty = true;
                }
                Some(Feed::Refused(error)) => return Err(error),
                None => return Ok(()),
            },
            key = keys.next() => {
                let Some(event) = key else { return Ok(()) };
                match screen.handle(&event?, screen.server_time(Utc::now())) {
                    Effect::Quit => return Ok(()),
                    Effect::Kill { id, reason } => {
                        let body = body(reason.as_deref(), by);
                        let (api, answered) = (api.clone(), answered.clone());
                        tokio::spawn(async move {
                            let answer = api.kill(&id, &body).await.map(drop);
                            // Once the screen is closed, nobody waits for the answer.
                            let _ = answered.send(Answer::Kill { id, answer }).await;
                        });
                    }
                    Effect::None => {}
                }
                dirty = true;
            }
            Some(answer) = answers.recv() => {
                match answer {
                    Answer::Kill { id, answer } => screen.answered(&id, answer),
                    Answer::Story { id, steps } => screen.finish(&id, steps.as_deref()),
                }
                dirty = true;
            }
            _ = terminated.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
            _ = second.tick() => {
                screen.end_overdue(Utc::now());
                dirty = true;
            }
            () = tokio::time::sleep_until(redraw_at), if dirty => {
                terminal.draw(&mut screen)?;
                drawn = Some(Instant::now());
                dirty = false;
            }
        }
    }
}

/// Reads all steps of a kill out of the session's events.
async fn tell_story(api: Api, id: String, answered: mpsc::Sender<Answer>) {
    let steps = api.timeline(&id).await.ok().map(|events| story(&events));
    // Once the screen is closed, nobody waits for them.
    let _ = answered.send(Answer::Story { id, steps }).await;
}

/// The terminal in raw mode on its alternate screen; dropped, it is as it was before.
struct FullScreen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    _restore: Restore,
}

impl FullScreen {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let restore = Restore;
        // Line wrap is off: where a terminal has other widths for some characters, a long line stays one line.
        execute!(io::stdout(), EnterAlternateScreen, DisableLineWrap, EnableBracketedPaste)?;
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(io::stdout()))?, _restore: restore })
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let now = screen.server_time(Utc::now());
        execute!(io::stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| {
            let area = frame.area();
            if let Some(cursor) = screen.draw(now, area, frame.buffer_mut()) {
                frame.set_cursor_position(cursor);
            }
        })?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }
}

/// Brings the terminal back on every way out, a panic included.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to bring back.
        let _ = execute!(io::stdout(), DisableBracketedPaste, cursor::Show, EnableLineWrap, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
