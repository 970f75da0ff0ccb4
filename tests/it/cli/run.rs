//! `sessionwatch run`: the command is none the wiser, and the monitor knows how it went.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Child,
    time::{Instant, timeout},
};

use super::support::*;

/// Nobody listens on port 1.
const NOBODY: &str = "http://127.0.0.1:1";

fn pid(child: &Child) -> Pid {
    child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs")
}

async fn code(child: &mut Child) -> Option<i32> {
    timeout(LIMIT, child.wait()).await.expect("it ends in time").expect("it can be waited for").code()
}

/// A shell script as a session of the app `job`.
fn script<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run", "--app", "job"], options, &["--", "sh", "-c", script]].concat()
}

#[tokio::test]
async fn without_a_monitor_the_command_is_none_the_wiser() {
    let began = Instant::now();
    let mut child = cli_to(NOBODY, &script(&[], "cat; echo complaint >&2; exit 7"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"bytes\0\xff\n").await.expect("it reads");
    drop(stdin);
    let output =
        timeout(LIMIT, child.wait_with_output()).await.expect("it ends in time").expect("it can be waited for");
    assert_eq!(output.stdout, b"bytes\0\xff\n");
    assert_eq!(stderr(&output), "complaint\n");
    assert_eq!(output.status.code(), Some(7));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_monitor_that_never_answers_delays_nothing_for_long() {
    // Connections wait in the backlog, and nothing ever comes back.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let began = Instant::now();
    let output = finish(&mut cli_to(&url, &script(&[], "echo done"))).await;
    assert_eq!(stdout(&output), "done\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn exit_statuses_are_a_shells() {
    for (words, expected) in [
        (vec!["true"], 0),
        (vec!["sh", "-c", "exit 42"], 42),
        (vec!["sh", "-c", "kill -TERM $$"], 143),
        (vec!["sh", "-c", "kill -KILL $$"], 137),
        (vec!["./no-such-command"], 127),
        (vec!["/"], 126),
    ] {
        let output = finish(&mut cli_to(NOBODY, &[&["run", "--app", "job", "--"][..], &words].concat())).await;
        assert_eq!(output.status.code(), Some(expected), "{words:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn signals_reach_the_command_and_its_own_end_counts() {
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")] {
        let trap = format!("trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done");
        let mut child = cli_to(NOBODY, &script(&[], &trap)).spawn().expect("it starts");
        let mut out = lines(child.stdout.take());
        assert_eq!(next_line(&mut out).await, "ready");
        kill_process(pid(&child), signal).expect("it runs");
        assert_eq!(next_line(&mut out).await, format!("got {name}"));
        assert_eq!(code(&mut child).await, Some(5), "{name}");
    }
}

#[tokio::test]
async fn what_the_caller_ignores_the_command_ignores_too() {
    let words = "trap '' HUP; exec \"$0\" \"$@\"";
    let inner = "kill -HUP $$; kill -HUP $PPID; echo unmoved";
    let binary = env!("CARGO_BIN_EXE_sessionwatch");
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", words, binary, "run", "--server", NOBODY, "--app", "job", "--", "sh", "-c", inner])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = finish(&mut command).await;
    assert_eq!(stdout(&output), "unmoved\n", "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn the_session_tells_what_runs_and_how_it_ended() {
    let server = Server::start().await;
    for (end, cause) in [("exit 0", "removed done"), ("exit 3", "removed failed")] {
        let text = format!("read line; {end}");
        let options = ["--task", "nightly", "--user", "root", "--meta", "env=prod"];
        let mut child = server.cli(&script(&options, &text)).stdin(Stdio::piped()).spawn().expect("it starts");
        let row = server.session("job", |_| true).await;
        assert_eq!(row.raw["current_task"], "nightly");
        assert_eq!(row.raw["user_id"], "root");
        assert_eq!(row.raw["status"], "running");
        assert_eq!(row.raw["meta"]["env"], "prod");
        assert_eq!(row.raw["connected"], true);
        drop(child.stdin.take());
        assert_eq!(code(&mut child).await, end.split(' ').next_back().and_then(|code| code.parse().ok()));
        server.gone("job").await;
        let story = server.story(&row.session.session_id).await;
        assert_eq!(story, ["registered", cause], "{end}");
    }
}

#[tokio::test]
async fn even_the_shortest_command_leaves_its_end_in_the_log() {
    let server = Server::start().await;
    let output = server.done(&["run", "--app", "blink", "--", "true"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = server.api().events(&[("app_name", "blink")]).await.expect("the log");
    let told: Vec<_> = page.events.iter().map(|event| (event["kind"].clone(), event["cause"].clone())).collect();
    assert_eq!(told.first(), Some(&(json!("removed"), json!("done"))), "{told:?}");
}

#[tokio::test]
async fn a_kill_ends_all_that_the_command_started_and_then_confirms() {
    let server = Server::start().await;
    let mut child = server.cli(&script(&[], "sleep 1000 & echo $!; wait")).spawn().expect("it starts");
    let mut out = lines(child.stdout.take());
    let grandchild = next_line(&mut out).await.parse().ok().and_then(Pid::from_raw).expect("a process id");
    let row = server.session("job", |_| true).await;
    let output = server.done(&["kill", &row.session.session_id, "--reason", "month end", "--by", "eve"]).await;
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(code(&mut child).await, Some(143));
    assert!(test_kill_process(grandchild).is_err(), "what it started still runs");
    let story = server.story(&row.session.session_id).await;
    assert_eq!(story, ["registered", "kill_requested", "kill_delivered", "kill_acknowledged", "removed killed"]);
    let mut told = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut told).await.expect("text");
    assert!(told.contains("ended by eve") && told.contains("month end"), "{told}");
}

#[tokio::test]
async fn a_command_that_does_not_end_is_unconfirmed_until_it_has() {
    let server = Server::start().await;
    let stubborn = "trap '' TERM; echo ready; read line; exit 9";
    let words = script(&["--kill-grace", "1h"], stubborn);
    let mut child = server.cli(&words).stdin(Stdio::piped()).spawn().expect("it starts");
    assert_eq!(next_line(&mut lines(child.stdout.take())).await, "ready");
    let id = server.session("job", |_| true).await.session.session_id;
    let output = server.done(&["kill", &id]).await;
    assert_eq!(output.status.code(), Some(3), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("unconfirmed: "), "{}", stdout(&output));
    // Still there, and so the monitor still shows it.
    assert!(child.try_wait().expect("it can be asked").is_none());
    server.session("job", |row| row.session.kill_requested).await;
    drop(child.stdin.take());
    assert_eq!(code(&mut child).await, Some(9));
    server.gone("job").await;
    assert_eq!(server.story(&id).await[3..], ["kill_acknowledged", "removed killed"]);
}

#[tokio::test]
async fn after_the_grace_comes_sigkill() {
    let server = Server::start().await;
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = server.cli(&script(&["--kill-grace", "300ms"], stubborn)).spawn().expect("it starts");
    assert_eq!(next_line(&mut lines(child.stdout.take())).await, "ready");
    let id = server.session("job", |_| true).await.session.session_id;
    let asked = Instant::now();
    server.api().kill(&id, &json!({})).await.expect("a kill");
    assert_eq!(code(&mut child).await, Some(137));
    assert!(asked.elapsed() >= Duration::from_millis(300), "{:?}", asked.elapsed());
    server.gone("job").await;
    assert_eq!(server.story(&id).await[3..], ["kill_acknowledged", "removed killed"]);
}

#[tokio::test]
async fn a_monitor_that_comes_back_finds_the_session_again() {
    let mut server = Server::start().await;
    let mut child = server.cli(&script(&[], "read line")).stdin(Stdio::piped()).spawn().expect("it starts");
    let id = server.session("job", |_| true).await.session.session_id;
    server.crash().await;
    server.restart().await;
    let row = server.session("job", |row| row.raw["connected"] == true).await;
    assert_eq!(row.session.session_id, id, "the same session");
    assert!(child.try_wait().expect("it can be asked").is_none(), "the command goes on");
    drop(child.stdin.take());
    assert_eq!(code(&mut child).await, Some(1), "the status of a read at the end of input");
    server.gone("job").await;
    assert_eq!(server.story(&id).await.last().map(String::as_str), Some("removed failed"));
}

#[tokio::test]
async fn a_command_that_is_locked_out_runs_and_is_shown_when_the_lock_is_over() {
    let server = Server::start().await;
    let until = (chrono::Utc::now() + chrono::TimeDelta::seconds(3)).to_rfc3339();
    server.api().lock(&json!({"app_name": "job", "reason": "audit", "until": until})).await.expect("a lock");
    let mut child =
        server.cli(&script(&[], "read line")).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let told = next_line(&mut lines(child.stderr.take())).await;
    assert!(told.contains("not shown") && told.contains("audit"), "{told}");
    let row = server.session("job", |_| true).await;
    assert!(row.session.start_time.to_rfc3339() >= until, "not before the lock is over");
    drop(child.stdin.take());
    assert_eq!(code(&mut child).await, Some(1));
}

#[tokio::test]
async fn where_sockets_are_refused_it_beats_over_http() {
    let server =
        Server::start_with(&["--allow-host", "127.0.0.1", "--stale-after", "6s", "--expire-after", "20s"]).await;
    let proxy = no_sockets(&server.url).await;
    let mut child = cli_to(&proxy, &script(&[], "sleep 1000")).spawn().expect("it starts");
    let row = server.session("job", |_| true).await;
    assert_eq!(row.raw["connected"], false);
    // Longer than the server waits before it calls a silent session stale.
    let started = row.session.start_time;
    server
        .session("job", |row| {
            !row.session.is_stale && (row.session.last_heartbeat - started).num_milliseconds() > 2_500
        })
        .await;
    let output = server.done(&["kill", &row.session.session_id]).await;
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(code(&mut child).await, Some(143));
    assert_eq!(server.story(&row.session.session_id).await.last().map(String::as_str), Some("removed killed"));
}

/// A proxy that answers 400 to whoever wants a socket, and passes on everything else.
async fn no_sockets(url: &str) -> String {
    let upstream = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let upstream = upstream.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = near.read(&mut head).await.unwrap_or(0);
                head.truncate(read);
                if String::from_utf8_lossy(&head).to_lowercase().contains("upgrade: websocket") {
                    let _ = near
                        .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                        .await;
                } else if let Ok(mut far) = TcpStream::connect(upstream).await {
                    let _ = far.write_all(&head).await;
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_script_without_a_first_line_for_the_system_runs_as_in_a_shell() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nightly");
    let run = async |program: &str, text: &[u8]| {
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let mut command = cli_to(NOBODY, &["run", "--app", "job", "--", program, "a b"]);
        let folders = format!("{}:/usr/bin:/bin", folder.path().display());
        finish(command.env("PATH", folders)).await
    };
    for program in [path.to_str().expect("a plain name"), "nightly"] {
        let output = run(program, b"echo \"got $1\"; exit 5\n").await;
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(5), "got a b\n"), "{}", stderr(&output));
    }
    let output = run("nightly", b"\x7fELF\0 of another machine").await;
    assert_eq!(output.status.code(), Some(126), "{}", stderr(&output));
}
