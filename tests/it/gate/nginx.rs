//! The server behind the real nginx, in usual configurations: in none of them a remote client
//! counts as a local program.

use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::requests::tokens_of;
use super::wire::Raw;
use crate::support::{PATIENCE, Server};

/// An nginx of the test.
pub struct Nginx {
    pub port: u16,
    pub folder: TempDir,
    child: Child,
}

impl Nginx {
    /// Starts nginx with this `http` block. `$PORT` is replaced by its port, and `$FOLDER` by
    /// its folder, which contains these files.
    pub async fn start(http: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        // A free port may be taken before nginx opens it: then try another one.
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = free.local_addr().expect("its address").port();
            drop(free);
            if let Some(child) = Self::listen(&folder, &http.replace("$PORT", &port.to_string()), port).await {
                return Self { port, folder, child };
            }
        }
        panic!("nginx does not start; SESSIONWATCH_TEST_LOG=1 shows what it says");
    }

    async fn listen(folder: &TempDir, http: &str, port: u16) -> Option<Child> {
        let path = folder.path().display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{}\n}}\n",
            http.replace("$FOLDER", &path)
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).expect("written");
        let program =
            ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| std::path::Path::new(path).exists());
        let log = if std::env::var_os("SESSIONWATCH_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() };
        let mut child = Command::new(program.unwrap_or("nginx"))
            .args(["-e", "stderr", "-p", &path, "-c"])
            .arg(&file)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed; script/test does it (Debian's nginx-light)");
        let begun = tokio::time::Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if child.try_wait().expect("it is ours").is_some() {
                return None;
            }
            assert!(begun.elapsed() < PATIENCE, "nginx does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Check that nginx answers, and not another program that has taken the port.
        child.try_wait().expect("it is ours").is_none().then_some(child)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn status(&self, server: &Server, method: Method, path: &str, token: Option<&str>) -> u16 {
        let mut request = server.client.request(method, format!("{}{path}", self.url())).json(&json!({}));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.expect("an answer").status().as_u16()
    }
}

/// A `server` block with these lines in its `location`; `$SERVER` is replaced by the upstream.
fn block(server: &Server, location: &str, lines: &str) -> String {
    let upstream = format!("127.0.0.1:{}", server.port);
    format!("server {{ listen 127.0.0.1:$PORT; location {location} {{ {lines} }} }}").replace("$SERVER", &upstream)
}

const USUAL: &str = "proxy_set_header Host $proxy_host; proxy_set_header X-Real-IP $remote_addr; \
                     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
                     proxy_set_header X-Forwarded-Proto $scheme;";
const SOCKETS: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                       proxy_set_header Connection \"upgrade\";";

#[tokio::test]
async fn a_remote_client_behind_nginx_is_never_local() {
    let server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "shop", "session_id": "victim" })).await;
    let ways = [
        ("plain proxy_pass", "/", "proxy_pass http://$SERVER;".to_owned(), ""),
        ("with the usual headers", "/", format!("proxy_pass http://$SERVER; {USUAL}"), ""),
        (
            "with HTTP/1.1 and the usual headers",
            "/",
            format!("proxy_pass http://$SERVER; proxy_http_version 1.1; {USUAL}"),
            "",
        ),
        ("with sockets and the usual headers", "/", format!("proxy_pass http://$SERVER; {SOCKETS} {USUAL}"), ""),
        ("under a path", "/monitor/", "proxy_pass http://$SERVER/;".to_owned(), "/monitor"),
        ("under a path with headers", "/monitor/", format!("proxy_pass http://$SERVER/; {USUAL}"), "/monitor"),
    ];
    let admin = tokens_of(&server)[2].clone();
    for (what, location, lines, base) in ways {
        let nginx = Nginx::start(&block(&server, location, &lines), &[]).await;
        for (method, path) in [
            (Method::GET, "/sessions"),
            (Method::GET, "/events"),
            (Method::POST, "/sessions"),
            (Method::POST, "/sessions/victim/kill"),
            (Method::POST, "/apps/shop/kill-all"),
            (Method::DELETE, "/sessions/victim"),
            (Method::GET, "/ping/shop/other"),
        ] {
            let status = nginx.status(&server, method.clone(), &format!("{base}{path}"), None).await;
            assert_eq!(status, 401, "{what}: {method} {path}");
        }
        assert_eq!(nginx.status(&server, Method::GET, &format!("{base}/sessions"), Some(&admin)).await, 200, "{what}");
    }
    assert_eq!(server.get("/sessions").await["total"], 1, "and nothing has happened to anybody");
}

