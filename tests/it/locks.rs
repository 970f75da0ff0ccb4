//! Locks: whoever they name cannot register while they hold, on all ways, over restarts and on all servers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sessionwatch::backend::memory::Memory;
use sessionwatch::change::{Actor, Authority, LockFor, NewLock, Registration};
use sessionwatch::clock::{Clock, Timestamp};
use sessionwatch::error::Error;
use sessionwatch::lock::{LOCKS_MAX, Who};
use sessionwatch::log::Query;
use sessionwatch::monitor::Monitor;
use sessionwatch::scope::Scope;
use sessionwatch::session::SessionId;

use crate::postgres;
use crate::support::{Server, Socket, until};
use crate::torture::inside;

async fn lock(server: &Server, body: Value) -> Value {
    server.post("/locks", body).await
}

async fn kept_out(server: &Server, body: Value) -> (u16, Value) {
    let (status, answer) = server.ask(Method::POST, "/sessions", Some(body)).await;
    (status.as_u16(), answer)
}

async fn register(server: &Server, frame: Value) -> Socket {
    let mut socket = server.socket("/ws/client", &[]).await;
    socket.send(frame).await;
    socket
}

#[tokio::test]
async fn who_is_locked_out_gets_423_on_every_way_until_the_lock_is_lifted() {
    let server = Server::start(&[]).await;
    let before = server.post("/sessions", json!({ "app_name": "risk", "user_id": "bob", "session_id": "old" })).await;
    let until_time = Timestamp(sessionwatch::clock::Clock::system().now().wall.0 + 3_600_000).to_string();
    let body = json!({ "app_name": "risk", "user_id": "bob", "reason": "audit", "until": until_time, "by": "ana" });
    let made = lock(&server, body.clone()).await;
    assert_eq!((&made["reason"], &made["until"], &made["by"]), (&json!("audit"), &json!(until_time), &json!("ana")));

    let bob = json!({ "app_name": "risk", "user_id": "bob" });
    let response = server.client.post(format!("{}/sessions", server.url)).json(&bob).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::LOCKED);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let refused: Value = response.json().await.unwrap();
    assert_eq!((&refused["reason"], &refused["until"]), (&json!("audit"), &json!(until_time)));
    assert_eq!(server.ask(Method::PUT, "/sessions/new", Some(bob.clone())).await.0, StatusCode::LOCKED);

    let ping = server.client.get(format!("{}/ping/risk/job?user_id=bob", server.url)).send().await.unwrap();
    assert_eq!(
        (ping.status(), ping.headers()["content-type"].to_str().unwrap()),
        (StatusCode::LOCKED, "text/plain; charset=utf-8")
    );
    let told = ping.text().await.unwrap();
    assert!(told.starts_with("LOCKED: ") && told.contains("audit"), "{told}");

    let frame = json!({ "type": "register", "app_name": "risk", "user_id": "bob" });
    let mut socket = register(&server, frame.clone()).await;
    let error = socket.next().await;
    assert_eq!(
        (&error["status"], &error["reason"], &error["until"]),
        (&json!(423), &json!("audit"), &json!(until_time))
    );
    assert_eq!(u16::from(socket.closed().await.expect("a close frame").code), 4423);

    // On a shared socket only the one session is refused.
    let mut shared = register(
        &server,
        json!({ "type": "register", "app_name": "risk", "user_id": "bob", "session_id": "b", "shared": true }),
    )
    .await;
    assert_eq!(shared.next().await["status"], 423);
    shared.send(json!({ "type": "register", "app_name": "risk", "user_id": "eve", "session_id": "e" })).await;
    assert_eq!(shared.next_of("registered").await["session_id"], "e");

    // Others, other apps, and the session that is there go on.
    for other in [
        json!({ "app_name": "shop", "user_id": "bob" }),
        json!({ "app_name": "risk", "user_id": "Bob" }),
        json!({ "app_name": "risk" }),
    ] {
        assert_eq!(kept_out(&server, other).await.0, 201);
    }
    let again =
        json!({ "app_name": "risk", "user_id": "bob", "session_id": "old", "session_token": before["session_token"] });
    assert_eq!(kept_out(&server, again).await.0, 200);
    server.post("/sessions/old/heartbeat", json!({})).await;

    // A session cannot become the user who is locked out.
    let eve = server.post("/sessions", json!({ "app_name": "risk", "user_id": "eve", "session_id": "eve" })).await;
    let disguised =
        json!({ "app_name": "risk", "user_id": "bob", "session_id": "eve", "session_token": eve["session_token"] });
    assert_eq!(kept_out(&server, disguised).await.0, 423);
    assert_eq!(server.get("/sessions/eve").await["user_id"], "eve");

    let metrics = server.client.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sessionwatch_locks 1\n"), "{metrics}");
    assert!(metrics.contains("sessionwatch_registrations_locked_total 6\n"), "{metrics}");

    // The same users again: the lock is changed, not doubled.
    let longer = lock(&server, json!({ "app_name": "risk", "user_id": "bob", "reason": "longer" })).await;
    assert_eq!((&longer["lock_id"], &longer["until"]), (&made["lock_id"], &Value::Null));
    assert_eq!(server.get("/locks").await["locks"], json!([longer]));
    let (_, forever) = kept_out(&server, bob.clone()).await;
    assert_eq!((&forever["until"], &forever["reason"]), (&Value::Null, &json!("longer")));

    let path = format!("/locks/{}", made["lock_id"].as_str().unwrap());
    assert_eq!(server.ask(Method::DELETE, &path, None).await.0, 200);
    assert_eq!(server.ask(Method::DELETE, &path, None).await.0, 404);
    assert_eq!(kept_out(&server, bob).await.0, 201);
    let log = server.get("/events?kind=locked,unlocked").await;
    let told: Vec<_> = log["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            (
                event["kind"].as_str().unwrap(),
                event["reason"].as_str().unwrap(),
                event["app_name"].as_str().unwrap(),
                event["user_id"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("unlocked", "longer", "risk", "bob"),
            ("locked", "longer", "risk", "bob"),
            ("locked", "audit", "risk", "bob")
        ]
    );
    assert_eq!(log["events"][2]["locked_until"], json!(until_time));
    assert_eq!((&log["events"][2]["lock_id"], &log["events"][2]["by"]), (&made["lock_id"], &json!("ana")));
}

