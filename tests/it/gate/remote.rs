//! Remote access: the settings that it requires, the three tokens, the one-time link, TLS,
//! and changes of the tokens while the server runs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::SinkExt;
use reqwest::StatusCode;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio_tungstenite::Connector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::requests::{Browser, log_in, tokens_of};
use crate::support::{PATIENCE, Server, Socket, command};

struct Remote {
    server: Server,
    folder: TempDir,
}

async fn remote(args: &[&str]) -> Remote {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_on(&folder.path().join("r.db"), "0.0.0.0:0", args).await;
    server.url = server.url.replace("0.0.0.0", "127.0.0.1");
    Remote { server, folder }
}

impl Remote {
    async fn status(&self, token: Option<&str>, method: &str, path: &str, body: Option<Value>) -> u16 {
        let method = method.parse().expect("a method");
        let mut request = self.server.client.request(method, format!("{}{path}", self.server.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.expect("an answer").status().as_u16()
    }

    async fn token_command(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_sessionwatch"))
            .arg("token")
            .args(args)
            .arg("--db")
            .arg(self.folder.path().join("r.db"))
            .output()
            .await
            .expect("it runs");
        let text = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.success(), String::from_utf8(text).expect("text"))
    }
}

fn subprotocols(token: &str) -> String {
    format!("sessionwatch.v1, sessionwatch.auth.{}", URL_SAFE_NO_PAD.encode(token))
}

#[tokio::test]
async fn a_remote_listen_without_tls_or_a_proxy_is_refused_with_what_to_add() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = async |args: &[&str]| {
        let db = folder.path().join("never.db");
        let output = command(&db, "0.0.0.0:0", args).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").expect("it ran");
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(!db.exists(), "nothing was made");
        String::from_utf8(output.stderr).expect("text")
    };
    let why = refused(&[]).await;
    for word in ["--tls-cert", "--trust-proxy", "--insecure-http"] {
        assert!(why.contains(word), "{why}");
    }
    assert!(refused(&["--insecure-http", "--allow-origin", "*"]).await.contains("--allow-origin"));
}

#[tokio::test]
async fn each_token_opens_what_its_role_may_and_no_more() {
    let remote = remote(&["--insecure-http"]).await;
    let mode = std::fs::metadata(remote.folder.path().join("r.db.tokens")).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let [ingest, view, admin] = tokens_of(&remote.server);
    let register = || Some(json!({ "app_name": "a", "session_id": "s" }));
    let (ingest, view, admin) = (Some(&*ingest), Some(&*view), Some(&*admin));
    for (token, expected) in [(None, 401), (Some("wrong"), 401), (view, 403), (ingest, 201)] {
        assert_eq!(remote.status(token, "POST", "/sessions", register()).await, expected, "{token:?}");
    }
    for path in ["/sessions", "/sessions/s", "/sessions/s/timeline", "/events", "/stats", "/metrics"] {
        for (token, expected) in [(None, 401), (Some("wrong"), 401), (ingest, 403), (view, 200), (admin, 200)] {
            assert_eq!(remote.status(token, "GET", path, None).await, expected, "{path} {token:?}");
        }
    }
    for (token, expected) in [(None, 401), (ingest, 403), (view, 403), (admin, 200)] {
        assert_eq!(remote.status(token, "POST", "/sessions/s/kill", None).await, expected, "{token:?}");
        assert_eq!(remote.status(token, "POST", "/apps/b/kill-all", None).await, expected, "{token:?}");
        assert_eq!(remote.status(token, "DELETE", "/sessions/stale", None).await, expected, "{token:?}");
    }
    // A secret in a query does not count.
    for path in ["/sessions?token=", "/sessions?access_token=", "/events?t="] {
        assert_eq!(remote.status(None, "GET", &format!("{path}{}", admin.unwrap()), None).await, 401);
    }
    let mut socket = remote.server.socket(&format!("/ws?token={}", admin.unwrap()), &[]).await;
    assert_eq!(socket.closed().await.expect("a close frame").code, 4401.into());
    // Routes that everybody may read.
    for path in ["/", "/healthz", "/readyz", "/client.js", "/openapi.json"] {
        assert_eq!(remote.status(None, "GET", path, None).await, 200, "{path}");
    }
    // The log has the token's name, the address and the reason. A name that the caller gives
    // is shown after the token's name, and does not replace it.
    remote.status(ingest, "POST", "/sessions", Some(json!({ "app_name": "a", "session_id": "t" }))).await;
    let said = json!({ "text": "restart at ten", "by": "ana", "reason": "maintenance" });
    assert_eq!(remote.status(admin, "POST", "/sessions/t/message", Some(said.clone())).await, 200);
    assert_eq!(remote.status(admin, "POST", "/sessions/t/kill", Some(said)).await, 200);
    let events = async |kind: &str| -> Value {
        let request = remote.server.client.get(format!("{}/events?kind={kind}", remote.server.url));
        request.bearer_auth(view.unwrap()).send().await.unwrap().json().await.unwrap()
    };
    let kills = events("kill_requested").await;
    for (row, by, reason) in [(0, "ana (admin)", json!("maintenance")), (1, "admin", Value::Null)] {
        let row = &kills["events"][row];
        assert_eq!((&row["by"], &row["from"], &row["reason"]), (&json!(by), &json!("127.0.0.1"), &reason));
    }
    let sent = &events("message_sent").await["events"][0];
    assert_eq!(
        (&sent["by"], &sent["from"], &sent["text"]),
        (&json!("ana (admin)"), &json!("127.0.0.1"), &json!("restart at ten"))
    );
}

