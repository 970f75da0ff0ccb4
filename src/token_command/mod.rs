//! `sessionwatch token …`: changes the token file, which a running server reads twice a
//! second, or the tokens in a database that several servers share. Everybody who can change
//! that file or that database has an administrator's rights.

mod change;
mod place;

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::StoreArgs;
use crate::secret;
use crate::tokens::{self, Changed, File, Line, Link, Role, Taken};
use change::{add, record, revoke, rotate};
use place::Place;

/// The arguments of `sessionwatch token`.
#[derive(Clone, Debug, Args)]
pub struct TokenCommand {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    store: StoreArgs,
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
    /// The text for standard error: whether the running servers use the change.
    pub note: String,
    /// Whether a server runs that has not taken the change in time.
    pub untaken: bool,
}

/// Runs the command.
///
/// # Errors
/// A sentence for the user: the tokens cannot be read or written, or the change is not valid.
pub async fn run(command: &TokenCommand) -> Result<Done, String> {
    let place = Place::open(command.store.token_file.as_deref(), &command.store.db).await?;
    let shown = |text: String| Ok(Done { text, note: String::new(), untaken: false });
    match &command.what {
        What::List { changes: false } => shown(list(&place.read().await?)),
        What::List { changes: true } => shown(changes(&place.read().await?)),
        What::Link { name } => link(&place, name.as_deref()).await,
        What::Add { name, role, limits, reason } => {
            change(&place, |file| add(file, name, *role, limits, reason.as_deref())).await
        }
        What::Rotate { name, role, expires, reason } => {
            change(&place, |file| rotate(file, name, *role, *expires, reason.as_deref())).await
        }
        What::Revoke { name, reason } => change(&place, |file| revoke(file, name, reason.as_deref())).await,
    }
}

/// Changes the tokens, and waits until the running servers have taken it.
async fn change(place: &Place, change: impl FnOnce(&mut File) -> Result<(), String>) -> Result<Done, String> {
    let (file, taken) = place
        .update(|file| {
            file.link = None;
            change(file)
        })
        .await?;
    Ok(Done { text: list(&file), note: place.note(&taken), untaken: taken == Taken::NotYet })
}

async fn link(place: &Place, name: Option<&str>) -> Result<Done, String> {
    let (text, digest) = secret::fresh();
    let (_, taken) = place
        .update(|file| {
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
        })
        .await?;
    match taken {
        Taken::By(url) => {
            let note = "It works once, for 15 minutes.\n".to_owned();
            Ok(Done { text: format!("{url}/#t={text}\n"), note, untaken: false })
        }
        untaken => Err(place.no_link(&untaken)),
    }
}

fn list(file: &File) -> String {
    let width = file.tokens.iter().map(|line| line.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:width$}  ROLE    TOKEN\n", "NAME");
    for line in &file.tokens {
        // A database has only the digest, so its secret is shown once, when it is made.
        let secret = if line.token.is_empty() { "-" } else { &line.token };
        let _ = write!(text, "{:width$}  {:6}  {secret}", line.name, line.role.as_str());
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
