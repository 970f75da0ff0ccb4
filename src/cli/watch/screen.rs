//! What the full screen of `watch` holds and what each key does. No I/O, no clock.

use chrono::{DateTime, Utc};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
};

use super::{
    super::{
        error::CliError,
        kill::name,
        sessions::matching,
        store::Store,
        style::{Cell, Style},
        wire::DashboardFrame,
    },
    draw,
    pending::PendingKills,
    prompt::Prompt,
};
use crate::filter::Filter;

/// The longest filter text that can be typed.
const FILTER_MAX: usize = 256;
/// The longest reason that the server takes.
const REASON_MAX: usize = 512;

/// The state of the connection to the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Link {
    /// No frame has come yet.
    Connecting,
    /// Changes arrive; how many milliseconds the last frame was on its way, where that is known.
    Live(Option<i64>),
    /// The connection was lost at this time by the server's clock. The feed connects again by itself.
    Lost(DateTime<Utc>),
}

/// What the keys act on.
#[derive(Debug)]
pub(super) enum Mode {
    /// The list of sessions.
    List,
    /// The help, which any key closes.
    Help,
    /// The filter is being typed; `before` is the text that Esc brings back.
    Filter { prompt: Prompt, before: Filter },
    /// A kill is being asked for.
    Kill(KillDialog),
}

/// A kill before it is asked for: first its reason, then the confirmation.
#[derive(Debug)]
pub(super) struct KillDialog {
    /// The session that was selected when the dialog opened; no later change of the list changes it.
    pub(super) id: String,
    /// The session's id, app and user.
    pub(super) name: String,
    pub(super) reason: Prompt,
    /// Whether the reason is entered, so that the next key confirms or cancels.
    pub(super) confirming: bool,
}

/// What a key asks the caller to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but to draw.
    None,
    /// To end the program.
    Quit,
    /// To ask the server to end a session.
    Kill {
        /// Which session.
        id: String,
        /// Why.
        reason: Option<String>,
    },
}

/// The full screen: the live sessions, the filter, the selection, the open dialog.
#[derive(Debug)]
pub struct Screen {
    pub(super) store: Store,
    pub(super) filter: Filter,
    /// What is wrong with the filter that is being typed; the one before it stays in force.
    pub(super) wrong: Option<String>,
    pub(super) link: Link,
    pub(super) mode: Mode,
    /// The id of the selected session.
    pub(super) selected: Option<String>,
    /// Where the selected session stood in the list when it was seen last.
    pub(super) selected_at: usize,
    /// How many sessions are above the first row shown.
    pub(super) offset: usize,
    /// How many rows the last drawing had room for.
    pub(super) rows: usize,
    pub(super) kills: PendingKills,
    pub(super) colour: bool,
}

impl Screen {
    /// An empty screen that shows the sessions of `filter`.
    #[must_use]
    pub fn new(filter: Filter, colour: bool) -> Self {
        Self {
            store: Store::default(),
            filter,
            wrong: None,
            link: Link::Connecting,
            mode: Mode::List,
            selected: None,
            selected_at: 0,
            offset: 0,
            rows: 1,
            kills: PendingKills::default(),
            colour,
        }
    }

    /// The time by the server's clock when ours shows `local`.
    #[must_use]
    pub fn server_time(&self, local: DateTime<Utc>) -> DateTime<Utc> {
        self.store.server_time(local)
    }

    /// Takes in a frame that arrived at `local` by our clock; the ids of the killed sessions that are gone with it.
    pub fn apply(&mut self, frame: DashboardFrame, local: DateTime<Utc>) -> Vec<String> {
        let sent = match &frame {
            DashboardFrame::Changes { at, .. } => *at,
            DashboardFrame::Beats { at, .. } => Some(*at),
            DashboardFrame::Hello { .. } | DashboardFrame::Snapshot { .. } | DashboardFrame::Unknown => None,
        };
        let deltas = self.store.apply(frame, local);
        let now = self.server_time(local);
        self.link = match sent {
            // The clocks were compared over the same network, so that a delay may come out a little below zero.
            Some(sent) => Link::Live(Some((now - sent).num_milliseconds().max(0))),
            None if self.store.is_filled() => match self.link {
                Link::Live(delay) => Link::Live(delay),
                Link::Connecting | Link::Lost(_) => Link::Live(None),
            },
            None => self.link,
        };
        self.kills.apply(&deltas)
    }

