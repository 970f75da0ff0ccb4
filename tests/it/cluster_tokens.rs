//! Servers on one PostgreSQL database have the same tokens, links and cookies.

use std::path::Path;
use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::gate::requests::{Browser, log_in};
use crate::postgres;
use crate::support::{PATIENCE, Server, Socket, command, until};

async fn server(url: &str, name: &str) -> Server {
    Server::start_on(Path::new(url), "127.0.0.1:0", &["--strict", "--node-name", name]).await
}

/// Several that start at the same time.
async fn servers(url: &str, count: usize) -> Vec<Server> {
    let names: Vec<String> = (0..count).map(|number| format!("n{number}")).collect();
    futures_util::future::join_all(names.iter().map(|name| server(url, name))).await
}

async fn token(url: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionwatch"));
    command.arg("token").args(args).args(["--db", url]);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The secret that the command shows for this token.
fn secret_in(list: &str, name: &str) -> String {
    let line = list.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or_else(|| panic!("{name}: {list}")).to_owned()
}

/// Gives a token a new secret. When the command ends, all servers have taken it.
async fn rotate(url: &str, name: &str) -> String {
    let done = token(url, &["rotate", name]).await;
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(text(&done.stderr), "All running servers have taken it.\n");
    secret_in(&text(&done.stdout), name)
}

/// The secret of the link that the server has printed at its start.
fn link(server: &Server) -> &str {
    server.lines.get(1).and_then(|line| line.split("#t=").nth(1)).expect("a link stands in the second line")
}

async fn status(server: &Server, token: &str) -> u16 {
    let request = server.client.get(format!("{}/sessions", server.url)).bearer_auth(token);
    request.send().await.expect("an answer").status().as_u16()
}

async fn by_browser(server: &Server, browser: &Browser, method: Method, path: &str) -> u16 {
    let mut request = server.client.request(method, format!("{}{path}", server.url)).header("x-sessionwatch", "1");
    for (name, value) in browser.headers(server.port) {
        request = request.header(name, value);
    }
    request.send().await.expect("an answer").status().as_u16()
}

async fn knows(server: &Server, browser: &Browser) -> bool {
    by_browser(server, browser, Method::GET, "/sessions").await == 200
}

async fn dashboard(server: &Server, headers: &[(&str, String)]) -> Socket {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut socket = server.socket("/ws", &headers).await;
    socket.next_of("hello").await;
    socket
}

fn bearer(token: &str) -> [(&'static str, String); 1] {
    [("authorization", format!("Bearer {token}"))]
}

async fn is_voided(mut socket: Socket) {
    assert_eq!(socket.closed().await.expect("a close frame").code, 4401.into());
}

#[tokio::test]
async fn of_servers_that_start_at_once_one_makes_the_tokens_and_every_link_works_anywhere() {
    let url = postgres::database().await;
    let missing = token(&url, &["list"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("start a server, which makes them"), "{}", text(&missing.stderr));

    let servers = servers(&url, 3).await;
    let listed = text(&token(&url, &["list"]).await.stdout);
    let rows: Vec<Vec<&str>> = listed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["ingest", "ingest", "-"], ["view", "view", "-"], ["admin", "admin", "-"]], "{listed}");
    let changes = text(&token(&url, &["list", "--changes"]).await.stdout);
    assert_eq!(changes.lines().count(), 3, "{changes}");

    for (number, server) in servers.iter().enumerate() {
        let other = &servers[(number + 1) % 3];
        until("the link is known elsewhere", async || {
            let Ok(browser) = log_in(other, link(server)).await else { return false };
            assert!(knows(other, &browser).await);
            true
        })
        .await;
        assert_eq!(log_in(server, link(server)).await, Err(401), "it is used up");
    }
    // A later start makes no more tokens, and takes those that are there.
    let ingest = rotate(&url, "ingest").await;
    let late = self::server(&url, "late").await;
    let registered = late.client.post(format!("{}/sessions", late.url)).bearer_auth(&ingest);
    assert_eq!(registered.json(&json!({ "app_name": "a" })).send().await.expect("an answer").status(), 201);
    assert_eq!(text(&token(&url, &["list"]).await.stdout).lines().count(), 1 + 3);
}

#[tokio::test]
async fn a_link_that_is_used_at_several_servers_at_once_logs_in_once() {
    let url = postgres::database().await;
    let servers = servers(&url, 3).await;
    let made = token(&url, &["link"]).await;
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made = text(&made.stdout);
    let once = made.trim().split("#t=").nth(1).expect("a link");
    let tries = futures_util::future::join_all((0..12).map(|number| log_in(&servers[number % 3], once))).await;
    let good: Vec<&Browser> = tries.iter().filter_map(|tried| tried.as_ref().ok()).collect();
    assert_eq!(good.len(), 1, "{tries:?}");
    assert!(tries.iter().filter_map(|tried| tried.as_ref().err()).all(|refused| *refused == 401), "{tries:?}");
    for server in &servers {
        until("the browser is logged in there", async || knows(server, good[0]).await).await;
        assert_eq!(log_in(server, once).await, Err(401), "and never again");
    }
}

#[tokio::test]
async fn a_cookie_of_one_server_counts_at_the_others_until_it_is_logged_out_at_any() {
    let url = postgres::database().await;
    let servers = servers(&url, 2).await;
    let admin = rotate(&url, "admin").await;
    let browser = log_in(&servers[0], &admin).await.expect("admin may log in");
    let other = log_in(&servers[1], &admin).await.expect("admin may log in");
    for server in &servers {
        until("both are logged in", async || knows(server, &browser).await && knows(server, &other).await).await;
    }
    let alone = Browser { page: other.page.clone(), ..browser.clone() };
    assert!(!knows(&servers[1], &alone).await, "the page's secret is needed there too");
    let gone = dashboard(&servers[0], &browser.headers(servers[0].port)).await;
    let mut staying = dashboard(&servers[0], &other.headers(servers[0].port)).await;

    assert_eq!(by_browser(&servers[1], &browser, Method::POST, "/logout").await, 204);
    is_voided(gone).await;
    for server in &servers {
        assert!(!knows(server, &browser).await && knows(server, &other).await);
    }
    let register = servers[1].client.post(format!("{}/sessions", servers[1].url)).bearer_auth(&admin);
    assert_eq!(register.json(&json!({ "app_name": "a" })).send().await.expect("an answer").status(), 201);
    staying.next_of("changes").await;
    // A login at each is in the log that all share.
    let log = servers[0].client.get(format!("{}/events?kind=logged_in", servers[0].url)).bearer_auth(&admin);
    let log: Value = log.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(log["events"].as_array().map(Vec::len), Some(2), "{log}");
}

#[tokio::test]
async fn what_is_rotated_revoked_or_expired_is_void_at_every_server() {
    let url = postgres::database().await;
    let servers = servers(&url, 2).await;
    let (ingest, view, admin) = (rotate(&url, "ingest").await, rotate(&url, "view").await, rotate(&url, "admin").await);
    let browser = log_in(&servers[0], &view).await.expect("view may log in");
    let mut voided = Vec::new();
    for server in &servers {
        assert_eq!((status(server, &view).await, status(server, &ingest).await), (200, 403));
        until("the browser is logged in there", async || knows(server, &browser).await).await;
        voided.push(dashboard(server, &bearer(&view)).await);
        voided.push(dashboard(server, &browser.headers(server.port)).await);
        let mut client = server.socket("/ws/client", &[("authorization", &bearer(&ingest)[0].1)]).await;
        client.send(json!({ "type": "register", "app_name": "a" })).await;
        client.next_of("registered").await;
        voided.push(client);
    }
    let mut staying = dashboard(&servers[0], &bearer(&admin)).await;
    staying.next_of("snapshot").await;

    let new = rotate(&url, "view").await;
    let done = token(&url, &["revoke", "ingest", "--reason", "it was in a page"]).await;
    assert!(done.status.success() && text(&done.stderr).contains("All running"), "{}", text(&done.stderr));
    for server in &servers {
        // When the command says so, the change is in use.
        assert_eq!((status(server, &view).await, status(server, &ingest).await), (401, 401));
        assert_eq!(status(server, &new).await, 200);
        assert!(!knows(server, &browser).await);
    }
    for socket in voided {
        is_voided(socket).await;
    }

    let added = token(&url, &["add", "guest", "--role", "view", "--app", "a", "--expires", "3s"]).await;
    let guest = secret_in(&text(&added.stdout), "guest");
    let mut expiring = Vec::new();
    for server in &servers {
        expiring.push(dashboard(server, &bearer(&guest)).await);
    }
    for socket in expiring {
        is_voided(socket).await;
    }
    for server in &servers {
        assert_eq!(status(server, &guest).await, 401);
        assert_eq!(log_in(server, &guest).await, Err(401));
    }
    let changes = text(&token(&url, &["list", "--changes"]).await.stdout);
    assert!(changes.contains("ingest revoked by ") && changes.contains(": it was in a page"), "{changes}");
    let listed = text(&token(&url, &["list"]).await.stdout);
    assert!(listed.contains("guest  view    -  until ") && listed.contains("app \"a\""), "{listed}");
    assert_eq!(status(&servers[0], &admin).await, 200);
    let again = token(&url, &["revoke", "ingest"]).await;
    assert!(text(&again.stderr).contains("there is no token ingest"), "{}", text(&again.stderr));
}

#[tokio::test]
async fn while_the_database_is_away_known_tokens_stay_valid_and_nobody_logs_in_or_out() {
    let mut cluster = tokio::task::spawn_blocking(postgres::on_a_thread_that_stays).await.expect("it starts");
    let url = cluster.database().await;
    let mut servers = servers(&url, 2).await;
    let (view, admin) = (rotate(&url, "view").await, rotate(&url, "admin").await);
    let browser = log_in(&servers[0], &admin).await.expect("admin may log in");
    until("the browser is logged in there", async || knows(&servers[1], &browser).await).await;
    let open = dashboard(&servers[1], &bearer(&view)).await;
    cluster.kill9();
    for server in &servers {
        assert_eq!(log_in(server, &admin).await, Err(503));
        assert_eq!(log_in(server, "wrong").await, Err(401), "the database is not asked");
        assert_eq!(by_browser(server, &browser, Method::POST, "/logout").await, 503);
        assert!(knows(server, &browser).await, "it is said that it stays");
        assert_eq!((status(server, &view).await, status(server, &admin).await), (200, 200));
    }
    let away = token(&url, &["rotate", "view"]).await;
    assert_eq!(away.status.code(), Some(1));
    assert!(text(&away.stderr).contains("the database cannot be reached"), "{}", text(&away.stderr));
    // Longer than a server may be silent: none counts another one as gone for that.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    cluster.start_again();
    let done = token(&url, &["rotate", "view"]).await;
    assert!(done.status.success(), "{}", text(&done.stderr));
    is_voided(open).await;
    for server in &servers {
        until("it is taken", async || status(server, &view).await == 401).await;
        assert!(knows(server, &browser).await);
    }
    until("it can log out again", async || by_browser(&servers[0], &browser, Method::POST, "/logout").await == 204)
        .await;
    until("it is logged out", async || !knows(&servers[1], &browser).await).await;
    for server in &mut servers {
        assert!(server.child.try_wait().expect("it was ours").is_none(), "it goes on");
    }
}

#[tokio::test]
async fn who_reads_the_database_finds_no_secret() {
    let cluster = tokio::task::spawn_blocking(postgres::on_a_thread_that_stays).await.expect("it starts");
    let url = cluster.database().await;
    let server = server(&url, "one").await;
    let (view, admin) = (rotate(&url, "view").await, rotate(&url, "admin").await);
    let browser = log_in(&server, &view).await.expect("view may log in");
    let made = text(&token(&url, &["link"]).await.stdout);
    let once = made.trim().split("#t=").nth(1).expect("a link");
    let name = url.rsplit('/').next().and_then(|name| name.split('?').next()).expect("a name");
    let dump = cluster.dump(name);
    for digest in ["tokens", "cookies", "login_links"] {
        let stored = cluster.psql_in(name, &format!("SELECT count(*) FROM {digest} WHERE length(digest) = 32"));
        assert_ne!(stored, "0", "{digest} has rows");
    }
    for secret in [&view, &admin, &browser.cookie, &browser.page, once] {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!dump.contains(secret) && !dump.contains(&hex), "{secret} is there as text");
    }
}

#[tokio::test]
async fn a_token_file_beside_a_shared_database_is_refused() {
    let url = postgres::database().await;
    let mut start = command(Path::new(&url), "127.0.0.1:0", &["--token-file", "tokens"]);
    let started = tokio::time::timeout(PATIENCE, start.output()).await.expect("it ends").expect("it runs");
    let named = token(&url, &["list", "--token-file", "tokens"]).await;
    for output in [started, named] {
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("the tokens are in the database"), "{}", text(&output.stderr));
    }
}
