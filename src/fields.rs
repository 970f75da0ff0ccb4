//! Checks of the texts that clients send. Every error names the field and says what is
//! accepted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::session::{SessionId, Status, Visibility};

/// Longest app name, user id and task, in characters.
pub const NAME_MAX: usize = 256;
/// Longest reason and message, in characters.
pub const REASON_MAX: usize = 512;
/// Longest `client` text, in characters.
pub const CLIENT_MAX: usize = 128;
/// Longest status word, in characters.
pub const STATUS_MAX: usize = 32;
/// Most keys in `meta`.
pub const META_KEYS: usize = 32;
/// Largest `meta` as JSON, in bytes.
pub const META_BYTES: usize = 4_096;

const RESERVED: [&str; 4] = ["stale", "killed", "expired", "ended"];

/// How a character looks to the reader of the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Like itself.
    Plain,
    /// Like a space; also control characters, which a terminal may execute.
    Blank,
    /// Not at all, or it changes the look of its neighbours.
    Invisible,
}

/// How a character looks between its neighbours. With characters that are not plain, two
/// different names could look alike.
fn look(before: Option<char>, c: char, after: Option<char>) -> Look {
    // Joiners and variation selectors are needed in emoji and in the scripts from Hebrew on;
    // elsewhere they are invisible.
    let shaped = |c: Option<char>| c.is_some_and(|c| c >= '\u{0590}' && !is_joiner(c) && !is_selector(c));
    match c {
        _ if c.is_control() => Look::Blank,
        // Line and paragraph separators, and letters that fonts draw as empty space.
        '\u{2028}' | '\u{2029}' | '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' => Look::Blank,
        _ if is_joiner(c) && shaped(before) && shaped(after) => Look::Plain,
        _ if is_selector(c) && (shaped(before) || after == Some('\u{20e3}')) => Look::Plain,
        // Soft hyphen, bidirectional marks and controls, joiners, fillers, byte order mark,
        // annotations, shorthand and musical controls, tags: Unicode's Default_Ignorable.
        '\u{00ad}'
        | '\u{034f}'
        | '\u{061c}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => Look::Invisible,
        _ => Look::Plain,
    }
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Each character with its look.
fn looks(text: &str) -> impl Iterator<Item = (char, Look)> {
    let mut before = None;
    let mut chars = text.chars().peekable();
    std::iter::from_fn(move || {
        let c = chars.next()?;
        let look = look(before, c, chars.peek().copied());
        before = Some(c);
        Some((c, look))
    })
}

/// Makes a text valid, for clients that cannot read an error (`/ping`): blank characters
/// become spaces, invisible ones are removed, and the rest is cut to `max` characters.
/// [`text`] accepts the result unless it is empty.
#[must_use]
pub fn clean(value: &str, max: usize) -> String {
    let mut cleaned = String::with_capacity(value.len().min(max * 4));
    for (c, look) in looks(value) {
        match look {
            Look::Plain => cleaned.push(c),
            Look::Blank if !cleaned.ends_with(' ') => cleaned.push(' '),
            Look::Blank | Look::Invisible => {}
        }
    }
    let cut: String = cleaned.trim().chars().take(max).collect();
    // A character whose neighbours were removed may look different now.
    if looks(&cut).all(|(_, look)| look == Look::Plain) { cut.trim_end().to_owned() } else { clean(&cut, max) }
}

/// Makes a status word valid, for clients that cannot read an error (`/ping`): lower case,
/// with a dash in the place of other characters. A reserved word, or one that does not begin
/// with a letter, gets the prefix `said-`. An empty text becomes `idle`, a text without any
/// letter or digit `other`.
#[must_use]
pub fn clean_status(value: &str) -> String {
    let said = clean(value, NAME_MAX).to_ascii_lowercase();
    if said.is_empty() {
        return "idle".to_owned();
    }
    let mut word = String::new();
    for c in said.chars() {
        match c {
            'a'..='z' | '0'..='9' | '_' => word.push(c),
            _ if word.ends_with('-') => {}
            _ => word.push('-'),
        }
    }
    let word = word.trim_matches(['-', '_']);
    let own = |word: &str| word.starts_with(|c: char| c.is_ascii_lowercase()) && !RESERVED.contains(&word);
    let mut word = match word {
        "" => "other".to_owned(),
        word if own(word) => word.to_owned(),
        word => format!("said-{word}"),
    };
    word.truncate(STATUS_MAX);
    word.trim_end_matches('-').to_owned()
}

fn invalid(field: &str, what: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("{field} {what}"))
}

