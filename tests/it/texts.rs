//! Texts of clients: refused where the client can read the error, cleaned where it cannot.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Server;

/// Texts of old clients, each with its status word and its task.
fn said() -> Vec<(String, String, Value)> {
    let long = "x".repeat(300);
    [
        ("a\nb", "a-b", json!("a b")),
        ("tab\there", "tab-here", json!("tab here")),
        (long.as_str(), &long[..32], json!(long[..256])),
        ("Loading data", "loading-data", json!("Loading data")),
        ("error: 7", "error-7", json!("error: 7")),
        ("", "idle", Value::Null),
        ("stale", "said-stale", json!("stale")),
        ("ended", "said-ended", json!("ended")),
        ("a\u{200b}\u{202e}b", "ab", json!("ab")),
        ("Büro 日本", "b-ro", json!("Büro 日本")),
        ("\u{3164}", "idle", Value::Null),
    ]
    .map(|(said, status, task)| (said.to_owned(), status.to_owned(), task))
    .to_vec()
}

async fn told(server: &Server, id: &str) -> (Value, Value) {
    let session = server.get(&format!("/sessions/{id}")).await;
    (session["reported_status"].clone(), session["current_task"].clone())
}

#[tokio::test]
async fn no_text_of_an_old_client_is_refused() {
    let server = Server::start(&[]).await;
    for (index, (said, status, task)) in said().into_iter().enumerate() {
        // With a task and an empty status the session is running.
        let expected = (json!(status), task.clone());
        let id = format!("s{index}");
        let body = json!({ "session_id": id, "app_name": format!("a{said}"), "user_id": said, "status": said,
            "current_task": said });
        let (answer, problem) = server.ask(Method::POST, "/sessions", Some(body)).await;
        assert_eq!(answer, 201, "{said:?}: {problem}");
        assert_eq!(told(&server, &id).await, expected, "{said:?}");

        let routes = [(Method::PUT, "status"), (Method::POST, "heartbeat")];
        for (method, route) in routes {
            let path = format!("/sessions/{id}/{route}");
            server.ask(method.clone(), &path, Some(json!({ "status": "reset", "current_task": "reset" }))).await;
            let body = json!({ "status": said, "current_task": said });
            assert_eq!(server.ask(method, &path, Some(body)).await.0, 200, "{route} {said:?}");
            assert_eq!(told(&server, &id).await, expected, "{route} {said:?}");
        }
        let url = format!("{}/ping/jobs/p{index}", server.url);
        let ping = server.client.get(url).query(&[("status", &said), ("task", &said)]).send().await.unwrap();
        assert_eq!(ping.status(), 200, "{said:?}");
        assert_eq!(told(&server, &format!("p{index}")).await, expected, "ping {said:?}");
    }
    let working = json!({ "status": "", "current_task": "Q4" });
    server.ask(Method::PUT, "/sessions/s0/status", Some(working)).await;
    assert_eq!(told(&server, "s0").await, (json!("running"), json!("Q4")));
}

#[tokio::test]
async fn names_that_deceive_are_cleaned_for_old_clients_and_refused_to_new_ones() {
    let server = Server::start(&[]).await;
    for c in ["\u{200b}", "\u{ad}", "\u{3164}", "\u{115f}", "\u{2800}", "\u{2060}", "\u{e0061}", "\u{202e}", "\u{2067}"]
    {
        let name = format!("ad{c}min");
        for field in ["app_name", "user_id"] {
            let mut body = json!({ "app_name": "a", "session_id": "n" });
            body[field] = json!(name);
            let made = server.ask(Method::POST, "/sessions", Some(body.clone())).await;
            assert_eq!(made.0, 201, "{name:?}");
            let shown = server.get("/sessions/n").await[field].as_str().expect("a name").to_owned();
            assert!(shown == "admin" || shown == "ad min", "{name:?} is shown as {shown:?}");
            server.ask(Method::DELETE, "/sessions/n", None).await;

            // Refused: with `client`, from a page, and on routes that the old system did not have.
            body["client"] = json!("js/0.1.0");
            let refused = server.ask(Method::POST, "/sessions", Some(body.clone())).await;
            assert_eq!(refused.0, 422, "{name:?}");
            body.as_object_mut().expect("an object").remove("client");
            let page = server.client.post(format!("{}/sessions", server.url)).header("origin", "http://localhost:1");
            assert_eq!(page.json(&body).send().await.unwrap().status(), 422, "{name:?}");
            assert_eq!(server.ask(Method::PUT, "/sessions/n", Some(body.clone())).await.0, 422, "{name:?}");
            let mut socket = server.socket("/ws/client", &[]).await;
            body["type"] = json!("register");
            socket.send(body).await;
            assert_eq!(socket.next().await["status"], 422, "{name:?}");
        }
    }
    // Reserved words are refused where the client can read the error.
    for word in ["stale", "killed", "expired", "ended"] {
        let body = json!({ "app_name": "a", "status": word, "client": "js/0.1.0" });
        assert_eq!(server.ask(Method::POST, "/sessions", Some(body)).await.0, 422, "{word}");
    }
    assert_eq!(server.get("/sessions").await["total"], 0);
}

