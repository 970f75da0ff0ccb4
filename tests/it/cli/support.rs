//! A real server on a free port, the command line's binary, and waiting for what is seen rather than for time.

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use chrono::Utc;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sessionwatch::cli::{
    client::{Api, Socket},
    feed::{self, Feed},
    server::ServerArgs,
    store::{Row, Store},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

/// Nothing here takes longer; what does has failed.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_sessionwatch").into()
}

fn server_binary() -> PathBuf {
    env::var_os("SESSIONWATCH_BIN").map_or_else(binary, Into::into)
}

/// A running server; it ends with the test.
pub(super) struct Server {
    pub(super) url: String,
    process: Child,
    db: TempDir,
}

impl Server {
    /// A server whose clients beat often, and where nobody is stale while a test is looking.
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(super) async fn start_with(args: &[&str]) -> Self {
        let db = tempfile::tempdir().expect("a temporary directory");
        let (process, url) = serve(&db, "127.0.0.1:0", args).await;
        Self { url, process, db }
    }

    /// Kills the server as hard as can be.
    pub(super) async fn crash(&mut self) {
        self.process.kill().await.expect("the server can be killed");
    }

    /// Starts it again at the same address, on the same database.
    pub(super) async fn restart(&mut self) {
        let listen = self.url.trim_start_matches("http://").to_owned();
        (self.process, _) = serve(&self.db, &listen, &[]).await;
    }

    pub(super) fn api(&self) -> Api {
        Api::new(&ServerArgs::open(&self.url)).expect("the server's own address")
    }

    /// A command line to this server; its output is captured, and it ends with the test.
    pub(super) fn cli(&self, args: &[&str]) -> Command {
        cli_to(&self.url, args)
    }

    /// Runs a command line to its end.
    pub(super) async fn done(&self, args: &[&str]) -> Output {
        finish(&mut self.cli(args)).await
    }

    /// Waits until the live view fits, and gives what `find` found in it.
    pub(super) async fn until<T>(&self, what: &str, find: impl Fn(&Store) -> Option<T>) -> T {
        let mut frames = feed::follow(self.api());
        let mut store = Store::default();
        let watching = async {
            loop {
                match frames.recv().await {
                    Some(Feed::Frame(frame)) => {
                        store.apply(frame, Utc::now());
                        if let Some(found) = find(&store).filter(|_| store.is_filled()) {
                            return found;
                        }
                    }
                    Some(Feed::Lost { .. }) => {}
                    refused => panic!("the server does not let us watch: {refused:?}"),
                }
            }
        };
        match timeout(LIMIT, watching).await {
            Ok(found) => found,
            Err(_) => {
                panic!("never seen: {what}; there were {:?}", store.rows().map(|row| &row.raw).collect::<Vec<_>>())
            }
        }
    }

    /// Waits for a session of `app` that fits.
    pub(super) async fn session(&self, app: &str, fits: impl Fn(&Row) -> bool) -> Row {
        let find = |store: &Store| store.rows().find(|row| row.session.app_name == app && fits(row)).cloned();
        self.until(&format!("a session of {app}"), find).await
    }

    /// Waits until no session of `app` is left.
    pub(super) async fn gone(&self, app: &str) {
        let none = |store: &Store| store.rows().all(|row| row.session.app_name != app).then_some(());
        self.until(&format!("the end of {app}"), none).await;
    }

    /// The kinds of a session's events, oldest first, with the removal's cause.
    pub(super) async fn story(&self, id: &str) -> Vec<String> {
        let events = self.api().timeline(id).await.expect("a timeline");
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let told = |event: &Value| [text(event, "kind"), text(event, "cause")].join(" ").trim_end().to_owned();
        events.iter().map(told).collect()
    }

    /// The file that the server keeps its tokens in.
    pub(super) fn token_file(&self) -> PathBuf {
        self.db.path().join("sessions.db.tokens")
    }

