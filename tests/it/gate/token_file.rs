//! The token file: changes while a server runs, changes at the same time, the modes of it and
//! of the files beside it; and the links and browsers of a token.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Instant;

use reqwest::StatusCode;
use serde_json::{Value, json};
use sessionwatch::backend::sqlite::Sqlite;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::remote::certificates;
use super::requests::{log_in, tokens_of};
use crate::support::{PATIENCE, Server, command, until};

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_sessionwatch")
}

async fn token(db: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("token").args(args).arg("--db").arg(db);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn status(server: &Server, token: &str) -> StatusCode {
    let request = server.client.get(format!("{}/sessions", server.url)).bearer_auth(token);
    request.send().await.expect("an answer").status()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn beside(db: &Path, more: &str) -> std::path::PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// A database with its tokens, whose server has ended.
async fn ended() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("t.db");
    let mut server = Server::start_on(&db, "127.0.0.1:0", &["--strict"]).await;
    assert_eq!(server.stop().await, 0);
    (folder, db)
}

#[tokio::test]
async fn twenty_changes_at_the_same_time_lose_nothing() {
    let (_folder, db) = ended().await;
    let names: Vec<String> = (0..20).map(|n| format!("job{n}")).collect();
    let all = names.iter().map(|name| {
        let db = &db;
        async move { token(db, &["rotate", name, "--role", "ingest"]).await }
    });
    for done in futures_util::future::join_all(all).await {
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(text(&done.stderr).contains("No running server"), "{}", text(&done.stderr));
    }
    let listed = text(&token(&db, &["list"]).await.stdout);
    let changes = text(&token(&db, &["list", "--changes"]).await.stdout);
    for name in &names {
        assert!(listed.lines().any(|line| line.split(' ').next() == Some(name)), "{name} is lost: {listed}");
        assert!(changes.contains(&format!(" {name} made by ")), "{changes}");
    }
    assert_eq!(listed.lines().count(), 1 + 3 + 20);
}

#[tokio::test]
async fn a_change_leaves_owner_group_and_mode_as_they_were() {
    let (_folder, db) = ended().await;
    let file = beside(&db, ".tokens");
    set_mode(&file, 0o400);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(65_534), Some(12_345)).expect("root may");
    }
    // Held open, so that its inode number is not used again.
    let held = std::fs::File::open(&file).expect("there");
    let before = held.metadata().expect("there");
    for args in [&["rotate", "admin"][..], &["revoke", "view"], &["add", "ana", "--role", "view"]] {
        let done = token(&db, args).await;
        assert!(done.status.success(), "{}", text(&done.stderr));
        let after = std::fs::metadata(&file).expect("there");
        assert_ne!(after.ino(), before.ino(), "it is another file");
        assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()), "{args:?}");
    }
    let lock = std::fs::metadata(beside(&db, ".tokens.lock")).expect("there");
    assert_eq!((lock.uid(), lock.mode() & 0o777), (before.uid(), 0o600), "nobody is locked out of it");
}

/// Root changes the tokens of a server that runs as another user, as `sudo` does.
#[tokio::test]
async fn what_root_revokes_is_revoked_at_a_server_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).expect("root may");
    let (copy, db) = (folder.path().join("sessionwatch"), folder.path().join("s.db"));
    std::fs::copy(binary(), &copy).expect("there is room");
    set_mode(&copy, 0o755);
    let mut child = Command::new(&copy)
        .args(["serve", "--strict", "--listen", "127.0.0.1:0", "--db"])
        .arg(&db)
        .uid(65_534)
        .gid(65_534)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text");
    let url = first.expect("a line").rsplit(' ').next().expect("an address").to_owned();
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let server = Server::attached(child, db.clone(), url, port);
    let [_, view, admin] = tokens_of(&server);
    let done = token(&db, &["revoke", "admin"]).await;
    assert!(done.status.success() && text(&done.stderr).contains("has taken it"), "{}", text(&done.stderr));
    assert_eq!(status(&server, &admin).await, 401);
    assert_eq!(status(&server, &view).await, 200, "the file can still be read");
    // The server does not accept a file that belongs to root.
    let file = beside(&db, ".tokens");
    std::os::unix::fs::chown(&file, Some(65_533), None).expect("root may");
    until("the file of another user is not trusted", async || status(&server, &view).await == 401).await;
}