    /// Records that the connection was lost at `local` by our clock.
    pub fn lost(&mut self, local: DateTime<Utc>) {
        if !matches!(self.link, Link::Lost(_)) {
            self.link = Link::Lost(self.server_time(local));
        }
    }

    /// Says which kills were not confirmed by `local`.
    pub(super) fn end_overdue(&mut self, local: DateTime<Utc>) {
        // Without a connection nobody knows whether a session is gone.
        if matches!(self.link, Link::Live(_)) {
            self.kills.end_overdue(&self.store, self.store.server_time(local));
        }
    }

    /// Takes in the server's answer to a kill request.
    pub(super) fn answered(&mut self, id: &str, answer: Result<(), CliError>) {
        self.kills.answered(id, answer, &self.store);
    }

    /// Takes in all steps of a kill whose session is gone.
    pub(super) fn finish(&mut self, id: &str, steps: Option<&str>) {
        self.kills.finish(id, steps);
    }

    /// Draws the screen into `area` of `buffer`; where the cursor stands, if it is shown.
    pub(super) fn draw(&mut self, now: DateTime<Utc>, area: Rect, buffer: &mut Buffer) -> Option<Position> {
        draw::draw(self, now, area, buffer)
    }

    /// The screen as lines of text, at a size of `columns` and `height`.
    pub fn text(&mut self, now: DateTime<Utc>, columns: u16, height: u16) -> Vec<String> {
        draw::text(self, now, columns, height)
    }

