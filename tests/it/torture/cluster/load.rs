//! The load: writers, clients with sockets, and dashboards. None of them stops at an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::truth::{Answer, Truth, now};
use crate::torture::Dice;
use crate::torture::dashboard::Screen;

/// How long a request may take: a server may be frozen.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What all of the load shares.
pub struct Load {
    /// Where the servers listen: `127.0.0.1:PORT`.
    pub hosts: Vec<String>,
    pub client: reqwest::Client,
    pub truth: Truth,
    /// Writers ask for changes.
    pub busy: AtomicBool,
    /// The test is over.
    pub over: AtomicBool,
    next: AtomicU64,
    /// Changes that writers have asked for and have no answer to yet.
    asked: AtomicUsize,
    /// The ids that clients with sockets hold now.
    pub held: Mutex<BTreeMap<usize, String>>,
    pub screens: Vec<Mutex<Screen>>,
}

impl Load {
    pub fn new(hosts: Vec<String>) -> Arc<Self> {
        let client = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .expect("a client");
        Arc::new(Self {
            hosts,
            client,
            truth: Truth::default(),
            busy: AtomicBool::new(false),
            over: AtomicBool::new(false),
            next: AtomicU64::new(0),
            asked: AtomicUsize::new(0),
            held: Mutex::default(),
            screens: FORMS.map(|_| Mutex::default()).into(),
        })
    }

