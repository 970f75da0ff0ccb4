//! The documents agree with the running server and with the files of the project.

use std::collections::BTreeSet;

use sessionwatch::routes::table;

use crate::support::Server;

/// Routes that are not in the OpenAPI document.
const SOCKETS_AND_FILES: [&str; 6] = ["/ws", "/ws/client", "/", "/assets/{*path}", "/client.js", "/client.iife.js"];

#[tokio::test]
async fn every_route_is_in_the_document_and_nothing_else() {
    let server = Server::start(&[]).await;
    let document = server.get("/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let there: BTreeSet<String> = table()
        .iter()
        .filter(|route| !SOCKETS_AND_FILES.contains(&route.path))
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(described, there);
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    let server = Server::start(&[]).await;
    let document = server.get("/openapi.json").await;
    let text = document.to_string();
    let mut count = 0;
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
        count += 1;
    }
    assert!(count > 20);
}

#[tokio::test]
async fn a_listed_session_has_exactly_the_documented_fields() {
    let server = Server::start(&[]).await;
    server.post("/sessions", serde_json::json!({ "app_name": "a", "session_id": "s" })).await;
    let document = server.get("/openapi.json").await;
    let documented: BTreeSet<String> =
        document["components"]["schemas"]["SessionJson"]["properties"].as_object().unwrap().keys().cloned().collect();
    let session = server.get("/sessions/s").await;
    let there: BTreeSet<String> = session.as_object().unwrap().keys().cloned().collect();
    assert_eq!(documented, there);
    let protocol = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md")).unwrap();
    for field in there {
        assert!(protocol.contains(&format!("`{field}`")), "docs/protocol.md does not have {field}");
    }
}

#[tokio::test]
async fn metrics_have_the_documented_names() {
    let server = Server::start(&[]).await;
    server.post("/sessions", serde_json::json!({ "app_name": "a", "session_id": "s" })).await;
    server.post("/sessions/s/heartbeat", serde_json::json!({})).await;
    server.post("/sessions/s/kill", serde_json::json!({})).await;
    let text = server.client.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
    for line in [
        "sessionwatch_sessions{app=\"a\",status=\"idle\"} 1",
        "sessionwatch_heartbeats_total 1",
        "sessionwatch_kills_total{step=\"requested\"} 1",
        "sessionwatch_commits_total 2",
        "sessionwatch_build_info{version=\"",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_start_time_seconds ",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
