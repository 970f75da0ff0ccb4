//! Tokens that are limited to apps: no view, count, log entry, frame or metric shows them
//! another app, and they can end none of its sessions.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

use super::requests::{log_in, tokens_of};
use crate::support::{Server, Socket, until};

/// A server with sessions of two apps, and tokens for one of them.
struct Two {
    server: Server,
    everything: String,
    admin: String,
    view: String,
    ingest: String,
    /// The session_token of `r1`.
    own: String,
}

async fn two() -> Two {
    let server = Server::start(&["--strict"]).await;
    let [_, _, everything] = tokens_of(&server);
    let mut secrets = Vec::new();
    for role in ["admin", "view", "ingest"] {
        let name = format!("risk-{role}");
        let done = Command::new(env!("CARGO_BIN_EXE_sessionwatch"))
            .args(["token", "add", &name, "--role", role, "--app", "risk", "--db"])
            .arg(&server.db)
            .output()
            .await
            .expect("it runs");
        let text = String::from_utf8(done.stdout).expect("text");
        let line = text.lines().find(|line| line.starts_with(&name)).expect("it is shown");
        assert!(line.ends_with("app \"risk\""), "{line}");
        secrets.push(line.split_whitespace().nth(2).expect("its secret").to_owned());
    }
    let [admin, view, ingest] = <[String; 3]>::try_from(secrets).expect("three");
    let mut two = Two { server, everything, admin, view, ingest, own: String::new() };
    for (app, id) in [("risk", "r1"), ("ops", "o1"), ("ops", "o2"), ("ops", "dead")] {
        let body = json!({ "app_name": app, "session_id": id, "user_id": format!("user-of-{app}") });
        let made = two.json(&two.everything, Method::POST, "/sessions", Some(body)).await;
        if id == "r1" {
            two.own = made["session_token"].as_str().expect("its own").to_owned();
        }
    }
    two.json(&two.everything, Method::POST, "/sessions/dead/kill", Some(json!({ "reason": "secret-reason" }))).await;
    two.json(&two.everything, Method::DELETE, "/sessions/dead", None).await;
    two
}

impl Two {
    async fn ask(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, String) {
        let mut request = self.server.client.request(method, format!("{}{path}", self.server.url)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("text"))
    }

