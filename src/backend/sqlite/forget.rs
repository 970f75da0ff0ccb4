//! Deletes old rows: log entries, tombstones, counts and checkpoints; also log entries where the
//! log is too large.

use rusqlite::{Connection, Transaction, params_from_iter};

use crate::backend::Keep;
use crate::change::Kind;

/// Most rows that one call deletes, so that no commit waits long for it.
const AT_ONCE: usize = 2_000;

/// Deletes what is outside `keep`; returns whether there may be more to delete.
pub(super) fn forget(connection: &mut Connection, keep: Keep) -> rusqlite::Result<bool> {
    let too_large = log_bytes(connection, keep.log_bytes)? > keep.log_bytes;
    let transaction = connection.transaction()?;
    // The newest entry always stays: the next `seq` continues from it.
    let old = delete(
        &transaction,
        "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq < (SELECT max(seq) FROM events) ORDER BY seq LIMIT ?1) AND at < ?2 RETURNING seq",
        &[AT_ONCE as i64, keep.events.0],
    )?;
    let oldest = if too_large { forget_oldest(&transaction)? } else { 0 };
    let checkpoint = super::past::forget(&transaction, keep.log_bytes)?;
    transaction.execute("DELETE FROM tombstones WHERE at < ?1", [keep.tombstones.0])?;
    transaction.execute("DELETE FROM minutes WHERE at < ?1", [keep.events.0])?;
    transaction.execute("DELETE FROM starts WHERE at < ?1", [keep.events.0])?;
    transaction.commit()?;
    Ok(old == AT_ONCE || oldest > 0 || checkpoint)
}

/// Deletes entries of the log, and notes how far it still reaches; returns how many were deleted.
fn delete(transaction: &Transaction<'_>, sql: &str, values: &[i64]) -> rusqlite::Result<usize> {
    let mut rows = transaction.prepare_cached(sql)?;
    let gone: Vec<i64> =
        rows.query_map(params_from_iter(values), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    if let Some(last) = gone.iter().max() {
        transaction.execute("UPDATE reach SET complete_after = max(complete_after, ?1)", [last])?;
    }
    Ok(gone.len())
}

/// The size of the log in bytes, without free pages. Only where the whole file is larger than
/// `most`, the other tables are measured: that reads them.
fn log_bytes(connection: &Connection, most: u64) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let used = (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?;
    // Checkpoints have a limit of their own.
    let checkpoints: i64 =
        connection.query_row("SELECT coalesce(sum(bytes), 0) FROM checkpoints", [], |row| row.get(0))?;
    let used = u64::try_from(used - checkpoints).unwrap_or(0);
    if used <= most {
        return Ok(used);
    }
    let mut others = connection.prepare_cached(
        "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE aggregate = TRUE AND name IN ('sessions', 'tombstones', 'locks', 'minutes', 'starts', 'raised', 'alert_notes', 'alerts', 'checkpoints', 'reach')",
    )?;
    let others: i64 = others.query_row([], |row| row.get(0))?;
    Ok(used.saturating_sub(u64::try_from(others).unwrap_or(0)))
}

/// Deletes the oldest entries; those of kills and removals only when there are no others.
fn forget_oldest(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    let (last, first): (Vec<Kind>, Vec<Kind>) = Kind::LOGGED.into_iter().partition(|kind| kind.is_kept_longest());
    for kinds in [first, last] {
        let oldest_of = |kind: &Kind| {
            format!(
                "SELECT * FROM (SELECT seq FROM events WHERE kind = '{}' ORDER BY seq LIMIT {AT_ONCE})",
                kind.as_str()
            )
        };
        let oldest = kinds.iter().map(oldest_of).collect::<Vec<_>>().join(" UNION ALL ");
        let gone = delete(
            transaction,
            &format!(
                "DELETE FROM events WHERE seq IN (SELECT seq FROM ({oldest}) ORDER BY seq LIMIT {AT_ONCE})
                 AND seq < (SELECT max(seq) FROM events) RETURNING seq"
            ),
            &[],
        )?;
        if gone > 0 {
            return Ok(gone);
        }
    }
    Ok(0)
}
