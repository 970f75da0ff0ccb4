//! Simulated days: no session is stale early and none is removed late, with jumps of the wall
//! clock, over restarts, and after the server itself was stopped.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sessionwatch::backend::memory::Memory;
use sessionwatch::change::Authority;
use sessionwatch::clock::{Clock, Mono};
use sessionwatch::monitor::Monitor;
use sessionwatch::session::SessionId;

use super::{Dice, count, inside};
use crate::support::{Server, until};

/// The step of the simulated clock.
const STEP: Duration = Duration::from_secs(5);
/// A deadline is found at most one slot late. A session that is beyond both limits becomes
/// stale first, and is checked again a second later.
const SLACK: Duration = Duration::from_secs(3);

/// A client with a heartbeat every 30 s, which is silent for a while sometimes.
struct Client {
    id: SessionId,
    last: Mono,
    next: Mono,
}

impl Client {
    async fn beat(&mut self, monitor: &Monitor, clock: &Clock, dice: &mut Dice) {
        let now = clock.now().mono;
        if monitor.heartbeat(self.id.as_str(), None, Authority::Server).await.is_err() {
            monitor.register(inside::registration(&self.id)).await.expect("an expired id may come back");
        }
        self.last = now;
        let pause = match dice.below(100) {
            0 => 610 + dice.below(600),
            1 | 2 => 125 + dice.below(470),
            3 | 4 => 30 + dice.below(85),
            _ => 30,
        };
        self.next = now.plus(Duration::from_secs(pause));
    }

    fn check(&self, monitor: &Monitor, clock: &Clock) {
        let timing = monitor.timing();
        let silence = clock.now().mono.since(self.last);
        let (id, session) = (&self.id, monitor.session(self.id.as_str()));
        match session {
            Ok(session) => {
                assert!(silence < timing.expire_after + STEP + SLACK, "{id} is removed late: {silence:?}");
                assert!(!session.stale || silence >= timing.stale_after, "{id} is stale early: {silence:?}");
                assert!(
                    session.stale || silence < timing.stale_after + STEP + SLACK,
                    "{id} is stale late: {silence:?}"
                );
            }
            Err(_) => assert!(silence >= timing.expire_after, "{id} is removed early: {silence:?}"),
        }
    }
}

#[tokio::test]
async fn no_session_is_stale_early_or_removed_late_in_a_day_of_clock_jumps() {
    let (sessions, hours) = (count("SESSIONS", 200), count("HOURS", 24));
    let mut dice = Dice::new();
    let (store, clock) = (Arc::new(Memory::new()), Clock::manual());
    let mut monitor = inside::start(store.clone(), &clock).await;
    let mut clients = Vec::new();
    for index in 0..sessions {
        let mut client = Client { id: inside::id(&format!("s{index}")), last: Mono(0), next: Mono(0) };
        client.beat(&monitor, &clock, &mut dice).await;
        clients.push(client);
    }
    let steps = hours as u64 * 3_600 / STEP.as_secs();
    for step in 0..steps {
        clock.advance(STEP);
        // About once an hour the wall clock jumps by up to a day.
        if dice.below(720) == 0 {
            clock.jump_wall(dice.below(2 * 86_400_000) as i64 - 86_400_000);
        }
        monitor.sweep().await;
        for client in &mut clients {
            client.check(&monitor, &clock);
            if clock.now().mono >= client.next {
                client.beat(&monitor, &clock, &mut dice).await;
            }
        }
        if step % (steps / 5) == steps / 5 - 1 {
            monitor.shutdown().await;
            monitor = inside::start(store.clone(), &clock).await;
            // The time of the restart does not count: the remaining sessions get the full time again.
            let now = clock.now().mono;
            for client in clients.iter_mut().filter(|client| monitor.session(client.id.as_str()).is_ok()) {
                client.last = now;
            }
        }
    }
    let stale = monitor.events(sessionwatch::log::Query { limit: usize::MAX, ..Default::default() }).await.unwrap();
    let lines = |kind: &str| stale.iter().filter(|line| line.kind == kind).count();
    assert!(lines("stale") > sessions && lines("recovered") > sessions && lines("removed") > sessions / 2);
    println!(
        "{sessions} sessions over {hours} hours: {} went stale, {} recovered, {} expired, none early, none late",
        lines("stale"),
        lines("recovered"),
        lines("removed")
    );
    monitor.shutdown().await;
}

#[tokio::test]
async fn after_a_stop_of_the_server_no_session_is_stale_because_of_it() {
    let short = ["--heartbeat-interval", "500ms", "--stale-after", "2s", "--expire-after", "3s"];
    let server = Server::start(&short).await;
    for index in 0..20 {
        server.post("/sessions", json!({ "app_name": "torture", "session_id": format!("s{index}") })).await;
    }
    server.signal(libc::SIGSTOP);
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.signal(libc::SIGCONT);
    let woken = std::time::Instant::now();
    // One client goes on with its heartbeats; the others have ended meanwhile.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let (beat, _) = server.ask(Method::POST, "/sessions/s0/heartbeat", None).await;
        assert!(beat.is_success(), "{beat}");
    }
    if woken.elapsed() < Duration::from_millis(1_800) {
        assert_eq!(server.get("/events?kind=stale,removed").await["events"], json!([]));
        assert_eq!(server.get("/sessions").await["total"], 20);
    }
    until("those that are silent are gone", async || {
        server.ask(Method::POST, "/sessions/s0/heartbeat", None).await;
        server.get("/sessions").await["total"] == 1
    })
    .await;
    assert!(woken.elapsed() >= Duration::from_millis(2_900), "they had their full time");
}
