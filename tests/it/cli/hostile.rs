//! A server that the command line does not trust: it sends sessions whose texts a real server would refuse.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{Request, Response},
};

/// A server with the same sessions for everybody.
pub(super) struct Server {
    pub(super) url: String,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub(super) async fn start(sessions: Arc<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sessions.clone()));
            }
        });
        Self { url, accepting }
    }
}

async fn serve(mut stream: TcpStream, sessions: Arc<Value>) {
    let mut head = [0; 8];
    let Ok(8) = stream.peek(&mut head).await else { return };
    if head.starts_with(b"GET /ws") {
        return socket(stream, &sessions).await;
    }
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let body = json!({"sessions": *sessions, "total": 3, "next": null, "epoch": "e", "seq": 1}).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

#[allow(clippy::result_large_err, reason = "the library's own type")]
async fn socket(stream: TcpStream, sessions: &Value) {
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", "sessionwatch.v1".parse().expect("a header"));
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, choose).await else { return };
    let frames = [
        json!({"type": "hello", "protocol": 1, "server": "x", "epoch": "e", "seq": 1, "now": "2026-11-22T08:10:10.000Z"}),
        json!({"type": "snapshot", "seq": 1, "part": 1, "parts": 1, "sessions": sessions}),
    ];
    for frame in frames {
        let _ = socket.send(Message::text(frame.to_string())).await;
    }
    while let Some(Ok(_)) = socket.next().await {}
}

/// Three sessions: one whose texts would control a terminal, one with wide and combining characters, a plain one.
pub(super) fn sessions() -> Value {
    let session = |id: &str, app: &str, user: &str, task: &str, minute: u32| {
        json!({"session_id": id, "app_name": app, "user_id": user, "current_task": task, "reported_status": "idle",
            "start_time": format!("2026-11-22T08:{minute:02}:00.000Z"), "last_heartbeat": "2026-11-22T08:10:00.000Z"})
    };
    let evil = "evil\u{1b}[2J\u{9b}31m\u{202e}";
    json!([
        session(evil, "a\u{1b}]0;owned\u{7}", "b\r\nc\u{8}", "\u{1b}[?1049l\u{200b}", 9),
        session("wide", "日本語", "e\u{301}te\u{301}", "task-of-wide", 8),
        session("plain", "app", "ana", "task-of-plain", 7),
    ])
}

/// Fails where a control of [`sessions`] is in what a command wrote.
pub(super) fn is_clean(raw: &[u8]) {
    let text = String::from_utf8_lossy(raw);
    for control in ["\u{1b}[2J\u{9b}", "\u{9b}", "\u{1b}]0;owned", "\u{7}", "\u{8}", "\u{202e}", "\u{200b}", "b\r\nc"] {
        assert!(!text.contains(control), "{control:?} reached the terminal");
    }
}
