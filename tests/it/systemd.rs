//! What the server tells systemd over its socket: ready, alive, ending.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;

use crate::support::{PATIENCE, command};

#[tokio::test]
async fn the_server_tells_when_it_is_ready_that_it_lives_and_that_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let mut child = command(&folder.path().join("s.db"), "127.0.0.1:0", &["--drain", "1s"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "300000")
        .env_remove("WATCHDOG_PID")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let next = async || {
        let mut buffer = [0; 4_096];
        let count = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("in time").expect("a note");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    assert_eq!(next().await.trim(), "READY=1");
    let begun = tokio::time::Instant::now();
    for _ in 0..6 {
        assert_eq!(next().await.trim(), "WATCHDOG=1");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "as often as it has to be, and more: {:?}", begun.elapsed());
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    kill_process(pid, Signal::TERM).expect("it is ours");
    let mut ending = String::new();
    while !ending.contains("STOPPING=1") {
        ending = next().await;
    }
    assert!(ending.contains("EXTEND_TIMEOUT_USEC=9000000"), "the drain, and the shutdown after it: {ending}");
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("in time").expect("it is ours");
    assert!(status.success());
}
