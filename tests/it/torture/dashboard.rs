//! A dashboard that is cut and resumes, or that cannot keep up, finally has the same state as
//! `GET /sessions`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{Dice, count, is_long};
use crate::support::{PATIENCE, Server, Socket};

/// A minimal dashboard: it applies frames as the contract says.
#[derive(Clone, Default)]
pub struct Screen {
    pub epoch: String,
    pub seq: u64,
    pub sessions: BTreeMap<String, Value>,
    /// The number of frames of each kind.
    pub snapshots: usize,
    pub changes: usize,
    pub patches: usize,
}

impl Screen {
    /// Applies a frame; panics on a gap between frames.
    pub fn take(&mut self, frame: &Value) {
        match frame["type"].as_str() {
            Some("hello") => frame["epoch"].as_str().expect("an epoch").clone_into(&mut self.epoch),
            Some("snapshot") => {
                if frame["part"] == 1 {
                    self.sessions.clear();
                    self.snapshots += 1;
                }
                self.seq = frame["seq"].as_u64().expect("a seq");
                self.put(&frame["sessions"]);
            }
            Some("changes") => {
                assert_eq!(frame["from"], self.seq, "a gap");
                self.seq = frame["seq"].as_u64().expect("a seq");
                self.changes += 1;
                self.put(&frame["upserted"]);
                self.patch(&frame["patched"]);
                for removed in frame["removed"].as_array().expect("removed") {
                    self.sessions.remove(removed["session_id"].as_str().expect("an id"));
                }
            }
            Some("beats") => {
                for (id, at) in frame["beats"].as_object().expect("beats") {
                    if let Some(session) = self.sessions.get_mut(id) {
                        session["last_heartbeat"] = at.clone();
                    }
                }
            }
            other => panic!("an unknown frame: {other:?}"),
        }
    }

    fn put(&mut self, sessions: &Value) {
        for session in sessions.as_array().expect("sessions") {
            let mut session = session.clone();
            // It grows between frames; clients compute it from `start_time`.
            session.as_object_mut().expect("a session").remove("duration_seconds");
            self.sessions.insert(session["session_id"].as_str().expect("an id").to_owned(), session);
        }
    }

    fn patch(&mut self, patches: &Value) {
        for patch in patches.as_array().into_iter().flatten() {
            let patch = patch.as_object().expect("a patch");
            let session = self.sessions.get_mut(patch["session_id"].as_str().expect("an id"));
            let session = session.expect("a patch is for a session that was sent");
            session.as_object_mut().expect("a session").extend(patch.clone());
            self.patches += 1;
        }
    }

    /// The screen with the state of an answer of `GET /sessions`.
    pub fn of(listed: &Value) -> Self {
        let mut screen = Self { seq: listed["seq"].as_u64().expect("a seq"), ..Self::default() };
        listed["epoch"].as_str().expect("an epoch").clone_into(&mut screen.epoch);
        screen.put(&listed["sessions"]);
        screen
    }

    /// Whether both have the same state at the same position.
    pub fn shows(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.seq == other.seq && self.sessions == other.sessions
    }
}

/// The number of places; at each one session follows another.
const PLACES: usize = 80;

/// The state that all writers share.
struct Load {
    over: AtomicBool,
    changes: AtomicU64,
    /// The number of killed sessions at each place, since their ids cannot be used again.
    killed: [AtomicU64; PLACES],
}