/// Checks a text of 1 to `max` characters.
pub fn text(field: &str, value: &str, max: usize) -> Result<Arc<str>> {
    let length = value.chars().count();
    if length == 0 {
        return Err(invalid(field, "must not be empty"));
    }
    if length > max {
        return Err(invalid(field, format_args!("has {length} characters; at most {max} are allowed")));
    }
    if let Some((c, _)) = looks(value).find(|&(_, look)| look != Look::Plain) {
        return Err(invalid(
            field,
            format_args!(
                "contains U+{:04X}; control, bidirectional and invisible characters are not allowed",
                u32::from(c)
            ),
        ));
    }
    if value.trim().is_empty() {
        return Err(invalid(field, "must not be blank"));
    }
    Ok(Arc::from(value))
}

/// Checks a text that may be absent; an empty one counts as absent.
pub fn optional(field: &str, value: Option<&str>, max: usize) -> Result<Option<Arc<str>>> {
    value.filter(|value| !value.is_empty()).map(|value| text(field, value, max)).transpose()
}

/// Checks the name of an app. It is also a path segment, so it must not be `.` or `..`.
pub fn app_name(field: &str, value: &str) -> Result<Arc<str>> {
    match value {
        "." | ".." => Err(invalid(field, format_args!("must not be {value:?}, which leads elsewhere in a path"))),
        _ => text(field, value, NAME_MAX),
    }
}

/// Checks a session id that a client chose.
pub fn session_id(value: &str) -> Result<SessionId> {
    SessionId::parse(value).ok_or_else(|| {
        invalid(
            "session_id",
            "must be 1 to 128 characters of A-Z a-z 0-9 . _ : - and none of \".\", \"..\" and \"stale\", which paths use",
        )
    })
}

/// Checks a status word.
pub fn status(value: &str) -> Result<Status> {
    match value {
        "idle" => return Ok(Status::Idle),
        "running" => return Ok(Status::Running),
        word if RESERVED.contains(&word) => {
            return Err(invalid(
                "status",
                format_args!(
                    "must not be {word:?}: that word is the server's own; use idle, running or a word of yours"
                ),
            ));
        }
        _ => {}
    }
    let mut bytes = value.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let goes_on = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if starts_well && goes_on && value.len() <= STATUS_MAX {
        Ok(Status::Other(Arc::from(value)))
    } else {
        Err(invalid(
            "status",
            "must be idle, running, or a word of 1 to 32 characters a-z 0-9 _ - that begins with a letter",
        ))
    }
}

/// Checks a visibility word.
pub fn visibility(value: &str) -> Result<Visibility> {
    Visibility::parse(value).ok_or_else(|| invalid("visibility", "must be visible, hidden, frozen or suspended"))
}

/// Checks the seconds without input of the user: 0 or more. At most a year is kept.
pub fn idle_seconds(value: f64) -> Result<Duration> {
    if value >= 0.0 && value.is_finite() {
        Ok(Duration::from_secs_f64(value.min(366.0 * 86_400.0)))
    } else {
        Err(invalid("idle_seconds", "must be a number of seconds, 0 or more; 0 means that the user is active"))
    }
}

/// Checks the seconds between heartbeats: more than zero. A longer time than `max` becomes
/// `max`; the response tells the client.
pub fn heartbeat_interval(value: f64, max: f64) -> Result<f64> {
    if value.is_finite() && value > 0.0 {
        Ok(value.min(max))
    } else {
        Err(invalid("heartbeat_interval", "must be a number of seconds greater than 0"))
    }
}

