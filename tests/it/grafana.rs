//! The Grafana dashboard and the alert rules name only metrics that there are; promtool, where it is
//! installed, checks the rules and every query.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sessionwatch::clock::Timestamp;
use sessionwatch::metrics::{AppStatus, Gauges, Metrics};
use sessionwatch::nodes::{Load, Server};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/grafana")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("it is there")
}

/// The names of metrics in a text, without what Prometheus adds to histograms.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let ours = words.filter(|word| word.starts_with("sessionwatch_") || word.starts_with("process_"));
    let bare = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| word.strip_suffix(end));
        ends.unwrap_or(word).to_owned()
    };
    ours.map(bare).collect()
}

/// The names of all metrics of a server, also of those that only several servers or alerts have.
fn there() -> BTreeSet<String> {
    let metrics = Metrics::default();
    metrics.kill("requested");
    metrics.alert("ops", "delivered");
    metrics.alerts_wait([("ops".to_owned(), 1)].into());
    let server = Server {
        node: 1,
        name: "one".into(),
        url: None,
        version: "1".into(),
        started_at: Timestamp(0),
        seen_at: Timestamp(0),
        load: Load::default(),
        lag: Some(1),
        lag_ms: Some(1),
        keeper: true,
        gone: false,
        left: false,
    };
    let sessions = vec![(AppStatus { app: "a".into(), status: "idle".into() }, 1)];
    let text = metrics.render(&Gauges { sessions, servers: vec![server], ..Gauges::default() });
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect()
}

fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
}

#[test]
fn every_metric_that_they_name_exists() {
    let there = there();
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let queries = queries(&dashboard);
    assert!(queries.len() > 20);
    for (what, text) in [("the dashboard", queries.join("\n")), ("the alert rules", read("alerts.yaml"))] {
        let named = names(&text);
        assert!(named.len() > 5, "{what}: {named:?}");
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{what} names {missing:?}, which /metrics does not have: {there:?}");
    }
    assert!(!there.contains("sessionwatch_nothing"));
}

#[test]
fn promtool_takes_the_rules_and_every_query() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("promtool is not installed: skipped");
        return;
    }
    let promtool = |args: &[&str], folder: &Path| {
        let output = Command::new("promtool").args(args).current_dir(folder).output().expect("it runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    promtool(&["check", "rules", "alerts.yaml"], &folder());
    promtool(&["test", "rules", "alerts.test.yaml"], &folder());
    // Each query of the dashboard as a rule, so that promtool reads it.
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let rules: Vec<Value> = queries(&dashboard)
        .iter()
        .enumerate()
        .map(|(index, query)| {
            let query = query.replace("$__rate_interval", "5m").replace("$instance", ".*");
            serde_json::json!({ "record": format!("q{index}"), "expr": query })
        })
        .collect();
    let text = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    let place = tempfile::tempdir().expect("a folder");
    std::fs::write(place.path().join("queries.yaml"), text).expect("written");
    promtool(&["check", "rules", "queries.yaml"], place.path());
}
