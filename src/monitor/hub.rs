//! Pushes to clients: every open socket has a bounded queue here, and the writer puts kill requests
//! and messages into it right after their commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, mpsc};

use crate::change::{Cause, Event, Kind, Message};
use crate::clock::Timestamp;
use crate::session::{Kill, Node, SessionId, SocketId};

/// A push to a client.
#[derive(Clone, Debug)]
pub enum Push {
    /// A kill was requested for this session.
    Kill(SessionId, Arc<Kill>),
    /// A message for the session's user.
    Message(SessionId, Arc<Message>),
    /// The session opened a newer socket.
    Superseded(SessionId),
    /// The session is no longer live.
    Removed(SessionId, Cause),
}

/// A client has shown a message.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// The id of the message.
    pub(super) message_id: Arc<str>,
    /// The session.
    pub(super) session: SessionId,
    /// When it was shown.
    pub(super) at: Timestamp,
}

/// Pushes that may wait for one socket, which may carry many sessions. A socket with more is
/// closed; its client connects again and learns of a kill request when it resumes. The queue
/// takes memory only as it fills.
const WAITING_MAX: usize = 8_192;

/// The queue of one socket. A channel would keep memory for 32 pushes in every idle socket, more
/// than everything else that an idle socket needs.
#[derive(Default)]
struct Mailbox {
    inner: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    pushes: VecDeque<Push>,
    given_up: bool,
}

impl Mailbox {
    /// Queues a push; false when too many wait.
    fn put(&self, push: Push) -> bool {
        let mut waiting = self.inner.lock();
        let room = waiting.pushes.len() < WAITING_MAX;
        if room {
            waiting.pushes.push_back(push);
        } else {
            waiting.given_up = true;
        }
        drop(waiting);
        self.news.notify_one();
        room
    }
}

/// The receiving end of a socket's queue.
pub(super) struct Pushes(Arc<Mailbox>);

impl Pushes {
    /// Waits for the next push; `None` once the queue was too long and the hub has closed it. Cancel
    /// safe.
    pub(super) async fn next(&mut self) -> Option<Push> {
        loop {
            {
                let mut waiting = self.0.inner.lock();
                if let Some(push) = waiting.pushes.pop_front() {
                    return Some(push);
                }
                if waiting.given_up {
                    return None;
                }
            }
            self.0.news.notified().await;
        }
    }
}

/// The queues of all open client sockets and event streams.
pub(super) struct Hub {
    node: Node,
    sockets: DashMap<SocketId, Arc<Mailbox>>,
    listeners: DashMap<SessionId, Vec<mpsc::Sender<Push>>>,
    deliveries: broadcast::Sender<Delivery>,
    next: AtomicU64,
}

impl Hub {
    /// No sockets yet, on this server.
    #[must_use]
    pub(super) fn new(node: Node) -> Self {
        Self {
            node,
            sockets: DashMap::new(),
            listeners: DashMap::new(),
            deliveries: broadcast::channel(1_024).0,
            next: AtomicU64::new(1),
        }
    }

    /// Opens the queue of a new socket.
    pub(super) fn open(&self) -> (SocketId, Pushes) {
        let socket = SocketId::new(self.node, self.next.fetch_add(1, Ordering::Relaxed));
        let mailbox = Arc::new(Mailbox::default());
        self.sockets.insert(socket, mailbox.clone());
        (socket, Pushes(mailbox))
    }

    /// Closes the queue of a socket.
    pub(super) fn close(&self, socket: SocketId) {
        self.sockets.remove(&socket);
    }

    /// Opens a queue with the pushes of one session, for an event stream.
    pub(super) fn listen(&self, id: SessionId) -> mpsc::Receiver<Push> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut senders = self.listeners.entry(id).or_default();
        senders.retain(|sender| !sender.is_closed());
        senders.push(sender);
        receiver
    }

    /// Drops the queues of event streams that have ended.
    pub(super) fn sweep(&self) {
        self.listeners.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
    }

    /// Subscribes to the messages that clients show.
    pub(super) fn deliveries(&self) -> broadcast::Receiver<Delivery> {
        self.deliveries.subscribe()
    }

    /// Tells a socket that the session has a newer one.
    pub(super) fn supersede(&self, socket: SocketId, id: SessionId) {
        self.push(socket, Push::Superseded(id));
    }

    /// Pushes a committed event to the session's socket and event streams, if it concerns them.
    pub(super) fn notify(&self, event: &Event) {
        let session = &event.session;
        let push = match (event.kind, &session.kill, &event.message) {
            (Kind::KillRequested, Some(kill), _) => Push::Kill(session.id.clone(), kill.clone()),
            (Kind::MessageSent | Kind::Warned, _, Some(message)) => Push::Message(session.id.clone(), message.clone()),
            (Kind::Removed, _, _) => Push::Removed(session.id.clone(), event.cause.unwrap_or(Cause::Ended)),
            (Kind::MessageDelivered, _, Some(message)) => {
                let message_id = message.message_id.clone();
                let _ = self.deliveries.send(Delivery { message_id, session: session.id.clone(), at: event.at });
                return;
            }
            _ => return,
        };
        if let Some(listeners) = self.listeners.get(&session.id) {
            for listener in listeners.iter() {
                let _ = listener.try_send(push.clone());
            }
        }
        if let Some(socket) = session.socket {
            self.push(socket, push);
        }
    }

    fn push(&self, socket: SocketId, push: Push) {
        let mailbox = self.sockets.get(&socket).map(|entry| entry.value().clone());
        if mailbox.is_some_and(|mailbox| !mailbox.put(push)) {
            self.sockets.remove(&socket);
        }
    }
}
