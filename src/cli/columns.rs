//! The columns of a table of sessions: which of them fit into a terminal, and how wide each is.

use super::{style::Cell, text::width};

/// Blanks between two columns.
pub(super) const GAP: usize = 2;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// The heading.
    pub(super) title: &'static str,
    /// The narrowest useful width. Where there is no room for it, the column is left out.
    pub(super) least: usize,
    /// The order of leaving out: the highest rank goes first.
    pub(super) rank: u8,
}

/// The columns that are shown in `room` terminal columns, each as its index and its width.
///
/// Without `room`, all of them are as wide as their widest cell. Where the room is short, columns are left out by rank
/// until the least widths fit; then the widest ones get narrower, down to their least.
pub(super) fn fit_columns(columns: &[Column], rows: &[Vec<Cell>], room: Option<usize>) -> Vec<(usize, usize)> {
    let natural = |index: usize| {
        let widest = rows.iter().filter_map(|row| row.get(index)).map(|cell| width(&cell.text)).max().unwrap_or(0);
        widest.max(width(columns[index].title))
    };
    let mut shown: Vec<(usize, usize)> = (0..columns.len()).map(|index| (index, natural(index))).collect();
    let Some(room) = room else { return shown };
    let least = |shown: &[(usize, usize)]| {
        let widths = shown.iter().map(|&(index, natural)| natural.min(columns[index].least));
        widths.sum::<usize>() + gaps(shown.len())
    };
    while shown.len() > 1 && least(&shown) > room {
        let Some(last) = (0..shown.len()).max_by_key(|&at| columns[shown[at].0].rank) else { break };
        shown.remove(last);
    }
    // No column needs more than the whole room, and so the loop below is short for cells of any length.
    for (_, wide) in &mut shown {
        *wide = (*wide).min(room);
    }
    while shown.iter().map(|&(_, wide)| wide).sum::<usize>() + gaps(shown.len()) > room {
        let widest =
            shown.iter_mut().filter(|(index, wide)| *wide > columns[*index].least).max_by_key(|(_, wide)| *wide);
        let Some((_, wide)) = widest else { break };
        *wide -= 1;
    }
    shown
}

fn gaps(columns: usize) -> usize {
    GAP * columns.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { title: "STATE", least: 5, rank: 0 },
        Column { title: "TASK", least: 4, rank: 1 },
        Column { title: "ID", least: 6, rank: 2 },
    ];

    fn widths(rows: &[Vec<Cell>], room: Option<usize>) -> Vec<(usize, usize)> {
        fit_columns(&COLUMNS, rows, room)
    }

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![Cell::plain("idle"), Cell::plain("a long report"), Cell::plain("0123456789")],
            vec![Cell::plain("stale"), Cell::plain("日本"), Cell::plain("x")],
        ]
    }

    #[test]
    fn without_a_terminal_every_column_has_its_full_width() {
        assert_eq!(widths(&rows(), None), [(0, 5), (1, 13), (2, 10)]);
    }

    #[test]
    fn the_widest_columns_get_narrower_and_the_last_ranks_are_left_out() {
        assert_eq!(widths(&rows(), Some(28)), [(0, 5), (1, 10), (2, 9)]);
        assert_eq!(widths(&rows(), Some(12)), [(0, 5), (1, 5)]);
        assert_eq!(widths(&rows(), Some(6)), [(0, 5)]);
    }

    #[test]
    fn a_table_is_never_wider_than_the_room() {
        let long = vec![vec![Cell::plain("x".repeat(1 << 12)), Cell::plain("y".repeat(1 << 12)), Cell::default()]];
        for rows in [rows(), long] {
            for room in 0..60 {
                let shown = widths(&rows, Some(room));
                let total = shown.iter().map(|(_, wide)| wide).sum::<usize>() + gaps(shown.len());
                assert!(total <= room, "{shown:?} in {room}");
            }
        }
    }
}