/// Registers, works, sends heartbeats, is killed and leaves, at random.
async fn change(client: reqwest::Client, url: String, mut dice: Dice, load: Arc<Load>) {
    while !load.over.load(Ordering::Relaxed) {
        // Ids are used again, so that one is in `removed` and `upserted` of frames in a short time.
        let place = dice.below(PLACES as u64) as usize;
        let killed = load.killed[place].load(Ordering::Relaxed);
        let id = format!("s{place}-{killed}");
        let (method, path, body) = match dice.below(12) {
            0..=2 => (Method::PUT, String::new(), json!({ "app_name": "torture" })),
            3..=6 => {
                let body = json!({ "status": "running", "current_task": dice.below(1_000).to_string() });
                (Method::PUT, "/status".to_owned(), body)
            }
            7..=9 => (Method::POST, "/heartbeat".to_owned(), json!({})),
            10 if dice.below(8) == 0 => (Method::POST, "/kill".to_owned(), json!({})),
            _ => (Method::DELETE, String::new(), json!({})),
        };
        let asked = client.request(method, format!("{url}/sessions/{id}{path}")).json(&body).send().await;
        let status = asked.expect("an answer").status().as_u16();
        assert!([200, 201, 404, 410].contains(&status), "{status} for {path} of {id}");
        load.changes.fetch_add(u64::from(status < 300), Ordering::Relaxed);
        if status == 410 {
            // Counted once, even if several writers see it.
            let (from, to) = (killed, killed + 1);
            let _ = load.killed[place].compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// The forms in which a dashboard can get its frames.
pub const FORMS: [&str; 4] =
    ["sessionwatch.v1", "sessionwatch.v1.z", "sessionwatch.v1.patch", "sessionwatch.v1.patch.z"];

async fn connect(server: &Server, screen: &Screen, form: &str) -> Socket {
    let path = if screen.epoch.is_empty() {
        "/ws".to_owned()
    } else {
        format!("/ws?epoch={}&seq={}", screen.epoch, screen.seq)
    };
    server.socket(&path, &[("sec-websocket-protocol", form)]).await
}

/// A dashboard that is cut and resumes, again and again.
async fn cut_again_and_again(server: &Server, form: &str, cuts: usize, mut dice: Dice) -> Screen {
    let mut screen = Screen::default();
    for _ in 0..cuts {
        let mut socket = connect(server, &screen, form).await;
        // Cut after some frames, sometimes before the first, sometimes in the middle of a frame.
        let cut = tokio::time::sleep(Duration::from_millis(dice.below(60)));
        tokio::pin!(cut);
        loop {
            tokio::select! {
                frame = socket.event() => screen.take(&frame.expect("the server keeps the socket open")),
                () = &mut cut => break,
            }
        }
        drop(socket);
        // Away for a while, sometimes not at all.
        tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
    }
    screen
}

/// Waits until the screen shows what `GET /sessions` says.
async fn converge(server: &Server, form: &str, screen: &mut Screen) {
    let mut socket = connect(server, screen, form).await;
    let listed = Screen::of(&server.get("/sessions").await);
    let converged = async {
        while !screen.shows(&listed) {
            screen.take(&socket.event().await.expect("the server keeps the socket open"));
        }
    };
    // Heartbeats are sent once a second, and the promise is two seconds. The short run may be
    // on a busy machine, so it asserts only that they arrive.
    let within = if is_long("CUTS") { Duration::from_secs(2) } else { PATIENCE };
    if tokio::time::timeout(within, converged).await.is_err() {
        assert_eq!((&screen.epoch, screen.seq), (&listed.epoch, listed.seq), "{form}");
        assert_eq!(screen.sessions, listed.sessions, "{form}");
        panic!("it converged too late");
    }
}

#[tokio::test]
async fn a_dashboard_that_is_cut_and_resumes_converges_to_get_sessions() {
    let cuts = count("CUTS", 200);
    let mut dice = Dice::new();
    let server = Server::start(&[]).await;
    let load = Arc::new(Load {
        over: AtomicBool::new(false),
        changes: AtomicU64::new(0),
        killed: std::array::from_fn(|_| AtomicU64::new(0)),
    });
    let writers: Vec<_> = (0..8)
        .map(|_| tokio::spawn(change(server.client.clone(), server.url.clone(), dice.fork(), load.clone())))
        .collect();
    let screens = FORMS.map(|form| cut_again_and_again(&server, form, cuts / FORMS.len(), dice.fork()));
    let mut screens = futures_util::future::join_all(screens).await;
    load.over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("every answer is one of the contract's");
    }
    let begun = Instant::now();
    for (form, screen) in FORMS.iter().zip(&mut screens) {
        converge(&server, form, screen).await;
    }
    let took = begun.elapsed();
    let changes = load.changes.load(Ordering::Relaxed);
    let sum = |count: fn(&Screen) -> usize| screens.iter().map(count).sum::<usize>();
    let (frames, snapshots) = (sum(|screen| screen.changes), sum(|screen| screen.snapshots));
    assert!(frames > cuts / 4 && changes > cuts as u64, "{frames} frames, {changes} changes");
    assert!(snapshots < cuts / 4, "most cuts are resumed: {snapshots} snapshots");
    let [full, z, patch, patch_z] = [0, 1, 2, 3].map(|form: usize| screens[form].patches);
    assert_eq!((full, z), (0, 0), "patches only where they are offered");
    assert!(patch > cuts / 8 && patch_z > cuts / 8, "{patch} and {patch_z} patches");
    println!(
        "{cuts} cuts under {changes} changes: {snapshots} snapshots, the rest resumed; {} patches; all four forms converged in {took:?}",
        patch + patch_z
    );
}
