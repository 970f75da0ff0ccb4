//! A backend that enforces kills: the nginx configuration of `docs/enforce.md`.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::nginx::{Nginx, snippet};
use super::requests::tokens_of;
use crate::support::Server;

/// An app that answers everything with 200.
async fn app() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0_u8; 4_096];
                let _ = stream.read(&mut buffer).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nthe app";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test]
async fn nginx_accepts_live_sessions_and_refuses_killed_ones() {
    let mut server = Server::start(&[]).await;
    for id in ["live", "killed"] {
        server.post("/sessions", json!({ "app_name": "shop", "session_id": id })).await;
    }
    let text = snippet("enforce.md", "nginx", 0)
        .replace("127.0.0.1:8000", &format!("127.0.0.1:{}", server.port))
        .replace("127.0.0.1:9000", &format!("127.0.0.1:{}", app().await))
        .replace("VIEW_TOKEN", &tokens_of(&server)[1])
        .replace("listen 80", "listen 127.0.0.1:$PORT");
    let nginx = Nginx::start(&text, &[]).await;
    let ask = async |cookie: &str| {
        let request = reqwest::Client::new().get(nginx.url()).header("cookie", format!("monitor_session={cookie}"));
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!((ask("live").await, ask("killed").await), (200, 200));
    server.post("/sessions/killed/kill", json!({ "reason": "left" })).await;
    assert_eq!((ask("live").await, ask("killed").await), (200, 410));
    for other in ["never", "../live", "live/../killed", "", "live%2f"] {
        assert_eq!(ask(other).await, 410, "{other:?}");
    }
    // While the monitor does not answer, requests are accepted.
    server.kill9().await;
    assert_eq!((ask("live").await, ask("killed").await), (200, 200));
}
