//! Frames of `/ws` as `sessionwatch watch` reads them, one per line. The view that it draws
//! must be safe: the texts in the frames come from everybody who may register a session.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sessionwatch::cli::ls::FilterArgs;
use sessionwatch::cli::screen::{Link, View, draw};
use sessionwatch::cli::store::Store;
use sessionwatch::cli::table::paint;
use sessionwatch::cli::text::{escape, fit, json_line, width};
use sessionwatch::cli::wire::{DashboardFrame, EventPage, SessionFrame};

/// Most frames in an input.
const FRAMES_MAX: usize = 64;
/// Sizes of terminals: tiny, narrow, usual, wide.
const SIZES: [(usize, usize); 5] = [(0, 0), (1, 4), (24, 6), (80, 25), (400, 50)];

pub fn drive(input: &[u8]) {
    let mut store = Store::default();
    let filter = FilterArgs { q: Some("a".to_owned()), ..FilterArgs::default() };
    let everything = FilterArgs::default();
    let mut local: DateTime<Utc> = "2026-11-22T08:10:00Z".parse().expect("a time");
    for line in input.split(|byte| *byte == b'\n').take(FRAMES_MAX) {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        local += TimeDelta::seconds(1);
        // Lists of sessions and log entries are read in the same way.
        let _ = serde_json::from_str::<SessionFrame>(line);
        let _ = serde_json::from_str::<EventPage>(line);
        if let Ok(value) = serde_json::from_str::<Value>(line) {
            assert!(!json_line(&value).contains(char::is_control), "a line of JSON steers the terminal");
        }
        if let Ok(frame) = serde_json::from_str::<DashboardFrame>(line) {
            store.apply(frame, local);
        }
    }
    let now = store.server_time(local);
    for (columns, height) in SIZES {
        for (filter, link) in [(&everything, Link::Live(None)), (&filter, Link::Lost(local))] {
            let view = View { store: &store, filter, link, scroll: 1, now };
            let lines = draw(&view, columns, height);
            assert!(lines.len() <= height, "{} lines on {height}", lines.len());
            for line in &lines {
                let text = paint(line, false);
                assert!(!text.contains(char::is_control), "{text:?} steers the terminal");
                let wide: usize = line.iter().map(|cell| width(&cell.text)).sum();
                assert!(wide <= columns, "{wide} columns on {columns}: {text:?}");
            }
        }
    }
    let text = String::from_utf8_lossy(input);
    for columns in 0..4 {
        assert!(width(&fit(&escape(&text), columns)) <= columns, "more than {columns} columns");
    }
}
