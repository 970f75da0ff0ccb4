//! The commands beside `serve`: run a command as a session, show the live sessions, end sessions, follow the log.
//!
//! Every command is a client of the public HTTP and socket interfaces; nothing here uses the server's own modules. All
//! text from outside is printed through [`text::escape`].

use std::process::ExitCode;

use clap::Subcommand;

pub mod client;
mod columns;
pub mod error;
pub mod feed;
pub mod filter;
mod kill;
mod lock;
mod ls;
mod nodes;
mod output;
mod run;
pub mod server;
mod sessions;
pub mod store;
mod style;
mod table;
mod tail;
pub mod text;
pub mod watch;
pub mod wire;

use error::CliError;

/// The commands beside `serve`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command as a session: it shows on the dashboard while it runs, and can be ended there
    #[command(
        after_help = "Exit status: the command's own; 126 and 127 where it cannot be started; 1 after another error."
    )]
    Run(run::RunArgs),
    /// List the live sessions
    Ls(ls::LsArgs),
    /// List the servers that share the database
    Nodes(nodes::NodesArgs),
    /// Watch the live sessions in the terminal
    Watch(watch::WatchArgs),
    /// Ask sessions to end, and see whether they do
    #[command(
        after_help = "Exit status: 0 where all sessions are gone, 1 where one was refused or after another error, 2 for wrong \
                      arguments, 3 where one did not confirm in time."
    )]
    Kill(kill::KillArgs),
    /// Keep an app, a user or a user of an app out for a while
    Lock(lock::LockArgs),
    /// Lift locks
    Unlock(lock::UnlockArgs),
    /// List the locks
    Locks(lock::LocksArgs),
    /// Follow the event log
    Tail(tail::TailArgs),
}

/// Runs `command` and returns the exit status: 0 when done, 1 after an error, which is printed to standard error.
///
/// `run` returns the status of its own command (126 and 127 where that cannot be started). `kill` returns 3 where a
/// session did not confirm in time.
pub async fn execute(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Run(args) => Box::pin(run::run(args)).await,
        Command::Ls(args) => ls::ls(args).await,
        Command::Nodes(args) => nodes::nodes(args).await,
        Command::Watch(args) => Box::pin(watch::watch(args)).await,
        Command::Kill(args) => Box::pin(kill::kill(args)).await,
        Command::Lock(args) => lock::lock(args).await,
        Command::Unlock(args) => lock::unlock(args).await,
        Command::Locks(args) => lock::locks(args).await,
        Command::Tail(args) => Box::pin(tail::tail(args)).await,
    };
    match outcome {
        Ok(code) => code,
        // `sessionwatch ls | head` is no error.
        Err(CliError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
