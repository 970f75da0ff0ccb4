//! `/ws` and `/ws/client`, frame by frame.

use futures_util::SinkExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::gate::wire::Raw;
use crate::support::{Server, Socket, until};

const TERMINATED: &str = "Session terminated by administrator";

async fn register(server: &Server, frame: Value) -> (Socket, Value) {
    let mut socket = server.socket("/ws/client", &[]).await;
    let mut register = json!({ "type": "register", "app_name": "shop" });
    register.as_object_mut().unwrap().extend(frame.as_object().unwrap().clone());
    socket.send(register).await;
    let registered = socket.next_of("registered").await;
    (socket, registered)
}

async fn kinds(server: &Server, id: &str) -> Vec<String> {
    let timeline = server.get(&format!("/sessions/{id}/timeline")).await;
    timeline["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_dashboard_gets_hello_a_snapshot_and_then_every_change_in_order() {
    let server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "risk", "session_id": "before" })).await;
    let mut dashboard = server.socket("/ws", &[("sec-websocket-protocol", "sessionwatch.v1")]).await;
    let hello = dashboard.next().await;
    assert_eq!((&hello["type"], &hello["protocol"], &hello["role"]), (&json!("hello"), &json!(1), &json!("admin")));
    let snapshot = dashboard.next().await;
    assert_eq!((&snapshot["type"], &snapshot["part"], &snapshot["parts"]), (&json!("snapshot"), &json!(1), &json!(1)));
    assert_eq!(snapshot["sessions"][0]["session_id"], "before");

    let mut seq = snapshot["seq"].as_u64().unwrap();
    let mut follow = async |dashboard: &mut Socket| {
        let changes = dashboard.next_of("changes").await;
        assert_eq!(changes["from"], seq, "no gap");
        seq = changes["seq"].as_u64().unwrap();
        changes
    };
    server.post("/sessions", json!({ "app_name": "risk", "session_id": "s" })).await;
    assert_eq!(follow(&mut dashboard).await["upserted"][0]["session_id"], "s");
    let report = json!({ "status": "running", "current_task": "Q4" });
    server.ask(Method::PUT, "/sessions/s/status", Some(report)).await;
    assert_eq!(follow(&mut dashboard).await["upserted"][0]["current_task"], "Q4");
    server.ask(Method::DELETE, "/sessions/s", None).await;
    let removed = follow(&mut dashboard).await["removed"][0].clone();
    assert_eq!((&removed["session_id"], &removed["cause"]), (&json!("s"), &json!("deleted")));
    server.ask(Method::POST, "/sessions/before/heartbeat", None).await;
    let beats = dashboard.next_of("beats").await;
    assert!(beats["beats"]["before"].is_string());
    assert!(beats.get("seq").is_none());
}

/// The subprotocol that the server chooses of those that a dashboard offers.
async fn echoed(server: &Server, offered: &str) -> Option<String> {
    let mut raw = Raw::connect(server).await;
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {offered}\r\n\r\n",
        server.port
    );
    assert!(raw.write(head.as_bytes()).await);
    let (status, head) = raw.head().await;
    assert_eq!(status, 101);
    head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: ").map(str::to_owned))
}

#[tokio::test]
async fn a_dashboard_gets_the_form_that_it_likes_best_and_patches_have_only_what_changed() {
    let server = Server::start(&[]).await;
    let body = json!({ "app_name": "risk", "session_id": "s", "current_task": "Q4", "status": "running" });
    server.post("/sessions", body).await;
    let offers = [
        ("sessionwatch.v9, sessionwatch.v1.patch.z, sessionwatch.v1", "sessionwatch.v1.patch.z", true),
        ("sessionwatch.v1.patch, sessionwatch.v1.patch.z", "sessionwatch.v1.patch", true),
        ("sessionwatch.v1.z, sessionwatch.v1.patch", "sessionwatch.v1.z", false),
        ("sessionwatch.v1, sessionwatch.v1.patch", "sessionwatch.v1", false),
    ];
    for (round, (offered, chosen, is_patched)) in offers.into_iter().enumerate() {
        assert_eq!(echoed(&server, offered).await.as_deref(), Some(chosen));
        let mut dashboard = server.socket("/ws", &[("sec-websocket-protocol", chosen)]).await;
        assert_eq!(dashboard.next().await["type"], "hello");
        assert_eq!(dashboard.next().await["sessions"][0]["session_id"], "s");
        let task = if round % 2 == 0 { json!(null) } else { json!("Q4") };
        server.ask(Method::PUT, "/sessions/s/status", Some(json!({ "status": "running", "current_task": task }))).await;
        let changes = dashboard.next_of("changes").await;
        let (told, other) = if is_patched { ("patched", "upserted") } else { ("upserted", "patched") };
        assert_eq!((&changes[told][0]["current_task"], changes[other].as_array().map_or(0, Vec::len)), (&task, 0));
        let fields: Vec<&str> = changes[told][0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields.contains(&"app_name"), !is_patched, "{fields:?}");
        server.post("/sessions", json!({ "app_name": "risk", "session_id": format!("n{round}") })).await;
        let changes = dashboard.next_of("changes").await;
        assert_eq!(changes["upserted"][0]["app_name"], "risk", "a new session is sent whole");
        server.ask(Method::DELETE, &format!("/sessions/n{round}"), None).await;
        assert_eq!(dashboard.next_of("changes").await["removed"][0]["session_id"], format!("n{round}"));
    }
}