#[tokio::test]
async fn sockets_take_the_token_as_a_subprotocol_and_echo_only_their_own() {
    let remote = remote(&["--insecure-http"]).await;
    let [ingest, view, admin] = tokens_of(&remote.server);
    let server = &remote.server;
    let code = async |path: &str, protocols: &str| {
        let mut socket = server.socket(path, &[("sec-websocket-protocol", protocols)]).await;
        socket.closed().await.expect("a close frame").code
    };
    let open = async |path: &str, token: &str| -> Socket {
        server.socket(path, &[("sec-websocket-protocol", &subprotocols(token))]).await
    };
    assert_eq!(code("/ws", "sessionwatch.v1").await, 4401.into());
    assert_eq!(code("/ws", &subprotocols("wrong")).await, 4401.into());
    assert_eq!(code("/ws", &subprotocols(&ingest)).await, 4403.into());
    assert_eq!(code("/ws/client", "sessionwatch.v1").await, 4401.into());
    assert_eq!(code("/ws/client", &subprotocols(&view)).await, 4403.into());
    for (token, role) in [(&view, "view"), (&admin, "admin")] {
        assert_eq!(open("/ws", token).await.next().await["role"], role);
    }
    let mut client = open("/ws/client", &ingest).await;
    client.send(json!({ "type": "register", "app_name": "a" })).await;
    let registered = client.next().await;
    // The session's own token is enough to resume.
    let (id, own) = (registered["session_id"].clone(), registered["session_token"].as_str().unwrap().to_owned());
    let mut again = open("/ws/client", &own).await;
    again.send(json!({ "type": "register", "app_name": "a", "session_id": id, "session_token": own })).await;
    assert_eq!(again.next().await["resumed"], true);
    // But it is not enough for another session, nor for a new one.
    let mut more = open("/ws/client", &own).await;
    more.send(json!({ "type": "register", "app_name": "a" })).await;
    assert_eq!(more.next().await["status"], 401);

    let mut raw = super::wire::Raw::connect(server).await;
    let offered = format!("Sec-WebSocket-Protocol: sessionwatch.auth.{}\r\n", URL_SAFE_NO_PAD.encode(&view));
    let (status, head) = raw.upgrade(server, "/ws", &offered).await;
    assert_eq!(status, 101);
    let echoed: Vec<_> =
        head.lines().filter(|line| line.to_lowercase().starts_with("sec-websocket-protocol")).collect();
    assert_eq!(echoed, ["sec-websocket-protocol: sessionwatch.v1"]);
}

