//! Races: kills of the same session, dashboards that lag or read nothing, connections that
//! are opened and closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::DeflateDecoder;
use reqwest::Method;
use serde_json::{Value, json};
use sessionwatch::backend::memory::Memory;
use sessionwatch::change::Actor;
use sessionwatch::clock::Clock;
use sessionwatch::feed::{Form, Frame};
use sessionwatch::log::Query;
use sessionwatch::monitor::{Frames, Monitor, Subscription};
use sessionwatch::scope::Scope;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::TryRecvError;

use super::dashboard::{FORMS, Screen};
use super::model::Ask;
use super::{Dice, count, inside};
use crate::support::{PATIENCE, Server, until};

/// Several callers kill each session at once, while it reports and leaves: one kill counts,
/// all callers get its id, and the log has each step once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_kills_one_counts_and_is_in_the_log_once() {
    const AT_ONCE: usize = 4;
    let races = count("RACES", 2_000);
    let monitor = inside::start(Arc::new(Memory::new()), &Clock::system()).await;
    let mut kill_ids = HashMap::new();
    for race in 0..races {
        let id = inside::id(&format!("s{race}"));
        assert_eq!(inside::ask(&monitor, &id, Ask::Register).await, 201);
        let kills: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (monitor, id) = (monitor.clone(), id.clone());
                tokio::spawn(async move { monitor.kill(id, None, None, Actor::default()).await.map(|(kill, _)| kill) })
            })
            .collect();
        inside::ask(&monitor, &id, Ask::Status(race as u64)).await;
        for kill in kills {
            let kill = kill.await.expect("it is asked").expect("the session lives");
            let known = kill_ids.entry(id.clone()).or_insert_with(|| kill.kill_id.clone());
            assert_eq!(*known, kill.kill_id, "all learn of the same kill");
        }
        assert_eq!(inside::ask(&monitor, &id, Ask::Delete).await, 200);
        assert_eq!(inside::ask(&monitor, &id, Ask::Register).await, 410);
    }
    for kind in ["kill_requested", "removed"] {
        let query = Query { kinds: vec![kind.to_owned()], limit: usize::MAX, ..Query::default() };
        let lines = monitor.events(query).await.expect("the log");
        assert_eq!(lines.len(), races, "{kind}");
    }
    println!("{races} races of {AT_ONCE} kills: one line for each kill and each removal");
    monitor.shutdown().await;
}

/// A dashboard in process, in one form of the frames.
struct Watching {
    form: Form,
    dashboard: Subscription,
    screen: Screen,
    frames: Option<Frames>,
    lagged: usize,
}

impl Watching {
    fn take(&mut self, frame: &Frame) {
        self.screen.take(&read(frame, self.form));
    }

    /// Joins, and takes everything before the frames that follow.
    async fn enter(&mut self, monitor: &Monitor, resume: bool) -> Frames {
        let position = resume.then(|| (monitor.snapshot().epoch, self.screen.seq));
        let resumed = position.and_then(|(epoch, seq)| self.dashboard.resume(&epoch, seq));
        let mut joined = match resumed {
            Some(joined) => joined,
            None => self.dashboard.join().await,
        };
        while let Some(frame) = joined.next().await {
            self.take(&frame);
        }
        joined.frames().expect("all changes since are known")
    }

    /// Takes the frames that have come; sometimes it has left before, and resumes.
    async fn look(&mut self, monitor: &Monitor, dice: &mut Dice) {
        let mut frames = match self.frames.take() {
            Some(frames) if dice.below(3) > 0 => frames,
            before => {
                drop(before);
                self.enter(monitor, dice.below(4) > 0).await
            }
        };
        loop {
            match frames.try_recv() {
                Ok(frame) => self.take(&frame),
                Err(TryRecvError::Empty) => break,
                Err(_) => {
                    self.lagged += 1;
                    frames = self.enter(monitor, false).await;
                }
            }
        }
        self.frames = Some(frames);
    }
}

