//! Styled cells, and columns that give way where the terminal is narrow.

use std::fmt::Write as _;

use super::text::{fit, width};

/// How a piece of text looks; the meaning, not the escape sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// As it is.
    #[default]
    Plain,
    /// Headings.
    Strong,
    /// What matters less.
    Faint,
    /// All is well.
    Good,
    /// At work, or in between.
    Busy,
    /// Something is wrong.
    Bad,
    /// On its way out.
    Leaving,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Busy => "\x1b[33m",
            Self::Bad => "\x1b[1;31m",
            Self::Leaving => "\x1b[35m",
        }
    }
}

/// A piece of text in one style; the text is escaped already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How it looks.
    pub style: Style,
}

impl Cell {
    /// A cell with `text` in `style`.
    pub fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    /// A cell in the plain style.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Style::Plain)
    }
}

/// One line of output: cells side by side, with nothing between them.
pub type Line = Vec<Cell>;

/// `line` as text, with colours or without; blanks at the end are left out.
#[must_use]
pub fn paint(line: &[Cell], colour: bool) -> String {
    let mut painted = String::new();
    let shown = line.iter().rposition(|cell| !cell.text.trim_end().is_empty()).map_or(0, |last| last + 1);
    for (index, cell) in line[..shown].iter().enumerate() {
        let text = if index + 1 == shown { cell.text.trim_end() } else { &cell.text };
        if colour && cell.style != Style::Plain && !text.trim().is_empty() {
            let _ = write!(painted, "{}{text}\x1b[0m", cell.style.code());
        } else {
            painted.push_str(text);
        }
    }
    painted
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// The fewest terminal columns in which it still says something; it is left out sooner than made narrower.
    pub least: usize,
    /// Which columns stay where there is no room for all: the lowest rank stays longest.
    pub rank: u8,
}

/// Blanks between two columns.
const GAP: usize = 2;

/// Lays `rows` out in at most `room` terminal columns (all that is needed, where that is none), heading first.
///
/// Every row holds one cell a column. Where the room is short, columns are left out by rank until the least widths
/// fit; then the widest ones give way, one terminal column at a time, down to their least.
#[must_use]
pub fn lay_out(columns: &[Column], rows: &[Vec<Cell>], room: Option<usize>) -> Vec<Line> {
    let natural = |index: usize| {
        let widest = rows.iter().filter_map(|row| row.get(index)).map(|cell| width(&cell.text)).max().unwrap_or(0);
        widest.max(width(columns[index].title))
    };
    let mut shown: Vec<(usize, usize)> = (0..columns.len()).map(|index| (index, natural(index))).collect();
    if let Some(room) = room {
        let least = |shown: &[(usize, usize)]| {
            shown.iter().map(|&(index, natural)| natural.min(columns[index].least)).sum::<usize>()
                + GAP * shown.len().saturating_sub(1)
        };
        while shown.len() > 1 && least(&shown) > room {
            let Some(worst) = (0..shown.len()).max_by_key(|&at| columns[shown[at].0].rank) else {
                break;
            };
            shown.remove(worst);
        }
        let gaps = GAP * shown.len().saturating_sub(1);
        while shown.iter().map(|&(_, wide)| wide).sum::<usize>() + gaps > room {
            let flexible =
                shown.iter_mut().filter(|(index, wide)| *wide > columns[*index].least).max_by_key(|(_, wide)| *wide);
            match flexible {
                Some((_, wide)) => *wide -= 1,
                None => break,
            }
        }
    }
    let heading: Vec<Cell> = columns.iter().map(|column| Cell::new(column.title, Style::Faint)).collect();
    std::iter::once(&heading)
        .chain(rows)
        .map(|row| {
            let mut line = Line::new();
            for (at, &(index, wide)) in shown.iter().enumerate() {
                let cell = row.get(index).cloned().unwrap_or_default();
                let text = fit(&cell.text, wide);
                let padding = if at + 1 == shown.len() { 0 } else { wide - width(&text) + GAP };
                line.push(Cell::new(text, cell.style));
                line.push(Cell::plain(" ".repeat(padding)));
            }
            cut(line, room)
        })
        .collect()
}

/// `line` cut to `room` terminal columns.
#[must_use]
pub fn cut(line: Line, room: Option<usize>) -> Line {
    let Some(mut left) = room else { return line };
    let mut kept = Line::new();
    for cell in line {
        if left == 0 {
            break;
        }
        let text = fit(&cell.text, left);
        left -= width(&text);
        kept.push(Cell::new(text, cell.style));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { title: "STATE", least: 5, rank: 0 },
        Column { title: "TASK", least: 4, rank: 1 },
        Column { title: "ID", least: 6, rank: 2 },
    ];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![Cell::new("idle", Style::Good), Cell::plain("a long report"), Cell::plain("0123456789")],
            vec![Cell::new("stale", Style::Bad), Cell::plain("日本"), Cell::plain("x")],
        ]
    }

    fn shown(room: Option<usize>) -> Vec<String> {
        lay_out(&COLUMNS, &rows(), room).iter().map(|line| paint(line, false)).collect()
    }

    #[test]
    fn with_room_for_all_nothing_is_cut() {
        assert_eq!(
            shown(None),
            ["STATE  TASK           ID", "idle   a long report  0123456789", "stale  日本           x"]
        );
    }

    #[test]
    fn the_widest_column_gives_way_first() {
        assert_eq!(shown(Some(28)), ["STATE  TASK        ID", "idle   a long re…  01234567…", "stale  日本        x"]);
    }

    #[test]
    fn columns_leave_by_rank_and_no_line_is_wider_than_the_terminal() {
        assert_eq!(shown(Some(12))[0], "STATE  TASK");
        assert_eq!(shown(Some(6)), ["STATE", "idle", "stale"]);
        for room in 0..60 {
            for line in lay_out(&COLUMNS, &rows(), Some(room)) {
                let wide: usize = line.iter().map(|cell| width(&cell.text)).sum();
                assert!(wide <= room, "{wide} columns in {room}: {line:?}");
            }
        }
    }

    #[test]
    fn names_made_of_keycaps_are_laid_out_as_others_are() {
        let keycaps = "1\u{fe0f}\u{20e3}".repeat(40);
        let rows = [vec![Cell::plain("idle"), Cell::plain(keycaps.as_str()), Cell::plain(keycaps.as_str())]];
        for room in 0..60 {
            for line in lay_out(&COLUMNS, &rows, Some(room)) {
                let wide: usize = line.iter().map(|cell| width(&cell.text)).sum();
                assert!(wide <= room, "{wide} columns in {room}: {line:?}");
            }
        }
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        let line = [Cell::new("stale", Style::Bad), Cell::plain("  "), Cell::plain("x  ")];
        assert_eq!(paint(&line, false), "stale  x");
        assert_eq!(paint(&line, true), "\x1b[1;31mstale\x1b[0m  x");
    }
}
