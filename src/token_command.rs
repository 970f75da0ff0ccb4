//! `sessionwatch token list|rotate|revoke`: works on the token file, which a running
//! server looks at twice a second. Whoever can read that file is the administrator.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::clock::Clock;
use crate::config::token_path;
use crate::fields;
use crate::tokens::{self, Changed, File, Role};

/// What `sessionwatch token` takes.
#[derive(Clone, Debug, Args)]
pub struct TokenCommand {
    #[command(subcommand)]
    what: What,
    /// The server's database, beside which the token file is
    #[arg(long, env = "SESSIONWATCH_DB", default_value = "sessionwatch.db", value_name = "FILE", global = true)]
    db: PathBuf,
    /// The token file, where the server was given one
    #[arg(long, env = "SESSIONWATCH_TOKEN_FILE", value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Show the tokens
    List {
        /// Show who changed them instead, when, from where and why
        #[arg(long)]
        changes: bool,
    },
    /// Give a token a new secret; who came with the old one is sent away within a second
    Rotate {
        /// Its name; one that is not there is made
        name: String,
        /// What a token that is made may do: ingest, view or admin; its name by default
        #[arg(long, value_parser = role)]
        role: Option<Role>,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take a token away; who came with it is sent away within a second
    Revoke {
        /// Its name
        name: String,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
}

fn role(word: &str) -> Result<Role, String> {
    let known = Role::ALL.into_iter().find(|role| role.as_str() == word);
    known.ok_or_else(|| "it is ingest, view or admin".to_owned())
}

/// Does it; answers what is to be shown.
///
/// # Errors
/// A sentence for who asked.
pub fn run(command: &TokenCommand) -> Result<String, String> {
    let path = token_path(command.token_file.as_deref(), &command.db);
    if !path.exists() {
        return Err(format!(
            "there is no token file at {}; name it with --token-file or --db, or start the server, which makes it",
            path.display()
        ));
    }
    let mut file = tokens::read(&path)?;
    match &command.what {
        What::List { changes: false } => return Ok(list(&file)),
        What::List { changes: true } => return Ok(changes(&file)),
        What::Rotate { name, role, reason } => rotate(&mut file, name, *role, reason.as_deref())?,
        What::Revoke { name, reason } => revoke(&mut file, name, reason.as_deref())?,
    }
    tokens::write(&path, &file)?;
    Ok(list(&file))
}

fn rotate(file: &mut File, name: &str, role: Option<Role>, reason: Option<&str>) -> Result<(), String> {
    fields::text("the name", name, fields::CLIENT_MAX).map_err(|error| error.to_string())?;
    let there = file.tokens.iter_mut().find(|line| line.name == name);
    let what = match (there, role.or_else(|| self::role(name).ok())) {
        (Some(line), _) if role.is_none_or(|role| role == line.role) => {
            *line = tokens::fresh(name, line.role);
            "rotated"
        }
        (Some(line), _) => return Err(format!("{name} has the role {}; revoke it first", line.role.as_str())),
        (None, Some(role)) => {
            file.tokens.push(tokens::fresh(name, role));
            "made"
        }
        (None, None) => return Err(format!("there is no token {name}; say --role to make one")),
    };
    record(file, what, name, reason)
}

fn revoke(file: &mut File, name: &str, reason: Option<&str>) -> Result<(), String> {
    let before = file.tokens.len();
    file.tokens.retain(|line| line.name != name);
    if file.tokens.len() == before {
        return Err(format!("there is no token {name}; `sessionwatch token list` shows those that there are"));
    }
    record(file, "revoked", name, reason)
}

/// Who works on the file is on this machine: as whom, and from where they came to it,
/// the login's environment tells, as far as it tells the truth.
fn record(file: &mut File, what: &str, name: &str, reason: Option<&str>) -> Result<(), String> {
    let reason = fields::optional("the reason", reason, fields::REASON_MAX).map_err(|error| error.to_string())?;
    let said = |variable: &str| std::env::var(variable).ok().filter(|value| value.chars().all(|c| !c.is_control()));
    let user = said("SUDO_USER").or_else(|| said("USER"));
    let far = said("SSH_CONNECTION").and_then(|value| value.split(' ').next().map(str::to_owned));
    file.changes.push(Changed {
        at: Clock::system().now().wall.to_string(),
        what: what.to_owned(),
        name: name.to_owned(),
        by: user.map_or_else(|| "local".to_owned(), |user| format!("local ({user})")),
        from: far.unwrap_or_else(|| "this machine".to_owned()),
        reason: reason.map(|reason| reason.to_string()),
    });
    Ok(())
}

fn list(file: &File) -> String {
    let width = file.tokens.iter().map(|line| line.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:width$}  ROLE    TOKEN\n", "NAME");
    for line in &file.tokens {
        let _ = writeln!(text, "{:width$}  {:6}  {}", line.name, line.role.as_str(), line.token);
    }
    text
}

fn changes(file: &File) -> String {
    let mut text = String::new();
    for Changed { at, what, name, by, from, reason } in &file.changes {
        let why = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let _ = writeln!(text, "{at}  {name} {what} by {by} from {from}{why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_is_gone_and_what_is_rotated_is_another() {
        let tokens = Role::ALL.map(|role| tokens::fresh(role.as_str(), role)).to_vec();
        let mut file = File { tokens, changes: Vec::new() };
        let before = file.tokens.clone();
        rotate(&mut file, "admin", None, Some("left the team")).expect("rotated");
        revoke(&mut file, "view", None).expect("revoked");
        rotate(&mut file, "jobs", Some(Role::Ingest), None).expect("made");
        let names: Vec<_> = file.tokens.iter().map(|line| (&*line.name, line.role)).collect();
        assert_eq!(names, [("ingest", Role::Ingest), ("admin", Role::Admin), ("jobs", Role::Ingest)]);
        assert_eq!(file.tokens[0], before[0]);
        assert_ne!(file.tokens[1].token, before[2].token);
        let told: Vec<_> = file.changes.iter().map(|change| (&*change.what, change.reason.as_deref())).collect();
        assert_eq!(told, [("rotated", Some("left the team")), ("revoked", None), ("made", None)]);

        assert!(revoke(&mut file, "view", None).is_err(), "it is gone already");
        assert!(rotate(&mut file, "jobs", Some(Role::Admin), None).is_err(), "a role does not grow");
        assert!(rotate(&mut file, "other", None, None).is_err(), "of which role?");
        assert!(rotate(&mut file, "admin", None, Some("a\u{202e}b")).is_err());
    }
}