#[tokio::test]
async fn the_link_works_once_also_for_many_at_the_same_time() {
    let remote = remote(&["--insecure-http"]).await;
    let line = remote.server.lines.get(1).expect("the link stands in the second line");
    let link = line.rsplit(' ').next().expect("a link");
    assert!(link.starts_with(&format!("http://localhost:{}/#t=", remote.server.port)), "{line}");
    let once = link.split("#t=").nth(1).expect("its secret");
    let tries = futures_util::future::join_all((0..8).map(|_| log_in(&remote.server, once))).await;
    let (good, bad): (Vec<_>, Vec<_>) = tries.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (1, 7));
    assert!(bad.iter().all(|refused| *refused == Err(401)));
    assert_eq!(log_in(&remote.server, once).await, Err(401), "and never again");

    let of = |browser: &Browser| browser.headers(remote.server.port);
    let [(_, cookie), (_, page)] = of(good[0].as_ref().unwrap());
    let url = &remote.server.url;
    let asked = remote.server.client.get(format!("{url}/sessions")).header("cookie", &cookie);
    let asked = asked.header("x-sessionwatch-page", &page).send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::OK);
    let shown = [("cookie", &*cookie), ("x-sessionwatch-page", &*page), ("origin", url)];
    let mut dashboard = remote.server.socket("/ws", &shown).await;
    assert_eq!(dashboard.next().await["role"], "admin");
    let admin = tokens_of(&remote.server)[2].clone();
    let [(_, other), (_, others)] = of(&log_in(&remote.server, &admin).await.expect("admin may log in"));
    let mut another = remote.server.socket("/ws", &[("cookie", &other), ("x-sessionwatch-page", &others)]).await;
    // A logout ends that cookie and its sockets, and nothing else.
    let out =
        remote.server.client.post(format!("{url}/logout")).header("cookie", &cookie).header("x-sessionwatch", "1");
    let out = out.header("x-sessionwatch-page", &page);
    assert_eq!(out.send().await.unwrap().status(), 204);
    let asked = remote.server.client.get(format!("{url}/sessions")).header("cookie", &cookie);
    let asked = asked.header("x-sessionwatch-page", &page).send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(dashboard.closed().await.expect("a close frame").code, 4401.into());
    assert_eq!(remote.status(Some(&admin), "POST", "/sessions", Some(json!({ "app_name": "b" }))).await, 201);
    another.next_of("changes").await;
    assert_eq!(log_in(&remote.server, &tokens_of(&remote.server)[0]).await, Err(401), "ingest may not log in");
}

