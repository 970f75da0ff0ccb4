//! The tables of the past: checkpoints, and how far the log reaches.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::backend::past::NEAR;
use crate::backend::{restored, stored};
use crate::clock::Timestamp;
use crate::past::{Checkpoint, Piece, Reach, Reset};

/// What the store can tell of the past.
pub(super) fn reach(connection: &mut Connection) -> rusqlite::Result<Reach> {
    // One state of all tables.
    let look = connection.transaction()?;
    let number = |row: &Row<'_>, column: usize| row.get::<_, i64>(column).map(restored);
    let (complete_after, untold_until) =
        look.query_row("SELECT complete_after, untold_until FROM reach", [], |row| {
            Ok((number(row, 0)?, number(row, 1)?))
        })?;
    let last = look.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| number(row, 0))?;
    let checkpoint = |row: &Row<'_>| {
        Ok(Checkpoint {
            seq: number(row, 0)?,
            at: Timestamp(row.get(1)?),
            pieces: row.get(2)?,
            sessions: number(row, 3)?,
            bytes: number(row, 4)?,
        })
    };
    let checkpoints = look
        .prepare_cached("SELECT seq, at, pieces, sessions, bytes FROM checkpoints ORDER BY seq")?
        .query_map([], checkpoint)?
        .collect::<rusqlite::Result<_>>()?;
    let resets = look
        .prepare_cached("SELECT seq, at FROM starts WHERE seq IS NOT NULL ORDER BY seq, at")?
        .query_map([], |row| Ok(Reset { seq: number(row, 0)?, at: Timestamp(row.get(1)?) }))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Reach { complete_after, untold_until, last, checkpoints, resets })
}

/// The last entry that is not later than a time; 0 where there is none. The log has no index by time:
/// the place is found by halving.
pub(super) fn last_until(connection: &Connection, at: Timestamp) -> rusqlite::Result<u64> {
    let mut next = connection.prepare_cached("SELECT seq, at FROM events WHERE seq >= ?1 ORDER BY seq LIMIT 1")?;
    let (mut low, mut high): (i64, i64) =
        connection.query_row("SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) + 1 FROM events", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    // Entries below `low` are not later, the one at `high` is.
    while low < high {
        let middle = low + (high - low) / 2;
        let found = next.query_row([middle], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?;
        match found {
            Some((seq, time)) if time <= at.0 => low = seq + 1,
            _ => high = middle,
        }
    }
    // Two changes that came at nearly the same time may stand in the other order.
    connection
        .prepare_cached(
            "SELECT max(max(near.seq), coalesce((SELECT max(seq) FROM events WHERE seq < ?1), 0)) FROM
                (SELECT 0 AS seq UNION ALL SELECT seq FROM (SELECT seq, at FROM events WHERE seq >= ?1 ORDER BY seq LIMIT ?3) WHERE at <= ?2) AS near",
        )?
        .query_row(params![low, at.0, NEAR], |row| row.get::<_, i64>(0))
        .map(restored)
}

/// A piece of a checkpoint.
pub(super) fn piece(connection: &Connection, seq: u64, number: u32) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT body FROM checkpoint_pieces WHERE seq = ?1 AND number = ?2")?
        .query_row(params![stored(seq), number], |row| row.get(0))
        .optional()
}

/// Writes a piece. It need not be on the disk yet, since nothing refers to it: so no commit waits for
/// the disk because of it.
pub(super) fn put_piece(connection: &Connection, seq: u64, piece: &Piece) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let written = connection
        .prepare_cached("INSERT OR REPLACE INTO checkpoint_pieces (seq, number, body) VALUES (?1, ?2, ?3)")
        .and_then(|mut row| row.execute(params![stored(seq), piece.number, piece.body]));
    connection.pragma_update(None, "synchronous", "FULL")?;
    written.map(drop)
}

/// Writes the head of a checkpoint, after all of its pieces: the WAL keeps the order, so they are on
/// the disk when it is.
pub(super) fn finish(connection: &Connection, checkpoint: &Checkpoint) -> rusqlite::Result<()> {
    let Checkpoint { seq, at, pieces, sessions, bytes } = checkpoint;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO checkpoints (seq, at, pieces, sessions, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![stored(*seq), at.0, pieces, stored(*sessions), stored(*bytes)])?;
    Ok(())
}

/// Deletes one checkpoint that is of no use any more, or that is over the limit; returns whether it
/// did. The newest one stays.
pub(super) fn forget(transaction: &Transaction<'_>, log_bytes: u64) -> rusqlite::Result<bool> {
    let oldest: Option<i64> = transaction
        .prepare_cached(
            "SELECT min(seq) FROM checkpoints
             WHERE seq < (SELECT max(seq) FROM checkpoints)
               AND (seq < (SELECT complete_after FROM reach) OR (SELECT sum(bytes) FROM checkpoints) > ?1)",
        )?
        .query_row([stored(log_bytes / 2)], |row| row.get(0))?;
    // What an interrupted checkpoint has left has no head.
    transaction
        .prepare_cached(
            "DELETE FROM checkpoint_pieces WHERE seq < (SELECT max(seq) FROM checkpoints)
                AND seq NOT IN (SELECT seq FROM checkpoints)",
        )?
        .execute([])?;
    let Some(oldest) = oldest else { return Ok(false) };
    transaction.execute("DELETE FROM checkpoints WHERE seq = ?1", [oldest])?;
    transaction.execute("DELETE FROM checkpoint_pieces WHERE seq = ?1", [oldest])?;
    Ok(true)
}
