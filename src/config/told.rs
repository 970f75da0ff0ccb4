//! The settings as text: for the log, for `sessionwatch config check`, and as an example of a config file.
//! Secrets are left out.

use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use super::file::{ConfigFile, NAMES_THE_FILE, command};

/// A setting that is not the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its name, which is the flag's without the `--`.
    pub name: String,
    /// Its value, without secrets.
    pub value: String,
    /// Where it comes from: the flag, the variable, or the line of the file.
    pub from: String,
}

/// The settings that are not the defaults, in the order of `--help`.
#[must_use]
pub fn told(matches: &ArgMatches, file: Option<&ConfigFile>) -> Vec<Told> {
    let command = command();
    let one = |arg: &Arg| {
        let (id, name) = (arg.get_id().as_str(), arg.get_long()?);
        // Another command does not have the settings.
        matches.try_contains_id(id).ok().filter(|given| *given)?;
        let from = match matches.value_source(id)? {
            ValueSource::CommandLine => format!("--{name}"),
            ValueSource::EnvVariable => arg.get_env()?.to_string_lossy().into_owned(),
            _ => file.and_then(|file| Some(format!("{}:{}", file.path.display(), file.line(name)?)))?,
        };
        let values = matches.get_raw(id)?.map(|value| without_secret(&value.to_string_lossy()));
        let value = values.collect::<Vec<_>>().join(",");
        // A switch that is given without a value is on.
        let value = if value.is_empty() && is_switch(arg) { "true".to_owned() } else { value };
        Some(Told { name: name.to_owned(), value, from })
    };
    command.get_arguments().filter_map(one).collect()
}

/// The value without its password, where it is the URL of a database.
#[must_use]
pub fn without_secret(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (place, query) = rest.split_once('?').map_or((rest, ""), |(place, query)| (place, query));
    match place.rsplit_once('@') {
        // A `?` that belongs to the password.
        None if query.contains('@') => format!("{scheme}://…"),
        None => format!("{scheme}://{place}"),
        Some((login, place)) => {
            let user = login.split([':', '/', '@']).next().unwrap_or_default();
            format!("{scheme}://{user}@{place}")
        }
    }
}

fn is_switch(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.min_values() == 0)
}

/// A config file with all settings, each as a comment with its default.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# The settings of sessionwatch. Each is also a flag (--NAME) and a variable (SESSIONWATCH_NAME); the variable\n\
         # counts more than this file, and the flag more than both. `sessionwatch config check` checks the file.\n",
    );
    for arg in command().get_arguments().filter(|arg| arg.get_id() != NAMES_THE_FILE) {
        let Some(name) = arg.get_long() else { continue };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        text.push('\n');
        for line in wrapped(&help, 100) {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "#{name} = {}", value_of(arg));
    }
    text
}

/// The default as TOML, or what kind of value there would be.
fn value_of(arg: &Arg) -> String {
    let default = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    let is_bare = |value: &String| value == "true" || value == "false" || value.parse::<i64>().is_ok();
    match default {
        Some(value) if is_bare(&value) => value,
        Some(value) => format!("{value:?}"),
        None => {
            let kind = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
            match (kind, matches!(arg.get_action(), ArgAction::Append)) {
                ("N", _) => "1000".to_owned(),
                (kind, true) => format!("[{kind:?}]"),
                (kind, false) => format!("{kind:?}"),
            }
        }
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.is_empty() || line.len() + 1 + word.len() <= width);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_told() {
        for (value, shown) in [
            ("sessionwatch.db", "sessionwatch.db"),
            ("postgres://u@h1,h2/d?sslmode=verify-full", "postgres://u@h1,h2/d"),
            ("postgres://u:s3cret@h/d", "postgres://u@h/d"),
            ("postgres://u:s3:c@r/et@h/d", "postgres://u@h/d"),
            ("postgres://u:s3?cret@h/d", "postgres://…"),
            ("postgresql://h/d?user=u&password=s3cret", "postgresql://h/d"),
            ("https://u:s3cret@monitor.example.com", "https://u@monitor.example.com"),
        ] {
            assert_eq!(without_secret(value), shown);
        }
    }
}