/// A proxy that looks like a local program, with the settings that `docs/deploy.md` requires.
#[tokio::test]
async fn a_proxy_that_hides_itself_is_named_or_the_server_is_strict() {
    let hidden = "proxy_pass http://$SERVER; proxy_http_version 1.1;";
    for (args, expected) in [(&[][..], 200), (&["--strict"], 401), (&["--trust-proxy", "127.0.0.0/8"], 401)] {
        let server = Server::start(args).await;
        let nginx = Nginx::start(&block(&server, "/", hidden), &[]).await;
        assert_eq!(nginx.status(&server, Method::GET, "/sessions", None).await, expected, "{args:?}");
        let told = server.lines.iter().any(|line| line.contains("needs --trust-proxy or --strict"));
        assert_eq!(told, expected == 200, "the start says so: {:?}", server.lines);
    }
}

/// A block of this language in a page of `docs/`, counted from 0.
pub fn snippet(page: &str, language: &str, index: usize) -> String {
    let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the page is there");
    let block = text.split(&format!("```{language}\n")).nth(index + 1).and_then(|rest| rest.split("```").next());
    block.expect("the block is there").to_owned()
}

#[tokio::test]
async fn the_snippet_of_the_deployment_page_works() {
    let server = Server::start(&["--trust-proxy", "127.0.0.1", "--allow-host", "monitor.example.com"]).await;
    let tls = format!("{}/tests/it/gate/tls/test-only", env!("CARGO_MANIFEST_DIR"));
    let text = snippet("deploy.md", "nginx", 0)
        .replace("127.0.0.1:8000", &format!("127.0.0.1:{}", server.port))
        .replace("listen 443 ssl", "listen 127.0.0.1:$PORT ssl")
        .replace("/etc/ssl/monitor.pem", &format!("{tls}.cert.pem"))
        .replace("/etc/ssl/monitor.key", &format!("{tls}.key.pem"));
    let nginx = Nginx::start(&text, &[]).await;
    let url = format!("https://127.0.0.1:{}", nginx.port);
    let [ingest, _, admin] = tokens_of(&server);
    let ask = |method: Method, path: &str, token: Option<&str>| {
        let mut request = server.client.request(method, format!("{url}{path}")).header("host", "monitor.example.com");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request
    };
    assert_eq!(ask(Method::GET, "/sessions", None).send().await.unwrap().status(), 401);
    assert_eq!(ask(Method::GET, "/", None).send().await.unwrap().status(), 200, "the page itself");
    let body = json!({ "app_name": "shop", "session_id": "s", "client": "js/0.1.0" });
    // nginx replaces the client's own forwarding headers.
    let made = ask(Method::POST, "/sessions", Some(&ingest)).header("x-forwarded-for", "6.6.6.6").json(&body);
    assert_eq!(made.send().await.unwrap().status(), 201);
    let session: Value = ask(Method::GET, "/sessions/s", Some(&admin)).send().await.unwrap().json().await.unwrap();
    assert_eq!(session["remote_addr"], "127.0.0.1");

    // A browser logs in: its origin is https, and the cookie is Secure.
    let login = ask(Method::POST, "/login", None)
        .header("origin", "https://monitor.example.com")
        .header("sec-fetch-site", "same-origin")
        .header("x-sessionwatch", "1")
        .json(&json!({ "token": admin }));
    let login = login.send().await.unwrap();
    assert_eq!(login.status(), 204);
    assert!(login.headers()["set-cookie"].to_str().unwrap().contains("; Secure"));
}

#[tokio::test]
async fn sockets_through_nginx_work_and_need_a_token() {
    let server = Server::start(&[]).await;
    let nginx = Nginx::start(&block(&server, "/", &format!("proxy_pass http://$SERVER; {SOCKETS} {USUAL}")), &[]).await;
    let admin = format!("Authorization: Bearer {}\r\n", tokens_of(&server)[2]);
    for (headers, expected) in [("", None), (admin.as_str(), Some("hello"))] {
        let stream = TcpStream::connect(("127.0.0.1", nginx.port)).await.expect("a connection");
        let mut raw = Raw::on(stream);
        let (status, head) = raw.upgrade(&server, "/ws", headers).await;
        assert_eq!(status, 101, "{head}");
        match expected {
            None => assert_eq!(raw.close_code().await, Some(4401)),
            Some(kind) => {
                let first: Value = serde_json::from_str(&raw.text().await.expect("a frame")).expect("JSON");
                assert_eq!(first["type"], kind);
            }
        }
    }
}