    /// The server's own token for `role`, where it was started with `--strict`.
    pub(super) fn token(&self, role: &str) -> String {
        let file = self.token_file();
        let text = std::fs::read_to_string(file).expect("the token file");
        let file: Value = serde_json::from_str(&text).expect("JSON");
        let tokens = file["tokens"].as_array().expect("tokens");
        let found = tokens.iter().find(|token| token["role"] == role).and_then(|token| token["token"].as_str());
        found.expect("a token for every role").to_owned()
    }

    /// A client's session on a socket, registered.
    pub(super) async fn client(&self, app: &str, shared: bool) -> Client {
        let mut socket = self.api().socket(&["ws", "client"], &[]).await.expect("a socket");
        let register = json!({"type": "register", "app_name": app, "user_id": "ana", "shared": shared});
        socket.send(Message::text(register.to_string())).await.expect("an open socket");
        let mut client = Client { id: String::new(), socket };
        client.id = client.frame("registered").await["session_id"].as_str().unwrap_or_default().to_owned();
        client
    }
}

/// A session of the test's own.
pub(super) struct Client {
    pub(super) id: String,
    socket: Socket,
}

impl Client {
    /// The next frame of this type.
    pub(super) async fn frame(&mut self, kind: &str) -> Value {
        let read = async {
            loop {
                let message = self.socket.next().await.expect("an open socket").expect("a frame");
                let Message::Text(text) = message else {
                    continue;
                };
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                if frame["type"] == kind {
                    return frame;
                }
            }
        };
        timeout(LIMIT, read).await.unwrap_or_else(|_| panic!("no {kind} frame came"))
    }

    pub(super) async fn say(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.expect("an open socket");
    }

    /// Waits for a kill and acknowledges it.
    pub(super) async fn obey(mut self) {
        let kill = self.frame("kill").await;
        self.say(json!({"type": "kill_ack", "session_id": self.id, "kill_id": kill["kill_id"]})).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

async fn serve(db: &TempDir, listen: &str, args: &[&str]) -> (Child, String) {
    let mut process = Command::new(server_binary())
        .args(["--listen", listen, "--heartbeat-interval", "500ms"])
        // In the environment, so that a test's arguments go before them.
        .env("SESSIONWATCH_STALE_AFTER", "60s")
        .env("SESSIONWATCH_EXPIRE_AFTER", "120s")
        .arg("--db")
        .arg(db.path().join("sessions.db"))
        .args(args)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts");
    let mut lines = lines(process.stdout.take());
    let first = next_line(&mut lines).await;
    let url = first.split_whitespace().next_back().unwrap_or_default().to_owned();
    assert!(url.starts_with("http://"), "the server's first line was {first:?}");
    // Whoever prints to a closed pipe would end.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (process, url)
}

/// A command line to the server at `url`.
pub(super) fn cli_to(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(args.iter().map(OsString::from))
        .env("SESSIONWATCH_URL", url)
        .env("USER", "tester")
        .env_remove("SESSIONWATCH_TOKEN")
        .env_remove("SESSIONWATCH_TOKEN_FILE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(super) async fn finish(command: &mut Command) -> Output {
    timeout(LIMIT, command.output()).await.expect("it ends in time").expect("it starts")
}

/// The lines of a pipe.
pub(super) fn lines<R: AsyncRead + Unpin>(pipe: Option<R>) -> Lines<BufReader<R>> {
    BufReader::new(pipe.expect("a pipe")).lines()
}

/// The next line of it.
pub(super) async fn next_line<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>) -> String {
    let line = timeout(LIMIT, lines.next_line()).await.expect("a line in time").expect("text");
    line.expect("a line before the end")
}

/// The next line that holds `text`.
pub(super) async fn line_with(lines: &mut Lines<BufReader<ChildStdout>>, text: &str) -> String {
    loop {
        let line = next_line(lines).await;
        if line.contains(text) {
            return line;
        }
    }
}

pub(super) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(super) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
