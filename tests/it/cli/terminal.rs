//! On a terminal: a command under `run` uses it as if it ran without us.

use std::process::Stdio;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::support::*;

/// A shell on a terminal of 70 columns and 12 rows, with our binary in `$S`.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    /// All that was written to the terminal.
    seen: String,
}

impl Terminal {
    fn run(url: &str, line: &str) -> Self {
        let mut script = Command::new("script")
            .args(["--quiet", "--return", "--command", &format!("stty rows 12 cols 70; {line}"), "/dev/null"])
            .env("S", env!("CARGO_BIN_EXE_sessionwatch"))
            .env("SESSIONWATCH_URL", url)
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script, of util-linux");
        let keys = script.stdin.take().expect("a pipe");
        let screen = script.stdout.take().expect("a pipe");
        Self { script, keys, screen, seen: String::new() }
    }

    /// Waits until `text` was written, since the beginning or since `seen` was cleared.
    async fn until(&mut self, text: &str) {
        let mut some = [0; 4096];
        let reading = async {
            while !self.seen.contains(text) {
                let read = self.screen.read(&mut some).await.expect("a terminal");
                assert!(read > 0, "it ended before {text:?} came: {:?}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&some[..read]));
            }
        };
        let come = timeout(LIMIT, reading).await.is_ok();
        assert!(come, "{text:?} never came: {:?}", self.seen);
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.expect("a terminal");
        self.keys.flush().await.expect("a terminal");
    }

    /// The exit status, when it has ended, and all that was written.
    async fn end(mut self) -> (Option<i32>, String) {
        let mut some = [0; 4096];
        let reading = async {
            while let Ok(read @ 1..) = self.screen.read(&mut some).await {
                self.seen.push_str(&String::from_utf8_lossy(&some[..read]));
            }
        };
        let ended = timeout(LIMIT, reading).await.is_ok();
        assert!(ended, "it does not end: {:?}", self.seen);
        let status = timeout(LIMIT, self.script.wait()).await.expect("it ends in time").expect("it can be waited for");
        (status.code(), self.seen)
    }
}

/// A command under `run` that never meets a monitor. Where it matters that the command has the terminal already, it
/// says `stty echo` first, which waits for that.
fn run(line: &str) -> Terminal {
    Terminal::run("http://127.0.0.1:1", line)
}

#[tokio::test]
async fn a_command_reads_from_the_terminal_and_ctrl_c_reaches_it_once() {
    let mut terminal = run("\"$S\" run --app tty -- sh -c 'echo name?; read name; echo hello $name'");
    terminal.until("name?").await;
    terminal.press("bob\n").await;
    terminal.until("hello bob").await;
    assert_eq!(terminal.end().await.0, Some(0));
    // A read that a signal interrupts fails, and so does one whose terminal is gone: the loop ends for that one too.
    let twice = "n=0; c() { n=$((n+1)); echo caught $n; }; trap c INT; stty echo; echo ready; until read x || [ $((m=m+1)) -gt 99 ]; do :; done; exit 6";
    let mut terminal = run(&format!("\"$S\" run --app tty -- sh -c '{twice}'"));
    terminal.until("ready").await;
    terminal.press("\x03").await;
    terminal.until("caught 1").await;
    terminal.press("on\n").await;
    let (code, seen) = terminal.end().await;
    assert!(code == Some(6) && !seen.contains("caught 2"), "{code:?} {seen:?}");
}

#[tokio::test]
async fn ctrl_z_stops_the_whole_job_and_fg_brings_it_back() {
    let mut terminal = run("PS1='at your service' bash --norc -i");
    terminal.until("service").await;
    terminal.press("\"$S\" run --app tty -- sh -c 'stty echo; echo read''y; read name; echo hello $name'\n").await;
    terminal.until("ready").await;
    terminal.press("\x1a").await;
    terminal.until("Stopped").await;
    terminal.press("echo st''ill here; fg\n").await;
    terminal.until("still here").await;
    terminal.press("bob\n").await;
    terminal.until("hello bob").await;
    terminal.press("exit 5\n").await;
    assert_eq!(terminal.end().await.0, Some(5));
}

#[tokio::test]
async fn a_neighbour_in_the_pipe_keeps_the_terminal() {
    // What stands behind the pipe reads its keys from the terminal, as a pager does.
    let mut terminal =
        run("\"$S\" run --app tty -- echo data | sh -c 'cat; echo more?; read key </dev/tty; echo key $key'");
    terminal.until("more?").await;
    terminal.press("x\n").await;
    terminal.until("key x").await;
    assert!(terminal.seen.contains("data"));
    assert_eq!(terminal.end().await.0, Some(0));
}

#[tokio::test]
async fn ctrl_c_ends_a_shells_loop_around_the_command_too() {
    let mut terminal = run("PS1='at your service' bash --norc -i");
    terminal.until("service").await;
    terminal.press("for n in 1 2; do \"$S\" run --app tty -- sh -c 'echo go; exec cat'; done\n").await;
    terminal.until("go\r\n").await;
    terminal.press("one\n").await;
    // Once by the terminal and once by the command, which so has the terminal.
    terminal.until("one\r\none\r\n").await;
    terminal.press("\x03").await;
    // Were there a second round, the prompt would not come.
    terminal.seen.clear();
    terminal.until("service").await;
    terminal.press("exit 3\n").await;
    assert_eq!(terminal.end().await.0, Some(3));
}