#[tokio::test]
async fn an_empty_server_still_sends_one_part() {
    let server = Server::start(&[]).await;
    let mut dashboard = server.socket("/ws", &[]).await;
    dashboard.next_of("hello").await;
    let snapshot = dashboard.next().await;
    assert_eq!((&snapshot["parts"], &snapshot["sessions"]), (&json!(1), &json!([])));
}

#[tokio::test]
async fn resume_sends_only_missed_changes_and_another_epoch_gets_a_snapshot() {
    let server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "risk", "session_id": "old" })).await;
    let listed = server.get("/sessions").await;
    let (epoch, seq) = (listed["epoch"].as_str().unwrap(), listed["seq"].as_u64().unwrap());
    server.post("/sessions", json!({ "app_name": "risk", "session_id": "new" })).await;
    server.ask(Method::PUT, "/sessions/new/status", Some(json!({ "status": "running" }))).await;
    server.ask(Method::DELETE, "/sessions/old", None).await;

    let mut dashboard = server.socket(&format!("/ws?epoch={epoch}&seq={seq}"), &[]).await;
    dashboard.next_of("hello").await;
    let (mut position, mut seen, mut gone) = (seq, Vec::new(), Vec::new());
    while position < seq + 3 {
        let changes = dashboard.next().await;
        assert_eq!((&changes["type"], changes["from"].as_u64()), (&json!("changes"), Some(position)));
        position = changes["seq"].as_u64().unwrap();
        seen.extend(changes["upserted"].as_array().unwrap().iter().map(|s| s["session_id"].clone()));
        gone.extend(changes["removed"].as_array().unwrap().iter().map(|s| s["session_id"].clone()));
    }
    assert_eq!(seen.last(), Some(&json!("new")));
    assert_eq!(gone, [json!("old")]);

    for query in ["epoch=another&seq=1".to_owned(), format!("epoch={epoch}&seq=999999")] {
        let mut dashboard = server.socket(&format!("/ws?{query}"), &[]).await;
        dashboard.next_of("hello").await;
        assert_eq!(dashboard.next().await["type"], "snapshot", "{query}");
    }
}

#[tokio::test]
async fn a_large_snapshot_comes_in_parts_of_at_most_256_kib() {
    let server = Server::start(&[]).await;
    let (mut socket, _) = register(&server, json!({ "session_id": "s0", "shared": true })).await;
    for n in 1..1_500 {
        socket.send(json!({ "type": "register", "app_name": "shop", "session_id": format!("s{n}") })).await;
    }
    until("all are there", async || server.get("/sessions?limit=0").await["total"] == 1_500).await;
    let mut dashboard = server.socket("/ws", &[]).await;
    dashboard.next_of("hello").await;
    let (mut count, mut part) = (0, 1);
    loop {
        let snapshot = dashboard.next().await;
        assert_eq!(snapshot["part"], part);
        assert!(snapshot.to_string().len() <= 256 * 1_024 + 1_024);
        count += snapshot["sessions"].as_array().unwrap().len();
        if snapshot["parts"] == part {
            break;
        }
        part += 1;
    }
    assert!(part > 1);
    assert_eq!(count, 1_500);
}