/// Checks a session's tags, and returns them as the JSON object that is sent on; `None` for
/// no tags.
pub fn meta(value: &Map<String, Value>) -> Result<Option<Arc<str>>> {
    if value.is_empty() {
        return Ok(None);
    }
    if value.len() > META_KEYS {
        return Err(invalid("meta", format_args!("has {} keys; at most {META_KEYS} are allowed", value.len())));
    }
    for (key, value) in value {
        text("a key of meta", key, NAME_MAX)?;
        match value {
            Value::String(value) if value.is_empty() => {}
            Value::String(value) => {
                text("a value of meta", value, META_BYTES)?;
            }
            Value::Number(_) | Value::Bool(_) => {}
            _ => return Err(invalid("meta", "may hold only strings, numbers, true and false")),
        }
    }
    let json = serde_json::to_string(value).map_err(|error| invalid("meta", error))?;
    if json.len() > META_BYTES {
        return Err(invalid("meta", format_args!("has {} bytes; at most {META_BYTES} are allowed", json.len())));
    }
    Ok(Some(Arc::from(json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_and_malformed_statuses_are_refused() {
        for bad in ["stale", "killed", "expired", "ended", "", "Busy", "1st", "a b", &"a".repeat(33)] {
            assert!(status(bad).is_err(), "{bad:?}");
        }
        for good in ["idle", "running", "waiting-for_input2", &"a".repeat(32)] {
            assert_eq!(status(good).expect(good).as_str(), good);
        }
    }

    #[test]
    fn deceptive_characters_are_named_in_the_refusal() {
        let error = text("app_name", "a\u{202e}b", NAME_MAX).expect_err("a bidi override");
        assert!(error.to_string().contains("U+202E"), "{error}");
        assert!(text("app_name", "naïve 日本 🎉", NAME_MAX).is_ok());
    }

    #[test]
    fn what_is_invisible_or_looks_like_a_blank_is_refused_in_names() {
        let bad = "\u{200b} \u{ad} \u{3164} \u{115f} \u{2800} \u{2060} \u{e0041} \u{202e} \u{2066} \u{feff} \u{fe0f} \u{200d}";
        for c in bad.split(' ') {
            for name in [format!("a{c}b"), format!("{c}ab"), format!("ab{c}"), c.to_owned(), format!("é{c}é")] {
                assert!(text("app_name", &name, NAME_MAX).is_err(), "{name:?}");
                assert!(!clean(&name, NAME_MAX).contains(c), "{name:?}");
            }
        }
        for blank in [" ", "\u{a0}", "\u{3000} "] {
            assert!(text("app_name", blank, NAME_MAX).is_err(), "{blank:?}");
        }
        // What shapes emoji and scripts is part of the name.
        for good in ["👨\u{200d}👩\u{200d}👧", "می\u{200c}خواهم", "❤\u{fe0f}", "1\u{fe0f}\u{20e3}", "क्\u{200d}ष", "a b"]
        {
            assert!(text("app_name", good, NAME_MAX).is_ok(), "{good:?}");
            assert_eq!(clean(good, NAME_MAX), good);
        }
    }

    #[test]
    fn a_status_of_an_old_client_becomes_a_word() {
        let cases = [
            ("Loading data", "loading-data"),
            ("error: 7", "error-7"),
            ("", "idle"),
            (" \n", "idle"),
            ("Running", "running"),
            ("stale", "said-stale"),
            ("Killed", "said-killed"),
            ("7 of 9", "said-7-of-9"),
            ("日本語", "other"),
            ("…", "other"),
            ("a\u{202e}b", "ab"),
            ("step_1", "step_1"),
            ("waiting--for", "waiting-for"),
        ];
        for (said, word) in cases {
            assert_eq!(clean_status(said), word, "{said:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_cleaned_is_never_refused(said in "\\PC{0,40}|.{0,40}|[\u{00ad}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2800}\u{fe0f}a-z😀 \n]{0,300}") {
            let cleaned = clean(&said, NAME_MAX);
            proptest::prop_assert!(optional("task", Some(&cleaned), NAME_MAX).is_ok(), "{cleaned:?}");
            proptest::prop_assert_eq!(&clean(&cleaned, NAME_MAX), &cleaned);
            proptest::prop_assert!(status(&clean_status(&said)).is_ok(), "{:?}", clean_status(&said));
        }
    }

    #[test]
    fn length_is_counted_in_characters_not_bytes() {
        assert!(text("app_name", &"ä".repeat(256), 256).is_ok());
        assert!(text("app_name", &"ä".repeat(257), 256).is_err());
    }

    #[test]
    fn meta_is_flat_and_small() {
        let object = |json: &str| serde_json::from_str::<Map<String, Value>>(json).expect("an object");
        assert_eq!(meta(&object("{}")), Ok(None));
        assert!(meta(&object(r#"{"env":"prod","n":1,"b":true,"__proto__":"x"}"#)).is_ok());
        for bad in [r#"{"a":null}"#, r#"{"a":[1]}"#, r#"{"a":{}}"#, r#"{"":1}"#] {
            assert!(meta(&object(bad)).is_err(), "{bad}");
        }
        let large = object(&format!(r#"{{"a":"{}"}}"#, "x".repeat(META_BYTES)));
        assert!(meta(&large).is_err());
    }
}
