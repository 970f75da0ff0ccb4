//! The list of servers, and the name of the server that holds a session's socket.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::servers;
use crate::support::{Server, until};

async fn nodes(server: &Server) -> Vec<Value> {
    let answer = server.get("/nodes").await;
    answer["nodes"].as_array().expect("a list").clone()
}

/// What `server` knows of the server with this name.
async fn node(server: &Server, name: &str) -> Value {
    nodes(server).await.into_iter().find(|node| node["name"] == *name).unwrap_or_default()
}

#[tokio::test]
async fn every_server_lists_all_with_their_sockets_and_one_keeper() {
    let mut servers = servers(2).await;
    let mut client = servers[1].socket("/ws/client", &[]).await;
    client.send(json!({ "type": "register", "app_name": "risk", "session_id": "s" })).await;
    client.next_of("registered").await;
    let mut dashboard = servers[0].socket("/ws", &[]).await;
    dashboard.next_of("snapshot").await;
    for server in &servers {
        until("it knows of both", async || {
            let (one, other) = (node(server, "n0").await, node(server, "n1").await);
            (&one["sockets"], &one["dashboards"], &other["sockets"], &other["dashboards"])
                == (&json!(0), &json!(1), &json!(1), &json!(0))
                && (&one["lag"], &other["lag"]) == (&json!(0), &json!(0))
        })
        .await;
        let all = nodes(server).await;
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(all.iter().filter(|node| node["keeper"] == true).count(), 1, "{all:?}");
        for node in &all {
            assert_eq!((&node["gone"], &node["version"]), (&json!(false), &json!(env!("CARGO_PKG_VERSION"))));
            assert!(node["seen_at"].as_str() >= node["started_at"].as_str(), "{node}");
        }
        let metrics = server.client.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
        let sockets = |name: &str| {
            let label = format!("name=\"{name}\"");
            let line =
                metrics.lines().find(|line| line.starts_with("sessionwatch_node_sockets{") && line.contains(&label));
            line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
        };
        assert_eq!((sockets("n0").as_deref(), sockets("n1").as_deref()), (Some("0"), Some("1")));
    }
    let answered = async |server: &Server| server.get("/nodes").await["answered_by"].clone();
    assert_ne!(answered(&servers[0]).await, answered(&servers[1]).await);
    let mut dead = servers.pop().expect("two");
    dead.kill9().await;
    until("the dead one is listed as gone", async || node(&servers[0], "n1").await["gone"] == true).await;
    assert_eq!(node(&servers[0], "n1").await["keeper"], false);
    until("the other one is the keeper", async || node(&servers[0], "n0").await["keeper"] == true).await;
}

#[tokio::test]
async fn a_session_names_the_server_that_holds_its_socket() {
    let servers = servers(2).await;
    let mut dashboard = servers[0].socket("/ws", &[]).await;
    dashboard.next_of("snapshot").await;
    let mut client = servers[1].socket("/ws/client", &[]).await;
    client.send(json!({ "type": "register", "app_name": "risk", "session_id": "s" })).await;
    client.next_of("registered").await;
    servers[1].post("/sessions", json!({ "app_name": "risk", "session_id": "without" })).await;
    // The first frame that shows the socket has the name, though the server has just come.
    let mut shown = std::collections::BTreeMap::new();
    while shown.len() < 2 {
        for session in dashboard.next_of("changes").await["upserted"].as_array().expect("a list") {
            if session["session_id"] == "without" || session["connected"] == true {
                shown.insert(session["session_id"].to_string(), session["node"].clone());
            }
        }
    }
    assert_eq!(shown.values().collect::<Vec<_>>(), [&json!("n1"), &Value::Null], "{shown:?}");
    for server in &servers {
        until("both know it", async || server.get("/sessions").await["total"] == 2).await;
        assert_eq!(server.get("/sessions/s").await["node"], "n1");
        let mut late = server.socket("/ws", &[]).await;
        let snapshot = late.next_of("snapshot").await;
        let listed = server.get("/sessions").await;
        for sessions in [&snapshot["sessions"], &listed["sessions"]] {
            let session = sessions.as_array().unwrap().iter().find(|session| session["session_id"] == "s").unwrap();
            assert_eq!(session["node"], "n1", "{session}");
        }
    }
    drop(client);
    until("its socket is closed", async || servers[0].get("/sessions/s").await["connected"] == false).await;
    assert_eq!(servers[0].get("/sessions/s").await["node"], Value::Null);
}

#[tokio::test]
async fn one_server_with_a_file_lists_itself_and_names_no_sockets() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_on(&folder.path().join("one.db"), "127.0.0.1:0", &["--node-name", "alone"]).await;
    let mut client = server.socket("/ws/client", &[]).await;
    client.send(json!({ "type": "register", "app_name": "risk", "session_id": "s" })).await;
    client.next_of("registered").await;
    let all = nodes(&server).await;
    let told = |field: &str| all[0][field].clone();
    assert_eq!(all.len(), 1);
    assert_eq!(
        (told("name"), told("sockets"), told("lag"), told("lag_ms")),
        (json!("alone"), json!(1), json!(0), json!(0))
    );
    assert_eq!((told("keeper"), told("gone"), told("url")), (json!(true), json!(false), Value::Null));
    let (status, session) = server.ask(Method::GET, "/sessions/s", None).await;
    assert_eq!((status.as_u16(), &session["node"], &session["connected"]), (200, &Value::Null, &json!(true)));
}
