//! `sessionwatch backup` and `sessionwatch restore`: the database and the token file in one file.

use std::path::{Path, PathBuf};

use chrono::Utc;
use clap::Args;

use crate::backend::sqlite::backup::{Contents, Target, copy, put_back};
use crate::config::{StoreArgs, check_token_file, database_url, token_path};
use crate::tokens;

/// The arguments of `sessionwatch backup`.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// The new file; it has the tokens too, so only its owner can read it
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

/// The arguments of `sessionwatch restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The file that `sessionwatch backup` has made
    file: PathBuf,
    /// Give the database and the token file that are there another name, and put the backup in their place
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// The token file.
///
/// # Errors
/// The database is PostgreSQL.
fn tokens_of(store: &StoreArgs, instead: &str) -> Result<PathBuf, String> {
    if database_url(&store.db).is_some() {
        return Err(format!("the database is PostgreSQL, and its tools do this: {instead}"));
    }
    check_token_file(store.token_file.as_deref(), &store.db)?;
    Ok(token_path(store.token_file.as_deref(), &store.db))
}

/// Makes a backup; returns the text for standard output.
///
/// # Errors
/// A sentence for the user.
pub fn backup(args: &BackupArgs) -> Result<String, String> {
    let store = &args.store;
    let path = tokens_of(
        store,
        "`pg_dump --format=custom --file=FILE URL` copies all of it, the tokens too, while the servers run",
    )?;
    let text = path.exists().then(|| read_tokens(&path)).transpose()?;
    let made = copy(&store.db, text.as_deref(), &Utc::now().to_rfc3339(), &args.file)?;
    Ok(format!("{}: {}\n", args.file.display(), described(&made)))
}

/// Puts a backup back; returns the text for standard output.
///
/// # Errors
/// A sentence for the user.
pub fn restore(args: &RestoreArgs) -> Result<String, String> {
    let store = &args.store;
    let path =
        tokens_of(store, "stop the servers, and restore with `pg_restore --clean --if-exists --dbname=URL FILE`")?;
    let target = Target { db: &store.db, tokens: &path, replace: args.replace };
    let now = Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
    let (contents, kept) = put_back(&args.file, target, &now)?;
    let kept: String = kept.iter().map(|path| format!("what was there is now {}\n", path.display())).collect();
    Ok(format!("{}: restored {}\n{kept}", store.db.display(), described(&contents)))
}

/// The text of the token file, if it is valid.
fn read_tokens(path: &Path) -> Result<String, String> {
    tokens::read(path)?;
    std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

fn described(contents: &Contents) -> String {
    let Contents { sessions, bytes, tokens, made_at } = contents;
    let sessions = if *sessions == 1 { "1 session".to_owned() } else { format!("{sessions} sessions") };
    let tokens = if tokens.is_some() { "the tokens" } else { "no tokens" };
    format!("{sessions}, the log and {tokens}, {bytes} bytes, made at {made_at}")
}