#[tokio::test]
async fn a_lock_that_says_nothing_sensible_is_refused_with_what_to_do() {
    let server = Server::start(&[]).await;
    for (body, word) in [
        (json!({ "reason": "all" }), "app_name"),
        (json!({ "app_name": "", "reason": "all" }), "app_name"),
        (json!({ "app_name": "risk" }), "reason"),
        (json!({ "app_name": "risk", "reason": "" }), "reason"),
        (json!({ "app_name": "risk", "reason": "x", "until": "2001-01-01T00:00:00Z" }), "until"),
        (json!({ "app_name": "risk", "reason": "x", "until": "tomorrow" }), "until"),
        (json!({ "app_name": "risk", "reason": "x", "until": "9000-01-01T00:00:00Z" }), "until"),
        (json!({ "app_name": "risk", "reason": "x", "from": "9000-01-01T00:00:00Z" }), "from"),
    ] {
        let (status, answer) = server.ask(Method::POST, "/locks", Some(body.clone())).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(word), "{body}: {answer}");
    }
    assert_eq!(server.get("/locks").await["locks"], json!([]));
}

#[tokio::test]
async fn a_kill_with_lock_for_keeps_the_user_out_and_kill_all_the_app() {
    let server = Server::start(&[]).await;
    for (id, user) in [("a", json!("ana")), ("n", Value::Null)] {
        server.post("/sessions", json!({ "app_name": "risk", "session_id": id, "user_id": user })).await;
    }
    let (status, refused) = server.ask(Method::POST, "/sessions/n/kill", Some(json!({ "lock_for": "30m" }))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("user_id"), "{refused}");
    assert_eq!(server.get("/sessions/n").await["kill_requested"], false, "all or nothing");
    assert_eq!(server.post_status("/sessions/a/kill", json!({ "lock_for": "soon" })).await, 422);

    let killed = server.post("/sessions/a/kill", json!({ "reason": "audit", "lock_for": "30m" })).await;
    assert_eq!((&killed["lock"]["user_id"], &killed["lock"]["reason"]), (&json!("ana"), &json!("audit")));
    // Asked again, with less time: neither the kill nor the lock changes.
    let again = server.post("/sessions/a/kill", json!({ "lock_for": "1m" })).await;
    assert_eq!((&again["kill_id"], &again["lock"]), (&killed["kill_id"], &killed["lock"]));
    assert_eq!(kept_out(&server, json!({ "app_name": "risk", "user_id": "ana" })).await.0, 423);
    assert_eq!(kept_out(&server, json!({ "app_name": "risk", "user_id": "bob", "session_id": "bob" })).await.0, 201);

    let all = server.post("/apps/risk/kill-all", json!({ "lock_for": "until_lifted" })).await;
    assert_eq!(
        (&all["killed_count"], &all["lock"]["app_name"], &all["lock"]["until"]),
        (&json!(2), &json!("risk"), &Value::Null)
    );
    assert_eq!(kept_out(&server, json!({ "app_name": "risk", "user_id": "eve" })).await.0, 423);
    let kinds = server.get("/events?kind=locked,kill_requested").await;
    let kinds: Vec<&str> =
        kinds["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["kill_requested", "kill_requested", "locked", "kill_requested", "locked"]);
}

#[tokio::test]
async fn a_filter_keeps_out_sessions_as_they_would_begin() {
    let server = Server::start(&[]).await;
    for wrong in [json!({ "filter": "colour:red" }), json!({ "filter": " " }), json!({ "filter": "app:" })] {
        let mut body = wrong.clone();
        body["reason"] = "audit".into();
        assert_eq!(server.post_status("/locks", body).await, 422, "{wrong}");
    }
    let made =
        lock(&server, json!({ "filter": "meta.env:test -user:root", "app_name": "risk", "reason": "audit" })).await;
    assert_eq!((&made["filter"], &made["app_name"]), (&json!("meta.env:test -user:root"), &json!("risk")));
    let body = |app: &str, user: &str, env: &str| json!({ "app_name": app, "user_id": user, "meta": { "env": env } });
    let (status, refused) = kept_out(&server, body("risk", "bob", "test")).await;
    assert_eq!((status, &refused["reason"]), (423, &json!("audit")));
    for let_in in [body("risk", "root", "test"), body("risk", "bob", "prod"), body("shop", "bob", "test")] {
        assert_eq!(kept_out(&server, let_in.clone()).await.0, 201, "{let_in}");
    }
    let server = server.kill9_and_restart().await;
    assert_eq!(kept_out(&server, body("risk", "bob", "test")).await.0, 423, "also after a restart");
    assert_eq!(server.get("/locks").await["locks"][0]["filter"], "meta.env:test -user:root");
}

#[tokio::test]
async fn a_kill_by_filter_locks_each_user_once_or_nobody() {
    let server = Server::start(&[]).await;
    for (id, user) in [("a1", json!("ana")), ("a2", json!("ana")), ("b", json!("bob")), ("n", Value::Null)] {
        server.post("/sessions", json!({ "app_name": "risk", "session_id": id, "user_id": user })).await;
    }
    assert_eq!(server.post_status("/kill", json!({ "filter": "app:risk", "lock_for": "1h" })).await, 422);
    assert_eq!(server.get("/locks").await["locks"], json!([]));
    let dry = server.post("/kill", json!({ "filter": "user:ana,bob", "lock_for": "1h", "dry_run": true })).await;
    assert_eq!((dry["sessions"].as_array().unwrap().len(), &dry["locks"]), (3, &Value::Null));
    let killed = server.post("/kill", json!({ "filter": "user:ana,bob", "lock_for": "1h" })).await;
    let mut users: Vec<&str> =
        killed["locks"].as_array().unwrap().iter().map(|lock| lock["user_id"].as_str().unwrap()).collect();
    users.sort_unstable();
    assert_eq!((users, &killed["killed_count"]), (vec!["ana", "bob"], &json!(3)));
    assert_eq!(server.get("/locks").await["locks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn dashboards_hear_of_locks() {
    let server = Server::start(&[]).await;
    let mut dashboard = server.socket("/ws", &[]).await;
    dashboard.next_of("snapshot").await;
    let made = lock(&server, json!({ "app_name": "risk", "reason": "audit" })).await;
    assert_eq!(dashboard.next_of("hint").await["about"], "locks");
    server.ask(Method::DELETE, &format!("/locks/{}", made["lock_id"].as_str().unwrap()), None).await;
    assert_eq!(dashboard.next_of("hint").await["about"], "locks");
}

#[tokio::test]
async fn a_lock_survives_kill_9() {
    let server = Server::start(&[]).await;
    let made = lock(&server, json!({ "user_id": "bob", "reason": "audit" })).await;
    let server = server.kill9_and_restart().await;
    assert_eq!(server.get("/locks").await["locks"], json!([made]));
    assert_eq!(kept_out(&server, json!({ "app_name": "any", "user_id": "bob" })).await.0, 423);
}

#[tokio::test]
async fn a_lock_made_on_one_server_holds_on_the_others() {
    let url = postgres::database().await;
    let mut servers = Vec::new();
    for name in ["n0", "n1"] {
        servers.push(Server::start_on(Path::new(&url), "127.0.0.1:0", &["--node-name", name]).await);
    }
    let made = lock(&servers[0], json!({ "app_name": "risk", "reason": "audit" })).await;
    // The other server decides in its own turn, which hands it the lock.
    assert_eq!(kept_out(&servers[1], json!({ "app_name": "risk" })).await.0, 423);
    assert_eq!(servers[1].get("/locks").await["locks"], json!([made]));
    let later = Server::start_on(Path::new(&url), "127.0.0.1:0", &["--node-name", "n2"]).await;
    assert_eq!(later.get("/locks").await["locks"], json!([made]));
    let path = format!("/locks/{}", made["lock_id"].as_str().unwrap());
    assert_eq!(servers[1].ask(Method::DELETE, &path, None).await.0, 200);
    assert_eq!(kept_out(&servers[0], json!({ "app_name": "risk" })).await.0, 201);
}

fn who(app: Option<&str>, user: Option<&str>) -> Who {
    Who { app_name: app.map(Into::into), user_id: user.map(Into::into), filter: None }
}

fn new(id: &str, who: Who, from: Option<Timestamp>, until: Option<Timestamp>) -> NewLock {
    NewLock { lock_id: id.into(), who, reason: "audit".into(), from, until }
}

fn bobs(id: &str) -> Registration {
    Registration { app: "risk".into(), user: Some("bob".into()), ..inside::registration(&inside::id(id)) }
}

async fn kinds(monitor: &Monitor) -> Vec<(String, String)> {
    let lines = monitor.events(Query { limit: 100, oldest_first: true, ..Query::default() }).await.expect("the log");
    lines.into_iter().map(|line| (line.kind, line.session_id)).collect()
}

#[tokio::test]
async fn a_maintenance_window_is_announced_holds_and_ends_by_the_clock() {
    let (store, clock) = (Arc::new(Memory::new()), Clock::manual());
    let monitor = inside::start(store.clone(), &clock).await;
    monitor.register(bobs("before")).await.expect("no lock holds");
    let begun = clock.now().wall;
    let after = |minutes: u64| Some(begun.plus(Duration::from_secs(minutes * 60)));
    monitor.lock(new("w", who(Some("risk"), None), after(60), after(90)), Actor::default()).await.expect("a window");
    monitor.register(bobs("early")).await.expect("it has not begun");
    clock.advance(Duration::from_secs(54 * 60));
    for id in ["before", "early"] {
        monitor.heartbeat(id, None, Authority::Server).await.expect("it lives");
    }
    monitor.sweep().await;
    let announced =
        async |monitor: &Monitor| kinds(monitor).await.iter().filter(|(kind, _)| kind == "message_sent").count();
    assert_eq!(announced(&monitor).await, 1, "at its creation");
    clock.advance(Duration::from_secs(90));
    monitor.sweep().await;
    // A restart forgets neither the window nor that it was announced.
    let monitor = inside::start(store, &clock).await;
    monitor.sweep().await;
    assert_eq!(announced(&monitor).await, 3, "and to both in the last five minutes");
    monitor.register(bobs("shortly")).await.expect("it has not begun");
    assert_eq!(announced(&monitor).await, 4, "who comes after that is told at once");
    monitor.register(bobs("shortly")).await.expect("it comes back");
    assert_eq!(announced(&monitor).await, 4, "and once");
    clock.advance(Duration::from_secs(5 * 60));
    let refused = monitor.register(bobs("late")).await.err();
    assert_eq!(refused, Some(Error::Locked { reason: "audit".into(), until: after(90), retry_after: 1_770 }));
    monitor.register(bobs("before")).await.expect("who is there stays");
    clock.advance(Duration::from_secs(1_770));
    // It holds no longer, whether or not the keeper has forgotten it.
    monitor.register(bobs("late")).await.expect("it is over");
    monitor.sweep().await;
    assert_eq!(monitor.locks(&Scope::all()), []);
    let about_locks = |(kind, id): &(String, String)| id.is_empty().then(|| kind.clone());
    let told: Vec<String> = kinds(&monitor).await.iter().filter_map(about_locks).collect();
    assert_eq!(told, ["locked", "lock_announced", "unlocked"]);
}

#[tokio::test]
async fn a_lock_and_a_registration_in_one_batch_are_decided_in_their_order() {
    let monitor = inside::start(Arc::new(Memory::new()), &Clock::manual()).await;
    for round in 0..50 {
        let id = format!("s{round}");
        let lock = monitor.lock(new(&format!("l{round}"), who(None, Some("bob")), None, None), Actor::default());
        let (registered, locked) = tokio::join!(monitor.register(bobs(&id)), lock);
        let (lock, _) = locked.expect("a lock");
        let lines = kinds(&monitor).await;
        let at = |wanted: &(String, String)| lines.iter().rposition(|line| line == wanted);
        let made = at(&("locked".into(), String::new()));
        match registered {
            Ok(_) => assert!(at(&("registered".into(), id.clone())) < made, "it was before the lock"),
            Err(error) => assert!(matches!(error, Error::Locked { .. }), "{error}"),
        }
        assert!(monitor.register(bobs("other")).await.is_err());
        monitor.unlock(&lock.lock_id, Actor::default()).await.expect("it is lifted");
    }
}

#[tokio::test]
async fn an_administrator_of_some_apps_locks_these_only() {
    let monitor = inside::start(Arc::new(Memory::new()), &Clock::manual()).await;
    let of_risk = || Actor { by: Some("ana".into()), scope: Scope::only(["risk"]), ..Actor::default() };
    for (who, allowed) in
        [(who(Some("risk"), Some("bob")), true), (who(Some("shop"), None), false), (who(None, Some("bob")), false)]
    {
        let made = monitor.lock(new("l", who.clone(), None, None), of_risk()).await;
        assert_eq!(made.is_ok(), allowed, "{who:?}");
        assert!(allowed || matches!(made, Err(Error::Forbidden(_))));
    }
    monitor.lock(new("all", who(None, Some("bob")), None, None), Actor::default()).await.expect("of all apps");
    let seen = |scope: &Scope| monitor.locks(scope).iter().map(|lock| lock.lock_id.to_string()).collect::<Vec<_>>();
    assert_eq!(seen(&Scope::only(["risk"])), ["l"]);
    assert_eq!(seen(&Scope::only(["shop"])), Vec::<String>::new());
    assert!(matches!(monitor.unlock("all", of_risk()).await, Err(Error::NoLock(_))));
    monitor.unlock("l", of_risk()).await.expect("its own");
}

#[tokio::test]
async fn the_number_of_locks_is_bounded() {
    let monitor = inside::start(Arc::new(Memory::new()), &Clock::manual()).await;
    for index in 0..LOCKS_MAX {
        let who = who(Some("risk"), Some(&format!("u{index}")));
        monitor.lock(new(&format!("l{index}"), who, None, None), Actor::default()).await.expect("there is room");
    }
    let one_more = monitor.lock(new("m", who(Some("shop"), None), None, None), Actor::default()).await;
    assert!(matches!(one_more, Err(Error::Busy(_))));
    let again = monitor.lock(new("m", who(Some("risk"), Some("u7")), None, None), Actor::default()).await;
    assert_eq!(again.map(|(lock, fresh)| (lock.lock_id.to_string(), fresh)).ok(), Some(("l7".to_owned(), false)));
}

#[tokio::test]
async fn a_kill_whose_lock_is_refused_does_nothing() {
    let monitor = inside::start(Arc::new(Memory::new()), &Clock::manual()).await;
    let id: SessionId = inside::id("s");
    monitor.register(inside::registration(&id)).await.expect("a session without a user");
    let refused = monitor.kill(id.clone(), None, Some(LockFor::UntilLifted), Actor::default()).await;
    assert!(matches!(refused, Err(Error::Invalid(_))));
    assert!(monitor.session("s").expect("it lives").kill.is_none());
    until("nothing is locked", async || monitor.locks(&Scope::all()).is_empty()).await;
}
