//! `/metrics` follows the grammar of Prometheus' text format, with any names of apps.

use std::collections::HashMap;

use serde_json::json;
use sessionwatch::metrics::{APPS_MAX, AppStatus, Gauges, Metrics, STATUSES_MAX};

use crate::support::Server;

/// One sample: its name, labels and value.
type Sample = (String, HashMap<String, String>, f64);

/// Parses all samples; panics on an invalid line.
fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'), "the last line is whole");
    text.lines().filter(|line| !line.starts_with("# HELP ") && !line.starts_with("# TYPE ")).map(sample).collect()
}

fn sample(line: &str) -> Sample {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_name(c)).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()), "no name: {line}");
    let mut labels = HashMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            assert!(label.chars().all(is_name), "a label is called {label:?}: {line}");
            let mut text = String::new();
            let mut chars = value.char_indices();
            let after = loop {
                match chars.next().unwrap_or_else(|| panic!("a value has no end: {line}")) {
                    (at, '"') => break at + 1,
                    (_, '\\') => text.push(match chars.next() {
                        Some((_, 'n')) => '\n',
                        Some((_, c @ ('\\' | '"'))) => c,
                        other => panic!("an escape that is none, {other:?}: {line}"),
                    }),
                    (_, c) => text.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), text).is_none(), "{label} stands there twice: {line}");
            rest = value[after..].strip_prefix(',').unwrap_or(&value[after..]);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok());
    (name.to_owned(), labels, value.unwrap_or_else(|| panic!("no value: {line}")))
}

fn sessions(samples: &[Sample]) -> HashMap<(String, String), f64> {
    let ours = samples.iter().filter(|(name, ..)| name == "sessionwatch_sessions");
    ours.map(|(_, labels, value)| ((labels["app"].clone(), labels["status"].clone()), *value)).collect()
}

fn gauges(sessions: impl IntoIterator<Item = (String, String, i64)>) -> Gauges {
    let sessions = sessions.into_iter().map(|(app, status, count)| (AppStatus { app, status }, count));
    Gauges { sessions: sessions.collect(), ..Gauges::default() }
}

const HOSTILE: [&str; 7] = [
    "a\"} 1\nsessionwatch_sessions{app=\"forged",
    "back\\slash",
    "\\",
    "\\\"",
    "two\nlines\\n",
    "{},=# HELP x",
    "日本 🎉",
];

#[test]
fn no_apps_name_breaks_the_scrape_or_forges_a_series() {
    let hostile = HOSTILE.map(|app| (app.to_owned(), "idle".to_owned(), 3));
    let told = sessions(&parse(&Metrics::default().render(&gauges(hostile.clone()))));
    assert_eq!(told.len(), HOSTILE.len());
    for (app, status, _) in hostile {
        assert_eq!(told[&(app, status)], 3.0);
    }
}

#[test]
fn labels_are_bounded_and_no_session_is_left_out() {
    let many = (0..1_000).map(|n| (format!("app{n}"), format!("status{}", n % 50), i64::from(n == 7) + 1));
    let told = sessions(&parse(&Metrics::default().render(&gauges(many))));
    assert_eq!(told.values().sum::<f64>(), 1_001.0);
    let apps: std::collections::HashSet<&String> = told.keys().map(|(app, _)| app).collect();
    let statuses: std::collections::HashSet<&String> = told.keys().map(|(_, status)| status).collect();
    assert_eq!((apps.len(), statuses.len()), (APPS_MAX + 1, STATUSES_MAX + 1));
    assert!(apps.contains(&"app7".to_owned()) && apps.contains(&"other".to_owned()), "the largest has its name");
}

#[tokio::test]
async fn a_real_scrape_is_of_the_format() {
    let server = Server::start(&[]).await;
    let names: Vec<&str> = HOSTILE.into_iter().filter(|app| !app.contains('\n')).collect();
    for app in &names {
        server.post("/sessions", json!({ "app_name": app })).await;
    }
    let answer = server.client.get(format!("{}/metrics", server.url)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let samples = parse(&answer.text().await.unwrap());
    let told = sessions(&samples);
    for app in names {
        assert_eq!(told[&(app.to_owned(), "idle".to_owned())], 1.0, "{app}");
    }
    let value = |name: &str| samples.iter().find(|(sample, ..)| sample == name).unwrap_or_else(|| panic!("{name}")).2;
    assert_eq!(value("sessionwatch_build_info"), 1.0);
    assert!(value("process_resident_memory_bytes") > 1_000_000.0);
    assert!(value("process_open_fds") > 3.0);
    assert!(value("process_start_time_seconds") > 1_700_000_000.0);
}
