//! A printed table, as `ls` prints it.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

use super::{
    columns::{Column, GAP, fit_columns},
    style::{Cell, Style},
};

/// `rows` under the headings of `columns` as text: a line for each row, at most `room` terminal columns wide.
///
/// The cells' text is escaped already; a cell that is too long ends with `…`. Without `room` nothing is cut.
#[must_use]
pub(super) fn table(columns: &[Column], rows: &[Vec<Cell>], room: Option<usize>, colour: bool) -> String {
    let shown = fit_columns(columns, rows, room);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // The widths are given for each column, so the library never asks a terminal for its size.
    table.set_content_arrangement(ContentArrangement::Disabled).set_truncation_indicator("…");
    if colour {
        table.enforce_styling();
        table.style_text_only();
    } else {
        table.force_no_tty();
    }
    let line = |cells: &[Cell]| {
        let cell = |&(index, _): &(usize, usize)| {
            let cell = cells.get(index).cloned().unwrap_or_default();
            cell.style.in_table(comfy_table::Cell::new_owned(cell.text))
        };
        let mut row = Row::from(shown.iter().map(cell).collect::<Vec<_>>());
        row.max_height(1);
        row
    };
    let headings: Vec<Cell> = columns.iter().map(|column| Cell::new(column.title, Style::Faint)).collect();
    table.set_header(line(&headings));
    table.add_rows(rows.iter().map(|row| line(row)));
    for (at, &(_, wide)) in shown.iter().enumerate() {
        let Some(column) = table.column_mut(at) else { continue };
        let gap = if at + 1 == shown.len() { 0 } else { GAP };
        column.set_padding((0, u16::try_from(gap).unwrap_or_default()));
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(u16::try_from(wide + gap).unwrap_or(u16::MAX))));
        // Escaped text has no line breaks. So a cell is cut where the column ends, not at its last blank.
        column.set_delimiter('\n');
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::width;

    const COLUMNS: [Column; 3] = [
        Column { title: "STATE", least: 5, rank: 0 },
        Column { title: "TASK", least: 4, rank: 1 },
        Column { title: "ID", least: 6, rank: 2 },
    ];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![Cell::new("idle", Style::Good), Cell::plain("a long report"), Cell::plain("0123456789")],
            vec![Cell::new("stale", Style::Bad), Cell::plain("日本"), Cell::plain("x")],
            vec![Cell::new("idle", Style::Good), Cell::plain("e\u{301}te\u{301}"), Cell::plain("")],
        ]
    }

    fn lines(room: Option<usize>) -> Vec<String> {
        table(&COLUMNS, &rows(), room, false).lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn with_room_for_all_nothing_is_cut() {
        assert_eq!(
            lines(None),
            [
                "STATE  TASK           ID",
                "idle   a long report  0123456789",
                "stale  日本           x",
                "idle   e\u{301}te\u{301}"
            ]
        );
    }

    #[test]
    fn a_long_cell_is_cut_where_its_column_ends() {
        assert_eq!(
            lines(Some(28))[..3],
            ["STATE  TASK        ID", "idle   a long re…  01234567…", "stale  日本        x"]
        );
        assert_eq!(lines(Some(12))[0], "STATE  TASK");
        assert_eq!(lines(Some(6))[..3], ["STATE", "idle", "stale"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let keycaps = "1\u{fe0f}\u{20e3}".repeat(40);
        let family = "👩\u{200d}👩\u{200d}👧".repeat(40);
        let mut rows = rows();
        rows.push(vec![Cell::plain("idle"), Cell::plain(keycaps), Cell::plain(family)]);
        for room in 1..60 {
            let text = table(&COLUMNS, &rows, Some(room), false);
            assert_eq!(text.lines().count(), rows.len() + 1, "a line for each row");
            for line in text.lines() {
                assert!(width(line) <= room, "{} columns in {room}: {line:?}", width(line));
            }
        }
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert!(!table(&COLUMNS, &rows(), None, false).contains('\u{1b}'));
        let coloured = table(&COLUMNS, &rows(), None, true);
        assert!(coloured.lines().nth(2).is_some_and(|line| line.starts_with("\u{1b}[") && line.contains("stale")));
    }
}
