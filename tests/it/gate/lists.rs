//! Large lists: they are complete, of one position, and a slow reader costs little memory.

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Method;
use serde_json::json;

use super::requests::resident_kib;
use super::wire::Raw;
use crate::support::Server;

const SESSIONS: usize = 3_000;

async fn fill(server: &Server) {
    let meta = json!({ "note": "x".repeat(3_900) });
    let register = |index: usize| {
        let body = json!({ "app_name": if index.is_multiple_of(3) { "a" } else { "b" }, "session_id": format!("s{index}"), "meta": meta });
        async move { assert_eq!(server.ask(Method::POST, "/sessions", Some(body)).await.0, 201) }
    };
    stream::iter(0..SESSIONS).for_each_concurrent(32, register).await;
}

fn ids(answer: &serde_json::Value) -> Vec<String> {
    let sessions = answer["sessions"].as_array().expect("sessions");
    sessions.iter().map(|session| session["session_id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn a_list_of_many_pieces_is_whole_and_costs_a_slow_reader_a_piece() {
    let server = Server::start(&[]).await;
    fill(&server).await;
    let all = server.get("/sessions").await;
    assert_eq!((all["total"].as_u64(), all["next"].is_null()), (Some(SESSIONS as u64), true));
    let whole = ids(&all);
    assert_eq!(whole.iter().collect::<std::collections::HashSet<_>>().len(), SESSIONS);
    // Pages of any size have the same sessions in the same order, and the same total.
    for size in [255, 256, 257, 1_000, SESSIONS] {
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("/sessions?limit={size}{after}")).await;
            assert_eq!(page["total"], SESSIONS, "{size}");
            paged.extend(ids(&page));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert!(paged == whole, "pages of {size}");
    }
    let some = server.get("/sessions?app_name=a").await;
    assert_eq!((some["total"].as_u64(), ids(&some).len()), (Some(1_000), 1_000));
    let request = server.client.get(format!("{}/sessions", server.url)).header("accept", "text/csv");
    let csv = request.send().await.expect("an answer").text().await.expect("text");
    assert_eq!(csv.lines().count(), SESSIONS + 1, "one head line, and one for each session");
    assert_eq!(csv.lines().filter(|line| line.starts_with("session_id,")).count(), 1);

    let before = resident_kib(&server);
    let mut slow = Vec::new();
    for _ in 0..12 {
        let mut raw = Raw::connect_narrow(&server).await;
        let head = format!("GET /sessions HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", server.port);
        raw.write(head.as_bytes()).await;
        assert_eq!(raw.head().await.0, 200);
        slow.push(raw);
    }
    // Other requests are answered meanwhile, lists too.
    assert_eq!(server.get("/sessions?limit=1").await["total"], SESSIONS);
    let grown = resident_kib(&server).saturating_sub(before);
    println!("12 readers that stopped in a list of {} MiB: {grown} KiB", all.to_string().len() >> 20);
    assert!(grown < 48 * 1_024, "{grown} KiB");
}
