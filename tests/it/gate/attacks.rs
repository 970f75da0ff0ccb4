//! The attacks that `SECURITY.md` names, over real sockets: hostile pages, DNS rebinding,
//! request smuggling, stolen tokens; each with the exact response.

use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::requests::{log_in, tokens_of};
use super::wire::Raw;
use crate::support::Server;

const FOREIGN: [&str; 6] = [
    "https://evil.com",
    "null",
    "http://localhost.evil.com",
    "http://127.evil.com",
    "http://evil.com:8000",
    "http://127.0.0.1.evil.com",
];

async fn send(server: &Server, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut request = server.client.request(method, format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.to_owned()).send().await.expect("an answer")
}

/// Starts a server with one session, `victim`, and its token.
async fn with_victim(args: &[&str]) -> (Server, String) {
    let server = Server::start(args).await;
    let admin = tokens_of(&server)[2].clone();
    let body = json!({ "app_name": "shop", "session_id": "victim" });
    let request = server.client.post(format!("{}/sessions", server.url)).bearer_auth(admin).json(&body);
    let made: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    (server, made["session_token"].as_str().expect("a token").to_owned())
}

async fn kinds(server: &Server) -> Vec<String> {
    let admin = tokens_of(server)[2].clone();
    let request = server.client.get(format!("{}/events?session_id=victim", server.url)).bearer_auth(admin);
    let log: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    log["events"].as_array().expect("events").iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_page_on_another_origin_cannot_kill() {
    let (server, _) = with_victim(&[]).await;
    let targets = ["/sessions/victim/kill", "/apps/shop/kill-all", "/sessions/victim/message", "/logout"];
    let kinds_of_body = [
        ("", ""),
        ("text/plain", r#"{"reason":"x"}"#),
        ("application/x-www-form-urlencoded", "reason=x"),
        ("multipart/form-data; boundary=b", "--b--"),
        ("application/json", "{}"),
    ];
    for origin in FOREIGN {
        for path in targets {
            for (kind, body) in kinds_of_body {
                let mut headers = vec![("origin", origin), ("sec-fetch-site", "cross-site"), ("x-sessionwatch", "1")];
                if !kind.is_empty() {
                    headers.push(("content-type", kind));
                }
                let answer = send(&server, Method::POST, path, &headers, body).await;
                assert_eq!(answer.status(), 403, "{origin} {path} {kind}");
                assert!(answer.headers().get("access-control-allow-origin").is_none());
            }
        }
    }
    // Without an Origin, like a form in an older browser: it is still not same-origin.
    let form = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    assert_eq!(send(&server, Method::POST, "/sessions/victim/kill", &form, "").await.status(), 403);
    assert_eq!(kinds(&server).await, ["registered"], "nothing happened to it");
}

#[tokio::test]
async fn a_preflight_allows_other_origins_nothing_and_apps_only_their_own_routes() {
    let (server, token) = with_victim(&[]).await;
    let preflight = async |path: &str, origin: &str, method: &str| {
        let headers = [("origin", origin), ("access-control-request-method", method), ("sec-fetch-site", "cross-site")];
        let answer = send(&server, Method::OPTIONS, path, &headers, "").await;
        let text = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), text("access-control-allow-origin"), text("access-control-allow-methods"))
    };
    for origin in FOREIGN {
        for (path, method) in
            [("/sessions/victim", "DELETE"), ("/sessions", "POST"), ("/sessions/victim/heartbeat", "POST")]
        {
            assert_eq!(preflight(path, origin, method).await, (403, None, None), "{origin} {path}");
        }
        assert_eq!(preflight("/sessions/victim/kill", origin, "POST").await, (405, None, None));
        assert_eq!(preflight("/sessions/stale", origin, "DELETE").await.1, None, "{origin}");
    }
    let app = "http://localhost:3000";
    let (status, echoed, methods) = preflight("/sessions/victim", app, "DELETE").await;
    assert_eq!((status, echoed.as_deref()), (204, Some(app)));
    assert_eq!(methods.as_deref(), Some("PUT, DELETE"), "and not the GET, which is CONTROL");
    assert_eq!(preflight("/sessions/victim/kill", app, "POST").await, (405, None, None));
    assert_eq!(preflight("/events", app, "GET").await, (405, None, None));

    // The request that the preflight allows still needs the session's token.
    let headers = [("origin", app), ("sec-fetch-site", "same-site")];
    assert_eq!(send(&server, Method::DELETE, "/sessions/victim", &headers, "").await.status(), 401);
    let bearer = format!("Bearer {token}");
    let headers = [("origin", app), ("authorization", bearer.as_str())];
    let answer = send(&server, Method::DELETE, "/sessions/victim", &headers, "").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["access-control-allow-origin"]),
        (200, &app.parse().unwrap())
    );
    assert!(answer.headers().get("access-control-allow-credentials").is_none());
    assert_eq!(answer.headers()["vary"], "origin");
}

