//! The HTTP routes of `docs/protocol.md`, with a plain client.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Server, until};

/// The original system's fields, which old clients read.
const ORIGINAL: [&str; 10] = [
    "session_id",
    "app_name",
    "user_id",
    "start_time",
    "last_heartbeat",
    "duration_seconds",
    "status",
    "current_task",
    "is_stale",
    "kill_requested",
];

async fn register(server: &Server, id: &str) -> Value {
    server.post("/sessions", json!({ "app_name": "risk", "user_id": "ana", "session_id": id })).await
}

#[tokio::test]
async fn a_session_of_the_original_client_from_start_to_end() {
    let server = Server::start(&[]).await;
    let made = server.post("/sessions", json!({ "app_name": "risk", "user_id": "ana" })).await;
    let id = made["session_id"].as_str().expect("an id").to_owned();
    assert_eq!(made["heartbeat_interval"], 30);
    assert_eq!(made["stale_after"], 120);

    let beat = server.ask(Method::POST, &format!("/sessions/{id}/heartbeat"), None).await;
    assert_eq!(beat, (StatusCode::OK, json!({ "kill_requested": false })));
    let report = json!({ "status": "running", "current_task": "Q4 report" });
    let told = server.ask(Method::PUT, &format!("/sessions/{id}/status"), Some(report)).await;
    assert_eq!(told, (StatusCode::OK, json!({ "status": "updated" })));

    let listed = server.get("/sessions").await;
    let session = &listed["sessions"][0];
    for field in ORIGINAL {
        assert!(session.get(field).is_some(), "{field} is missing");
    }
    assert_eq!(session["status"], "running");
    assert_eq!(session["current_task"], "Q4 report");
    assert_eq!(listed["total"], 1);

    let killed = server.ask(Method::POST, &format!("/sessions/{id}/kill"), None).await.1;
    assert_eq!(killed["status"], "kill_requested");
    let again = server.ask(Method::POST, &format!("/sessions/{id}/kill"), None).await.1;
    assert_eq!(again["kill_id"], killed["kill_id"]);
    let beat = server.ask(Method::POST, &format!("/sessions/{id}/heartbeat"), None).await.1;
    assert_eq!(beat["kill_requested"], true);
    assert_eq!(beat["kill_id"], killed["kill_id"]);

    let deleted = server.ask(Method::DELETE, &format!("/sessions/{id}"), None).await;
    assert_eq!(deleted, (StatusCode::OK, json!({ "status": "deleted" })));
    let (status, problem) = server.ask(Method::GET, &format!("/sessions/{id}"), None).await;
    assert_eq!(status, StatusCode::GONE);
    assert_eq!(problem["status"], 410);

    let timeline = server.get(&format!("/sessions/{id}/timeline")).await;
    let kinds: Vec<&str> =
        timeline["events"].as_array().expect("events").iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, ["registered", "status_changed", "kill_requested", "kill_delivered", "removed"]);
    assert_eq!(timeline["events"][4]["cause"], "killed");
}

