//! Stale, expired and restored sessions; the start, the settings and the end of the server.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::process::Command;

use crate::support::{PATIENCE, Server, command, until};

const SHORT: [&str; 6] = ["--heartbeat-interval", "200ms", "--stale-after", "600ms", "--expire-after", "1500ms"];

#[tokio::test]
async fn a_silent_session_becomes_stale_and_is_removed_without_any_request() {
    let server = Server::start(&SHORT).await;
    server.post("/sessions", json!({ "app_name": "a", "session_id": "silent" })).await;
    until("it is stale", async || {
        let listed = server.get("/sessions").await;
        listed["sessions"][0]["status"] == "stale" && listed["sessions"][0]["reported_status"] == "idle"
    })
    .await;
    server.ask(Method::POST, "/sessions/silent/heartbeat", None).await;
    assert_eq!(server.get("/sessions/silent").await["is_stale"], false, "a beat is seen at once");
    until("it is gone", async || server.get("/sessions").await["total"] == 0).await;
    let timeline = server.get("/sessions/silent/timeline").await;
    let told: Vec<_> = timeline["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(told, ["registered", "stale", "recovered", "stale", "removed"]);
    assert_eq!(timeline["events"][4]["cause"], "expired");
    let (again, _) = server.ask(Method::PUT, "/sessions/silent", Some(json!({ "app_name": "a" }))).await;
    assert_eq!(again, StatusCode::CREATED, "an expired id may come back");
}

#[tokio::test]
async fn a_live_socket_is_never_stale_and_a_silent_one_is_closed() {
    let server = Server::start(&SHORT).await;
    let mut socket = server.socket("/ws/client", &[]).await;
    socket.send(json!({ "type": "register", "app_name": "a", "session_id": "live" })).await;
    socket.next_of("registered").await;
    // It only reads: the library answers the pings.
    let reading = tokio::time::timeout(Duration::from_secs(3), socket.closed()).await;
    assert!(reading.is_err(), "it stays open");
    assert_eq!(server.get("/sessions/live").await["is_stale"], false);
    assert_eq!(server.get("/events?kind=stale").await["events"], json!([]));
    // Now it does not read, so it does not answer pings.
    until("it is gone", async || server.get("/sessions").await["total"] == 0).await;
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_kill_9_and_nobody_died_of_it() {
    let server = Server::start(&[]).await;
    let body = json!({ "app_name": "risk", "user_id": "ana", "session_id": "s", "meta": { "env": "prod" } });
    server.post("/sessions", body).await;
    server.ask(Method::PUT, "/sessions/s/status", Some(json!({ "status": "running", "current_task": "Q4" }))).await;
    server.post("/sessions", json!({ "app_name": "risk", "session_id": "pending" })).await;
    let pending = server.post("/sessions/pending/kill", json!({ "reason": "why", "by": "ana" })).await;
    server.post("/sessions", json!({ "app_name": "risk", "session_id": "dead" })).await;
    server.post("/sessions/dead/kill", json!({})).await;
    server.ask(Method::DELETE, "/sessions/dead", None).await;
    let before = server.get("/sessions").await;

    let server = server.kill9_and_restart().await;
    let after = server.get("/sessions").await;
    assert_ne!(before["epoch"], after["epoch"]);
    assert_eq!(after["total"], 2);
    let session = server.get("/sessions/s").await;
    assert_eq!((&session["current_task"], &session["meta"]["env"]), (&json!("Q4"), &json!("prod")));
    assert_eq!(session["is_stale"], false);
    let kill = server.get("/sessions/pending").await["kill"].clone();
    assert_eq!((&kill["kill_id"], &kill["reason"]), (&pending["kill_id"], &json!("why")));
    assert_eq!(server.ask(Method::PUT, "/sessions/dead", Some(json!({ "app_name": "risk" }))).await.0, 410);
    assert_eq!(server.get("/stats").await["restarts"].as_array().unwrap().len(), 2);
    let seq = after["seq"].as_u64().unwrap();
    assert!(seq >= before["seq"].as_u64().unwrap(), "the log goes on where it was");
}

#[tokio::test]
async fn a_second_server_on_the_same_database_refuses_to_start() {
    let server = Server::start(&[]).await;
    let output = command(&server.db, "127.0.0.1:0", &[]).output().await.expect("it runs");
    assert!(!output.status.success());
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("another sessionwatch"), "{why}");
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letters.db");
    std::fs::write(&file, "dear diary, ".repeat(1_000)).unwrap();
    let output = command(&file, "127.0.0.1:0", &[]).output().await.expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a SQLite database"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "dear diary, ".repeat(1_000));
}

#[tokio::test]
async fn settings_that_do_not_fit_together_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("x.db");
    let cases = [
        (["--stale-after", "10s"], "--heartbeat-interval"),
        (["--expire-after", "1m"], "--stale-after"),
        (["--listen", "0.0.0.0:0"], "--insecure-http"),
    ];
    for (args, named) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_sessionwatch")).arg("--db").arg(&db).args(args).output().await;
        let output = output.expect("it runs");
        assert!(!output.status.success(), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(named), "{args:?}");
        assert!(!db.exists(), "nothing was made");
    }
}

