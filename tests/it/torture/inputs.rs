//! No input makes the server panic: frames, bodies, paths and filters that are almost valid,
//! since completely invalid input is refused at the first byte.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Dice, count};
use crate::gate::wire::{FIN, TEXT, claim, frame};
use crate::support::{PATIENCE, command};

const FRAMES: [&str; 10] = [
    r#"{"type":"register","app_name":"risk","session_id":"s1","shared":true,"meta":{"a":1,"b":"c"}}"#,
    r#"{"type":"register","app_name":"risk","session_id":"s2","session_token":"x","visibility":"hidden"}"#,
    r#"{"type":"heartbeat","session_id":"s1"}"#,
    r#"{"type":"status","session_id":"s1","status":"running","current_task":"Q4","meta":{"x":true}}"#,
    r#"{"type":"status","session_id":"s1","status":"idle","current_task":null}"#,
    r#"{"type":"visibility","session_id":"s1","visibility":"frozen"}"#,
    r#"{"type":"kill_ack","session_id":"s1","kill_id":"k"}"#,
    r#"{"type":"message_ack","session_id":"s1","message_id":"m"}"#,
    r#"{"type":"bye","session_id":"s1","persisted":true}"#,
    r#"{"type":"bye","session_id":"s2"}"#,
];

const REQUESTS: [(&str, &str); 16] = [
    ("POST /sessions", r#"{"app_name":"risk","session_id":"h1","heartbeat_interval":30,"meta":{"env":"prod"}}"#),
    ("PUT /sessions/h1", r#"{"app_name":"risk","status":"running","current_task":"Q4"}"#),
    ("PUT /sessions/h1/status", r#"{"status":"waiting-for","current_task":"Q4"}"#),
    ("POST /sessions/h1/heartbeat", r#"{"visibility":"hidden"}"#),
    ("POST /sessions/h1/kill", r#"{"reason":"why","by":"ana"}"#),
    ("POST /apps/risk/kill-all", r#"{"reason":"why"}"#),
    ("POST /kill", r#"{"filter":"app:risk -user:\"a b\" idle:>2h","reason":"why","dry_run":true}"#),
    ("GET /sessions?filter=app:risk%20-user:%22a%20b%22%20meta.env:prod,test%20idle:1h..2d", ""),
    ("POST /sessions/h1/message", r#"{"text":"hello","level":"warning"}"#),
    ("GET /sessions?app_name=risk&status=idle&q=a%20b&limit=10&after=MTIzIHM", ""),
    ("GET /events?kind=registered,removed&session_id=h1&before=10&limit=5", ""),
    ("GET /sessions/h1/timeline", ""),
    ("GET /stats?minutes=60", ""),
    ("DELETE /sessions/stale?older_than_minutes=10", ""),
    ("GET /ping/risk/p%31/start?task=Q4&user_id=ana", ""),
    ("POST /sessions/h1/end", r#"{"session_token":"x"}"#),
];

/// Pieces that make valid input invalid.
const PIECES: [&str; 22] = [
    "null",
    "true",
    "-1",
    "1e400",
    "18446744073709551616",
    "\"\"",
    "{}",
    "[]",
    "\\u0000",
    "\\ud800",
    "\"",
    "{",
    "}",
    ",",
    "%",
    "%00",
    "%ff",
    "%F0%9F%98%80",
    "/../",
    "?",
    "&limit=99999999999999999999",
    "\u{202e}",
];

impl Dice {
    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// The text with parts cut, doubled, moved or replaced.
    fn mangle(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len() as u64 + 1) as usize;
            let end = (at + self.below(12) as usize).min(bytes.len());
            match self.below(6) {
                0 => drop(bytes.drain(at..end)),
                1 => drop(bytes.splice(at..end, self.one_of(&PIECES).bytes())),
                2 => bytes.insert(at, self.next() as u8),
                3 => bytes.extend_from_within(at..end),
                4 => bytes.truncate(at),
                _ => {
                    let long = "x".repeat(self.below(20_000) as usize);
                    drop(bytes.splice(at..at, long.bytes()));
                }
            }
        }
        bytes
    }
}

/// Reads everything that arrives within a short time.
async fn answer(stream: &mut TcpStream) -> usize {
    let mut buffer = vec![0; 65_536];
    let read = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut buffer));
    read.await.map_or(0, |read| read.unwrap_or(0))
}

async fn request(port: u16, dice: &mut Dice) {
    let (line, body) = dice.one_of(&REQUESTS);
    let (line, body) = (dice.mangle(line), dice.mangle(body));
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { panic!("the server is gone") };
    let kind = dice.one_of(&["application/json", "application/json", "text/plain", "text/html"]);
    let head = format!(
        " HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let whole = [&line[..], head.as_bytes(), &body].concat();
    let _ = stream.write_all(&whole).await;
    answer(&mut stream).await;
}

async fn socket(port: u16, dice: &mut Dice) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { panic!("the server is gone") };
    let path = dice.one_of(&["/ws/client", "/ws/client", "/ws/client", "/ws", "/ws?epoch=%00&seq=-1"]);
    let handshake = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let _ = stream.write_all(handshake.as_bytes()).await;
    answer(&mut stream).await;
    let mut out = frame(FIN | TEXT, FRAMES[0].as_bytes());
    for _ in 0..20 {
        let known: &str = dice.one_of::<&str>(&FRAMES);
        let payload = dice.mangle(known);
        // Mostly text; sometimes another opcode, reserved bits, or a wrong length.
        let first = if dice.below(8) == 0 { dice.next() as u8 } else { FIN | TEXT };
        let told = if dice.below(12) == 0 { dice.below(200_000) as usize } else { payload.len() };
        out.extend(claim(first, told as u64, true));
        out.extend(payload);
    }
    let _ = stream.write_all(&out).await;
    answer(&mut stream).await;
}

#[tokio::test]
async fn no_input_makes_the_server_panic() {
    let inputs = count("INPUTS", 300);
    let mut dice = Dice::new();
    let folder = tempfile::tempdir().expect("a folder");
    let said = folder.path().join("stderr");
    let log = std::fs::File::create(&said).expect("a file");
    let mut child = command(&folder.path().join("torture.db"), "127.0.0.1:0", &[])
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let first = lines.next_line().await.expect("text").expect("a line");
    let port: u16 = first.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    for _ in 0..inputs {
        if dice.below(2) == 0 { request(port, &mut dice).await } else { socket(port, &mut dice).await }
    }
    let health = reqwest::get(format!("http://127.0.0.1:{port}/healthz"));
    let health = tokio::time::timeout(PATIENCE, health).await.expect("it answers in time").expect("it answers");
    assert!(health.status().is_success());
    // A panic in a task does not end the server, so its log is searched for panics.
    let said = std::fs::read_to_string(&said).expect("its words");
    assert!(!said.contains("panicked"), "{said}");
    println!("{inputs} requests and sockets that were nearly right: no panic");
}
