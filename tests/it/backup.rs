//! Backups of a running server, and what a restore refuses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::process::Command;

use crate::gate::requests::tokens_of;
use crate::support::{PATIENCE, Server};

async fn run(args: &[&str], db: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionwatch"));
    command.args(args).arg("--db").arg(db).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn a_backup_under_writers_has_all_that_was_answered_before_and_opens() {
    let mut server = Server::start(&["--strict"]).await;
    let [ingest, _, admin] = tokens_of(&server);
    let register = |client: reqwest::Client, url: String, token: String, id: String| async move {
        let body = json!({ "app_name": "a", "session_id": id });
        client.post(format!("{url}/sessions")).bearer_auth(token).json(&body).send().await.expect("an answer").status()
    };
    for n in 0..50 {
        let status = register(server.client.clone(), server.url.clone(), ingest.clone(), format!("before-{n}")).await;
        assert_eq!(status, 201);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (client, url, token, stop) = (server.client.clone(), server.url.clone(), ingest.clone(), stop.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("while-{writer}-{count}");
                    assert_eq!(register(client.clone(), url.clone(), token.clone(), id).await, 201);
                    count += 1;
                }
                count
            })
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("m.backup");
    let name = file.to_str().expect("a plain name");
    let made = run(&["backup", name], &server.db).await;
    assert!(made.status.success(), "{}", said(&made));
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.expect("no write failed while the backup ran");
    }
    assert!(written > 0, "there were writers");
    assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
    let again = run(&["backup", name], &server.db).await;
    assert!(said(&again).contains("is there already"), "{}", said(&again));

    // Not over a database that a server uses, and with --replace neither.
    for more in [&[][..], &["--replace"]] {
        let refused = run(&[&["restore", name], more].concat(), &server.db).await;
        assert!(!refused.status.success() && said(&refused).contains("stop that one first"), "{}", said(&refused));
    }
    server.child.kill().await.expect("it is ours");

    let other = folder.path().join("new.db");
    let restored = run(&["restore", name], &other).await;
    assert!(restored.status.success(), "{}", said(&restored));
    let second = Server::start_on(&other, "127.0.0.1:0", &["--strict"]).await;
    let get = async |path: &str| {
        let answer =
            second.client.get(format!("{}{path}", second.url)).bearer_auth(&admin).send().await.expect("an answer");
        answer.status().as_u16()
    };
    for n in 0..50 {
        assert_eq!(
            get(&format!("/sessions/before-{n}")).await,
            200,
            "answered before the backup, and the token still counts"
        );
    }
    drop(second);

    // The place is taken now.
    let refused = run(&["restore", name], &other).await;
    assert!(said(&refused).contains("--replace"), "{}", said(&refused));
    let replaced = run(&["restore", name, "--replace"], &other).await;
    assert!(replaced.status.success() && said(&replaced).contains("what was there is now"), "{}", said(&replaced));
    let aside = std::fs::read_dir(folder.path()).expect("a folder").flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains(".replaced-")).count();
    assert!(aside >= 2, "the database and the tokens that were there");
}

#[tokio::test]
async fn what_is_no_backup_is_refused_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("s.db");
    let file = folder.path().join("f");
    let name = file.to_str().expect("a plain name");
    let none = run(&["backup", name], &db).await;
    assert!(said(&none).contains("there is no database"), "{}", said(&none));
    for text in ["", "not a database at all, but long enough to have a header of its own, which is wrong"] {
        std::fs::write(&file, text).expect("written");
        let refused = run(&["restore", name], &db).await;
        assert!(!refused.status.success() && !db.exists(), "{}", said(&refused));
    }
    std::fs::remove_file(&file).expect("it is ours");
    let postgres = run(&["backup", name], Path::new("postgres://u@127.0.0.1:1/d")).await;
    assert!(said(&postgres).contains("pg_dump"), "{}", said(&postgres));
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == "s.db-lock"), "{left:?}");
}
