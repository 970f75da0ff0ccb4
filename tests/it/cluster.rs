//! Several servers on one PostgreSQL database are one monitor.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::postgres::{self, Cluster};
use crate::support::{Server, until};

pub(crate) async fn servers(count: usize) -> Vec<Server> {
    servers_on(&postgres::database().await, count).await
}

/// Servers with more arguments, on a database of their own.
pub(crate) async fn servers_with(count: usize, more: &[&str]) -> Vec<Server> {
    let url = postgres::database().await;
    let mut servers = Vec::new();
    for number in 0..count {
        let name = format!("n{number}");
        let args = [&["--node-name", &name], more].concat();
        servers.push(Server::start_on(Path::new(&url), "127.0.0.1:0", &args).await);
    }
    servers
}

async fn servers_on(url: &str, count: usize) -> Vec<Server> {
    let mut servers = Vec::new();
    for number in 0..count {
        servers.push(server(url, number).await);
    }
    servers
}

async fn server(url: &str, number: usize) -> Server {
    Server::start_on(Path::new(url), "127.0.0.1:0", &["--node-name", &format!("n{number}")]).await
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
    for server in &servers {
        until("it has them", async || server.get("/sessions").await["total"] == 20).await;
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
    until("all are at one position", async || {
        let (one, two, three) = tokio::join!(seq(&servers[0]), seq(&servers[1]), seq(&servers[2]));
        one == two && two == three
    })
    .await;
    let mut lists = Vec::new();
    for server in &servers {
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

/// The URL that names both.
fn either(one: &Cluster, other: &Cluster) -> String {
    let name = one.last_database();
    let name = name.rsplit('/').next().expect("a name");
    format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/{name}", one.port, other.port)
}

/// Registers sessions one after the other until `over`, and counts them; the ids that were acknowledged.
async fn register_until(server: &Server, name: &str, over: &AtomicBool, count: &AtomicUsize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{name}-{number}");
        let body = json!({ "app_name": "risk", "session_id": id });
        if server.ask(Method::POST, "/sessions", Some(body)).await.0.is_success() {
            acknowledged.push(id);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    acknowledged
}

/// Every acknowledged session is on every server and once in the log, which has no hole.
async fn nothing_is_lost(servers: &[Server], cluster: &Cluster, acknowledged: &[String]) {
    for server in servers {
        for id in acknowledged {
            until("it is there", async || server.ask(Method::GET, &format!("/sessions/{id}"), None).await.0 == 200)
                .await;
        }
    }
    let name =
        servers[0].db.to_string_lossy().rsplit('/').next().map(|name| name.split('?').next().unwrap().to_owned());
    let name = name.expect("a database");
    let ask = |sql: &str| cluster.psql_in(&name, sql);
    let registered = ask("SELECT string_agg(session_id, ',' ORDER BY seq) FROM events WHERE kind = 'registered'");
    let mut seen = std::collections::HashSet::new();
    assert!(registered.split(',').all(|id| seen.insert(id)), "one is there twice");
    assert!(acknowledged.iter().all(|id| seen.contains(id.as_str())), "one is not in the log");
    assert_eq!(
        ask(
            "SELECT count(*) FROM feed f WHERE first_seq > 1 AND NOT EXISTS (SELECT FROM feed WHERE last_seq = f.first_seq - 1)"
        ),
        "0"
    );
    assert_eq!(
        ask("SELECT count(*) FROM (SELECT session_id FROM sessions EXCEPT SELECT session_id FROM events) x"),
        "0"
    );
}

async fn failover(freeze: bool) {
    let (mut primary, standby) = tokio::task::spawn_blocking(|| {
        let primary = postgres::on_a_thread_that_stays();
        postgres::with_standby(primary)
    })
    .await
    .expect("they start");
    primary.database().await;
    let servers = servers_on(&either(&primary, &standby), 2).await;
    let (over, counts) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    let fault = async {
        // By their count, since the machine may be busy.
        let are_many = async || counts.iter().all(|count| count.load(Ordering::Relaxed) > 20);
        until("there is something to lose", are_many).await;
        if freeze {
            primary.freeze(true);
        } else {
            primary.kill9();
        }
        standby.promote();
        let is_back = async || {
            let after = json!({ "app_name": "risk", "session_id": "after" });
            servers[1].ask(Method::POST, "/sessions", Some(after)).await.0.is_success()
        };
        until("changes are taken again", is_back).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        if freeze {
            // It is back, and must not be followed.
            primary.freeze(false);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (one, other, ()) = tokio::join!(
        register_until(&servers[0], "one", &over, &counts[0]),
        register_until(&servers[1], "other", &over, &counts[1]),
        fault
    );
    nothing_is_lost(&servers, &standby, &[one, other].concat()).await;
}

#[tokio::test]
async fn a_primary_that_dies_loses_nothing_that_was_acknowledged() {
    failover(false).await;
}

#[tokio::test]
async fn a_primary_that_freezes_loses_nothing_and_is_not_followed_when_it_comes_back() {
    failover(true).await;
}

#[tokio::test]
async fn a_database_whose_history_went_back_is_loaded_anew_with_a_new_epoch() {
    let mut cluster = tokio::task::spawn_blocking(postgres::on_a_thread_that_stays).await.expect("it starts");
    let url = cluster.database().await;
    let mut one = server(&url, 0).await;
    one.post("/sessions", json!({ "app_name": "risk", "session_id": "old" })).await;
    let epoch = one.get("/sessions").await["epoch"].clone();
    cluster.kill9();
    let backup = cluster.back_up();
    cluster.start_again();
    until("it goes on", async || {
        let new = json!({ "app_name": "risk", "session_id": "new" });
        one.ask(Method::POST, "/sessions", Some(new)).await.0.is_success()
    })
    .await;
    cluster.kill9();
    cluster.restore(&backup);
    cluster.start_again();
    until("it has loaded what is there", async || {
        let Ok(answer) = one.client.get(format!("{}/sessions", one.url)).send().await else { return false };
        let sessions: serde_json::Value = answer.json().await.unwrap_or_default();
        sessions["total"] == 1 && sessions["epoch"] != epoch
    })
    .await;
    assert!(one.child.try_wait().expect("it is ours").is_none(), "the same process goes on");
    let mut dashboard = one.socket("/ws", &[]).await;
    let hello = dashboard.next_of("hello").await;
    assert!(hello["epoch"].is_string() && hello["epoch"] != epoch, "what comes now takes the numbers of what was lost");
    assert_eq!(dashboard.next_of("snapshot").await["sessions"][0]["session_id"], "old");
    one.post("/sessions", json!({ "app_name": "risk", "session_id": "newer" })).await;
}

/// The numbers alone do not tell: what is there has grown past what this server knows.
#[tokio::test]
async fn a_restored_history_that_has_grown_again_is_loaded_anew_with_a_new_epoch() {
    let mut cluster = tokio::task::spawn_blocking(postgres::on_a_thread_that_stays).await.expect("it starts");
    let url = cluster.database().await;
    let one = server(&url, 0).await;
    let register = async |server: &Server, id: &str| {
        let body = json!({ "app_name": "risk", "session_id": id });
        server.ask(Method::POST, "/sessions", Some(body)).await.0.is_success()
    };
    assert!(register(&one, "old").await);
    let epoch = one.get("/sessions").await["epoch"].clone();
    cluster.kill9();
    let backup = cluster.back_up();
    cluster.start_again();
    until("it goes on", async || register(&one, "lost").await).await;
    one.signal(libc::SIGSTOP);
    cluster.kill9();
    cluster.restore(&backup);
    cluster.start_again();
    let other = server(&url, 1).await;
    for id in ["new", "newer", "newest"] {
        assert!(register(&other, id).await);
    }
    assert_eq!(other.get("/sessions").await["epoch"], epoch, "nobody has noticed yet");
    one.signal(libc::SIGCONT);
    for server in [&one, &other] {
        until("it has loaded what is there", async || {
            let Ok(answer) = server.client.get(format!("{}/sessions", server.url)).send().await else { return false };
            let sessions: serde_json::Value = answer.json().await.unwrap_or_default();
            sessions["total"] == 4 && sessions["epoch"].is_string() && sessions["epoch"] != epoch
        })
        .await;
        assert_eq!(server.ask(Method::GET, "/sessions/lost", None).await.0.as_u16(), 404);
    }
}

#[tokio::test]
async fn a_server_that_was_counted_as_gone_takes_a_new_place() {
    let servers = servers(2).await;
    servers[0].post("/sessions", json!({ "app_name": "risk", "session_id": "s" })).await;
    let seen_as_gone = async || {
        let nodes = servers[0].get("/nodes").await;
        nodes["nodes"].as_array().unwrap().iter().any(|node| node["name"] == "n1" && node["gone"] == true)
    };
    // Who has just started counts nobody as gone.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let number = servers[1].get("/nodes").await["answered_by"].clone();
    servers[1].signal(libc::SIGSTOP);
    until("it is gone", seen_as_gone).await;
    servers[1].signal(libc::SIGCONT);
    until("it is back under a new number", async || {
        // For a moment it takes no connections.
        let Ok(answer) = servers[1].client.get(format!("{}/nodes", servers[1].url)).send().await else { return false };
        let told: serde_json::Value = answer.json().await.unwrap_or_default();
        told["answered_by"].is_number() && told["answered_by"] != number
    })
    .await;
    until("it takes changes", async || {
        servers[1].post_status("/sessions", json!({ "app_name": "risk", "session_id": "t" })).await == 201
    })
    .await;
    assert_eq!(servers[1].get("/sessions").await["total"], 2);
}
