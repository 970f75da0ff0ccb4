//! Changes that meet each other at several servers.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::cluster::servers_with;
use crate::support::{Server, until};

async fn register(server: &Server, app: &str, id: &str) -> u16 {
    let body = json!({ "app_name": app, "session_id": id });
    server.ask(Method::POST, "/sessions", Some(body)).await.0.as_u16()
}

#[tokio::test]
async fn a_limit_holds_when_all_servers_register_at_once() {
    let servers = servers_with(3, &["--max-sessions", "40"]).await;
    let ids: Vec<(usize, String)> = (0..90).map(|number| (number % 3, format!("s{number}"))).collect();
    let answers = join_all(ids.iter().map(|(server, id)| register(&servers[*server], "risk", id))).await;
    let taken = answers.iter().filter(|status| **status == 201).count();
    assert_eq!(taken, 40, "{answers:?}");
    for server in &servers {
        until("all have as many", async || server.get("/sessions").await["total"] == 40).await;
    }
}

#[tokio::test]
async fn one_session_asked_of_two_servers_at_once_is_registered_once() {
    let servers = servers_with(2, &[]).await;
    for number in 0..30 {
        let id = format!("s{number}");
        let (one, other) = tokio::join!(register(&servers[0], "risk", &id), register(&servers[1], "risk", &id));
        let mut answers = [one, other];
        answers.sort_unstable();
        assert_eq!(answers, [200, 201], "one makes it, the other one finds it");
    }
    let log = servers[0].get("/events?kind=registered&limit=100").await;
    assert_eq!(log["events"].as_array().expect("a list").len(), 30);
}

/// In the order of the log, a kill of an app is for exactly those that were registered before it.
#[tokio::test]
async fn a_kill_of_an_app_takes_exactly_those_that_came_before_it() {
    let servers = servers_with(2, &[]).await;
    let registers = async {
        for number in 0..60 {
            assert_eq!(register(&servers[0], "risk", &format!("s{number}")).await, 201);
        }
    };
    let kills = async {
        for _ in 0..10 {
            servers[1].post("/apps/risk/kill-all", json!({})).await;
        }
    };
    tokio::join!(registers, kills);
    servers[1].post("/apps/risk/kill-all", json!({})).await;
    let log = servers[1].get("/events?limit=1000").await;
    let mut open = std::collections::BTreeSet::new();
    // Newest first. The kills of one request are committed together, and are not followed by another
    // request before they are all there.
    let mut kill = None;
    for line in log["events"].as_array().expect("a list").iter().rev() {
        let (id, kind) = (line["session_id"].as_str().unwrap(), line["kind"].as_str().unwrap());
        match kind {
            "registered" => {
                assert!(kill.take().is_none() || open.is_empty(), "left alive by a kill before: {open:?}");
                open.insert(id.to_owned());
            }
            "kill_requested" => {
                kill = Some(());
                assert!(open.remove(id), "{id} was killed before it came, or twice");
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "left alive by the last kill: {open:?}");
}
