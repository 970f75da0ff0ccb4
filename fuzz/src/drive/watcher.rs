//! Frames of `/ws` as `sessionwatch watch` reads them, one per line. The view that it draws
//! must be safe: the texts in the frames come from everybody who may register a session.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sessionwatch::cli::text::{escape, fit, json_line, width};
use sessionwatch::cli::watch::screen::Screen;
use sessionwatch::cli::wire::{DashboardFrame, EventPage, SessionFrame};
use sessionwatch::filter::Filter;

/// Most frames in an input.
const FRAMES_MAX: usize = 64;
/// Sizes of terminals: tiny, narrow, usual, wide.
const SIZES: [(u16, u16); 5] = [(0, 0), (1, 4), (24, 6), (80, 25), (400, 50)];

pub fn drive(input: &[u8]) {
    let mut all = Screen::new(Filter::default(), true);
    let mut some = Screen::new(Filter::sessions("a").unwrap_or_default(), false);
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
            all.apply(frame.clone(), local);
            some.apply(frame, local);
        }
    }
    some.lost(local);
    for screen in [&mut all, &mut some] {
        let now = screen.server_time(local);
        for (columns, height) in SIZES {
            let lines = screen.text(now, columns, height);
            assert!(lines.len() <= usize::from(height), "{} lines on {height}", lines.len());
            for line in &lines {
                assert!(!line.contains(char::is_control), "{line:?} steers the terminal");
                let wide = width(line);
                assert!(wide <= usize::from(columns), "{wide} columns on {columns}: {line:?}");
            }
        }
    }
    let text = String::from_utf8_lossy(input);
    for columns in 0..4 {
        assert!(width(&fit(&escape(&text), columns)) <= columns, "more than {columns} columns");
    }
}