#[tokio::test]
async fn ids_and_apps_with_a_meaning_in_paths_are_refused_everywhere() {
    let server = Server::start(&[]).await;
    // As raw bytes: a client library would remove them from the path.
    let raw = async |method: &str, path: &str| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\
             Connection: close\r\n\r\n{{\"app_name\":\"a\"}}",
            server.port
        );
        let answer = server.raw(head.as_bytes()).await;
        answer.split(' ').nth(1).map(str::to_owned).unwrap_or_default()
    };
    for id in [".", "..", "stale"] {
        let body = json!({ "app_name": "a", "session_id": id });
        assert_eq!(server.ask(Method::POST, "/sessions", Some(body.clone())).await.0, 422, "{id}");
        let mut socket = server.socket("/ws/client", &[]).await;
        let mut frame = body;
        frame["type"] = json!("register");
        socket.send(frame).await;
        assert_eq!(socket.next().await["status"], 422, "{id}");
        assert_eq!(raw("PUT", &format!("/sessions/{id}")).await, if id == "stale" { "405" } else { "422" }, "{id}");
        assert_eq!(
            raw("PUT", &format!("/sessions/{}", id.replace('.', "%2e"))).await,
            if id == "stale" { "405" } else { "422" }
        );
        assert_eq!(raw("GET", &format!("/ping/a/{id}")).await, "422", "{id}");
    }
    for app in [".", ".."] {
        for client in [None, Some("js/0.1.0")] {
            let body = json!({ "app_name": app, "client": client });
            assert_eq!(server.ask(Method::POST, "/sessions", Some(body)).await.0, 422, "{app}");
        }
        let mut socket = server.socket("/ws/client", &[]).await;
        socket.send(json!({ "type": "register", "app_name": app })).await;
        assert_eq!(socket.next().await["status"], 422, "{app}");
        assert_eq!(raw("GET", &format!("/ping/{app}/x")).await, "422", "{app}");
        assert_eq!(raw("POST", &format!("/apps/{app}/kill-all")).await, "422", "{app}");
    }
    assert_eq!(server.get("/sessions").await["total"], 0);
}

#[tokio::test]
async fn only_objects_are_accepted_and_errors_have_the_apis_format() {
    let server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "a", "session_id": "s" })).await;
    let lists = [json!(["running", "Q4"]), json!([]), json!("running"), json!(5), json!(null)];
    for body in lists {
        for (method, path) in [
            (Method::POST, "/sessions"),
            (Method::PUT, "/sessions/s"),
            (Method::PUT, "/sessions/s/status"),
            (Method::POST, "/sessions/s/heartbeat"),
            (Method::POST, "/sessions/s/end"),
            (Method::POST, "/sessions/s/kill"),
            (Method::POST, "/sessions/s/message"),
            (Method::POST, "/login"),
        ] {
            let (status, problem) = server.ask(method.clone(), path, Some(body.clone())).await;
            assert_eq!(status, 422, "{method} {path} {body}");
            assert!(problem["detail"].as_str().unwrap().contains("JSON object"), "{problem}");
        }
        let mut socket = server.socket("/ws/client", &[]).await;
        socket.send(body).await;
        let detail = socket.next().await["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("JSON object"), "{detail}");
    }
    let wrong = [
        (json!({ "app_name": 5 }), "app_name: ", "expected a string"),
        (json!({ "app_name": "a", "heartbeat_interval": "x" }), "heartbeat_interval: ", "expected a number"),
        (json!({ "app_name": "a", "meta": [1] }), "meta: ", "expected an object"),
    ];
    for (mut body, field, expected) in wrong {
        let (_, problem) = server.ask(Method::POST, "/sessions", Some(body.clone())).await;
        let mut socket = server.socket("/ws/client", &[]).await;
        body["type"] = json!("register");
        socket.send(body).await;
        for detail in [&problem["detail"], &socket.next().await["detail"]] {
            let detail = detail.as_str().unwrap();
            assert!(detail.contains(field) && detail.contains(expected), "{detail}");
            for rust in ["struct", "Body", "Frame", "f64", "Option", "tuple"] {
                assert!(!detail.contains(rust), "{detail}");
            }
        }
    }
    assert_eq!(server.get("/sessions").await["total"], 1, "the list has ended nobody");
}

#[tokio::test]
async fn an_age_that_overflows_deletes_nothing() {
    let server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "a", "session_id": "s" })).await;
    for age in ["3e17", "1.5e17", "1e15", "9e18", "307445734561825860"] {
        let (_, answer) = server.ask(Method::DELETE, &format!("/sessions/stale?older_than_minutes={age}"), None).await;
        assert_ne!(answer["deleted_count"], 1, "{age}");
    }
    assert_eq!(server.get("/sessions").await["total"], 1);
    assert_eq!(server.get("/events?before=18446744073709551615").await["events"].as_array().unwrap().len(), 1);
}
