//! A socket that sessions of the demo share, or that one of them has for itself: frames go in at one end and come out
//! at the member whose they are.

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

/// After this much silence from a server that pings every 20 s, the socket is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Frames that may wait for a member; one that takes none for so long is not playing any more.
const INBOX: usize = 16;

/// What comes over the line for one member.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A frame of the server's.
    Frame(SessionFrame),
    /// The line is down, by this close code (1006 where there was none); joining again opens it anew.
    Down(u16),
}

enum Order {
    Join(String, mpsc::Sender<Incoming>),
    Say(Value),
    Part(String),
}

/// The near end of a line; its clones are the same line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    orders: mpsc::Sender<Order>,
    task: Arc<Abort>,
}

/// Ends its task when the last who holds it goes.
#[derive(Debug)]
struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Line {
    /// A line to the server, opened when the first member joins. Dropping it cuts it without a word.
    pub(super) fn new(api: Api) -> Self {
        let (orders, received) = mpsc::channel(64);
        let task = Arc::new(Abort(tokio::spawn(carry(api, received))));
        Self { orders, task }
    }

    /// Makes the session `id` a member, and gives what comes for it.
    pub(super) async fn join(&self, id: &str) -> mpsc::Receiver<Incoming> {
        let (frames, inbox) = mpsc::channel(INBOX);
        // A line that has ended drops the sender, which reads as the end of the inbox.
        let _ = self.orders.send(Order::Join(id.to_owned(), frames)).await;
        inbox
    }

    /// Sends a frame; what a line that is down cannot send is lost, as on any network.
    pub(super) async fn say(&self, frame: Value) {
        let _ = self.orders.send(Order::Say(frame)).await;
    }

    /// The session `id` is no member any more.
    pub(super) async fn part(&self, id: &str) {
        let _ = self.orders.send(Order::Part(id.to_owned())).await;
    }

    /// Closes a line of one's own after all that was said has gone out.
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
        // What is said on a line that is down is lost, until somebody joins.
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

/// Carries frames both ways until the socket ends (its close code) or nobody holds the line any more (none).
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
            // On a line of one's own the server may leave the id out.
            let inbox = match addressee(&frame) {
                Some(id) => members.get(id),
                None if members.len() == 1 => members.values().next(),
                None => None,
            };
            if let Some(inbox) = inbox {
                // A member that lets its inbox run full has gone deaf; the others must not wait for it.
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
