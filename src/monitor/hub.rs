//! What reaches clients at once: every open socket has a small bounded queue here,
//! and the writer puts kills and notes into it right after their commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, mpsc};

use crate::change::{Cause, Event, Kind, Message};
use crate::clock::Timestamp;
use crate::session::{Kill, SessionId, SocketId};

/// What a socket is told.
#[derive(Clone, Debug)]
pub enum Push {
    /// This session is to end.
    Kill(SessionId, Arc<Kill>),
    /// Show this to its user.
    Message(SessionId, Arc<Message>),
    /// It opened a newer socket.
    Superseded(SessionId),
    /// It is no longer live.
    Removed(SessionId, Cause),
}

/// A client has shown a note.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// Which note.
    pub(super) message_id: Arc<str>,
    /// Which client.
    pub(super) session: SessionId,
    /// When.
    pub(super) at: Timestamp,
}

/// Notes and kills that may wait for one socket, which may carry many sessions. A socket
/// that lets more wait is closed; its client comes back and learns of a kill by
/// resuming. The queue takes memory as it fills, in small blocks.
const WAITING_MAX: usize = 8_192;

/// What waits for one socket. A channel would keep room for 32 pushes in every idle
/// socket, which is more than all else that one needs.
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
    /// False when too much waits already.
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

/// A socket's end of its queue.
pub(super) struct Pushes(Arc<Mailbox>);

impl Pushes {
    /// The next push; `None` once the hub has given the socket up. Nothing is lost when
    /// this is dropped while it waits.
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

/// All open client sockets and listeners.
pub(super) struct Hub {
    sockets: DashMap<SocketId, Arc<Mailbox>>,
    listeners: DashMap<SessionId, Vec<mpsc::Sender<Push>>>,
    deliveries: broadcast::Sender<Delivery>,
    next: AtomicU64,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            sockets: DashMap::new(),
            listeners: DashMap::new(),
            deliveries: broadcast::channel(1_024).0,
            next: AtomicU64::new(1),
        }
    }
}

impl Hub {
    /// A new socket and its queue. The queue ends when the hub gives the socket up.
    pub(super) fn open(&self) -> (SocketId, Pushes) {
        let socket = self.next.fetch_add(1, Ordering::Relaxed);
        let mailbox = Arc::new(Mailbox::default());
        self.sockets.insert(socket, mailbox.clone());
        (socket, Pushes(mailbox))
    }

    /// The socket has closed.
    pub(super) fn close(&self, socket: SocketId) {
        self.sockets.remove(&socket);
    }

    /// Listens for what happens to one session without being its socket (SSE).
    pub(super) fn listen(&self, id: SessionId) -> mpsc::Receiver<Push> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut senders = self.listeners.entry(id).or_default();
        senders.retain(|sender| !sender.is_closed());
        senders.push(sender);
        receiver
    }

    /// Forgets listeners that are gone.
    pub(super) fn sweep(&self) {
        self.listeners.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
    }

    /// Follows which notes are shown.
    pub(super) fn deliveries(&self) -> broadcast::Receiver<Delivery> {
        self.deliveries.subscribe()
    }

    /// Tells the socket that another one took its place.
    pub(super) fn supersede(&self, socket: SocketId, id: SessionId) {
        self.push(socket, Push::Superseded(id));
    }

    /// Tells whoever has to know of a committed event.
    pub(super) fn notify(&self, event: &Event) {
        let session = &event.session;
        let push = match (event.kind, &session.kill, &event.message) {
            (Kind::KillRequested, Some(kill), _) => Push::Kill(session.id.clone(), kill.clone()),
            (Kind::MessageSent, _, Some(message)) => Push::Message(session.id.clone(), message.clone()),
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