#[tokio::test]
async fn settings_come_from_the_environment_too() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sessionwatch"))
        .env("SESSIONWATCH_DB", folder.path().join("x.db"))
        .env("SESSIONWATCH_STALE_AFTER", "1s")
        .output()
        .await
        .expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--stale-after (1s)"));
}

#[tokio::test]
async fn sigterm_closes_every_socket_with_1012_and_ends_with_0() {
    let mut server = Server::start(&[]).await;
    let mut dashboard = server.socket("/ws", &[]).await;
    dashboard.next_of("snapshot").await;
    let mut client = server.socket("/ws/client", &[]).await;
    client.send(json!({ "type": "register", "app_name": "a", "session_id": "s" })).await;
    client.next_of("registered").await;
    let begun = Instant::now();
    let (code, one, other) = tokio::join!(server.stop(), dashboard.closed(), client.closed());
    assert_eq!(code, 0);
    assert!(begun.elapsed() < Duration::from_secs(5) + PATIENCE / 4);
    for close in [one, other] {
        assert_eq!(u16::from(close.expect("a close frame").code), 1012);
    }
}

/// Their clients would otherwise come back to the other servers at the same moment.
#[tokio::test]
async fn with_a_drain_sockets_are_closed_one_after_the_other_and_requests_answered_meanwhile() {
    let mut server = Server::start(&["--drain", "4s"]).await;
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut client = server.socket("/ws/client", &[]).await;
        client.send(json!({ "type": "register", "app_name": "a", "session_id": format!("s{number}") })).await;
        client.next_of("registered").await;
        clients.push(client);
    }
    // A connection that is open already.
    assert_eq!(server.get("/sessions").await["total"], 12);
    server.signal(libc::SIGTERM);
    let (first, _, mut others) = futures_util::future::select_all(
        clients.into_iter().map(|mut client| Box::pin(async move { client.closed().await })),
    )
    .await;
    assert_eq!(u16::from(first.expect("a close frame").code), 1012);
    let closed = others.iter_mut().filter_map(FutureExt::now_or_never).count();
    assert!(closed < 11, "all others have closed at the same moment");
    assert_eq!(server.get("/sessions").await["total"], 12);
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn a_second_sigterm_ends_a_drain_at_once() {
    // So long that only the second one can end it.
    let mut server = Server::start(&["--drain", "1h"]).await;
    let mut client = server.socket("/ws/client", &[]).await;
    client.send(json!({ "type": "register", "app_name": "a", "session_id": "s" })).await;
    client.next_of("registered").await;
    // A connection that is open already.
    assert_eq!(server.get("/sessions").await["total"], 1);
    server.signal(libc::SIGTERM);
    until("it drains", async || server.ask(Method::GET, "/readyz", None).await.0 == 503).await;
    assert_eq!(server.get("/sessions").await["sessions"][0]["connected"], true, "the drain has only begun");
    assert_eq!(server.stop().await, 0);
    assert_eq!(u16::from(client.closed().await.expect("a close frame").code), 1012);
    let server = server.start_again().await;
    assert_eq!(server.get("/sessions").await["total"], 1);
}

#[tokio::test]
async fn a_heartbeat_reaches_the_disk_when_the_server_ends() {
    let mut server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "a", "session_id": "s" })).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.ask(Method::POST, "/sessions/s/heartbeat", None).await;
    let beat = server.get("/sessions/s").await["last_heartbeat"].clone();
    server.stop().await;
    let server = server.kill9_and_restart().await;
    assert_eq!(server.get("/sessions/s").await["last_heartbeat"], beat);
}

#[tokio::test]
async fn under_a_base_path_all_routes_work_and_the_base_without_a_slash_redirects() {
    let server = Server::start(&["--base-path", "watch/"]).await;
    assert!(server.url.ends_with("/watch"), "{}", server.url);
    server.post("/sessions", json!({ "app_name": "a", "session_id": "s" })).await;
    assert_eq!(server.get("/sessions").await["total"], 1);
    let page = server.client.get(format!("{}/", server.url)).send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let bare = server.raw(format!("GET /watch HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", server.port).as_bytes()).await;
    assert!(bare.starts_with("HTTP/1.1 308") && bare.contains("location: /watch/\r\n"), "{bare}");
    server.socket("/watch/ws", &[]).await.next_of("snapshot").await;
}
