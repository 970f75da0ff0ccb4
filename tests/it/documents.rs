//! The documents agree with the running server and with the files of the project.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lines of `ARCHITECTURE.md`, each with whether it is in a code block.
fn architecture() -> Vec<(String, bool)> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut in_block = false;
    let mut line = |line: &str| {
        in_block ^= line.starts_with("```");
        (line.to_owned(), in_block)
    };
    text.lines().map(&mut line).collect()
}

/// Where a path in a line of `ARCHITECTURE.md` may be; `None` for a name that is not a path.
fn places(line: &str, name: &str) -> Option<Vec<PathBuf>> {
    let is_plain = !name.starts_with('/') && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let kinds = ["rs", "js", "mjs", "py", "md", "yaml", "toml", "css"];
    let is_file = Path::new(name).extension().is_some_and(|kind| kinds.iter().any(|known| kind == *known));
    if !is_plain || !(is_file || name.contains('/')) {
        return None;
    }
    let mut places = vec![root().join(name), root().join("src").join(name)];
    // In a row of the table of modules, a file is in the folder of its module.
    if let Some((module, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("/`")) {
        places.push(root().join("src").join(module).join(name));
    }
    Some(places)
}

#[test]
fn every_path_in_the_architecture_exists() {
    let mut count = 0;
    for (line, _) in architecture().iter().filter(|(_, in_block)| !in_block) {
        for name in line.split('`').skip(1).step_by(2) {
            let Some(places) = places(line, name) else { continue };
            assert!(places.iter().any(|place| place.exists()), "ARCHITECTURE.md has {name}, which does not exist");
            count += 1;
        }
    }
    assert!(count > 100, "{count} paths");
    assert!(places("", "src/nowhere.rs").is_some_and(|places| places.iter().all(|place| !place.exists())));
}

/// All text of a module, without its tests.
fn module(name: &str) -> Option<String> {
    let path = root().join("src").join(name);
    let mut files = vec![path.with_extension("rs")];
    let mut folders = vec![path];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    (!texts.is_empty()).then(|| texts.iter().map(|text| text.split("#[cfg(test)]").next().unwrap()).collect())
}

#[test]
fn every_arrow_between_modules_in_the_architecture_is_a_use() {
    let mut count = 0;
    for (line, _) in architecture().iter().filter(|(_, in_block)| *in_block) {
        let Some((users, used)) = line.split_once(" --> ") else { continue };
        for user in users.split('&').map(str::trim) {
            for used in used.split('&').map(str::trim).filter(|used| module(used).is_some()) {
                let Some(text) = module(user) else { continue };
                let is_use = ["crate", "sessionwatch"]
                    .iter()
                    .flat_map(|root| [format!("{root}::{used}::"), format!("{root}::{used};")])
                    .any(|path| text.contains(&path));
                assert!(is_use, "{user} does not use {used}");
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count} arrows");
}
