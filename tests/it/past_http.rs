//! The past over HTTP and on the command line: the table as it was, what is refused, and who sees what.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Method, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::Server;

/// The time now, once it is another one than that of all before.
async fn now() -> String {
    tokio::time::sleep(Duration::from_millis(3)).await;
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    tokio::time::sleep(Duration::from_millis(3)).await;
    now
}

async fn register(server: &Server, id: &str, app: &str) {
    let body =
        json!({ "app_name": app, "session_id": id, "user_id": "ana", "client": "py/1", "meta": { "env": "prod" } });
    let (status, answer) = server.ask(Method::POST, "/sessions", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

/// A server with a short history, and its moments: before all, at work, with a kill, after all.
async fn with_a_past() -> (Server, [String; 4]) {
    let server = Server::start(&[]).await;
    let before = now().await;
    register(&server, "a", "risk").await;
    register(&server, "b", "ops").await;
    server.ask(Method::PUT, "/sessions/a/status", Some(json!({ "status": "running", "current_task": "Q4" }))).await;
    let at_work = now().await;
    server.ask(Method::PUT, "/sessions/a/status", Some(json!({ "status": "idle", "visibility": "hidden" }))).await;
    server.ask(Method::POST, "/sessions/a/kill", Some(json!({ "reason": "over" }))).await;
    let killed = now().await;
    server.ask(Method::DELETE, "/sessions/a", None).await;
    server.ask(Method::DELETE, "/sessions/b", None).await;
    let after = now().await;
    (server, [before, at_work, killed, after])
}

fn ids(answer: &Value) -> Vec<&str> {
    let mut ids: Vec<&str> =
        answer["sessions"].as_array().expect("a list").iter().filter_map(|one| one["session_id"].as_str()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn the_table_is_told_as_it_was() {
    let (server, [before, at_work, killed, after]) = with_a_past().await;
    let then = async |at: &str| server.get(&format!("/sessions?at={at}")).await;
    assert!(ids(&then(&before).await).is_empty());
    assert!(ids(&then(&after).await).is_empty());

    let table = then(&at_work).await;
    assert_eq!((ids(&table), &table["at"], &table["complete"]), (vec!["a", "b"], &json!(at_work), &json!(true)));
    assert_eq!(table["unknown"], json!(["last_heartbeat", "connected", "node"]));
    let a = server.get(&format!("/sessions?at={at_work}&filter=app:risk")).await["sessions"][0].clone();
    let told = [&a["status"], &a["current_task"], &a["user_id"], &a["client"], &a["meta"]["env"], &a["kill"]];
    assert_eq!(told, [&json!("running"), &json!("Q4"), &json!("ana"), &json!("py/1"), &json!("prod"), &Value::Null]);
    assert_eq!([&a["last_heartbeat"], &a["connected"], &a["node"]], [&Value::Null; 3]);

    let a = then(&killed).await["sessions"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["session_id"] == "a")
        .cloned();
    let a = a.expect("it is there");
    assert_eq!((&a["kill"]["reason"], &a["visibility"]), (&json!("over"), &json!("hidden")));

    // `now` of the filter is that moment.
    let busy = server.get(&format!("/sessions?at={at_work}&filter=busy:<1m")).await;
    assert_eq!(ids(&busy), ["a"]);
    let long_ago = server.get(&format!("/sessions?at={at_work}&filter=age:>1h")).await;
    assert!(ids(&long_ago).is_empty());

    // From event to event.
    let seq = table["seq"].as_u64().expect("a number");
    let next =
        server.get(&format!("/events?after={seq}&limit=1")).await["events"][0]["seq"].as_u64().expect("a number");
    let step = server.get(&format!("/sessions?at_seq={next}")).await;
    assert_eq!((step["seq"].as_u64(), ids(&step)), (Some(next), vec!["a", "b"]));
    assert_eq!(server.get(&format!("/sessions?at_seq={seq}")).await["sessions"], table["sessions"]);

    let csv = server.client.get(format!("{}/sessions?at={at_work}", server.url)).header("accept", "text/csv");
    let csv = csv.send().await.expect("an answer").text().await.expect("text");
    assert!(csv.lines().count() == 3 && csv.contains("Q4"), "{csv}");
    let page = server.get(&format!("/sessions?at={at_work}&limit=1")).await;
    let rest =
        server.get(&format!("/sessions?at={at_work}&limit=1&after={}", page["next"].as_str().expect("more"))).await;
    assert_eq!((page["total"].as_u64(), ids(&page).len(), ids(&rest).len()), (Some(2), 1, 1));
    assert_ne!(ids(&page), ids(&rest));
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_with_what_to_do() {
    let server = Server::start(&[]).await;
    register(&server, "a", "risk").await;
    let tomorrow = (Utc::now() + chrono::Duration::days(1)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let past = now().await;
    for (query, word) in [
        (format!("at={tomorrow}"), "future"),
        ("at=2020-01-01T00:00:00Z".to_owned(), "later"),
        ("at=yesterday".to_owned(), "2026-11-27T14:03:00Z"),
        ("at_seq=999999".to_owned(), "no entry"),
        ("at_seq=18446744073709551615".to_owned(), "no entry"),
        (format!("at={past}&at_seq=1"), "not both"),
        (format!("at={past}&filter=silent:>5m"), "silent:"),
        (format!("at={past}&filter=connected:yes"), "connected:"),
        (format!("at={past}&filter=nonsense:yes"), "qualifiers"),
    ] {
        let (status, answer) = server.ask(Method::GET, &format!("/sessions?{query}"), None).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{query}: {answer}");
    }
}

#[tokio::test]
async fn a_start_ends_what_was_stale_and_a_kill_minus_nine_loses_nothing() {
    let (server, [_, at_work, killed, _]) = with_a_past().await;
    let told = async |server: &Server, at: &str| server.get(&format!("/sessions?at={at}")).await["sessions"].clone();
    let (one, two) = (told(&server, &at_work).await, told(&server, &killed).await);
    let server = server.kill9_and_restart().await;
    assert_eq!((told(&server, &at_work).await, told(&server, &killed).await), (one, two));
}

#[tokio::test]
async fn entries_of_an_older_version_are_told_as_far_as_they_go() {
    let (mut server, [_, at_work, killed, _]) = with_a_past().await;
    server.stop().await;
    {
        // What a database has that was migrated: entries without the state.
        let db = Connection::open(&server.db).expect("it opens");
        db.execute_batch(
            "UPDATE events SET state = NULL; DELETE FROM checkpoints; UPDATE starts SET seq = NULL;
             UPDATE reach SET complete_after = (SELECT max(seq) FROM events), untold_until = (SELECT max(seq) FROM events);",
        )
        .expect("it is made old");
    }
    let server = server.kill9_and_restart().await;
    let table = server.get(&format!("/sessions?at={at_work}&filter=app:risk")).await;
    assert_eq!(table["complete"], json!(false));
    assert!(table["unknown"].as_array().expect("a list").contains(&json!("client")), "{table}");
    let a = &table["sessions"][0];
    assert_eq!([&a["status"], &a["current_task"], &a["user_id"]], [&json!("running"), &json!("Q4"), &json!("ana")]);
    assert!(a["task_started_at"].is_string());
    let a = server.get(&format!("/sessions?at={killed}&filter=app:risk")).await["sessions"][0].clone();
    assert_eq!((&a["kill"]["reason"], &a["kill_requested"]), (&json!("over"), &json!(true)));
    // What came after is exact as soon as there is a checkpoint.
    register(&server, "c", "risk").await;
    let later = now().await;
    crate::support::until("a checkpoint", async || {
        let table = server.get(&format!("/sessions?at={}", now().await)).await;
        table["complete"] == true
    })
    .await;
    assert_eq!(ids(&server.get(&format!("/sessions?at={later}")).await), ["c"]);
}

#[tokio::test]
async fn the_command_line_shows_the_past() {
    let (server, [_, at_work, ..]) = with_a_past().await;
    let ls = async |args: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sessionwatch"));
        let done = command.args(["ls", "--server", &server.url]).args(args).output().await.expect("it runs");
        (
            done.status.success(),
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr),
        )
    };
    let (done, text) = ls(&["--at", &at_work, "app:risk"]).await;
    assert!(done && text.contains("As it was at") && text.contains("Q4") && !text.contains("BEAT"), "{text}");
    let (done, text) = ls(&["--at", &at_work, "--json"]).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(done && lines.len() == 2 && lines[0]["last_heartbeat"].is_null(), "{text}");
    let (done, text) = ls(&["--at", "half past two"]).await;
    assert!(!done && text.contains("14:03"), "{text}");
    // On this machine's clock, to the minute.
    let local = DateTime::parse_from_rfc3339(&at_work).expect("a time").with_timezone(&chrono::Local);
    let (done, text) = ls(&["--at", &local.format("%Y-%m-%dT%H:%M").to_string()]).await;
    assert!(done || text.contains("later"), "{text}");
}

#[tokio::test]
async fn ended_sessions_are_told_with_their_last_state_in_pages() {
    let (server, _) = with_a_past().await;
    let all = server.get("/ended").await;
    assert_eq!((ids(&all), &all["next"]), (vec!["a", "b"], &Value::Null));
    let (b, a) = (&all["sessions"][0], &all["sessions"][1]);
    assert_eq!(
        [&a["session_id"], &a["cause"], &a["reason"], &a["told"]],
        [&json!("a"), &json!("killed"), &json!("over"), &json!(true)]
    );
    assert_eq!([&a["client"], &a["meta"]["env"], &a["visibility"]], [&json!("py/1"), &json!("prod"), &json!("hidden")]);
    assert_eq!([&b["session_id"], &b["cause"], &b["last_heartbeat"]], [&json!("b"), &json!("deleted"), &Value::Null]);
    assert!(a["ended_at"].as_str() > a["start_time"].as_str());
    for (query, expected) in [
        ("filter=app:risk", vec!["a"]),
        ("filter=meta.env:prod", vec!["a", "b"]),
        ("filter=visibility:hidden", vec!["a"]),
        ("filter=age:>1h", vec![]),
        ("cause=deleted,expired", vec!["b"]),
        ("cause=killed&filter=app:ops", vec![]),
    ] {
        assert_eq!(ids(&server.get(&format!("/ended?{query}")).await), expected, "{query}");
    }
    let first = server.get("/ended?limit=1").await;
    let rest = server.get(&format!("/ended?limit=1&before={}", first["next"])).await;
    assert_eq!((ids(&first), ids(&rest)), (vec!["b"], vec!["a"]));
    let csv = server.client.get(format!("{}/ended", server.url)).header("accept", "text/csv").send().await.expect("it");
    let csv = csv.text().await.expect("text");
    assert!(csv.lines().count() == 3 && csv.contains("ended_at") && csv.contains("killed"), "{csv}");
    for (query, word) in
        [("cause=bored", "expired"), ("filter=silent:>1m", "silent:"), ("filter=nonsense:x", "qualifiers")]
    {
        let (status, answer) = server.ask(Method::GET, &format!("/ended?{query}"), None).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{query}: {answer}");
    }
}
