//! The old monitor's database: `serve` refuses it, `import` reads it.

use std::path::Path;
use std::process::Output;

use reqwest::Method;
use serde_json::json;

use crate::support::{Server, command};

/// A file like the original's: naive times, a computed status, a pending kill request.
fn original(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("it is made");
    let rows = "
        CREATE TABLE sessions (session_id TEXT PRIMARY KEY, app_name TEXT, user_id TEXT, start_time TEXT,
            last_heartbeat TEXT, status TEXT, current_task TEXT, kill_requested INTEGER DEFAULT 0);
        INSERT INTO sessions VALUES
            ('old-1', 'risk', 'ana', '2026-11-27T08:00:00.123456', '2026-11-27T08:05:00', 'running', 'Q4' || char(10) || 'report', 0),
            ('old-2', 'shop', NULL, '2026-11-27 08:00:00+01:00', '2026-11-27 08:01:00+01:00', 'stale', NULL, 0),
            ('old-3', 'shop', 'bob', 1795766400.5, 1795766401, 'idle', NULL, 1),
            ('no id!', 'shop', 'bob', '2026-11-27T08:00:00', '2026-11-27T08:00:00', 'idle', NULL, 0),
            ('old-4', '', 'bob', '2026-11-27T08:00:00', '2026-11-27T08:00:00', 'idle', NULL, 0);";
    connection.execute_batch(rows).expect("its rows");
}

async fn import(old: &Path, db: &Path) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sessionwatch"));
    command.arg("import").arg(old).arg("--db").arg(db).output().await.expect("it runs")
}

#[tokio::test]
async fn the_originals_sessions_are_imported() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, db) = (folder.path().join("old.db"), folder.path().join("new.db"));
    original(&old);
    let bytes = std::fs::read(&old).expect("its bytes");

    let refused = command(&old, "127.0.0.1:0", &[]).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("sessionwatch import"), "{said}");

    let done = import(&old, &db).await;
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(told.contains("3 sessions imported") && told.contains("2 rows"), "{told}");
    assert!(std::fs::read(&old).expect("its bytes") == bytes, "the old file stays as it was");

    let mut server = Server::start_on(&db, "127.0.0.1:0", &[]).await;
    let one = server.get("/sessions/old-1").await;
    assert_eq!(
        (&one["app_name"], &one["user_id"], &one["current_task"]),
        (&json!("risk"), &json!("ana"), &json!("Q4 report"))
    );
    assert_eq!((&one["start_time"], &one["status"]), (&json!("2026-11-27T08:00:00.123Z"), &json!("running")));
    let two = server.get("/sessions/old-2").await;
    assert_eq!((&two["start_time"], &two["status"]), (&json!("2026-11-27T07:00:00.000Z"), &json!("idle")));
    // The client keeps its id, and gets the pending kill.
    let (status, beat) = server.ask(Method::POST, "/sessions/old-1/heartbeat", None).await;
    assert_eq!((status.as_u16(), &beat["kill_requested"]), (200, &json!(false)));
    let (_, beat) = server.ask(Method::POST, "/sessions/old-3/heartbeat", None).await;
    assert_eq!(beat["kill_requested"], true);

    let busy = import(&old, &db).await;
    assert!(String::from_utf8_lossy(&busy.stderr).contains("another sessionwatch is using it"), "the server runs");
    server.kill9().await;
    let again = import(&old, &db).await;
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(told.contains("0 sessions imported") && told.contains("were there already"), "{told}");
    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other).expect("made").execute_batch("CREATE TABLE t (x)").expect("a table");
    let refused = import(&other, &db).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is it the old monitor's database?"));
}
