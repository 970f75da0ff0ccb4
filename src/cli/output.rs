//! Standard output of the commands: lines of text or JSON; colour and width where it is a terminal.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use serde_json::Value;

use super::{error::CliError, text::json_line};

/// Where the commands print to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    colour: bool,
    terminal: bool,
}

impl Output {
    /// Standard output; in colour where it is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub(crate) fn standard() -> Self {
        let terminal = io::stdout().is_terminal();
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: terminal && !no_colour, terminal }
    }

    /// Whether it is a terminal.
    #[must_use]
    pub(crate) fn is_terminal(self) -> bool {
        self.terminal
    }

    /// The terminal's width in columns; none where it is not a terminal, and so nothing is cut.
    #[must_use]
    pub(crate) fn room(self) -> Option<usize> {
        let size = if self.terminal { crossterm::terminal::size().ok() } else { None };
        size.map(|(columns, _)| usize::from(columns)).filter(|&columns| columns > 0)
    }

    /// Whether colours are wanted.
    #[must_use]
    pub(crate) fn has_colour(self) -> bool {
        self.colour
    }

    /// Prints `text` and a line break. What came from outside is escaped already.
    ///
    /// # Errors
    /// [`CliError::OutputClosed`] where nobody reads any more.
    pub(crate) fn text(self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        // A program that reads the lines through a pipe gets each of them at once.
        out.flush()?;
        Ok(())
    }

    /// Prints one line of JSON.
    ///
    /// # Errors
    /// As [`Output::text`].
    pub(crate) fn json(self, value: &Value) -> Result<(), CliError> {
        self.text(&json_line(value))
    }
}

/// Prints one sentence to standard error. Where that is closed, there is nobody to tell.
pub(crate) fn complain(sentence: &str) {
    let _ = writeln!(io::stderr().lock(), "sessionwatch: {sentence}");
}
