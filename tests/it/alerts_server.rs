//! Alerts about the servers themselves: a crash, a disk that is nearly full, a server of the cluster that is lost.

use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::process::Command;

use crate::alerts::{Post, Rules, Target, json_target};
use crate::support::{Server, command, until};

/// A target that is told of servers, and the rules with it.
async fn told_of_servers() -> (Target, Rules) {
    let sink = Target::start().await;
    let rules = Rules::new(&json_target(&sink.url("127.0.0.1")).replace("\"failed\"", "\"server\""));
    (sink, rules)
}

/// Whether the target was told an alert whose title or subjects contain this text.
fn was_told(sink: &Target, text: &str) -> bool {
    sink.posts().iter().any(|post| post.json()["data"].to_string().contains(text))
}

#[tokio::test]
async fn a_start_after_a_crash_is_told_and_one_after_a_stop_is_not() {
    let (sink, rules) = told_of_servers().await;
    let mut server = rules.server(&[]).await;
    until("the book is open", || async { server.post_status("/alerts/ops/test", json!({})).await == 202 }).await;
    sink.has(1).await;
    let path = rules.path();
    let args = ["--rules", path.to_str().unwrap()];
    assert_eq!(server.stop().await, 0);
    let mut server = Server::start_on(&server.db.clone(), "127.0.0.1:0", &args).await;
    assert_eq!(server.post_status("/alerts/ops/test", json!({})).await, 202);
    sink.has(2).await;
    let crashed = || sink.posts().iter().any(|post| post.json()["data"]["title"] == "the server started after a crash");
    assert!(!crashed(), "it was stopped");
    server.kill9().await;
    let _server = Server::start_on(&server.db.clone(), "127.0.0.1:0", &args).await;
    until("the crash is told", || async { crashed() }).await;
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_told() {
    let (sink, rules) = told_of_servers().await;
    let folder = tempfile::tempdir().unwrap();
    let path = rules.path();
    let args = ["--rules", path.to_str().unwrap()];
    // A file system of 64 MiB of its own, of which 2 MiB are free.
    let db = folder.path().join("test.db");
    let plain = command(&db, "127.0.0.1:0", &args);
    let mut inside = Command::new("unshare");
    let script =
        "mount -t tmpfs -o size=64m small \"$1\" && head -c 62m /dev/zero > \"$1/filled\" && shift && exec \"$@\"";
    inside.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(folder.path());
    inside.arg(plain.as_std().get_program()).args(plain.as_std().get_args()).kill_on_drop(true);
    let _server = Server::run(inside, &db, &args).await;
    until("the disk is told", || async { was_told(&sink, "the disk of the database is nearly full: ") }).await;
}

#[tokio::test]
async fn a_server_that_is_lost_is_told_and_one_that_leaves_is_not() {
    let (sink, rules) = told_of_servers().await;
    let (path, url) = (rules.path(), PathBuf::from(crate::postgres::database().await));
    let mut servers = Vec::new();
    for name in ["stays", "leaves", "dies"] {
        let args = ["--rules", path.to_str().unwrap(), "--node-name", name];
        servers.push(Server::start_on(Path::new(&url), "127.0.0.1:0", &args).await);
    }
    let [stays, mut leaves, mut dies] = <[Server; 3]>::try_from(servers).ok().expect("three");
    until("all see each other", || async { stays.get("/nodes").await["nodes"].as_array().unwrap().len() == 3 }).await;
    assert_eq!(leaves.stop().await, 0);
    // Longer than the silence after which a server counts as lost.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    dies.kill9().await;
    until("the lost one is told", || async { was_told(&sink, "the server dies (node ") }).await;
    assert!(!was_told(&sink, "the server leaves"), "{:?}", sink.posts().iter().map(Post::json).collect::<Vec<_>>());
}
