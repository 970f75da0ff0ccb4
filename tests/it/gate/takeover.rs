//! Frames that follow a registration in the same packet. They count only when that
//! registration is accepted: the writer compares the socket with the session's own.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::requests::tokens_of;
use super::wire::{CLOSE, FIN, Raw, TEXT, frame};
use crate::support::{Server, Socket};

/// Every frame that a session may send, in the name of `victim`.
fn frames_of_a_session(kill_id: &str) -> Vec<Value> {
    vec![
        json!({ "type": "heartbeat", "session_id": "victim" }),
        json!({ "type": "status", "session_id": "victim", "status": "forged", "current_task": "forged" }),
        json!({ "type": "status", "session_id": "victim", "status": "idle", "meta": { "forged": true } }),
        json!({ "type": "visibility", "session_id": "victim", "visibility": "frozen" }),
        json!({ "type": "message_ack", "session_id": "victim", "message_id": "m" }),
        json!({ "type": "kill_ack", "session_id": "victim", "kill_id": kill_id }),
        json!({ "type": "bye", "session_id": "victim", "persisted": true }),
        json!({ "type": "bye", "session_id": "victim" }),
    ]
}

fn register(shared: bool, token: Option<&str>) -> Value {
    json!({ "type": "register", "app_name": "shop", "session_id": "victim", "session_token": token, "shared": shared })
}

fn bytes_of(frames: &[Value]) -> Vec<u8> {
    frames.iter().flat_map(|value| frame(FIN | TEXT, value.to_string().as_bytes())).collect()
}

/// The victim as an administrator sees it, without the fields that change with time.
async fn seen(server: &Server, admin: &str) -> (Value, Value) {
    let get = async |path: &str| -> Value {
        let request = server.client.get(format!("{}{path}", server.url)).bearer_auth(admin);
        request.send().await.expect("an answer").json().await.expect("JSON")
    };
    let mut session = get("/sessions/victim").await;
    session.as_object_mut().expect("a session").remove("duration_seconds");
    (session, get("/sessions/victim/timeline").await)
}

/// A victim without a socket, so that only a forged heartbeat could move its last one.
async fn make_victim(server: &Server, admin: &str) -> String {
    let body = json!({ "app_name": "shop", "session_id": "victim", "status": "running", "current_task": "Q4" });
    let request = server.client.post(format!("{}/sessions", server.url)).bearer_auth(admin).json(&body);
    let made: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    made["session_token"].as_str().expect("a token").to_owned()
}

/// The header that offers a token to a socket.
fn offer(token: &str) -> String {
    format!("Sec-WebSocket-Protocol: sessionwatch.auth.{}\r\n", URL_SAFE_NO_PAD.encode(token))
}

/// Callers without a right to the session, with the headers that they send.
fn strangers(server: &Server) -> Vec<(&'static str, String)> {
    let [ingest, view, _] = tokens_of(server);
    vec![
        ("a page of another port", "Origin: http://localhost:1\r\n".to_owned()),
        ("a wrong token", offer("bogus")),
        ("the ingest token", offer(&ingest)),
        ("the view token", offer(&view)),
    ]
}

