//! What a text from outside must be before it becomes part of a session. Every
//! refusal names the field and says what would be accepted.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::session::{SessionId, Status, Visibility};

/// Longest app name, user id and task, in characters.
pub const NAME_MAX: usize = 256;
/// Longest reason and message, in characters.
pub const REASON_MAX: usize = 512;
/// Longest `client` text, in characters.
pub const CLIENT_MAX: usize = 128;
/// Most keys in `meta`.
pub const META_KEYS: usize = 32;
/// Largest `meta` as JSON, in bytes.
pub const META_BYTES: usize = 4_096;

const RESERVED: [&str; 4] = ["stale", "killed", "expired", "ended"];

/// Control characters and those that reorder what stands around them would let a
/// name lie about itself on a screen or in a log.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn invalid(field: &str, what: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("{field} {what}"))
}

/// A text of 1 to `max` characters.
pub fn text(field: &str, value: &str, max: usize) -> Result<Arc<str>> {
    let length = value.chars().count();
    if length == 0 {
        return Err(invalid(field, "must not be empty"));
    }
    if length > max {
        return Err(invalid(field, format_args!("has {length} characters; at most {max} are allowed")));
    }
    if let Some(c) = value.chars().find(|&c| is_deceptive(c)) {
        return Err(invalid(
            field,
            format_args!("contains U+{:04X}; control and bidirectional characters are not allowed", u32::from(c)),
        ));
    }
    Ok(Arc::from(value))
}

/// A text that may be absent; an empty one counts as absent.
pub fn optional(field: &str, value: Option<&str>, max: usize) -> Result<Option<Arc<str>>> {
    value.filter(|value| !value.is_empty()).map(|value| text(field, value, max)).transpose()
}

/// An id as the client gave it.
pub fn session_id(value: &str) -> Result<SessionId> {
    SessionId::parse(value).ok_or_else(|| invalid("session_id", "must be 1 to 128 characters of A-Z a-z 0-9 . _ : -"))
}

/// A status word.
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
    if starts_well && goes_on && value.len() <= 32 {
        Ok(Status::Other(Arc::from(value)))
    } else {
        Err(invalid(
            "status",
            "must be idle, running, or a word of 1 to 32 characters a-z 0-9 _ - that begins with a letter",
        ))
    }
}

/// A visibility word.
pub fn visibility(value: &str) -> Result<Visibility> {
    Visibility::parse(value).ok_or_else(|| invalid("visibility", "must be visible, hidden, frozen or suspended"))
}

/// Seconds between heartbeats: more than zero; what is longer than `max` becomes
/// `max`, which the answer tells the client.
pub fn heartbeat_interval(value: f64, max: f64) -> Result<f64> {
    if value.is_finite() && value > 0.0 {
        Ok(value.min(max))
    } else {
        Err(invalid("heartbeat_interval", "must be a number of seconds greater than 0"))
    }
}

/// A session's tags, checked and put into the form in which they are sent on;
/// `None` for no tags.
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
