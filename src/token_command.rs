//! `sessionwatch token …`: changes the token file, which a running server reads twice a
//! second. Everybody who can change that file has an administrator's rights.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::clock::Clock;
use crate::config::token_path;
use crate::fields;
use crate::secret;
use crate::tokens::{self, Changed, File, Line, Link, Role, Taken};

/// The arguments of `sessionwatch token`.
#[derive(Clone, Debug, Args)]
pub struct TokenCommand {
    #[command(subcommand)]
    what: What,
    /// The server's database; the token file is beside it
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
        /// Show the changes instead: who changed which token, when, from where and why
        #[arg(long)]
        changes: bool,
    },
    /// Add a token
    Add {
        /// The token's name, which the log shows for changes made with it
        name: String,
        /// Its role: ingest, view or admin
        #[arg(long, value_parser = role)]
        role: Role,
        #[command(flatten)]
        limits: Limits,
        /// The reason, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Give a token a new secret; connections with the old one are closed within a second
    Rotate {
        /// Its name; a token that does not exist is made
        name: String,
        /// The role of a token that is made: ingest, view or admin; by default the role with its name
        #[arg(long, value_parser = role)]
        role: Option<Role>,
        /// How long the new secret is valid, such as 30d; without it the expiry stays as it was
        #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
        expires: Option<Duration>,
        /// The reason, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Delete a token; connections with it are closed within a second
    Revoke {
        /// Its name
        name: String,
        /// The reason, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Print a link that logs a browser in at the running server; it works once, for 15 minutes
    Link {
        /// The token to log in with; by default an admin token that is not limited to apps
        name: Option<String>,
    },
}

/// The limits of a token.
#[derive(Clone, Debug, Default, Args)]
struct Limits {
    /// It sees and ends sessions of this app only; repeat for several
    #[arg(long = "app", value_name = "APP")]
    apps: Vec<String>,
    /// How long it is valid, such as 12h or 30d; for ever without it
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    expires: Option<Duration>,
}

fn role(word: &str) -> Result<Role, String> {
    let known = Role::ALL.into_iter().find(|role| role.as_str() == word);
    known.ok_or_else(|| "it is ingest, view or admin".to_owned())
}

/// The result of the command.
pub struct Done {
    /// The text for standard output.
    pub text: String,
    /// The text for standard error: whether the running server uses the change.
    pub note: String,
    /// Whether a server runs that has not taken the change in time.
    pub untaken: bool,
}

/// Runs the command.
///
/// # Errors
/// A sentence for the user: the file cannot be read or written, or the change is not valid.
pub fn run(command: &TokenCommand) -> Result<Done, String> {
    let path = token_path(command.token_file.as_deref(), &command.db);
    if !path.exists() {
        return Err(format!(
            "there is no token file at {}; name it with --token-file or --db, or start the server, which makes one",
            path.display()
        ));
    }
    let shown = |text: String| Ok(Done { text, note: String::new(), untaken: false });
    match &command.what {
        What::List { changes: false } => shown(list(&tokens::read(&path)?)),
        What::List { changes: true } => shown(changes(&tokens::read(&path)?)),
        What::Link { name } => link(&path, name.as_deref()),
        What::Add { name, role, limits, reason } => {
            change(&path, |file| add(file, name, *role, limits, reason.as_deref()))
        }
        What::Rotate { name, role, expires, reason } => {
            change(&path, |file| rotate(file, name, *role, *expires, reason.as_deref()))
        }
        What::Revoke { name, reason } => change(&path, |file| revoke(file, name, reason.as_deref())),
    }
}

/// Changes the file, and waits until the running server has taken it.
fn change(path: &Path, change: impl FnOnce(&mut File) -> Result<(), String>) -> Result<Done, String> {
    let (file, digest) = tokens::update(path, |file| {
        file.link = None;
        change(file)
    })?;
    let taken = tokens::wait(path, &digest);
    let note = match &taken {
        Taken::By(url) => format!("The running server at {url} has taken it.\n"),
        Taken::NobodyRuns => "No running server uses this file; the change counts when one starts.\n".to_owned(),
        Taken::NotYet => format!(
            "The file is changed, but the running server has NOT taken it, and still uses the tokens from before. Read its log, and check that its user can read {}.\n",
            path.display()
        ),
    };
    Ok(Done { text: list(&file), note, untaken: taken == Taken::NotYet })
}

fn link(path: &Path, name: Option<&str>) -> Result<Done, String> {
    let (text, digest) = secret::fresh();
    let (_, written) = tokens::update(path, |file| {
        let may = |line: &&Line| match name {
            Some(name) => line.name == name,
            None => line.role == Role::Admin && line.apps.is_none(),
        };
        let Some(line) = file.tokens.iter().find(may) else {
            return Err(name.map_or_else(
                || "there is no admin token that is not limited to apps; name another token".to_owned(),
                |name| format!("there is no token {name}; `sessionwatch token list` shows all"),
            ));
        };
        if line.role == Role::Ingest {
            return Err(format!("{} is an ingest token; log in with a view or admin token", line.name));
        }
        let name = line.name.clone();
        file.link = Some(Link { name: name.clone(), digest: tokens::hex(&digest) });
        record(file, "link", &name, None)
    })?;
    match tokens::wait(path, &written) {
        Taken::By(url) => {
            Ok(Done { text: format!("{url}/#t={text}\n"), note: "It works once, for 15 minutes.\n".to_owned(), untaken: false })
        }
        Taken::NobodyRuns => Err("no running server uses this token file, so a link would not work; start the server, or name the right file with --db or --token-file".to_owned()),
        Taken::NotYet => Err(format!("the running server has not taken the link; read its log, and check that its user can read {}", path.display())),
    }
}

fn add(file: &mut File, name: &str, role: Role, limits: &Limits, reason: Option<&str>) -> Result<(), String> {
    fields::text("the name", name, fields::CLIENT_MAX).map_err(|error| error.to_string())?;
    if file.tokens.iter().any(|line| line.name == name) {
        return Err(format!("there is already a token {name}; rotate or revoke it, or choose another name"));
    }
    for app in &limits.apps {
        fields::text("--app", app, fields::NAME_MAX).map_err(|error| error.to_string())?;
    }
    file.tokens.push(Line {
        apps: Some(limits.apps.clone()).filter(|apps| !apps.is_empty()),
        expires: limits.expires.map(from_now),
        ..Line::fresh(name, role)
    });
    record(file, "made", name, reason)
}

fn from_now(time: Duration) -> String {
    Clock::system().now().wall.plus(time).to_string()
}

fn rotate(
    file: &mut File,
    name: &str,
    role: Option<Role>,
    expires: Option<Duration>,
    reason: Option<&str>,
) -> Result<(), String> {
    fields::text("the name", name, fields::CLIENT_MAX).map_err(|error| error.to_string())?;
    let expires = expires.map(from_now);
    let there = file.tokens.iter_mut().find(|line| line.name == name);
    let what = match (there, role.or_else(|| self::role(name).ok())) {
        (Some(line), _) if role.is_none_or(|role| role == line.role) => {
            let now = Clock::system().now().wall;
            if expires.is_none() && line.expires()?.is_some_and(|over| over <= now) {
                return Err(format!("{name} has expired; add --expires to make it valid again"));
            }
            line.token = secret::fresh().0;
            line.expires = expires.or_else(|| line.expires.take());
            "rotated"
        }
        (Some(line), _) => return Err(format!("{name} has the role {}; revoke it first", line.role.as_str())),
        (None, Some(role)) => {
            file.tokens.push(Line { expires, ..Line::fresh(name, role) });
            "made"
        }
        (None, None) => return Err(format!("there is no token {name}; add --role to make one")),
    };
    record(file, what, name, reason)
}

fn revoke(file: &mut File, name: &str, reason: Option<&str>) -> Result<(), String> {
    let before = file.tokens.len();
    file.tokens.retain(|line| line.name != name);
    if file.tokens.len() == before {
        return Err(format!("there is no token {name}; `sessionwatch token list` shows all"));
    }
    record(file, "revoked", name, reason)
}

/// Adds a change to the file's record. The user and the remote address come from the
/// environment of the shell (`SUDO_USER`, `USER`, `SSH_CONNECTION`), which the user can
/// change: the record helps, it is no proof.
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
        let _ = write!(text, "{:width$}  {:6}  {}", line.name, line.role.as_str(), line.token);
        if let Some(expires) = &line.expires {
            let _ = write!(text, "  until {expires}");
        }
        for app in line.apps.iter().flatten() {
            let _ = write!(text, "  app {app:?}");
        }
        text.push('\n');
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
    fn a_revoked_token_is_deleted_and_a_rotated_one_gets_a_new_secret() {
        let tokens = Role::ALL.map(|role| Line::fresh(role.as_str(), role)).to_vec();
        let mut file = File { tokens, ..File::default() };
        let before = file.tokens.clone();
        rotate(&mut file, "admin", None, None, Some("left the team")).expect("rotated");
        revoke(&mut file, "view", None).expect("revoked");
        rotate(&mut file, "jobs", Some(Role::Ingest), None, None).expect("made");
        let names: Vec<_> = file.tokens.iter().map(|line| (&*line.name, line.role)).collect();
        assert_eq!(names, [("ingest", Role::Ingest), ("admin", Role::Admin), ("jobs", Role::Ingest)]);
        assert_eq!(file.tokens[0], before[0]);
        assert_ne!(file.tokens[1].token, before[2].token);
        let told: Vec<_> = file.changes.iter().map(|change| (&*change.what, change.reason.as_deref())).collect();
        assert_eq!(told, [("rotated", Some("left the team")), ("revoked", None), ("made", None)]);

        assert!(revoke(&mut file, "view", None).is_err(), "it is gone already");
        assert!(rotate(&mut file, "jobs", Some(Role::Admin), None, None).is_err(), "the role is fixed");
        assert!(rotate(&mut file, "other", None, None, None).is_err(), "its role is not known");
        assert!(rotate(&mut file, "admin", None, None, Some("a\u{202e}b")).is_err());
    }

    #[test]
    fn an_added_token_has_its_limits_and_keeps_them_when_it_is_rotated() {
        let mut file = File::first();
        let limits = Limits { apps: vec!["risk".to_owned()], expires: Some(Duration::from_secs(3_600)) };
        add(&mut file, "ana", Role::Admin, &limits, None).expect("added");
        let line = file.tokens.last().expect("there").clone();
        assert!(line.scope().allows("risk") && !line.scope().allows("ops"));
        assert!(line.expires().is_ok_and(|expires| expires.is_some()));
        rotate(&mut file, "ana", None, None, None).expect("rotated");
        let rotated = file.tokens.last().expect("there");
        assert!(rotated.token != line.token && rotated.apps == line.apps && rotated.expires == line.expires);
        assert!(add(&mut file, "ana", Role::View, &Limits::default(), None).is_err(), "the name is taken");
        let odd = Limits { apps: vec!["a\u{202e}b".to_owned()], expires: None };
        assert!(add(&mut file, "bob", Role::View, &odd, None).is_err());
    }
}