#[tokio::test]
async fn a_rotated_or_revoked_token_closes_its_sockets_within_a_second() {
    let remote = remote(&["--insecure-http"]).await;
    let server = &remote.server;
    let [ingest, view, admin] = tokens_of(server);
    let open = async |path: &str, token: &str| -> Socket {
        let mut socket = server.socket(path, &[("sec-websocket-protocol", &subprotocols(token))]).await;
        if path == "/ws/client" {
            socket.send(json!({ "type": "register", "app_name": "a" })).await;
        }
        socket.next().await;
        socket
    };
    let [(_, cookie), (_, page)] = log_in(server, &view).await.expect("view may log in").headers(server.port);
    let mut by_cookie = server.socket("/ws", &[("cookie", &cookie), ("x-sessionwatch-page", &page)]).await;
    let (mut viewer, mut client) = (open("/ws", &view).await, open("/ws/client", &ingest).await);
    let mut staying = open("/ws", &admin).await;
    remote.status(Some(&ingest), "GET", "/ping/a/job", None).await;
    let stream = server.client.get(format!("{}/sessions/job/events", server.url)).bearer_auth(&ingest);
    let stream = stream.send().await.expect("an answer");
    assert_eq!(stream.status(), StatusCode::OK);

    let (done, shown) = remote.token_command(&["rotate", "view", "--reason", "it was in a screenshot"]).await;
    let begun = Instant::now();
    assert!(done && shown.contains("view"), "{shown}");
    for socket in [&mut viewer, &mut by_cookie] {
        assert_eq!(socket.closed().await.expect("a close frame").code, 4401.into());
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(remote.status(Some(&view), "GET", "/sessions", None).await, 401);
    let new_view = tokens_of(server)[1].clone();
    assert!(new_view != view && shown.contains(&new_view));
    assert_eq!(remote.status(Some(&new_view), "GET", "/sessions", None).await, 200);
    assert_eq!(log_in(server, &view).await, Err(401));

    let (done, shown) = remote.token_command(&["revoke", "ingest"]).await;
    let begun = Instant::now();
    assert!(done && !shown.contains(&ingest), "{shown}");
    assert_eq!(client.closed().await.expect("a close frame").code, 4401.into());
    let _ = tokio::time::timeout(PATIENCE, stream.bytes()).await.expect("the stream ends too");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(remote.status(Some(&ingest), "POST", "/sessions", Some(json!({ "app_name": "a" }))).await, 401);

    // The administrator's dashboard was not interrupted.
    remote.status(Some(&admin), "POST", "/sessions", Some(json!({ "app_name": "b" }))).await;
    staying.next_of("changes").await;

    let (_, changes) = remote.token_command(&["list", "--changes"]).await;
    let rotated = changes.lines().find(|line| line.contains("view rotated by local")).expect("it is recorded");
    assert!(rotated.contains(" from ") && rotated.ends_with(": it was in a screenshot"), "{changes}");
    assert!(changes.contains("ingest revoked by local"), "{changes}");
    assert!(!remote.token_command(&["revoke", "ingest"]).await.0, "it is gone already");
    assert!(!remote.token_command(&["rotate", "nobody"]).await.0);
}

/// The tests' certificate and its key, as files with mode 0600, since Git does not store
/// this mode.
pub fn certificates(folder: &TempDir) -> (String, String) {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/gate/tls/test-only");
    let [cert, key] = ["cert", "key"].map(|what| {
        let copy = folder.path().join(what);
        std::fs::copy(format!("{kept}.{what}.pem"), &copy).expect("it is there");
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
        copy.to_str().expect("text").to_owned()
    });
    (cert, key)
}

#[tokio::test]
async fn over_tls_the_same_holds_and_the_cookie_is_secure() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = certificates(&folder);
    let remote = remote(&["--tls-cert", &cert, "--tls-key", &key]).await;
    assert!(remote.server.url.starts_with("https://"));
    let admin = tokens_of(&remote.server)[2].clone();
    assert_eq!(remote.status(None, "GET", "/sessions", None).await, 401);
    assert_eq!(remote.status(Some(&admin), "GET", "/sessions", None).await, 200);
    let own = format!("https://127.0.0.1:{}", remote.server.port);
    let login = async |origin: &str| {
        let request = remote.server.client.post(format!("{own}/login")).json(&json!({ "token": admin }));
        request.header("origin", origin).header("x-sessionwatch", "1").send().await.expect("an answer")
    };
    let answer = login(&own).await;
    assert_eq!(answer.status(), 204);
    assert!(answer.headers()["set-cookie"].to_str().unwrap().starts_with("__Host-sessionwatch-"));
    assert!(answer.headers()["set-cookie"].to_str().unwrap().contains("; Secure"));
    assert_eq!(login(&own.replace("https", "http")).await.status(), 403, "the scheme belongs to the origin");
    // Plain HTTP on the same port gets no HTTP response.
    assert_eq!(remote.server.raw(b"GET / HTTP/1.1\r\n\r\n").await.find("HTTP/1.1"), None);
}

/// A dashboard's socket over TLS.
async fn over_tls(authority: &Path, port: u16, form: &str, token: &str) -> Socket {
    over_tls_as(authority, port, &[("authorization", &format!("Bearer {token}")), ("sec-websocket-protocol", form)], "")
        .await
}

