//! The tables of the past: checkpoints, and how far the log reaches.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::backend::past::NEAR;
use crate::backend::{restored, stored};
use crate::clock::Timestamp;
use crate::past::{Checkpoint, Piece, Reach};

type Asked<T> = std::result::Result<T, tokio_postgres::Error>;

/// What the store can tell of the past. One statement, so that it is one state. No start of a server
/// changes who is stale here: that is in the sessions' rows.
pub(super) async fn reach(client: &Client) -> Asked<Reach> {
    let rows = client
        .query(
            "SELECT complete_after, untold_until, (SELECT coalesce(max(seq), 0) FROM events),
                checkpoints.seq, at, pieces, sessions, bytes
             FROM reach LEFT JOIN checkpoints ON true ORDER BY checkpoints.seq",
            &[],
        )
        .await?;
    let checkpoints = rows.iter().filter_map(|row| {
        Some(Checkpoint {
            seq: restored(row.get::<_, Option<i64>>(3)?),
            at: Timestamp(row.get(4)),
            pieces: u32::try_from(row.get::<_, i32>(5)).unwrap_or(0),
            sessions: restored(row.get(6)),
            bytes: restored(row.get(7)),
        })
    });
    let number = |column: usize| rows.first().map_or(0, |row| restored(row.get(column)));
    Ok(Reach {
        complete_after: number(0),
        untold_until: number(1),
        last: number(2),
        checkpoints: checkpoints.collect(),
        resets: Vec::new(),
    })
}

/// The last entry that is not later than a time; 0 where there is none.
pub(super) async fn last_until(client: &Client, at: Timestamp) -> Asked<u64> {
    // Two changes that came at nearly the same time may stand in the other order.
    let row = client
        .query_one(
            "WITH found AS (SELECT coalesce((SELECT seq FROM events WHERE at <= $1 ORDER BY at DESC, seq DESC LIMIT 1), 0) AS seq)
             SELECT greatest(found.seq, coalesce((SELECT max(near.seq) FROM
                (SELECT seq, at FROM events WHERE seq > found.seq ORDER BY seq LIMIT $2) AS near WHERE near.at <= $1), 0))
             FROM found",
            &[&at.0, &NEAR],
        )
        .await?;
    Ok(restored(row.get(0)))
}

/// A piece of a checkpoint.
pub(super) async fn piece(client: &Client, seq: u64, number: u32) -> Asked<Option<Vec<u8>>> {
    let row = client
        .query_opt(
            "SELECT body FROM checkpoint_pieces WHERE seq = $1 AND number = $2",
            &[&stored(seq), &number_of(number)],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}

/// Writes a piece.
pub(super) async fn put_piece(client: &Client, seq: u64, piece: &Piece) -> Asked<()> {
    client
        .execute(
            "INSERT INTO checkpoint_pieces (seq, number, body) VALUES ($1, $2, $3)
             ON CONFLICT (seq, number) DO UPDATE SET body = excluded.body",
            &[&stored(seq), &number_of(piece.number), &piece.body],
        )
        .await
        .map(drop)
}

/// Writes the head of a checkpoint, if the history is the one that it was taken of.
pub(super) async fn finish(client: &Client, cluster: &str, checkpoint: &Checkpoint) -> Asked<()> {
    let Checkpoint { seq, at, pieces, sessions, bytes } = checkpoint;
    client
        .execute(
            "INSERT INTO checkpoints (seq, at, pieces, sessions, bytes)
             SELECT $1, $2, $3, $4, $5 FROM head WHERE cluster = $6 AND head.seq >= $1
             ON CONFLICT (seq) DO UPDATE SET at = excluded.at, pieces = excluded.pieces, sessions = excluded.sessions,
                bytes = excluded.bytes",
            &[&stored(*seq), &at.0, &number_of(*pieces), &stored(*sessions), &stored(*bytes), &cluster],
        )
        .await
        .map(drop)
}

/// Deletes the entries that a query selects, and notes how far the log still reaches, in one
/// statement; returns how many.
pub(super) async fn delete(client: &Client, which: &str, values: &[&(dyn ToSql + Sync)]) -> Asked<u64> {
    let row = client
        .query_one(
            &format!(
                "WITH gone AS (DELETE FROM events WHERE seq IN ({which}) RETURNING seq),
                 noted AS (UPDATE reach SET complete_after = greatest(complete_after, (SELECT max(seq) FROM gone)))
                 SELECT count(*) FROM gone"
            ),
            values,
        )
        .await?;
    Ok(restored(row.get(0)))
}

/// Deletes one checkpoint that is of no use any more, or that is over the limit; returns whether it
/// did. The newest one stays.
pub(super) async fn forget(client: &Client, log_bytes: u64) -> Asked<bool> {
    let gone = client
        .execute(
            "DELETE FROM checkpoints WHERE seq = (SELECT min(seq) FROM checkpoints
                WHERE seq < (SELECT max(seq) FROM checkpoints) AND (seq < (SELECT complete_after FROM reach)
                    OR (SELECT sum(bytes) FROM checkpoints) > $1::bigint))",
            &[&stored(log_bytes / 2)],
        )
        .await?;
    // What is left of it, and of a checkpoint that was interrupted.
    client
        .execute(
            "DELETE FROM checkpoint_pieces AS piece WHERE piece.seq < (SELECT max(seq) FROM checkpoints)
                AND NOT EXISTS (SELECT FROM checkpoints WHERE checkpoints.seq = piece.seq)",
            &[],
        )
        .await?;
    Ok(gone > 0)
}

fn number_of(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
