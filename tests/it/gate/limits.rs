//! The limits on what one client can use: bodies, heads, time, sessions, sockets, descriptors.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::requests::resident_kib;
use super::wire::Raw;
use crate::support::{PATIENCE, Server, Socket, until};

async fn post(server: &Server, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, Value) {
    let mut request = server.client.post(format!("{}/sessions", server.url)).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(body).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn bodies_are_small_flat_plain_json() {
    let server = Server::start(&[]).await;
    let send = async |headers: &[(&str, &str)], body: &str| post(&server, headers, body.as_bytes().to_vec()).await.0;
    assert_eq!(send(&[], &"[".repeat(10_000)).await, 400);
    let deep = format!(r#"{{"app_name":"a","unknown":{}{}}}"#, "[".repeat(8_000), "]".repeat(8_000));
    assert_eq!(send(&[], &deep).await, 400, "where nobody looks, too");
    let meta = format!(r#"{{"app_name":"a","meta":{}}}"#, r#"{"a":"#.repeat(2_000));
    assert_eq!(send(&[], &meta).await, 400);
    for not_json in [
        "NaN",
        r#"{"heartbeat_interval":NaN}"#,
        r#"{"heartbeat_interval":Infinity}"#,
        r#"{"app_name":"\ud800"}"#,
        r#"{"app_name":"\udc00a"}"#,
        r#"{"app_name":"a"}x"#,
        "{'app_name':'a'}",
        "\u{feff}{}",
    ] {
        assert_eq!(send(&[], not_json).await, 400, "{not_json}");
    }
    assert_eq!(post(&server, &[], b"{\"app_name\":\"\xff\"}".to_vec()).await.0, 400, "no UTF-8");
    assert_eq!(send(&[], r#"{"app_name":"a","heartbeat_interval":1e999}"#).await, 400);
    // A compressed body is never decompressed.
    let bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x04\x00\x43\xbe\xb7\xe8\x01\x00\x00\x00".to_vec();
    for encoding in ["gzip", "deflate", "br", "zstd", "gzip, identity"] {
        assert_eq!(post(&server, &[("content-encoding", encoding)], bomb.clone()).await.0, 415, "{encoding}");
    }
    assert_eq!(send(&[("content-encoding", "identity")], r#"{"app_name":"a"}"#).await, 201);
}

#[tokio::test]
async fn chunks_without_end_and_heads_without_end_are_cut_off() {
    let server = Server::start(&[]).await;
    let head = format!("Host: localhost:{}\r\nContent-Type: application/json\r\n", server.port);
    let mut endless = Raw::connect(&server).await;
    endless.write(format!("POST /sessions HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await;
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1_024));
    // More than the limit is enough; a server that went on reading would not answer.
    endless.write(chunk.repeat(17).as_bytes()).await;
    assert_eq!(endless.head().await.0, 413);

    let mut claimed = Raw::connect(&server).await;
    claimed
        .write(format!("POST /sessions HTTP/1.1\r\n{head}Content-Length: 9223372036854775807\r\n\r\n").as_bytes())
        .await;
    claimed.write(&[b'x'; 16 * 1_024 + 1]).await;
    assert_eq!(claimed.head().await.0, 413);

    let before = resident_kib(&server);
    let mut large = Raw::connect(&server).await;
    let filler = format!("X-Filler: {}\r\n", "x".repeat(1_000)).repeat(17);
    large.write(format!("GET /healthz HTTP/1.1\r\n{head}{filler}").as_bytes()).await;
    assert_eq!(large.head().await.0, 431);
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let mut raw = Raw::connect(&server).await;
    raw.write(format!("GET /healthz HTTP/1.1\r\n{head}{many}\r\n").as_bytes()).await;
    assert_eq!(raw.head().await.0, 431, "many small ones");
    // A megabyte in one header: the server does not read all of it, so the client may not
    // get the answer while it is still sending. The connection must end, and cost no memory.
    let mut huge = Raw::connect(&server).await;
    huge.write(format!("GET /healthz HTTP/1.1\r\n{head}X-Huge: ").as_bytes()).await;
    let (mut reader, mut writer) = huge.stream.into_split();
    let sending =
        tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut writer, &vec![b'x'; 1_024 * 1_024]).await });
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer)).await.expect("it ends");
    assert!(answer.starts_with(b"HTTP/1.1 431") || answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    drop(reader);
    let _ = sending.await.expect("it ends");
    let mut long = Raw::connect(&server).await;
    long.write(format!("GET /{} HTTP/1.1\r\n", "x".repeat(17 * 1_024)).as_bytes()).await;
    assert!(matches!(long.head().await.0, 414 | 431));
    assert!(resident_kib(&server).saturating_sub(before) < 8 * 1_024);
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_end_after_ten_seconds() {
    let server = Server::start(&[]).await;
    let head = format!("Host: localhost:{}\r\nContent-Type: application/json\r\n", server.port);
    let slow_head = async |first: String| {
        let begun = Instant::now();
        let mut raw = Raw::connect(&server).await;
        raw.write(first.as_bytes()).await;
        let rest = raw.rest().await;
        (begun.elapsed(), rest)
    };
    let slow_body = async |first: String| {
        let begun = Instant::now();
        let mut raw = Raw::connect(&server).await;
        raw.write(first.as_bytes()).await;
        let (status, answer) = raw.head().await;
        (begun.elapsed(), status, answer)
    };
    let trickle = async {
        let begun = Instant::now();
        let mut raw = Raw::connect(&server).await;
        raw.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ").await;
        // Single bytes do not extend the time limit.
        while raw.write(b"x").await && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        begun.elapsed()
    };
    let (nothing, half, short, chunk, trickle) = tokio::join!(
        slow_head(String::new()),
        slow_head(format!("GET /healthz HTTP/1.1\r\n{head}")),
        slow_body(format!("POST /sessions HTTP/1.1\r\n{head}Content-Length: 100\r\n\r\n{{")),
        slow_body(format!("POST /sessions HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n")),
        trickle,
    );
    let in_time = |took: Duration| (Duration::from_millis(9_500)..PATIENCE).contains(&took);
    assert!(in_time(nothing.0) && nothing.1.is_empty(), "{nothing:?}");
    assert!(in_time(half.0), "{half:?}");
    assert!(in_time(trickle), "{trickle:?}");
    for (took, status, answer) in [short, chunk] {
        assert!(in_time(took) && status == 408 && answer.contains("connection: close"), "{took:?} {answer}");
    }
}

#[tokio::test]
async fn a_kept_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let server = Server::start(&[]).await;
    let ask = format!("HEAD /healthz HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", server.port);
    let mut raw = Raw::connect(&server).await;
    raw.write(ask.as_bytes()).await;
    assert_eq!(raw.head().await.0, 200);
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    // The next head again has ten seconds, from its first byte on.
    raw.write(&ask.as_bytes()[..10]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    raw.write(&ask.as_bytes()[10..]).await;
    assert_eq!(raw.head().await.0, 200, "it was kept");
    let begun = Instant::now();
    raw.write(&ask.as_bytes()[..10]).await;
    assert!(raw.rest().await.is_empty());
    assert!((Duration::from_millis(9_500)..PATIENCE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_read_answers_is_disconnected_after_ten_seconds() {
    let server = Server::start(&[]).await;
    let mut raw = Raw::connect_narrow(&server).await;
    let ask = format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", server.port).repeat(64);
    let begun = Instant::now();
    while tokio::io::AsyncWriteExt::write_all(&mut raw.stream, ask.as_bytes()).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(40), "it takes more and more");
    }
    assert!(begun.elapsed() > Duration::from_secs(8), "it was given time: {:?}", begun.elapsed());
}

#[tokio::test]
async fn more_sessions_than_allowed_are_refused_for_now() {
    let server = Server::start(&["--max-sessions", "3"]).await;
    for n in 0..3 {
        server.post("/sessions", json!({ "app_name": "a", "session_id": format!("s{n}") })).await;
    }
    let request = server.client.post(format!("{}/sessions", server.url)).json(&json!({ "app_name": "a" }));
    let refused = request.send().await.expect("an answer");
    assert_eq!(refused.status(), 503);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(server.client.get(format!("{}/ping/a/s9", server.url)).send().await.unwrap().status(), 503);
    let mut socket = server.socket("/ws/client", &[]).await;
    socket.send(json!({ "type": "register", "app_name": "a" })).await;
    assert_eq!(socket.next().await["status"], 503);
    // A registered session may resume, and one that ends makes room.
    let put =
        async |id: &str| server.ask(Method::PUT, &format!("/sessions/{id}"), Some(json!({ "app_name": "a" }))).await.0;
    assert_eq!(put("s1").await, 200);
    server.ask(Method::DELETE, "/sessions/s1", None).await;
    assert_eq!(put("s4").await, 201);
}

#[tokio::test]
async fn one_address_has_256_sockets_and_this_machine_any_number() {
    let server = Server::start(&["--trust-proxy", "127.0.0.1"]).await;
    let ingest = format!("Bearer {}", super::requests::tokens_of(&server)[0]);
    let from = |address: &'static str| [("x-forwarded-for", address), ("authorization", &*ingest)];
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(server.socket("/ws/client", &from("203.0.113.7")).await);
    }
    assert_eq!(server.try_socket("/ws/client", &from("203.0.113.7")).await.err(), Some(503));
    assert!(server.try_socket("/ws/client", &from("203.0.113.8")).await.is_ok());
    drop(open);
    until("the places are given back", || async {
        server.try_socket("/ws/client", &from("203.0.113.7")).await.is_ok()
    })
    .await;

    let local = Server::start(&[]).await;
    let sockets = join_all((0..300).map(|_| local.try_socket("/ws/client", &[]))).await;
    assert!(sockets.iter().all(Result::is_ok));
}

/// A server with a low limit on open files.
async fn with_descriptors(limit: u32) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!("ulimit -n {limit}; exec \"$0\" serve --listen 127.0.0.1:0 --db \"$1\"");
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_sessionwatch")])
        .arg(folder.path().join("d.db"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("sh runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let line = lines.next_line().await.expect("text").expect("it listens");
    let port = line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let url = format!("http://127.0.0.1:{port}");
    (Server::attached(child, folder.path().join("d.db"), url, port), folder)
}

#[tokio::test]
async fn the_end_of_descriptors_ends_neither_the_accept_loop_nor_the_store() {
    let (server, _folder) = with_descriptors(160).await;
    let mut first = server.socket("/ws/client", &[]).await;
    first.send(json!({ "type": "register", "app_name": "a", "session_id": "first" })).await;
    first.next_of("registered").await;
    // Far more than there are places; the rest waits in the kernel's accept queue.
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(Raw::connect(&server).await);
    }
    // Accepted connections are served meanwhile, commits included.
    first.send(json!({ "type": "status", "session_id": "first", "status": "running", "current_task": "on" })).await;
    // The waiting connections are accepted as fast as the machine can, up to the reserved descriptors.
    let id = server.child.id().expect("it runs");
    let open = || std::fs::read_dir(format!("/proc/{id}/fd")).expect("its descriptors").count();
    let most = std::cell::Cell::new(0);
    until("as many are in as there is room for", || async {
        most.set(most.get().max(open()));
        most.get() >= 80
    })
    .await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        most.set(most.get().max(open()));
    }
    assert!(most.get() < 160 - 20, "{} descriptors were in use: none were kept back", most.get());
    drop(crowd);
    until("new ones are let in again", || async {
        let asked = server.client.get(format!("{}/sessions/first", server.url)).timeout(Duration::from_secs(2)).send();
        match asked.await {
            Ok(answer) => answer.json::<Value>().await.is_ok_and(|session| session["current_task"] == "on"),
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test]
async fn changes_of_everything_at_once_reach_dashboards_in_frames_that_fit() {
    const SESSIONS: usize = 3_000;
    // Long enough that no session is removed before a slow machine has sent every kill.
    let server = Server::start(&["--kill-grace", "1m"]).await;
    let mut client = server.socket("/ws/client", &[]).await;
    let note = "x".repeat(500);
    for n in 0..SESSIONS {
        let frame = json!({ "type": "register", "shared": true, "app_name": "a", "session_id": format!("s{n}"), "meta": { "note": note } });
        client.send(frame).await;
    }
    for _ in 0..SESSIONS {
        client.next_of("registered").await;
    }
    let listed = server.get("/sessions?limit=0").await;
    let (epoch, before) = (listed["epoch"].as_str().unwrap().to_owned(), listed["seq"].as_u64().unwrap());
    let mut watching = server.socket("/ws", &[]).await;
    while watching.next().await["seq"].as_u64().is_some_and(|seq| seq < before) {}
    server.ask(Method::POST, "/apps/a/kill-all", None).await;
    // A dashboard that resumes gets the same, although it is too much for one frame.
    let resuming = server.socket(&format!("/ws?epoch={epoch}&seq={before}"), &[]).await;
    // At the same time, since a dashboard that is not read meanwhile would be a stalled one.
    tokio::join!(
        hears_of_every_kill(watching, "watching", before, SESSIONS),
        hears_of_every_kill(resuming, "resuming", before, SESSIONS),
    );
}

async fn hears_of_every_kill(mut dashboard: Socket, who: &str, mut at: u64, sessions: usize) {
    let (mut killed, mut changes) = (std::collections::HashSet::new(), 0);
    while killed.len() < sessions {
        let frame = dashboard.next().await;
        let told = match frame["type"].as_str() {
            Some("changes") => {
                assert_eq!(frame["from"], at, "{who}: no gap");
                assert!(frame["seq"].as_u64() > Some(at), "{who}: it goes on");
                assert!(frame.to_string().len() < 1_024 * 1_024, "{who}");
                changes += 1;
                "upserted"
            }
            // On a slow machine this dashboard may lag, and get a snapshot after some frames.
            Some("snapshot") => "sessions",
            _ => continue,
        };
        at = frame["seq"].as_u64().unwrap();
        let told = frame[told].as_array().unwrap().iter();
        killed.extend(told.filter(|s| s["kill_requested"] == true).map(|s| s["session_id"].to_string()));
    }
    assert!(changes > 0, "{who}: it is told by changes, and not by a snapshot alone");
}

#[tokio::test]
async fn no_field_accepts_a_deceiving_character() {
    let server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "a", "session_id": "s" })).await;
    let deceptive = [
        "\u{0}",
        "\n",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{85}",
        "\u{202e}",
        "\u{202a}",
        "\u{2066}",
        "\u{2069}",
        "\u{200f}",
        "\u{61c}",
        "\u{2028}",
    ];
    for c in deceptive {
        let text = format!("a{c}b");
        let registrations = [
            json!({ "app_name": text }),
            json!({ "app_name": "a", "user_id": text }),
            json!({ "app_name": "a", "session_id": text }),
            json!({ "app_name": "a", "current_task": text }),
            json!({ "app_name": "a", "client": text }),
            json!({ "app_name": "a", "status": text }),
            json!({ "app_name": "a", "meta": { "key": text } }),
            json!({ "app_name": "a", "meta": { (text.as_str()): 1 } }),
        ];
        for mut body in registrations {
            if body.get("client").is_none() {
                body["client"] = json!("js/0.1.0");
            }
            assert_eq!(server.ask(Method::POST, "/sessions", Some(body.clone())).await.0, 422, "{body}");
        }
        let writes = [
            (Method::POST, "/sessions/s/kill", json!({ "reason": text })),
            (Method::POST, "/sessions/s/kill", json!({ "by": text })),
            (Method::POST, "/sessions/s/message", json!({ "text": text })),
            (Method::POST, "/apps/a/message", json!({ "text": "x", "by": text })),
            (Method::POST, "/apps/a/kill-all", json!({ "reason": text })),
        ];
        for (method, path, body) in writes {
            assert_eq!(server.ask(method.clone(), path, Some(body.clone())).await.0, 422, "{method} {path} {body}");
        }
    }
    assert_eq!(server.get("/sessions").await["total"], 1);
    assert_eq!(server.get("/sessions/s").await["kill_requested"], false);
}

#[tokio::test]
async fn pages_carry_their_headers() {
    let server = Server::start(&[]).await;
    for path in ["/", "/assets/main.js", "/assets/styles/base.css"] {
        let answer = server.client.get(format!("{}{path}", server.url)).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let headers = answer.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        for directive in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(directive), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(headers[name], value, "{path} {name}");
        }
    }
    for path in ["/sessions", "/events", "/nothing", "/metrics"] {
        let answer = server.client.get(format!("{}{path}", server.url)).send().await.expect("an answer");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()["cache-control"], "no-store");
    }
}