#[tokio::test]
async fn a_killed_id_answers_410_whatever_it_asks() {
    let server = Server::start(&[]).await;
    register(&server, "k").await;
    server.ask(Method::POST, "/sessions/k/kill", Some(json!({ "reason": "maintenance" }))).await;
    server.ask(Method::DELETE, "/sessions/k", None).await;
    let body = || Some(json!({ "app_name": "risk", "session_id": "k", "status": "idle" }));
    let asked = [
        (Method::POST, "/sessions", body()),
        (Method::PUT, "/sessions/k", body()),
        (Method::GET, "/sessions/k", None),
        (Method::DELETE, "/sessions/k", None),
        (Method::POST, "/sessions/k/end", None),
        (Method::POST, "/sessions/k/heartbeat", None),
        (Method::PUT, "/sessions/k/status", body()),
        (Method::POST, "/sessions/k/kill", None),
        (Method::POST, "/sessions/k/message", Some(json!({ "text": "hello" }))),
        (Method::GET, "/sessions/k/events", None),
        (Method::GET, "/ping/risk/k", None),
    ];
    for (method, path, body) in asked {
        let (status, problem) = server.ask(method.clone(), path, body).await;
        assert_eq!(status, StatusCode::GONE, "{method} {path}");
        if !path.starts_with("/ping") {
            assert_eq!(problem["reason"], "maintenance", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn put_is_idempotent_and_an_ended_id_may_come_back() {
    let server = Server::start(&[]).await;
    let body = || Some(json!({ "app_name": "risk" }));
    assert_eq!(server.ask(Method::PUT, "/sessions/p", body()).await.0, StatusCode::CREATED);
    assert_eq!(server.ask(Method::PUT, "/sessions/p", body()).await.0, StatusCode::OK);
    let other = Some(json!({ "app_name": "shop" }));
    assert_eq!(server.ask(Method::PUT, "/sessions/p", other).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(server.ask(Method::POST, "/sessions/p/end", None).await.0, StatusCode::OK);
    assert_eq!(server.ask(Method::GET, "/sessions/p", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(server.ask(Method::PUT, "/sessions/p", body()).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn wrong_input_gets_an_error_that_says_what_to_do() {
    let server = Server::start(&[]).await;
    register(&server, "w").await;
    let post = |body: &'static str, kind: &'static str| {
        let request = server.client.post(format!("{}/sessions", server.url)).header("content-type", kind).body(body);
        async { request.send().await.expect("an answer") }
    };
    assert_eq!(post("{", "application/json").await.status(), 400);
    assert_eq!(post("NaN", "application/json").await.status(), 400);
    assert_eq!(post(r#"{"app_name":"\ud800"}"#, "application/json").await.status(), 400);
    assert_eq!(post(r#"{"app_name":5}"#, "application/json").await.status(), 422);
    assert_eq!(post(r#"{"app_name":""}"#, "application/json").await.status(), 422);
    assert_eq!(post("{}", "application/json").await.status(), 422);
    assert_eq!(post(r#"{"app_name":"a"}"#, "application/x-www-form-urlencoded").await.status(), 415);
    assert_eq!(post(r#"{"app_name":"a"}"#, "text/plain;charset=UTF-8").await.status(), 201);

    let bad = [
        json!({ "app_name": "a", "session_id": "a/b" }),
        json!({ "app_name": "a", "client": "js/0.1.0", "status": "killed" }),
        json!({ "app_name": "a", "meta": { "deep": {} } }),
        json!({ "app_name": "a", "heartbeat_interval": 0 }),
        json!({ "app_name": "a\u{202e}b", "client": "js/0.1.0" }),
        json!({ "app_name": "x".repeat(257), "client": "js/0.1.0" }),
        json!(["a", "ana"]),
        json!("a"),
    ];
    for body in bad {
        let (status, problem) = server.ask(Method::POST, "/sessions", Some(body.clone())).await;
        assert_eq!(status, 422, "{body}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    }

    let unknown = server.client.get(format!("{}/sessions/nobody", server.url)).send().await.expect("an answer");
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.headers()["content-type"], "application/problem+json");
    for path in ["/sessions/%ff", "/sessions/%ff/timeline", "/sessions/%ff/events", "/ping/risk/%ff", "/assets/%ff"] {
        let answer = server.client.get(format!("{}{path}", server.url)).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
    }
    let method = server.client.patch(format!("{}/sessions/w", server.url)).send().await.expect("an answer");
    assert_eq!(method.status(), 405);
    let allow = method.headers()["allow"].to_str().expect("text");
    assert!(["GET", "PUT", "DELETE"].iter().all(|method| allow.contains(method)), "{allow}");
    assert_eq!(server.ask(Method::GET, "/events?kind=nonsense", None).await.0, 422);
    assert_eq!(server.ask(Method::GET, "/sessions?limit=many", None).await.0, 422);
}

#[tokio::test]
async fn a_body_may_have_16_kib_and_not_one_byte_more() {
    let server = Server::start(&[]).await;
    let send = |size: usize| {
        let frame = r#"{"app_name":"a","unknown":""}"#;
        let body = frame.replace("\"\"", &format!("\"{}\"", "x".repeat(size - frame.len())));
        assert_eq!(body.len(), size);
        let request = server.client.post(format!("{}/sessions", server.url)).header("content-type", "application/json");
        async { request.body(body).send().await.expect("an answer").status() }
    };
    assert_eq!(send(16 * 1_024).await, 201);
    assert_eq!(send(16 * 1_024 + 1).await, 413);
}

#[tokio::test]
async fn lists_filter_page_and_come_as_csv() {
    let server = Server::start(&[]).await;
    for n in 0..5 {
        let app = if n % 2 == 0 { "risk" } else { "shop" };
        let body =
            json!({ "app_name": app, "session_id": format!("s{n}"), "current_task": "=1+1", "status": "running" });
        server.post("/sessions", body).await;
    }
    assert_eq!(server.get("/sessions?app_name=risk").await["total"], 3);
    assert_eq!(server.get("/sessions?q=SHOP").await["total"], 2);
    assert_eq!(server.get("/sessions?status=running&app_name=shop").await["total"], 2);
    assert_eq!(server.get("/sessions?status=idle").await["total"], 0);

    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("/sessions?limit=2{after}")).await;
        seen.extend(page["sessions"].as_array().expect("sessions").iter().map(|s| s["session_id"].to_string()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let all = server.get("/sessions").await;
    let all: Vec<String> =
        all["sessions"].as_array().expect("sessions").iter().map(|s| s["session_id"].to_string()).collect();
    assert_eq!(seen, all);

    let csv = server.client.get(format!("{}/sessions", server.url)).header("accept", "text/csv").send().await;
    let csv = csv.expect("an answer").text().await.expect("text");
    assert_eq!(csv.lines().count(), 6);
    assert!(csv.contains(",'=1+1,"), "{csv}");
}

#[tokio::test]
async fn kill_all_and_delete_stale_count_what_they_did() {
    let server = Server::start(&[]).await;
    for n in 0..4 {
        server.post("/sessions", json!({ "app_name": "a b/c", "session_id": format!("s{n}") })).await;
    }
    server.ask(Method::POST, "/sessions/s0/kill", None).await;
    let all = server.ask(Method::POST, "/apps/a%20b%2Fc/kill-all", Some(json!({ "reason": "night" }))).await.1;
    assert_eq!(all, json!({ "killed_count": 3 }));
    assert_eq!(server.ask(Method::POST, "/apps/a%20b%2Fc/kill-all", None).await.1, json!({ "killed_count": 0 }));
    assert_eq!(server.get("/events?kind=kill_requested").await["events"].as_array().map(Vec::len), Some(4));
    assert_eq!(server.ask(Method::DELETE, "/sessions/stale", None).await.1, json!({ "deleted_count": 0 }));
    let old = server.ask(Method::DELETE, "/sessions/stale?older_than_minutes=0", None).await.1;
    assert_eq!(old, json!({ "deleted_count": 4 }));
}

#[tokio::test]
async fn a_filter_selects_sessions_and_ends_them() {
    let server = Server::start(&[]).await;
    for (id, app, user) in [("a1", "risk", "ana"), ("a2", "risk", "root"), ("b1", "shop", "ana")] {
        let body = json!({ "app_name": app, "session_id": id, "user_id": user, "meta": { "env": "prod" } });
        server.post("/sessions", body).await;
    }
    let ids = async |filter: &str| {
        let query = reqwest::Url::parse_with_params(&format!("{}/sessions", server.url), [("filter", filter)]);
        let answer = server.client.get(query.expect("a URL")).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        let rows = answer["sessions"].as_array().unwrap_or_else(|| panic!("{filter}: {answer}")).clone();
        assert_eq!(answer["total"], rows.len());
        let mut ids: Vec<String> = rows.iter().map(|row| row["session_id"].as_str().expect("an id").into()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("app:risk -user:root meta.env:prod age:<1h").await, ["a1"]);
    assert_eq!(ids("").await, ["a1", "a2", "b1"]);
    let (status, wrong) = server.ask(Method::GET, "/sessions?filter=app:risk%20colour:red", None).await;
    assert_eq!(status, 422);
    let detail = wrong["detail"].as_str().expect("a detail");
    assert!(detail.contains("at character 10") && detail.contains("meta.") | detail.contains("meta,"), "{detail}");

    let kill = async |body: Value| server.ask(Method::POST, "/kill", Some(body)).await;
    let would = kill(json!({ "filter": "user:ana", "dry_run": true })).await.1;
    assert_eq!(would["killed_count"], 0);
    assert_eq!(would["sessions"].as_array().map(Vec::len), Some(2), "{would}");
    assert!(server.get("/events?kind=kill_requested").await["events"].as_array().expect("a list").is_empty());
    for refused in [json!({ "filter": " " }), json!({ "filter": "app:" }), json!({ "reason": "no filter" })] {
        assert_eq!(kill(refused.clone()).await.0, 422, "{refused}");
    }
    let done = kill(json!({ "filter": "user:ana app:risk", "reason": "night", "by": "eve" })).await.1;
    assert_eq!(done, json!({ "killed_count": 1, "sessions": ["a1"] }));
    let again = kill(json!({ "filter": "user:ana app:risk" })).await.1;
    assert_eq!(again, json!({ "killed_count": 0, "sessions": [] }), "a session is asked once");
    let log = server.get("/events?kind=kill_requested").await;
    assert_eq!((&log["events"][0]["reason"], &log["events"][0]["by"]), (&json!("night"), &json!("eve")));
    assert_eq!(log["events"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_ping_makes_beats_and_ends_a_job() {
    let server = Server::start(&[]).await;
    let ping = async |path: &str| {
        let response = server.client.get(format!("{}{path}", server.url)).send().await.expect("an answer");
        response.text().await.expect("text")
    };
    assert_eq!(ping("/ping/backup/job1/start?task=nightly&user_id=root").await, "OK");
    let session = server.get("/sessions/job1").await;
    assert_eq!((&session["status"], &session["current_task"]), (&json!("running"), &json!("nightly")));
    assert_eq!(ping("/ping/backup/job1").await, "OK");
    assert_eq!(ping("/ping/backup/job1/0").await, "OK");
    assert_eq!(server.get("/events?kind=removed").await["events"][0]["cause"], "done");
    assert_eq!(ping("/ping/backup/job1/start").await, "OK");
    assert_eq!(ping("/ping/backup/job1/3").await, "OK");
    assert_eq!(server.get("/events?kind=removed").await["events"][0]["cause"], "failed");
    ping("/ping/backup/job2").await;
    server.ask(Method::POST, "/sessions/job2/kill", None).await;
    assert_eq!(ping("/ping/backup/job2").await, "KILL");
    // Its report of the end ends it; every later ping gets `KILL`, the word that it understands.
    assert_eq!(ping("/ping/backup/job2/0").await, "KILL");
    for path in ["", "/start", "/0", "/3", "/fail"] {
        let response = server.client.get(format!("{}/ping/backup/job2{path}", server.url)).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (410, "KILL"), "{path}");
    }
}

#[tokio::test]
async fn a_session_is_idle_since_its_last_input_and_its_last_task() {
    let server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "risk", "session_id": "s" })).await;
    let idle = async || {
        let session = server.get("/sessions/s").await;
        (session["idle_since"].clone(), session["status_since"].clone(), session["last_heartbeat"].clone())
    };
    let (since, status_since, _) = idle().await;
    assert_eq!(since, status_since, "nothing is told of input");
    server.post("/sessions/s/heartbeat", json!({ "idle_seconds": 0 })).await;
    assert_eq!(idle().await.0, Value::Null, "the user is active");
    server.post("/sessions/s/heartbeat", json!({ "idle_seconds": 60 })).await;
    let (since, status_since, _) = idle().await;
    assert_eq!(since, status_since, "the last input was before the session began");
    let mut socket = server.socket("/ws/client", &[]).await;
    socket.send(json!({ "type": "register", "app_name": "risk", "session_id": "w", "idle_seconds": 0 })).await;
    socket.next_of("registered").await;
    assert_eq!(server.get("/sessions/w").await["idle_since"], Value::Null);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    socket.send(json!({ "type": "heartbeat", "idle_seconds": 0.01 })).await;
    until("it is idle", async || server.get("/sessions/w").await["idle_since"].is_string()).await;
    assert_eq!(server.get("/sessions?filter=idle:>=0s%20id:w").await["total"], 1);
    socket.send(json!({ "type": "status", "status": "running", "current_task": "t" })).await;
    until("a task runs", async || server.get("/sessions/w").await["idle_since"].is_null()).await;
    for wrong in [json!(-1), json!("soon"), json!(null)] {
        let status = server.post_status("/sessions/s/heartbeat", json!({ "idle_seconds": wrong })).await;
        assert_eq!(status, if wrong.is_null() { 200 } else { 422 }, "{wrong}");
    }
    let before = server.get("/events?session_id=s").await["events"].as_array().unwrap().len();
    for _ in 0..3 {
        server.post("/sessions/s/heartbeat", json!({ "idle_seconds": 60 })).await;
    }
    assert_eq!(server.get("/events?session_id=s").await["events"].as_array().unwrap().len(), before, "nothing is new");
}