#[tokio::test]
async fn sockets_from_foreign_origins_are_refused_before_the_upgrade() {
    let server = Server::start(&["--allow-origin", "https://app.example"]).await;
    for origin in FOREIGN {
        for path in ["/ws", "/ws/client"] {
            assert_eq!(server.try_socket(path, &[("origin", origin)]).await.err(), Some(403), "{path} {origin}");
        }
    }
    for origin in ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "https://app.example"] {
        assert_eq!(server.try_socket("/ws", &[("origin", origin)]).await.err(), Some(403), "{origin} is an app's");
        assert!(server.try_socket("/ws/client", &[("origin", origin)]).await.is_ok(), "{origin}");
    }
    let own = server.url.clone();
    assert!(server.try_socket("/ws", &[("origin", &own), ("sec-fetch-site", "same-origin")]).await.is_ok());
    assert_eq!(server.try_socket("/ws", &[("sec-fetch-site", "cross-site")]).await.err(), Some(403));
    assert_eq!(server.try_socket("/ws", &[("host", "evil.com")]).await.err(), Some(421));
    assert_eq!(server.try_socket("/ws/client", &[("host", "evil.com")]).await.err(), Some(421));
}

#[tokio::test]
async fn a_cookie_is_worth_nothing_on_another_port_of_our_own_host() {
    let (server, _) = with_victim(&["--strict"]).await;
    let browser = log_in(&server, &tokens_of(&server)[2]).await.expect("an admin may log in");
    let [(_, cookie), secret] = browser.headers(server.port);
    // Another program on this host gets the cookie from the browser, and can send it again.
    let thief = [("cookie", cookie.as_str())];
    for (method, path) in [(Method::GET, "/sessions"), (Method::GET, "/events"), (Method::GET, "/metrics")] {
        assert_eq!(send(&server, method, path, &thief, "").await.status(), 401, "{path}");
    }
    let forged = [thief[0], ("origin", server.url.as_str()), ("x-sessionwatch", "1")];
    for guess in ["", "x", cookie.split('=').nth(1).expect("a value")] {
        let forged = [&forged[..], &[("x-sessionwatch-page", guess)]].concat();
        assert_eq!(send(&server, Method::POST, "/sessions/victim/kill", &forged, "").await.status(), 401);
        assert_eq!(send(&server, Method::POST, "/logout", &forged, "").await.status(), 204, "which logs nobody out");
    }
    let mut socket = server.socket("/ws", &thief).await;
    assert_eq!(socket.closed().await.expect("a close frame").code, 4401.into());
    let other = format!("http://127.0.0.1:{}", server.port.wrapping_add(1).max(1_024));
    let page =
        [("cookie", cookie.as_str()), ("origin", &other), ("sec-fetch-site", "same-site"), ("x-sessionwatch", "1")];
    assert_eq!(send(&server, Method::POST, "/sessions/victim/kill", &page, "").await.status(), 403);
    assert_eq!(send(&server, Method::GET, "/sessions", &page, "").await.status(), 403);
    assert_eq!(server.try_socket("/ws", &page[..2]).await.err(), Some(403));
    // A picture or a form sends no Origin with GET.
    let picture = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")];
    assert_eq!(send(&server, Method::GET, "/sessions", &picture, "").await.status(), 403);
    for ping in ["/ping/shop/victim", "/ping/shop/victim/fail", "/ping/shop/new"] {
        assert_eq!(send(&server, Method::GET, ping, &picture, "").await.status(), 401, "{ping}");
    }
    // Our own page, with the header and without it.
    let own = [
        ("cookie", cookie.as_str()),
        (secret.0, secret.1.as_str()),
        ("origin", server.url.as_str()),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(send(&server, Method::POST, "/sessions/victim/kill", &own, "").await.status(), 403);
    let own = [&own[..], &[("x-sessionwatch", "1")]].concat();
    assert_eq!(send(&server, Method::POST, "/sessions/victim/kill", &own, "").await.status(), 200);
    let protocols = format!("sessionwatch.v1, sessionwatch.page.{}", browser.page);
    let mut socket = server.socket("/ws", &[("cookie", &cookie), ("sec-websocket-protocol", &protocols)]).await;
    assert_eq!(socket.next().await["role"], "admin", "on the socket it is a subprotocol");
}

#[tokio::test]
async fn host_must_be_ours_and_appear_once() {
    let server = Server::start(&[]).await;
    let port = server.port;
    let ask = async |head: String| {
        let answer = server.raw(format!("{head}connection: close\r\n\r\n").as_bytes()).await;
        answer.split(' ').nth(1).map(str::to_owned).unwrap_or_default()
    };
    for ours in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
        assert_eq!(ask(format!("GET /openapi.json HTTP/1.1\r\nhost: {ours}:{port}\r\n")).await, "200", "{ours}");
    }
    let other = port.wrapping_add(1);
    let not_ours = [
        "evil.com".to_owned(),
        format!("evil.com:{port}"),
        format!("localhost.evil.com:{port}"),
        format!("127.evil.com:{port}"),
        format!("127.0.0.1:{other}"),
        format!("localhost:+{port}"),
        format!("user@localhost:{port}"),
        format!("0.0.0.0:{port}"),
        "localhost".to_owned(),
        String::new(),
    ];
    for host in not_ours {
        for path in ["/openapi.json", "/", "/sessions", "/client.js", "/nothing/here"] {
            let status = ask(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n")).await;
            assert!(status == "421" || status == "400", "{host:?} {path}: {status}");
        }
        assert_eq!(
            ask(format!("OPTIONS /sessions HTTP/1.1\r\nhost: {host}\r\norigin: http://localhost:1\r\n")).await,
            "421"
        );
    }
    assert_eq!(
        ask(format!("GET /openapi.json HTTP/1.1\r\nhost: localhost:{port}\r\nhost: localhost:{port}\r\n")).await,
        "421"
    );
    assert_eq!(ask(format!("GET /openapi.json HTTP/1.1\r\nhost: localhost:{port}\r\nhost: evil.com\r\n")).await, "421");
    assert_eq!(ask("GET /openapi.json HTTP/1.1\r\n".to_owned()).await, "421");
    assert_eq!(ask("GET /openapi.json HTTP/1.0\r\n".to_owned()).await, "421");
    assert_eq!(ask(format!("GET http://evil.com/openapi.json HTTP/1.1\r\nhost: localhost:{port}\r\n")).await, "421");
    assert_eq!(
        ask(format!("GET http://localhost:{port}/openapi.json HTTP/1.1\r\nhost: localhost:{port}\r\n")).await,
        "200"
    );
}

#[tokio::test]
async fn a_request_through_a_proxy_is_not_local() {
    let server = Server::start(&[]).await;
    let names = [
        "forwarded",
        "via",
        "x-real-ip",
        "x-forwarded",
        "x-forwarded-for",
        "X-Forwarded-Anything",
        "CF-Connecting-IP",
        "CF-Ray",
        "CDN-Loop",
        "True-Client-IP",
        "X-Client-IP",
        "Client-IP",
        "Fastly-Client-IP",
        "X-Envoy-External-Address",
        "X-Original-Host",
        "X-Cluster-Client-IP",
        "X-ProxyUser-IP",
        "Tailscale-User-Login",
        "X-Auth-Request-User",
        "Remote-User",
        "Fly-Client-IP",
        "X-Azure-ClientIP",
        "X-Amzn-Trace-Id",
    ];
    for name in names {
        for (method, path) in
            [(Method::GET, "/sessions"), (Method::POST, "/sessions"), (Method::DELETE, "/sessions/stale")]
        {
            let answer = send(&server, method.clone(), path, &[(name, "127.0.0.1")], "").await;
            assert_eq!(answer.status(), 401, "{name} {method} {path}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        }
        let mut socket = server.socket("/ws", &[(name, "127.0.0.1")]).await;
        assert_eq!(socket.closed().await.expect("a close frame").code, 4401.into(), "{name}");
    }
    // nginx uses HTTP/1.0 to its upstream; local programs do not use it.
    for (version, expected) in [("1.0", "401"), ("1.1", "200")] {
        let head =
            format!("GET /sessions HTTP/{version}\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", server.port);
        let answer = server.raw(head.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(expected), "HTTP/{version}: {answer}");
    }
    // With a token it passes.
    let admin = format!("Bearer {}", tokens_of(&server)[2]);
    let forwarded = [("x-forwarded-for", "203.0.113.5"), ("authorization", admin.as_str())];
    assert_eq!(send(&server, Method::GET, "/sessions", &forwarded, "").await.status(), 200);
}

#[tokio::test]
async fn a_named_proxy_is_never_local_and_its_last_forwarded_address_counts() {
    let server = Server::start(&["--trust-proxy", "127.0.0.1", "--allow-host", "monitor.example"]).await;
    let [ingest, _, admin] = tokens_of(&server).map(|token| format!("Bearer {token}"));
    assert_eq!(send(&server, Method::GET, "/sessions", &[], "").await.status(), 401, "even where it adds no header");
    let forwarded = [
        ("x-forwarded-for", "127.0.0.1, 198.51.100.7"),
        ("authorization", ingest.as_str()),
        ("host", "monitor.example"),
    ];
    let made = send(&server, Method::POST, "/sessions", &forwarded, r#"{"app_name":"a","session_id":"s"}"#).await;
    assert_eq!(made.status(), 415, "a body needs its type");
    let forwarded = [&forwarded[..], &[("content-type", "application/json")]].concat();
    let made = send(&server, Method::POST, "/sessions", &forwarded, r#"{"app_name":"a","session_id":"s"}"#).await;
    assert_eq!(made.status(), 201);
    let as_admin = [("authorization", admin.as_str())];
    let session: Value = send(&server, Method::GET, "/sessions/s", &as_admin, "").await.json().await.unwrap();
    assert_eq!(session["remote_addr"], "198.51.100.7");

    // With its scheme https, our own origin is https too, and the cookie is Secure.
    let page = [
        ("x-forwarded-proto", "https"),
        ("host", "monitor.example"),
        ("origin", "https://monitor.example"),
        ("x-sessionwatch", "1"),
        ("content-type", "application/json"),
    ];
    let body = json!({ "token": tokens_of(&server)[2] }).to_string();
    let answer = send(&server, Method::POST, "/login", &page, &body).await;
    assert_eq!(answer.status(), 204);
    let set = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    for part in ["__Host-sessionwatch-443=", "; HttpOnly", "; SameSite=Strict", "; Secure", "; Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    let plain = [&[("origin", "http://monitor.example")], &page[1..2], &page[3..]].concat();
    assert_eq!(send(&server, Method::POST, "/login", &[&page[..1], &plain[..]].concat(), &body).await.status(), 403);
}

#[tokio::test]
async fn the_clients_address_is_found_behind_a_chain_of_proxies() {
    let server = Server::start(&["--trust-proxy", "127.0.0.1,10.0.0.0/8", "--trust-proxy", "fd00::/8"]).await;
    let [ingest, _, admin] = tokens_of(&server).map(|token| format!("Bearer {token}"));
    let chains = [
        ("203.0.113.5:4711", "203.0.113.5"),
        ("[2001:db8::5]:4711", "2001:db8::5"),
        ("127.0.0.1, 203.0.113.5, [fd00::1]:443, 10.1.2.3:80", "203.0.113.5"),
        ("203.0.113.5, nonsense, 10.1.2.3", "10.1.2.3"),
    ];
    for (index, (chain, expected)) in chains.into_iter().enumerate() {
        let headers = [("x-forwarded-for", chain), ("authorization", &ingest), ("content-type", "application/json")];
        let body = json!({ "app_name": "a", "session_id": format!("s{index}") }).to_string();
        assert_eq!(send(&server, Method::POST, "/sessions", &headers, &body).await.status(), 201, "{chain}");
        let path = format!("/sessions/s{index}");
        let told = send(&server, Method::GET, &path, &[("authorization", &admin)], "").await;
        assert_eq!(told.json::<Value>().await.unwrap()["remote_addr"], expected, "{chain}");
    }
}

#[tokio::test]
async fn another_sessions_token_opens_nothing() {
    // Where a token is required, a wrong one gets the same answer as an unknown id.
    for (mode, refused) in [(&[][..], 403), (&["--strict"], 401)] {
        let (server, own) = with_victim(mode).await;
        let admin = format!("Bearer {}", tokens_of(&server)[2]);
        let ingest = format!("Bearer {}", tokens_of(&server)[0]);
        let json = ("content-type", "application/json");
        let body = r#"{"app_name":"shop","session_id":"thief"}"#;
        let made = send(&server, Method::POST, "/sessions", &[("authorization", admin.as_str()), json], body).await;
        let made: Value = made.json().await.unwrap();
        let stolen = made["session_token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {stolen}");
        let in_body = json!({ "session_token": stolen, "status": "running" }).to_string();
        let writes = [
            (Method::DELETE, "/sessions/victim"),
            (Method::POST, "/sessions/victim/end"),
            (Method::POST, "/sessions/victim/heartbeat"),
            (Method::PUT, "/sessions/victim/status"),
        ];
        for (method, path) in writes {
            // The ingest token of a public page gives no more rights than another session's token.
            for secret in [&bearer, &ingest] {
                let headers = [("authorization", secret.as_str()), json];
                let answer = send(&server, method.clone(), path, &headers, r#"{"status":"running"}"#).await;
                assert_eq!(answer.status(), refused, "{mode:?} {method} {path}");
            }
            let answer = send(&server, method.clone(), path, &[json], &in_body).await;
            assert_eq!(answer.status(), refused, "{mode:?} {method} {path} in the body");
        }
        let events =
            send(&server, Method::GET, "/sessions/victim/events", &[("authorization", bearer.as_str())], "").await;
        assert_eq!(events.status(), refused);
        let take_over = r#"{"app_name":"shop"}"#;
        // A client with the right to register learns that the id is taken.
        for (secret, refused) in [(&bearer, refused), (&ingest, 403)] {
            let headers = [("authorization", secret.as_str()), json];
            let answer = send(&server, Method::PUT, "/sessions/victim", &headers, take_over).await;
            assert_eq!(answer.status(), refused, "{mode:?}");
        }
        for control in ["/sessions", "/sessions/victim", "/events"] {
            let answer = send(&server, Method::GET, control, &[("authorization", bearer.as_str())], "").await;
            assert_eq!(answer.status(), 401, "{mode:?} {control}");
        }
        let mut socket = server.socket("/ws/client", &[("authorization", &ingest)]).await;
        socket
            .send(json!({ "type": "register", "app_name": "shop", "session_id": "victim", "session_token": stolen }))
            .await;
        let told = socket.next().await;
        assert_eq!((&told["type"], &told["status"]), (&json!("error"), &json!(403)), "{mode:?}");

        assert_eq!(kinds(&server).await, ["registered"], "{mode:?}");
        let right = [("authorization", format!("Bearer {own}"))];
        let right = [(right[0].0, right[0].1.as_str()), json];
        assert_eq!(send(&server, Method::POST, "/sessions/victim/heartbeat", &right, "").await.status(), 200);
    }
}

#[tokio::test]
async fn a_link_or_a_picture_ends_no_job() {
    let server = Server::start(&[]).await;
    let signs = [
        ("sec-fetch-site", "none"),
        ("sec-fetch-dest", "image"),
        ("sec-fetch-mode", "navigate"),
        ("origin", "http://localhost:3000"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/60.0"),
    ];
    assert_eq!(server.ask(Method::GET, "/ping/jobs/victim", None).await.0, 200);
    for sign in signs {
        for end in ["fail", "0", "1"] {
            let path = format!("/ping/jobs/victim/{end}");
            for method in [Method::GET, Method::HEAD] {
                let answer = send(&server, method.clone(), &path, &[sign, ("sec-fetch-mode", "navigate")], "").await;
                assert_eq!(answer.status(), 403, "{method} {path} with {sign:?}");
                let detail = answer.text().await.unwrap();
                assert!(method == Method::HEAD || detail.contains("send the same as POST"), "{detail}");
            }
        }
        let alive = send(&server, Method::GET, "/ping/jobs/victim", &[sign, ("sec-fetch-mode", "navigate")], "").await;
        assert_eq!(alive.status().as_u16(), if sign.0 == "origin" { 401 } else { 200 }, "{sign:?}: it may look");
    }
    assert_eq!(kinds(&server).await, ["registered"], "nothing happened to it");
    // Intended requests work, in a browser or not.
    let agent = [("user-agent", "Mozilla/5.0 (Windows NT) WindowsPowerShell/5.1")];
    assert_eq!(send(&server, Method::POST, "/ping/jobs/victim/0", &agent, "").await.status(), 200);
    assert_eq!(server.ask(Method::GET, "/ping/jobs/other/0", None).await.0, 200, "a plain program by GET");
}

#[tokio::test]
async fn double_and_concurrent_kills_make_one_row() {
    let (server, _) = with_victim(&[]).await;
    let kills = (0..32).map(|n| {
        let body = json!({ "reason": format!("number {n}"), "by": "ana" });
        server.ask(Method::POST, "/sessions/victim/kill", Some(body))
    });
    let answers = join_all(kills).await;
    let ids: std::collections::HashSet<String> =
        answers.iter().map(|(status, body)| (assert_eq!(*status, 200), body["kill_id"].to_string()).1).collect();
    assert_eq!(ids.len(), 1, "all were told the same kill");
    server.ask(Method::POST, "/sessions/victim/kill", None).await;
    let log = server.get("/events?kind=kill_requested").await;
    let rows = log["events"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["by"], &rows[0]["from"]), (&json!("ana"), &json!("127.0.0.1")));
    assert!(rows[0]["reason"].as_str().unwrap().starts_with("number "));
}

#[tokio::test]
async fn a_request_smuggled_behind_a_second_length_is_never_read() {
    let server = Server::start(&[]).await;
    let port = server.port;
    let smuggled = format!("POST /sessions/victim/kill HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    let chunked = r#"{"app_name":"a"}"#;
    let body = format!("{:x}\r\n{chunked}\r\n0\r\n\r\n{smuggled}", chunked.len());
    for lengths in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", body.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", body.len()),
        "Transfer-Encoding: chunked\r\n".to_owned(),
    ] {
        let head = format!(
            "POST /sessions HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n{lengths}\r\n"
        );
        let mut raw = Raw::connect(&server).await;
        raw.write(format!("{head}{body}").as_bytes()).await;
        let answer = raw.rest().await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{lengths}: one answer, then the end: {answer}");
        assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("connection: close"), "{answer}");
    }
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
    ] {
        let head = format!("POST /sessions HTTP/1.1\r\nHost: localhost:{port}\r\n{lengths}\r\nhello");
        let mut raw = Raw::connect(&server).await;
        raw.write(head.as_bytes()).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{lengths}: {answer}");
    }
    assert_eq!(server.get("/events?kind=kill_requested").await["events"], json!([]));
}

#[tokio::test]
async fn no_path_reaches_anything_but_routes() {
    let server = Server::start(&[]).await;
    let ask = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", server.port);
        let answer = server.raw(request.as_bytes()).await;
        (answer.split(' ').nth(1).map(str::to_owned).unwrap_or_default(), answer)
    };
    let nowhere = [
        "/assets/../Cargo.toml",
        "/assets/..%2fCargo.toml",
        "/assets/%2e%2e/Cargo.toml",
        "/assets/%2e%2e%2fCargo.toml",
        "/assets/....//Cargo.toml",
        "/assets//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets/main.js%00.png",
        "/assets/..\\..\\Cargo.toml",
        "/../etc/passwd",
        "/client.js/../sessions",
        "/assets/",
        "/assets/test/",
        "/sessions/../sessions",
        "/sessions/%2e%2e/kil",
        "/%00",
        "//sessions",
        "/sessions/",
    ];
    for path in nowhere {
        let (status, answer) = ask(path).await;
        assert_eq!(status, "404", "{path}: {answer}");
        assert!(!answer.contains("[package]") && !answer.contains("root:"), "{path}");
    }
    // Ids and names that look like paths are only values.
    for path in ["/sessions/a%00b", "/sessions/..%2f..%2fx", "/sessions/%ff"] {
        let (status, _) = ask(path).await;
        assert!(matches!(status.as_str(), "400" | "404" | "422"), "{path}: {status}");
    }
    let put = server.ask(Method::PUT, "/sessions/a%00b", Some(json!({ "app_name": "a" }))).await;
    assert_eq!(put.0, 422);
    for app in ["a%00b", "a%0ab", "%e2%80%aea", "a%1b%5b31m"] {
        assert_eq!(ask(&format!("/ping/{app}/x")).await.0, "422", "{app}");
        assert_eq!(server.ask(Method::POST, &format!("/apps/{app}/kill-all"), None).await.0, 422, "{app}");
        let note = server.ask(Method::POST, &format!("/apps/{app}/message"), Some(json!({ "text": "x" }))).await;
        assert_eq!(note.0, 422, "{app}");
    }
}

#[tokio::test]
async fn the_gate_checks_requests_under_a_base_path_too() {
    let server = Server::start(&["--base-path", "/monitor"]).await;
    server.post("/sessions", json!({ "app_name": "shop", "session_id": "victim" })).await;
    for base in ["", "/monitor"] {
        let url = format!("http://127.0.0.1:{}{base}", server.port);
        let ask = async |method: Method, path: &str, name: &str, value: &str| {
            let request = server.client.request(method, format!("{url}{path}")).header(name, value);
            request.send().await.expect("an answer").status().as_u16()
        };
        assert_eq!(ask(Method::POST, "/sessions/victim/kill", "origin", "https://evil.com").await, 403, "{base}");
        assert_eq!(ask(Method::GET, "/sessions", "host", "evil.com").await, 421, "{base}");
        assert_eq!(ask(Method::GET, "/nothing", "host", "evil.com").await, 421, "{base}");
        assert_eq!(ask(Method::GET, "/sessions", "via", "1.1 proxy").await, 401, "{base}");
        assert_eq!(ask(Method::OPTIONS, "/sessions/victim", "origin", "https://evil.com").await, 403, "{base}");
        assert_eq!(ask(Method::GET, "/sessions/victim", "accept", "*/*").await, 200, "{base}");
    }
}