#[tokio::test]
async fn nothing_behind_a_refused_registration_touches_the_session() {
    for arguments in [&["--strict"][..], &[]] {
        let server = Server::start(arguments).await;
        let admin = tokens_of(&server)[2].clone();
        make_victim(&server, &admin).await;
        let before = seen(&server, &admin).await;
        for (who, headers) in strangers(&server) {
            for shared in [false, true] {
                for token in [None, Some("bogus")] {
                    for alone in frames_of_a_session("k") {
                        let mut raw = Raw::connect(&server).await;
                        let (status, _) = raw.upgrade(&server, "/ws/client", &headers).await;
                        if status != 101 {
                            continue;
                        }
                        let end = frame(FIN | CLOSE, &1000_u16.to_be_bytes());
                        let all = [bytes_of(&[register(shared, token), alone.clone()]), end].concat();
                        raw.write(&all).await;
                        raw.rest().await;
                        let after = seen(&server, &admin).await;
                        assert_eq!(after, before, "{who}, shared {shared}, token {token:?}: {alone}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn nor_with_the_bytes_split_anywhere() {
    let server = Server::start(&["--strict"]).await;
    let admin = tokens_of(&server)[2].clone();
    make_victim(&server, &admin).await;
    let before = seen(&server, &admin).await;
    let frames = [&[register(true, Some("bogus"))][..], &frames_of_a_session("k")].concat();
    let all = bytes_of(&frames);
    for at in 1..all.len() {
        let mut raw = Raw::connect(&server).await;
        raw.stream.set_nodelay(true).expect("a socket");
        assert_eq!(raw.upgrade(&server, "/ws/client", &offer("bogus")).await.0, 101);
        raw.stream.write_all(&all[..at]).await.expect("it goes out");
        tokio::task::yield_now().await;
        raw.write(&all[at..]).await;
        raw.write(&frame(FIN | CLOSE, &1000_u16.to_be_bytes())).await;
        raw.rest().await;
    }
    assert_eq!(seen(&server, &admin).await, before);
}

#[tokio::test]
async fn a_kill_under_way_is_not_acknowledged_by_a_stranger() {
    let server = Server::start(&["--kill-grace", "30s"]).await;
    let admin = tokens_of(&server)[2].clone();
    let mut own = server.socket("/ws/client", &[]).await;
    own.send(register(false, None)).await;
    own.next_of("registered").await;
    server.post("/sessions/victim/kill", json!({})).await;
    let kill = own.next_of("kill").await;
    crate::support::until("the delivery is in the log", async || {
        seen(&server, &admin).await.1.to_string().contains("kill_delivered")
    })
    .await;
    let before = seen(&server, &admin).await;
    for shared in [false, true] {
        let mut raw = Raw::connect(&server).await;
        raw.upgrade(&server, "/ws/client", "Origin: http://localhost:1\r\n").await;
        let frames = frames_of_a_session(kill["kill_id"].as_str().expect("an id"));
        raw.write(&bytes_of(&[&[register(shared, Some("bogus"))][..], &frames].concat())).await;
        raw.write(&frame(FIN | CLOSE, &1000_u16.to_be_bytes())).await;
        raw.rest().await;
    }
    assert_eq!(seen(&server, &admin).await, before);
    own.send(json!({ "type": "kill_ack", "kill_id": kill["kill_id"] })).await;
    assert_eq!(own.closed().await.map(|close| close.code.into()), Some(1001_u16), "its own acknowledgement counts");
}

#[tokio::test]
async fn five_hundred_sessions_outlive_one_packet_that_says_goodbye_for_all() {
    let server = Server::start(&[]).await;
    let mut owner = server.socket("/ws/client", &[]).await;
    for index in 0..500 {
        let frame =
            json!({ "type": "register", "app_name": "shop", "session_id": format!("s{index}"), "shared": true });
        owner.send(frame).await;
    }
    for _ in 0..500 {
        owner.next_of("registered").await;
    }
    let mut raw = Raw::connect(&server).await;
    raw.upgrade(&server, "/ws/client", "Origin: http://localhost:1\r\n").await;
    let mut all = Vec::new();
    for index in 0..500 {
        let id = format!("s{index}");
        all.push(
            json!({ "type": "register", "app_name": "shop", "session_id": id, "session_token": "x", "shared": true }),
        );
        all.push(json!({ "type": "bye", "session_id": id }));
    }
    raw.write(&bytes_of(&all)).await;
    raw.write(&frame(FIN | CLOSE, &1000_u16.to_be_bytes())).await;
    raw.rest().await;
    assert_eq!(server.get("/sessions?limit=1").await["total"], 500);
    assert!(server.get("/events?kind=removed").await["events"].as_array().expect("events").is_empty());
}

/// Like the browser client: registers, and sends more frames without waiting for the answer.
#[tokio::test]
async fn an_honest_client_may_go_on_behind_its_own_registration() {
    let server = Server::start(&[]).await;
    for shared in [false, true] {
        let mut raw = Raw::connect(&server).await;
        raw.upgrade(&server, "/ws/client", "").await;
        let frames = [
            register(shared, None),
            json!({ "type": "heartbeat", "session_id": "victim" }),
            json!({ "type": "status", "session_id": "victim", "status": "running", "current_task": "Q4" }),
            json!({ "type": "visibility", "session_id": "victim", "visibility": "hidden" }),
        ];
        raw.write(&bytes_of(&frames)).await;
        let answer: Value = serde_json::from_str(&raw.text().await.expect("an answer")).expect("JSON");
        assert_eq!(answer["type"], "registered");
        crate::support::until("all of it is taken", async || {
            let session = server.get("/sessions/victim").await;
            session["current_task"] == "Q4" && session["visibility"] == "hidden" && session["connected"] == true
        })
        .await;
        raw.write(&bytes_of(&[json!({ "type": "bye", "session_id": "victim" })])).await;
        crate::support::until("it has said goodbye", async || {
            server.client.get(format!("{}/sessions/victim", server.url)).send().await.expect("an answer").status()
                == 404
        })
        .await;
        let log = server.get("/events?kind=removed&limit=1").await;
        assert_eq!(log["events"][0]["from"], "127.0.0.1", "the log tells from where: {log}");
    }
}

async fn closes_for_want_of_a_registration(mut socket: Socket) {
    let close = tokio::time::timeout(Duration::from_secs(20), socket.closed()).await.expect("in time");
    assert_eq!(close.map(|close| close.code.into()), Some(4408_u16));
}

/// A refused registration does not stop the time limit of five seconds.
#[tokio::test]
async fn a_refused_registration_does_not_keep_a_socket_open() {
    let server = Server::start(&["--strict"]).await;
    let admin = tokens_of(&server)[2].clone();
    make_victim(&server, &admin).await;
    let mut sockets = Vec::new();
    for first in [
        register(true, Some("bogus")),
        register(false, Some("bogus")),
        json!({ "type": "register", "shared": true }),
        json!({ "type": "register", "shared": true, "app_name": "" }),
    ] {
        let offered = format!("sessionwatch.v1, sessionwatch.auth.{}", URL_SAFE_NO_PAD.encode("bogus"));
        let mut socket = server.socket("/ws/client", &[("sec-websocket-protocol", &offered)]).await;
        socket.send(first).await;
        assert_eq!(socket.next().await["type"], "error");
        sockets.push(closes_for_want_of_a_registration(socket));
    }
    futures_util::future::join_all(sockets).await;
}
