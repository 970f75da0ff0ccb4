//! The tables of alerts: rows that were raised, the notes of the keeper's book, and alerts.

use rusqlite::{Connection, Row, Transaction, params, params_from_iter};

use crate::alerts::{Alert, Kept, Raised, Settled};
use crate::backend::AlertQuery;
use crate::backend::outbox::is_waiting;
use crate::clock::Timestamp;

/// Adds rows that are raised, in the transaction of their events.
pub(super) fn raise(transaction: &Transaction<'_>, raised: &[Raised]) -> rusqlite::Result<()> {
    for row in raised {
        if let Ok(json) = serde_json::to_string(row) {
            transaction.prepare_cached("INSERT INTO raised (body) VALUES (?1)")?.execute([json])?;
        }
    }
    Ok(())
}

/// The oldest raised rows.
pub(super) fn raised(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<(i64, Raised)>> {
    let mut rows = connection.prepare_cached("SELECT number, body FROM raised ORDER BY number LIMIT ?1")?;
    let row = |row: &Row<'_>| Ok((row.get(0)?, Raised::restored(row.get_ref(1)?.as_str()?)));
    rows.query_map([limit as i64], row)?.collect()
}

/// All notes, and the alerts that wait.
pub(super) fn kept(connection: &Connection) -> rusqlite::Result<Kept> {
    let mut notes = connection.prepare_cached("SELECT key, value FROM alert_notes")?;
    let notes = notes.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut alerts = connection.prepare_cached("SELECT body FROM alerts WHERE waiting ORDER BY id")?;
    let bodies: Vec<String> = alerts.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(Kept { notes, alerts: bodies.iter().filter_map(|body| serde_json::from_str(body).ok()).collect() })
}

/// Stores what has changed in the book.
pub(super) fn settle(connection: &mut Connection, settled: &Settled) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for number in &settled.taken {
        transaction.prepare_cached("DELETE FROM raised WHERE number = ?1")?.execute([number])?;
    }
    for (key, value) in &settled.notes {
        match value {
            Some(value) => transaction
                .prepare_cached("INSERT OR REPLACE INTO alert_notes (key, value) VALUES (?1, ?2)")?
                .execute([key, value])?,
            None => transaction.prepare_cached("DELETE FROM alert_notes WHERE key = ?1")?.execute([key])?,
        };
    }
    for alert in &settled.alerts {
        let Ok(body) = serde_json::to_string(alert) else { continue };
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO alerts (id, created, target, app_name, waiting, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![alert.id, alert.created.0, alert.target, alert.app_name, is_waiting(alert), body])?;
    }
    transaction.commit()
}

/// Reads alerts, the newest first.
pub(super) fn alerts(connection: &Connection, query: &AlertQuery) -> rusqlite::Result<Vec<Alert>> {
    let mut sql = "SELECT body FROM alerts WHERE 1".to_owned();
    let mut values: Vec<String> = Vec::new();
    if let Some(apps) = query.scope.apps() {
        let places = vec!["?"; apps.len()].join(", ");
        sql.push_str(&format!(" AND app_name IN ({places})"));
        values.extend(apps.iter().map(ToString::to_string));
    }
    for (condition, value) in [(" AND target = ?", &query.target), (" AND id < ?", &query.before)] {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value.clone());
        }
    }
    sql.push_str(&format!(" ORDER BY id DESC LIMIT {}", query.limit));
    let mut rows = connection.prepare_cached(&sql)?;
    let bodies: Vec<String> =
        rows.query_map(params_from_iter(values), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(bodies.iter().filter_map(|body| serde_json::from_str(body).ok()).collect())
}

/// Deletes alerts that are done.
pub(super) fn forget(connection: &Connection, before: Timestamp, most: usize) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM alerts WHERE NOT waiting AND created < ?1")?.execute([before.0])?;
    connection
        .prepare_cached(
            "DELETE FROM alerts WHERE NOT waiting AND id <= (SELECT id FROM alerts WHERE NOT waiting ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([most as i64])?;
    Ok(())
}
