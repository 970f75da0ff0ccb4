//! Dashboards that stop reading: they cost little memory, and do not delay others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sessionwatch::backend::memory::Memory;
use sessionwatch::clock::Clock;
use sessionwatch::feed::Form;
use sessionwatch::scope::Scope;

use super::requests::resident_kib;
use super::wire::Raw;
use crate::support::{Server, until};
use crate::torture::dashboard::FORMS;
use crate::torture::inside;

async fn metric(server: &Server, name: &str) -> u64 {
    let text = server.client.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
    let start = format!("sessionwatch_{name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// A text that hardly gets smaller when it is compressed, so that a connection is full soon in every form.
fn incompressible() -> String {
    let random = (0..32).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect::<Vec<u8>>();
    let character = |pair: &[u8]| 0x4E00 + (u32::from(pair[0]) << 8 | u32::from(pair[1])) % 20_000;
    random.chunks(2).filter_map(|pair| char::from_u32(character(pair))).collect()
}

/// Dashboards of all forms.
#[tokio::test]
async fn a_stalled_dashboard_is_closed_in_ten_seconds_costs_little_and_delays_nobody() {
    const STALLED: u64 = 48;
    let server = Server::start(&["--report-rate", "0"]).await;
    let meta = json!({ "note": "x".repeat(3_900) });
    let ids: Vec<String> = (0..64).map(|n| format!("s{n}")).collect();
    for id in &ids {
        server.post("/sessions", json!({ "app_name": "a", "session_id": id, "meta": meta })).await;
    }
    let mut watching = server.socket("/ws", &[]).await;
    let follow = tokio::spawn(async move {
        // The longest time without a frame, while sessions change all the time.
        let mut longest = Duration::ZERO;
        let mut seq = 0;
        loop {
            let begun = Instant::now();
            let Ok(frame) = watching.event().await else { return (longest, false) };
            longest = longest.max(begun.elapsed());
            match frame["type"].as_str() {
                Some("changes") => {
                    assert_eq!(frame["from"], seq, "no gap");
                    seq = frame["seq"].as_u64().unwrap();
                    if frame["removed"].as_array().is_some_and(|removed| !removed.is_empty()) {
                        return (longest, true);
                    }
                }
                Some("snapshot") => seq = frame["seq"].as_u64().unwrap(),
                _ => {}
            }
        }
    });
    let mut round = 0_u32;
    let mut change_all = async || {
        round += 1;
        let word = if round.is_multiple_of(2) { "idle" } else { "running" };
        let ask = async |id: &String| {
            let report = json!({ "status": word, "current_task": incompressible() });
            server.ask(Method::PUT, &format!("/sessions/{id}/status"), Some(report)).await
        };
        join_all(ids.iter().map(ask)).await;
    };
    // Fills the ring, which takes 32 MiB with any number of dashboards.
    for _ in 0..140 {
        change_all().await;
    }
    let dashboards = async || metric(&server, "dashboards").await;
    assert_eq!(dashboards().await, 1);
    let before = resident_kib(&server);
    let mut stalled = Vec::new();
    for form in FORMS.into_iter().cycle().take(STALLED as usize) {
        let mut raw = Raw::connect_narrow(&server).await;
        let (status, head) = raw.upgrade_in(form, &server, "/ws", "").await;
        assert_eq!(status, 101);
        assert!(head.contains(&format!(": {form}\r\n")), "{head}");
        stalled.push(raw);
    }
    let begun = Instant::now();
    let mut most = 0;
    loop {
        change_all().await;
        most = most.max(resident_kib(&server));
        if dashboards().await == 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(45), "they are still there");
    }
    let took = begun.elapsed();
    // Ten seconds after their buffers are full, which takes some time.
    assert!(took < Duration::from_secs(20), "they have stayed for {took:?}");
    let each = most.saturating_sub(before) / STALLED;
    assert!(each < 1_024, "each has cost {each} KiB");
    server.ask(Method::DELETE, "/sessions/s0", None).await;
    let (longest, to_the_end) = follow.await.expect("it follows");
    assert!(to_the_end, "the one that reads was sent away");
    assert!(longest < Duration::from_secs(3), "it waited {longest:?} while others stalled for {took:?}");
    drop(stalled);
}

/// Also in the middle of a snapshot: after a second the server frees its part of it. When the
/// dashboard reads on in time, it gets a new snapshot, and is up to date in the end.
#[tokio::test]
async fn the_snapshot_of_a_dashboard_that_stops_reading_is_freed() {
    const SESSIONS: usize = 1_200;
    let server = Server::start(&[]).await;
    let meta = json!({ "note": "x".repeat(3_900) });
    let put =
        |n: usize| server.post("/sessions", json!({ "app_name": "a", "session_id": n.to_string(), "meta": meta }));
    for some in (0..SESSIONS).collect::<Vec<_>>().chunks(64) {
        join_all(some.iter().map(|n| put(*n))).await;
    }
    // Both at once: a snapshot is shared by those who come within half a second. On a busy
    // machine they may come further apart, and come anew.
    let (mut returning, gone) = loop {
        let before = metric(&server, "snapshots_total").await;
        let mut returning = Raw::connect_narrow(&server).await;
        let mut gone = Raw::connect_narrow(&server).await;
        let (one, other) = tokio::join!(returning.upgrade(&server, "/ws", ""), gone.upgrade(&server, "/ws", ""));
        assert_eq!((one.0, other.0), (101, 101));
        until("both are there", async || metric(&server, "dashboards").await == 2).await;
        if metric(&server, "snapshots_total").await == before + 1 {
            break (returning, gone);
        }
        drop((returning, gone));
        until("both are gone", async || metric(&server, "dashboards").await == 0).await;
    };
    until("the snapshot is freed", async || metric(&server, "snapshots_held").await == 0).await;
    put(SESSIONS).await;

    let (mut seen, mut seq, mut snapshots) = (HashSet::new(), 0, 0);
    while seen.len() < SESSIONS + 1 {
        let text = returning.text().await.expect("it is told everything");
        let frame: Value = serde_json::from_str(&text).expect("JSON");
        if frame["type"] == "snapshot" {
            if frame["part"] == 1 {
                seen.clear();
                snapshots += 1;
                seq = frame["seq"].as_u64().unwrap();
            }
            assert_eq!(frame["seq"], seq, "one snapshot is of one position");
            let ids = frame["sessions"].as_array().unwrap().iter().map(|one| one["session_id"].to_string());
            seen.extend(ids);
        }
    }
    assert_eq!((snapshots, seq), (2, 1 + SESSIONS as u64));
    until("the other one is gone", async || metric(&server, "dashboards").await == 1).await;
    drop(gone);
}

/// With any number of slow dashboards, only a few snapshots are in memory.
#[tokio::test]
async fn few_large_snapshots_are_in_memory_with_any_number_of_slow_dashboards() {
    let monitor = inside::start(Arc::new(Memory::new()), &Clock::system()).await;
    let meta = format!(r#"{{"note":"{}"}}"#, "x".repeat(3_900));
    let register = async |n: usize| {
        let mut registration = inside::registration(&inside::id(&format!("s{n}")));
        registration.meta = Some(meta.as_str().into());
        monitor.register(registration).await.expect("it registers");
    };
    for n in 0..300 {
        register(n).await;
    }
    let snapshots_held = || monitor.gauges(&Scope::all()).snapshots_held;
    let mut slow = Vec::new();
    for n in 300..306 {
        register(n).await;
        // Each must contain the session that was just registered, so none can use the last one.
        let joined = monitor.subscribe(Scope::all(), Form::default()).join().await;
        slow.push((joined.seq, joined));
        assert!(snapshots_held() <= 3);
    }
    let positions: HashSet<u64> = slow.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(positions.len(), 3, "three are there, the others share the last of them: {positions:?}");
    for (index, (_, mut joined)) in slow.into_iter().enumerate() {
        let mut seen = HashSet::new();
        while let Some(frame) = joined.next().await {
            let frame: Value = serde_json::from_str(frame.text()).expect("JSON");
            let told = frame["sessions"].as_array().or(frame["upserted"].as_array());
            seen.extend(told.into_iter().flatten().map(|one| one["session_id"].to_string()));
        }
        assert!(seen.len() > 300 + index, "what was registered before it came is told: {} of {index}", seen.len());
    }
    assert_eq!(snapshots_held(), 0, "who is up to date holds none");
    monitor.shutdown().await;
}
