//! How a piece of text looks, independent of the library that prints it.

use comfy_table::{Attribute, Color};
use ratatui::style::{Color as ScreenColor, Modifier, Style as ScreenStyle};

/// How a piece of text looks, named by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Style {
    /// No colour, no weight.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Less important.
    Faint,
    /// In order.
    Good,
    /// At work, or not finished yet.
    Busy,
    /// Something is wrong.
    Bad,
    /// Asked to end.
    Ending,
}

impl Style {
    /// The style for the screen of `watch`. Without `colour`, only bold and dim text stay.
    #[must_use]
    pub(super) fn on_screen(self, colour: bool) -> ScreenStyle {
        let coloured = |to: ScreenColor| if colour { ScreenStyle::new().fg(to) } else { ScreenStyle::new() };
        match self {
            Self::Plain => ScreenStyle::new(),
            Self::Strong => ScreenStyle::new().add_modifier(Modifier::BOLD),
            Self::Faint => ScreenStyle::new().add_modifier(Modifier::DIM),
            Self::Good => coloured(ScreenColor::Green),
            Self::Busy => coloured(ScreenColor::Yellow),
            Self::Bad => coloured(ScreenColor::Red).add_modifier(Modifier::BOLD),
            Self::Ending => coloured(ScreenColor::Magenta),
        }
    }

    /// `cell` of a printed table in this style.
    #[must_use]
    pub(super) fn in_table(self, cell: comfy_table::Cell) -> comfy_table::Cell {
        match self {
            Self::Plain => cell,
            Self::Strong => cell.add_attribute(Attribute::Bold),
            Self::Faint => cell.add_attribute(Attribute::Dim),
            Self::Good => cell.fg(Color::DarkGreen),
            Self::Busy => cell.fg(Color::DarkYellow),
            Self::Bad => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
            Self::Ending => cell.fg(Color::DarkMagenta),
        }
    }
}

/// A piece of text in one style; the text is escaped already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cell {
    /// The text.
    pub(super) text: String,
    /// Its style.
    pub(super) style: Style,
}

impl Cell {
    /// A cell with `text` in `style`.
    pub(super) fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    /// A cell in the plain style.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Style::Plain)
    }
}
