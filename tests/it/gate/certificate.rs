//! The TLS certificate of a running server: taken anew when its files change and on SIGHUP; a wrong
//! one is refused; open sockets stay; and the command line with `--cacert`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::requests::tokens_of;
use crate::support::{PATIENCE, Server, until};

/// A folder with an authority and a certificate that it has signed.
fn authority() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    crate::cluster_tls::certificates(folder.path());
    folder
}

async fn ls(server: &Server, ca: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessionwatch"));
    command.args(["ls", "--json", "--server", &server.url, "--cacert"]).arg(ca).args(more).kill_on_drop(true);
    let mut tokens = server.db.as_os_str().to_owned();
    tokens.push(".tokens");
    command.arg("--token-file").arg(tokens);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs")
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_without_a_pause_and_a_wrong_one_is_not() {
    let [old, new, place] = [authority(), authority(), tempfile::tempdir().expect("a folder")];
    let [cert, key]: [PathBuf; 2] = ["server.crt", "server.key"].map(|name| place.path().join(name));
    let install = |from: &TempDir| {
        for (name, to) in [("server.crt", &cert), ("server.key", &key)] {
            // As certbot does: a new file takes the name.
            let beside = place.path().join("next");
            fs::copy(from.path().join(name), &beside).expect("copied");
            fs::rename(&beside, to).expect("renamed");
        }
    };
    install(&old);
    let names = [&cert, &key].map(|path| path.to_str().expect("a plain name"));
    let server = Server::start(&["--tls-cert", names[0], "--tls-key", names[1], "--strict"]).await;
    let trusts = async |by: &TempDir| ls(&server, &by.path().join("ca.crt"), &[]).await.status.success();
    assert!(trusts(&old).await && !trusts(&new).await);
    let ingest = tokens_of(&server)[0].clone();
    let mut stream = {
        let connector = reqwest::Client::builder().danger_accept_invalid_certs(true).build().expect("a client");
        let body = json!({ "app_name": "a", "session_id": "s" });
        let made = connector.post(format!("{}/sessions", server.url)).bearer_auth(&ingest).json(&body).send().await;
        let made: Value = made.expect("an answer").json().await.expect("JSON");
        let own = made["session_token"].as_str().expect("its token");
        connector.get(format!("{}/sessions/s/events", server.url)).bearer_auth(own).send().await.expect("a stream")
    };
    install(&new);
    until("the new certificate", || trusts(&new)).await;
    assert!(!trusts(&old).await);
    assert_eq!(stream.status(), 200);
    assert!(stream.chunk().await.is_ok(), "what was open stays open");

    // Half a pair, and no certificate at all: the one before stays, also on SIGHUP.
    let hang_up = || {
        let pid = server.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, Signal::HUP).expect("it is ours");
    };
    fs::copy(old.path().join("server.crt"), &cert).expect("copied");
    hang_up();
    assert!(trusts(&new).await);
    fs::write(&cert, "no certificate").expect("written");
    hang_up();
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert!(trusts(&new).await);
    install(&old);
    hang_up();
    until("the first certificate again", || trusts(&old)).await;
}

#[tokio::test]
async fn a_file_without_a_certificate_is_told_by_its_name() {
    let server = Server::start(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    for text in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")] {
        if let Some(text) = text {
            fs::write(&path, text).expect("written");
        }
        let refused = ls(&server, &path, &[]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("ca.pem"), "{text:?}: {said}");
    }
}
