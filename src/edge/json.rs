//! Reads JSON objects of clients, in bodies and frames, and says which field is wrong.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Why a text cannot be read, in words for the client.
#[derive(Debug)]
pub enum Unread {
    /// It is JSON, but not the expected fields.
    Shape(String),
    /// It is not JSON.
    Syntax(String),
}

/// Reads a JSON object. Only an object: serde would also take a list, and put its items into the
/// fields in order.
///
/// # Errors
/// Which field is wrong and what it must be, or where the text is not JSON.
pub fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Unread> {
    let begins = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if begins != Some(&b'{') {
        return Err(match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) => Unread::Shape("send a JSON object, like {\"name\":\"value\"}".to_owned()),
            Err(error) => Unread::Syntax(error.to_string()),
        });
    }
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() { Unread::Shape(wrong_field::<T>(bytes, &error)) } else { Unread::Syntax(error.to_string()) }
    })
}

/// The error with the path of its field. It parses the text again: only refused texts need it.
fn wrong_field<'a, T: Deserialize<'a>>(bytes: &'a [u8], error: &serde_json::Error) -> String {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let path = serde_path_to_error::deserialize::<_, T>(&mut reader).err().map(|error| error.path().to_string());
    let words = [
        ("expected f64", "expected a number"),
        ("expected usize", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected a map", "expected an object"),
        ("invalid type: map", "invalid type: an object"),
        ("invalid type: sequence", "invalid type: a list"),
    ];
    let message = words.iter().fold(error.to_string(), |text, (rust, ours)| text.replace(rust, ours));
    match path.as_deref() {
        None | Some(".") => message,
        Some(path) => format!("{path}: {message}"),
    }
}
