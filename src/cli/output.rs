//! Standard output: a line at a time, in colour where a person looks at it.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use serde_json::Value;

use super::{
    error::CliError,
    table::{Cell, paint},
    text::json_line,
};

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

    /// Whether somebody reads this on a terminal.
    #[must_use]
    pub(crate) fn is_terminal(self) -> bool {
        self.terminal
    }

    /// The terminal's width in columns; none where it is no terminal, for then nothing is cut.
    #[must_use]
    pub(crate) fn room(self) -> Option<usize> {
        let size = if self.terminal { crossterm::terminal::size().ok() } else { None };
        size.map(|(columns, _)| usize::from(columns)).filter(|&columns| columns > 0)
    }

    /// Prints one line of cells.
    ///
    /// # Errors
    /// [`CliError::OutputClosed`] where the reader has gone.
    pub(crate) fn line(self, line: &[Cell]) -> Result<(), CliError> {
        self.text(&self.painted(line))
    }

    /// `line` as it goes to this output.
    #[must_use]
    pub(crate) fn painted(self, line: &[Cell]) -> String {
        paint(line, self.colour)
    }

    /// Prints one line of text, which is escaped already.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn text(self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        // Whoever reads the lines through a pipe wants each of them when it happens.
        out.flush()?;
        Ok(())
    }

    /// Prints one line of JSON.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn json(self, value: &Value) -> Result<(), CliError> {
        self.text(&json_line(value))
    }
}

/// Prints one sentence to standard error; a closed one is nobody to complain to.
pub(crate) fn complain(sentence: &str) {
    let _ = writeln!(io::stderr().lock(), "sessionwatch: {sentence}");
}