    async fn json(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, text) = self.ask(token, method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn socket(&self, token: &str, path: &str) -> Socket {
        self.socket_in("sessionwatch.v1", token, path).await
    }

    /// A dashboard's socket in this form.
    async fn socket_in(&self, form: &str, token: &str, path: &str) -> Socket {
        let headers = [("authorization", format!("Bearer {token}")), ("sec-websocket-protocol", form.to_owned())];
        self.server.socket(path, &headers.each_ref().map(|(name, value)| (*name, value.as_str()))).await
    }
}

/// Checks that a text contains nothing of the other app.
fn silent(what: &str, text: &str) {
    for word in ["ops", "o1", "o2", "dead", "secret-reason"] {
        assert!(!text.contains(word), "{what} tells of {word}: {text}");
    }
}

#[tokio::test]
async fn every_view_shows_the_tokens_own_apps_alone() {
    let two = two().await;
    for token in [&two.admin, &two.view] {
        for path in [
            "/sessions",
            "/sessions?limit=1",
            "/sessions?q=user",
            "/sessions?status=idle",
            "/events?limit=1000",
            "/events?kind=kill_requested,removed",
            "/events?kind=logged_in",
            "/ended",
            "/ended?cause=killed",
            "/sessions/r1",
            "/sessions/r1/timeline",
            "/stats",
            "/nodes",
            "/alerts",
            "/metrics",
        ] {
            let (status, text) = two.ask(token, Method::GET, path, None).await;
            assert_eq!(status, 200, "{path}");
            silent(path, &text);
        }
        let all = two.json(token, Method::GET, "/sessions", None).await;
        assert_eq!((&all["total"], &all["sessions"][0]["session_id"]), (&json!(1), &json!("r1")));
        for path in ["/sessions?app_name=ops", "/sessions?q=o1", "/sessions?user_id=user-of-ops"] {
            assert_eq!(two.json(token, Method::GET, path, None).await["total"], 0, "{path}");
        }
        for path in ["/events?app_name=ops", "/events?session_id=o1", "/events?session_id=dead"] {
            assert_eq!(two.json(token, Method::GET, path, None).await["events"], json!([]), "{path}");
        }
        let stats = two.json(token, Method::GET, "/stats", None).await;
        assert_eq!((&stats["current"]["idle"], &stats["ended_24h"]), (&json!(1), &json!(0)));
        assert_eq!(stats["minutes"], json!([]), "those are of all apps together");
        let (_, metrics) = two.ask(token, Method::GET, "/metrics", None).await;
        let families = metrics.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert!(families == 1 && metrics.contains(r#"app="risk""#), "{metrics}");
        let csv = two.server.client.get(format!("{}/sessions", two.server.url)).header("accept", "text/csv");
        let csv = csv.bearer_auth(token).send().await.expect("an answer").text().await.expect("text");
        assert!(csv.contains("r1"));
        silent("CSV", &csv);
    }
    let theirs =
        two.json(&two.everything, Method::GET, "/events?app_name=ops&limit=1", None).await["events"][0].clone();
    let (at, seq) = (theirs["at"].as_str().expect("a time"), &theirs["seq"]);
    let then = two.json(&two.everything, Method::GET, &format!("/sessions?at={at}"), None).await;
    assert_eq!(then["total"], 3, "three were live then: {then}");
    for token in [&two.admin, &two.view] {
        let path = format!("/sessions?at={at}");
        let (_, text) = two.ask(token, Method::GET, &path, None).await;
        assert!(text.contains("r1"), "{text}");
        silent(&path, &text);
        // When their entry was written is not told either.
        let (status, text) = two.ask(token, Method::GET, &format!("/sessions?at_seq={seq}"), None).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
    }
    let all = two.json(&two.everything, Method::GET, "/sessions", None).await;
    assert_eq!(all["total"], 3, "who is not limited sees all");
}

#[tokio::test]
async fn a_token_of_some_apps_makes_and_sees_the_locks_of_these_alone() {
    let two = two().await;
    let mut dashboard = two.socket(&two.view, "/ws").await;
    dashboard.next_of("snapshot").await;
    let on = |app: &str| Some(json!({ "app_name": app, "user_id": "eve", "reason": "secret-reason" }));
    let theirs = two.json(&two.everything, Method::POST, "/locks", on("ops")).await;
    two.json(&two.everything, Method::POST, "/locks", Some(json!({ "user_id": "o1", "reason": "dead" }))).await;
    for refused in [on("ops"), Some(json!({ "user_id": "eve", "reason": "all apps" }))] {
        assert_eq!(two.ask(&two.admin, Method::POST, "/locks", refused).await.0, StatusCode::FORBIDDEN);
    }
    let path = format!("/locks/{}", theirs["lock_id"].as_str().expect("an id"));
    assert_eq!(two.ask(&two.admin, Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    let body = Some(json!({ "app_name": "risk", "user_id": "eve", "reason": "audit" }));
    assert_eq!(two.ask(&two.view, Method::POST, "/locks", body.clone()).await.0, StatusCode::FORBIDDEN);
    two.json(&two.admin, Method::POST, "/locks", body).await;
    for token in [&two.admin, &two.view] {
        let (_, text) = two.ask(token, Method::GET, "/locks", None).await;
        assert!(text.contains("audit"), "{text}");
        silent("/locks", &text);
        silent("the log", &two.ask(token, Method::GET, "/events?kind=locked,unlocked", None).await.1);
    }
    // The first frame is the hint of the lock of its app.
    assert_eq!(dashboard.next().await["about"], "locks");
    let last = two.json(&two.everything, Method::POST, "/sessions", Some(json!({ "app_name": "risk" }))).await;
    assert_eq!(dashboard.next().await["upserted"][0]["session_id"], last["session_id"]);
}

#[tokio::test]
async fn another_apps_id_is_unknown_in_every_route_and_nothing_of_it_is_ended() {
    let two = two().await;
    let text = || Some(json!({ "text": "hello" }));
    let status = || Some(json!({ "status": "running" }));
    let routes: [(Method, &str, Option<Value>); 11] = [
        (Method::GET, "/sessions/{id}", None),
        (Method::GET, "/sessions/{id}/timeline", None),
        (Method::GET, "/sessions/{id}/alive", None),
        (Method::GET, "/sessions/{id}/events", None),
        (Method::POST, "/sessions/{id}/kill", None),
        (Method::POST, "/sessions/{id}/message", text()),
        (Method::POST, "/sessions/{id}/heartbeat", None),
        (Method::PUT, "/sessions/{id}/status", status()),
        (Method::POST, "/sessions/{id}/end", None),
        (Method::DELETE, "/sessions/{id}", None),
        (Method::GET, "/sessions?after={id}", None),
    ];
    for token in [&two.admin, &two.view, &two.ingest] {
        for (method, path, body) in &routes {
            let ask = async |id: &str| {
                let asked = two.ask(token, method.clone(), &path.replace("{id}", id), body.clone()).await;
                (asked.0, asked.1.replace(id, "{id}"))
            };
            let unknown = ask("zz").await;
            assert!(unknown.0.is_client_error(), "{path}: {unknown:?}");
            for id in ["o1", "dead"] {
                assert_eq!(ask(id).await, unknown, "{method} {path} for {id}");
            }
        }
    }
    let admin = |method, path: &'static str, body| two.json(&two.admin, method, path, body);
    assert_eq!(admin(Method::POST, "/apps/ops/kill-all", None).await["killed_count"], 0);
    for filter in ["app:ops", "user-of-ops", "-app:risk"] {
        for dry_run in [true, false] {
            let body = json!({ "filter": filter, "dry_run": dry_run });
            let told = admin(Method::POST, "/kill", Some(body)).await;
            assert_eq!(told, json!({ "killed_count": 0, "sessions": [] }), "{filter}");
        }
    }
    let seen = two.json(&two.view, Method::GET, "/sessions?filter=-app:nothing", None).await;
    assert_eq!((&seen["total"], &seen["sessions"][0]["session_id"]), (&json!(1), &json!("r1")));
    let sent = admin(Method::POST, "/apps/ops/message", text()).await;
    assert_eq!((&sent["sent"], &sent["unreachable"]), (&json!(0), &json!(0)));
    // It can end sessions of its own app, and the log has its name.
    let sent = admin(Method::POST, "/apps/risk/message", text()).await;
    assert_eq!((&sent["sent"], &sent["unreachable"]), (&json!(0), &json!(1)));
    assert_eq!(admin(Method::POST, "/sessions/r1/kill", None).await["status"], "kill_requested");
    let kills = two.json(&two.everything, Method::GET, "/events?kind=kill_requested", None).await;
    assert_eq!((&kills["events"][0]["session_id"], &kills["events"][0]["by"]), (&json!("r1"), &json!("risk-admin")));
    admin(Method::DELETE, "/sessions/r1", None).await;
    two.json(&two.ingest, Method::POST, "/sessions", Some(json!({ "app_name": "risk", "session_id": "r2" }))).await;
    // With an age of zero, all sessions count as stale.
    assert_eq!(admin(Method::DELETE, "/sessions/stale?older_than_minutes=0", None).await["deleted_count"], 1);
    let left = two.json(&two.everything, Method::GET, "/sessions", None).await;
    let mut ids: Vec<_> = left["sessions"].as_array().unwrap().iter().map(|row| row["session_id"].clone()).collect();
    ids.sort_by_key(ToString::to_string);
    assert_eq!(ids, ["o1", "o2"]);
    assert!(left["sessions"].as_array().unwrap().iter().all(|row| row["kill"].is_null() && row["status"] == "idle"));
}

#[tokio::test]
async fn a_limited_dashboard_gets_its_own_apps_only_with_correct_positions() {
    let two = two().await;
    // In every form of the frames.
    let forms = ["", ".z", ".patch", ".patch.z"].map(|form| format!("sessionwatch.v1{form}"));
    for (round, (token, form)) in forms.iter().flat_map(|form| [(&two.admin, form), (&two.view, form)]).enumerate() {
        let mut socket = two.socket_in(form, token, "/ws").await;
        let hello = socket.next().await;
        let snapshot = socket.next().await;
        silent("the snapshot", &snapshot.to_string());
        assert_eq!(snapshot["sessions"][0]["session_id"], "r1");
        assert_eq!(snapshot["seq"], hello["seq"]);
        // Many changes in the other app, and then one in its own.
        let other = json!({ "app_name": "ops", "session_id": "o3" });
        two.json(&two.everything, Method::POST, "/sessions", Some(other)).await;
        let status = |status: &str| Some(json!({ "status": status }));
        two.json(&two.everything, Method::PUT, "/sessions/o3/status", status("running")).await;
        two.json(&two.everything, Method::POST, "/sessions/o3/heartbeat", None).await;
        two.json(&two.everything, Method::DELETE, "/sessions/o3", None).await;
        let next = format!("busy{round}");
        two.json(&two.everything, Method::PUT, "/sessions/r1/status", status(&next)).await;
        let changes = loop {
            let frame = socket.next().await;
            silent("a frame", &frame.to_string());
            if frame["type"] == "changes" {
                break frame;
            }
        };
        assert_eq!(changes["from"], hello["seq"], "there was no other");
        assert_eq!(changes["upserted"][0]["reported_status"], next);
        assert_eq!(changes["upserted"].as_array().map(Vec::len), Some(1));
        // Its state equals the list over HTTP.
        let all = two.json(token, Method::GET, "/sessions", None).await;
        assert_eq!(all["sessions"].as_array().map(Vec::len), Some(1));
        assert_eq!(all["sessions"][0]["reported_status"], next);
        // Heartbeats too.
        for id in ["o1", "r1"] {
            two.json(&two.everything, Method::POST, &format!("/sessions/{id}/heartbeat"), None).await;
        }
        let beats = socket.next_of("beats").await;
        silent("beats", &beats.to_string());
        assert!(beats["beats"]["r1"].is_string(), "{beats}");
        // A dashboard that resumes gets the same, and no more.
        let path = format!("/ws?epoch={}&seq={}", hello["epoch"].as_str().unwrap(), hello["seq"]);
        let mut again = two.socket_in(form, token, &path).await;
        assert_eq!(again.next().await["type"], "hello");
        let first = again.next().await;
        silent("what it gets first", &first.to_string());
        assert_eq!(first["sessions"].as_array().map(Vec::len), Some(1));
    }
}

#[tokio::test]
async fn an_id_that_registers_in_another_app_is_removed_from_a_limited_dashboard() {
    let two = two().await;
    let mut socket = two.socket(&two.view, "/ws").await;
    socket.next_of("snapshot").await;
    let browser = log_in(&two.server, &two.view).await.expect("view may").headers(two.server.port);
    let headers: Vec<(&str, &str)> = browser.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut by_cookie = two.server.socket("/ws", &headers).await;
    silent("by a cookie", &by_cookie.next_of("snapshot").await.to_string());
    // Both may be in one commit, and so in one frame.
    let end = two.ask(&two.own, Method::POST, "/sessions/r1/end", None);
    assert_eq!(end.await.0, 200);
    let again = json!({ "app_name": "ops", "session_id": "r1" });
    two.json(&two.everything, Method::POST, "/sessions", Some(again)).await;
    for socket in [&mut socket, &mut by_cookie] {
        let changes = socket.next_of("changes").await;
        silent("the end", &changes.to_string());
        assert_eq!(changes["removed"][0]["session_id"], "r1");
        assert_eq!(changes["upserted"], json!([]));
    }
    let (status, _) = two.ask(&two.view, Method::GET, "/sessions/r1", None).await;
    assert_eq!(status, 404);
    let timeline = two.json(&two.view, Method::GET, "/sessions/r1/timeline", None).await;
    silent("the timeline", &timeline.to_string());
}

#[tokio::test]
async fn a_limited_ingest_token_registers_and_pings_for_its_apps_alone() {
    let two = two().await;
    let register = |app: &str| Some(json!({ "app_name": app }));
    for token in [&two.ingest, &two.admin] {
        assert_eq!(two.ask(token, Method::POST, "/sessions", register("risk")).await.0, 201);
        assert_eq!(two.ask(token, Method::POST, "/sessions", register("ops")).await.0, 403);
        assert_eq!(two.ask(token, Method::PUT, "/sessions/new", register("ops")).await.0, 403);
        assert_eq!(two.ask(token, Method::PUT, "/sessions/o1", register("risk")).await.0, 403, "it is another's");
        assert_eq!(two.ask(token, Method::POST, "/ping/risk/job", None).await.0, 200);
        for path in ["/ping/ops/job2", "/ping/ops/o1", "/ping/ops/o1/fail", "/ping/ops/o1/0"] {
            assert_eq!(two.ask(token, Method::POST, path, None).await.0, 403, "{path}");
        }
        two.ask(token, Method::POST, "/ping/risk/job/0", None).await;
        let mut socket = two.socket(token, "/ws/client").await;
        socket.send(json!({ "type": "register", "app_name": "ops", "shared": true })).await;
        assert_eq!(socket.next().await["status"], 403);
        socket.send(json!({ "type": "register", "app_name": "risk" })).await;
        assert_eq!(socket.next_of("registered").await["resumed"], false);
    }
    until("o1 is still there", async || two.ask(&two.everything, Method::GET, "/sessions/o1", None).await.0 == 200)
        .await;
}