#[tokio::test]
async fn a_file_that_is_broken_or_gone_means_that_no_token_is_valid_and_is_told_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (db, log) = (folder.path().join("b.db"), folder.path().join("log"));
    let mut child = command(&db, "127.0.0.1:0", &["--strict"])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text");
    let url = first.expect("a line").rsplit(' ').next().expect("an address").to_owned();
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let server = Server::attached(child, db.clone(), url, port);
    let [_, view, admin] = tokens_of(&server);
    let file = beside(&db, ".tokens");
    let good = std::fs::read(&file).expect("there");
    let away = folder.path().join("away");
    let faults: [(&str, &dyn Fn()); 3] = [
        ("is not a token file", &|| std::fs::write(&file, &good[..good.len() / 2]).expect("written")),
        ("cannot be read", &|| std::fs::rename(&file, &away).expect("moved")),
        ("others can read", &|| set_mode(&file, 0o644)),
    ];
    for (why, fault) in faults {
        let bearer = format!("Bearer {view}");
        let mut dashboard = server.socket("/ws", &[("authorization", &bearer)]).await;
        dashboard.next_of("hello").await;
        fault();
        assert_eq!(dashboard.closed().await.expect("a close frame").code, 4401.into(), "{why}");
        assert_eq!(status(&server, &admin).await, 401, "{why}");
        assert!(server.post_status("/login", json!({ "token": admin })).await == 401, "{why}");
        // It is read again and again, and logged once.
        tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
        let told = std::fs::read_to_string(&log).expect("text");
        assert_eq!(told.lines().filter(|line| line.contains(why)).count(), 1, "{why}: {told}");
        std::fs::write(&file, &good).expect("written");
        set_mode(&file, 0o600);
        until("it is mended", async || status(&server, &admin).await == 200).await;
    }
}

#[tokio::test]
async fn the_command_says_whether_the_running_server_has_taken_the_change() {
    let server = Server::start(&["--strict"]).await;
    let [_, view, _] = tokens_of(&server);
    let done = token(&server.db, &["rotate", "view"]).await;
    // When the command says so, the change is in use.
    assert_eq!(status(&server, &view).await, 401);
    assert!(done.status.success() && text(&done.stderr).contains("has taken it"), "{}", text(&done.stderr));
    server.signal(libc::SIGSTOP);
    let done = token(&server.db, &["revoke", "view"]).await;
    server.signal(libc::SIGCONT);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("has NOT taken it"), "{}", text(&done.stderr));
    let taken = std::fs::read_to_string(beside(&server.db, ".tokens.taken")).expect("text");
    for secret in tokens_of_any(&server.db) {
        assert!(!taken.contains(&secret), "it gives nothing away");
    }
}

fn tokens_of_any(db: &Path) -> Vec<String> {
    let file = sessionwatch::tokens::read(&beside(db, ".tokens")).expect("readable");
    file.tokens.into_iter().map(|line| line.token).collect()
}

