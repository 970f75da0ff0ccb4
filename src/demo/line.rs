//! A client socket for one or several simulated sessions (its members). Each frame from the server goes to the member
//! that it names.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, interval_at, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use crate::cli::{
    client::{Api, Socket},
    wire::SessionFrame,
};

/// Time without a frame after which the socket counts as dead. The server pings every 20 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Frames that may wait for a member; more are dropped.
const INBOX: usize = 16;

/// What a member receives.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A frame from the server.
    Frame(SessionFrame),
    /// The socket is closed, with this close code (1006 where there was none). Joining again opens a new socket.
    Down(u16),
}

enum Order {
    Join(String, mpsc::Sender<Incoming>),
    Say(Value),
    Part(String),
}

/// A handle to the socket's task; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    orders: mpsc::Sender<Order>,
    task: Arc<Abort>,
}

/// Aborts the task when the last handle is dropped.
#[derive(Debug)]
struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Line {
    /// Makes a line; its socket is opened when the first member joins. Dropping the line cuts the connection without
    /// a close frame.
    pub(super) fn new(api: Api) -> Self {
        let (orders, received) = mpsc::channel(64);
        let task = Arc::new(Abort(tokio::spawn(carry(api, received))));
        Self { orders, task }
    }

    /// Makes the session `id` a member, and returns its inbox.
    pub(super) async fn join(&self, id: &str) -> mpsc::Receiver<Incoming> {
        let (frames, inbox) = mpsc::channel(INBOX);
        // When the task has ended, the sender is dropped, and the inbox ends.
        let _ = self.orders.send(Order::Join(id.to_owned(), frames)).await;
        inbox
    }

    /// Sends a frame. It is lost while the socket is closed.
    pub(super) async fn say(&self, frame: Value) {
        let _ = self.orders.send(Order::Say(frame)).await;
    }

    /// Removes the session `id` from the members.
    pub(super) async fn part(&self, id: &str) {
        let _ = self.orders.send(Order::Part(id.to_owned())).await;
    }

    /// Sends all waiting frames, and closes the socket. For a line with one member.
    pub(super) async fn hang_up(self) {
        drop(self.orders);
        if let Ok(mut task) = Arc::try_unwrap(self.task) {
            let _ = timeout(Duration::from_secs(1), &mut task.0).await;
        }
    }
}

async fn carry(api: Api, mut orders: mpsc::Receiver<Order>) {
    let mut members = HashMap::new();
    while let Some(order) = orders.recv().await {
        // Without a socket, everything but a join is dropped.
        let Order::Join(id, inbox) = order else {
            continue;
        };
        members.insert(id, inbox);
        let code = match api.socket(&["ws", "client"], &[]).await {
            Ok(mut socket) => match converse(&mut socket, &mut orders, &mut members).await {
                Some(code) => code,
                None => {
                    let _ = timeout(Duration::from_millis(500), socket.close(None)).await;
                    return;
                }
            },
            Err(_) => 1006,
        };
        for (_, inbox) in members.drain() {
            let _ = inbox.try_send(Incoming::Down(code));
        }
    }
}

/// Carries frames in both directions. Returns the close code when the socket ends, and `None` when all handles of the
/// line are dropped.
async fn converse(
    socket: &mut Socket,
    orders: &mut mpsc::Receiver<Order>,
    members: &mut HashMap<String, mpsc::Sender<Incoming>>,
) -> Option<u16> {
    let mut heard = Instant::now();
    let mut check = interval_at(heard + SILENCE_LIMIT, SILENCE_LIMIT / 4);
    loop {
        tokio::select! {
            order = orders.recv() => match order? {
                Order::Join(id, inbox) => {
                    members.insert(id, inbox);
                }
                Order::Part(id) => {
                    members.remove(&id);
                }
                Order::Say(frame) => {
                    if socket.send(Message::text(frame.to_string())).await.is_err() {
                        return Some(1006);
                    }
                }
            },
            message = socket.next() => {
                heard = Instant::now();
                if let ControlFlow::Break(code) = deliver(message, members) {
                    return Some(code);
                }
            }
            _ = check.tick() => if heard.elapsed() > SILENCE_LIMIT {
                return Some(1006);
            },
        }
    }
}

type Arrival = Option<Result<Message, tokio_tungstenite::tungstenite::Error>>;

fn deliver(message: Arrival, members: &HashMap<String, mpsc::Sender<Incoming>>) -> ControlFlow<u16> {
    match message {
        Some(Ok(Message::Text(text))) => {
            let frame = serde_json::from_str(&text).unwrap_or(SessionFrame::Unknown);
            // On a socket with one session the server may leave out the id.
            let inbox = match addressee(&frame) {
                Some(id) => members.get(id),
                None if members.len() == 1 => members.values().next(),
                None => None,
            };
            if let Some(inbox) = inbox {
                // The inbox of a member may be full; the other members must not wait for it.
                let _ = inbox.try_send(Incoming::Frame(frame));
            }
            ControlFlow::Continue(())
        }
        Some(Ok(Message::Close(close))) => ControlFlow::Break(close.map_or(1005, |close| u16::from(close.code))),
        Some(Ok(_)) => ControlFlow::Continue(()),
        Some(Err(_)) | None => ControlFlow::Break(1006),
    }
}

fn addressee(frame: &SessionFrame) -> Option<&str> {
    match frame {
        SessionFrame::Registered { session_id, .. } => Some(session_id),
        SessionFrame::Kill { session_id, .. }
        | SessionFrame::Message { session_id, .. }
        | SessionFrame::Error { session_id, .. } => session_id.as_deref(),
        SessionFrame::Unknown => None,
    }
}
