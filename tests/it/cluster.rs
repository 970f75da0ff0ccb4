//! Several servers on one PostgreSQL database are one monitor.

use std::path::Path;

use reqwest::Method;
use serde_json::json;

use crate::postgres;
use crate::support::{Server, until};

async fn servers(count: usize) -> Vec<Server> {
    servers_on(&postgres::database().await, count).await
}

async fn servers_on(url: &str, count: usize) -> Vec<Server> {
    let mut servers = Vec::new();
    for number in 0..count {
        servers.push(server(url, number).await);
    }
    servers
}

async fn server(url: &str, number: usize) -> Server {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let tokens = folder.join("tokens");
    let args = ["--node-name", &format!("n{number}"), "--token-file", tokens.to_str().expect("text")];
    Server::start_on(Path::new(url), "127.0.0.1:0", &args).await
}

#[tokio::test]
async fn what_one_server_acknowledges_every_dashboard_shows() {
    let servers = servers(3).await;
    let mut dashboards = Vec::new();
    for server in &servers {
        let mut dashboard = server.socket("/ws", &[]).await;
        dashboard.next_of("snapshot").await;
        dashboards.push(dashboard);
    }
    for (number, server) in servers.iter().enumerate() {
        let id = format!("s{number}");
        server.post("/sessions", json!({ "app_name": "risk", "session_id": id })).await;
        for dashboard in &mut dashboards {
            let frame = dashboard.next_of("changes").await;
            assert_eq!(frame["upserted"][0]["session_id"], json!(id));
        }
    }
    let mut answers = Vec::new();
    for server in &servers {
        until("all are there", async || server.get("/sessions").await["total"] == 3).await;
        answers.push(server.get("/sessions").await);
    }
    for answer in &answers {
        assert_eq!((&answer["epoch"], &answer["seq"]), (&answers[0]["epoch"], &answers[0]["seq"]));
    }
}

#[tokio::test]
async fn a_kill_asked_of_one_server_closes_a_socket_of_another() {
    let servers = servers(2).await;
    let mut client = servers[1].socket("/ws/client", &[]).await;
    client.send(json!({ "type": "register", "app_name": "risk", "session_id": "s" })).await;
    client.next_of("registered").await;
    until("the other server knows it", async || servers[0].ask(Method::GET, "/sessions/s", None).await.0 == 200).await;
    assert_eq!(servers[0].get("/sessions/s").await["connected"], json!(true));
    let kill = servers[0].post("/sessions/s/kill", json!({ "reason": "now" })).await;
    let frame = client.next_of("kill").await;
    assert_eq!((&frame["kill_id"], &frame["reason"]), (&kill["kill_id"], &json!("now")));
    client.send(json!({ "type": "kill_ack", "session_id": "s", "kill_id": kill["kill_id"] })).await;
    assert_eq!(u16::from(client.closed().await.expect("a close frame").code), 1001);
    for server in &servers {
        until("its id is gone", async || server.ask(Method::GET, "/sessions/s", None).await.0 == 410).await;
    }
    let log = servers[0].get("/events?session_id=s").await;
    let kinds: Vec<&str> = log["events"].as_array().unwrap().iter().filter_map(|line| line["kind"].as_str()).collect();
    assert_eq!(kinds, ["removed", "kill_acknowledged", "kill_delivered", "kill_requested", "registered"]);
}

#[tokio::test]
async fn heartbeats_and_resumes_go_to_any_server() {
    let servers = servers(3).await;
    let registered = servers[0].post("/sessions", json!({ "app_name": "risk", "session_id": "s" })).await;
    let token = registered["session_token"].as_str().expect("a token").to_owned();
    for server in servers.iter().cycle().take(9) {
        until("it is known", async || server.ask(Method::GET, "/sessions/s", None).await.0 == 200).await;
        server.post("/sessions/s/heartbeat", json!({ "session_token": token })).await;
    }
    let beat = servers[2].get("/sessions/s").await["last_heartbeat"].clone();
    until("all know of the last one", async || {
        let others = [servers[0].get("/sessions/s").await, servers[1].get("/sessions/s").await];
        others.iter().all(|session| session["last_heartbeat"].as_str() >= beat.as_str())
    })
    .await;
    let again = json!({ "app_name": "risk", "session_id": "s", "session_token": token, "status": "running" });
    let (status, resumed) = servers[1].ask(Method::POST, "/sessions", Some(again)).await;
    assert_eq!((status.as_u16(), &resumed["session_id"]), (200, &json!("s")), "{resumed}");
    for server in &servers {
        until("all see it", async || server.get("/sessions/s").await["status"] == "running").await;
    }
}

