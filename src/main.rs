//! The `sessionwatch` command: arguments, logging, open the store, serve.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use sessionwatch::backend::Backend;
use sessionwatch::backend::postgres::Postgres;
use sessionwatch::backend::sqlite::Sqlite;
use sessionwatch::backup_command::{self, BackupArgs, RestoreArgs};
use sessionwatch::cli;
use sessionwatch::config::{self, Config, ConfigFile, Told, database_url, told};
use sessionwatch::config_command::{self, ConfigCommand};
use sessionwatch::demo::{DemoArgs, populate};
use sessionwatch::edge::gate::people::People;
use sessionwatch::health_command::{self, HealthArgs};
use sessionwatch::import_command::{self, ImportCommand};
use sessionwatch::logging;
use sessionwatch::monitor::ended;
use sessionwatch::rules::RulesFile;
use sessionwatch::rules_command::{self, RulesCommand};
use sessionwatch::server::{End, Server};
use sessionwatch::shell_command::{self, CompletionsArgs, ManArgs};
use sessionwatch::timing::random_part;
use sessionwatch::token_command::{self, TokenCommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// A push-based, real-time monitor of live user sessions
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Exit status: 0 when done, 1 after an error, 2 for wrong arguments; `run` and `kill` have more."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (also without a command)
    Serve(Box<Config>),
    /// Serve a temporary database with simulated apps, to try the dashboard
    Demo(Demo),
    /// List, add, rotate or revoke the tokens for remote access
    Token(TokenCommand),
    /// Check a config file, or print an example
    Config(ConfigCommand),
    /// Copy the database and the tokens into one file, also while the server runs
    Backup(BackupArgs),
    /// Put a backup in the place of a database that no server uses
    Restore(RestoreArgs),
    /// Ask whether the server on this machine takes changes: exit status 0 or 1
    Health(HealthArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages
    #[command(hide = true)]
    Man(ManArgs),
    /// Check a rules file, or tell what its rules would have done
    Rules(RulesCommand),
    /// Copy the sessions out of the old monitor's database
    Import(ImportCommand),
    #[command(flatten)]
    Client(cli::Command),
}

#[derive(Args)]
struct Demo {
    #[command(flatten)]
    cast: DemoArgs,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, env = "SESSIONWATCH_LISTEN", default_value = "127.0.0.1:8000", value_parser = config::listen, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
}

/// How long a server waits before it loads a lost history anew.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// The arguments, and the settings that are not the defaults.
///
/// The line is read twice: what the config file sets becomes the defaults of the second reading.
fn arguments() -> Result<(Arguments, Vec<Told>), String> {
    let line: Vec<OsString> = cli::filter::excluding(std::env::args_os());
    let mut matches = Arguments::command().get_matches_from(line.clone());
    let file = ConfigFile::named_in(&matches)?;
    if let Some(file) = &file {
        matches = file.defaults(Arguments::command()).get_matches_from(line);
    }
    let serves = matches.subcommand().map_or(&matches, |(_, inner)| inner);
    let settings = told(serves, file.as_ref());
    Ok((Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()), settings))
}

#[tokio::main]
async fn main() -> ExitCode {
    let (arguments, settings) = match arguments() {
        Ok(read) => read,
        Err(why) => return fail(&why),
    };
    match arguments.command {
        None => serve(&arguments.config, &settings).await,
        Some(Command::Serve(config)) => serve(&config, &settings).await,
        Some(Command::Demo(demo)) => show(&demo).await,
        Some(Command::Client(command)) => cli::execute(command).await,
        Some(Command::Config(command)) => finish(config_command::run(&command)),
        Some(Command::Backup(args)) => finish(backup_command::backup(&args)),
        Some(Command::Restore(args)) => finish(backup_command::restore(&args)),
        Some(Command::Health(args)) => finish(health_command::run(&args).await),
        Some(Command::Completions(args)) => finish(Ok(shell_command::completions(&args, Arguments::command()))),
        Some(Command::Man(args)) => finish(shell_command::man(&args, Arguments::command())),
        Some(Command::Rules(command)) => finish(rules_command::run(&command).await),
        Some(Command::Import(command)) => finish(import_command::run(&command).await),
        Some(Command::Token(command)) => match token_command::run(&command).await {
            Ok(done) => {
                tell(&done.text);
                let _ = write!(std::io::stderr(), "{}", done.note);
                if done.untaken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            }
            Err(why) => fail(&why),
        },
    }
}