    fn fresh(&self, what: &str) -> String {
        format!("{what}{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks a server; the status and the body, or nothing where no whole answer came.
    pub async fn ask(&self, server: usize, method: Method, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let mut request = self.client.request(method, format!("http://{}{path}", self.hosts[server]));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// Asks for a change.
    async fn change(&self, server: usize, method: Method, path: &str, body: Value) -> Answer {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.ask(server, method, path, Some(body)).await;
        self.asked.fetch_sub(1, Ordering::Relaxed);
        match answer {
            Some((200..=299, _)) => Answer::Acknowledged,
            Some((503, body)) => {
                let detail = body["detail"].as_str().unwrap_or_default();
                // A server that ends may have committed it.
                if detail.contains("not known") || detail.contains("shutting down") {
                    Answer::Unknown
                } else {
                    Answer::Refused
                }
            }
            Some(_) => Answer::Refused,
            None => Answer::Unknown,
        }
    }

    /// Registers a session; returns its id.
    pub async fn register(&self, server: usize) -> (String, Answer) {
        let id = self.fresh("w");
        let app = format!("app-{}", id.len() % 3);
        let at = now();
        let answer = self.change(server, Method::POST, "/sessions", json!({ "app_name": app, "session_id": id })).await;
        let count = usize::from(answer == Answer::Acknowledged);
        self.truth.acknowledged.fetch_add(count, Ordering::Relaxed);
        self.truth.note(&id, |known| {
            known.registered = Some(answer);
            known.lives.push(at);
            known.tasks.push(String::new());
        });
        (id, answer)
    }

    /// Waits until no writer waits for an answer any more.
    pub async fn is_quiet(&self) {
        for quiet in [false, true] {
            while self.asked.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if !quiet {
                // Who has an answer notes it, and asks for no more.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn other(&self, dice: &mut Dice) -> usize {
        dice.below(self.hosts.len() as u64) as usize
    }
}

/// Registers sessions at one server, and works with them at any.
pub async fn write(load: Arc<Load>, server: usize, mut dice: Dice) {
    while !load.over.load(Ordering::Relaxed) {
        if !load.busy.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let (id, registered) = load.register(server).await;
        if registered != Answer::Acknowledged {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        for _ in 0..dice.below(4) {
            if !load.busy.load(Ordering::Relaxed) {
                break;
            }
            let at = now();
            let server = load.other(&mut dice);
            if load.change(server, Method::POST, &format!("/sessions/{id}/heartbeat"), json!({})).await
                == Answer::Acknowledged
            {
                load.truth.lived(&id, at);
            }
            let task = dice.below(1_000_000).to_string();
            let body = json!({ "status": "running", "current_task": task });
            let answer = load.change(server, Method::PUT, &format!("/sessions/{id}/status"), body).await;
            load.truth.note(&id, |known| match answer {
                Answer::Acknowledged => known.tasks = vec![task],
                Answer::Unknown => known.tasks.push(task),
                Answer::Refused => {}
            });
        }
        let server = load.other(&mut dice);
        // Few stay, so that there are moments in which none is marked as stale or removed.
        match dice.below(12) {
            0 => {
                let answer = load.change(server, Method::POST, &format!("/sessions/{id}/kill"), json!({})).await;
                load.truth.note(&id, |known| known.killed = Some(answer));
            }
            1..=10 => {
                let answer = load.change(server, Method::DELETE, &format!("/sessions/{id}"), json!({})).await;
                load.truth.note(&id, |known| known.ended = Some(answer));
            }
            _ => {}
        }
    }
}

/// Kills sessions that clients hold on sockets, at any server.
pub async fn kill(load: Arc<Load>, mut dice: Dice) {
    while !load.over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(200))).await;
        let held: Vec<String> = load.held.lock().values().cloned().collect();
        if !load.busy.load(Ordering::Relaxed) || held.is_empty() {
            continue;
        }
        let id = &held[dice.below(held.len() as u64) as usize];
        // Asked once: a refusal has to have no effect.
        let was_asked = load.truth.known.lock().get(id).is_some_and(|known| known.killed.is_some());
        if was_asked {
            continue;
        }
        load.truth.note(id, |known| known.killed = Some(Answer::Unknown));
        let answer = load.change(load.other(&mut dice), Method::POST, &format!("/sessions/{id}/kill"), json!({})).await;
        load.truth.note(id, |known| known.killed = Some(answer));
    }
}

/// Sends heartbeats for one session without a socket to any server, for as long as the test runs.
pub async fn beat(load: Arc<Load>, mut dice: Dice) {
    let mut id = None;
    while !load.over.load(Ordering::Relaxed) {
        let server = load.other(&mut dice);
        let Some(beating) = id.clone() else {
            let (fresh, answer) = load.register(server).await;
            id = (answer == Answer::Acknowledged).then_some(fresh);
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let at = now();
        match load.ask(server, Method::POST, &format!("/sessions/{beating}/heartbeat"), Some(json!({}))).await {
            Some((200, _)) => load.truth.lived(&beating, at),
            // The history went back to before it.
            Some((404, _)) if load.truth.known.lock()[&beating].registered != Some(Answer::Acknowledged) => id = None,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(500 + dice.below(500))).await;
    }
}

async fn open(host: &str, path: &str, protocol: &str) -> Option<Stream> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{host}{path}").into_client_request().ok()?;
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().ok()?);
    let opened = tokio::time::timeout(CONNECT_WITHIN, tokio_tungstenite::connect_async(request)).await;
    Some(opened.ok()?.ok()?.0)
}

/// A client with a socket. When its server goes it comes back on another one, with the same id; when
/// it is killed, another one takes its place.
pub async fn hold(load: Arc<Load>, place: usize, mut dice: Dice) {
    while !load.over.load(Ordering::Relaxed) {
        let id = load.fresh("s");
        load.truth.note(&id, |known| known.has_socket = true);
        let mut token = None;
        while !load.over.load(Ordering::Relaxed) {
            let server = load.other(&mut dice);
            if hold_at(&load, server, &id, place, &mut token).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50 + dice.below(200))).await;
        }
        load.held.lock().remove(&place);
    }
}

