//! Text from outside, made safe for a terminal and cut to its width; spans of time as text.

use std::borrow::Cow;

use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Whether a character is not safe on a terminal: it could control the terminal (control characters, also the C1 ones
/// that some terminals read as escape sequences), reorder its neighbours (bidirectional controls) or be invisible
/// between them (zero-width characters, tags).
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// `text` with every unsafe character written as an escape, such as `\n` or `\u{1b}`.
///
/// All text from outside (names, tasks, reasons, the server's details) is escaped before it is printed.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            match c {
                '\n' | '\r' | '\t' => escaped.extend(c.escape_default()),
                _ => escaped.extend(c.escape_unicode()),
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// One line of JSON that is safe on a terminal: what JSON itself leaves unescaped is written as `\uXXXX`.
#[must_use]
pub fn json_line(value: &Value) -> String {
    let plain = value.to_string();
    if !plain.contains(is_unsafe) {
        return plain;
    }
    let mut safe = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if is_unsafe(c) {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// How many terminal columns `text` takes: the sum of what its characters take, as the reader sees characters
/// (grapheme clusters), since a terminal places one after the other.
#[must_use]
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

/// `text` in at most `columns` terminal columns, with `…` at the end where something was cut.
#[must_use]
pub fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    let (mut wide, mut end) = (0, 0);
    for (at, grapheme) in text.grapheme_indices(true) {
        // Some characters have no width, and there may be any number of them: they are counted by their bytes.
        if wide + grapheme.width() > columns || at + grapheme.len() > columns.saturating_mul(64) {
            return if columns == 0 { Cow::Borrowed("") } else { Cow::Owned(format!("{}…", &text[..end])) };
        }
        wide += grapheme.width();
        if wide < columns {
            // Here the mark would still have room.
            end = at + grapheme.len();
        }
    }
    Cow::Borrowed(text)
}

/// A span of `seconds` as an age: `4 s ago`, `2 min ago`, `3 h ago`, `5 d ago`; `now` for a time in the future.
#[must_use]
pub fn ago(seconds: i64) -> String {
    match seconds {
        ..=0 => "now".to_owned(),
        1..=89 => format!("{seconds} s ago"),
        90..=5_399 => format!("{} min ago", (seconds + 30) / 60),
        5_400..=172_799 => format!("{} h ago", (seconds + 1_800) / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// A span of `seconds` as a clock: `0:07`, `3:21`, `1:02:03`, `2d 3h`.
#[must_use]
pub fn clock(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..=3_599 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3_600..=172_799 => format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A span of milliseconds: `3 ms`, `1.24 s`, `75 s`.
#[must_use]
pub fn millis(ms: i64) -> String {
    match ms {
        ..=999 => format!("{} ms", ms.max(0)),
        1_000..=9_999 => format!("{}.{:02} s", ms / 1_000, ms / 10 % 100),
        _ => format!("{} s", ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_could_control_a_terminal_is_escaped() {
        assert_eq!(escape("Monte Carlo"), "Monte Carlo");
        assert_eq!(escape("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escape("one\ntwo\r\t"), "one\\ntwo\\r\\t");
        assert_eq!(escape("\u{9b}31m\u{7f}"), "\\u{9b}31m\\u{7f}");
        assert_eq!(escape("admin\u{202e}gpj"), "admin\\u{202e}gpj");
        assert_eq!(escape("né 日本 👩‍💻"), "né 日本 👩‍💻");
    }

    #[test]
    fn a_json_line_is_still_json_and_holds_no_control_characters() {
        let value = json!({"task": "a\u{1b}[2J\u{9b}\u{202e}\u{e0041}\n"});
        let line = json_line(&value);
        assert!(!line.contains(is_unsafe), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).ok(), Some(value));
    }

    #[test]
    fn cutting_counts_columns_and_not_characters() {
        assert_eq!(fit("report", 6), "report");
        assert_eq!(fit("reports", 6), "repor…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("x", 0), "");
        assert_eq!(fit("xy", 1), "…");
    }

    #[test]
    fn sequences_that_are_wider_than_their_characters_are_cut_too() {
        for wide in ["1\u{fe0f}\u{20e3}", "☺\u{fe0f}", "👩\u{200d}👩\u{200d}👧"] {
            let text = wide.repeat(40);
            for columns in 0..50 {
                assert!(width(&fit(&text, columns)) <= columns, "{wide} in {columns}");
            }
        }
        assert_eq!(fit("☺\u{fe0f}☺\u{fe0f}☺\u{fe0f}", 4), "☺\u{fe0f}…");
        let endless = format!("{}x", "\u{301}".repeat(100_000));
        assert!(fit(&endless.repeat(2), 1).len() < 100);
    }

    #[test]
    fn spans_of_time_have_a_short_form() {
        assert_eq!(ago(-3), "now");
        assert_eq!(ago(4), "4 s ago");
        assert_eq!(ago(120), "2 min ago");
        assert_eq!(ago(10_800), "3 h ago");
        assert_eq!(clock(7), "0:07");
        assert_eq!(clock(201), "3:21");
        assert_eq!(clock(3_723), "1:02:03");
        assert_eq!(millis(41), "41 ms");
        assert_eq!(millis(1_240), "1.24 s");
    }
}
