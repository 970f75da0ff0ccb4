//! `sessionwatch import OLD.db`: copies the sessions out of the database of the system that
//! sessionwatch replaces. The server of the target database must not run.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::backend::Backend;
use crate::backend::sqlite::Sqlite;
use crate::backend::sqlite::original::{self, NaiveTimes};
use crate::change::{Actor, Event, Kind};
use crate::clock::{Clock, Timestamp};
use crate::session::Session;

/// The arguments of `sessionwatch import`.
#[derive(Clone, Debug, Args)]
pub struct ImportCommand {
    /// The old monitor's SQLite file; it is read and not changed
    old: PathBuf,
    /// The database to import into, created when missing; its server must not run
    #[arg(
        long,
        env = "SESSIONWATCH_DB",
        hide_env_values = true,
        default_value = "sessionwatch.db",
        value_name = "FILE"
    )]
    db: PathBuf,
    /// Times without a zone in the old file are in this machine's time zone, not in UTC
    #[arg(long)]
    local_times: bool,
}

/// Sessions in one commit.
const BATCH: usize = 500;

/// Imports, and returns the text to print.
///
/// # Errors
/// A sentence for the user: a file cannot be read or written.
pub async fn run(command: &ImportCommand) -> Result<String, String> {
    let now = Clock::system().now().wall;
    let naive = if command.local_times { NaiveTimes::Local } else { NaiveTimes::Utc };
    let found = original::read(&command.old, naive, now)?;
    let store = Sqlite::open(&command.db).await.map_err(|error| error.to_string())?;
    let stored = store.load(now).await.map_err(|error| error.to_string())?;
    let known: std::collections::HashSet<_> = stored.sessions.iter().map(|session| session.id.clone()).collect();
    let (there, new): (Vec<_>, Vec<_>) = found.sessions.into_iter().partition(|session| known.contains(&session.id));
    let count = new.len();
    let events: Vec<Event> = (stored.seq + 1..).zip(new).map(|(seq, session)| registered(seq, now, session)).collect();
    for batch in events.chunks(BATCH) {
        let turn = store.begin(batch[0].seq - 1).await.map_err(|error| error.to_string())?;
        turn.commit(Arc::new(batch.to_vec())).await.map_err(|error| error.to_string())?;
    }
    store.close().await.map_err(|error| error.to_string())?;
    let mut told = format!("{count} sessions imported into {}\n", command.db.display());
    if !there.is_empty() {
        told.push_str(&format!("{} were there already and stay as they are\n", there.len()));
    }
    if found.unreadable > 0 {
        told.push_str(&format!("{} rows have no usable id, app or time and were left out\n", found.unreadable));
    }
    Ok(told)
}

fn registered(seq: u64, at: Timestamp, session: Session) -> Event {
    let actor = Actor { by: Some("import".into()), ..Actor::default() };
    let session = Arc::new(session);
    let kind = Kind::Registered;
    Event { seq, at, kind, session, before: None, actor, reason: None, cause: None, message: None, lock: None }
}
