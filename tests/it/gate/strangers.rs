//! Callers without a session's token learn nothing about it, not even whether it exists.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::requests::tokens_of;
use crate::support::{Server, until};

const REASON: &str = "left the company";

/// A caller, with the headers of its requests.
struct Asker<'a> {
    who: &'a str,
    headers: Vec<(&'static str, String)>,
}

async fn ask(server: &Server, asker: &Asker<'_>, method: Method, path: &str) -> (StatusCode, Value) {
    let mut request = server.client.request(method, format!("{}{path}", server.url));
    for (name, value) in &asker.headers {
        request = request.header(*name, value);
    }
    if path.ends_with("/status") {
        request = request.json(&json!({ "status": "running" }));
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let body = if status == StatusCode::OK { Value::Null } else { answer.json().await.expect("JSON") };
    (status, body)
}

/// All routes of a client's own session.
fn own_routes(id: &str) -> Vec<(Method, String)> {
    vec![
        (Method::POST, format!("/sessions/{id}/heartbeat")),
        (Method::PUT, format!("/sessions/{id}/status")),
        (Method::GET, format!("/sessions/{id}/events")),
        (Method::GET, format!("/sessions/{id}/alive")),
        (Method::POST, format!("/sessions/{id}/end")),
        (Method::DELETE, format!("/sessions/{id}")),
    ]
}

async fn register(server: &Server, admin: &str, id: &str) -> String {
    let body = json!({ "app_name": "shop", "session_id": id });
    let request = server.client.post(format!("{}/sessions", server.url)).bearer_auth(admin).json(&body);
    let made: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    made["session_token"].as_str().expect("a token").to_owned()
}

/// Starts a server with a live session, a killed one, and one that has ended; their tokens.
async fn with_sessions(arguments: &[&str]) -> (Server, [String; 3]) {
    let server = Server::start(arguments).await;
    let admin = tokens_of(&server)[2].clone();
    let as_admin = Asker { who: "admin", headers: vec![("authorization", format!("Bearer {admin}"))] };
    let mut tokens = Vec::new();
    for id in ["live", "killed", "ended"] {
        tokens.push(register(&server, &admin, id).await);
    }
    let kill = server.client.post(format!("{}/sessions/killed/kill", server.url)).bearer_auth(&admin);
    let killed = kill.json(&json!({ "reason": REASON })).send().await.expect("an answer");
    assert_eq!(killed.status(), 200);
    for id in ["killed", "ended"] {
        assert_eq!(ask(&server, &as_admin, Method::DELETE, &format!("/sessions/{id}")).await.0, 200);
    }
    (server, tokens.try_into().expect("three"))
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

#[tokio::test]
async fn without_the_token_the_answer_is_the_same_for_live_killed_and_unknown_ids() {
    for arguments in [&["--strict"][..], &[]] {
        let (server, _) = with_sessions(arguments).await;
        let ingest = tokens_of(&server)[0].clone();
        let page = ("origin", "http://localhost:1".to_owned());
        let mut askers = vec![
            Asker { who: "a page", headers: vec![page.clone()] },
            Asker { who: "a page with a wrong token", headers: vec![page, bearer("bogus")] },
            Asker { who: "a proxy's client", headers: vec![("x-forwarded-for", "192.0.2.1".to_owned())] },
            Asker {
                who: "a proxy's client with the ingest token",
                headers: vec![("x-forwarded-for", "192.0.2.1".to_owned()), bearer(&ingest)],
            },
        ];
        if !arguments.is_empty() {
            askers.push(Asker { who: "nobody", headers: Vec::new() });
            askers.push(Asker { who: "somebody", headers: vec![bearer("bogus")] });
            askers.push(Asker { who: "ingest", headers: vec![bearer(&ingest)] });
        }
        for asker in &askers {
            for (index, (method, path)) in own_routes("never").into_iter().enumerate() {
                let unknown = ask(&server, asker, method.clone(), &path).await;
                assert_eq!(unknown.0, 401, "{}: {method} {path}", asker.who);
                for id in ["live", "killed", "ended"] {
                    let (method, path) = own_routes(id).swap_remove(index);
                    let answer = ask(&server, asker, method.clone(), &path).await;
                    assert_eq!(answer, unknown, "{}: {method} {path}", asker.who);
                }
            }
        }
        // The same for a registration without the right to register.
        let stranger = if arguments.is_empty() { &askers[2] } else { &askers[5] };
        let mut answers = Vec::new();
        for id in ["never", "live", "killed", "ended"] {
            let mut request = server.client.put(format!("{}/sessions/{id}", server.url));
            for (name, value) in &stranger.headers {
                request = request.header(*name, value);
            }
            let answer = request.json(&json!({ "app_name": "shop" })).send().await.expect("an answer");
            answers.push((answer.status().as_u16(), answer.text().await.expect("a body")));
        }
        assert!(answers.iter().all(|answer| answer.0 == 401 && *answer == answers[0]), "{answers:?}");
        // A client that may register learns that the id is taken or was killed, not why, nor by whom.
        let body = json!({ "app_name": "shop", "session_id": "killed" });
        let request = server.client.post(format!("{}/sessions", server.url)).header("x-forwarded-for", "192.0.2.1");
        let answer = request.bearer_auth(&ingest).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 410);
        let told = answer.text().await.expect("a body");
        assert!(!told.contains(REASON) && !told.contains("\"admin\""), "{told}");
    }
}

#[tokio::test]
async fn the_owner_learns_why_also_after_the_end_and_after_a_restart() {
    let (mut server, tokens) = with_sessions(&["--strict"]).await;
    for restarted in [false, true] {
        if restarted {
            server = server.kill9_and_restart().await;
        }
        let owner = Asker { who: "the owner", headers: vec![bearer(&tokens[1])] };
        for (method, path) in own_routes("killed") {
            let (status, answer) = ask(&server, &owner, method, &path).await;
            assert_eq!((status.as_u16(), &answer["reason"]), (410, &json!(REASON)), "{path}");
        }
        let crossed = Asker { who: "another owner", headers: vec![bearer(&tokens[0])] };
        assert_eq!(ask(&server, &crossed, Method::POST, "/sessions/killed/heartbeat").await.0, 401);
        if !restarted {
            let ended = Asker { who: "the owner", headers: vec![bearer(&tokens[2])] };
            assert_eq!(ask(&server, &ended, Method::POST, "/sessions/ended/heartbeat").await.0, 404);
        }
    }
}

#[tokio::test]
async fn plain_programs_on_this_machine_are_told_404_and_410() {
    let (server, _) = with_sessions(&[]).await;
    let plain = Asker { who: "a program", headers: Vec::new() };
    for (id, expected) in [("never", 404), ("killed", 410), ("ended", 404)] {
        for (method, path) in own_routes(id) {
            assert_eq!(ask(&server, &plain, method, &path).await.0, expected, "{path}");
        }
    }
}

/// A backend asks whether a session is alive, to enforce a kill itself.
#[tokio::test]
async fn alive_answers_410_as_soon_as_a_kill_is_requested() {
    let (server, tokens) = with_sessions(&["--strict"]).await;
    let [_, view, admin] = tokens_of(&server);
    let viewer = Asker { who: "a backend", headers: vec![bearer(&view)] };
    let owner = Asker { who: "the owner", headers: vec![bearer(&tokens[0])] };
    for asker in [&viewer, &owner] {
        assert_eq!(ask(&server, asker, Method::GET, "/sessions/live/alive").await.0, 200, "{}", asker.who);
    }
    assert_eq!(ask(&server, &viewer, Method::GET, "/sessions/never/alive").await.0, 404);
    assert_eq!(ask(&server, &viewer, Method::GET, "/sessions/killed/alive").await.0, 410);
    let kill = server.client.post(format!("{}/sessions/live/kill", server.url)).bearer_auth(&admin);
    assert_eq!(kill.json(&json!({ "reason": REASON })).send().await.expect("an answer").status(), 200);
    for asker in [&viewer, &owner] {
        let (status, answer) = ask(&server, asker, Method::GET, "/sessions/live/alive").await;
        assert_eq!((status.as_u16(), &answer["reason"]), (410, &json!(REASON)), "{}", asker.who);
    }
    until("it is still there, since its client was not told", async || {
        let request = server.client.get(format!("{}/sessions/live", server.url)).bearer_auth(&admin);
        request.send().await.expect("an answer").status() == 200
    })
    .await;
}