/// Holds a session on one socket until that breaks; returns whether the session is over.
async fn hold_at(load: &Load, server: usize, id: &str, place: usize, token: &mut Option<Value>) -> bool {
    let Some(mut socket) = open(&load.hosts[server], "/ws/client", "sessionwatch.v1").await else { return false };
    let mut register = json!({ "type": "register", "app_name": "sockets", "session_id": id });
    if let Some(token) = token {
        register["session_token"] = token.clone();
    }
    let at = now();
    if socket.send(Message::text(register.to_string())).await.is_err() {
        return false;
    }
    let mut told = false;
    loop {
        // Pings come every few seconds: a socket that is silent for longer has no server any more.
        let Ok(message) = tokio::time::timeout(Duration::from_secs(10), socket.next()).await else { return false };
        match message {
            Some(Ok(Message::Ping(_))) => load.truth.lived(id, now()),
            Some(Ok(Message::Text(text))) => {
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                match frame["type"].as_str() {
                    Some("registered") => {
                        *token = Some(frame["session_token"].clone()).filter(Value::is_string).or(token.take());
                        load.truth.note(id, |known| {
                            known.registered = Some(Answer::Acknowledged);
                            known.lives.push(at);
                        });
                        load.held.lock().insert(place, id.to_owned());
                    }
                    Some("kill") => {
                        told = true;
                        let ack = json!({ "type": "kill_ack", "session_id": id, "kill_id": frame["kill_id"] });
                        let _ = socket.send(Message::text(ack.to_string())).await;
                    }
                    Some("error") if frame["status"] == 410 => {
                        load.truth.note(id, |known| known.saw_kill = true);
                        return true;
                    }
                    // Somebody else's, after a history that went back.
                    Some("error") if [401, 403].contains(&frame["status"].as_u64().unwrap_or(0)) => return true,
                    Some("error") => return false,
                    _ => {}
                }
            }
            Some(Ok(Message::Close(Some(close)))) => match u16::from(close.code) {
                1001 => {
                    assert!(told, "{id} was closed as killed, and not told");
                    load.truth.note(id, |known| known.saw_kill = true);
                    return true;
                }
                1012 | 4408 => return false,
                other => panic!("{id} was closed with {other}: {}", close.reason),
            },
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
    }
}

/// The forms in which the dashboards get their frames; one dashboard each.
pub const FORMS: [&str; 3] = ["sessionwatch.v1", "sessionwatch.v1.patch", "sessionwatch.v1"];

/// A dashboard that resumes at another server whenever it is cut.
pub async fn watch(load: Arc<Load>, place: usize, mut dice: Dice) {
    let mut server = place % load.hosts.len();
    while !load.over.load(Ordering::Relaxed) {
        let path = {
            let screen = load.screens[place].lock();
            match screen.epoch.is_empty() {
                true => "/ws".to_owned(),
                false => format!("/ws?epoch={}&seq={}", screen.epoch, screen.seq),
            }
        };
        if let Some(mut socket) = open(&load.hosts[server], &path, FORMS[place]).await {
            show(&load, place, &mut socket).await;
        }
        server = load.other(&mut dice);
        tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
    }
}

async fn show(load: &Load, place: usize, socket: &mut Stream) {
    loop {
        // Beats come every second while there are any.
        let Ok(message) = tokio::time::timeout(Duration::from_secs(8), socket.next()).await else { return };
        let frame: Value = match message {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).expect("JSON"),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            Some(Ok(_)) => continue,
        };
        if frame["type"] == "hint" {
            continue;
        }
        let mut screen = load.screens[place].lock();
        screen.take(&frame);
        if frame["type"] == "changes" || frame["type"] == "snapshot" {
            let mut shown = load.truth.shown.lock();
            let shown = shown.entry(screen.epoch.clone()).or_default();
            shown.seq = shown.seq.max(screen.seq);
            let sessions = frame["upserted"].as_array().or(frame["sessions"].as_array());
            let ids = sessions.into_iter().flatten().filter_map(|session| session["session_id"].as_str());
            shown.ids.extend(ids.map(str::to_owned));
        }
    }
}