#[tokio::test]
async fn the_sessions_of_a_server_that_dies_are_shown_as_disconnected_and_stay() {
    let mut servers = servers(3).await;
    let mut client = servers[2].socket("/ws/client", &[]).await;
    client.send(json!({ "type": "register", "app_name": "risk", "session_id": "s" })).await;
    client.next_of("registered").await;
    let connected = async |server: &Server| server.get("/sessions/s").await["connected"].clone();
    until("it is seen", async || servers[0].ask(Method::GET, "/sessions/s", None).await.0 == 200).await;
    assert_eq!(connected(&servers[0]).await, json!(true));
    let mut dead = servers.pop().expect("three");
    dead.kill9().await;
    for server in &servers {
        until("it is disconnected", async || connected(server).await == json!(false)).await;
        assert_eq!(server.get("/sessions/s").await["status"], json!("idle"));
    }
    let log = servers[0].get("/events?session_id=s").await;
    assert_eq!(log["events"].as_array().unwrap().len(), 1, "nothing is reported ended: {log}");
}

#[tokio::test]
async fn while_the_database_is_away_reads_and_beats_go_on_and_nothing_acknowledged_is_lost() {
    let mut cluster = tokio::task::spawn_blocking(postgres::on_a_thread_that_stays).await.expect("it starts");
    let servers = servers_on(&cluster.database().await, 2).await;
    let mut dashboard = servers[1].socket("/ws", &[]).await;
    dashboard.next_of("snapshot").await;
    for number in 0..20 {
        let id = format!("s{number}");
        servers[number % 2].post("/sessions", json!({ "app_name": "risk", "session_id": id })).await;
    }
    cluster.kill9();
    let (status, refused) =
        servers[0].ask(Method::POST, "/sessions", Some(json!({ "app_name": "risk", "session_id": "late" }))).await;
    assert_eq!(status.as_u16(), 503, "{refused}");
    for server in &servers {
        assert_eq!(server.get("/sessions").await["total"], 20);
        server.post("/sessions/s1/heartbeat", json!({})).await;
    }
    cluster.start_again();
    until("changes are taken again", async || {
        let late = json!({ "app_name": "risk", "session_id": "late" });
        servers[0].ask(Method::POST, "/sessions", Some(late)).await.0.is_success()
    })
    .await;
    for server in &servers {
        until("both have all", async || server.get("/sessions").await["total"] == 21).await;
        let sessions = server.get("/sessions").await;
        assert!(sessions["sessions"].as_array().unwrap().iter().all(|session| session["is_stale"] == json!(false)));
    }
    // A server that starts now finds the same.
    let url = cluster.last_database();
    let late = server(&url, 2).await;
    assert_eq!(late.get("/sessions").await["total"], 21);
    let log = late.get("/events?limit=100&kind=registered").await;
    assert_eq!(log["events"].as_array().unwrap().len(), 21, "each once");
}

/// Each server writes at once, and kills of a whole app meet registrations elsewhere.
#[tokio::test]
async fn servers_that_write_at_once_agree_on_one_order() {
    let servers = servers(3).await;
    let work = servers.iter().enumerate().map(|(number, server)| async move {
        for round in 0..30 {
            let id = format!("s{number}-{round}");
            server.post("/sessions", json!({ "app_name": "risk", "session_id": id })).await;
            if round % 10 == 9 {
                server.post("/apps/risk/kill-all", json!({})).await;
            }
        }
    });
    futures_util::future::join_all(work).await;
    let seq = async |server: &Server| server.get("/sessions").await["seq"].clone();
    let newest = seq(&servers[0]).await;
    let mut lists = Vec::new();
    for server in &servers {
        until("all are at one position", async || seq(server).await == newest).await;
        let mut list = server.get("/sessions?limit=1000").await;
        let sessions = list["sessions"].as_array_mut().unwrap();
        assert_eq!(sessions.len(), 90);
        for session in sessions {
            // These two are of the moment of the question, and of the beats.
            let fields = session.as_object_mut().unwrap();
            fields.remove("duration_seconds");
            fields.remove("last_heartbeat");
        }
        lists.push(list["sessions"].take());
    }
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0], lists[2]);
}
