//! A line of text that the user types: the filter, the reason of a kill.

use crossterm::event::{Event, KeyCode};
use tui_input::{Input, InputRequest, backend::crossterm::EventHandler};

use super::super::text::is_unsafe;

/// A line of text with a cursor and a greatest length.
#[derive(Debug)]
pub(super) struct Prompt {
    input: Input,
    max: usize,
}

impl Prompt {
    /// A prompt that holds `text`, with room for `max` characters.
    pub(super) fn new(text: &str, max: usize) -> Self {
        Self { input: Input::new(text.to_owned()), max }
    }

    /// The text without blanks around it; none where nothing else is left.
    pub(super) fn text(&self) -> Option<&str> {
        Some(self.input.value().trim()).filter(|text| !text.is_empty())
    }

    /// The library's state, for drawing.
    pub(super) fn input(&self) -> &Input {
        &self.input
    }

    /// Takes in a key or a pasted text.
    pub(super) fn edit(&mut self, event: &Event) {
        match event {
            // Only what is safe to show comes in: a pasted text may hold line breaks and escape sequences.
            Event::Paste(text) => text.chars().for_each(|c| self.insert(c)),
            Event::Key(key) if matches!(key.code, KeyCode::Char(_)) && self.is_full() && key.modifiers.is_empty() => {}
            _ => {
                self.input.handle_event(event);
            }
        }
    }

    fn insert(&mut self, c: char) {
        if !is_unsafe(c) && !self.is_full() {
            self.input.handle(InputRequest::InsertChar(c));
        }
    }

    fn is_full(&self) -> bool {
        self.input.value().chars().count() >= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_text_is_cleaned_and_cut() {
        let mut prompt = Prompt::new("", 8);
        prompt.edit(&Event::Paste("a\u{1b}[2J\r\nbcdefghi".to_owned()));
        assert_eq!(prompt.text(), Some("a[2Jbcde"));
        assert_eq!(Prompt::new("  ", 8).text(), None);
    }
}