    /// Does what a key, a paste or a resize asks for.
    pub fn handle(&mut self, event: &Event, now: DateTime<Utc>) -> Effect {
        let key = match event {
            Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) => {
                if matches!(code, KeyCode::Char('c')) && modifiers.contains(KeyModifiers::CONTROL) {
                    return Effect::Quit;
                }
                Some(*code)
            }
            Event::Paste(_) => None,
            _ => return Effect::None,
        };
        match std::mem::replace(&mut self.mode, Mode::List) {
            Mode::List => return self.in_list(event, now),
            Mode::Help => {}
            Mode::Filter { mut prompt, before } => match key {
                Some(KeyCode::Enter) if self.wrong.is_none() => {}
                Some(KeyCode::Esc) => (self.filter, self.wrong) = (before, None),
                _ => {
                    prompt.edit(event);
                    match Filter::sessions(prompt.text().unwrap_or_default()) {
                        Ok(filter) => (self.filter, self.wrong) = (filter, None),
                        Err(wrong) => self.wrong = Some(wrong.detail),
                    }
                    self.offset = 0;
                    self.mode = Mode::Filter { prompt, before };
                }
            },
            Mode::Kill(dialog) => return self.in_dialog(dialog, key, event, now),
        }
        Effect::None
    }

    fn in_list(&mut self, event: &Event, now: DateTime<Utc>) -> Effect {
        // A paste is no command, whatever letters it has.
        let Event::Key(KeyEvent { code, modifiers, .. }) = event else { return Effect::None };
        let page = isize::try_from(self.rows.max(1)).unwrap_or(isize::MAX);
        match code {
            KeyCode::Char('d') if modifiers.contains(KeyModifiers::CONTROL) => return Effect::Quit,
            KeyCode::Char(_) if modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {}
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.select(-1, now),
            KeyCode::Down | KeyCode::Char('j') => self.select(1, now),
            KeyCode::PageUp => self.select(-page, now),
            KeyCode::PageDown | KeyCode::Char(' ') => self.select(page, now),
            KeyCode::Home | KeyCode::Char('g') => self.select(isize::MIN, now),
            KeyCode::End | KeyCode::Char('G') => self.select(isize::MAX, now),
            KeyCode::Char('/') => {
                let before = self.filter.clone();
                let prompt = Prompt::new(before.text(), FILTER_MAX);
                self.mode = Mode::Filter { prompt, before };
            }
            KeyCode::Char('x') | KeyCode::Delete => self.open_dialog(),
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Esc => (self.selected, self.offset, self.kills.news) = (None, 0, None),
            _ => {}
        }
        Effect::None
    }

    /// Moves the selection by so many rows; the first key selects the first row shown.
    fn select(&mut self, by: isize, now: DateTime<Utc>) {
        let sessions = matching(&self.store, &self.filter, now);
        let Some(last) = sessions.len().checked_sub(1) else { return };
        let at = self.selected.as_ref().and_then(|id| sessions.iter().position(|session| session.session_id == *id));
        let at = match (at, by) {
            (Some(at), _) => at.saturating_add_signed(by),
            (None, isize::MAX) => last,
            (None, _) => self.offset,
        };
        self.selected_at = at.min(last);
        self.selected = Some(sessions[self.selected_at].session_id.clone());
    }

    fn open_dialog(&mut self) {
        match &self.selected {
            Some(id) => {
                let name = name(id, self.store.get(id).map(|row| &row.session));
                let reason = Prompt::new("", REASON_MAX);
                self.mode = Mode::Kill(KillDialog { id: id.clone(), name, reason, confirming: false });
            }
            None => self.say("Select a session first, with the arrow keys or j and k.", Style::Busy),
        }
    }

    fn in_dialog(&mut self, mut dialog: KillDialog, key: Option<KeyCode>, event: &Event, now: DateTime<Utc>) -> Effect {
        match (dialog.confirming, key) {
            (_, Some(KeyCode::Esc)) | (true, Some(KeyCode::Char('n' | 'N'))) => {
                self.say("Cancelled: nobody was asked to end.", Style::Plain);
                return Effect::None;
            }
            (true, Some(KeyCode::Char('y' | 'Y'))) => {
                self.kills.ask(&dialog.id, &self.store, now);
                let reason = dialog.reason.text().map(ToOwned::to_owned);
                return Effect::Kill { id: dialog.id, reason };
            }
            (true, _) => {}
            (false, Some(KeyCode::Enter)) => dialog.confirming = true,
            (false, _) => dialog.reason.edit(event),
        }
        self.mode = Mode::Kill(dialog);
        Effect::None
    }

    fn say(&mut self, text: &str, style: Style) {
        self.kills.news = Some(Cell::new(text, style));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::store::tests::{every_state, frame, time};
    use serde_json::json;

    const NOW: &str = "2026-11-22T08:10:10Z";

    fn screen() -> Screen {
        Screen { store: every_state(), link: Link::Live(Some(12)), ..Screen::new(Filter::default(), false) }
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Effect {
        screen.handle(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), time(NOW))
    }

    fn type_text(screen: &mut Screen, text: &str) {
        for c in text.chars() {
            assert_eq!(press(screen, KeyCode::Char(c)), Effect::None);
        }
    }

    #[test]
    fn q_and_control_c_quit_and_a_pasted_q_does_not() {
        assert_eq!(press(&mut screen(), KeyCode::Char('q')), Effect::Quit);
        let control_c = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        for opening in ['/', '?', 'x'] {
            let mut screen = screen();
            press(&mut screen, KeyCode::Down);
            press(&mut screen, KeyCode::Char(opening));
            assert_eq!(screen.handle(&control_c, time(NOW)), Effect::Quit);
        }
        assert_eq!(screen().handle(&Event::Paste("q".to_owned()), time(NOW)), Effect::None);
    }

    #[test]
    fn the_selection_moves_and_stays_with_its_session() {
        let mut screen = screen();
        press(&mut screen, KeyCode::Char('j'));
        assert_eq!(screen.selected.as_deref(), Some("unconfirmed-1"), "the first key selects the first row");
        press(&mut screen, KeyCode::Down);
        assert_eq!(screen.selected.as_deref(), Some("stale-1"));
        press(&mut screen, KeyCode::Char('G'));
        assert_eq!(screen.selected.as_deref(), Some("idle-1"));
        press(&mut screen, KeyCode::Down);
        assert_eq!(screen.selected.as_deref(), Some("idle-1"));
        let gone = json!({"type": "changes", "from": 1, "seq": 2, "upserted": [],
            "removed": [{"session_id": "stale-1", "cause": "expired", "at": null}]});
        screen.apply(frame(gone), time(NOW));
        press(&mut screen, KeyCode::Up);
        assert_eq!(screen.selected.as_deref(), Some("hidden-1"));
        press(&mut screen, KeyCode::Home);
        assert_eq!(screen.selected.as_deref(), Some("unconfirmed-1"));
        press(&mut screen, KeyCode::Esc);
        assert_eq!(screen.selected, None);
    }

    #[test]
    fn a_filter_applies_while_it_is_typed_and_escape_brings_the_old_one_back() {
        let mut screen = screen();
        press(&mut screen, KeyCode::Char('/'));
        type_text(&mut screen, "monte q");
        assert_eq!(screen.filter.text(), "monte q", "q is a letter here");
        press(&mut screen, KeyCode::Backspace);
        press(&mut screen, KeyCode::Enter);
        assert_eq!(screen.filter.text(), "monte");
        press(&mut screen, KeyCode::Char('/'));
        type_text(&mut screen, " app:");
        press(&mut screen, KeyCode::Enter);
        assert!(screen.wrong.is_some() && matches!(screen.mode, Mode::Filter { .. }), "a wrong filter is not taken");
        assert_eq!(screen.filter.text(), "monte app", "and the one before it stays in force");
        press(&mut screen, KeyCode::Esc);
        assert_eq!(screen.wrong, None);
        assert_eq!(screen.filter.text(), "monte");
    }

    #[test]
    fn a_kill_needs_a_selection_a_reason_step_and_a_yes() {
        let mut screen = screen();
        press(&mut screen, KeyCode::Char('x'));
        assert!(matches!(screen.mode, Mode::List) && screen.kills.news.is_some(), "nothing is selected");
        press(&mut screen, KeyCode::Down);
        press(&mut screen, KeyCode::Char('x'));
        type_text(&mut screen, "yes");
        // A pasted line break does not go on, and a pasted y does not confirm.
        assert_eq!(screen.handle(&Event::Paste("\ny".to_owned()), time(NOW)), Effect::None);
        assert_eq!(press(&mut screen, KeyCode::Enter), Effect::None);
        assert_eq!(screen.handle(&Event::Paste("y".to_owned()), time(NOW)), Effect::None);
        assert_eq!(press(&mut screen, KeyCode::Enter), Effect::None, "Enter does not confirm");
        let asked = press(&mut screen, KeyCode::Char('y'));
        assert_eq!(asked, Effect::Kill { id: "unconfirmed-1".to_owned(), reason: Some("yesy".to_owned()) });
        assert!(matches!(screen.mode, Mode::List));
    }

    #[test]
    fn a_dialog_keeps_its_session_and_can_be_cancelled() {
        let mut screen = screen();
        press(&mut screen, KeyCode::Down);
        press(&mut screen, KeyCode::Char('x'));
        press(&mut screen, KeyCode::Esc);
        assert!(matches!(screen.mode, Mode::List));
        press(&mut screen, KeyCode::Char('x'));
        press(&mut screen, KeyCode::Enter);
        assert_eq!(press(&mut screen, KeyCode::Char('n')), Effect::None);
        assert!(matches!(screen.mode, Mode::List));
        press(&mut screen, KeyCode::Char('x'));
        let gone = json!({"type": "changes", "from": 1, "seq": 2, "upserted": [],
            "removed": [{"session_id": "unconfirmed-1", "cause": "killed", "at": null}]});
        screen.apply(frame(gone), time(NOW));
        screen.text(time(NOW), 80, 12);
        press(&mut screen, KeyCode::Enter);
        let asked = press(&mut screen, KeyCode::Char('y'));
        assert_eq!(asked, Effect::Kill { id: "unconfirmed-1".to_owned(), reason: None }, "and no other session");
    }
}