#[tokio::test]
async fn a_kill_is_told_acknowledged_closed_with_1001_and_logged_step_by_step() {
    let server = Server::start(&[]).await;
    let (mut socket, registered) = register(&server, json!({ "user_id": "eve" })).await;
    let id = registered["session_id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/sessions/{id}")).await["connected"], true);
    let body = json!({ "reason": "maintenance", "by": "ana" });
    let asked = server.post(&format!("/sessions/{id}/kill"), body).await;
    let kill = socket.next_of("kill").await;
    assert_eq!(kill["kill_id"], asked["kill_id"]);
    assert_eq!((&kill["reason"], &kill["by"], &kill["grace_ms"]), (&json!("maintenance"), &json!("ana"), &json!(2000)));
    socket.send(json!({ "type": "kill_ack", "kill_id": kill["kill_id"] })).await;
    let close = socket.closed().await.expect("a close frame");
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, TERMINATED));
    until("it is removed", async || server.get("/sessions").await["total"] == 0).await;
    let expected = ["registered", "kill_requested", "kill_delivered", "kill_acknowledged", "removed"];
    assert_eq!(kinds(&server, id).await, expected);

    let mut back = server.socket("/ws/client", &[]).await;
    back.send(json!({ "type": "register", "app_name": "shop", "session_id": id })).await;
    assert_eq!(back.next().await["kill_id"], asked["kill_id"]);
    assert_eq!(u16::from(back.closed().await.expect("a close frame").code), 1001);
}

#[tokio::test]
async fn without_an_acknowledgement_the_grace_ends_it() {
    let server = Server::start(&["--kill-grace", "200ms"]).await;
    let (mut socket, registered) = register(&server, json!({})).await;
    let id = registered["session_id"].as_str().unwrap();
    server.ask(Method::POST, &format!("/sessions/{id}/kill"), None).await;
    let close = socket.closed().await.expect("a close frame");
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, TERMINATED));
    until("it is removed", async || server.get("/sessions").await["total"] == 0).await;
    assert_eq!(kinds(&server, id).await, ["registered", "kill_requested", "kill_delivered", "removed"]);
}

#[tokio::test]
async fn a_shared_socket_outlives_the_kill_of_one_of_its_sessions() {
    let server = Server::start(&["--kill-grace", "100ms"]).await;
    let (mut socket, _) = register(&server, json!({ "session_id": "a", "shared": true })).await;
    socket.send(json!({ "type": "register", "app_name": "shop", "session_id": "b" })).await;
    socket.next_of("registered").await;
    let asked = server.post("/sessions/a/kill", json!({})).await;
    let kill = socket.next_of("kill").await;
    assert_eq!((&kill["session_id"], &kill["kill_id"]), (&json!("a"), &asked["kill_id"]));
    // Longer than the grace: only the acknowledgement ends a session on a shared socket.
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    assert_eq!(server.get("/sessions/a").await["kill_requested"], true);
    socket.send(json!({ "type": "kill_ack", "session_id": "a", "kill_id": kill["kill_id"] })).await;
    until("it is removed", async || server.ask(Method::GET, "/sessions/a", None).await.0 == 410).await;
    socket.send(json!({ "type": "status", "session_id": "b", "status": "running" })).await;
    until("the other one works on", async || server.get("/sessions/b").await["status"] == "running").await;
    socket.send(json!({ "type": "register", "app_name": "shop", "session_id": "a" })).await;
    assert_eq!(socket.next_of("kill").await["session_id"], "a");
    socket.send(json!({ "type": "status", "session_id": "b", "status": "idle" })).await;
    until("and the socket stands", async || server.get("/sessions/b").await["status"] == "idle").await;
}

#[tokio::test]
async fn a_session_resumes_with_its_token_and_the_older_socket_gets_4409() {
    let server = Server::start(&[]).await;
    let (mut first, registered) = register(&server, json!({ "session_id": "r" })).await;
    let token = registered["session_token"].clone();
    let (_second, resumed) = register(&server, json!({ "session_id": "r", "session_token": token })).await;
    assert_eq!((&resumed["resumed"], &resumed["session_token"]), (&json!(true), &token));
    assert_eq!(u16::from(first.closed().await.expect("a close frame").code), 4409);
    drop(first);
    assert_eq!(server.get("/sessions/r").await["connected"], true);

    let mut thief = server.socket("/ws/client", &[]).await;
    let guess = json!({ "type": "register", "app_name": "shop", "session_id": "r", "session_token": "guess" });
    thief.send(guess).await;
    let refused = thief.next().await;
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(403)));
    thief.send(json!({ "type": "register", "app_name": "shop" })).await;
    assert_eq!(thief.next().await["type"], "registered");
}

