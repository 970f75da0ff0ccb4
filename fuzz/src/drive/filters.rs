//! Queries of the live view, the log and the counts: each line is a path with its query. The
//! server has sessions in every state. The prefix `csv ` requests CSV.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri, Version, header};
use serde_json::{Value, json};

use super::world::{Head, World};

/// Most queries in an input.
const QUESTIONS_MAX: usize = 16;

pub async fn drive(input: &[u8]) {
    let mut world = peopled().await;
    for line in input.split(|byte| *byte == b'\n').take(QUESTIONS_MAX) {
        let (kind, target) = match line.strip_prefix(b"csv ") {
            Some(target) => ("text/csv", target),
            None => ("*/*", line),
        };
        let Ok(uri) = Uri::try_from(target) else { continue };
        let path = uri.path().to_owned();
        let head = Head {
            method: Method::GET,
            uri,
            version: Version::HTTP_11,
            headers: Default::default(),
            peer: ([127, 0, 0, 1], 50_000).into(),
        };
        let (mut request, peer) = head.request(Vec::new());
        request.headers_mut().insert(header::ACCEPT, kind.parse().expect("a header"));
        let (status, answer) = world.ask(request, peer).await;
        if status == StatusCode::OK && answer.is_object() {
            judge(&path, &answer);
        }
    }
    world.end().await;
}

/// Checks what must hold for the answer to every query.
fn judge(path: &str, answer: &Value) {
    let length = |name: &str| answer[name].as_array().expect("a list").len();
    match path {
        "/sessions" => {
            let (listed, total) = (length("sessions"), answer["total"].as_u64().expect("a number"));
            assert!(listed as u64 <= total, "{listed} of {total}");
            assert!(answer["next"].is_null() || listed > 0, "there is a place behind nothing");
        }
        "/events" => {
            assert!(length("events") <= 1_000);
            assert!(answer["next"].is_null() || length("events") > 0, "there is a place behind nothing");
        }
        "/stats" => assert!(length("minutes") <= 1_440),
        _ => {}
    }
}

/// A server with sessions that work, are stale, have a kill request, were killed, or ended by
/// themselves.
async fn peopled() -> World {
    let mut world = World::new("").await;
    let sessions = [
        json!({"app_name": "risk", "session_id": "silent", "user_id": "ana"}),
        json!({"app_name": "risk", "session_id": "works", "status": "running", "current_task": "Q4, \"final\"\n"}),
    ];
    for session in &sessions {
        post(&mut world, "/sessions", session).await;
    }
    world.wait(Duration::from_secs(130)).await;
    let sessions = [
        json!({"app_name": "risk", "session_id": "works", "user_id": "=cmd()", "status": "running", "meta": {"env": "prod"}}),
        json!({"app_name": "Ünïcode 日本", "session_id": "u", "user_id": "İ", "client": "js/0.1.0", "visibility": "hidden"}),
        json!({"app_name": "desk", "session_id": "asked"}),
        json!({"app_name": "desk", "session_id": "gone"}),
    ];
    for session in &sessions {
        post(&mut world, "/sessions", session).await;
    }
    post(&mut world, "/sessions/asked/kill", &json!({"reason": "month end", "by": "eve"})).await;
    post(&mut world, "/sessions/works/status", &json!({"status": "waiting-for", "current_task": "Q4"})).await;
    post(&mut world, "/sessions/gone/end", &json!({})).await;
    world
}

async fn post(world: &mut World, path: &str, body: &Value) {
    let method = if path.ends_with("/status") { Method::PUT } else { Method::POST };
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:8000");
    let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string()));
    world.ask(request.expect("a request"), ([127, 0, 0, 1], 50_000).into()).await;
}
