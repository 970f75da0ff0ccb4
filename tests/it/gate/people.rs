//! People who are logged in at a proxy: with headers, and with the real nginx.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::nginx::{Nginx, snippet};
use super::requests::{log_in, tokens_of};
use crate::support::{Server, command};

const PEOPLE: [&str; 8] = [
    "--auth-header",
    "X-Forwarded-User",
    "--auth-groups-header",
    "X-Forwarded-Groups",
    "--admins",
    "ana@example.com,group:operators",
    "--viewers",
    "*@example.com",
];
const ANA: (&str, &str) = ("x-forwarded-user", "ana@example.com");
const BOB: (&str, &str) = ("x-forwarded-user", "bob@example.com");
const OWN: (&str, &str) = ("x-sessionwatch", "1");

async fn behind_a_proxy() -> Server {
    Server::start(&[&PEOPLE[..], &["--trust-proxy", "127.0.0.1"]].concat()).await
}

async fn ask(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> (StatusCode, Value) {
    let mut request = server.client.request(method, format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
}

async fn victim(server: &Server) {
    let bearer = format!("Bearer {}", tokens_of(server)[0]);
    let body = json!({ "app_name": "shop", "session_id": "victim" });
    assert_eq!(ask(server, Method::POST, "/sessions", &[("authorization", &bearer)], body).await.0, 201);
}

#[tokio::test]
async fn the_log_names_the_person_and_the_lists_define_the_roles() {
    let server = behind_a_proxy().await;
    victim(&server).await;
    let who = [
        (&[ANA, OWN][..], 200, 200),
        (&[("x-forwarded-user", "eve@other.org"), ("x-forwarded-groups", "users, operators"), OWN], 200, 200),
        (&[BOB, OWN], 200, 403),
        (&[("x-forwarded-user", "eve@other.org"), ("x-forwarded-groups", "users"), OWN], 403, 403),
        (&[("x-forwarded-user", "Ana@example.com"), OWN], 200, 403),
        (&[("x-forwarded-user", ""), OWN], 401, 401),
        (&[OWN], 401, 401),
        (&[("x-forwarded-groups", "operators"), OWN], 401, 401),
        (&[ANA, BOB, OWN], 401, 401),
        (&[("x-forwarded-user", "a\u{200b}na@example.com"), OWN], 401, 401),
    ];
    for (headers, may_look, may_write) in who {
        for path in ["/sessions", "/events", "/metrics", "/sessions/victim/timeline"] {
            assert_eq!(ask(&server, Method::GET, path, headers, Value::Null).await.0, may_look, "{headers:?} {path}");
        }
        let note = json!({ "text": "hello" });
        assert_eq!(ask(&server, Method::POST, "/apps/none/message", headers, note).await.0, may_write, "{headers:?}");
    }
    let mut dashboard = server.socket("/ws", &[BOB]).await;
    assert_eq!(dashboard.next().await["role"], "view");
    let mut nobody = server.socket("/ws", &[]).await;
    assert_eq!(nobody.closed().await.expect("a close frame").code, 4401.into());

    let body = json!({ "reason": "stuck", "by": "root" });
    assert_eq!(ask(&server, Method::POST, "/sessions/victim/kill", &[ANA, OWN], body).await.0, 200);
    let (_, log) = ask(&server, Method::GET, "/events?kind=kill_requested", &[ANA], Value::Null).await;
    assert_eq!(log["events"][0]["by"], "root (ana@example.com)", "what is said stands beside who it is");
}

#[tokio::test]
async fn other_sites_and_apps_cannot_use_a_persons_login() {
    let server = behind_a_proxy().await;
    victim(&server).await;
    // Without the page's own header, from curl, a form or an old browser.
    let own = server.url.clone();
    for headers in [
        &[ANA][..],
        &[ANA, ("origin", "https://evil.com"), OWN],
        &[ANA, ("origin", own.as_str())],
        &[ANA, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), OWN],
        &[ANA, ("sec-fetch-site", "same-site"), OWN],
    ] {
        let (status, _) = ask(&server, Method::POST, "/sessions/victim/kill", headers, Value::Null).await;
        assert_eq!(status, 403, "{headers:?}");
    }
    // After a login on another site the browser may open the page, and nothing else.
    let back = [ANA, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(ask(&server, Method::GET, "/", &back, Value::Null).await.0, 200);
    assert_eq!(ask(&server, Method::GET, "/sessions", &back, Value::Null).await.0, 403);
    let framed = [ANA, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    assert_eq!(ask(&server, Method::GET, "/", &framed, Value::Null).await.0, 403);
    // App routes need tokens, also with a login.
    for (method, path) in [
        (Method::POST, "/sessions"),
        (Method::DELETE, "/sessions/victim"),
        (Method::POST, "/sessions/victim/heartbeat"),
        (Method::POST, "/sessions/victim/end"),
        (Method::POST, "/ping/shop/victim/0"),
    ] {
        let body = json!({ "app_name": "shop" });
        assert_eq!(ask(&server, method.clone(), path, &[ANA, OWN], body).await.0, 401, "{method} {path}");
    }
    // A token counts without the proxy's login; our cookie does not.
    let admin = tokens_of(&server)[2].clone();
    let bearer = format!("Bearer {admin}");
    assert_eq!(ask(&server, Method::GET, "/sessions", &[("authorization", &bearer)], Value::Null).await.0, 200);
    let foreign = [ANA, ("authorization", "Bearer the.proxys.own")];
    assert_eq!(ask(&server, Method::GET, "/sessions", &foreign, Value::Null).await.0, 200);
    if let Ok(browser) = log_in(&server, &admin).await {
        let [(cookie, value), (page, secret)] = browser.headers(server.port);
        let headers = [(cookie, &*value), (page, &*secret)];
        assert_eq!(ask(&server, Method::GET, "/sessions", &headers, Value::Null).await.0, 401);
    }
    assert_eq!(ask(&server, Method::GET, "/sessions", &[ANA], Value::Null).await.1["total"], 1);
}

#[tokio::test]
async fn the_header_does_not_count_from_other_addresses() {
    let server = Server::start(&[&PEOPLE[..], &["--trust-proxy", "192.0.2.1"]].concat()).await;
    assert_eq!(ask(&server, Method::GET, "/sessions", &[], Value::Null).await.0, 200, "a local program");
    for header in [ANA, ("x-forwarded-groups", "operators")] {
        assert_eq!(ask(&server, Method::GET, "/sessions", &[header, OWN], Value::Null).await.0, 401, "{header:?}");
    }
    // With any name of the header.
    let args = ["--auth-header", "Badge", "--admins", "*", "--trust-proxy", "192.0.2.1"];
    let server = Server::start(&args).await;
    assert_eq!(ask(&server, Method::GET, "/sessions", &[("badge", "ana"), OWN], Value::Null).await.0, 401);
}

#[tokio::test]
async fn half_a_setting_is_refused_with_a_sentence() {
    let proxy = ["--trust-proxy", "127.0.0.1"];
    let wrong: [(&[&str], &str); 5] = [
        (&["--auth-header", "X-User", "--admins", "ana"], "--trust-proxy"),
        (&["--admins", "ana", proxy[0], proxy[1]], "--auth-header"),
        (&["--auth-header", "X-User", proxy[0], proxy[1]], "--admins or --viewers"),
        (&["--auth-header", "X-User", "--admins", "group:ops", proxy[0], proxy[1]], "--auth-groups-header"),
        (&["--auth-header", "Cookie", "--admins", "*", proxy[0], proxy[1]], "everybody sends that one"),
    ];
    for (args, told) in wrong {
        let folder = tempfile::tempdir().expect("a folder");
        let output = command(&folder.path().join("p.db"), "127.0.0.1:0", args).output().await.expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(told), "{args:?}: {text}");
    }
}

#[tokio::test]
async fn the_login_of_nginx_names_people_in_the_log() {
    let server =
        Server::start(&[&PEOPLE[..], &["--trust-proxy", "127.0.0.1", "--allow-host", "monitor.example.com"]].concat())
            .await;
    victim(&server).await;
    let map = snippet("deploy.md", "nginx", 0).split("server {").next().expect("the map").to_owned();
    let locations = snippet("deploy.md", "nginx", 1)
        .replace("127.0.0.1:8000", &format!("127.0.0.1:{}", server.port))
        .replace("/etc/nginx/monitor.htpasswd", "$FOLDER/users");
    let http = format!("{map} server {{ listen 127.0.0.1:$PORT; server_name monitor.example.com; {locations} }}");
    let users = "ana@example.com:{PLAIN}secret\nbob@example.com:{PLAIN}secret\n";
    let nginx = Nginx::start(&http, &[("users", users)]).await;
    let ask = |method: Method, path: &str, user: Option<&str>| {
        let request = server.client.request(method, format!("{}{path}", nginx.url()));
        // nginx replaces the visitor's own header.
        let request = request.header("host", "monitor.example.com").header("x-forwarded-user", "ana@example.com");
        let request = request.header("x-forwarded-groups", "operators").header("x-sessionwatch", "1");
        match user {
            Some(user) => request.basic_auth(user, Some("secret")),
            None => request,
        }
    };
    let status = async |method: Method, path: &str, user: Option<&str>| {
        ask(method, path, user).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(status(Method::GET, "/sessions", None).await, 401);
    assert_eq!(status(Method::GET, "/sessions", Some("bob@example.com")).await, 200);
    assert_eq!(status(Method::POST, "/sessions/victim/kill", Some("bob@example.com")).await, 403);
    // Requests of apps pass nginx without a login, and need tokens.
    assert_eq!(status(Method::POST, "/sessions/victim/heartbeat", None).await, 401);
    let ingest = tokens_of(&server)[0].clone();
    let ping = ask(Method::GET, "/ping/jobs/j1", None).bearer_auth(ingest).send().await.expect("an answer");
    assert_eq!(ping.status(), 200);

    assert_eq!(status(Method::POST, "/sessions/victim/kill", Some("ana@example.com")).await, 200);
    let log = ask(Method::GET, "/events?kind=kill_requested", Some("bob@example.com")).send().await.unwrap();
    assert_eq!(log.json::<Value>().await.unwrap()["events"][0]["by"], "ana@example.com");
}