/// A dashboard's socket over TLS, under this base path and with these headers.
pub async fn over_tls_as(authority: &Path, port: u16, headers: &[(&'static str, &str)], base: &str) -> Socket {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("a certificate")).expect("it can be trusted");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("TLS").with_root_certificates(roots).with_no_client_auth();
    let mut request = format!("wss://127.0.0.1:{port}{base}/ws").into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    let connector = Some(Connector::Rustls(Arc::new(config)));
    let opened = tokio_tungstenite::connect_async_tls_with_config(request, None, true, connector).await;
    Socket(opened.expect("the handshake succeeds").0)
}

#[tokio::test]
async fn dashboards_over_tls_get_everything_in_every_form() {
    let folder = tempfile::tempdir().expect("a folder");
    crate::cluster_tls::certificates(folder.path());
    let [authority, cert, key] = ["ca.crt", "server.crt", "server.key"].map(|name| folder.path().join(name));
    let [cert, key] = [cert, key].map(|path| path.to_str().expect("text").to_owned());
    let remote = remote(&["--tls-cert", &cert, "--tls-key", &key]).await;
    let admin = tokens_of(&remote.server)[2].clone();
    let mut dashboards = Vec::new();
    for form in ["sessionwatch.v1", "sessionwatch.v1.z", "sessionwatch.v1.patch", "sessionwatch.v1.patch.z"] {
        let mut socket = over_tls(&authority, remote.server.port, form, &admin).await;
        assert_eq!(socket.next().await["type"], "hello", "{form}");
        assert_eq!(socket.next().await["sessions"], json!([]), "{form}");
        dashboards.push(socket);
    }
    for round in 0..10 {
        let id = format!("s{round}");
        let body = json!({ "app_name": "shop", "session_id": id });
        assert_eq!(remote.status(Some(&admin), "POST", "/sessions", Some(body)).await, 201);
        let killed = remote.status(Some(&admin), "POST", &format!("/sessions/{id}/kill"), Some(json!({}))).await;
        assert_eq!(killed, 200);
        for socket in &mut dashboards {
            // A ping in between; its answer must not be in the middle of a frame.
            socket.0.send(Message::Ping(bytes::Bytes::from_static(b"here"))).await.expect("it goes out");
            let is_killed = |told: &Value| {
                let mut all = told.as_array().into_iter().flatten();
                all.any(|session| session["session_id"] == id.as_str() && session["kill_requested"] == true)
            };
            loop {
                let changes = socket.next_of("changes").await;
                if is_killed(&changes["upserted"]) || is_killed(&changes["patched"]) {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn the_log_shows_outside_text_harmless() {
    const SECRET: &str = "aG93IG11Y2ggb2YgaXQgaXMgdGhlcmU";
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let db = folder.path().join("l.db");
    let name = "evil\n2026-01-01 INFO admin logged in \u{1b}[2J\u{202e}";
    let line = sessionwatch::tokens::Line::fresh(name, sessionwatch::tokens::Role::Admin);
    let tokens = sessionwatch::tokens::File {
        tokens: vec![sessionwatch::tokens::Line { token: SECRET.to_owned(), ..line }],
        ..Default::default()
    };
    sessionwatch::tokens::write(&folder.path().join("l.db.tokens"), &tokens).expect("written");
    let mut child =
        command(&db, "127.0.0.1:0", &["--strict"]).stdout(Stdio::piped()).stderr(file).spawn().expect("it starts");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let url = lines.next_line().await.unwrap().unwrap().rsplit(' ').next().unwrap().to_owned();
    let client = reqwest::Client::new();
    let answer = client.post(format!("{url}/login")).json(&json!({ "token": SECRET })).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    child.kill().await.expect("it was ours");
    let text = std::fs::read_to_string(&log).expect("text");
    let line =
        text.lines().find(|line| line.contains("logged in") && line.contains("evil")).expect("one line of its own");
    assert!(line.contains(r"\n2026-01-01"), "{line}");
    let rest =
        text.replace("\u{1b}[0m", "").replace("\u{1b}[2m", "").replace("\u{1b}[32m", "").replace("\u{1b}[3m", "");
    assert!(!rest.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    assert!(!text.contains(SECRET), "no token stands in the log");
}
