//! The config file: what counts more, what is refused and where, and that no secret is printed.

use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::PATIENCE;

async fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionwatch"));
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs")
}

fn file(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sessionwatch.toml");
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("a plain name").to_owned();
    (folder, path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_check_tells_what_counts_and_where_it_comes_from() {
    let (_folder, path) = file("stale-after = \"90s\"\nmax-sessions = 5\n");
    let done = run(&["config", "check", &path], &[("SESSIONWATCH_MAX_SESSIONS", "7")]).await;
    let out = text(&done.stdout);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(out.contains(&format!("stale-after = 90s  ({path}:1)")), "{out}");
    assert!(out.contains("max-sessions = 7  (SESSIONWATCH_MAX_SESSIONS)"), "the environment counts more: {out}");

    for (wrong, place, why) in [
        ("\nstale_after = \"1m\"\n", ":2: ", "is stale-after meant?"),
        ("stale-after = \"20m\"\n", "", "expire-after"),
        ("listen = \":80\"\n", "", "--insecure-http"),
        ("tls-cert = \"c.pem\"\n", "", "--tls-cert needs --tls-key"),
        ("admins = \"ana\"\n", "", "--admins needs --auth-header"),
        ("strict = maybe\n", ":1: ", ""),
    ] {
        let (_folder, path) = file(wrong);
        let done = run(&["config", "check", &path], &[]).await;
        let told = text(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{wrong}: {told}");
        assert!(told.contains(place) && told.contains(why), "{wrong}: {told}");
        let started = run(&["--config", &path], &[]).await;
        assert_eq!(started.status.code(), Some(1), "and the server does not start with {wrong}");
    }
}

#[tokio::test]
async fn no_output_has_the_password_of_the_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = file("db = \"postgres://u:s3cret@127.0.0.1:1/d\"\n");
    let open = run(&["config", "check", &path], &[]).await;
    assert!(text(&open.stderr).contains("chmod"), "others could read it: {}", text(&open.stderr));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let checked = run(&["config", "check", &path], &[("SESSIONWATCH_LISTEN", "localhost:0")]).await;
    // Nor does the help, which shows the other variables.
    for command in ["serve", "token", "backup", "restore"] {
        let help = run(&[command, "--help"], &[("SESSIONWATCH_DB", "postgres://u:s3cret@h/d")]).await;
        let help = text(&help.stdout);
        assert!(help.contains("SESSIONWATCH_DB") && !help.contains("s3cret"), "{command}: {help}");
    }
    // The server waits for its database, and has told its settings before.
    let mut server = Command::new(env!("CARGO_BIN_EXE_sessionwatch"))
        .args(["--listen", "localhost:0", "--config", &path])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(server.stderr.take().expect("piped")).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text");
    let told = text(&checked.stdout) + &text(&checked.stderr);
    for all in [told, first.expect("a line")] {
        assert!(all.contains("postgres://u@127.0.0.1:1/d") && !all.contains("s3cret"), "{all}");
    }
}

#[tokio::test]
async fn the_server_takes_the_file_and_says_so_in_its_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sessionwatch.toml");
    std::fs::write(&path, "listen = \"localhost:0\"\nheartbeat-interval = \"11s\"\nstrict = true\naccess-log = true\n")
        .expect("written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_sessionwatch"))
        .args(["serve", "--strict=no", "--db"])
        .arg(folder.path().join("s.db"))
        .env("SESSIONWATCH_CONFIG", &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let url = {
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text");
        line.expect("a line").rsplit(' ').next().expect("an address").to_owned()
    };
    let client = reqwest::Client::new();
    let made = client
        .post(format!("{url}/sessions"))
        .json(&serde_json::json!({ "app_name": "a", "session_id": "s" }))
        .send()
        .await
        .expect("an answer: the flag has switched --strict off");
    assert_eq!(made.status(), 201);
    let answer: serde_json::Value = made.json().await.expect("JSON");
    assert_eq!(answer["heartbeat_interval"], 11);
    client.get(format!("{url}/sessions?q=hidden")).send().await.expect("an answer");
    child.start_kill().expect("it is ours");
    let mut log = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut log).await.expect("text");
    assert!(log.contains(env!("CARGO_PKG_VERSION")), "{log}");
    for part in ["heartbeat-interval=11s", "sessionwatch.toml:2", "strict=no (--strict)"] {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
    assert!(log.contains("POST") && log.contains("/sessions") && log.contains("201"), "{log}");
    assert!(!log.contains("hidden"), "a query may have secrets: {log}");
}

#[tokio::test]
async fn the_example_is_what_the_package_installs_and_names_every_setting() {
    let done = run(&["config", "example"], &[]).await;
    let example = text(&done.stdout);
    let installed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/sessionwatch.toml"));
    assert_eq!(installed.expect("it is there"), example, "`sessionwatch config example > packaging/sessionwatch.toml`");
    let settings = sessionwatch::config::command();
    let names: Vec<&str> = settings.get_arguments().filter_map(clap::Arg::get_long).collect();
    for name in names.iter().filter(|name| **name != "config") {
        assert!(example.contains(&format!("\n#{name} = ")), "{name}");
    }
    // Every default that it shows is one that a server takes.
    let given: String = example
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.contains(" = ") && !line.starts_with(' '))
        .filter(|line| {
            !line.contains("FILE") && !line.contains("WHO") && !line.contains("HEADER") && !line.contains("ADDRESS")
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(given.lines().count() > 20, "{given}");
    let (_folder, path) = file(&given.replace("\"ORIGIN\"", "\"https://a.example\""));
    let checked = run(&["config", "check", &path], &[]).await;
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    // And the page of the settings has all of them, with their variables.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate.md")).expect("it is there");
    for arg in settings.get_arguments() {
        let (Some(name), Some(variable)) = (arg.get_long(), arg.get_env()) else { continue };
        let variable = variable.to_string_lossy();
        assert!(page.contains(&format!("`--{name}`")) && page.contains(&*variable), "docs/operate.md: {name}");
    }
}
