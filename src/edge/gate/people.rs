//! People whom a trusted proxy has logged in: their names by the proxy's headers, and their roles.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::{HeaderMap, HeaderName};

use crate::config::Config;
use crate::edge::problem::Problem;
use crate::fields;
use crate::tokens::Role;

/// The proxy's headers, and the lists of who has which role.
#[derive(Clone, Debug, Default)]
pub struct People {
    header: Option<HeaderName>,
    groups: Option<HeaderName>,
    admins: Vec<String>,
    viewers: Vec<String>,
}

/// A person whom a trusted proxy has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name that the proxy sends; the log keeps it.
    pub name: Arc<str>,
    /// The role; `None` if no list contains the person.
    pub role: Option<Role>,
}

/// The prefix of a group in the lists.
const GROUP: &str = "group:";

impl People {
    /// Reads the settings.
    ///
    /// # Errors
    /// A sentence that says which setting is missing or wrong.
    pub fn new(config: &Config) -> Result<Self, String> {
        let name = |flag: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(str::parse::<HeaderName>);
            let parsed = parsed.transpose().map_err(|_| format!("{flag} {text:?} is no header's name"))?;
            match parsed {
                Some(name) if ["host", "origin", "cookie", "authorization"].contains(&name.as_str()) => {
                    Err(format!("{flag} cannot be {name}: everybody sends that one"))
                }
                parsed => Ok(parsed),
            }
        };
        let people = Self {
            header: name("--auth-header", &config.auth_header)?,
            groups: name("--auth-groups-header", &config.auth_groups_header)?,
            admins: config.admins.clone(),
            viewers: config.viewers.clone(),
        };
        if people.header.is_some() && people.admins.is_empty() && people.viewers.is_empty() {
            return Err("--auth-header lets nobody do anything yet: add --admins or --viewers".to_owned());
        }
        let mut listed = people.admins.iter().chain(&people.viewers);
        if people.groups.is_none() && listed.any(|pattern| pattern.starts_with(GROUP)) {
            return Err("a list has a group: add --auth-groups-header, the header that tells them".to_owned());
        }
        Ok(people)
    }

    /// Whether the proxy sends the names of people.
    #[must_use]
    pub fn are_told(&self) -> bool {
        self.header.is_some()
    }

    /// Whether the request has one of the headers that only the proxy sends.
    #[must_use]
    pub fn named_in(&self, headers: &HeaderMap) -> bool {
        [&self.header, &self.groups].into_iter().flatten().any(|name| headers.contains_key(name))
    }

    /// The person in the headers of a trusted proxy; `None` without a name.
    ///
    /// # Errors
    /// 401 if the header comes twice or its value cannot be a name.
    pub fn who(&self, headers: &HeaderMap) -> Result<Option<Person>, Problem> {
        let Some(header) = &self.header else { return Ok(None) };
        let mut values = headers.get_all(header).iter();
        let name = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => std::str::from_utf8(value.as_bytes()).ok(),
            (Some(_), Some(_)) => None,
        };
        if name.is_some_and(str::is_empty) {
            return Ok(None);
        }
        let name = name.and_then(|name| fields::text("the name", name, fields::NAME_MAX).ok());
        let Some(name) = name else {
            let detail =
                format!("the proxy's {header} is no name of one person; have it send the header once, as text");
            return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
        };
        let groups =
            self.groups.iter().flat_map(|header| headers.get_all(header)).filter_map(|value| value.to_str().ok());
        let groups: Vec<&str> = groups.flat_map(|list| list.split(',')).map(str::trim).collect();
        let listed = |patterns: &[String]| {
            patterns.iter().any(|pattern| match pattern.strip_prefix(GROUP) {
                Some(group) => groups.iter().any(|is_in| !is_in.is_empty() && fits(group, is_in)),
                None => fits(pattern, &name),
            })
        };
        let role = match () {
            () if listed(&self.admins) => Some(Role::Admin),
            () if listed(&self.viewers) => Some(Role::View),
            () => None,
        };
        Ok(Some(Person { name, role }))
    }
}

/// Whether a text fits a pattern, in which `*` stands for any characters. Case matters: for some
/// proxies `Ana` and `ana` are two people.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_anything_and_nothing_else_does() {
        let cases = [
            ("ana", "ana", true),
            ("ana", "Ana", false),
            ("ana", "anab", false),
            ("*", "anybody", true),
            ("*@example.com", "ana@example.com", true),
            ("*@example.com", "ana@example.com.evil.org", false),
            ("*@example.com", "ana@evil-example.com", false),
            ("ana@*.com", "ana@a.b.com", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*bc", "abc", false),
            ("", "ana", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
