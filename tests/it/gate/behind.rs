//! The proxies of `docs/deploy.md`, with TLS: real nginx and real Caddy run the blocks of the page itself, at the root and
//! under a path. Each is used as a browser, an app and a dashboard use it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::nginx::{Nginx, snippet};
use super::remote::over_tls_as;
use super::requests::tokens_of;
use crate::support::{PATIENCE, Server};

const NAME: &str = "monitor.example.com";

/// A certificate, and the authority that has signed it.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    crate::cluster_tls::certificates(folder.path());
    folder
}

/// Uses the server through the proxy at `port`.
async fn works(what: &str, server: &Server, port: u16, base: &str, ca: &Path) {
    let [ingest, _, admin] = tokens_of(server);
    let url = format!("https://127.0.0.1:{port}{base}");
    let ask = |method: Method, path: &str, token: Option<&str>| {
        let request = server.client.request(method, format!("{url}{path}")).header("host", NAME);
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    let status =
        async |method, path, token| ask(method, path, token).send().await.expect("an answer").status().as_u16();
    assert_eq!(status(Method::GET, "/sessions", None).await, 401, "{what}: nobody is local");
    assert_eq!(status(Method::GET, "/", None).await, 200, "{what}: the page itself");
    assert_eq!(status(Method::GET, "/assets/main.js", None).await, 200, "{what}: its parts");
    assert_eq!(status(Method::GET, "/readyz", None).await, 200, "{what}");
    let body = json!({ "app_name": "shop", "session_id": what.replace(' ', "-"), "client": "js/0.1.0" });
    // The proxy replaces the client's own forwarding headers.
    let made = ask(Method::POST, "/sessions", Some(&ingest)).header("x-forwarded-for", "6.6.6.6").json(&body);
    assert_eq!(made.send().await.expect("an answer").status(), 201, "{what}");
    let path = format!("/sessions/{}", what.replace(' ', "-"));
    let session: Value =
        ask(Method::GET, &path, Some(&admin)).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(session["remote_addr"], "127.0.0.1", "{what}");

    // The link that the server has printed leads here, and a browser logs in.
    let line = server.lines.iter().flat_map(|line| line.lines()).find(|line| line.contains("/#t=")).expect("a link");
    assert!(line.contains(&format!("https://{NAME}{base}/#t=")), "{what}: {line}");
    let login = ask(Method::POST, "/login", None)
        .header("origin", format!("https://{NAME}"))
        .header("sec-fetch-site", "same-origin")
        .header("x-sessionwatch", "1")
        .json(&json!({ "token": admin }));
    let login = login.send().await.expect("an answer");
    assert_eq!(login.status(), 204, "{what}");
    assert!(login.headers()["set-cookie"].to_str().expect("text").contains("; Secure"), "{what}");

    // A dashboard's socket, and a change that is pushed over it.
    let bearer = format!("Bearer {admin}");
    let headers = [("host", NAME), ("authorization", bearer.as_str()), ("sec-websocket-protocol", "sessionwatch.v1")];
    let mut socket = over_tls_as(ca, port, &headers, base).await;
    assert_eq!(socket.next().await["type"], "hello", "{what}");
    let id = format!("pushed-{port}");
    let body = json!({ "app_name": "shop", "session_id": id });
    let made = ask(Method::POST, "/sessions", Some(&ingest)).json(&body).send().await.expect("an answer");
    assert_eq!(made.status(), 201, "{what}");
    while !socket.next().await.to_string().contains(&id) {}
}

async fn behind(base: &[&str]) -> Server {
    let own = ["--trust-proxy", "127.0.0.1", "--allow-host", NAME];
    Server::start(&[&own, base].concat()).await
}

/// Both places of the page: the root, and a path.
const PLACES: [(&str, &[&str]); 2] = [("", &[]), ("/monitor", &["--base-path", "/monitor"])];

#[tokio::test]
async fn nginx_as_the_page_says() {
    let tls = certificates();
    let file = |name: &str| tls.path().join(name).display().to_string();
    for (base, flags) in PLACES {
        let server = behind(flags).await;
        let text = snippet("deploy.md", "nginx", 0)
            .replace("location / {", &format!("location {base}/ {{"))
            .replace("127.0.0.1:8000", &format!("127.0.0.1:{}", server.port))
            .replace("listen 443 ssl", "listen 127.0.0.1:$PORT ssl")
            .replace("/etc/ssl/monitor.pem", &file("server.crt"))
            .replace("/etc/ssl/monitor.key", &file("server.key"));
        let nginx = Nginx::start(&text, &[]).await;
        works(&format!("nginx{}", base.replace('/', "-")), &server, nginx.port, base, &tls.path().join("ca.crt")).await;
    }
}

/// Starts Caddy with this file, in which `$PORT` is its port.
async fn caddy(text: &str, folder: &Path) -> (Child, u16) {
    for _ in 0..5 {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let file = folder.join("Caddyfile");
        std::fs::write(&file, text.replace("$PORT", &port.to_string())).expect("written");
        let log = if std::env::var_os("SESSIONWATCH_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() };
        let mut child = Command::new("caddy")
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&file)
            .env("XDG_DATA_HOME", folder)
            .env("XDG_CONFIG_HOME", folder)
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < PATIENCE && child.try_wait().expect("it is ours").is_none() {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return (child, port);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    panic!("Caddy does not start; SESSIONWATCH_TEST_LOG=1 shows what it says");
}

#[tokio::test]
async fn caddy_as_the_page_says() {
    if std::process::Command::new("caddy").arg("version").output().is_err() {
        println!("Caddy is not installed: skipped");
        return;
    }
    let tls = certificates();
    let file = |name: &str| tls.path().join(name).display().to_string();
    for (index, (base, flags)) in PLACES.into_iter().enumerate() {
        let server = behind(flags).await;
        // Not the network's authorities but a certificate of the test, and no port that is taken.
        let options = format!("{{\n\tadmin off\n\tauto_https off\n\tdefault_sni {NAME}\n}}\n");
        let site =
            format!("https://{NAME}:$PORT {{\n\tbind 127.0.0.1\n\ttls {} {}", file("server.crt"), file("server.key"));
        let text = snippet("deploy.md", "caddyfile", index);
        assert!(text.contains(&format!("{NAME} {{")), "{text}");
        let text =
            text.replace(&format!("{NAME} {{"), &site).replace("127.0.0.1:8000", &format!("127.0.0.1:{}", server.port));
        let (_caddy, port) = caddy(&(options + &text), tls.path()).await;
        works(&format!("caddy{}", base.replace('/', "-")), &server, port, base, &tls.path().join("ca.crt")).await;
    }
}
