//! Which commit led to the position that this server has applied. A database that was restored from a
//! backup and has grown again may have the same numbers, and has other commits behind them.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio_postgres::Row;

use super::body;
use crate::backend::restored;
use crate::change::Event;

/// Reads that were not applied may have led further than the position.
const MARKS_MAX: usize = 64;

/// The commits that led to the applied position, and to those that were read behind it.
#[derive(Default)]
pub(super) struct Marks(Mutex<BTreeMap<u64, String>>);

/// Why the rows of the feed do not go on from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Rows are missing, or cannot be read.
    Gap,
    /// Another commit has led to the position.
    OtherCommit,
    /// Another server has noticed that the history is another one.
    OtherEpoch,
}

impl Broken {
    /// Whether what is there now gives numbers a second meaning, so that a new epoch has to begin.
    pub(super) fn is_another_history(self, position: u64, head: u64) -> bool {
        self == Self::OtherCommit || head < position
    }
}

impl Marks {
    /// This commit led to this position.
    pub(super) fn put(&self, position: u64, commit_id: String) {
        let mut marks = self.0.lock();
        marks.insert(position, commit_id);
        if marks.len() > MARKS_MAX {
            marks.pop_last();
        }
    }

    /// The commit that led to a position, where that is known. Those before it are forgotten.
    pub(super) fn of(&self, position: u64) -> Option<String> {
        let mut marks = self.0.lock();
        *marks = marks.split_off(&position);
        marks.get(&position).cloned()
    }

    /// The events behind a position, in rows of `MISSED`, if they follow without a gap, up to a
    /// position where one is given.
    pub(super) fn follow(&self, rows: &[Row], from: u64, to: Option<u64>) -> Result<Vec<Event>, Broken> {
        let known = self.of(from);
        let mut position = from;
        let mut events = Vec::new();
        for row in rows {
            let (first, last, commit): (i64, i64, &str) = (row.get(0), row.get(1), row.get(2));
            match row.get::<_, Option<&[u8]>>(3) {
                None if known.as_ref().is_some_and(|known| known != commit) => return Err(Broken::OtherCommit),
                // Where its row is forgotten already, the numbers have to do.
                None => {}
                Some(body) => {
                    if restored(first) != position + 1 {
                        return Err(Broken::Gap);
                    }
                    position = restored(last);
                    events.extend(body::events_of_bytes(body).ok_or(Broken::Gap)?);
                }
            }
        }
        if to.is_some_and(|to| to != position) {
            return Err(Broken::Gap);
        }
        if let Some(last) = rows.last() {
            self.put(position, last.get(2));
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_the_position_stays_whatever_was_read_behind_it() {
        let marks = Marks::default();
        marks.put(5, "five".to_owned());
        for position in 6..200 {
            marks.put(position, position.to_string());
        }
        assert_eq!(marks.of(5).as_deref(), Some("five"));
        assert!(marks.0.lock().len() <= MARKS_MAX);
        assert_eq!(marks.of(6).as_deref(), Some("6"));
        assert_eq!(marks.of(5), None, "nobody goes back");
    }
}
