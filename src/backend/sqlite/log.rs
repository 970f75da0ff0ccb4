//! Queries to the audit log.

use rusqlite::{Connection, Row, ToSql, params_from_iter};

use crate::backend::restored;
use crate::change::Kind;
use crate::clock::Timestamp;
use crate::log::{Details, Entry, Query};

/// Reads the log. It reads at most `limit` lines for each kind, however large the log is, so that
/// no query delays the next one.
pub(super) fn events(connection: &Connection, query: &Query) -> rusqlite::Result<Vec<Entry>> {
    let (sql, values) = statement(query);
    connection.prepare_cached(&sql)?.query_map(params_from_iter(values), entry)?.collect()
}

/// A query with no result.
fn nothing() -> (String, Vec<Box<dyn ToSql>>) {
    ("SELECT * FROM events WHERE 0".to_owned(), Vec::new())
}

/// Queries that one statement may combine (SQLite allows 500).
const QUERIES_MAX: usize = 400;

/// The query in SQL, with its values. Each kind is a query of its own, since an index is in the
/// order of `seq` only within one kind; a query for an app alone asks for every kind.
fn statement(query: &Query) -> (String, Vec<Box<dyn ToSql>>) {
    let order = if query.oldest_first { "ORDER BY seq" } else { "ORDER BY seq DESC" };
    let limit = query.limit;
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut conditions = |kind: Option<&str>, apps: &[String]| {
        let mut sql = String::from("1");
        let mut add = |text: &str, value: Box<dyn ToSql>| {
            sql.push_str(text);
            values.push(value);
        };
        if let Some(id) = &query.session_id {
            add(" AND session_id = ?", Box::new(id.clone()));
        }
        // One session has few lines: the other conditions need no index.
        let plus = if query.session_id.is_some() { "+" } else { "" };
        for (index, app) in apps.iter().enumerate() {
            let before = if index == 0 { format!(" AND {plus}app_name IN (") } else { ", ".to_owned() };
            let after = if index + 1 == apps.len() { ")" } else { "" };
            add(&format!("{before}?{after}"), Box::new(app.clone()));
        }
        if let Some(before) = query.before {
            add(" AND seq < ?", Box::new(i64::try_from(before).unwrap_or(i64::MAX)));
        }
        if let Some(after) = query.after {
            add(" AND seq > ?", Box::new(i64::try_from(after).unwrap_or(i64::MAX)));
        }
        if let Some(kind) = kind {
            add(&format!(" AND {plus}kind = ?"), Box::new(kind.to_owned()));
        }
        sql
    };
    let apps = match (&query.app_name, query.scope.apps()) {
        (Some(app), Some(_)) if !query.scope.allows(app) => return nothing(),
        // The scope contains no app.
        (None, Some([])) => return nothing(),
        (Some(app), _) => vec![app.clone()],
        (None, Some(apps)) => apps.iter().map(ToString::to_string).collect(),
        (None, None) => Vec::new(),
    };
    let kinds: Vec<&str> = match (&query.kinds[..], &apps[..], &query.session_id) {
        ([], [_, ..], None) => Kind::LOGGED.map(Kind::as_str).to_vec(),
        (asked, ..) => asked.iter().map(String::as_str).collect(),
    };
    // Each app is a query of its own too, while SQLite allows that many in one statement.
    let alone = kinds.len() * apps.len() <= QUERIES_MAX && query.session_id.is_none();
    let groups: Vec<&[String]> = if alone && !apps.is_empty() { apps.chunks(1).collect() } else { vec![&apps] };
    let pairs = || kinds.iter().flat_map(|kind| groups.iter().map(move |apps| (*kind, *apps)));
    let sql = match (&kinds[..], &groups[..]) {
        ([], _) => format!("SELECT * FROM events WHERE {} {order} LIMIT {limit}", conditions(None, &apps)),
        ([kind], [apps]) => {
            format!("SELECT * FROM events WHERE {} {order} LIMIT {limit}", conditions(Some(kind), apps))
        }
        _ => {
            let mut each = |(kind, apps): (&str, &[String])| {
                let conditions = conditions(Some(kind), apps);
                format!("SELECT * FROM (SELECT seq FROM events WHERE {conditions} {order} LIMIT {limit})")
            };
            let all = pairs().map(&mut each).collect::<Vec<_>>().join(" UNION ALL ");
            format!("SELECT * FROM events WHERE seq IN ({all}) {order} LIMIT {limit}")
        }
    };
    (sql, values)
}

