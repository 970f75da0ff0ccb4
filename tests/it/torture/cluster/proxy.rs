//! A proxy between the servers and one PostgreSQL, which cuts connections at the COMMIT, and
//! can keep from the servers what a connection that listens would hear.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::torture::Dice;

/// What connections that listen get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hearing {
    #[default]
    All,
    /// Answers, but no notifications.
    NoNotifications,
    /// Nothing at all.
    Nothing,
}

/// Where a connection is cut, seen from its COMMIT.
#[derive(Clone, Copy)]
enum Cut {
    /// Nothing of it arrives.
    Before,
    /// Half of the bytes arrive that were sent with it.
    Within,
    /// It arrives, and its answer does not.
    After,
}

struct Shared {
    target: AtomicU16,
    /// The COMMITs that are still to be cut.
    cuts: AtomicUsize,
    cut: AtomicUsize,
    hearing: watch::Sender<Hearing>,
    dice: Mutex<Dice>,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub async fn start(target: u16, dice: Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            cuts: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            hearing: watch::channel(Hearing::All).0,
            dice: Mutex::new(dice),
        });
        let proxy = Self { port, shared: shared.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let target = ("127.0.0.1", shared.target.load(Ordering::Relaxed));
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    pass(client, server, &shared).await;
                });
            }
        });
        proxy
    }

    /// New connections go to this port.
    pub fn lead_to(&self, port: u16) {
        self.shared.target.store(port, Ordering::Relaxed);
    }

    /// Cuts the connections of the next COMMITs.
    pub fn cut(&self, commits: usize) {
        self.shared.cuts.store(commits, Ordering::Relaxed);
    }

    /// How many are still to be cut.
    pub fn left(&self) -> usize {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// How many were cut since the last call.
    pub fn taken(&self) -> usize {
        self.shared.cut.swap(0, Ordering::Relaxed)
    }

    pub fn let_hear(&self, hearing: Hearing) {
        self.shared.hearing.send_replace(hearing);
    }
}

impl Shared {
    fn next_cut(&self) -> Option<Cut> {
        let take = |left: usize| left.checked_sub(1);
        self.cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        self.cut.fetch_add(1, Ordering::Relaxed);
        Some([Cut::Before, Cut::Within, Cut::After][self.dice.lock().below(3) as usize])
    }
}

fn has(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

/// Passes both directions on until one ends, or it is cut.
async fn pass(client: TcpStream, server: TcpStream, shared: &Shared) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (listens, is_listening) = watch::channel(false);
    tokio::select! {
        () = ask(from_client, to_server, shared, &listens) => {}
        () = answer(from_server, to_client, shared, is_listening) => {}
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, listens: &watch::Sender<bool>) {
    let mut bytes = vec![0; 64 * 1_024];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        let bytes = &bytes[..count];
        if has(bytes, b"LISTEN sessionwatch") {
            listens.send_replace(true);
        }
        let cut = if has(bytes, b"COMMIT\0") { shared.next_cut() } else { None };
        let arrives = match cut {
            Some(Cut::Before) => 0,
            Some(Cut::Within) => count / 2,
            Some(Cut::After) | None => count,
        };
        if to.write_all(&bytes[..arrives]).await.is_err() || cut.is_some() {
            return;
        }
    }
}

/// Passes answers on message by message: a type, and a length that counts itself.
async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, listens: watch::Receiver<bool>) {
    let mut waiting = Vec::new();
    loop {
        if from.read_buf(&mut waiting).await.unwrap_or(0) == 0 {
            return;
        }
        let mut passed = Vec::new();
        while let Some(head) = waiting.first_chunk::<5>() {
            let length = 1 + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if waiting.len() < length {
                break;
            }
            let message = waiting.drain(..length);
            let hearing = if *listens.borrow() { *shared.hearing.borrow() } else { Hearing::All };
            match hearing {
                Hearing::Nothing => {}
                Hearing::NoNotifications if message.as_slice()[0] == b'A' => {}
                Hearing::NoNotifications | Hearing::All => passed.extend_from_slice(message.as_slice()),
            }
        }
        if to.write_all(&passed).await.is_err() {
            return;
        }
    }
}