/// A frame as a dashboard reads it out of the bytes of its form.
fn read(frame: &Frame, form: Form) -> Value {
    let bytes = frame.bytes(form);
    let head = match bytes[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    match form.is_compressed {
        true => serde_json::from_reader(DeflateDecoder::new(&bytes[head..])).expect("JSON"),
        false => serde_json::from_slice(&bytes[head..]).expect("JSON"),
    }
}

/// Dashboards in process, one of each form, that skip frames until they lag, or leave and resume at
/// their position.
#[tokio::test]
async fn a_dashboard_that_lags_or_leaves_converges_to_the_live_view() {
    let lags = count("LAGS", 100);
    let mut dice = Dice::new();
    let monitor = inside::start(Arc::new(Memory::new()), &Clock::system()).await;
    let mut watching =
        [(false, false), (false, true), (true, false), (true, true)].map(|(is_patched, is_compressed)| {
            let form = Form { is_patched, is_compressed };
            let dashboard = monitor.subscribe(Scope::all(), form);
            Watching { form, dashboard, screen: Screen::default(), frames: None, lagged: 0 }
        });
    let told = monitor.subscribe(Scope::all(), Form::default());
    let is_told = || {
        let live = monitor.snapshot();
        told.resume(&live.epoch, live.view.seq).is_some()
    };
    for _ in 0..lags {
        // Sometimes they are away for longer than the feed waits.
        let long = dice.below(8) == 0;
        for _ in 0..if long { 300 } else { dice.below(50) } {
            let id = inside::id(&format!("s{}", dice.below(300)));
            let ask = match dice.below(8) {
                0 | 1 => Ask::Register,
                2 => Ask::Delete,
                other => Ask::Status(other),
            };
            inside::ask(&monitor, &id, ask).await;
            while long && !is_told() {
                tokio::task::yield_now().await;
            }
        }
        for one in &mut watching {
            one.look(&monitor, &mut dice).await;
        }
    }
    // Frames that were published while the last ones were read.
    until("the feed has told everything", async || is_told()).await;
    let view = monitor.snapshot().view;
    let mut live: Vec<String> = view.sessions().map(|session| session.id.to_string()).collect();
    live.sort();
    for one in &mut watching {
        drop(one.enter(&monitor, true).await);
        let (form, screen) = (one.form, &one.screen);
        let shown: Vec<&String> = screen.sessions.keys().collect();
        assert_eq!((screen.seq, shown), (view.seq, live.iter().collect()), "{form:?}");
        for session in view.sessions() {
            let shown = &screen.sessions[session.id.as_str()];
            let truth = (session.task.as_deref(), Some(session.shown_status()));
            assert_eq!((shown["current_task"].as_str(), shown["status"].as_str()), truth, "{form:?}");
        }
        assert_eq!(screen.patches > lags, form.is_patched, "{form:?}: {} patches", screen.patches);
        assert!(one.lagged > lags / 50, "{form:?} lagged {} times", one.lagged);
    }
    let lagged = watching.each_ref().map(|one| one.lagged);
    println!("{lags} rounds with {lagged:?} lags under {} events: the four screens are the live view", view.seq);
    monitor.shutdown().await;
}

/// One dashboard of each form never reads; others of each form get everything, and the server goes on
/// committing changes.
#[tokio::test]
async fn a_dashboard_that_reads_nothing_does_not_affect_others() {
    let server = Server::start(&[]).await;
    let meta: serde_json::Map<_, _> = (0..30).map(|key| (format!("k{key}"), json!("x".repeat(100)))).collect();
    server.post("/sessions", json!({ "app_name": "torture", "session_id": "s", "meta": meta })).await;
    let (mut stalled, mut dashboards) = (Vec::new(), Vec::new());
    for form in FORMS {
        let mut silent = TcpStream::connect(("127.0.0.1", server.port)).await.expect("a connection");
        let handshake = format!(
            "GET /ws HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: {form}\r\n\r\n",
            server.port
        );
        silent.write_all(handshake.as_bytes()).await.expect("the handshake goes out");
        stalled.push(silent);
        let mut dashboard = server.socket("/ws", &[("sec-websocket-protocol", form)]).await;
        dashboard.next_of("snapshot").await;
        dashboards.push(dashboard);
    }
    let changes = 400;
    let mut delays = Vec::new();
    for change in 0..changes {
        let asked = Instant::now();
        let task = json!(change.to_string());
        let report = json!({ "status": "running", "current_task": task });
        let (status, _) = server.ask(Method::PUT, "/sessions/s/status", Some(report)).await;
        assert!(status.is_success(), "{status}");
        for dashboard in &mut dashboards {
            let mut is_there = false;
            while !is_there {
                let changes = dashboard.next_of("changes").await;
                is_there = ["upserted", "patched"].iter().any(|list| changes[*list][0]["current_task"] == task);
            }
        }
        delays.push(asked.elapsed());
    }
    delays.sort();
    println!("beside a stalled dashboard: p50 {:?}, p99 {:?}", delays[changes / 2], delays[changes * 99 / 100]);
    assert!(delays[changes / 2] < PATIENCE / 10);
    drop(stalled);
}

fn descriptors(server: &Server) -> usize {
    let folder = format!("/proc/{}/fd", server.child.id().expect("it runs"));
    std::fs::read_dir(folder).expect("its descriptors").count()
}

fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id().expect("it runs")));
    let status = status.expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test]
async fn closed_connections_leave_no_resources_behind() {
    let connects = count("CONNECTS", 600);
    let server = Server::start(&[]).await;
    let round = async |from: usize, to: usize| {
        for index in from..to {
            match index % 3 {
                // A session on a socket that ends properly.
                0 => {
                    let mut socket = server.socket("/ws/client", &[]).await;
                    socket.send(json!({ "type": "register", "app_name": "torture" })).await;
                    socket.next_of("registered").await;
                    socket.send(json!({ "type": "bye" })).await;
                    socket.0.close(None).await.expect("the close frame goes out");
                }
                // A dashboard that disconnects without a close.
                1 => drop(server.socket("/ws", &[]).await),
                // A connection that sends nothing.
                _ => drop(TcpStream::connect(("127.0.0.1", server.port)).await),
            }
        }
    };
    let warm = connects / 3;
    round(0, warm).await;
    let settled = async || {
        until("everything is closed", async || {
            let metrics =
                server.client.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
            let zero = |name: &str| metrics.lines().any(|line| line == format!("sessionwatch_{name} 0"));
            zero("dashboards") && zero("client_sockets")
        })
        .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        (descriptors(&server), resident(&server))
    };
    let (open, memory) = settled().await;
    round(warm, connects).await;
    let (still_open, memory_after) = settled().await;
    assert!(still_open <= open + 2, "{open} descriptors before, {still_open} after");
    // The log's pages and the allocator's slack grow a little; connections must not add to it.
    let grown = memory_after.saturating_sub(memory);
    assert!(grown < 4_096 + connects as u64 / 8, "{memory} KiB before, {memory_after} KiB after");
    assert_eq!(server.get("/sessions").await["total"], 0);
    println!("{connects} connects: {open} descriptors and {still_open}, {memory} KiB and {memory_after} KiB");
}