/// One line of the log.
fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        seq: restored(row.get("seq")?),
        at: Timestamp(row.get("at")?),
        kind: row.get("kind")?,
        session_id: row.get("session_id")?,
        app_name: row.get("app_name")?,
        user_id: row.get("user_id")?,
        by: row.get("by")?,
        from: row.get("origin")?,
        reason: row.get("reason")?,
        cause: row.get("cause")?,
        details: Details::restored(row.get::<_, Option<String>>("details")?.as_deref()),
        state: row.get("state")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sqlite::schema;

    /// SQLite's plan for a query.
    fn plan(connection: &Connection, query: &Query) -> String {
        let (sql, values) = statement(query);
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("SQL");
        let lines = plan.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).expect("a plan");
        lines.collect::<rusqlite::Result<Vec<_>>>().expect("text").join("\n")
    }

    #[test]
    fn no_query_scans_lines_of_the_log_that_it_does_not_ask_for() {
        let mut connection = Connection::open_in_memory().expect("memory");
        schema::migrate(&mut connection).expect("the schema");
        connection
            .execute_batch(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
                 INSERT INTO events (seq, at, kind, session_id, app_name)
                 SELECT i, i, CASE i % 50 WHEN 0 THEN 'kill_requested' ELSE 'status_changed' END, 's' || (i % 1000), 'app' || (i % 3) FROM n;",
            )
            .expect("lines");
        let app = Some("app1".to_owned());
        let of = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
        let asked = [
            (Query { app_name: app.clone(), ..Query::default() }, "events_of_app"),
            (Query { app_name: Some("nobody".to_owned()), ..Query::default() }, "events_of_app"),
            (Query { app_name: app.clone(), kinds: of(&["kill_requested"]), ..Query::default() }, "events_of_app"),
            (Query { app_name: app.clone(), kinds: of(&["stale", "removed"]), ..Query::default() }, "events_of_app"),
            (Query { kinds: of(&["kill_requested"]), ..Query::default() }, "events_of_kind"),
            (Query { kinds: of(&["stale", "removed"]), ..Query::default() }, "events_of_kind"),
            (Query { session_id: Some("s1".to_owned()), ..Query::default() }, "events_of_session"),
            (
                Query { session_id: Some("s1".to_owned()), app_name: app, kinds: of(&["stale"]), ..Query::default() },
                "events_of_session",
            ),
        ];
        for (query, index) in asked {
            for before in [None, Some(10_000)] {
                let query = Query { before, limit: 100, ..query.clone() };
                let plan = plan(&connection, &query);
                assert!(plan.contains(index), "{query:?}:\n{plan}");
                assert!(!plan.contains("SCAN events"), "{query:?}:\n{plan}");
                // The lines of one kind, or of one session, come in their order.
                assert!(query.kinds.len() != 1 || !plan.contains("TEMP B-TREE"), "{query:?}:\n{plan}");
                let found = events(&connection, &query).expect("lines");
                assert!(found.iter().all(|entry| query.fits(entry)), "{query:?}");
                assert!(found.is_sorted_by(|one, other| one.seq > other.seq), "{query:?}");
            }
        }
        let mine = Query { app_name: Some("app1".to_owned()), limit: 7, ..Query::default() };
        let seqs: Vec<u64> = events(&connection, &mine).expect("lines").iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, [19_999, 19_996, 19_993, 19_990, 19_987, 19_984, 19_981], "the newest, of all kinds");
    }
}
