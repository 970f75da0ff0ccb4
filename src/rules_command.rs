//! `sessionwatch rules`: says whether a server would take a file, and what its rules would have done.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::client::Api;
use crate::cli::server::ServerArgs;
use crate::cli::text::escape;
use crate::rules::RulesFile;

/// The arguments of `sessionwatch rules`.
#[derive(Debug, Args)]
pub struct RulesCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check a rules file, and say what is in it
    Check {
        /// The file
        file: PathBuf,
    },
    /// Tell what the rules of a file would have done, from the log of a running server; nothing is done
    Rehearse(Rehearse),
}

/// The arguments of `sessionwatch rules rehearse`.
#[derive(Debug, Args)]
struct Rehearse {
    #[command(flatten)]
    server: ServerArgs,
    /// The file
    file: PathBuf,
    /// How far back
    #[arg(long, default_value = "24h")]
    since: String,
    /// Only this rule
    #[arg(long)]
    rule: Option<String>,
    /// One line of JSON for each rule, with all that is told
    #[arg(long)]
    json: bool,
}

/// Runs the command; returns the text for standard output.
///
/// # Errors
/// Why a server would refuse the file, or does not answer.
pub async fn run(command: &RulesCommand) -> Result<String, String> {
    match &command.what {
        What::Check { file } => check(file),
        What::Rehearse(asked) => rehearse(asked).await,
    }
}

fn check(path: &std::path::Path) -> Result<String, String> {
    let file = RulesFile::read(path)?;
    let list = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    Ok(format!(
        "{}: {}, {}, {}\n",
        path.display(),
        list(file.rules.len(), "rule", "rules"),
        list(file.notify.len(), "target", "targets"),
        list(file.expect.len(), "expected app", "expected apps"),
    ))
}

async fn rehearse(asked: &Rehearse) -> Result<String, String> {
    let file = RulesFile::read(&asked.file)?;
    let text = std::fs::read_to_string(&asked.file).map_err(|error| error.to_string())?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let rules = table.get("rule").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let api = Api::new(&asked.server).map_err(|error| error.to_string())?;
    let mut out = String::new();
    for (rule, text) in file.rules.iter().zip(rules) {
        if asked.rule.as_ref().is_some_and(|name| **name != *rule.name) {
            continue;
        }
        let one = toml::Table::from_iter([("rule".to_owned(), toml::Value::Array(vec![text]))]);
        let one = toml::to_string(&one).map_err(|error| error.to_string())?;
        let told = api.rehearse(&one, &asked.since).await;
        match told {
            Ok(told) if asked.json => out.push_str(&format!("{told}\n")),
            Ok(told) => out.push_str(&words(&told)),
            Err(error) if asked.json => return Err(error.to_string()),
            Err(error) => out.push_str(&format!("{}: {error}\n", escape(&rule.name))),
        }
    }
    match (&asked.rule, out.is_empty()) {
        (Some(name), true) => Err(format!("there is no rule {name:?} in {}", asked.file.display())),
        (None, true) => Ok("there are no rules in the file\n".to_owned()),
        _ => Ok(out),
    }
}

/// A rehearsal as text: a line with the counts, then one for each session.
fn words(told: &Value) -> String {
    let text = |value: &Value, name: &str| escape(value.get(name).and_then(Value::as_str).unwrap_or("–")).into_owned();
    let number = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut out = format!(
        "{}: since {} it would have warned {}, ended {}, cut off {} tasks, called off {}\n",
        text(told, "name"),
        text(told, "since"),
        number("warned_count"),
        number("ended_count"),
        number("tasks_cut"),
        number("called_off"),
    );
    if told.get("braked").is_some_and(Value::is_string) {
        out.push_str(&format!("  its limit would have stopped it at {}\n", text(told, "braked")));
    }
    for note in told.get("notes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        out.push_str(&format!("  {}\n", escape(note)));
    }
    for what in ["warned", "ended"] {
        for act in told.get(what).and_then(Value::as_array).into_iter().flatten() {
            out.push_str(&format!(
                "  {}  {what:<6}  {}  {}  {}  {}\n",
                text(act, "at"),
                text(act, "app_name"),
                text(act, "user_id"),
                text(act, "current_task"),
                text(act, "session_id"),
            ));
        }
    }
    out
}