#[tokio::test]
async fn bye_ends_a_session_and_a_persisted_one_only_suspends_it() {
    let server = Server::start(&[]).await;
    let (mut socket, _) = register(&server, json!({ "session_id": "s" })).await;
    socket.send(json!({ "type": "visibility", "visibility": "hidden" })).await;
    until("hidden", async || server.get("/sessions/s").await["visibility"] == "hidden").await;
    socket.send(json!({ "type": "bye", "persisted": true })).await;
    drop(socket);
    until("suspended", async || {
        let session = server.get("/sessions/s").await;
        session["visibility"] == "suspended" && session["connected"] == false
    })
    .await;
    let (mut socket, _) = register(&server, json!({ "session_id": "e" })).await;
    socket.send(json!({ "type": "bye" })).await;
    until("ended", async || server.ask(Method::GET, "/sessions/e", None).await.0 == 404).await;
    assert_eq!(server.get("/events?kind=removed&session_id=e").await["events"][0]["cause"], "ended");
}

#[tokio::test]
async fn a_wrong_frame_gets_an_error_and_the_socket_lives() {
    let server = Server::start(&[]).await;
    let (mut socket, _) = register(&server, json!({ "session_id": "s" })).await;
    let wrong = [
        (json!({ "type": "dance" }), 422),
        (json!({ "type": "status", "status": "killed" }), 422),
        (json!({ "type": "status", "session_id": "nobody", "status": "idle" }), 404),
        (json!([1, 2, 3]), 422),
        (json!({ "type": "register", "app_name": "again" }), 422),
    ];
    for (frame, status) in wrong {
        socket.send(frame.clone()).await;
        let error = socket.next().await;
        assert_eq!((&error["type"], &error["status"]), (&json!("error"), &json!(status)), "{frame}");
    }
    socket.send(json!({ "type": "status", "status": "running" })).await;
    until("it works on", async || server.get("/sessions/s").await["status"] == "running").await;
}

#[tokio::test]
async fn a_socket_that_does_not_register_is_closed_with_4408() {
    let server = Server::start(&[]).await;
    let mut socket = server.socket("/ws/client", &[]).await;
    assert_eq!(u16::from(socket.closed().await.expect("a close frame").code), 4408);
}

#[tokio::test]
async fn a_message_is_delivered_and_acknowledged() {
    let server = Server::start(&[]).await;
    let (mut socket, _) = register(&server, json!({ "session_id": "s" })).await;
    server.post("/sessions", json!({ "app_name": "shop", "session_id": "plain" })).await;
    let body = json!({ "text": "restart at noon", "level": "warning", "by": "ana" });
    let (sent, _) = tokio::join!(server.post("/apps/shop/message", body), async {
        let message = socket.next_of("message").await;
        assert_eq!((&message["text"], &message["level"]), (&json!("restart at noon"), &json!("warning")));
        socket.send(json!({ "type": "message_ack", "message_id": message["message_id"] })).await;
    });
    assert_eq!((&sent["sent"], &sent["unreachable"]), (&json!(1), &json!(1)));
    assert!(sent["deliveries"][0]["delivered_at"].is_string(), "{sent}");
    assert!(sent["deliveries"][1]["delivered_at"].is_null(), "{sent}");
    assert_eq!(kinds(&server, "s").await, ["registered", "message_sent", "message_delivered"]);
}

#[tokio::test]
async fn an_event_stream_gets_the_kill_at_once_and_ends() {
    let server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "r", "session_id": "s" })).await;
    let stream = server.client.get(format!("{}/sessions/s/events", server.url)).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let (text, _) = tokio::join!(stream.text(), server.post("/sessions/s/kill", json!({ "reason": "enough" })));
    let text = text.unwrap();
    assert!(text.contains("event: kill") && text.contains("enough"), "{text}");
    until("delivered", async || server.get("/sessions/s").await["kill"]["delivered_at"].is_string()).await;
}