#[tokio::test]
async fn a_link_is_made_at_the_running_server_works_once_and_is_void_after_a_change() {
    let server = Server::start(&["--strict"]).await;
    let first = server.lines[1].split("#t=").nth(1).expect("its secret").to_owned();
    let link = async |args: &[&str]| {
        let done = token(&server.db, &[&["link"], args].concat()).await;
        assert!(done.status.success(), "{}", text(&done.stderr));
        let shown = text(&done.stdout);
        assert!(shown.starts_with(&server.url), "{shown}");
        shown.trim().split("#t=").nth(1).expect("its secret").to_owned()
    };
    let made = link(&[]).await;
    assert_eq!(log_in(&server, &first).await, Err(401), "the one of the start is void");
    assert!(log_in(&server, &made).await.is_ok());
    assert_eq!(log_in(&server, &made).await, Err(401));
    // The link logs in with the token that it names.
    let as_view = link(&["view"]).await;
    let browser = log_in(&server, &as_view).await.expect("it is new").headers(server.port);
    let headers: Vec<(&str, &str)> = browser.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(server.socket("/ws", &headers).await.next().await["role"], "view");
    let void = link(&[]).await;
    assert!(token(&server.db, &["rotate", "ingest"]).await.status.success());
    assert_eq!(log_in(&server, &void).await, Err(401), "any change makes it void");
    assert!(!token(&server.db, &["link", "ingest"]).await.status.success(), "it logs nobody in");
    assert!(!token(&server.db, &["link", "nobody"]).await.status.success());
    let file = std::fs::read_to_string(beside(&server.db, ".tokens")).expect("text");
    assert!(!file.contains(&void) && !file.contains(&made), "the file has no link in clear");
    let (_folder, db) = ended().await;
    assert!(text(&token(&db, &["link"]).await.stderr).contains("no running server"));
}

#[tokio::test]
async fn many_logins_with_one_token_log_out_no_other_administrator() {
    let server = Server::start(&["--strict"]).await;
    assert!(token(&server.db, &["add", "ana", "--role", "admin"]).await.status.success());
    let ana = tokens_of_any(&server.db).pop().expect("hers is the last");
    let [_, _, admin] = tokens_of(&server);
    let hers = log_in(&server, &ana).await.expect("she may").headers(server.port);
    for _ in 0..20 {
        let some = (0..15).map(|_| log_in(&server, &admin));
        assert!(futures_util::future::join_all(some).await.iter().all(Result::is_ok));
    }
    let mut request = server.client.get(format!("{}/events?kind=logged_in&limit=1000", server.url));
    for (name, value) in hers {
        request = request.header(name, value);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "she is still logged in");
    // Every login has its log entry.
    let log: Value = answer.json().await.expect("JSON");
    let by = |name: &str| log["events"].as_array().expect("events").iter().filter(|line| line["by"] == name).count();
    assert_eq!((by("ana"), by("admin")), (1, 300));
    let line = &log["events"][0];
    assert_eq!((&line["kind"], &line["from"]), (&json!("logged_in"), &json!("127.0.0.1")));
}

#[tokio::test]
async fn an_expired_token_is_invalid_at_once_with_its_sockets_and_browsers() {
    let server = Server::start(&["--strict"]).await;
    // Long enough to connect on a busy machine.
    let added = token(&server.db, &["add", "guest", "--role", "view", "--expires", "4s"]).await;
    assert!(added.status.success() && text(&added.stdout).contains(" until "), "{}", text(&added.stdout));
    let guest = tokens_of_any(&server.db).pop().expect("the last");
    let expires = sessionwatch::tokens::read(&beside(&server.db, ".tokens")).expect("readable");
    let expires = expires.tokens.last().expect("there").expires().expect("a time").expect("it has one").0;
    let browser = log_in(&server, &guest).await.expect("it may look").headers(server.port);
    let headers: Vec<(&str, &str)> = browser.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut by_cookie = server.socket("/ws", &headers).await;
    let bearer = format!("Bearer {guest}");
    let mut by_token = server.socket("/ws", &[("authorization", &bearer)]).await;
    by_token.next_of("hello").await;
    for socket in [&mut by_cookie, &mut by_token] {
        assert_eq!(socket.closed().await.expect("a close frame").code, 4401.into());
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    assert!(now as i64 >= expires, "not before");
    assert_eq!(status(&server, &guest).await, 401);
    assert_eq!(log_in(&server, &guest).await, Err(401));
}

#[tokio::test]
async fn refused_secrets_are_logged_at_most_once_a_second_and_without_the_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let (db, log) = (folder.path().join("r.db"), folder.path().join("log"));
    let mut child = command(&db, "127.0.0.1:0", &["--strict"])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text");
    let url = first.expect("a line").rsplit(' ').next().expect("an address").to_owned();
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let server = Server::attached(child, db.clone(), url, port);
    let begun = Instant::now();
    for guess in 0..100 {
        assert_eq!(status(&server, &format!("guess-{guess}")).await, 401);
        assert_eq!(server.post_status("/login", json!({ "token": format!("guess-{guess}") })).await, 401);
    }
    let text = std::fs::read_to_string(&log).expect("text").replace("\u{1b}[0m", "").replace("\u{1b}[3m", "");
    let told: Vec<&str> = text.lines().filter(|line| line.contains("was refused")).collect();
    let seconds = begun.elapsed().as_secs() as usize + 1;
    assert!((1..=seconds).contains(&told.len()), "{} lines in {seconds} s", told.len());
    assert!(told[0].contains("127.0.0.1") && told[0].contains("GET /sessions"), "{}", told[0]);
    assert!(!text.contains("guess-"), "no secret stands in the log");
}