/// Prints what a command has to say.
fn finish(done: Result<String, String>) -> ExitCode {
    match done {
        Ok(text) => {
            tell(&text);
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    }
}

/// `sessionwatch demo`: serves a temporary database with simulated sessions. Sessions become
/// stale after 20 s instead of two minutes, so that every state is seen within a short look.
async fn show(demo: &Demo) -> ExitCode {
    let folder = match tempfile::Builder::new().prefix("sessionwatch-demo-").tempdir() {
        Ok(folder) => folder,
        Err(error) => return fail(&format!("cannot make a folder for the demo's database: {error}")),
    };
    let mut config = Arguments::parse_from(["sessionwatch"]).config;
    config.listen = demo.listen;
    config.db = folder.path().join("demo.db");
    (config.heartbeat_interval, config.stale_after, config.expire_after) =
        (Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(100));
    logging::start(config.log_format);
    let server = match start(&config).await {
        Ok(server) => server,
        Err(why) => return fail(&why),
    };
    announce(&server);
    let monitor = server.monitor().clone();
    let mut ending = monitor.ending();
    let life = populate(server.url(), demo.cast.sessions, async move { ended(&mut ending).await });
    let asked = asked_to_end();
    let (served, ()) = tokio::join!(server.run(async || asked.notified().await), life);
    served.map_or_else(|why| fail(&why), |_| ExitCode::SUCCESS)
}

async fn serve(config: &Config, settings: &[Told]) -> ExitCode {
    logging::start(config.log_format);
    let settings: Vec<String> =
        settings.iter().map(|one| format!("{}={} ({})", one.name, one.value, one.from)).collect();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), settings = settings.join(", "), "starting");
    match serve_until_asked(config.clone()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

/// Serves; when the store's history is another one than was loaded, begins again at the same
/// address, with a new epoch or a new place among the servers.
async fn serve_until_asked(mut config: Config) -> Result<(), String> {
    let mut server = start(&config).await?;
    announce(&server);
    let asked = asked_to_end();
    config.listen = server.address().map_err(|error| error.to_string())?;
    while server.run(async || asked.notified().await).await? == End::Lost {
        server = tokio::select! {
            server = start_again(&config) => server,
            () = asked.notified() => break,
        };
    }
    Ok(())
}

/// Starts a server that has run before, so that a failure is nothing that its arguments explain:
/// it tries again, and never in a tight loop.
async fn start_again(config: &Config) -> Server {
    loop {
        tokio::time::sleep(AGAIN_AFTER + random_part(AGAIN_AFTER)).await;
        match start(config).await {
            Ok(server) => return server,
            Err(why) => tracing::error!(why, "the server cannot begin again yet"),
        }
    }
}

async fn start(config: &Config) -> Result<Server, String> {
    // No other user may read the database, its WAL and its lock.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Check the arguments before any file is made.
    config.check()?;
    People::new(config)?;
    config.rules.as_deref().map(RulesFile::read).transpose()?;
    let store: Arc<dyn Backend> = match database_url(&config.db) {
        Some(url) => Arc::new(Postgres::open(url, &config.node_name(), config.advertise_url.as_deref()).await?),
        None => Arc::new(Sqlite::open(&config.db).await.map_err(|error| error.to_string())?),
    };
    Server::bind(config, store).await
}

fn announce(server: &Server) {
    // In one write: a program that waits for the first line then has the second one too.
    let link = server.link().map_or_else(String::new, |link| format!("\nlog in, once, with {link}"));
    let note = server.trusts_local_programs().then_some(
        "\nprograms on this machine need no token; whatever forwards the network to this port needs --trust-proxy or --strict",
    );
    tell(&format!("sessionwatch is listening on {}{link}{}\n", server.url(), note.unwrap_or_default()));
}

/// Prints to standard output. Unlike `print!` it does not panic when nobody reads it.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints why the server does not start. It goes to standard error as text, not to the log.
fn fail(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "sessionwatch: {why}");
    ExitCode::FAILURE
}

/// Hears SIGTERM and SIGINT from now on; one that comes while nobody waits is kept.
fn asked_to_end() -> Arc<Notify> {
    let asked = Arc::new(Notify::new());
    let tell = asked.clone();
    tokio::spawn(async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("shutting down");
            tell.notify_one();
        }
    });
    asked
}
