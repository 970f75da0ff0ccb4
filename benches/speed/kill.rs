//! The time of a kill, from the request to the close frame at the client, while many sockets
//! send heartbeats.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::interval_at;

use crate::Bench;
use crate::http::{Connection, request};
use crate::process::Process;
use crate::report::{Row, Verdict, percentile};
use crate::socket::{self, Frame, Socket};

/// The heartbeat interval of each socket; a sixth of the clients' default.
const BEATS_EVERY: Duration = Duration::from_secs(5);
const KILLS: usize = 500;

/// When the kill frame and the close frame arrived.
type Seen = (Instant, Instant, u16);

/// From the kill to the close frame, with 1,000 and with 5,000 sockets.
pub async fn to_close_frame(bench: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    let counts: &[usize] = if bench.smoke { &[50] } else { &[1_000, 5_000] };
    for &count in counts {
        let folder = bench.folder();
        let ours = Process::sessionwatch(folder.path(), &[]);
        let kills = KILLS.min(count / 2);
        let (frames, closes) = measure(ours.port, ours.port, count, kills).await;
        let at = |values: &[f64], share| percentile(values, share) * 1e3;
        let p99 = at(&closes, 0.99);
        rows.push(
            Row::new(
                format!("kill: request to close frame, {count} sockets, beats under way"),
                if count == 1_000 { "p99 ≤ 20 ms" } else { "p99 ≤ 10 ms" },
                format!("p50 {:.1} ms, p99 {p99:.1} ms ({kills} kills)", at(&closes, 0.5)),
                Verdict::of(p99 <= if count == 1_000 { 20.0 } else { 10.0 }),
            )
            .against(format!(
                "to the kill frame p50 {:.1} ms, p99 {:.1} ms",
                at(&frames, 0.5),
                at(&frames, 0.99)
            )),
        );
    }
    rows
}

/// Seconds from each kill to its frame and to its close: the sockets are at one server, the
/// kills are asked of another, or of the same.
pub async fn measure(port: u16, asked_port: u16, count: usize, kills: usize) -> (Vec<f64>, Vec<f64>) {
    let mut waiting = HashMap::new();
    let (ids, mut registered) = mpsc::unbounded_channel();
    // Few at a time: the speed of registrations is not measured here.
    for index in 0..count {
        let (socket, id) = socket::register(port, "kill").await.expect("a session on a socket");
        let (tell, seen) = oneshot::channel();
        let first = tokio::time::Instant::now() + BEATS_EVERY.mul_f64((index % 500) as f64 / 500.0);
        tokio::spawn(live(socket, first, tell));
        waiting.insert(id.clone(), seen);
        let _ = ids.send(id);
    }
    let mut connection = Connection::open(asked_port).await.expect("the server accepts");
    let (mut frames, mut closes) = (Vec::new(), Vec::new());
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..kills {
        let id = registered.recv().await.expect("there are as many");
        let seen = waiting.remove(&id).expect("it lives");
        let kill = request("POST", &format!("/sessions/{id}/kill"), asked_port, Some(r#"{"reason":"maintenance"}"#));
        let asked = Instant::now();
        connection.must(&kill).await;
        let (frame, close, code) = seen.await.expect("its socket is closed");
        assert_eq!(code, 1001);
        frames.push((frame - asked).as_secs_f64());
        closes.push((close - asked).as_secs_f64());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (frames, closes)
}

/// A client: sends heartbeats, acknowledges its kill at once, records when it was closed.
async fn live(mut socket: Socket, first: tokio::time::Instant, tell: oneshot::Sender<Seen>) {
    let beat = socket::text(r#"{"type":"heartbeat"}"#);
    let mut beats = interval_at(first, BEATS_EVERY);
    let mut kill_frame = None;
    loop {
        let ack = tokio::select! {
            frame = socket.frame() => match frame {
                Ok(Frame::Text(text)) => acknowledgement(text),
                Ok(Frame::Close(code)) => {
                    let now = Instant::now();
                    let _ = tell.send((kill_frame.unwrap_or(now), now, code));
                    return;
                }
                Err(_) => return,
            },
            _ = beats.tick() => {
                if socket.send_prepared(&beat).await.is_err() {
                    return;
                }
                None
            }
        };
        if let Some(ack) = ack {
            kill_frame = Some(Instant::now());
            if socket.send(&ack).await.is_err() {
                return;
            }
        }
    }
}

fn acknowledgement(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let kill_id = text.starts_with(r#"{"type":"kill""#).then(|| socket::field(text, "kill_id"))??;
    Some(format!(r#"{{"type":"kill_ack","kill_id":"{kill_id}"}}"#))
}