#[tokio::test]
async fn no_other_user_can_read_the_database_and_the_files_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    set_mode(folder.path(), 0o755);
    let db = folder.path().join("p.db");
    let check = |what: &str| {
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(folder.path()).expect("a folder") {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{what}: {:?} is {mode:o}", entry.file_name());
            seen.push(entry.file_name().into_string().expect("text"));
        }
        for more in ["", "-wal", "-shm", "-lock", ".tokens", ".tokens.taken"] {
            assert!(seen.contains(&format!("p.db{more}")), "{seen:?}");
        }
    };
    let mut server = Server::start_on(&db, "127.0.0.1:0", &[]).await;
    server.post("/sessions", json!({ "app_name": "a" })).await;
    check("made anew");
    server.stop().await;
    // The modes of an older version.
    for more in ["", "-lock"] {
        set_mode(&beside(&db, more), 0o644);
    }
    let server = Server::start_on(&db, "127.0.0.1:0", &[]).await;
    server.post("/sessions", json!({ "app_name": "a" })).await;
    check("taken over");
}

#[tokio::test]
async fn a_database_is_opened_by_one_server_only_under_any_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("one.db");
    let open = Sqlite::open(&db).await.expect("nobody else has it");
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&db, &link).expect("a link");
    let why = Sqlite::open(&link).await.err().expect("it is open").to_string();
    assert!(why.contains("another sessionwatch"), "{why}");
    let hard = folder.path().join("hard.db");
    std::fs::hard_link(&db, &hard).expect("a link");
    let why = Sqlite::open(&hard).await.err().expect("it is open").to_string();
    assert!(why.contains("hard links"), "{why}");
    let dangling = folder.path().join("dangling.db");
    std::os::unix::fs::symlink(folder.path().join("nowhere/x.db"), &dangling).expect("a link");
    assert!(Sqlite::open(&dangling).await.is_err());
    drop(open);
    std::fs::remove_file(&hard).expect("ours");
    assert!(Sqlite::open(&link).await.is_ok(), "once it is closed, by a link as well");
}

#[tokio::test]
async fn a_secret_that_others_can_read_is_refused_at_the_start() {
    let (folder, db) = ended().await;
    let refused = async |args: &[&str]| {
        let output = command(&db, "127.0.0.1:0", args).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").expect("it ran");
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let (cert, key) = certificates(&folder);
    for mode in [0o604, 0o640, 0o666] {
        set_mode(key.as_ref(), mode);
        // A key that root owns may be readable by a group.
        if mode == 0o640 && rustix::process::geteuid().is_root() {
            continue;
        }
        let why = refused(&["--tls-cert", &cert, "--tls-key", &key]).await;
        assert!(why.contains(&key) && why.contains("chmod"), "{mode:o}: {why}");
    }
    let file = beside(&db, ".tokens");
    for mode in [0o604, 0o640, 0o660] {
        set_mode(&file, mode);
        let why = refused(&[]).await;
        assert!(why.contains(".tokens has the mode") && why.contains("chmod 600"), "{mode:o}: {why}");
    }
    set_mode(&file, 0o600);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(65_534), None).expect("root may");
        assert!(refused(&[]).await.contains("belongs to another user"));
    }
}