#[tokio::test]
async fn a_snapshot_contains_all_changes_that_were_acknowledged_before() {
    let server = Server::start(&[]).await;
    for n in 0..20 {
        let id = format!("s{n}");
        server.post("/sessions", json!({ "app_name": "risk", "session_id": id })).await;
        let mut dashboard = server.socket("/ws", &[]).await;
        let hello = dashboard.next_of("hello").await;
        let snapshot = dashboard.next().await;
        assert_eq!(snapshot["type"], "snapshot");
        assert_eq!(hello["seq"], snapshot["seq"]);
        assert_eq!(snapshot["sessions"].as_array().unwrap().len(), n + 1);
    }
}

#[tokio::test]
async fn a_refused_registration_of_a_session_on_this_socket_changes_nothing() {
    let server = Server::start(&[]).await;
    let (mut socket, _) = register(&server, json!({ "session_id": "a", "shared": true })).await;
    // An app_name cannot change.
    socket.send(json!({ "type": "register", "app_name": "other", "session_id": "a" })).await;
    assert_eq!(socket.next_of("error").await["status"], 422);
    server.post("/sessions/a/kill", json!({})).await;
    assert_eq!(socket.next_of("kill").await["session_id"], "a", "it is told of its kill");
    drop(socket);

    let (mut socket, _) = register(&server, json!({ "session_id": "b", "shared": true })).await;
    socket.send(json!({ "type": "register", "app_name": "other", "session_id": "b" })).await;
    socket.next_of("error").await;
    drop(socket);
    until("it is no longer connected", async || server.get("/sessions/b").await["connected"] == false).await;
}

#[tokio::test]
async fn a_close_is_answered_by_a_close_on_both_sockets() {
    let server = Server::start(&[]).await;
    let (client, _) = register(&server, json!({ "session_id": "a" })).await;
    let mut dashboard = server.socket("/ws", &[]).await;
    dashboard.next_of("snapshot").await;
    for mut socket in [client, dashboard] {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        socket.0.send(Message::Close(Some(frame))).await.expect("the frame goes out");
        assert_eq!(socket.closed().await.map(|close| close.code), Some(CloseCode::Normal));
    }
}

/// Firefox loses the last frames of a tab that is closed, but its close code shows that the tab is gone.
#[tokio::test]
async fn a_page_that_goes_away_ends_its_session_unless_it_may_come_back() {
    let server = Server::start(&[]).await;
    for (id, client, persisted, code) in [
        ("page", "js/0.1.0", false, 1001),
        ("cached", "js/0.1.0", true, 1001),
        ("other", "python/0.1.0", false, 1001),
        ("cut", "js/0.1.0", false, 3001),
    ] {
        let mut socket = server.socket("/ws/client", &[]).await;
        socket.send(json!({ "type": "register", "app_name": "shop", "session_id": id, "client": client })).await;
        socket.next_of("registered").await;
        if persisted {
            socket.send(json!({ "type": "bye", "persisted": true })).await;
        }
        socket.0.close(Some(CloseFrame { code: code.into(), reason: "".into() })).await.expect("it closes");
    }
    until("the page's session has ended", async || server.ask(Method::GET, "/sessions/page", None).await.0 == 404)
        .await;
    for id in ["cached", "other", "cut"] {
        let lost = async || server.get(&format!("/sessions/{id}")).await["connected"] == false;
        until("it has only lost its socket", lost).await;
    }
    assert_eq!(server.get("/sessions/page/timeline").await["events"][1]["cause"], "ended");
}

/// Chromium closes the socket of a frozen page with that code when the page goes on.
#[tokio::test]
async fn a_page_that_comes_back_at_once_after_going_away_is_the_same_session() {
    let server = Server::start(&[]).await;
    let (mut socket, registered) = register(&server, json!({ "client": "js/0.1.0" })).await;
    let id = registered["session_id"].as_str().expect("an id").to_owned();
    socket.0.close(Some(CloseFrame { code: 1001.into(), reason: "".into() })).await.expect("it closes");
    let again = json!({ "client": "js/0.1.0", "session_id": id, "session_token": registered["session_token"] });
    let (mut socket, _) = register(&server, again).await;
    // Longer than a page that goes away has to come back.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(server.get(&format!("/sessions/{id}")).await["connected"], true);
    assert_eq!(kinds(&server, &id).await, ["registered"]);
    socket.send(json!({ "type": "bye" })).await;
    until("it has ended", async || server.ask(Method::GET, &format!("/sessions/{id}"), None).await.0 == 404).await;
}
