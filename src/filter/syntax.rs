//! The words and qualifiers of a filter's text, each with its place. The page reads the same language in
//! `web/query.js`; what the page skips while it is typed is an error here.

use super::Wrong;

/// A word or a qualifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// The qualifier; `None` for a free word. The part before a dot is in lower case.
    pub(super) key: Option<String>,
    /// The values of the qualifier, or the one word.
    pub(super) values: Vec<String>,
    /// Whether what matches is excluded.
    pub(super) not: bool,
    /// Where it begins, in characters from 1.
    pub(super) at: usize,
}

/// A character, whether it was quoted, and its place. A pair of quotes adds an empty one, so that `""` is a value.
#[derive(Clone, Copy)]
struct Char {
    text: Option<char>,
    quoted: bool,
    at: usize,
}

impl Char {
    fn is(self, text: char) -> bool {
        !self.quoted && self.text == Some(text)
    }
}

/// Reads a text as terms.
pub(super) fn parse(text: &str) -> Result<Vec<Term>, Wrong> {
    let mut terms = Vec::new();
    for token in tokens(text)? {
        terms.extend(term(&token)?);
    }
    Ok(terms)
}

fn term(token: &[Char]) -> Result<Option<Term>, Wrong> {
    let at = token[0].at;
    let not = token.len() > 1 && token[0].is('-');
    let parts = if not { &token[1..] } else { token };
    let colon = parts.iter().position(|part| part.is(':')).filter(|colon| *colon > 0);
    let key = colon.map(|colon| join(&parts[..colon])).filter(|key| is_key(key));
    let (Some(colon), Some(key)) = (colon, key) else {
        let word = join(parts);
        return Ok((!word.is_empty()).then(|| Term { key: None, values: vec![word], not, at }));
    };
    let values = split(&parts[colon + 1..]);
    if values.is_empty() {
        return Err(Wrong::at(at, format!("{key}: has no value; write one behind the colon, or \"\" for none")));
    }
    Ok(Some(Term { key: Some(normal(&key)), values, not, at }))
}

/// Splits at spaces.
fn tokens(text: &str) -> Result<Vec<Vec<Char>>, Wrong> {
    let mut found = Vec::new();
    let mut current = Vec::new();
    let mut open = None;
    let mut chars = text.chars().zip(1..).peekable();
    while let Some((char, at)) = chars.next() {
        let quoted = open.is_some();
        if char == '\\' && quoted && chars.peek().is_some() {
            let (char, at) = chars.next().unwrap_or((char, at));
            current.push(Char { text: Some(char), quoted: true, at });
        } else if char == '"' {
            open = if quoted { None } else { Some(at) };
            if !quoted {
                current.push(Char { text: None, quoted: true, at });
            }
        } else if !quoted && is_space(char) {
            if !current.is_empty() {
                found.push(std::mem::take(&mut current));
            }
        } else {
            current.push(Char { text: Some(char), quoted, at });
        }
    }
    if let Some(at) = open {
        return Err(Wrong::at(at, "this quote is not closed; add a \" at its end".to_owned()));
    }
    if !current.is_empty() {
        found.push(current);
    }
    Ok(found)
}

/// What `\s` of a JavaScript pattern is.
fn is_space(char: char) -> bool {
    (char.is_whitespace() && char != '\u{85}') || char == '\u{feff}'
}

fn join(parts: &[Char]) -> String {
    parts.iter().filter_map(|part| part.text).collect()
}

/// Splits at commas; empty pieces are skipped, but `""` is a value.
fn split(parts: &[Char]) -> Vec<String> {
    parts.split(|part| part.is(',')).filter(|value| !value.is_empty()).map(join).collect()
}

/// Whether this can be a qualifier: letters and `_`, then maybe a dot and a name.
fn is_key(key: &str) -> bool {
    let (name, rest) = key.split_once('.').map_or((key, None), |(name, rest)| (name, Some(rest)));
    let letters = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    let one_line = |rest: &str| !rest.is_empty() && !rest.contains(['\n', '\r', '\u{2028}', '\u{2029}']);
    letters && rest.is_none_or(one_line)
}

fn normal(key: &str) -> String {
    match key.split_once('.') {
        Some((name, rest)) => format!("{}.{rest}", name.to_ascii_lowercase()),
        None => key.to_ascii_lowercase(),
    }
}
